"""Curves over training steps, and over the horizon of a prediction."""

import itertools
import textwrap
from collections.abc import Collection, Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from wmlib.evaluation import episode_interval
from wmlib.view.figures.style import (
    BASELINE,
    DREAM,
    REALITY,
    column,
    new_axes,
    panels,
    require_data,
)


def training_curves(
    history: list[dict],
    labels: Mapping[str, str],
    logarithmic: Collection[str] = (),
) -> Figure:
    """One panel per entry of `labels`, {column of the log: label of the axis, with its unit}.

    history: rows {"step": mini-batches so far in the round, "round": its number (0 if absent), and
    the columns}. Rounds are drawn one after another, separated by dotted lines. logarithmic: the
    columns with a logarithmic axis. Raises ValueError if the log or `labels` is empty, or if a row
    lacks a column.
    """
    require_data("rows in the training log", history)
    require_data("columns to draw", labels)
    figure, axes = panels(len(labels))
    rounds = sorted({row.get("round", 0) for row in history})
    for ax, (name, label) in zip(axes, labels.items(), strict=True):
        offset = 0
        for k, number in enumerate(rounds):
            rows = [row for row in history if row.get("round", 0) == number]
            steps = [offset + row["step"] for row in rows]
            ax.plot(steps, column(rows, name), color=DREAM)
            if k > 0:
                ax.axvline(offset, color=BASELINE, lw=0.8, ls=":")
            offset = steps[-1]
        ax.set(xlabel="training step (mini-batches)", ylabel=textwrap.fill(label, 24))
        if name in logarithmic:
            ax.set_yscale("log")
    return figure


def horizon_curves(
    errors: Mapping[str, np.ndarray], ylabel: str, colors: Mapping[str, str] = {}
) -> Figure:
    """A curve per entry of `errors`: the mean over episodes at each horizon, with its 95% CI.

    errors: {name: values (episodes, H)} for horizons of 1 to H agent steps. ylabel: what the values
    are, with their unit. colors: of the curves, blue where a name is missing. Raises ValueError if
    there are no curves, or a curve has fewer than two episodes.
    """
    require_data("curves", errors)
    figure, ax = new_axes(width=5.2, height=3.2)
    lowest = 0.0
    for name, values in errors.items():
        steps = np.arange(1, values.shape[1] + 1)
        intervals = [episode_interval(at_horizon) for at_horizon in values.T]
        color = colors.get(name, REALITY)
        ax.plot(steps, [i.mean for i in intervals], label=name, color=color)
        low, high = [i.low for i in intervals], [i.high for i in intervals]
        ax.fill_between(steps, low, high, alpha=0.2, color=color, lw=0)
        lowest = min(lowest, *(i.mean for i in intervals))
    # The axis begins at 0 unless a mean is negative, so that heights can be compared.
    bottom = 0 if lowest == 0 else None
    ax.set(xlabel="horizon (agent steps)", ylabel=ylabel, ylim=(bottom, None))
    ax.legend()
    return figure


def arms_learning(
    curves: Mapping[str, Sequence[tuple[np.ndarray, np.ndarray]]],
    reference: str,
    levels: Sequence[float] = (),
) -> Figure:
    """Learning curves of several recipes, a panel each, beside a recipe that all share.

    curves: {recipe: [(environment steps (n,), mean returns (n,)) of each seed]}, a line per
    training seed; those of `reference` are grey, in every panel. levels: returns, a dotted line
    each. Raises ValueError if there are no recipes, `reference` is not one of them, or it is the
    only one.
    """
    require_data("recipes", curves)
    if reference not in curves:
        raise ValueError(f"there are no curves of {reference!r}, only of {', '.join(curves)}")
    others = [name for name in curves if name != reference]
    require_data(f"recipes beside {reference!r}", others)
    figure, axes = panels(len(others), height=2.8)
    for ax, name in zip(axes, others, strict=True):
        for drawn, color in ((reference, BASELINE), (name, REALITY)):
            for k, (steps, returns) in enumerate(curves[drawn]):
                ax.plot(steps / 1e6, returns, color=color, lw=1, label="" if k else drawn)
        for level in levels:
            ax.axhline(level, color="black", ls=":", lw=0.8)
        ax.set(xlabel="environment steps (millions)")
        ax.sharex(axes[0])
        ax.sharey(axes[0])
        ax.legend(fontsize=8, loc="lower right")
    axes[0].set_ylabel("mean return (points)")
    return figure


def baseline_gaps(errors: Mapping[str, np.ndarray], model: str, ylabel: str) -> Figure:
    """Mean errors at each horizon, and per baseline: its error minus the model's, with 95% CI.

    errors: {name: values (episodes, H)} for horizons of 1 to H agent steps; `model` names the one
    that the others, the baselines, are compared with, episode by episode. ylabel: what the values
    are, with their unit. Raises ValueError if there are no baselines, `model` is missing, or there
    are fewer than two episodes.
    """
    baselines = [name for name in errors if name != model]
    require_data("baselines", baselines)
    if model not in errors:
        raise ValueError(f"there are no errors of {model!r}, only of {', '.join(errors)}")
    figure, (left, *others) = panels(1 + len(baselines), width=2.7, height=2.9)
    steps = np.arange(1, errors[model].shape[1] + 1)
    for name, style in zip(
        [model, *baselines], itertools.cycle(("-", "--", ":", "-.")), strict=False
    ):
        color = DREAM if name == model else BASELINE
        left.plot(steps, errors[name].mean(0), color=color, ls=style, lw=1.8, label=name)
    left.set(ylabel=ylabel, ylim=(0, None))
    left.legend(fontsize=8)
    for ax, name in zip(others, baselines, strict=True):
        gaps = errors[name] - errors[model]
        intervals = [episode_interval(at_horizon) for at_horizon in gaps.T]
        ax.plot(steps, gaps.mean(0), color=BASELINE)
        low, high = [i.low for i in intervals], [i.high for i in intervals]
        ax.fill_between(steps, low, high, color=BASELINE, alpha=0.25, lw=0)
        ax.axhline(0, color=DREAM, lw=1.2)
        ax.sharey(others[0])
        ax.set_title(f"{name} minus {model}", fontsize=9)
    for ax in figure.axes:
        ax.set_xlabel("horizon (agent steps)")
    return figure
