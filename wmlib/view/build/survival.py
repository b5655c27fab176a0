"""Exercises on Take Cover: the loss of M's death head, and survival in a dream.

Each exercise is a solution, how it is measured, and functions with typical mistakes, whose
docstrings are what is printed for the reader.
"""

import math

import torch
from torch.nn.functional import binary_cross_entropy_with_logits, softplus

from wmlib.models.controller import Controller
from wmlib.models.world_model import WorldModel
from wmlib.view.build.dream_env import random_moments, untrained
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


def survive(world_model, controller, state, steps, temperature=1.0):
    """Agent steps that B dreams survive, (B,) float; they end after `steps`.

    state: B moments. controller: what the world model's features (B, n) are given to, for actions
    (B, 1).
    """
    alive, survived = torch.ones(len(state.z)), torch.zeros(len(state.z))
    for _ in range(steps):
        actions = controller(world_model.features(state))
        state, forecast = world_model.imagine(state, actions, temperature)
        survived = survived + alive
        alive = alive * (torch.rand(len(alive)) >= forecast.done_logit[:, 0].sigmoid())
    return survived


def _imagine(world_model, state, actions, temperature):
    return world_model.imagine(state, actions, temperature)


def _lives(log_odds):
    return torch.rand(len(log_odds)) >= log_odds.sigmoid()


def _count(survived, alive, lives):
    return survived + alive, alive * lives


def _survive(arguments, imagine=_imagine, lives=_lives, count=_count):
    # The solution's loop, one part of which a mistake replaces.
    world_model, controller, state, steps, temperature = arguments
    alive, survived = torch.ones(len(state.z)), torch.zeros(len(state.z))
    for _ in range(steps):
        actions = controller(world_model.features(state))
        state, forecast = imagine(world_model, state, actions, temperature)
        living = lives(forecast.done_logit[:, 0]).float()
        survived, alive = count(survived, alive, living)
    return survived


def _never_dead(*arguments):
    """A dream goes on counting after its player's death: keep which of them are alive, and multiply
    that by the draw of every step."""
    return _survive(arguments, count=lambda survived, alive, lives: (survived + 1, alive))


def _alive_again(*arguments):
    """A player who has died is alive again at the next step: multiply what was alive before by this
    step's draw."""
    return _survive(arguments, count=lambda survived, alive, lives: (survived + alive, lives))


def _fatal_step_lost(*arguments):
    """The step in which a player dies counts, as in the game: count first, then draw who dies."""

    def count(survived, alive, lives):
        return survived + alive * lives, alive * lives

    return _survive(arguments, count=count)


def _dies_above_one_half(*arguments):
    """Where M gives death a probability of 0.6, six players in ten die: compare the probability
    with torch.rand, not with 0.5 (nor the log-odds with 0)."""
    return _survive(arguments, lives=lambda log_odds: log_odds < 0)


def _log_odds_as_probability(*arguments):
    """done_logit is compared with torch.rand as if it were a probability: it is the log-odds, and
    its sigmoid is the probability."""
    return _survive(arguments, lives=lambda log_odds: torch.rand(len(log_odds)) >= log_odds)


def _exchanged(*arguments):
    """Life and death are exchanged: sigmoid(done_logit) is the probability of death, so a player
    lives where torch.rand is above it."""
    return _survive(arguments, lives=lambda log_odds: ~_lives(log_odds))


def _frozen_memory(*arguments):
    """z is new, but h and c are still those of the first moment: keep the whole state that
    `imagine` returns."""

    def imagine(world_model, state, actions, temperature):
        new, forecast = world_model.imagine(state, actions, temperature)
        return new._replace(h=state.h, c=state.c), forecast

    return _survive(arguments, imagine=imagine)


def _state_not_kept(*arguments):
    """Every step begins at the first moment again: keep the state that `imagine` returns."""
    first = arguments[2]

    def imagine(world_model, state, actions, temperature):
        return first, world_model.imagine(first, actions, temperature)[1]

    return _survive(arguments, imagine=imagine)


def _temperature_not_used(*arguments):
    """The temperature is not used: it is the third argument of `imagine`, which has 1 without
    it."""

    def imagine(world_model, state, actions, temperature):
        return world_model.imagine(state, actions)

    return _survive(arguments, imagine=imagine)


def _controller(world_model: WorldModel) -> Controller:
    weights = torch.randn(1, world_model.feature_size, generator=torch.Generator().manual_seed(6))
    return Controller(weights.numpy(), world_model.feature_size, action_size=1, bias=False)


M_OF_ONE_ACTION = {"action_size": 1, "reads_cell": True}


def _dreams(function) -> Measured:
    """Without chance (temperature 0, deaths that are sure), then drawn deaths."""

    def run(world_model: WorldModel, count: int, steps: int, temperature: float) -> torch.Tensor:
        controller, state = _controller(world_model), random_moments(2, count)
        return function(world_model, controller, state, steps, temperature)

    sure = run(untrained(7, end=1e7, bias=-3e6, **M_OF_ONE_ACTION), 200, 12, 0.0)
    drawn = run(untrained(4, bias=math.log(0.625 / 0.375), **M_OF_ONE_ACTION), 16_000, 10, 1.0)
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
        _dreams,
        hint="Begin with alive = torch.ones(B) and survived = torch.zeros(B). In every step: the "
        "actions from world_model.features(state); state, forecast = world_model.imagine(...). "
        "Then add alive to survived, and multiply alive by the draw: torch.rand(B) >= sigmoid of "
        "forecast.done_logit[:, 0].",
        mistakes=(
            _never_dead,
            _alive_again,
            _fatal_step_lost,
            _dies_above_one_half,
            _log_odds_as_probability,
            _exchanged,
            _frozen_memory,
            _state_not_kept,
            _temperature_not_used,
        ),
    ),
)
