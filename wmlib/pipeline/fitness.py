"""How good controllers are: by the returns of their episodes, or by what dreams predict of them.

`MeanReturn` and `ExtrapolatedReturn` are the two objectives that a search can maximize.
"""

from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from wmlib.envs.dream import DreamSpec
from wmlib.files import digest
from wmlib.models.checkpoints import weights_digest, world_model_digest
from wmlib.models.controller import Controller
from wmlib.models.world_model import WorldModel
from wmlib.pipeline.rounds import CHECK_TRACKS_FROM, num_tracks
from wmlib.provenance import Record
from wmlib.rollout.policies import ControllerPolicy, EpisodeSpec
from wmlib.rollout.rollout import Encoder, EnvSpec, Episode, run_episodes

# Points of a lap; a second one brings none. The dream's M learns an episode only until its positive
# rewards add up to `NEARLY_A_LAP`: after a lap with missed tiles no more rewards come, and nothing
# in a frame says why.
LAP, NEARLY_A_LAP = 1000, 800


def run_controllers(
    env_spec: EnvSpec,
    encoder: Encoder,
    controllers: Controller,
    seeds: Sequence[int],
    executor: Executor | None = None,
) -> list[list[Episode]]:
    """The episodes of every controller on the same seeds: a list per controller.

    encoder: what turns observations into [z, h]: a world model or, in dreams, a pass-through.
    """
    specs = [EpisodeSpec(seed, member) for member in range(len(controllers)) for seed in seeds]
    episodes = run_episodes(
        env_spec, ControllerPolicy(controllers), specs, encoder, executor=executor
    )
    return [episodes[i : i + len(seeds)] for i in range(0, len(episodes), len(seeds))]


class Evaluated(NamedTuple):
    """Candidates of a generation: their fitness (P,), higher is better, and what it took.

    steps: environment steps in all episodes together; in dreams, the imagined ones.
    """

    fitness: np.ndarray
    steps: int


def returns(
    env_spec: EnvSpec,
    encoder: Encoder,
    controllers: Controller,
    seeds: Sequence[int],
    executor: Executor | None = None,
) -> np.ndarray:
    """The return of every controller on the same seeds: (controllers, seeds) float, in points."""
    return scores_of(run_controllers(env_spec, encoder, controllers, seeds, executor))


def scores_of(rows: list[list[Episode]]) -> np.ndarray:
    """The return of every episode: (controllers, seeds) float, in points."""
    return np.array([[episode.score for episode in row] for row in rows])


