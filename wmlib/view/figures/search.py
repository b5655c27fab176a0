"""C in the agent; evolution strategies in two dimensions; where to search for C."""

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from wmlib.evaluation import seed_interval
from wmlib.view.figures.style import BASELINE, REALITY, column, new_axes, panels, require_data

# Candidates (N, 2) of a generation, and the mean (2,) and covariance (2, 2) that they come from.
Generation = tuple[np.ndarray, np.ndarray, np.ndarray]
ELLIPSE = "#555555"


def search_steps(
    landscape: Callable[[np.ndarray], np.ndarray],
    searches: Mapping[str, Sequence[Generation]],
    titles: Sequence[str],
    extent: float,
) -> Figure:
    """Searches in two dimensions: a row per search, a panel per generation.

    landscape: (N, 2) -> (N,), the function that is maximized; higher values are drawn lighter, and
    three contour lines lie close to the summit.
    searches: {label: generations}; the ellipses are at one and two standard deviations of the
    distribution, the triangle is at the summit. titles: of the columns. Both axes go from -extent
    to extent; where the larger ellipse would be hidden by the triangle, an inset enlarges it ten
    times. Raises ValueError if there are no generations, or the searches have not as many as
    there are titles.
    """
    require_data("generations", titles)
    if any(len(generations) != len(titles) for generations in searches.values()):
        counts = [len(generations) for generations in searches.values()]
        raise ValueError(f"{len(titles)} titles for searches with {counts} generations")
    figure, axes = panels(len(searches) * len(titles), len(titles), width=1.9, height=2.0)
    side = np.linspace(-extent, extent, 241)
    grid = np.stack(np.meshgrid(side, side), -1)
    heights = landscape(grid.reshape(-1, 2)).reshape(241, 241)
    levels = heights.max() - np.ptp(heights) * np.linspace(1, 0, 21) ** 3  # fine near the summit
    lines = heights.max() - np.ptp(heights) * np.array([0.02, 0.01, 0.003])
    summit = grid.reshape(-1, 2)[heights.argmax()]
    everything = [step for generations in searches.values() for step in generations]
    for ax, (points, mean, covariance) in zip(axes, everything, strict=True):
        ax.contourf(side, side, heights, levels, cmap="Greys_r", alpha=0.6)
        ax.contour(side, side, heights, lines, colors="black", linewidths=0.5)
        _generation(ax, (points, mean, covariance), summit)
        ax.set(xlim=(-extent, extent), ylim=(-extent, extent))
        if 2 * np.sqrt(np.linalg.eigvalsh(covariance)[-1]) < extent / 15:
            _enlarged(ax, (points, mean, covariance), summit)
        ax.set_box_aspect(1)
        ax.grid(False)
        ax.tick_params(labelleft=False, labelbottom=False)
    for ax, title in zip(axes, titles, strict=False):
        ax.set_title(title, fontsize=9)
    for ax in axes[-len(titles) :]:
        ax.set_xlabel("parameter 1")
        ax.tick_params(labelbottom=True)
    for ax, label in zip(axes[:: len(titles)], searches, strict=True):
        ax.set_ylabel(f"{label}\nparameter 2")
        ax.tick_params(labelleft=True)
    return figure


def _generation(ax: Axes, generation: Generation, summit: np.ndarray) -> None:
    points, mean, covariance = generation
    values, vectors = np.linalg.eigh(covariance)
    circle = np.linspace(0, 2 * np.pi, 100)
    unit = np.stack([np.cos(circle), np.sin(circle)])
    for k in (1, 2):
        ellipse = mean[:, None] + vectors @ (k * np.sqrt(values)[:, None] * unit)
        ax.plot(*ellipse, color=ELLIPSE, lw=1)
    ax.plot(*points.T, ".", color="black", ms=4)
    ax.plot(*summit, "^", color="black", mfc="white", ms=6)
    ax.plot(*mean, "k+", ms=8, mew=1.5)


def _enlarged(ax: Axes, generation: Generation, summit: np.ndarray, scale: float = 10) -> None:
    width = 0.6  # of the panel
    inset = ax.inset_axes((0.38, 0.02, width, width))
    _generation(inset, generation, summit)
    half = np.ptp(ax.get_xlim()) * width / scale / 2
    center = generation[1]
    inset.set(xlim=(center[0] - half, center[0] + half), ylim=(center[1] - half, center[1] + half))
    inset.set(xticks=[], yticks=[])
    ax.indicate_inset_zoom(inset, edgecolor="black", alpha=1)


