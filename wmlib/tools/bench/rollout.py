"""Rollouts of whole episodes, resets included: real and dreamt, saved to disk, through Dask."""

import contextlib
import dataclasses
import importlib.util
import logging
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from typing import Any

import numpy as np
import torch

from wmlib.envs.dream import DreamSpec, PassThroughEncoder
from wmlib.envs.vector import VectorEnvSpec
from wmlib.models.checkpoints import load_agent
from wmlib.models.controller import Controller
from wmlib.models.world_model import State
from wmlib.paths import pretrained
from wmlib.pipeline.workers import dask_cluster
from wmlib.rollout.episodes import EpisodeStore
from wmlib.rollout.policies import ControllerPolicy, EpisodeSpec, Policy, random_car_policy
from wmlib.rollout.rollout import run_episodes
from wmlib.tools.bench.environment import GYMNASIUM, WARM_UP
from wmlib.tools.bench.measure import ROLLOUTS, STORAGE, Measurement
from wmlib.tools.bench.timing import one_core, timed

ROWS = 64  # environments per batch
COLLECTED = 16  # environments of the random policy, which has no network to gain from a batch
# {name: frame skip}. With a frame skip of 1, the agent acts at every environment step.
WHOLE = {"V, M and C, frame skip 1": 1, "V, M and C, frame skip 2": 2}
ALONE = {  # {name: environments}, on one core: workers of a large cluster have few environments
    f"V, M and C, frame skip 1, {ROWS} environments": ROWS,
    "V, M and C, frame skip 1, one environment": 1,
}
DREAMS = "M and C in a dream, frame skip 2"
COLLECTING, ON_DISK = "random policy, episodes saved to disk", "random policy, 64 × 64 frames"
DASK = "V, M and C, frame skip 1, through Dask"


def rollouts(executor: Executor | None, workers: int, steps: int) -> list[Measurement]:
    """Measurements of rollouts, in environment steps per second, and of frames per megabyte.

    executor: runs them on its `workers`, except those in ALONE, which use one core; None: this
    process. steps: limit of an episode, in environment steps.
    """
    cores = max(workers, 1)
    bytes_per_frame: list[float] = []

    def whole(skip: int) -> Callable[[int], float]:
        return lambda i: _whole_rollouts(executor, cores, steps, i, skip)

    def alone(num_envs: int) -> Callable[[int], float]:
        def measure(i: int) -> float:
            with one_core():
                return _whole_rollouts(None, 1, steps, i, 1, num_envs)

        return measure

    def dreaming(i: int) -> float:
        return _dreaming(executor, cores, steps, i)

    def collecting(i: int) -> float:
        return _collecting(executor, cores, steps, i, bytes_per_frame)

    def on_disk(i: int) -> float:
        return 1e6 / bytes_per_frame[-1]  # of the episodes that `collecting` has just saved

    def row(name: str, measure: Callable[[int], float], cores: int = cores, kind: str = "real"):
        return Measurement(name, ROLLOUTS, cores, measure, GYMNASIUM, kind)

    return [
        *(row(name, whole(skip)) for name, skip in WHOLE.items()),
        *(row(name, alone(num_envs), cores=1) for name, num_envs in ALONE.items()),
        row(DREAMS, dreaming, kind="dream"),
        row(COLLECTING, collecting),
        Measurement(ON_DISK, STORAGE, cores, on_disk),
    ]


@contextlib.contextmanager
def local_cluster(workers: int) -> Iterator[Executor | None]:
    """An executor on a Dask cluster of `workers` local processes; None if Dask is not installed."""
    if not importlib.util.find_spec("distributed"):
        yield None
        return
    from dask.distributed import LocalCluster

    with (
        LocalCluster(
            n_workers=max(workers, 1),
            threads_per_worker=1,
            dashboard_address=":0",
            silence_logs=logging.CRITICAL,  # otherwise it logs an error for each worker at the end
        ) as cluster,
        dask_cluster(cluster.scheduler_address) as executor,
    ):
        yield executor


