"""Chapter 0's and 1's build cells on V's loss and training, as readers would write them."""

import re

import pytest
import torch
from readers import assert_right, assert_wrong, written

from wmlib.view.build import loss

OPENING = "optimizer = torch.optim.Adam(network.parameters(), lr=learning_rate)\nlosses = []\n"

MISTAKES = {
    "a mean per image": (
        "def squared_error(images, targets):\n return ((images - targets) ** 2).mean((1, 2, 3))",
        "the sum is asked for",
    ),
    "the distance": (
        "def squared_error(images, targets):\n return abs(images - targets).sum((1, 2, 3))",
        "squared, not its absolute value",
    ),
    "one number": (
        "def squared_error(images, targets):\n return torch.sum((images - targets) ** 2)",
        "shape is (), expected (4,). One value per image",
    ),
    "rsample's plain sibling": (
        "def sample_latent(mu, logvar):\n"
        " return torch.distributions.Normal(mu, (logvar / 2).exp()).sample()",
        "no gradient reaches mu",
    ),
    "the variance": (
        "def sample_latent(mu, logvar):\n"
        " noise = torch.randn(mu.shape)\n"
        " return logvar.exp() * noise + mu",
        "its square root",
    ),
    "the wrong sign of the logarithm": (
        "def kl_divergence(mu, logvar):\n return (mu**2 + logvar.exp() - 1 + logvar) / 2",
        "difference in values",
    ),
    "summed": (
        "def kl_divergence(mu, logvar):\n"
        " return torch.sum((mu**2 + logvar.exp() - 1 - logvar) / 2, dim=-1)",
        "leave out the sum",
    ),
    "sigma": (
        "def kl_divergence(mu, logvar):\n"
        " sigma = (logvar / 2).exp()\n"
        " return (mu**2 + sigma - 1 - logvar) / 2",
        "sigma^2 is exp(logvar)",
    ),
    "mse_loss": (
        "def vae_loss(reconstructions, frames, mu, logvar, free_bits=0.5):\n"
        " error = torch.nn.functional.mse_loss(reconstructions, frames)\n"
        " kl = kl_divergence(mu, logvar).sum(1)\n"
        " return error + kl.clamp(min=free_bits * mu.shape[1]).mean()",
        "summed over the pixels",
    ),
    "the tolerance after the mean": (
        "def vae_loss(reconstructions, frames, mu, logvar, free_bits=0.5):\n"
        " error = ((reconstructions - frames) ** 2).sum() / len(frames)\n"
        " kl = kl_divergence(mu, logvar).sum() / len(mu)\n"
        " return error + max(kl, torch.tensor(free_bits * mu.shape[1]))",
        "take the maximum first",
    ),
    "the tolerance of each dimension": (
        "def vae_loss(reconstructions, frames, mu, logvar, free_bits=0.5):\n"
        " error = ((reconstructions - frames) ** 2).sum((1, 2, 3))\n"
        " kl = kl_divergence(mu, logvar).clamp(min=free_bits).sum(1)\n"
        " return (error + kl).mean()",
        "first the sum over the D dimensions",
    ),
    "a minimum": (
        "def vae_loss(reconstructions, frames, mu, logvar, free_bits=0.5):\n"
        " error = ((reconstructions - frames) ** 2).sum((1, 2, 3))\n"
        " kl = kl_divergence(mu, logvar).sum(1).clamp(max=free_bits * mu.shape[1])\n"
        " return (error + kl).mean()",
        "clamp(max=...) is their minimum",
    ),
    "a loss per frame": (
        "def vae_loss(reconstructions, frames, mu, logvar, free_bits=0.5):\n"
        " error = ((reconstructions - frames) ** 2).sum((1, 2, 3))\n"
        " return error + kl_divergence(mu, logvar).sum(1).clamp(min=free_bits * mu.shape[1])",
        "take the mean over the batch",
    ),
    "a tolerance of half a nat, always": (
        "def vae_loss(reconstructions, frames, mu, logvar, free_bits=0.5):\n"
        " error = ((reconstructions - frames) ** 2).sum((1, 2, 3))\n"
        " return (error + kl_divergence(mu, logvar).sum(1).clamp(min=0.5 * mu.shape[1])).mean()",
        "`free_bits` is not used",
    ),
    "rand for randn": (
        "def sample_latent(mu, logvar):\n return mu + (logvar / 2).exp() * torch.rand_like(mu)",
        "The noise is Gaussian",
    ),
    "the noise alone": (
        "def sample_latent(mu, logvar):\n return (logvar / 2).exp() * torch.randn_like(mu)",
        "add mu",
    ),
    "the root": (
        "def squared_error(images, targets):\n return (images - targets).flatten(1).norm(dim=1)",
        "Leave out the square root",
    ),
    "the loss after the step": (
        "def train(network, loss, batches, learning_rate=1e-3):\n "
        + OPENING.replace("\n", "\n ")
        + "for batch in batches:\n"
        "  value = loss(network, batch)\n"
        "  optimizer.zero_grad()\n"
        "  value.backward()\n"
        "  optimizer.step()\n"
        "  losses.append(loss(network, batch).item())\n"
        " return losses",
        "from before the step",
    ),
    "the plain ELBO": (
        "def vae_loss(reconstructions, frames, mu, logvar, free_bits=0.5):\n"
        " error = ((reconstructions - frames) ** 2).sum()\n"
        " return (error + kl_divergence(mu, logvar).sum()) / len(frames)",
        "The KL tolerance is missing",
    ),
    "gradients that add up": (
        "def train(network, loss, batches, learning_rate=1e-3):\n "
        + OPENING.replace("\n", "\n ")
        + "for batch in batches:\n"
        "  value = loss(network, batch)\n"
        "  value.backward()\n"
        "  optimizer.step()\n"
        "  losses.append(value.item())\n"
        " return losses",
        "call optimizer.zero_grad() before it",
    ),
    "zero_grad after backward": (
        "def train(network, loss, batches, learning_rate=1e-3):\n "
        + OPENING.replace("\n", "\n ")
        + "for batch in batches:\n"
        "  value = loss(network, batch)\n"
        "  value.backward()\n"
        "  for p in network.parameters(): p.grad.zero_()\n"
        "  optimizer.step()\n"
        "  losses.append(value.item())\n"
        " return losses",
        "The weights are as they were",
    ),
    "tensors": (
        "def train(network, loss, batches, learning_rate=1e-3):\n "
        + OPENING.replace("\n", "\n ")
        + "for batch in batches:\n"
        "  value = loss(network, batch)\n"
        "  optimizer.zero_grad()\n"
        "  value.backward()\n"
        "  optimizer.step()\n"
        "  losses.append(value)\n"
        " return losses",
        "Keep value.item()",
    ),
    "an optimizer in the loop": (
        "def train(network, loss, batches, learning_rate=1e-3):\n"
        " losses = []\n"
        " for batch in batches:\n"
        "  optimizer = torch.optim.Adam(network.parameters(), learning_rate)\n"
        "  optimizer.zero_grad()\n"
        "  value = loss(network, batch)\n"
        "  value.backward()\n"
        "  optimizer.step()\n"
        "  losses.append(value.item())\n"
        " return losses",
        "Make the optimizer once",
    ),
    "no return": (
        "def train(network, loss, batches, learning_rate=1e-3):\n"
        " for batch in batches:\n"
        "  loss(network, batch).backward()",
        "is there a return?",
    ),
}

