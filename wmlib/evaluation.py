"""Numbers one can trust: scores with intervals, probes, errors against the horizon."""

from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass

import numpy as np
import torch
from scipy.special import stdtrit
from torch import Tensor

from wmlib.envs import HELD_OUT_SEEDS
from wmlib.envs.vector import World
from wmlib.models.mdn_rnn import TILE, Prediction
from wmlib.models.vae import tensor_to_frames
from wmlib.models.world_model import WorldModel
from wmlib.rollout.episodes import previous_rewards
from wmlib.rollout.policies import EpisodeSpec, Policy
from wmlib.rollout.rollout import Episode, run_episodes


@dataclass(frozen=True)
class Interval:
    """A mean of n values, their standard deviation, and the mean's 95% confidence interval."""

    mean: float
    std: float
    low: float
    high: float
    n: int

    def describe(self, digits: int = 1) -> str:
        """One line, rounded to so many digits behind the point."""
        half = (self.high - self.low) / 2
        return (
            f"{self.mean:.{digits}f} ± {self.std:.{digits}f} "
            f"(95% CI of the mean ± {half:.{digits}f}, n = {self.n})"
        )


def interval(values: Sequence[float] | np.ndarray) -> Interval:
    """Mean, spread and Student's 95% interval of at least two independent values."""
    values = np.asarray(values, dtype=float)
    if values.ndim != 1 or len(values) < 2:
        raise ValueError(f"an interval needs at least two values, got shape {values.shape}")
    mean, std = values.mean(), values.std(ddof=1)
    half = stdtrit(len(values) - 1, 0.975) * std / np.sqrt(len(values))
    return Interval(float(mean), float(std), float(mean - half), float(mean + half), len(values))


@dataclass(frozen=True)
class Score:
    """How well a driver drives: one entry per held-out track, in the order of `tracks`."""

    tracks: list[int]
    scores: np.ndarray
    steps: np.ndarray
    laps: np.ndarray

    @property
    def interval(self) -> Interval:
        """Of the scores."""
        return interval(self.scores)

    def first(self, n: int) -> "Score":
        """On the first n tracks alone: to compare with whoever drove no others."""
        return Score(self.tracks[:n], self.scores[:n], self.steps[:n], self.laps[:n])

    def summary(self) -> dict:
        """The numbers for a card, all plain floats and ints."""
        i = self.interval
        return {
            "mean": round(i.mean, 1),
            "std": round(i.std, 1),
            "ci95": [round(i.low, 1), round(i.high, 1)],
            "tracks": i.n,
            "lap_completion": round(float(self.laps.mean()), 3),
            "mean_steps": round(float(self.steps.mean()), 1),
            "worst_tracks": [self.tracks[k] for k in np.argsort(self.scores)[:3]],
        }

    def __str__(self) -> str:
        laps, steps = self.laps.mean(), self.steps.mean()
        return f"{self.interval.describe()}; laps completed {laps:.0%}; {steps:.0f} steps"


def scoring_world(max_steps: int = 1000, frame_size: int = 64, repeat: int = 1) -> World:
    """The untouched CarRacing-v3, every drive to its end: where all scores are taken."""
    options = {"max_episode_steps": max_steps, "frame_size": frame_size}
    return World("wmlib/CarRacingOriginal-v3", num_envs=8, options=options, repeat=repeat)


def score(
    driver: Policy,
    world_model: WorldModel | None,
    tracks: int = 100,
    *,
    skip: int = 0,
    executor: Executor | None = None,
    max_steps: int = 1000,
    frame_size: int = 64,
    progress: str | None = "scoring",
) -> Score:
    """Drive `tracks` held-out tracks of the untouched CarRacing-v3, every episode to its end.

    They are the first ones, or the first after `skip` others.
    max_steps below 1000 is for tests only: such a score compares with nothing.
    """
    world = scoring_world(max_steps, frame_size)
    seeds = HELD_OUT_SEEDS[skip : skip + tracks]
    drives = run_episodes(
        world,
        driver,
        [EpisodeSpec(s) for s in seeds],
        world_model,
        executor=executor,
        progress=progress,
    )
    return to_score(drives)


def to_score(drives: Sequence[Episode]) -> Score:
    """Drives -> Score."""
    return Score(
        [drive.spec.seed for drive in drives],
        np.array([drive.score for drive in drives]),
        np.array([drive.steps for drive in drives]),
        np.array([drive.lap for drive in drives]),
    )


@dataclass(frozen=True)
class Probe:
    """A linear read-out: `truth`, and what the probe `read`, on examples it was not fitted to."""

    truth: np.ndarray
    read: np.ndarray

    @property
    def r2(self) -> float:
        """Share of the truth's variance that was read out, over all columns; 1 is all of it."""
        residual = ((self.truth - self.read) ** 2).sum()
        return float(1 - residual / ((self.truth - self.truth.mean(0)) ** 2).sum())


def linear_probe(
    features: np.ndarray, truth: np.ndarray, groups: np.ndarray, held_out: float = 0.3
) -> Probe:
    """Can `truth` (N, d) be read out of `features` (N, n) by a linear map?

    Fitted on some groups (N,) int (episodes, say), tested on the others: neighbouring frames of
    one episode are nearly copies, and a random split would test on what was fitted.
    """
    names = np.unique(groups)
    test = np.isin(groups, names[: max(1, int(len(names) * held_out))])
    if test.all():
        raise ValueError(f"a probe needs at least two groups, got {len(names)}")
    from sklearn.linear_model import Ridge  # only here: its import takes a second

    fitted = Ridge(alpha=1e-3 * len(features)).fit(features[~test], truth[~test])
    return Probe(truth[test], fitted.predict(features[test]))


