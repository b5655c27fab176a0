"""CarRacing with one thing changed, for agents that have never seen the change."""

from typing import Any

import numpy as np

from wmlib.envs.fast_car_racing import CarRacing


class ChangedCarRacing(CarRacing):
    """As the fast CarRacing, with its own options and two more.

    grip: friction of the road, in units of the untouched road's; on grass it is 0.6, and that is
    the least that wheels have anywhere. brightness: factor of all grey levels of a frame.
    With Gymnasium's own option `domain_randomize`, every track has other colours; here they come
    from random numbers of their own, so that the track of a seed stays what it is.
    """

    def __init__(self, *args: Any, grip: float = 1.0, brightness: float = 1.0, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.grip, self.brightness = grip, brightness

    def reset(self, *, seed: int | None = None, options: dict | None = None):
        """As in Gymnasium."""
        self._seed = seed
        return super().reset(seed=seed, options=options)

    def _reinit_colors(self, randomize: bool) -> None:
        mine, self._np_random = self._np_random, np.random.default_rng(self._seed)
        super()._reinit_colors(randomize)
        self._np_random = mine

    def _create_track(self) -> bool:
        success = super()._create_track()
        road: list = self.road or []
        for tile in road:
            tile.road_friction = self.grip
        return success

    def _render(self, mode: str):
        frame = super()._render(mode)
        if mode != "state_pixels" or self.look_away or self.brightness == 1:
            return frame
        return (frame * self.brightness).clip(0, 255).astype(np.uint8)
