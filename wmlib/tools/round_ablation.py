"""What makes the last round better? That round once more, each time without one part of it.

`python -m wmlib ablate round` repeats the last round of a finished run, after the same rounds, and
scores every C on the same tracks, with the V and M that it reads:

- `START`: the C that its search begins with;
- `WHOLE`: the run's own C;
- `ALL_ALIKE`: its search with tracks from all alike; V, M, directions, generations and random
  numbers are the same;
- `SLOWER`: acting only as often as the round before, with so many more generations that there are
  as many agent steps. As in every round without another pace, there is one level of noise, and V
  and M learn from the earlier rounds' episodes, too.

The last two are there only where the round has hard tracks, and acts more often. One run of each:
what holds is to be seen over several training seeds.
"""

import dataclasses
import shutil
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

from wmlib.files import link_or_copy
from wmlib.models.checkpoints import load_agent, load_controller, load_world_model
from wmlib.models.controller import Controller
from wmlib.models.world_model import WorldModel
from wmlib.pipeline.car_racing import (
    check_of,
    evolve_controller,
    initial_controller,
    mean_return,
    search_controller,
    train_world_model,
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

TABLE = "last_round.jsonl"
TRACKS_FROM = CHECK_TRACKS_FROM + 50_000
SCORED = 4  # times as many tracks as a score has
START, WHOLE = "before its search", "the whole round"
ALL_ALIKE, SLOWER = "no hard tracks", "acts as often as the round before"


def arms_of(last: Round) -> list[str]:
    """What can be measured of a run's last round. ValueError if it has no part to do without."""
    parts = {ALL_ALIKE: bool(last.pool_tracks()), SLOWER: last.changes_pace}
    if not any(parts.values()):
        raise ValueError(
            f"the last round of the run in {last.folder} has neither hard tracks nor another "
            f"frame_skip than the one before: there is nothing to do without"
        )
    return [START, WHOLE, *(arm for arm, is_there in parts.items() if is_there)]


def run_round_ablation(config: Config, run: Path, machine: Machine) -> None:
    """A row per arm in last_round.jsonl; goes on with what is there.

    Rows: "arm", and for every track (training tracks that no search uses, fast renderer, to the
    end) "scores", "laps" and "steps". Raises ValueError for a run that is not finished, or whose
    last round has no such part, and if the rows there are of another run.
    """
    last = rounds_of(config, run, machine)[-1]
    arms = arms_of(last)
    if not last.is_finished:
        raise ValueError(f"the run in {run} is not finished: first run it with --resume")
    table = Table(run / TABLE, Record({"agent": agent_digest(run)}, dataclasses.asdict(config)))
    with processes(machine.workers, machine.cluster) as executor:
        for arm in arms:
            table.add({"arm": arm}, partial(_row, arm, last, executor))


def _row(arm: str, last: Round, executor: Executor | None) -> dict:
    config, world_model = last.config, load_world_model(last.work)
    if arm == START:
        controller = initial_controller(last, world_model)
    elif arm == WHOLE:
        controller = load_controller(last.work / "controller.safetensors")
    elif arm == ALL_ALIKE:
        controller = search_without_pool(last, world_model, executor)
    else:
        world_model, controller = slower_round(last)
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
    check, folder = check_of(last.config, world_model, executor), last.work / "all_tracks"
    return search_controller(last, fitness, folder, start, directions, check)[0]


def slower_round(last: Round) -> tuple[WorldModel, Controller]:
    """The agent of a round that acts as often as the one before; in a copy of the run's folder."""
    rounds, skip = list(last.config.rounds), last.previous.repeat
    times, search = skip // last.repeat, last.config.search
    generations = last.settings.generations * times
    rounds[-1] = dataclasses.replace(rounds[-1], frame_skip=skip, generations=generations)
    search = dataclasses.replace(
        search,
        double_every=search.double_every * times,
        check_every=search.check_every * times,
        frame_every=max(1, search.frame_every // times),  # as long in time
    )
    config = dataclasses.replace(last.config, rounds=tuple(rounds), search=search)
    slower = Round.of(config, last.number, last.folder / "slower", last.machine)
    for number in range(last.number):
        there = slower.at(number).work
        if not there.exists():
            copy = there.with_suffix(".part")
            shutil.rmtree(copy, ignore_errors=True)
            shutil.copytree(last.at(number).work, copy, copy_function=link_or_copy)
            copy.rename(there)
    train_world_model(slower)
    evolve_controller(slower)
    return load_agent(slower.work)


@dataclass(frozen=True)
class AblateRound(RunCommand):
    """What makes the last round better: without hard tracks, and acting less often."""

    settings: Annotated[CarSettings, Flat]

    def __call__(self) -> None:
        """Run it."""
        with self.open(self.settings, "car_racing", True, changes=False) as (config, folder):
            run_round_ablation(config, folder, self.machine)
            print(f"written: {folder / TABLE}")
