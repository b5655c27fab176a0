"""The one rollout: frames -> z -> (z, h) -> action, for many controllers on many tracks at once.

Collecting is a rollout that records; scoring is a rollout that sums.
"""

import contextlib
import dataclasses
import math
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import gymnasium as gym
import numpy as np
import psutil
import torch
from loky import get_reusable_executor
from tqdm.auto import tqdm

from wmlib.cluster import dask_cluster
from wmlib.drivers import Driver, Job
from wmlib.envs.lanes import GiveUp, Lanes, Repeat
from wmlib.experience import EpisodeStore
from wmlib.world_model import State, WorldModel

# Below four rows torch picks other kernels, and the last bits of z and h differ. A drive is chaotic
# enough to end elsewhere for that, and then a score would depend on who else was driving. (With
# several threads each gets some of the rows, and one may get fewer than four: see `one_thread`.)
LEAST_ROWS = 4
IDLE_SECONDS = 10  # then workers without a job leave, and give back the memory of their lanes


@dataclass(frozen=True)
class World:
    """How to make lanes of an environment, here or in another process.

    patience: see `GiveUp`; None (always, for scores) plays every episode to its end.
    options: keyword arguments for `gymnasium.make`.
    repeat: steps that every action is held for, see `Repeat`. Who drives with a world model drives
    at the pace that M was made for, whatever stands here.
    """

    env_id: str
    lanes: int = 16
    patience: int | None = None
    options: dict[str, Any] = field(default_factory=dict)
    repeat: int = 1

    def __str__(self) -> str:
        """What a score depends on."""
        return f"{self.env_id} {self.options}, patience {self.patience}"

    def make(self) -> Lanes:
        """A fresh vector environment; lanes without a job rest, so too many cost nothing."""
        return Lanes(self.make_one, max(self.lanes, LEAST_ROWS))

    def make_one(self) -> gym.Env:
        """What is in every lane."""
        env = gym.make(self.env_id, disable_env_checker=True, **self.options)
        return Repeat(GiveUp(env, self.patience_in_steps), self.repeat)

    @contextmanager
    def open(self) -> Iterator[Lanes]:
        """Lanes to drive in.

        Making them anew for every generation would cost as much as some hundred steps of each. So
        the last ones are kept, and serve again for any pace and patience.
        """
        kind = dataclasses.replace(self, patience=None, repeat=1)
        kept, envs = _kept.pop() if _kept else (None, None)
        if kept != kind:
            if envs is not None:
                envs.close()
            envs = self.make()
        for env in envs.envs:
            env.repeat, env.env.patience = self.repeat, self.patience_in_steps
        try:
            yield envs
        except BaseException:
            envs.close()
            raise
        _kept.append((kind, envs))

    def at_pace(self, world_model: WorldModel | None) -> "World":
        """The same world, at the pace that a world model was made for."""
        if world_model is None:
            return self
        return dataclasses.replace(self, repeat=world_model.mdn_rnn.repeat)

    @property
    def patience_in_steps(self) -> float:
        """Infinite where there is no end to it."""
        return math.inf if self.patience is None else self.patience


_kept: list[tuple[World, Lanes]] = []


@dataclass
class Drive:
    """One finished episode of T steps.

    lap: whether every tile was visited. recording: None, or arrays: frames (T + 1, S, S, 3) uint8
    (the last one is what the final action led to), actions (T, A) float32, rewards (T,) float32,
    done (T,) float32 (1 where the world ended, not where time was up), and (T + 1, ...) float64
    for each entry of `info` that was asked for.
    """

    job: Job
    score: float = 0.0
    steps: int = 0
    lap: bool = False
    recording: dict[str, np.ndarray] | None = None


