"""What a run will take, before it starts: disk, memory and time, from speeds measured here.

An upper bound: every drive is counted with all its steps, though many are given up before.
"""

import math
import os
import shutil
import time
from pathlib import Path

import gymnasium as gym
import psutil

from wmlib.models.controller import Controller
from wmlib.pipeline.ball import BALL
from wmlib.pipeline.config import Preset
from wmlib.pipeline.search import tracks_of
from wmlib.rollout.workers import processes
from wmlib.tools import bench
from wmlib.training.batches import BUFFER_STEPS
from wmlib.training.evolution import Evolution

LATENT_BYTES = 4 * 70  # of one look: mu, logvar, action, reward, end


AGENT_BYTES = 160e6  # of weights and checkpoints, a round


FRAMES_IN_A_MEGABYTE = 1300  # as the bench found


WORKER_BYTES = 0.6e9  # of a process that drives, torch and V included


SEARCH = "generations of CMA-ES, without the drives"


SPARE = 1.1  # what should be free, as a multiple of what is needed


def estimate(preset: Preset, folder: str | Path, world: str = "car_racing") -> str:
    """A table of what the run in `folder` will take at most. ValueError if it will not fit.

    world: "car_racing" or "ball".
    """
    if world == "ball":
        preset = of_the_ball(preset)
    return tabulate(preset, speeds(preset), free_disk(folder), psutil.virtual_memory().available)


def examine(preset: Preset, folder: str | Path, world: str = "car_racing") -> None:
    """ValueError if the run in `folder` will not fit on the disk, or into this machine's memory.

    Nothing is measured for it, so it is done at once: no run starts that cannot end.
    """
    if world == "ball":
        preset = of_the_ball(preset)
    free = {"disk": free_disk(folder), "memory": psutil.virtual_memory().total}
    _fit(needs(preset, FRAMES_IN_A_MEGABYTE), free, "(see --dry-run)")


def free_disk(folder: str | Path) -> int:
    """Bytes left where a folder is, or will be; what the run itself has there counts as free."""
    folder = Path(folder).absolute()
    own = sum({f.stat().st_ino: f.stat().st_size for f in folder.rglob("*.*")}.values())
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free + own


def needs(preset: Preset, frames_in_a_megabyte: float) -> dict[str, float]:
    """Bytes of "disk" and of "memory" that a run takes at most. Frames: of 64 x 64."""
    pixels, disk, looks = (preset.frame_size / 64) ** 2, 0.0, 0.0
    for number in range(preset.rounds):
        fresh = preset.episodes[number] * preset.looks
        looks += fresh
        frames = fresh * pixels / frames_in_a_megabyte * 1e6
        disk += frames + looks * LATENT_BYTES + AGENT_BYTES
    drivers = 0 if preset.cluster else preset.workers  # a cluster's have a memory of their own
    memory = drivers * WORKER_BYTES + min(looks, BUFFER_STEPS) * LATENT_BYTES + 2e9
    return {"disk": disk, "memory": memory}


def _fit(needed: dict[str, float], free: dict[str, float], hint: str) -> None:
    for name in needed:
        if needed[name] * SPARE > free[name]:
            raise ValueError(
                f"this will not fit: it needs {needed[name] / 1e9:.1f} GB of {name} at most, and "
                f"{free[name] / 1e9:.1f} GB are free {hint}"
            )


def speeds(preset: Preset, steps: int | None = None) -> dict[str, float]:
    """How many a second (and frames in a megabyte), measured once, in a minute or two.

    steps: of an episode to measure with; by default the preset's.

    With no more processes than there are cores here; more workers than that count as so many times
    as fast. (They share nothing but what a generation begins with: see `SEARCH`.)
    """
    here = preset.workers if preset.cluster else min(preset.workers, os.cpu_count() or 1)
    with processes(here, preset.cluster) as executor:
        measured = [
            *bench.networks(),
            *bench.rollouts(executor, here, steps or preset.measured_steps),
        ]
        rates = {m.name: m.measure(0) for m in measured}
    rates[SEARCH] = _searches(preset)
    return with_more_workers(rates, max(preset.workers, 1) / max(here, 1))


def with_more_workers(speed: dict[str, float], times: float) -> dict[str, float]:
    """The speeds of so many times the workers that they were measured with."""
    return speed | {name: speed[name] * times for name in (*bench.WHOLE, bench.DREAMS)}


def _searches(preset: Preset, generations: int = 5) -> float:
    """Generations a second of the search itself, which is one process's work: ask and tell."""
    directions = preset.directions or Controller().feature_size
    evolution = Evolution((directions + 1) * 3, preset.population)
    began = time.perf_counter()
    for _ in evolution.run(lambda candidates, k: candidates[:, 0], generations):
        pass
    return generations / (time.perf_counter() - began)


