"""Anybody's agent is scored as ours is."""

import sys
import types

import numpy as np
import pytest

from wmlib import evaluation
from wmlib.models.checkpoints import load_agent
from wmlib.paths import pretrained
from wmlib.rollout.policies import ConstantPolicy, ControllerPolicy
from wmlib.tools.cli import main
from wmlib.tools.external import make_agent, score_agent

OURS = '''
import cv2
import numpy as np
import torch
from wmlib.models.checkpoints import load_agent
from wmlib.paths import pretrained

class Ours:
    """The pretrained agent, from the frames of the untouched environment."""

    def __init__(self):
        self.world_model, self.controller = load_agent(pretrained("car_racing"))

    def reset(self):
        self.state, self.action, self.steps = None, None, 0

    def act(self, frame):
        if self.steps % self.world_model.mdn_rnn.repeat == 0:
            small = cv2.resize(frame[:-12], (64, 64), interpolation=cv2.INTER_AREA)[None]
            if self.state is None:
                self.state = self.world_model.begin(small)
            else:
                self.state = self.world_model.observe(self.state, self.action, small)
            self.action = self.controller(self.state.features)
        self.steps += 1
        return self.action[0].numpy()

class Full:
    def reset(self): pass
    def act(self, frame): return [0, 1, 0]

class Wild(Full):
    def act(self, frame): return [0, 2, 0]

class Mute:
    def reset(self): pass
'''


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "agents.py"
    path.write_text(OURS, encoding="utf-8")
    return path


def same(ours, theirs):
    assert ours.tracks == theirs.tracks
    np.testing.assert_allclose(ours.scores, theirs.scores, atol=1e-6)
    assert (ours.steps == theirs.steps).all()
    assert (ours.laps == theirs.laps).all()


def test_our_agent_behind_the_interface_scores_the_same(file):
    world_model, controller = load_agent(pretrained("car_racing"))
    policy = ControllerPolicy(controller)
    ours = evaluation.score(policy, world_model, 2, max_steps=120, progress=None)
    assert ours.scores.min() > 20  # it has left the first tiles
    same(ours, score_agent(f"{file}:Ours", 2, max_steps=120))


def test_an_agent_without_a_world_model(file, monkeypatch):
    policy = ConstantPolicy([0, 1, 0])
    ours = evaluation.score(policy, None, 2, max_steps=60, progress=None)
    same(ours, score_agent(f"{file}:Full", 2, max_steps=60))
    monkeypatch.syspath_prepend(file.parent)
    same(ours, score_agent("agents:Full", 2, max_steps=60))


def test_from_the_command_line(file, tmp_path, capsys):
    written = tmp_path / "score.json"
    options = ["--tracks", "2", "--scale", "smoke", "--workers", "0", "--json", str(written)]
    assert main(["evaluate", "--external", f"{file}:Full", *options]) == 0
    assert "95% CI of the mean" in capsys.readouterr().out
    assert '"tracks": 2' in written.read_text(encoding="utf-8")
    assert main(["evaluate", "--external", f"{file}:Full", "--folder", "here"]) == 1
    assert "leave out --folder" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("agents", "an agent is named as FILE.py:NAME"),
        ("nowhere.py:Full", "there is no file nowhere.py"),
        ("no_such_module:Full", "cannot import no_such_module"),
        ("{file}:Nobody", "has no Nobody"),
        ("{file}:Mute", "has no method act"),
        ("ppo:nowhere.zip", "there is no file nowhere.zip"),
        ("dreamer:nowhere.zip", "the algorithm must be one of a2c, ddpg, ppo, sac, td3"),
    ],
)
def test_wrong_names(file, name, message, monkeypatch):
    monkeypatch.setitem(sys.modules, "stable_baselines3", types.ModuleType("stable_baselines3"))
    with pytest.raises(ValueError, match=message):
        make_agent(name.format(file=file))


def test_stable_baselines_is_named_where_it_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "stable_baselines3", None)
    with pytest.raises(ValueError, match="pip install stable-baselines3"):
        make_agent("ppo:model.zip")


def test_actions_out_of_range(file):
    with pytest.raises(ValueError, match=r"an action is .*, got \[0.0, 2.0, 0.0\]"):
        score_agent(f"{file}:Wild", 2, max_steps=5)


def test_a_model_of_stable_baselines_acts_as_it_does_there(tmp_path):
    """On stacked frames of a model that was not trained: the same actions as its own."""
    sb3 = pytest.importorskip("stable_baselines3")
    from stable_baselines3.common.env_util import make_vec_env
    from stable_baselines3.common.vec_env import VecFrameStack

    envs = VecFrameStack(make_vec_env("CarRacing-v3"), 2)
    model = sb3.PPO("CnnPolicy", envs, seed=0, device="cpu")
    model.save(tmp_path / "model.zip")
    agent = make_agent(f"ppo:{tmp_path / 'model.zip'}")
    for _ in range(2):
        agent.reset()
        envs.seed(3)
        seen = envs.reset()
        for _ in range(4):
            action = agent.act(seen[0, ..., 3:])
            own = model.predict(seen, deterministic=True)[0]
            np.testing.assert_allclose(action, own[0], atol=1e-6)
            seen, *_ = envs.step(np.array([[1.0, 1.0, 0.0]], np.float32))
    assert np.isfinite(score_agent(f"ppo:{tmp_path / 'model.zip'}", 2, max_steps=5).scores).all()
