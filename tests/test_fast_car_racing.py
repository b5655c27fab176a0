"""The fast eye compared with Gymnasium's CarRacing-v3. If these fail, Gymnasium has changed."""

import gc
from pathlib import Path

import cv2
import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env

from wmlib.envs import fast_car_racing
from wmlib.envs.vector import ActionRepeat
from wmlib.models.checkpoints import load_world_model
from wmlib.models.vae import frames_to_tensor
from wmlib.paths import pretrained
from wmlib.rollout.policies import EpisodeSpec, random_car_policy

OURS = "wmlib/CarRacing-v3"


def together(seed, steps, frame_size=64, action=None):
    """The same actions in both: yields (t, our result, the original's, our env, the original)."""
    ours = gym.make(OURS, frame_size=frame_size)
    original = gym.make("CarRacing-v3")
    policy = random_car_policy()
    policy.begin(0, EpisodeSpec(seed))
    yield 0, (ours.reset(seed=seed)[0],), (original.reset(seed=seed)[0],), ours, original
    for t in range(1, steps):
        action_t = policy.act(None, 1)[0] if action is None else action
        a, b = ours.step(action_t), original.step(action_t)
        yield t, a, b, ours, original
        if a[2] or b[2]:
            return


def difference(ours, original):
    """Mean absolute difference, in grey levels, from Gymnasium's frame, cropped, area-resized."""
    size = ours[0].shape[:2]
    expected = cv2.resize(original[0][:84], size, interpolation=cv2.INTER_AREA)
    return np.abs(ours[0].astype(int) - expected.astype(int)).mean()


@pytest.mark.parametrize("seed", range(6))
def test_physics_and_rewards_are_gymnasiums(seed):
    for t, a, b, ours, original in together(seed, 150):
        if t:
            assert a[1:] == b[1:]
        ours_car, original_car = ours.unwrapped.car, original.unwrapped.car
        assert tuple(ours_car.hull.position) == tuple(original_car.hull.position)
        assert ours_car.hull.angle == original_car.hull.angle
        assert [w.omega for w in ours_car.wheels] == [w.omega for w in original_car.wheels]


@pytest.mark.filterwarnings("error::RuntimeWarning")
@pytest.mark.parametrize("frame_size", [64, 96])
@pytest.mark.parametrize("seed", [0, 1, 2, 298])  # on 298 one of the kerbs has no width
def test_frames_are_within_a_grey_level(seed, frame_size):
    """Every frame: zoom-in, bends with kerbs, touched tiles, the car, the grass."""
    differences = [difference(a, b) for _, a, b, *_ in together(seed, 150, frame_size)]
    assert max(differences) < 1.0
    assert np.mean(differences) < 0.6


def test_frames_agree_up_to_the_edge_of_the_playing_field_and_beyond():
    """Straight ahead: over the grass and off the field, which terminates the episode."""
    straight = np.array([0.0, 0.3, 0.0], np.float32)
    differences, last = [], None
    for _, a, b, *_ in together(6, 1000, action=straight):
        differences.append(difference(a, b))
        last = a, b
    (_, reward, terminated, _, info), original = last
    assert terminated
    assert reward == original[1] == -100
    assert info == original[4] == {"lap_finished": False}
    assert max(differences) < 1.0


@pytest.mark.parametrize("seed", [1, 2])
def test_touched_tiles_have_the_shade_of_touched_tiles(seed):
    """Behind the car, where all tiles are touched. Untouched tiles differ by up to 5 levels."""
    compared = 0
    for t, a, b, *_ in together(seed, 110, action=np.array([0.0, 0.3, 0.0], np.float32)):
        if t < 60:  # until then the camera moves
            continue
        expected = cv2.resize(b[0][:84], (64, 64), interpolation=cv2.INTER_AREA).astype(int)
        road = (np.ptp(expected, axis=-1) <= 2) & (abs(expected.mean(-1) - 102) < 12)
        road[:51] = False  # the lowest fifth of the frame is behind the car
        off = np.abs(a[0].astype(int) - expected)[road]
        assert off.mean() < 0.8  # at most 0.5; 1.7 or more if touched tiles are not redrawn
        compared += len(off)
    assert compared > 1000


def test_the_frame_of_a_track_does_not_depend_on_the_track_before():
    """Between tracks the texture is repaired, not redrawn: nothing of the last one may remain."""
    env = gym.make("wmlib/CarRacing-v3")
    first, _ = env.reset(seed=1)
    env.reset(seed=2)
    again, _ = env.reset(seed=1)
    np.testing.assert_array_equal(first, again)


