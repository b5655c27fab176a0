import json

import numpy as np
import pytest

from wmlib.files import read_log, write_log
from wmlib.provenance import Record
from wmlib.training.evolution import Evolution

TARGET = np.array([1.0, -2.0, 0.5, 3.0])


def closeness(candidates, generation):
    return -((candidates - TARGET) ** 2).sum(1)


def test_a_search_converges_to_the_maximum():
    """With a wrong sign, the search would diverge from the target."""
    evolution = Evolution(4, population=16, sigma=0.5, seed=0)
    rows = list(evolution.run(closeness, 60))
    np.testing.assert_allclose(evolution.mean, TARGET, atol=1e-3)
    assert [row["generation"] for row in rows] == list(range(1, 61))
    assert rows[0]["best"] == max(rows[0]["scores"])


def test_the_seed_determines_a_search_and_numpys_global_state_is_unchanged():
    np.random.seed(1)  # noqa: NPY002
    expected = np.random.rand()  # noqa: NPY002
    results = []
    np.random.seed(1)  # noqa: NPY002
    for seed in (3, 3, 4):
        evolution = Evolution(4, population=8, seed=seed)
        list(evolution.run(closeness, 5))
        results.append(evolution.mean)
    assert np.random.rand() == expected  # noqa: NPY002
    np.testing.assert_array_equal(results[0], results[1])
    assert (results[0] != results[2]).any()


def test_the_result_is_the_mean_and_not_a_candidate():
    """The best of many noisy scores is biased upwards (the winner's curse)."""
    evaluated = []

    def noisy(candidates, generation):
        evaluated.append(candidates)
        return closeness(candidates, generation)

    evolution = Evolution(4, population=8, seed=0)
    list(evolution.run(noisy, 3))
    assert not (np.concatenate(evaluated) == evolution.mean).all(1).any()
    np.testing.assert_array_equal(evolution.candidates, evaluated[-1])


@pytest.mark.parametrize("cut", [1, 6, 11])
def test_a_resumed_search_equals_an_uninterrupted_one(tmp_path, cut):
    whole = Evolution(4, population=8, seed=0)
    list(whole.run(closeness, 12))

    def first_part(candidates, generation):
        if generation == cut:
            raise KeyboardInterrupt
        return closeness(candidates, generation)

    with pytest.raises(KeyboardInterrupt):
        list(Evolution(4, population=8, seed=0, log=tmp_path / "log").run(first_part, 12))

    def second_part(candidates, generation):
        assert generation >= cut, "a generation on disk was evaluated again"
        return closeness(candidates, generation)

    resumed = Evolution(4, population=8, seed=0, log=tmp_path / "log")
    assert resumed.generation == cut
    list(resumed.run(second_part, 12))
    np.testing.assert_array_equal(resumed.mean, whole.mean)
    np.testing.assert_array_equal(resumed.candidates, whole.candidates)
    assert resumed.sigma == whole.sigma
    assert [r["scores"] for r in resumed.history] == [r["scores"] for r in whole.history]


def test_a_separable_search_learns_variances_in_a_few_generations():
    """Some of 75 numbers matter a thousand times as much as the others: their variances shrink."""
    weights = np.where(np.arange(75) < 10, 1000.0, 1.0)

    def bowl(candidates, generation):
        return -(candidates**2) @ weights

    shares = {}
    for separable in (False, True):
        evolution = Evolution(75, 48, sigma=0.3, start=np.ones(75), separable=separable)
        list(evolution.run(bowl, 25))
        covariance = evolution.covariance
        assert covariance.shape == (75, 75)
        variances = np.diag(covariance)
        shares[separable] = variances[:10].mean() / variances[10:].mean()
        if separable:
            np.testing.assert_array_equal(covariance, np.diag(variances))
    assert shares[True] < 0.3 < 0.6 < shares[False]


@pytest.mark.parametrize("option", ["separable", "mirrored"])
def test_a_search_with_an_option_is_another_search_and_resumes_alike(tmp_path, option):
    log, on = tmp_path / "evolution.jsonl", {option: True}
    whole = Evolution(4, population=8, seed=0, **on)
    list(whole.run(closeness, 8))
    list(Evolution(4, population=8, seed=0, log=log, **on).run(closeness, 5))
    again = Evolution(4, population=8, seed=0, log=log, **on)
    list(again.run(closeness, 8))
    np.testing.assert_array_equal(again.mean, whole.mean)
    with pytest.raises(ValueError, match=option):
        Evolution(4, population=8, seed=0, log=log)


