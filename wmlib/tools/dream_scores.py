"""What the ablations of dreams logged, over the training seeds: returns, real and predicted."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from wmlib.evaluation import seed_interval
from wmlib.files import read_log
from wmlib.tools import ablations

# Names for a reader. The logs call on-policy what is so for the run that collected it, but not for
# a controller that is evolved from scratch afterwards.
LABELS = {
    ablations.ON_POLICY: "episodes of the run's controllers",
    ablations.MIXED: "half random, half of the run's controllers",
}


def label(name: str) -> str:
    """The name that a reader sees, of a kind of dream or of the policy that was evolved in it."""
    kind = name.removeprefix("evolved: ")
    return name.replace(kind, LABELS.get(kind, kind))


@dataclass(frozen=True)
class DreamScores:
    """Returns of a policy set and of searches in dreams, in points; a list has an entry per seed.

    policies: P names. episodes: real returns, each (P, n). predicted: {dream: what it predicts for
    each policy, each (P,)}. evolved: the rows of evolved.jsonl. Names are those of `label`.
    """

    policies: list[str]
    episodes: list[np.ndarray]
    predicted: dict[str, list[np.ndarray]]
    evolved: list[list[dict]]

    @classmethod
    def read(cls, runs: Sequence[Path]) -> "DreamScores":
        """From the folders of the same run with several training seeds."""
        matrices = [
            {row["where"]: row for row in read_log(run / ablations.SCORE_MATRIX)} for run in runs
        ]
        real = [matrix.pop(ablations.REAL) for matrix in matrices]
        predicted = {
            label(dream): [np.array(matrix[dream]["predicted_return"]) for matrix in matrices]
            for dream in matrices[0]
        }
        evolved = [
            [row | {"kind": label(row["kind"])} for row in read_log(run / ablations.EVOLVED)]
            for run in runs
        ]
        policies = [label(name) for name in real[0]["policies"]]
        return cls(policies, [np.array(row["scores"]) for row in real], predicted, evolved)

    @property
    def real(self) -> list[np.ndarray]:
        """The mean real return of every policy: (P,) per seed."""
        return [episodes.mean(1) for episodes in self.episodes]

    def pairs(
        self, dream: str, names: Iterable[str] | None = None
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        """(predicted, real) returns of the policies with these names, or of all; per seed."""
        wanted = set(self.policies if names is None else names)
        kept = [k for k, name in enumerate(self.policies) if name in wanted]
        return [
            (predicted[kept], real[kept])
            for predicted, real in zip(self.predicted[dream], self.real, strict=True)
        ]

    def regrets(self, dream: str, names: Iterable[str] | None = None) -> np.ndarray:
        """The real return lost by choosing the policy that the dream prefers: (seeds,)."""
        pairs = self.pairs(dream, names)
        return np.array([real.max() - real[predicted.argmax()] for predicted, real in pairs])

    def search(self, dream: str, seed: int) -> dict:
        """The row of the search in a dream at temperature 1 without dropout."""
        wanted = {"kind": dream} | ablations.NEUTRAL
        return next(row for row in self.evolved[seed] if wanted.items() <= row.items())

    def evolved_in(self, dream: str) -> np.ndarray:
        """Real returns of the policies evolved in a dream: (seeds,), each the mean of two sets of
        tracks, that of the search's log and that of the policy set."""
        policy = self.policies.index(f"evolved: {dream}")
        logged = [self.search(dream, seed)["real"] for seed in range(len(self.evolved))]
        return (np.array(logged) + [real[policy] for real in self.real]) / 2

    def before_and_after(
        self, changes: Mapping[str, tuple[str, str]]
    ) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """`evolved_in` of both dreams of each change: {change: (before, after)}, each (seeds,)."""
        return {
            change: (self.evolved_in(before), self.evolved_in(after))
            for change, (before, after) in changes.items()
        }


def describe_changes(changes: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> str:
    """A line per change with both values of every seed, and one with the mean difference."""
    lines = []
    for change, (before, after) in changes.items():
        lines.append(f"{change}: before {before.round()}, after {after.round()}")
        if len(before) > 1:
            lines.append("  difference " + seed_interval(after - before).describe(0))
    return "\n".join(lines)
