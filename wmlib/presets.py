"""Every number that changes with scale, in one table.

The environment variable WM_SCALE picks the column: smoke (tests, seconds a chapter), laptop
(the default: two cores, no GPU, an evening at most) or paper. No notebook ever asks which it is.
"""

import os
from collections import namedtuple
from pathlib import Path

ROOT = Path(__file__).parents[1]
SCALES = ("smoke", "laptop", "paper")

TABLE = {
    # name:                (smoke, laptop,  paper)
    "seed":                (0,          0,      0),  # of all that is drawn at random
    "retrain":             (True,   False,  False),  # train in the chapters, or load
    "workers":             (0,          2,     64),  # processes that drive; 0 is none but this one
    # The ball: V and M with the truth at hand.
    "ball_episodes":       (6,        200,   1000),
    "ball_vae_epochs":     (1,          3,     10),
    "ball_rnn_epochs":     (2,        150,    150),
    "ball_tests":          (3,         60,    100),  # episodes nobody trained on
    "seen":                (10,        60,     60),  # frames watched before the eyes close
    "ahead":               (5,         30,     30),  # steps imagined after that
    # CarRacing.
    "frame_size":          (64,        64,     64),
    "lanes":               (4,         64,     64),  # cars that one process drives at once
    "car_seen":            (5,         50,    100),  # looks at the road before the eyes close
    "car_ahead":           (5,         60,    120),  # looks imagined after that
    "car_looks":           (10,       200,    400),  # of a drive that is taken apart
    "max_steps":           (80,      1000,   1000),  # of one drive
    "repeat":              (4,          2,      1),  # steps that an action is held for
    # What has several entries has one for each round of: collect, V, M, C.
    "episodes":       ((4, 2), (500, 100, 100), (10000,)),
    "random_patience":     (80,       150,   1000),  # patience (below) with random driving
    "car_tests":           (3,         24,     64),  # drives that nobody trained on
    "policy":     ("smooth", "smooth", "networks"),  # how the first round drives at random
    "vae_epochs":     ((1, 1),     (3, 1, 1),   (10,)),
    "broken_epochs":       (1,          2,     10),  # for the V's that are broken on purpose
    "vae_batch":           (32,       100,    100),
    "rnn_epochs":          (2,         20,     20),
    "rnn_batch":           (8,         32,    100),
    "window":              (5,         50,    999),  # steps that M learns from at once
    "population":          (4,         48,     64),
    "directions":          (4,         24,      0),  # that C is looked for in; 0 is all weights
    "tried_generations":   (1,         10,     10),  # of a search that is only tried out
    "rollouts":       ((1, 1),     (2, 2, 4),   (16,)),  # tracks a candidate drives at first
    "double_every":        (1,         60,   1800),  # generations, then it is twice as many
    "generations":    ((1, 2),   (25, 25, 70), (1800,)),
    "sigmas":    ((0.6, 0.4), (0.6, 0.5, 0.4), (0.1,)),  # how far the search looks at first
    "patience":            (20,        60,   1000),  # steps without a new tile before giving up
    "score_tracks":        (2,        100,   1000),  # held-out tracks
    "check_every":         (1,         10,     25),  # generations between checks of the mean
    "check_tracks":        (2,         32,     64),  # training tracks that such a check drives
    # Where C is evolved: on the road, or in dreams.
    "dream":               (False,  False,  False),
    "dream_starts":        (20,      4000,  10000),  # real moments at which dreams begin
    "dream_lanes":         (8,        512,    512),  # dreams that one process dreams at once
    "dream_steps":         (5,        150,   1000),  # looks, then a dream is over
    "temperature":         (1.0,      1.0,   1.15),
    "dropout":             (0.0,      0.0,    0.0),
}  # fmt: skip

# What is different when C learns in dreams alone: many short rounds, each with fresh real drives.
DREAM = {
    "dream":            (True, True, True),
    "episodes":         ((4, 2), (500, 100, 100, 100, 100, 100), (10000, 1000, 1000)),
    "vae_epochs":       ((1, 1), (5, 1, 1, 1, 1, 1), (10, 1, 1)),
    "rollouts":         ((2, 2), (16, 16, 16, 16, 16, 16), (16, 16, 16)),
    "generations":      ((1, 2), (40, 40, 40, 40, 40, 40), (300, 300, 300)),
    "sigmas":           ((0.6, 0.4), (0.6, 0.4, 0.4, 0.4, 0.4, 0.4), (0.1, 0.07, 0.07)),
    "check_every":      (1, 20, 50),
}  # fmt: skip


class Preset(namedtuple("Preset", ["scale", *TABLE])):
    """One column of the table: preset.episodes, preset.population, ..."""

    def run_folder(self, name: str) -> Path:
        """Where a run of this scale keeps its data: data/runs/<scale>/<name>, or under $WM_RUNS.

        A run with another seed than 0 has it in its name.
        """
        runs = os.environ.get("WM_RUNS") or ROOT / "data" / "runs"
        return Path(runs) / self.scale / (f"{name}-{self.seed}" if self.seed else name)

    def dreaming(self) -> "Preset":
        """The same scale, with C evolved in dreams."""
        column = SCALES.index(self.scale)
        return self._replace(**{name: values[column] for name, values in DREAM.items()})

    def figure(self, name: str) -> Path:
        """Where a chapter saves a picture: figures/, but never over it from a smoke run."""
        folder = self.run_folder("figures") if self.scale == "smoke" else ROOT / "figures"
        return folder / name


def preset(scale: str | None = None) -> Preset:
    """The numbers for a scale; None asks WM_SCALE. Raises ValueError for an unknown one."""
    scale = scale or os.environ.get("WM_SCALE") or "laptop"
    if scale not in SCALES:
        raise ValueError(f"scale (or WM_SCALE) must be one of {', '.join(SCALES)}, got {scale!r}")
    column = SCALES.index(scale)
    return Preset(scale, *(values[column] for values in TABLE.values()))
