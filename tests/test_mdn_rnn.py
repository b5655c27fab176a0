import math

import pytest
import torch
from torch.distributions import Categorical, MixtureSameFamily, Normal

from wmlib.models.mdn_rnn import (
    MDNRNN,
    Prediction,
    mdn_rnn_loss,
    mixture_mean,
    mixture_nll,
    sample_next,
)
from wmlib.models.vae import VAE
from wmlib.models.world_model import WorldModel
from wmlib.rollout.rollout import one_thread


def prediction_of(pi, mu, sigma, rows=1) -> Prediction:
    """The same one-dimensional mixture, `rows` times."""
    parts = [torch.tensor(v, dtype=torch.float32).expand(rows, 1, 1, -1) for v in (pi, mu, sigma)]
    zeros = torch.zeros(rows, 1)
    return Prediction(parts[0].log(), parts[1], parts[2].log(), zeros, zeros)


@pytest.mark.parametrize("rows", range(1, 24))
def test_a_row_does_not_depend_on_the_size_of_the_batch(rows):
    """Bitwise: otherwise a dream would depend on how many others are in its batch."""
    m, many = WorldModel(VAE(), MDNRNN()).mdn_rnn, 64
    z, actions, h = torch.randn(many, 1, 32), torch.rand(many, 1, 3), torch.randn(2, many, 256)
    with torch.no_grad(), one_thread():  # as in a rollout
        whole, whole_state = m(z, actions, (h[:1], h[1:]))
        memory = (h[:1, :rows].contiguous(), h[1:, :rows].contiguous())
        part, state = m(z[:rows], actions[:rows], memory)
    for alone, together in zip([*part, *state[0]], [*whole, *whole_state[0]], strict=True):
        assert torch.equal(alone, together[:rows])


def test_paper_size():
    mdn_rnn = MDNRNN()
    heads = sum(p.numel() for h in (mdn_rnn.reward, mdn_rnn.done) for p in h.parameters())
    assert heads == 2 * 257
    assert sum(p.numel() for p in mdn_rnn.parameters()) - heads == 422_368 + 1024


def test_paper_size_for_vizdoom():
    mdn_rnn = MDNRNN(z_size=64, action_size=1, hidden_size=512)
    assert mdn_rnn.mixture.out_features == 3 * 5 * 64
    assert mdn_rnn.lstm.input_size == 65


def test_the_weight_of_ends_is_taken_back_out_of_the_forecast():
    """Where one step in ten is an end, the loss is smallest at log-odds of 1 / 9, whatever w."""
    done, mask = torch.zeros(1, 10), torch.ones(1, 10)
    done[0, 3] = 1
    z, zeros = torch.zeros(1, 10, 1), torch.zeros(1, 10)

    def loss(log_odds, weight):
        m = prediction_of([1.0], [0.0], [1.0])
        mixture = (part.expand(1, 10, 1, 1) for part in m[:3])
        forecast = Prediction(*mixture, zeros, log_odds.expand(1, 10))
        return mdn_rnn_loss(forecast, z, zeros, done, mask, done_weight=weight).done

    for weight in (1.0, 10.0):
        log_odds = torch.tensor(math.log(1 / 9), requires_grad=True)
        loss(log_odds, weight).backward()
        assert log_odds.grad.abs() < 1e-6
    # At w = 10, an end counts ten times: p = 1/10 has the log-odds log(10/9) in that problem.
    p = 10 / 19
    expected = (-10 * math.log(p) - 9 * math.log(1 - p)) / 10
    assert loss(torch.tensor(math.log(1 / 9)), 10.0).item() == pytest.approx(expected, rel=1e-5)


def test_the_likelihood_is_the_closed_form():
    mdn_rnn = MDNRNN()
    prediction, _ = mdn_rnn(torch.randn(3, 7, 32), torch.randn(3, 7, 3))
    target = torch.randn(3, 7, 32)
    mixture = MixtureSameFamily(
        Categorical(logits=prediction.log_pi), Normal(prediction.mu, prediction.log_sigma.exp())
    )
    torch.testing.assert_close(mixture_nll(prediction, target), -mixture.log_prob(target))


def test_the_likelihood_is_finite_where_densities_vanish():
    prediction = prediction_of([0.5, 0.5], [0.0, 1.0], [1e-2, 1e-2])
    nll = mixture_nll(prediction, torch.full((1, 1, 1), 100.0))
    nearest = 0.5 * (99 / 1e-2) ** 2 + math.log(1e-2) + 0.5 * math.log(2 * math.pi) + math.log(2)
    assert nll.item() == pytest.approx(nearest, rel=1e-5)


def test_single_steps_equal_the_sequence():
    mdn_rnn = MDNRNN()
    z, actions = torch.randn(2, 9, 32), torch.randn(2, 9, 3)
    whole, _ = mdn_rnn(z, actions)
    state = mdn_rnn.initial_state(2)
    h, c = (part[0] for part in state)
    for t in range(9):
        step, state = mdn_rnn(z[:, t : t + 1], actions[:, t : t + 1], state)
        h, c = mdn_rnn.step(z[:, t], actions[:, t], h, c)
        torch.testing.assert_close((h[None], c[None]), state, atol=1e-6, rtol=1e-5)
        for now, sequence in zip(step, whole, strict=True):
            torch.testing.assert_close(now[:, 0], sequence[:, t], atol=1e-6, rtol=1e-5)