@torch.no_grad()
def watch(
    world_model: WorldModel,
    frames: np.ndarray | Tensor,
    actions: np.ndarray | Tensor,
    rewards: np.ndarray | Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """V and M run over a recorded episode: z (T + 1, z_size) and h (T, hidden), float32.

    frames (T + 1, S, S, 3) uint8, actions (T, A), rewards (T,) in points; an M with `reward_input`
    needs the rewards, or raises ValueError. h[t] is M's memory after z[t] and action t.
    """
    parts = torch.as_tensor(frames).split(256)
    z = torch.cat([world_model.encode(part) for part in parts])
    if rewards is not None:
        rewards = previous_rewards(torch.as_tensor(rewards))[None, :-1].to(z) / TILE
    actions = torch.as_tensor(actions)[None].to(z)
    h, _ = world_model.mdn_rnn.remember(z[None, :-1], actions, reward=rewards)
    return z, h[0]


def features(
    world_model: WorldModel,
    frames: np.ndarray,
    actions: np.ndarray,
    rewards: np.ndarray | None = None,
) -> Tensor:
    """[z, h] (T, z_size + hidden) as C read them at every agent step of a recorded episode.

    Arguments as in `watch`. h[t] here is M's memory before frame t.
    """
    z, h = watch(world_model, frames, actions, rewards)
    h = torch.cat([torch.zeros_like(h[:1]), h[:-1]])
    return torch.cat([z[:-1], h], dim=1)


@torch.no_grad()
def open_loop_rollout(
    world_model: WorldModel,
    frames: Tensor | np.ndarray,
    actions: Tensor | np.ndarray,
    context: int,
    temperature: float = 1.0,
    samples: int = 1,
    generator: torch.Generator | None = None,
    rewards: Tensor | np.ndarray | None = None,
) -> tuple[Tensor, Tensor]:
    """M's predictions for the rest of a recorded episode: z (samples, H, z_size), rewards.

    One episode: frames (T + 1, S, S, 3) uint8, actions (T, A), rewards (T,) in points for an M with
    `reward_input`. The first `context` steps are observed; the horizon is the H = T - context steps
    after them, imagined with the episode's own actions. [s, k] is sample s of the z that is k + 1
    steps after frame `context`, and of M's expected reward (samples, H), in points, of the step to
    it. Raises ValueError if there is no step to imagine.
    """
    if not 0 <= context < len(actions):
        raise ValueError(f"context must be 0 to {len(actions) - 1} here, got {context}")
    actions = torch.as_tensor(actions).to(world_model.device)
    state = world_model.begin(frames[:1])
    for t in range(context):
        observed = None if rewards is None else torch.as_tensor(rewards[t : t + 1])
        state = world_model.observe(state, actions[t : t + 1], frames[t + 1 : t + 2], observed)
    state = state.repeat(samples)
    imagined, predicted = [], []
    for t in range(context, len(actions)):
        action = actions[t].expand(samples, -1)
        state, prediction = world_model.imagine(state, action, temperature, generator)
        imagined.append(state.z)
        predicted.append(prediction.reward[:, 0])
    return torch.stack(imagined, dim=1), torch.stack(predicted, dim=1)


def dream_frames(
    world_model: WorldModel,
    frames: np.ndarray,
    actions: np.ndarray,
    context: int,
    temperature: float = 1.0,
    seed: int = 0,
    rewards: np.ndarray | None = None,
) -> np.ndarray:
    """Frames 0..context of an episode as V reconstructs them, then an open-loop rollout of M.

    frames (T + 1, S, S, 3) uint8 and actions (T, A) as recorded, rewards as in
    `open_loop_rollout`; returns frames of the same shape.
    """
    generator = torch.Generator(world_model.device).manual_seed(seed)
    imagined, _ = open_loop_rollout(
        world_model, frames, actions, context, temperature, 1, generator, rewards
    )
    z = torch.cat([world_model.encode(frames[: context + 1]), imagined[0]])
    return tensor_to_frames(world_model.decode(z))


def quantiles(prediction: Prediction, z: Tensor) -> Tensor:
    """Where z falls in M's mixtures, sum_k pi_k Phi((z - mu_k) / sigma_k): (B, T, z_size), 0..1.

    Uniform if M is honest (Gneiting et al. 2007, "probability integral transform").
    """
    standardized = (z.unsqueeze(-1) - prediction.mu) * torch.exp(-prediction.log_sigma)
    return (prediction.log_pi.exp() * torch.special.ndtr(standardized)).sum(-1)


def coverage(quantile: Tensor, points: int = 51) -> tuple[np.ndarray, np.ndarray]:
    """(claimed, found): of M's central intervals of each probability, the share of values inside.

    quantile: what `quantiles` returned, any shape. Honest: found = claimed. Overconfident: below.
    """
    claimed = np.linspace(0, 1, points)
    central = 2 * (quantile.flatten().numpy() - 0.5)
    return claimed, (np.abs(central)[:, None] <= claimed).mean(0)
