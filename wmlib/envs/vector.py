"""The vector environment of rollouts: many copies of one environment, stepped together.

Gymnasium's SyncVectorEnv refuses to step while one of its environments is finished. Here a
finished environment rests, at no cost, until it is reset: near the end of a batch only the last
episodes cost time.
"""

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space

from wmlib.models.world_model import WorldModel


class MaskedVectorEnv(gym.vector.VectorEnv):
    """A Gymnasium vector environment without autoreset, run in this process.

    `reset(seed=[...], options={"reset_mask": mask})` resets the masked environments, as in
    Gymnasium. `step` leaves finished ones as they are: last frame, reward 0, still terminated or
    truncated.
    """

    def __init__(self, make: Callable[[], gym.Env], num_envs: int):
        self.envs = [make() for _ in range(num_envs)]
        self.num_envs = num_envs
        self.metadata = self.envs[0].metadata | {"autoreset_mode": AutoresetMode.DISABLED}
        self.single_observation_space = self.envs[0].observation_space
        self.single_action_space = self.envs[0].action_space
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        space = self.observation_space
        self._observations = np.zeros(space.shape or (num_envs,), space.dtype or np.float32)
        self._terminated = np.ones(num_envs, dtype=bool)
        self._truncated = np.zeros(num_envs, dtype=bool)

    def reset(self, *, seed: Any = None, options: dict | None = None):
        """Observations (N, ...) and {"envs": infos}; seed: see `seed_per_env`."""
        mask = (options or {}).get("reset_mask", np.ones(self.num_envs, dtype=bool))
        seeds = seed_per_env(seed, self.num_envs)
        infos: list[dict] = [{} for _ in range(self.num_envs)]
        for i in np.flatnonzero(mask):
            self._observations[i], infos[i] = self.envs[i].reset(seed=seeds[i])
        self._terminated[mask] = self._truncated[mask] = False
        return self._observations.copy(), {"envs": infos}

    def step(self, actions: np.ndarray):
        """actions (N, ...) -> observations, rewards, terminated, truncated, {"envs": infos}."""
        rewards = np.zeros(self.num_envs)
        infos: list[dict] = [{} for _ in range(self.num_envs)]
        for i in np.flatnonzero(~(self._terminated | self._truncated)):
            (
                self._observations[i],
                rewards[i],
                self._terminated[i],
                self._truncated[i],
                infos[i],
            ) = self.envs[i].step(actions[i])
        return (
            self._observations.copy(),
            rewards,
            self._terminated.copy(),
            self._truncated.copy(),
            {"envs": infos},
        )

    def close_extras(self, **kwargs: Any) -> None:
        """Close every environment."""
        for env in self.envs:
            env.close()


def seed_per_env(seed: int | Sequence[int | None] | None, num_envs: int) -> list[int | None]:
    """One seed per environment, as Gymnasium's vector environments take them.

    An int gives environment i the seed `seed + i`, None gives none; a sequence stays as it is.
    Raises ValueError for a sequence of another length.
    """
    if seed is None:
        return [None] * num_envs
    if isinstance(seed, int | np.integer):
        return [int(seed) + i for i in range(num_envs)]
    if len(seed) != num_envs:
        raise ValueError(f"{num_envs} environments need as many seeds, got {len(seed)}")
    return list(seed)