def test_with_reward_input_m_models_z_and_the_reward():
    m, z, reward = MDNRNN(4, 3, 8, reward_input=True), torch.randn(2, 5, 4), torch.randn(2, 5)
    split_z, split_reward = m.split(m.join(z, reward))
    assert torch.equal(split_z, z)
    assert torch.equal(split_reward, reward)
    prediction, _ = m(z, torch.randn(2, 5, 3), reward=reward)
    assert prediction.mu.shape == (2, 5, 5, 5)
    with pytest.raises(ValueError, match="needs the previous rewards"):
        m(z, torch.randn(2, 5, 3))
    plain = MDNRNN(4, 3, 8)
    assert torch.equal(plain.join(z, reward), z)
    assert not plain.split(z)[1].any()


def test_gradients_reach_all_parameters():
    mdn_rnn = MDNRNN(z_size=4, hidden_size=8)
    prediction, _ = mdn_rnn(torch.randn(2, 5, 4), torch.randn(2, 5, 3))
    ones = torch.ones(2, 5)
    mdn_rnn_loss(prediction, torch.randn(2, 5, 4), ones, ones, ones).total.backward()
    assert all(p.grad.abs().sum() > 0 for p in mdn_rnn.parameters())


def test_padding_does_not_change_the_loss():
    mdn_rnn = MDNRNN(z_size=4, hidden_size=8)
    z, actions = torch.randn(2, 6, 4), torch.randn(2, 6, 3)
    rewards, done, mask = torch.randn(2, 6), torch.zeros(2, 6), torch.ones(2, 6)
    mask[:, 4:] = 0
    target = torch.randn(2, 6, 4)

    def loss():
        return mdn_rnn_loss(mdn_rnn(z, actions)[0], target, rewards, done, mask)

    before = loss()
    target[:, 4:], rewards[:, 4:], done[:, 4:] = 99.0, 99.0, 1.0
    assert loss() == before


def test_a_z_weight_of_the_size_of_z_gives_the_sum_over_dimensions():
    mdn_rnn = MDNRNN(z_size=4, hidden_size=8)
    z, actions, target = torch.randn(2, 6, 4), torch.randn(2, 6, 3), torch.randn(2, 6, 4)
    zeros, ones = torch.zeros(2, 6), torch.ones(2, 6)
    prediction, _ = mdn_rnn(z, actions)
    loss = mdn_rnn_loss(prediction, target, zeros, zeros, ones, z_weight=4)
    whole = mixture_nll(prediction, target).sum(-1).mean()
    assert loss.total.item() == pytest.approx((whole + loss.reward + loss.done).item(), rel=1e-5)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 1.5])
def test_samples_have_the_tempered_moments(temperature):
    pi, mu, sigma = torch.tensor([0.7, 0.3]), torch.tensor([-1.0, 2.0]), torch.tensor([0.5, 0.2])
    prediction = prediction_of(pi.tolist(), mu.tolist(), sigma.tolist(), rows=200_000)
    draws = sample_next(prediction, temperature, torch.Generator().manual_seed(1))
    weights = (pi.log() / temperature).softmax(0)
    mean = (weights * mu).sum()
    variance = (weights * (sigma**2 * temperature + mu**2)).sum() - mean**2
    assert draws.mean().item() == pytest.approx(mean.item(), abs=0.02)
    assert draws.var().item() == pytest.approx(variance.item(), rel=0.02)


def test_every_dimension_may_have_its_own_temperature():
    prediction = prediction_of([0.5, 0.5], [0.0, 0.0], [1.0, 1.0], rows=100_000)
    both = Prediction(*(torch.cat([part, part], dim=2) for part in prediction[:3]), *prediction[3:])
    each = torch.tensor([2.0, 0.25])
    draws = sample_next(both, each, torch.Generator().manual_seed(1))
    torch.testing.assert_close(draws.flatten(0, 1).var(0), each, rtol=0.03, atol=0)
    mixed = sample_next(both, torch.tensor([2.0, 0.0]), torch.Generator().manual_seed(1))
    torch.testing.assert_close(mixed[..., 0], draws[..., 0])
    assert not mixed[..., 1].any()  # the mean of the likeliest component, in every row


def test_temperature_zero_is_the_likeliest_mean():
    prediction = prediction_of([0.2, 0.5, 0.3], [1.0, 2.0, 3.0], [1.0, 1.0, 1.0])
    assert sample_next(prediction, 0).item() == 2.0
    assert mixture_mean(prediction).item() == pytest.approx(0.2 + 1.0 + 0.9)


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="0 or more, got -1"):
        sample_next(prediction_of([1.0], [0.0], [1.0]), -1)
    with pytest.raises(ValueError, match="size 32 and actions of size 3, got 32 and 2"):
        MDNRNN()(torch.zeros(1, 1, 32), torch.zeros(1, 1, 2))