def of_the_ball(preset: Preset) -> Preset:
    """The ball's run in CarRacing's terms: one round, and no C."""
    return preset.change(rounds=1, episodes=(preset.ball_episodes,))._replace(
        generations=(0,),
        vae_epochs=(preset.ball_vae_epochs,),
        rnn_epochs=preset.ball_rnn_epochs,
        max_steps=gym.spec(BALL.env_id).max_episode_steps,
        repeat=1,
    )


def tabulate(preset: Preset, speed: dict[str, float], disk_free: float, memory_free: float) -> str:
    """The same from speeds that are known. Sizes in bytes."""
    pixels = (preset.frame_size / 64) ** 2  # what was measured was 64 x 64
    on_the_road = speed[next(iter(bench.WHOLE))] / pixels
    lines = [f"{'round':8}{'drives':>8}{'looks':>12}{'collect':>10}{'V':>9}{'M':>9}{'C':>9}"]
    seconds = looks = 0.0
    for k in range(preset.rounds):
        looks += preset.episodes[k] * preset.looks
        seen = looks * pixels / speed[bench.ENCODES]
        times = {
            "collect": preset.episodes[k] * preset.max_steps / on_the_road,
            "V": preset.vae_epochs[k] * looks * pixels / speed[bench.V_TRAINS] + seen,
            "M": _learned(preset, k, looks) / speed[bench.M_TRAINS],
            "C": search_seconds(preset, k, speed),
        }
        seconds += sum(times.values())
        told = "".join(f"{_time(t):>9}" for t in times.values())
        lines.append(f"{k:<8}{preset.episodes[k]:>8,}{looks:>12,.0f} {told}")
    needed = needs(preset, speed[bench.ON_DISK])
    free = {"disk": disk_free, "memory": memory_free}
    lines += ["", f"time    at most {_time(seconds)} with {max(preset.workers, 1)} workers"]
    for name in needed:
        told = f"{needed[name] / 1e9:.1f} GB of the {free[name] / 1e9:.1f} GB that are free"
        lines.append(f"{name:8}at most {told}")
    table = "\n".join(lines)
    _fit(needed, free, f"\n{table}")
    return table


def _learned(preset: Preset, number: int, looks: float) -> float:
    """Looks in all passes of M and, in a run in dreams, of the M that makes them."""
    if not preset.dream:
        return preset.rnn_epochs * looks
    lesson = min(1, 2 * preset.dream_fresh / sum(preset.episodes[: number + 1]))
    passes = preset.dream_epochs[number] * lesson
    passes += 0 if preset.stays(number) else preset.rnn_epochs
    return passes * looks


def _checked(preset: Preset, number: int) -> float:
    """Steps of all checks on the road of a round."""
    checks = math.ceil(preset.generations[number] / preset.check_every)
    checks += preset.looks_back(number)
    return checks * preset.check_tracks * preset.max_steps


def search_seconds(preset: Preset, number: int, speed: dict[str, float]) -> float:
    """Seconds that the search for a round's C takes at most: drives, checks, and the search itself.

    speed: as from `speeds`.
    """
    on_the_road = speed[next(iter(bench.WHOLE))] / (preset.frame_size / 64) ** 2
    # What was measured looks at every second step, and has one M; the agent's own comes on top.
    in_dreams = speed[bench.DREAMS] * preset.repeat / 2 / 2
    driving = searched_steps(preset, number, speed) / (in_dreams if preset.dream else on_the_road)
    checking = _checked(preset, number) / on_the_road
    return driving + checking + preset.generations[number] / speed[SEARCH]


def searched_steps(preset: Preset, number: int, speed: dict[str, float]) -> float:
    """Steps that all candidates of a round drive at most; where workers idle, as many more."""
    judged = 2 * (number - preset.since(number)) * preset.looks_back(number)
    steps = float(judged * preset.hindsight_dreams * preset.dream_steps * preset.repeat)
    for generation in range(preset.generations[number]):
        tracks = tracks_of(generation, preset.rollouts[number], preset.double_every)
        drives = preset.population * tracks
        if preset.dream:
            steps += drives * preset.dream_steps * preset.repeat
        else:
            steps += drives * preset.max_steps * _idling(drives, preset.workers, speed)
    return steps


def _idling(drives: int, workers: int, speed: dict[str, float]) -> float:
    """How much longer so many drives take than if every worker had all its lanes full: 1 or more.

    What a step costs has a part that all lanes share, so a worker with few cars is slower for each.
    """
    (full, alone), lanes = (1 / speed[name] for name in bench.ALONE), drives / max(workers, 1)
    share = (1 / min(max(lanes, 1), bench.ROWS) - 1 / bench.ROWS) / (1 - 1 / bench.ROWS)
    return (full + share * max(alone - full, 0)) / full * max(1, 1 / lanes)


def _time(seconds: float) -> str:
    for unit, size in {"d": 86400, "h": 3600, "min": 60}.items():
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{math.ceil(seconds)} s"
