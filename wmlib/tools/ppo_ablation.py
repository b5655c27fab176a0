"""Why not PPO? A model-free baseline that sees the same environment for as long as the loop takes.

PPO of Stable-Baselines3 with the settings that RL Baselines3 Zoo publishes for CarRacing, on the
fast renderer: 8 environments, a frame skip of 2, two grey frames of 64 x 64. It needs the extra
"sb3". `python -m wmlib ablate ppo` trains it with three seeds and scores it.

Differs from the Zoo in:
- the learning rate falls to 0 over the steps that there are here, not over 4 million;
- the renderer, of which the table has both: scores are of the untouched frames and of these.
"""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from torch import nn
from tqdm.auto import tqdm

from wmlib.envs import HELD_OUT_SEEDS
from wmlib.envs.vector import ActionRepeat
from wmlib.files import read_log, write_atomically, write_log
from wmlib.pipeline.config import Config, Machine
from wmlib.provenance import Record
from wmlib.tools.tables import Ablate, Table

SEEDS = range(3)
FRAME, STACKED, REPEAT, ENVIRONMENTS = 64, 2, 2, 8
LEARNING_RATE = 1e-4  # at first
FAST, ORIGINAL = "wmlib/CarRacing-v3", "wmlib/CarRacingOriginal-v3"
ZOO: dict[str, Any] = {
    "batch_size": 128,
    "gamma": 0.99,
    "gae_lambda": 0.95,
    "n_epochs": 10,
    "ent_coef": 0.0,
    "sde_sample_freq": 4,
    "max_grad_norm": 0.5,
    "vf_coef": 0.5,
    "use_sde": True,
    "clip_range": 0.2,
}
POLICY: dict[str, Any] = {
    "log_std_init": -2,
    "ortho_init": False,
    "activation_fn": nn.GELU,
    "net_arch": {"pi": [256], "vf": [256]},
}
# What differs from the Zoo's settings: (PPO's, its policy's).
ARMS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "zoo": ({}, {}),
    "no gSDE": ({"use_sde": False, "sde_sample_freq": -1}, {"log_std_init": -1}),
}


@dataclass(frozen=True)
class Budget:
    """How much PPO may do."""

    steps: int = 1_300_000  # agent steps in all
    saved_every: int = 100_000  # agent steps between two saved models
    rollout: int = 512  # agent steps of each environment between two updates
    tracks: int = 100  # of a score
    max_steps: int = 1000  # environment steps of an episode


def run_ppo_ablation(
    file: Path, work: Path, budget: Budget, arms: Sequence[str] = tuple(ARMS)
) -> None:
    """A row per arm and training seed in `file`; goes on with what is there, and in `work`.

    Rows: "arm", "seed", "environment_steps" and "seconds" of training, "curve" (a list of
    [environment steps, mean return of the last 100 training episodes]), and the returns on the same
    held-out tracks: "deterministic" and "sampled" on the untouched frames, "deterministic_fast" and
    "sampled_fast" on those of the fast renderer. Raises ValueError if the rows there were made with
    other settings, or Stable-Baselines3 is missing.
    """
    _require_sb3()
    table = Table(file, Record({}, asdict(budget) | {"rate": LEARNING_RATE} | ZOO))
    for seed in SEEDS:
        for arm in arms:
            key = {"arm": arm, "seed": seed}
            folder = work / f"{arm.replace(' ', '_')}-{seed}"
            table.add(key, partial(_measure, arm, seed, budget, folder))


def _require_sb3() -> None:
    try:
        import stable_baselines3  # noqa: F401  # only here: it is no dependency
    except ImportError as error:
        raise ValueError("Stable-Baselines3 is needed: pip install stable-baselines3") from error


def make_env(env_id: str, max_steps: int) -> gym.Env:
    """One environment as the Zoo wraps it: frames (64, 64, 1) uint8, every second step."""
    options = {"frame_size": FRAME, "max_episode_steps": max_steps}
    env = gym.make(env_id, disable_env_checker=True, **options)
    return gym.wrappers.GrayscaleObservation(ActionRepeat(env, REPEAT), keep_dim=True)


def _training_envs(seed: int, max_steps: int, kept: Path | None) -> Any:
    from stable_baselines3.common.monitor import Monitor
    from stable_baselines3.common.vec_env import (
        DummyVecEnv,
        VecFrameStack,
        VecNormalize,
    )

    make = partial(_monitored, Monitor, max_steps)
    envs = VecFrameStack(DummyVecEnv([make] * ENVIRONMENTS), STACKED)
    envs.seed(seed)
    if kept is not None:
        return VecNormalize.load(str(kept), envs)
    return VecNormalize(envs, norm_obs=False, norm_reward=True, gamma=ZOO["gamma"])


