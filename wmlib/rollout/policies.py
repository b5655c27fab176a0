"""Policies: what turns the agent's features into actions, one row per environment.

A policy has two methods: `begin(row, spec)` when a new episode starts in an environment, and
`act(features, num_envs)`. It never sees the environment, so it cannot distinguish a dream from it.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
from torch import Tensor

from wmlib.models.controller import Controller
from wmlib.rollout.episodes import EpisodeStore


class EpisodeSpec(NamedTuple):
    """One episode to run: the track's seed, and the member of the population that acts in it."""

    seed: int
    member: int = 0

    @property
    def name(self) -> str:
        """Of the episode in a store: seed and member, zero-padded so that it sorts."""
        return f"{self.seed:07d}-{self.member:03d}"


class Policy(Protocol):
    """What `rollout` asks of a policy; N = num_envs."""

    def begin(self, row: int, spec: EpisodeSpec) -> None:
        """An episode begins in this environment."""

    def act(self, features: Tensor | None, num_envs: int) -> np.ndarray:
        """Features (N, n), or None where there is no world model -> actions (N, A)."""


class ControllerPolicy:
    """C as a policy; with a population, each environment gets its spec's member."""

    def __init__(self, controller: Controller):
        self.controller = controller
        self._members: dict[int, int] = {}

    def begin(self, row: int, spec: EpisodeSpec) -> None:
        """Raises ValueError if the population has no such member."""
        if not 0 <= spec.member < len(self.controller):
            raise ValueError(
                f"there are {len(self.controller)} controllers, no number {spec.member}"
            )
        self._members[row] = spec.member

    def act(self, features: Tensor | None, num_envs: int) -> np.ndarray:
        """Features (N, feature_size) -> actions (N, A)."""
        if features is None:
            raise ValueError("a controller reads [z, h]: give rollout a world model")
        members = np.array([self._members.get(row, 0) for row in range(num_envs)])
        return self.controller(features, members).cpu().numpy()


class ConstantPolicy:
    """The same action (A,) at every step; an empty one for an environment without actions."""

    def __init__(self, action: Sequence[float]):
        self.action = np.asarray(action, dtype=np.float32)

    def begin(self, row: int, spec: EpisodeSpec) -> None:
        """Nothing to prepare."""

    def act(self, features: Tensor | None, num_envs: int) -> np.ndarray:
        """Ignores the features. Returns float32 (N, A)."""
        return np.tile(self.action, (num_envs, 1))


class NoisyPolicy:
    """Any policy with smooth noise on its actions, so that states beside its own path are visited.

    action = clip(the policy's + spread * x), where x is an AR(1) process of unit variance,
    x[t + 1] = smoothness * x[t] + fresh noise. Independent noise at 50 actions per second would
    average out. The same spec gets the same noise in any environment.

    spread, low, high: (A,) floats. levels: number of noise levels, chosen by the spec's seed; of
    four the first has no noise, the others a third, two thirds, and all of it.
    """

    def __init__(
        self, policy: Policy, spread, low, high, smoothness: float = 0.95, levels: int = 1
    ):
        self.policy, self.spread = policy, np.asarray(spread, float)
        self.low, self.high, self.smoothness = np.asarray(low), np.asarray(high), smoothness
        self.levels = np.linspace(1, 0, levels)[::-1]
        self._noise: dict[int, tuple[np.random.Generator, np.ndarray]] = {}
        self._level: dict[int, float] = {}

    def begin(self, row: int, spec: EpisodeSpec) -> None:
        """Start the environment's noise from the spec's seed and member."""
        self.policy.begin(row, spec)
        rng = np.random.default_rng([spec.seed, spec.member])
        self._noise[row] = rng, rng.standard_normal(len(self.spread))
        self._level[row] = self.levels[spec.seed % len(self.levels)]

    def act(self, features: Tensor | None, num_envs: int) -> np.ndarray:
        """Features, as its policy takes them -> float32 (N, A)."""
        actions = self.policy.act(features, num_envs).astype(float)
        for row in sorted(self._noise.keys() & set(range(num_envs))):
            rng, x = self._noise[row]
            actions[row] += self._level[row] * self.spread * x
            fresh = np.sqrt(1 - self.smoothness**2) * rng.standard_normal(len(x))
            self._noise[row] = rng, self.smoothness * x + fresh
        return np.clip(actions, self.low, self.high).astype(np.float32)


