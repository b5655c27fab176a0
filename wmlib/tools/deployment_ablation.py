"""What breaks a trained agent? Scores of the pretrained agents with one change at a time.

`python -m wmlib ablate deployment` scores both agents on the same training tracks in CarRacing with
changed frames or changed physics, and in loops with one of the mistakes that are easily made:
nothing is trained. None of these mistakes raises an error, and some cost few points.
"""

import dataclasses
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from wmlib.evaluation import episode_interval
from wmlib.files import exclusive_lock
from wmlib.models.checkpoints import load_agent
from wmlib.models.vae import frames_to_tensor
from wmlib.models.world_model import State, WorldModel
from wmlib.paths import pretrained
from wmlib.pipeline import car_racing
from wmlib.pipeline.config import Config, Machine
from wmlib.pipeline.scoring import agent_digest
from wmlib.pipeline.workers import processes
from wmlib.provenance import Record
from wmlib.rollout.policies import ControllerPolicy, EpisodeSpec, Policy
from wmlib.rollout.rollout import Episode, run_episodes
from wmlib.tools.tables import Ablate, Table, published

RESULTS = published("deployment")
AGENTS = ("car_racing", "car_racing_dream")
# Training tracks that no training and no search uses. Only odd ones: `mirror` acts on these alone.
TRACKS_FROM = 910_000
CHANGED = "wmlib/ChangedCarRacing-v3"


class StaleMemory(WorldModel):
    """C reads h of one step before; M itself has the right one.

    The state's c holds [M's c, M's present h], so that its h can be the one before.
    """

    @torch.no_grad()
    def begin(self, frames: np.ndarray | Tensor) -> State:
        """As of `WorldModel`."""
        state = super().begin(frames)
        return state._replace(c=torch.cat([state.c, state.h], dim=1))

    @torch.no_grad()
    def observe(
        self,
        state: State,
        actions: Tensor,
        frames: np.ndarray | Tensor,
        rewards: Tensor | None = None,
    ) -> State:
        """As of `WorldModel`."""
        c, h = state.c.chunk(2, dim=1)
        now = super().observe(state._replace(c=c, h=h), actions, frames, rewards)
        return now._replace(h=h, c=torch.cat([now.c, now.h], dim=1))


class NoActions(WorldModel):
    """M receives zero actions: steering, gas and brake are 0. The car receives C's."""

    @torch.no_grad()
    def remember(
        self, state: State, actions: Tensor, few_rows: bool = False
    ) -> tuple[Tensor, Tensor]:
        """As of `WorldModel`."""
        return super().remember(state, torch.zeros_like(actions), few_rows)


class SwappedChannels(WorldModel):
    """Frames arrive as blue, green, red."""

    def encode(self, frames: np.ndarray | Tensor) -> Tensor:
        """As of `WorldModel`."""
        return super().encode(np.ascontiguousarray(np.asarray(frames)[..., ::-1]))


class SampledLatents(WorldModel):
    """z is a sample of V's posterior, as in the paper's code, and not its mean.

    The noise follows from the frame, so that it does not depend on how episodes share a batch.
    """

    @torch.no_grad()
    def encode(self, frames: np.ndarray | Tensor) -> Tensor:
        """As of `WorldModel`."""
        mu, logvar = self.vae.encode(frames_to_tensor(frames, self.device))
        sums = torch.as_tensor(frames).flatten(1).sum(1).tolist()
        noise = [torch.randn(mu.shape[1], generator=torch.Generator().manual_seed(s)) for s in sums]
        return mu + torch.stack(noise) * (0.5 * logvar).exp()


@dataclass
class Late:
    """A policy whose decision is carried out one agent step later; the first action is 0.

    M receives the action that is carried out.
    """

    policy: Policy

    def __post_init__(self):
        self._before: np.ndarray | None = None
        self._fresh: set[int] = set()

    def begin(self, row: int, spec: EpisodeSpec) -> None:
        """As of `Policy`."""
        self.policy.begin(row, spec)
        self._fresh.add(row)

    def act(self, features: Tensor | None, num_envs: int) -> np.ndarray:
        """As of `Policy`."""
        now = self.policy.act(features, num_envs)
        late = np.zeros_like(now) if self._before is None else self._before.copy()
        late[sorted(self._fresh)] = 0
        self._before, self._fresh = now, set()
        return late


