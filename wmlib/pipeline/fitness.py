"""How good controllers are: by what they earn, or by what their dreams foresee."""

from collections.abc import Sequence
from concurrent.futures import Executor

import numpy as np

from wmlib.envs.dream import DreamWorld, PassThroughEncoder
from wmlib.envs.vector import World
from wmlib.models.controller import Controller
from wmlib.models.world_model import WorldModel
from wmlib.rollout.policies import ControllerPolicy, EpisodeSpec
from wmlib.rollout.rollout import Episode, run_episodes

# Of a lap's 1,000 points. On its second lap a car is paid no more, for all its good driving; and no
# M could know why. What a drive brought when it had been round was 850 and more.
LAP, NEARLY_ROUND = 1000, 800


def panel(
    world: World | DreamWorld,
    mind: WorldModel | PassThroughEncoder,
    population: Controller,
    seeds: Sequence[int],
    executor: Executor | None = None,
) -> np.ndarray:
    """What every member of a population earns on the same seeds: (members, seeds)."""
    drives = _all_drives(world, mind, population, seeds, executor)
    return np.array([[drive.score for drive in row] for row in drives])


def foreseen(
    world: DreamWorld,
    mind: PassThroughEncoder,
    population: Controller,
    seeds: Sequence[int],
    executor: Executor | None = None,
    *,
    length: int,
) -> np.ndarray:
    """What every member would earn in `length` looks of a drive, by its dreams: (members,)."""
    return whole_drive(*dreamt(world, mind, population, seeds, executor), length)


def dreamt(
    world: DreamWorld,
    mind: PassThroughEncoder,
    population: Controller,
    seeds: Sequence[int],
    executor: Executor | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What every member earned, for how many looks it was on its way, whether it was then lost.

    Each (members, seeds). A dream that ends early has lost its driver.
    """
    repeat, waited = world.world_model.mdn_rnn.repeat, world.patience or 0
    drives = _all_drives(world, mind, population, seeds, executor)
    pay = np.array([[drive.score for drive in row] for row in drives])
    looks = np.array([[drive.steps / repeat for drive in row] for row in drives])
    lost = looks < world.max_steps
    return pay, np.maximum(looks - waited * lost, 1), lost


def whole_drive(pay: np.ndarray, looks: np.ndarray, lost: np.ndarray, length: int) -> np.ndarray:
    """What `length` looks of a drive should bring, by many dreams of it: (members,).

    pay, looks, lost: (members, dreams), see `dreamt`. Who earns v a look, and gets lost at a rate
    of r a look, earns v (1 - exp(-r T)) / r in T looks. No v counts that is more than a lap in this
    time: what is left to gain by being faster is a tenth of a point a step, and in a dream that
    gain would be sure, the danger doubtful. The mean over the dreams' pay would know nothing of
    laps, and say the rest less clearly: there it is chance, too, *when* a driver is lost.
    """
    looks = looks.sum(1)
    pace = np.minimum(pay.sum(1) / looks, LAP / length)
    rate = (lost.sum(1) + 0.5) / looks  # not lost so far does not mean never
    return pace * -np.expm1(-rate * length) / rate


def _all_drives(
    world: World | DreamWorld,
    mind: WorldModel | PassThroughEncoder,
    population: Controller,
    seeds: Sequence[int],
    executor: Executor | None,
) -> list[list[Episode]]:
    # A row for every member.
    jobs = [EpisodeSpec(seed, member) for member in range(len(population)) for seed in seeds]
    drives = run_episodes(world, ControllerPolicy(population), jobs, mind, executor=executor)
    return [drives[i : i + len(seeds)] for i in range(0, len(drives), len(seeds))]
