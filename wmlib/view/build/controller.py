"""Chapter 4: C's action ranges, C itself, and an evolution strategy.

Each exercise is a solution, how it is measured, and functions with typical mistakes, whose
docstrings are what is printed for them.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from wmlib.models import controller
from wmlib.view.build.exercise import Exercise, Measured


def squash(raw):
    """Raw outputs (B, 3) -> CarRacing's steering -1..1, gas 0..1, brake 0..1: (B, 3)."""
    steering, gas, brake = torch.tanh(raw).unbind(-1)
    return torch.stack([steering, (gas + 1) / 2, brake.clamp(0, 1)], dim=-1)


def _without_tanh(raw):
    """The tanh is missing: it comes first, on all three outputs."""
    steering, gas, brake = raw.unbind(-1)
    return torch.stack([steering, (gas + 1) / 2, brake.clamp(0, 1)], dim=-1)


def _clipped(raw):
    """Clipping is not squashing: use tanh, then (a + 1) / 2 for gas."""
    steering, gas, brake = raw.clamp(-1, 1).unbind(-1)
    return torch.stack([steering, (gas + 1) / 2, brake.clamp(0, 1)], dim=-1)


def _sigmoid_for_gas(raw):
    """Gas is (tanh(raw) + 1) / 2, which equals sigmoid(2 * raw), not sigmoid(raw)."""
    steering, _, brake = torch.tanh(raw).unbind(-1)
    return torch.stack([steering, torch.sigmoid(raw[:, 1]), brake.clamp(0, 1)], dim=-1)


def _gas_not_shifted(raw):
    """Gas still goes from -1 to 1 after the tanh: (a + 1) / 2 brings it to 0..1."""
    steering, gas, brake = torch.tanh(raw).unbind(-1)
    return torch.stack([steering, gas, brake.clamp(0, 1)], dim=-1)


def _gas_clipped(raw):
    """Gas is shifted and scaled, not clipped: a raw output of 0 is half gas."""
    steering, gas, brake = torch.tanh(raw).unbind(-1)
    return torch.stack([steering, gas.clamp(0, 1), brake.clamp(0, 1)], dim=-1)


def _brake_not_clipped(raw):
    """The brake still goes from -1 to 1: clip it to 0..1."""
    steering, gas, brake = torch.tanh(raw).unbind(-1)
    return torch.stack([steering, (gas + 1) / 2, brake], dim=-1)


def _brake_shifted(raw):
    """The brake is clipped, not shifted: with (a + 1) / 2, a raw output of 0 would be half a
    brake."""
    steering, gas, brake = torch.tanh(raw).unbind(-1)
    return torch.stack([steering, (gas + 1) / 2, (brake + 1) / 2], dim=-1)


def _tanh_alone(raw):
    """After the tanh, gas still goes from -1 to 1, and so does the brake."""
    return torch.tanh(raw)


def linear_policy(parameters, features):
    """squash(W x + b) for every row x of the features: (867,), (B, 288) -> (B, 3)."""
    weight, bias = parameters[:-3].reshape(3, -1), parameters[-3:]
    return squash(features @ weight.T + bias)


def _bias_first(parameters, features):
    """W comes first in the flat vector, and b last."""
    weight, bias = parameters[3:].reshape(3, -1), parameters[:3]
    return squash(features @ weight.T + bias)


def _transposed_weight(parameters, features):
    """W is stored row by row, a row of 288 weights for each action: reshape to (3, 288), then
    transpose."""
    weight, bias = parameters[:-3].reshape(-1, 3), parameters[-3:]
    return squash(features @ weight + bias)


def _not_squashed(parameters, features):
    """These are the raw outputs W x + b: squash is missing."""
    weight, bias = parameters[:-3].reshape(3, -1), parameters[-3:]
    return features @ weight.T + bias


def _without_bias(parameters, features):
    """The bias is missing: the last three parameters."""
    return squash(features @ parameters[:-3].reshape(3, -1).T)


def _package_policy(parameters: Tensor, features: Tensor) -> Tensor:
    return controller.Controller(parameters)(features)


