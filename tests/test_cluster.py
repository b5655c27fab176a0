"""Dask: worker processes give the results of a single process, also if a worker dies."""

import gc
import os
import signal
import threading
import time
import weakref

import numpy as np
import pytest
from runs import fingerprints

from wmlib.files import read_log
from wmlib.models.controller import Controller
from wmlib.models.world_model import WorldModel
from wmlib.pipeline.car_racing import training_env_spec
from wmlib.pipeline.phases import collect
from wmlib.pipeline.scales import get_config
from wmlib.pipeline.workers import processes
from wmlib.rollout.episodes import EpisodeStore
from wmlib.rollout.policies import ControllerPolicy, EpisodeSpec, random_car_policy
from wmlib.rollout.rollout import run_episodes
from wmlib.tools.cli import main

distributed = pytest.importorskip(
    "dask.distributed", reason="the cluster tests need Dask: see `make extras`"
)

SPECS = [EpisodeSpec(seed, member) for member in range(3) for seed in range(4)]


@pytest.fixture(scope="module")
def address():
    """A scheduler with two workers, each a process with one thread."""
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0"
    ) as cluster:
        yield cluster.scheduler_address


@pytest.fixture
def policy():
    return ControllerPolicy(Controller(np.random.default_rng(0).normal(size=(3, 867))))


def scores(policy, world_model, executor, steps=60):
    env_spec = training_env_spec(get_config("smoke").change(max_steps=steps))
    episodes = run_episodes(env_spec, policy, SPECS, world_model, executor=executor)
    return [(episode.spec, episode.score, episode.steps) for episode in episodes]


def test_the_same_seeds_give_the_same_scores(address, policy, world_model):
    alone = scores(policy, world_model, None)
    with processes(0, address) as executor:
        assert scores(policy, world_model, executor) == alone


def test_a_missing_cluster_is_named():
    with pytest.raises(ValueError, match="no Dask scheduler answers at 'tcp:"):
        with processes(0, "tcp://127.0.0.1:9"):
            pass


class CountedWorldModel(WorldModel):
    """Counts in this process how often it is serialized."""

    sent = 0

    def __reduce_ex__(self, protocol):
        type(self).sent += 1
        return super().__reduce_ex__(protocol)


def test_the_world_model_is_serialized_once(address, policy, world_model):
    """Over generations, which have different policies but the same world model."""
    counted = CountedWorldModel(world_model.vae, world_model.mdn_rnn)
    policies, sent = [], []
    with processes(0, address) as executor:
        for _ in range(12):
            copy = ControllerPolicy(policy.controller)
            policies.append(weakref.ref(copy))
            env_spec = training_env_spec(get_config("smoke").change(max_steps=8))
            run_episodes(env_spec, copy, SPECS[:2], counted, executor=executor)
            sent.append(CountedWorldModel.sent)
        del copy
        gc.collect()
        assert [reference() is None for reference in policies[:4]] == [True] * 4  # freed
    assert sent[0] == sent[-1] > 0


def scores_while_one_dies(address, policy, world_model):
    """The scores of a generation during which a worker is killed."""
    with processes(0, address) as executor:
        workers = executor._client.run(os.getpid)
        busy = []

        def kill():
            while not any(executor._client.processing().values()):
                time.sleep(0.01)
            time.sleep(0.2)
            busy.append(any(executor._client.processing().values()))
            os.kill(next(iter(workers.values())), signal.SIGKILL)

        killer = threading.Thread(target=kill)
        killer.start()
        result = scores(policy, world_model, executor, steps=200)
        killer.join()
        assert busy == [True]  # episodes were running
        executor._client.wait_for_workers(len(workers), timeout=60)
        assert set(executor._client.run(os.getpid).values()) != set(workers.values())
    return result


def test_scores_do_not_change_if_a_worker_dies(address, policy, world_model):
    alone = scores(policy, world_model, None, steps=200)
    assert scores_while_one_dies(address, policy, world_model) == alone


def test_scores_do_not_change_if_the_only_worker_dies(policy, world_model):
    alone = scores(policy, world_model, None, steps=200)
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, processes=True, dashboard_address=":0"
    ) as cluster:
        assert scores_while_one_dies(cluster.scheduler_address, policy, world_model) == alone


def test_a_lost_cluster_is_reported_in_one_sentence(policy, world_model):
    cluster = distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, processes=True, dashboard_address=":0"
    )

    def run_until_the_cluster_is_lost():
        with processes(0, cluster.scheduler_address) as executor:
            threading.Timer(1.0, cluster.close).start()
            while True:
                scores(policy, world_model, executor, steps=200)

    with pytest.raises(ValueError, match=r"the cluster at tcp://\S+ was lost"):
        run_until_the_cluster_is_lost()


@pytest.mark.parametrize("kind", ["in the real environment", "in dreams"])
def test_a_run_on_a_cluster_equals_a_local_one(address, tmp_path, monkeypatch, kind):
    """From the command line, in a relative folder: that of the workers is another one."""
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
    env_spec = training_env_spec(get_config("smoke"))
    here = collect(env_spec, random_car_policy(), range(4), tmp_path / "here" / "episodes")
    with processes(0, address) as executor:
        there = collect(
            env_spec, random_car_policy(), range(4), tmp_path / "there" / "episodes", executor
        )
    assert here.names() == there.names()
    for name in here.names():
        for key, values in here.episode(name).items():
            np.testing.assert_array_equal(values, EpisodeStore(there.folder).read(name, key))
