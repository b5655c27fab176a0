"""Chapter 1, the loss of a mixture density network: the density by hand, and its logarithm.

Written as in `loss`: solutions, how they are measured, and typical mistakes.
"""

import math
from collections.abc import Callable

import numpy as np
import torch

from wmlib.models import mdn_rnn
from wmlib.models.mdn_rnn import Prediction
from wmlib.view.build.exercise import Exercise, Measured, call


def mixture_density(y, pi, mu, sigma):
    """sum_k pi_k N(y; mu_k, sigma_k^2), per target: y (N,); pi, mu, sigma (N, K) -> (N,)."""
    standardized = (y[:, None] - mu) / sigma
    normal = torch.exp(-0.5 * standardized**2) / (sigma * (2 * torch.pi) ** 0.5)
    return (pi * normal).sum(-1)


def _without_weights(y, pi, mu, sigma):
    """The weights pi are missing: a mixture is a weighted sum."""
    return mixture_density(y, torch.ones_like(pi), mu, sigma)


def _without_normalization(y, pi, mu, sigma):
    """The factor 1 / (sigma sqrt(2 pi)) is missing: without it the density does not integrate to
    1."""
    return (pi * torch.exp(-0.5 * ((y[:, None] - mu) / sigma) ** 2)).sum(-1)


def _without_sigma_in_front(y, pi, mu, sigma):
    """The normalization has sigma in it, too: 1 / (sigma sqrt(2 pi)). A narrow Gaussian is high."""
    normal = torch.exp(-0.5 * ((y[:, None] - mu) / sigma) ** 2) / (2 * torch.pi) ** 0.5
    return (pi * normal).sum(-1)


def _variance_for_width(y, pi, mu, sigma):
    """The distance to mu is divided by sigma before it is squared: ((y - mu) / sigma)^2."""
    normal = torch.exp(-0.5 * (y[:, None] - mu) ** 2 / sigma) / (sigma * (2 * torch.pi) ** 0.5)
    return (pi * normal).sum(-1)


def _weights_for_the_number(y, pi, mu, sigma):
    """`pi` is the name of the weights here: the number 3.14... is torch.pi."""
    standardized = (y[:, None] - mu) / sigma
    return (pi * torch.exp(-0.5 * standardized**2) / (sigma * (2 * pi) ** 0.5)).sum(-1)


def _not_summed(y, pi, mu, sigma):
    """One density per target is asked for: sum over the K components, the last axis."""
    standardized = (y[:, None] - mu) / sigma
    return pi * torch.exp(-0.5 * standardized**2) / (sigma * (2 * torch.pi) ** 0.5)


def _mean_over_parts(y, pi, mu, sigma):
    """It is the sum over the K components, not their mean: the weights pi sum to 1 already."""
    return mixture_density(y, pi, mu, sigma) / pi.shape[-1]


def mixture_nll(y, log_pi, mu, log_sigma):
    """-log sum_k pi_k N(y; mu_k, sigma_k^2), in nats: y (N,); log_pi, mu, log_sigma (N, K) -> (N,).

    Finite in 32-bit floats wherever the target is.
    """
    standardized = (y[:, None] - mu) / log_sigma.exp()
    log_normal = -0.5 * standardized**2 - log_sigma - 0.5 * np.log(2 * np.pi)
    return -torch.logsumexp(log_pi + log_normal, dim=-1)


def _in_the_package(y, log_pi, mu, log_sigma):
    # There it is a function of M's prediction; its reward and its end play no role.
    return mdn_rnn.mixture_nll(Prediction(log_pi, mu, log_sigma, y, y), y)


def _densities_summed(y, log_pi, mu, log_sigma):
    """Far from every component all densities round to 0, and log 0 is infinite: stay in logarithms,
    with torch.logsumexp in place of the sum."""
    return -mixture_density(y, log_pi.exp(), mu, log_sigma.exp()).log()


def _density_and_a_little(y, log_pi, mu, log_sigma):
    """A small number inside the logarithm keeps the loss finite, but the loss far away is then
    wrong, and its gradient is 0: stay in logarithms, with torch.logsumexp."""
    return -(mixture_density(y, log_pi.exp(), mu, log_sigma.exp()) + 1e-8).log()


def _without_log_pi(y, log_pi, mu, log_sigma):
    """The weights are missing: add log_pi to each component's log density."""
    return mixture_nll(y, torch.zeros_like(log_pi), mu, log_sigma)


def _sigma_for_log_sigma(y, log_pi, mu, log_sigma):
    """log_sigma is a logarithm: sigma is log_sigma.exp()."""
    standardized = (y[:, None] - mu) / log_sigma
    log_normal = -0.5 * standardized**2 - log_sigma.abs().log() - 0.5 * math.log(2 * math.pi)
    return -torch.logsumexp(log_pi + log_normal, dim=-1)


def _divided_by_log_sigma(y, log_pi, mu, log_sigma):
    """log_sigma is a logarithm: divide by sigma, which is log_sigma.exp()."""
    standardized = (y[:, None] - mu) / log_sigma
    log_normal = -0.5 * standardized**2 - log_sigma - 0.5 * math.log(2 * math.pi)
    return -torch.logsumexp(log_pi + log_normal, dim=-1)


