"""The steps of a round that are specific to evolving C in dreams."""

import logging
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from wmlib.envs.dream import DreamSpec
from wmlib.files import digest
from wmlib.models.checkpoints import load_controller, read_record, save_controller
from wmlib.models.controller import Controller
from wmlib.models.mdn_rnn import MDNRNN
from wmlib.models.world_model import State, WorldModel
from wmlib.pipeline.config import Config
from wmlib.pipeline.fitness import NEARLY_A_LAP, MeanReturn
from wmlib.pipeline.phases import append_to_log, train_mdn_rnn
from wmlib.pipeline.rounds import Round
from wmlib.provenance import Record, require
from wmlib.rollout.episodes import EpisodeStore
from wmlib.rollout.starts import find_moments, real_moments

LOG = logging.getLogger(__name__)


def train_dream(current: Round) -> MDNRNN:
    """Train the M that makes a round's dreams.

    The agent's own M is another one and unchanged; or, with `shared_m`, it is this one.

    Its predictions are the reward that C is evolved for, so it is trained differently: with less
    posterior noise (`z_noise`), with the likelihood summed over z (`z_weight`), and with the
    previous reward as an input: a car that goes the wrong way round sees the same frames, and only
    the missing reward reveals it. It is trained further with every round's episodes, and from
    scratch when V has changed.
    """
    dream, seed = current.config.dream, current.config.seed + 1000 * current.number
    subset = training_subset(current.latents, current.work / "training_subset", dream.newest, seed)
    start = current.previous.mdn_rnn("dream") if current.freezes_vae else None
    return train_dreaming_mdn_rnn(
        current.config,
        current.work,
        subset,
        epochs=current.settings.dream_epochs,
        seed=seed,
        start=start,
        device=current.device,
    )


def training_subset(
    latents: EpisodeStore, folder: str | Path, newest: int, seed: int
) -> EpisodeStore:
    """The newest episodes and as many of the others, drawn at random, as links in a folder.

    The newest ones show the errors of the latest policies, so they are half of what is learned; the
    others keep M from forgetting how earlier policies failed.
    """
    names, subset = latents.names(), EpisodeStore(folder)
    record = Record({"latents": latents.digest()}, {"newest": newest, "seed": seed})
    subset.begin(record, rebuild=True)
    again = np.random.default_rng(seed).permutation(names[:-newest])[:newest].tolist()
    subset.include(latents, names[-newest:] + again)
    return subset


def train_dreaming_mdn_rnn(
    config: Config,
    folder: str | Path,
    latents: EpisodeStore,
    *,
    epochs: int,
    seed: int,
    start: MDNRNN | None = None,
    device: str | None = None,
    **changes: Any,
) -> MDNRNN:
    """An M to dream with, from encoded episodes; writes dream.safetensors to the folder.

    With `shared_m` it is the agent's, too, and written as mdn_rnn.safetensors.

    changes: other arguments for `train_mdn_rnn`. The learning rate is annealed, because the search
    exploits errors that the last batches have left: two Ms that differ only in the last passes can
    rank the same controllers in opposite orders.
    """
    dream = config.dream
    settings = {
        "batch_size": dream.batch_size,
        "learning_rate": dream.learning_rate,
        "anneal": True,
        "reward_input": config.task_spec.reward is None,
        "until": NEARLY_A_LAP if config.task_spec.has_laps else math.inf,
        "z_noise": dream.z_noise,
        "z_weight": dream.z_weight,
    }
    mdn_rnn, _ = train_mdn_rnn(
        latents,
        folder,
        epochs=epochs,
        window=config.window(config.frame_skip),
        action_size=config.task_spec.action_size,
        hidden_size=config.rnn.hidden_size,
        done_weight=config.rnn.done_weight,
        repeat=config.frame_skip,
        seed=seed,
        device=device,
        start=start,
        name="mdn_rnn" if dream.shared_m else "dream",
        reads_cell=dream.shared_m and config.task_spec.reads_cell,
        **settings | changes,
    )
    return mdn_rnn


