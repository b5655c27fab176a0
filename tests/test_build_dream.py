"""Chapter 6's build cells: what a reader might write, and what the checker prints."""

import numpy as np
import pytest
import torch
from readers import assert_right, assert_wrong, written

from wmlib.envs.dream import Dream
from wmlib.pipeline import fitness
from wmlib.tools import dream_scores
from wmlib.view import build
from wmlib.view.build import dream, dream_env

EXERCISES = build.exercises()

ENVIRONMENT = """
class DreamEnv:
    def __init__(self, dream, agent, starts, agent_starts, temperature=1.0):
        self.dream, self.agent, self.temperature = dream, agent, temperature
        self.starts, self.agent_starts = starts, agent_starts

    def reset(self, index):
        self.state = self.starts.take(index)
        self.agent_state = self.agent_starts.take(index)
        self.done = torch.zeros(len(index)).bool()
        return self.agent_state.features

    def step(self, actions):
        probability_first = torch.rand(len(actions))
        new, forecast = self.dream.imagine(self.state, actions, self.temperature)
        h, c = self.agent.remember(self.agent_state, actions)
        self.state, self.agent_state = new, new._replace(h=h, c=c)
        rewards = torch.where(self.done, 0.0, forecast.reward.squeeze(1))
        self.done |= probability_first < torch.sigmoid(forecast.done_logit.squeeze(1))
        return self.agent_state.features, rewards, self.done
"""


def cell(source, name):
    """The function or class of a cell, with what the chapter has imported."""
    return written(source, name)


def printed(source, name, capsys):
    assert build.check(cell(source, name)) is EXERCISES[name].reference
    return capsys.readouterr().out


def test_another_order_of_random_numbers_is_right(capsys):
    assert_right(cell(ENVIRONMENT, "DreamEnv"), capsys)


@pytest.mark.parametrize(
    ("line", "instead", "said"),
    [
        ("self.agent_starts.take(index)", "self.starts.take(index)", "moments of the dream's M"),
        (
            "new._replace(h=h, c=c)",
            "new._replace(h=self.agent_state.h, c=self.agent_state.c)",
            "still that of the reset",
        ),
        ("new._replace(h=h, c=c)", "new", "After the step, this h is that of the dream's M"),
        ("return self.agent_state.features, rewards", "return before, rewards", "state before the"),
        ("self.agent.remember(self.agent_state", "self.agent.remember(moved", "has read the new z"),
        ("self.state, self.agent_state = new,", "self.agent_state =", "keep the new state"),
        ("forecast.reward.squeeze(1)", "new.reward", "sampled with z, in tiles"),
        ("forecast.reward.squeeze(1)", "3.2 * new.reward", "sampled with z, which is M's next"),
        ("torch.where(self.done, 0.0, ", "(", "multiply by ~self.done"),
        ("self.done |= ", "self.done = ", "keep self.done | ends"),
        ("probability_first < torch", "0.5 < torch", "six dreams in ten end"),
        (
            "torch.sigmoid(forecast.done_logit.squeeze(1))",
            "forecast.done_logit.squeeze(1)",
            "log-odds",
        ),
        ("forecast.reward.squeeze(1)", "forecast.reward", "shape of the rewards of step 1"),
        ("return self.agent_state.features, rewards, self.done", "return rewards", "it raised"),
    ],
)
def test_a_mistake_in_the_environment_is_named(line, instead, said, capsys):
    source = ENVIRONMENT
    if "before" in instead and "return" in instead:
        added = "before = self.agent_state.features\n        new, forecast"
        source = source.replace("new, forecast", added)
    if "moved" in instead:
        added = "        moved = self.agent_state._replace(z=new.z)\n        h, c ="
        source = source.replace("        h, c =", added)
    assert line in source
    source = source.replace(line, instead)
    assert_wrong(cell(source, "DreamEnv"), said, capsys)


@pytest.mark.parametrize(
    ("end", "said"),
    [
        ("self.done = probability_first < forecast.done_logit[:, 0]", "only that of the last step"),
        ("ends = probability_first < forecast.done_logit[:, 0]", "A dream that has ended goes on"),
        ("self.done |= probability_first < forecast.done_logit[:, 0]", "still gives rewards"),
    ],
)
def test_a_missing_sigmoid_is_named_with_a_second_mistake(end, said, capsys):
    line = "self.done |= probability_first < torch.sigmoid(forecast.done_logit.squeeze(1))"
    source = ENVIRONMENT.replace(line, end)
    if end.startswith("ends"):
        source = source.replace("rewards, self.done", "rewards, ends")
    if "|=" in end:
        source = source.replace("torch.where(self.done, 0.0, ", "(")
    text = printed(source, "DreamEnv", capsys)
    assert said in text
    assert "the sigmoid of done_logit" in text


