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

    result = bench.run(
        [measurement("reference", [2, 4, 3]), measurement("faster", [30, 50, 60])], rounds=3
    )
    assert order == [(name, i) for i in range(3) for name in ("reference", "faster")]
    reference, faster = result["rows"]
    assert (reference["median"], faster["median"]) == (3, 50)
    assert faster["times_gymnasium"] == pytest.approx(50 / 3, abs=0.01)
    assert "50" in bench.table(result)
    json.dumps(result)
    assert len(figures.bench(result).axes[0].patches) == 2


@pytest.mark.parametrize("part", ["environments", "rollouts"])
def test_every_measurement_measures(part):
    if part == "environments":
        measurements = bench.environments(steps=3)
        names = [m.name for m in measurements]
        assert names[0] == bench.GYMNASIUM
        assert {bench.FAST, bench.PHYSICS} < set(names)
    else:
        everything = bench.everything(None, 0, steps=3)
        measurements = [m for m in everything if "disk" in m.name or "dream" in m.name]
        assert len(measurements) == 3
    assert all(m.measure(0) > 0 for m in measurements)
