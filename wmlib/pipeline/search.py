"""C by CMA-ES, in the environment or in dreams."""

import dataclasses
from concurrent.futures import Executor
from pathlib import Path

import numpy as np

from wmlib.envs.dream import DreamWorld
from wmlib.envs.vector import World
from wmlib.files import digest
from wmlib.models.checkpoints import save_controller
from wmlib.models.controller import Controller
from wmlib.models.world_model import WorldModel
from wmlib.pipeline.fitness import foreseen, panel
from wmlib.pipeline.phases import weights_digest
from wmlib.pipeline.rounds import CHECK_TRACKS_FROM
from wmlib.training.evolution import Evolution
from wmlib.training.search_space import Directions


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
    evolved in dreams: a `DreamWorld` and a `PassThroughEncoder`; then `reality` is where checks are
    driven, which the search never hears of.

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
        mind=weights_digest(eyes.vae, eyes.mdn_rnn, *dreams),
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
    scores = panel(world, world_model, controller, seeds, executor)[0]
    return {"check": float(scores.mean()), "check_std": float(scores.std(ddof=1))}
