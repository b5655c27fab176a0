"""CarRacing-v3 as the paper saw it: the untouched environment behind a small window.

Physics, tracks, rewards and drawing are Gymnasium's own. The window crops the instrument bar
(so speed is not on the picture: it must come from h) and shrinks the rest to 64x64 or 96x96.
`fast_car_racing.py` has the same environment with a much faster renderer.
"""

import cv2
import gymnasium as gym
import numpy as np

INSTRUMENT_BAR = 12  # rows at the bottom of Gymnasium's 96x96 frame


def original(frame_size: int = 64, render_mode: str | None = None, **kwargs) -> gym.Env:
    """`gymnasium.make("CarRacing-v3")`, seen through `Window`. Registered with a 1000-step limit.

    Other keyword arguments go to CarRacing-v3 itself.
    """
    # The outer registration brings the time limit and the order check: once is enough.
    env = gym.make(
        "CarRacing-v3", render_mode=render_mode, disable_env_checker=True, **kwargs
    ).unwrapped
    return Window(env, frame_size)


class Window(gym.ObservationWrapper):
    """96x96 frame -> instrument bar cropped, resized to (frame_size, frame_size, 3) uint8.

    Each pixel is the mean of the area it covers.

    Also turns away actions outside the action space, with a sentence: CarRacing itself would clip
    some of them silently and simulate the others.
    """

    def __init__(self, env: gym.Env, frame_size: int):
        super().__init__(env)
        self.frame_size = frame_size
        self.observation_space = gym.spaces.Box(0, 255, (frame_size, frame_size, 3), np.uint8)

    def observation(self, observation: np.ndarray) -> np.ndarray:
        """(96, 96, 3) uint8 -> (frame_size, frame_size, 3) uint8."""
        size = (self.frame_size, self.frame_size)
        return cv2.resize(observation[:-INSTRUMENT_BAR], size, interpolation=cv2.INTER_AREA)

    def step(self, action: np.ndarray):
        """As in CarRacing. Raises ValueError for an action that is out of range."""
        action = np.asarray(action, dtype=np.float32)
        if not self.action_space.contains(action):
            raise ValueError(
                f"an action is [steering -1..1, gas 0..1, brake 0..1], got {action.tolist()}"
            )
        return super().step(action)
