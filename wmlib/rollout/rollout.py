"""The one rollout: frames -> z -> (z, h) -> action, for many controllers on many tracks at once.

Collecting is a rollout that records; scoring is a rollout that sums.
"""

import dataclasses
import math
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from tqdm.auto import tqdm

from wmlib.envs.vector import MaskedVectorEnv, World, pad_batch
from wmlib.models.world_model import State, WorldModel
from wmlib.rollout.episodes import EpisodeStore
from wmlib.rollout.policies import EpisodeSpec, Policy


@dataclass
class Episode:
    """One finished episode of T steps.

    lap: whether every tile was visited. terminated: whether the environment ended it (False where
    it was truncated). recording: None, or arrays: frames (T + 1, S, S, 3) uint8
    (the last one is what the final action led to), actions (T, A) float32, rewards (T,) float32,
    done (T,) float32 (1 where the world ended, not where time was up), and (T + 1, ...) float64
    for each entry of `info` that was asked for.
    """

    job: EpisodeSpec
    score: float = 0.0
    steps: int = 0
    lap: bool = False
    terminated: bool = False
    recording: dict[str, np.ndarray] | None = None


@torch.no_grad()
def rollout(
    envs: MaskedVectorEnv,
    driver: Policy,
    jobs: Sequence[EpisodeSpec],
    world_model: WorldModel | None = None,
    record: Sequence[str] | None = None,
) -> Iterator[tuple[int, Episode]]:
    """Drive all jobs, as many at once as there are lanes; yield (index of job, Drive) as they end.

    A lane that finishes takes the next job at once. `world_model` makes the driver's features; a
    driver that needs none can go without. `record` (a possibly empty list of `info` names) turns
    recording on.
    """
    lanes = envs.num_envs
    waiting = deque(enumerate(jobs))
    running: dict[int, tuple[int, Episode]] = {}
    tapes: dict[int, dict[str, list]] = {}
    frames, state = None, None

    def start(free: list[int]) -> None:
        nonlocal frames, state
        mask, seeds = np.zeros(lanes, dtype=bool), [None] * lanes
        for lane in free:
            if waiting:
                index, job = waiting.popleft()
                running[lane] = index, Episode(job)
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
            rows = pad_batch(started, lanes)
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
            rows = pad_batch(np.array(list(running)), lanes)
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
                drive.terminated = bool(terminated[lane])
                drive.lap = bool(info["lanes"][lane].get("lap_finished", False))
                finished.append(lane)
        for lane in finished:
            index, drive = running.pop(lane)
            if record is not None:
                drive.recording = _to_arrays(tapes.pop(lane))
            yield index, drive
        if finished:
            start(finished)


def _to_arrays(tape: dict[str, list]) -> dict[str, np.ndarray]:
    dtypes = {"frames": np.uint8, "actions": np.float32, "rewards": np.float32, "done": np.float32}
    return {name: np.asarray(rows, dtypes.get(name)) for name, rows in tape.items()}


def run_episodes(
    world: World,
    driver: Policy,
    jobs: Sequence[EpisodeSpec],
    world_model: WorldModel | None = None,
    *,
    executor: Executor | None = None,
    store: EpisodeStore | None = None,
    record: Sequence[str] = (),
    progress: str | None = None,
) -> list[Episode]:
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
    drives: list[Episode | None] = [None] * len(jobs)
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


def _run(executor: Executor | None, arguments: list[tuple]) -> Iterator[tuple[int, list[Episode]]]:
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
    driver: Policy,
    world_model: WorldModel | None,
    jobs: list[EpisodeSpec],
    store: EpisodeStore | None,
    record: Sequence[str],
) -> list[Episode]:
    drives: dict[int, Episode] = {}
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


def episode_name(job: EpisodeSpec) -> str:
    """Name of a job's episode in a store: seed and member, zero-padded so that it sorts."""
    return f"{job.seed:07d}-{job.member:03d}"


def record_episode(
    world: World, driver: Policy, job: EpisodeSpec, world_model: WorldModel | None = None
) -> Episode:
    """One episode, recorded, in memory."""
    envs = dataclasses.replace(world.at_pace(world_model), lanes=1).make()
    try:
        with one_thread():
            _, drive = next(rollout(envs, driver, [job], world_model, record=()))
    finally:
        envs.close()
    return drive
