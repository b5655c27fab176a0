"""Chapter 1's build cells on mixtures, as readers would write them."""

import math

import pytest
import torch
from readers import assert_right, assert_wrong, written
from torch.distributions import Categorical, MixtureSameFamily, Normal

from wmlib.view.build import mixture

DENSITY = "def mixture_density(y, pi, mu, sigma):\n "
NLL = "def mixture_nll(y, log_pi, mu, log_sigma):\n "
LOG_NORMAL = "Normal(mu, log_sigma.exp()).log_prob(y[:, None])"

MISTAKES = {
    "no weights": (
        DENSITY + "return Normal(mu, sigma).log_prob(y[:, None]).exp().sum(-1)",
        "The weights pi are missing",
    ),
    "a variance": (
        DENSITY + "return (pi * torch.exp(-(y[:, None] - mu) ** 2 / (2 * sigma))"
        " / (sigma * math.sqrt(2 * math.pi))).sum(1)",
        "divided by sigma before it is squared",
    ),
    "no constant": (
        DENSITY + "d = (y[:, None] - mu) / sigma\n return (pi * torch.exp(-d * d / 2)).sum(-1)",
        "does not integrate to 1",
    ),
    "a mean": (
        DENSITY + "return (pi * Normal(mu, sigma).log_prob(y[:, None]).exp()).mean(-1)",
        "not their mean",
    ),
    "y without its axis": (
        DENSITY + "return (pi * Normal(mu, sigma).log_prob(y).exp()).sum(-1)",
        "it raised",
    ),
    "pi for the number": (
        DENSITY + "d = (y[:, None] - mu) / sigma\n"
        " return (pi * torch.exp(-d * d / 2) / (sigma * (2 * pi) ** 0.5)).sum(-1)",
        "the number 3.14... is torch.pi",
    ),
    "no sum": (
        DENSITY + "return pi * Normal(mu, sigma).log_prob(y[:, None]).exp()",
        "sum over the K components",
    ),
    "weights times logarithms": (
        NLL + f"return -torch.logsumexp(log_pi.exp() * {LOG_NORMAL}, -1)",
        "add log_pi to the log density",
    ),
    "plus log sigma": (
        NLL + f"return -torch.logsumexp(log_pi + {LOG_NORMAL} + 2 * log_sigma, -1)",
        "log_sigma has the wrong sign",
    ),
    "the whole constant": (
        NLL + f"return -torch.logsumexp(log_pi + {LOG_NORMAL} - math.log(2 * math.pi) / 2, -1)",
        "half of log(2 pi)",
    ),
    "densities": (
        NLL + f"return -torch.log((log_pi.exp() * {LOG_NORMAL}.exp()).sum(-1))",
        "stay in logarithms",
    ),
    "a small number": (
        NLL + f"return -torch.log((log_pi.exp() * {LOG_NORMAL}.exp()).sum(-1) + 1e-8)",
        "A small number inside the logarithm",
    ),
    "no weights in the loss": (
        NLL + f"return -torch.logsumexp({LOG_NORMAL}, -1)",
        "The weights are missing: add log_pi",
    ),
    "log sigma as sigma": (
        NLL + "d = (y[:, None] - mu) / log_sigma\n"
        " log_normal = -d ** 2 / 2 - log_sigma - math.log(2 * math.pi) / 2\n"
        " return -torch.logsumexp(log_pi + log_normal, -1)",
        "divide by sigma",
    ),
    "no log sigma": (
        NLL + "d = (y[:, None] - mu) / log_sigma.exp()\n"
        " return -torch.logsumexp(log_pi - d ** 2 / 2 - math.log(2 * math.pi) / 2, -1)",
        "The logarithm of 1 / sigma is missing",
    ),
    "weights as they are": (
        NLL + f"return -torch.logsumexp(log_pi.exp() + {LOG_NORMAL}, -1)",
        "difference in values",
    ),
    "a sum of logarithms": (
        NLL + f"return -(log_pi + {LOG_NORMAL}).sum(-1)",
        "not the sum of the logarithms",
    ),
    "a mean over targets": (
        NLL + f"return -torch.logsumexp(log_pi + {LOG_NORMAL}, -1).mean()",
        "One value per target",
    ),
}

RIGHT = {
    "torch's own Gaussian": DENSITY
    + "return (pi * Normal(mu, sigma).log_prob(y.unsqueeze(-1)).exp()).sum(-1)",
    "torch's own mixture": NLL
    + "return -MixtureSameFamily(Categorical(logits=log_pi), Normal(mu, log_sigma.exp()))"
    ".log_prob(y)",
    "the largest term by hand": NLL + f"terms = log_pi + {LOG_NORMAL}\n"
    " top = terms.max(-1, keepdim=True).values\n"
    " return -(top[:, 0] + (terms - top).exp().sum(-1).log())",
}


def cell(source):
    """The function of a cell; torch's distributions are there, as a reader may import them."""
    tools = {"Categorical": Categorical, "MixtureSameFamily": MixtureSameFamily, "Normal": Normal}
    name = "mixture_density" if source.startswith(DENSITY) else "mixture_nll"
    return written(source, name, math=math, **tools)


@pytest.mark.parametrize("case", MISTAKES)
def test_what_a_reader_gets_wrong_is_named(case, capsys):
    source, said = MISTAKES[case]
    assert_wrong(cell(source), said, capsys)


@pytest.mark.parametrize("case", RIGHT)
def test_other_ways_to_write_it_are_right(case, capsys):
    assert_right(cell(RIGHT[case]), capsys)


def test_the_density_integrates_to_one_and_is_the_exponential_of_the_loss():
    y = torch.linspace(-10, 10, 20_001)
    pi, mu, sigma = torch.tensor([[0.2, 0.8], [-1.0, 2.0], [0.3, 1.0]]).unsqueeze(1)
    rows = [part.expand(len(y), 2) for part in (pi, mu, sigma)]
    density = mixture.mixture_density(y, *rows)
    assert density.sum().item() * 0.001 == pytest.approx(1, abs=1e-3)
    log_pi, log_sigma = rows[0].log(), rows[2].log()
    nll = mixture.mixture_nll(y, log_pi, rows[1], log_sigma)
    torch.testing.assert_close(density, torch.exp(-nll))
