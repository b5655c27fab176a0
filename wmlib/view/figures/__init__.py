"""Every picture a chapter draws. One colour language: the real environment is blue, dreams orange.

Baselines, and the line that a perfect prediction would lie on, are grey. Each function returns a
matplotlib Figure (for moving pictures and source code, HTML) and changes nothing else.
"""

from wmlib.view.figures.curves import horizon_curves, training_curves
from wmlib.view.figures.dreams import (
    dream_learning_curve,
    dream_returns,
    predicted_against_real,
    returns_by_dream,
    returns_by_temperature,
)
from wmlib.view.figures.frames import frame_grid, moving_picture
from wmlib.view.figures.latents import linear_probes, mixtures, scatter_map
from wmlib.view.figures.scores import learning_curve, score_histogram, wall_clock
from wmlib.view.figures.search import search_steps
from wmlib.view.figures.sources import source
from wmlib.view.figures.speed import bench
from wmlib.view.figures.style import BASELINE, DREAM, REALITY, new_axes, use_style

__all__ = [
    "BASELINE",
    "DREAM",
    "REALITY",
    "bench",
    "dream_learning_curve",
    "dream_returns",
    "frame_grid",
    "horizon_curves",
    "learning_curve",
    "linear_probes",
    "mixtures",
    "moving_picture",
    "new_axes",
    "predicted_against_real",
    "returns_by_dream",
    "returns_by_temperature",
    "scatter_map",
    "score_histogram",
    "search_steps",
    "source",
    "training_curves",
    "use_style",
    "wall_clock",
]
