"""The networks as diagrams; every shape is read from the network itself."""

from typing import NamedTuple

import torch
from matplotlib.figure import Figure
from torch import nn

from wmlib.models.vae import VAE
from wmlib.view.figures.diagrams import Diagram
from wmlib.view.figures.style import BASELINE, DREAM, REALITY

STEP, TOP, BOTTOM, WIDTH, HEIGHT = 1.75, 2.35, 0.9, 0.95, 0.42  # of V's diagram, inches


class Block(NamedTuple):
    """A layer with its activation, and the shape of its output, as texts."""

    layer: str
    shape: str


@torch.no_grad()
def blocks(network: nn.Sequential, inputs: torch.Tensor) -> list[Block]:
    """The linear and convolutional layers of a network, each with the shape of its output.

    inputs: a batch that the network can take. Activations and reshaping count to the layer before.
    """
    found: list[Block] = []
    for layer in network:
        inputs = layer(inputs)
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            kind = "conv" if isinstance(layer, nn.Conv2d) else "transposed\nconv"
            size, stride = layer.kernel_size[0], layer.stride[0]
            found.append(Block(f"{kind} {size}×{size}\nstride {stride}", _shape(inputs)))
        elif isinstance(layer, nn.Linear):
            found.append(Block("linear", _shape(inputs)))
        elif isinstance(layer, nn.Unflatten):
            found[-1] = found[-1]._replace(shape=_shape(inputs))
        elif not isinstance(layer, nn.Flatten):
            name = type(layer).__name__
            found[-1] = found[-1]._replace(layer=f"{found[-1].layer}\n{name}")
    return found


def _shape(batch: torch.Tensor) -> str:
    return "×".join(map(str, batch.shape[1:]))


def vae_diagram(vae: VAE) -> Figure:
    """V: the encoder above, left to right; on the right mu, logvar and z; the decoder below."""
    frame = torch.zeros(1, 3, vae.frame_size, vae.frame_size)
    down = blocks(vae.encoder, frame)
    up = blocks(vae.decoder, torch.zeros(1, vae.z_size))
    # At each column the shapes of the encoder and of the decoder, from the frame inwards.
    above = [_shape(frame), *(block.shape for block in down)]
    below = [block.shape for block in reversed(up)]
    columns = [0.65 + STEP * column for column in range(len(above))]
    latent = columns[-1] + STEP
    diagram = Diagram(latent + 0.75, 3.1)
    for k, (x, encoded, decoded) in enumerate(zip(columns, above, below, strict=True)):
        diagram.box(x, TOP, WIDTH, HEIGHT, encoded, REALITY if k == 0 else "black")
        diagram.box(x, BOTTOM, WIDTH, HEIGHT, decoded, DREAM if k == 0 else "black")
    diagram.text(columns[0], TOP + 0.35, "frame", REALITY)
    diagram.text(columns[0], BOTTOM - 0.35, "reconstruction", DREAM)
    diagram.text(sum(columns) / len(columns), TOP - 0.4, "encoder", size=9)
    diagram.text(sum(columns) / len(columns), BOTTOM + 0.4, "decoder", size=9)
    for x, block in zip(columns, down, strict=False):
        diagram.arrow((x + WIDTH / 2, TOP), (x + STEP - WIDTH / 2, TOP))
        diagram.text(x + STEP / 2, TOP + 0.3, block.layer, BASELINE, 7)
    for x, block in zip([*columns, latent][1:], reversed(up), strict=True):
        diagram.arrow((x - WIDTH / 2, BOTTOM), (x - STEP + WIDTH / 2, BOTTOM))
        lines = block.layer.count("\n") + 1
        diagram.text(x - STEP / 2, BOTTOM - 0.08 - 0.065 * lines, block.layer, BASELINE, 7)
    for y, name in ((TOP + HEIGHT / 2, "μ"), (TOP - HEIGHT / 2, "log σ²")):
        diagram.box(latent, y, WIDTH, HEIGHT, f"{name}: {vae.z_size}")
        diagram.arrow((columns[-1] + WIDTH / 2, TOP), (latent - WIDTH / 2, y))
    diagram.text(
        latent - STEP / 2 - 0.08, TOP + 0.4, f"flatten: {vae.mu.in_features}\nlinear", BASELINE, 7
    )
    diagram.box(latent, BOTTOM, WIDTH, HEIGHT, f"z: {vae.z_size}")
    diagram.arrow((latent, TOP - HEIGHT), (latent, BOTTOM + HEIGHT / 2))
    diagram.text(latent - 0.55, (TOP + BOTTOM) / 2 - 0.1, "z = μ + σ·ε", BASELINE, 7)
    return diagram.figure
