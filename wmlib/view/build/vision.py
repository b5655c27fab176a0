"""Chapter 2: V's encoder and decoder, interpolation in z, active dimensions.

Networks are compared layer by layer: the kind of each layer and the shape after it, then the number
of parameters, then the outputs for the same weights.
"""

import math
from collections.abc import Callable

import torch
from torch import nn

from wmlib.models.vae import kl_per_dimension
from wmlib.view.build.exercise import Exercise, Measured, call


def build_encoder(width=32):
    """The encoder: frames (B, 3, 64, 64) -> features (B, 32 * width), as an nn.Sequential.

    Its four convolutions have width, 2 * width, 4 * width and 8 * width output channels.
    """
    return nn.Sequential(
        nn.Conv2d(3, width, 4, stride=2),
        nn.ReLU(),
        nn.Conv2d(width, 2 * width, 4, stride=2),
        nn.ReLU(),
        nn.Conv2d(2 * width, 4 * width, 4, stride=2),
        nn.ReLU(),
        nn.Conv2d(4 * width, 8 * width, 4, stride=2),
        nn.ReLU(),
        nn.Flatten(),
    )


def _convolutions(width, kernel=4, stride=2, padding=0, relus=4):
    # The encoder with other settings; a ReLU after the first `relus` convolutions.
    channels = [3, width, 2 * width, 4 * width, 8 * width]
    layers: list[nn.Module] = []
    for k in range(4):
        layers.append(nn.Conv2d(channels[k], channels[k + 1], kernel, stride, padding))
        layers += [nn.ReLU()] if k < relus else []
    return nn.Sequential(*layers, nn.Flatten())


def _kernel_of_three(width=32):
    """The kernel is 4 x 4: kernels of 3 give 64, 31, 15, 7, 3."""
    return _convolutions(width, kernel=3)


def _stride_of_one(width=32):
    """A convolution's stride is 1 unless you say stride=2, so the grid does not become smaller."""
    return _convolutions(width, stride=1)


def _padded(width=32):
    """The paper's convolutions have no padding: leave it at 0, and 64 becomes 31, 14, 6, 2."""
    return _convolutions(width, padding=1)


def _no_relu(width=32):
    """A ReLU is needed after every convolution: several linear maps in a row are one linear map."""
    return _convolutions(width, relus=0)


def _no_last_relu(width=32):
    """The last convolution has a ReLU too: mu and logvar get their own linear layers after it."""
    return _convolutions(width, relus=3)


def _not_flattened(width=32):
    """An nn.Flatten() at the end is missing: linear layers need vectors, not a grid."""
    return _convolutions(width)[:-1]


def _fixed_encoder_width(width=32):
    """The argument `width` is not used."""
    return _convolutions(32)


def build_decoder(z_size=32, width=32):
    """The decoder: z (B, z_size) -> frames (B, 3, 64, 64) in 0..1, as an nn.Sequential.

    Its first three transposed convolutions have 4 * width, 2 * width and width output channels.
    """
    return nn.Sequential(
        nn.Linear(z_size, 32 * width),
        nn.Unflatten(1, (32 * width, 1, 1)),
        nn.ConvTranspose2d(32 * width, 4 * width, 5, stride=2),
        nn.ReLU(),
        nn.ConvTranspose2d(4 * width, 2 * width, 5, stride=2),
        nn.ReLU(),
        nn.ConvTranspose2d(2 * width, width, 6, stride=2),
        nn.ReLU(),
        nn.ConvTranspose2d(width, 3, 6, stride=2),
        nn.Sigmoid(),
    )


def _transposed(
    z_size, width, kernels=(5, 5, 6, 6), start=None, relu=True, last=nn.Sigmoid, stride=2
):
    # The decoder with other settings; start: of the first grid, (channels, height, width).
    start = start or (32 * width, 1, 1)
    channels = [start[0], 4 * width, 2 * width, width, 3]
    layers: list[nn.Module] = [nn.Linear(z_size, math.prod(start)), nn.Unflatten(1, start)]
    for k, kernel in enumerate(kernels):
        layers.append(nn.ConvTranspose2d(channels[k], channels[k + 1], kernel, stride))
        activation = last if k == 3 else nn.ReLU if relu else None
        layers += [activation()] if activation else []
    return nn.Sequential(*layers)


def _relu_after_linear(z_size=32, width=32):
    """The paper's decoder has no activation between the linear layer and nn.Unflatten (some
    reimplementations have a ReLU there)."""
    linear, *others = _transposed(z_size, width)
    return nn.Sequential(linear, nn.ReLU(), *others)


def _no_sigmoid(z_size=32, width=32):
    """The sigmoid at the end is missing: without it, pixels leave the range 0..1."""
    return _transposed(z_size, width, last=None)


