"""Gymnasium's CarRacing and the one with the fast renderer: profile, speeds, the same frames."""

import cProfile
import pstats
import time
from collections.abc import Collection, Mapping

import gymnasium as gym
import numpy as np

GAS = np.array([0.0, 0.3, 0.0], np.float32)


def profile_shares(env: gym.Env, functions: Mapping[str, str], steps: int = 100) -> dict:
    """The share of the time of `env.step` that functions take by the profiler, calls included.

    functions: {name: "file: function"}, as `pstats` writes them. Raises ValueError for a function
    that was not called.
    """
    profile = cProfile.Profile()
    profile.enable()
    for _ in range(steps):
        env.step(GAS)
    profile.disable()
    stats: Mapping[tuple, tuple] = pstats.Stats(profile).stats  # type: ignore[attr-defined]
    spent = {f"{key[0].rpartition('/')[2]}: {key[2]}": value[3] for key, value in stats.items()}
    missing = [function for function in functions.values() if function not in spent]
    if missing:
        raise ValueError(f"not called in {steps} steps: {', '.join(missing)}")
    whole = spent["car_racing.py: step"]
    return {name: spent[function] / whole for name, function in functions.items()}


def step_rates(
    envs: Mapping[str, gym.Env], steps: int = 40, repetitions: int = 5
) -> dict[str, float]:
    """Environment steps per second, medians of interleaved repetitions on one track."""
    rates: dict[str, list[float]] = {name: [] for name in envs}
    for env in envs.values():
        env.reset(seed=2)
    for _ in range(repetitions):
        for name, env in envs.items():
            began = time.perf_counter()
            for _ in range(steps):
                env.step(GAS)
            rates[name].append(steps / (time.perf_counter() - began))
    return {name: float(np.median(values)) for name, values in rates.items()}


def compare_renderers(
    seed: int, actions: np.ndarray, moments: Collection[int]
) -> tuple[dict[str, np.ndarray], np.ndarray, bool]:
    """Both environments on the same track with the same actions (T, 3).

    Returns the frames of both at some moments (and ten times their difference), the mean absolute
    difference of every frame in grey levels (T,), and whether all rewards were equal.
    """
    names = {"Gymnasium": "wmlib/CarRacingOriginal-v3", "fast renderer": "wmlib/CarRacing-v3"}
    frames: dict[str, list] = {}
    rewards = {}
    for name, env_id in names.items():
        env = gym.make(env_id)
        env.reset(seed=seed)
        steps = [env.step(action) for action in actions]
        frames[name] = [step[0] for step in steps]
        rewards[name] = [step[1] for step in steps]
        env.close()
    theirs, ours = (np.array(frames[name], int) for name in names)
    difference = np.abs(theirs - ours)
    shown = {"Gymnasium": theirs, "fast renderer": ours, "10 × difference": 10 * difference}
    at = list(moments)
    strips = {name: values[at].clip(0, 255).astype(np.uint8) for name, values in shown.items()}
    equal = rewards["Gymnasium"] == rewards["fast renderer"]
    return strips, difference.mean((1, 2, 3)), equal
