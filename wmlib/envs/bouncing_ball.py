"""A ball in a box, seen as pixels, with its true position and velocity in `info`.

The smallest world where every claim about V and M can be checked against the truth.
"""

from typing import Any

import gymnasium as gym
import numpy as np

BACKGROUND = np.array([18.0, 22.0, 32.0])
BALL = np.array([0.0, 158.0, 220.0])


class BouncingBall(gym.Env):
    """Observation (size, size, 3) uint8; the action is an empty vector: one can only watch.

    The box is 1 x 1; x grows to the right and y downwards, as in the picture. The ball flies
    straight, at a speed drawn at the start, and bounces off the walls without losing any.

    info: "position" (2,) and "velocity" (2,) float64, in box widths and box widths per step, and
    "bounced", whether a wall was hit during the step. Reward 0. The registered version ends, as
    truncated, after 200 steps.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 30}  # noqa: RUF012

    def __init__(
        self,
        size: int = 64,
        radius: float = 0.12,
        speed: tuple[float, float] = (0.02, 0.05),
        render_mode: str | None = None,
    ):
        self.size, self.radius, self.speed, self.render_mode = size, radius, speed, render_mode
        self.observation_space = gym.spaces.Box(0, 255, (size, size, 3), np.uint8)
        self.action_space = gym.spaces.Box(-1, 1, (0,), np.float32)
        centres = (np.arange(size) + 0.5) / size
        self._x, self._y = centres[None, :], centres[:, None]

    def reset(self, *, seed: int | None = None, options: dict | None = None):
        """A new ball, anywhere in the box, flying anywhere."""
        super().reset(seed=seed)
        direction, speed = self.np_random.uniform([0, self.speed[0]], [2 * np.pi, self.speed[1]])
        self._position = self.np_random.uniform(self.radius, 1 - self.radius, size=2)
        self._velocity = speed * np.array([np.cos(direction), np.sin(direction)])
        return self.render(), self._info(bounced=False)

    def step(self, action: Any):
        """One step of flight. The action is ignored: it has no numbers."""
        position = self._position + self._velocity
        low, high = self.radius, 1 - self.radius
        reflected = np.where(position < low, 2 * low - position, position)
        reflected = np.where(reflected > high, 2 * high - reflected, reflected)
        hit = reflected != position
        self._velocity = np.where(hit, -self._velocity, self._velocity)
        self._position = reflected
        return self.render(), 0.0, False, False, self._info(bounced=bool(hit.any()))

    def render(self) -> np.ndarray:
        """The picture, (size, size, 3) uint8: a ball that glows, brightness a Gaussian of `radius`.

        A hard disc would not change the picture when it moves by less than a pixel; and V, trained
        alike, curls its path up in z: a linear map then read R² = 0.86 of the position, not 0.99.
        """
        x, y = self._position
        squared_distance = (self._x - x) ** 2 + (self._y - y) ** 2
        glow = np.exp(-squared_distance / (2 * self.radius**2))[..., None]
        return (BACKGROUND + glow * (BALL - BACKGROUND)).round().astype(np.uint8)

    def _info(self, bounced: bool) -> dict:
        return {
            "position": self._position.copy(),
            "velocity": self._velocity.copy(),
            "bounced": bounced,
        }