def through_dask(cluster: Executor | None, workers: int, steps: int) -> list[Measurement]:
    """A measurement of rollouts on a cluster's executor; none if it is None."""
    if cluster is None:
        return []
    cores = max(workers, 1)

    def measure(i: int) -> float:
        return _whole_rollouts(cluster, cores, steps, i, 1)

    return [Measurement(DASK, ROLLOUTS, cores, measure, GYMNASIUM)]


def _whole_rollouts(
    executor: Executor | None, workers: int, steps: int, i: int, skip: int, num_envs: int = ROWS
) -> float:
    world_model, controller = load_agent(pretrained("car_racing"))
    # (With another one than C was trained for, its returns change, and not its speed.)
    world_model.mdn_rnn.repeat = skip
    env_spec = VectorEnvSpec("wmlib/CarRacing-v3", num_envs, options={"max_episode_steps": steps})
    specs = [EpisodeSpec(i * num_envs * workers + k) for k in range(num_envs * workers)]
    # A single environment is much slower: two episodes take long enough to be timed.
    specs = specs if num_envs > 1 else [EpisodeSpec(2 * i), EpisodeSpec(2 * i + 1)]
    policy = ControllerPolicy(controller)
    _warm_up(env_spec, policy, workers, world_model, executor)
    return _steps_per_second(env_spec, policy, specs, world_model, executor=executor)


def _warm_up(
    env_spec: VectorEnvSpec,
    policy: Policy,
    workers: int,
    world_model: Any,
    executor: Executor | None,
) -> None:
    """Short episodes, so that every worker has made its environments and run its kernels once."""
    brief = dataclasses.replace(env_spec, patience=WARM_UP)
    specs = [EpisodeSpec(k) for k in range(4 * workers)]
    run_episodes(brief, policy, specs, world_model, executor=executor)


def _steps_per_second(
    env_spec: Any, policy: Policy, specs: list[EpisodeSpec], world_model: Any = None, **others: Any
) -> float:
    episodes, seconds = timed(lambda: run_episodes(env_spec, policy, specs, world_model, **others))
    return sum(episode.steps for episode in episodes) / seconds


def _dreaming(executor: Executor | None, workers: int, steps: int, i: int) -> float:
    model, best = load_agent(pretrained("car_racing"))
    model.mdn_rnn.repeat = 2
    changes = 0.1 * np.random.default_rng(i).normal(size=(ROWS, best.num_parameters))
    policy = ControllerPolicy(Controller(best.parameters * (1 + changes)))
    # Random latent vectors instead of encoded frames: the cost of dreaming is the same.
    z, h, c = (torch.randn(ROWS, size) for size in (32, 256, 256))
    starts = State(z, h, c, torch.zeros(ROWS))
    env_spec = DreamSpec(model, starts, max_steps=min(150, steps))
    specs = [EpisodeSpec(s, member) for member in range(ROWS) for s in range(8 * workers)]
    brief = dataclasses.replace(env_spec, max_steps=2)
    run_episodes(brief, policy, specs, PassThroughEncoder(model), executor=executor)
    return _steps_per_second(env_spec, policy, specs, PassThroughEncoder(model), executor=executor)


def _collecting(
    executor: Executor | None, workers: int, steps: int, i: int, bytes_per_frame: list[float]
) -> float:
    env_spec = VectorEnvSpec("wmlib/CarRacing-v3", COLLECTED, options={"max_episode_steps": steps})
    specs = [EpisodeSpec(i * COLLECTED * workers + k) for k in range(COLLECTED * workers)]
    policy = random_car_policy()
    _warm_up(env_spec, policy, workers, None, executor)
    with tempfile.TemporaryDirectory() as folder:
        store = EpisodeStore(folder)
        rate = _steps_per_second(env_spec, policy, specs, executor=executor, store=store)
        frames = sum(store.length(name) for name in store.names())
        size = sum(file.stat().st_size for file in store.folder.iterdir())
    bytes_per_frame.append(size / frames)
    return rate
