"""What is lost by two popular mistakes: one track for every generation, and the best candidate.

`python -m wmlib ablate selection` evolves C with the pretrained V and M in small searches, like
those of `ablate search`: with one track for all generations, or with a new one for each. Its result
is scored on the tracks of the search itself and on others, and so is the candidate with the highest
return of the whole search. Chapter 7 draws the differences.
"""

import dataclasses
from collections.abc import Sequence
from concurrent.futures import Executor
from functools import partial
from pathlib import Path

import numpy as np
from torch import Tensor

from wmlib.files import exclusive_lock
from wmlib.models.checkpoints import load_world_model, world_model_digest
from wmlib.models.controller import Controller
from wmlib.models.world_model import WorldModel
from wmlib.paths import pretrained
from wmlib.pipeline import car_racing
from wmlib.pipeline.config import Config, Machine
from wmlib.pipeline.fitness import MeanReturn, returns
from wmlib.pipeline.workers import processes
from wmlib.provenance import Record
from wmlib.tools.search_ablation import random_policy_features, settings_of, step_size
from wmlib.tools.tables import Ablate, Table, published
from wmlib.training.evolution import Evolution
from wmlib.training.search_space import Directions

RESULTS = published("selection")
SEEDS = range(10)
ONE, NEW = ARMS = "one track for all generations", "a new track for each generation"
TRACKS_FROM = 941_000  # training tracks that no training and no search uses
OTHERS = 32  # of them, on which a result is scored


def run_selection_ablation(config: Config, file: Path, work: Path, machine: Machine) -> None:
    """A row per arm and seed in `file`; goes on with what is there.

    Rows: "arm", "seed", and mean returns of two controllers: of the result, the mean of the last
    distribution, on the tracks of its search ("result_own") and on others ("result_others"); of the
    candidate with the highest return of all, that return ("best_own") and its mean on the others
    ("best_others"). Raises ValueError if the rows there were made with other settings or another
    world model.
    """
    if not config.search.directions:
        raise ValueError("this ablation needs principal components: use scale smoke or laptop")
    world_model = load_world_model(pretrained("car_racing"))
    settings = settings_of(config) | {"tracks": min(OTHERS, config.search.check_tracks)}
    env = dataclasses.asdict(config.env) | {"repeat": world_model.mdn_rnn.repeat}
    record = Record(
        {"world_model": world_model_digest(world_model)}, {"env": env, "search": settings}
    )
    with exclusive_lock(work), processes(machine.workers, machine.cluster) as executor:
        seen = random_policy_features(config, world_model, work)
        for seed in SEEDS:
            for arm in ARMS:
                measure = partial(_row, config, world_model, settings, seen, arm, seed, executor)
                Table(file, record).add({"arm": arm, "seed": seed}, measure)


def _row(
    config: Config,
    world_model: WorldModel,
    settings: dict,
    seen: Tensor,
    arm: str,
    seed: int,
    executor: Executor | None,
) -> dict:
    short = config.change(env={"max_steps": settings["max_steps"]})
    spec = car_racing.training_env_spec(short, settings["patience"])
    new = MeanReturn(spec, world_model, 1, seed=seed)
    tracks = [track for k in range(settings["generations"]) for track in new.tracks(k)]
    space = Directions.of(seen, settings["directions"])

    def score(points: np.ndarray, on: Sequence[int]) -> np.ndarray:
        controllers = Controller(space.expand(points))
        return returns(spec, world_model, controllers, on, executor).mean(1)

    best, highest = np.zeros(space.num_parameters), -np.inf

    def fitness(points: np.ndarray, generation: int) -> np.ndarray:
        nonlocal best, highest
        values = score(points, [tracks[0 if arm == ONE else generation]])
        if values.max() > highest:
            best, highest = points[values.argmax()], values.max()
        return values

    evolution = Evolution(
        space.num_parameters, settings["population"], step_size(space, seen), seed=seed
    )
    list(evolution.run(fitness, settings["generations"]))
    others = range(TRACKS_FROM, TRACKS_FROM + settings["tracks"])
    both = np.stack([evolution.mean, best])
    own = score(both, tracks[:1] if arm == ONE else tracks)
    result, candidate = score(both, others)
    values = {
        "result_own": own[0],
        "result_others": result,
        "best_own": highest,
        "best_others": candidate,
    }
    return {name: round(float(value), 2) for name, value in values.items()}


class AblateSelection(Ablate):
    """Two mistakes: the same track in every generation, and keeping the best candidate."""

    name = RESULTS.stem

    def measure(self, config: Config, file: Path, work: Path, machine: Machine) -> None:
        """As of `Ablate`."""
        run_selection_ablation(config, file, work, machine)
