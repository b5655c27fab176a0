"""Every number that changes with scale, in one table.

The environment variable WM_SCALE picks the column: smoke (tests, seconds a chapter), laptop
(the default: two cores, no GPU, an evening at most) or paper. No notebook ever asks which it is.
The shell has a flag for every row (`python -m wmlib run --help`).
"""

import json
import math
import os
from collections import namedtuple
from pathlib import Path
from typing import Any

from wmlib import paths
from wmlib.files import write_atomically

SCALES = ("smoke", "laptop", "paper")


SETTINGS = "settings.json"


TABLE = {
    # name:                (smoke, laptop,  paper,  what it is)
    "seed":                (0,          0,      0,        "of all that is drawn at random"),
    "retrain":             (True,   False,  False,        "train in the chapters, or load"),
    "workers":             (0,          2,     64,        "processes that drive; 0: only this one"),
    "cluster":            ("",         "",     "",        "a Dask scheduler, in their place"),
    "device":             ("cpu",      "",     "",        "cpu, cuda, mps; -: the best here"),
    # The ball: V and M with the truth at hand.
    "ball_episodes":       (6,        200,   1000,        "episodes to learn from"),
    "ball_vae_epochs":     (1,          3,     10,        "passes of V over all frames"),
    "ball_rnn_epochs":     (2,        150,    150,        "passes of M over all steps"),
    "ball_tests":          (3,         60,    100,        "episodes nobody trained on"),
    "seen":                (10,        60,     60,        "frames watched before the eyes close"),
    "ahead":               (5,         30,     30,        "steps imagined after that"),
    # CarRacing.
    "frame_size":          (64,        64,     64,        "pixels; 64 or 96"),
    "lanes":               (4,         64,     64,        "cars that one process drives at once"),
    "car_seen":            (5,         50,    100,        "looks before the eyes close"),
    "car_ahead":           (5,         60,    120,        "looks imagined after that"),
    "car_looks":           (10,       200,    400,        "of a drive that is taken apart"),
    "max_steps":           (80,      1000,   1000,        "of one drive"),
    "repeat":              (4,          2,      1,        "steps that an action is held for"),
    # What has several entries has one for each round of: collect, V, M, C.
    "episodes":       ((4, 2), (500, 100, 100), (10000,), "drives collected"),
    "random_patience":     (80,       150,   1000,        "patience with random driving"),
    "car_tests":           (3,         24,     64,        "drives that nobody trained on"),
    "policy":     ("smooth", "smooth", "networks",        "how the first round drives at random"),
    "vae_epochs":     ((1, 1),     (3, 1, 1),   (10,),    "passes of V over all frames"),
    "broken_epochs":       (1,          2,     10,        "of V's that are broken on purpose"),
    "vae_batch":           (32,       100,    100,        "frames in a batch of V's"),
    "rnn_epochs":          (2,         20,     20,        "passes of M over all steps"),
    "rnn_batch":           (8,         32,    100,        "windows in a batch of M's"),
    "window":              (5,         50,    999,        "steps that M learns from at once"),
    "population":          (4,         48,     64,        "candidates in a generation"),
    "directions":          (4,         24,      0,        "C is looked for in; 0: all weights"),
    "tried_generations":   (1,         10,     10,        "of a search that is only tried out"),
    "rollouts":       ((1, 1),     (2, 2, 4),   (16,),    "tracks a candidate drives at first"),
    "double_every":        (1,         60,   1800,        "generations, then twice as many"),
    "generations":    ((1, 2),   (25, 25, 70), (1800,),   "of CMA-ES"),
    "sigmas":    ((0.6, 0.4), (0.6, 0.5, 0.4), (0.1,),    "how far the search looks at first"),
    "patience":            (20,        60,   1000,        "steps without a tile, then giving up"),
    "score_tracks":        (2,        100,   1000,        "held-out tracks"),
    "check_every":         (1,         10,     25,        "generations between checks of the mean"),
    "check_tracks":        (2,         32,     64,        "training tracks of such a check"),
    # Where C is evolved: on the road, or in dreams.
    "dream":               (False,  False,  False,        "evolve C in M's dreams"),
    "dream_epochs":    ((2, 1),  (20, 20, 2),   (20,),    "passes of the M that makes dreams"),
    "dream_z_noise":       (0.3,      0.3,    0.3,        "share of V's doubt that M is shown"),
    "dream_z_weight":      (32.0,    32.0,   32.0,        "of z in that M's loss; 32: in full"),
    "dream_rate":          (6e-3,    6e-3,   6e-3,        "that M's learning rate, at first"),
    "dream_batch":         (8,         16,     16,        "windows in a batch of that M's"),
    "dream_fresh":         (2,        240,   2560,        "newest drives it learns from; others"),
    "dream_starts":        (20,      4000,  10000,        "real moments at which dreams begin"),
    "dream_before":        (150,      150,    150,        "steps of a drive: dreams begin before"),
    "dream_lanes":         (64,       512,    512,        "dreams in one process at once"),
    "dream_steps":         (5,        400,   1000,        "looks, then a dream is over"),
    "dream_patience":      (5,         15,     30,        "looks without pay, then giving up"),
    "hindsight_dreams":    (4,        200,    400,        "dreams to judge every earlier C in"),
    "hindsight_best":      (1,          3,      3,        "Cs (or half): next search's start"),
    "measured_steps":      (10,       150,    150,        "of an episode to measure speed"),
    "study_generations":   (1,         12,    100,        "of drivers bred for `study`"),
    "temperature":         (1.3,      1.3,    1.3,        "of the dreams C is evolved in"),
    "pay_temperature":     (10.0,    10.0,   10.0,        "of pay in them, at most"),
    "dropout":             (0.0,      0.0,    0.0,        "share of h hidden from M's forecast"),
}  # fmt: skip