RIGHT = {
    "the other order of the noise": (
        "def sample_latent(mu, logvar):\n"
        " return torch.distributions.Normal(mu, (logvar / 2).exp()).rsample()"
    ),
    "torch.maximum": (
        "def vae_loss(reconstructions, frames, mu, logvar, free_bits=0.5):\n"
        " error = ((frames - reconstructions) ** 2).sum(dim=(1, 2, 3))\n"
        " kl = kl_divergence(mu, logvar).sum(dim=1)\n"
        " floor = torch.full_like(kl, free_bits * mu.size(1))\n"
        " return torch.mean(error + torch.maximum(kl, floor))"
    ),
    "zero_grad at the end": (
        "def train(network, loss, batches, learning_rate=1e-3):\n "
        + OPENING.replace("\n", "\n ")
        + "for batch in batches:\n"
        "  value = loss(network, batch)\n"
        "  value.backward()\n"
        "  optimizer.step()\n"
        "  optimizer.zero_grad()\n"
        "  losses += [value.detach().item()]\n"
        " return losses"
    ),
}


def cell(source):
    """The function of a cell: the first one that is defined in it."""
    name = re.search(r"def (\w+)\(", source).group(1)
    return written(source, name, kl_divergence=loss.kl_divergence)


@pytest.mark.parametrize("case", MISTAKES)
def test_what_a_reader_gets_wrong_is_named(case, capsys):
    source, said = MISTAKES[case]
    assert_wrong(cell(source), said, capsys)


@pytest.mark.parametrize("case", RIGHT)
def test_other_ways_to_write_it_are_right(case, capsys):
    assert_right(cell(RIGHT[case]), capsys)


def test_training_a_line_finds_it():
    """The loop itself, beside what the checker compares."""
    torch.manual_seed(0)
    network = torch.nn.Linear(1, 1)
    x = torch.linspace(-1, 1, 20)[:, None]
    losses = loss.train(
        network, lambda f, b: (f(b) - 3 * b).square().mean(), (x for _ in range(500)), 0.05
    )
    assert len(losses) == 500
    assert losses[-1] < 1e-3 < losses[0]
    assert network.weight.item() == pytest.approx(3, abs=0.05)