def reevaluate(
    current: Round, fitness: MeanReturn, check: Callable[[Controller], dict]
) -> Controller:
    """Re-evaluate all earlier controllers in a round's dreams; the mean of the best ones' weights.

    The M that a C was evolved in cannot predict that C's failures: its training data have no
    episodes of a similar policy. A later M has learned from that C's episodes. So all Cs that read
    the same h (see `Round.vae_since`) are evaluated again, equal ones once, and the mean of the
    weights of the best `averaged` (of the better half, at most) is the round's result and the start
    of its search: each of them exploits errors of its own dreams, and the mean keeps what they have
    in common.

    fitness: scores the candidates. check: more columns for the log, from real episodes; not used to
    choose. Writes initial.safetensors, and reevaluation.jsonl: "names", their "predicted_return",
    which were "chosen", and the columns of `check`. Raises ValueError if the folder holds a
    re-evaluation of other controllers, dreams or settings.
    """
    began, dream = time.monotonic(), current.config.dream
    file, log = current.work / "initial.safetensors", current.work / "reevaluation.jsonl"
    candidates: dict[str, Controller] = {}
    for number in range(current.vae_since, current.number):
        for kind in ("initial", "controller"):
            path = current.at(number).work / f"{kind}.safetensors"
            if path.exists():
                candidates[f"{kind} {number}"] = load_controller(path)
    # In reverse, so that the earliest of several names of the same C is kept.
    unique = {digest(c.parameters): name for name, c in reversed(candidates.items())}
    names = [name for name in candidates if name in unique.values()]
    record = Record(
        fitness.record.made_from | {n: digest(candidates[n].parameters) for n in names},
        fitness.record.settings | {"dreams": dream.reevaluations, "averaged": dream.averaged},
    )
    if file.exists():
        require(file, read_record(file), record)
        return load_controller(file)
    everyone = Controller(
        np.concatenate([candidates[name].parameters for name in names]),
        **candidates[names[0]].config,
    )
    predicted = fitness.of(everyone, range(dream.reevaluations)).fitness
    best = np.argsort(-predicted)[: min(dream.averaged, math.ceil(len(names) / 2))]
    mean = Controller(everyone.parameters[best].mean(0), **everyone.config)
    row = {"names": names, "predicted_return": predicted.tolist()}
    row |= {"chosen": [names[i] for i in best]} | check(mean)
    log.unlink(missing_ok=True)  # left by a run that was killed before the save below
    append_to_log(log, row, began)
    save_controller(mean, file, record=record)
    return mean


def dream_env_spec(
    config: Config, dream: WorldModel, latents: str | Path, agent: WorldModel
) -> DreamSpec:
    """Dreams with a config's settings, beginning in the newest of the encoded episodes in a folder.

    agent: the world model that computes C's h, `dream` itself or another one. Raises ValueError if
    there are no episodes.
    """
    settings, store, task = config.dream, EpisodeStore(latents), config.task_spec
    where = {"before": settings.start_before, "newest": settings.newest}
    moments, on_the_road = find_moments(store, dream.mdn_rnn.repeat, **where)

    def starts(world_model: WorldModel) -> State:
        return real_moments(world_model, store, moments, settings.starts, config.seed)

    note = "" if on_the_road else " anywhere in an episode"
    if note:
        LOG.warning(
            "no episode in %s is on the road at steps 50 to %d: dreams begin anywhere in one",
            store.folder,
            settings.start_before,
        )
    return DreamSpec(
        dream,
        starts(dream),
        num_envs=settings.num_envs,
        max_steps=settings.steps,
        temperature=settings.temperature,
        reward_temperature=settings.reward_temperature,
        dropout=settings.dropout,
        patience=settings.patience,
        agent=None if agent is dream else (agent, starts(agent)),
        reward=None if task.reward is None else task.reward * config.frame_skip,
        # What comes out of M is the log-odds, without the weight it was trained with.
        end_above=-math.log(config.rnn.done_weight) if settings.end == "likely" else None,
        note=note,
        origin=Record(
            {"latents": store.digest()}, {"count": settings.starts, "seed": config.seed, **where}
        ).digest,
    )
