"""The ablation of trained agents where something differs: what each change does, the command."""

import gymnasium as gym
import numpy as np
import pytest
import torch

from wmlib.files import read_log
from wmlib.models.checkpoints import load_agent
from wmlib.models.world_model import WorldModel
from wmlib.paths import pretrained
from wmlib.pipeline.scales import get_config
from wmlib.pipeline.scoring import agent_digest
from wmlib.rollout.policies import ConstantPolicy, ControllerPolicy, EpisodeSpec
from wmlib.rollout.rollout import Episode
from wmlib.tools import deployment_ablation
from wmlib.tools.cli import main
from wmlib.tools.deployment_ablation import (
    AGENTS,
    CHANGED,
    CHANGES,
    RESULTS,
    Late,
    NoActions,
    SampledLatents,
    StaleMemory,
    SwappedChannels,
    score_changed,
)


def frames_of(seed=3, steps=60, **options):
    """Frames, rewards and the speed at the end, of full gas and some steering."""
    env = gym.make(CHANGED, disable_env_checker=True, **options)
    frame, _ = env.reset(seed=seed)
    frames, rewards = [frame], []
    for _ in range(steps):
        frame, reward, *_ = env.step(np.array([0.4, 1.0, 0.0], np.float32))
        frames.append(frame)
        rewards.append(reward)
    position = tuple(env.unwrapped.car.hull.position)
    env.close()
    return np.array(frames), np.array(rewards), np.array(position)


@pytest.fixture(scope="module")
def usual():
    return frames_of()


def test_without_a_change_it_is_the_fast_car_racing(usual):
    env = gym.make("wmlib/CarRacing-v3", disable_env_checker=True)
    frame, _ = env.reset(seed=3)
    np.testing.assert_array_equal(frame, usual[0][0])
    for k, expected in enumerate(usual[0][1:]):
        frame, reward, *_ = env.step(np.array([0.4, 1.0, 0.0], np.float32))
        np.testing.assert_array_equal(frame, expected)
        assert reward == usual[1][k]
    env.close()


def test_brightness_changes_frames_alone(usual):
    frames, rewards, position = frames_of(brightness=0.8)
    np.testing.assert_array_equal(frames, (usual[0] * 0.8).astype(np.uint8))
    np.testing.assert_array_equal(rewards, usual[1])
    np.testing.assert_array_equal(position, usual[2])


def test_less_grip_lets_the_car_slide(usual):
    places = [frames_of(grip=grip)[2] for grip in (1.0, 0.8, 0.6)]
    np.testing.assert_array_equal(places[0], usual[2])
    assert np.linalg.norm(places[1] - usual[2]) > 0.1
    assert np.linalg.norm(places[2] - usual[2]) > np.linalg.norm(places[1] - usual[2])


def test_other_colours_for_every_track(usual):
    frames, *_ = frames_of(domain_randomize=True)
    assert abs(frames.astype(int) - usual[0]).mean() > 5
    tracks = []
    for randomize in (False, True):
        env = gym.make(CHANGED, disable_env_checker=True, domain_randomize=randomize).unwrapped
        env.reset(seed=3)
        tracks.append(env.track)
        env.close()
    assert tracks[0] == tracks[1]  # the same road
    again, *_ = frames_of(domain_randomize=True)
    np.testing.assert_array_equal(frames, again)


@pytest.fixture(scope="module")
def agent():
    return load_agent(pretrained("car_racing"))[0]


def states(kind, agent, frames, steps=3):
    """The states of one row while the car goes straight on with full gas."""
    world_model = kind(agent.vae, agent.mdn_rnn)
    found = [world_model.begin(frames[:1])]
    for t in range(steps):
        action = torch.tensor([[0.0, 1.0, 0.0]])
        found.append(world_model.observe(found[-1], action, frames[t + 1 : t + 2]))
    return found


def test_a_stale_memory_is_one_step_behind(agent, usual):
    right, stale = (states(kind, agent, usual[0]) for kind in (WorldModel, StaleMemory))
    for before, now in zip(right, stale[1:], strict=False):
        assert torch.equal(now.h, before.h)
    assert all(torch.equal(a.z, b.z) for a, b in zip(right, stale, strict=True))
    assert not torch.equal(right[2].h, stale[2].h)


