"""What chapter 6 reads from the logs of the ablations."""

import numpy as np
import pytest
from scipy.stats import spearmanr

from wmlib.evaluation import seed_interval
from wmlib.files import write_log
from wmlib.tools import ablations, dream_scores
from wmlib.tools.dream_scores import DreamScores


@pytest.fixture
def scores(tmp_path):
    """Two seeds, three policies, two dreams."""
    names = ["never steers", "evolved: as in chapter 3", "evolved: on-policy episodes"]
    runs = []
    for seed in range(2):
        real = {
            "where": ablations.REAL,
            "policies": names,
            "scores": [[0, 10], [20, 40], [500 + seed, 700]],
        }
        predicted = {ablations.PLAIN: [1, 9, 5], ablations.ON_POLICY: [3, 2, 800]}
        matrix = [real, *({"where": k, "predicted_return": v} for k, v in predicted.items())]
        neutral = {"temperature": 1.0, "dropout": 0.0}
        evolved = [
            {"kind": ablations.PLAIN, "real": 50.0 + seed} | neutral,
            {"kind": ablations.ON_POLICY, "real": 9.0 + seed, "temperature": 1.3, "dropout": 0.0},
            {"kind": ablations.ON_POLICY, "real": 400.0} | neutral,
        ]
        run = tmp_path / f"seed{seed}"
        write_log(matrix, run / ablations.SCORE_MATRIX)
        write_log(evolved, run / ablations.EVOLVED)
        runs.append(run)
    return DreamScores.read(runs)


def test_a_reader_sees_numbered_dreams():
    kinds = (*ablations.KINDS, ablations.OWN_DREAM, ablations.WITH_TEMPERATURE)
    assert [dream_scores.label(kind) for kind in kinds] == [f"D{k}" for k in range(1, 9)]
    assert dream_scores.label("evolved: on-policy episodes") == "evolved in D5"
    assert dream_scores.label("never steers") == "never steers"
    assert dream_scores.label(ablations.RESULT) == "result of the run"


def test_returns_of_policies_real_and_predicted(scores):
    assert scores.policies == ["never steers", "evolved in D1", "evolved in D5"]
    np.testing.assert_array_equal(scores.real, [[5, 30, 600], [5, 30, 600.5]])
    assert list(scores.predicted) == ["D1", "D5"]
    predicted, real = scores.pairs("D5", {"evolved in D5", "never steers"})[1]
    assert (list(predicted), list(real)) == ([3, 800], [5, 600.5])


def test_regret_is_the_real_return_lost_by_the_dreams_choice(scores):
    assert list(scores.regrets("D1")) == [570, 570.5]
    assert list(scores.regrets("D5")) == [0, 0]
    assert list(scores.regrets("D5", ["never steers", "evolved in D1"])) == [25, 25]


def test_rank_correlations_are_scipys_with_intervals():
    real = np.random.default_rng(1).integers(5, size=20).astype(float)
    predicted = real + np.random.default_rng(2).integers(5, size=20)
    scores = DreamScores([str(k) for k in range(20)], [real[:, None]], {"D1": [predicted]}, [])
    ((rho, low, high),) = scores.rank_correlations("D1")
    assert rho == pytest.approx(spearmanr(predicted, real).statistic)
    assert -1 <= low < rho < high <= 1
    ((_, other, _),) = scores.rank_correlations("D1", resamples=10)
    assert other != low


def test_the_rank_table_has_three_sets_of_policies(scores):
    names = [*scores.policies, "round 2", "round 3", "result of the run"]
    real, predicted = np.array([1.0, 2, 3, 4, 5, 6]), np.array([1.0, 3, 2, 6, 5, 4])
    more = DreamScores(names, [real[:, None]], {"D5": [predicted]}, [])
    _, line = more.rank_table().splitlines()
    # Without the run, and without the policy evolved in D5, two are left, in the right order.
    whole = spearmanr(predicted, real).statistic
    assert line.split() == ["D5", f"{whole:.2f}", "1.00", "-1.00", "2"]


def test_a_policy_evolved_in_a_dream_counts_on_both_sets_of_tracks(scores):
    assert list(scores.logged("D5")) == [400, 400]
    assert list(scores.logged("D5", temperature=1.3)) == [9, 10]
    assert list(scores.evolved_in("D1")) == [40, 40.5]
    assert list(scores.evolved_in("D5")) == [500, 500.25]


def test_changes_are_described_with_their_mean_difference(scores):
    changes = scores.before_and_after({"the data": ("D1", "D5")})
    before, after = changes["the data"]
    line = dream_scores.describe_changes(changes)
    mean = seed_interval(after - before)
    assert line.split()[:7] == ["the", "data", "40", "40", "->", "500", "500"]
    assert f"mean {mean.mean:+.0f} (95% CI {mean.low:.0f} to {mean.high:.0f})" in line
