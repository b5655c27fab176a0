"""Prints the empirical coverage of 95% intervals of the mean over few episodes.

    python tests/interval_coverage.py

The 1,000 scores of the pretrained CarRacing agent serve as the population. Samples of n scores are
drawn from it with replacement: a calibrated interval contains its mean for 95% of the samples.
"""

import numpy as np

from wmlib.evaluation import episode_interval, seed_interval
from wmlib.paths import pretrained
from wmlib.pipeline.scoring import read_score

DRAWS = 1000


def main() -> None:
    """One line per n and interval: the share that contains the mean, and the mean width."""
    scores = read_score(pretrained("car_racing")).scores
    rng = np.random.default_rng(0)
    for n in (20, 50, 100):
        samples = rng.choice(scores, (DRAWS, n))
        for interval in (seed_interval, episode_interval):
            intervals = [interval(sample) for sample in samples]
            share = np.mean([i.low <= scores.mean() <= i.high for i in intervals])
            width = np.mean([i.high - i.low for i in intervals])
            print(f"n = {n:3}  {interval.__name__:16}  {share:.1%}, width {width:.1f}", flush=True)


if __name__ == "__main__":
    main()
