"""Dask: separate worker processes give what one process gives, also when one of them dies."""

import os
import signal
import threading
import time

import numpy as np
import pytest

from wmlib.controller import Controller
from wmlib.drivers import ControllerDriver, Job
from wmlib.experience import EpisodeStore
from wmlib.presets import preset
from wmlib.recipes import car_world, collect, random_car_driver
from wmlib.rollout import drive_all, processes

distributed = pytest.importorskip(
    "dask.distributed", reason="the cluster tests need Dask: see `make extras`"
)

JOBS = [Job(seed, member) for member in range(3) for seed in range(4)]


@pytest.fixture(scope="module")
def address():
    """A scheduler with two workers, each a process with one thread."""
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
    ) as cluster:
        yield cluster.scheduler_address


@pytest.fixture
def driver():
    return ControllerDriver(Controller(np.random.default_rng(0).normal(size=(3, 867))))


def scores(driver, world_model, executor, steps=60):
    world = car_world(preset("smoke").change(max_steps=steps))
    drives = drive_all(world, driver, JOBS, world_model, executor=executor)
    return [(drive.job, drive.score, drive.steps) for drive in drives]


def test_the_same_seeds_give_the_same_scores(address, driver, world_model):
    alone = scores(driver, world_model, None)
    with processes(0, address) as executor:
        assert scores(driver, world_model, executor) == alone


def test_a_cluster_that_is_not_there_is_named():
    with pytest.raises(ValueError, match="no Dask scheduler answers at 'tcp:"):
        with processes(0, "tcp://127.0.0.1:9"):
            pass


def test_what_all_need_travels_once(address, driver, world_model):
    with processes(0, address) as executor:
        sent = []
        scatter = executor._client.scatter
        executor._client.scatter = lambda thing, **options: (
            sent.append(thing) or scatter(thing, **options)
        )
        for _ in range(3):
            scores(driver, world_model, executor, steps=8)
        assert sum(thing is world_model for thing in sent) == 1
        for k in range(20):  # and is forgotten, in the end
            executor.share(f"another {k}")
        assert len(executor._shared) == 8


def test_a_worker_that_dies_costs_time_not_results(address, driver, world_model):
    alone = scores(driver, world_model, None, steps=80)
    with processes(0, address) as executor:
        victims = executor._client.run(os.getpid)

        def kill():
            time.sleep(0.5)
            os.kill(next(iter(victims.values())), signal.SIGKILL)

        threading.Thread(target=kill).start()
        assert scores(driver, world_model, executor, steps=80) == alone
        after = executor._client.run(os.getpid)
    assert set(after.values()) != set(victims.values())


def test_collecting_on_a_cluster_fills_the_same_store(address, tmp_path):
    world = car_world(preset("smoke"))
    here = collect(world, random_car_driver(), range(4), tmp_path / "here" / "episodes")
    with processes(0, address) as executor:
        there = collect(
            world, random_car_driver(), range(4), tmp_path / "there" / "episodes", executor
        )
    assert here.names() == there.names()
    for name in here.names():
        for key, values in here.episode(name).items():
            np.testing.assert_array_equal(values, EpisodeStore(there.folder).read(name, key))
