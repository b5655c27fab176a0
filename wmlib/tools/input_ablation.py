"""What should C read? Searches that differ in C's inputs, and in nothing else.

`python -m wmlib ablate inputs` evolves C from zeros with the pretrained V, with equal populations
and equally many episodes, and with several seeds. Every M learns from the same recorded episodes.
The most repeated doubt about world models of this kind is whether M matters at all: an M that was
never trained is one of the arms.
"""

import dataclasses
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from wmlib.envs.road_state import QUANTITIES, replay
from wmlib.evaluation import features, linear_probe
from wmlib.files import exclusive_lock
from wmlib.models.checkpoints import load_agent
from wmlib.models.controller import Controller
from wmlib.models.mdn_rnn import MDNRNN, TILE
from wmlib.models.vae import VAE
from wmlib.models.world_model import State, WorldModel
from wmlib.paths import PRETRAINED, pretrained
from wmlib.pipeline import car_racing, phases, search
from wmlib.pipeline.config import Config, Machine
from wmlib.pipeline.fitness import MeanReturn, run_controllers
from wmlib.pipeline.rounds import CHECK_TRACKS_FROM
from wmlib.pipeline.scales import get_chapter_config, get_config, get_machine
from wmlib.pipeline.scoring import agent_digest, collect_test_episodes
from wmlib.provenance import Record
from wmlib.rollout.episodes import EpisodeStore
from wmlib.rollout.policies import ControllerPolicy, noisy_car_policy
from wmlib.rollout.workers import processes
from wmlib.tools.search_ablation import step_size
from wmlib.tools.tables import Table
from wmlib.training.search_space import Directions

RESULTS = PRETRAINED / "ablations" / "inputs.jsonl"
SEEDS = range(5)
Z, CHANGE, H, BOTH, MEMORYLESS, UNTRAINED_M, UNTRAINED_V = ARMS = (
    "z",
    "z and its last change",
    "h",
    "z and h",
    "z and h, M without memory",
    "z and h, untrained M",
    "z and h, untrained V",
)
TRACKS_FROM = 930_000  # training tracks that no other training uses


class WithoutMemory(WorldModel):
    """M begins every step with h and c at 0: its h is a function of the last z and action alone."""

    @torch.no_grad()
    def remember(
        self, state: State, actions: Tensor, few_rows: bool = False
    ) -> tuple[Tensor, Tensor]:
        """As of `WorldModel`."""
        fresh = state._replace(h=torch.zeros_like(state.h), c=torch.zeros_like(state.c))
        return super().remember(fresh, actions, few_rows)


class WithLastChange(WorldModel):
    """In place of h is the last change of z, z[t] - z[t - 1]; no M is asked."""

    @property
    def feature_size(self) -> int:
        """Length of [z, change]."""
        return 2 * self.vae.z_size

    @torch.no_grad()
    def begin(self, frames: np.ndarray | Tensor) -> State:
        """As of `WorldModel`; the first change is 0."""
        z = self.encode(frames)
        return State(z, torch.zeros_like(z), torch.zeros_like(z), z.new_zeros(len(z)))

    @torch.no_grad()
    def observe(
        self,
        state: State,
        actions: Tensor,
        frames: np.ndarray | Tensor,
        rewards: Tensor | None = None,
    ) -> State:
        """As of `WorldModel`."""
        z = self.encode(frames)
        rewards = z.new_zeros(len(z)) if rewards is None else rewards
        return State(z, z - state.z, torch.zeros_like(z), rewards.to(z) / TILE)


