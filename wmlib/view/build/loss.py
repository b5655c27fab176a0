"""Chapter 0, the squared error. Chapter 1, V's loss: reparameterization, KL divergence, training.

Each exercise is a solution, how it is measured, and functions with typical mistakes, whose
docstrings are printed for the reader.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from wmlib.models import vae
from wmlib.view.build.exercise import Exercise, Measured, call


def squared_error(images, targets):
    """Squared error summed over channels and pixels, per image: (B, 3, S, S) twice -> (B,)."""
    return (images - targets).square().flatten(1).sum(1)


def _mean_of_squares(images, targets):
    """This is the mean over the pixels: the sum is asked for."""
    return (images - targets).square().flatten(1).mean(1)


def _absolute_error(images, targets):
    """The difference is squared, not its absolute value."""
    return (images - targets).abs().flatten(1).sum(1)


def _distance(images, targets):
    """Leave out the square root: the squared error is asked for."""
    return squared_error(images, targets).sqrt()


def _summed_over_images(images, targets):
    """One value per image is asked for: flatten(1) keeps the first axis, and sum(1) sums the
    rest."""
    return (images - targets).square().sum()


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


def _uniform_noise(mu, logvar):
    """The noise is Gaussian: torch.randn_like. torch.rand_like draws uniform numbers in 0..1."""
    return mu + torch.exp(0.5 * logvar) * torch.rand_like(mu)


def _without_mu(mu, logvar):
    """The mean is missing: add mu."""
    return torch.exp(0.5 * logvar) * torch.randn_like(mu)


def kl_divergence(mu, logvar):
    """KL( N(mu, exp(logvar)) || N(0, 1) ) in nats, elementwise: (B, D), (B, D) -> (B, D)."""
    return 0.5 * (mu**2 + logvar.exp() - 1 - logvar)


def _summed(mu, logvar):
    """One value per entry is asked for: leave out the sum over dimensions."""
    return kl_divergence(mu, logvar).sum(-1)


def _averaged(mu, logvar):
    """One value per entry is asked for: leave out the mean."""
    return kl_divergence(mu, logvar).mean(-1)


def _without_the_half(mu, logvar):
    """The factor 1/2 is missing."""
    return mu**2 + logvar.exp() - 1 - logvar


def _sigma_for_variance(mu, logvar):
    """sigma^2 is exp(logvar), not exp(logvar / 2)."""
    return 0.5 * (mu**2 + torch.exp(0.5 * logvar) - 1 - logvar)


def _opposite_sign(mu, logvar):
    """It has the opposite sign: a KL divergence is never negative."""
    return -kl_divergence(mu, logvar)


def vae_loss(reconstructions, frames, mu, logvar, free_bits=0.5):
    """Squared error summed over pixels + max(KL, free_bits * D), averaged over the batch: a scalar.

    reconstructions, frames (B, 3, S, S); mu, logvar (B, D); free_bits: nats per dimension.
    """
    squared_error = (reconstructions - frames).square().flatten(1).sum(1)
    kl = kl_divergence(mu, logvar).sum(1)
    return (squared_error + kl.clamp(min=free_bits * mu.shape[1])).mean()


def _total(reconstructions, frames, mu, logvar, free_bits=0.5):
    # The package's loss also returns its two parts.
    return vae.vae_loss(reconstructions, frames, mu, logvar, free_bits).total


def _mean_over_pixels(reconstructions, frames, mu, logvar, free_bits=0.5):
    """The squared error is summed over the pixels of a frame: with their mean it is too small for
    the KL divergence beside it."""
    squared_error = (reconstructions - frames).square().flatten(1).mean(1)
    kl = kl_divergence(mu, logvar).sum(1)
    return (squared_error + kl.clamp(min=free_bits * mu.shape[1])).mean()


def _summed_over_the_batch(reconstructions, frames, mu, logvar, free_bits=0.5):
    """This is the sum over the batch: average over it, so that the loss does not grow with B."""
    return vae_loss(reconstructions, frames, mu, logvar, free_bits) * len(mu)


def _kl_averaged_over_dimensions(reconstructions, frames, mu, logvar, free_bits=0.5):
    """The KL divergence of a frame is the sum over its latent dimensions, not their mean."""
    squared_error = (reconstructions - frames).square().flatten(1).sum(1)
    kl = kl_divergence(mu, logvar).mean(1)
    return (squared_error + kl.clamp(min=free_bits * mu.shape[1])).mean()


def _without_tolerance(reconstructions, frames, mu, logvar, free_bits=0.5):
    """The KL tolerance is missing: where the KL divergence of a frame is below free_bits * D, the
    loss has free_bits * D in its place."""
    return vae_loss(reconstructions, frames, mu, logvar, free_bits=0)


def _tolerance_of_one_dimension(reconstructions, frames, mu, logvar, free_bits=0.5):
    """The tolerance of a frame is free_bits for each latent dimension: free_bits * D."""
    return vae_loss(reconstructions, frames, mu, logvar, free_bits / mu.shape[1])


def _tolerance_of_each_dimension(reconstructions, frames, mu, logvar, free_bits=0.5):
    """The tolerance is applied to a frame's KL divergence: first the sum over the D dimensions,
    then the maximum."""
    squared_error = (reconstructions - frames).square().flatten(1).sum(1)
    return (squared_error + kl_divergence(mu, logvar).clamp(min=free_bits).sum(1)).mean()


def _minimum_for_maximum(reconstructions, frames, mu, logvar, free_bits=0.5):
    """The maximum of the KL divergence and the tolerance is clamp(min=...); clamp(max=...) is their
    minimum."""
    squared_error = (reconstructions - frames).square().flatten(1).sum(1)
    kl = kl_divergence(mu, logvar).sum(1)
    return (squared_error + kl.clamp(max=free_bits * mu.shape[1])).mean()


def _one_loss_per_frame(reconstructions, frames, mu, logvar, free_bits=0.5):
    """This is one loss per frame: take the mean over the batch."""
    squared_error = (reconstructions - frames).square().flatten(1).sum(1)
    return squared_error + kl_divergence(mu, logvar).sum(1).clamp(min=free_bits * mu.shape[1])


def _fixed_tolerance(reconstructions, frames, mu, logvar, free_bits=0.5):
    """The argument `free_bits` is not used."""
    return vae_loss(reconstructions, frames, mu, logvar)


def _tolerance_for_the_batch(reconstructions, frames, mu, logvar, free_bits=0.5):
    """The tolerance holds for each frame: take the maximum first, and the mean over the batch
    last."""
    squared_error = (reconstructions - frames).square().flatten(1).sum(1).mean()
    kl = kl_divergence(mu, logvar).sum(1).mean()
    return squared_error + kl.clamp(min=free_bits * mu.shape[1])


def train(network, loss, batches, learning_rate=1e-3):
    """Minimize loss(network, batch), a scalar tensor, with Adam: one step per batch, in order.

    Returns the list of losses, a float per step, each from before its step.
    """
    optimizer = torch.optim.Adam(network.parameters(), lr=learning_rate)
    losses = []
    for batch in batches:
        value = loss(network, batch)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        losses.append(value.item())
    return losses


def _without_zero_grad(network, loss, batches, learning_rate=1e-3):
    """backward adds to the gradients that are there: call optimizer.zero_grad() before it."""
    optimizer = torch.optim.Adam(network.parameters(), lr=learning_rate)
    losses = []
    for batch in batches:
        value = loss(network, batch)
        value.backward()
        optimizer.step()
        losses.append(value.item())
    return losses


def _nothing_learned(network, loss, batches, learning_rate=1e-3):
    """The weights are as they were. backward computes the gradients and optimizer.step() changes
    the weights; zero_grad between the two sets the gradients back to zero."""
    return [loss(network, batch).item() for batch in batches]


def _loss_with_its_graph(network, loss, batches, learning_rate=1e-3):
    """Keep value.item(): the tensor keeps the graph of its step, and memory grows with every
    step."""
    losses = train(network, loss, batches, learning_rate)
    return [torch.tensor(value) for value in losses]


def _loss_after_the_step(network, loss, batches, learning_rate=1e-3):
    """The loss of a step is from before the step: compute it once, and keep that value."""
    optimizer = torch.optim.Adam(network.parameters(), lr=learning_rate)
    losses = []
    for batch in batches:
        optimizer.zero_grad()
        loss(network, batch).backward()
        optimizer.step()
        losses.append(loss(network, batch).item())
    return losses


def _last_loss_alone(network, loss, batches, learning_rate=1e-3):
    """Return the list of all losses, not the last one."""
    return train(network, loss, batches, learning_rate)[-1]


def _a_fresh_optimizer_per_step(network, loss, batches, learning_rate=1e-3):
    """Make the optimizer once, before the loop: a new one has forgotten Adam's averages."""
    return [train(network, loss, [batch], learning_rate)[0] for batch in batches]


