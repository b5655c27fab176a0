"""The one rollout: frames -> z -> [z, h] -> action, for many controllers and many seeds at once.

Collecting is a rollout that records; scoring is a rollout that sums the rewards.
"""

import dataclasses
import math
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, as_completed
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from wmlib.envs.vector import VectorEnvSpec, pad_batch
from wmlib.models.world_model import State, WorldModel
from wmlib.rollout.episodes import EpisodeStore
from wmlib.rollout.policies import EpisodeSpec, Policy


class Encoder(Protocol):
    """What makes the state, and with it [z, h], from observations: a `WorldModel`, or in dreams,
    whose observations are [z, h], a `PassThroughEncoder`."""

    def begin(self, frames: Any, /) -> State:
        """The states of episodes at their first observations."""

    def observe(self, state: State, actions: Tensor, frames: Any, rewards: Any, /) -> State:
        """The states one agent step later."""

    def features(self, state: State, /) -> Tensor:
        """What the policy reads of them."""


class EnvSpec(Protocol):
    """How to make the vector environment of episodes: a `VectorEnvSpec` or a `DreamSpec`."""

    @property
    def num_envs(self) -> int:
        """Environments that run at once."""

    def open(self) -> AbstractContextManager[gym.vector.VectorEnv]:
        """The vector environment, in a context."""

    def at_pace(self, encoder: Any, /) -> "EnvSpec":
        """The same with the action repeat of a world model."""


@dataclass
class Episode:
    """One finished episode of T agent steps.

    score: its return, in points. steps: environment steps. lap: whether the lap was completed
    (Gymnasium's `lap_finished`). terminated: whether the environment ended it; False if it was
    truncated (by the limit of steps or by `patience`). recording: empty if nothing was recorded, or
    frames (T + 1, S, S, 3) uint8 (the last one is what the final action led to), actions (T, A)
    float32, rewards (T,) float32, done (T,) float32 (1 where the environment terminated), and
    (T + 1, ...) for each entry of `info` that was asked for.
    """

    spec: EpisodeSpec
    score: float = 0.0
    steps: int = 0
    lap: bool = False
    terminated: bool = False
    recording: dict[str, np.ndarray] = field(default_factory=dict)


@torch.no_grad()
def rollout(
    envs: gym.vector.VectorEnv,
    policy: Policy,
    specs: Sequence[EpisodeSpec],
    encoder: Encoder | None = None,
    record: Sequence[str] | None = None,
) -> Iterator[tuple[int, Episode]]:
    """Run an episode per spec, as many at once as there are environments.

    envs: resets what `reset_mask` says, and has a dictionary per environment in info["envs"], as
    `MaskedVectorEnv` and `Dream` do. Yields (index of the spec, Episode) in the order in which they
    end; the environment takes the next spec at once. encoder: makes the policy's features; None for
    a policy without any. record: turns recording on, with these entries of `info` (possibly none).
    """
    num_envs = envs.num_envs
    waiting = deque(enumerate(specs))
    running: dict[int, tuple[int, Episode]] = {}
    tapes: dict[int, dict[str, list]] = {}
    frames: Any = None
    state: State | None = None

    def start(free: list[int]) -> None:
        nonlocal frames, state
        mask = np.zeros(num_envs, dtype=bool)
        seeds: list[int | None] = [None] * num_envs
        for row in free:
            if waiting:
                index, spec = waiting.popleft()
                running[row] = index, Episode(spec)
                mask[row], seeds[row] = True, spec.seed
                policy.begin(row, spec)
        if not mask.any():
            return
        each: Any = seeds  # Gymnasium's annotation allows no None in the list
        frames, info = envs.reset(seed=each, options={"reset_mask": mask})
        started = np.flatnonzero(mask)
        if record is not None:
            for row in started.tolist():
                tapes[row] = {
                    "frames": [frames[row].copy()],
                    "actions": [],
                    "rewards": [],
                    "done": [],
                }
                tapes[row] |= {name: [info["envs"][row][name]] for name in record}
        if encoder is not None:
            rows = pad_batch(started, num_envs)
            fresh = encoder.begin(frames[rows])
            if state is None:
                state = State(*(p.new_zeros(num_envs, *p.shape[1:]) for p in fresh))
            state.put_(torch.from_numpy(started), fresh.take(slice(len(started))))

    start(list(range(num_envs)))
    while running:
        seen = None if state is None or encoder is None else encoder.features(state)
        actions = policy.act(seen, num_envs)
        frames, rewards, terminated, truncated, info = envs.step(actions)
        if state is not None and encoder is not None:
            # Nothing is encoded for finished environments: near the end of a batch only the last
            # episodes cost time.
            rows = pad_batch(np.array(list(running)), num_envs)
            index = torch.from_numpy(rows)
            observed = encoder.observe(
                state.take(index),
                torch.from_numpy(actions[rows]),
                frames[rows],
                torch.from_numpy(rewards[rows]),
            )
            state.put_(index, observed)
        finished = []
        for row, (_, episode) in running.items():
            episode.score += float(rewards[row])
            episode.steps += info["envs"][row].get("steps", 1)
            if record is not None:
                tape = tapes[row]
                tape["frames"].append(frames[row].copy())  # not a view of all environments' frames
                tape["actions"].append(actions[row])
                tape["rewards"].append(rewards[row])
                tape["done"].append(terminated[row])
                for name in record:
                    tape[name].append(info["envs"][row][name])
            if terminated[row] or truncated[row]:
                episode.terminated = bool(terminated[row])
                episode.lap = bool(info["envs"][row].get("lap_finished", False))
                finished.append(row)
        for row in finished:
            number, episode = running.pop(row)
            if record is not None:
                episode.recording = _to_arrays(tapes.pop(row))
            yield number, episode
        if finished:
            start(finished)