def run_input_ablation(config: Config, file: Path, work: Path, machine: Machine) -> None:
    """A row per arm and seed in `file`; goes on with what is there, and in `work`.

    Rows: "arm", "seed", "curve" (a pair per check of the mean: the environment steps of all
    episodes so far, and its mean return on `check_tracks` tracks that no search uses), and of the
    result on `score_tracks` others: "score", "std", "laps", "steps". All with the fast renderer.
    "probes": R² of linear probes of what C reads for each of `road_state.QUANTITIES`, on test
    episodes, while the car is on the road. Raises ValueError if the rows there were made with other
    settings or from another agent.
    """
    agent = pretrained("car_racing")
    world_model, controller = load_agent(agent)
    settings = _settings(config)
    table = Table(file, Record({"agent": agent_digest(agent)}, settings))
    spec = car_racing.training_env_spec(config).at_pace(world_model)
    with exclusive_lock(work), processes(machine.workers, machine.cluster) as executor:
        store = phases.collect(
            spec,
            noisy_car_policy(ControllerPolicy(controller), spec.repeat),
            range(TRACKS_FROM, TRACKS_FROM + config.rounds[-1].episodes),
            work / "episodes",
            executor,
            world_model=world_model,
        )
        test = collect_test_episodes(config, settings["test_episodes"])
        for seed in SEEDS:
            for arm in ARMS:
                table.add(
                    {"arm": arm, "seed": seed},
                    partial(_row, config, arm, seed, store, test, executor),
                )


