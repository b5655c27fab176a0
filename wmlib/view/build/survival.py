"""Exercises on Take Cover: the loss of M's death head, and survival in a dream.

Each exercise is a solution, how it is measured, and functions with typical mistakes, whose
docstrings are what is printed for the reader.
"""

import math

import torch
from torch.nn.functional import binary_cross_entropy_with_logits, softplus

from wmlib.models.controller import Controller
from wmlib.models.mdn_rnn import MDNRNN
from wmlib.models.world_model import State, WorldModel
from wmlib.view.build.dream_env import NoVision
from wmlib.view.build.exercise import Exercise, Measured, call


def death_loss(log_odds, died, weight=10.0):
    """Weighted cross-entropy of the forecast of death, in nats, averaged over all steps: a scalar.

    log_odds (B, T): of death in this step, as they are in the data. died (B, T) float: 1 in a step
    at which the player died, else 0. weight: how many times such a step counts.
    """
    learned = log_odds + math.log(weight)
    return (weight * died * softplus(-learned) + (1 - died) * softplus(learned)).mean()


def _unweighted(log_odds, died, weight=10.0):
    """Here all steps count alike: a step with died = 1 counts `weight` times, and with the weight
    log(weight) is added to the log-odds."""
    return binary_cross_entropy_with_logits(log_odds, died)


def _weight_left_in(log_odds, died, weight=10.0):
    """The weight is not taken back out: with it the network learns log-odds that are log(weight)
    too high. Put log_odds + log(weight) into the cross-entropy, then log_odds are those of the
    data."""
    return binary_cross_entropy_with_logits(log_odds, died, pos_weight=torch.tensor(weight))


def _only_shifted(log_odds, died, weight=10.0):
    """The log-odds are shifted, but all steps count alike: multiply the terms of steps with died =
    1 by `weight`."""
    return binary_cross_entropy_with_logits(log_odds + math.log(weight), died)


def _opposite_shift(log_odds, died, weight=10.0):
    """The shift has the opposite sign. The weighted problem's log-odds are the higher ones: add
    log(weight)."""
    return _weight_left_in(log_odds - math.log(weight), died, weight)


def _weight_for_its_logarithm(log_odds, died, weight=10.0):
    """The weight multiplies the odds, so its logarithm is added to the log-odds: log(weight)."""
    return _weight_left_in(log_odds + weight, died, weight)


def _weight_on_survivors(log_odds, died, weight=10.0):
    """The weight is on the steps that were survived: it belongs to those with died = 1, of which
    there are few."""
    return death_loss(-log_odds, 1 - died, weight)


def _weighted_mean(log_odds, died, weight=10.0):
    """This divides by the sum of the weights: divide by the number of steps, as a mean does."""
    return death_loss(log_odds, died, weight) / (1 + (weight - 1) * died).mean()


def _summed(log_odds, died, weight=10.0):
    """This is the sum over all steps: their mean is asked for."""
    return death_loss(log_odds, died, weight) * died.numel()


def _sigmoid_twice(log_odds, died, weight=10.0):
    """The sigmoid is taken twice: binary_cross_entropy_with_logits expects log-odds, not
    probabilities."""
    probability = torch.sigmoid(log_odds + math.log(weight))
    return _weight_left_in(probability, died, weight)


def _two_batches(function) -> Measured:
    generator = torch.Generator().manual_seed(0)
    log_odds = 3 * torch.randn(4, 25, generator=generator) - 1
    died = (torch.rand(4, 25, generator=generator) < 0.2).float()
    few = call(lambda log_odds: function(log_odds, died), {"log_odds": log_odds})
    # Log-odds of this size have no probability in 32 bits: it rounds to 0 or 1.
    sure = torch.tensor([[-150.0, 150.0, -150.0]])
    wrong = function(sure, torch.tensor([[0.0, 1.0, 1.0]]))
    other = function(log_odds, died, 3.0)
    return few | {"the loss of a sure and wrong forecast": wrong, "the loss with weight=3": other}


