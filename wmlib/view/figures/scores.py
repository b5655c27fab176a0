"""Returns in the real environment: over the time of a search, and on held-out tracks."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from wmlib.evaluation import Score
from wmlib.view.figures.style import BASELINE, REALITY, column, new_axes, require_data

# The score of the distribution's mean on 1,024 episodes after so many hours, from the log that came
# with Ha & Schmidhuber's code (64 workers), at generations 25, 50 and 1,800.
PAPER_HOURS = {15.6: 822.9, 30.0: 867.0, 1119.0: 900.5}
PAPER_SCORE = 906  # on 100 tracks, from their table


def learning_curve(rows: list[dict]) -> Figure:
    """What `rounds.timeline` returned: returns against the minutes that the run has taken.

    Raises ValueError if there are no rows.
    """
    require_data("generations in the log", rows)
    figure, ax = new_axes(width=7, height=3.8)
    for k, number in enumerate(sorted({row["round"] for row in rows})):
        some = [row for row in rows if row["round"] == number]
        minutes = column(some, "minutes")
        low, middle, high = np.array([np.quantile(r["scores"], [0.1, 0.5, 0.9]) for r in some]).T
        label = {} if k else {"label": "population: median, 10th to 90th percentile"}
        ax.fill_between(minutes, low, high, color=REALITY, alpha=0.15, lw=0)
        ax.plot(minutes, middle, color=REALITY, lw=1, **label)
        ax.axvline(minutes[0], color=BASELINE, lw=0.8, ls=":")
        ax.annotate(f" round {number}", (minutes[0], 1.0), xycoords=("data", "axes fraction"))
    _checks(ax, rows, unit=1)
    ax.set(xlabel="wall-clock time of the run (minutes)", ylabel="return per episode")
    figure.legend(loc="outside lower center", ncols=2, fontsize=8)
    return figure


def wall_clock(rows: list[dict], others: Sequence[list[dict]] = ()) -> Figure:
    """The checks of `rounds.timeline` beside the paper's log, on one axis of hours.

    others: the same of runs with other training seeds. Raises ValueError if there are no checks.
    """
    require_data("checks in the log", _checked(rows))
    figure, ax = new_axes(width=7, height=3.4)
    for k, other in enumerate(others):
        checks = _checked(other)
        hours = [row["minutes"] / 60 for row in checks]
        label = {} if k else {"label": "the same with other training seeds"}
        style = {"color": REALITY, "ms": 3, "lw": 0.8, "alpha": 0.6}
        ax.plot(hours, column(checks, "check"), "s-", **style, **label)
    _checks(ax, rows, unit=60)
    hours, scores = zip(*PAPER_HOURS.items(), strict=True)
    ax.plot(hours, scores, "D-", color=BASELINE, ms=5, label="Ha & Schmidhuber's log, 64 workers")
    ax.set(xscale="log", xlabel="wall-clock time (hours)", ylabel="return per episode")
    figure.legend(loc="outside lower center", ncols=2, fontsize=8)
    return figure


def _checked(rows: list[dict]) -> list[dict]:
    return [row for row in rows if "check" in row]


def _checks(ax: Axes, rows: list[dict], unit: float) -> None:
    # unit: minutes on the axis of time. In white, to be seen on the population's band.
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
    """Every held-out track's return, with the mean and its 95% interval.

    Raises ValueError if there are fewer than two tracks.
    """
    i = score.interval
    figure, ax = new_axes(width=5.6, height=2.8)
    # On a logarithmic axis, because the rare failures are what a mean hides.
    lowest = 20 * np.floor(min(score.scores.min(), -100) / 20)
    ax.hist(score.scores, np.arange(lowest, 1001, 20), color=REALITY, alpha=0.75, log=True)
    ax.axvline(i.mean, color="black", lw=1.5, label=f"mean {i.mean:.1f}")
    ax.axvspan(i.low, i.high, color="black", alpha=0.15, lw=0, label="95% CI of the mean")
    ax.axvline(PAPER_SCORE, color=BASELINE, ls="--", lw=1.5, label=f"the paper, {PAPER_SCORE}")
    ax.set(xlabel="return on a held-out track", ylabel="tracks")
    ax.legend(loc="upper left")
    return figure
