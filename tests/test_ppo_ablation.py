"""The PPO baseline: what it sees, that it resumes, and the table."""

import sys

import numpy as np
import pytest

from wmlib.files import read_log
from wmlib.tools import ppo_ablation
from wmlib.tools.ppo_ablation import ENVIRONMENTS, FAST, ORIGINAL, Budget

SHORT = Budget(16 * ENVIRONMENTS, 8 * ENVIRONMENTS, rollout=8, tracks=2, max_steps=40)


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
            assert row["environment_steps"] == 2 * SHORT.steps
            assert [steps for steps, _ in row["curve"]] == [SHORT.steps, 2 * SHORT.steps]
            for name in ("deterministic", "sampled", "deterministic_fast", "sampled_fast"):
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
            ppo_ablation.train("zoo", 0, SHORT, tmp_path)
        monkeypatch.setattr(ppo_ablation, "write_log", write)
        [first] = read_log(tmp_path / "train.jsonl")
        model, rows = ppo_ablation.train("zoo", 0, SHORT, tmp_path)
        assert model.num_timesteps == SHORT.steps
        assert rows[0] == first
        assert rows[1]["seconds"] > first["seconds"]
        # At the last update, the rate has nearly fallen to 0.
        assert model.lr_schedule(model._current_progress_remaining) == 0
        again, _ = ppo_ablation.train("zoo", 0, SHORT, tmp_path)
        for a, b in zip(again.policy.parameters(), model.policy.parameters(), strict=True):
            assert (a == b).all()

    def test_a_policy_is_played_with_and_without_its_noise(self, tmp_path):
        model, _ = ppo_ablation.train("zoo", 1, SHORT, tmp_path)
        returns = {
            sampled: [ppo_ablation.play(model, FAST, 7, SHORT, sampled) for _ in range(3)]
            for sampled in (False, True)
        }
        assert len(set(returns[False])) == 1
        model.policy.log_std.data.fill_(2.0)
        assert len({ppo_ablation.play(model, FAST, 7, SHORT, True) for _ in range(3)}) > 1
        assert ppo_ablation.play(model, FAST, 7, SHORT, False) == returns[False][0]
