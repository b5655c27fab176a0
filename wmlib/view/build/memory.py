"""Chapter 3, M: an LSTM step and the mixture head.

Each exercise is a solution, how it is measured, and functions with typical mistakes, whose
docstrings are printed for the reader.
"""

from collections.abc import Callable

import torch

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


def _one_bias(x, h, c, w_ih, w_hh, b_ih, b_hh):
    """torch's LSTM has two biases: add b_ih and b_hh."""
    return lstm_step(x, h, c, w_ih, w_hh, b_ih, torch.zeros_like(b_hh))


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


def _normalized_over_all(output, dimensions, mixtures):
    """All D * K weights together sum to 1; those of *each* dimension must: give the logits their
    shape (B, D, K) first, then take log_softmax over the last axis."""
    logits, mu, log_sigma = output.view(-1, 3, dimensions, mixtures).unbind(1)
    return logits.flatten(1).log_softmax(-1).view_as(mu), mu, log_sigma


def _sigma_instead_of_its_log(output, dimensions, mixtures):
    """The third result is log sigma itself, without exp."""
    log_pi, mu, log_sigma = mdn_head(output, dimensions, mixtures)
    return log_pi, mu, log_sigma.exp()


def _measure_mdn_head(function: Callable) -> Measured:
    generator = torch.Generator().manual_seed(1)
    inputs = {"output": torch.randn(2, 24, generator=generator), "dimensions": 4, "mixtures": 2}
    return call(function, inputs, names=("log_pi", "mu", "log_sigma"))


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
            _one_bias,
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
            _normalized_over_all,
            _sigma_instead_of_its_log,
        ),
        package=_package_mdn_head,
    ),
)