def _settings(config: Config) -> dict:
    first, last = config.rounds[0], config.rounds[-1]
    return {
        "env": dataclasses.asdict(config.env),
        "rnn": dataclasses.asdict(config.rnn),
        "episodes": last.episodes,
        "population": config.search.population,
        "generations": last.generations,
        "rollouts": first.rollouts,
        "directions": config.search.directions,
        "patience": config.search.patience,
        "check_every": max(1, config.search.check_every // 2),
        "check_tracks": config.search.check_tracks,
        "score_tracks": config.score_tracks,
        "test_episodes": get_chapter_config(config.scale).test_episodes,
    }


def world_model_of(config: Config, arm: str, seed: int, store: EpisodeStore) -> WorldModel:
    """V and M of an arm; what it trains is kept beside the store of episodes.

    V is the pretrained one, but for `UNTRAINED_V`. Every seed has an M of its own.
    """
    folder = store.folder.parent
    recorded = load_agent(pretrained("car_racing"))[0]  # with its pace
    vae, repeat = recorded.vae, recorded.mdn_rnn.repeat
    torch.manual_seed(seed)
    if arm == UNTRAINED_V:
        vae = VAE(vae.frame_size)
        folder = folder / f"untrained_v-{seed}"
    if arm in (Z, CHANGE, UNTRAINED_M):
        kind = WithLastChange if arm == CHANGE else WorldModel
        return kind(vae, MDNRNN(repeat=repeat))
    latents = phases.encode(store, vae, folder / "latents")
    rnn, memoryless = config.rnn, arm == MEMORYLESS
    mdn_rnn, _ = phases.train_mdn_rnn(
        latents,
        folder / ("memoryless" if memoryless else "m") / str(seed),
        epochs=rnn.epochs,
        # Windows of one step begin at zero memory each: as many steps per batch in both.
        batch_size=rnn.batch_size * rnn.window if memoryless else rnn.batch_size,
        window=1 if memoryless else rnn.window,
        repeat=repeat,
        seed=seed,
        device="cpu",
    )
    return (WithoutMemory if memoryless else WorldModel)(vae, mdn_rnn)


@torch.no_grad()
def features_of(world_model: WorldModel, store: EpisodeStore, names: Sequence[str]) -> Tensor:
    """What C reads at every agent step of recorded episodes, (N, n), of any arm's world model."""
    seen = []
    for name in names:
        frames, actions = store.read(name, "frames"), store.read(name, "actions")
        both = features(world_model, frames, actions)
        z, size = both[:, : world_model.vae.z_size], world_model.vae.z_size
        if isinstance(world_model, WithoutMemory):  # every step is an episode of its own
            taken = torch.from_numpy(actions)
            h, _ = world_model.mdn_rnn.remember(z[:-1, None], taken[:-1, None])
            both[1:, size:] = h[:, 0]
        if isinstance(world_model, WithLastChange):
            both = torch.cat([z, z.diff(dim=0, prepend=z[:1])], dim=1)
        seen.append(both)
    return torch.cat(seen)


def _inputs(arm: str, world_model: WorldModel, store: EpisodeStore, names: Sequence[str]) -> Tensor:
    # What C may read: the rest is 0, so that no direction has a part there, and C no weight.
    seen, size = features_of(world_model, store, names), world_model.vae.z_size
    if arm in (Z, H):
        seen[:, slice(size, None) if arm == Z else slice(size)] = 0
    return seen


def probe(
    arm: str, world_model: WorldModel, test: EpisodeStore, zoom: int = 50
) -> dict[str, float]:
    """R² of linear probes for the car's true state, of which two thirds of the episodes are fitted.

    Columns are standardized first: an untrained V's are small. zoom: environment steps at the
    start that are left out, because the camera zooms in; nor does a car beside the road count.
    """
    repeat, inputs, states, groups = world_model.mdn_rnn.repeat, [], [], []
    for k, name in enumerate(test.names()):
        truth = replay(int(name.split("-")[0]), test.read(name, "actions"), repeat)[:-1]
        kept = (np.arange(len(truth)) * repeat >= zoom) & (abs(truth[:, 0]) < 1)
        inputs.append(_inputs(arm, world_model, test, [name]).numpy()[kept])
        states.append(truth[kept])
        groups.append(np.full(kept.sum(), k))
    x, y = np.concatenate(inputs).astype(float), np.concatenate(states)
    x = (x - x.mean(0)) / np.maximum(x.std(0), 1e-6)
    probes = [linear_probe(x, column[:, None], np.concatenate(groups)) for column in y.T]
    return {name: round(p.r2, 3) for name, p in zip(QUANTITIES, probes, strict=True)}


def _row(
    config: Config,
    arm: str,
    seed: int,
    store: EpisodeStore,
    test: EpisodeStore,
    executor: Executor | None,
) -> dict:
    settings, world_model = _settings(config), world_model_of(config, arm, seed, store)
    seen = _inputs(arm, world_model, store, store.names()[-60:])
    space = Directions.of(seen, settings["directions"])
    real = car_racing.training_env_spec(config)
    check = partial(
        search.check_in_environment,
        real,
        world_model,
        tracks=settings["check_tracks"],
        executor=executor,
    )
    controller, evolution = search.evolve(
        MeanReturn(
            car_racing.training_env_spec(config, settings["patience"]),
            world_model,
            settings["rollouts"],
            seed=seed,
            executor=executor,
        ),
        store.folder.parent / f"{arm.replace(', ', '_').replace(' ', '_')}-{seed}",
        start=Controller(feature_size=world_model.feature_size),
        population=settings["population"],
        generations=settings["generations"],
        sigma=step_size(space, seen),
        directions=space,
        seed=seed,
        check=check,
        check_every=settings["check_every"],
    )
    steps = np.cumsum([row["steps"] for row in evolution.history]).tolist()
    tracks = range(CHECK_TRACKS_FROM + settings["check_tracks"], TRACKS_FROM)
    scored = tracks[: settings["score_tracks"]]
    (episodes,) = run_controllers(real, world_model, controller, scored, executor)
    scores = [episode.score for episode in episodes]
    return {
        "curve": [
            (total, round(row["check"], 1))
            for total, row in zip(steps, evolution.history, strict=True)
            if "check" in row
        ],
        "score": round(float(np.mean(scores)), 2),
        "std": round(float(np.std(scores, ddof=1)), 2),
        "laps": float(np.mean([episode.lap for episode in episodes])),
        "steps": float(np.mean([episode.steps for episode in episodes])),
        "probes": probe(arm, world_model, test),
    }


@dataclass(frozen=True)
class AblateInputs:
    """What should C read: z, its last change, h of a trained M, of an untrained one."""

    scale: str | None = None  # smoke, laptop or paper; default: $WM_SCALE, or laptop
    out: Path | None = None  # file; default: data/pretrained/ablations/inputs.jsonl
    workers: int | None = None  # processes; default: the scale's
    cluster: str = ""  # address of a Dask scheduler; on trusted networks only

    def __call__(self) -> None:
        """Run it."""
        config, usual = get_config(self.scale), get_machine(self.scale)
        out, agent = self.out or RESULTS, agent_digest(pretrained("car_racing"))
        work = config.run_folder(f"input_ablation-{agent}")
        workers = usual.workers if self.workers is None else self.workers
        run_input_ablation(config, out, work, Machine(workers, self.cluster))
        print(f"written: {out}")
