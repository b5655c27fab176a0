"""Chapter 3, what M imagines: sampling with temperature, and open-loop rollouts.

Written as in `memory`: solutions, how they are measured, and typical mistakes.
"""

from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor

from wmlib.models.mdn_rnn import MDNRNN, Prediction, sample_next
from wmlib.models.vae import VAE
from wmlib.models.world_model import State, WorldModel
from wmlib.view.build.exercise import Exercise, Measured, call


def sample_mixture(log_pi, mu, log_sigma, temperature):
    """Draw z from the mixtures: three tensors (B, D, K), temperature > 0 -> (B, D)."""
    k = torch.distributions.Categorical(logits=log_pi / temperature).sample()[..., None]
    mu, log_sigma = mu.gather(-1, k)[..., 0], log_sigma.gather(-1, k)[..., 0]
    return mu + log_sigma.exp() * temperature**0.5 * torch.randn_like(mu)


def _package_sample_mixture(log_pi, mu, log_sigma, temperature):
    """See `sample_next`, which takes a forecast with a time axis."""
    none = mu.new_zeros(len(mu), 1)  # reward and end, which are not drawn
    prediction = Prediction(log_pi[:, None], mu[:, None], log_sigma[:, None], none, none)
    return sample_next(prediction, temperature)[:, 0]


def _draw(log_pi, mu, log_sigma, of_logits, of_sigma):
    # of_logits, of_sigma: what they are multiplied by.
    k = torch.distributions.Categorical(logits=log_pi * of_logits).sample()[..., None]
    mu, log_sigma = mu.gather(-1, k)[..., 0], log_sigma.gather(-1, k)[..., 0]
    return mu + log_sigma.exp() * of_sigma * torch.randn_like(mu)


def _sigma_times_temperature(log_pi, mu, log_sigma, temperature):
    """sigma is multiplied by the square root of the temperature, not by the temperature: it is the
    variance that grows in proportion."""
    return _draw(log_pi, mu, log_sigma, 1 / temperature, temperature)


def _logits_times_temperature(log_pi, mu, log_sigma, temperature):
    """log_pi is divided by the temperature: a low one must favour the heavier Gaussian."""
    return _draw(log_pi, mu, log_sigma, temperature, temperature**0.5)


def _weights_without_temperature(log_pi, mu, log_sigma, temperature):
    """The temperature also changes the weights: divide log_pi by it before drawing."""
    return _draw(log_pi, mu, log_sigma, 1, temperature**0.5)


def _without_temperature_of_sigma(log_pi, mu, log_sigma, temperature):
    """The temperature also changes the width: multiply sigma by its square root."""
    return _draw(log_pi, mu, log_sigma, 1 / temperature, 1)


def _log_sigma_for_sigma(log_pi, mu, log_sigma, temperature):
    """log_sigma is a logarithm: take exp of it before it multiplies the noise."""
    k = torch.distributions.Categorical(logits=log_pi / temperature).sample()[..., None]
    mu, log_sigma = mu.gather(-1, k)[..., 0], log_sigma.gather(-1, k)[..., 0]
    return mu + log_sigma * temperature**0.5 * torch.randn_like(mu)


def _without_noise(log_pi, mu, log_sigma, temperature):
    """Nothing is drawn from the chosen Gaussian: its width is multiplied by standard normal noise,
    torch.randn_like."""
    k = torch.distributions.Categorical(logits=log_pi / temperature).sample()[..., None]
    mu, log_sigma = mu.gather(-1, k)[..., 0], log_sigma.gather(-1, k)[..., 0]
    return mu + log_sigma.exp() * temperature**0.5


def _uniform_noise(log_pi, mu, log_sigma, temperature):
    """The noise is uniform between 0 and 1; a Gaussian's is standard normal: randn_like, not
    rand_like."""
    k = torch.distributions.Categorical(logits=log_pi / temperature).sample()[..., None]
    mu, log_sigma = mu.gather(-1, k)[..., 0], log_sigma.gather(-1, k)[..., 0]
    return mu + log_sigma.exp() * temperature**0.5 * torch.rand_like(mu)


