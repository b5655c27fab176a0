"""Latencies of the explorers."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch

from wmlib.envs.vector import VectorEnvSpec
from wmlib.models.checkpoints import load_agent
from wmlib.paths import pretrained
from wmlib.rollout.policies import ControllerPolicy, EpisodeSpec
from wmlib.rollout.rollout import record_episode
from wmlib.tools.bench.measure import EXPLORERS, Measurement
from wmlib.tools.bench.timing import timed

DRIVING_A_DREAM = "driving the dream: an agent step"
STEPS = 160  # environment steps of the recorded episode
CONTEXT = 40  # agent steps before the first moment of the mixture explorer


def explorers(moves: int = 20) -> list[Measurement]:
    """Measurements of the milliseconds from the move of a control to its picture.

    The 95th percentile of `moves` moves, in the kernel; the browser's time is not included.
    """
    from wmlib.view.explorers import (  # only here: they need the chapters' packages
        ControllerExplorer,
        DreamExplorer,
        LatentExplorer,
        MixtureExplorer,
    )

    model, best = load_agent(pretrained("car_racing"))
    env_spec = VectorEnvSpec("wmlib/CarRacing-v3", num_envs=1, options={"max_episode_steps": STEPS})
    recording = record_episode(env_spec, ControllerPolicy(best), EpisodeSpec(0), model).recording
    frames = recording["frames"]
    latent = LatentExplorer(model.vae, frames[::20])
    mixture = MixtureExplorer(model, frames, recording["actions"], first=CONTEXT)
    mixture.horizon.value = mixture.horizon.max  # the longest wait
    controller = ControllerExplorer(model, best, env_spec, track=0, steps=moves)
    dream = DreamExplorer(model, best, env_spec)

    def moving(control: Any) -> Callable[[int], None]:
        values = np.linspace(control.min, control.max, moves)
        return lambda k: setattr(control, "value", type(control.value)(values[k]))

    moves_of: dict[str, Callable[[int], None]] = {
        "latent explorer: a slider": moving(latent.sliders[0]),
        "mixture explorer: the moment": moving(mixture.moment),
        "mixture explorer: the temperature": moving(mixture.temperature),
        "mixture explorer: the horizon": moving(mixture.horizon),
        "controller explorer: the moment": moving(controller.step),
        DRIVING_A_DREAM: lambda k: dream.tick(),
    }
    cores = torch.get_num_threads()

    def latency(move: Callable[[int], None]) -> Callable[[int], float]:
        return lambda i: _latency(move, moves)

    return [
        Measurement(
            name,
            EXPLORERS,
            cores,
            latency(move),
            kind="dream" if name == DRIVING_A_DREAM else "real",
        )
        for name, move in moves_of.items()
    ]


def _latency(move: Callable[[int], None], moves: int) -> float:
    """The 95th percentile, in milliseconds, of moves 0 to moves - 1.

    The last move is made before, untimed: the first picture may fill caches, and move 0 has to
    change something.
    """
    move(moves - 1)
    seconds = [timed(partial(move, k))[1] for k in range(moves)]
    return 1000 * float(np.quantile(seconds, 0.95))
