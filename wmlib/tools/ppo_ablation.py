"""Why not PPO? A model-free baseline on the same environment.

PPO of Stable-Baselines3 with the settings that RL Baselines3 Zoo publishes for CarRacing (v0), on
the fast renderer: 8 environments, a frame skip of 2, two grey frames of 64 x 64. It needs the extra
"sb3". `python -m wmlib ablate ppo` trains it with three seeds and scores it: about an hour each on
two cores. The budget is in agent steps; minutes and environment steps are in every row.

Differs from the Zoo in:
- the learning rate falls to 0 over the steps that there are here, not over 4 million;
- frames have no status bar, as everywhere in this package (the Zoo's show speed and wheels there);
- the renderer, of which the table has both: scores are of the untouched frames and of these.
A second arm explores as Stable-Baselines3 does by default, with independent noise of SD 1, instead
of the Zoo's gSDE, which begins at an SD of exp(-2).
"""

import os
import platform
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from torch import nn
from tqdm.auto import tqdm

from wmlib.envs import HELD_OUT_SEEDS
from wmlib.envs.vector import ActionRepeat
from wmlib.files import exclusive_lock, read_log, write_atomically, write_log
from wmlib.pipeline.scales import get_config
from wmlib.provenance import Record, require
from wmlib.tools.external import stable_baselines
from wmlib.tools.tables import Table, published

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
    "gSDE": ({}, {}),
    "independent noise": ({"use_sde": False, "sde_sample_freq": -1}, {"log_std_init": 0}),
}
PLAYED = {
    "deterministic": (ORIGINAL, False),
    "sampled": (ORIGINAL, True),
    "deterministic_fast": (FAST, False),
    "sampled_fast": (FAST, True),
}


@dataclass(frozen=True)
class Budget:
    """How much PPO may do."""

    steps: int = 1_300_000  # agent steps in all
    saved_every: int = 100_000  # agent steps between two saved models
    rollout: int = 512  # agent steps of each environment between two updates
    tracks: int = 100  # of a score
    max_steps: int = 1000  # environment steps of an episode


BUDGETS = {
    "smoke": Budget(8 * ENVIRONMENTS, 4 * ENVIRONMENTS, rollout=4, tracks=2, max_steps=40),
    "laptop": Budget(),
    "paper": Budget(steps=4_000_000),  # the Zoo's
}


def run_ppo_ablation(
    file: Path, work: Path, budget: Budget, arms: Sequence[str] = tuple(ARMS)
) -> None:
    """A row per arm and training seed in `file`; goes on with what is there, and in `work`.

    Rows: "arm", "seed", "environment_steps" and "seconds" of training, "sittings" (1, or how often
    it was gone on with), "curve" (a list of [environment steps, mean return of the last 100
    training episodes]), and the returns on the same held-out tracks: "deterministic" and "sampled"
    on the untouched frames, "deterministic_fast" and "sampled_fast" on those of the fast renderer.
    "machine" and "versions" say where. Raises ValueError if the rows there were made with other
    settings, or Stable-Baselines3 is missing.
    """
    stable_baselines()
    with exclusive_lock(work):
        table = Table(file, Record({}, {name: settings_of(name, budget) for name in ARMS}))
        for seed in SEEDS:
            for arm in arms:
                folder = work / f"{arm.replace(' ', '_')}-{seed}"
                table.add({"arm": arm, "seed": seed}, partial(_measure, arm, seed, budget, folder))


def settings_of(arm: str, budget: Budget) -> dict[str, Any]:
    """All that a training depends on, beside its seed."""
    settings, policy = ARMS[arm]
    policy = POLICY | policy
    network = policy | {"activation_fn": policy["activation_fn"].__name__}
    seen = {"env": FAST, "frame": FRAME, "stacked": STACKED, "repeat": REPEAT}
    rate = {"learning_rate": LEARNING_RATE, "environments": ENVIRONMENTS}
    return asdict(budget) | seen | rate | ZOO | settings | {"policy": network}


def make_env(env_id: str, max_steps: int) -> gym.Env:
    """One environment: grey frames (64, 64, 1) uint8, at every second step."""
    options = {"frame_size": FRAME, "max_episode_steps": max_steps}
    env = gym.make(env_id, disable_env_checker=True, **options)
    return gym.wrappers.GrayscaleObservation(ActionRepeat(env, REPEAT), keep_dim=True)


def training_envs(max_steps: int, kept: Path | None = None) -> Any:
    """The environments of a training, with normalized rewards; kept: those of an earlier sitting.

    kept: the file in which it left the running statistics of its returns.
    """
    from stable_baselines3.common.monitor import Monitor
    from stable_baselines3.common.vec_env import DummyVecEnv, VecFrameStack, VecNormalize

    def monitored() -> gym.Env:
        return Monitor(make_env(FAST, max_steps))

    envs = VecFrameStack(DummyVecEnv([monitored] * ENVIRONMENTS), STACKED)
    if kept is not None:
        return VecNormalize.load(str(kept), envs)
    return VecNormalize(envs, norm_obs=False, norm_reward=True, gamma=ZOO["gamma"])


