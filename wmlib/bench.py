"""`python -m wmlib bench`: how fast everything is, measured side by side in one run.

A machine's speed changes from minute to minute, above all a shared one's. So no number here is to
be compared with another day's: every round measures everything once, one thing after another, and
what counts is the ratio of the medians.
"""

import contextlib
import datetime
import importlib.util
import logging
import os
import platform
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from importlib import metadata
from typing import Any, NamedTuple

import cv2
import gymnasium as gym
import ipywidgets as widgets
import numpy as np
import torch
from tqdm.auto import tqdm

from wmlib.cluster import dask_cluster
from wmlib.controller import Controller
from wmlib.dream import Dreamer, DreamWorld
from wmlib.drivers import ControllerDriver, Job, random_car_driver
from wmlib.experience import EpisodeStore, Sequences
from wmlib.mdn_rnn import MDNRNN
from wmlib.rollout import World, drive_all, record_drive
from wmlib.training import fit, mdn_rnn_step, vae_step
from wmlib.vae import VAE, frames_to_tensor
from wmlib.world_model import State, WorldModel, load_agent, pretrained

ROWS = 64  # lanes of a rollout, in one batch
GYMNASIUM, ENVPOOL = "CarRacing-v3, Gymnasium's", "CarRacing-v3, EnvPool's"
FAST, PHYSICS = "CarRacing-v3, wmlib's", "its physics alone, no frames"
ON_DISK = "in a megabyte on the disk"
WHOLE = {"whole rollouts, a look at every step": 1, "whole rollouts, a look every 2 steps": 2}
ALONE = {"every step, in one process": ROWS, "every step, in one process, one car": 1}
DREAMS = "whole rollouts in dreams, a look every 2 steps"
LOOKS, V_LEARNS, M_LEARNS = "V looks, 16-bit if faster", "V learns", "M learns"
WAIT = "ms"


class Measurement(NamedTuple):
    """What is measured: `measure(round)` does it once and returns how many in a second."""

    name: str
    unit: str
    cores: int
    measure: Callable[[int], float]


def run(measurements: Sequence[Measurement], rounds: int = 7) -> Iterator[dict]:
    """Measure everything `rounds` times, in turns; after each, yields the result so far.

    A result is {"machine", "date", "versions", "rows": [{"name", "unit", "cores", "runs", "median",
    "times_gymnasium"}]}; the last is the ratio to the first measurement's median. Raises ValueError
    if there are to be no rounds.
    """
    if rounds < 1:
        raise ValueError(f"rounds (repetitions) must be 1 or more, got {rounds}")
    runs: dict[str, list[float]] = {m.name: [] for m in measurements}
    with tqdm(total=rounds * len(measurements), desc="bench", leave=False, disable=None) as bar:
        for i in range(rounds):
            for m in measurements:
                bar.set_postfix_str(m.name)
                runs[m.name].append(m.measure(i))
                bar.update()
            yield _result(measurements, runs)


def _result(measurements: Sequence[Measurement], runs: dict[str, list[float]]) -> dict:
    medians = {name: float(np.median(values)) for name, values in runs.items()}
    reference = medians[measurements[0].name]
    packages = ("torch", "gymnasium", "opencv-python-headless", "numpy")
    return {
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, {platform.system()}",
        "date": datetime.date.today().isoformat(),
        "versions": {package: metadata.version(package) for package in packages},
        "rows": [
            {
                "name": m.name,
                "unit": m.unit,
                "cores": m.cores,
                "runs": [round(value, 1) for value in runs[m.name]],
                "median": round(medians[m.name], 1),
                "times_gymnasium": round(medians[m.name] / reference, 2),
            }
            for m in measurements
        ],
    }


def table(result: dict) -> str:
    """A result of `run` as text: medians, and their ratio to Gymnasium's own environment."""
    lines = [f"{'':42}{'a second':>12}  {'cores':>5}  {'x Gymnasium':>11}"]
    waits = [row for row in result["rows"] if row["unit"] == WAIT]
    rates = [row for row in result["rows"] if row["unit"] != WAIT]
    for row in rates + waits:
        if waits and row is waits[0]:
            lines += ["", f"{'':42}{'at most':>12}  {'cores':>5}   (95 of 100 moves)"]
        amount = f"{row['median']:,.0f}" if row["median"] >= 10 else f"{row['median']:.1f}"
        compares = row["unit"] in ("steps", "frames")
        times = f"{row['times_gymnasium']:.1f}" if compares else ""
        lines.append(f"{row['name']:42}{amount:>12}  {row['cores']:>5}  {times:>11}  {row['unit']}")
    return "\n".join(lines)


def everything(executor: Executor | None, workers: int, steps: int = 1000) -> list[Measurement]:
    """All there is to measure. Rollouts of `steps` steps run on the executor's `workers`."""
    driven = [*rollouts(executor, workers, steps), *through_dask(workers, steps)]
    return [*environments(), *networks(), *driven, *explorers()]


