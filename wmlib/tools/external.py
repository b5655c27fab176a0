"""Score anybody's agent on the held-out tracks, with the report that ours gets.

An agent is any Python object with two methods:

    reset()        a new episode begins
    act(frame)     (96, 96, 3) uint8, the frame of the untouched CarRacing-v3 -> steering -1..1,
                   gas 0..1 and brake 0..1, as three numbers

It is named as FILE.py:NAME or package.module:NAME, where NAME is a class or a function without
arguments that makes one; or as ALGORITHM:FILE.zip, for a model that Stable-Baselines3 saved.
"""

import importlib
import types
from concurrent.futures import Executor
from importlib.machinery import SourceFileLoader
from pathlib import Path
from typing import Any, Protocol

import gymnasium as gym
import numpy as np
from tqdm.auto import tqdm

from wmlib.envs import HELD_OUT_SEEDS
from wmlib.evaluation import Score

FORMS = "FILE.py:NAME, package.module:NAME or, with Stable-Baselines3, ppo:FILE.zip"


class ExternalAgent(Protocol):
    """What is asked of an agent."""

    def reset(self) -> None:
        """A new episode begins."""

    def act(self, frame: np.ndarray) -> Any:
        """(96, 96, 3) uint8 -> three numbers: steering, gas, brake."""


def make_agent(name: str) -> ExternalAgent:
    """The agent of that name (see above). It runs the code in the file: trust where it is from.

    Raises ValueError if the name has none of the three forms, there is no such file, module or
    NAME, or what it makes lacks `reset` or `act`.
    """
    place, _, what = name.rpartition(":")
    if not place or not what:
        raise ValueError(f"an agent is named as {FORMS}, got {name!r}")
    if what.endswith(".zip"):
        return StableBaselinesAgent(place, Path(what))
    module = _module(place)
    if not hasattr(module, what):
        raise ValueError(f"{place} has no {what}")
    agent = getattr(module, what)()
    missing = [m for m in ("reset", "act") if not callable(getattr(agent, m, None))]
    if missing:
        raise ValueError(f"what {name} makes has no method {' and no '.join(missing)}")
    return agent


def _module(place: str) -> Any:
    if not place.endswith(".py"):
        try:
            return importlib.import_module(place)
        except ImportError as error:
            raise ValueError(f"cannot import {place}: {error}") from error
    file = Path(place)
    if not file.is_file():
        raise ValueError(f"there is no file {file}")
    loader = SourceFileLoader(file.stem, str(file))
    module = types.ModuleType(loader.name)
    loader.exec_module(module)
    return module


def stable_baselines() -> types.ModuleType:
    """The package, which is no dependency. ValueError, with what to install, if it is missing."""
    try:
        import stable_baselines3
    except ImportError as error:
        raise ValueError("Stable-Baselines3 is needed: pip install stable-baselines3") from error
    return stable_baselines3


class StableBaselinesAgent:
    """A model saved by Stable-Baselines3, acting deterministically.

    Its observations may be CarRacing's own frames, alone or several stacked along the channels, the
    newest last (as by VecFrameStack), channels last or first. Raises ValueError for another
    observation space or algorithm: an agent with preprocessing of its own is a class with `reset`
    and `act`.
    """

    def __init__(self, algorithm: str, file: Path):
        sb3 = stable_baselines()
        known = [a.lower() for a in ("A2C", "DDPG", "PPO", "SAC", "TD3")]
        if algorithm.lower() not in known:
            raise ValueError(f"the algorithm must be one of {', '.join(known)}, got {algorithm!r}")
        if not file.is_file():
            raise ValueError(f"there is no file {file}")
        self._model = getattr(sb3, algorithm.upper()).load(file, device="cpu")
        shape = self._model.observation_space.shape
        self._channels_first = shape[1:] == (96, 96)
        channels = shape[0] if self._channels_first else shape[-1]
        if (96, 96) not in (shape[1:], shape[:-1]) or channels % 3:
            raise ValueError(
                f"{file} observes {shape}, but CarRacing-v3's frames are (96, 96, 3): wrap the "
                f"model in a class with reset and act, and name that"
            )
        self._frames = np.zeros((96, 96, channels), np.uint8)

    def reset(self) -> None:
        """Forget the last frames."""
        self._frames[:] = 0

    def act(self, frame: np.ndarray) -> np.ndarray:
        """(96, 96, 3) uint8 -> (3,) float32."""
        self._frames = np.concatenate([self._frames[..., 3:], frame], axis=-1)
        seen = self._frames.transpose(2, 0, 1) if self._channels_first else self._frames
        return self._model.predict(seen, deterministic=True)[0]


def score_agent(
    name: str,
    tracks: int = 100,
    *,
    executor: Executor | None = None,
    max_steps: int = 1000,
) -> Score:
    """Score an agent on the first `tracks` held-out tracks, every episode to its end.

    The agent is made anew for every track, in whichever process it runs. Raises ValueError for a
    name that `make_agent` rejects, and for an action that is not in the action space.
    """
    make_agent(name)  # a wrong name is an error before any process starts
    seeds = list(HELD_OUT_SEEDS[:tracks])
    each = [(name, seed, max_steps) for seed in seeds]
    run = map if executor is None else executor.map
    progress = tqdm(run(_episode, each), total=tracks, desc="scoring", leave=False, disable=None)
    returns, steps, laps = zip(*progress, strict=True)
    return Score(seeds, np.array(returns), np.array(steps), np.array(laps))


def _episode(task: tuple[str, int, int]) -> tuple[float, int, bool]:
    # Return, environment steps, and whether the lap was completed.
    name, seed, max_steps = task
    agent, env = make_agent(name), gym.make("CarRacing-v3", max_episode_steps=max_steps)
    frame, info = env.reset(seed=seed)
    agent.reset()
    total, steps, over = 0.0, 0, False
    while not over:
        action = np.asarray(agent.act(frame), dtype=np.float32)
        if not env.action_space.contains(action):
            raise ValueError(
                f"{name}: an action is [steering -1..1, gas 0..1, brake 0..1], "
                f"got {action.tolist()}"
            )
        frame, reward, terminated, truncated, info = env.step(action)
        total, steps, over = total + float(reward), steps + 1, terminated or truncated
    env.close()
    return total, steps, bool(info.get("lap_finished", False))
