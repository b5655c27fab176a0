"""`python -m wmlib bench`: the speed of everything, measured side by side in one run.

A machine's speed changes from minute to minute, above all a shared one's. So numbers of different
days do not compare. Every repetition measures everything once, in turns, and what counts is the
ratio of the medians. What only the first call pays for (imports, workers that start, environments
that are made, a kernel's first run) is outside the timed part.
"""

import contextlib
import dataclasses
import datetime
import importlib.util
import logging
import os
import platform
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from functools import partial
from importlib import metadata
from typing import Any, NamedTuple

import cv2
import gymnasium as gym
import numpy as np
import torch
from tqdm.auto import tqdm

from wmlib.envs.dream import DreamWorld, PassThroughEncoder
from wmlib.envs.vector import World
from wmlib.models.checkpoints import load_agent
from wmlib.models.controller import Controller
from wmlib.models.mdn_rnn import MDNRNN
from wmlib.models.vae import VAE, frames_to_tensor
from wmlib.models.world_model import State, WorldModel
from wmlib.paths import pretrained
from wmlib.rollout.episodes import EpisodeStore
from wmlib.rollout.policies import ControllerPolicy, EpisodeSpec, random_car_policy
from wmlib.rollout.rollout import record_episode, run_episodes
from wmlib.rollout.workers import dask_cluster
from wmlib.training.batches import Sequences
from wmlib.training.fit import fit, mdn_rnn_step, vae_step

ROWS = 64  # environments of a rollout, in one batch


WARM_UP = 20  # environment steps before the timed ones


# Panels of the table and the figure, and the unit of each. One unit a panel.
STEPS, FRAMES, MILLISECONDS = "environment steps per second", "frames per second", "milliseconds"


ENVIRONMENTS = "The environment alone, one core"


RESETS = "New tracks (resets), one core"


ROLLOUTS = "Rollouts: whole episodes, resets included"


NETWORKS = "Networks (M: frames as latent vectors z)"


EXPLORERS = "Explorers: from a move to its picture (95th percentile)"


STORAGE = "Episodes on disk"


UNITS = {
    ENVIRONMENTS: STEPS,
    ROLLOUTS: STEPS,
    RESETS: "resets per second",
    NETWORKS: FRAMES,
    EXPLORERS: MILLISECONDS,
    STORAGE: "frames per megabyte",
}


GYMNASIUM, ENVPOOL = "Gymnasium's CarRacing-v3", "EnvPool's CarRacing-v3"


FAST, PHYSICS = "wmlib/CarRacing-v3", "its physics, no frames"


TRACKS = {GYMNASIUM: "new track, Gymnasium", FAST: "new track, wmlib"}


BASELINES = (GYMNASIUM, ENVPOOL, TRACKS[GYMNASIUM])


# Frame skip of 1: the agent acts at every environment step.
WHOLE = {"V, M and C, frame skip 1": 1, "V, M and C, frame skip 2": 2}


DASK = "V, M and C, frame skip 1, through Dask"


ALONE = {
    f"V, M and C, frame skip 1, {ROWS} environments": ROWS,
    "V, M and C, frame skip 1, one environment": 1,
}


DREAMS = "M and C in a dream, frame skip 2"


COLLECTING = "random policy, episodes saved to disk"


ON_DISK = "random policy, 64 × 64 frames"


ENCODES, V_TRAINS, M_TRAINS = "V encodes, 16-bit where faster", "V trains", "M trains"


DRIVING_A_DREAM = "driving the dream: an agent step"


IN_DREAMS = (DREAMS, DRIVING_A_DREAM)


# What the colours of the figure tell apart.
KINDS = dict.fromkeys(BASELINES, "baseline") | dict.fromkeys(IN_DREAMS, "dream")


class Measurement(NamedTuple):
    """What is measured: `measure(repetition)` does it once and returns it in the panel's unit.

    cores: how many it may use. reference: the name of what its ratio is to; None: not comparable.
    """

    name: str
    panel: str
    cores: int
    measure: Callable[[int], float]
    reference: str | None = None