def _relu_at_the_end(z_size=32, width=32):
    """At the end stands a sigmoid, not a ReLU: a pixel lies between 0 and 1."""
    return _transposed(z_size, width, last=nn.ReLU)


def _decoder_without_relu(z_size=32, width=32):
    """A ReLU is needed after each of the first three transposed convolutions."""
    return _transposed(z_size, width, relu=False)


def _decoder_stride_of_one(z_size=32, width=32):
    """A transposed convolution's stride is 1 unless you say stride=2: without it the grid grows by
    only k - 1 pixels."""
    return _transposed(z_size, width, stride=1)


def _equal_kernels(z_size=32, width=32):
    """The kernels are 5, 5, 6, 6: with four of 5, the frame has 61 pixels, not 64."""
    return _transposed(z_size, width, kernels=(5, 5, 5, 5))


def _mirrored_kernels(z_size=32, width=32):
    """The kernels are 5, 5, 6, 6, in this order: a mirror image of the encoder's four of 4 gives
    1, 4, 10, 22, 46."""
    return _transposed(z_size, width, kernels=(4, 4, 4, 4))


def _starts_from_a_grid(z_size=32, width=32):
    """The decoder starts from one pixel of 32 * width channels, nn.Unflatten(1, (32 * width, 1,
    1)), and not from the encoder's 2 x 2 grid."""
    return _transposed(z_size, width, start=(8 * width, 2, 2))


def _fixed_decoder_width(z_size=32, width=32):
    """The argument `width` is not used."""
    return _transposed(z_size, 32)


def interpolate(start, end, steps):
    """Points on a straight line, both ends included: (D,), (D,), a number -> (steps, D)."""
    share = torch.linspace(0, 1, steps)[:, None]
    return (1 - share) * start + share * end


def _from_end_to_start(start, end, steps):
    """The order is reversed: the first point is `start`."""
    return interpolate(end, start, steps)


def _without_the_end(start, end, steps):
    """The last point is missing: torch.linspace(0, 1, steps) includes both ends,
    torch.arange(steps) / steps does not reach 1."""
    share = (torch.arange(steps) / steps)[:, None]
    return (1 - share) * start + share * end


def _one_share(start, end, steps):
    """The difference is scaled, but `start` is not added."""
    return torch.linspace(0, 1, steps)[:, None] * (end - start)


def active_dimensions(mu, logvar, threshold=0.1):
    """The dimensions whose KL, averaged over frames, is above `threshold` nats, largest first.

    mu, logvar: (N, D), of N frames. Returns their indices, (k,) int64.
    """
    kl = kl_per_dimension(mu, logvar).mean(0)
    order = kl.argsort(descending=True)
    return order[kl[order] > threshold]


def _summed_over_frames(mu, logvar, threshold=0.1):
    """The KL is averaged over frames, .mean(0), not summed: a sum grows with the number of
    frames."""
    return active_dimensions(mu, logvar, threshold / len(mu))


def _smallest_first(mu, logvar, threshold=0.1):
    """The largest KL comes first: argsort(descending=True)."""
    return active_dimensions(mu, logvar, threshold).flip(0)


def _in_order_of_index(mu, logvar, threshold=0.1):
    """The indices are in the order of the dimensions; the largest KL comes first."""
    return active_dimensions(mu, logvar, threshold).sort().values


def _order_not_applied(mu, logvar, threshold=0.1):
    """The comparison is in the order of the dimensions and the indices are sorted: compare
    kl[order] with the threshold."""
    kl = kl_per_dimension(mu, logvar).mean(0)
    return kl.argsort(descending=True)[kl > threshold]


def _their_kl(mu, logvar, threshold=0.1):
    """These are the KLs; their dimensions are asked for: argsort instead of sort."""
    kl = kl_per_dimension(mu, logvar).mean(0).sort(descending=True).values
    return kl[kl > threshold]


def _variance_of_mu(mu, logvar, threshold=0.1):
    """This compares the variance of mu with the threshold, another criterion (Burda et al., 2015):
    here it is the mean KL."""
    variance = mu.var(0)
    order = variance.argsort(descending=True)
    return order[variance[order] > threshold]


def _fixed_threshold(mu, logvar, threshold=0.1):
    """The argument `threshold` is not used."""
    return active_dimensions(mu, logvar)


