"""Returns in the real environment: during a search, and on held-out tracks."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from wmlib.evaluation import Interval, Score, episode_interval
from wmlib.view.figures.style import BASELINE, REALITY, column, new_axes, require_data

# {hours: mean return over 1,024 episodes of the search distribution's mean}, at generations 25, 50
# and 1,800, from the log published with Ha & Schmidhuber's code (64 workers).
PAPER_HOURS = {15.6: 822.9, 30.0: 867.0, 1119.0: 900.5}
# From the paper's table: 906 ± 21 (SD of episodes) on 100 tracks; the interval is symmetric.
PAPER_SCORE = Interval(906, 21, 906 - 1.96 * 2.1, 906 + 1.96 * 2.1, 100)


def learning_curve(rows: list[dict]) -> Figure:
    """Returns per episode, in points, against the minutes that the run has taken.

    rows: as returned by `rounds.timeline`. Raises ValueError if there are no rows.
    """
    require_data("generations in the log", rows)
    figure, ax = new_axes(width=7, height=3.8)
    for k, number in enumerate(sorted({row["round"] for row in rows})):
        some = [row for row in rows if row["round"] == number]
        minutes = column(some, "minutes")
        low, middle, high = np.array([np.quantile(r["scores"], [0.1, 0.5, 0.9]) for r in some]).T
        label = "" if k else "population: median, 10th to 90th percentile"
        ax.fill_between(minutes, low, high, color=REALITY, alpha=0.15, lw=0)
        ax.plot(minutes, middle, color=REALITY, lw=1, label=label)
        ax.axvline(minutes[0], color=BASELINE, lw=0.8, ls=":")
        ax.annotate(f" round {number}", (minutes[0], 1.0), xycoords=("data", "axes fraction"))
    _checks(ax, rows, "mean of the distribution, other tracks (± SD of episodes)")
    ax.set(xlabel="wall-clock time of the run (minutes)", ylabel="return per episode (points)")
    figure.legend(loc="outside lower center", ncols=2, fontsize=8)
    return figure


def wall_clock(rows: list[dict], others: Sequence[list[dict]] = ()) -> Figure:
    """Mean returns of the checks on other tracks, and those of the paper's log, over hours.

    rows: as returned by `rounds.timeline`. others: the same for runs with other training seeds.
    Raises ValueError if `rows` has no checks.
    """
    require_data("checks in the log", _checked(rows))
    figure, ax = new_axes(width=7, height=3.4)
    shapes = itertools.chain("os^v", itertools.repeat("x"))
    for run, shape in zip([rows, *others], shapes, strict=False):
        checks, first = _checked(run), run is rows
        hours = [row["minutes"] / 60 for row in checks]
        style: dict[str, Any] = {"ms": 5 if first else 4, "lw": 1.2 if first else 0.8}
        style |= {"color": REALITY, "alpha": 1 if first else 0.6, "mfc": "white"}
        label = "this run" if first else "another training seed"
        ax.plot(hours, column(checks, "check"), f"{shape}-", label=label, **style)
    label = "Ha & Schmidhuber's log, 64 workers"
    ax.plot(list(PAPER_HOURS), list(PAPER_HOURS.values()), "D-", color=BASELINE, ms=5, label=label)
    label = "return of the distribution's\nmean, other tracks (points)"
    ax.set(xscale="log", xlabel="wall-clock time (hours)", ylabel=label)
    figure.legend(loc="outside lower center", ncols=2, fontsize=8)
    return figure


def _checked(rows: list[dict]) -> list[dict]:
    return [row for row in rows if "check" in row]


def _checks(ax: Axes, rows: list[dict], label: str) -> None:
    # White markers are visible on the population's band.
    checks = _checked(rows)
    ax.errorbar(
        column(checks, "minutes"),
        column(checks, "check"),
        column(checks, "check_std"),
        fmt="o",
        color=REALITY,
        mfc="white",
        ms=5,
        capsize=2,
        lw=1.2,
        label=label,
    )


def score_histogram(score: Score) -> Figure:
    """Returns on held-out tracks, in points: their histogram, and the mean with its 95% CI.

    Left: the share of the tracks per bin of 20 points, a tick below it for every track, so that
    rare failures are visible. Right: mean and median on an axis of their own, and the paper's mean.
    Raises ValueError if there are fewer than two tracks.
    """
    scores, interval = score.scores, score.interval
    figure = Figure(figsize=(8.4, 2.8), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=[3, 2])
    bins = np.arange(20 * np.floor(scores.min() / 20), 20 * np.floor(scores.max() / 20) + 21, 20)
    share = np.full(len(scores), 100 / len(scores))
    heights, *_ = left.hist(scores, bins.tolist(), weights=share, color=REALITY, alpha=0.75)
    below = np.full(len(scores), -0.06 * heights.max())
    left.plot(scores, below, "|", color=REALITY, ms=7, alpha=0.5, label="one track")
    left.set(xlabel="return on a held-out track (points)", ylabel="tracks (%)")
    left.set_ylim(-0.12 * heights.max(), None)
    left.legend(loc="upper left", fontsize=8)
    _interval(right, 0, interval, REALITY)
    right.plot(np.median(scores), 1, "s", color=REALITY, mfc="white")
    _interval(right, 2, PAPER_SCORE, BASELINE)
    names = ["mean, 95% CI", "median", "the paper's mean"]
    right.margins(x=0.15)
    _name_rows(right, names, "return (points)")
    return figure


def intervals(
    rows: Mapping[str, Interval], xlabel: str, colors: Mapping[str, str] = {}, width: float = 6.4
) -> Figure:
    """Means with their 95% CIs, a row for each entry of `rows`, the first one at the top.

    colors: of the rows, blue where a name is missing. width: inches. Raises ValueError if there are
    no rows.
    """
    require_data("intervals", rows)
    figure, ax = new_axes(width=width, height=0.75 + 0.32 * len(rows))
    for y, (name, interval) in enumerate(rows.items()):
        _interval(ax, y, interval, colors.get(name, REALITY))
    _name_rows(ax, list(rows), xlabel)
    return figure


def differences(
    rows: Mapping[str, np.ndarray], xlabel: str, colors: Mapping[str, str] = {}, width: float = 6.4
) -> Figure:
    """Paired differences: a dot per pair, and above the dots their mean with its 95% CI.

    rows: {name: differences (n,)}, the first one at the top. colors: blue where a name is missing.
    width: inches. Raises ValueError if there are no rows, or a row has fewer than two pairs.
    """
    require_data("differences", rows)
    figure = episode_returns(rows, xlabel, colors, width)
    figure.axes[0].axvline(0, color=BASELINE, ls="--", lw=1)
    return figure


def episode_returns(
    rows: Mapping[str, np.ndarray], xlabel: str, colors: Mapping[str, str] = {}, width: float = 6.4
) -> Figure:
    """Returns of episodes: a dot per episode, and above the dots their mean with its 95% CI.

    rows: {name: returns (n,)}; the rest, and the errors, as in `differences`.
    """
    require_data("episodes", rows)
    figure, ax = new_axes(width=width, height=0.8 + 0.55 * len(rows))
    for y, (name, values) in enumerate(rows.items()):
        color = colors.get(name, REALITY)
        _interval(ax, y - 0.15, episode_interval(values), color)
        ax.plot(values, np.full(len(values), y + 0.15), "o", color=color, ms=4, mew=0, alpha=0.4)
    _name_rows(ax, list(rows), xlabel)
    return figure


def _interval(ax: Axes, y: float, interval: Interval, color: str) -> None:
    sides = [[interval.mean - interval.low], [interval.high - interval.mean]]
    ax.errorbar([interval.mean], [y], xerr=sides, fmt="o", color=color, capsize=3, lw=1.5)


def _name_rows(ax: Axes, names: list[str], xlabel: str) -> None:
    ax.set_yticks(range(len(names)), names)
    ax.set_ylim(len(names) - 0.5, -0.5)  # the first row is at the top
    ax.set_xlabel(xlabel)
