import numpy as np
import pytest
import torch

from wmlib.envs import HELD_OUT_SEEDS, TRAINING_SEEDS
from wmlib.evaluation import interval, linear_probe, open_loop_rollout, score, watch
from wmlib.models.controller import Controller
from wmlib.models.mdn_rnn import MDNRNN
from wmlib.models.world_model import WorldModel
from wmlib.pipeline.ball import BALL
from wmlib.pipeline.phases import collect
from wmlib.rollout.policies import ControllerPolicy, no_action_policy


def test_the_interval_is_students():
    # Mean 3, variance 2.5, t(0.975, 4) = 2.776445
    i = interval([1, 2, 3, 4, 5])
    assert (i.mean, i.std, i.n) == (3.0, pytest.approx(2.5**0.5), 5)
    half = 2.776445 * 2.5**0.5 / 5**0.5
    assert (i.low, i.high) == (pytest.approx(3 - half), pytest.approx(3 + half))
    with pytest.raises(ValueError, match="at least two values"):
        interval([1.0])


def test_a_probe_reads_what_is_linear_and_nothing_else():
    rng = np.random.default_rng(0)
    features, groups = rng.normal(size=(2000, 6)), np.repeat(np.arange(20), 100)
    linear = linear_probe(features, features @ rng.normal(size=(6, 2)), groups)
    noise = linear_probe(features, rng.normal(size=(2000, 2)), groups)
    assert linear.r2 > 0.99
    assert noise.r2 < 0.05
    assert len(linear.truth) == 600


def test_a_probe_is_tested_on_other_episodes():
    """Features that name the episode read anything out of it, until another episode comes."""
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(20), 50)
    features, truth = np.eye(20)[groups], rng.normal(size=(20, 1))[groups]
    assert linear_probe(features, truth, groups).r2 < 0.1
    with pytest.raises(ValueError, match="at least two groups"):
        linear_probe(features, truth, np.zeros(1000))


def test_scores_are_taken_on_held_out_tracks(world_model):
    result = score(ControllerPolicy(Controller()), world_model, tracks=2, max_steps=5)
    assert result.tracks == [1_000_000, 1_000_001]
    assert all(track in HELD_OUT_SEEDS for track in result.tracks)
    assert not any(track in TRAINING_SEEDS for track in result.tracks)
    summary = result.summary()
    assert summary["tracks"] == 2
    assert summary["mean_steps"] == 5
    alone = score(ControllerPolicy(Controller()), world_model, tracks=1, max_steps=5)
    assert (result.first(1).tracks, result.first(1).scores) == (alone.tracks, alone.scores)


def test_nobody_learns_on_a_held_out_track(tmp_path):
    with pytest.raises(ValueError, match="seed 1000000 is kept for scoring"):
        collect(BALL, no_action_policy(), [1_000_000], tmp_path)


def test_the_open_loop_begins_where_the_context_ends(world_model):
    frames = np.random.default_rng(0).integers(0, 256, (9, 64, 64, 3), dtype=np.uint8)
    actions = torch.rand(8, 3)
    imagined, rewards = open_loop_rollout(world_model, frames, actions, 5, 0, samples=2)
    assert imagined.shape == (2, 3, 32)
    assert rewards.shape == (2, 3)
    state = world_model.begin(frames[:1])
    for t in range(5):
        state = world_model.observe(state, actions[t : t + 1], frames[t + 1 : t + 2])
    expected, prediction = world_model.imagine(state, actions[5:6], temperature=0)
    torch.testing.assert_close(imagined[0, :1], expected.z, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(rewards[0, :1], prediction.reward[0], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(imagined[0], imagined[1])
    with pytest.raises(ValueError, match="0 to 7 here, got 8"):
        open_loop_rollout(world_model, frames, actions, context=8)


def test_the_contexts_rewards_count_for_an_m_with_reward_input(world_model):
    frames = np.random.default_rng(0).integers(0, 256, (9, 64, 64, 3), dtype=np.uint8)
    actions, reads = torch.rand(8, 3), WorldModel(world_model.vae, MDNRNN(reward_input=True))
    for model, differs in ((world_model, False), (reads, True)):
        rewards = [np.full(8, reward, np.float32) for reward in (0.0, 3.0)]
        low, high = (open_loop_rollout(model, frames, actions, 5, 0, rewards=r)[0] for r in rewards)
        assert bool((low != high).any()) == differs
        low, high = (watch(model, frames, actions, r)[1] for r in rewards)
        assert bool((low != high).any()) == differs