def test_without_actions_the_memory_is_that_of_a_car_that_does_nothing(agent, usual):
    found = states(NoActions, agent, usual[0], steps=1)
    nothing, _ = agent.remember(found[0], torch.zeros(1, 3))
    taken, _ = agent.remember(found[0], torch.tensor([[0.0, 1.0, 0.0]]))
    assert torch.equal(found[1].h, nothing)
    assert not torch.equal(found[1].h, taken)


def test_swapped_channels_and_sampled_latents(agent, usual):
    frames = usual[0][-4:]
    z = agent.encode(np.ascontiguousarray(frames[..., ::-1]))
    assert torch.equal(SwappedChannels(agent.vae, agent.mdn_rnn).encode(frames), z)
    sampled = SampledLatents(agent.vae, agent.mdn_rnn).encode(frames)
    again = SampledLatents(agent.vae, agent.mdn_rnn).encode(frames)
    assert torch.equal(sampled, again)
    assert 0.01 < (sampled - agent.encode(frames)).std() < 1.5


def test_late_actions():
    policy = Late(ConstantPolicy([0.5, 0.2, 0.0]))
    policy.begin(0, EpisodeSpec(0))
    assert policy.act(None, 2)[0].tolist() == [0, 0, 0]
    policy.begin(1, EpisodeSpec(1))  # begins while the other goes on
    second = policy.act(None, 2)
    np.testing.assert_allclose(second, [[0.5, 0.2, 0.0], [0, 0, 0]])
    np.testing.assert_allclose(policy.act(None, 2), [[0.5, 0.2, 0.0]] * 2)


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_reaches_the_episodes(change, monkeypatch):
    """Whose number is faked here."""
    called = {}

    def run_episodes(spec, policy, specs, encoder, executor=None):
        called.update(spec=spec.at_pace(encoder), policy=policy, encoder=encoder)
        return [Episode(one, score=900.0, steps=800) for one in specs]

    monkeypatch.setattr(deployment_ablation, "run_episodes", run_episodes)
    what = CHANGES[change]
    row = score_changed(get_config("laptop"), AGENTS[0], change, None)
    assert (row["score"], row["steps"], len(row["scores"])) == (900.0, 800, 100)
    options = called["spec"].options
    assert all(options[name] == value for name, value in (what.options or {}).items())
    assert called["spec"].env_id == (CHANGED if what.options else "wmlib/CarRacing-v3")
    assert called["spec"].repeat == (what.pace or 2)
    assert type(called["encoder"]) is what.world_model
    assert isinstance(called["policy"], what.policy or ControllerPolicy)


def test_the_command_makes_a_row_per_agent_and_change(tmp_path, monkeypatch):
    monkeypatch.setenv("WM_RUNS", str(tmp_path / "runs"))
    out = tmp_path / "deployment.jsonl"
    command = ["ablate", "deployment", "--scale", "smoke", "--workers", "0", "--out", str(out)]
    assert main(command) == 0
    rows, text = read_log(out), out.read_text(encoding="utf-8")
    assert [(r["agent"], r["change"]) for r in rows] == [(a, c) for a in AGENTS for c in CHANGES]
    for row in rows:
        assert row["low"] <= row["score"] <= row["high"]
    assert main(command) == 0
    assert out.read_text(encoding="utf-8") == text


def test_the_published_rows_are_complete_and_of_the_pretrained_agents():
    """If this fails: delete the table, and `python -m wmlib ablate deployment` makes it again."""
    rows = read_log(RESULTS)
    assert [(r["agent"], r["change"]) for r in rows] == [(a, c) for a in AGENTS for c in CHANGES]
    agents = {name: agent_digest(pretrained(name)) for name in AGENTS}
    for row in rows:
        assert row["record"]["made_from"] == agents
        assert len(row["scores"]) == row["record"]["settings"]["tracks"] == 100
        assert row["score"] == pytest.approx(np.mean(row["scores"]), abs=0.01)