def _default_learning_rate(network, loss, batches, learning_rate=1e-3):
    """Give the learning rate to Adam: lr=learning_rate."""
    return train(network, loss, batches)


def _gradient_descent(network, loss, batches, learning_rate=1e-3):
    """The optimizer is torch.optim.Adam, not plain gradient descent (SGD)."""
    optimizer = torch.optim.SGD(network.parameters(), lr=learning_rate)
    losses = []
    for batch in batches:
        value = loss(network, batch)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        losses.append(value.item())
    return losses


def _two_images(function: Callable) -> Measured:
    images, targets = torch.rand(2, 4, 3, 5, 5, generator=torch.Generator().manual_seed(1))
    return call(function, {"images": images, "targets": targets})


def _posteriors(function: Callable) -> Measured:
    mu, logvar = torch.randn(2, 4, 3, generator=torch.Generator().manual_seed(1))
    return call(function, {"mu": mu, "logvar": logvar})


def _frames_and_posteriors(function: Callable) -> Measured:
    generator = torch.Generator().manual_seed(1)
    reconstructions, frames = torch.rand(2, 8, 3, 2, 2, generator=generator)
    scale = torch.full((8, 1), 0.1)
    scale[0] = 1.5  # only the first two frames have a KL divergence above the tolerance,
    mu, logvar = scale * torch.randn(2, 8, 3, generator=generator)
    mu[1] = torch.tensor([2.0, 0.1, 0.0])  # and the second one has it in a single dimension
    inputs = {"reconstructions": reconstructions, "frames": frames, "mu": mu, "logvar": logvar}
    return call(function, inputs | {"free_bits": 0.6})


