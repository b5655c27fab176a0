"""What chapter 6 reads from the logs of the ablations."""

import numpy as np
import pytest

from wmlib.evaluation import seed_interval
from wmlib.files import write_log
from wmlib.tools import ablations, dream_scores
from wmlib.tools.dream_scores import DreamScores

FROM_RUN = "episodes of the run's controllers"


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
            {"kind": ablations.ON_POLICY, "real": 9.0, "temperature": 1.3, "dropout": 0.0},
            {"kind": ablations.ON_POLICY, "real": 400.0} | neutral,
        ]
        run = tmp_path / f"seed{seed}"
        write_log(matrix, run / ablations.SCORE_MATRIX)
        write_log(evolved, run / ablations.EVOLVED)
        runs.append(run)
    return DreamScores.read(runs)


def test_a_reader_sees_what_the_data_are():
    assert dream_scores.label(ablations.ON_POLICY) == FROM_RUN
    assert dream_scores.label("evolved: on-policy episodes") == f"evolved: {FROM_RUN}"
    assert dream_scores.label("never steers") == "never steers"


def test_returns_of_policies_real_and_predicted(scores):
    assert scores.policies == ["never steers", "evolved: as in chapter 3", f"evolved: {FROM_RUN}"]
    np.testing.assert_array_equal(scores.real, [[5, 30, 600], [5, 30, 600.5]])
    assert list(scores.predicted) == ["as in chapter 3", FROM_RUN]
    predicted, real = scores.pairs(FROM_RUN, {f"evolved: {FROM_RUN}", "never steers"})[1]
    assert (list(predicted), list(real)) == ([3, 800], [5, 600.5])


def test_regret_is_the_real_return_lost_by_the_dreams_choice(scores):
    assert list(scores.regrets("as in chapter 3")) == [570, 570.5]
    assert list(scores.regrets(FROM_RUN)) == [0, 0]
    others = ["never steers", "evolved: as in chapter 3"]
    assert list(scores.regrets(FROM_RUN, others)) == [25, 25]


def test_a_policy_evolved_in_a_dream_counts_on_both_sets_of_tracks(scores):
    assert list(scores.evolved_in("as in chapter 3")) == [40, 40.5]
    assert list(scores.evolved_in(FROM_RUN)) == [500, 500.25]


def test_changes_are_described_with_their_mean_difference(scores):
    changes = scores.before_and_after({"the data": ("as in chapter 3", FROM_RUN)})
    before, after = changes["the data"]
    first, second = dream_scores.describe_changes(changes).splitlines()
    assert first == "the data: before [40. 40.], after [500. 500.]"
    assert second.strip() == "difference " + seed_interval(after - before).describe(0)
