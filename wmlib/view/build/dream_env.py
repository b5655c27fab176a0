"""Chapter 6's first exercise: the dream as an environment.

Each mistake is the solution with one method changed; its docstring is what is printed for a
reader's class that does the same.
"""

from typing import Any

import torch
from torch import nn

from wmlib.models.mdn_rnn import MDNRNN, TILE
from wmlib.models.world_model import State, WorldModel
from wmlib.view.build.exercise import Exercise, Measured


class DreamEnv:
    """B dreams at once: the dream's M makes them, the agent's M computes the h that C reads.

    dream, agent: world models with the same V. starts, agent_starts: the same real moments as
    states of the two.
    """

    def __init__(self, dream, agent, starts, agent_starts, temperature=1.0):
        """Keep the two world models and their moments; this method is written already."""
        self.dream, self.agent, self.temperature = dream, agent, temperature
        self.starts, self.agent_starts = starts, agent_starts

    def reset(self, index):
        """Begin at the moments `index` (B,) int64 -> observations (B, z + hidden)."""
        self.state, self.agent_state = self.starts.take(index), self.agent_starts.take(index)
        self.done = torch.zeros(len(index), dtype=torch.bool)
        return self.agent_state.features

    def step(self, actions):
        """actions (B, 3) -> observations (B, z + hidden), rewards (B,) in points, done (B,) bool.

        A dream that has ended stays done; its rewards are 0 from the next step on.
        """
        h, c = self.agent.remember(self.agent_state, actions)
        self.state, forecast = self.dream.imagine(self.state, actions, self.temperature)
        self.agent_state = self.state._replace(h=h, c=c)
        rewards = forecast.reward[:, 0] * ~self.done
        ends = torch.rand(len(rewards)) < forecast.done_logit[:, 0].sigmoid()
        self.done = self.done | ends
        return self.agent_state.features, rewards, self.done


class _EmptyMemory(DreamEnv):
    """h is 0 after reset: the moments are States, whose h and c hold what M remembers of the real
    episode. Take the whole State, not its z alone."""

    def reset(self, index):
        super().reset(index)
        nothing = torch.zeros_like(self.agent_state.h)
        self.agent_state = self.agent_state._replace(h=nothing, c=nothing)
        return self.agent_state.features


class _OldObservation(DreamEnv):
    """These are the observations of the state before the step: return the features of the new
    one."""

    def step(self, actions):
        before = self.agent_state.features
        _, rewards, done = super().step(actions)
        return before, rewards, done


class _DreamsMemory(DreamEnv):
    """This h is that of the dream's M. C reads the h of the agent's M: self.agent.remember."""

    def reset(self, index):
        super().reset(index)
        return self.state.features

    def step(self, actions):
        _, rewards, done = super().step(actions)
        return self.state.features, rewards, done


class _DreamsMoments(DreamEnv):
    """The agent's state begins at the moments of the dream's M, with that M's memory: take it from
    self.agent_starts."""

    def reset(self, index):
        super().reset(index)
        self.agent_state = self.state
        return self.agent_state.features


class _DreamsMemoryAfterReset(DreamEnv):
    """After the step, this h is that of the dream's M. C reads the h of the agent's M:
    self.agent.remember."""

    def step(self, actions):
        _, rewards, done = super().step(actions)
        return self.state.features, rewards, done


class _FrozenMemory(DreamEnv):
    """z is new, but h is still that of the reset: the agent's M has to remember the step, too."""

    def step(self, actions):
        h, c = self.agent_state.h, self.agent_state.c
        _, rewards, done = super().step(actions)
        self.agent_state = self.agent_state._replace(h=h, c=c)
        return self.agent_state.features, rewards, done


class _RemembersTooLate(DreamEnv):
    """The agent's M has read the new z. h[t + 1] is computed from z[t], action and h[t]: call
    remember with the agent's state before the step."""

    def step(self, actions):
        before = self.agent_state
        _, rewards, done = super().step(actions)
        late = before._replace(z=self.state.z, reward=self.state.reward)
        h, c = self.agent.remember(late, actions)
        self.agent_state = self.state._replace(h=h, c=c)
        return self.agent_state.features, rewards, done