class NoProgressTruncation(gym.Wrapper):
    """Truncates an episode when its return had no new maximum for `patience` steps.

    The maximum is taken over all steps so far, 0 before the first. A single reward is therefore not
    always enough: in CarRacing a step costs 0.1 points, so a tile of 3 points that comes more than
    30 steps after the last one leaves the return below its maximum, and the count goes on.

    For training only: a car that has left the road for good would otherwise be simulated for the
    rest of its 1000 steps. Scores are never taken through it.
    """

    def __init__(self, env: gym.Env, patience: float):
        super().__init__(env)
        self.patience = patience

    def reset(self, **kwargs: Any):
        """As the environment; return, maximum and count start again."""
        self._return = self._max_return = 0.0
        self._steps_since_max = 0
        return self.env.reset(**kwargs)

    def step(self, action: Any):
        """As the environment, but for `truncated`."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        self._return += float(reward)
        self._steps_since_max += 1
        if self._return > self._max_return:
            self._max_return, self._steps_since_max = self._return, 0
        truncated = truncated or self._steps_since_max >= self.patience
        return observation, reward, terminated, truncated, info


class ActionRepeat(gym.Wrapper):
    """Holds every action for `repeat` steps: one agent step, whose reward is the sum of theirs.

    Only the last frame is returned; an environment with `look_away` does not draw the others. With
    `every` = n, only every n-th agent step returns its frame. The others return zeros, which
    `WorldModel.observe` takes for a missing frame.
    info["steps"] is the number of environment steps: fewer where the episode ended in between (the
    frame is then the last one that was drawn).
    """

    def __init__(self, env: gym.Env, repeat: int, every: int = 1):
        super().__init__(env)
        self.repeat, self.every = repeat, every

    def reset(self, **kwargs: Any):
        """As the environment."""
        self._agent_steps = 0
        return self.env.reset(**kwargs)

    def step(self, action: Any):
        """As the environment, `repeat` times."""
        total = 0.0
        self._agent_steps += 1
        missing = self._agent_steps % self.every > 0
        for taken in range(1, self.repeat + 1):
            environment: Any = self.unwrapped
            environment.look_away = missing or taken < self.repeat
            observation, reward, terminated, truncated, info = self.env.step(action)
            total += float(reward)
            if terminated or truncated:
                break
        if missing:
            observation = np.zeros_like(observation)
        return observation, total, terminated, truncated, info | {"steps": taken}


# Below four rows torch picks other kernels for convolutions and the LSTM, and the last bits of z
# and h differ (see `numerics.steady`). With several threads each gets some of the rows, and one may
# get fewer than four: see `one_thread`.
MIN_ROWS = 4


@dataclass(frozen=True)
class VectorEnvSpec:
    """How to make a vector environment of `num_envs` Gymnasium environments, in any process.

    patience: see `NoProgressTruncation`; None (always, for scores) runs every episode to its end.
    options: keyword arguments for `gymnasium.make`.
    repeat, every: environment steps that every action is held for, and agent steps from one frame
    to the next, see `ActionRepeat`. With a world model its M's `repeat` holds, see `at_pace`.
    """

    env_id: str
    num_envs: int = 16
    patience: int | None = None
    options: dict[str, Any] = field(default_factory=dict)
    repeat: int = 1
    every: int = 1

    def __str__(self) -> str:
        """What a score depends on, besides `repeat`.

        A part of every record: with other words no run could go on.
        """
        frames = "" if self.every == 1 else f", a frame every {self.every} agent steps"
        return f"{self.env_id} {self.options}, patience {self.patience}{frames}"

    def make(self) -> MaskedVectorEnv:
        """A fresh vector environment; unused environments rest, so too many cost no time."""
        return MaskedVectorEnv(self.make_one, max(self.num_envs, MIN_ROWS))

    def make_one(self) -> gym.Env:
        """One of its environments."""
        env = gym.make(self.env_id, disable_env_checker=True, **self.options)
        env = NoProgressTruncation(env, self.patience_in_steps)
        return ActionRepeat(env, self.repeat, self.every)

    @contextmanager
    def open(self) -> Iterator[MaskedVectorEnv]:
        """The vector environment, in a context.

        Making it anew for every generation would cost as much as some hundred steps of each of its
        environments. So the last one is kept, and used again for any repeat, every and patience.
        """
        kind = dataclasses.replace(self, patience=None, repeat=1, every=1)
        kept, envs = _kept.pop() if _kept else (kind, self.make())
        if kept != kind:
            envs.close()
            envs = self.make()
        for env in envs.envs:
            wrapped: Any = env  # as `make_one` made it
            wrapped.repeat, wrapped.every = self.repeat, self.every
            wrapped.env.patience = self.patience_in_steps
        try:
            yield envs
        except BaseException:
            envs.close()
            raise
        _kept.append((kind, envs))

    def at_pace(self, world_model: WorldModel | None) -> "VectorEnvSpec":
        """The same with the action repeat that a world model was trained with."""
        if world_model is None:
            return self
        return dataclasses.replace(self, repeat=world_model.mdn_rnn.repeat)

    @property
    def patience_in_steps(self) -> float:
        """Environment steps; infinite without a patience."""
        return math.inf if self.patience is None else self.patience


_kept: list[tuple[VectorEnvSpec, MaskedVectorEnv]] = []


def pad_batch(rows: np.ndarray, num_envs: int) -> np.ndarray:
    """The rows (R,) int64, with others of `num_envs` appended up to `MIN_ROWS` rows."""
    missing = MIN_ROWS - len(rows)
    if missing <= 0:
        return rows
    return np.concatenate([rows, np.setdiff1d(np.arange(num_envs), rows)[:missing]])
