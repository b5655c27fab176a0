"""Returns predicted by dreams, compared with returns in the real environment."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from wmlib.evaluation import rank_correlation
from wmlib.view.figures.style import (
    BASELINE,
    DREAM,
    REALITY,
    column,
    new_axes,
    panels,
    require_data,
)

PREDICTED, REAL = "predicted return", "real return"
PERFECT = "predicted = real"
MARKERS = "Xsd"  # matplotlib's, of the policies that have a name


def dream_returns(real: np.ndarray, predicted: np.ndarray) -> Figure:
    """The returns of dreams of N episodes against those episodes' real returns.

    real: (N,). predicted: (N, dreams), several dreams of each episode. Both in points. Raises
    ValueError if there are no episodes, or the two numbers of episodes differ.
    """
    require_data("episodes", real)
    if len(real) != len(predicted):
        raise ValueError(
            f"got real returns of {len(real)} episodes, but dreams of {len(predicted)}"
        )
    figure, ax = new_axes(width=4.2, height=3.6)
    each = np.repeat(real, predicted.shape[1])
    ax.plot(each, predicted.ravel(), ".", color=DREAM, ms=4, alpha=0.6, label="one dream")
    label = "mean of an episode's dreams"
    ax.plot(real, predicted.mean(1), "o", label=label, color="black", mfc="none", ms=4)
    ends = [min(real.min(), predicted.min()), max(real.max(), predicted.max())]
    ax.plot(ends, ends, color=BASELINE, lw=1, label=PERFECT)
    ax.set(xlabel="return in the real environment (points)", ylabel="return in the dream (points)")
    ax.legend(fontsize=8)
    return figure


def predicted_against_real(
    predicted: Mapping[str, np.ndarray],
    real: np.ndarray,
    marked: Mapping[str, int] = {},
) -> Figure:
    """Predicted against real returns of a policy set: one panel per dream, all in points.

    predicted: {title: (policies, 2)}, a mean and the half-width of its 95% interval (0: not known).
    real: (policies, 3), a mean and the ends of its 95% interval. marked: {name in the legend: row
    of the policy}, at most three. A panel's title gives Spearman's rank correlation. Raises
    ValueError if there are no dreams, the numbers of policies differ, or more than three policies
    are marked.
    """
    require_data("dreams", predicted)
    for title, values in predicted.items():
        if len(values) != len(real):
            raise ValueError(f"{title}: shape {values.shape}, but the real returns: {real.shape}")
    if len(marked) > len(MARKERS):
        raise ValueError(f"at most {len(MARKERS)} policies can be marked, got {list(marked)}")
    half = np.abs(real[:, 1:] - real[:, :1]).T
    figure, axes = panels(len(predicted), columns=4, width=2.9, height=3.0)
    ends = [real[:, 0].min(), real[:, 0].max()]
    shown = np.concatenate([ends, *(values[:, 0] for values in predicted.values())])
    front: dict[str, Any] = {"ms": 7, "ls": "none", "zorder": 5}  # above the policy's orange dot
    margin = 0.08 * np.ptp(shown)
    for ax, (title, values) in zip(axes, predicted.items(), strict=True):
        ax.plot(ends, ends, color=BASELINE, lw=1, label=PERFECT)
        bars: dict[str, Any] = {"fmt": "o", "color": DREAM, "ms": 4, "lw": 0.8}
        ax.errorbar(real[:, 0], values[:, 0], values[:, 1], half, label="a policy (95% CI)", **bars)
        for (name, row), marker in zip(marked.items(), MARKERS, strict=False):
            ax.plot(real[row, 0], values[row, 0], marker, color="black", label=name, **front)
        rank = rank_correlation(values[:, 0], real[:, 0])
        interval = f"95% CI {rank.low:.2f} to {rank.high:.2f}"
        ax.set(xlabel=REAL, title=f"{title}\nrank correlation {rank.rho:.2f}\n({interval})")
        place = ax.get_subplotspec()
        if place is not None and place.is_first_col():
            ax.set_ylabel(PREDICTED)
        ax.set_ylim(shown.min() - margin, shown.max() + margin)
    _legend_below(figure, axes[0], columns=3)
    return figure


def returns_by_dream(runs: Sequence[list[dict]]) -> Figure:
    """Predicted and real returns of policies evolved in dreams of several kinds.

    runs: a list of rows of evolved.jsonl per training seed, one row per kind. Thin lines are seeds,
    thick lines their mean, bars the SD over the seeds; with a single seed, the SD over its real
    episodes. Raises ValueError if there are no rows, or the seeds' kinds differ.
    """
    require_data("runs", runs)
    kinds = column(runs[0], "kind")
    require_data("rows in the log", kinds)
    for run in runs:
        if column(run, "kind") != kinds:
            raise ValueError(
                f"the runs have different kinds of dreams: {column(run, 'kind')} and {kinds}"
            )
    figure, ax = new_axes(width=7, height=3.2)
    _predicted_and_real(ax, range(len(kinds)), list(zip(*runs, strict=True)), apart=0.16)
    ax.set_xticks(range(len(kinds)), [textwrap.fill(kind, 12) for kind in kinds])
    ax.set(xlabel="training of the dream's M", ylabel="return per episode")
    ax.grid(axis="x", visible=False)
    ax.axhline(0, color=BASELINE, lw=0.8)
    _legend_below(figure, ax)
    return figure


def returns_by_temperature(runs: Sequence[list[dict]]) -> Figure:
    """Predicted and real returns of policies evolved at several temperatures and dropout rates.

    One panel per dropout rate, the temperature on its x axis. runs: a list of rows of evolved.jsonl
    per training seed. Lines and bars are those of `returns_by_dream`. Raises ValueError if there
    are no rows.
    """
    rows = [row for run in runs for row in run]
    require_data("rows in the logs", rows)
    rates = sorted(set(column(rows, "dropout")))
    figure, axes = panels(len(rates), width=3.4, height=3.2)
    for ax, rate in zip(axes, rates, strict=True):
        some = [row for row in rows if row["dropout"] == rate]
        taus = sorted(set(column(some, "temperature")))
        places = [[row for row in some if row["temperature"] == tau] for tau in taus]
        _predicted_and_real(ax, taus, places)
        ax.set(xlabel="temperature τ", xticks=taus, title=f"dropout {rate:g}")
        ax.axhline(0, color=BASELINE, lw=0.8)
        if ax is not axes[0]:
            ax.sharey(axes[0])
    axes[0].set_ylabel("return per episode")
    _legend_below(figure, axes[0])
    return figure


def _predicted_and_real(
    ax: Axes, places: Sequence[float], rows: Sequence[Sequence[dict]], apart: float = 0.0
) -> None:
    # rows: for each place on the x axis, one row per training seed. Older logs have a prediction
    # for the last population only, not for the controller that was returned.
    predicted, source = "predicted_return", "predicted by the dream"
    if any(predicted not in row for some in rows for row in some):
        predicted, source = "population_return", "predicted for the last population"
    for key, color, label, side in (
        (predicted, DREAM, source, -0.5),
        ("real", REALITY, "in the real environment", 0.5),
    ):
        at = np.array(places) + side * apart
        values = np.array([column(some, key) for some in rows])
        ax.plot(at, values, "o-", color=color, ms=4, lw=0.6, alpha=0.5, mew=0)
        spread: np.ndarray | list[float] | None = None
        if values.shape[1] > 1:
            spread = values.std(1, ddof=1)
        elif key == "real":
            spread = [some[0]["real_std"] for some in rows]
        ax.errorbar(at, values.mean(1), spread, color=color, lw=1.6, capsize=3, label=label)


def dream_learning_curve(runs: Mapping[str, list[dict]]) -> Figure:
    """Returns over the minutes of runs in dreams: predicted above, real below, in points.

    runs: {name: rows returned by `rounds.timeline`}; the first is drawn with thick lines. A round's
    predicted return is the population's mean in the round's last generation. Raises ValueError if
    there are no runs, or one is empty.
    """
    require_data("runs", runs)
    figure, (predicted, real) = panels(2, columns=1, width=7, height=2.7)
    for k, (name, rows) in enumerate(runs.items()):
        require_data(f"rows in the log of {name}", rows)
        style: dict[str, Any] = {"lw": 0.9, "ls": ("-.", "--", ":")[k % 3]} if k else {"lw": 2.0}
        last = list({row["round"]: row for row in rows}.values())
        minutes = column(last, "minutes")
        predicted.plot(minutes, column(last, "mean"), color=DREAM, label=name, **style)
        checks = [row for row in rows if "check" in row]
        minutes, means = column(checks, "minutes"), column(checks, "check")
        if k > 0:
            real.plot(minutes, means, color=REALITY, label=name, **style)
            continue
        spread = column(checks, "check_std")
        bars: dict[str, Any] = {"fmt": "o-", "color": REALITY, "ms": 4, "capsize": 2}
        label = f"{name} (± SD of episodes)"
        real.errorbar(minutes, means, spread, label=label, elinewidth=1, **bars, **style)
        found = [row for row in rows if "found" in row]
        minutes, means = column(found, "minutes"), column(found, "found")
        label = f"{name}: before averaging"
        real.plot(minutes, means, "o", mfc="none", color="black", ms=4, label=label)
    predicted.set(ylabel=PREDICTED)
    real.sharex(predicted)
    real.set(xlabel="wall-clock time of the run (minutes)", ylabel=REAL)
    for ax in (predicted, real):
        ax.legend(fontsize=8, loc="lower right")
    return figure


def _legend_below(figure: Figure, ax: Axes, columns: int = 2) -> None:
    handles = ax.get_legend_handles_labels()
    figure.legend(*handles, loc="outside lower center", ncols=columns, fontsize=8)
