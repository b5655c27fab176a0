"""V's reconstruction error by the turn of the road, and the turns at which an agent fails."""

import itertools

import numpy as np
from matplotlib.figure import Figure

from wmlib.evaluation import episode_interval
from wmlib.view.figures.style import BASELINE, REALITY, require_data
from wmlib.view.hairpins import episode_means

EDGES = (-240, -120, -90, -60, -30, -10, 10, 30, 60, 90, 120, 240)  # degrees


def error_by_turn(
    episodes: np.ndarray,
    turns: np.ndarray,
    errors: np.ndarray,
    mirrored: np.ndarray,
    hairpin_turns: np.ndarray,
    hairpin_errors: np.ndarray,
    failed: np.ndarray,
) -> Figure:
    """V's squared error per frame against the turn of the road ahead, in degrees, left positive.

    Left: frames, with the index of their episode, their turns, errors and the errors of their
    mirror images (N,): per bin the mean over episodes with its 95% CI, drawn at the bin's mean
    turn; bins with frames of fewer than two episodes are left out. Right: hairpins that a car
    came to (H,), with the error of the frames on the way, and whether it failed there (bool).
    Raises ValueError if there are no frames.
    """
    require_data("frames", turns)
    figure = Figure(figsize=(8.6, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    kinds = {"frames": (errors, REALITY), "their mirror images": (mirrored, BASELINE)}
    for name, (values, color) in kinds.items():
        inside = [(turns >= a) & (turns < b) for a, b in itertools.pairwise(EDGES)]
        bins = [
            (turns[rows].mean(), episode_interval(episode_means(values[rows], episodes[rows])))
            for rows in inside
            if len(np.unique(episodes[rows])) > 1
        ]
        means = [i.mean for _, i in bins]
        sides = [[i.mean - i.low for _, i in bins], [i.high - i.mean for _, i in bins]]
        style = {"fmt": "o-", "color": color, "ms": 4, "lw": 1, "capsize": 2}
        left.errorbar([middle for middle, _ in bins], means, sides, label=name, **style)
    xlabel = "turn of the road ahead (degrees)\n← right       left →"
    left.set(xlabel=xlabel, ylabel="V's squared error\n(summed over a frame)")
    left.legend(loc="upper center", fontsize=8)
    failed = np.asarray(failed, dtype=bool)
    outcomes = {
        "passed": (~failed, {"marker": "o", "s": 14, "color": REALITY, "alpha": 0.5}),
        "failed": (failed, {"marker": "X", "s": 42, "color": "black"}),
    }
    for name, (rows, style) in outcomes.items():
        label = f"{name} (n = {rows.sum()})"
        right.scatter(hairpin_turns[rows], hairpin_errors[rows], label=label, **style)
    right.set(xlabel=xlabel, ylim=(0, None))  # of both: they share the axis
    right.legend(title="hairpins", loc="upper center", fontsize=8)
    return figure