def _line_fitted(function: Callable) -> Measured:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(6, 8, 3, generator=generator)
    batches = [(part, part.sum(1, keepdim=True)) for part in x]
    torch.manual_seed(0)
    network = nn.Linear(3, 1)

    def squared_error(network: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        inputs, targets = batch
        return (network(inputs) - targets).square().mean()

    losses = function(network, squared_error, iter(batches), 0.05)
    if losses is None:
        raise TypeError("it returned None, where a list is expected: is there a return?")
    listed = losses if isinstance(losses, list) else [losses]
    return {
        "what it returns": f"a {type(losses).__name__} of {len(listed)}",
        "the type of a loss": type(listed[0]).__name__,
        "losses": torch.tensor([float(torch.as_tensor(value).detach()) for value in listed]),
        "the network's weights": network.weight.detach().clone(),
    }


EXERCISES = (
    Exercise(
        squared_error,
        _two_images,
        hint="Subtract, square, flatten(1) to (B, 3 S S), sum(1).",
        mistakes=(_mean_of_squares, _absolute_error, _distance, _summed_over_images),
    ),
    Exercise(
        sample_latent,
        _posteriors,
        hint="z = mu + sigma * noise. The noise comes from torch.randn_like(mu); sigma is the "
        "square root of the variance exp(logvar), which is exp(logvar / 2).",
        mistakes=(
            _not_differentiable,
            _variance_for_sigma,
            _log_for_sigma,
            _uniform_noise,
            _without_mu,
        ),
        package=vae.sample_latent,
    ),
    Exercise(
        kl_divergence,
        _posteriors,
        hint="For one dimension: (mu^2 + sigma^2 - 1 - log sigma^2) / 2, with sigma^2 = "
        "exp(logvar), so that log sigma^2 is logvar itself. No sum: one value per entry.",
        mistakes=(_summed, _averaged, _without_the_half, _sigma_for_variance, _opposite_sign),
        package=vae.kl_per_dimension,
    ),
    Exercise(
        vae_loss,
        _frames_and_posteriors,
        hint="Two numbers per frame, (B,) each, then one mean. The squared error: subtract, "
        "square, flatten(1), sum(1). The KL divergence: your kl_divergence, summed over the D "
        "dimensions, then .clamp(min=...) for the maximum.",
        mistakes=(
            _mean_over_pixels,
            _summed_over_the_batch,
            _kl_averaged_over_dimensions,
            _without_tolerance,
            _tolerance_of_one_dimension,
            _tolerance_of_each_dimension,
            _minimum_for_maximum,
            _one_loss_per_frame,
            _fixed_tolerance,
            _tolerance_for_the_batch,
        ),
        package=_total,
    ),
    Exercise(
        train,
        _line_fitted,
        hint="Before the loop: torch.optim.Adam(network.parameters(), lr=...) and an empty list. "
        "For each batch: the loss, zero_grad, backward, step, and .item() of the loss into the "
        "list.",
        mistakes=(
            _without_zero_grad,
            _nothing_learned,
            _loss_with_its_graph,
            _loss_after_the_step,
            _last_loss_alone,
            _a_fresh_optimizer_per_step,
            _default_learning_rate,
            _gradient_descent,
        ),
    ),
)
