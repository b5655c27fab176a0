"""What should C read? Searches that differ in what C reads.

`python -m wmlib ablate inputs` evolves C from zeros with the pretrained V, with equal populations
and equally many episodes, and with several seeds. (Not with equally many environment steps: an
episode without progress is truncated.) Every M that is trained learns from the same episodes:
random ones, and the pretrained agent's with noise, as in the rounds of a run. The most common
objection to world models of this kind is that M may not matter: an M that was never trained is one
of the arms.

A search learns variances alone (sep-CMA-ES), so that its first ten generations count already.

"h" alone is M's memory before the current frame, so that C acts one agent step late there. The C
with a hidden layer of 16 units reads the components that the others are searched in: 451 weights.
"""

import dataclasses
import math
from collections.abc import Sequence
from concurrent.futures import Executor
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from wmlib.evaluation import features, linear_probe
from wmlib.files import exclusive_lock
from wmlib.models.checkpoints import load_agent, world_model_digest
from wmlib.models.controller import Controller
from wmlib.models.mdn_rnn import MDNRNN
from wmlib.models.vae import VAE, frames_to_tensor
from wmlib.models.world_model import WorldModel
from wmlib.paths import pretrained
from wmlib.pipeline import car_racing, phases, search
from wmlib.pipeline.config import Config, Machine
from wmlib.pipeline.fitness import MeanReturn, run_controllers
from wmlib.pipeline.rounds import CHECK_TRACKS_FROM
from wmlib.pipeline.scales import get_chapter_config
from wmlib.pipeline.scoring import agent_digest, collect_test_episodes
from wmlib.pipeline.tasks import CAR_RACING
from wmlib.pipeline.workers import processes
from wmlib.provenance import Record
from wmlib.rollout.episodes import EpisodeStore
from wmlib.rollout.policies import ControllerPolicy, random_car_policy
from wmlib.tools.input_models import (
    HiddenController,
    Projected,
    WithLastChange,
    WithoutMemory,
    hidden_step,
)
from wmlib.tools.road_state import QUANTITIES, replay
from wmlib.tools.search_ablation import RAW_STEP, step_size
from wmlib.tools.tables import Ablate, Table, published
from wmlib.training.search_space import Directions

RESULTS = published("inputs")
SEEDS = range(5)
Z, BOTH, MEMORYLESS, UNTRAINED_M, CHANGE, H, UNTRAINED_V, ONE, EIGHT, HIDDEN = ARMS = (
    "z",
    "z and h",
    "z and h, M without memory",
    "z and h, untrained M",
    "z and its last change",
    "h",
    "z and h, untrained V",
    "z and h, M with 1 Gaussian",
    "z and h, M with 8 Gaussians",
    "z and h, C with a hidden layer",
)
DOES_M_COUNT = ARMS[:4]  # with all seeds before the other arms
MIXTURES = {ONE: 1, EIGHT: 8}
# Training tracks that no other training uses: random episodes end here, the agent's begin here.
TRACKS_FROM = 935_000
NEWEST = 60  # episodes of the agent, over which the directions of the search are computed


def run_input_ablation(config: Config, file: Path, work: Path, machine: Machine) -> None:
    """A row per arm and seed in `file`; goes on with what is there, and in `work`.

    Rows: "arm", "seed", "curve" (a pair per check of the mean: the environment steps of all
    episodes so far, and its mean return on `check_tracks` tracks that no search uses), and of the
    result on `score_tracks` others: "score", "std", "laps", "steps". All with the fast renderer.
    "probes": R² of linear probes of what C reads for each of `road_state.QUANTITIES`, on test
    episodes, while the car is on the road. "episodes": digest of those that M learned from. On
    another machine they are collected again, and alike, not equal: rows of several machines may
    stand in one table. Raises ValueError if the rows there were made with other settings or from
    another agent.
    """
    if not config.search.directions:
        raise ValueError("this ablation needs principal components: use scale smoke or laptop")
    settings = settings_of(config)
    with exclusive_lock(work), processes(machine.workers, machine.cluster) as executor:
        store = collect_episodes(config, work, executor)
        test = collect_test_episodes(config, settings["test_episodes"])
        table = Table(file, record_of(settings))
        for arms in (DOES_M_COUNT, ARMS[len(DOES_M_COUNT) :]):
            for seed, arm in product(SEEDS, arms):
                measure = partial(_row, config, arm, seed, store, test, executor)
                table.add({"arm": arm, "seed": seed}, measure)


