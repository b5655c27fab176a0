"""Chapter 5: one agent step, one episode, the confidence interval of a mean return.

The rollout is checked in a tiny environment with a tiny world model, both deterministic: no trained
weights, no physics.
"""

import operator
from collections.abc import Callable

import numpy as np
import torch

from wmlib.models.controller import Controller
from wmlib.models.world_model import State
from wmlib.view.build.exercise import Exercise, Measured

STEPS = 7  # of an episode in TinyEnv
BEYOND = 3  # steps after a truncation until TinyEnv terminates as well
MOST = 50  # steps after which TinyEnv assumes an endless loop


def agent_step(env, world_model, controller, state):
    """One agent step in an environment: (next state, reward, terminated, truncated).

    state: a State of one row. reward: float, as the environment returned it. terminated, truncated:
    bool.
    """
    action = controller(state.features)
    frame, reward, terminated, truncated, _ = env.step(action[0].numpy())
    state = world_model.observe(state, action, frame[None], torch.tensor([reward]))
    return state, reward, terminated, truncated


def _state_of_before(env, world_model, controller, state):
    """It returns the state that it was given: the next action would be based on an old z and h.
    Return the result of observe."""
    return state, *agent_step(env, world_model, controller, state)[1:]


def _memory_wiped(env, world_model, controller, state):
    """The memory is reset at every step: begin is for the first frame of an episode, observe for
    all others."""
    action = controller(state.features)
    frame, reward, terminated, truncated, _ = env.step(action[0].numpy())
    return world_model.begin(frame[None]), reward, terminated, truncated


def _next_action_observed(env, world_model, controller, state):
    """observe was given another action than the environment: M needs the one that was taken, not
    the one that follows the new frame."""
    action = controller(state.features)
    frame, reward, terminated, truncated, _ = env.step(action[0].numpy())
    z = world_model.encode(frame[None])
    action = controller(torch.cat([z, state.h], dim=1))
    state = world_model.observe(state, action, frame[None], torch.tensor([reward]))
    return state, reward, terminated, truncated


def _reward_not_observed(env, world_model, controller, state):
    """observe was called without the reward of the step: some Ms read the previous reward, which is
    a part of the state."""
    action = controller(state.features)
    frame, reward, terminated, truncated, _ = env.step(action[0].numpy())
    return world_model.observe(state, action, frame[None]), reward, terminated, truncated


def run_episode(env, world_model, controller, seed):
    """The return of one episode on the track of this seed: float, in points."""
    frame, _ = env.reset(seed=seed)
    state = world_model.begin(frame[None])
    total, over = 0.0, False
    while not over:
        state, reward, terminated, truncated = agent_step(env, world_model, controller, state)
        total += reward
        over = terminated or truncated
    return total


def _until(over, env, world_model, controller, state):
    # The return of an episode that is over when `over` says so, and its last state.
    total, ended = 0.0, False
    while not ended:
        state, reward, terminated, truncated = agent_step(env, world_model, controller, state)
        total += reward
        ended = over(terminated, truncated)
    return total, state


def _truncation_ignored(env, world_model, controller, seed):
    """The episode goes on after it was truncated: it is over when terminated or truncated is
    true."""
    state = world_model.begin(env.reset(seed=seed)[0][None])
    return _until(lambda terminated, _: terminated, env, world_model, controller, state)[0]


def _termination_ignored(env, world_model, controller, seed):
    """The episode goes on after it was terminated: it is over when terminated or truncated is
    true."""
    state = world_model.begin(env.reset(seed=seed)[0][None])
    return _until(lambda _, truncated: truncated, env, world_model, controller, state)[0]


def _last_reward_left_out(env, world_model, controller, seed):
    """The reward of the last step is left out: add it before you ask whether the episode is
    over."""
    frame, _ = env.reset(seed=seed)
    state = world_model.begin(frame[None])
    total = 0.0
    while True:
        state, reward, terminated, truncated = agent_step(env, world_model, controller, state)
        if terminated or truncated:
            return total
        total += reward


def _memory_kept(env, world_model, controller, seed):
    """The second episode begins with the memory of the first: call begin for every episode."""
    frame, _ = env.reset(seed=seed)
    state = vars(world_model).get("kept") or world_model.begin(frame[None])
    total, world_model.kept = _until(operator.or_, env, world_model, controller, state)
    return total


def _without_the_seed(env, world_model, controller, seed):
    """The environment was reset without the seed, which decides the track: env.reset(seed=seed)."""
    state = world_model.begin(env.reset()[0][None])
    return _until(operator.or_, env, world_model, controller, state)[0]