@torch.no_grad()
def rollout(
    envs: Lanes,
    driver: Driver,
    jobs: Sequence[Job],
    world_model: WorldModel | None = None,
    record: Sequence[str] | None = None,
) -> Iterator[tuple[int, Drive]]:
    """Drive all jobs, as many at once as there are lanes; yield (index of job, Drive) as they end.

    A lane that finishes takes the next job at once. `world_model` makes the driver's features; a
    driver that needs none can go without. `record` (a possibly empty list of `info` names) turns
    recording on.
    """
    lanes = envs.num_envs
    waiting = deque(enumerate(jobs))
    running: dict[int, tuple[int, Drive]] = {}
    tapes: dict[int, dict[str, list]] = {}
    frames, state = None, None

    def start(free: list[int]) -> None:
        nonlocal frames, state
        mask, seeds = np.zeros(lanes, dtype=bool), [None] * lanes
        for lane in free:
            if waiting:
                index, job = waiting.popleft()
                running[lane] = index, Drive(job)
                mask[lane], seeds[lane] = True, job.seed
                driver.begin(lane, job)
        if not mask.any():
            return
        frames, info = envs.reset(seed=seeds, options={"reset_mask": mask})
        started = np.flatnonzero(mask)
        if record is not None:
            for lane in started:
                tapes[lane] = {
                    "frames": [frames[lane].copy()],
                    "actions": [],
                    "rewards": [],
                    "done": [],
                }
                tapes[lane] |= {name: [info["lanes"][lane][name]] for name in record}
        if world_model is not None:
            rows = at_least_four(started, lanes)
            fresh = world_model.begin(frames[rows])
            if state is None:
                state = State(*(torch.zeros(lanes, part.shape[1]).to(part) for part in fresh))
            state = state.put(torch.from_numpy(started), fresh.take(slice(len(started))))

    start(list(range(lanes)))
    while running:
        actions = driver.act(None if state is None else state.features, lanes)
        frames, rewards, terminated, truncated, info = envs.step(actions)
        if state is not None:
            # Resting lanes need no eyes: near the end of a batch only the last drives are paid for.
            rows = at_least_four(np.array(list(running)), lanes)
            seen = world_model.observe(
                state.take(torch.from_numpy(rows)), torch.from_numpy(actions[rows]), frames[rows]
            )
            state = state.put(torch.from_numpy(rows), seen)
        finished = []
        for lane, (_, drive) in running.items():
            drive.score += float(rewards[lane])
            drive.steps += info["lanes"][lane].get("steps", 1)
            if record is not None:
                tape = tapes[lane]
                tape["frames"].append(frames[lane].copy())  # not a view of all lanes
                tape["actions"].append(actions[lane])
                tape["rewards"].append(rewards[lane])
                tape["done"].append(terminated[lane])
                for name in record:
                    tape[name].append(info["lanes"][lane][name])
            if terminated[lane] or truncated[lane]:
                drive.lap = bool(info["lanes"][lane].get("lap_finished", False))
                finished.append(lane)
        for lane in finished:
            index, drive = running.pop(lane)
            if record is not None:
                drive.recording = _to_arrays(tapes.pop(lane))
            yield index, drive
        if finished:
            start(finished)


def at_least_four(rows: np.ndarray, lanes: int) -> np.ndarray:
    """The rows (R,) of `lanes`, with others behind them where they are too few (`LEAST_ROWS`)."""
    others = np.setdiff1d(np.arange(lanes), rows)
    return np.concatenate([rows, others[: max(0, LEAST_ROWS - len(rows))]])


def _to_arrays(tape: dict[str, list]) -> dict[str, np.ndarray]:
    dtypes = {"frames": np.uint8, "actions": np.float32, "rewards": np.float32, "done": np.float32}
    return {name: np.asarray(rows, dtypes.get(name)) for name, rows in tape.items()}


def drive_all(
    world: World,
    driver: Driver,
    jobs: Sequence[Job],
    world_model: WorldModel | None = None,
    *,
    executor: Executor | None = None,
    store: EpisodeStore | None = None,
    record: Sequence[str] = (),
    progress: str | None = None,
) -> list[Drive]:
    """`rollout` for any number of jobs on any executor; the Drives come back in the jobs' order.

    With a `store`, every episode is written to it under its seed as soon as it ends, recording
    `record` from info, and the Drives return without their recordings. Without an executor,
    everything runs in this process. `progress` names a progress bar.
    """
    jobs, world = list(jobs), world.at_pace(world_model)
    # As many for every worker, up to two for every lane: what ends early makes room.
    workers = getattr(executor, "_max_workers", 1)
    rounds = math.ceil(len(jobs) / (2 * world.lanes * workers)) or 1
    size = math.ceil(len(jobs) / (rounds * workers)) or 1
    parts = [range(i, min(i + size, len(jobs))) for i in range(0, len(jobs), size)]
    drives: list[Drive | None] = [None] * len(jobs)
    # On a cluster, what is the same for all travels to each worker once, not with every part.
    share = getattr(executor, "share", lambda thing: thing)
    common = share(world), share(driver), share(world_model)
    arguments = [(*common, [jobs[i] for i in part], store, record) for part in parts]
    # None: a bar where somebody watches, silence in a pipe.
    silent = True if progress is None else None
    with tqdm(total=len(jobs), desc=progress, unit="drive", disable=silent, leave=False) as bar:
        for part, finished in _run(executor, arguments):
            for i, drive in zip(parts[part], finished, strict=True):
                drives[i] = drive
            bar.update(len(finished))
    return drives


