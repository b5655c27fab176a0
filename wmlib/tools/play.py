"""Watch an agent in CarRacing with Gymnasium's full-size frames: in a window, or as a video."""

import os
import sys
from pathlib import Path
from typing import Any

import cv2
import gymnasium as gym
import numpy as np

from wmlib.envs.vector import MIN_ROWS, ActionRepeat, MaskedVectorEnv, NoProgressTruncation
from wmlib.models.world_model import WorldModel
from wmlib.rollout.policies import EpisodeSpec, Policy
from wmlib.rollout.rollout import Episode, rollout

SKIP = 2  # a video has every second frame: 25 frames per second


def has_display() -> bool:
    """Whether a window can be opened on this machine."""
    if sys.platform in ("win32", "darwin"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def play(
    policy: Policy,
    world_model: WorldModel,
    track: int,
    video: str | Path | None = None,
    max_steps: int = 1000,
) -> Episode:
    """One episode of a policy, shown in a window in real time or, with `video`, written to a file.

    world_model: computes the policy's features. track: seed of the environment. video: a path that
    ends in .mp4. max_steps: environment steps after which the episode is truncated. Raises
    ValueError if the path ends differently or cannot be written to, or if there is neither a path
    nor a display.
    """
    if video is None and not has_display():
        raise ValueError("no display is available for a window: pass the path of a video")
    if video is not None and Path(video).suffix != ".mp4":
        raise ValueError(f"the path of a video must end in .mp4, got {str(video)!r}")

    def make() -> gym.Env:
        env = gym.make(
            "wmlib/CarRacing-v3",
            render_mode="human" if video is None else "rgb_array",
            frame_size=world_model.vae.frame_size,
            max_episode_steps=max_steps,
            disable_env_checker=True,
        )
        env = env if video is None else VideoRecorder(env, video)
        return ActionRepeat(
            NoProgressTruncation(env, patience=max_steps), world_model.mdn_rnn.repeat
        )

    envs = MaskedVectorEnv(make, MIN_ROWS)  # only the first one runs
    try:
        _, episode = next(rollout(envs, policy, [EpisodeSpec(track)], world_model))
    finally:
        envs.close()
    return episode


class VideoRecorder(gym.Wrapper):
    """Writes the frame that `render` returns after every SKIP-th step to an .mp4 file.

    The first step's frame is the first one. The file is complete after `close`. Raises ValueError
    at the first step if the file cannot be written.
    """

    def __init__(self, env: gym.Env, path: str | Path):
        super().__init__(env)
        self.path, self._steps = Path(path), 0
        self._writer: cv2.VideoWriter | None = None

    def step(self, action: Any):
        """One step of the environment; returns what it returns."""
        result = self.env.step(action)
        if self._steps % SKIP == 0:
            frame = np.asarray(self.env.render())
            if self._writer is None:
                self._writer = self._open(*frame.shape[:2])
            self._writer.write(frame[:, :, ::-1])  # OpenCV's order of colours is BGR
        self._steps += 1
        return result

    def _open(self, height: int, width: int) -> cv2.VideoWriter:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        codec = cv2.VideoWriter.fourcc(*"mp4v")
        rate = self.metadata["render_fps"] / SKIP
        writer = cv2.VideoWriter(str(self.path), codec, rate, (width, height))
        if not writer.isOpened():
            raise ValueError(f"no video can be written to {self.path}")
        return writer

    def close(self) -> None:
        """Complete the file, and close the environment."""
        if self._writer is not None:
            self._writer.release()
            self._writer = None
        super().close()
