"""Who holds the wheel: anything that turns what the agent knows into actions, one row a lane.

A driver has two methods: `begin(lane, job)` when a new episode starts in a lane, and
`act(features)`. It never sees the environment, so it cannot know whether it drives or dreams.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
from torch import Tensor

from wmlib.models.controller import Controller


class EpisodeSpec(NamedTuple):
    """One episode to drive: the track's seed, and which controller of the population drives it."""

    seed: int
    member: int = 0


class Policy(Protocol):
    """What `rollout` asks of a driver."""

    def begin(self, lane: int, job: EpisodeSpec) -> None:
        """An episode begins in this lane."""

    def act(self, features: Tensor | None, lanes: int) -> np.ndarray:
        """Features (lanes, n), or None where there is no world model -> actions (lanes, A)."""


class ControllerPolicy:
    """C at the wheel; with a population, each lane is driven by its job's member."""

    def __init__(self, controller: Controller):
        self.controller = controller
        self._members: dict[int, int] = {}

    def begin(self, lane: int, job: EpisodeSpec) -> None:
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


class ConstantPolicy:
    """The same action (A,) for ever; an empty one for a world that takes none."""

    def __init__(self, action: Sequence[float]):
        self.action = np.asarray(action, dtype=np.float32)

    def begin(self, lane: int, job: EpisodeSpec) -> None:
        """Nothing to prepare."""

    def act(self, features: Tensor | None, lanes: int) -> np.ndarray:
        """Ignores the features. Returns float32 (lanes, A)."""
        return np.tile(self.action, (lanes, 1))


class NoisyPolicy:
    """Any driver with smooth noise on its actions, to see what lies beside its own path.

    action = clip(the driver's + spread * x), where x wanders: an AR(1) process of unit variance,
    x[t + 1] = smoothness * x[t] + fresh noise. Independent noise at 50 actions a second would
    average out to a car that trembles on the spot. The same job gets the same noise in any lane.

    spread, low, high: (A,) floats. levels: degrees of noise that take turns with the job's seed;
    of four the first drives without any, the others with a third, two thirds, and all of it.
    """

    def __init__(
        self, driver: Policy, spread, low, high, smoothness: float = 0.95, levels: int = 1
    ):
        self.driver, self.spread = driver, np.asarray(spread, float)
        self.low, self.high, self.smoothness = np.asarray(low), np.asarray(high), smoothness
        self.levels = np.linspace(1, 0, levels)[::-1]
        self._noise: dict[int, tuple[np.random.Generator, np.ndarray]] = {}
        self._level: dict[int, float] = {}

    def begin(self, lane: int, job: EpisodeSpec) -> None:
        """Start the lane's noise from the job's seed and member."""
        self.driver.begin(lane, job)
        rng = np.random.default_rng([job.seed, job.member])
        self._noise[lane] = rng, rng.standard_normal(len(self.spread))
        self._level[lane] = self.levels[job.seed % len(self.levels)]

    def act(self, features: Tensor | None, lanes: int) -> np.ndarray:
        """Features, as its driver takes them -> float32 (lanes, A)."""
        actions = self.driver.act(features, lanes).astype(float)
        for lane in sorted(self._noise.keys() & set(range(lanes))):
            rng, x = self._noise[lane]
            actions[lane] += self._level[lane] * self.spread * x
            fresh = np.sqrt(1 - self.smoothness**2) * rng.standard_normal(len(x))
            self._noise[lane] = rng, self.smoothness * x + fresh
        return np.clip(actions, self.low, self.high).astype(np.float32)


CAR_LOW, CAR_HIGH = (-1.0, 0.0, 0.0), (1.0, 1.0, 1.0)


def random_car_policy(repeat: int = 1) -> NoisyPolicy:
    """Steers about, mostly on the gas, brakes now and then: a learner's first hour.

    repeat: steps that each action is held for; the noise is the same in time.
    """
    middle = ConstantPolicy([0.0, 0.3, -0.3])
    return NoisyPolicy(middle, [0.4, 0.3, 0.25], CAR_LOW, CAR_HIGH, 0.95**repeat)


def noisy_car_policy(driver: Policy, repeat: int = 1, levels: int = 1) -> NoisyPolicy:
    """Someone who can drive, disturbed: slides, detours, and the way back to the road."""
    return NoisyPolicy(driver, [0.3, 0.2, 0.1], CAR_LOW, CAR_HIGH, 0.95**repeat, levels)


def random_networks(population: int, feature_size: int = 288, seed: int = 0) -> ControllerPolicy:
    """The paper's code's own policy: linear controllers with random weights, each of its own size.

    Their weights have a standard deviation drawn from 0..0.01. They read [z, h] of an untrained
    world model; job.member says which one drives.
    """
    rng = np.random.default_rng(seed)
    size = Controller(feature_size=feature_size).num_parameters
    weights = rng.standard_normal((population, size)) * rng.uniform(0, 0.01, (population, 1))
    return ControllerPolicy(Controller(weights, feature_size=feature_size))


def no_action_policy() -> ConstantPolicy:
    """For worlds that take no action: an empty vector, every time."""
    return ConstantPolicy([])