def test_the_next_environment_takes_over_the_textures_and_no_more():
    """A closed environment that is reset once more does not draw on them, either."""
    first, second, third = (gym.make(OURS) for _ in range(3))
    before = first.reset(seed=1)[0]
    textures = first.unwrapped.renderer.levels
    first.close()
    second.reset(seed=2)  # it was made before: it has its own
    assert second.unwrapped.renderer.levels[0] is not textures[0]
    fourth = gym.make(OURS)
    assert fourth.unwrapped.renderer.levels is textures
    for other in (fourth, first, third):
        np.testing.assert_array_equal(other.reset(seed=1)[0], before)
        assert (other.unwrapped.renderer.levels is textures) == (other is fourth)
    first.close()
    first.close()  # once more: nothing happens
    sizes = [len(levels) for _, levels, _ in fast_car_racing._SPARE]
    assert set(sizes) <= {fast_car_racing.LEVELS}


def test_v_encodes_the_frames_of_both_alike():
    """In every active latent dimension, z differs on average by less than half a posterior SD."""
    vae = load_world_model(pretrained("car_racing")).vae
    ours, originals = [], []
    for t, a, b, *_ in together(11, 200):
        if t > 50:
            ours.append(a[0])
            small = cv2.resize(b[0][:84], (64, 64), interpolation=cv2.INTER_AREA)
            originals.append(small)
    with torch.no_grad():
        z, _ = vae.encode(frames_to_tensor(np.array(ours)))
        expected, logvar = vae.encode(frames_to_tensor(np.array(originals)))
    posterior_std = (0.5 * logvar).exp().mean(0)
    active = posterior_std < 0.9  # inactive dimensions hold noise
    assert active.sum() >= 5
    assert ((z - expected).abs().mean(0) / posterior_std)[active].max() < 0.5


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read from /proc")
def test_mirrored_tracks_have_left_and_right_exchanged():
    """After an odd seed: flipped frames of the same track, driven with the opposite steering."""
    plain, mirrored = gym.make(OURS), gym.make(OURS, mirror=True)
    for seed in (5, 4, 7):
        sign = 1 if seed % 2 == 0 else -1
        frames = [env.reset(seed=seed)[0] for env in (plain, mirrored)]
        for t in range(80):
            assert np.array_equal(frames[0][:, ::sign], frames[1])
            steering = np.float32(np.sin(t / 9))
            a = plain.step(np.array([steering, 0.5, 0], np.float32))
            b = mirrored.step(np.array([sign * steering, 0.5, 0], np.float32))
            assert a[1:] == b[1:]
            frames = [a[0], b[0]]
        assert not np.array_equal(frames[0], frames[0][:, ::-1])


def test_memory_does_not_grow_over_resets():
    import resource  # not on Windows

    env = gym.make("wmlib/CarRacing-v3", disable_env_checker=True)

    def megabytes_after(resets):
        for seed in range(resets):
            env.reset(seed=seed)
        gc.collect()
        pages = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1])
        return pages * resource.getpagesize() / 1e6

    before = megabytes_after(40)
    assert megabytes_after(200) < before + 10  # a leak of one texture per reset would be 3,000


def test_action_repeat_skips_frames_and_nothing_else():
    """One step of four environment steps: the summed reward, and the last of the four frames."""
    repeated = ActionRepeat(gym.make("wmlib/CarRacing-v3", disable_env_checker=True), 4)
    env = gym.make("wmlib/CarRacing-v3")
    repeated.reset(seed=3)
    env.reset(seed=3)
    policy = random_car_policy()
    policy.begin(0, EpisodeSpec(3))
    for _ in range(30):
        action = policy.act(None, 1)[0]
        frame, reward, terminated, _, info = repeated.step(action)
        results = [env.step(action) for _ in range(4)]
        np.testing.assert_array_equal(frame, results[-1][0])
        assert reward == pytest.approx(sum(result[1] for result in results))
        assert not terminated
        assert info["steps"] == 4


def test_missing_frames_are_zeros_and_nothing_else_changes():
    """Every third agent step has its frame, counted from the reset; rewards are what they were."""
    every, some = (
        ActionRepeat(gym.make("wmlib/CarRacing-v3", disable_env_checker=True), 2, k) for k in (1, 3)
    )
    for seed in (3, 4):
        first, again = every.reset(seed=seed)[0], some.reset(seed=seed)[0]
        np.testing.assert_array_equal(first, again)
        policy = random_car_policy()
        policy.begin(0, EpisodeSpec(seed))
        for step in range(1, 14):
            action = policy.act(None, 1)[0]
            (frame, *rest), (other, *others) = every.step(action), some.step(action)
            assert rest == others
            np.testing.assert_array_equal(other, frame if step % 3 == 0 else 0)


def test_it_is_a_gymnasium_environment_and_renders_as_gymnasium_does():
    check_env(gym.make("wmlib/CarRacing-v3").unwrapped, skip_render_check=True)
    env = gym.make("wmlib/CarRacing-v3", render_mode="rgb_array")
    theirs = gym.make("CarRacing-v3", render_mode="rgb_array")
    env.reset(seed=5)
    theirs.reset(seed=5)
    np.testing.assert_array_equal(env.render(), theirs.render())
