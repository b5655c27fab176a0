"""Take Cover: seeds that reproduce, actions, death, and the conventions of all environments."""

import builtins
import os
import shutil
import subprocess
import sys

import cv2
import gymnasium as gym
import numpy as np
import psutil
import pytest
import torch

from wmlib.envs.vector import VectorEnvSpec
from wmlib.files import read_log
from wmlib.models.checkpoints import load_agent, load_controller, load_network, weights_digest
from wmlib.models.controller import Controller
from wmlib.models.mdn_rnn import MDNRNN
from wmlib.models.vae import VAE, frames_to_tensor
from wmlib.models.world_model import WorldModel
from wmlib.pipeline import car_racing
from wmlib.pipeline.checks import check_settings
from wmlib.pipeline.config import Machine
from wmlib.pipeline.scales import SCALES, get_config
from wmlib.pipeline.tasks import TAKE_COVER
from wmlib.pipeline.workers import processes
from wmlib.rollout.policies import ConstantPolicy, EpisodeSpec, HeldRandomPolicy
from wmlib.rollout.rollout import run_episodes
from wmlib.tools.cli import main
from wmlib.tools.survival_ablation import (
    CHANGES,
    DEATHS,
    DRAWN_Z,
    SURVIVAL,
    DrawnLatents,
    run_survival_ablation,
)
from wmlib.tools.temperature_ablation import TEMPERATURES

NAME = "wmlib/TakeCover-v0"


@pytest.fixture
def without_vizdoom(monkeypatch):
    original = builtins.__import__

    def without(name, *args, **kwargs):
        if name == "vizdoom":
            raise ModuleNotFoundError("No module named 'vizdoom'")
        return original(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)


@pytest.mark.usefixtures("without_vizdoom")
def test_without_vizdoom_it_says_what_to_install(tmp_path, capsys):
    with pytest.raises(ModuleNotFoundError, match="pip install vizdoom"):
        gym.make(NAME)
    folder = tmp_path / "run"
    assert main(["run", "take_cover", "--scale", "smoke", "--folder", str(folder)]) == 1
    assert capsys.readouterr().err.count("pip install vizdoom") == 1
    assert not folder.exists()


