"""How far may a dream be trusted? Drivers whose real score is known, and drivers bred in it.

A dream is an M. Here Ms are compared that learn from equally many drives: first one like chapter
3's, from random driving, then step by step what makes a dream's M (see `dreaming.car_dream`), in
the end with the drives of the agents that learned in dreams. All of it needs a finished run in
dreams, and is added to its folder.
"""

import math
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

import numpy as np

from wmlib.envs.dream import DreamWorld, PassThroughEncoder
from wmlib.files import read_log, write_log
from wmlib.models.checkpoints import load_agent, load_controller, load_network
from wmlib.models.controller import Controller
from wmlib.models.mdn_rnn import MDNRNN
from wmlib.models.world_model import WorldModel
from wmlib.pipeline import car_racing, dreaming, fitness, search
from wmlib.pipeline.config import Preset
from wmlib.rollout.episodes import EpisodeStore
from wmlib.rollout.workers import processes

REALITY, RUN, RUN_IN_DOUBT = "reality", "the run's own", "the run's own, in doubt"


# How M learns; each adds something to the one before. The last three differ in what they are fed.
PLAIN, SHARP, TOLD, RANDOM, OWN, BOTH = KINDS = (
    "as in chapter 3",
    "sharper",
    "told the pay",
    "learning faster",
    "its own driving",
    "both",
)


# Dreams as M has learned them are of temperature 1, without dropout; others are under doubt.
NO_DOUBT = {"temperature": 1.0, "dropout": 0.0}


TEMPERATURES = (0.5, 1.0, 1.3, 1.8)


DROPOUTS = (0.0, 0.1)


DREAMS = 96  # that every driver of the panel has


CHECK_EVERY = 3  # generations, where drivers cheat; else only the end counts


NEVER_STEERS, CONTROLLER = "never steers", "controller.safetensors"


TRACKS_FROM = 920_000  # of training; nobody learned from these


def study(preset: Preset, run: str | Path) -> None:
    """The panel and all that is bred; goes on with what is there.

    panel.jsonl: a row for reality, with "drivers" and their "scores", a list of drives each; and a
    row for each dream: what it says that a whole drive would bring ("foreseen"), and the half-width
    of that number's 95% interval ("margin"). bred.jsonl: a row for each dream in which drivers were
    bred from nothing: what the last generation would earn by it, on average ("promised"), and
    "real" and "real_std" of what became of it. The sharper M and the C bred in its dreams are
    kept as well, as naive_dream and naive_controller.safetensors: that is what fooling oneself
    looks like.
    """
    run = Path(run)
    with processes(preset.workers, preset.cluster) as executor:
        for row in doubts():
            key = row | {"rounds": preset.rounds}
            _once(run / "bred.jsonl", key, lambda r=row: bred(preset, run, executor, **r))
        _keep_naive(run)
        for where in (REALITY, *KINDS, RUN, RUN_IN_DOUBT):
            row = {"where": where, "rounds": preset.rounds}
            _once(run / "panel.jsonl", row, lambda w=where: panel(preset, run, w, executor))


def _keep_naive(run: Path) -> None:
    dream, search = _taught(run, SHARP), _bred(run, SHARP, **NO_DOUBT)
    for file, name in (
        (dream / "dream.safetensors", "naive_dream.safetensors"),
        (dream / "dream.jsonl", "naive_dream.jsonl"),
        (search / CONTROLLER, "naive_controller.safetensors"),
        (search / "evolution.jsonl", "naive_controller.jsonl"),
    ):
        shutil.copy(file, run / name)


def doubts() -> Iterator[dict]:
    """Every dream that drivers are bred in: one of each kind, and the last kind under doubts."""
    for kind in KINDS:
        yield {"kind": kind} | NO_DOUBT
    for dropout in DROPOUTS:
        for temperature in TEMPERATURES:
            if (doubt := {"temperature": temperature, "dropout": dropout}) != NO_DOUBT:
                yield {"kind": BOTH} | doubt


def drivers(preset: Preset, run: Path) -> dict[str, Controller]:
    """The panel, from hopeless to good: never steering, bred in each kind of dream, and the run's.

    Of the run, what every round found since the agent's M stayed the same (an h of before would be
    noise to it), and C.
    """
    last = preset.rounds - 1
    # On the gas by 0.3, and straight on.
    straight = np.zeros(Controller().num_parameters)
    straight[-3:] = 0.0, math.atanh(2 * 0.3 - 1), -3.0
    panel = {NEVER_STEERS: Controller(straight)}
    for kind in KINDS:
        panel[f"bred {kind}"] = load_controller(_bred(run, kind, **NO_DOUBT) / CONTROLLER)
    for k in range(preset.since(last), last + 1):
        panel[f"round {k}"] = load_controller(run / f"round{k}" / CONTROLLER)
    return panel | {"the run's C": load_controller(run / CONTROLLER)}


