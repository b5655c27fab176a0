"""The loop, phase by phase: collect, train V, encode, train M, evolve C, score.

Every phase keeps its work in a run's folder and, called again, goes on from what it finds there;
a finished phase returns at once. The chapters call these functions, and so does the shell.
"""

import copy
import dataclasses
import datetime
import hashlib
import logging
import math
import os
import platform
import shutil
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from tqdm.auto import tqdm

from wmlib.controller import Controller, Directions, imitate
from wmlib.dream import Dreamer, DreamWorld, find_moments, real_moments
from wmlib.drivers import (
    ControllerDriver,
    Driver,
    Job,
    noisy_car_driver,
    random_car_driver,
    random_networks,
    spectator,
)
from wmlib.envs import TRAINING_SEEDS
from wmlib.evaluation import Score, features, interval, score
from wmlib.evolution import Evolution, digest
from wmlib.experience import EpisodeStore, FrameBatches, SequenceBatches
from wmlib.mdn_rnn import MDNRNN
from wmlib.presets import Preset
from wmlib.rollout import Drive, World, drive_all, episode_name, processes
from wmlib.training import fit, mdn_rnn_step, pick_device, vae_step
from wmlib.vae import FRAME_SIZES, VAE, frames_to_tensor
from wmlib.world_model import (
    PRETRAINED,
    State,
    WorldModel,
    alone,
    half_precision,
    insist,
    load_agent,
    load_controller,
    load_network,
    pretrained,
    read_log,
    save_controller,
    save_network,
    write_atomically,
    write_card,
    write_log,
)

LOG = logging.getLogger(__name__)
BALL = World("wmlib/BouncingBall-v0", lanes=8)
TRUTH = ("position", "velocity", "bounced")
WORLD_MODEL = ("collect", "vae", "encode", "mdn_rnn")  # what makes V and M, and its logs
# The logs of all that comes before C; True: every row has its own seconds, False: those so far.
LOGS = {
    "collect": True,
    "encode": True,
    "vae": False,
    "mdn_rnn": False,
    "dream": False,
    "hindsight": False,
}
SEEDS_PER_ROUND = 100_000
SEEDS_PER_RUN = 10_000  # runs with other seeds collect on other tracks
LATE_ROUNDS, SEEDS_PER_LATE_ROUND = 4, 500  # from the fifth round on they are many, and short
MANY_TRACKS_SEEDS = 10  # so many runs have room for the paper's 10,000 episodes in every round
TEST_TRACKS_FROM = 500_000  # of drives that nobody learns from
FEW_TRACKS_FROM, SEEDS_PER_FIRST_ROUND = 510_000, 2_000  # where the other runs' tracks lie
SCORED = ("track", "score", "steps", "lap")  # columns of score.jsonl
# Of a lap's 1,000 points. On its second lap a car is paid no more, for all its good driving; and no
# M could know why. What a drive brought when it had been round was 850 and more.
LAP, NEARLY_ROUND = 1000, 800
CHECK_TRACKS_FROM = 900_000  # tracks of training that no candidate drives: for the learning curve


def car_world(preset: Preset, patience: int | None = None, repeat: int | None = None) -> World:
    """CarRacing to learn in, at a preset's size and with the fast eye.

    patience (see `GiveUp`) is for training, never for scores. repeat: for drivers without a world
    model; by default the preset's. Raises ValueError for a frame size that V does not have.
    """
    if preset.frame_size not in FRAME_SIZES:
        raise ValueError(f"frame_size must be one of {FRAME_SIZES}, got {preset.frame_size}")
    options = {"frame_size": preset.frame_size, "max_episode_steps": preset.max_steps}
    repeat = preset.repeat if repeat is None else repeat
    return World("wmlib/CarRacing-v3", preset.lanes, patience, options, repeat)


def collect(
    world: World,
    driver: Driver,
    seeds: Sequence[int],
    folder: str | Path,
    executor: Executor | None = None,
    record: Sequence[str] = (),
    world_model: WorldModel | None = None,
    members: int = 1,
) -> EpisodeStore:
    """Drive one episode for each seed and keep it; seeds already in the store are not driven again.

    world_model: for drivers that read [z, h]. members: a population of so many takes turns.

    Appends episodes, steps, mean score and seconds to collect.jsonl beside the folder. Raises
    ValueError for a seed that is kept for scoring, for a store that was filled in another way, and
    if drives do not arrive there.
    """
    for seed in seeds:
        if seed not in TRAINING_SEEDS:
            raise ValueError(
                f"seed {seed} is kept for scoring; to learn on, take one below "
                f"{TRAINING_SEEDS.stop:,}"
            )
    store = EpisodeStore(folder)
    pace = world.at_pace(world_model)
    store.describe({"world": str(pace), "repeat": pace.repeat, "members": members})
    jobs = [Job(seed, i % members) for i, seed in enumerate(seeds)]
    jobs = [job for job in jobs if episode_name(job) not in store]
    if jobs:
        began = time.monotonic()
        drives = drive_all(
            world,
            driver,
            jobs,
            world_model,
            executor=executor,
            store=store,
            record=record,
            progress="collecting",
        )
        lost = [job for job in jobs if episode_name(job) not in store]
        if lost:
            raise ValueError(
                f"{len(lost)} of {len(jobs)} drives are not in {store.folder}: on a cluster, all "
                f"workers must see that folder under this very path"
            )
        row = {
            "episodes": len(drives),
            "steps": sum(drive.steps for drive in drives),
            "mean_score": float(np.mean([drive.score for drive in drives])),
        }
        _append(store.folder.parent / "collect.jsonl", row, began)
    return store


