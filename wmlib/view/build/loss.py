"""Chapter 1, V's loss: reparameterization, KL divergence, the loss itself, a training loop.

Each exercise is a solution, how it is measured, and functions with typical mistakes, whose
docstrings are printed for the reader.
"""

from collections.abc import Callable

import torch

from wmlib.models import vae
from wmlib.view.build.exercise import Exercise, Measured, call


def sample_latent(mu, logvar):
    """A sample z of N(mu, exp(logvar)), through which gradients flow: (B, D), (B, D) -> (B, D)."""
    return mu + torch.exp(0.5 * logvar) * torch.randn_like(mu)


def _not_differentiable(mu, logvar):
    """This draws the right z, but no gradient flows through torch.normal or the `sample` of a
    distribution: write z = mu + sigma * noise."""
    return torch.normal(mu, torch.exp(0.5 * logvar))


def _variance_for_sigma(mu, logvar):
    """exp(logvar) is the variance; the noise is multiplied by sigma, its square root: exp(logvar /
    2)."""
    return mu + torch.exp(logvar) * torch.randn_like(mu)


def _log_for_sigma(mu, logvar):
    """logvar is a logarithm: sigma is exp(logvar / 2)."""
    return mu + logvar * torch.randn_like(mu)


def kl_divergence(mu, logvar):
    """KL( N(mu, exp(logvar)) || N(0, 1) ) in nats, elementwise: (B, D), (B, D) -> (B, D)."""
    return 0.5 * (mu**2 + logvar.exp() - 1 - logvar)


def _summed(mu, logvar):
    """One value per entry is asked for: leave out the sum over dimensions."""
    return kl_divergence(mu, logvar).sum(-1)


def _without_the_half(mu, logvar):
    """The factor 1/2 is missing."""
    return mu**2 + logvar.exp() - 1 - logvar


def _sigma_for_variance(mu, logvar):
    """sigma^2 is exp(logvar), not exp(logvar / 2)."""
    return 0.5 * (mu**2 + torch.exp(0.5 * logvar) - 1 - logvar)


def _opposite_sign(mu, logvar):
    """It has the opposite sign: a KL divergence is never negative."""
    return -kl_divergence(mu, logvar)


def _posteriors(function: Callable) -> Measured:
    mu, logvar = torch.randn(2, 4, 3, generator=torch.Generator().manual_seed(1))
    return call(function, {"mu": mu, "logvar": logvar})


EXERCISES = (
    Exercise(
        sample_latent,
        _posteriors,
        hint="z = mu + sigma * noise. The noise comes from torch.randn_like(mu); sigma is the "
        "square root of the variance exp(logvar), which is exp(logvar / 2).",
        mistakes=(_not_differentiable, _variance_for_sigma, _log_for_sigma),
        package=vae.sample_latent,
    ),
    Exercise(
        kl_divergence,
        _posteriors,
        hint="For one dimension: (mu^2 + sigma^2 - 1 - log sigma^2) / 2, with sigma^2 = "
        "exp(logvar), so that log sigma^2 is logvar itself. No sum: one value per entry.",
        mistakes=(_summed, _without_the_half, _sigma_for_variance, _opposite_sign),
        package=vae.kl_per_dimension,
    ),
)
