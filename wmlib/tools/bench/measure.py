"""Measurements in interleaved repetitions, and their result as a table."""

import datetime
import os
import platform
from collections.abc import Callable, Iterator, Sequence
from importlib import metadata
from typing import NamedTuple

import numpy as np
from tqdm.auto import tqdm

# Panels of the table and the figure, in their order, and the unit of each.
ENVIRONMENTS = "The environment alone, one core"
ROLLOUTS = "Rollouts: whole episodes, resets included"
RESETS = "New tracks (resets), one core"
NETWORKS = "Networks (M: frames as latent vectors z)"
EXPLORERS = "Explorers: from a move to its picture (95th percentile)"
STORAGE = "Episodes on disk"
UNITS = {
    ENVIRONMENTS: "environment steps per second",
    ROLLOUTS: "environment steps per second",
    RESETS: "resets per second",
    NETWORKS: "frames per second",
    EXPLORERS: "milliseconds",
    STORAGE: "frames per megabyte",
}


class Measurement(NamedTuple):
    """One row of the table.

    measure: called with the repetition's index from 0; returns a value in the panel's unit. cores:
    how many it may use. reference: the name of the measurement that the ratio is to; None: no
    ratio. kind: "baseline", "dream" or "real", which determines the colour.
    """

    name: str
    panel: str
    cores: int
    measure: Callable[[int], float]
    reference: str | None = None
    kind: str = "real"


def run(measurements: Sequence[Measurement], repetitions: int = 3) -> Iterator[dict]:
    """Run all measurements once per repetition; yields the result so far after each repetition.

    A result is {"machine", "date", "versions", "rows": [{"name", "panel", "unit", "kind", "cores",
    "runs", "median", "times_gymnasium"}]}. runs: one value per repetition. times_gymnasium: the
    ratio of the median to the reference's, or None. Raises ValueError unless repetitions is 1 or
    more.
    """
    if repetitions < 1:
        raise ValueError(f"repetitions must be 1 or more, got {repetitions}")
    runs: dict[str, list[float]] = {m.name: [] for m in measurements}
    total = repetitions * len(measurements)
    with tqdm(total=total, desc="bench", leave=False, disable=None) as bar:
        for i in range(repetitions):
            for m in measurements:
                bar.set_postfix_str(m.name)
                runs[m.name].append(m.measure(i))
                bar.update()
            yield _result(measurements, runs)


def _result(measurements: Sequence[Measurement], runs: dict[str, list[float]]) -> dict:
    medians = {name: float(np.median(values)) for name, values in runs.items()}
    packages = ("torch", "gymnasium", "opencv-python-headless", "numpy")

    def ratio(m: Measurement) -> float | None:
        if m.reference is None or m.reference not in medians:
            return None
        return round(medians[m.name] / medians[m.reference], 2)

    return {
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, {platform.system()}",
        "date": datetime.date.today().isoformat(),
        "versions": {package: metadata.version(package) for package in packages},
        "rows": [
            {
                "name": m.name,
                "panel": m.panel,
                "unit": UNITS[m.panel],
                "kind": m.kind,
                "cores": m.cores,
                "runs": [round(value, 1) for value in runs[m.name]],
                "median": round(medians[m.name], 1),
                "times_gymnasium": ratio(m),
            }
            for m in sorted(measurements, key=lambda m: list(UNITS).index(m.panel))
        ],
    }


def table(result: dict) -> str:
    """A result of `run` as text: medians, ranges of the repetitions, and ratios to Gymnasium."""
    from wmlib.view.figures.speed import amount, by_panel  # only here: they need matplotlib

    lines = []
    for panel, rows in by_panel(result["rows"]).items():
        lines += ["", f"{panel}: {UNITS[panel]}"]
        lines.append(f"  {'':48}{'median':>9}{'lowest to highest':>20}{'cores':>7}{'ratio':>9}")
        for row in rows:
            spread = f"{amount(min(row['runs']))} to {amount(max(row['runs']))}"
            times = "" if row["times_gymnasium"] is None else f"{row['times_gymnasium']:,.1f} ×"
            numbers = f"{amount(row['median']):>9}{spread:>20}{row['cores']:>7}{times:>9}"
            lines.append(f"  {row['name']:48}{numbers}".rstrip())
    count = len(result["rows"][0]["runs"])
    lines += ["", f"{count} interleaved repetitions. Ratio: of the median to Gymnasium's."]
    return "\n".join(lines[1:])