def train_vae(
    store: EpisodeStore,
    folder: str | Path,
    *,
    epochs: int,
    batch_size: int = 100,
    learning_rate: float = 1e-4,
    frame_size: int = 64,
    seed: int = 0,
    device: str | None = None,
    start: VAE | None = None,
) -> tuple[VAE, list[dict]]:
    """V from a store's frames; writes vae.safetensors. Returns V and its history.

    start: a V to go on from; by default a new one.
    """
    torch.manual_seed(seed)
    vae = VAE(frame_size) if start is None else copy.deepcopy(start)
    batches = FrameBatches(store, batch_size, seed)
    history = fit(
        vae,
        vae_step,
        batches,
        epochs=epochs,
        learning_rate=learning_rate,
        seed=seed,
        checkpoint=Path(folder) / "vae.checkpoint",
        device=device,
    )
    return _keep(vae, history, folder, "vae"), history


@torch.no_grad()
def encode(
    store: EpisodeStore, vae: VAE, folder: str | Path, device: str | None = None
) -> EpisodeStore:
    """What V sees in every episode: the same episodes with mu, logvar instead of frames.

    device: where to compute, V then being moved there; by default where it is. What another V has
    seen is encoded anew. Appends episodes and seconds to encode.jsonl beside the folder.
    """
    latents, began = EpisodeStore(folder), time.monotonic()
    about = {"vae": _fingerprint(vae)}
    if latents.about and latents.about != about:
        latents.clear()
    latents.describe(about)
    missing = [name for name in store.names() if name not in latents]
    vae = vae if device is None else vae.to(pick_device(device))
    where = vae.mu.weight.device
    for name in tqdm(missing, desc="encoding", unit="drive", leave=False, disable=None):
        episode = store.episode(name)
        frames = torch.from_numpy(episode.pop("frames")).split(256)
        with half_precision(where):
            codes = [vae.encode(frames_to_tensor(part, where)) for part in frames]
        mu, logvar = (torch.cat(part).float().cpu().numpy() for part in zip(*codes, strict=True))
        latents.write(name, episode | {"mu": mu, "logvar": logvar})
    if missing:
        _append(latents.folder.parent / "encode.jsonl", {"episodes": len(missing)}, began)
    return latents


def _fingerprint(*networks: nn.Module) -> str:
    weights = [p.detach().cpu().reshape(-1) for n in networks for p in n.parameters()]
    return digest(torch.cat(weights).numpy())


def _append(log: Path, row: dict, began: float) -> None:
    # Written as a whole: a full disk or a kill would leave half a line.
    rows = read_log(log) if log.exists() else []
    write_log([*rows, row | {"seconds": round(time.monotonic() - began, 2)}], log)


def train_mdn_rnn(
    latents: EpisodeStore,
    folder: str | Path,
    *,
    epochs: int,
    batch_size: int,
    window: int,
    action_size: int = 3,
    repeat: int = 1,
    learning_rate: float = 1e-3,
    seed: int = 0,
    device: str | None = None,
    z_noise: float = 1.0,
    z_weight: float = 1.0,
    anneal: bool = False,
    pay: bool = False,
    until: float = math.inf,
    start: MDNRNN | None = None,
    name: str = "mdn_rnn",
) -> tuple[MDNRNN, list[dict]]:
    """M from encoded episodes; writes <name>.safetensors. Returns M and its history.

    repeat: how many steps every action of these episodes was held for. z_noise, z_weight: see
    `mdn_rnn_step`. anneal: see `fit`. pay: whether M is told, and foretells, what was just earned,
    see `with_pay`. until: see `SequenceBatches`. start: an M to go on from; by default a new one.
    """
    torch.manual_seed(seed)
    mdn_rnn = MDNRNN(32 + pay, action_size=action_size, repeat=repeat)
    mdn_rnn = mdn_rnn if start is None else copy.deepcopy(start)
    history = fit(
        mdn_rnn,
        partial(mdn_rnn_step, z_noise=z_noise, z_weight=z_weight),
        SequenceBatches(latents, batch_size, window, seed, pay=pay, until=until),
        epochs=epochs,
        learning_rate=learning_rate,
        seed=seed,
        clip=1.0,
        checkpoint=Path(folder) / f"{name}.checkpoint",
        device=device,
        anneal=anneal,
        about={
            "window": window,
            "z_noise": z_noise,
            "z_weight": z_weight,
            "pay": pay,
            "until": str(until),
            "z": latents.about.get("vae", ""),  # by whom it was encoded
        },
    )
    return _keep(mdn_rnn, history, folder, name), history


def _keep(network: nn.Module, history: list[dict], folder: str | Path, name: str) -> Any:
    # Kept as 16-bit floats and read back at once, so that what everything after it learns from,
    # and what is scored, is what is shipped.
    path = Path(folder) / f"{name}.safetensors"
    save_network(network, path, half=True)
    write_log(history, path.with_suffix(".jsonl"))
    return load_network(type(network), path)


