"""What is lost by two popular mistakes: scoring on the search's own track, and the best candidate.

`python -m wmlib ablate selection` runs small searches that start at the pretrained C, with one
track for all generations or with a new one for each. The result is scored on the tracks of the
search itself and on others, and so is the candidate with the highest return of the whole search.
"""

from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np
from torch import Tensor

from wmlib.files import exclusive_lock
from wmlib.models.checkpoints import load_agent
from wmlib.models.controller import Controller
from wmlib.paths import pretrained
from wmlib.pipeline import car_racing
from wmlib.pipeline.config import Config, Machine
from wmlib.pipeline.fitness import MeanReturn, returns
from wmlib.pipeline.scales import get_chapter_config
from wmlib.pipeline.scoring import agent_digest, collect_test_episodes
from wmlib.pipeline.workers import processes
from wmlib.provenance import Record
from wmlib.tools.input_ablation import features_of
from wmlib.tools.tables import Ablate, Table, published
from wmlib.training.evolution import Evolution
from wmlib.training.search_space import Directions

RESULTS = published("selection")
SEEDS = range(5)
ONE, NEW = ARMS = "one track for all generations", "a new track for each generation"
SIGMA = 0.2
TRACKS_FROM = 941_000  # training tracks that no training and no search uses
CONTROLLERS = ("before", "result", "best")


def run_selection_ablation(config: Config, file: Path, work: Path, machine: Machine) -> None:
    """A row per arm and seed in `file`; goes on with what is there.

    Rows: "arm", "seed", and of three controllers, the pretrained one ("before"), the mean of the
    last distribution ("result") and the candidate with the highest return of all ("best"), the mean
    return on the tracks of the search (`..._own`) and on others (`..._others`). "best_measured" is
    the return for which the last of them was chosen, "before_measured" that of the pretrained one
    on the same track. Raises ValueError if the rows there were made with other settings or from
    another agent.
    """
    if not config.search.directions:
        raise ValueError("this ablation needs principal components: use scale smoke or laptop")
    settings = settings_of(config)
    record = Record({"agent": agent_digest(pretrained("car_racing"))}, settings)
    with exclusive_lock(work), processes(machine.workers, machine.cluster) as executor:
        table, store = Table(file, record), collect_test_episodes(config, settings["test_episodes"])
        seen = features_of(load_agent(pretrained("car_racing"))[0], store, store.names())
        for seed in SEEDS:
            for arm in ARMS:
                measure = partial(_row, config, settings, seen, arm, seed, executor)
                table.add({"arm": arm, "seed": seed}, measure)


def settings_of(config: Config) -> dict:
    """How C is searched for and scored."""
    return {
        "env": asdict(config.env),
        "population": max(4, config.search.population // 2),
        "generations": config.search.ablation_generations,
        "sigma": SIGMA,
        "directions": config.search.directions,
        "patience": config.search.patience,
        "test_episodes": get_chapter_config(config).test_episodes,
        "tracks": config.search.check_tracks,
    }


def _row(
    config: Config,
    settings: dict,
    seen: Tensor,
    arm: str,
    seed: int,
    executor: Executor | None,
) -> dict:
    world_model, before = load_agent(pretrained("car_racing"))
    spec = car_racing.training_env_spec(config, settings["patience"])
    new = MeanReturn(spec, world_model, 1, seed=seed)
    tracks = [track for k in range(settings["generations"]) for track in new.tracks(k)]
    if arm == ONE:
        tracks = tracks[:1]
    space = Directions.of(seen, settings["directions"])
    unchanged = np.zeros(space.num_parameters)
    best, measured, on = unchanged, -np.inf, tracks[0]

    def score(points: np.ndarray, tracks: Sequence[int]) -> np.ndarray:
        controllers = Controller(before.parameters + space.expand(points))
        return returns(spec, world_model, controllers, tracks, executor).mean(1)

    def fitness(points: np.ndarray, generation: int) -> np.ndarray:
        nonlocal best, measured, on
        track = tracks[generation % len(tracks)]
        values = score(points, [track])
        if values.max() > measured:
            best, measured, on = points[values.argmax()], float(values.max()), track
        return values

    evolution = Evolution(space.num_parameters, settings["population"], SIGMA, seed=seed)
    list(evolution.run(fitness, settings["generations"]))
    three = np.stack([unchanged, evolution.mean, best])
    others = range(TRACKS_FROM, TRACKS_FROM + settings["tracks"])
    row = {"best_measured": measured, "before_measured": score(three[:1], [on])[0]}
    for name, some in (("own", tracks), ("others", others)):
        values = score(three, some)
        row |= {f"{c}_{name}": value for c, value in zip(CONTROLLERS, values, strict=True)}
    return {name: round(float(value), 2) for name, value in row.items()}


class AblateSelection(Ablate):
    """Two mistakes: scoring on the track of the search, and keeping the best candidate."""

    name = RESULTS.stem

    def measure(self, config: Config, file: Path, work: Path, machine: Machine) -> None:
        """As of `Ablate`."""
        run_selection_ablation(config, file, work, machine)