def test_an_empty_memory_is_named(capsys):
    take = "self.agent_starts.take(index)"
    empty = f"{take}._replace(h=torch.zeros(len(index), 8), c=torch.zeros(len(index), 8))"
    assert "h is 0 after reset" in printed(ENVIRONMENT.replace(take, empty), "DreamEnv", capsys)


def test_a_method_that_is_not_written_counts_as_not_written(capsys):
    head, _ = ENVIRONMENT.split("    def step")
    source = head + "    def step(self, actions):\n        ...\n"
    assert "not written yet" in printed(source, "DreamEnv", capsys)


def test_it_is_the_packages_dream_without_chance():
    """At temperature 0, from the same moments, as long as no dream ends."""
    agent, other = dream_env.untrained(1), dream_env.untrained(4, bias=-100.0, reward_input=True)
    starts, agent_starts = dream_env.random_moments(2), dream_env.random_moments(3)
    agent_starts = agent_starts._replace(z=starts.z)
    ours = dream_env.DreamEnv(other, agent, starts, agent_starts, temperature=0.0)
    theirs = Dream(other, starts, 5, temperature=0.0, agent=(agent, agent_starts))
    features = ours.reset(torch.arange(5))
    seen, _ = theirs.reset(seed=list(range(5)))
    np.testing.assert_allclose(features, seen, rtol=1e-5)
    for t in range(4):
        actions = torch.rand(5, 3, generator=torch.Generator().manual_seed(t))
        features, rewards, done = ours.step(actions)
        seen, gained, *_ = theirs.step(actions.numpy())
        np.testing.assert_allclose(features, seen, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(rewards, gained, rtol=1e-4, atol=1e-5)
    assert not done.any()


RETURN = "def extrapolated_return(total_reward, failures, steps, horizon):\n    "


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("return total_reward * horizon / steps", "never fails"),
        (
            "r = (failures + 0.5) / steps\n"
            "    return total_reward / steps * (1 - np.exp(-r * horizon))",
            "division by phi is missing",
        ),
        ("return total_reward / (failures + 0.5)", "without a limit of time"),
        (
            "r = (0.5 + failures) / steps\n"
            "    return total_reward / steps * (1 - np.exp(r * horizon)) / r",
            "opposite sign",
        ),
        (
            "r = (failures + 1e-12) / steps\n"
            "    return total_reward / steps * (1 - np.exp(-r * horizon)) / r",
            "a small number avoids",
        ),
        (
            "r = failures / steps\n"
            "    return total_reward / steps * (1 - np.exp(-r * horizon)) / r",
            "The 0.5 in phi is missing",
        ),
        (
            "v, r = total_reward / steps, 0.5 + failures / steps\n"
            "    return v / r * -np.expm1(-r * horizon)",
            "added to the rate",
        ),
        (
            "r = (failures + 0.5) / steps\n"
            "    return total_reward / steps * horizon * np.exp(-r * horizon)",
            "only episodes without a failure",
        ),
    ],
)
def test_a_mistake_in_the_extrapolated_return_is_named(body, said, capsys):
    assert said in printed(RETURN + body, "extrapolated_return", capsys)


def test_the_extrapolated_return_is_the_packages_below_its_cap():
    rng = np.random.default_rng(0)
    gained, until = rng.uniform(0, 100, (4, 9)), rng.uniform(50, 150, (4, 9))
    failed = rng.random((4, 9)) < 0.4
    ours = dream.extrapolated_return(gained.sum(1), failed.sum(1), until.sum(1), 460)
    np.testing.assert_allclose(ours, fitness.extrapolate(gained, until, failed, 460), rtol=1e-12)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("return max(real) - max(predicted)", "difference of the two maxima"),
        ("k = np.argmax(predicted)\n    return predicted[k] - real[k]", "overestimates the policy"),
        ("return max(predicted) - predicted[np.argmax(real)]", "exchange the two"),
        ("return max(real) - real[np.argmin(predicted)]", "*lowest* prediction"),
    ],
)
def test_a_mistake_in_the_regret_is_named(body, said, capsys):
    assert said in printed(f"def regret(predicted, real):\n    {body}", "regret", capsys)


def test_the_regret_is_that_of_the_logs_module():
    predicted, real = np.random.default_rng(0).normal(size=(2, 9))
    scores = dream_scores.DreamScores(
        [str(k) for k in range(9)], [real[:, None]], {"a dream": [predicted]}, []
    )
    assert dream.regret(predicted, real) == scores.regrets("a dream")[0]