def rollouts(executor: Executor | None, workers: int, steps: int) -> list[Measurement]:
    """Whole rollouts, on the road and in dreams, and onto the disk."""
    cores = max(workers, 1)
    bytes_per_frame: list[float] = []
    return [
        *(
            Measurement(name, "steps", cores,
                        lambda i, pace=pace: _whole_rollouts(executor, cores, steps, i, pace))
            for name, pace in WHOLE.items()
        ),
        *(
            Measurement(name, "steps", 1, lambda i, lanes=lanes: _alone(steps, i, lanes))
            for name, lanes in ALONE.items()
        ),
        Measurement(DREAMS, "steps", cores, lambda i: _dreaming(executor, cores, steps, i)),
        Measurement("collecting at random, onto the disk", "frames", cores,
                    lambda i: _collecting(executor, cores, steps, i, bytes_per_frame)),
        Measurement(ON_DISK, "frames/MB", cores,
                    lambda i: 1e6 / bytes_per_frame[-1]),
    ]  # fmt: skip


def through_dask(workers: int, steps: int) -> list[Measurement]:
    """Whole rollouts on a Dask cluster here, with one worker and with all; if Dask is installed."""
    if not importlib.util.find_spec("distributed"):
        return []

    def measure(i: int, count: int) -> float:
        from dask.distributed import LocalCluster

        local = {"n_workers": count, "threads_per_worker": 1, "dashboard_address": ":0"}
        local |= {"silence_logs": logging.CRITICAL}  # they would tell of every goodbye
        with LocalCluster(**local) as cluster, dask_cluster(cluster.scheduler_address) as executor:
            return _whole_rollouts(executor, count, steps, i, pace=1)

    return [
        Measurement(f"every step, through Dask, workers: {count}", "steps", count,
                    lambda i, count=count: measure(i, count))
        for count in sorted({1, max(workers, 1)})
    ]  # fmt: skip


def environments(steps: int = 300) -> list[Measurement]:
    """Gymnasium's CarRacing-v3, ours, its physics, and EnvPool's if it is installed: one core."""
    gymnasium = gym.make("CarRacing-v3", disable_env_checker=True)
    fast = gym.make("wmlib/CarRacing-v3", disable_env_checker=True)
    physics = gym.make("CarRacing-v3", disable_env_checker=True)
    physics.unwrapped._render = lambda mode: np.zeros((96, 96, 3), np.uint8)
    found = {GYMNASIUM: gymnasium, FAST: fast, PHYSICS: physics}
    measurements = [
        Measurement(name, "steps", 1, lambda i, env=env: _driving(env, steps, i))
        for name, env in found.items()
    ]
    if importlib.util.find_spec("envpool"):
        measurements.insert(1, Measurement(ENVPOOL, "steps", 1, _envpool(steps)))
    resets = {"new tracks, Gymnasium's": gymnasium, "new tracks, wmlib's": fast}
    for name, env in resets.items():
        measurements.append(Measurement(name, "resets", 1, lambda i, env=env: _resetting(env, i)))
    return measurements


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

    return [
        Measurement("V looks, 32-bit floats", "frames", 1, full_precision),
        Measurement(LOOKS, "frames", 1, half_precision),
        Measurement(V_LEARNS, "frames", cores, lambda i: 100 * _fitting(VAE(), vae_step, frames)),
        Measurement(M_LEARNS, "steps", cores,
                    lambda i: 32 * 100 * _fitting(MDNRNN(), mdn_rnn_step, windows)),
    ]  # fmt: skip


def explorers(moves: int = 40) -> list[Measurement]:
    """How long a hand waits: from a control's move to its picture, as many moves as are wanted.

    The time that 95 of 100 moves stay below, in the kernel; the browser is not in it.
    """
    from wmlib.explorers import ControllerExplorer, DreamDrive, LatentExplorer, MixtureExplorer

    model, best = load_agent(pretrained("car_racing"))
    world = World("wmlib/CarRacing-v3", lanes=1, options={"max_episode_steps": 240})
    recording = record_drive(world, ControllerDriver(best), Job(0), model).recording
    latent = LatentExplorer(model.vae, recording["frames"][::20])
    mixture = MixtureExplorer(model, recording["frames"], recording["actions"], first=40)
    mixture.horizon.value = mixture.horizon.max  # the longest wait
    opened = ControllerExplorer(model, best, world, track=0, looks=100)
    ride = DreamDrive(model, best, world)

    def moving(control: widgets.Widget) -> Callable[[int], None]:
        values = np.linspace(control.min, control.max, moves)
        return lambda k: setattr(control, "value", type(control.value)(values[k]))

    hands = {
        "latent explorer: a slider": moving(latent.sliders[0]),
        "mixture explorer: the moment": moving(mixture.moment),
        "mixture explorer: the temperature": moving(mixture.temperature),
        "mixture explorer: looks ahead": moving(mixture.horizon),
        "controller explorer: the moment": moving(opened.look),
        "driving the dream: a look": lambda k: ride.tick(),
    }
    cores = torch.get_num_threads()
    return [
        Measurement(name, WAIT, cores, lambda i, hand=hand: _waiting(hand, moves))
        for name, hand in hands.items()
    ]