def seed_dots(
    columns: Mapping[str, Mapping[str, np.ndarray]], width: float = 4.2, differences: bool = False
) -> Figure:
    """Values per training seed: a dot each, their mean, and its 95% CI (Student's t).

    columns: {label of the x axis: {name: values (n,)}}, a panel per entry, from the left; in each,
    the first name is at the top; names that all panels share are written once. width: of a panel,
    inches. differences: whether the values are differences; then all panels have one scale, with a
    line at 0. Raises ValueError if there are no columns, or if a name has fewer than two values or
    one that is not finite.
    """
    require_data("columns", columns)
    most = max(len(rows) for rows in columns.values())
    figure, axes = panels(len(columns), width=width, height=1.0 + 0.4 * most)
    for ax, (label, rows) in zip(axes, columns.items(), strict=True):
        require_data("values", rows)
        for y, values in enumerate(rows.values()):
            interval = seed_interval(values)
            ax.plot([interval.low, interval.high], [y, y], color="black", lw=1.5)
            ax.plot(interval.mean, y, "|", color="black", ms=12, mew=2)
            spread = y + np.linspace(-0.25, 0.25, len(values))  # equal values stay visible
            ax.plot(values, spread, "o", color=REALITY, ms=4, mew=0, alpha=0.8)
        ax.set_yticks(range(len(rows)), list(rows))
        ax.set_ylim(len(rows) - 0.5, -0.5)
        ax.set_xlabel(label)
        ax.grid(axis="y", visible=False)
        if differences:
            ax.axvline(0, color=BASELINE, ls="--", lw=1)
            ax.sharex(axes[0])
    names = [list(rows) for rows in columns.values()]
    if all(some == names[0] for some in names):
        for ax in axes[1:]:
            ax.tick_params(labelleft=False)
    return figure


def costs(
    counts: Mapping[str, Mapping[float, Sequence[float]]], xlabel: str, ylabel: str
) -> Figure:
    """What several methods need as a problem gets harder, on logarithmic axes.

    counts: {method: {x: values (n,), one per seed}}; means over seeds are drawn, with their 95% CI
    (Student's t). The dashed line through the first method's last mean has slope 1: costs that are
    proportional to x. Raises ValueError if there are no methods, or a method has no values.
    """
    require_data("methods", counts)
    figure, ax = new_axes(width=5)
    for (name, by_x), marker in zip(counts.items(), "so^v", strict=False):
        require_data(f"values of {name}", by_x)
        intervals, xs = [seed_interval(values) for values in by_x.values()], list(by_x)
        means = [i.mean for i in intervals]
        ax.plot(xs, means, f"{marker}-", color="black", ms=4, label=name)
        ax.vlines(xs, [i.low for i in intervals], [i.high for i in intervals], color="black")
        if marker == "s":
            line = [means[-1] * x / xs[-1] for x in xs]
            ax.plot(xs, line, "--", color=BASELINE, label="proportional")
    ax.set(xscale="log", yscale="log", xlabel=xlabel, ylabel=ylabel)
    ax.legend()
    return figure


def search_spaces(rows: Sequence[dict]) -> Figure:
    """Returns of controllers that were evolved in several spaces, and what each change adds.

    rows: of search.jsonl, see `tools/search_ablation.py`, with the same seeds for every space.
    Left: the returns (`seed_dots`). Right: differences, seed by seed, between a space and the one
    before; where there are more than two spaces, also between the last one and the first. Raises
    ValueError if there are no rows.
    """
    require_data("searches", rows)
    names = list(dict.fromkeys(column(rows, "space")))
    seeds = sorted(set(column(rows, "seed")))
    returns = {(row["space"], row["seed"]): row["check"] for row in rows}
    table = {name: np.array([returns[name, seed] for seed in seeds]) for name in names}
    pairs = [*pairwise(names), *([(names[0], names[-1])] if len(names) > 2 else [])]
    figure = seed_dots(
        {
            "return per episode (points)": {
                f"{name} ({_parameters(rows, name)})": values for name, values in table.items()
            },
            "difference of returns (points)": {
                f"{after} - {before}": table[after] - table[before] for before, after in pairs
            },
        }
    )
    figure.axes[1].axvline(0, color="black", lw=0.8)
    return figure


def _parameters(rows: Sequence[dict], name: str) -> int:
    return next(row["parameters"] for row in rows if row["space"] == name)
