"""The loop for CarRacing, phase by phase: collect, train V, encode, train M, evolve C.

Every phase keeps its work in a run's folder and, called again, goes on from what it finds there;
a finished phase returns at once. The chapters call these functions, and so does the shell.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from wmlib.envs.dream import PassThroughEncoder
from wmlib.envs.vector import World
from wmlib.evaluation import features
from wmlib.files import exclusive_lock, write_atomically
from wmlib.models.checkpoints import (
    load_agent,
    load_controller,
    load_network,
    load_world_model,
    save_controller,
)
from wmlib.models.controller import Controller
from wmlib.models.mdn_rnn import MDNRNN
from wmlib.models.vae import FRAME_SIZES, VAE
from wmlib.models.world_model import WorldModel
from wmlib.pipeline.config import Preset
from wmlib.pipeline.dreaming import car_dream, dream_world, hindsight
from wmlib.pipeline.phases import collect, encode, keep_network, train_mdn_rnn, train_vae
from wmlib.pipeline.rounds import (
    WORLD_MODEL,
    agent_before,
    is_finished,
    network_before,
    publish,
    round_folder,
    training_tracks,
)
from wmlib.pipeline.search import evolve
from wmlib.rollout.episodes import EpisodeStore
from wmlib.rollout.policies import (
    ControllerPolicy,
    noisy_car_policy,
    random_car_policy,
    random_networks,
)
from wmlib.rollout.workers import processes
from wmlib.training.evolution import Evolution
from wmlib.training.fit import pick_device
from wmlib.training.search_space import Directions, imitate


def car_world(preset: Preset, patience: int | None = None, repeat: int | None = None) -> World:
    """CarRacing to learn in, at a preset's size and with the fast eye.

    patience (see `NoProgressTruncation`) is for training, never for scores. repeat: for policies
    without a world model; by default the preset's. Raises ValueError for a frame size that V does
    not have.
    """
    if preset.frame_size not in FRAME_SIZES:
        raise ValueError(f"frame_size must be one of {FRAME_SIZES}, got {preset.frame_size}")
    options = {"frame_size": preset.frame_size, "max_episode_steps": preset.max_steps}
    repeat = preset.repeat if repeat is None else repeat
    return World("wmlib/CarRacing-v3", preset.lanes, patience, options, repeat)


def car_racing(preset: Preset, folder: str | Path | None = None) -> tuple[WorldModel, Controller]:
    """The whole loop, from nothing, as many rounds as the preset has: V, M and C of CarRacing.

    The folder ends up with the last round's weights, and with the logs of all rounds, whose rows
    say which "round" they are from. With `preset.dreaming()`, every C is evolved in dreams alone,
    and what counts is what `hindsight` chose: the last round's own search only looks ahead.
    """
    examine(preset)
    done = [k for k in range(preset.rounds) if is_finished(preset, folder, k)]
    run = round_folder(preset, folder, 0).parent
    with exclusive_lock(run):
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
    with exclusive_lock(round_folder(preset, folder, number).parent):
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
    work, agent = round_folder(preset, folder, number), agent_before(preset, folder, number)
    driver, eyes, members = random_car_policy(preset.repeat), None, 1
    if agent is not None:
        (eyes, controller), levels = agent, 1
        if preset.dream:
            last = round_folder(preset, folder, number - 1)
            controller, levels = load_controller(last / "population.safetensors"), 4
        driver = noisy_car_policy(ControllerPolicy(controller), preset.repeat, levels)
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
        store.include(EpisodeStore(round_folder(preset, folder, number - 1) / "episodes"))
    return store


def car_vae(preset: Preset, folder: str | Path | None = None, number: int = 0) -> VAE:
    """V of round `number`: a new one, or the last round's, which goes on learning."""
    work, start = round_folder(preset, folder, number), None
    if _brought(work, "vae"):
        return load_network(VAE, work / "vae.safetensors")
    if number > 0:
        start = network_before(preset, folder, number, VAE, "vae")
    if preset.stays(number):
        return keep_network(start, [], work, "vae")
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
    work = round_folder(preset, folder, number)
    if preset.stays(number):
        latents = EpisodeStore(work / "latents")
        latents.include(EpisodeStore(round_folder(preset, folder, number - 1) / "latents"))
    vae = load_network(VAE, work / "vae.safetensors")
    device = str(pick_device(preset.device or None))
    return encode(EpisodeStore(work / "episodes"), vae, work / "latents", device)


def car_mdn_rnn(preset: Preset, folder: str | Path | None = None, number: int = 0) -> MDNRNN:
    """M of round `number`, learned anew; or the last round's, if V has stayed the same."""
    work = round_folder(preset, folder, number)
    if _brought(work, "mdn_rnn"):
        return load_network(MDNRNN, work / "mdn_rnn.safetensors")
    if preset.stays(number):
        return keep_network(
            network_before(preset, folder, number, MDNRNN, "mdn_rnn"), [], work, "mdn_rnn"
        )
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
        publish(preset, folder, number, *WORLD_MODEL)
    return mdn_rnn


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
    work, k = round_folder(preset, folder, number), preset.directions
    with exclusive_lock(work.parent):
        world_model, start = load_world_model(work), None
        if number == 0 and (work / "start.safetensors").exists():  # somebody's own
            start = load_controller(work / "start.safetensors")
        elif number > 0 and not preset.stays(number):
            start = _once_translated(agent_before(preset, folder, number), world_model, work)
        elif number > 0 and not preset.dream:
            _, start = agent_before(preset, folder, number)
        reality = car_world(preset), world_model
        world, mind, seed = car_world(preset, preset.patience), world_model, preset.seed
        if preset.dream:
            dream = WorldModel(world_model.vae, car_dream(preset, folder, number))
            world = dream_world(preset, dream, work / "latents", agent=world_model)
            mind = PassThroughEncoder(world_model)
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
        publish(
            preset, folder, number, *WORLD_MODEL, "dream", "hindsight", "evolution", "controller"
        )
    return result