def run(measurements: Sequence[Measurement], repetitions: int = 5) -> Iterator[dict]:
    """Measure everything `repetitions` times, in turns; after each, yields the result so far.

    A result is {"machine", "date", "versions", "rows": [{"name", "panel", "unit", "kind", "cores",
    "runs", "median", "times_gymnasium"}]}; the last is the ratio to the median of the reference, or
    None; kind is "baseline", "dream" or "real". Raises ValueError if there are to be no
    repetitions.
    """
    if repetitions < 1:
        raise ValueError(f"repetitions must be 1 or more, got {repetitions}")
    runs: dict[str, list[float]] = {m.name: [] for m in measurements}
    total = repetitions * len(measurements)
    with tqdm(total=total, desc="bench", leave=False, disable=None) as bar:
        for i in range(repetitions):
            for m in measurements:
                bar.set_postfix_str(m.name)
                runs[m.name].append(m.measure(i))
                bar.update()
            yield _result(measurements, runs)


def _result(measurements: Sequence[Measurement], runs: dict[str, list[float]]) -> dict:
    medians = {name: float(np.median(values)) for name, values in runs.items()}
    packages = ("torch", "gymnasium", "opencv-python-headless", "numpy")

    def ratio(m: Measurement) -> float | None:
        if m.reference not in medians:
            return None
        return round(medians[m.name] / medians[m.reference], 2)

    return {
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, {platform.system()}",
        "date": datetime.date.today().isoformat(),
        "versions": {package: metadata.version(package) for package in packages},
        "rows": [
            {
                "name": m.name,
                "panel": m.panel,
                "unit": UNITS[m.panel],
                "kind": KINDS.get(m.name, "real"),
                "cores": m.cores,
                "runs": [round(value, 1) for value in runs[m.name]],
                "median": round(medians[m.name], 1),
                "times_gymnasium": ratio(m),
            }
            for m in sorted(measurements, key=lambda m: list(UNITS).index(m.panel))
        ],
    }


def panels(result: dict) -> dict[str, list[dict]]:
    """The rows of a result by their panel."""
    found: dict[str, list[dict]] = {}
    for row in result["rows"]:
        found.setdefault(row["panel"], []).append(row)
    return found


def amount(value: float) -> str:
    """A measured number with the digits that mean something."""
    return f"{value:,.0f}" if value >= 10 else f"{value:.1f}"


def table(result: dict) -> str:
    """A result of `run` as text: medians, all repetitions' range, and the ratio to Gymnasium."""
    lines = []
    for panel, rows in panels(result).items():
        lines += ["", f"{panel}: {UNITS[panel]}"]
        lines.append(f"  {'':48}{'median':>9}{'lowest to highest':>20}{'cores':>7}{'ratio':>9}")
        for row in rows:
            spread = f"{amount(min(row['runs']))} to {amount(max(row['runs']))}"
            times = "" if row["times_gymnasium"] is None else f"{row['times_gymnasium']:,.1f} ×"
            numbers = f"{amount(row['median']):>9}{spread:>20}{row['cores']:>7}{times:>9}"
            lines.append(f"  {row['name']:48}{numbers}".rstrip())
    count = len(result["rows"][0]["runs"])
    lines += ["", f"Repetitions, in turns: {count}. Ratio: of medians, to Gymnasium's."]
    return "\n".join(lines[1:])


def everything(
    executor: Executor | None, cluster: Executor | None, workers: int, steps: int = 150
) -> list[Measurement]:
    """All there is to measure.

    Rollouts, of `steps` environment steps an episode, run on the executor's `workers`, and once
    more on the cluster's, if there is one.
    """
    driven = [*rollouts(executor, workers, steps), *through_dask(cluster, workers, steps)]
    return [*environments(), *networks(), *driven, *explorers()]


def rollouts(executor: Executor | None, workers: int, steps: int) -> list[Measurement]:
    """Whole rollouts, resets included: in the real environment, in dreams, and onto the disk."""
    cores = max(workers, 1)
    bytes_per_frame: list[float] = []

    def driven(name: str, cores: int, measure: Callable[[int], float]) -> Measurement:
        return Measurement(name, ROLLOUTS, cores, measure, GYMNASIUM)

    return [
        *(
            driven(name, cores,
                   lambda i, skip=skip: _whole_rollouts(executor, cores, steps, i, skip))
            for name, skip in WHOLE.items()
        ),
        *(
            driven(name, 1, lambda i, lanes=lanes: _alone(steps, i, lanes))
            for name, lanes in ALONE.items()
        ),
        driven(DREAMS, cores, lambda i: _dreaming(executor, cores, steps, i)),
        driven(COLLECTING, cores,
               lambda i: _collecting(executor, cores, steps, i, bytes_per_frame)),
        Measurement(ON_DISK, STORAGE, cores, lambda i: 1e6 / bytes_per_frame[-1]),
    ]  # fmt: skip