def dream_outcomes(
    env_spec: DreamSpec,
    encoder: Encoder,
    controllers: Controller,
    seeds: Sequence[int],
    executor: Executor | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns, agent steps until failure (or the end), and whether the dream failed.

    Each (controllers, seeds). A dream has failed if M ended it, or if it was truncated for want of
    reward: then the failure was `patience` steps earlier.
    """
    rows = run_controllers(env_spec, encoder, controllers, seeds, executor)
    return _outcomes(env_spec, rows)


def _outcomes(
    env_spec: DreamSpec, rows: list[list[Episode]]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    repeat, patience = env_spec.world_model.mdn_rnn.repeat, env_spec.patience or 0
    gained = scores_of(rows)
    steps = np.array([[episode.steps / repeat for episode in row] for row in rows])
    ended = np.array([[episode.terminated for episode in row] for row in rows])
    failed = ended | (steps < env_spec.max_steps)
    return gained, np.maximum(steps - patience * (failed & ~ended), 1), failed


def extrapolate(
    gained: np.ndarray, steps: np.ndarray, failed: np.ndarray, agent_steps: int
) -> np.ndarray:
    """The expected return of an episode of `agent_steps`, by many dreams of it: (P,).

    gained, steps, failed: (P, dreams), see `dream_outcomes`. With a reward of v per step and a
    probability of r per step to fail, T steps bring v (1 - exp(-r T)) / r. v is capped at a lap in
    this time: what is left to gain by being faster is a tenth of a point per step, and in a dream
    that gain would be certain and the risk uncertain. The mean over the dreams' returns would know
    nothing of laps, and is noisier: there it is chance, too, *when* a controller fails.
    """
    total = steps.sum(1)
    pace = np.minimum(gained.sum(1) / total, LAP / agent_steps)
    rate = (failed.sum(1) + 0.5) / total  # no failure so far does not mean never
    return pace * -np.expm1(-rate * agent_steps) / rate


@dataclass(frozen=True)
class MeanReturn:
    """The mean return of a controller, on the same tracks for a whole population.

    All candidates of a generation get the same `rollouts` tracks (common random numbers), and twice
    as many after every `double_every` generations: the better they get, the smaller their
    differences, and the more episodes it takes to see them. Every generation has other tracks;
    generation k of two searches with the same `seed` (two rounds of a run, too) has the same ones.

    hard_tracks: up to half of every generation's tracks are drawn from these (none twice), if
    given. The mean is then not that of all tracks: hard ones have about half of the weight. Of few
    tracks drawn from all, rarely one is hard, and their mean says nothing about it.
    """

    env_spec: EnvSpec
    encoder: Encoder
    rollouts: int
    double_every: int = 10**9
    seed: int = 0
    executor: Executor | None = None
    hard_tracks: tuple[int, ...] = field(default=(), kw_only=True)

    def tracks(self, generation: int) -> list[int]:
        """The seeds of a generation's episodes."""
        count = num_tracks(generation, self.rollouts, self.double_every)
        rng = np.random.default_rng([self.seed, generation])
        tracks = rng.integers(0, CHECK_TRACKS_FROM, count)
        if self.hard_tracks:
            hard = min(count // 2, len(self.hard_tracks))
            tracks[:hard] = rng.choice(self.hard_tracks, hard, replace=False)
        return tracks.tolist()

    def __call__(self, controllers: Controller, generation: int) -> Evaluated:
        """All candidates of a generation."""
        return self.of(controllers, self.tracks(generation))

    def of(self, controllers: Controller, seeds: Sequence[int]) -> Evaluated:
        """The same by the episodes of these seeds."""
        rows = self.episodes(controllers, seeds)
        return Evaluated(self.values(rows), sum(e.steps for row in rows for e in row))

    def values(self, rows: list[list[Episode]]) -> np.ndarray:
        """By the episodes of every controller: (P,) float, in points."""
        return scores_of(rows).mean(1)

    def episodes(self, controllers: Controller, seeds: Sequence[int]) -> list[list[Episode]]:
        """The episodes of every controller on these tracks, or in these dreams."""
        return run_controllers(self.env_spec, self.encoder, controllers, seeds, self.executor)

    @property
    def record(self) -> Record:
        """What these scores depend on, beside the controllers."""
        settings: dict[str, Any] = {
            "objective": type(self).__name__,
            "world": str(self.env_spec),
            "rollouts": self.rollouts,
            "double_every": self.double_every,
            "tracks_seed": self.seed,
        }
        if isinstance(self.env_spec, DreamSpec):
            agent = self.env_spec.agent[0] if self.env_spec.agent else self.env_spec.world_model
            made_from = {
                "world_model": world_model_digest(agent),
                "dream": weights_digest(self.env_spec.world_model.mdn_rnn),
                "starts": self.env_spec.origin or digest(self.env_spec.starts.features.numpy()),
            }
        else:
            assert isinstance(self.encoder, WorldModel)  # nothing else sees frames
            made_from = {"world_model": world_model_digest(self.encoder)}
        if self.hard_tracks:
            made_from |= {"hard_tracks": digest(np.array(self.hard_tracks))}
        return Record(made_from, settings)


@dataclass(frozen=True)
class ExtrapolatedReturn(MeanReturn):
    """The return of a controller in `agent_steps` of an episode, extrapolated from its dreams."""

    agent_steps: int = 500

    def values(self, rows: list[list[Episode]]) -> np.ndarray:
        """By the dreams of every controller: (P,) float, in points."""
        assert isinstance(self.env_spec, DreamSpec)
        return extrapolate(*_outcomes(self.env_spec, rows), self.agent_steps)

    @property
    def record(self) -> Record:
        """As of `MeanReturn`."""
        record = super().record
        return Record(record.made_from, record.settings | {"agent_steps": self.agent_steps})
