"""The benchmark: which work is timed and which is not; never how fast this machine is."""

import json
from types import SimpleNamespace

import gymnasium as gym
import numpy as np
import pytest
from PIL import Image

from wmlib import paths
from wmlib.tools import bench
from wmlib.tools.bench import environment, explorer, network, rollout, timing


class Clock:
    """Replaces the bench's `time`: it advances only by the durations that a test sets."""

    now = 0.0

    def perf_counter(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(timing, "time", clock)
    return clock


def measurement(name, rates, panel=bench.ENVIRONMENTS, reference="reference", order=None):
    def measure(i):
        if order is not None:
            order.append((name, i))
        return rates[i]

    return bench.Measurement(name, panel, 1, measure, reference)


def test_repetitions_are_interleaved_and_ratios_are_of_medians():
    order = []
    measured = [
        measurement("reference", [2, 4, 3], order=order),
        measurement("faster", [30, 50, 60], order=order),
    ]
    first, _, result = bench.run(measured, repetitions=3)
    assert [row["runs"] for row in first["rows"]] == [[2], [30]]
    assert order == [(name, i) for i in range(3) for name in ("reference", "faster")]
    reference, faster = result["rows"]
    assert (reference["median"], faster["median"]) == (3, 50)
    assert faster["times_gymnasium"] == pytest.approx(50 / 3, abs=0.01)
    assert json.loads(json.dumps(result)) == result
    with pytest.raises(ValueError, match="must be 1 or more, got 0"):
        next(bench.run(measured, repetitions=0))


def test_the_table_has_a_section_per_unit_and_ratios_only_to_a_reference():
    measured = [
        measurement("first", [2, 4, 3], reference="first"),
        measurement("a slider", [8, 5, 6], bench.EXPLORERS, None),
        measurement("faster", [30, 50, 60], reference="first"),
    ]
    *_, result = bench.run(measured, repetitions=3)
    above, below = bench.table(result).split(f"\n\n{bench.EXPLORERS}: milliseconds\n")
    assert above.startswith(f"{bench.ENVIRONMENTS}: environment steps per second\n")
    (faster,) = (line.split() for line in above.splitlines() if "faster" in line)
    assert faster == ["faster", "50", "30", "to", "60", "1", "16.7", "×"]
    (slider,) = (line.split() for line in below.splitlines() if "a slider" in line)
    assert slider == ["a", "slider", "6.0", "5.0", "to", "8.0", "1"]


def test_the_published_bench_has_every_current_measurement():
    rows = json.loads(paths.published("bench.json").read_text(encoding="utf-8"))["rows"]
    current = [*bench.environments(), *bench.networks(), *bench.rollouts(None, 0, 1)]
    names = {m.name for m in current} | {bench.DASK, bench.ENVPOOL, bench.DRIVING_A_DREAM}
    assert names <= {row["name"] for row in rows}


class Slow(gym.Env):
    """A reset takes 100 s, each of the first environment steps 10 s, each later one 0.5 s."""

    action_space = gym.spaces.Box(-1, 1, (3,))

    def __init__(self, clock: Clock):
        self.clock = clock

    def reset(self, **kwargs):
        self.clock.now += 100
        self.steps = 0

    def step(self, action):
        self.clock.now += 10 if self.steps < environment.WARM_UP else 0.5
        self.steps += 1


def test_an_environments_reset_and_first_steps_are_not_timed(clock):
    assert environment._steps_per_second(Slow(clock), 20, seed=0) == pytest.approx(2)


def test_the_first_call_is_not_timed(clock):
    seconds = iter([100.0, *[0.5] * 10])

    def function():
        clock.now += next(seconds)

    assert timing.per_second(function, 10) == pytest.approx(2)


def test_the_first_fit_is_not_timed(clock, monkeypatch):
    def fit(network, step, batches, **settings):
        clock.now += 100 if len(batches) == 1 else 0.5 * len(batches)

    monkeypatch.setattr(network, "fit", fit)
    assert network._batches_per_second(lambda: None, None, None) == pytest.approx(2)


def test_latency_is_the_95th_percentile_without_the_first_move(clock):
    seconds = iter([100.0, *[0.010] * 99, 5.0])

    def move(k):
        clock.now += next(seconds)

    assert explorer._latency(move, 100) == pytest.approx(10)


@pytest.fixture
def rollouts_run(clock, monkeypatch) -> list[SimpleNamespace]:
    """The calls of `run_episodes`; every episode has 30 steps and takes a second."""
    calls = []

    def run_episodes(env_spec, policy, specs, world_model=None, *, executor=None, store=None):
        clock.now += len(specs)
        skip = world_model.mdn_rnn.repeat if hasattr(world_model, "mdn_rnn") else None
        calls.append(SimpleNamespace(env_spec=env_spec, specs=specs, skip=skip, executor=executor))
        if store is not None:
            store.write("0", {"frames": np.zeros((31, 8, 8, 3), np.uint8)})
        return [SimpleNamespace(steps=30) for _ in specs]

    monkeypatch.setattr(rollout, "run_episodes", run_episodes)
    return calls


@pytest.mark.parametrize("name", [*bench.WHOLE, *bench.ALONE, bench.DREAMS, bench.COLLECTING])
def test_rollouts_time_whole_episodes_after_every_worker_is_warm(name, rollouts_run):
    (measured,) = (m for m in bench.rollouts("pool", 2, steps=40) if m.name == name)
    assert measured.measure(3) == pytest.approx(30)  # without the time of the warm-up
    warm, timed = rollouts_run
    assert len(warm.specs) >= 2 * (name not in bench.ALONE)  # at least one per worker
    assert (measured.kind == "dream") == (name == bench.DREAMS)
    if name == bench.DREAMS:
        assert warm.env_spec.max_steps < timed.env_spec.max_steps
        return
    assert timed.env_spec.options == {"max_episode_steps": 40}
    assert warm.env_spec.patience  # ends early
    assert timed.env_spec.patience is None
    assert timed.skip == {**bench.WHOLE, **dict.fromkeys(bench.ALONE, 1)}.get(name)
    assert timed.executor == (None if name in bench.ALONE else "pool")
    num_envs = bench.ALONE | {bench.COLLECTING: rollout.COLLECTED}
    assert timed.env_spec.num_envs == num_envs.get(name, bench.ROWS)
    seeds = {spec.seed for spec in timed.specs}
    measured.measure(4)
    assert seeds.isdisjoint(spec.seed for spec in rollouts_run[-1].specs)  # other tracks


def test_the_size_on_disk_is_that_of_the_collected_frames(rollouts_run):
    *_, collecting, on_disk = bench.rollouts(None, 0, steps=3)
    collecting.measure(0)
    assert on_disk.measure(0) > 31 / (31 * 8 * 8 * 3 / 1e6)  # black frames compress well


def test_environments_have_their_baselines():
    measurements = bench.environments(steps=3)
    references = {m.name: m.reference for m in measurements}
    kinds = {m.name: m.kind for m in measurements}
    assert next(iter(references)) == bench.GYMNASIUM
    assert references[bench.FAST] == references[bench.PHYSICS] == bench.GYMNASIUM
    assert references[bench.NEW_TRACK[bench.FAST]] == bench.NEW_TRACK[bench.GYMNASIUM]
    assert kinds[bench.GYMNASIUM] == kinds[bench.NEW_TRACK[bench.GYMNASIUM]] == "baseline"
    assert kinds[bench.FAST] == "real"


def test_the_moves_of_explorers_are_timed_with_their_pictures(monkeypatch):
    measurements = bench.explorers(moves=3)
    pictures = []
    save = Image.Image.save

    def counted(self, *args, **kwargs):
        pictures.append(self)
        return save(self, *args, **kwargs)

    monkeypatch.setattr(Image.Image, "save", counted)
    for measured in measurements:
        pictures.clear()
        measured.measure(0)
        assert len(pictures) >= 3, measured.name


def test_a_cluster_is_measured_if_dask_is_installed(monkeypatch):
    pytest.importorskip("dask.distributed", reason="needs Dask: see `make extras`")
    with bench.local_cluster(2) as cluster:
        submitted, submit = [], cluster.submit
        monkeypatch.setattr(cluster, "submit", lambda *a: submitted.append(a) or submit(*a))
        (measured,) = bench.through_dask(cluster, 2, steps=3)
        assert (measured.name, measured.cores) == (bench.DASK, 2)
        measured.measure(0)
    assert len(submitted) == 4  # a warm-up and a timed task for each of two workers
    assert bench.through_dask(None, 2, steps=3) == []
