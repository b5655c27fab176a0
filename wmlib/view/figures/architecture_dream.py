"""Diagrams of chapter 6: one step of a dream with its two Ms, and the loop of a run in dreams."""

from matplotlib.figure import Figure

from wmlib.view.figures.diagrams import Diagram
from wmlib.view.figures.style import BASELINE, DREAM, REALITY


def dream_step() -> Figure:
    """One agent step of a dream: the dream's M makes z, reward and end, the agent's M makes h."""
    d = Diagram(7.4, 2.9)
    d.text(0.75, 2.62, "time t", BASELINE)
    d.text(6.35, 2.62, "time t + 1", BASELINE)
    d.box(0.75, 2.05, 1.0, 0.42, "$z_t$, $r_{t-1}$", DREAM)
    d.box(0.75, 0.75, 1.0, 0.42, "agent's $h_t$")
    d.box(2.35, 1.4, 0.9, 0.5, "C")
    d.box(4.1, 2.05, 1.5, 0.62, "dream's M\n(own memory)", DREAM)
    d.box(4.1, 0.75, 1.5, 0.62, "agent's M")
    d.box(6.35, 2.05, 1.75, 0.62, "$z_{t+1}$, $r_t$, done\n(sampled, predicted)", DREAM)
    d.box(6.35, 0.75, 1.2, 0.42, "agent's $h_{t+1}$")
    d.arrow((1.25, 2.05), (3.35, 2.05), color=DREAM)
    d.arrow((1.25, 0.75), (3.35, 0.75))
    d.arrow((1.25, 1.93), (1.9, 1.5))
    d.arrow((1.25, 0.87), (1.9, 1.3))
    d.arrow((2.8, 1.45), (3.35, 1.85))
    d.arrow((2.8, 1.35), (3.35, 0.95))
    d.text(3.35, 1.4, "action $a_t$")
    d.arrow((1.2, 1.84), (3.35, 0.68), color=BASELINE, bend=0.32)
    d.arrow((4.85, 2.05), (5.47, 2.05), color=DREAM)
    d.arrow((4.85, 0.75), (5.75, 0.75))
    d.text(3.7, 0.16, "C reads $[z_t, h_t]$, as in the real environment; grey: $z_t$ is also an "
           "input of the agent's M", BASELINE)  # fmt: skip
    return d.figure


def dream_loop() -> Figure:
    """The loop of a run in dreams: collect real episodes, train the dream's M, evolve C, repeat."""
    d = Diagram(7.4, 3.1)
    d.box(1.3, 2.3, 2.0, 0.8, "real environment\ncandidates act, with noise", REALITY)
    d.box(6.0, 2.3, 2.0, 0.8, "dream's M\ntrained every round", DREAM)
    d.box(6.0, 0.8, 2.0, 0.8, "dreams at\ntemperature 1.3", DREAM)
    d.box(1.3, 0.8, 2.0, 0.8, "CMA-ES\nevolves C")
    d.box(3.65, 1.55, 1.7, 0.66, "V and agent's M\nfrozen from round 2")
    d.arrow((2.3, 2.45), (5.0, 2.45), color=REALITY)
    d.text(3.65, 2.68, "episodes (frames, actions, rewards)", REALITY, size=7.5)
    d.arrow((6.0, 1.9), (6.0, 1.2), color=DREAM)
    d.text(6.62, 1.56, "z, reward,\ndone", DREAM, size=7.5)
    d.arrow((5.0, 0.65), (2.3, 0.65), color=DREAM)
    d.text(3.65, 0.44, "predicted returns: the only fitness", DREAM, size=7.5)
    d.arrow((1.3, 1.2), (1.3, 1.9))
    d.text(0.7, 1.55, "candidates", size=7.5)
    d.arrow((3.2, 1.22), (2.3, 0.95), color=BASELINE)
    d.arrow((4.1, 1.22), (5.0, 0.95), color=BASELINE)
    d.arrow((3.2, 1.88), (2.3, 2.12), color=BASELINE)
    d.arrow((4.1, 1.88), (5.0, 2.12), color=BASELINE)
    return d.figure