def evolution_strategy(fitness, mean, sigma, population, generations, rng):
    """Maximize fitness, (N, D) -> (N,), starting at N(mean, sigma^2 I); mean is (D,).

    rng: a NumPy Generator. Returns [(mean, sigma)] after each generation.
    """
    history = []
    for _ in range(generations):
        candidates = mean + sigma * rng.standard_normal((population, len(mean)))
        scores = fitness(candidates)
        success_rate = (scores > fitness(mean[None])).mean()
        elite = candidates[scores.argsort()[::-1][: population // 2]]
        mean = elite.mean(0)
        sigma = sigma * 1.2 if success_rate > 0.2 else sigma / 1.2
        history.append((mean, sigma))
    return history


def _better_half(candidates, scores):
    return candidates[scores.argsort()[::-1][: len(candidates) // 2]]


def _one_fifth_rule(sigma, success_rate):
    return sigma * 1.2 if success_rate > 0.2 else sigma / 1.2


def _variant(arguments, elite=_better_half, step=_one_fifth_rule, success_after=False):
    # The solution with another elite, another step size, or success measured against the new mean.
    fitness, mean, sigma, population, generations, rng = arguments
    history = []
    for _ in range(generations):
        candidates = mean + sigma * rng.standard_normal((population, len(mean)))
        scores = fitness(candidates)
        before, mean = mean, elite(candidates, scores).mean(0)
        reference = mean if success_after else before
        sigma = step(sigma, (scores > fitness(reference[None])).mean())
        history.append((mean, sigma))
    return history


def _minimizes(*arguments):
    """The mean moves towards the worse half: argsort sorts from low to high, and a higher score is
    better."""
    return _variant(arguments, lambda candidates, scores: _better_half(candidates, -scores))


def _best_sample(*arguments):
    """The mean moves to the best candidate alone: average over the better half."""
    return _variant(arguments, lambda candidates, scores: candidates[[scores.argmax()]])


def _average_of_all(*arguments):
    """The mean moves to the average of all candidates: keep only the better half."""
    return _variant(arguments, lambda candidates, scores: candidates)


def _best_quarter(*arguments):
    """The elite has the wrong size: it is the better half, population // 2 candidates."""
    return _variant(
        arguments, lambda x, scores: x[scores.argsort()[::-1][: max(1, len(scores) // 4)]]
    )


def _constant_sigma(*arguments):
    """sigma never changes: apply the one-fifth rule in every generation."""
    return _variant(arguments, step=lambda sigma, success_rate: sigma)


def _reversed_rule(*arguments):
    """The rule is reversed: sigma grows where more than a fifth of the candidates are better than
    the mean, because longer steps would succeed, too."""
    return _variant(arguments, step=lambda sigma, rate: _one_fifth_rule(sigma, 0.4 - rate))


def _compared_with_the_new_mean(*arguments):
    """Success is measured against the mean that the candidates were sampled around: compute the
    success rate before the mean moves."""
    return _variant(arguments, success_after=True)


def _ridge(points: np.ndarray) -> np.ndarray:
    if np.ndim(points) != 2:
        shape = np.shape(points)
        raise ValueError(f"fitness takes candidates of shape (N, D), got shape {shape}")
    return -((points @ np.array([2.0, 1.0, -1.0])) ** 2) - 0.1 * ((points - 1) ** 2).sum(1)


def _climb(function: Callable) -> Measured:
    start, generations = np.array([-1.0, 0.5, -2.0]), 6
    history = function(_ridge, start.copy(), 0.5, 8, generations, np.random.default_rng(4))
    if not isinstance(history, list):
        kind = type(history).__name__
        raise TypeError(f"it returned {kind}, expected a list of (mean, sigma), one per generation")
    measured: Measured = {"the number of generations": len(history)}
    for number in (1, 2, generations):
        if number <= len(history):
            mean, sigma = history[number - 1]
            measured[f"mean after generation {number}"] = np.asarray(mean, float)
            measured[f"sigma after generation {number}"] = float(sigma)
    return measured


def _raw_outputs(function: Callable) -> Measured:
    # Without gradients: nothing in this chapter needs one.
    raw = torch.tensor([[-2.0, -1.0, -0.5], [-0.5, 0.0, 0.0], [0.5, 0.7, 0.4], [2.0, 3.0, 1.5]])
    return _actions(function(raw))


def _one_controller(function: Callable) -> Measured:
    generator = torch.Generator().manual_seed(2)
    parameters = torch.randn(867, generator=generator) / 17  # raw outputs of about 1
    return _actions(function(parameters, torch.randn(5, 288, generator=generator)))


def _actions(result: Tensor) -> Measured:
    if not isinstance(result, Tensor):
        raise TypeError(
            f"it returned {type(result).__name__}, expected a tensor: is there a return?"
        )
    measured: Measured = {"shape": tuple(result.shape)}
    if result.ndim != 2 or result.shape[1] != 3:
        return measured
    names = ("steering", "gas", "brake")
    return measured | {name: result[:, i] for i, name in enumerate(names)}


EXERCISES = (
    Exercise(
        squash,
        _raw_outputs,
        hint="All three outputs get the tanh first. unbind(-1) splits a tensor along its last "
        "dimension, torch.stack(..., dim=-1) joins the parts again, and clamp(0, 1) clips.",
        mistakes=(
            _without_tanh,
            _clipped,
            _sigmoid_for_gas,
            _gas_not_shifted,
            _gas_clipped,
            _brake_not_clipped,
            _brake_shifted,
            _tanh_alone,
        ),
        package=controller.squash,
    ),
    Exercise(
        linear_policy,
        _one_controller,
        hint="Split the vector at entry 864, and reshape the first part to a row per action. Each "
        "x is a row of the features: which factor of the matrix product has to be transposed?",
        mistakes=(_bias_first, _transposed_weight, _not_squashed, _without_bias),
        package=_package_policy,
    ),
    Exercise(
        evolution_strategy,
        _climb,
        hint="The order within a generation: sample, score, success rate (against the mean that "
        "the candidates were sampled around), elite, new mean, new sigma, append both. argsort "
        "sorts from low to high.",
        mistakes=(
            _minimizes,
            _best_sample,
            _average_of_all,
            _best_quarter,
            _constant_sigma,
            _reversed_rule,
            _compared_with_the_new_mean,
        ),
    ),
)
