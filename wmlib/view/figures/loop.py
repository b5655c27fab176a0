"""A diagram of the loop: collect, V, M, C, and again."""

from matplotlib.figure import Figure

from wmlib.pipeline.config import Config
from wmlib.view.figures.diagrams import Diagram
from wmlib.view.figures.style import BASELINE, REALITY

PHASES = (  # name, what it does, what its result is called
    ("collect", "run the policy,\nrecord episodes", "frames, actions, rewards"),
    ("train V", "a VAE of\nsingle frames", "z"),
    ("train M", "an MDN-RNN of\nsequences of z", "h"),
    ("evolve C", "CMA-ES on\nreturns", "actions"),
)
WIDTH, HEIGHT, BOX = 8.6, 2.1, 1.4  # inches


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
