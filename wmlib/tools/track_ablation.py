"""Do hard tracks help the search? The last round of a run once more, with tracks from all alike.

`python -m wmlib ablate tracks` repeats the search of the last round of a finished run that has a
`hard_pool`, from the same C, with the same V, M, directions, generations and random numbers, but
without the pool, and scores three Cs on the same tracks: that of the beginning, that of the run,
and the other one. One search per run: whether it holds is to be seen over several training seeds.
"""

import dataclasses
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

from wmlib.models.checkpoints import load_controller, load_world_model
from wmlib.models.controller import Controller
from wmlib.models.world_model import WorldModel
from wmlib.pipeline.car_racing import (
    initial_controller,
    mean_return,
    search_controller,
    training_env_spec,
)
from wmlib.pipeline.config import Config, Machine
from wmlib.pipeline.fitness import run_controllers
from wmlib.pipeline.rounds import CHECK_TRACKS_FROM, Round, rounds_of
from wmlib.pipeline.scoring import agent_digest
from wmlib.pipeline.search import search_directions
from wmlib.pipeline.workers import processes
from wmlib.provenance import Record
from wmlib.tools.runs import RunCommand
from wmlib.tools.settings import CarSettings, Flat
from wmlib.tools.tables import Table

TABLE = "tracks.jsonl"
TRACKS_FROM = CHECK_TRACKS_FROM + 50_000
SCORED = 4  # times as many tracks as a score has
START, HARD, ALL = ARMS = ("before the last round", "half of the tracks hard", "all tracks alike")


def run_track_ablation(config: Config, run: Path, machine: Machine) -> None:
    """A row per arm in tracks.jsonl; goes on with what is there.

    Rows: "arm", and for every track (training tracks that no search uses, fast renderer, to the
    end) "scores", "laps" and "steps". Raises ValueError for a run without hard tracks in its last
    round, and if the rows there are of another run.
    """
    last = rounds_of(config, run, machine)[-1]
    if not last.pool_tracks():
        raise ValueError(f"the last round of the run in {run} has no hard tracks to do without")
    if not last.is_finished:
        raise ValueError(f"the run in {run} is not finished: first run it with --resume")
    world_model = load_world_model(last.work)
    table = Table(run / TABLE, Record({"agent": agent_digest(run)}, dataclasses.asdict(config)))
    with processes(machine.workers, machine.cluster) as executor:
        for arm in ARMS:
            table.add({"arm": arm}, partial(_row, arm, last, world_model, executor))


def _row(arm: str, last: Round, world_model: WorldModel, executor: Executor | None) -> dict:
    config = last.config
    if arm == START:
        controller = initial_controller(last, world_model)
    elif arm == HARD:
        controller = load_controller(last.work / "controller.safetensors")
    else:
        controller = search_without_pool(last, world_model, executor)
    env_spec = training_env_spec(config, mirror=False)
    tracks = range(TRACKS_FROM, TRACKS_FROM + SCORED * config.score_tracks)
    (episodes,) = run_controllers(env_spec, world_model, controller, tracks, executor)
    return {
        "scores": [round(episode.score, 2) for episode in episodes],
        "laps": [episode.lap for episode in episodes],
        "steps": [episode.steps for episode in episodes],
    }


def search_without_pool(
    last: Round, world_model: WorldModel, executor: Executor | None
) -> Controller:
    """The C that a round's search finds with tracks from all alike."""
    fitness, start = mean_return(last, world_model, executor), initial_controller(last, world_model)
    directions = search_directions(world_model, last.work, last.config.search.directions)
    return search_controller(last, fitness, last.work / "all_tracks", start, directions)[0]


@dataclass(frozen=True)
class AblateTracks(RunCommand):
    """Does it help to prefer hard tracks: the last round's search once more, without them."""

    settings: Annotated[CarSettings, Flat]

    def __call__(self) -> None:
        """Run it."""
        with self.open(self.settings, "car_racing", True, changes=False) as (config, folder):
            run_track_ablation(config, folder, self.machine)
            print(f"written: {folder / TABLE}")