def evolve(
    world: World,
    world_model: WorldModel,
    folder: str | Path,
    *,
    population: int,
    rollouts: int,
    generations: int,
    double_every: int = 10**9,
    sigma: float = 0.1,
    start: Controller | None = None,
    directions: Directions | None = None,
    seed: int = 0,
    check_every: int = 10,
    check_tracks: int = 8,
    executor: Executor | None = None,
    reality: tuple[World, WorldModel] | None = None,
    length: int | None = None,
) -> tuple[Controller, Evolution]:
    """C by CMA-ES: the mean of the search distribution, and the search itself.

    world, world_model: where the candidates drive, and what makes their [z, h]. For a C that is
    evolved in dreams: a `DreamWorld` and a `Dreamer`; then `reality` is where checks are driven,
    which the search never hears of.

    The search begins at `start` (default: all zeros) with step size `sigma`, over all weights, or
    over the changes to it that lie in `directions`.

    All candidates of a generation drive the same `rollouts` tracks, new ones every generation, and
    twice as many after every `double_every` generations: the better they get, the smaller their
    differences, and the more drives it takes to see them. length: judge them by `foreseen`, for so
    many looks of a drive; by default by what these drives earn, on average.
    Every `check_every` generations, and at the end, the mean drives `check_tracks` other training
    tracks to the end, without patience: rows of the log then have "check", its mean score, and
    "check_std". Writes evolution.jsonl, controller.safetensors, and the last generation's
    candidates as population.safetensors.
    """
    size = {"feature_size": world_model.feature_size, "action_size": 3}
    first = (Controller(**size) if start is None else start).parameters[0]
    where, eyes = reality or (world, world_model)
    dreams = [world.world_model.mdn_rnn] if isinstance(world, DreamWorld) else []

    def controllers(changes: np.ndarray) -> Controller:
        changes = changes if directions is None else directions.expand(changes)
        return Controller(first + changes, **size)

    def fitness(candidates: np.ndarray, generation: int) -> np.ndarray:
        count = tracks_of(generation, rollouts, double_every)
        tracks = np.random.default_rng([seed, generation]).integers(0, CHECK_TRACKS_FROM, count)
        cast = (controllers(candidates), tracks.tolist(), executor)
        if length is None:
            return panel(world, world_model, *cast).mean(1)
        return foreseen(world, world_model, *cast, length=length)

    def check(mean: np.ndarray) -> dict:
        return check_on_the_road(where, eyes, controllers(mean), check_tracks, executor)

    def extra(evolution: Evolution) -> dict:
        due = evolution.generation % check_every == 0 or evolution.generation == generations
        return check(evolution.mean) if due else {}

    folder = Path(folder)
    log = folder / "evolution.jsonl"
    evolution = Evolution(
        len(first) if directions is None else directions.num_parameters,
        population,
        sigma=sigma,
        seed=seed,
        log=log,
        extra=extra,
        where=str(world),
        first=digest(first),
        mind=_fingerprint(eyes.vae, eyes.mdn_rnn, *dreams),
        rollouts=rollouts,
        double_every=double_every,
        **({"length": length} if length else {}),  # logs of before stay good
    )
    for _ in evolution.run(fitness, generations):
        pass
    controller = controllers(evolution.mean)
    save_controller(controllers(evolution.candidates), folder / "population.safetensors")
    save_controller(controller, folder / "controller.safetensors")
    return controller, evolution