def panel(preset: Preset, run: Path, where: str, executor: Executor | None) -> dict:
    """What every driver of the panel earns in reality, or would earn by a dream of that kind.

    All dreams are without doubt, but for one: the run's own as its drivers were evolved in it.
    """
    cast, (agent, _) = drivers(preset, run), load_agent(run)
    everyone = Controller(np.concatenate([c.parameters for c in cast.values()]))
    if where == REALITY:
        tracks = range(TRACKS_FROM, TRACKS_FROM + preset.check_tracks)
        scores = fitness.panel(car_racing.car_world(preset), agent, everyone, tracks, executor)
        return {"drivers": list(cast), "scores": scores.round(2).tolist()}
    doubt = {} if where == RUN_IN_DOUBT else NO_DOUBT
    world = dream_of(preset.change(**doubt), run, where)
    dreams = fitness.dreamt(world, PassThroughEncoder(agent), everyone, range(DREAMS), executor)
    drawn = np.random.default_rng(0).integers(DREAMS, size=(200, DREAMS))  # a bootstrap
    again = [fitness.whole_drive(*(d[:, k] for d in dreams), preset.looks_left) for k in drawn]
    return {
        "drivers": list(cast),
        "foreseen": fitness.whole_drive(*dreams, preset.looks_left).round(4).tolist(),
        "margin": (1.96 * np.std(again, axis=0)).round(2).tolist(),
    }


def bred(
    preset: Preset,
    run: Path,
    executor: Executor | None,
    kind: str,
    temperature: float,
    dropout: float,
) -> dict:
    """A C from nothing, evolved in one kind of dream, and its score in reality."""
    doubt = preset.change(temperature=temperature, dropout=dropout)
    (agent, _), k = load_agent(run), preset.directions
    _, evolution = search.evolve(
        dream_of(doubt, run, kind),
        PassThroughEncoder(agent),
        _bred(run, kind, temperature, dropout),
        population=preset.population,
        rollouts=preset.rollouts[0],
        generations=preset.study_generations,
        sigma=preset.sigmas[0],
        directions=car_racing.directions(agent, _last(preset, run), k) if k else None,
        seed=preset.seed,
        check_every=CHECK_EVERY if kind == SHARP else preset.check_every,
        check_tracks=preset.check_tracks,
        executor=executor,
        reality=(car_racing.car_world(preset), agent),
        length=preset.looks_left,
    )
    last = evolution.history[-1]
    return {"promised": last["mean"], "real": last["check"], "real_std": last["check_std"]}


def dream_of(preset: Preset, run: Path, kind: str) -> DreamWorld:
    """Dreams of one kind, all from the same moments; the agent remembers with its own M."""
    agent, _ = load_agent(run)
    own = kind in (RUN, RUN_IN_DOUBT)
    dream = load_network(MDNRNN, run / "dream.safetensors") if own else taught(preset, run, kind)
    latents = _last(preset, run) / "latents"
    return dreaming.dream_world(preset, WorldModel(agent.vae, dream), latents, agent)


def taught(preset: Preset, run: Path, kind: str) -> MDNRNN:
    """An M of one kind, trained from nothing; each from equally many drives."""
    folder, many = _taught(run, kind), 2 * preset.dream_fresh
    everything = EpisodeStore(_last(preset, run) / "latents")
    random = set(EpisodeStore(run / "round0" / "episodes").names())
    at_random = [name for name in everything.names() if name in random]
    own = [name for name in everything.names() if name not in random]
    fed = at_random[-many:]
    if kind in (OWN, BOTH):
        fed = own[-many:] if kind == OWN else at_random[-many // 2 :] + own[-many // 2 :]
    latents = EpisodeStore(folder / "latents")
    latents.describe(everything.about)
    latents.include(everything, fed)
    plainer: dict[str, Any] = {}
    if kind in (PLAIN, SHARP, TOLD):
        plainer = {"learning_rate": 1e-3, "anneal": False, "batch_size": preset.rnn_batch}
    if kind in (PLAIN, SHARP):
        plainer |= {"reward_input": False}
    if kind == PLAIN:
        plainer |= {"z_noise": 1.0, "z_weight": 1.0}
    epochs, seed = preset.dream_epochs[0], preset.seed
    return dreaming.train_dream(preset, folder, latents, epochs=epochs, seed=seed, **plainer)


def _last(preset: Preset, run: Path) -> Path:
    return run / f"round{preset.rounds - 1}"


def _taught(run: Path, kind: str) -> Path:
    return run / "study" / kind.replace(" ", "_")


def _bred(run: Path, kind: str, temperature: float, dropout: float) -> Path:
    return _taught(run, kind) / f"bred-{temperature:g}-{dropout:g}"


def _once(log: Path, key: dict, work: Callable[[], dict]) -> None:
    rows = read_log(log) if log.exists() else []
    if not any(key.items() <= row.items() for row in rows):
        write_log([*rows, key | work()], log)