@contextlib.contextmanager
def local_cluster(workers: int) -> Iterator[Executor | None]:
    """A Dask cluster of so many processes on this machine; None if Dask is not installed."""
    if not importlib.util.find_spec("distributed"):
        yield None
        return
    from dask.distributed import LocalCluster

    local = {"n_workers": max(workers, 1), "threads_per_worker": 1, "dashboard_address": ":0"}
    local |= {"silence_logs": logging.CRITICAL}  # they would tell of every goodbye
    with LocalCluster(**local) as cluster, dask_cluster(cluster.scheduler_address) as executor:
        yield executor


def through_dask(cluster: Executor | None, workers: int, steps: int) -> list[Measurement]:
    """Whole rollouts on a cluster; nothing without one."""
    if cluster is None:
        return []
    cores = max(workers, 1)
    return [
        Measurement(DASK, ROLLOUTS, cores,
                    lambda i: _whole_rollouts(cluster, cores, steps, i, 1), GYMNASIUM)
    ]  # fmt: skip


def environments(steps: int = 200) -> list[Measurement]:
    """Gymnasium's CarRacing-v3, ours, its physics, and EnvPool's if it is installed: one core."""
    gymnasium = gym.make("CarRacing-v3", disable_env_checker=True)
    fast = gym.make("wmlib/CarRacing-v3", disable_env_checker=True)
    physics = gym.make("CarRacing-v3", disable_env_checker=True)
    physics.unwrapped._render = lambda mode: np.zeros((96, 96, 3), np.uint8)
    measures = {GYMNASIUM: partial(_driving, gymnasium, steps)}
    if importlib.util.find_spec("envpool"):
        measures[ENVPOOL] = _envpool(steps)
    measures |= {FAST: partial(_driving, fast, steps), PHYSICS: partial(_driving, physics, steps)}
    first = TRACKS[GYMNASIUM]
    return [
        *(Measurement(name, ENVIRONMENTS, 1, m, GYMNASIUM) for name, m in measures.items()),
        Measurement(first, RESETS, 1, partial(_resetting, gymnasium), first),
        Measurement(TRACKS[FAST], RESETS, 1, partial(_resetting, fast), first),
    ]


def networks() -> list[Measurement]:
    """V and M, untrained (their speed is the same)."""
    model = WorldModel(VAE(), MDNRNN())
    rng = np.random.default_rng(0)
    frames = torch.from_numpy(rng.integers(0, 255, (100, 64, 64, 3), dtype=np.uint8))
    generator = torch.Generator().manual_seed(0)
    shape = 32, 100
    windows = Sequences(
        mu=torch.randn(32, 101, 32, generator=generator),
        logvar=torch.zeros(32, 101, 32),
        previous=torch.zeros(32, 101),
        actions=torch.zeros(*shape, 3),
        **{name: torch.ones(shape) for name in ("rewards", "done", "mask")},
    )
    cores = torch.get_num_threads()

    @torch.no_grad()
    def full_precision(i: int) -> float:
        pictures = frames_to_tensor(frames[:ROWS])
        with _one_core():
            return ROWS * _per_second(lambda: model.vae.encode(pictures), 10)

    def half_precision(i: int) -> float:
        with _one_core():
            return ROWS * _per_second(lambda: model.encode(frames[:ROWS]), 10)

    def v_trains(i: int) -> float:
        return len(frames) * _batches_per_second(VAE, vae_step, frames)

    def m_trains(i: int) -> float:
        return shape[0] * shape[1] * _batches_per_second(MDNRNN, mdn_rnn_step, windows)

    return [
        Measurement("V encodes, 32-bit floats", NETWORKS, 1, full_precision),
        Measurement(ENCODES, NETWORKS, 1, half_precision),
        Measurement(V_TRAINS, NETWORKS, cores, v_trains),
        Measurement(M_TRAINS, NETWORKS, cores, m_trains),
    ]


