"""Fine-tuning C by policy gradient, in CarRacing itself (`training/policy_gradient.py`).

A search by returns knows of a lap only what it came to. Here every step of the same laps counts, by
its advantage; so once C completes most laps, it gets better from far fewer of them.
"""

import dataclasses
import time
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from tqdm.auto import tqdm

from wmlib.envs.vector import VectorEnvSpec
from wmlib.files import digest, write_log
from wmlib.models.checkpoints import save_controller, world_model_digest
from wmlib.models.controller import Controller
from wmlib.models.world_model import WorldModel
from wmlib.pipeline.config import GradientConfig
from wmlib.pipeline.fitness import NEARLY_A_LAP
from wmlib.pipeline.rounds import CHECK_TRACKS_FROM
from wmlib.provenance import Record
from wmlib.rollout.policies import EpisodeSpec, ExploringPolicy
from wmlib.rollout.rollout import Episode, run_episodes
from wmlib.training.fit import load_checkpoint, save_checkpoint
from wmlib.training.policy_gradient import Experience, PolicyGradient

STEP_COST = 0.1  # points of an environment step
TEN = 10  # points: the critic's unit


def experience_of(
    episode: Episode, policy: ExploringPolicy, settings: GradientConfig, env_spec: VectorEnvSpec
) -> Experience:
    """What an update learns from an episode that was recorded with features and missed tiles.

    Its rewards, less the price of missed tiles. They are discounted by the points on the way to
    them, not by time: to be fast is worth what it is worth in the return, 0.1 points per step, and
    no more. (Discounted by time, as usual, the same rewards sooner would count more, and the fast
    policy that loses the road would win.) After a lap, or nearly one, the road goes on in the same
    way, though the rewards do not: the experience ends there.
    """
    tape = episode.recording
    rewards, steps = tape["rewards"].astype(float), len(tape["rewards"])
    points = np.maximum(rewards + STEP_COST * episode.steps / steps, 0)
    limit = env_spec.options["max_episode_steps"]
    end, goes_on = steps, not episode.terminated and episode.steps >= limit
    if points.sum() >= NEARLY_A_LAP:
        end, goes_on = int(np.flatnonzero(points > STEP_COST)[-1]) + 1, True
    return Experience(
        tape["features"][:end],
        policy.noise(episode.spec, end),
        (rewards - settings.missed_tile * np.diff(tape["missed_tiles"]))[:end] / TEN,
        np.exp(-points / settings.horizon)[:end],
        goes_on,
    )


def fine_tune(
    env_spec: VectorEnvSpec,
    world_model: WorldModel,
    start: Controller,
    folder: str | Path,
    updates: int,
    settings: GradientConfig,
    *,
    seed: int = 0,
    executor: Executor | None = None,
    check: Callable[[Controller], dict] | None = None,
    check_every: int = 10,
) -> Controller:
    """C after so many updates: the average over the last ones, whose steps fall to 0, linearly.

    env_spec: without patience. seed: of tracks and noise. check, check_every: as of `evolve`; it
    scores the average.

    Writes gradient.jsonl (per update: of its episodes, with their noise, the "scores", their
    "mean", and the mean "laps" and "missed_tiles"; "explained", see `PolicyGradient.update`;
    environment "steps"; "seconds" so far), gradient.checkpoint, from which it goes on, and
    controller.safetensors. Raises ValueError if that checkpoint has another record.
    """
    folder = Path(folder)
    checkpoint = folder / "gradient.checkpoint"
    torch.manual_seed(seed)
    learner = PolicyGradient(
        start.feature_size,
        start.action_size,
        settings.components,
        settings.noise,
        settings.step,
        settings.momentum,
        settings.decay,
    )
    optimizer = torch.optim.Adam(learner.critic.parameters(), lr=1e-3)
    generator = torch.Generator().manual_seed(seed)
    record = Record(
        {"world_model": world_model_digest(world_model), "start": digest(start.parameters)},
        {"world": str(env_spec), "seed": seed, "updates": updates} | asdict(settings),
    )
    history: list[dict] = []
    if checkpoint.exists():
        history = load_checkpoint(checkpoint, learner, optimizer, generator, record)["history"]

    def changed(change: torch.Tensor) -> Controller:
        return Controller(start.parameters[0] + learner.added(change), **start.config)

    bar = tqdm(total=updates, desc="fine-tuning", unit="update", leave=False, disable=None)
    with bar:
        bar.update(len(history))
        for number in range(len(history), updates):
            began, now = time.monotonic(), changed(learner.change)
            policy = ExploringPolicy(now, settings.noise, settings.smoothness, seed=number)
            # (No generation of a search draws its tracks with three numbers that end in a 3.)
            rng = np.random.default_rng([seed, number, 3])
            tracks = rng.integers(0, CHECK_TRACKS_FROM, settings.episodes).tolist()
            episodes = run_episodes(
                dataclasses.replace(env_spec, patience=settings.patience),
                policy,
                [EpisodeSpec(track) for track in tracks],
                world_model,
                executor=executor,
                record=["missed_tiles"],
                features=True,
            )
            row = {"update": number + 1} | _summary(episodes)
            experience = [experience_of(e, policy, settings, env_spec) for e in episodes]
            left = 1 - number / updates
            row["explained"] = learner.update(experience, number, optimizer, generator, left)
            if check is not None and ((number + 1) % check_every == 0 or number + 1 == updates):
                row |= check(changed(learner.average))
            before = history[-1]["seconds"] if history else 0.0
            history.append(row | {"seconds": round(before + time.monotonic() - began, 2)})
            progress = {"history": history}
            save_checkpoint(checkpoint, learner, optimizer, generator, record, progress)
            first = history[0] | {"record": record.to_dict()}
            write_log([first, *history[1:]], folder / "gradient.jsonl")
            bar.set_postfix(mean=f"{row['mean']:.0f}", refresh=False)
            bar.update()
    controller = changed(learner.average)
    save_controller(controller, folder / "controller.safetensors", record=record)
    return controller


def _summary(episodes: list[Episode]) -> dict:
    scores = [episode.score for episode in episodes]
    missed = [episode.recording["missed_tiles"][-1] for episode in episodes]
    return {
        "mean": float(np.mean(scores)),
        "scores": scores,
        "laps": float(np.mean([episode.lap for episode in episodes])),
        "missed_tiles": float(np.mean(missed)),
        "steps": sum(episode.steps for episode in episodes),
    }
