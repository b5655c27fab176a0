"""The results of `python -m wmlib bench` as dots."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from wmlib.view.figures.style import BASELINE, DREAM, REALITY, require_data

COLORS = {"baseline": BASELINE, "dream": DREAM, "real": REALITY}
MODELS = "Networks"  # the panel that begins with this word measures V and M: orange, as dreams


def bench(result: dict) -> Figure:
    """A result of `bench.run`: one panel per entry of its UNITS, one row per measurement.

    Large dots are medians, small ones single repetitions. Baselines are grey, dreams, V and M
    orange, all others blue. The number in a row is followed by the ratio to Gymnasium's
    environment, where there is one. A panel with a single row is omitted, as it compares nothing.
    Raises ValueError if no panel remains.
    """
    panels = {
        panel: rows[::-1] for panel, rows in by_panel(result["rows"]).items() if len(rows) > 1
    }
    require_data("two measurements of the same kind", panels)
    heights = [len(rows) + 1.7 for rows in panels.values()]
    layout = ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.06)
    figure = Figure(figsize=(8.4, 0.24 * sum(heights) + 0.3), layout=layout)
    axes = figure.subplots(len(panels), 1, squeeze=False, height_ratios=heights)[:, 0]
    for ax, (panel, rows) in zip(axes, panels.items(), strict=True):
        _dots(ax, rows)
        _scale(ax, [row for row in result["rows"] if row["unit"] == rows[0]["unit"]])
        ax.set_title(panel, loc="left", fontsize=10, fontweight="bold")
    count = len(result["rows"][0]["runs"])
    text = f"Large dots: medians of {count} interleaved repetitions; small: repetitions."
    figure.supxlabel(f"{text} {result['machine']}, {result['date']}", fontsize=8, color=BASELINE)
    return figure


def by_panel(rows: list[dict]) -> dict[str, list[dict]]:
    """The rows of a result, grouped by their panel."""
    found: dict[str, list[dict]] = {}
    for row in rows:
        found.setdefault(row["panel"], []).append(row)
    return found


def amount(value: float) -> str:
    """A measured number as text: without decimals from 10 on, otherwise with one."""
    return f"{value:,.0f}" if value >= 10 else f"{value:.1f}"


def _dots(ax: Axes, rows: list[dict]) -> None:
    for y, row in enumerate(rows):
        color = DREAM if row["panel"].startswith(MODELS) else COLORS[row["kind"]]
        ax.plot(row["median"], y, "o", color=color, ms=8)
        ax.plot(row["runs"], [y] * len(row["runs"]), ".", color="black", ms=3)
        text, ratio = amount(row["median"]), row["times_gymnasium"]
        if ratio not in (None, 1):
            text += f"  ({amount(ratio)} × Gymnasium)"
        ax.annotate(
            text,
            (max(row["runs"]), y),
            (8, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
        )
    mixed = len({row["cores"] for row in rows}) > 1  # otherwise the panel's title says how many
    ax.set_yticks(range(len(rows)), [_label(row, mixed) for row in rows], fontsize=9)
    ax.set_ylim(-0.6, len(rows) - 0.4)
    ax.set_xlabel(rows[0]["unit"], fontsize=9)
    ax.tick_params(axis="x", labelsize=8)
    ax.grid(axis="y", ls=":")


def _scale(ax: Axes, rows: list[dict]) -> None:
    # Panels of one unit get equal axes, logarithmic where values differ by a factor above 30.
    runs = [value for row in rows for value in row["runs"]]
    low, high = min(runs), max(runs)
    if high / low > 30:
        low = 10 ** np.floor(np.log10(low / 1.2))
        ax.set_xscale("log")
        ax.set_xlim(low, high * (high / low) ** 0.5)  # space for the text of the rightmost row
    else:
        ax.set_xlim(0, 1.4 * high)


def _label(row: dict, with_cores: bool) -> str:
    cores = f", {row['cores']} core{'s' * (row['cores'] > 1)}" if with_cores else ""
    return row["name"] + cores