def train(arm: str, seed: int, budget: Budget, folder: Path) -> tuple[Any, list[dict]]:
    """A PPO model, and its log: goes on from the newest model in the folder.

    Rows of train.jsonl, about one per `saved_every` agent steps: "environment_steps", "seconds"
    (without what an interruption lost), "sitting" (counts from 1), "mean_return" of the last 100
    episodes (None before the first one ends). A training that was interrupted goes on with other
    random numbers and tracks than it would have had. Raises ValueError if the folder holds the
    training of another arm, seed or budget.
    """
    from stable_baselines3 import PPO
    from stable_baselines3.common.callbacks import BaseCallback
    from stable_baselines3.common.logger import Logger

    log, saved, kept = (folder / name for name in ("train.jsonl", "model.zip", "returns.pkl"))
    record = Record({}, settings_of(arm, budget) | {"seed": seed})
    rows = read_log(log) if log.exists() else []
    sitting = 1 + (rows[-1]["sitting"] if rows else 0)
    envs = training_envs(budget.max_steps, kept if rows else None)
    if rows:
        require(log, Record.from_dict(rows[0].get("record")), record)
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
    model.set_logger(Logger(None, []))  # the default one leaves a temporary folder behind
    # Environment i gets this seed + i, and draws all of its tracks from it.
    model.set_random_seed(100_000 * (seed + 1) + 1_000 * sitting)
    folder.mkdir(parents=True, exist_ok=True)
    began = time.monotonic() - (rows[-1]["seconds"] if rows else 0.0)

    def keep() -> None:
        recent = [episode["r"] for episode in model.ep_info_buffer or ()]
        row = {
            "environment_steps": model.num_timesteps * REPEAT,
            "seconds": round(time.monotonic() - began, 1),
            "sitting": sitting,
            "mean_return": round(float(np.mean(recent)), 2) if recent else None,
        }
        rows.append(row | ({} if rows else {"record": record.to_dict()}))
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
    if not rows or rows[-1]["environment_steps"] != model.num_timesteps * REPEAT:
        keep()
    envs.close()
    return model, rows


def _falling_rate(remaining: float) -> float:
    return LEARNING_RATE * max(remaining, 0.0)  # the last update may end beyond the budget


def play(model: Any, env_id: str, track: int, budget: Budget, sampled: bool) -> float:
    """The return of an episode, to its end. sampled: with the policy's noise, as in training.

    The same track gives the same noise.
    """
    torch.manual_seed(track)
    env = make_env(env_id, budget.max_steps)
    frame, _ = env.reset(seed=track)
    seen = np.zeros((STACKED, FRAME, FRAME), np.uint8)
    total, steps, over = 0.0, 0, False
    while not over:
        seen = stack(seen, frame)
        if sampled and model.use_sde and steps % model.sde_sample_freq == 0:
            model.policy.reset_noise()
        action, _ = model.predict(seen, deterministic=not sampled)
        frame, reward, terminated, truncated, _ = env.step(action)
        total, steps, over = total + float(reward), steps + 1, terminated or truncated
    env.close()
    return total


def stack(seen: np.ndarray, frame: np.ndarray) -> np.ndarray:
    """The last frames (STACKED, S, S), without the oldest and with a new one (S, S, 1) as last."""
    return np.concatenate([seen[1:], frame.transpose(2, 0, 1)])


def _measure(arm: str, seed: int, budget: Budget, folder: Path) -> dict:
    model, rows = train(arm, seed, budget, folder)
    returns = {
        name: [
            round(play(model, env_id, track, budget, sampled), 2)
            for track in tqdm(
                HELD_OUT_SEEDS[: budget.tracks], desc=name, unit="track", leave=False, disable=None
            )
        ]
        for name, (env_id, sampled) in PLAYED.items()
    }
    last, packages = rows[-1], ("stable-baselines3", "torch", "gymnasium")
    threads = torch.get_num_threads()
    return {
        "environment_steps": last["environment_steps"],
        "seconds": last["seconds"],
        "sittings": last["sitting"],
        "curve": [[row["environment_steps"], row["mean_return"]] for row in rows],
        **returns,
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, {threads} threads",
        "versions": {package: metadata.version(package) for package in packages},
    }


@dataclass(frozen=True)
class AblatePPO:
    """A model-free baseline: PPO, on the same environment. About an hour per seed and arm."""

    scale: str | None = None  # smoke, laptop or paper; default: $WM_SCALE, or laptop
    out: Path | None = None  # file; default: the committed one, in data/pretrained/ablations

    def __call__(self) -> None:
        """Run it."""
        config, out = get_config(self.scale), self.out or published("ppo")
        run_ppo_ablation(out, config.run_folder("ppo_ablation"), BUDGETS[config.scale])
        print(f"written: {out}")
