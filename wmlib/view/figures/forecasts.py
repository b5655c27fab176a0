"""How good are forecasts: calibration, and measures along a parameter, with intervals."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from wmlib.evaluation import coverage, episode_interval
from wmlib.view.figures.style import BASELINE, DREAM, panels, require_data


def calibration(quantiles: Sequence[torch.Tensor]) -> Figure:
    """PIT histogram of M's forecasts, and the deviation of their coverage with its 95% CI.

    quantiles: of each episode what `evaluation.quantiles` returned, any shape. The intervals are of
    the mean over episodes. Raises ValueError if there are fewer than two episodes.
    """
    require_data("episodes", quantiles)
    figure, (left, right) = panels(2, width=3.7, height=2.9)
    together = torch.cat([part.flatten() for part in quantiles]).numpy()
    left.hist(together, 25, range=(0, 1), density=True, color=DREAM, alpha=0.7)
    left.axhline(1, color=BASELINE, label="calibrated")
    left.set(xlabel="quantile of M's mixture", ylabel="density of the real z")
    left.legend(loc="lower center")
    both = [coverage(part) for part in quantiles]
    nominal = both[0][0]
    deviation = np.array([100 * (empirical - nominal) for _, empirical in both])[:, 1:-1]
    _with_interval(right, 100 * nominal[1:-1], deviation, DREAM)
    right.axhline(0, color=BASELINE)
    right.set(xlabel="nominal coverage (%)", ylabel="empirical minus nominal\n(percentage points)")
    return figure


def measures(
    x: Sequence[float],
    curves: Mapping[str, Mapping[str, np.ndarray]],
    xlabel: str,
    colors: Mapping[str, str] = {},
    references: Mapping[str, float] = {},
) -> Figure:
    """One panel per measure, {label of the y axis: {label of a curve: values (episodes, len(x))}}.

    Each curve is the mean over episodes with its 95% CI. colors: of the curves, orange where a
    label is missing. references: {label of the y axis: value of real frames}, drawn in grey. Raises
    ValueError if there are no measures.
    """
    require_data("measures", curves)
    figure, axes = panels(len(curves), width=3.1, height=2.9)
    for ax, (ylabel, some) in zip(axes, curves.items(), strict=True):
        for label, values in some.items():
            _with_interval(ax, np.asarray(x), values, colors.get(label, DREAM), label)
        if ylabel in references:
            ax.axhline(references[ylabel], color=BASELINE, label="real frames")
        ax.set(xlabel=xlabel, ylabel=ylabel, ylim=(0, None))
        ax.legend(fontsize=8)
    return figure


def _with_interval(
    ax: Axes, x: np.ndarray, values: np.ndarray, color: str, label: str = ""
) -> None:
    intervals = [episode_interval(column) for column in values.T]
    ax.plot(x, [i.mean for i in intervals], ".-", color=color, label=label)
    low, high = [i.low for i in intervals], [i.high for i in intervals]
    ax.fill_between(x, low, high, color=color, alpha=0.25, lw=0)
