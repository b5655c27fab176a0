"""Prints how often the 95% intervals of few episodes contain the mean of very many.

    python tests/interval_coverage.py

The 1,000 scores of the pretrained CarRacing agent stand for all that it could have. Of them, n are
drawn with replacement, again and again: a calibrated interval contains their mean in 95% of cases.
"""

import numpy as np

from wmlib.evaluation import episode_interval, seed_interval
from wmlib.paths import pretrained
from wmlib.pipeline.scoring import read_score

DRAWS = 1000


def main() -> None:
    """A line for each n: the share of intervals that contain the mean, and their mean width."""
    scores = read_score(pretrained("car_racing")).scores
    rng = np.random.default_rng(0)
    for n in (20, 50, 100):
        samples = rng.choice(scores, (DRAWS, n))
        for interval in (seed_interval, episode_interval):
            found = [interval(sample) for sample in samples]
            share = np.mean([i.low <= scores.mean() <= i.high for i in found])
            width = np.mean([i.high - i.low for i in found])
            print(f"n = {n:3}  {interval.__name__:16}  {share:.1%}, width {width:.1f}", flush=True)


if __name__ == "__main__":
    main()