def _mean_of_the_mixture(log_pi, mu, log_sigma, temperature):
    """This is the mean of the whole mixture, which lies between the Gaussians, where there may be
    no probability: draw one of the Gaussians, then a value from it."""
    weights = (log_pi / temperature).softmax(-1)
    return (weights * mu).sum(-1)


def _likeliest_gaussian(log_pi, mu, log_sigma, temperature):
    """It always takes the heaviest Gaussian: draw one, with the probabilities
    softmax(log_pi / temperature)."""
    k = log_pi.argmax(-1, keepdim=True)
    mu, log_sigma = mu.gather(-1, k)[..., 0], log_sigma.gather(-1, k)[..., 0]
    return mu + log_sigma.exp() * temperature**0.5 * torch.randn_like(mu)


def _one_gaussian_for_all_dimensions(log_pi, mu, log_sigma, temperature):
    """All dimensions of a row take the same Gaussian: every dimension has a mixture of its own, so
    draw an index per row and dimension, (B, D)."""
    k = torch.distributions.Categorical(logits=log_pi[:, 0] / temperature).sample()
    k = k[:, None, None].expand(-1, mu.shape[1], 1)
    mu, log_sigma = mu.gather(-1, k)[..., 0], log_sigma.gather(-1, k)[..., 0]
    return mu + log_sigma.exp() * temperature**0.5 * torch.randn_like(mu)


def _measure_sample_mixture(function: Callable) -> Measured:
    # Statistics of 40,000 draws, which any correct way of drawing shares: both dimensions have a
    # Gaussian at -5 with a weight of 0.7, and one at 5.
    rows = 40_000
    log_pi = torch.tensor([0.7, 0.3]).log().expand(rows, 2, 2)
    mu = torch.tensor([-5.0, 5.0]).expand(rows, 2, 2)
    log_sigma = torch.full((rows, 2, 2), -0.5)
    measured: Measured = {}
    for tau in (0.5, 2.0):
        z = function(log_pi, mu, log_sigma, tau)
        measured[f"the shape at temperature {tau}"] = tuple(z.shape)
        heavier = z < 0
        share, both = heavier.float().mean().item(), heavier.all(1).float().mean().item()
        offset = z - torch.where(heavier, -5.0, 5.0)
        inside, above = offset.square().mean().sqrt().item(), (offset > 0).float().mean().item()
        measured[f"the share of the heavier Gaussian at temperature {tau}"] = share
        measured[f"the standard deviation around its Gaussian's mean at temperature {tau}"] = inside
        measured[f"the share of values above their Gaussian's mean at temperature {tau}"] = above
        measured[f"the share of rows with both dimensions there at temperature {tau}"] = both
    return measured


def open_loop(world_model, state, actions, temperature, generator):
    """z of M's open-loop rollout from `state` (B rows), with actions (B, T, A): (B, T, z_size)."""
    imagined = []
    for t in range(actions.shape[1]):
        state, _ = world_model.imagine(state, actions[:, t], temperature, generator)
        imagined.append(state.z)
    return torch.stack(imagined, dim=1)


def _stale_state(world_model, state, actions, temperature, generator):
    """Every step starts from the same first state: pass on the state that `imagine` returns."""
    steps = range(actions.shape[1])
    after = [world_model.imagine(state, actions[:, t], temperature, generator) for t in steps]
    return torch.stack([new.z for new, _ in after], dim=1)


def _real_z_fed_back(world_model, state, actions, temperature, generator):
    """M still reads the real z in every step: in an open loop it reads its own sample, which is in
    the state that `imagine` returns."""
    imagined = []
    for t in range(actions.shape[1]):
        after, _ = world_model.imagine(state, actions[:, t], temperature, generator)
        imagined.append(after.z)
        state = after._replace(z=state.z)
    return torch.stack(imagined, dim=1)


