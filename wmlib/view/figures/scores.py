"""Returns in the real environment: during a search, and on held-out tracks."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from wmlib.evaluation import Score
from wmlib.view.figures.style import BASELINE, REALITY, column, new_axes, require_data

# {hours: mean return over 1,024 episodes of the search distribution's mean}, at generations 25, 50
# and 1,800, from the log published with Ha & Schmidhuber's code (64 workers).
PAPER_HOURS = {15.6: 822.9, 30.0: 867.0, 1119.0: 900.5}
PAPER_SCORE = 906  # mean return on 100 tracks, from the paper's table


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
    _checks(ax, rows, unit=1)
    ax.set(xlabel="wall-clock time of the run (minutes)", ylabel="return per episode")
    figure.legend(loc="outside lower center", ncols=2, fontsize=8)
    return figure


def wall_clock(rows: list[dict], others: Sequence[list[dict]] = ()) -> Figure:
    """Returns of the checks on other tracks, in points, and those of the paper's log, over hours.

    rows: as returned by `rounds.timeline`. others: the same for runs with other training seeds.
    Raises ValueError if `rows` has no checks.
    """
    require_data("checks in the log", _checked(rows))
    figure, ax = new_axes(width=7, height=3.4)
    for k, other in enumerate(others):
        checks = _checked(other)
        hours = [row["minutes"] / 60 for row in checks]
        label = "" if k else "the same with other training seeds"
        style: dict[str, Any] = {"color": REALITY, "ms": 3, "lw": 0.8, "alpha": 0.6}
        ax.plot(hours, column(checks, "check"), "s-", label=label, **style)
    _checks(ax, rows, unit=60)
    label = "Ha & Schmidhuber's log, 64 workers"
    ax.plot(list(PAPER_HOURS), list(PAPER_HOURS.values()), "D-", color=BASELINE, ms=5, label=label)
    ax.set(xscale="log", xlabel="wall-clock time (hours)", ylabel="return per episode")
    figure.legend(loc="outside lower center", ncols=2, fontsize=8)
    return figure


def _checked(rows: list[dict]) -> list[dict]:
    return [row for row in rows if "check" in row]


def _checks(ax: Axes, rows: list[dict], unit: float) -> None:
    # unit: minutes per unit of the x axis. White markers are visible on the population's band.
    checks = _checked(rows)
    ax.errorbar(
        [row["minutes"] / unit for row in checks],
        column(checks, "check"),
        column(checks, "check_std"),
        fmt="o",
        color=REALITY,
        mfc="white",
        ms=5,
        capsize=2,
        lw=1.2,
        label="mean of the distribution, other tracks (± SD of episodes)",
    )


def score_histogram(score: Score) -> Figure:
    """A histogram of the returns on held-out tracks, in points, with the mean and its 95% CI.

    Raises ValueError if there are fewer than two tracks.
    """
    interval = score.interval
    figure, ax = new_axes(width=5.6, height=2.8)
    # The y axis is logarithmic so that the rare failures, which a mean hides, are visible.
    lowest = 20 * np.floor(min(score.scores.min(), -100) / 20)
    bins = np.arange(lowest, 1001, 20).tolist()
    ax.hist(score.scores, bins, color=REALITY, alpha=0.75, log=True)
    ax.axvline(interval.mean, color="black", lw=1.5, label=f"mean {interval.mean:.1f}")
    label = "95% CI of the mean"
    ax.axvspan(interval.low, interval.high, color="black", alpha=0.15, lw=0, label=label)
    ax.axvline(PAPER_SCORE, color=BASELINE, ls="--", lw=1.5, label=f"the paper, {PAPER_SCORE}")
    ax.set(xlabel="return on a held-out track (points)", ylabel="tracks")
    ax.legend(loc="upper left")
    return figure
