"""Which tiles of the road the car has left behind without touching them."""

from typing import Any

import gymnasium as gym
from gymnasium.utils import RecordConstructorArgs

BEHIND = 8  # tiles: so far behind the foremost touched one, a tile will not be touched any more
REACH = 25  # tiles: the next one that is touched is not further ahead


class MissedTiles(gym.Wrapper, RecordConstructorArgs):
    """Adds info["missed_tiles"]: how many tiles the car has missed so far in this episode.

    A lap is complete when all tiles were touched; after one missed tile the episode goes on to its
    limit, and costs 0.1 points per step. That is long after the mistake. The agent sees nothing of
    this count; what learns from rewards can put their price where the mistake was made.
    """

    def __init__(self, env: gym.Env):
        RecordConstructorArgs.__init__(self)
        gym.Wrapper.__init__(self, env)

    def reset(self, **kwargs: Any):
        """As the environment, and nothing is missed."""
        self._foremost = self._left = self._missed = 0
        observation, info = self.env.reset(**kwargs)
        return observation, info | {"missed_tiles": 0}

    def step(self, action: Any):
        """As the environment."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        if float(reward) > 0:  # a tile was touched
            self._count(self.unwrapped.road)  # type: ignore[attr-defined]
        return observation, reward, terminated, truncated, info | {"missed_tiles": self._missed}

    def _count(self, road: list) -> None:
        while ahead := [
            i
            for i in range(self._foremost + 1, min(self._foremost + REACH, len(road)))
            if road[i].road_visited
        ]:
            self._foremost = ahead[-1]
        left = max(self._left, self._foremost - BEHIND)
        self._missed += sum(not road[i].road_visited for i in range(self._left, left))
        self._left = left
