"""The PPO baseline: what it sees, that it resumes, and the table."""

import dataclasses
import itertools
import sys
import tempfile

import numpy as np
import pytest

from wmlib.files import read_log
from wmlib.tools import ppo_ablation
from wmlib.tools.cli import main
from wmlib.tools.ppo_ablation import ENVIRONMENTS, FAST, ORIGINAL, STACKED, Budget

# Four updates and a bit; saved after every second one.
SHORT = Budget(36 * ENVIRONMENTS, 16 * ENVIRONMENTS, rollout=8, tracks=2, max_steps=40)


@pytest.fixture(autouse=True)
def one_epoch(monkeypatch):
    monkeypatch.setitem(ppo_ablation.ZOO, "n_epochs", 1)


@pytest.mark.parametrize("env_id", [FAST, ORIGINAL])
def test_it_sees_grey_frames_at_every_second_step(env_id):
    env = ppo_ablation.make_env(env_id, 10)
    frame, _ = env.reset(seed=3)
    assert (frame.shape, frame.dtype) == ((64, 64, 1), np.uint8)
    taken = 0
    over = False
    while not over:
        _, _, _, over, info = env.step(np.array([0, 0.5, 0], np.float32))
        taken += info["steps"]
    assert taken == 10
    env.close()


def test_without_stable_baselines_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "stable_baselines3", None)
    with pytest.raises(ValueError, match="pip install stable-baselines3"):
        ppo_ablation.run_ppo_ablation(tmp_path / "ppo.jsonl", tmp_path, SHORT)


class TestTraining:
    """Needs Stable-Baselines3."""

    @pytest.fixture(autouse=True)
    def needed(self):
        pytest.importorskip("stable_baselines3", reason="needs Stable-Baselines3")

    def test_a_row_per_arm_and_seed_which_is_not_measured_again(self, tmp_path, monkeypatch):
        monkeypatch.setattr(ppo_ablation, "SEEDS", range(2))
        file = tmp_path / "ppo.jsonl"
        ppo_ablation.run_ppo_ablation(file, tmp_path / "work", SHORT)
        rows = read_log(file)
        arms = list(ppo_ablation.ARMS)
        assert [(r["seed"], r["arm"]) for r in rows] == [(s, a) for s in (0, 1) for a in arms]
        for row in rows:
            saved = [steps // ENVIRONMENTS // 2 for steps, _ in row["curve"]]
            assert saved == [16, 32, 40]  # the last update ends beyond the budget
            assert row["environment_steps"] == 40 * ENVIRONMENTS * 2
            assert row["sittings"] == 1
            for name in ppo_ablation.PLAYED:
                assert len(row[name]) == SHORT.tracks
        monkeypatch.setattr(ppo_ablation, "train", None)
        ppo_ablation.run_ppo_ablation(file, tmp_path / "work", SHORT)
        assert read_log(file) == rows
        with pytest.raises(ValueError, match=r"ppo\.jsonl"):
            ppo_ablation.run_ppo_ablation(file, tmp_path / "work", Budget())

    def test_a_training_that_was_stopped_goes_on_from_its_model(self, tmp_path, monkeypatch):
        write = ppo_ablation.write_log

        def stop(rows, log):
            write(rows, log)
            raise KeyboardInterrupt

        monkeypatch.setattr(ppo_ablation, "write_log", stop)
        with pytest.raises(KeyboardInterrupt):
            ppo_ablation.train("gSDE", 0, SHORT, tmp_path)
        monkeypatch.setattr(ppo_ablation, "write_log", write)
        from stable_baselines3 import PPO

        [first] = read_log(tmp_path / "train.jsonl")
        before = PPO.load(tmp_path / "model.zip", device="cpu")
        assert before.num_timesteps == 16 * ENVIRONMENTS
        model, rows = ppo_ablation.train("gSDE", 0, SHORT, tmp_path)
        assert [row["environment_steps"] // ENVIRONMENTS // 2 for row in rows] == [16, 32, 40]
        assert [row["sitting"] for row in rows] == [1, 2, 2]
        assert rows[0] == first
        pairs = zip(before.policy.parameters(), model.policy.parameters(), strict=True)
        assert any((a != b).any() for a, b in pairs)
        assert ppo_ablation._falling_rate(model._current_progress_remaining) == 0
        again, _ = ppo_ablation.train("gSDE", 0, SHORT, tmp_path)  # finished: nothing is trained
        for a, b in zip(again.policy.parameters(), model.policy.parameters(), strict=True):
            assert (a == b).all()

    def test_it_leaves_nothing_among_the_temporary_files(self, tmp_path, monkeypatch):
        temporary = tmp_path / "temporary"
        temporary.mkdir()
        monkeypatch.setattr(tempfile, "tempdir", str(temporary))
        ppo_ablation.train("gSDE", 0, SHORT, tmp_path / "work")
        assert not list(temporary.iterdir())

    def test_a_training_of_another_arm_seed_or_budget_is_refused(self, tmp_path):
        ppo_ablation.train("gSDE", 0, SHORT, tmp_path)
        others = (
            ("independent noise", 0, SHORT),
            ("gSDE", 1, SHORT),
            ("gSDE", 0, dataclasses.replace(SHORT, steps=SHORT.steps // 2)),
        )
        for other in others:
            with pytest.raises(ValueError, match=r"train\.jsonl"):
                ppo_ablation.train(*other, tmp_path)

    def test_seeds_and_sittings_have_tracks_of_their_own(self, tmp_path, monkeypatch):
        from stable_baselines3.common.vec_env import DummyVecEnv

        given, seed_all = [], DummyVecEnv.seed

        def seed(self, value=None):
            given.append(value)
            return seed_all(self, value)

        monkeypatch.setattr(DummyVecEnv, "seed", seed)
        used = []
        for number, folder in ((0, "a"), (1, "b"), (1, "b")):
            ppo_ablation.train("gSDE", number, SHORT, tmp_path / folder)
            used.append(given[-1])  # the last one given holds
        assert all(abs(a - b) >= ENVIRONMENTS for a, b in itertools.combinations(used, 2))

    def test_a_policy_is_played_with_and_without_its_noise(self, tmp_path):
        model, _ = ppo_ablation.train("gSDE", 1, SHORT, tmp_path)

        def returns(sampled):
            return ppo_ablation.play(model, FAST, 7, SHORT, sampled)

        plain = returns(False)
        assert returns(False) == plain
        model.policy.log_std.data.fill_(2.0)
        noisy = returns(True)
        assert returns(True) == noisy != plain
        assert returns(False) == plain

    def test_frames_are_stacked_as_in_training(self):
        envs = ppo_ablation.training_envs(40)
        envs.seed(3)
        seen = envs.reset()
        env = ppo_ablation.make_env(FAST, 40)
        frame, _ = env.reset(seed=3)
        ours = np.zeros((STACKED, 64, 64), np.uint8)
        action = np.array([0.3, 1, 0], np.float32)
        for _ in range(3):
            ours = ppo_ablation.stack(ours, frame)
            np.testing.assert_array_equal(ours.transpose(1, 2, 0), seen[0])
            seen, *_ = envs.step(np.tile(action, (ENVIRONMENTS, 1)))
            frame, *_ = env.step(action)
        envs.close()

    def test_the_command(self, tmp_path, monkeypatch):
        monkeypatch.setenv("WM_RUNS", str(tmp_path))
        out = tmp_path / "ppo.jsonl"
        assert main(["ablate", "ppo", "--scale", "smoke", "--out", str(out)]) == 0
        assert len(read_log(out)) == 6
