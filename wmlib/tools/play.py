"""Watch an agent drive, as people see CarRacing: in a window, or as a video."""

import os
import sys
from pathlib import Path
from typing import Any

import cv2
import gymnasium as gym

from wmlib.envs.vector import MIN_ROWS, ActionRepeat, MaskedVectorEnv, NoProgressTruncation
from wmlib.models.world_model import WorldModel
from wmlib.rollout.policies import EpisodeSpec, Policy
from wmlib.rollout.rollout import Episode, rollout

SKIP = 2  # a video holds every second frame: 25 a second


def has_display() -> bool:
    """Whether a window can be opened here."""
    if sys.platform in ("win32", "darwin"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def play(
    driver: Policy,
    world_model: WorldModel,
    track: int,
    video: str | Path | None = None,
    max_steps: int = 1000,
) -> Episode:
    """Drive one track of CarRacing-v3 to the end, in a real-time window or, with `video`, a file.

    video: a path ending in .mp4. Raises ValueError for another ending, and if there is neither a
    display nor a path.
    """
    if video is None and not has_display():
        raise ValueError("there is no display to open a window on: give the path of a video")
    if video is not None and Path(video).suffix != ".mp4":
        raise ValueError(f"a video's name ends in .mp4, got {str(video)!r}")

    def make() -> gym.Env:
        env = gym.make(
            "wmlib/CarRacing-v3",
            render_mode="human" if video is None else "rgb_array",
            frame_size=world_model.vae.frame_size,
            max_episode_steps=max_steps,
            disable_env_checker=True,
        )
        env = env if video is None else Film(env, video)
        return ActionRepeat(
            NoProgressTruncation(env, patience=max_steps), world_model.mdn_rnn.repeat
        )

    envs = MaskedVectorEnv(make, MIN_ROWS)  # only the first of them moves
    try:
        _, drive = next(rollout(envs, driver, [EpisodeSpec(track)], world_model))
    finally:
        envs.close()
    return drive


class Film(gym.Wrapper):
    """Writes every SKIP-th frame that people would see to an .mp4 file; `close` finishes it."""

    def __init__(self, env: gym.Env, path: str | Path):
        super().__init__(env)
        self.path, self._writer, self._steps = Path(path), None, 0

    def step(self, action: Any):
        """As the environment."""
        result = self.env.step(action)
        if self._steps % SKIP == 0:
            frame = self.env.render()
            if self._writer is None:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                codec = cv2.VideoWriter.fourcc(*"mp4v")
                rate = self.metadata["render_fps"] / SKIP
                self._writer = cv2.VideoWriter(str(self.path), codec, rate, frame.shape[1::-1])
                if not self._writer.isOpened():
                    raise ValueError(f"no video can be written to {self.path}")
            self._writer.write(frame[:, :, ::-1])
        self._steps += 1
        return result

    def close(self) -> None:
        """Finish the file."""
        if self._writer is not None:
            self._writer.release()
            self._writer = None
        super().close()
