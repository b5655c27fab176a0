"""Does the temperature of dreams matter in Take Cover? The paper's table, with our Ms.

Ha & Schmidhuber 2018, section 4: an agent that is evolved in dreams of a low temperature finds
adversarial policies, under which M forgets to make fireballs, and fails in the real game. Here C is
found anew in dreams of five temperatures, as a run does it: with M and the episodes of the run's
last round, and with an M that has seen the first round's random play alone. Both Ms have the same
V, and were trained for as many gradient steps.
`python -m wmlib ablate temperature` adds the table to a finished run.
"""

import dataclasses
import math
from collections.abc import Iterator
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated

from wmlib.envs.dream import PassThroughEncoder
from wmlib.models.checkpoints import load_world_model
from wmlib.models.controller import Controller
from wmlib.models.world_model import WorldModel
from wmlib.pipeline.car_racing import by_lookahead, search_controller, training_env_spec
from wmlib.pipeline.config import Config, Machine
from wmlib.pipeline.dreaming import dream_env_spec, train_dreaming_mdn_rnn
from wmlib.pipeline.fitness import MeanReturn, returns
from wmlib.pipeline.phases import MIRRORED
from wmlib.pipeline.rounds import CHECK_TRACKS_FROM, Round, rounds_of
from wmlib.pipeline.scoring import agent_digest
from wmlib.pipeline.search import search_directions
from wmlib.pipeline.workers import processes
from wmlib.provenance import Record
from wmlib.rollout.episodes import EpisodeStore
from wmlib.rollout.policies import EpisodeSpec
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
    """A row per kind of episodes and temperature; goes on with what is there.

    Rows of temperature.jsonl: "episodes" ("random" or "own"), "temperature", and of the resulting C
    "dream" and "real", the tics it survived in each of `score_tracks` dreams of this temperature,
    and in as many real episodes. Raises ValueError if the rows there were made with other settings
    or of another run.
    """
    last = rounds_of(config, run, machine)[-1]
    table = Table(run / TABLE, Record({"agent": agent_digest(run)}, dataclasses.asdict(config)))
    with processes(machine.workers, machine.cluster) as executor:
        for kind, agent, latents in worlds(last):
            for temperature in TEMPERATURES:
                key = {"episodes": kind, "temperature": temperature}
                folder = run / "temperatures" / f"{kind}-{temperature:g}"
                find = partial(evolve_at, last, agent, latents, temperature, folder, executor)
                table.add(key, find)


def worlds(last: Round) -> Iterator[tuple[str, WorldModel, Path]]:
    """What M was trained on, V with this M, and the folder of the encoded episodes.

    "own": of the run's last round. "random": an M of the first round's episodes, as the last
    round's V sees them. It is trained here, unless it is there.
    """
    agent, latents = load_world_model(last.work), last.latents
    folder, first = last.folder / "temperatures" / "random", last.at(0).training_tracks()
    random_play = {EpisodeSpec(track, 0).name for track in first}
    names = [name for name in latents.names() if name.removesuffix(MIRRORED) in random_play]
    played = EpisodeStore(folder / "latents")
    record = Record({"latents": latents.digest()}, {"episodes": len(names)})
    played.begin(record, rebuild=True)
    played.include(latents, names)
    subset = EpisodeStore(last.work / "training_subset")
    passes = last.settings.dream_epochs * _num_steps(subset) / _num_steps(played)
    m = train_dreaming_mdn_rnn(
        last.config,
        folder,
        played,
        epochs=math.ceil(passes),
        seed=last.config.seed,
        device=last.device,
    )
    yield "random", WorldModel(agent.vae, m), played.folder
    yield "own", agent, latents.folder


def _num_steps(store: EpisodeStore) -> int:
    return sum(len(store.read(name, "actions")) for name in store.names())


def evolve_at(
    last: Round,
    agent: WorldModel,
    latents: Path,
    temperature: float,
    folder: Path,
    executor: Executor | None,
) -> dict:
    """C found anew in dreams of one temperature; the numbers of its row."""
    changed = replace(last, config=last.config.change(dream={"temperature": temperature}))
    controller = find_controller(changed, agent, latents, folder, executor)
    return lifetimes(changed.config, agent, controller, latents, executor)


def find_controller(
    current: Round, agent: WorldModel, latents: Path, folder: Path, executor: Executor | None
) -> Controller:
    """C found in the dreams of `agent` as in a round of a run, with its config; kept in `folder`.

    latents: the folder of the encoded episodes in which dreams begin.
    """
    config = current.config
    dreams = dream_env_spec(config, agent, latents, agent)
    encoder, seed = PassThroughEncoder(agent), config.seed
    fitness = MeanReturn(dreams, encoder, current.settings.rollouts, seed=seed, executor=executor)
    folder.mkdir(parents=True, exist_ok=True)
    start = by_lookahead(current, dreams, latents, folder, executor)
    directions = search_directions(agent, current.work, config.search.directions, kept_in=folder)
    controller, _ = search_controller(current, fitness, folder, start, directions, check=None)
    return controller


def lifetimes(
    config: Config,
    agent: WorldModel,
    controller: Controller,
    latents: Path,
    executor: Executor | None,
) -> dict[str, list[float]]:
    """How long C survives, in tics: "dream", in `score_tracks` dreams of the agent's M, and "real",
    in as many episodes of the game. The seeds of both are none that a search uses.
    """
    dreams, game = dream_env_spec(config, agent, latents, agent), training_env_spec(config)
    found, count = {}, config.score_tracks
    for name, env_spec, encoder, first in (
        ("dream", dreams, PassThroughEncoder(agent), DREAMS_FROM),
        ("real", game, agent, TRACKS_FROM),
    ):
        lived = returns(env_spec, encoder, controller, range(first, first + count), executor)
        found[name] = lived[0].round(1).tolist()
    return found


@dataclass(frozen=True)
class AblateTemperature(RunCommand):
    """Take Cover: does the temperature matter of the dreams in which C is evolved."""

    settings: Annotated[CarSettings, Flat]

    def __call__(self) -> None:
        """Run it."""
        with self.open(self.settings, "take_cover", True, changes=False) as (config, folder):
            run_temperature_ablation(config, folder, self.machine)
            print(f"written: {folder / TABLE}")