def explorers(moves: int = 25) -> list[Measurement]:
    """How long a reader waits: from a control's move to its picture, for so many moves.

    The 95th percentile, in the kernel; the browser comes on top.
    """
    from wmlib.view.explorers import ControllerExplorer, DreamDrive, LatentExplorer, MixtureExplorer

    model, best = load_agent(pretrained("car_racing"))
    world = World("wmlib/CarRacing-v3", num_envs=1, options={"max_episode_steps": 240})
    recording = record_episode(world, ControllerPolicy(best), EpisodeSpec(0), model).recording
    latent = LatentExplorer(model.vae, recording["frames"][::20])
    mixture = MixtureExplorer(model, recording["frames"], recording["actions"], first=40)
    mixture.horizon.value = mixture.horizon.max  # the longest wait
    opened = ControllerExplorer(model, best, world, track=0, looks=100)
    ride = DreamDrive(model, best, world)

    def moving(control: Any) -> Callable[[int], None]:
        values = np.linspace(control.min, control.max, moves)
        return lambda k: setattr(control, "value", type(control.value)(values[k]))

    hands = {
        "latent explorer: a slider": moving(latent.sliders[0]),
        "mixture explorer: the moment": moving(mixture.moment),
        "mixture explorer: the temperature": moving(mixture.temperature),
        "mixture explorer: the horizon": moving(mixture.horizon),
        "controller explorer: the moment": moving(opened.look),
        DRIVING_A_DREAM: lambda k: ride.tick(),
    }
    cores = torch.get_num_threads()
    return [
        Measurement(name, EXPLORERS, cores, lambda i, hand=hand: _waiting(hand, moves))
        for name, hand in hands.items()
    ]


def _waiting(hand: Callable[[int], None], moves: int) -> float:
    hand(0)  # the first picture may pay for caches
    times = []
    for k in range(moves):
        began = time.perf_counter()
        hand(k)
        times.append(time.perf_counter() - began)
    return 1000 * float(np.quantile(times, 0.95))


def _per_second(function: Callable[[], Any], times: int) -> float:
    function()  # the first time may pay for caches
    began = time.perf_counter()
    for _ in range(times):
        function()
    return times / (time.perf_counter() - began)


@contextlib.contextmanager
def _one_core() -> Iterator[None]:
    threads, affinity = torch.get_num_threads(), None
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    if hasattr(os, "sched_getaffinity"):  # Linux
        affinity = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {min(affinity)})
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        cv2.setNumThreads(-1)
        if affinity is not None:
            os.sched_setaffinity(0, affinity)


def _random_actions(steps: int, seed: int) -> list[np.ndarray]:
    driver = random_car_policy()
    driver.begin(0, EpisodeSpec(seed))
    return [driver.act(None, 1)[0] for _ in range(steps)]


def _driving(env: gym.Env, steps: int, seed: int) -> float:
    actions = _random_actions(WARM_UP + steps, seed)
    with _one_core():
        env.reset(seed=seed)
        for action in actions[:WARM_UP]:
            env.step(action)
        began = time.perf_counter()
        for action in actions[WARM_UP:]:
            env.step(action)  # one that is over goes on moving: it is its speed that counts
        return steps / (time.perf_counter() - began)


def _resetting(env: gym.Env, i: int) -> float:
    seeds = iter(range(100 * i, 100 * i + 100))
    with _one_core():
        return _per_second(lambda: env.reset(seed=next(seeds)), 10)


def _envpool(steps: int) -> Callable[[int], float]:
    import envpool

    with _one_core():  # its thread stays on the core it was born on
        pool = envpool.make_gymnasium("CarRacing-v3", num_envs=1, num_threads=1, seed=0)

    def measure(i: int) -> float:
        actions = [action[None] for action in _random_actions(WARM_UP + steps, i)]
        with _one_core():
            pool.reset()
            for action in actions[:WARM_UP]:
                pool.step(action)
            began = time.perf_counter()
            for action in actions[WARM_UP:]:
                pool.step(action)
            return steps / (time.perf_counter() - began)

    return measure


