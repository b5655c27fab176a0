"""What a run will take, before it starts: disk, memory and time, from speeds measured here.

An upper bound: every episode is counted with all its steps, though many end early.
"""

import math
import os
import shutil
import time
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path

import gymnasium as gym
import psutil

from wmlib.models.mdn_rnn import MDNRNN
from wmlib.models.vae import VAE
from wmlib.models.world_model import WorldModel
from wmlib.pipeline.ball import BALL
from wmlib.pipeline.car_racing import training_env_spec
from wmlib.pipeline.config import Config, Machine
from wmlib.pipeline.rounds import Round, num_tracks, rounds_of
from wmlib.pipeline.scales import get_machine
from wmlib.pipeline.workers import processes
from wmlib.rollout.policies import EpisodeSpec
from wmlib.rollout.rollout import run_episodes
from wmlib.tools import bench
from wmlib.training.batches import SequenceBatches
from wmlib.training.evolution import Evolution

LATENT_BYTES = 4 * 70  # of one agent step: mu, logvar, action, reward, done
AGENT_BYTES = 160e6  # of weights and checkpoints, per round
FRAMES_PER_MEGABYTE = 1300  # as the bench measures
WORKER_BYTES, ENV_BYTES = 0.5e9, 17e6  # of a worker with torch and V; of each environment in it
MEASURED_STEPS = 150  # environment steps per episode that measures speed
SEARCH = "generations of CMA-ES, without the episodes"
SPARE = 1.1  # what should be free, as a multiple of what is needed


@dataclass(frozen=True)
class Work:
    """What has to be done for a run, as far as its cost depends on it."""

    rounds: list[Round]
    searches: bool  # whether there is a C to search for

    @classmethod
    def of(
        cls, config: Config, world: str = "car_racing", machine: Machine | None = None
    ) -> "Work":
        """A run's work. world: "car_racing", "take_cover" or "ball"."""
        if world == "ball":
            config = ball_in_car_racings_terms(config)
        rounds = rounds_of(config, machine=machine or get_machine(config.scale))
        return cls(rounds, world != "ball")

    @property
    def config(self) -> Config:
        """The run's settings."""
        return self.rounds[0].config

    @property
    def machine(self) -> Machine:
        """Where it runs."""
        return self.rounds[0].machine

    @property
    def pixels(self) -> float:
        """Pixels of a frame, as a multiple of those of the frames that speeds are measured with."""
        return (self.config.env.frame_size / 64) ** 2


def ball_in_car_racings_terms(config: Config) -> Config:
    """The ball's run as one round of CarRacing, without C."""
    ball, steps = config.ball, gym.spec(BALL.env_id).max_episode_steps
    return config.change(
        num_rounds=1,
        episodes=ball.episodes,
        vae_epochs=ball.vae_epochs,
        rnn={"epochs": ball.rnn_epochs},
        env={"max_steps": steps},
        frame_skip=1,
    )


def estimate(work: Work, folder: str | Path) -> str:
    """A table of what the run in `folder` will take at most. ValueError if it will not fit."""
    memory = psutil.virtual_memory().available
    return tabulate(work, speeds(work), free_disk(folder), memory)


def check_space(work: Work, folder: str | Path) -> None:
    """ValueError if the run in `folder` will not fit on the disk, or into this machine's memory.

    Nothing is measured for it, so it is done at once: no run starts that cannot end.
    """
    free = {"disk": free_disk(folder), "memory": psutil.virtual_memory().total}
    _require_space(needs(work, FRAMES_PER_MEGABYTE), free, "(see --dry-run)")


def free_disk(folder: str | Path) -> int:
    """Bytes left where a folder is, or will be; what the run itself has there counts as free."""
    folder = Path(folder).absolute()
    own = sum({f.stat().st_ino: f.stat().st_size for f in folder.rglob("*.*")}.values())
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free + own


def needs(work: Work, frames_per_megabyte: float) -> dict[str, float]:
    """Bytes of "disk" and of "memory" that a run takes at most. Frames: of 64 x 64."""
    config, machine, disk = work.config, work.machine, 0.0
    for current in work.rounds:
        fresh = current.settings.episodes * current.agent_steps
        if current.changes_pace:  # the agent's own episodes, and the same ones replayed
            fresh += current.settings.episodes * current.previous.agent_steps
        frames = fresh * work.pixels / frames_per_megabyte * 1e6
        disk += frames + _agent_steps(current) * LATENT_BYTES + AGENT_BYTES
    workers = 0 if machine.cluster else machine.workers  # a cluster's have a memory of their own
    worker = WORKER_BYTES + config.env.num_envs * ENV_BYTES * work.pixels
    steps = max(_agent_steps(current) for current in work.rounds)
    memory = workers * worker + min(steps, SequenceBatches.buffer_steps) * LATENT_BYTES + 2e9
    return {"disk": disk, "memory": memory}