class _StateNotKept(DreamEnv):
    """The first step is right, and later ones begin at the same state again: keep the new state in
    self.state."""

    def step(self, actions):
        before = self.state
        result = super().step(actions)
        self.state = before
        return result


class _SampledReward(DreamEnv):
    """This is the reward that was sampled with z, in tiles, which is M's next input. The reward of
    the step is the forecast's: forecast.reward[:, 0], in points."""

    def step(self, actions):
        over = self.done
        features, _, done = super().step(actions)
        return features, self.state.reward * ~over, done


class _SampledRewardInPoints(_SampledReward):
    """This is the reward that was sampled with z, which is M's next input. The reward of the step
    is the forecast's: forecast.reward[:, 0]."""

    def step(self, actions):
        features, rewards, done = super().step(actions)
        return features, rewards * TILE, done


class _NeverOver(DreamEnv):
    """A dream that has ended goes on: keep self.done | ends, and multiply the rewards by ~self.done
    as it was before the step."""

    def step(self, actions):
        self.done = torch.zeros_like(self.done)
        return super().step(actions)


class _RewardsGoOn(DreamEnv):
    """A dream that has ended still gives rewards: multiply by ~self.done, as it was before the
    step."""

    def step(self, actions):
        over = self.done
        self.done = torch.zeros_like(over)
        features, rewards, ends = super().step(actions)
        self.done = over | ends
        return features, rewards, self.done


class _EndOfLastStep(DreamEnv):
    """done is only that of the last step, and a dream that has ended goes on: keep self.done |
    ends."""

    def step(self, actions):
        over = self.done
        self.done = torch.zeros_like(over)
        features, rewards, self.done = super().step(actions)
        return features, rewards * ~over, self.done


class _LastRewardLost(DreamEnv):
    """The step in which a dream ends has a reward, too (on the playfield's edge, -100): only the
    steps after it have none."""

    def step(self, actions):
        features, rewards, done = super().step(actions)
        return features, rewards * ~done, done


class _EndsAboveOneHalf(DreamEnv):
    """Where M gives the end a probability of 0.6, six dreams in ten end: compare the probability
    with torch.rand, not with 0.5 (nor the log-odds with 0)."""

    def step(self, actions):
        over = self.done
        self.state, forecast, features = _advance(self, actions)
        self.done = over | (forecast.done_logit[:, 0] > 0)
        return features, forecast.reward[:, 0] * ~over, self.done


class _LogOddsAsProbability:
    """A world model whose log-odds of the end are read as a probability."""

    def __init__(self, world_model: WorldModel):
        self.world_model = world_model

    def imagine(self, *args):
        state, forecast = self.world_model.imagine(*args)
        probability = forecast.done_logit.clamp(0, 1)
        return state, forecast._replace(done_logit=probability.logit())


class _NoSigmoid(DreamEnv):
    """done_logit is compared with torch.rand as if it were a probability: it is the log-odds, and
    its sigmoid is the probability."""

    def __init__(self, dream, *args, **options):
        super().__init__(_LogOddsAsProbability(dream), *args, **options)


class _NoSigmoidNeverOver(_NoSigmoid, _NeverOver):
    """A dream that has ended goes on: keep self.done | ends, and multiply the rewards by ~self.done
    as it was before the step. And the probability of the end is the sigmoid of done_logit."""


class _NoSigmoidEndOfLastStep(_NoSigmoid, _EndOfLastStep):
    """done is only that of the last step: keep self.done | ends. And the probability of the end is
    the sigmoid of done_logit."""


class _NoSigmoidRewardsGoOn(_NoSigmoid, _RewardsGoOn):
    """A dream that has ended still gives rewards: multiply by ~self.done, as it was before the
    step. And the probability of the end is the sigmoid of done_logit."""


def _advance(env, actions):
    h, c = env.agent.remember(env.agent_state, actions)
    state, forecast = env.dream.imagine(env.state, actions, env.temperature)
    env.agent_state = state._replace(h=h, c=c)
    return state, forecast, env.agent_state.features


class _NoVision(nn.Module):
    """In V's place, where nothing is seen."""

    def __init__(self, z_size: int):
        super().__init__()
        self.z_size, self.mu = z_size, nn.Linear(1, z_size)


