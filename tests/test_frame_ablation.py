"""The ablation of frames: what z is where V sees nothing, and the command at smoke scale."""

import numpy as np
import torch

from wmlib.files import read_log
from wmlib.models.checkpoints import load_agent
from wmlib.paths import pretrained
from wmlib.pipeline.scales import get_config
from wmlib.rollout.policies import ControllerPolicy
from wmlib.rollout.rollout import Episode
from wmlib.tools import frame_ablation
from wmlib.tools.cli import main
from wmlib.tools.frame_ablation import AGENTS, SIGHTS, HeldLatents, score_with


def test_the_baseline_keeps_z_where_a_frame_is_missing_and_moves_h():
    world_model, _ = load_agent(pretrained("car_racing"))
    held = HeldLatents(world_model.vae, world_model.mdn_rnn)
    frames = np.random.default_rng(0).integers(0, 256, (4, 64, 64, 3), dtype=np.uint8)
    state, actions = held.begin(frames), torch.rand(4, 3)
    frames[1:3] = 0
    held, forecast = (m.observe(state, actions, frames) for m in (held, world_model))
    assert torch.equal(held.z[1:3], state.z[1:3])
    assert not torch.equal(forecast.z[1:3], state.z[1:3])
    assert torch.equal(held.z[[0, 3]], forecast.z[[0, 3]])
    assert torch.equal(held.h, forecast.h)
    assert not torch.equal(held.h, state.h)


def test_a_row_is_the_pretrained_agent_with_fewer_frames(monkeypatch):
    called = {}

    def run_episodes(spec, policy, specs, encoder, executor):
        called.update(spec=spec, policy=policy, encoder=encoder)
        return [Episode(s, score=900.0, steps=800) for s in specs]

    monkeypatch.setattr(frame_ablation, "run_episodes", run_episodes)
    for every, between in SIGHTS:
        row = score_with(get_config("laptop"), AGENTS[0], every, between, None)
        assert (row["score"], row["steps"], len(row["scores"])) == (900.0, 800, 100)
        assert called["spec"].every == every
        assert called["spec"].patience is None
        assert isinstance(called["encoder"], HeldLatents) == (between == "the last z")
        assert isinstance(called["policy"], ControllerPolicy)


def test_the_command_makes_a_row_per_agent_and_sight(tmp_path, monkeypatch):
    monkeypatch.setenv("WM_RUNS", str(tmp_path / "runs"))
    out = tmp_path / "frames.jsonl"
    command = ["ablate", "frames", "--scale", "smoke", "--workers", "0", "--out", str(out)]
    assert main(command) == 0
    rows, text = read_log(out), out.read_text(encoding="utf-8")
    expected = [(agent, *sight) for agent in AGENTS for sight in SIGHTS]
    assert [(row["agent"], row["every"], row["between"]) for row in rows] == expected
    assert len({tuple(row["scores"]) for row in rows}) > 5
    assert main(command) == 0
    assert out.read_text(encoding="utf-8") == text
