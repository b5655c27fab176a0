"""How well does M stand in for V? Scores of the pretrained agents that see only some frames.

`python -m wmlib ablate frames` scores both agents on the same training tracks. They see every
second frame, or every third, and so on; for the others, z is the mean of M's forecast, or, as a
baseline, the last one that V made. Nothing is trained. An M that predicts nothing would not beat
the baseline.
"""

import itertools
from concurrent.futures import Executor
from dataclasses import replace
from functools import partial
from pathlib import Path

from torch import Tensor

from wmlib.files import exclusive_lock
from wmlib.models.checkpoints import load_agent
from wmlib.models.world_model import State, WorldModel
from wmlib.paths import pretrained
from wmlib.pipeline import car_racing
from wmlib.pipeline.config import Config, Machine
from wmlib.pipeline.scoring import agent_digest
from wmlib.pipeline.workers import processes
from wmlib.provenance import Record
from wmlib.rollout.policies import ControllerPolicy, EpisodeSpec
from wmlib.rollout.rollout import run_episodes
from wmlib.tools.deployment_ablation import AGENTS, summary
from wmlib.tools.tables import Ablate, Table, published

RESULTS = published("frames")
TRACKS_FROM = 912_000  # training tracks that no training and no search uses
EVERY = (2, 3, 4, 6, 8)


class HeldLatents(WorldModel):
    """Where a frame is missing, z stays what it was; M's h and c go on."""

    def expect(self, state: State, h: Tensor) -> Tensor:
        """As of `WorldModel`."""
        return state.z


ARMS = {"M's forecast": WorldModel, "the last z": HeldLatents}


# Agent steps from one frame to the next, and what z is in between.
SIGHTS = [(1, "M's forecast"), *itertools.product(EVERY, ARMS)]


def run_frame_ablation(config: Config, file: Path, work: Path, machine: Machine) -> None:
    """A row per agent, "every" and "between" in `file`; goes on with what is there.

    The other columns are those of `summary`, over `score_tracks` tracks, with the fast renderer and
    every episode to its end. Raises ValueError if the rows there were made with other settings or
    other agents.
    """
    made_from = {name: agent_digest(pretrained(name)) for name in AGENTS}
    settings = {"max_steps": config.env.max_steps, "tracks": config.score_tracks}
    table = Table(file, Record(made_from, settings))
    with exclusive_lock(work), processes(machine.workers, machine.cluster) as executor:
        for name in AGENTS:
            for every, between in SIGHTS:
                key = {"agent": name, "every": every, "between": between}
                table.add(key, partial(score_with, config, name, every, between, executor))


def score_with(
    config: Config, agent: str, every: int, between: str, executor: Executor | None
) -> dict:
    """The numbers of a row, see `summary`."""
    world_model, controller = load_agent(pretrained(agent))
    encoder = ARMS[between](world_model.vae, world_model.mdn_rnn)
    spec = replace(car_racing.training_env_spec(config), every=every)
    tracks = range(TRACKS_FROM, TRACKS_FROM + config.score_tracks)
    specs = [EpisodeSpec(track) for track in tracks]
    policy = ControllerPolicy(controller)
    return summary(run_episodes(spec, policy, specs, encoder, executor=executor))


class AblateFrames(Ablate):
    """How well does M stand in for V: agents that see only some frames."""

    name = RESULTS.stem

    def measure(self, config: Config, file: Path, work: Path, machine: Machine) -> None:
        """As of `Ablate`."""
        run_frame_ablation(config, file, work, machine)
