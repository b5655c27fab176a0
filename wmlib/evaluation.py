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
from wmlib.models.mdn_rnn import Prediction
from wmlib.models.vae import tensor_to_frames
from wmlib.models.world_model import State, WorldModel
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
    return World("wmlib/CarRacingOriginal-v3", lanes=8, options=options, repeat=repeat)


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
        [drive.job.seed for drive in drives],
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
    world_model: WorldModel, frames: np.ndarray | Tensor, actions: np.ndarray | Tensor
) -> tuple[Tensor, Tensor]:
    """What the agent knows while an episode runs: z (T + 1, z_size) and h (T, hidden).

    frames (T + 1, S, S, 3) uint8, actions (T, A). h[t] is M's memory after z[t] and action t.
    """
    parts = torch.as_tensor(frames).split(256)
    z = torch.cat([world_model.encode(part) for part in parts])
    h, _ = world_model.mdn_rnn.remember(z[None, :-1], torch.as_tensor(actions)[None].to(z))
    return z, h[0]


def features(world_model: WorldModel, frames: np.ndarray, actions: np.ndarray) -> torch.Tensor:
    """[z, h] (T, z_size + hidden) as C read them at every step of a recorded drive.

    frames (T + 1, S, S, 3) uint8, actions (T, A). h is what M remembered before that frame.
    """
    z, h = watch(world_model, frames, actions)
    h = torch.cat([torch.zeros_like(h[:1]), h[:-1]])
    return torch.cat([z[:-1], h], dim=1)


@torch.no_grad()
def foretell(
    world_model: WorldModel,
    frames: Tensor | np.ndarray,
    actions: Tensor,
    warm_up: int,
    temperature: float = 1.0,
    samples: int = 1,
    generator: torch.Generator | None = None,
    earned: Tensor | np.ndarray | None = None,
) -> tuple[Tensor, Tensor]:
    """Watch `warm_up` frames, then close the eyes: imagined z (samples, H, z_size), and rewards.

    One episode: frames (T + 1, S, S, 3) uint8, actions (T, A). The imagined horizon is
    H = T - warm_up steps, driven by the episode's own actions; [s, k] is the z imagined k + 1 steps
    after frame `warm_up`, and what M says was earned on the way there, (samples, H). earned (T,):
    what each step brought, for an M that cares. Raises ValueError if nothing is left to imagine.
    """
    if not 0 <= warm_up < len(actions):
        raise ValueError(f"warm_up must be 0 to {len(actions) - 1} here, got {warm_up}")
    actions = torch.as_tensor(actions).to(world_model.device)
    state = world_model.begin(frames[:1])
    for t in range(warm_up):
        brought = None if earned is None else torch.as_tensor(earned[t : t + 1])
        state = world_model.observe(state, actions[t : t + 1], frames[t + 1 : t + 2], brought)
    state = State(*(part.expand(samples, -1).contiguous() for part in state))
    imagined, rewards = [], []
    for t in range(warm_up, len(actions)):
        action = actions[t].expand(samples, -1)
        state, prediction = world_model.imagine(state, action, temperature, generator)
        imagined.append(state.z)
        rewards.append(prediction.reward[:, 0])
    return torch.stack(imagined, dim=1), torch.stack(rewards, dim=1)


def imagine_from(*args, **options) -> Tensor:
    """The z of `foretell` alone: (samples, H, z_size)."""
    return foretell(*args, **options)[0]


@torch.no_grad()
def dream_frames(
    world_model: WorldModel,
    frames: np.ndarray,
    actions: np.ndarray,
    seen: int,
    temperature: float = 1.0,
    seed: int = 0,
) -> np.ndarray:
    """A drive as the agent sees it (frames 0..seen, through V), then as it dreams it (the rest).

    frames (T + 1, S, S, 3) uint8 and actions (T, A) as recorded; returns frames of the same shape.
    """
    imagined = imagine_from(
        world_model,
        frames,
        torch.from_numpy(actions),
        warm_up=seen,
        temperature=temperature,
        generator=torch.Generator(world_model.device).manual_seed(seed),
    )[0]
    z = torch.cat([world_model.encode(frames[: seen + 1]), imagined])
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