class Change(NamedTuple):
    """What is different: options of the environment, its pace, V and M, or the policy."""

    options: dict[str, Any] | None = None
    pace: int | None = None  # environment steps per agent step; None: as in M's training
    world_model: type[WorldModel] = WorldModel
    policy: Callable[[Policy], Policy] | None = None


CHANGES = {
    "nothing": Change(),
    "mirrored tracks": Change({"mirror": True}),
    "colours drawn at random": Change({"domain_randomize": True}),
    "darker frames (x 0.8)": Change({"brightness": 0.8}),
    "brighter frames (x 1.2)": Change({"brightness": 1.2}),
    "80% grip": Change({"grip": 0.8}),
    "60% grip": Change({"grip": 0.6}),
    "frame skip of 1 instead of 2": Change(pace=1),
    "actions one agent step late": Change(policy=Late),
    "h of the step before": Change(world_model=StaleMemory),
    "M without actions": Change(world_model=NoActions),
    "red and blue swapped": Change(world_model=SwappedChannels),
    "z sampled": Change(world_model=SampledLatents),
}


def run_deployment_ablation(config: Config, file: Path, work: Path, machine: Machine) -> None:
    """A row per agent and change in `file`; goes on with what is there. `work` is locked meanwhile.

    Rows: "agent", "change", and the columns of `summary`, over `score_tracks` tracks, with the fast
    renderer and every episode to its end. Raises ValueError if the rows there were made with other
    settings or other agents.
    """
    made_from = {name: agent_digest(pretrained(name)) for name in AGENTS}
    settings = {"max_steps": config.env.max_steps, "tracks": config.score_tracks}
    table = Table(file, Record(made_from, settings))
    with exclusive_lock(work), processes(machine.workers, machine.cluster) as executor:
        for name in AGENTS:
            for change in CHANGES:
                key = {"agent": name, "change": change}
                table.add(key, partial(score_changed, config, name, change, executor))


def score_changed(config: Config, agent: str, change: str, executor: Executor | None) -> dict:
    """The numbers of a row, see `run_deployment_ablation`."""
    world_model, controller = load_agent(pretrained(agent))
    what = CHANGES[change]
    policy: Policy = ControllerPolicy(controller)
    policy = what.policy(policy) if what.policy else policy
    spec = car_racing.training_env_spec(config)
    if what.options:
        spec = dataclasses.replace(spec, env_id=CHANGED, options=spec.options | what.options)
    if what.pace is not None:
        world_model.mdn_rnn.repeat = what.pace
    encoder = what.world_model(world_model.vae, world_model.mdn_rnn)
    tracks = range(TRACKS_FROM + 1, TRACKS_FROM + 2 * config.score_tracks, 2)
    specs = [EpisodeSpec(track) for track in tracks]
    return summary(run_episodes(spec, policy, specs, encoder, executor=executor))


def summary(episodes: list[Episode]) -> dict:
    """Columns of a row, from an episode per track.

    "score" with "low" and "high" (95% interval over tracks), "laps", "steps", "below_700" (share of
    tracks), and "scores", one per track, for paired differences.
    """
    scores = np.array([episode.score for episode in episodes])
    interval = episode_interval(scores)
    return {
        "score": round(interval.mean, 2),
        "low": round(interval.low, 2),
        "high": round(interval.high, 2),
        "laps": float(np.mean([episode.lap for episode in episodes])),
        "steps": float(np.mean([episode.steps for episode in episodes])),
        "below_700": float((scores < 700).mean()),
        "scores": scores.round(2).tolist(),
    }


class AblateDeployment(Ablate):
    """What breaks a trained agent: other frames, other physics, mistakes in the loop."""

    name = RESULTS.stem

    def measure(self, config: Config, file: Path, work: Path, machine: Machine) -> None:
        """As of `Ablate`."""
        run_deployment_ablation(config, file, work, machine)