def _waiting(hand: Callable[[int], None], moves: int) -> float:
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
    driver = random_car_driver()
    driver.begin(0, Job(seed))
    return [driver.act(None, 1)[0] for _ in range(steps)]


def _driving(env: gym.Env, steps: int, seed: int) -> float:
    actions = _random_actions(steps, seed)
    with _one_core():
        env.reset(seed=seed)
        began = time.perf_counter()
        taken, over = 0, False
        while taken < steps and not over:
            _, _, terminated, truncated, _ = env.step(actions[taken])
            taken, over = taken + 1, terminated or truncated
        return taken / (time.perf_counter() - began)


def _resetting(env: gym.Env, i: int) -> float:
    seeds = iter(range(100 * i, 100 * i + 100))
    with _one_core():
        return _per_second(lambda: env.reset(seed=next(seeds)), 10)


def _envpool(steps: int) -> Callable[[int], float]:
    import envpool

    with _one_core():  # its thread stays on the core it was born on
        pool = envpool.make_gymnasium("CarRacing-v3", num_envs=1, num_threads=1, seed=0)

    def measure(i: int) -> float:
        actions = [action[None] for action in _random_actions(steps, i)]
        with _one_core():
            pool.reset()
            began = time.perf_counter()
            for action in actions:
                pool.step(action)
            return steps / (time.perf_counter() - began)

    return measure


def _fitting(network: torch.nn.Module, step: Callable, batch: Any) -> float:
    class TenTimes:
        def __len__(self) -> int:
            return 10

        def __call__(self, epoch: int) -> list:
            return [batch] * 10

    began = time.perf_counter()
    fit(network, step, TenTimes(), epochs=1, learning_rate=1e-4, seed=0, device="cpu")
    return 10 / (time.perf_counter() - began)


def _whole_rollouts(
    executor: Executor | None, workers: int, steps: int, i: int, pace: int, lanes: int = ROWS
) -> float:
    world_model, controller = load_agent(pretrained("car_racing"))
    driver = ControllerDriver(controller)
    world = World("wmlib/CarRacing-v3", lanes, options={"max_episode_steps": steps})
    jobs = [Job(i * lanes * workers + k) for k in range(lanes * workers)]
    world_model.mdn_rnn.repeat = pace  # at another one it drives badly, and as fast
    # Workers keep their lanes: the first drives, of one job a lane, are not what is measured.
    drive_all(world, driver, [Job(k) for k in range(lanes)], world_model, executor=executor)
    began = time.perf_counter()
    drives = drive_all(world, driver, jobs, world_model, executor=executor)
    return sum(drive.steps for drive in drives) / (time.perf_counter() - began)


def _alone(steps: int, i: int, lanes: int) -> float:
    # How much a worker of a large cluster gets done, which has few cars to drive at once.
    with _one_core():
        return _whole_rollouts(None, 1, steps, i, 1, lanes)


def _dreaming(executor: Executor | None, workers: int, steps: int, i: int) -> float:
    model, best = load_agent(pretrained("car_racing"))
    changes = 0.1 * np.random.default_rng(i).normal(size=(ROWS, best.num_parameters))
    driver = ControllerDriver(Controller(best.parameters * (1 + changes)))
    # From nowhere in particular: what is dreamt there costs as much.
    starts = State(*(torch.randn(ROWS, size) for size in (32, 256, 256)))
    world = DreamWorld(model, starts, max_steps=min(150, steps))
    jobs = [Job(s, member) for member in range(ROWS) for s in range(8 * workers)]
    began = time.perf_counter()
    drives = drive_all(world, driver, jobs, Dreamer(model), executor=executor)
    return sum(drive.steps for drive in drives) / (time.perf_counter() - began)


def _collecting(
    executor: Executor | None, workers: int, steps: int, i: int, bytes_per_frame: list[float]
) -> float:
    world = World("wmlib/CarRacing-v3", lanes=4, options={"max_episode_steps": steps})
    jobs = [Job(i * 8 * workers + k) for k in range(8 * workers)]
    with tempfile.TemporaryDirectory() as folder:
        store = EpisodeStore(folder)
        began = time.perf_counter()
        drives = drive_all(world, random_car_driver(), jobs, executor=executor, store=store)
        seconds = time.perf_counter() - began
        frames = sum(drive.steps + 1 for drive in drives)
        size = sum(file.stat().st_size for file in store.folder.iterdir())
    bytes_per_frame.append(size / frames)
    return frames / seconds
