import cv2
import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from wmlib.envs.bouncing_ball import BouncingBall
from wmlib.envs.vector import MaskedVectorEnv, NoProgressTruncation


def test_the_ball_is_a_gymnasium_environment():
    check_env(BouncingBall(render_mode="rgb_array"))
    env = gym.make("wmlib/BouncingBall-v0")
    env.reset(seed=0)
    truncated = [env.step(env.action_space.sample())[3] for _ in range(200)]
    assert truncated == [False] * 199 + [True]


@pytest.mark.parametrize("seed", range(5))
def test_the_ball_follows_a_folded_straight_line(seed):
    """Bouncing in a box equals moving straight in the unfolded box."""
    env = BouncingBall()
    _, info = env.reset(seed=seed)
    start, velocity = info["position"], info["velocity"]
    width = 1 - 2 * env.radius
    bounces = 0
    for t in range(1, 200):
        frame, _, _, _, info = env.step(np.zeros(0, np.float32))
        unfolded = (start - env.radius + t * velocity) % (2 * width)
        expected = env.radius + np.where(unfolded > width, 2 * width - unfolded, unfolded)
        np.testing.assert_allclose(info["position"], expected, atol=1e-9)
        np.testing.assert_allclose(np.abs(info["velocity"]), np.abs(velocity))
        bounces += info["bounced"]
    assert bounces > 3
    assert frame.dtype == np.uint8


def test_the_ball_is_drawn_at_its_position():
    env = BouncingBall()
    _, info = env.reset(seed=3)
    row, column = np.unravel_index(env.render()[..., 1].argmax(), (64, 64))
    np.testing.assert_allclose(
        [(column + 0.5) / 64, (row + 0.5) / 64], info["position"], atol=0.5 / 64
    )


@pytest.mark.parametrize("size", [64, 96])
def test_the_wrapper_changes_nothing_but_the_frame(size):
    ours = gym.make("wmlib/CarRacingOriginal-v3", frame_size=size)
    theirs = gym.make("CarRacing-v3")
    assert ours.action_space == theirs.action_space
    rng = np.random.default_rng(0)
    frame, _ = ours.reset(seed=7)
    original, _ = theirs.reset(seed=7)
    for _ in range(12):
        assert frame.shape == (size, size, 3)
        small = cv2.resize(original[:84], (size, size), interpolation=cv2.INTER_AREA)
        np.testing.assert_array_equal(frame, np.asarray(small))
        action = rng.uniform([-1, 0, 0], [1, 1, 1]).astype(np.float32)
        frame, reward, terminated, truncated, info = ours.step(action)
        original, *rest = theirs.step(action)
        assert [reward, terminated, truncated, info] == rest


def test_the_wrapper_keeps_the_time_limit():
    env = gym.make("wmlib/CarRacingOriginal-v3", max_episode_steps=3)
    env.reset(seed=0)
    truncated = [env.step(np.zeros(3, np.float32))[3] for _ in range(3)]
    assert truncated == [False, False, True]


@pytest.mark.parametrize("seed", range(5))
def test_the_car_starts_on_the_lap_line(seed):
    """Why an episode ends early only when *every* tile was hit.

    CarRacing checks "lap complete" in the moment tile 0 is first touched. The car stands on it at
    the start, so that moment has passed before the first action. Scores above 900 need complete
    laps, and lap completion is reported beside every score. If this fails, Gymnasium has changed.
    """
    env = gym.make("CarRacing-v3")
    env.reset(seed=seed)
    env.step(np.zeros(3, np.float32))
    assert env.unwrapped.road[0].road_visited


@pytest.mark.parametrize(
    "action", [[-1.1, 0, 0], [0, -0.1, 0], [0, 0, 1.1], [0, 0], [np.nan, 0, 0]]
)
def test_an_action_out_of_range_is_named(action):
    env = gym.make("wmlib/CarRacingOriginal-v3")
    env.reset(seed=0)
    with pytest.raises(ValueError, match=r"steering -1\.\.1, gas 0\.\.1, brake 0\.\.1\], got \["):
        env.step(np.array(action, np.float32))


class Counter(gym.Env):
    """Rewards of 1 for ten steps, then of -0.1; terminates after `length` steps."""

    observation_space = gym.spaces.Box(0, 1e6, (1,), np.float32)
    action_space = gym.spaces.Box(-1, 1, (1,), np.float32)

    def __init__(self, length=50):
        self.length = length

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t, self.seed = 0, seed or 0
        return np.array([self.seed], np.float32), {}

    def step(self, action):
        self.t += 1
        reward = 1.0 if self.t <= 10 else -0.1
        observation = np.array([self.seed + self.t], np.float32)
        return observation, reward, self.t >= self.length, False, {}


def test_finished_environments_are_masked_until_they_are_reset():
    envs = MaskedVectorEnv(lambda: Counter(2), 3)
    observations, _ = envs.reset(seed=[10, 20, 30])
    np.testing.assert_array_equal(observations[:, 0], [10, 20, 30])
    actions = np.zeros((3, 1), np.float32)
    envs.step(actions)
    _, _, terminated, _, _ = envs.step(actions)
    assert terminated.all()
    mask = np.array([False, True, False])
    observations, _ = envs.reset(seed=[None, 50, None], options={"reset_mask": mask})
    np.testing.assert_array_equal(observations[:, 0], [12, 50, 32])
    observations, rewards, terminated, _, _ = envs.step(actions)
    np.testing.assert_array_equal(observations[:, 0], [12, 51, 32])
    np.testing.assert_array_equal(rewards, [0, 1, 0])
    np.testing.assert_array_equal(terminated, [True, False, True])


def test_an_integer_seed_gives_every_environment_its_own_seed():
    """As in Gymnasium's vector environments: seed + i."""
    ours = MaskedVectorEnv(Counter, 3)
    theirs = gym.vector.SyncVectorEnv([Counter] * 3)
    for seed in (7, [7, 3, 5]):
        observations, _ = ours.reset(seed=seed)
        np.testing.assert_array_equal(observations, theirs.reset(seed=seed)[0])
    mask = np.array([False, True, False])
    observations, _ = ours.reset(seed=20, options={"reset_mask": mask})
    np.testing.assert_array_equal(observations[:, 0], [7, 21, 5])
    with pytest.raises(ValueError, match="3 environments need as many seeds, got 2"):
        ours.reset(seed=[1, 2])


class Tiles(Counter):
    """A tile of 3.2 points every 40 steps, and -0.1 at every step, as in CarRacing."""

    def step(self, action):
        observation, _, terminated, truncated, info = super().step(action)
        reward = (3.2 if self.t % 40 == 1 else 0.0) - 0.1
        return observation, reward, terminated, truncated, info


def test_progress_is_a_new_maximum_of_the_return():
    """A tile every 40 steps does not make up for their cost: the return was highest at step 1."""
    env = NoProgressTruncation(Tiles(200), patience=60)
    env.reset(seed=0)
    steps = 1
    while not env.step(np.zeros(1, np.float32))[3]:
        steps += 1
    assert steps == 61


def test_patience_is_counted_from_the_last_progress_and_anew_in_each_episode():
    env = NoProgressTruncation(Counter(), patience=5)
    for _ in range(2):
        env.reset(seed=0)
        ended = [env.step(np.zeros(1, np.float32))[3] for _ in range(15)]
        assert ended == [False] * 14 + [True]