def _run(executor: Executor | None, arguments: list[tuple]) -> Iterator[tuple[int, list[Drive]]]:
    if executor is None:
        yield from ((part, _drive_some(*args)) for part, args in enumerate(arguments))
        return
    futures = {executor.submit(_drive_some, *args): part for part, args in enumerate(arguments)}
    try:
        for future in as_completed(futures):
            yield futures[future], future.result()
    finally:
        for future in futures:
            future.cancel()


def _drive_some(
    world: World,
    driver: Driver,
    world_model: WorldModel | None,
    jobs: list[Job],
    store: EpisodeStore | None,
    record: Sequence[str],
) -> list[Drive]:
    drives: dict[int, Drive] = {}
    wanted = record if store is not None else None
    with one_thread(), world.open() as envs:
        for index, drive in rollout(envs, driver, jobs, world_model, wanted):
            if store is not None:
                store.write(episode_name(drive.job), drive.recording)
                drive.recording = None
            drives[index] = drive
    return [drives[index] for index in range(len(jobs))]


@contextmanager
def one_thread() -> Iterator[None]:
    """torch computes with one thread as long as this lasts, as it does in workers.

    So an episode is the same to the last bit on any number of cores, here and in workers.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def episode_name(job: Job) -> str:
    """Name of a job's episode in a store: seed and member, zero-padded so that it sorts."""
    return f"{job.seed:07d}-{job.member:03d}"


@contextmanager
def processes(workers: int, cluster: str = "") -> Iterator[Executor | None]:
    """A context manager: an executor of `workers` processes with one torch thread each.

    0 workers is no executor at all (None): everything then runs in the calling process. With the
    address of a `cluster`, its workers are the executor (see `dask_cluster`).

    What is submitted is pickled by value where it comes from a notebook's cell, so a policy or a
    `WorldModel` that a reader wrote runs in workers, too. Idle workers stay for `IDLE_SECONDS`: the
    next executor of the same size takes them over. An exception (an interrupt, say) ends them at
    once, whatever they are doing.
    """
    if cluster:
        with dask_cluster(cluster) as executor:
            yield executor
        return
    if workers == 0:
        yield None
        return
    executor = get_reusable_executor(
        workers,
        context="loky",
        timeout=IDLE_SECONDS,
        initializer=_start_worker,
        # loky would take the lanes that workers keep for a leak, and replace those workers.
        env={"LOKY_MAX_MEMORY_LEAK_SIZE": "1e12"},
    )
    try:
        yield executor
    except BaseException:
        executor.shutdown(kill_workers=True)
        raise


def _start_worker() -> None:
    torch.set_num_threads(1)
    # Ctrl-C reaches the whole group of processes; it is the parent that ends its workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # A killed parent cannot tell its workers to stop: they have to notice.
    threading.Thread(target=_leave_with, args=[psutil.Process().parent()], daemon=True).start()


def _leave_with(parent: psutil.Process | None) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):
        while parent is not None and parent.status() != psutil.STATUS_ZOMBIE:
            time.sleep(0.5)
    os._exit(1)


def record_drive(
    world: World, driver: Driver, job: Job, world_model: WorldModel | None = None
) -> Drive:
    """One episode, recorded, in memory."""
    envs = dataclasses.replace(world.at_pace(world_model), lanes=1).make()
    try:
        with one_thread():
            _, drive = next(rollout(envs, driver, [job], world_model, record=()))
    finally:
        envs.close()
    return drive
