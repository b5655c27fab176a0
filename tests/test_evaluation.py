import math
import subprocess
import sys

import numpy as np
import pytest
import torch
from scipy.stats import norm
from torch.distributions import Categorical, MixtureSameFamily, Normal

from wmlib.envs import HELD_OUT_SEEDS, TRAINING_SEEDS
from wmlib.evaluation import (
    Interval,
    Score,
    coverage,
    episode_interval,
    features,
    linear_probe,
    open_loop_rollout,
    quantiles,
    score,
    seed_interval,
    watch,
)
from wmlib.models.controller import Controller
from wmlib.models.mdn_rnn import MDNRNN, Prediction
from wmlib.models.vae import VAE, tensor_to_frames
from wmlib.models.world_model import WorldModel
from wmlib.pipeline.ball import BALL
from wmlib.pipeline.phases import collect
from wmlib.rollout.policies import ControllerPolicy, no_action_policy
from wmlib.tools.report import dream_frames


def test_the_interval_over_seeds_is_students():
    # Mean 3, variance 2.5, t(0.975, 4) = 2.776445
    i = seed_interval([1, 2, 3, 4, 5])
    assert (i.mean, i.std, i.n) == (3.0, pytest.approx(2.5**0.5), 5)
    half = 2.776445 * 2.5**0.5 / 5**0.5
    assert (i.low, i.high) == (pytest.approx(3 - half), pytest.approx(3 + half))


# Most episodes are good, a few fail.
SKEWED = np.r_[np.linspace(890, 920, 95), np.linspace(200, 700, 5)]


def test_the_interval_over_episodes_is_longer_on_the_side_of_rare_failures():
    i, t = episode_interval(SKEWED), seed_interval(SKEWED)
    assert (i.mean, i.std, i.n) == (t.mean, t.std, t.n) == (SKEWED.mean(), SKEWED.std(ddof=1), 100)
    assert i.mean - i.low > 1.3 * (i.high - i.mean) > 0
    assert i.low < t.low
    mirrored = episode_interval(-SKEWED)
    assert (mirrored.low, mirrored.high) == (
        pytest.approx(-i.high, 0.01),
        pytest.approx(-i.low, 0.01),
    )


def test_the_interval_over_many_symmetric_episodes_is_nearly_students():
    values = norm.ppf((np.arange(400) + 0.5) / 400)
    i, t = episode_interval(values), seed_interval(values)
    assert (i.low, i.high) == (pytest.approx(t.low, rel=0.05), pytest.approx(t.high, rel=0.05))


def test_an_interval_is_deterministic_and_leaves_numpys_global_state_unchanged():
    np.random.seed(1)  # noqa: NPY002
    expected = np.random.rand()  # noqa: NPY002
    np.random.seed(1)  # noqa: NPY002
    assert episode_interval(SKEWED) == episode_interval(SKEWED.tolist())
    assert np.random.rand() == expected  # noqa: NPY002


def test_equal_scores_have_an_interval_of_zero_width():
    assert episode_interval([7.0, 7.0, 7.0]) == Interval(7.0, 0.0, 7.0, 7.0, 3)


@pytest.mark.parametrize("interval", [episode_interval, seed_interval])
def test_an_interval_needs_two_finite_values(interval):
    with pytest.raises(ValueError, match="at least two values"):
        interval([1.0])
    with pytest.raises(ValueError, match="finite values, got nan"):
        interval([1.0, math.nan, 2.0])


def test_a_description_states_both_ends_of_the_interval():
    description = Interval(897.73, 67.88, 893.04, 901.52, 1000).describe()
    assert description == "897.7 ± 67.9 SD (95% CI of the mean 893.0 to 901.5, n = 1000)"
    assert Interval(0.1234, 1, -0.5, 2, 8).describe(2).endswith("-0.50 to 2.00, n = 8)")


def test_a_score_is_summarized_with_the_interval_over_episodes():
    result = Score(list(range(100)), SKEWED, np.full(100, 900), SKEWED > 800)
    i = episode_interval(SKEWED)
    assert result.interval == i
    assert result.summary()["ci95"] == [round(i.low, 1), round(i.high, 1)]
    assert result.summary()["lap_completion"] == 0.95
    assert result.summary()["worst_tracks"] == [95, 96, 97]
    assert i.describe() in str(result)


def test_importing_evaluation_does_not_import_scipy_stats():
    code = "import sys, wmlib.evaluation; sys.exit('scipy.stats' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def prediction_of(mixtures) -> Prediction:
    log_pi = torch.randn(2, 5, 3, mixtures).log_softmax(-1)
    zeros = torch.zeros(2, 5)
    return Prediction(
        log_pi, torch.randn(2, 5, 3, mixtures), torch.randn(2, 5, 3, mixtures), zeros, zeros
    )


def test_the_quantile_of_one_component_is_the_normal_cdf():
    prediction, z = prediction_of(1), torch.randn(2, 5, 3)
    normal = Normal(prediction.mu[..., 0], prediction.log_sigma[..., 0].exp())
    torch.testing.assert_close(quantiles(prediction, z), normal.cdf(z))


