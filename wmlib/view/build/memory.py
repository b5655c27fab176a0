"""Chapter 3, M: an LSTM step, the mixture head, sampling with temperature, open-loop rollouts.

Each exercise is a solution, how it is measured, and functions with typical mistakes, whose
docstrings are printed for the reader.
"""

from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor

from wmlib.models.mdn_rnn import MDNRNN, Prediction, sample_next
from wmlib.models.vae import VAE
from wmlib.models.world_model import State, WorldModel
from wmlib.view.build.exercise import Exercise, Measured, call


def lstm_step(x, h, c, w_ih, w_hh, b_ih, b_hh):
    """One step of an LSTM: x (B, I), h and c (B, H) -> the new h and c, each (B, H).

    w_ih (4H, I), w_hh (4H, H), b_ih and b_hh (4H,): rows in the order i, f, g, o.
    """
    gates = x @ w_ih.T + b_ih + h @ w_hh.T + b_hh
    i, f, g, o = gates.chunk(4, dim=1)
    c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    return o.sigmoid() * c.tanh(), c


def _package_lstm_step(x, h, c, w_ih, w_hh, b_ih, b_hh):
    return torch.lstm_cell(x, (h, c), w_ih, w_hh, b_ih, b_hh)


def _gates(x, h, w_ih, w_hh, b_ih, b_hh):
    return (x @ w_ih.T + b_ih + h @ w_hh.T + b_hh).chunk(4, dim=1)


def _gates_in_another_order(x, h, c, w_ih, w_hh, b_ih, b_hh):
    """The rows of torch's weights are in the order i, f, g, o, not i, f, o, g: the third quarter is
    the candidate, which goes through tanh."""
    i, f, o, g = _gates(x, h, w_ih, w_hh, b_ih, b_hh)
    c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    return o.sigmoid() * c.tanh(), c


def _input_and_forget_swapped(x, h, c, w_ih, w_hh, b_ih, b_hh):
    """The forget gate f multiplies the old c, the input gate i the candidate g: here they are
    swapped."""
    f, i, g, o = _gates(x, h, w_ih, w_hh, b_ih, b_hh)
    c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    return o.sigmoid() * c.tanh(), c


def _h_of_the_old_cell(x, h, c, w_ih, w_hh, b_ih, b_hh):
    """h is read from the new cell state c', not from the old one."""
    i, f, g, o = _gates(x, h, w_ih, w_hh, b_ih, b_hh)
    return o.sigmoid() * c.tanh(), f.sigmoid() * c + i.sigmoid() * g.tanh()


def _without_tanh_of_the_cell(x, h, c, w_ih, w_hh, b_ih, b_hh):
    """The cell state goes through tanh before the output gate: h' = o * tanh(c')."""
    i, f, g, o = _gates(x, h, w_ih, w_hh, b_ih, b_hh)
    c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    return o.sigmoid() * c, c


def _candidate_through_sigmoid(x, h, c, w_ih, w_hh, b_ih, b_hh):
    """The candidate g goes through tanh, so that it can lower the cell state: only i, f and o are
    gates."""
    i, f, g, o = _gates(x, h, w_ih, w_hh, b_ih, b_hh)
    c = f.sigmoid() * c + i.sigmoid() * g.sigmoid()
    return o.sigmoid() * c.tanh(), c


def _cell_first(x, h, c, w_ih, w_hh, b_ih, b_hh):
    """These are the right two results in the wrong order: return h first, then c."""
    return lstm_step(x, h, c, w_ih, w_hh, b_ih, b_hh)[::-1]


