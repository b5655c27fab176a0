"""Take Cover: seeds that reproduce, actions, death, and the conventions of all environments."""

import builtins
import os

import gymnasium as gym
import numpy as np
import pytest

from wmlib.envs.vector import VectorEnvSpec
from wmlib.rollout.policies import ConstantPolicy, EpisodeSpec
from wmlib.rollout.rollout import run_episodes
from wmlib.rollout.workers import processes

NAME = "wmlib/TakeCover-v0"


def test_without_vizdoom_it_says_what_to_install(monkeypatch):
    original = builtins.__import__

    def without(name, *args, **kwargs):
        if name == "vizdoom":
            raise ModuleNotFoundError("No module named 'vizdoom'")
        return original(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ModuleNotFoundError, match="pip install vizdoom"):
        gym.make(NAME)


class TestTheGame:
    """Needs ViZDoom: pip install vizdoom, or the extra "doom"."""

    @pytest.fixture(autouse=True)
    def game(self, tmp_path, monkeypatch):
        """An environment; the current folder may not be written to."""
        pytest.importorskip("vizdoom", reason="needs ViZDoom: pip install vizdoom")
        folder = tmp_path / "read-only"
        folder.mkdir()
        folder.chmod(0o555)
        monkeypatch.chdir(folder)
        env = gym.make(NAME, render_mode="rgb_array", disable_env_checker=True)
        yield env
        env.close()
        assert os.listdir(folder) == []

    @staticmethod
    def play(env, seed, action, steps=3000):
        """All frames and rewards of an episode, and how it ended."""
        frame, _ = env.reset(seed=seed)
        frames, rewards, end = [frame], [], (False, False)
        while len(rewards) < steps and not any(end):
            taken = action(len(rewards))
            frame, reward, *end, info = env.step(np.array([taken], np.float32))
            frames.append(frame)
            rewards.append(reward)
        return np.array(frames), np.array(rewards), *end, info

    def test_it_is_a_gymnasium_environment(self, game):
        frame, info = game.reset(seed=1)
        assert game.observation_space.contains(frame)
        assert frame.std() > 5
        assert info == {"health": 100.0}
        assert game.render().shape == (240, 320, 3)
        assert game.spec.max_episode_steps == 2100

    def test_a_seed_gives_the_same_episode_and_another_another(self, game):
        first, again, other = (self.play(game, seed, lambda t: 0.0) for seed in (1, 1, 2))
        np.testing.assert_array_equal(first[0], again[0])
        assert len(first[0]) != len(other[0]) or (first[0] != other[0]).any()

    def test_an_episode_lasts_until_death_and_every_tic_counts_one(self, game):
        frames, rewards, terminated, truncated, info = self.play(game, 3, lambda t: 0.0)
        assert terminated
        assert not truncated
        assert (rewards == 1).all()
        assert len(frames) == len(rewards) + 1
        assert 30 < len(rewards) < 2000
        assert info["health"] == 0
        np.testing.assert_array_equal(frames[-1], frames[-2])  # nothing is drawn after death
        assert (frames[-2] != frames[-3]).any()

    @pytest.mark.parametrize(("action", "moves"), [(0.3, 0), (0.34, 1), (1.0, 1), (-0.34, -1)])
    def test_thresholds(self, game, action, moves):
        """Walls of the room shift to the left where the player moves right."""
        still, _ = self.play(game, 1, lambda t: 0.0, steps=8)[:2]
        moved, _ = self.play(game, 1, lambda t: action, steps=8)[:2]
        full, _ = self.play(game, 1, lambda t: float(np.sign(action)), steps=8)[:2]
        np.testing.assert_array_equal(moved, full if moves else still)
        assert (full[-1] != still[-1]).mean() > 0.1

    @pytest.mark.parametrize("action", [[1.5], [np.nan], [0.0, 0.0], 0.0])
    def test_actions_out_of_range_are_turned_away(self, game, action):
        game.reset(seed=1)
        with pytest.raises(ValueError, match=r"one number in -1\.\.1"):
            game.unwrapped.step(np.array(action))

    @pytest.mark.parametrize("workers", [0, 2])
    def test_many_at_once_and_in_several_processes(self, game, workers):
        """The episodes of one environment alone, tic by tic."""
        alone = [len(self.play(game, seed, lambda t: 0.5)[1]) for seed in range(4)]
        spec = VectorEnvSpec(NAME, num_envs=2)
        with processes(workers) as executor:
            specs = [EpisodeSpec(seed) for seed in range(4)]
            episodes = run_episodes(spec, ConstantPolicy([0.5]), specs, executor=executor)
        assert [episode.score for episode in episodes] == alone
        assert all(episode.terminated for episode in episodes)
