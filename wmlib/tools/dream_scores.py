"""What the ablations of dreams logged, over the training seeds: returns, real and predicted."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.stats import rankdata

from wmlib.evaluation import seed_interval
from wmlib.files import read_log
from wmlib.tools import ablations

# Short names for a reader: the dreams are numbered, D2 is that of the naive M, D7 of the final M.
LABELS = {
    kind: f"D{number}"
    for number, kind in enumerate((*ablations.KINDS, ablations.OWN_DREAM), start=1)
} | {ablations.WITH_TEMPERATURE: "D8"}
RESULT = "result of the run"


def label(name: str) -> str:
    """The name that a reader sees, of a kind of dream or of a policy."""
    if name == ablations.RESULT:
        return RESULT
    kind = name.removeprefix("evolved: ")
    return LABELS.get(name, name) if kind == name else f"evolved in {LABELS[kind]}"


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

    def rank_correlations(
        self, dream: str, resamples: int = 1000
    ) -> list[tuple[float, float, float]]:
        """Spearman's rank correlation and its 95% percentile bootstrap interval over the policies:
        (rho, low, high) per seed."""
        found = []
        for predicted, real in self.pairs(dream):
            drawn = np.random.default_rng(0).integers(len(real), size=(resamples, len(real)))
            low, high = np.nanquantile(_spearman(predicted[drawn], real[drawn]), [0.025, 0.975])
            found.append((float(_spearman(predicted, real)), float(low), float(high)))
        return found

    def rank_table(self) -> str:
        """Rank correlations of every dream in three sets of policies, and its regret, by seed.

        The sets: all policies; those that are neither of the run nor evolved in the dream itself;
        those of the run.
        """
        of_run = {name for name in self.policies if name.startswith("round")} | {RESULT}
        titles = ("all policies", "without the run", "the run alone", "regret")
        lines = ["dream" + "".join(f"{title:>20}" for title in titles)]
        for dream in self.predicted:
            others = set(self.policies) - of_run - {f"evolved in {dream}"}
            line = f"{dream:5}"
            for names in (self.policies, others, of_run):
                rhos = [_spearman(*pair) for pair in self.pairs(dream, names)]
                line += "  " + "".join(f"{rho:6.2f}" for rho in rhos).rjust(18)
            line += "  " + "".join(f"{value:6.0f}" for value in self.regrets(dream)).rjust(18)
            lines.append(line)
        return "\n".join(lines)

    def logged(self, dream: str, **settings: float) -> np.ndarray:
        """Real returns of the policies evolved in a dream, in their searches' logs: (seeds,).

        settings: temperature and dropout, where they are not 1 and 0.
        """
        wanted = {"kind": dream} | ablations.NEUTRAL | settings
        rows = [next(r for r in rows if wanted.items() <= r.items()) for rows in self.evolved]
        return np.array([row["real"] for row in rows])

    def evolved_in(self, dream: str) -> np.ndarray:
        """Real returns of the policies evolved in a dream: (seeds,), each the mean of two sets of
        tracks, that of the search's log and that of the policy set."""
        policy = self.policies.index(f"evolved in {dream}")
        return (self.logged(dream) + [real[policy] for real in self.real]) / 2

    def before_and_after(
        self, changes: Mapping[str, tuple[str, str]]
    ) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """`evolved_in` of both dreams of each change: {change: (before, after)}, each (seeds,)."""
        return {
            change: (self.evolved_in(before), self.evolved_in(after))
            for change, (before, after) in changes.items()
        }


def describe_changes(changes: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> str:
    """A line per change: both values of every seed, and the mean difference with its 95% CI."""
    lines = []
    for change, (before, after) in changes.items():
        line = f"{change:26}" + "".join(f"{value:6.0f}" for value in before) + "  ->"
        line += "".join(f"{value:6.0f}" for value in after)
        if len(before) > 1:
            mean = seed_interval(after - before)
            line += f"   mean {mean.mean:+.0f} (95% CI {mean.low:.0f} to {mean.high:.0f})"
        lines.append(line)
    return "\n".join(lines)


def _spearman(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    # Of the last axis; nan where all values are equal.
    a, b = rankdata(x, axis=-1), rankdata(y, axis=-1)
    a, b = a - a.mean(-1, keepdims=True), b - b.mean(-1, keepdims=True)
    with np.errstate(invalid="ignore"):
        return (a * b).sum(-1) / np.sqrt((a**2).sum(-1) * (b**2).sum(-1))