def _require_space(needed: dict[str, float], free: dict[str, float], hint: str) -> None:
    for name in needed:
        if needed[name] * SPARE > free[name]:
            raise ValueError(
                f"this will not fit: it needs {needed[name] / 1e9:.1f} GB of {name} at most, and "
                f"{free[name] / 1e9:.1f} GB are free {hint}"
            )


def speeds(work: Work, steps: int = MEASURED_STEPS) -> dict[str, float]:
    """How many per second (and frames per megabyte), measured once, in a minute or two.

    steps: environment steps per episode to measure with.

    With no more processes than there are cores here; more workers than that count as so many times
    as fast. (They share nothing but what a generation begins with: see `SEARCH`.)
    """
    machine = work.machine
    here = machine.workers if machine.cluster else min(machine.workers, os.cpu_count() or 1)
    with processes(here, machine.cluster) as executor:
        measured = [*bench.networks(), *bench.rollouts(executor, here, steps)]
        rates = {m.name: m.measure(0) for m in measured}
        if work.config.task != "car_racing":
            rates = _of_task(work.config, rates, executor, steps)
    rates[SEARCH] = _search_speed(work.config)
    return with_more_workers(rates, max(machine.workers, 1) / max(here, 1))


def _of_task(
    config: Config, rates: dict[str, float], executor: Executor | None, steps: int
) -> dict[str, float]:
    # What the bench measured with CarRacing, for another task: its episodes are measured, and M and
    # its dreams are as much slower as M has more weights.
    m = MDNRNN(config.vae.z_size, config.task_spec.action_size, config.rnn.hidden_size)
    world_model = WorldModel(VAE(config.env.frame_size, config.vae.z_size), m)
    m.repeat = config.frame_skip
    spec = training_env_spec(config.change(env={"max_steps": steps}))
    policy = config.task_spec.random_policies[config.collect.policy](config.frame_skip)
    specs = [EpisodeSpec(seed) for seed in range(2 * config.env.num_envs)]
    began = time.perf_counter()
    episodes = run_episodes(spec, policy, specs, world_model, executor=executor)
    rate = sum(episode.steps for episode in episodes) / (time.perf_counter() - began)
    driving = {name: rate for name in (*bench.WHOLE, *bench.ALONE)}
    sizes = [sum(p.numel() for p in one.parameters()) for one in (MDNRNN(), m)]
    slower = {name: rates[name] * sizes[0] / sizes[1] for name in (bench.M_TRAINS, bench.DREAMS)}
    return rates | driving | slower


def with_more_workers(speed: dict[str, float], times: float) -> dict[str, float]:
    """The speeds of so many times the workers that they were measured with."""
    return speed | {name: speed[name] * times for name in (*bench.WHOLE, bench.DREAMS)}


def _search_speed(config: Config, generations: int = 5) -> float:
    # Generations per second of the search itself, which is one process's work: ask and tell.
    memory = config.rnn.hidden_size * (1 + config.task_spec.reads_cell)
    inputs = config.search.directions or config.vae.z_size + memory
    size = (inputs + 1) * config.task_spec.action_size
    evolution = Evolution(size, config.search.population)
    began = time.perf_counter()
    for _ in evolution.run(lambda candidates, k: candidates[:, 0], generations):
        pass
    return generations / (time.perf_counter() - began)