def survive(dream, agent, controller, state, agent_state, steps, temperature=1.15):
    """Agent steps that B dreams survive, (B,) float; they end after `steps`.

    dream, agent: world models with the same V. state, agent_state: the same B moments as states of
    the two. controller: reads the agent's features.
    """
    alive, survived = torch.ones(len(state.z)), torch.zeros(len(state.z))
    for _ in range(steps):
        actions = controller(agent.features(agent_state))
        state, forecast = dream.imagine(state, actions, temperature)
        h, c = agent.remember(agent_state, actions)
        agent_state = state._replace(h=h, c=c)
        survived = survived + alive
        alive = alive * (torch.rand(len(alive)) >= forecast.done_logit[:, 0].sigmoid())
    return survived


class _Loop:
    """The solution's loop, one part of which a mistake replaces."""

    def __init__(self, dream, agent, controller, state, agent_state, steps, temperature=1.15):
        self.dream, self.agent, self.temperature = dream, agent, temperature
        self.state, self.agent_state = state, agent_state
        self.alive, self.survived = torch.ones(len(state.z)), torch.zeros(len(state.z))
        for _ in range(steps):
            actions = controller(self.read())
            self.state, forecast = self.imagine(actions)
            self.agent_state = self.remember(actions)
            self.count(self.lives(forecast.done_logit[:, 0]).float())

    def read(self):
        return self.agent.features(self.agent_state)

    def imagine(self, actions):
        return self.dream.imagine(self.state, actions, self.temperature)

    def remember(self, actions):
        h, c = self.agent.remember(self.agent_state, actions)
        return self.state._replace(h=h, c=c)

    def lives(self, log_odds):
        return torch.rand(len(log_odds)) >= log_odds.sigmoid()

    def count(self, lives):
        self.survived = self.survived + self.alive
        self.alive = self.alive * lives


def _never_dead(*arguments):
    """A dream goes on counting after its player's death: keep which of them are alive, and multiply
    that by the draw of every step."""

    class Loop(_Loop):
        def count(self, lives):
            self.survived = self.survived + 1

    return Loop(*arguments).survived


def _alive_again(*arguments):
    """A player who has died is alive again at the next step: multiply what was alive before by this
    step's draw."""

    class Loop(_Loop):
        def count(self, lives):
            self.survived = self.survived + self.alive
            self.alive = lives

    return Loop(*arguments).survived


def _fatal_step_lost(*arguments):
    """The step in which a player dies counts, as in the game: count first, then draw who dies."""

    class Loop(_Loop):
        def count(self, lives):
            self.alive = self.alive * lives
            self.survived = self.survived + self.alive

    return Loop(*arguments).survived


def _dies_above_one_half(*arguments):
    """Where M gives death a probability of 0.6, six players in ten die: compare the probability
    with torch.rand, not with 0.5 (nor the log-odds with 0)."""

    class Loop(_Loop):
        def lives(self, log_odds):
            return log_odds < 0

    return Loop(*arguments).survived


def _log_odds_as_probability(*arguments):
    """done_logit is compared with torch.rand as if it were a probability: it is the log-odds, and
    its sigmoid is the probability."""

    class Loop(_Loop):
        def lives(self, log_odds):
            return torch.rand(len(log_odds)) >= log_odds

    return Loop(*arguments).survived


def _exchanged(*arguments):
    """Life and death are exchanged: sigmoid(done_logit) is the probability of death, so a player
    lives where torch.rand is above it."""

    class Loop(_Loop):
        def lives(self, log_odds):
            return torch.rand(len(log_odds)) < log_odds.sigmoid()

    return Loop(*arguments).survived


def _dreams_memory(*arguments):
    """C reads h and c of the dream's M here. It was evolved to read those of the agent's M:
    agent.remember."""

    class Loop(_Loop):
        def remember(self, actions):
            return self.state

    return Loop(*arguments).survived


def _frozen_memory(*arguments):
    """z is new, but h and c are still those of the first moment: the agent's M has to remember
    every step, too."""

    class Loop(_Loop):
        def remember(self, actions):
            return self.state._replace(h=self.agent_state.h, c=self.agent_state.c)

    return Loop(*arguments).survived


def _blind(*arguments):
    """C reads the same features in every step: the agent's state has to be replaced by the new
    one, too."""

    class Loop(_Loop):
        def remember(self, actions):
            return self.agent_state

    return Loop(*arguments).survived