class _Batches:
    """One batch, several times."""

    def __init__(self, batch: Any, count: int):
        self._batches = [batch] * count

    def __len__(self) -> int:
        return len(self._batches)

    def __call__(self, epoch: int) -> list:
        return self._batches


def _batches_per_second(
    kind: type[torch.nn.Module], step: Callable, batch: Any, count: int = 10
) -> float:
    settings = {"epochs": 1, "learning_rate": 1e-4, "seed": 0, "device": "cpu"}
    fit(kind(), step, _Batches(batch, 1), **settings)
    network = kind()
    began = time.perf_counter()
    fit(network, step, _Batches(batch, count), **settings)
    return count / (time.perf_counter() - began)


def _whole_rollouts(
    executor: Executor | None, workers: int, steps: int, i: int, skip: int, lanes: int = ROWS
) -> float:
    world_model, controller = load_agent(pretrained("car_racing"))
    world_model.mdn_rnn.repeat = skip  # at another one it drives badly, and as fast
    world = World("wmlib/CarRacing-v3", lanes, options={"max_episode_steps": steps})
    jobs = [EpisodeSpec(i * lanes * workers + k) for k in range(lanes * workers)]
    # One environment alone is slower by far: it drives two episodes, and is timed long enough.
    jobs = jobs if lanes > 1 else [EpisodeSpec(2 * i), EpisodeSpec(2 * i + 1)]
    driver = ControllerPolicy(controller)
    _warm_up(world, driver, workers, world_model, executor)
    return _steps_per_second(world, driver, jobs, world_model, executor=executor)


def _warm_up(
    world: World, driver: Any, workers: int, world_model: Any, executor: Executor | None
) -> None:
    """Let every worker make its environments, which it keeps, and run its first kernels."""
    brief = dataclasses.replace(world, patience=WARM_UP)
    jobs = [EpisodeSpec(k) for k in range(4 * workers)]
    run_episodes(brief, driver, jobs, world_model, executor=executor)


def _steps_per_second(
    world: Any, driver: Any, jobs: list[EpisodeSpec], world_model: Any = None, **others: Any
) -> float:
    began = time.perf_counter()
    drives = run_episodes(world, driver, jobs, world_model, **others)
    return sum(drive.steps for drive in drives) / (time.perf_counter() - began)


def _alone(steps: int, i: int, lanes: int) -> float:
    # How much a worker of a large cluster gets done, which has few environments at once.
    with _one_core():
        return _whole_rollouts(None, 1, steps, i, 1, lanes)


def _dreaming(executor: Executor | None, workers: int, steps: int, i: int) -> float:
    model, best = load_agent(pretrained("car_racing"))
    changes = 0.1 * np.random.default_rng(i).normal(size=(ROWS, best.num_parameters))
    driver = ControllerPolicy(Controller(best.parameters * (1 + changes)))
    # Not from encoded frames: these latent vectors are random, and what is dreamt costs as much.
    starts = State(*(torch.randn(ROWS, size) for size in (32, 256, 256)), torch.zeros(ROWS))
    world = DreamWorld(model, starts, max_steps=min(150, steps))
    jobs = [EpisodeSpec(s, member) for member in range(ROWS) for s in range(8 * workers)]
    brief = dataclasses.replace(world, max_steps=2)
    run_episodes(brief, driver, jobs, PassThroughEncoder(model), executor=executor)
    return _steps_per_second(world, driver, jobs, PassThroughEncoder(model), executor=executor)


def _collecting(
    executor: Executor | None, workers: int, steps: int, i: int, bytes_per_frame: list[float]
) -> float:
    world = World("wmlib/CarRacing-v3", ROWS, options={"max_episode_steps": steps})
    jobs = [EpisodeSpec(i * ROWS * workers + k) for k in range(ROWS * workers)]
    driver = random_car_policy()
    _warm_up(world, driver, workers, None, executor)
    with tempfile.TemporaryDirectory() as folder:
        store = EpisodeStore(folder)
        rate = _steps_per_second(world, driver, jobs, executor=executor, store=store)
        frames = sum(store.length(name) for name in store.names())
        size = sum(file.stat().st_size for file in store.folder.iterdir())
    bytes_per_frame.append(size / frames)
    return rate
