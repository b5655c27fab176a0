"""Build cells on Take Cover, as readers would write them."""

import math

import pytest
import torch
from readers import assert_right, assert_wrong, written
from torch.nn import functional

from wmlib.models.mdn_rnn import Prediction, mdn_rnn_loss
from wmlib.view.build.survival import death_loss

SURVIVE = """
def survive(dream, agent, controller, state, agent_state, steps, temperature=1.15):
    survived = torch.zeros(state.z.shape[0])
    dead = torch.zeros(state.z.shape[0], dtype=torch.bool)
    for step in range(steps):
        survived[~dead] += 1
        a = controller(agent.features(agent_state))
        h, c = agent.remember(agent_state, a)
        state, forecast = dream.imagine(state, a, temperature)
        agent_state = agent_state._replace(z=state.z, h=h, c=c)
        p = torch.sigmoid(forecast.done_logit).flatten()
        dead |= torch.rand_like(p) < p
    return survived
"""
TOOLS = {"math": math, "F": functional}
RIGHT = {
    "the library's cross-entropy": (
        "def death_loss(log_odds, died, weight=10.0):\n"
        " w = torch.tensor(weight)\n"
        " x = log_odds + torch.log(w)\n"
        " return F.binary_cross_entropy_with_logits(x, died, pos_weight=w)",
        "death_loss",
    ),
    "where": (
        "def death_loss(log_odds, died, weight=10.0):\n"
        " x = log_odds + math.log(weight)\n"
        " loss = torch.where(died > 0, -weight * F.logsigmoid(x), -F.logsigmoid(-x))\n"
        " return loss.mean()",
        "death_loss",
    ),
    "with the dead": (SURVIVE, "survive"),
}
MISTAKES = {
    "the logarithm of a probability": (
        "def death_loss(log_odds, died, weight=10.0):\n"
        " p = torch.sigmoid(log_odds + math.log(weight))\n"
        " return -(weight * died * p.log() + (1 - died) * (1 - p).log()).mean()",
        "infinite or not a number",
    ),
    "pos_weight alone": (
        "def death_loss(log_odds, died, weight=10.0):\n"
        " w = torch.tensor(weight)\n"
        " return F.binary_cross_entropy_with_logits(log_odds, died, pos_weight=w)",
        "is not taken back out",
    ),
    "a weight of 10, always": (
        "def death_loss(log_odds, died, weight=10.0):\n"
        " w = torch.tensor(10.0)\n"
        " return F.binary_cross_entropy_with_logits(log_odds + w.log(), died, pos_weight=w)",
        "the loss with weight=3",
    ),
    "no death": (SURVIVE.replace("dead |= torch.rand_like(p) < p", "pass"), "goes on counting"),
    "dead only once": (SURVIVE.replace("dead |=", "dead ="), "alive again at the next step"),
    "a fixed threshold": (SURVIVE.replace("torch.rand_like(p) < p", "p > 0.5"), "compare the prob"),
    "the last state of the memory": (
        SURVIVE.replace("agent_state._replace(z=state.z, h=h, c=c)", "state"),
        "evolved to read those of the agent's M",
    ),
    "all steps": (SURVIVE.replace("[~dead] += 1", " = survived + 2"), "difference in the steps"),
    "features without c": (
        SURVIVE.replace("agent.features(agent_state)", "agent_state.features"),
        "it raised ValueError: this controller reads 19 features, got 11",
    ),
}


@pytest.mark.parametrize(("source", "name"), RIGHT.values(), ids=list(RIGHT))
def test_other_right_ways(source, name, capsys):
    assert_right(written(source, name, **TOOLS), capsys)


@pytest.mark.parametrize(("source", "said"), MISTAKES.values(), ids=list(MISTAKES))
def test_mistakes_are_named(source, said, capsys):
    name = source.split("(")[0].split()[-1]
    assert_wrong(written(source, name, **TOOLS), said, capsys)


def test_whichever_numbers_are_drawn_the_solution_is_right(capsys):
    for seed in range(5):
        source = SURVIVE.replace("survived = torch", f"torch.manual_seed({seed}); survived = torch")
        assert_right(written(source, "survive"), capsys)


def test_the_solution_is_the_packages_loss():
    """That of M's done head, with the same weight."""
    log_odds, died = torch.randn(2, 7), (torch.rand(2, 7) < 0.3).float()
    ones = torch.ones(2, 7, 1, 1)
    prediction = Prediction(ones, ones, ones, ones[..., 0, 0], log_odds)
    loss = mdn_rnn_loss(
        prediction, ones[..., 0], ones[..., 0, 0], died, torch.ones(2, 7), done_weight=10.0
    )
    torch.testing.assert_close(loss.done, death_loss(log_odds, died))
