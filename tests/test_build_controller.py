"""Chapter 4's build cells, filled in as readers would."""

import numpy as np
import pytest
from readers import assert_right, assert_wrong, written

from wmlib.view import build


def cell(name, source):
    """The function of a cell; `squash` is there, as in the chapter."""
    return written(source, name, squash=build.exercises()["squash"].reference)


SQUASH = [
    (
        """
        def squash(raw):
            return torch.stack([raw[:, 0], (raw[:, 1] + 1) / 2, raw[:, 2].clip(0, 1)], 1)
        """,
        "The tanh is missing",
    ),
    (
        """
        def squash(raw):
            steering = torch.tanh(raw[:, 0])
            gas = torch.sigmoid(raw[:, 1])
            brake = torch.clip(torch.tanh(raw[:, 2]), 0, 1)
            return torch.stack([steering, gas, brake], dim=1)
        """,
        "equals sigmoid(2 * raw), not sigmoid(raw)",
    ),
    (
        """
        def squash(raw):
            steering, gas, brake = torch.tanh(raw).T
            return torch.stack([steering, gas, torch.relu(brake)], dim=1)
        """,
        "Gas still goes from -1 to 1",
    ),
    (
        """
        def squash(raw):
            a = torch.tanh(raw)
            return torch.cat([a[:, :1], a[:, 1:].clamp(min=0)], dim=1)
        """,
        "Gas is shifted and scaled, not clipped",
    ),
    (
        """
        def squash(raw):
            a = raw.tanh()
            return torch.stack([a[:, 0], a[:, 1] / 2 + 0.5, a[:, 2]], dim=-1)
        """,
        "clip it to 0..1",
    ),
    (
        """
        def squash(raw):
            a = torch.tanh(raw)
            a[:, 1:] = (a[:, 1:] + 1) / 2
            return a
        """,
        "would be half a brake",
    ),
    (
        """
        def squash(raw):
            a = torch.tanh(raw)
            return torch.stack([a[:, 0], (a[:, 1] + 1) / 2, a[:, 2].clamp(0, 1)])
        """,
        "shape is (3, 4), expected (4, 3)",
    ),
]

LINEAR_POLICY = [
    (
        """
        def linear_policy(parameters, features):
            b = parameters[:3]
            W = parameters[3:].view(3, 288)
            return squash(features @ W.T + b)
        """,
        "W comes first in the flat vector",
    ),
    (
        """
        def linear_policy(parameters, features):
            W = parameters[:864].reshape(288, 3)
            return squash(features @ W + parameters[864:])
        """,
        "W is stored row by row",
    ),
    (
        """
        def linear_policy(parameters, features):
            return features @ parameters[:864].reshape(3, 288).T + parameters[864:]
        """,
        "squash is missing",
    ),
    (
        """
        def linear_policy(parameters, features):
            W, b = parameters[:864].reshape(3, 288), parameters[864:]
            return squash(W @ features + b)
        """,
        "it raised RuntimeError",
    ),
]

STRATEGY = """
        def evolution_strategy(fitness, mean, sigma, population, generations, rng):
            history = []
            for generation in range(generations):
                noise = rng.standard_normal((population, len(mean)))
                x = mean + sigma * noise
                f = fitness(x)
                better = np.mean(f > fitness(mean[None]))
                best = x[np.argsort(f)[-(population // 2):]]
                mean = np.mean(best, axis=0)
                if better > 1 / 5:
                    sigma = 1.2 * sigma
                else:
                    sigma = sigma / 1.2
                history.append((mean, sigma))
            return history
        """


def changed(before, after):
    assert before in STRATEGY
    return STRATEGY.replace(before, after)


EVOLUTION_STRATEGY = [
    (changed("[-(population // 2):]", "[: population // 2]"), "a higher score is better"),
    (changed("x[np.argsort(f)[-(population // 2):]]", "x[[np.argmax(f)]]"), "best candidate alone"),
    (changed("population // 2", "population // 4"), "the elite has the wrong size".capitalize()),
    (changed("x[np.argsort(f)[-(population // 2):]]", "x"), "the average of all candidates"),
    (changed("sigma = 1.2 * sigma", "pass").replace("sigma / 1.2", "sigma"), "sigma never changes"),
    (changed("better > 1 / 5", "better < 1 / 5"), "The rule is reversed"),
    (changed("fitness(mean[None])", "fitness(mean)"), "fitness takes candidates of shape (N, D)"),
    (changed("return history", "return mean"), "expected a list of (mean, sigma)"),
    (
        changed("                better = np.mean(f > fitness(mean[None]))\n", "").replace(
            "if better", "better = np.mean(f > fitness(mean[None]))\n                if better"
        ),
        "before the mean moves",
    ),
]

MISTAKES = [
    (name, source, said)
    for name, cases in (
        ("squash", SQUASH),
        ("linear_policy", LINEAR_POLICY),
        ("evolution_strategy", EVOLUTION_STRATEGY),
    )
    for source, said in cases
]


@pytest.mark.parametrize(("name", "source", "said"), MISTAKES)
def test_a_readers_mistake_is_named(name, source, said, capsys):
    assert_wrong(cell(name, source), said, capsys)


@pytest.mark.parametrize(
    ("name", "source"),
    [
        (
            "squash",
            """
            def squash(raw):
                actions = torch.tanh(raw)
                actions[:, 1] = (actions[:, 1] + 1) / 2
                actions[:, 2] = torch.relu(actions[:, 2])
                return actions
            """,
        ),
        (
            "linear_policy",
            """
            def linear_policy(parameters, features):
                W, b = parameters[:864].view(3, 288), parameters[864:]
                return squash(torch.stack([W @ x + b for x in features]))
            """,
        ),
        ("evolution_strategy", STRATEGY),
        (
            "evolution_strategy",
            changed(
                "noise = rng.standard_normal((population, len(mean)))",
                "noise = np.array([rng.standard_normal(len(mean)) for _ in range(population)])",
            ),
        ),
    ],
)
def test_other_ways_to_write_it_are_right(name, source, capsys):
    assert_right(cell(name, source), capsys)


def test_the_strategy_climbs():
    strategy = build.exercises()["evolution_strategy"].reference
    target = np.arange(5.0)
    history = strategy(
        lambda x: -((x - target) ** 2).sum(1), np.zeros(5), 0.5, 20, 60, np.random.default_rng(0)
    )
    mean, sigma = history[-1]
    assert np.abs(mean - target).max() < 0.05
    assert sigma < 0.1