def interval(returns, rng, resamples=2000):
    """95% percentile-bootstrap interval of the mean of returns (n,): (low, high), in points.

    rng: a numpy Generator, from which all random numbers are drawn.
    """
    means = rng.choice(returns, (resamples, len(returns))).mean(axis=1)
    return np.quantile(means, [0.025, 0.975])


def _deviations_of_episodes(returns, rng, resamples=2000):
    """This is the interval of single episodes, mean ± 1.96 SD. The mean of n episodes varies less:
    take quantiles of the means of resampled episodes."""
    mean, std = returns.mean(), returns.std(ddof=1)
    return mean - 1.96 * std, mean + 1.96 * std


def _without_replacement(returns, rng, resamples=2000):
    """Every resample has the same mean: draw with replacement, or each one is the same n episodes
    in another order."""
    return returns.mean(), returns.mean()


def _quantiles_of_scores(returns, rng, resamples=2000):
    """These are quantiles of the returns themselves: take the mean of every resample first, and
    then quantiles of the means."""
    return np.quantile(returns, [0.025, 0.975])


def _symmetric(returns, rng, resamples=2000):
    """This interval is symmetric about the mean. Returns are skewed: take the 2.5% and the 97.5%
    quantile of the resampled means, not a multiple of their standard deviation."""
    means = rng.choice(returns, (resamples, len(returns))).mean(axis=1)
    return returns.mean() - 1.96 * means.std(), returns.mean() + 1.96 * means.std()


def _ninety_percent(returns, rng, resamples=2000):
    """This interval is too narrow, as 5% and 95% quantiles are: 95% lie between the 2.5% and the
    97.5% quantile."""
    means = rng.choice(returns, (resamples, len(returns))).mean(axis=1)
    return np.quantile(means, [0.05, 0.95])


class TinyEnv:
    """A deterministic environment of 2 x 2 frames and two-dimensional actions.

    ends_by: "terminated" or "truncated", after STEPS steps. What a faulty loop does afterwards is
    counted, too: BEYOND steps later the other flag is set as well, and after MOST steps it is an
    error. `steps` and `seeds` are what was done in all episodes.
    """

    def __init__(self, ends_by: str):
        self.ends_by, self.steps, self.seeds = ends_by, 0, list[int | None]()

    def reset(self, seed: int | None = None) -> tuple[np.ndarray, dict]:
        """As in Gymnasium."""
        self.seeds.append(seed)
        self._time, self._place = 0, 40 + 10 * (seed or 0)
        return self._frame(), {}

    def step(self, action: np.ndarray | torch.Tensor) -> tuple[np.ndarray, float, bool, bool, dict]:
        """As in Gymnasium. Raises TypeError for a tensor, ValueError for another shape."""
        if isinstance(action, torch.Tensor):
            raise TypeError("an action is a NumPy array, got a tensor: actions[0].numpy()")
        if np.shape(action) != (2,):
            raise ValueError(f"an action has shape (2,), got {np.shape(action)}")
        if self._time == MOST:
            raise RuntimeError(f"the episode was over long ago, and step was called {MOST} times")
        steering, gas = (float(a) for a in action)
        self._time, self.steps = self._time + 1, self.steps + 1
        self._place += 20 + round(30 * gas) + round(10 * steering)
        ended = {self.ends_by: self._time >= STEPS}
        late = self._time >= STEPS + BEYOND
        terminated, truncated = (ended.get(n, late) for n in ("terminated", "truncated"))
        return self._frame(), self._place / 100 - self._time, terminated, truncated, {}

    def _frame(self) -> np.ndarray:
        pixels = np.arange(12).reshape(2, 2, 3) * 7 + self._place
        return (pixels % 251).astype(np.uint8)


class TinyWorldModel:
    """`encode`, `begin` and `observe` of a WorldModel with z and h of size 2, without networks."""

    def encode(self, frames):
        """uint8 frames (B, 2, 2, 3) -> z (B, 2) float32."""
        if np.ndim(frames) != 4:
            raise ValueError(f"frames have shape (B, 2, 2, 3), got {tuple(np.shape(frames))}")
        pixels = torch.as_tensor(frames).float().flatten(1) / 255
        return torch.stack([pixels.mean(1), pixels[:, 0]], dim=1)

    def begin(self, frames):
        """As `WorldModel.begin`."""
        z = self.encode(frames)
        return State(z, torch.zeros_like(z), torch.zeros_like(z), torch.zeros(len(z)))

    def observe(self, state, actions, frames, rewards=None):
        """As `WorldModel.observe`."""
        if actions.ndim != 2:
            raise ValueError(f"actions have shape (B, 2), got {tuple(actions.shape)}")
        c = 0.5 * state.c + state.z - 0.7 * actions.to(state.z) + state.reward[:, None]
        rewards = torch.zeros(len(c)) if rewards is None else torch.as_tensor(rewards)
        return State(self.encode(frames), c.tanh(), c, rewards.float())