# What is different when C learns in dreams alone: many short rounds, each with fresh real drives.
# In most, V and the agent's M stay what they are, and with them what h means to C. On a laptop both
# learn once more, in round 2, when there is a driver who has something to show them.
DREAM_ROUNDS = (3, 10, 15)


DREAM = {
    "dream":            (True, True, True),
    "episodes":         ((4, 2, 2), (500, 100, 100, 48), (10000, 1000, 256)),
    "vae_epochs":       ((1, 1, 0), (3, 0, 1, 0), (10, 1, 0)),
    "rollouts":         ((2,), (16, 48), (64,)),
    "generations":      ((1, 1, 2), (15,), (100, 50, 20)),
    "sigmas":           ((0.6, 0.4, 0.3), (0.6, 0.3, 0.3, 0.2), (0.1, 0.07, 0.05)),
    "dream_epochs":     ((2, 2, 1), (14, 8, 14, 8), (20, 20, 8)),
    "check_every":      (1, 100, 100),
}  # fmt: skip


# What may be less than 1, or has to be more, or less than something.
LIMITS = {
    **dict.fromkeys(("seed", "workers", "directions", "vae_epochs"), (0, math.inf)),
    **dict.fromkeys(
        ("sigmas", "dream_rate", "dream_z_weight", "temperature", "pay_temperature"),
        (1e-6, math.inf),
    ),
    **dict.fromkeys(("check_tracks", "score_tracks"), (2, math.inf)),  # they have a spread
    "dream_z_noise": (0, 1),
    "dropout": (0, 0.99),
    "population": (4, math.inf),
}


POLICIES = ("smooth", "networks")