def tabulate(work: Work, speed: dict[str, float], disk_free: float, memory_free: float) -> str:
    """The table of `estimate` from speeds that are known. Sizes in bytes."""
    config = work.config
    driving = speed[next(iter(bench.WHOLE))] / work.pixels
    header = f"{'round':8}{'episodes':>10}{'agent steps':>13}{'collect':>10}"
    lines = [f"{header}{'V':>9}{'M':>9}{'C':>9}"]
    seconds = 0.0
    for current in work.rounds:
        episodes, steps = current.settings.episodes, _agent_steps(current)
        frames = steps * work.pixels
        times = {
            "collect": episodes * config.env.max_steps / driving * (1 + current.changes_pace),
            "V": current.settings.vae_epochs * frames / speed[bench.V_TRAINS]
            + frames * _images(config) / speed[bench.ENCODES],
            "M": _steps_of_m(current, steps) / speed[bench.M_TRAINS],
            "C": search_seconds(work, current.number, speed) if work.searches else 0.0,
        }
        seconds += sum(times.values())
        columns = "".join(f"{_time(t):>9}" for t in times.values())
        lines.append(f"{current.number:<8}{episodes:>10,}{steps:>13,.0f} {columns}")
    needed = needs(work, speed[bench.ON_DISK])
    free = {"disk": disk_free, "memory": memory_free}
    workers = max(work.machine.workers, 1)
    lines += ["", f"time    at most {_time(seconds)} with {workers} workers"]
    for name in needed:
        amounts = f"{needed[name] / 1e9:.1f} GB of the {free[name] / 1e9:.1f} GB that are free"
        lines.append(f"{name:8}at most {amounts}")
    table = "\n".join(lines)
    _require_space(needed, free, f"\n{table}")
    return table


def _agent_steps(current: Round) -> float:
    # Agent steps of all episodes that a round learns from, at most.
    before = 0 if current.number == 0 or current.changes_pace else _agent_steps(current.previous)
    return before + float(current.settings.episodes * current.agent_steps)


def _steps_of_m(current: Round, steps: float) -> float:
    # Agent steps in all passes of M and, with dreams, of the M that makes them.
    config = current.config
    if not config.in_dreams:
        return config.rnn.epochs * steps * _images(config)
    collected = sum(r.episodes for r in config.rounds[: current.number + 1])
    images = _images(config)
    share = min(1, 2 * config.dream.newest / (images * collected))
    passes = current.settings.dream_epochs * share
    passes += 0 if current.freezes_vae or config.dream.shared_m else config.rnn.epochs
    return passes * steps * images


def _images(config: Config) -> int:
    # That M learns from, of each episode: itself and its mirror image.
    return 1 + config.rnn.mirror_images


def search_seconds(work: Work, number: int, speed: dict[str, float]) -> float:
    """Seconds that the search for a round's C takes at most: episodes, checks, the search itself.

    speed: as from `speeds`.
    """
    current, config = work.rounds[number], work.config
    driving = speed[next(iter(bench.WHOLE))] / work.pixels
    # Measured with a frame skip of 2, and one M; the agent's own M, if any, comes on top.
    dreaming = speed[bench.DREAMS] * current.repeat / 2 / (1 if config.dream.shared_m else 2)
    rate = dreaming if config.in_dreams else driving
    generations = current.settings.generations
    checks = math.ceil(generations / config.search.check_every) + current.reevaluates
    checked = checks * config.search.check_tracks * config.env.max_steps
    checked += current.settings.hard_pool * current.rollout_steps
    return (
        searched_steps(work, number, speed) / rate + checked / driving + generations / speed[SEARCH]
    )


def searched_steps(work: Work, number: int, speed: dict[str, float]) -> float:
    """Environment steps of all candidates of a round at most; where workers idle, as many more."""
    current, config = work.rounds[number], work.config
    dream = config.dream
    candidates = 2 * (number - current.vae_since) * current.reevaluates
    steps = float(candidates * dream.reevaluations * dream.steps * current.repeat)
    ahead = config.lookahead
    steps += 2 * ahead.improvements * ahead.moments * ahead.horizon
    for generation in range(current.settings.generations):
        tracks = num_tracks(generation, current.settings.rollouts, config.search.double_every)
        episodes = config.search.population * tracks
        if config.in_dreams:
            steps += episodes * dream.steps * current.repeat
        else:
            times = _idling(episodes, work.machine.workers, speed)
            steps += episodes * current.rollout_steps * times
    return steps


def _idling(episodes: int, workers: int, speed: dict[str, float]) -> float:
    """How much longer episodes take than if every worker's environments were all busy: 1 or more.

    A step has a cost that all environments of a worker share, so one with few is slower for each.
    """
    (full, alone), each = (1 / speed[name] for name in bench.ALONE), episodes / max(workers, 1)
    share = (1 / min(max(each, 1), bench.ROWS) - 1 / bench.ROWS) / (1 - 1 / bench.ROWS)
    return (full + share * max(alone - full, 0)) / full * max(1, 1 / each)


def _time(seconds: float) -> str:
    for unit, size in {"d": 86400, "h": 3600, "min": 60}.items():
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{math.ceil(seconds)} s"