def _memory_reset(world_model, state, actions, temperature, generator):
    """z is fed back, but h and c start from zero in every step: carry the whole state on."""
    imagined = []
    for t in range(actions.shape[1]):
        state, _ = world_model.imagine(state, actions[:, t], temperature, generator)
        imagined.append(state.z)
        state = state._replace(h=torch.zeros_like(state.h), c=torch.zeros_like(state.c))
    return torch.stack(imagined, dim=1)


def _action_too_late(world_model, state, actions, temperature, generator):
    """The actions come one step too late: step t takes actions[:, t]."""
    late = torch.cat([actions[:, :1], actions[:, :-1]], dim=1)
    return open_loop(world_model, state, late, temperature, generator)


def _action_too_early(world_model, state, actions, temperature, generator):
    """The actions come one step too early: step t takes actions[:, t]."""
    early = torch.cat([actions[:, 1:], actions[:, -1:]], dim=1)
    return open_loop(world_model, state, early, temperature, generator)


def _real_z_first(world_model, state, actions, temperature, generator):
    """The first entry is the z that is already known: append z after the step, not before it."""
    imagined = open_loop(world_model, state, actions, temperature, generator)
    return torch.cat([state.z[:, None], imagined[:, :-1]], dim=1)


def _time_before_batch(world_model, state, actions, temperature, generator):
    """Time is the second axis: stack along dim=1."""
    return open_loop(world_model, state, actions, temperature, generator).transpose(0, 1)


def _without_temperature(world_model, state, actions, temperature, generator):
    """The temperature is not that of the argument: pass it on to `imagine`."""
    return open_loop(world_model, state, actions, 1.0, generator)


def _without_generator(world_model, state, actions, temperature, generator):
    """The generator is not passed on to `imagine`: without it nobody can repeat a rollout."""
    return open_loop(world_model, state, actions, temperature, None)


@lru_cache(1)
def _untrained() -> tuple[WorldModel, State, Tensor]:
    # An M with weights large enough that a wrong action is visible, a state and four actions.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        mdn_rnn = MDNRNN(z_size=2, action_size=1, hidden_size=8, mixtures=2)
        for weights in mdn_rnn.parameters():
            torch.nn.init.normal_(weights)
        state = State(torch.randn(3, 2), torch.randn(3, 8), torch.randn(3, 8), torch.zeros(3))
        return WorldModel(VAE(z_size=2), mdn_rnn), state, torch.randn(3, 4, 1)


def _measure_open_loop(function: Callable) -> Measured:
    world_model, state, actions = _untrained()
    return call(
        lambda **given: function(world_model, state, **given),
        {
            "actions": actions,
            "temperature": 0.5,
            # Another seed than `call` has, so that a generator that is not used is visible.
            "generator": torch.Generator().manual_seed(1),
        },
    )


EXERCISES = (
    Exercise(
        sample_mixture,
        _measure_sample_mixture,
        hint="torch.distributions.Categorical(logits=...).sample() draws an index per mixture, (B, "
        "D). `gather` along the last axis takes the mu and log_sigma at this index. Temperature "
        "enters twice: in the logits, and in the width.",
        mistakes=(
            _sigma_times_temperature,
            _logits_times_temperature,
            _weights_without_temperature,
            _without_temperature_of_sigma,
            _log_sigma_for_sigma,
            _without_noise,
            _uniform_noise,
            _mean_of_the_mixture,
            _likeliest_gaussian,
            _one_gaussian_for_all_dimensions,
        ),
        package=_package_sample_mixture,
        tolerance=0.03,
    ),
    Exercise(
        open_loop,
        _measure_open_loop,
        hint="Loop over the T steps. `imagine` returns the next state and M's forecast; the next "
        "step begins at that state. Collect state.z, and stack along dim=1.",
        mistakes=(
            _stale_state,
            _real_z_fed_back,
            _memory_reset,
            _action_too_late,
            _action_too_early,
            _real_z_first,
            _time_before_batch,
            _without_temperature,
            _without_generator,
        ),
    ),
)
