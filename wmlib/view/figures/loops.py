"""Diagrams of loops: agent and environment, a round of training, a dream, a run in dreams."""

from matplotlib.figure import Figure

from wmlib.pipeline.config import Config
from wmlib.view.figures.diagrams import Diagram
from wmlib.view.figures.style import BASELINE, DREAM, REALITY

PHASES = (  # name, what it does, what its result is called
    ("collect", "run the policy,\nrecord episodes", "frames, actions, rewards"),
    ("train V", "a VAE of\nsingle frames", "z"),
    ("train M", "an MDN-RNN of\nsequences of z", "h"),
    ("evolve C", "CMA-ES on\nreturns", "actions"),
)
WIDTH, HEIGHT, BOX = 8.6, 2.1, 1.4  # inches


def agent_diagram(z_size: int = 32, h_size: int = 256, action_size: int = 3) -> Figure:
    """V, M and C in the loop with the environment, and the sizes of z, h and the action."""
    diagram = Diagram(7.6, 2.3)
    boxes = {
        "environment": (0.8, 1.5, REALITY),
        "V\nencoder": (2.5, 1.5, "black"),
        "M\nLSTM": (4.2, 0.6, "black"),
        "C\none linear layer": (6.1, 1.5, "black"),
    }
    for text, (x, y, color) in boxes.items():
        diagram.box(x, y, 1.1, 0.55, text, color)
    diagram.arrow((1.35, 1.5), (1.95, 1.5), "frame")
    diagram.arrow((3.05, 1.5), (5.55, 1.5), f"z ({z_size} numbers)")
    diagram.arrow((3.05, 1.35), (3.65, 0.75))
    diagram.arrow((4.75, 0.65), (5.75, 1.22))
    diagram.text(4.65, 1.07, f"h ({h_size} numbers)")
    diagram.arrow((6.1, 1.775), (0.8, 1.775), bend=0.12)
    diagram.text(3.5, 2.22, f"action ({action_size} numbers): steering, gas, brake")
    diagram.arrow((6.5, 1.22), (4.2, 0.32), bend=-0.45)
    diagram.text(6.75, 0.35, "action, for M's next step")
    return diagram.figure


def loop_diagram(config: Config) -> Figure:
    """The phases of a round, with the numbers of a config's rounds, and the way back to the first.

    Blue: phases that act in the real environment.
    """
    diagram = Diagram(WIDTH, HEIGHT)
    step = WIDTH / len(PHASES)
    centres = [step * (k + 0.5) for k in range(len(PHASES))]
    rounds = config.rounds
    numbers = (
        ("episodes per round", [r.episodes for r in rounds]),
        ("passes per round", [r.vae_epochs for r in rounds]),
        ("passes per round", [config.rnn.epochs] * len(rounds)),
        ("generations per round", [r.generations for r in rounds]),
    )
    y = 1.1
    for x, (name, what, _), (label, values) in zip(centres, PHASES, numbers, strict=True):
        acts = name in ("collect", "evolve C")
        diagram.box(x, y, BOX, 0.85, f"{name}\n{what}", REALITY if acts else "black")
        text = f"{label}:\n{', '.join(map(str, values))}"
        diagram.text(x, y - 0.68, text, BASELINE, 7.5)
    for left, right, (*_, result) in zip(centres, centres[1:], PHASES, strict=False):
        text = result.replace(", ", ",\n") if "," in result else result
        diagram.arrow((left + BOX / 2, y), (right - BOX / 2, y), text)
    top = y + 0.425
    diagram.arrow((centres[-1], top), (centres[0], top), color=REALITY, bend=0.11)
    middle = (centres[0] + centres[-1]) / 2
    diagram.text(middle, HEIGHT - 0.13, "the agent of a round collects for the next", REALITY)
    return diagram.figure


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


def dream_loop(config: Config) -> Figure:
    """The loop of a run in dreams: collect real episodes, train the dream's M, evolve C, repeat."""
    trained = max(k for k, settings in enumerate(config.rounds) if settings.vae_epochs > 0)
    d = Diagram(7.4, 3.1)
    d.box(1.3, 2.3, 2.0, 0.8, "real environment\ncandidates act, with noise", REALITY)
    d.box(6.0, 2.3, 2.0, 0.8, "dream's M\ntrained every round", DREAM)
    d.box(6.0, 0.8, 2.0, 0.8, f"dreams at\ntemperature {config.dream.temperature:g}", DREAM)
    d.box(1.3, 0.8, 2.0, 0.8, "CMA-ES\nevolves C")
    d.box(3.65, 1.55, 1.7, 0.66, f"V and agent's M\nfrozen after round {trained}")
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
