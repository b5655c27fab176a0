"""CMA-ES (pycma's): evolve a flat vector by score alone; the log is the checkpoint.

Each generation draws a population from a Gaussian, asks for their scores, and moves the Gaussian
towards the better ones. What is reported and kept is the *mean* of the Gaussian, never the best
single sample: the highest of 64 noisy scores is mostly high by chance.
"""

import json
import math
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from tqdm.auto import tqdm

from wmlib.files import digest, read_log, write_atomically
from wmlib.provenance import Record, require

Fitness = Callable[[np.ndarray, int], np.ndarray]


class Evolution:
    """CMA-ES in `size` dimensions, maximizing.

    The state after a generation is a function of start, seed and the scores so far, so a log of
    scores is all that is needed to continue: earlier generations are replayed from it, exactly,
    without evaluating anything. Its rows also are the learning curve.

    `extra`, called after every generation, returns more columns for the log (a score of the mean
    on other tracks, say).

    `separable`: the covariance is diagonal. So few numbers are learned in ten generations, where
    the whole matrix of 75 dimensions takes some hundred (sep-CMA-ES, Ros & Hansen 2008).

    `mirrored`: candidates come in pairs, mean + x and mean - x (antithetic sampling), and are
    ranked by half the difference of the two scores, the one with a plus, the other with a minus.
    What both lose alike, because they are far from the mean, so does not count: near a maximum that
    can be most of the differences between candidates, and says nothing about where it lies. (Nor
    does the covariance learn from it.) The population must be even.

    `record` says what the scores depend on. With the search's own settings it is kept in the first
    row of the log.

    Raises ValueError if the population is too small, if the log has another record, or if its
    scores do not lead to the step sizes and means that are in it (they were edited, or another
    version of pycma made them).
    """

    def __init__(
        self,
        size: int,
        population: int = 64,
        sigma: float = 0.1,
        seed: int = 0,
        start: np.ndarray | None = None,
        log: str | Path | None = None,
        extra: Callable[["Evolution"], dict] | None = None,
        record: Record | None = None,
        separable: bool = False,
        mirrored: bool = False,
    ):
        if population < 4:
            raise ValueError(f"CMA-ES needs a population of at least 4, got {population}")
        if mirrored and population % 2:
            raise ValueError(f"a mirrored population must be even, got {population}")
        with warnings.catch_warnings():  # that it cannot plot, where there is no Matplotlib
            warnings.simplefilter("ignore")
            import cma  # only here: it imports Matplotlib where there is one, and takes a second

        rng = np.random.RandomState(seed)
        # randn: pycma would otherwise seed and use numpy's global generator.
        options = {"popsize": population, "randn": rng.randn, "seed": np.nan, "verbose": -9}
        self._es = cma.CMAEvolutionStrategy(
            np.zeros(size) if start is None else start, sigma, options | {"CMA_diagonal": separable}
        )
        record = record or Record()
        own = {"size": size, "population": population, "sigma": sigma, "seed": seed}
        own |= {"separable": True} if separable else {}
        own |= {"mirrored": True} if mirrored else {}
        point = {} if start is None else {"point": digest(start)}
        self.record = Record(record.made_from | point, record.settings | own)
        self._extra, self._mirrored = extra, mirrored
        self.history: list[dict] = []
        self.candidates = np.zeros((0, size))  # of the last generation (population, size)
        self.means: list[np.ndarray] = []  # of the search distribution after every generation
        self._path = None if log is None else Path(log)
        if self._path is not None and self._path.exists():
            self._replay(self._path, _complete_rows(self._path))

    @property
    def generation(self) -> int:
        """How many generations are done."""
        return len(self.history)

    @property
    def mean(self) -> np.ndarray:
        """Mean of the search distribution, (size,) float64."""
        return np.array(self._es.result.xfavorite)

    @property
    def sigma(self) -> float:
        """The search's overall step size."""
        return float(self._es.sigma)

    @property
    def covariance(self) -> np.ndarray:
        """Covariance of the search distribution, (size, size)."""
        c, scales = np.array(self._es.C), self._es.sigma_vec * np.ones(len(self.mean))
        # A separable one has its variances in the scales, and 1 in place of the matrix.
        return (
            self.sigma**2 * (c if c.ndim == 2 else np.eye(len(scales))) * np.outer(scales, scales)
        )

    def run(self, fitness: Fitness, generations: int) -> Iterator[dict]:
        """Go on until `generations` are done in all; yields a row of the log after each.

        fitness(candidates (population, size), generation) -> scores (population,), higher is
        better. A score that is not a number raises ValueError: CMA-ES would rank it silently. So do
        fewer `generations` than the log has: its mean would not be theirs.
        """
        if self.generation > generations:
            raise ValueError(
                f"{self._path} has {self.generation} generations, {generations} are wanted: name "
                f"another folder"
            )
        with tqdm(
            total=generations,
            initial=self.generation,
            desc="CMA-ES",
            unit="gen",
            leave=False,
            disable=None,
        ) as bar:
            while self.generation < generations:
                spent, began = self.history[-1]["seconds"] if self.history else 0, time.monotonic()
                candidates = self._ask()
                scores = np.asarray(fitness(np.array(candidates), self.generation), dtype=float)
                if scores.shape != (len(candidates),) or not np.isfinite(scores).all():
                    raise ValueError(
                        f"fitness must return {len(candidates)} finite scores, got {scores}"
                    )
                self._tell(candidates, scores)
                row = {
                    "generation": self.generation + 1,
                    "mean": float(scores.mean()),
                    "best": float(scores.max()),
                    "sigma": self.sigma,
                    "mean_checksum": self._checksum(),
                    "scores": scores.tolist(),
                }
                row |= {} if self.history else {"record": self.record.to_dict()}
                self.history.append(row)
                row |= self._extra(self) if self._extra else {}
                row["seconds"] = round(spent + time.monotonic() - began, 2)
                self._record(row)
                # Without a redraw of its own: short generations would flood a notebook with them.
                bar.set_postfix(mean=f"{row['mean']:.0f}", best=f"{row['best']:.0f}", refresh=False)
                bar.update()
                yield row

    def _ask(self) -> list:
        if not self._mirrored:
            return self._es.ask()
        half = self._es.ask(self._es.popsize // 2)
        return half + [self._es.get_mirror(x, preserve_length=True) for x in half]

    def _tell(self, candidates: list, scores: np.ndarray) -> None:
        self.candidates = np.array(candidates)
        if self._mirrored:
            one, other = np.split(scores, 2)
            scores = np.concatenate([one - other, other - one]) / 2
        # pycma minimizes. The sign belongs here and nowhere else.
        self._es.tell(candidates, (-scores).tolist())
        self.means.append(self.mean)

    def _record(self, row: dict) -> None:
        if self._path is not None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")

    def _checksum(self) -> float:
        # One number that stands for the mean. (A digest of its bytes would not do: on another
        # processor their last bits differ, and a search may go on there.)
        return float(self.mean @ np.cos(np.arange(len(self.mean))))

    def _replay(self, log: Path, rows: list[dict]) -> None:
        if rows:
            require(log, Record.from_dict(rows[0].get("record")), self.record)
        for row in rows:
            self._tell(self._ask(), np.array(row["scores"]))
            now = {"sigma": self.sigma, "mean_checksum": self._checksum()}
            for name, value in now.items():
                logged = row.get(name, math.nan)
                if not np.isclose(logged, value, rtol=1e-6, atol=1e-9):
                    raise ValueError(
                        f"{log}: the scores up to generation {row['generation']} lead to "
                        f"{name} = {value:.6g}, but the log has {logged:.6g}. They were edited, "
                        f"or another version of pycma made them: restore the file, or name another "
                        f"folder"
                    )
            self.history.append(row)


def _complete_rows(log: Path) -> list[dict]:
    text = log.read_text(encoding="utf-8")
    if not text.endswith("\n"):
        # A kill tore the last line. Cut it off, or the next one would be glued to it.
        text = text[: text.rfind("\n") + 1]
        write_atomically(log, lambda path: path.write_text(text, encoding="utf-8"))
    return read_log(log)
