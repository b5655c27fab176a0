"""Scores with intervals, linear probes, calibration, open-loop rollouts."""

from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass

import numpy as np
import torch
from scipy.special import stdtrit
from torch import Tensor

from wmlib.envs import HELD_OUT_SEEDS
from wmlib.envs.vector import VectorEnvSpec
from wmlib.models.mdn_rnn import TILE, Prediction
from wmlib.models.world_model import WorldModel
from wmlib.rollout.episodes import previous_rewards
from wmlib.rollout.policies import EpisodeSpec, Policy
from wmlib.rollout.rollout import run_episodes

RESAMPLES = 9_999  # of every bootstrap


@dataclass(frozen=True)
class Interval:
    """A mean of n values, their standard deviation, and the mean's 95% confidence interval."""

    mean: float
    std: float
    low: float
    high: float
    n: int

    def describe(self, digits: int = 1) -> str:
        """One line, rounded to `digits` decimals: "897.7 ± 67.8 SD (95% CI of the mean ...)"."""
        return (
            f"{self.mean:.{digits}f} ± {self.std:.{digits}f} SD (95% CI of the mean "
            f"{self.low:.{digits}f} to {self.high:.{digits}f}, n = {self.n})"
        )


def episode_interval(scores: Sequence[float] | np.ndarray) -> Interval:
    """The mean of independent episodes' scores (n,), with a BCa bootstrap interval (Efron 1987).

    Scores of episodes are skewed: most lie just above 900, a few far below, and a symmetric
    interval ends too low above and too high below. The random stream is fixed, so the same scores
    give the same interval. Where failures are rare, few episodes contain none, and no interval that
    is computed from them can know: of 20, 50 and 100 episodes drawn from the 1,000 scores of the
    pretrained CarRacing agent, 70%, 85% and 92% of these intervals contained the mean of all (of
    Student's 63%, 82%, 89%): `python tests/interval_coverage.py`.

    (`tests/interval_coverage.py` prints these shares.) Raises ValueError if there are fewer than
    two scores, or one of them is not finite.
    """
    values = _require_values(scores)
    mean, std = float(values.mean()), float(values.std(ddof=1))
    if np.ptp(values) == 0:  # every resample is the same
        return Interval(mean, std, mean, mean, len(values))
    from scipy.stats import bootstrap  # only here: its import takes a second

    low, high = bootstrap(
        (values,),
        np.mean,
        n_resamples=RESAMPLES,
        batch=1_000,
        method="BCa",
        random_state=np.random.default_rng(0),
    ).confidence_interval
    return Interval(mean, std, float(low), float(high), len(values))


def seed_interval(values: Sequence[float] | np.ndarray) -> Interval:
    """The mean of one value (n,) per training seed, with Student's t interval.

    For few values without a heavy tail, such as mean scores of repeated trainings: a bootstrap of
    three values would be far too narrow. Raises ValueError if there are fewer than two values, or
    one of them is not finite.
    """
    values = _require_values(values)
    mean, std = values.mean(), values.std(ddof=1)
    half = stdtrit(len(values) - 1, 0.975) * std / np.sqrt(len(values))
    return Interval(float(mean), float(std), float(mean - half), float(mean + half), len(values))


def _require_values(values: Sequence[float] | np.ndarray) -> np.ndarray:
    values = np.asarray(values, dtype=float)
    if values.ndim != 1 or len(values) < 2:
        raise ValueError(f"an interval needs at least two values, got shape {values.shape}")
    if not np.isfinite(values).all():
        raise ValueError(f"an interval needs finite values, got {values[~np.isfinite(values)][0]}")
    return values