def _without_log_sigma(y, log_pi, mu, log_sigma):
    """The logarithm of 1 / sigma is missing: - log_sigma. Without it, a wider Gaussian would cost
    nothing."""
    standardized = (y[:, None] - mu) / log_sigma.exp()
    return -torch.logsumexp(log_pi - 0.5 * standardized**2 - 0.5 * math.log(2 * math.pi), dim=-1)


def _without_the_constant(y, log_pi, mu, log_sigma):
    """The constant log(2 pi) / 2 is missing: without it, the result is not a log density."""
    return mixture_nll(y, log_pi, mu, log_sigma) - 0.5 * math.log(2 * math.pi)


def _opposite_log_sigma(y, log_pi, mu, log_sigma):
    """log_sigma has the wrong sign: the density has 1 / sigma, whose logarithm is - log_sigma."""
    standardized = (y[:, None] - mu) / log_sigma.exp()
    log_normal = -0.5 * standardized**2 + log_sigma - 0.5 * math.log(2 * math.pi)
    return -torch.logsumexp(log_pi + log_normal, dim=-1)


def _whole_constant(y, log_pi, mu, log_sigma):
    """The constant is half of log(2 pi)."""
    return mixture_nll(y, log_pi, mu, log_sigma) + 0.5 * math.log(2 * math.pi)


def _weights_times_logarithms(y, log_pi, mu, log_sigma):
    """The logarithm of a product is a sum: add log_pi to the log density. Multiplying by pi weights
    the logarithm instead of the density."""
    standardized = (y[:, None] - mu) / log_sigma.exp()
    log_normal = -0.5 * standardized**2 - log_sigma - 0.5 * math.log(2 * math.pi)
    return -torch.logsumexp(log_pi.exp() * log_normal, dim=-1)


def _mean_of_logarithms(y, log_pi, mu, log_sigma):
    """The logarithm of a sum is not the sum of the logarithms: torch.logsumexp over the
    components."""
    standardized = (y[:, None] - mu) / log_sigma.exp()
    log_normal = -0.5 * standardized**2 - log_sigma - 0.5 * math.log(2 * math.pi)
    return -(log_pi + log_normal).sum(-1)


def _mean_over_components(y, log_pi, mu, log_sigma):
    """It is torch.logsumexp over the components, not a mean over them."""
    standardized = (y[:, None] - mu) / log_sigma.exp()
    log_normal = -0.5 * standardized**2 - log_sigma - 0.5 * math.log(2 * math.pi)
    return -(log_pi + log_normal).mean(-1)


def _log_density(y, log_pi, mu, log_sigma):
    """It has the opposite sign: the loss is the negative log-likelihood."""
    return -mixture_nll(y, log_pi, mu, log_sigma)


def _mean_over_targets(y, log_pi, mu, log_sigma):
    """One value per target is asked for: leave out the mean over the N targets."""
    return mixture_nll(y, log_pi, mu, log_sigma).mean()


def _mixtures() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    logits, mu, log_sigma = torch.randn(3, 4, 3, generator=generator)
    y = torch.randn(4, generator=generator)
    return {"y": y, "logits": logits, "mu": mu, "log_sigma": 0.5 * log_sigma}


def _densities(function: Callable) -> Measured:
    def of_logits(y, logits, mu, log_sigma):
        return function(y, logits.softmax(-1), mu, log_sigma.exp())

    return call(of_logits, _mixtures())


def _losses(function: Callable) -> Measured:
    def of_logits(y, logits, mu, log_sigma):
        return function(y, logits.log_softmax(-1), mu, log_sigma)

    inputs = _mixtures()
    far = call(of_logits, inputs | {"y": inputs["y"] + 100})["values"]
    finite = bool(torch.isfinite(far).all())
    return call(of_logits, inputs) | {
        "the loss of a target far from every component": "finite" if finite else "infinite",
        "losses of targets far from every component": far.nan_to_num(posinf=0),
    }


EXERCISES = (
    Exercise(
        mixture_density,
        _densities,
        hint="y[:, None] makes y (N, 1), so that y - mu is (N, K). The density of one Gaussian is "
        "exp(-((y - mu) / sigma)^2 / 2) / (sigma sqrt(2 pi)), and pi is torch.pi. Then the sum "
        "over the last axis, weighted with the mixture's pi.",
        mistakes=(
            _without_weights,
            _without_normalization,
            _without_sigma_in_front,
            _variance_for_width,
            _weights_for_the_number,
            _not_summed,
            _mean_over_parts,
        ),
    ),
    Exercise(
        mixture_nll,
        _losses,
        hint="The logarithm of one Gaussian's density is -((y - mu) / sigma)^2 / 2 - log sigma - "
        "log(2 pi) / 2. Add log_pi, and give the (N, K) sums to torch.logsumexp(..., dim=-1), "
        "which takes the logarithm of the sum of their exponentials.",
        mistakes=(
            _densities_summed,
            _density_and_a_little,
            _without_log_pi,
            _sigma_for_log_sigma,
            _divided_by_log_sigma,
            _without_log_sigma,
            _without_the_constant,
            _opposite_log_sigma,
            _whole_constant,
            _weights_times_logarithms,
            _mean_of_logarithms,
            _mean_over_components,
            _log_density,
            _mean_over_targets,
        ),
        package=_in_the_package,
    ),
)
