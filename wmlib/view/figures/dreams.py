"""Returns predicted by dreams, compared with returns in the real environment."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from wmlib.evaluation import Interval, Score, seed_interval
from wmlib.view.figures.style import (
    BASELINE,
    DREAM,
    NORMAL_95,
    REALITY,
    column,
    new_axes,
    panels,
    require_data,
)

REAL = "real return (points)"
SEED_MARKERS = "os^Dv"  # matplotlib's, one per training seed


def search_in_dream(runs: Sequence[list[dict]], episodes: int) -> Figure:
    """Searches in dreams: what the dreams predict in every generation, and some real returns.

    An axes per training seed, with the same limits.

    runs: the rows of a search's log, per training seed: "mean", the population's mean predicted
    return, and in some generations "check" and "check_std", mean and SD of `episodes` real
    episodes, whose mean is drawn with its 95% interval. All in points. Raises ValueError if there
    are no generations.
    """
    require_data("generations", [row for rows in runs for row in rows])
    figure, axes = panels(len(runs), width=2.6, height=2.7)
    for k, (ax, rows) in enumerate(zip(axes, runs, strict=True)):
        generations, predicted = column(rows, "generation"), column(rows, "mean")
        ax.plot(generations, predicted, ".-", color=DREAM, lw=1, label="predicted, population")
        checks = [row for row in rows if "check" in row]
        half = NORMAL_95 * np.array(column(checks, "check_std")) / np.sqrt(episodes)
        at, real = column(checks, "generation"), column(checks, "check")
        bars: dict[str, Any] = {"fmt": "o", "color": REALITY, "ms": 4, "capsize": 3}
        ax.errorbar(at, real, half, label="real, mean of the distribution (95% CI)", **bars)
        ax.axhline(0, color=BASELINE, lw=0.8)
        ax.set_xticks(range(len(rows), 0, -max(1, len(rows) // 4))[::-1])
        ax.set(xlabel="generation", title=f"training seed {k}", ylim=_limits(runs))
    axes[0].set_ylabel("return (points);\norange: extrapolated")
    _legend_below(figure, axes[0])
    return figure


def _limits(runs: Sequence[list[dict]]) -> tuple[float, float]:
    values = [row[key] for rows in runs for row in rows for key in ("mean", "check") if key in row]
    margin = 0.08 * (max(values) - min(values)) + 1
    return min(values) - margin, max(values) + margin


def predicted_by_action(
    values: np.ndarray,
    predicted: Mapping[str, Sequence[Interval]],
    real: Sequence[Interval],
    action: str,
    seen: float,
    steps: int,
) -> Figure:
    """Returns of policies that hold one action at each of several values, in dreams and really.

    values: (N,). predicted: {M that makes the dreams: N intervals}, at most two. real: N intervals
    of the real environment. All in points, of `steps` agent steps, drawn with their 95% CI. action:
    its name, for the x axis. seen: the highest value that is common in the training data, a dotted
    line. Raises ValueError if there are no dreams.
    """
    require_data("dreams", predicted)
    figure, ax = new_axes(width=5.6, height=3.3)
    lines = [
        (f"{name}'s dream", intervals, DREAM, style)
        for (name, intervals), style in zip(predicted.items(), ("-", "--"), strict=False)
    ]
    for name, intervals, color, style in [*lines, ("real environment", real, REALITY, "-")]:
        ax.plot(values, [i.mean for i in intervals], color=color, ls=style, label=name)
        low, high = [i.low for i in intervals], [i.high for i in intervals]
        ax.fill_between(values, low, high, color=color, alpha=0.2, lw=0)
    ax.axvline(seen, color=BASELINE, ls=":", lw=1.5, label="99% of the random policy's steps")
    ax.axhline(0, color=BASELINE, lw=0.8)
    ax.set(xlabel=action, ylabel=f"return in {steps} agent steps (points)")
    _legend_below(figure, ax, columns=2)
    return figure


def score_matrix(
    real: Mapping[str, float], predicted: Mapping[str, Sequence[float]], first: int = 0
) -> Figure:
    """Policies in rows, dreams in columns: the predicted return of each policy by each dream.

    real: {policy: its real return}, in the order of the rows; the first column. predicted: {dream:
    the predicted return of each policy}. All in points. Each column's highest prediction is framed.
    first: a line is drawn below so many policies; 0: none.
    Raises ValueError if there are no policies or dreams, or their numbers differ.
    """
    require_data("policies", real)
    require_data("dreams", predicted)
    for dream, values in predicted.items():
        if len(values) != len(real):
            raise ValueError(f"{dream}: {len(values)} predictions, but {len(real)} policies")
    columns = {"real environment": list(real.values()), **predicted}
    names = 0.3 + 0.063 * max(map(len, real))  # inches for the names of the rows
    figure, ax = new_axes(width=names + 0.79 * len(columns), height=1.2 + 0.25 * len(real))
    for k, (name, values) in enumerate(columns.items()):
        maps = LinearSegmentedColormap.from_list(name, ["white", REALITY if k == 0 else DREAM])
        shown = np.array(values, dtype=float)[:, None]
        box = (k - 0.5, k + 0.5, len(real) - 0.5, -0.5)
        ax.imshow(shown, cmap=maps, vmin=0, vmax=1200, extent=box, aspect="auto")
        for row, value in enumerate(values):
            highest = k > 0 and row == int(np.argmax(values))
            frame: dict[str, Any] = {"boxstyle": "square,pad=0.15", "fc": "none", "lw": 1.2}
            ax.text(
                k,
                row,
                f"{value:.0f}",
                ha="center",
                va="center",
                fontsize=8,
                bbox=frame if highest else None,
            )
    if first:
        ax.axhline(first - 0.5, color="black", lw=1)
    ax.set_xlim(-0.5, len(columns) - 0.5)
    ax.set_ylim(len(real) - 0.5, -0.5)
    ax.set_xticks(range(len(columns)), [textwrap.fill(name, 12) for name in columns], fontsize=7)
    ax.set_yticks(range(len(real)), list(real), fontsize=8)
    ax.xaxis.tick_top()
    ax.set_xlabel("real return, then the return that each dream predicts (points)", fontsize=8)
    ax.grid(visible=False)
    ax.tick_params(length=0)
    return figure


def dream_accuracy(
    ranks: Mapping[str, Sequence[tuple[float, float, float]]],
    regrets: Mapping[str, Sequence[float]],
) -> Figure:
    """How well dreams rank policies, left, and the regret of choosing by them, right.

    ranks: {dream: a rank correlation and the ends of its 95% interval, per training seed}. regrets:
    {dream: points of real return lost, per training seed}. Raises ValueError if there are no
    dreams, or the two have different ones.
    """
    require_data("dreams", ranks)
    if list(ranks) != list(regrets):
        raise ValueError(f"rank correlations of {list(ranks)}, but regrets of {list(regrets)}")
    figure, (left, right) = panels(2, width=4.2, height=0.9 + 0.36 * len(ranks))
    for row, name in enumerate(ranks):
        values = np.array(ranks[name])
        for k, ((rho, low, high), regret) in enumerate(zip(values, regrets[name], strict=True)):
            at = row + 0.2 * (k - (len(values) - 1) / 2)
            style: dict[str, Any] = {"fmt": SEED_MARKERS[k], "color": DREAM, "ms": 4, "lw": 1}
            label = f"training seed {k}" if row == 0 else None
            left.errorbar(rho, at, xerr=[[rho - low], [high - rho]], label=label, **style)
            right.plot(regret, at, SEED_MARKERS[k], color=REALITY, ms=4)
    names = [textwrap.fill(name, 22) for name in ranks]
    left.set_yticks(range(len(ranks)), names, fontsize=8)
    right.set_yticks(range(len(ranks)), [""] * len(ranks))
    for ax in (left, right):
        ax.set_ylim(len(ranks) - 0.5, -0.5)
        ax.axvline(0, color=BASELINE, lw=0.8)
    left.set(xlabel="rank correlation (95% CI)", xlim=(-1, 1.02), xticks=(-1, -0.5, 0, 0.5, 1))
    right.set(xlabel="regret (points of real return)")
    _legend_below(figure, left, columns=3)
    return figure


def before_and_after(
    steps: Mapping[str, tuple[np.ndarray, np.ndarray]],
    references: Mapping[str, float] = {},
    limits: tuple[float, float] | None = None,
) -> Figure:
    """Real returns before and after changes, left, and the differences, right; in points.

    steps: {name of the change: (before, after)}, each (S,), one value per training seed: a row per
    change, in which a line leads from the open marker (before) to the filled one (after) of a seed.
    With two seeds or more, black bars are the mean difference and its 95% interval (Student's t).
    references: {name: return}, dotted lines. limits: of the differences' axis, where an interval is
    so wide that nothing else could be seen. Raises ValueError if there are no changes.
    """
    require_data("changes", steps)
    figure, (left, right) = panels(2, width=4.4, height=1.3 + 0.42 * len(steps))
    for row, (before, after) in enumerate(steps.values()):
        for k, pair in enumerate(zip(before, after, strict=True)):
            at = row + 0.2 * (k - (len(before) - 1) / 2)
            style: dict[str, Any] = {"marker": SEED_MARKERS[k], "color": REALITY, "ms": 4.5}
            label = f"training seed {k}" if row == 0 else None
            left.plot(pair, [at, at], lw=1, markevery=[1], label=label, **style)
            left.plot(pair[0], at, ls="none", mfc="white", **style)
            right.plot(pair[1] - pair[0], at, ls="none", **style)
        if len(before) > 1:
            mean = seed_interval(after - before)
            bars: dict[str, Any] = {"fmt": "|", "color": "black", "ms": 10, "capsize": 3, "lw": 1.5}
            label = "mean difference (95% CI over the seeds)" if row == 0 else None
            half = mean.high - mean.mean
            right.errorbar(mean.mean, row + 0.36, xerr=half, label=label, **bars)
    for name, value in references.items():
        left.axvline(value, color=BASELINE, ls=":", lw=1.2)
        left.annotate(name, (value, 1.02), xycoords=("data", "axes fraction"), ha="center",
                      va="bottom", fontsize=8, color=BASELINE)  # fmt: skip
    left.set_yticks(range(len(steps)), [textwrap.fill(name, 28) for name in steps], fontsize=8)
    right.set_yticks(range(len(steps)), [""] * len(steps))
    left.set_xlabel("real return (points): open before, filled after", fontsize=9)
    right.set_xlabel("after - before (points)", fontsize=9)
    right.set_xlim(limits)
    for ax in (left, right):
        ax.xaxis.set_major_locator(MaxNLocator(5))
        ax.set_ylim(len(steps) - 0.3, -0.6)
        ax.axvline(0, color=BASELINE, lw=0.8)
        ax.grid(axis="y", visible=False)
    handles = [ax.get_legend_handles_labels() for ax in (left, right)]
    figure.legend(
        handles[0][0] + handles[1][0],
        handles[0][1] + handles[1][1],
        loc="outside lower center",
        ncols=4,
        fontsize=8,
    )
    return figure


def returns_by_round(runs: Sequence[list[dict]], episodes: int, unit: str = "points") -> Figure:
    """What the dreams predict, left, and real returns, right, over the rounds of runs.

    runs: rows returned by `rounds.timeline`, per training seed. A round's predicted return is the
    population's mean in its last generation; its real return is that of the round's controller,
    with a 95% interval of the mean of `episodes` episodes. unit: of returns. Raises ValueError if
    there are no runs, or one is empty.
    """
    require_data("runs", runs)
    figure, (left, right) = panels(2, width=3.9, height=3.0)
    for k, rows in enumerate(runs):
        require_data(f"rows in the log of training seed {k}", rows)
        style: dict[str, Any] = {"marker": SEED_MARKERS[k], "ms": 4, "lw": 1.2}
        style["label"] = f"training seed {k}"
        last = list({row["round"]: row for row in rows}.values())
        left.plot(column(last, "round"), column(last, "mean"), color=DREAM, **style)
        checks = list({row["round"]: row for row in rows if "check" in row}.values())
        half = NORMAL_95 * np.array(column(checks, "check_std")) / np.sqrt(episodes)
        numbers = np.array(column(checks, "round")) + 0.1 * (k - (len(runs) - 1) / 2)
        right.errorbar(numbers, column(checks, "check"), half, color=REALITY, capsize=2, **style)
    left.set(xlabel="round", ylabel=f"predicted return ({unit})")
    right.set(xlabel="round", ylabel=f"real return ({unit}, 95% CI)")
    both = left.dataLim.intervaly, right.dataLim.intervaly
    low, high = np.min(both), np.max(both)
    for ax in (left, right):
        ax.set_ylim(low - 0.05 * (high - low) - 1, high + 0.05 * (high - low) + 1)
        ax.legend(fontsize=8, loc="lower right")
    return figure


def recipes_compared(recipes: Mapping[str, Sequence[Score]]) -> Figure:
    """Scores of recipes over training seeds: means, left, and all episodes, right.

    recipes: {name: the score of every seed}, at most two: first the one evolved in the real
    environment (blue), then the one evolved in dreams (orange). Left, every seed's mean with its
    95% interval (episodes), and in black the mean over the seeds with its 95% interval (Student's
    t), where there are two or more. Right, the share of episodes up to a return, with a logarithmic
    axis that also shows rare failures. Raises ValueError if there are no recipes.
    """
    require_data("recipes", recipes)
    figure, (left, right) = panels(2, width=4.0, height=3.2)
    for row, ((name, scores), color) in enumerate(
        zip(recipes.items(), (REALITY, DREAM), strict=False)
    ):
        for k, score in enumerate(scores):
            i, at = score.interval, row + 0.14 * (k - (len(scores) - 1) / 2) - 0.1
            half = [[i.mean - i.low], [i.high - i.mean]]
            bars: dict[str, Any] = {"fmt": SEED_MARKERS[k], "color": color, "ms": 5, "capsize": 2}
            left.errorbar(at, i.mean, half, **bars)
        means = [score.interval.mean for score in scores]
        mean, half_width = float(np.mean(means)), 0.0
        if len(means) > 1:
            half_width = seed_interval(means).high - mean
        bars = {"fmt": "_", "color": "black", "ms": 14, "capsize": 3, "lw": 1.5}
        left.errorbar(row + 0.27, mean, half_width, **bars)
        returns = np.sort(np.concatenate([score.scores for score in scores]))
        share = np.arange(1, len(returns) + 1) / len(returns)
        right.step(returns, share, where="post", color=color, label=name)
    left.set_xticks(range(len(recipes)), [textwrap.fill(name, 18) for name in recipes])
    left.set(ylabel="mean return (points)", xlim=(-0.5, len(recipes) - 0.4))
    left.grid(axis="x", visible=False)
    right.set(xlabel="return of an episode (points)", ylabel="share of episodes up to it")
    right.set(yscale="log", ylim=(None, 1.1))
    right.yaxis.set_major_formatter(PercentFormatter(1, decimals=None))
    right.legend(fontsize=8, loc="upper left")
    return figure


def _legend_below(figure: Figure, ax: Axes, columns: int = 2) -> None:
    handles = ax.get_legend_handles_labels()
    figure.legend(*handles, loc="outside lower center", ncols=columns, fontsize=8)