def _remembers_too_late(*arguments):
    """The agent's M has read the new z. h[t + 1] is computed from z[t], the action and h[t]: call
    remember with the agent's state before the step."""

    class Loop(_Loop):
        def remember(self, actions):
            late = self.agent_state._replace(z=self.state.z)
            h, c = self.agent.remember(late, actions)
            return self.state._replace(h=h, c=c)

    return Loop(*arguments).survived


def _state_not_kept(*arguments):
    """Every step begins at the first moment again: keep the state that `imagine` returns."""

    class Loop(_Loop):
        def imagine(self, actions):
            return self.dream.imagine(arguments[3], actions, self.temperature)

    return Loop(*arguments).survived


def _temperature_not_used(*arguments):
    """The temperature is not used: it is the third argument of `imagine`, which has 1 without
    it."""

    class Loop(_Loop):
        def imagine(self, actions):
            return self.dream.imagine(self.state, actions)

    return Loop(*arguments).survived


Z, HIDDEN = 3, 8


def _untrained(end: float, bias: float, seed: int) -> WorldModel:
    # end: weight of the first entry of h in the log-odds of death; bias: what they are without it.
    torch.manual_seed(seed)
    m = MDNRNN(Z, action_size=1, hidden_size=HIDDEN, mixtures=2, reads_cell=True)
    with torch.no_grad():
        for weights in m.parameters():
            weights.mul_(4)  # what an untrained network computes is nearly the same for all inputs
        m.done.weight.zero_()
        m.done.weight[0, 0] = end
        m.done.bias.fill_(bias)
    return WorldModel(NoVision(Z), m)  # type: ignore[arg-type]


def _moments(count: int, seed: int) -> State:
    torch.manual_seed(seed)
    z, h, c = (torch.randn(count, size) for size in (Z, HIDDEN, HIDDEN))
    return State(z, h, c, torch.zeros(count))


def _lives(function) -> Measured:
    """Without chance (temperature 0, deaths that are sure), then drawn deaths."""
    agent = _untrained(0.0, -100.0, 1)
    weights = torch.randn(1, agent.feature_size, generator=torch.Generator().manual_seed(6))
    controller = Controller(weights.numpy(), agent.feature_size, action_size=1, bias=False)

    def run(dream: WorldModel, count: int, steps: int, temperature: float) -> torch.Tensor:
        state, agent_state = _moments(count, 2), _moments(count, 3)
        agent_state = agent_state._replace(z=state.z)
        return function(dream, agent, controller, state, agent_state, steps, temperature)

    sure = run(_untrained(1e7, -3e6, 7), 200, 12, 0.0)
    drawn = run(_untrained(0.0, math.log(0.625 / 0.375), 4), 16_000, 10, 1.0)
    return {
        "the shape": tuple(sure.shape),
        "the steps survived where death is sure or impossible": sure.detach(),
        # To a tenth, which chance does not change: the standard error is 0.008.
        "the mean of ten steps survived where M gives death a probability of 0.625": (
            round(drawn.float().mean().item(), 1)
        ),
    }


EXERCISES = (
    Exercise(
        death_loss,
        _two_batches,
        hint="binary_cross_entropy_with_logits(..., pos_weight=torch.tensor(weight)) weighs the "
        "steps with died = 1. By hand: a step survived costs softplus(x), a death softplus(-x), "
        "where x are the log-odds that the network learns: log_odds + log(weight).",
        mistakes=(
            _unweighted,
            _weight_left_in,
            _only_shifted,
            _opposite_shift,
            _weight_for_its_logarithm,
            _weight_on_survivors,
            _weighted_mean,
            _summed,
            _sigmoid_twice,
        ),
    ),
    Exercise(
        survive,
        _lives,
        hint="Begin with alive = torch.ones(B) and survived = torch.zeros(B). In every step: the "
        "actions from agent.features(agent_state); state, forecast = dream.imagine(...); h, c = "
        "agent.remember(...) with the agent's old state; the agent's new state is the dream's with "
        "this h and c. Then add alive to survived, and multiply alive by the draw: torch.rand(B) "
        ">= sigmoid of forecast.done_logit[:, 0].",
        mistakes=(
            _never_dead,
            _alive_again,
            _fatal_step_lost,
            _dies_above_one_half,
            _log_odds_as_probability,
            _exchanged,
            _dreams_memory,
            _frozen_memory,
            _blind,
            _remembers_too_late,
            _state_not_kept,
            _temperature_not_used,
        ),
    ),
)
