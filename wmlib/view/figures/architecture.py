"""The agent as a diagram: V, M and, where there is one, C, with the sizes of the networks given."""

from matplotlib.figure import Figure

from wmlib.models.controller import Controller
from wmlib.models.world_model import WorldModel
from wmlib.view.figures.diagrams import Diagram
from wmlib.view.figures.style import DREAM, REALITY


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
