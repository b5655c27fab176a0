"""Build cells on Take Cover, as readers would write them."""

import math

import pytest
import torch
from readers import assert_right, assert_wrong, written
from torch.nn import functional

from wmlib.models.mdn_rnn import Prediction, mdn_rnn_loss
from wmlib.view.build.lookahead import first_move
from wmlib.view.build.survival import death_loss, survive

SURVIVE = """
def survive(world_model, controller, state, steps, temperature=1.0):
    survived = torch.zeros(state.z.shape[0])
    dead = torch.zeros(state.z.shape[0], dtype=torch.bool)
    for step in range(steps):
        survived[~dead] += 1
        a = controller(world_model.features(state))
        state, forecast = world_model.imagine(state, a, temperature)
        p = torch.sigmoid(forecast.done_logit).flatten()
        dead |= torch.rand_like(p) < p
    return survived
"""
SAFER = """
def safer_side(world_model, controller, state, hold, steps):
    def lives(side):
        torch.manual_seed(7)
        return survive(world_model, first_move(side, hold, controller), state, steps) >= steps
    left, right = lives(-1.0), lives(1.0)
    return torch.where(left == right, 0.0, torch.where(right, 1.0, -1.0))
"""
TOOLS = {"math": math, "F": functional, "survive": survive, "first_move": first_move}
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
    "three cases": (SAFER, "safer_side"),
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
    "all steps": (SURVIVE.replace("[~dead] += 1", " = survived + 2"), "difference in the steps"),
    "features without c": (
        SURVIVE.replace("world_model.features(state)", "state.features"),
        "it raised ValueError: this controller reads 19 features, got 11",
    ),
    "no common random numbers": (
        SAFER.replace("torch.manual_seed(7)", "pass"),
        "the same seed before each of the two dreams",
    ),
    "left is right": (SAFER.replace("1.0, -1.0))", "-1.0, 1.0))"), "The sides are exchanged"),
    "held to the end": (SAFER.replace("hold, controller)", "steps, controller)"), "to the end"),
    "the steps themselves": (SAFER.replace(" >= steps", ""), "it raised"),
    "the controller called at once": (
        SAFER.replace("hold, controller)", "hold, controller(state.features))"),
        "it raised",
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