def test_mirrored_candidates_are_ranked_by_half_the_difference_of_each_pair():
    """So what both of a pair lose alike changes nothing, however large it is."""
    slope, means = np.arange(6.0), []
    for lost in (0.0, 1e4):
        search = Evolution(6, population=8, seed=0, mirrored=True)

        def fitness(candidates, generation, search=search, lost=lost):
            away = candidates - search.mean
            np.testing.assert_allclose(away[:4], -away[4:], atol=1e-12)
            assert not np.allclose(away[0], away[1])
            return candidates @ slope - lost * (away**2).sum(1)

        list(search.run(fitness, 4))
        means.append(search.mean)
    np.testing.assert_allclose(means[0], means[1], rtol=1e-6)
    assert means[0] @ slope > 0


def test_a_mirrored_population_must_be_even():
    with pytest.raises(ValueError, match="a mirrored population must be even, got 7"):
        Evolution(4, population=7, mirrored=True)


def test_an_incomplete_last_line_is_dropped(tmp_path):
    log = tmp_path / "log"
    whole = Evolution(4, population=8, seed=0, log=log)
    list(whole.run(closeness, 5))
    log.write_text(log.read_text(encoding="utf-8")[:-40], encoding="utf-8")
    resumed = Evolution(4, population=8, seed=0, log=log)
    assert resumed.generation == 4
    list(resumed.run(closeness, 5))
    np.testing.assert_array_equal(resumed.mean, whole.mean)
    assert len([json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]) == 5


def test_bad_input_is_named(tmp_path):
    with pytest.raises(ValueError, match="at least 4, got 2"):
        Evolution(4, population=2)
    with pytest.raises(ValueError, match="8 finite scores"):
        list(Evolution(4, population=8).run(lambda c, g: np.full(8, np.nan), 1))
    list(Evolution(4, population=8, seed=0, log=tmp_path / "log").run(closeness, 1))
    with pytest.raises(ValueError, match="made with seed = 0, this would be with seed = 1"):
        Evolution(4, population=8, seed=1, log=tmp_path / "log")


def test_a_log_of_another_objective_is_refused(tmp_path):
    """Also where the log does not have the setting that differs."""
    log, options = tmp_path / "log", {"population": 8, "seed": 0}
    list(Evolution(4, log=log, **options).run(closeness, 2))
    for record in (Record({}, {"agent_steps": 500}), Record({"world_model": "abc"})):
        with pytest.raises(ValueError, match=r"log was made .* no (agent_steps|world_model)"):
            Evolution(4, log=log, record=record, **options)
    assert Evolution(4, log=log, **options).generation == 2


@pytest.mark.parametrize("edited", ["scores", "sigma", "mean_checksum"])
def test_an_edited_log_is_refused(tmp_path, edited):
    """The logged scores must lead to the logged sigma and mean."""
    log = tmp_path / "log"
    list(Evolution(4, population=8, seed=0, log=log).run(closeness, 5))
    rows = read_log(log)
    rows[2][edited] = rows[2]["scores"][::-1] if edited == "scores" else rows[2][edited] * 1.01
    write_log(rows, log)
    with pytest.raises(ValueError, match="the scores up to generation 3 lead to"):
        Evolution(4, population=8, seed=0, log=log)


def test_fewer_generations_than_the_log_has_are_refused(tmp_path):
    evolution = Evolution(4, population=8, seed=0, log=tmp_path / "log")
    list(evolution.run(closeness, 3))
    with pytest.raises(ValueError, match="has 3 generations, 2 are wanted"):
        list(evolution.run(closeness, 2))


def test_a_log_of_another_version_is_refused(tmp_path):
    log = tmp_path / "log"
    list(Evolution(4, population=8, seed=0, log=log).run(closeness, 2))
    write_log(
        [{k: v for k, v in row.items() if k != "mean_checksum"} for row in read_log(log)], log
    )
    with pytest.raises(ValueError, match=r"mean_checksum = .*, but the log has nan"):
        Evolution(4, population=8, seed=0, log=log)
