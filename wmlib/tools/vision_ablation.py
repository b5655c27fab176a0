"""What does V need? Vs with other free bits or longer training, and the Cs that see by them.

`python -m wmlib ablate vision` trains Vs on the same episodes (random ones and the pretrained
agent's, with noise), then for each an M and a C, with equal settings and with several seeds.
"""

from concurrent.futures import Executor
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import torch

from wmlib.files import exclusive_lock
from wmlib.models.checkpoints import load_agent
from wmlib.models.controller import Controller
from wmlib.models.mdn_rnn import MDNRNN
from wmlib.models.vae import VAE, frames_to_tensor, kl_per_dimension
from wmlib.models.world_model import WorldModel
from wmlib.paths import pretrained
from wmlib.pipeline import car_racing, phases
from wmlib.pipeline.config import Config, Machine
from wmlib.pipeline.scales import get_chapter_config
from wmlib.pipeline.scoring import collect_test_episodes
from wmlib.pipeline.workers import processes
from wmlib.rollout.episodes import EpisodeStore
from wmlib.rollout.policies import ControllerPolicy
from wmlib.tools.input_ablation import (
    NEWEST,
    TRACKS_FROM,
    collect_episodes,
    directions_of,
    evolve_and_score,
    features_of,
    record_of,
    settings_of,
    train_m,
)
from wmlib.tools.mixture_ablation import ACTIVE
from wmlib.tools.search_ablation import step_size
from wmlib.tools.tables import Ablate, Table, published
from wmlib.view import hairpins

RESULTS = published("vision")
SEEDS = range(3)
SURVEYED = 48  # tracks on which the pretrained agent's hairpins are looked for
EVERY = 5  # of the test episodes' frames, for the errors


@dataclass(frozen=True)
class Arm:
    """passes: over all frames. vae: what differs from the config."""

    passes: int = 2
    vae: dict = field(default_factory=dict)


# A pass has three times as many batches.
FASTER = {"batch_size": 32, "learning_rate": 1e-3, "anneal": True}

ARMS = {
    "0.5 free bits, two passes": Arm(),
    "no free bits": Arm(vae={"free_bits": 0.0}),
    "0.25 free bits": Arm(vae={"free_bits": 0.25}),
    "1 free bit": Arm(vae={"free_bits": 1.0}),
    "one pass": Arm(passes=1),
    "six passes": Arm(passes=6),
    "batches of 32, learning rate 1e-3 lowered to 0": Arm(vae=FASTER),
    "the same, half of the frames mirrored": Arm(vae=FASTER | {"flip": True}),
}


def run_vision_ablation(config: Config, file: Path, work: Path, machine: Machine) -> None:
    """A row per arm and seed in `file`; goes on with what is there, and in `work`.

    Rows: "arm", "seed", of test frames "squared_error" (summed over a frame), "kl" (nats per
    frame) and "active" (how many dimensions have a mean KL above `ACTIVE`), "hairpin_error" (the
    squared error of the first frames since a hairpin came into view), and of the C that sees
    by this V the columns of `evolve_and_score`. "episodes": see `run_input_ablation`. Raises
    ValueError if the rows there were made with other settings or from another agent.
    """
    if not config.search.directions:
        raise ValueError("this ablation needs principal components: use scale smoke or laptop")
    settings = settings_of(config) | {
        "surveyed": min(SURVEYED, config.score_tracks),
        "vae": asdict(config.vae),
        "arms": {name: asdict(arm) for name, arm in ARMS.items()},
    }
    with exclusive_lock(work), processes(machine.workers, machine.cluster) as executor:
        store = collect_episodes(config, work, executor)
        test = collect_test_episodes(config, get_chapter_config(config).test_episodes)
        turns = hairpin_frames(config, settings["surveyed"])
        table = Table(file, record_of(settings))
        for seed in SEEDS:
            for name, arm in ARMS.items():
                folder = work / f"{name.replace(' ', '_')}-{seed}"
                table.add(
                    {"arm": name, "seed": seed},
                    partial(_row, config, arm, seed, store, test, turns, folder, executor),
                )


def hairpin_frames(config: Config, tracks: int) -> np.ndarray:
    """Frames of the pretrained agent's hairpins: uint8 (T, S, S, 3); T may be 0."""
    world_model, controller = load_agent(pretrained("car_racing"))
    seeds = range(TRACKS_FROM - 2_000, TRACKS_FROM - 2_000 + tracks)
    spec = car_racing.training_env_spec(config)
    found = hairpins.survey(spec, ControllerPolicy(controller), seeds, world_model).hairpins
    size = config.env.frame_size
    frames = [hairpin.frames[: hairpins.VIEW] for hairpin in found]
    return np.concatenate([np.zeros((0, size, size, 3), np.uint8), *frames])


@torch.no_grad()
def errors_of(vae: VAE, test: EpisodeStore, turns: np.ndarray) -> dict:
    """The columns of a row that are V's own."""
    frames = np.concatenate([test.read(name, "frames")[::EVERY] for name in test.names()])
    seen = WorldModel(vae, MDNRNN(vae.z_size))
    codes = [vae.encode(frames_to_tensor(part)) for part in torch.from_numpy(frames).split(256)]
    mu, logvar = (torch.cat(code) for code in zip(*codes, strict=True))
    kl = kl_per_dimension(mu, logvar).mean(0)
    parts = np.split(frames, range(256, len(frames), 256))
    errors = np.concatenate([hairpins.squared_error(seen, part) for part in parts])
    at_turns = hairpins.squared_error(seen, turns).mean() if len(turns) else None
    return {
        "squared_error": round(float(errors.mean()), 3),
        "kl": round(float(kl.sum()), 3),
        "active": int((kl > ACTIVE).sum()),
        "hairpin_error": None if at_turns is None else round(float(at_turns), 3),
    }


def _row(
    config: Config,
    arm: Arm,
    seed: int,
    store: EpisodeStore,
    test: EpisodeStore,
    turns: np.ndarray,
    folder: Path,
    executor: Executor | None,
) -> dict:
    repeat = load_agent(pretrained("car_racing"))[0].mdn_rnn.repeat
    vae, _ = phases.train_vae(
        store,
        folder,
        epochs=arm.passes,
        seed=seed,
        device="cpu",
        **asdict(config.vae) | arm.vae,
    )
    latents = phases.encode(store, vae, folder / "latents")
    mdn_rnn = train_m(config, latents, folder, repeat, seed)
    world_model = WorldModel(vae, mdn_rnn)
    seen = features_of(world_model, store, store.names()[-NEWEST:])
    space = directions_of(config, world_model, seen, folder)
    start, sigma = Controller(feature_size=world_model.feature_size), step_size(space, seen)
    scored = evolve_and_score(config, world_model, start, space, sigma, seed, folder, executor)
    return errors_of(world_model.vae, test, turns) | scored | {"episodes": store.digest()}


class AblateVision(Ablate):
    """What does V need: Vs with other free bits or passes, and the Cs that see by them."""

    name = RESULTS.stem

    def measure(self, config: Config, file: Path, work: Path, machine: Machine) -> None:
        """As of `Ablate`."""
        run_vision_ablation(config, file, work, machine)