def record_of(settings: dict) -> Record:
    """What a row depends on: the pretrained agent that collected, and the settings."""
    return Record({"agent": agent_digest(pretrained("car_racing"))}, settings)


def collect_episodes(config: Config, work: Path, executor: Executor | None) -> EpisodeStore:
    """Random and the pretrained agent's episodes, as many as in a run's first and last round."""
    world_model, controller = load_agent(pretrained("car_racing"))
    repeat = world_model.mdn_rnn.repeat
    spec = car_racing.training_env_spec(config, config.collect.patience)
    first, last = config.rounds[0].episodes, config.rounds[-1].episodes
    at_random = phases.collect(
        dataclasses.replace(spec, repeat=repeat),
        random_car_policy(repeat),
        range(TRACKS_FROM - first, TRACKS_FROM),
        work / "random" / "episodes",
        executor,
    )
    store = phases.collect(
        car_racing.training_env_spec(config),
        CAR_RACING.noisy_policy(ControllerPolicy(controller), repeat),
        range(TRACKS_FROM, TRACKS_FROM + last),  # of higher seeds: they are the newest
        work / "episodes",
        executor,
        world_model=world_model,
        made_from={"random": at_random.digest()},
    )
    store.include(at_random)
    return store


def settings_of(config: Config) -> dict:
    """How M is trained, and C is evolved and scored."""
    first, repeat = config.rounds[0], load_agent(pretrained("car_racing"))[0].mdn_rnn.repeat
    return {
        "env": dataclasses.asdict(config.env) | {"repeat": repeat},
        "collect": dataclasses.asdict(config.collect),
        "episodes": [first.episodes, config.rounds[-1].episodes],
        "epochs": config.rnn.epochs,
        "window": config.window(repeat),
        "batch_size": config.dream.batch_size,
        "learning_rate": config.dream.learning_rate,
        "newest": NEWEST,
        "mixtures": MIXTURES,
        "hidden": HiddenController().hidden,
        "raw_step": RAW_STEP,
        "population": config.search.population,
        "generations": first.generations + config.rounds[1].generations,
        "rollouts": first.rollouts,
        "separable": True,
        "directions": config.search.directions,
        "patience": config.search.patience,
        "check_every": max(1, config.search.check_every // 2),
        "check_tracks": config.search.check_tracks,
        "score_tracks": config.score_tracks,
        "test_episodes": get_chapter_config(config).test_episodes,
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
        vae = _standardized(VAE(vae.frame_size), store)
        folder = folder / f"untrained_v-{seed}"
    if arm in (Z, CHANGE, UNTRAINED_M):
        kind = WithLastChange if arm == CHANGE else WorldModel
        return kind(vae, MDNRNN(repeat=repeat))
    latents = phases.encode(store, vae, folder / "latents")
    memoryless = arm == MEMORYLESS
    trained_as = "memoryless" if memoryless else f"m{MIXTURES.get(arm, '')}"
    mdn_rnn = train_m(
        config,
        latents,
        folder / trained_as / str(seed),
        repeat,
        seed,
        window=1 if memoryless else None,
        start=MDNRNN(mixtures=MIXTURES[arm], repeat=repeat) if arm in MIXTURES else None,
    )
    if arm != HIDDEN:
        return (WithoutMemory if memoryless else WorldModel)(vae, mdn_rnn)
    trained = WorldModel(vae, mdn_rnn)
    seen = features_of(trained, store, store.names()[-NEWEST:])
    return Projected.of(
        trained, directions_of(config, trained, seen, folder / trained_as / str(seed))
    )


def directions_of(
    config: Config, world_model: WorldModel, seen: Tensor, folder: Path
) -> Directions:
    """The directions of a search in what C reads, `seen` (N, n); kept in a folder of their own."""
    record = Record(
        {"world_model": world_model_digest(world_model)},
        {"k": config.search.directions, "newest": NEWEST},
    )
    find = partial(Directions.of, seen, config.search.directions)
    return search.kept_directions(folder / "directions.npz", record, find)


def train_m(
    config: Config,
    latents: EpisodeStore,
    folder: Path,
    repeat: int,
    seed: int,
    window: int | None = None,
    start: MDNRNN | None = None,
) -> MDNRNN:
    """The M of an arm. window: agent steps, by default the config's; start: as of `train_mdn_rnn`.

    Shorter windows begin at zero memory more often; as many steps are in a batch.
    """
    usual = config.window(repeat)
    window = window or usual
    mdn_rnn, _ = phases.train_mdn_rnn(
        latents,
        folder,
        epochs=config.rnn.epochs,
        batch_size=config.dream.batch_size * usual // window,
        window=window,
        learning_rate=config.dream.learning_rate,
        anneal=True,
        repeat=repeat,
        seed=seed,
        device="cpu",
        start=start,
    )
    return mdn_rnn


@torch.no_grad()
def _standardized(vae: VAE, store: EpisodeStore) -> VAE:
    # Of an untrained V, z hardly varies beside the noise of its posterior: with these last layers
    # its z has mean 0 and SD 1 over some episodes, and an SD of the posterior of 0.1.
    frames = [store.read(name, "frames")[::10] for name in store.names()[-NEWEST:]]
    z = torch.cat([vae.encode(frames_to_tensor(part))[0] for part in frames])
    deviations = z.std(0)
    vae.mu.weight /= deviations[:, None]
    vae.mu.bias.copy_((vae.mu.bias - z.mean(0)) / deviations)
    vae.logvar.weight.zero_()
    vae.logvar.bias.fill_(2 * math.log(0.1))
    return vae


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
        if isinstance(world_model, Projected):
            both = world_model.project(both)
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
    """R² of linear probes for the car's true state: fitted on 70% of the episodes, tested on 30%.

    Columns are standardized first: an untrained M's h is small. zoom: environment steps at the
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
    world_model = world_model_of(config, arm, seed, store)
    seen = _inputs(arm, world_model, store, store.names()[-NEWEST:])
    size, space = world_model.feature_size, None
    folder = store.folder.parent / f"{arm.replace(', ', '_').replace(' ', '_')}-{seed}"
    if arm == HIDDEN:  # all its weights are searched: it reads components already
        start: Controller = HiddenController(feature_size=size)
        sigma = hidden_step(seen, RAW_STEP)
    else:
        start, space = (
            Controller(feature_size=size),
            directions_of(config, world_model, seen, folder),
        )
        sigma = step_size(space, seen)
    scored = evolve_and_score(config, world_model, start, space, sigma, seed, folder, executor)
    return scored | {"probes": probe(arm, world_model, test), "episodes": store.digest()}


def evolve_and_score(
    config: Config,
    world_model: WorldModel,
    start: Controller,
    space: Directions | None,
    sigma: float,
    seed: int,
    folder: Path,
    executor: Executor | None,
) -> dict:
    """Evolve C; "curve", "score", "std", "laps" and "steps" of a row, see `run_input_ablation`."""
    settings = settings_of(config)
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
        folder,
        start=start,
        population=settings["population"],
        generations=settings["generations"],
        sigma=sigma,
        directions=space,
        seed=seed,
        check=check,
        check_every=settings["check_every"],
        separable=settings["separable"],
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
    }


class AblateInputs(Ablate):
    """What should C read: z, its last change, h of a trained M, of an untrained one."""

    name = RESULTS.stem

    def measure(self, config: Config, file: Path, work: Path, machine: Machine) -> None:
        """As of `Ablate`."""
        run_input_ablation(config, file, work, machine)