@dataclass(frozen=True)
class Score:
    """The result of an evaluation: one entry per held-out track, in the order of `tracks`.

    tracks: seeds. scores: returns, float. steps: environment steps, int. laps: bool. Each (n,).
    has_laps: False for a task without any, whose report does not mention them.
    """

    tracks: list[int]
    scores: np.ndarray
    steps: np.ndarray
    laps: np.ndarray
    has_laps: bool = True

    @property
    def interval(self) -> Interval:
        """Of the mean score over tracks, see `episode_interval`."""
        return episode_interval(self.scores)

    def first(self, n: int) -> "Score":
        """On the first n tracks alone: to compare with a policy that was scored on no others."""
        kept = self.tracks[:n], self.scores[:n], self.steps[:n], self.laps[:n]
        return Score(*kept, has_laps=self.has_laps)

    def summary(self) -> dict:
        """The numbers for a card, all plain floats and ints."""
        i = self.interval
        return {
            "mean": round(i.mean, 1),
            "std": round(i.std, 1),
            "ci95": [round(i.low, 1), round(i.high, 1)],
            "tracks": i.n,
            **({"lap_completion": round(float(self.laps.mean()), 3)} if self.has_laps else {}),
            "mean_steps": round(float(self.steps.mean()), 1),
            "worst_tracks": [self.tracks[k] for k in np.argsort(self.scores)[:3]],
        }

    def __str__(self) -> str:
        laps = f"; laps completed {self.laps.mean():.0%}" if self.has_laps else ""
        return f"{self.interval.describe()}{laps}; {self.steps.mean():.0f} steps"


def scoring_env_spec(
    max_steps: int = 1000, frame_size: int = 64, env_id: str = "wmlib/CarRacingOriginal-v3"
) -> VectorEnvSpec:
    """The untouched environment, every episode to its end: where all scores are taken."""
    options = {"max_episode_steps": max_steps, "frame_size": frame_size}
    return VectorEnvSpec(env_id, num_envs=8, options=options)


def score(
    policy: Policy,
    world_model: WorldModel | None,
    tracks: int = 100,
    *,
    skip: int = 0,
    executor: Executor | None = None,
    max_steps: int = 1000,
    frame_size: int = 64,
    env_id: str = "wmlib/CarRacingOriginal-v3",
    has_laps: bool = True,
    progress: str | None = "scoring",
) -> Score:
    """Score a policy on `tracks` held-out tracks of the untouched CarRacing-v3.

    (Or in as many held-out episodes of another environment; has_laps: see `Score`.)

    They are the first ones, or the first after `skip` others.
    Every episode runs to its end; max_steps below 1000 is for tests only, because such scores
    cannot be compared with others.
    """
    env_spec = scoring_env_spec(max_steps, frame_size, env_id)
    seeds = HELD_OUT_SEEDS[skip : skip + tracks]
    episodes = run_episodes(
        env_spec,
        policy,
        [EpisodeSpec(s) for s in seeds],
        world_model,
        executor=executor,
        progress=progress,
    )
    return Score(
        [episode.spec.seed for episode in episodes],
        np.array([episode.score for episode in episodes]),
        np.array([episode.steps for episode in episodes]),
        np.array([episode.lap for episode in episodes]),
        has_laps,
    )


@dataclass(frozen=True)
class Probe:
    """A fitted linear probe on held-out examples: `truth` and `predicted`, each (N, d)."""

    truth: np.ndarray
    predicted: np.ndarray

    @property
    def r2(self) -> float:
        """Explained share of the truth's variance over all columns: 1 is all of it."""
        residual = ((self.truth - self.predicted) ** 2).sum()
        return float(1 - residual / ((self.truth - self.truth.mean(0)) ** 2).sum())