def tracks_of(generation: int, rollouts: int, double_every: int) -> int:
    """How many tracks (or dreams) each candidate of a generation drives; the first one is 0."""
    return rollouts * 2 ** (generation // double_every)


def check_on_the_road(
    world: World,
    world_model: WorldModel,
    controller: Controller,
    tracks: int,
    executor: Executor | None = None,
) -> dict:
    """For learning curves: "check", mean score on training tracks no search uses, "check_std"."""
    world = dataclasses.replace(world, patience=None)
    seeds = range(CHECK_TRACKS_FROM, CHECK_TRACKS_FROM + tracks)
    result = interval(panel(world, world_model, controller, seeds, executor)[0])
    return {"check": result.mean, "check_std": result.std}


def ball(preset: Preset, folder: str | Path | None = None) -> WorldModel:
    """V and M of the ball, from nothing: collect, V, encode, M."""
    folder = Path(folder or preset.run_folder("ball"))
    device = preset.device or None
    with alone(folder):
        with processes(preset.workers, preset.cluster) as executor:
            first = preset.seed * SEEDS_PER_RUN
            seeds = range(first, first + preset.ball_episodes)
            store = collect(BALL, spectator(), seeds, folder / "episodes", executor, TRUTH)
        vae, _ = train_vae(
            store,
            folder,
            epochs=preset.ball_vae_epochs,
            learning_rate=1e-3,
            seed=preset.seed,
            device=device,
        )
        latents = encode(store, vae, folder / "latents")
        mdn_rnn, _ = train_mdn_rnn(
            latents,
            folder,
            epochs=preset.ball_rnn_epochs,
            batch_size=preset.rnn_batch,
            window=preset.window,
            action_size=0,
            seed=preset.seed,
            device=device,
        )
    return WorldModel(vae, mdn_rnn)


def car_racing(preset: Preset, folder: str | Path | None = None) -> tuple[WorldModel, Controller]:
    """The whole loop, from nothing, as many rounds as the preset has: V, M and C of CarRacing.

    The folder ends up with the last round's weights, and with the logs of all rounds, whose rows
    say which "round" they are from. With `preset.dreaming()`, every C is evolved in dreams alone,
    and what counts is what `hindsight` chose: the last round's own search only looks ahead.
    """
    examine(preset)
    done = [k for k in range(preset.rounds) if _finished(preset, folder, k)]
    run = _round(preset, folder, 0).parent
    with alone(run):
        for number in range(max(done, default=0), preset.rounds):
            car_world_model(preset, folder, number)
            car_controller(preset, folder, number)
    return load_agent(run)


def examine(preset: Preset) -> None:
    """ValueError for numbers that a run would stumble over only hours later."""
    car_world(preset)
    pick_device(preset.device or None)
    for number in range(preset.rounds):
        training_tracks(preset, number)


def car_world_model(
    preset: Preset, folder: str | Path | None = None, number: int = 0
) -> WorldModel:
    """V and M of CarRacing for round `number`: collect, V, encode, M.

    In a later round whose preset gives V no epochs, both stay what they were; only what was
    collected is added.
    """
    with alone(_round(preset, folder, number).parent):
        car_collect(preset, folder, number)
        vae = car_vae(preset, folder, number)
        car_encode(preset, folder, number)
        return WorldModel(vae, car_mdn_rnn(preset, folder, number))


def car_collect(preset: Preset, folder: str | Path | None = None, number: int = 0) -> EpisodeStore:
    """The drives that round `number` learns from.

    Round 0 drives at random (smoothly, or as networks with random weights would, as the preset's
    policy says); a later one lets the last round's agent drive, with noise, and adds that to what
    was collected before. Who learns in dreams sends the last generation's candidates, with all
    degrees of noise: what M has to tell apart is what the search will ask it about.
    """
    work, agent = _round(preset, folder, number), _agent_before(preset, folder, number)
    driver, eyes, members = random_car_driver(preset.repeat), None, 1
    if agent is not None:
        (eyes, controller), levels = agent, 1
        if preset.dream:
            last = _round(preset, folder, number - 1)
            controller, levels = load_controller(last / "population.safetensors"), 4
        driver = noisy_car_driver(ControllerDriver(controller), preset.repeat, levels)
        members = len(controller)
    elif preset.policy == "networks":
        torch.manual_seed(preset.seed)
        eyes = WorldModel(VAE(preset.frame_size), MDNRNN(repeat=preset.repeat))
        members = preset.episodes[number]
        driver = random_networks(members, seed=preset.seed)
    world = car_world(preset, preset.random_patience if agent is None else None)
    tracks, names = training_tracks(preset, number), EpisodeStore(work / "episodes").names()
    if names and int(names[-1].split("-")[0]) >= tracks.stop:
        raise ValueError(
            f"{work / 'episodes'} has more drives than the {len(tracks)} that are wanted: name "
            f"another --folder for a run with fewer episodes"
        )
    with processes(preset.workers, preset.cluster) as executor:
        store = collect(
            world,
            driver,
            tracks,
            work / "episodes",
            executor,
            world_model=eyes,
            members=members,
        )
    if number > 0:
        store.include(EpisodeStore(_round(preset, folder, number - 1) / "episodes"))
    return store


def training_tracks(preset: Preset, number: int) -> range:
    """The tracks that round `number` collects on: others in every round, and with every seed.

    They rise from round to round. Raises ValueError where they would run into another round's.
    """
    if preset.seed < MANY_TRACKS_SEEDS:
        late = max(0, number - LATE_ROUNDS)
        first = (number - late) * SEEDS_PER_ROUND + preset.seed * SEEDS_PER_RUN
        first += late * SEEDS_PER_LATE_ROUND
        room = SEEDS_PER_RUN if number < LATE_ROUNDS else SEEDS_PER_LATE_ROUND
        rounds = LATE_ROUNDS + SEEDS_PER_RUN // SEEDS_PER_LATE_ROUND
    else:
        first = FEW_TRACKS_FROM + (preset.seed - MANY_TRACKS_SEEDS) * SEEDS_PER_RUN
        room = SEEDS_PER_FIRST_ROUND if number == 0 else SEEDS_PER_LATE_ROUND
        first += number and SEEDS_PER_FIRST_ROUND + (number - 1) * SEEDS_PER_LATE_ROUND
        rounds = 1 + (SEEDS_PER_RUN - SEEDS_PER_FIRST_ROUND) // SEEDS_PER_LATE_ROUND
    seeds = MANY_TRACKS_SEEDS + (CHECK_TRACKS_FROM - FEW_TRACKS_FROM) // SEEDS_PER_RUN
    for name, value, limit in (
        ("seed", preset.seed, seeds - 1),
        (f"episodes of round {number}", preset.episodes[number], room),
        ("rounds", number + 1, rounds),
    ):
        if not 0 <= value <= limit:
            raise ValueError(f"{name} must be 0 to {limit:,}, got {value:,}")
    return range(first, first + preset.episodes[number])


def car_vae(preset: Preset, folder: str | Path | None = None, number: int = 0) -> VAE:
    """V of round `number`: a new one, or the last round's, which goes on learning."""
    work, start = _round(preset, folder, number), None
    if _brought(work, "vae"):
        return load_network(VAE, work / "vae.safetensors")
    if number > 0:
        start = _before(preset, folder, number, VAE, "vae")
    if preset.stays(number):
        return _keep(start, [], work, "vae")
    vae, _ = train_vae(
        EpisodeStore(work / "episodes"),
        work,
        epochs=preset.vae_epochs[number],
        batch_size=preset.vae_batch,
        frame_size=preset.frame_size,
        seed=preset.seed,
        device=preset.device or None,
        start=start,
    )
    return vae


def _brought(work: Path, name: str) -> bool:
    # Weights without a training here were made elsewhere (or are the last round's).
    return (work / f"{name}.safetensors").exists() and not (work / f"{name}.checkpoint").exists()


def car_encode(preset: Preset, folder: str | Path | None = None, number: int = 0) -> EpisodeStore:
    """All drives of round `number` as its V sees them."""
    work = _round(preset, folder, number)
    if preset.stays(number):
        latents = EpisodeStore(work / "latents")
        latents.include(EpisodeStore(_round(preset, folder, number - 1) / "latents"))
    vae = load_network(VAE, work / "vae.safetensors")
    device = str(pick_device(preset.device or None))
    return encode(EpisodeStore(work / "episodes"), vae, work / "latents", device)


def car_mdn_rnn(preset: Preset, folder: str | Path | None = None, number: int = 0) -> MDNRNN:
    """M of round `number`, learned anew; or the last round's, if V has stayed the same."""
    work = _round(preset, folder, number)
    if _brought(work, "mdn_rnn"):
        return load_network(MDNRNN, work / "mdn_rnn.safetensors")
    if preset.stays(number):
        return _keep(_before(preset, folder, number, MDNRNN, "mdn_rnn"), [], work, "mdn_rnn")
    mdn_rnn, _ = train_mdn_rnn(
        EpisodeStore(work / "latents"),
        work,
        epochs=preset.rnn_epochs,
        batch_size=preset.rnn_batch,
        window=preset.window,
        repeat=preset.repeat,
        seed=preset.seed,
        device=preset.device or None,
    )
    if number == 0:  # later ones are published together with the C that can read them
        _publish(preset, folder, number, *WORLD_MODEL)
    return mdn_rnn


def car_dream(preset: Preset, folder: str | Path | None = None, number: int = 0) -> MDNRNN:
    """The M that makes the dreams of round `number`; the agent keeps its own.

    It has other work to do than to remember: whatever C finds in it must be true. So it learns z
    more sharply (`dream_z_noise`, and all of z counts), and hears what was earned: a road looks the
    same to who drives it the wrong way, and nothing but the missing pay tells. It goes on learning
    with every round's drives, and is trained anew only when V has changed.
    """
    work, start = _round(preset, folder, number), None
    epochs, seed = preset.dream_epochs[number], preset.seed + 1000 * number
    lesson = _lesson(EpisodeStore(work / "latents"), work / "lesson", preset.dream_fresh, seed)
    if preset.stays(number):
        start = _before(preset, folder, number, MDNRNN, "dream")
    return train_dream(preset, work, lesson, epochs=epochs, seed=seed, start=start)


def _lesson(latents: EpisodeStore, folder: Path, fresh: int, seed: int) -> EpisodeStore:
    # What a driver of today does wrong, nobody did before: so half of what is learned is new. But
    # not all of it, or how the others failed would be forgotten.
    names, lesson = latents.names(), EpisodeStore(folder)
    lesson.describe(latents.about)
    again = np.random.default_rng(seed).permutation(names[:-fresh])[:fresh].tolist()
    lesson.include(latents, names[-fresh:] + again)
    return lesson


def train_dream(
    preset: Preset,
    folder: str | Path,
    latents: EpisodeStore,
    *,
    epochs: int,
    seed: int,
    start: MDNRNN | None = None,
    **changes: Any,
) -> MDNRNN:
    """An M to dream with, from encoded drives; writes dream.safetensors to the folder.

    changes: to how `train_mdn_rnn` is called.

    Annealed, because a search finds whatever the last batches have left wrong: two Ms that learned
    alike, but for the last passes, can put the same drivers in opposite orders.
    """
    settings = {
        "batch_size": preset.dream_batch,
        "learning_rate": preset.dream_rate,
        "anneal": True,
        "pay": True,
        "until": NEARLY_ROUND,
        "z_noise": preset.dream_z_noise,
        "z_weight": preset.dream_z_weight,
    }
    dream, _ = train_mdn_rnn(
        latents,
        folder,
        epochs=epochs,
        window=preset.window,
        repeat=preset.repeat,
        seed=seed,
        device=preset.device or None,
        start=start,
        name="dream",
        **settings | changes,
    )
    return dream


def _before(
    preset: Preset, folder: str | Path | None, number: int, kind: type[nn.Module], name: str
) -> Any:
    return load_network(kind, _round(preset, folder, number - 1) / f"{name}.safetensors")


def _agent_before(
    preset: Preset, folder: str | Path | None, number: int
) -> tuple[WorldModel, Controller] | None:
    if number == 0:
        return None
    work = _round(preset, folder, number - 1)
    proven = load_controller(work / f"{_proven(preset, number - 1)}.safetensors")
    return WorldModel.load(work), proven


@torch.no_grad()
def translate(
    old: WorldModel, controller: Controller, new: WorldModel, folder: str | Path, episodes: int = 60
) -> Controller:
    """The controller that does with the new world model what this one did with the old.

    A retrained M remembers in another language: the old C would read noise. But both models can
    watch the same drives (here the folder's newest `episodes`), and least squares finds the new
    weights. Nothing is driven for it, and no reward is looked at.
    """
    seen, raw = [], []
    for drive in _newest_drives(folder, episodes):
        seen.append(features(new, *drive))
        # Where the old one wanted far more than the tanh lets through, that much is enough.
        raw.append(controller.raw(features(old, *drive)).clamp(-3, 3))
    return imitate(torch.cat(seen), torch.cat(raw), ridge=30.0)


def _once_translated(
    before: tuple[WorldModel, Controller], world_model: WorldModel, work: Path
) -> Controller:
    # Kept, because a search that goes on must begin at the very same point, on any machine.
    file = work / "start.safetensors"
    if not file.exists():
        save_controller(translate(*before, world_model, work), file)
    return load_controller(file)


@torch.no_grad()
def directions(
    world_model: WorldModel, folder: str | Path, k: int, episodes: int = 60
) -> Directions:
    """The k main directions of [z, h] over a folder's newest drives.

    Kept in directions.npz: a search that goes on must go on in the very same ones.
    """
    file = Path(folder) / "directions.npz"
    if file.exists():
        with np.load(file) as kept:
            found = Directions(kept["mean"], kept["matrix"])
        if len(found.matrix) == k:
            return found
    drives = _newest_drives(folder, episodes)
    found = Directions.of(torch.cat([features(world_model, *drive) for drive in drives]), k)

    def write(path: Path) -> None:
        with path.open("wb") as stream:
            np.savez(stream, mean=found.mean, matrix=found.matrix)

    write_atomically(file, write)
    return found


def _newest_drives(folder: str | Path, episodes: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    store = EpisodeStore(Path(folder) / "episodes")
    if not len(store):
        raise ValueError(f"there are no episodes in {store.folder}: collect some first")
    for name in store.names()[-episodes:]:
        yield store.read(name, "frames"), store.read(name, "actions")


def car_controller(
    preset: Preset, folder: str | Path | None = None, number: int = 0
) -> tuple[Controller, Evolution]:
    """C of CarRacing for round `number`: `evolve` with a preset's numbers, from the last round's C.

    In reality, or, with `preset.dreaming()`, in dreams (see `car_dream`) that begin early in the
    newest drives, and from what `hindsight` chose. Returns what the search found.
    """
    work, k = _round(preset, folder, number), preset.directions
    with alone(work.parent):
        world_model, start = WorldModel.load(work), None
        if number == 0 and (work / "start.safetensors").exists():  # somebody's own
            start = load_controller(work / "start.safetensors")
        elif number > 0 and not preset.stays(number):
            start = _once_translated(_agent_before(preset, folder, number), world_model, work)
        elif number > 0 and not preset.dream:
            _, start = _agent_before(preset, folder, number)
        reality = car_world(preset), world_model
        world, mind, seed = car_world(preset, preset.patience), world_model, preset.seed
        if preset.dream:
            dream = WorldModel(world_model.vae, car_dream(preset, folder, number))
            world = dream_world(preset, dream, work / "latents", agent=world_model)
            mind = Dreamer(world_model)
            seed += 1000 * number  # many short searches: other luck for each
        with processes(preset.workers, preset.cluster) as executor:
            if preset.looks_back(number):
                start = hindsight(preset, folder, number, (world, mind), reality, executor)
            result = evolve(
                world,
                mind,
                work,
                population=preset.population,
                rollouts=preset.rollouts[number],
                generations=preset.generations[number],
                double_every=preset.double_every,
                sigma=preset.sigmas[number],
                start=start,
                directions=directions(world_model, work, k) if k else None,
                seed=seed,
                check_every=preset.check_every,
                check_tracks=preset.check_tracks,
                executor=executor,
                reality=reality,
                length=preset.looks_left if preset.dream else None,
            )
        _publish(
            preset, folder, number, *WORLD_MODEL, "dream", "hindsight", "evolution", "controller"
        )
    return result


def hindsight(
    preset: Preset,
    folder: str | Path | None,
    number: int,
    dream: tuple[DreamWorld, Dreamer],
    reality: tuple[World, WorldModel],
    executor: Executor | None = None,
) -> Controller:
    """What proved best so far, in round `number`'s own dreams: here the search of the round begins.

    The dream that a C was bred in cannot know where that C will go wrong: nobody had driven like it
    yet. A later one has learned from its drives. So all Cs whose h means the same (see
    `Preset.since`) are judged anew, and the mean of the best few, of the better half at most, is
    what the round has to show: each of them fooled its dream in its own way, and what they share is
    driving.

    Writes start.safetensors, and hindsight.jsonl: who would earn how much ("names", "dream", see
    `foreseen`), who were "chosen", and "check", "check_std" in reality, which decide nothing.
    """
    work, began = _round(preset, folder, number), time.monotonic()
    file, log = work / "start.safetensors", work / "hindsight.jsonl"
    settings = {"dreams": preset.hindsight_dreams, "best": preset.hindsight_best}
    if file.exists():
        insist(file, read_log(log)[0]["settings"], settings)
        return load_controller(file)
    cast = {}
    for k in range(preset.since(number), number):
        for kind in ("start", "controller"):
            path = _round(preset, folder, k) / f"{kind}.safetensors"
            if path.exists():
                cast[f"{kind} {k}"] = load_controller(path).parameters
    names, everyone = list(cast), Controller(np.concatenate(list(cast.values())))
    seeds = range(preset.hindsight_dreams)
    earned = foreseen(*dream, everyone, seeds, executor, length=preset.looks_left)
    best = np.argsort(-earned)[: min(preset.hindsight_best, math.ceil(len(names) / 2))]
    start = Controller(everyone.parameters[best].mean(0))
    row = {"names": names, "dream": earned.tolist(), "chosen": [names[i] for i in best]}
    row |= check_on_the_road(*reality, start, preset.check_tracks, executor)
    log.unlink(missing_ok=True)  # of a sitting that was killed right here
    _append(log, row | {"settings": settings}, began)
    save_controller(start, file)
    return start


def panel(
    world: World | DreamWorld,
    mind: WorldModel | Dreamer,
    population: Controller,
    seeds: Sequence[int],
    executor: Executor | None = None,
) -> np.ndarray:
    """What every member of a population earns on the same seeds: (members, seeds)."""
    drives = _all_drives(world, mind, population, seeds, executor)
    return np.array([[drive.score for drive in row] for row in drives])


def foreseen(
    world: DreamWorld,
    mind: Dreamer,
    population: Controller,
    seeds: Sequence[int],
    executor: Executor | None = None,
    *,
    length: int,
) -> np.ndarray:
    """What every member would earn in `length` looks of a drive, by its dreams: (members,)."""
    return whole_drive(*dreamt(world, mind, population, seeds, executor), length)


def dreamt(
    world: DreamWorld,
    mind: Dreamer,
    population: Controller,
    seeds: Sequence[int],
    executor: Executor | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What every member earned, for how many looks it was on its way, whether it was then lost.

    Each (members, seeds). A dream that ends early has lost its driver.
    """
    repeat, waited = world.world_model.mdn_rnn.repeat, world.patience or 0
    drives = _all_drives(world, mind, population, seeds, executor)
    pay = np.array([[drive.score for drive in row] for row in drives])
    looks = np.array([[drive.steps / repeat for drive in row] for row in drives])
    lost = looks < world.max_steps
    return pay, np.maximum(looks - waited * lost, 1), lost


def whole_drive(pay: np.ndarray, looks: np.ndarray, lost: np.ndarray, length: int) -> np.ndarray:
    """What `length` looks of a drive should bring, by many dreams of it: (members,).

    pay, looks, lost: (members, dreams), see `dreamt`. Who earns v a look, and gets lost at a rate
    of r a look, earns v (1 - exp(-r T)) / r in T looks. No v counts that is more than a lap in this
    time: what is left to gain by being faster is a tenth of a point a step, and in a dream that
    gain would be sure, the danger doubtful. The mean over the dreams' pay would know nothing of
    laps, and say the rest less clearly: there it is chance, too, *when* a driver is lost.
    """
    looks = looks.sum(1)
    pace = np.minimum(pay.sum(1) / looks, LAP / length)
    rate = (lost.sum(1) + 0.5) / looks  # not lost so far does not mean never
    return pace * -np.expm1(-rate * length) / rate


def _all_drives(
    world: World | DreamWorld,
    mind: WorldModel | Dreamer,
    population: Controller,
    seeds: Sequence[int],
    executor: Executor | None,
) -> list[list[Drive]]:
    # A row for every member.
    jobs = [Job(seed, member) for member in range(len(population)) for seed in seeds]
    drives = drive_all(world, ControllerDriver(population), jobs, mind, executor=executor)
    return [drives[i : i + len(seeds)] for i in range(0, len(drives), len(seeds))]


def dream_world(
    preset: Preset, dream: WorldModel, latents: str | Path, agent: WorldModel | None = None
) -> DreamWorld:
    """Dreams with a preset's numbers, beginning in the newest of the encoded drives in a folder.

    agent: the world model that C remembers with; by default the dream's.
    """

    store = EpisodeStore(latents)
    where = {"before": preset.dream_before, "newest": preset.dream_fresh}

    def starts(world_model: WorldModel) -> State:
        return real_moments(world_model, store, preset.dream_starts, seed=preset.seed, **where)

    _, on_the_road = find_moments(store, dream.mdn_rnn.repeat, **where)
    note = "" if on_the_road else " anywhere in an episode"
    if note:
        LOG.warning(
            "no episode in %s is on the road at steps 50 to %d: dreams begin anywhere in one",
            store.folder,
            preset.dream_before,
        )

    return DreamWorld(
        dream,
        starts(dream),
        lanes=preset.dream_lanes,
        max_steps=preset.dream_steps,
        temperature=preset.temperature,
        pay_temperature=preset.pay_temperature,
        dropout=preset.dropout,
        patience=preset.dream_patience,
        agent=None if agent is None else (agent, starts(agent)),
        note=note,
    )


def _finished(preset: Preset, folder: str | Path | None, number: int) -> bool:
    return (_round(preset, folder, number) / "controller.safetensors").exists()


def _round(preset: Preset, folder: str | Path | None, number: int) -> Path:
    name = "car_racing_dream" if preset.dream else "car_racing"
    return Path(folder or preset.run_folder(name)) / f"round{number}"


def _proven(preset: Preset, number: int) -> str:
    # What a round has to show: in dreams, what it began with is surer than what it found.
    return "start" if preset.looks_back(number) else "controller"


def _publish(preset: Preset, folder: str | Path | None, number: int, *names: str) -> None:
    # From the round's folder to the run's: its weights; its logs, behind those of earlier rounds.
    # Unless a later round is there already: chapters 2 and 3 may call for the first one again.
    work = _round(preset, folder, number)
    if _finished(preset, folder, number + 1):
        return
    for name in names:
        source = _proven(preset, number) if name == "controller" else name
        weights, log = work / f"{source}.safetensors", f"{name}.jsonl"
        if weights.exists():
            target = work.parent / f"{name}.safetensors"
            write_atomically(target, lambda p, w=weights: shutil.copy(w, p))
        if (work / log).exists():
            rounds = [(k, _round(preset, folder, k) / log) for k in range(number + 1)]
            # A kill between the last drive and its row in the log may have cost the row.
            kept = [(k, path) for k, path in rounds if path.exists()]
            rows = [row | {"round": k} for k, path in kept for row in read_log(path)]
            write_log(rows, work.parent / log)


def timeline(folder: str | Path) -> list[dict]:
    """The rows of a run's evolution log, each with "minutes" since the folder was empty.

    Where a round began in `hindsight`, "check" and "check_std" are of what it began with, in its
    first row, and "found" and "found_std" of what its search came to.

    The sum of what all phases of all rounds logged. Pauses between sittings are not counted; nor is
    a sitting of collecting or encoding that was killed, because these log when they are done.
    """
    folder, before = Path(folder), 0.0
    evolution = read_log(folder / "evolution.jsonl")
    proven = folder / "hindsight.jsonl"
    begun = {row["round"]: row for row in read_log(proven)} if proven.exists() else {}
    rows = []
    for number in range(evolution[-1]["round"] + 1):
        for phase, adds_up in LOGS.items():
            file = folder / f"{phase}.jsonl"
            log = [r for r in read_log(file) if r["round"] == number] if file.exists() else []
            seconds = [r["seconds"] for r in log] or [0.0]  # what stayed took no time
            before += sum(seconds) if adds_up else seconds[-1]
        log = [row for row in evolution if row["round"] == number]
        if number in begun:
            renamed = {"check": "found", "check_std": "found_std"}
            log = [{renamed.get(key, key): row[key] for key in row} for row in log]
            log[0] |= {key: begun[number][key] for key in renamed}
        rows += [row | {"minutes": (before + row["seconds"]) / 60} for row in log]
        before += log[-1]["seconds"]
    return rows


def score_car(preset: Preset, folder: str | Path, executor: Executor | None = None) -> Score:
    """The score of a run's controller on held-out tracks.

    Kept in score.jsonl, a row a track, and read from there as long as the agent is the same; only
    tracks that are not there yet are driven.
    """
    folder = Path(folder)
    log, agent = folder / "score.jsonl", fingerprint(folder)
    rows = read_log(log) if log.exists() else []
    if rows and rows[0]["agent"] != agent:
        rows = []
    while (missing := preset.score_tracks - len(rows)) > 0:
        world_model, controller = load_agent(folder)
        result = score(
            ControllerDriver(controller),
            world_model,
            min(missing, 100),  # at a time: a thousand tracks take an hour
            skip=len(rows),
            executor=executor,
            max_steps=preset.max_steps,
            frame_size=preset.frame_size,
        )
        columns = (result.tracks, *(c.tolist() for c in (result.scores, result.steps, result.laps)))
        fresh = [dict(zip(SCORED, row, strict=True)) for row in zip(*columns, strict=True)]
        rows += [row | {"agent": agent} for row in fresh]
        write_log(rows, log)
    return read_score(folder)


def read_score(folder: str | Path) -> Score:
    """The score that `score_car` left in a folder."""
    rows = read_log(Path(folder) / "score.jsonl")
    tracks, *columns = ([row[name] for row in rows] for name in SCORED)
    return Score(tracks, *map(np.array, columns))


def test_drives(preset: Preset, folder: str | Path | None = None) -> EpisodeStore:  # noqa: PT028
    """Drives that nobody learns from, to measure V and M with.

    By the agent in a folder (default: the one that came with the repository), with noise, so that
    it does not always do what the road suggests. Kept in a folder of their own.
    """
    folder, first = folder or pretrained("car_racing"), TEST_TRACKS_FROM
    world_model, controller = load_agent(folder)
    return collect(
        car_world(preset),
        noisy_car_driver(ControllerDriver(controller), preset.repeat),
        range(first, first + preset.car_tests),
        preset.run_folder(f"test_drives-{fingerprint(folder)[:8]}") / "episodes",
        world_model=world_model,
    )


def _seconds(log: Path) -> float:
    # The clock of a log starts anew with every round: the last row of each counts.
    return round(sum({row.get("round", 0): row["seconds"] for row in read_log(log)}.values()), 1)


def fingerprint(folder: str | Path) -> str:
    """One sha256 of V, M and C as they lie in a folder: a score belongs to all three."""
    digest = hashlib.sha256()
    for name in ("vae", "mdn_rnn", "controller"):
        file = Path(folder) / f"{name}.safetensors"
        digest.update(file.read_bytes() if file.exists() else b"")
    return digest.hexdigest()


def ship(preset: Preset, run: str | Path, world: str, command: str) -> Path:
    """Copy a finished run's weights and logs to data/pretrained/<world>, with a card each.

    A card tells the command, seed, seconds and machine, and for C the held-out score. It also holds
    the file's sha256, which `load_network` checks.

    Of a run with another seed than 0 only the logs and the score are kept, in a folder "seed<n>" of
    that: to show how much of a result is luck, they are enough.
    """
    run, folder = Path(run), PRETRAINED / world
    if (run / "controller.safetensors").exists():
        with processes(preset.workers, preset.cluster) as executor:
            result = score_car(preset, run, executor)
    if preset.seed:
        return _copy_logs(run, folder / f"seed{preset.seed}")
    folder.mkdir(parents=True, exist_ok=True)
    for weights in sorted(run.glob("*.safetensors")):
        name = weights.stem
        log = "evolution" if name == "controller" else name
        card = {
            "command": command,
            "seed": preset.seed,
            "date": datetime.date.today().isoformat(),
            "training_seconds": _seconds(run / f"{log}.jsonl"),
            "machine": f"{os.cpu_count()} cores, {platform.machine()}, {_accelerator(preset)}",
            "versions": {
                package: metadata.version(package) for package in ("torch", "gymnasium", "cma")
            },
        }
        shutil.copy(weights, folder)
        if name == "controller":
            card["score"] = result.summary()
        write_card(folder / weights.name, card)
    return _copy_logs(run, folder)


def _accelerator(preset: Preset) -> str:
    device = pick_device(preset.device or None).type
    return "no GPU" if device == "cpu" else device


def _copy_logs(run: Path, folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for log in run.glob("*.jsonl"):
        shutil.copy(log, folder)
    return folder
