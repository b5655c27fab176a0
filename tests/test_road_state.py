"""The car's true state on the road, from a recorded episode's actions."""

import gymnasium as gym
import numpy as np
import pytest

from wmlib.tools.road_state import QUANTITIES, replay

STRAIGHT = np.array([0.0, 0.3, 0.0], np.float32)


def test_a_replay_ends_where_the_episode_did():
    rng = np.random.default_rng(0)
    actions = rng.uniform([-0.3, 0, 0], [0.3, 0.6, 0.1], (40, 3)).astype(np.float32)
    env = gym.make("wmlib/CarRacing-v3").unwrapped
    env.reset(seed=5)
    for action in actions:
        for _ in range(2):
            env.step(action)
    states = replay(5, actions, repeat=2)
    assert states.shape == (41, len(QUANTITIES))
    assert states[-1, 3] == np.hypot(*env.car.hull.linearVelocity)
    env.close()


def test_a_car_begins_in_the_middle_of_the_road_and_at_rest():
    offset, _, angle, speed = replay(1, np.zeros((0, 3), np.float32))[0]
    assert abs(offset) < 0.2
    assert abs(angle) < 5
    assert speed == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(("steering", "side"), [(0.3, 1), (-0.3, -1)])
def test_steering_right_leads_to_the_right(steering, side):
    actions = np.tile(STRAIGHT, (60, 1))
    actions[20:, 0] = steering
    offset, _, angle, speed = replay(1, actions)[-1] - replay(1, np.tile(STRAIGHT, (60, 1)))[-1]
    assert offset * side > 0.1
    assert angle * side < -5  # left is positive
    assert abs(speed) < 5


def test_the_bends_of_a_whole_track_are_one_turn_to_the_left():
    """Tracks are driven counterclockwise: over all tiles the road turns by 360 degrees."""
    env = gym.make("wmlib/CarRacing-v3").unwrapped
    env.reset(seed=1)
    tiles = len(env.track)
    env.close()
    _, bend, *_ = replay(1, np.zeros((0, 3), np.float32), ahead=tiles)[0]
    assert bend == pytest.approx(360, abs=1)
