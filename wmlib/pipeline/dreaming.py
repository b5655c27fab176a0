"""What is different where C is evolved in dreams alone."""

import logging
import math
import time
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

import numpy as np

from wmlib.envs.dream import DreamWorld, PassThroughEncoder
from wmlib.envs.vector import World
from wmlib.files import read_log, require_equal
from wmlib.models.checkpoints import load_controller, save_controller
from wmlib.models.controller import Controller
from wmlib.models.mdn_rnn import MDNRNN
from wmlib.models.world_model import State, WorldModel
from wmlib.pipeline.config import Preset
from wmlib.pipeline.fitness import NEARLY_ROUND, foreseen
from wmlib.pipeline.phases import append_to_log, train_mdn_rnn
from wmlib.pipeline.rounds import network_before, round_folder
from wmlib.pipeline.search import check_on_the_road
from wmlib.rollout.episodes import EpisodeStore
from wmlib.rollout.starts import find_moments, real_moments

LOG = logging.getLogger(__name__)


def car_dream(preset: Preset, folder: str | Path | None = None, number: int = 0) -> MDNRNN:
    """The M that makes the dreams of round `number`; the agent keeps its own.

    It has other work to do than to remember: whatever C finds in it must be true. So it learns z
    more sharply (`dream_z_noise`, and all of z counts), and hears what was earned: a road looks the
    same to who drives it the wrong way, and nothing but the missing pay tells. It goes on learning
    with every round's drives, and is trained anew only when V has changed.
    """
    work, start = round_folder(preset, folder, number), None
    epochs, seed = preset.dream_epochs[number], preset.seed + 1000 * number
    lesson = _lesson(EpisodeStore(work / "latents"), work / "lesson", preset.dream_fresh, seed)
    if preset.stays(number):
        start = network_before(preset, folder, number, MDNRNN, "dream")
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
        "reward_input": True,
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


def hindsight(
    preset: Preset,
    folder: str | Path | None,
    number: int,
    dream: tuple[DreamWorld, PassThroughEncoder],
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
    work, began = round_folder(preset, folder, number), time.monotonic()
    file, log = work / "start.safetensors", work / "hindsight.jsonl"
    settings = {"dreams": preset.hindsight_dreams, "best": preset.hindsight_best}
    if file.exists():
        require_equal(file, read_log(log)[0]["settings"], settings)
        return load_controller(file)
    cast = {}
    for k in range(preset.since(number), number):
        for kind in ("start", "controller"):
            path = round_folder(preset, folder, k) / f"{kind}.safetensors"
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
    append_to_log(log, row | {"settings": settings}, began)
    save_controller(start, file)
    return start


def dream_world(
    preset: Preset, dream: WorldModel, latents: str | Path, agent: WorldModel | None = None
) -> DreamWorld:
    """Dreams with a preset's numbers, beginning in the newest of the encoded drives in a folder.

    agent: the world model that C remembers with; by default the dream's.
    """
    store = EpisodeStore(latents)
    moments, on_the_road = find_moments(
        store, dream.mdn_rnn.repeat, before=preset.dream_before, newest=preset.dream_fresh
    )

    def starts(world_model: WorldModel) -> State:
        return real_moments(world_model, store, moments, preset.dream_starts, preset.seed)

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
        num_envs=preset.dream_lanes,
        max_steps=preset.dream_steps,
        temperature=preset.temperature,
        reward_temperature=preset.pay_temperature,
        dropout=preset.dropout,
        patience=preset.dream_patience,
        agent=None if agent is None else (agent, starts(agent)),
        note=note,
    )