def _measure_lstm_step(function: Callable) -> Measured:
    generator = torch.Generator().manual_seed(1)
    shapes: dict[str, tuple[int, ...]] = {"x": (3, 2), "h": (3, 4), "c": (3, 4)}
    shapes |= {"w_ih": (16, 2), "w_hh": (16, 4), "b_ih": (16,), "b_hh": (16,)}
    inputs = {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    return call(function, inputs, names=("the new h", "the new c"))


def mdn_head(output, dimensions, mixtures):
    """M's mixtures from one linear layer's output: (B, 3 * D * K) -> three tensors (B, D, K).

    log_pi, normalized over the K Gaussians of a dimension; mu; log_sigma.
    """
    logits, mu, log_sigma = output.view(-1, 3, dimensions, mixtures).unbind(1)
    return logits.log_softmax(-1), mu, log_sigma


def _package_mdn_head(output, dimensions, mixtures):
    """See `MDNRNN.predict`, whose layer's output is the argument here."""
    logits, mu, log_sigma = output.unflatten(-1, (3, dimensions, mixtures)).unbind(-3)
    return logits.log_softmax(-1), mu, log_sigma


def _gaussians_before_dimensions(output, dimensions, mixtures):
    """The K numbers of one dimension lie side by side: the last two axes are D, K in the view, not
    K, D that are turned afterwards."""
    parts = output.view(-1, 3, mixtures, dimensions).transpose(-1, -2)
    return parts[:, 0].log_softmax(-1), parts[:, 1], parts[:, 2]


def _three_numbers_side_by_side(output, dimensions, mixtures):
    """First come all logits, then all mu, then all log sigma: the 3 is the first axis of the view,
    not the last."""
    logits, mu, log_sigma = output.view(-1, dimensions, mixtures, 3).unbind(-1)
    return logits.log_softmax(-1), mu, log_sigma


def _logits_unnormalized(output, dimensions, mixtures):
    """These are logits: the weights of a dimension's K Gaussians must sum to 1, which log_softmax
    over the last axis does."""
    logits, mu, log_sigma = output.view(-1, 3, dimensions, mixtures).unbind(1)
    return logits, mu, log_sigma


def _weights_instead_of_logs(output, dimensions, mixtures):
    """These are the weights; their logarithms are asked for: log_softmax, not softmax."""
    logits, mu, log_sigma = output.view(-1, 3, dimensions, mixtures).unbind(1)
    return logits.softmax(-1), mu, log_sigma


def _normalized_over_dimensions(output, dimensions, mixtures):
    """The weights are normalized over the dimensions; they must sum to 1 over the K Gaussians of
    each dimension, the last axis."""
    logits, mu, log_sigma = output.view(-1, 3, dimensions, mixtures).unbind(1)
    return logits.log_softmax(1), mu, log_sigma


def _sigma_instead_of_its_log(output, dimensions, mixtures):
    """The third result is log sigma itself, without exp."""
    log_pi, mu, log_sigma = mdn_head(output, dimensions, mixtures)
    return log_pi, mu, log_sigma.exp()


def _measure_mdn_head(function: Callable) -> Measured:
    generator = torch.Generator().manual_seed(1)
    inputs = {"output": torch.randn(2, 24, generator=generator), "dimensions": 4, "mixtures": 2}
    return call(function, inputs, names=("log_pi", "mu", "log_sigma"))


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
        inside = (z - torch.where(heavier, -5.0, 5.0)).square().mean().sqrt().item()
        measured[f"the share of the heavier Gaussian at temperature {tau}"] = share
        measured[f"the standard deviation around its Gaussian's mean at temperature {tau}"] = inside
        measured[f"the share of rows with both dimensions there at temperature {tau}"] = both
    return measured


def open_loop(world_model, state, actions, temperature, generator):
    """z of M's open-loop rollout from `state` (B rows), with actions (B, H, A): (B, H, z_size)."""
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
            "temperature": 1.0,
            "generator": torch.Generator().manual_seed(0),
        },
    )


EXERCISES = (
    Exercise(
        lstm_step,
        _measure_lstm_step,
        hint="One sum of two matrix products and two biases gives all four gates, (B, 4H); "
        "`.chunk(4, dim=1)` takes it apart. Three of the parts go through sigmoid, g through tanh.",
        mistakes=(
            _gates_in_another_order,
            _input_and_forget_swapped,
            _h_of_the_old_cell,
            _without_tanh_of_the_cell,
            _candidate_through_sigmoid,
            _cell_first,
        ),
        package=_package_lstm_step,
    ),
    Exercise(
        mdn_head,
        _measure_mdn_head,
        hint="View the output as (B, 3, D, K) and take it apart along the second axis with "
        "`.unbind(1)`. Only the first part is changed: log_softmax makes exp of its last axis sum "
        "to 1.",
        mistakes=(
            _gaussians_before_dimensions,
            _three_numbers_side_by_side,
            _logits_unnormalized,
            _weights_instead_of_logs,
            _normalized_over_dimensions,
            _sigma_instead_of_its_log,
        ),
        package=_package_mdn_head,
    ),
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
        hint="Loop over the H steps. `imagine` returns the next state and M's forecast; the next "
        "step begins at that state. Collect state.z, and stack along dim=1.",
        mistakes=(
            _stale_state,
            _real_z_fed_back,
            _memory_reset,
            _action_too_late,
            _action_too_early,
            _real_z_first,
            _time_before_batch,
        ),
    ),
)