@pytest.mark.parametrize("repeat", [1, 2])
def test_random_actions_are_held_for_up_to_ten_tics(repeat):
    policy = HeldRandomPolicy(repeat)
    policy.begin(0, EpisodeSpec(7))
    taken = np.array([policy.act(None, 2)[:, 0] for _ in range(20_000 // repeat)])
    assert (taken[:, 1] == 0).all()  # no episode runs there
    changes = np.flatnonzero(np.diff(taken[:, 0])) + 1
    lengths = np.diff(changes) * repeat
    assert lengths.max() == 10
    assert lengths.mean() == pytest.approx({1: 5.5, 2: 6.0}[repeat], rel=0.05)
    drawn = taken[changes, 0]
    assert drawn.min() < -0.98
    assert drawn.max() > 0.98
    again = HeldRandomPolicy(repeat)
    again.begin(1, EpisodeSpec(7))
    assert [again.act(None, 2)[1, 0] for _ in range(50)] == taken[:50, 0].tolist()


def test_the_varied_policy_holds_actions_longer_in_some_episodes():
    policy = TAKE_COVER.random_policies["varied"](1)
    for row in range(6):
        policy.begin(row, EpisodeSpec(row))
    taken = np.array([policy.act(None, 6)[:, 0] for _ in range(20_000)])
    longest = [np.diff(np.flatnonzero(np.diff(column))).max() for column in taken.T]
    assert longest[::2] == [10, 40, 160]
    assert all(0.9 * 160 < held <= 160 for held in longest[1::2])
    for row in (1, 3, 5):
        assert set(taken[:, row]) == {-1.0, 1.0}  # from side to side
    for row in (0, 2, 4):
        assert len(set(taken[:, row])) > 100
    policy.begin(1, EpisodeSpec(1))  # the same episode again
    assert [policy.act(None, 6)[1, 0] for _ in range(1000)] == taken[:1000, 1].tolist()


@pytest.mark.parametrize(("task", "policy"), [("take_cover", "networks"), ("car_racing", "varied")])
def test_a_random_policy_of_another_task_is_refused(task, policy):
    config = get_config("smoke", task=task).change(collect={"policy": policy})
    with pytest.raises(ValueError, match=f"smooth or .* for {task}, got {policy}"):
        check_settings(config, Machine(0))


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
        assert info["health"] == 100
        assert -1 < info["position"] < 1
        assert game.render().shape == (240, 320, 3)
        assert game.spec.max_episode_steps == 2100

    def test_a_seed_gives_the_same_episode_and_another_another(self, game):
        first, again, other = (self.play(game, seed, lambda t: 0.0) for seed in (1, 1, 2))
        np.testing.assert_array_equal(first[0], again[0])
        assert len(first[0]) != len(other[0]) or (first[0] != other[0]).any()

    @pytest.mark.parametrize("side", [-1.0, 1.0])
    def test_the_position_is_minus_one_at_the_left_wall_and_one_at_the_right(self, game, side):
        game.reset(seed=1)
        positions = [game.step(np.array([side], np.float32))[4]["position"] for _ in range(70)]
        assert (np.diff(positions) * side >= 0).all()
        assert positions[-1] == pytest.approx(side, abs=0.01)

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
        """A player who moves right sees the room shift to the left."""
        steps, shown = 16, []
        for taken in (0.0, action, float(np.sign(action))):
            frames, *_ = self.play(game, 1, lambda t, taken=taken: taken, steps)
            wall = cv2.cvtColor(game.render()[75:125], cv2.COLOR_RGB2GRAY)
            shown.append((frames, wall.astype(np.float32)))
        (still, before), (moved, after), (full, _) = shown
        np.testing.assert_array_equal(moved, full if moves else still)
        (shift, _), _ = cv2.phaseCorrelate(before, after)
        assert shift == pytest.approx(-9 * moves, abs=1)

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


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The folder of a run at smoke scale: only read or copy it."""
    pytest.importorskip("vizdoom", reason="needs ViZDoom: pip install vizdoom")
    folder = tmp_path_factory.mktemp("take_cover")
    car_racing.run_all_rounds(get_config("smoke", task="take_cover"), folder)
    return folder


class TestTheRun:
    """The pipeline of CarRacing, with Take Cover's settings. Needs ViZDoom."""

    @pytest.mark.parametrize("killed", ["worker", "parent"])
    def test_a_game_does_not_outlive_its_worker(self, killed):
        pytest.importorskip("vizdoom", reason="needs ViZDoom: pip install vizdoom")
        code = "\n".join(
            (
                "import time, gymnasium, psutil, wmlib.envs",
                "from wmlib.pipeline.workers import processes",
                "def play():",
                "    global game",
                f"    game = gymnasium.make({NAME!r})",
                "    here = psutil.Process()",
                "    return [here.pid, *(child.pid for child in here.children())]",
                "with processes(1) as executor:",
                "    print(*executor.submit(play).result(), flush=True)",
                "    time.sleep(60)",
            )
        )
        command = [sys.executable, "-c", code]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
            pids = [int(pid) for pid in parent.stdout.readline().split()]
            worker, *games = map(psutil.Process, pids)
            assert games
            (worker if killed == "worker" else psutil.Process(parent.pid)).terminate()
            gone, alive = psutil.wait_procs(games, timeout=20)
            parent.kill()
            assert [process.status() for process in alive] == []
            assert len(gone) == len(games)

    def test_a_whole_run_makes_an_agent_that_evaluate_scores(self, run, capsys):
        world_model, controller = load_agent(run)
        assert world_model.feature_size == controller.feature_size == 8 + 2 * 16
        assert controller.action_size == 1
        assert world_model.mdn_rnn.config["done_weight"] == 10
        assert not (run / "dream.safetensors").exists()  # the agent's M makes the dreams
        rows = read_log(run / "evolution.jsonl")
        assert [row["round"] for row in rows] == [0, 1, 1]
        assert all(row["check"] > 0 for row in rows)
        arguments = ["--scale", "smoke", "--folder", str(run), "--tracks", "2", "--workers", "0"]
        assert main(["evaluate", *arguments]) == 0
        printed = capsys.readouterr().out
        assert "n = 2" in printed
        assert "laps" not in printed

    def test_a_run_that_is_gone_on_with_comes_to_the_same(self, run, tmp_path):
        shutil.copytree(run, tmp_path, dirs_exist_ok=True)
        last = tmp_path / "round1"
        for file in ("controller.safetensors", "population.safetensors"):
            (last / file).unlink()
        log = (last / "evolution.jsonl").read_text(encoding="utf-8").splitlines()
        (last / "evolution.jsonl").write_text(log[0] + "\n", encoding="utf-8")
        car_racing.run_all_rounds(get_config("smoke", task="take_cover"), tmp_path)
        for name in ("population", "controller"):
            found, expected = (
                load_controller(f / f"round1/{name}.safetensors") for f in (tmp_path, run)
            )
            np.testing.assert_array_equal(found.parameters, expected.parameters)

    def test_the_temperature_table_has_a_row_per_round_and_temperature(self, run, tmp_path):
        shutil.copytree(run, tmp_path, dirs_exist_ok=True)
        config = get_config("smoke", task="take_cover")
        config.save(tmp_path, "take_cover")
        command = ["ablate", "temperature", "--folder", str(tmp_path), "--workers", "0"]
        assert main(command) == 0
        rows = read_log(tmp_path / "temperature.jsonl")
        found = [(row["round"], row["temperature"]) for row in rows]
        assert found == [(k, t) for k in (0, 1) for t in TEMPERATURES]
        for row in rows:
            assert len(row["dream"]) == len(row["real"]) == config.score_tracks
            assert 0 < min(row["dream"]) <= max(row["dream"]) <= 4 * config.dream.steps
        assert main(command) == 0
        assert read_log(tmp_path / "temperature.jsonl") == rows

    def test_the_survival_tables_have_the_rounds_and_one_change_at_a_time(self, run, tmp_path):
        shutil.copytree(run, tmp_path, dirs_exist_ok=True)
        config = get_config("smoke", task="take_cover")
        config.save(tmp_path, "take_cover")
        run_survival_ablation(config, tmp_path, Machine(), test_episodes=2)
        tables = read_log(tmp_path / SURVIVAL), read_log(tmp_path / DEATHS)
        lives, deaths = ({row["agent"]: row for row in rows} for rows in tables)
        assert list(deaths) == ["round 0", "round 1"]
        assert list(lives) == ["round 0", "round 1", *CHANGES]
        drawn = lives[DRAWN_Z]  # of round 0, with other z in the game alone
        assert drawn["dream"] == lives["round 0"]["dream"]
        for row in lives.values():
            assert len(row["dream"]) == len(row["real"]) == config.score_tracks
        longer = load_network(MDNRNN, *tmp_path.glob("survival/M_trained*/mdn_rnn.safetensors"))
        assert weights_digest(longer) != weights_digest(load_agent(run)[0].mdn_rnn)
        for row in deaths.values():
            assert (row["recall"] is None) == (row["constant_loss"] == 0) == (not row["deaths"])
            assert row["recall"] is None or 0 <= row["recall"] <= 1
            assert sum(group["count"] for group in row["groups"]) <= row["steps"]
        run_survival_ablation(config, tmp_path, Machine(), test_episodes=2)
        assert tables == (read_log(tmp_path / SURVIVAL), read_log(tmp_path / DEATHS))

    def test_drawn_latents_scatter_about_v_s_mean(self, run):
        world_model, _ = load_agent(run)
        drawn = DrawnLatents(world_model.vae, world_model.mdn_rnn)
        frames = np.random.default_rng(0).integers(0, 256, (64, 64, 64, 3), np.uint8)
        with torch.no_grad():
            mu, logvar = world_model.vae.encode(frames_to_tensor(frames))
        noise = (drawn.encode(frames) - mu) / (0.5 * logvar).exp()
        assert abs(noise.mean()) < 0.1
        assert abs(noise.std() - 1) < 0.1
        assert torch.equal(drawn.encode(frames), drawn.encode(frames))

    def test_commands_for_car_racing_say_that_they_are(self, run, capsys):
        assert main(["play", "--folder", str(run), "--video", "x.mp4"]) == 1
        assert "agents of CarRacing" in capsys.readouterr().err


@pytest.mark.parametrize("scale", SCALES)
def test_the_settings_of_every_scale_can_be_run(scale):
    config = get_config(scale, task="take_cover")
    check_settings(config, Machine())
    assert config.in_dreams
    assert config.task_spec.reward == 1
    assert config.dream.steps * config.frame_skip <= config.env.max_steps


def test_paper_scale_has_the_papers_sizes():
    config = get_config("paper", task="take_cover")
    m = MDNRNN(config.vae.z_size, 1, config.rnn.hidden_size, reads_cell=True)
    world_model = WorldModel(VAE(z_size=config.vae.z_size), m)
    assert config.search.directions == 0
    assert Controller(None, world_model.feature_size, 1, bias=False).num_parameters == 1088
    assert (config.frame_skip, config.env.max_steps, config.dream.end) == (1, 2100, "likely")
    assert config.dream.temperature == 1.15
    check_settings(config, Machine())
