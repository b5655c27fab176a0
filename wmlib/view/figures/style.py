"""Colours and sizes that all figures share."""

from collections.abc import Sized

import matplotlib.pyplot as plt
import numpy as np
from IPython import get_ipython
from IPython.core.pylabtools import select_figure_formats
from matplotlib.axes import Axes
from matplotlib.figure import Figure

# From the Okabe-Ito palette: told apart by colour-blind readers, and in grey by lightness.
REALITY, DREAM, BASELINE = "#0072B2", "#E69F00", "#7F7F7F"


def use_style() -> None:
    """The series' matplotlib settings, for the running kernel."""
    if get_ipython() is not None:
        # Figures made without pyplot are shown as pictures only if IPython is told how.
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


def new_axes(
    columns: int = 1, rows: int = 1, width: float = 3.6, height: float = 2.8
) -> tuple[Figure, Axes | np.ndarray]:
    """A figure that pyplot does not keep (so that none pile up), and its axes.

    width, height: of each axes, in inches. One axes comes as such, several as an array of them.
    """
    figure = Figure(figsize=(columns * width, rows * height), layout="constrained")
    return figure, figure.subplots(rows, columns)


def panels(
    count: int, columns: int | None = None, width: float = 3.6, height: float = 2.8
) -> tuple[Figure, list[Axes]]:
    """A figure of `count` axes, at most `columns` in a row, in reading order; the rest is empty."""
    rows = 1 if columns is None else -(-count // columns)
    figure, axes = new_axes(-(-count // rows), rows, width, height)
    axes = list(np.ravel(axes))
    for ax in axes[count:]:
        ax.set_axis_off()
    return figure, axes[:count]


def require_data(what: str, data: Sized) -> None:
    """Raises ValueError if there is nothing to draw."""
    if len(data) == 0:
        raise ValueError(f"nothing to draw: there are no {what}")


def column(rows: list[dict], key: str) -> list:
    """One value of every row of a log. Raises ValueError if a row does not have it."""
    missing = [row for row in rows if key not in row]
    if missing:
        raise ValueError(f"a row of the log has no {key!r}, only {sorted(missing[0])}")
    return [row[key] for row in rows]
