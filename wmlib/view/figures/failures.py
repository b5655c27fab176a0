"""V's reconstruction error and the turns at which an agent fails."""

import itertools

import numpy as np
from matplotlib.figure import Figure

from wmlib.evaluation import episode_interval
from wmlib.view.figures.style import REALITY, require_data

EDGES = (0, 15, 30, 60, 90, 120, 180, 240)  # degrees


def error_by_turn(
    turns: np.ndarray,
    errors: np.ndarray,
    hairpin_turns: np.ndarray,
    hairpin_errors: np.ndarray,
    failed: np.ndarray,
) -> Figure:
    """V's squared error per frame against how far the road ahead turns, in degrees.

    Left: frames, turns and errors (N,): the mean per bin with its 95% CI; bins with fewer than two
    frames are left out. Right: hairpins that a car came to (H,), with the error of the frames on
    the way, and whether it failed there (bool). Raises ValueError if there are no frames.
    """
    require_data("frames", turns)
    figure = Figure(figsize=(8.4, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    for low, high in itertools.pairwise(EDGES):
        values = errors[(turns >= low) & (turns < high)]
        if len(values) > 1:
            i, middle = episode_interval(values), (low + high) / 2
            sides = [[i.mean - i.low], [i.high - i.mean]]
            left.errorbar(
                [middle], [i.mean], sides, xerr=(high - low) / 2, fmt="o", color=REALITY, ms=4
            )
    xlabel = "turn of the road ahead (degrees)"
    left.set(xlabel=xlabel, ylabel="V's squared error\n(summed over a frame)", ylim=(0, None))
    failed = np.asarray(failed, dtype=bool)
    kinds = {
        "passed": (~failed, {"marker": "o", "s": 14, "color": REALITY, "alpha": 0.5}),
        "failed": (failed, {"marker": "X", "s": 42, "color": "black"}),
    }
    for name, (rows, style) in kinds.items():
        label = f"{name} ({rows.sum()})"
        right.scatter(hairpin_turns[rows], hairpin_errors[rows], label=label, **style)
    right.set_xlabel(xlabel)
    right.legend(title="hairpins", loc="upper left", fontsize=8)
    return figure
