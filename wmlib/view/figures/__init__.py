"""The figures of the chapters, with the same colours in all of them.

The real environment is blue, dreams are orange; baselines, and the line of perfect predictions, are
grey. Each function returns a matplotlib Figure, or HTML for moving pictures and source code.
"""

from wmlib.view.figures.architecture_m import mdn_rnn_diagram
from wmlib.view.figures.curves import horizon_curves, training_curves
from wmlib.view.figures.dreams import (
    dream_learning_curve,
    dream_returns,
    predicted_against_real,
    returns_by_dream,
    returns_by_temperature,
)
from wmlib.view.figures.forecasts import calibration, measures
from wmlib.view.figures.frames import frame_grid, moving_picture
from wmlib.view.figures.latents import linear_probes, mixtures, scatter_map
from wmlib.view.figures.scores import learning_curve, score_histogram, wall_clock
from wmlib.view.figures.search import search_steps
from wmlib.view.figures.sources import source
from wmlib.view.figures.speed import bench
from wmlib.view.figures.style import BASELINE, DREAM, REALITY, new_axes, panels, use_style

__all__ = [
    "BASELINE",
    "DREAM",
    "REALITY",
    "bench",
    "calibration",
    "dream_learning_curve",
    "dream_returns",
    "frame_grid",
    "horizon_curves",
    "learning_curve",
    "linear_probes",
    "mdn_rnn_diagram",
    "measures",
    "mixtures",
    "moving_picture",
    "new_axes",
    "panels",
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
