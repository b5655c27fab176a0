"""Take Cover: how long episodes last, and whether M's forecasts of death are right."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from wmlib.evaluation import Group, episode_interval
from wmlib.view.figures.style import (
    BASELINE,
    DREAM,
    NORMAL_95,
    REALITY,
    new_axes,
    panels,
    require_data,
)

SMALLEST = 1e-5  # probability on logarithmic axes


def survival_curves(
    lives: Mapping[str, np.ndarray], limit: float, styles: Mapping[str, dict[str, Any]] = {}
) -> Figure:
    """The share of episodes in which the player is still alive, against time (Kaplan-Meier).

    lives: {name: tics that each episode lasted (n,)}, none above `limit`, at which an episode is
    ended with its player alive. The area below a curve is the mean. styles: matplotlib's, of the
    lines, blue where a name is missing. Raises ValueError if there are no episodes.
    """
    require_data("episodes", lives)
    figure, ax = new_axes(width=6.4, height=3.2)
    for name, tics in lives.items():
        require_data(f"episodes of {name}", tics)
        died = np.sort(np.asarray(tics)[np.asarray(tics) < limit])
        alive = 1 - np.arange(len(died) + 1) / len(tics)
        times, alive = np.concatenate([[0], died, [limit]]), np.append(alive, alive[-1])
        label = f"{name}: mean {np.mean(tics):.0f} (n = {len(tics)})"
        style: dict[str, Any] = {"color": REALITY, "lw": 1.5} | styles.get(name, {})
        ax.step(times, 100 * alive, where="post", label=label, **style)
    ax.set(xlabel="tics (35 per second)", ylabel="episodes with the player alive (%)")
    ax.set(xlim=(0, limit), ylim=(0, 103))
    ax.legend(fontsize=8)
    return figure


def death_reliability(forecasts: Mapping[str, Sequence[Group]]) -> Figure:
    """Reliability diagram of forecasts of death, with logarithmic axes.

    forecasts: {name: what `reliability` returned}. A point is a group of steps with similar
    forecasts: how many of them were fatal, with its 95% interval; groups without a death are drawn
    at the lower edge. Raises ValueError if there are no forecasts.
    """
    require_data("forecasts", forecasts)
    figure, ax = new_axes(width=5.2, height=3.4)
    ax.plot([SMALLEST, 1], [SMALLEST, 1], color=BASELINE, label="calibrated")
    for (name, groups), shape in zip(forecasts.items(), "os^v", strict=False):
        if not groups:  # too few steps for any
            continue
        at = np.array([max(group.forecast, SMALLEST) for group in groups])
        share = np.array([max(group.share, SMALLEST) for group in groups])
        low = np.array([max(group.low, SMALLEST) for group in groups])
        high = np.array([group.high for group in groups])
        bars: dict[str, Any] = {"fmt": f"{shape}-", "capsize": 2, "ms": 4, "lw": 1}
        bars |= {} if shape == "o" else {"mfc": "white"}
        ax.errorbar(at, share, [share - low, high - share], color=DREAM, label=name, **bars)
    ax.set(xscale="log", yscale="log", xlim=(SMALLEST / 2, 1.5), ylim=(SMALLEST / 2, 1.5))
    ax.set(xlabel="M's probability of death in a step", ylabel="share of the steps that were fatal")
    ax.legend(fontsize=8)
    return figure


def by_temperature(
    rows: Sequence[dict], paper: Mapping[float, tuple[tuple[float, float], tuple[float, float]]]
) -> Figure:
    """Tics survived in dreams and in the game, by the temperature of the dreams C was evolved in.

    rows: of `ablate temperature`, with "round", "temperature", "dream", "real". A panel for each
    round; marks are means with their 95% intervals. paper: {temperature: (mean, SD) in dreams and
    in the game} of 100 episodes each, in grey. Raises ValueError if there are no rows.
    """
    require_data("rows", rows)
    numbers = list(dict.fromkeys(row["round"] for row in rows))
    figure, axes = panels(len(numbers), width=4.2, height=3.4)
    for ax, number in zip(axes, numbers, strict=True):
        some = [row for row in rows if row["round"] == number]
        at = np.arange(len(some))
        for k, (key, place, color) in enumerate(
            (("dream", "dreams", DREAM), ("real", "game", REALITY))
        ):
            ours = [episode_interval(row[key]) for row in some]
            means = np.array([interval.mean for interval in ours])
            sides = [means - [i.low for i in ours], [i.high for i in ours] - means]
            _marks(ax, at + 0.2 * k - 0.1, means, sides, f"ours, {place}", color=color, fmt="os"[k])
            means, spread = np.array([paper[row["temperature"]][k] for row in some]).T
            half, where = NORMAL_95 * spread / 10, at + 0.6 * k - 0.3
            _marks(ax, where, means, half, f"the paper, {place}", color=BASELINE, fmt="os"[k])
        ax.set_xticks(at, [f"{row['temperature']:g}" for row in some])
        ax.set(xlabel="temperature of the dreams", ylabel="tics survived")
        ax.set(title=f"M of round {number}", ylim=(0, None))
    labels = axes[0].get_legend_handles_labels()
    figure.legend(*labels, loc="outside lower center", ncols=4, fontsize=8)
    return figure


def _marks(
    ax: Axes, x: np.ndarray, means: np.ndarray, sides: Any, label: str, **style: Any
) -> None:
    ax.errorbar(x, means, sides, ms=4, capsize=2, lw=1, label=label, **style)