class Preset(namedtuple("Preset", ["scale", *TABLE])):
    """One column of the table: preset.episodes, preset.population, ..."""

    @property
    def rounds(self) -> int:
        """How often all of it is done."""
        return len(self.generations)

    def change(self, **values: Any) -> "Preset":
        """The same with some numbers changed.

        Of what has an entry for each round, a single number counts for all rounds, and as many
        entries as are given are the number of rounds, of everything; what has fewer goes on with
        its last. Raises ValueError if lists of several lengths are given, or a number that nothing
        could be made with.
        """
        rounds = values.pop("rounds", None)
        _examine(values | ({} if rounds is None else {"rounds": rounds}))
        lengths = {len(v) for v in values.values() if isinstance(v, tuple) and len(v) > 1}
        lengths |= {rounds} if rounds and lengths else set()
        if len(lengths) > 1:
            raise ValueError(f"one entry for each round: got lists of {sorted(lengths)} entries")
        rounds = lengths.pop() if lengths else rounds or self.rounds
        preset = self._replace(**values)
        lists = {name: v for name, v in preset._asdict().items() if isinstance(v, tuple)}
        return preset._replace(
            **{name: (v + v[-1:] * rounds)[:rounds] for name, v in lists.items()}
        )

    @property
    def looks(self) -> int:
        """Of one whole drive."""
        return math.ceil(self.max_steps / self.repeat)

    @property
    def looks_left(self) -> int:
        """Of a drive, on average, where a dream of it begins."""
        before = min(self.dream_before, self.max_steps) / 2
        return math.ceil((self.max_steps - before) / self.repeat)

    def stays(self, number: int) -> bool:
        """Whether V makes no passes over the frames in round `number`.

        Then it stays what it was, and so do the M that the agent has and what h means to C.
        """
        return number > 0 and self.vae_epochs[number] == 0

    def looks_back(self, number: int) -> bool:
        """Whether round `number` begins in hindsight: in dreams, where earlier Cs can read h."""
        return self.dream and self.stays(number)

    def since(self, number: int) -> int:
        """The round since which h means what it means in round `number`."""
        return max(k for k in range(number + 1) if not self.stays(k))

    def save(self, folder: str | Path, world: str) -> None:
        """Write settings.json, for `load` to read."""
        text = json.dumps({"world": world, **self._asdict()}, indent=1) + "\n"
        write_atomically(
            Path(folder) / SETTINGS, lambda path: path.write_text(text, encoding="utf-8")
        )

    @classmethod
    def load(cls, folder: str | Path, world: str) -> "Preset":
        """The settings that a run was started with. What is new since then has its usual value.

        Raises ValueError if they are of another world, or cannot be read.
        """
        file = Path(folder) / SETTINGS
        try:
            kept = json.loads(file.read_text(encoding="utf-8"))
            usual = preset(kept["scale"])
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            raise ValueError(
                f"{file} is damaged ({error!r}): restore it, or name another folder"
            ) from error
        if kept.get("world", world) != world:
            raise ValueError(f"the run in {folder} is of {kept['world']}, not of {world}")
        kept = {name: tuple(v) if isinstance(v, list) else v for name, v in kept.items()}
        return usual._replace(**{name: v for name, v in kept.items() if name in cls._fields})

    def run_folder(self, name: str) -> Path:
        """Where a run of this scale keeps its data: <scale>/<name> in the folder `paths.runs()`.

        A run with another seed than 0 has it in its name.
        """
        return paths.runs() / self.scale / (f"{name}-{self.seed}" if self.seed else name)

    def dreaming(self) -> "Preset":
        """The same scale, with C evolved in dreams."""
        column = SCALES.index(self.scale)
        changed = self._replace(**{name: values[column] for name, values in DREAM.items()})
        return changed.change(rounds=DREAM_ROUNDS[column])

    def figure(self, name: str) -> Path:
        """Where a chapter saves a figure; see `paths.figures`."""
        return paths.figures(self.scale) / name


def _examine(values: dict[str, Any]) -> None:
    for name, given in values.items():
        flag = name.replace("_", "-")
        if name == "policy" and given not in POLICIES:
            raise ValueError(f"policy must be one of {', '.join(POLICIES)}, got {given!r}")
        low, high = LIMITS.get(name, (1, math.inf))
        for value in given if isinstance(given, tuple) else (given,):
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if number and not low <= value <= high:
                wanted = f"{low} or more" if high == math.inf else f"{low} to {high}"
                raise ValueError(f"{flag} must be {wanted}, got {value}")


def preset(scale: str | None = None) -> Preset:
    """The numbers for a scale; None asks WM_SCALE. Raises ValueError for an unknown one."""
    scale = scale or os.environ.get("WM_SCALE") or "laptop"
    if scale not in SCALES:
        raise ValueError(f"scale (or WM_SCALE) must be one of {', '.join(SCALES)}, got {scale!r}")
    column = SCALES.index(scale)
    return Preset(scale, *(values[column] for values in TABLE.values()))
