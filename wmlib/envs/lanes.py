"""Many copies of one environment, advancing together: the vector environment of rollouts.

Gymnasium's SyncVectorEnv refuses to step while one of its environments is finished. Here a
finished lane rests, at no cost, until it is reset: near the end of a batch only the last drives
are paid for.
"""

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space


class Lanes(gym.vector.VectorEnv):
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


class GiveUp(gym.Wrapper):
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


class Repeat(gym.Wrapper):
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
