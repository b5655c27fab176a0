"""The agent and its networks as diagrams; every shape is read from the network itself."""

from typing import NamedTuple

import torch
from matplotlib.figure import Figure
from torch import nn

from wmlib.models.controller import Controller
from wmlib.models.mdn_rnn import MDNRNN
from wmlib.models.vae import VAE
from wmlib.models.world_model import WorldModel
from wmlib.view.figures.diagrams import Diagram
from wmlib.view.figures.style import BASELINE, DREAM, REALITY

STEP, TOP, BOTTOM, WIDTH, HEIGHT = 1.75, 2.35, 0.9, 0.95, 0.42  # of V's diagram, inches
STEPS, APART = 3, 3.0  # of M's diagram: time steps, and inches between two of them


def architecture(world_model: WorldModel, controller: Controller | None = None) -> Figure:
    """One step: frame -> V -> z -> M -> h and the next z; with a controller, [z, h] -> C -> action.

    The decoder, which plays no part in a step, is drawn beside V's encoder.
    """
    vae, mdn_rnn = world_model.vae, world_model.mdn_rnn
    side, z, h = vae.frame_size, vae.z_size, mdn_rnn.hidden_size
    diagram = Diagram(7.6, 2.8 if controller else 2.2)
    top = 2.0 if controller else 1.4
    diagram.box(
        0.75, top, 1.2, 0.7, f"frame\n{side} × {side} × 3 =\n{3 * side**2:,} numbers", REALITY
    )
    diagram.box(2.45, top, 1.0, 0.7, "V's encoder\n(convolutions)")
    diagram.box(3.95, top, 0.9, 0.7, f"z\n{z} numbers")
    diagram.box(5.35, top, 0.8, 0.7, "M\n(LSTM)")
    diagram.box(6.85, top, 1.1, 0.7, f"next z: {mdn_rnn.mixtures}\nGaussians per\ndimension", DREAM)
    diagram.box(2.45, top - 1.0, 1.0, 0.6, "V's decoder")
    diagram.box(0.75, top - 1.0, 1.2, 0.6, "reconstruction", DREAM)
    diagram.arrow((1.35, top), (1.95, top))
    diagram.arrow((2.95, top), (3.5, top))
    diagram.arrow((4.4, top), (4.95, top))
    diagram.arrow((5.75, top), (6.3, top))
    diagram.arrow((3.8, top - 0.35), (2.95, top - 1.0))
    diagram.arrow((1.95, top - 1.0), (1.35, top - 1.0))
    diagram.arrow((5.6, top + 0.35), (5.1, top + 0.35), bend=1)
    diagram.text(5.35, top + 0.66, f"memory h: {h} numbers")
    if controller is not None:
        diagram.box(4.6, top - 1.55, 1.1, 0.6, "C\n(one linear layer)")
        diagram.arrow((4.05, top - 0.35), (4.45, top - 1.25), "z")
        diagram.arrow((5.35, top - 0.35), (4.75, top - 1.25), "h")
        diagram.box(6.6, top - 1.55, 1.5, 0.6, "action: steering,\ngas, brake")
        diagram.arrow((5.15, top - 1.55), (5.85, top - 1.55))
        diagram.arrow((6.4, top - 1.25), (5.6, top - 0.35))
    return diagram.figure


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


def mdn_rnn_diagram(mdn_rnn: MDNRNN) -> Figure:
    """Three time steps of M: inputs below, the LSTM, its three outputs above.

    Blue: what is given, from the environment. Orange: what M predicts, and the sample that replaces
    the real z in an open-loop rollout. The numbers are sizes of vectors.
    """
    diagram = Diagram(0.3 + STEPS * APART, 4.0)
    numbers = mdn_rnn.mixture.out_features
    parts = f"{mdn_rnn.dimensions} × {mdn_rnn.mixtures} × 3"
    for t in range(STEPS):
        x, step = 1.7 + t * APART, f"t+{t}" if t else "t"
        z, action, end, reward, mixture = x - 0.55, x + 0.55, x - 0.95, x - 0.3, x + 0.7
        diagram.box(z, 0.35, 0.9, 0.5, f"$z_{{{step}}}$\n{mdn_rnn.z_size}", REALITY)
        diagram.box(action, 0.35, 0.9, 0.5, f"$a_{{{step}}}$\n{mdn_rnn.action_size}", REALITY)
        diagram.box(x, 1.5, 1.7, 0.5, f"LSTM\n{mdn_rnn.hidden_size} units")
        diagram.box(end, 2.85, 0.55, 0.5, "end\n1", DREAM)
        diagram.box(reward, 2.85, 0.6, 0.5, "reward\n1", DREAM)
        diagram.box(mixture, 2.85, 1.25, 0.5, f"mixture\n{parts} = {numbers}", DREAM)
        for start in (z, action):
            diagram.arrow((start, 0.6), (start, 1.25))
        for start in (end, reward, mixture):
            diagram.arrow((x, 1.75), (start, 2.6), color=BASELINE)
        diagram.arrow((mixture, 3.1), (mixture, 3.5), color=DREAM)
        diagram.text(mixture, 3.68, f"$p(z_{{t+{t + 1}}})$", DREAM, size=9)
        if t + 1 < STEPS:
            after = f"$h_{{t+{t + 1}}}, c_{{t+{t + 1}}}$"
            diagram.arrow((x + 0.85, 1.5), (x + APART - 0.85, 1.5))
            diagram.text(x + APART - 1.25, 1.65, after)
            diagram.arrow((mixture + 0.5, 2.6), (z + APART - 0.45, 0.4), color=DREAM, bend=0.1)
            diagram.text(x + APART / 2 - 0.62, 2.1, "sample", DREAM)
    diagram.arrow((0.15, 1.5), (0.85, 1.5), "$h_t, c_t$")
    return diagram.figure