def _to_arrays(tape: dict[str, list]) -> dict[str, np.ndarray]:
    dtypes = {"frames": np.uint8, "actions": np.float32, "rewards": np.float32, "done": np.float32}
    return {name: np.asarray(rows, dtypes.get(name)) for name, rows in tape.items()}


def run_episodes(
    env_spec: EnvSpec,
    policy: Policy,
    specs: Sequence[EpisodeSpec],
    encoder: Encoder | None = None,
    *,
    executor: Executor | None = None,
    store: EpisodeStore | None = None,
    record: Sequence[str] = (),
    progress: str | None = None,
) -> list[Episode]:
    """`rollout` for any number of specs on any executor; the episodes come in the specs' order.

    With a `store`, every episode is written to it under its seed as soon as it ends, with the
    entries `record` of info, and is returned without its recording. Without an executor,
    everything runs in this process. `progress` names a progress bar.
    """
    specs, env_spec = list(specs), env_spec.at_pace(encoder)
    # Equal chunks per worker, at most two specs per environment: one that ends early takes another.
    workers = getattr(executor, "_max_workers", 1)
    rounds = math.ceil(len(specs) / (2 * env_spec.num_envs * workers)) or 1
    size = math.ceil(len(specs) / (rounds * workers)) or 1
    parts = [range(i, min(i + size, len(specs))) for i in range(0, len(specs), size)]
    episodes: dict[int, Episode] = {}
    # On a cluster, the arguments that all parts share are sent to each worker only once.
    share = getattr(executor, "share", lambda thing: thing)
    common = share(env_spec), share(policy), share(encoder)
    arguments = [(*common, [specs[i] for i in part], store, record) for part in parts]
    # disable=None: tqdm shows the bar in a terminal only.
    silent = True if progress is None else None
    with tqdm(total=len(specs), desc=progress, unit="episode", disable=silent, leave=False) as bar:
        for part, finished in _run(executor, arguments):
            for i, episode in zip(parts[part], finished, strict=True):
                episodes[i] = episode
            bar.update(len(finished))
    return [episodes[i] for i in range(len(specs))]


def _run(executor: Executor | None, arguments: list[tuple]) -> Iterator[tuple[int, list[Episode]]]:
    if executor is None:
        yield from ((part, _run_part(*args)) for part, args in enumerate(arguments))
        return
    futures = {executor.submit(_run_part, *args): part for part, args in enumerate(arguments)}
    try:
        for future in as_completed(futures):
            yield futures[future], future.result()
    finally:
        for future in futures:
            future.cancel()


def _run_part(
    env_spec: EnvSpec,
    policy: Policy,
    encoder: Encoder | None,
    specs: list[EpisodeSpec],
    store: EpisodeStore | None,
    record: Sequence[str],
) -> list[Episode]:
    episodes: dict[int, Episode] = {}
    wanted = record if store is not None else None
    with one_thread(), env_spec.open() as envs:
        for index, episode in rollout(envs, policy, specs, encoder, wanted):
            if store is not None:
                store.write(episode.spec.name, episode.recording)
                episode.recording = {}
            episodes[index] = episode
    return [episodes[index] for index in range(len(specs))]


@contextmanager
def one_thread() -> Iterator[None]:
    """torch computes with one thread inside this context, as it does in workers.

    So an episode is the same to the last bit on any number of cores, here and in workers.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def record_episode(
    env_spec: VectorEnvSpec,
    policy: Policy,
    spec: EpisodeSpec,
    world_model: WorldModel | None = None,
) -> Episode:
    """One episode, recorded, in memory."""
    envs = dataclasses.replace(env_spec.at_pace(world_model), num_envs=1).make()
    try:
        with one_thread():
            _, episode = next(rollout(envs, policy, [spec], world_model, record=()))
    finally:
        envs.close()
    return episode