def test_the_quantile_of_a_mixture_is_its_cdf():
    prediction, z = prediction_of(4), torch.randn(2, 5, 3)
    mixture = MixtureSameFamily(
        Categorical(logits=prediction.log_pi), Normal(prediction.mu, prediction.log_sigma.exp())
    )
    torch.testing.assert_close(quantiles(prediction, z), mixture.cdf(z))


GRID = (torch.arange(10_000) + 0.5) / 10_000  # the quantiles of a large sample of any distribution


def test_uniform_quantiles_are_calibrated():
    nominal, empirical = coverage(GRID.view(100, 50, 2), points=21)
    np.testing.assert_allclose(nominal, np.linspace(0, 1, 21))
    np.testing.assert_allclose(empirical, nominal, atol=2e-4)


@pytest.mark.parametrize("sigma", [0.5, 0.8, 1.5])
def test_the_coverage_of_a_wrong_sigma_is_the_analytic_one(sigma):
    """Of standard normal values, |z| < sigma q holds for a share of 2 Phi(sigma q) - 1."""
    z = torch.special.ndtri(GRID.double()).view(-1, 1, 1)
    zeros = torch.zeros_like(z)[..., None]
    prediction = Prediction(zeros, zeros, zeros + math.log(sigma), z[..., 0], z[..., 0])
    nominal, empirical = coverage(quantiles(prediction, z))
    analytic = 2 * norm.cdf(sigma * norm.ppf((1 + nominal) / 2)) - 1
    np.testing.assert_allclose(empirical, analytic, atol=5e-4)
    inner = slice(1, -1)
    assert ((empirical < nominal) if sigma < 1 else (empirical > nominal))[inner].all()


def test_a_linear_probe_fits_linear_targets_and_not_noise():
    rng = np.random.default_rng(0)
    features, groups = rng.normal(size=(2000, 6)), np.repeat(np.arange(20), 100)
    for columns in (1, 2):
        linear = linear_probe(features, features @ rng.normal(size=(6, columns)), groups)
        noise = linear_probe(features, rng.normal(size=(2000, columns)), groups)
        assert linear.r2 > 0.99
        assert -0.1 < noise.r2 < 0.05
    assert len(linear.truth) == 600


def test_a_linear_probe_is_tested_on_other_episodes():
    """Features that identify the episode predict any target, but not for other episodes."""
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


def test_collecting_on_a_held_out_track_is_refused(tmp_path):
    with pytest.raises(ValueError, match="seed 1000000 is kept for scoring"):
        collect(BALL, no_action_policy(), [1_000_000], tmp_path)


def test_the_open_loop_rollout_begins_where_the_context_ends(world_model):
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


def test_rewards_of_the_context_matter_only_to_an_m_with_reward_input(world_model):
    frames = np.random.default_rng(0).integers(0, 256, (9, 64, 64, 3), dtype=np.uint8)
    actions, with_rewards = torch.rand(8, 3), WorldModel(world_model.vae, MDNRNN(reward_input=True))
    for model, differs in ((world_model, False), (with_rewards, True)):
        rewards = [np.full(8, reward, np.float32) for reward in (0.0, 3.0)]
        low, high = (open_loop_rollout(model, frames, actions, 5, 0, rewards=r)[0] for r in rewards)
        assert bool((low != high).any()) == differs
        low, high = (watch(model, frames, actions, r)[1] for r in rewards)
        assert bool((low != high).any()) == differs


def test_a_dream_begins_with_reconstructions_of_its_context(world_model):
    frames = np.random.default_rng(0).integers(0, 256, (9, 64, 64, 3), dtype=np.uint8)
    actions = np.random.default_rng(0).uniform(size=(8, 3)).astype(np.float32)
    dreamt = dream_frames(world_model, frames, actions, context=5)
    assert (dreamt.shape, dreamt.dtype) == (frames.shape, np.uint8)
    with torch.no_grad():
        reconstructed = tensor_to_frames(world_model.decode(world_model.encode(frames[:6])))
    np.testing.assert_array_equal(dreamt[:6], reconstructed)
    np.testing.assert_array_equal(dreamt, dream_frames(world_model, frames, actions, context=5))
    another = dream_frames(world_model, frames, actions, context=5, seed=1)
    assert (another[:6] == dreamt[:6]).all()
    assert (another[6:] != dreamt[6:]).any((1, 2, 3)).all()


def test_recorded_features_have_the_cell_state_where_policies_read_it():
    """As step by step, see `WorldModel.features`."""
    world_model = WorldModel(VAE(), MDNRNN(action_size=1, hidden_size=8, reads_cell=True))
    frames = np.random.default_rng(0).integers(0, 256, (6, 64, 64, 3), dtype=np.uint8)
    actions = np.linspace(-1, 1, 5, dtype=np.float32)[:, None]
    found = features(world_model, frames, actions)
    assert found.shape == (5, world_model.feature_size) == (5, 32 + 8 + 8)
    z, h = watch(world_model, frames, actions)
    torch.testing.assert_close(found[:, :32], z[:-1], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(found[1:, 40:], h[:-1], atol=1e-4, rtol=1e-4)
    assert (found[0, 32:] == 0).all()
    assert (found[1:, 32:40].abs() > found[1:, 40:].abs()).any()  # h is a share of tanh(c)
