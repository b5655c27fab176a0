"""Does the temperature of dreams matter in Take Cover? The paper's table, with our Ms.

Ha & Schmidhuber 2018, section 4: an agent that is evolved in dreams of a low temperature finds
adversarial policies, under which M forgets to make fireballs, and fails in the real game. Here C is
found anew in dreams of five temperatures, as a run does it: with V, M and the episodes of its first
round, in which M has seen random play alone, and of a second round, with episodes of the agent.
`python -m wmlib ablate temperature` adds the table to a finished run.
"""

import dataclasses
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated

from wmlib.models.checkpoints import load_world_model
from wmlib.pipeline.config import Config, Machine
from wmlib.pipeline.dreaming import dream_env_spec
from wmlib.pipeline.rounds import Round
from wmlib.pipeline.scoring import agent_digest
from wmlib.pipeline.workers import processes
from wmlib.provenance import Record
from wmlib.tools.runs import RunCommand
from wmlib.tools.settings import CarSettings, Flat
from wmlib.tools.survival import find_controller, lifetimes, two_rounds
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


def run_temperature_ablation(config: Config, run: Path, machine: Machine) -> None:
    """A row per round and temperature; goes on with what is there.

    Rows of temperature.jsonl: "round", "temperature", and of the resulting C "dream" and "real",
    see `lifetimes`. Raises ValueError if the rows there were made with other settings or of another
    run.
    """
    table = Table(run / TABLE, Record({"agent": agent_digest(run)}, dataclasses.asdict(config)))
    rounds = two_rounds(config, run, machine)
    with processes(machine.workers, machine.cluster) as executor:
        for current in rounds:
            for temperature in TEMPERATURES:
                key = {"round": current.number, "temperature": temperature}
                folder = run / "temperatures" / f"{current.work.name}-{temperature:g}"
                table.add(key, partial(evolve_at, current, temperature, folder, executor))


def evolve_at(current: Round, temperature: float, folder: Path, executor: Executor | None) -> dict:
    """C found anew in dreams of one temperature; the numbers of its row."""
    config = current.config.change(dream={"temperature": temperature})
    changed, agent = replace(current, config=config), load_world_model(current.work)
    latents = current.latents.folder
    dreams = dream_env_spec(config, agent, latents, agent)
    controller = find_controller(changed, dreams, latents, folder, executor)
    return lifetimes(config, dreams, controller, executor)


@dataclass(frozen=True)
class AblateTemperature(RunCommand):
    """Take Cover: does the temperature matter of the dreams in which C is evolved."""

    settings: Annotated[CarSettings, Flat]

    def __call__(self) -> None:
        """Run it."""
        with self.open(self.settings, "take_cover", True, changes=False) as (config, folder):
            run_temperature_ablation(config, folder, self.machine)
            print(f"written: {folder / TABLE}")
