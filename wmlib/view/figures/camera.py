"""The fast renderer's texture of a track, and the part of it that a frame shows."""

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.envs.box2d.car_racing import SCALE, ZOOM
from matplotlib.figure import Figure

from wmlib.view.figures.style import REALITY


def texture_and_frame(env: gym.Env, frame: np.ndarray) -> Figure:
    """A track's texture with the window that is seen, and the frame (S, S, 3) warped from it.

    env: with the fast renderer, after its first second. Left: the texture around the track, with
    north at the top. Blue: the window of the frame, and the direction in which the car points.
    """
    unwrapped: Any = env.unwrapped
    size = len(frame)
    level, to_texture = unwrapped.renderer.camera(unwrapped.car, ZOOM * SCALE, size)
    texture = unwrapped.renderer.levels[level]
    half = (size - 1) / 2  # the centres of pixels are whole numbers
    place, across, down = (to_texture @ p for p in ([half, half, 1], [1, 0, 0], [0, 1, 0]))
    outline = np.array([place + size / 2 * (i * across + j * down)
                        for i, j in ((-1, -1), (1, -1), (1, 1), (-1, 1), (-1, -1))])  # fmt: skip
    figure = Figure(figsize=(6.6, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.imshow(texture, origin="lower")
    left.plot(*outline.T, color=REALITY, lw=2)
    left.annotate("", place - 1.5 * size * down, place,
                  arrowprops={"arrowstyle": "->", "color": REALITY, "lw": 2})  # fmt: skip
    track = np.array(unwrapped.track)[:, 2:]
    scale = np.linalg.norm(across) * ZOOM * SCALE / (1000 / size)  # texels per unit of the world
    middle = (track.min(0) + track.max(0)) / 2
    x, y = place - scale * (np.array(unwrapped.car.hull.position) - middle)
    reach = scale * np.ptp(track, axis=0).max() / 2 + size * np.linalg.norm(across)
    left.set(xlim=(x - reach, x + reach), ylim=(y - reach, y + reach))
    left.set_title("texture of the track", fontsize=10)
    right.imshow(frame)
    right.set_title(f"frame, {size} × {size} pixels", fontsize=10)
    for ax in (left, right):
        ax.set(xticks=[], yticks=[])
    return figure
