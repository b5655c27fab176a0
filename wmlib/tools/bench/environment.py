"""Environments without an agent, on one core: Gymnasium's, EnvPool's and our CarRacing-v3."""

import importlib.util
from collections.abc import Callable
from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np

from wmlib.rollout.policies import EpisodeSpec, random_car_policy
from wmlib.tools.bench.measure import ENVIRONMENTS, RESETS, Measurement
from wmlib.tools.bench.timing import one_core, per_second, timed

GYMNASIUM, ENVPOOL = "Gymnasium's CarRacing-v3", "EnvPool's CarRacing-v3"
FAST, PHYSICS = "wmlib/CarRacing-v3", "its physics, no frames"
NEW_TRACK = {GYMNASIUM: "new track, Gymnasium", FAST: "new track, wmlib"}
WARM_UP = 20  # environment steps before the timed ones


def environments(steps: int = 200) -> list[Measurement]:
    """Measurements of environment steps and of resets per second.

    steps: environment steps that are timed per repetition. EnvPool's environment is included if it
    is installed, without resets. "its physics, no frames" is Gymnasium's without rendering.
    """
    gymnasium = gym.make("CarRacing-v3", disable_env_checker=True)
    fast = gym.make("wmlib/CarRacing-v3", disable_env_checker=True)
    physics = gym.make("CarRacing-v3", disable_env_checker=True)
    unwrapped: Any = physics.unwrapped
    unwrapped._render = lambda mode: np.zeros((96, 96, 3), np.uint8)

    def stepping(name: str, measure: Callable[[int], float], kind: str) -> Measurement:
        return Measurement(name, ENVIRONMENTS, 1, measure, GYMNASIUM, kind)

    def resetting(name: str, env: gym.Env, kind: str) -> Measurement:
        measure = partial(_resets_per_second, env)
        return Measurement(NEW_TRACK[name], RESETS, 1, measure, NEW_TRACK[GYMNASIUM], kind)

    installed = importlib.util.find_spec("envpool") is not None
    return [
        stepping(GYMNASIUM, partial(_steps_per_second, gymnasium, steps), "baseline"),
        *([stepping(ENVPOOL, _envpool(steps), "baseline")] if installed else []),
        stepping(FAST, partial(_steps_per_second, fast, steps), "real"),
        stepping(PHYSICS, partial(_steps_per_second, physics, steps), "real"),
        resetting(GYMNASIUM, gymnasium, "baseline"),
        resetting(FAST, fast, "real"),
    ]


def _envpool(steps: int) -> Callable[[int], float]:
    import envpool

    with one_core():  # its thread remains restricted to this core
        pool = envpool.make_gymnasium("CarRacing-v3", num_envs=1, num_threads=1, seed=0)

    def step(action: np.ndarray) -> None:
        pool.step(action[None])

    return lambda i: _timed_steps(pool.reset, step, steps, seed=i)  # a reset draws a new track


def _steps_per_second(env: gym.Env, steps: int, seed: int) -> float:
    return _timed_steps(lambda: env.reset(seed=seed), env.step, steps, seed)


def _timed_steps(
    reset: Callable[[], object], step: Callable[[np.ndarray], object], steps: int, seed: int
) -> float:
    """Environment steps per second, after a reset and WARM_UP steps that are not timed.

    Actions are random. Steps go on after the end of an episode, as only the speed matters.
    """
    policy = random_car_policy()
    policy.begin(0, EpisodeSpec(seed))
    actions = [policy.act(None, 1)[0] for _ in range(WARM_UP + steps)]
    with one_core():
        reset()
        for action in actions[:WARM_UP]:
            step(action)
        _, seconds = timed(lambda: [step(action) for action in actions[WARM_UP:]])
    return steps / seconds


def _resets_per_second(env: gym.Env, i: int) -> float:
    seeds = iter(range(100 * i, 100 * i + 100))
    with one_core():
        return per_second(lambda: env.reset(seed=next(seeds)), 10)
