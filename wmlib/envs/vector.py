"""Many copies of one environment, advancing together: the vector environment of rollouts.

Gymnasium's SyncVectorEnv refuses to step while one of its environments is finished. Here a
finished lane rests, at no cost, until it is reset: near the end of a batch only the last drives
are paid for.
"""

import dataclasses
import math
from collections.abc import Callable, Iterator
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

    `reset(seed=[...], options={"reset_mask": mask})` resets the masked lanes, as in Gymnasium.
    `step` leaves resting lanes as they are: last frame, reward 0, still terminated or truncated.
    """

    def __init__(self, make: Callable[[], gym.Env], lanes: int):
        self.envs = [make() for _ in range(lanes)]
        self.num_envs = lanes
        self.metadata = self.envs[0].metadata | {"autoreset_mode": AutoresetMode.DISABLED}
        self.single_observation_space = self.envs[0].observation_space
        self.single_action_space = self.envs[0].action_space
        self.observation_space = batch_space(self.single_observation_space, lanes)
        self.action_space = batch_space(self.single_action_space, lanes)
        self._observations = np.zeros(self.observation_space.shape, self.observation_space.dtype)
        self._terminated = np.ones(lanes, dtype=bool)
        self._truncated = np.zeros(lanes, dtype=bool)

    def reset(self, *, seed: Any = None, options: dict | None = None):
        """Observations (L, ...) and a list of the masked lanes' infos under "lanes"."""
        mask = (options or {}).get("reset_mask", np.ones(self.num_envs, dtype=bool))
        seeds = seed if isinstance(seed, list) else [seed] * self.num_envs
        infos: list[dict] = [{} for _ in range(self.num_envs)]
        for lane in np.flatnonzero(mask):
            self._observations[lane], infos[lane] = self.envs[lane].reset(seed=seeds[lane])
        self._terminated[mask] = self._truncated[mask] = False
        return self._observations.copy(), {"lanes": infos}

    def step(self, actions: np.ndarray):
        """actions (L, ...) -> observations, rewards, terminated, truncated, {"lanes": infos}."""
        rewards = np.zeros(self.num_envs)
        infos: list[dict] = [{} for _ in range(self.num_envs)]
        for lane in np.flatnonzero(~(self._terminated | self._truncated)):
            (
                self._observations[lane],
                rewards[lane],
                self._terminated[lane],
                self._truncated[lane],
                infos[lane],
            ) = self.envs[lane].step(actions[lane])
        return (
            self._observations.copy(),
            rewards,
            self._terminated.copy(),
            self._truncated.copy(),
            {"lanes": infos},
        )

    def close_extras(self, **kwargs: Any) -> None:
        """Close every lane."""
        for env in self.envs:
            env.close()


class NoProgressTruncation(gym.Wrapper):
    """End an episode, as truncated, `patience` steps after its return was last at its best.

    For training only: a car that has left the road for good would otherwise be watched for the
    rest of its 1000 steps. Scores are never taken through it.
    """

    def __init__(self, env: gym.Env, patience: float):
        super().__init__(env)
        self.patience = patience

    def reset(self, **kwargs: Any):
        """As the environment; the count starts again."""
        self._return = self._best = 0.0
        self._since_best = 0
        return self.env.reset(**kwargs)

    def step(self, action: Any):
        """As the environment, but for `truncated`."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        self._return += float(reward)
        self._since_best += 1
        if self._return > self._best:
            self._best, self._since_best = self._return, 0
        return observation, reward, terminated, truncated or self._since_best >= self.patience, info


class ActionRepeat(gym.Wrapper):
    """Hold every action for `repeat` steps; the rewards add up, and only the last frame is seen.

    Where the environment can (`look_away`), the frames between are not even drawn. info["steps"]
    says how many steps it was: fewer where the episode ended in between (the frame is then a
    little old).
    """

    def __init__(self, env: gym.Env, repeat: int):
        super().__init__(env)
        self.repeat = repeat

    def step(self, action: Any):
        """As the environment, `repeat` times."""
        total = 0.0
        for taken in range(1, self.repeat + 1):
            self.unwrapped.look_away = taken < self.repeat
            observation, reward, terminated, truncated, info = self.env.step(action)
            total += float(reward)
            if terminated or truncated:
                break
        return observation, total, terminated, truncated, info | {"steps": taken}


# Below four rows torch picks other kernels, and the last bits of z and h differ. A drive is chaotic
# enough to end elsewhere for that, and then a score would depend on who else was driving. (With
# several threads each gets some of the rows, and one may get fewer than four: see `one_thread`.)
MIN_ROWS = 4


@dataclass(frozen=True)
class World:
    """How to make lanes of an environment, here or in another process.

    patience: see `NoProgressTruncation`; None (always, for scores) plays every episode to its end.
    options: keyword arguments for `gymnasium.make`.
    repeat: steps that every action is held for, see `ActionRepeat`. A policy with a world model
    acts at the pace that M was made for, whatever stands here.
    """

    env_id: str
    lanes: int = 16
    patience: int | None = None
    options: dict[str, Any] = field(default_factory=dict)
    repeat: int = 1

    def __str__(self) -> str:
        """What a score depends on."""
        return f"{self.env_id} {self.options}, patience {self.patience}"

    def make(self) -> MaskedVectorEnv:
        """A fresh vector environment; lanes without a job rest, so too many cost nothing."""
        return MaskedVectorEnv(self.make_one, max(self.lanes, MIN_ROWS))

    def make_one(self) -> gym.Env:
        """What is in every lane."""
        env = gym.make(self.env_id, disable_env_checker=True, **self.options)
        return ActionRepeat(NoProgressTruncation(env, self.patience_in_steps), self.repeat)

    @contextmanager
    def open(self) -> Iterator[MaskedVectorEnv]:
        """Lanes to drive in.

        Making them anew for every generation would cost as much as some hundred steps of each. So
        the last ones are kept, and serve again for any pace and patience.
        """
        kind = dataclasses.replace(self, patience=None, repeat=1)
        kept, envs = _kept.pop() if _kept else (None, None)
        if kept != kind:
            if envs is not None:
                envs.close()
            envs = self.make()
        for env in envs.envs:
            env.repeat, env.env.patience = self.repeat, self.patience_in_steps
        try:
            yield envs
        except BaseException:
            envs.close()
            raise
        _kept.append((kind, envs))

    def at_pace(self, world_model: WorldModel | None) -> "World":
        """The same world, at the pace that a world model was made for."""
        if world_model is None:
            return self
        return dataclasses.replace(self, repeat=world_model.mdn_rnn.repeat)

    @property
    def patience_in_steps(self) -> float:
        """Infinite where there is no end to it."""
        return math.inf if self.patience is None else self.patience


_kept: list[tuple[World, MaskedVectorEnv]] = []


def pad_batch(rows: np.ndarray, lanes: int) -> np.ndarray:
    """The rows (R,) of `lanes`, with others behind them where they are too few (`MIN_ROWS`)."""
    others = np.setdiff1d(np.arange(lanes), rows)
    return np.concatenate([rows, others[: max(0, MIN_ROWS - len(rows))]])