Z, HIDDEN, MOMENTS = 3, 8, 40


def untrained(seed: int, end: float = 0.0, bias: float = 0.0, **options: Any) -> WorldModel:
    """A small world model without vision. options: of its `MDNRNN`.

    end: weight of the first entry of h in the log-odds of the end; bias: what they are without it.
    """
    torch.manual_seed(seed)
    m = MDNRNN(Z, hidden_size=HIDDEN, mixtures=2, **options)
    with torch.no_grad():
        for weights in m.parameters():
            weights.mul_(4)  # what an untrained network computes is nearly the same for all inputs
        m.done.weight.zero_()
        m.done.weight[0, 0] = end
        m.done.bias.fill_(bias)
    return WorldModel(_NoVision(Z), m)  # type: ignore[arg-type]


def random_moments(seed: int, count: int = MOMENTS) -> State:
    """States of such a world model."""
    torch.manual_seed(seed)
    z, h, c = (torch.randn(count, size) for size in (Z, HIDDEN, HIDDEN))
    return State(z, h, c, torch.rand(count))


def _episodes(env_class) -> Measured:
    """Three steps without chance (temperature 0, ends that are sure), then the share of ends."""
    agent, starts, agent_starts = untrained(1), random_moments(2), random_moments(3)
    agent_starts = agent_starts._replace(z=starts.z)
    dream = untrained(4, end=1e4, reward_input=True)
    env = env_class(dream, agent, starts, agent_starts, temperature=0.0)
    index = torch.arange(MOMENTS - 1, -1, -2)
    measured: Measured = {"the observations of reset": _tensor(env.reset(index)).clone()}
    over = torch.zeros(len(index), dtype=torch.bool)
    for t in range(3):
        actions = torch.rand(len(index), 3, generator=torch.Generator().manual_seed(t))
        observations, rewards, done = map(_tensor, env.step(actions))
        when = "one step" if t == 0 else f"{t + 1} steps"
        kept = observations.clone()
        if kept.shape[:1] == over.shape:
            kept[over] = 0.0  # the observations of a dream that has ended have no meaning
        measured[f"the observations after {when}"] = kept
        measured[f"the rewards of step {t + 1}"] = rewards.clone()
        measured[f"done after {when}"] = done.clone().float()
        over = over | done.bool()
    dream = untrained(4, bias=0.405, reward_input=True)  # the log-odds of 0.6
    env = env_class(dream, agent, starts, agent_starts)
    env.reset(torch.arange(4000) % MOMENTS)
    *_, done = env.step(torch.zeros(4000, 3))
    share = _tensor(done).float().mean().item()
    # To a tenth, which chance does not change: the standard error is 0.008.
    measured["the share of dreams that end where M gives a probability of 0.6"] = round(share, 1)
    return measured


def _tensor(value):
    if not isinstance(value, torch.Tensor):
        raise TypeError(f"expected a tensor, got {type(value).__name__}")
    return value.detach()


DREAM_ENV = Exercise(
    DreamEnv,
    _episodes,
    hint="reset: `self.starts.take(index)` gives the states of these moments; keep one of each "
    "world model in self, and a self.done of torch.zeros(..., dtype=torch.bool). step: first the "
    "agent's h and c from its old state, then the dream's next state and forecast. The agent's new "
    "state is the dream's, with h and c replaced: `state._replace(h=h, c=c)`; its `features` are "
    "the observations. Multiply the rewards by ~self.done *before* you update self.done: the step "
    "in which a dream ends has a reward.",
    mistakes=(
        _EmptyMemory,
        _OldObservation,
        _DreamsMemory,
        _DreamsMoments,
        _DreamsMemoryAfterReset,
        _FrozenMemory,
        _RemembersTooLate,
        _StateNotKept,
        _SampledReward,
        _SampledRewardInPoints,
        _RewardsGoOn,
        _NeverOver,
        _EndOfLastStep,
        _LastRewardLost,
        _EndsAboveOneHalf,
        _NoSigmoid,
        _NoSigmoidNeverOver,
        _NoSigmoidEndOfLastStep,
        _NoSigmoidRewardsGoOn,
    ),
    tolerance=0.02,  # imagine computes with 16-bit floats where the processor has them
)
