"""M unrolled in time, drawn from a network, so that the numbers in it are the network's own."""

from matplotlib.figure import Figure

from wmlib.models.mdn_rnn import MDNRNN
from wmlib.view.figures.diagrams import Diagram
from wmlib.view.figures.style import BASELINE, DREAM, REALITY

STEPS, APART = 3, 3.0  # time steps drawn, and inches between two of them


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
