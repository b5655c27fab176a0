"""Does the temperature of dreams matter in Take Cover? The paper's table, with our Ms.

Ha & Schmidhuber 2018, section 4: an agent that is evolved in dreams of a low temperature finds
adversarial policies, under which M forgets to make fireballs, and fails in the real game. Here C is
evolved from scratch in dreams of five temperatures: with the M of the first round, which has seen
random play alone, and with that of the last one, which has seen how agents died.
`python -m wmlib ablate temperature` adds the table to a finished run.
"""

import dataclasses
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np

from wmlib.envs.dream import PassThroughEncoder
from wmlib.models.checkpoints import load_world_model
from wmlib.models.world_model import WorldModel
from wmlib.pipeline import car_racing, search
from wmlib.pipeline.config import Config, Machine
from wmlib.pipeline.dreaming import dream_env_spec
from wmlib.pipeline.fitness import MeanReturn, run_controllers
from wmlib.pipeline.rounds import CHECK_TRACKS_FROM, Round, rounds_of
from wmlib.pipeline.scoring import agent_digest
from wmlib.pipeline.workers import processes
from wmlib.provenance import Record
from wmlib.tools.runs import RunCommand
from wmlib.tools.settings import CarSettings, Flat
from wmlib.tools.tables import Table

TEMPERATURES = (0.1, 0.5, 1.0, 1.15, 1.3)
# The paper's table 2: mean and SD of 100 episodes, in the dream and in the real game.
PAPER = {
    0.1: ((2086, 140), (193, 58)),
    0.5: ((2060, 277), (196, 50)),
    1.0: ((1145, 690), (868, 511)),
    1.15: ((918, 546), (1092, 556)),
    1.3: ((732, 269), (753, 139)),
}
TABLE = "temperature.jsonl"
DREAMS_FROM = 10**8  # seeds of dreams that no search uses
TRACKS_FROM = CHECK_TRACKS_FROM + 20_000  # of real episodes


def run_temperature_ablation(config: Config, run: Path, machine: Machine) -> None:
    """A row per round (the first and the last) and temperature; goes on with what is there.

    Rows of temperature.jsonl: "round", "temperature", and of the resulting C "dream" and "real",
    the tics it survived in each of `score_tracks` dreams of this temperature, and in as many real
    episodes. Raises ValueError if the rows there were made with other settings or of another run.
    """
    rounds = rounds_of(config, run, machine)
    table = Table(run / TABLE, Record({"agent": agent_digest(run)}, dataclasses.asdict(config)))
    with processes(machine.workers, machine.cluster) as executor:
        for current in dict.fromkeys((rounds[0], rounds[-1])):
            for temperature in TEMPERATURES:
                key = {"round": current.number, "temperature": temperature}
                table.add(key, partial(evolve_at, current, temperature, executor))


def evolve_at(current: Round, temperature: float, executor: Executor | None) -> dict:
    """Evolve C from scratch in a round's dreams of one temperature; the numbers of its row."""
    config, k = current.config, current.config.search.directions
    changed = config.change(dream={"temperature": temperature})
    agent = load_world_model(current.work)
    shared = config.dream.shared_m
    dream = agent if shared else WorldModel(agent.vae, current.mdn_rnn("dream"))
    dreams = dream_env_spec(changed, dream, current.work / "latents", agent)
    folder = current.folder / "temperatures" / f"{current.number}-{temperature:g}"
    folder.mkdir(parents=True, exist_ok=True)
    if config.lookahead.improvements:
        start = car_racing.by_lookahead(replace(current, config=changed), dreams, folder, executor)
    else:
        start = car_racing.zero_controller(config, agent)
    fitness = MeanReturn(
        dreams,
        PassThroughEncoder(agent),
        config.rounds[0].rollouts,
        seed=config.seed,
        executor=executor,
    )
    controller, _ = search.evolve(
        fitness,
        folder,
        start=start,
        population=config.search.population,
        generations=config.rounds[0].generations,
        sigma=config.rounds[0].sigma,
        directions=search.search_directions(agent, current.work, k),
        seed=config.seed,
    )
    count, real = config.score_tracks, car_racing.training_env_spec(config)
    (dreamt,) = fitness.episodes(controller, range(DREAMS_FROM, DREAMS_FROM + count))
    seeds = range(TRACKS_FROM, TRACKS_FROM + count)
    (lived,) = run_controllers(real, agent, controller, seeds, executor)
    return {
        name: np.array([episode.score for episode in episodes]).round(1).tolist()
        for name, episodes in (("dream", dreamt), ("real", lived))
    }


@dataclass(frozen=True)
class AblateTemperature(RunCommand):
    """Take Cover: does the temperature matter of the dreams in which C is evolved."""

    settings: Annotated[CarSettings, Flat]

    def __call__(self) -> None:
        """Run it."""
        with self.open(self.settings, "take_cover", True, changes=False) as (config, folder):
            run_temperature_ablation(config, folder, self.machine)
            print(f"written: {folder / TABLE}")
