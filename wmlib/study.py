"""How far may a dream be trusted? Drivers whose real score is known, and drivers bred in it.

A dream is an M, so it knows what that M was fed with. Three are compared, alike in all else: fed
with random driving, with the drives of the agents that learned in dreams, and with both. All of it
needs a finished run in dreams, and is added to its folder.
"""

import math
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from pathlib import Path

import numpy as np

from wmlib import recipes
from wmlib.controller import Controller
from wmlib.dream import Dreamer, DreamWorld
from wmlib.experience import EpisodeStore
from wmlib.mdn_rnn import MDNRNN
from wmlib.presets import Preset
from wmlib.rollout import processes
from wmlib.world_model import WorldModel, load_agent, load_controller, read_log, write_log

REALITY = "reality"
RANDOM, OWN = "random driving", "its own driving"
FED = {RANDOM: {RANDOM}, OWN: {OWN}, "both": {RANDOM, OWN}}
TEMPERATURES = (0.5, 1.0, 1.5)
DROPOUTS = (0.0, 0.1)
DREAMS = 64  # that every driver of the panel has
CHECK_EVERY = 5  # generations; where there is doubt, only the end counts
NEVER_STEERS = "never steers"
TRACKS_FROM = 920_000  # of training; nobody learned from these


def study(preset: Preset, run: str | Path) -> None:
    """The panel and all that is bred; goes on with what is there.

    panel.jsonl: a row for reality and for each dream, with "drivers" and their "scores", a list of
    drives each. bred.jsonl: a row for each dream in which drivers were bred, with what the last
    generation earned there ("dream"), and "real" and "real_std" of what became of it. The M that
    knows random driving alone and the C bred in its dreams are kept as well, as naive_dream and
    naive_controller.safetensors: that is what fooling oneself looks like.
    """
    run = Path(run)
    with processes(preset.workers, preset.cluster) as executor:

        def breed(row: dict) -> None:
            key = row | {"rounds": preset.rounds}
            _once(run / "bred.jsonl", key, lambda: bred(preset, run, executor, **row))

        naive, *others = doubts()
        breed(naive)
        _keep_naive(run, naive)
        for where in (REALITY, *FED):
            row = {"where": where, "rounds": preset.rounds}
            _once(run / "panel.jsonl", row, lambda w=where: panel(preset, run, w, executor))
        for row in others:
            breed(row)


def _keep_naive(run: Path, naive: dict) -> None:
    dream, search = _fed(run, naive["fed"]), _bred(run, **naive)
    for file, name in (
        (dream / "dream.safetensors", "naive_dream.safetensors"),
        (dream / "dream.jsonl", "naive_dream.jsonl"),
        (search / "controller.safetensors", "naive_controller.safetensors"),
        (search / "evolution.jsonl", "naive_controller.jsonl"),
    ):
        shutil.copy(file, run / name)


def doubts() -> Iterator[dict]:
    """Every kind of dream that drivers are bred in: all three, and the last one under doubts."""
    for fed in FED:
        for temperature in TEMPERATURES if fed == "both" else (1.0,):
            for dropout in DROPOUTS if fed == "both" else (0.0,):
                yield {"fed": fed, "temperature": temperature, "dropout": dropout}


def drivers(preset: Preset, run: Path) -> dict[str, Controller]:
    """The panel, from hopeless to good: one that never steers, what every round found, and C.

    Every round since the agent's M stayed the same: an h of before would be noise to it.
    """
    last = preset.rounds - 1
    first = preset.since(last)
    # On the gas by 0.3, and straight on.
    straight = np.zeros(Controller().num_parameters)
    straight[-3:] = 0.0, math.atanh(2 * 0.3 - 1), -3.0
    panel = {NEVER_STEERS: Controller(straight)}
    for k in range(first, last + 1):
        panel[f"round {k}"] = load_controller(run / f"round{k}" / "controller.safetensors")
    return panel | {"the run's C": load_controller(run / "controller.safetensors")}


def panel(preset: Preset, run: Path, where: str, executor: Executor | None) -> dict:
    """What every driver of the panel earns, in reality or in the dream that was fed so."""
    cast, (agent, _) = drivers(preset, run), load_agent(run)
    world, mind, drives, first = recipes.car_world(preset), agent, preset.check_tracks, TRACKS_FROM
    if where != REALITY:
        world, mind, drives, first = dream_of(preset, run, where), Dreamer(agent), DREAMS, 0
    everyone = Controller(np.concatenate([c.parameters for c in cast.values()]))
    scores = recipes.panel(world, mind, everyone, range(first, first + drives), executor)
    return {"drivers": list(cast), "scores": scores.round(2).tolist()}


def bred(
    preset: Preset,
    run: Path,
    executor: Executor | None,
    fed: str,
    temperature: float,
    dropout: float,
) -> dict:
    """A C from nothing, evolved in one kind of dream, and its score in reality."""
    doubt = preset.change(temperature=temperature, dropout=dropout)
    (agent, _), k = load_agent(run), preset.directions
    _, evolution = recipes.evolve(
        dream_of(doubt, run, fed),
        Dreamer(agent),
        _bred(run, fed, temperature, dropout),
        population=preset.population,
        rollouts=preset.rollouts[-1],
        generations=preset.study_generations,
        sigma=preset.sigmas[0],
        directions=recipes.directions(agent, _last(preset, run), k) if k else None,
        seed=preset.seed,
        check_every=CHECK_EVERY if (temperature, dropout) == (1.0, 0.0) else preset.check_every,
        check_tracks=preset.check_tracks,
        executor=executor,
        reality=(recipes.car_world(preset), agent),
        length=preset.looks,
    )
    last = evolution.history[-1]
    return {"dream": last["mean"], "real": last["check"], "real_std": last["check_std"]}


def dream_of(preset: Preset, run: Path, fed: str) -> DreamWorld:
    """Dreams of an M that was fed so; the agent remembers with its own."""
    agent, _ = load_agent(run)
    dream, latents = (
        WorldModel(agent.vae, fed_with(preset, run, fed)),
        _last(preset, run) / "latents",
    )
    return recipes.dream_world(preset, dream, latents, agent)


def fed_with(preset: Preset, run: Path, fed: str) -> MDNRNN:
    """An M that makes dreams, trained on a share of the drives from nothing."""
    folder = _fed(run, fed)
    at_random = set(EpisodeStore(run / "round0" / "episodes").names())
    everything = EpisodeStore(_last(preset, run) / "latents")
    kind = {name: RANDOM if name in at_random else OWN for name in everything.names()}
    chosen = [name for name in kind if kind[name] in FED[fed]]
    EpisodeStore(folder / "latents").include(everything, chosen)
    latents, epochs = EpisodeStore(folder / "latents"), preset.dream_epochs[0]
    return recipes.train_dream(preset, folder, latents, epochs=epochs, seed=preset.seed)


def _last(preset: Preset, run: Path) -> Path:
    return run / f"round{preset.rounds - 1}"


def _fed(run: Path, fed: str) -> Path:
    return run / "study" / fed.replace(" ", "_")


def _bred(run: Path, fed: str, temperature: float, dropout: float) -> Path:
    return _fed(run, fed) / f"bred-{temperature:g}-{dropout:g}"


def _once(log: Path, key: dict, work: Callable[[], dict]) -> None:
    rows = read_log(log) if log.exists() else []
    if not any(key.items() <= row.items() for row in rows):
        write_log([*rows, key | work()], log)