def _parts() -> tuple[TinyWorldModel, Controller]:
    weights = [0.9, -0.6, 0.8, 0.3, -0.5, 0.7, 0.4, -0.8, 0.1, 0.2]
    return TinyWorldModel(), Controller(np.array(weights), feature_size=4, action_size=2)


def _steps(function: Callable) -> Measured:
    (world_model, controller), env = _parts(), TinyEnv("truncated")
    state = world_model.begin(env.reset(seed=1)[0][None])
    measured: Measured = {}
    for k in range(1, 4):
        results = function(env, world_model, controller, state)
        if not isinstance(results, tuple) or len(results) != 4:
            raise ValueError("it must return (state, reward, terminated, truncated)")
        state, reward, terminated, truncated = results
        if not isinstance(state, State):
            raise TypeError(f"the first result must be a State, got {type(state).__name__}")
        after = f"after step {k}"
        measured[f"the number of environment steps {after}"] = env.steps
        measured |= {f"state.{name} {after}": part for name, part in state._asdict().items()}
        measured[f"the returned reward {after}"] = float(reward)
    env._time = STEPS - 1
    *_, terminated, truncated = function(env, world_model, controller, state)
    return measured | {"terminated": bool(terminated), "truncated": bool(truncated)}


def _episodes(function: Callable) -> Measured:
    measured: Measured = {}
    world_model, controller = _parts()
    for ends_by in ("terminated", "truncated"):
        env = TinyEnv(ends_by)
        for seed in (3, 5):  # the second episode shows what the first one left behind
            total = function(env, world_model, controller, seed)
            if total is None:
                raise TypeError("it returned None, where a return was expected")
            episode = f"of the {ends_by} episode with seed {seed}"
            measured[f"the number of steps {episode}"] = env.steps
            measured[f"the return {episode}"] = float(total)
            env.steps = 0
        measured["the seeds of the tracks"] = env.seeds
    return measured


def _intervals(function: Callable) -> Measured:
    # Means over several streams, so that any correct way of resampling passes.
    returns = np.r_[np.linspace(900, 930, 35), 300.0, 300.0, 420.0, 500.0, 640.0]
    ends, streams = [], 4
    for seed in range(streams):
        low, high = function(returns.copy(), np.random.default_rng(seed))
        ends.append([returns.mean() - float(low), float(high) - returns.mean()])
    again = [np.asarray(function(returns, np.random.default_rng(0))) for _ in range(2)]
    below, above = np.mean(ends, axis=0)
    return {
        "the distance from the lower end to the mean": float(below),
        "the distance from the mean to the upper end": float(above),
        "the same result for the same generator": bool(np.array_equal(again[0], again[1])),
    }


EXERCISES = (
    Exercise(
        agent_step,
        _steps,
        hint="Four lines: the controller makes an action (1, 3) of state.features; env.step takes "
        "it as a numpy array (3,); observe takes the old state, that same action, the new frame "
        "with a batch axis (frame[None]), and the reward as a tensor of one number.",
        mistakes=(
            _state_of_before,
            _memory_wiped,
            _next_action_observed,
            _reward_not_observed,
        ),
    ),
    Exercise(
        run_episode,
        _episodes,
        hint="Before the loop: env.reset(seed=seed) and world_model.begin(frame[None]). In the "
        "loop: one agent_step, add its reward, and stop once terminated or truncated is true.",
        mistakes=(
            _truncation_ignored,
            _termination_ignored,
            _last_reward_left_out,
            _memory_kept,
            _without_the_seed,
        ),
    ),
    Exercise(
        interval,
        _intervals,
        hint="rng.choice(returns, (resamples, n)) draws all resamples at once, with replacement. "
        "Each row has a mean; np.quantile of those means at 0.025 and 0.975 is the interval.",
        mistakes=(
            _deviations_of_episodes,
            _without_replacement,
            _quantiles_of_scores,
            _symmetric,
            _ninety_percent,
        ),
        tolerance=0.08,
    ),
)
