"""The comparison of renderers in chapter 5, and the figure of the texture."""

import gymnasium as gym
import numpy as np
import pytest
from figure_data import assert_legible
from matplotlib.backends.backend_agg import FigureCanvasAgg

import wmlib.envs  # noqa: F401
from wmlib.view import figures, renderers

ACTIONS = np.tile(renderers.GAS, (8, 1))


def test_both_renderers_have_the_same_rewards_and_nearly_the_same_frames():
    strips, differences, equal = renderers.compare_renderers(3, ACTIONS, [2, 7])
    assert equal
    assert differences.shape == (8,)
    assert (differences < 1).all()
    assert [row.shape for row in strips.values()] == 3 * [(2, 64, 64, 3)]
    theirs, ours, tenfold = (row.astype(int) for row in strips.values())
    assert (tenfold == (10 * abs(theirs - ours)).clip(0, 255)).all()


def test_shares_of_a_profile_are_of_the_whole_step():
    env = gym.make("CarRacing-v3")
    env.reset(seed=1)
    parts = {"drawing": "car_racing.py: _render", "all": "car_racing.py: step"}
    shares = renderers.profile_shares(env, parts, steps=2)
    assert 0.5 < shares["drawing"] < shares["all"] == 1
    with pytest.raises(ValueError, match="not called in 2 steps: car"):
        renderers.profile_shares(env, {"closing": "car_racing.py: close"}, steps=2)


def test_the_window_on_the_texture_is_what_the_frame_shows():
    env = gym.make("wmlib/CarRacing-v3")
    env.reset(seed=3)
    for _ in range(60):  # the camera has come to rest
        frame, *_ = env.step(renderers.GAS)
    figure = figures.texture_and_frame(env, frame)
    left, _ = figure.axes
    outline = np.transpose(left.lines[0].get_data())
    (low, high), (bottom, top) = left.get_xlim(), left.get_ylim()
    assert (outline > (low, bottom)).all()
    assert (outline < (high, top)).all()
    # The texels nearest to the frame's pixels have their colours, but for the car and for edges.
    texture, corner = np.asarray(left.images[0].get_array(), int), outline[0]
    across, down = (outline[1] - corner) / 64, (outline[3] - corner) / 64
    row, column = np.mgrid[:64, :64][..., None] + 0.5
    x, y = np.moveaxis(corner + column * across + row * down, -1, 0).round().astype(int)
    assert (abs(texture[y, x] - frame).max(-1) < 5).mean() > 0.85
    FigureCanvasAgg(figure).draw()
    assert_legible(figure)
