"""The figures of the chapters, with the same colours in all of them.

The real environment is blue, dreams are orange; baselines, and the line of perfect predictions, are
grey. Each function returns a matplotlib Figure, or HTML for moving pictures and source code.
"""

from wmlib.view.figures.architectures import architecture, mdn_rnn_diagram, vae_diagram
from wmlib.view.figures.camera import texture_and_frame
from wmlib.view.figures.curves import (
    arms_learning,
    baseline_gaps,
    horizon_curves,
    training_curves,
)
from wmlib.view.figures.dreams import (
    before_and_after,
    dream_accuracy,
    predicted_by_action,
    recipes_compared,
    returns_by_round,
    score_matrix,
    search_in_dream,
)
from wmlib.view.figures.failures import error_by_turn
from wmlib.view.figures.forecasts import calibration, measures
from wmlib.view.figures.frames import frame_grid, framed, moving_picture
from wmlib.view.figures.latents import linear_probes, mixtures, scatter_map
from wmlib.view.figures.loops import agent_diagram, dream_loop, dream_step, loop_diagram
from wmlib.view.figures.scores import (
    differences,
    episode_returns,
    intervals,
    learning_curve,
    score_histogram,
    wall_clock,
)
from wmlib.view.figures.search import costs, search_spaces, search_steps, seed_dots
from wmlib.view.figures.sources import source
from wmlib.view.figures.speed import bench
from wmlib.view.figures.style import BASELINE, DREAM, REALITY, new_axes, panels, use_style
from wmlib.view.figures.survival import by_temperature, death_reliability, survival_curves

__all__ = [
    "BASELINE",
    "DREAM",
    "REALITY",
    "agent_diagram",
    "architecture",
    "arms_learning",
    "baseline_gaps",
    "before_and_after",
    "bench",
    "by_temperature",
    "calibration",
    "costs",
    "death_reliability",
    "differences",
    "dream_accuracy",
    "dream_loop",
    "dream_step",
    "episode_returns",
    "error_by_turn",
    "frame_grid",
    "framed",
    "horizon_curves",
    "intervals",
    "learning_curve",
    "linear_probes",
    "loop_diagram",
    "mdn_rnn_diagram",
    "measures",
    "mixtures",
    "moving_picture",
    "new_axes",
    "panels",
    "predicted_by_action",
    "recipes_compared",
    "returns_by_round",
    "scatter_map",
    "score_histogram",
    "score_matrix",
    "search_in_dream",
    "search_spaces",
    "search_steps",
    "seed_dots",
    "source",
    "survival_curves",
    "texture_and_frame",
    "training_curves",
    "use_style",
    "vae_diagram",
    "wall_clock",
]
