"""The steps of CMA-ES in two dimensions."""

from collections.abc import Callable, Sequence

import numpy as np
from matplotlib.figure import Figure

from wmlib.view.figures.style import REALITY, panels, require_data


def search_steps(
    landscape: Callable[[np.ndarray], np.ndarray],
    populations: Sequence[np.ndarray],
    distributions: Sequence[tuple[np.ndarray, np.ndarray]],
    extent: float,
) -> Figure:
    """CMA-ES in two dimensions: one panel per generation, with the 1- and 2-sigma ellipses.

    landscape: (N, 2) -> (N,), the function that is maximized; higher values are drawn lighter.
    populations: the candidates (N, 2) of each generation. distributions: the mean (2,) and
    covariance (2, 2) from which they were sampled. Both axes go from -extent to extent. Raises
    ValueError if there are no generations, or not as many distributions.
    """
    require_data("generations", populations)
    figure, axes = panels(len(populations), width=2.3, height=2.4)
    side = np.linspace(-extent, extent, 120)
    grid = np.stack(np.meshgrid(side, side), -1)
    heights = landscape(grid.reshape(-1, 2)).reshape(120, 120)
    circle = np.linspace(0, 2 * np.pi, 100)
    for ax, points, (mean, covariance) in zip(axes, populations, distributions, strict=True):
        ax.contourf(side, side, heights, 20, cmap="Greys_r", alpha=0.6)
        values, vectors = np.linalg.eigh(covariance)
        for k in (1, 2):
            unit = np.stack([np.cos(circle), np.sin(circle)])
            ax.plot(*(mean[:, None] + vectors @ (k * np.sqrt(values)[:, None] * unit)), "k", lw=1)
        ax.plot(*points.T, ".", color=REALITY, ms=4)
        ax.plot(*mean, "k+", ms=9, mew=2)
        ax.set(xlim=(-extent, extent), ylim=(-extent, extent), xlabel="parameter 1")
        ax.set_box_aspect(1)
        ax.grid(False)
    axes[0].set_ylabel("parameter 2")
    for ax in axes[1:]:
        ax.tick_params(labelleft=False)
    return figure
