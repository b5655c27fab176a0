"""The hairpins of recorded episodes, and the turn of the road ahead of a car."""

from types import SimpleNamespace

import gymnasium as gym
import numpy as np
import pytest
import torch

from wmlib.pipeline import car_racing
from wmlib.pipeline.scales import get_config
from wmlib.rollout.policies import ConstantPolicy, EpisodeSpec
from wmlib.rollout.rollout import record_episode
from wmlib.view import hairpins

GREY = SimpleNamespace(  # a V that reconstructs every frame as black
    encode=lambda frames: torch.zeros(len(frames), 1),
    decode=lambda z: torch.zeros(len(z), 3, 2, 2),
    mdn_rnn=SimpleNamespace(repeat=2),
)


def recording(steps=200, tiles=range(0, 200, 5), turns=(), offset=0.0):
    """An episode of 2 x 2 frames, white from agent step 100 on; turns: {agent step: degrees}."""
    turn, rewards = np.zeros(steps + 1), np.full(steps, -0.1, np.float32)
    for step, degrees in dict(turns).items():
        turn[step] = degrees
    rewards[list(tiles)] = 3.0
    frames = np.zeros((steps + 1, 2, 2, 3), np.uint8)
    frames[100:] = 255
    offsets = np.full(steps + 1, offset)
    return {"turn": turn, "offset": offsets, "rewards": rewards, "frames": frames}


def test_neighbouring_steps_are_one_hairpin_with_its_sharpest_turn():
    turns = {50: 95.0, 55: 130.0, 60: 89.0, 120: -100.0}
    left, right = hairpins.find_hairpins(recording(turns=turns), GREY, episode=3)
    assert (left.turn, right.turn, left.episode) == (130, -100, 3)
    assert not left.failed
    assert left.recovered
    assert (left.error, right.error) == (0, pytest.approx(12))  # 2 x 2 pixels x 3 colours
    assert left.frames.shape == (24, 2, 2, 3)


@pytest.mark.parametrize("later", [[], [190]])
def test_a_car_that_reaches_no_tile_for_50_steps_failed(later):
    tiles = [*range(0, 65, 5), *later]
    (hairpin,) = hairpins.find_hairpins(recording(tiles=tiles, turns={60: 120.0}), GREY)
    assert hairpin.failed
    assert hairpin.recovered == bool(later)


@pytest.mark.parametrize("until", [80, 100, 130])
def test_a_car_that_stands_before_the_turn_failed_however_long_it_saw_it(until):
    """It recovers on the spot at step 131; the next tile is behind the turn."""
    tiles = [*range(0, 65, 5), *range(131, 200, 5)]
    turns = dict.fromkeys(range(60, until), 120.0)
    (hairpin,) = hairpins.find_hairpins(recording(tiles=tiles, turns=turns), GREY)
    assert (hairpin.failed, hairpin.recovered) == (True, True)


def test_a_stop_before_the_turn_came_into_view_is_not_at_it():
    tiles = [0, *range(60, 200, 5)]
    (hairpin,) = hairpins.find_hairpins(recording(tiles=tiles, turns={62: 120.0}), GREY)
    assert not hairpin.failed


def test_an_interval_is_over_episodes_and_not_over_their_frames():
    errors, episodes = np.array([10.0, 20, 30, 50]), np.array([0, 0, 0, 7])
    assert hairpins.episode_means(errors, episodes).tolist() == [20, 50]
    assert hairpins.describe(errors, episodes).startswith("35")
    assert hairpins.describe(errors[:3], episodes[:3]) == "episodes: 1"
    assert hairpins.describe(errors[:0], episodes[:0]) == "episodes: 0"


def test_a_left_and_a_right_turn_are_two_hairpins_and_the_car_fails_at_the_second():
    tiles = range(0, 75, 5)
    turns = dict.fromkeys(range(50, 60), 100.0) | dict.fromkeys(range(60, 75), -120.0)
    first, second = hairpins.find_hairpins(recording(tiles=tiles, turns=turns), GREY)
    assert (first.turn, first.failed) == (100, False)
    assert (second.turn, second.failed) == (-120, True)


def test_neither_the_beginning_nor_the_grass_counts():
    turns = {50: 120.0}
    assert hairpins.find_hairpins(recording(turns=turns), GREY, skip=51) == []
    assert hairpins.find_hairpins(recording(turns=turns, offset=6.0), GREY) == []


class Circle(gym.Env):
    """A track of 36 tiles, 10 degrees each, driven to the left; the car is beside the first."""

    def __init__(self):
        angles = np.radians(np.arange(0, 360, 10))
        self.track = [(a, a, 100 * np.cos(a), 100 * np.sin(a)) for a in angles]
        self.car = SimpleNamespace(hull=SimpleNamespace(position=np.array([103.0, 0.0])))

    def reset(self, **kwargs):
        return None, {"kept": 1}


def test_the_road_ahead_turns_left_by_the_angle_of_twelve_tiles():
    _, info = hairpins.RoadAhead(Circle()).reset()
    assert info == {"kept": 1, "turn": pytest.approx(120), "offset": pytest.approx(3)}


def test_a_survey_has_a_return_per_episode_and_samples_of_its_frames(world_model):
    env_spec = car_racing.training_env_spec(get_config("smoke")).at_pace(world_model)
    policy = ConstantPolicy([0, 1, 0])
    result = hairpins.survey(env_spec, policy, [1, 2], world_model)
    frames = 80 + 1 - hairpins.ZOOM  # per episode: it ends after 80 steps
    each = -(-frames // hairpins.STRIDE)
    assert result.samples.shape == (4, 2 * each)
    episodes, turns, errors, mirrored = result.samples
    assert sorted(episodes) == [0] * each + [1] * each
    assert np.ptp(turns) > 0
    assert (errors > 0).all()
    assert (errors != mirrored).any()
    scores = [record_episode(env_spec, policy, EpisodeSpec(seed)).score for seed in (1, 2)]
    assert result.returns == pytest.approx(scores)
    assert result.gaps.shape == (2,)
    assert ((0 < result.gaps) & (result.gaps <= 80)).all()
    assert len(result.column("turn")) == len(result.hairpins)
    assert result.column("failed").dtype == bool
