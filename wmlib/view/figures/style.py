"""Colours, axes and checks that all figures share."""

from collections.abc import Sequence, Sized
from typing import Any

import matplotlib.pyplot as plt
from IPython import get_ipython
from IPython.core.pylabtools import select_figure_formats
from matplotlib.axes import Axes
from matplotlib.figure import Figure

# Blue and orange of the Okabe-Ito palette, which colour-blind readers can distinguish, and a grey.
REALITY, DREAM, BASELINE = "#0072B2", "#E69F00", "#7F7F7F"
NORMAL_95 = 1.96  # standard errors on either side of a mean


def use_style() -> None:
    """Apply the series' matplotlib settings to the running kernel."""
    if get_ipython() is not None:
        # Without this, IPython shows a figure made without pyplot as text.
        select_figure_formats(get_ipython(), ["png"])
    plt.rcParams.update(
        {
            "figure.dpi": 90,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.grid": True,
            "grid.alpha": 0.25,
            "font.size": 10,
            "legend.frameon": False,
        }
    )


def new_axes(width: float = 3.6, height: float = 2.8) -> tuple[Figure, Axes]:
    """A figure of one axes, `width` by `height` inches, labels included.

    pyplot does not hold the figure, so that memory is freed with it.
    """
    figure, axes = panels(1, width=width, height=height)
    return figure, axes[0]


def panels(
    count: int, columns: int | None = None, width: float = 3.6, height: float = 2.8
) -> tuple[Figure, list[Axes]]:
    """A figure of `count` axes in reading order, at most `columns` per row; None: all in one row.

    width, height: of each axes with its labels, in inches. Raises ValueError unless count and
    columns are 1 or more.
    """
    if count < 1 or (columns is not None and columns < 1):
        raise ValueError(f"count and columns must be 1 or more, got {count} and {columns}")
    rows = 1 if columns is None else -(-count // columns)
    per_row = -(-count // rows)
    figure = Figure(figsize=(per_row * width, rows * height), layout="constrained")
    axes = list(figure.subplots(rows, per_row, squeeze=False).flat)
    for ax in axes[count:]:
        ax.set_axis_off()
    return figure, axes[:count]


def require_data(what: str, data: Sized) -> None:
    """Raise ValueError, naming `what` is missing, if `data` is empty."""
    if len(data) == 0:
        raise ValueError(f"nothing to draw: there are no {what}")


def column(rows: Sequence[dict[str, Any]], key: str) -> list[Any]:
    """The value of `key` in each row of a log. Raises ValueError if a row has no such key."""
    missing = [row for row in rows if key not in row]
    if missing:
        raise ValueError(f"a row of the log has no {key!r}, only {sorted(missing[0])}")
    return [row[key] for row in rows]
