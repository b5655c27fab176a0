"""Dask: separate worker processes give what one process gives, also when one of them dies."""

import gc
import os
import signal
import threading
import time
import weakref

import numpy as np
import pytest
from test_pipeline import fingerprints

from wmlib.files import read_log
from wmlib.models.controller import Controller
from wmlib.models.world_model import WorldModel
from wmlib.pipeline.car_racing import training_world
from wmlib.pipeline.phases import collect
from wmlib.pipeline.scales import get_config
from wmlib.rollout.episodes import EpisodeStore
from wmlib.rollout.policies import ControllerPolicy, EpisodeSpec, random_car_policy
from wmlib.rollout.rollout import run_episodes
from wmlib.rollout.workers import processes
from wmlib.tools.cli import main

distributed = pytest.importorskip(
    "dask.distributed", reason="the cluster tests need Dask: see `make extras`"
)

JOBS = [EpisodeSpec(seed, member) for member in range(3) for seed in range(4)]


@pytest.fixture(scope="module")
def address():
    """A scheduler with two workers, each a process with one thread."""
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0"
    ) as cluster:
        yield cluster.scheduler_address


@pytest.fixture
def driver():
    return ControllerPolicy(Controller(np.random.default_rng(0).normal(size=(3, 867))))


def scores(driver, world_model, executor, steps=60):
    world = training_world(get_config("smoke").change(max_steps=steps))
    drives = run_episodes(world, driver, JOBS, world_model, executor=executor)
    return [(drive.spec, drive.score, drive.steps) for drive in drives]


def test_the_same_seeds_give_the_same_scores(address, driver, world_model):
    alone = scores(driver, world_model, None)
    with processes(0, address) as executor:
        assert scores(driver, world_model, executor) == alone


def test_a_cluster_that_is_not_there_is_named():
    with pytest.raises(ValueError, match="no Dask scheduler answers at 'tcp:"):
        with processes(0, "tcp://127.0.0.1:9"):
            pass


class CountedWorldModel(WorldModel):
    """Counts in this process how often it is serialized."""

    sent = 0

    def __reduce_ex__(self, protocol):
        type(self).sent += 1
        return super().__reduce_ex__(protocol)


def test_what_all_need_travels_once(address, driver, world_model):
    """Through generations, each of which has another policy but the same world model."""
    counted = CountedWorldModel(world_model.vae, world_model.mdn_rnn)
    policies, sent = [], []
    with processes(0, address) as executor:
        for _ in range(12):
            policy = ControllerPolicy(driver.controller)
            policies.append(weakref.ref(policy))
            world = training_world(get_config("smoke").change(max_steps=8))
            run_episodes(world, policy, JOBS[:2], counted, executor=executor)
            sent.append(CountedWorldModel.sent)
        del policy
        gc.collect()
        assert [reference() is None for reference in policies[:4]] == [True] * 4  # forgotten
    assert sent[0] == sent[-1] > 0


def scores_while_one_dies(address, driver, world_model):
    """The scores of a generation in whose middle a worker is killed."""
    with processes(0, address) as executor:
        victims = executor._client.run(os.getpid)
        busy = []

        def kill():
            while not any(executor._client.processing().values()):
                time.sleep(0.01)
            time.sleep(0.2)
            busy.append(any(executor._client.processing().values()))
            os.kill(next(iter(victims.values())), signal.SIGKILL)

        killer = threading.Thread(target=kill)
        killer.start()
        result = scores(driver, world_model, executor, steps=200)
        killer.join()
        assert busy == [True]  # it was in the middle
        executor._client.wait_for_workers(len(victims), timeout=60)
        assert set(executor._client.run(os.getpid).values()) != set(victims.values())
    return result


def test_a_worker_that_dies_costs_time_not_results(address, driver, world_model):
    alone = scores(driver, world_model, None, steps=200)
    assert scores_while_one_dies(address, driver, world_model) == alone


def test_not_even_if_it_was_the_only_one(driver, world_model):
    alone = scores(driver, world_model, None, steps=200)
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, processes=True, dashboard_address=":0"
    ) as cluster:
        assert scores_while_one_dies(cluster.scheduler_address, driver, world_model) == alone


def test_a_cluster_that_is_lost_is_said_in_one_sentence(driver, world_model):
    cluster = distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, processes=True, dashboard_address=":0"
    )

    def drive_on():
        with processes(0, cluster.scheduler_address) as executor:
            threading.Timer(1.0, cluster.close).start()
            while True:
                scores(driver, world_model, executor, steps=200)

    with pytest.raises(ValueError, match=r"the cluster at tcp://\S+ was lost"):
        drive_on()


@pytest.mark.parametrize("kind", ["on the road", "in dreams"])
def test_a_whole_run_through_a_cluster_is_the_same(address, tmp_path, monkeypatch, kind):
    """From the shell, in a relative folder: the workers have another one."""
    monkeypatch.chdir(tmp_path)
    run = ["run", "car_racing", "--scale", "smoke", "--num-rounds", "1", "--final-eval"]
    run += ["--dream"] if kind == "in dreams" else []
    assert main([*run, "--folder", "alone"]) == 0
    assert main([*run, "--folder", "there", "--cluster", address]) == 0
    assert fingerprints(tmp_path / "there") == fingerprints(tmp_path / "alone")
    for log in ("score", "evolution"):
        there, alone = (read_log(tmp_path / name / f"{log}.jsonl") for name in ("there", "alone"))
        for row in there + alone:
            row.pop("seconds", None)
        assert there == alone


def test_collecting_on_a_cluster_fills_the_same_store(address, tmp_path):
    world = training_world(get_config("smoke"))
    here = collect(world, random_car_policy(), range(4), tmp_path / "here" / "episodes")
    with processes(0, address) as executor:
        there = collect(
            world, random_car_policy(), range(4), tmp_path / "there" / "episodes", executor
        )
    assert here.names() == there.names()
    for name in here.names():
        for key, values in here.episode(name).items():
            np.testing.assert_array_equal(values, EpisodeStore(there.folder).read(name, key))
