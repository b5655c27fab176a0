"""Who holds the wheel: anything that turns what the agent knows into actions, one row a lane.

A driver has two methods: `begin(lane, job)` when a new episode starts in a lane, and
`act(features)`. It never sees the environment, so it cannot know whether it drives or dreams.
"""

from typing import NamedTuple, Protocol

import numpy as np
from torch import Tensor

from wmlib.controller import Controller


class Job(NamedTuple):
    """One episode to drive: the track's seed, and which controller of the population drives it."""

    seed: int
    member: int = 0


class Driver(Protocol):
    """What `rollout` asks of a driver."""

    def begin(self, lane: int, job: Job) -> None:
        """An episode begins in this lane."""

    def act(self, features: Tensor | None, lanes: int) -> np.ndarray:
        """Features (lanes, n), or None where there is no world model -> actions (lanes, A)."""


class ControllerDriver:
    """C at the wheel; with a population, each lane is driven by its job's member."""

    def __init__(self, controller: Controller):
        self.controller = controller
        self._members: dict[int, int] = {}

    def begin(self, lane: int, job: Job) -> None:
        """Raises ValueError if the population has no such member."""
        if not 0 <= job.member < len(self.controller):
            raise ValueError(
                f"there are {len(self.controller)} controllers, no number {job.member}"
            )
        self._members[lane] = job.member

    def act(self, features: Tensor | None, lanes: int) -> np.ndarray:
        """Features (lanes, feature_size) -> actions (lanes, A)."""
        if features is None:
            raise ValueError("a controller reads [z, h]: give rollout a world model")
        members = np.array([self._members.get(lane, 0) for lane in range(lanes)])
        return self.controller(features, members).cpu().numpy()


class RandomDriver:
    """Smooth random actions: each action is a noise that wanders back to a mean.

    Independent noise at 50 actions a second would average out to a car that trembles on the spot.
    action[t] = clip(mean + spread * x[t]), x an AR(1) process of unit variance with memory
    `smoothness`. The same seed drives the same way in any lane.

    mean, spread, low, high: (A,). Empty ones drive a world that takes no action.
    """

    def __init__(self, mean, spread, low, high, smoothness: float = 0.95):
        self.mean, self.spread = np.asarray(mean, float), np.asarray(spread, float)
        self.low, self.high, self.smoothness = np.asarray(low), np.asarray(high), smoothness
        self._noise: dict[int, tuple[np.random.Generator, np.ndarray]] = {}

    def begin(self, lane: int, job: Job) -> None:
        """Start the lane's noise from the job's seed."""
        rng = np.random.default_rng([job.seed, job.member])
        self._noise[lane] = rng, rng.standard_normal(len(self.mean))

    def act(self, features: Tensor | None, lanes: int) -> np.ndarray:
        """Ignores the features. Returns float32 (lanes, A)."""
        actions = np.zeros((lanes, len(self.mean)), dtype=np.float32)
        for lane in sorted(self._noise.keys() & set(range(lanes))):
            rng, x = self._noise[lane]
            actions[lane] = np.clip(self.mean + self.spread * x, self.low, self.high)
            fresh = np.sqrt(1 - self.smoothness**2) * rng.standard_normal(len(x))
            self._noise[lane] = rng, self.smoothness * x + fresh
        return actions


def random_car_driver() -> RandomDriver:
    """Steers about, mostly on the gas, brakes now and then: a learner's first hour."""
    return RandomDriver(
        mean=[0.0, 0.3, -0.3], spread=[0.4, 0.3, 0.25], low=[-1, 0, 0], high=[1, 1, 1]
    )


def spectator() -> RandomDriver:
    """For worlds that take no action: an empty vector, every time."""
    return RandomDriver([], [], [], [])