@torch.no_grad()
def _layers(network: nn.Module, inputs: torch.Tensor) -> Measured:
    # Kind of each layer and the shape after it. Blocks inside the network are opened.
    if not isinstance(network, nn.Module):
        raise TypeError(f"it returned a {type(network).__name__}, expected an nn.Sequential")
    measured: Measured = {}
    layers = [m for m in network.modules() if not list(m.children())]
    for number, layer in enumerate(layers, 1):
        name = type(layer).__name__
        try:
            inputs = layer(inputs)
        except RuntimeError as error:  # the layer before may be the wrong one: it is compared first
            return measured | {f"layer {number}": f"{name}, which raised {error}"}
        shape = ", ".join(["B", *map(str, inputs.shape[1:])])
        measured[f"layer {number}"] = f"{name} -> ({shape})"
    return measured | {"the number of layers": len(layers)}


@torch.no_grad()
def _outputs(network: nn.Module, inputs: torch.Tensor) -> Measured:
    # With weights that depend on their shapes alone.
    generator = torch.Generator().manual_seed(0)
    count = 0
    for weights in network.parameters():
        scale = 1 / math.sqrt(max(1, weights[0].numel()))
        weights.copy_(scale * torch.randn(weights.shape, generator=generator))
        count += weights.numel()
    return {"the number of parameters": count, "outputs for the same weights": network(inputs)}


def _network(
    function: Callable, inputs: torch.Tensor, arguments: dict, small_inputs: torch.Tensor
) -> Measured:
    # The layers at full size; then all of a small one, which is quick to run.
    measured = _layers(function(), inputs)
    if "the number of layers" not in measured:
        return measured
    network = function(**arguments)
    small = _layers(network, small_inputs)
    given = " and ".join(f"{name}={value}" for name, value in arguments.items())
    measured |= {f"with {given}, {name}": value for name, value in small.items()}
    complete = "the number of layers" in small
    return measured | _outputs(network, small_inputs) if complete else measured


def _encoder(function: Callable) -> Measured:
    frames = torch.rand(1, 3, 64, 64)
    return _network(function, frames, {"width": 4}, frames)


def _decoder(function: Callable) -> Measured:
    return _network(function, torch.randn(1, 32), {"z_size": 6, "width": 4}, torch.randn(1, 6))


def _line(function: Callable) -> Measured:
    start, end = torch.randn(2, 5)
    return call(function, {"start": start, "end": end, "steps": 4})


def _activity(function: Callable) -> Measured:
    # Dimensions of which some have a varying mu, some a small sigma, and some neither.
    spread = torch.tensor([0.6, 0.0, 0.3, 0.0, 1.5, 0.0, 0.9])
    mu = spread * torch.randn(200, 7)
    logvar = torch.tensor([0.0, -3.0, -0.1, 0.0, -1.0, -0.5, -2.0]).expand(200, 7)
    measured = call(function, {"mu": mu, "logvar": logvar})
    higher = call(function, {"mu": mu, "logvar": logvar, "threshold": 1.0})
    return measured | {f"with threshold=1, the {name}": value for name, value in higher.items()}


EXERCISES = (
    Exercise(
        build_encoder,
        _encoder,
        hint="Nine layers: nn.Conv2d(channels in, channels out, 4, stride=2) and nn.ReLU(), four "
        "times, then nn.Flatten(). The first convolution reads the 3 colours.",
        mistakes=(
            _kernel_of_three,
            _stride_of_one,
            _padded,
            _no_relu,
            _no_last_relu,
            _not_flattened,
            _fixed_encoder_width,
        ),
    ),
    Exercise(
        build_decoder,
        _decoder,
        hint="Ten layers: nn.Linear, then nn.Unflatten(1, (32 * width, 1, 1)), which makes a grid "
        "of one pixel, then four nn.ConvTranspose2d with stride=2 and kernels 5, 5, 6, 6. Each is "
        "followed by a ReLU, the last by a sigmoid.",
        mistakes=(
            _relu_after_linear,
            _no_sigmoid,
            _relu_at_the_end,
            _decoder_without_relu,
            _decoder_stride_of_one,
            _equal_kernels,
            _mirrored_kernels,
            _starts_from_a_grid,
            _fixed_decoder_width,
        ),
    ),
    Exercise(
        active_dimensions,
        _activity,
        hint="kl_per_dimension(mu, logvar) is (N, D); its mean over the frames is (D,). argsort "
        "gives the order, and a comparison inside [ ] keeps the entries above the threshold.",
        mistakes=(
            _summed_over_frames,
            _smallest_first,
            _in_order_of_index,
            _order_not_applied,
            _their_kl,
            _variance_of_mu,
            _fixed_threshold,
        ),
    ),
    Exercise(
        interpolate,
        _line,
        hint="torch.linspace(0, 1, steps) gives the shares of `end`. With [:, None] they become a "
        "column, so that each share multiplies a whole vector.",
        mistakes=(_from_end_to_start, _without_the_end, _one_share),
    ),
)
