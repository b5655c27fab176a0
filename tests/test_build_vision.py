"""Chapter 2's build cells: the solutions are V's own parts, and mistakes as readers type them."""

import pytest
import torch
from readers import assert_right, assert_wrong, written
from torch import nn

from wmlib.models.vae import VAE, kl_per_dimension
from wmlib.view import build

EXERCISES = build.exercises()

ENCODER = """
def build_encoder(width=32):
    return nn.Sequential(
        nn.Conv2d(3, width, 4, stride=2), nn.ReLU(),
        nn.Conv2d(width, 2 * width, 4, stride=2), nn.ReLU(),
        nn.Conv2d(2 * width, 4 * width, 4, stride=2), nn.ReLU(),
        nn.Conv2d(4 * width, 8 * width, 4, stride=2), nn.ReLU(),
        nn.Flatten(),
    )
"""

DECODER = """
def build_decoder(z_size=32, width=32):
    return nn.Sequential(
        nn.Linear(z_size, 32 * width),
        nn.Unflatten(1, (32 * width, 1, 1)),
        nn.ConvTranspose2d(32 * width, 4 * width, 5, 2), nn.ReLU(),
        nn.ConvTranspose2d(4 * width, 2 * width, 5, 2), nn.ReLU(),
        nn.ConvTranspose2d(2 * width, width, 6, 2), nn.ReLU(),
        nn.ConvTranspose2d(width, 3, 6, 2), nn.Sigmoid(),
    )
"""

ACTIVE = """
def active_dimensions(mu, logvar, threshold=0.1):
    kl = kl_per_dimension(mu, logvar).mean(0)
    order = torch.argsort(kl, descending=True)
    return order[kl[order] > threshold]
"""

INTERPOLATE = """
def interpolate(start, end, steps):
    t = torch.linspace(0, 1, steps).unsqueeze(1)
    return start + t * (end - start)
"""

SOURCES = {
    "build_encoder": ENCODER,
    "build_decoder": DECODER,
    "active_dimensions": ACTIVE,
    "interpolate": INTERPOLATE,
}

BLOCKS = """
def build_encoder(width=32):
    block = lambda i, o: nn.Sequential(nn.Conv2d(i, o, 4, 2), nn.ReLU(inplace=True))
    return nn.Sequential(block(3, width), block(width, 2 * width), block(2 * width, 4 * width),
                         block(4 * width, 8 * width), nn.Flatten())
"""


def cell(source):
    """The function of a cell, with what the chapter has imported."""
    name = next(name for name in SOURCES if f"def {name}(" in source)
    return written(source, name, nn=nn, kl_per_dimension=kl_per_dimension)


@pytest.mark.parametrize("source", [*SOURCES.values(), BLOCKS])
def test_other_ways_to_write_it_are_right(source, capsys):
    assert_right(cell(source), capsys)


MISTAKES = [
    ("build_encoder", ", stride=2", "", "stride is 1 unless you say"),
    ("build_encoder", "stride=2", "stride=2, padding=1", "have no padding"),
    ("build_encoder", "4, stride", "3, stride", "The kernel is 4 x 4"),
    ("build_encoder", "nn.ReLU(),", "", "A ReLU is needed after every convolution"),
    ("build_encoder", "nn.ReLU(),\n        nn.Flatten", "nn.Flatten", "has a ReLU too"),
    ("build_encoder", "nn.Flatten(),", "", "Flatten() at the end is missing"),
    ("build_encoder", "(width=32):", "(width=32):\n    width = 32", "`width` is not used"),
    ("build_encoder", "nn.ReLU", "nn.Tanh", "layer 2 is Tanh -> (B, 32, 31, 31), expected ReLU"),
    ("build_encoder", "8 * width", "4 * width", "layer 7 is Conv2d -> (B, 128, 2, 2), expected"),
    ("build_encoder", "width, 4,", "width, 3,", "layer 3 is Conv2d -> (B, 64, 15, 15), expected"),
    ("build_encoder", "(3, width, 4,", "(3, width, 3,", "number of parameters is"),
    ("build_encoder", "return", "", "returned a NoneType, expected an nn.Sequential"),
    ("build_decoder", ", nn.Sigmoid()", "", "pixels leave the range 0..1"),
    ("build_decoder", "Sigmoid", "ReLU", "stands a sigmoid, not a ReLU"),
    (
        "build_decoder",
        "nn.Linear(z_size, 32 * width),",
        "nn.Linear(z_size, 32 * width), nn.ReLU(),",
        "no activation between the linear layer",
    ),
    ("build_decoder", "nn.ReLU(),", "", "after each of the first three"),
    ("build_decoder", ", 2)", ")", "grows by only k - 1"),
    ("build_decoder", "6, 2", "5, 2", "the frame has 61 pixels, not 64"),
    ("build_decoder", ", 5, 2", ", 4, 2", "expected ConvTranspose2d -> (B, 128, 5, 5)"),
    ("build_decoder", "(32 * width, 1, 1)", "(8 * width, 2, 2)", "expected Unflatten"),
    ("build_decoder", "z_size,", "32,", "width=4, layer 1 is Linear, which raised"),
    ("active_dimensions", ".mean(0)", ".sum(0)", "averaged over frames, .mean(0), not summed"),
    ("active_dimensions", ", descending=True", "", "argsort(descending=True)"),
    ("active_dimensions", "order[kl[order] > threshold]", "kl > threshold", "expected"),
    ("active_dimensions", "kl[order] >", "kl >", "compare kl[order] with the threshold"),
    ("active_dimensions", "order[kl[order]", "kl[order][kl[order]", "These are the KLs"),
    ("active_dimensions", "> threshold", "> 0.1", "`threshold` is not used"),
    (
        "active_dimensions",
        "order[kl[order] > threshold]",
        "(kl > threshold).nonzero().flatten()",
        "in the order of the dimensions",
    ),
    ("active_dimensions", "kl_per_dimension(mu, logvar).mean(0)", "mu.var(0)", "variance of mu"),
    ("interpolate", "start + t", "end - t", "the first point is `start`"),
    (
        "interpolate",
        "torch.linspace(0, 1, steps)",
        "(torch.arange(steps) / steps)",
        "does not reach 1",
    ),
    ("interpolate", "start + t", "t", "`start` is not added"),
    ("interpolate", ".unsqueeze(1)", "", "it raised RuntimeError"),
]


@pytest.mark.parametrize(("name", "right", "wrong", "said"), MISTAKES)
def test_a_readers_mistake_is_named(name, right, wrong, said, capsys):
    source = SOURCES[name].replace(right, wrong)
    assert source != SOURCES[name]
    assert_wrong(cell(source), said, capsys)


def test_the_solutions_are_vs_own_encoder_and_decoder():
    vae, frames, z = VAE(), torch.rand(2, 3, 64, 64), torch.randn(2, 32)
    encoder, decoder = (EXERCISES[f"build_{part}"].solution() for part in ("encoder", "decoder"))
    encoder.load_state_dict(vae.encoder.state_dict())
    decoder.load_state_dict(vae.decoder.state_dict())
    torch.testing.assert_close(encoder(frames), vae.encoder(frames))
    torch.testing.assert_close(decoder(z), vae.decoder(z))
