"""What z and h represent: linear probes, M's mixture densities, principal components."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from scipy import stats

from wmlib.evaluation import Probe
from wmlib.view.figures.style import BASELINE, DREAM, REALITY, new_axes, panels, require_data


def linear_probes(probes: Mapping[str, Probe], limit: int = 2000) -> Figure:
    """Predictions of linear probes against the true values: one panel per probe.

    probes: {quantity, with its unit: Probe}; all columns of a probe share its panel. limit: about
    how many points are drawn per panel. R² is of all points. Raises ValueError if there are no
    probes.
    """
    require_data("probes", probes)
    figure, axes = panels(len(probes), height=3.2)
    for ax, (name, probe) in zip(axes, probes.items(), strict=True):
        every = max(1, probe.truth.size // limit)
        truth, predicted = probe.truth.ravel()[::every], probe.predicted.ravel()[::every]
        ends = [probe.truth.min(), probe.truth.max()]
        ax.plot(truth, predicted, ".", ms=2, alpha=0.5, color=DREAM)
        ax.plot(ends, ends, color=BASELINE, lw=1, label="predicted = true")
        ax.set(xlabel=f"true {name}", ylabel="predicted by the probe", title=f"R² = {probe.r2:.3f}")
    axes[0].legend(fontsize=8)
    return figure


def mixtures(
    log_pi: np.ndarray,
    mu: np.ndarray,
    log_sigma: np.ndarray,
    truth: np.ndarray,
    names: Sequence[str],
) -> Figure:
    """M's predicted density of D latent dimensions, with the values that followed.

    Each mixture is drawn with its components, and with one Gaussian of the same mean and variance:
    where the two curves differ, one Gaussian would not do. log_pi, mu, log_sigma: (D, K), of K
    Gaussians per dimension. truth: (D,) or (D, n), one or n real values of the next z per
    dimension. names: of the D dimensions. Raises ValueError if there are no dimensions, or their
    numbers differ.
    """
    require_data("dimensions", names)
    if not len(names) == len(log_pi) == len(truth):
        raise ValueError(
            "one name, mixture and row of true values is needed per dimension, got "
            f"{len(names)} names, {len(log_pi)} mixtures and {len(truth)} true values"
        )
    figure, axes = panels(len(names), width=2.7, height=2.6)
    for d, ax in enumerate(axes):
        pi, sigma, real = np.exp(log_pi[d]), np.exp(log_sigma[d]), np.atleast_1d(truth[d])
        mean = (pi * mu[d]).sum()
        deviation = np.sqrt((pi * (sigma**2 + (mu[d] - mean) ** 2)).sum())
        low, high = min(mean - 4 * deviation, real.min()), max(mean + 4 * deviation, real.max())
        z = np.linspace(low, high, 400)
        parts = pi * stats.norm.pdf(z[:, None], mu[d], sigma)
        ax.plot(z, parts.sum(1), color=DREAM, lw=2.5, label="M's mixture")
        components = ax.plot(z, parts, color=DREAM, lw=1, ls="--")
        components[0].set_label("its components")
        for part in parts.T:
            ax.fill_between(z, part, color=DREAM, alpha=0.15, lw=0)
        one = stats.norm.pdf(z, mean, deviation)
        ax.plot(z, one, color=BASELINE, lw=1.5, label="one Gaussian, same mean and variance")
        for k, value in enumerate(real):
            line = ax.axvline(value, color=REALITY, lw=1.2, zorder=1)
            if k == 0:
                line.set_label("real next z")
        ax.set(xlabel=names[d], ylim=(0, None))
    axes[0].set_ylabel("density")
    handles = axes[0].get_legend_handles_labels()
    figure.legend(*handles, loc="outside lower center", ncols=2, fontsize=8)
    return figure


def scatter_map(points: np.ndarray, values: np.ndarray, label: str) -> Figure:
    """Latent vectors on their first two principal components, coloured by a value of each.

    points: (N, 2), in units of z. values: (N,); points with large ones, of either sign, are drawn
    last, on top of the others. Values of both signs get a diverging colour map with 0 at its
    middle. label: what the values are, with their unit. Raises ValueError if there are no points,
    or the numbers of points and values differ.
    """
    require_data("points", points)
    if len(points) != len(values):
        raise ValueError(
            f"one value is needed per point, got {len(points)} points and {len(values)} values"
        )
    figure, ax = new_axes(width=5.4, height=4.0)
    order, limit = np.abs(values).argsort(kind="stable"), np.abs(values).max()
    colors = {"cmap": "coolwarm", "vmin": -limit, "vmax": limit} if values.min() < 0 else {}
    dots = ax.scatter(points[order, 0], points[order, 1], c=values[order], s=7, **colors)
    figure.colorbar(dots, label=label)
    ax.set(xlabel="PC 1 (units of z)", ylabel="PC 2 (units of z)")
    return figure