class HeldThenPolicy:
    """One of several actions of one number, held for so many steps; then what a controller does.

    actions: by the spec's member. steps: agent steps.
    """

    def __init__(self, actions: Sequence[float], steps: int, controller: Controller):
        self.actions, self.steps, self.controller = actions, steps, controller
        self._held: dict[int, float] = {}
        self._left: dict[int, int] = {}

    def begin(self, row: int, spec: EpisodeSpec) -> None:
        """Hold the action of the spec's member. IndexError if there is none."""
        self._held[row], self._left[row] = self.actions[spec.member], self.steps

    def act(self, features: Tensor | None, num_envs: int) -> np.ndarray:
        """Features (N, feature_size) -> float32 (N, 1). ValueError without features."""
        if features is None:
            raise ValueError("a controller reads [z, h]: give rollout a world model")
        actions = self.controller(features).cpu().numpy()
        for row, left in self._left.items():
            if left > 0:
                actions[row], self._left[row] = self._held[row], left - 1
        return actions


class RecordedPolicy:
    """The actions of recorded episodes once more, each of them `times` times.

    store: where they are. size: numbers in an action. An episode that goes on after its last action
    goes on with that.
    """

    def __init__(self, store: EpisodeStore, size: int, times: int):
        self._store, self.size, self.times = store, size, times
        self._left: dict[int, np.ndarray] = {}

    def begin(self, row: int, spec: EpisodeSpec) -> None:
        """Read the spec's actions. FileNotFoundError if it was not recorded."""
        self._left[row] = self._store.read(spec.name, "actions").repeat(self.times, 0)

    def act(self, features: Tensor | None, num_envs: int) -> np.ndarray:
        """Ignores the features. Returns float32 (N, A)."""
        taken = np.zeros((num_envs, self.size), np.float32)
        for row, actions in self._left.items():
            taken[row], self._left[row] = actions[0], actions[1:] if len(actions) > 1 else actions
        return taken


class HeldRandomPolicy:
    """The paper's policy for Take Cover: an action uniform in -1..1, held for 1 to 10 tics.

    repeat: environment steps per agent step. longest: the tics that an action is held for, at most;
    of several, each episode has one, by its seed. turning: every second episode runs from side to
    side instead: as far as possible to the left and to the right in turn, for 1 to `turning` tics;
    0: none does. The same spec gets the same actions in any environment.
    """

    def __init__(self, repeat: int = 1, longest: Sequence[int] = (10,), turning: int = 0):
        self.repeat, self.longest, self.turning = repeat, longest, turning
        self._longest: dict[int, int] = {}
        self._turns: dict[int, bool] = {}
        self._rng: dict[int, np.random.Generator] = {}
        self._action: dict[int, float] = {}
        self._left: dict[int, int] = {}

    def begin(self, row: int, spec: EpisodeSpec) -> None:
        """Start the environment's actions from the spec's seed and member."""
        self._rng[row] = np.random.default_rng([spec.seed, spec.member])
        self._turns[row] = bool(self.turning and spec.seed % 2)
        choice = spec.seed // 2 if self.turning else spec.seed
        longest = self.longest[choice % len(self.longest)]
        self._longest[row] = self.turning if self._turns[row] else longest
        self._left[row], self._action[row] = 0, 0.0

    def act(self, features: Tensor | None, num_envs: int) -> np.ndarray:
        """Ignores the features. Returns float32 (N, 1)."""
        actions = np.zeros((num_envs, 1), np.float32)
        for row, rng in self._rng.items():
            if self._left[row] <= 0:
                drawn, before = rng.uniform(-1, 1), self._action[row]
                if self._turns[row]:
                    drawn = math.copysign(1.0, -before or drawn)
                self._action[row] = drawn
                self._left[row] = int(rng.integers(1, self._longest[row] + 1))
            self._left[row] -= self.repeat
            actions[row] = self._action[row]
        return actions


CAR_LOW, CAR_HIGH = (-1.0, 0.0, 0.0), (1.0, 1.0, 1.0)
CAR_SPREAD = (0.3, 0.2, 0.1)  # of the noise on a trained policy


def random_car_policy(repeat: int = 1) -> NoisyPolicy:
    """Random smooth steering, mostly gas, sometimes brake.

    repeat: environment steps that each action is held for; the noise is the same in time.
    """
    middle = ConstantPolicy([0.0, 0.3, -0.3])
    return NoisyPolicy(middle, [0.4, 0.3, 0.25], CAR_LOW, CAR_HIGH, 0.95**repeat)


def random_networks(population: int, feature_size: int = 288, seed: int = 0) -> ControllerPolicy:
    """The paper's code's own policy: linear controllers with random weights, each of its own size.

    Their weights have a standard deviation drawn from 0..0.01. They read [z, h] of an untrained
    world model; spec.member selects one.
    """
    rng = np.random.default_rng(seed)
    size = Controller(feature_size=feature_size).num_parameters
    weights = rng.standard_normal((population, size)) * rng.uniform(0, 0.01, (population, 1))
    return ControllerPolicy(Controller(weights, feature_size=feature_size))


def no_action_policy() -> ConstantPolicy:
    """For environments without actions: an empty vector at every step."""
    return ConstantPolicy([])