def _monitored(monitor: Any, max_steps: int) -> gym.Env:
    return monitor(make_env(FAST, max_steps))


def train(arm: str, seed: int, budget: Budget, folder: Path) -> tuple[Any, list[dict]]:
    """A PPO model, and its log: goes on from the newest model in the folder.

    Rows of train.jsonl, about one per `saved_every` agent steps: "environment_steps", "seconds",
    "mean_return" of the last 100 episodes (None before the first one ends).
    """
    from stable_baselines3 import PPO
    from stable_baselines3.common.callbacks import BaseCallback

    log, saved, kept = (folder / name for name in ("train.jsonl", "model.zip", "returns.pkl"))
    rows = read_log(log) if log.exists() else []
    envs = _training_envs(seed, budget.max_steps, kept if rows else None)
    if rows:
        model = PPO.load(saved, env=envs, device="cpu")
    else:
        settings, policy = ARMS[arm]
        model = PPO(
            "CnnPolicy",
            envs,
            seed=seed,
            device="cpu",
            learning_rate=_falling_rate,
            policy_kwargs=POLICY | policy,
            n_steps=budget.rollout,
            **ZOO | settings,
        )
    folder.mkdir(parents=True, exist_ok=True)
    began = time.monotonic() - (rows[-1]["seconds"] if rows else 0.0)

    def keep() -> None:
        recent = [episode["r"] for episode in model.ep_info_buffer or ()]
        row = {
            "environment_steps": model.num_timesteps * REPEAT,
            "seconds": round(time.monotonic() - began, 1),
            "mean_return": round(float(np.mean(recent)), 2) if recent else None,
        }
        rows.append(row)
        # The log comes last: it says that the model is there.
        for path, write in ((kept, envs.save), (saved, model.save)):
            write_atomically(path, lambda part, write=write: write(str(part)))
        write_log(rows, log)

    class Keeper(BaseCallback):
        """Saves the model between two updates."""

        def _on_step(self) -> bool:
            return True

        def _on_rollout_start(self) -> None:
            done = rows[-1]["environment_steps"] // REPEAT if rows else 0
            if self.num_timesteps - done >= budget.saved_every:
                keep()

    if model.num_timesteps < budget.steps:
        # `learn` counts what it is given on top of the steps that the model has had.
        more = budget.steps - model.num_timesteps
        model.learn(more, callback=Keeper(), reset_num_timesteps=False)
        keep()
    envs.close()
    return model, rows


def _falling_rate(remaining: float) -> float:
    return LEARNING_RATE * remaining


def play(model: Any, env_id: str, track: int, budget: Budget, sampled: bool) -> float:
    """The return of an episode, to its end. sampled: with the policy's noise, as in training."""
    env = make_env(env_id, budget.max_steps)
    frame, _ = env.reset(seed=track)
    seen = np.zeros((FRAME, FRAME, STACKED), np.uint8)
    total, steps, over = 0.0, 0, False
    while not over:
        seen = np.concatenate([seen[..., 1:], frame], axis=-1)
        if sampled and model.use_sde and steps % max(model.sde_sample_freq, 1) == 0:
            model.policy.reset_noise()
        action, _ = model.predict(seen.transpose(2, 0, 1), deterministic=not sampled)
        frame, reward, terminated, truncated, _ = env.step(action)
        total, steps, over = total + float(reward), steps + 1, terminated or truncated
    env.close()
    return total


def _measure(arm: str, seed: int, budget: Budget, folder: Path) -> dict:
    model, rows = train(arm, seed, budget, folder)
    tracks = HELD_OUT_SEEDS[: budget.tracks]
    returns = {
        name: [
            round(play(model, env_id, track, budget, sampled), 2)
            for track in tqdm(tracks, desc=name, unit="track", leave=False, disable=None)
        ]
        for name, env_id, sampled in (
            ("deterministic", ORIGINAL, False),
            ("sampled", ORIGINAL, True),
            ("deterministic_fast", FAST, False),
            ("sampled_fast", FAST, True),
        )
    }
    curve = [[row["environment_steps"], row["mean_return"]] for row in rows]
    last = rows[-1]
    totals = {name: last[name] for name in ("environment_steps", "seconds")}
    return totals | {"curve": curve} | returns


class AblatePPO(Ablate):
    """A model-free baseline: PPO, on the same environment for as long as the loop takes."""

    name = "ppo"

    def measure(self, config: Config, file: Path, work: Path, machine: Machine) -> None:
        """As of `Ablate`."""
        smoke = Budget(32 * ENVIRONMENTS, 16 * ENVIRONMENTS, 16, 2, 40)
        run_ppo_ablation(file, work, smoke if config.scale == "smoke" else Budget())
