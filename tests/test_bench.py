"""The benchmark: that it measures, never how much."""

import json

import pytest

from wmlib import bench, figures


def test_it_measures_in_turns_and_keeps_the_ratio():
    order = []

    def measurement(name, rates):
        def measure(i):
            order.append((name, i))
            return rates[i]

        return bench.Measurement(name, "steps", 1, measure)

    measured = [measurement("reference", [2, 4, 3]), measurement("faster", [30, 50, 60])]
    first, _, result = bench.run(measured, rounds=3)
    assert [row["runs"] for row in first["rows"]] == [[2], [30]]
    assert order == [(name, i) for i in range(3) for name in ("reference", "faster")]
    reference, faster = result["rows"]
    assert (reference["median"], faster["median"]) == (3, 50)
    assert faster["times_gymnasium"] == pytest.approx(50 / 3, abs=0.01)
    assert "50" in bench.table(result)
    json.dumps(result)
    assert len(figures.bench(result).axes[0].patches) == 2
    with pytest.raises(ValueError, match="must be 1 or more, got 0"):
        next(bench.run(measured, rounds=0))


def test_environments_are_measured():
    measurements = bench.environments(steps=3)
    names = [m.name for m in measurements]
    assert names[0] == bench.GYMNASIUM
    assert {bench.FAST, bench.PHYSICS} < set(names)
    assert all(m.measure(0) > 0 for m in measurements)


def test_dreams_and_the_disk_are_measured():
    measurements = bench.rollouts(None, 0, steps=3)[len(bench.WHOLE) :]
    assert [m.name for m in measurements[:3]] == [*bench.ALONE, bench.DREAMS]
    assert all(m.measure(0) > 0 for m in measurements)


def test_hands_are_measured_and_stand_apart():
    measurements = bench.explorers(moves=2)
    assert all(m.measure(0) > 0 for m in measurements)
    first = bench.Measurement("first", "steps", 1, lambda i: 1.0)
    (result,) = bench.run([first, *measurements], rounds=1)
    below = bench.table(result).split("95 of 100")[1]
    assert all(m.name in below for m in measurements)
    assert "first" not in below


def test_a_cluster_is_measured_with_one_worker_and_with_all():
    pytest.importorskip("dask.distributed", reason="needs Dask: see `make extras`")
    measurements = bench.through_dask(2, steps=3)
    assert [m.cores for m in measurements] == [1, 2]
    assert all(m.measure(0) > 0 for m in measurements)
