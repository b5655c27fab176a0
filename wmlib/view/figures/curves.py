"""Lines over training steps, and over the horizon of a prediction."""

import textwrap
from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from wmlib.evaluation import episode_interval
from wmlib.view.figures.style import BASELINE, REALITY, column, new_axes, panels, require_data


def training_curves(history: list[dict], labels: Mapping[str, str]) -> Figure:
    """One panel for each entry of `labels`: {column of the log: what to call it, with its unit}.

    Rounds of a run follow one another, a dotted line between them. Raises ValueError if the log is
    empty, or has no such column.
    """
    require_data("rows in the training log", history)
    figure, axes = panels(len(labels))
    rounds = sorted({row.get("round", 0) for row in history})
    for ax, (name, label) in zip(axes, labels.items(), strict=True):
        before = 0
        for k, number in enumerate(rounds):
            rows = [row for row in history if row.get("round", 0) == number]
            steps = [before + row["step"] for row in rows]
            ax.plot(steps, column(rows, name), color=REALITY)
            if k > 0:
                ax.axvline(before, color=BASELINE, lw=0.8, ls=":")
            before = steps[-1]
        ax.set(xlabel="training step (mini-batches)", ylabel=textwrap.fill(label, 24))
    return figure


def horizon_curves(
    errors: Mapping[str, np.ndarray], ylabel: str, colors: Mapping[str, str] = {}
) -> Figure:
    """Values against the horizon: each (episodes, H), its mean and the mean's 95% interval.

    Raises ValueError if there are none, or of fewer than two episodes.
    """
    require_data("curves", errors)
    figure, ax = new_axes(width=5.2, height=3.2)
    lowest = 0.0
    for name, values in errors.items():
        steps = np.arange(1, values.shape[1] + 1)
        intervals = [episode_interval(episodes) for episodes in values.T]
        color = colors.get(name, REALITY)
        ax.plot(steps, [i.mean for i in intervals], label=name, color=color)
        low, high = [i.low for i in intervals], [i.high for i in intervals]
        ax.fill_between(steps, low, high, alpha=0.2, color=color, lw=0)
        lowest = min(lowest, *(i.mean for i in intervals))
    # From 0 if there is nothing below it, so that heights compare.
    bottom = 0 if lowest == 0 else None
    ax.set(xlabel="horizon (agent steps)", ylabel=ylabel, ylim=(bottom, None))
    ax.legend()
    return figure