def linear_probe(
    features: np.ndarray, truth: np.ndarray, groups: np.ndarray, held_out: float = 0.3
) -> Probe:
    """Ridge regression of `truth` (N, d) on `features` (N, n): is it there, in a linear form?

    Fitted on some groups (N,) int (episodes, say), tested on the others: neighbouring frames of
    one episode are nearly copies, and a random split would test on what was fitted. held_out: the
    share of the groups to test on. Raises ValueError if there are fewer than two groups.
    """
    names = np.unique(groups)
    test = np.isin(groups, names[: max(1, int(len(names) * held_out))])
    if test.all():
        raise ValueError(f"a probe needs at least two groups, got {len(names)}")
    from sklearn.linear_model import Ridge  # only here: its import takes a second

    fitted = Ridge(alpha=1e-3 * len(features)).fit(features[~test], truth[~test])
    predicted = fitted.predict(features[test]).reshape(truth[test].shape)  # it drops a column of 1
    return Probe(truth[test], predicted)


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

    With an M that `reads_cell`, [z, c, h]. Arguments as in `watch`. h[t] here is M's memory before
    frame t.
    """
    if world_model.mdn_rnn.reads_cell:
        return _features_with_cell(world_model, frames, actions, rewards)
    z, h = watch(world_model, frames, actions, rewards)
    h = torch.cat([torch.zeros_like(h[:1]), h[:-1]])
    return torch.cat([z[:-1], h], dim=1)


@torch.no_grad()
def _features_with_cell(
    world_model: WorldModel, frames: np.ndarray, actions: np.ndarray, rewards: np.ndarray | None
) -> Tensor:
    # torch.nn.LSTM returns h of every step, but c of the last one alone: step by step.
    state, read = world_model.begin(frames[:1]), []
    for t, action in enumerate(torch.as_tensor(actions)):
        read.append(world_model.features(state))
        reward = None if rewards is None else torch.as_tensor(rewards[t : t + 1])
        state = world_model.observe(state, action[None], frames[t + 1 : t + 2], reward)
    return torch.cat(read)


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


def quantiles(prediction: Prediction, z: Tensor) -> Tensor:
    """The CDF of M's mixtures at z, sum_k pi_k Phi((z - mu_k) / sigma_k): (B, T, z_size), 0..1.

    prediction: of mixtures (B, T, z_size, K); z: (B, T, z_size) float. Uniformly distributed if M
    is calibrated: the probability integral transform (Gneiting, Balabdaoui & Raftery 2007).
    """
    standardized = (z.unsqueeze(-1) - prediction.mu) * torch.exp(-prediction.log_sigma)
    return (prediction.log_pi.exp() * torch.special.ndtr(standardized)).sum(-1)


def coverage(quantile: Tensor, points: int = 51) -> tuple[np.ndarray, np.ndarray]:
    """(nominal, empirical) coverage of M's central intervals, each (points,), 0..1.

    quantile: what `quantiles` returned, any shape. Empirical: the share of values inside the
    central interval of each nominal probability. Calibrated: equal. Overconfident: below nominal.
    """
    nominal = np.linspace(0, 1, points)
    central = np.sort(np.abs(2 * quantile.flatten().numpy() - 1))
    return nominal, np.searchsorted(central, nominal, side="right") / len(central)


@dataclass(frozen=True)
class Group:
    """Steps with similar forecasts of an event: the mean forecast, and how often the event came.

    share: of the `count` steps, with its 95% interval (Wilson's).
    """

    forecast: float
    share: float
    low: float
    high: float
    count: int


def reliability(probability: np.ndarray, happened: np.ndarray, least: int = 20) -> list[Group]:
    """Whether forecast probabilities (n,) of an event are right, given whether it happened (n,).

    The steps are grouped by their forecasts: two groups to each factor of ten, up to 1; groups of
    fewer than `least` steps are left out. Rising forecasts. Raises ValueError if the shapes differ.
    """
    from scipy.stats import binomtest  # only here: its import takes a second

    if probability.shape != happened.shape:
        raise ValueError(f"forecasts of shape {probability.shape}, events of {happened.shape}")
    number = np.floor(2 * np.log10(np.maximum(probability, 1e-12)) - 1e-9)
    groups = []
    for k in np.unique(number):
        of_group = number == k
        count, came = int(of_group.sum()), int(happened[of_group].sum())
        if count >= least:
            share = binomtest(came, count)
            low, high = share.proportion_ci(method="wilson")
            forecast = float(probability[of_group].mean())
            groups.append(Group(forecast, share.statistic, float(low), float(high), count))
    return groups
