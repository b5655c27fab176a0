"""C by lookahead, in a world whose safe moves are known."""

import logging
from dataclasses import replace

import numpy as np
import pytest
import torch

from wmlib.envs.dream import DreamSpec
from wmlib.models.controller import Controller
from wmlib.pipeline import lookahead
from wmlib.pipeline.checks import check_settings
from wmlib.pipeline.config import LookaheadConfig, Machine
from wmlib.pipeline.lookahead import advantages, fit_controller, look_ahead
from wmlib.pipeline.scales import get_config
from wmlib.pipeline.workers import processes
from wmlib.rollout.policies import EpisodeSpec, HeldThenPolicy
from wmlib.view.build.lookahead import sides, world_with_two_sides

HOLD = 1


@pytest.fixture
def dreams():
    """Where z[0] is 1 a move to the right is deadly, where it is -1 one to the left is."""
    world_model = world_with_two_sides()
    starts = sides(world_model)
    agent = (world_model, starts)
    return DreamSpec(world_model, starts, 16, max_steps=3, log_survival=True, agent=agent)


def standing(dreams):
    return Controller(feature_size=dreams.agent[0].feature_size, action_size=1)


@pytest.mark.parametrize("at_once", [7, 25, 2048])
def test_advantages_say_which_move_is_safer(dreams, monkeypatch, at_once):
    """However many moments go to the workers together."""
    monkeypatch.setattr(lookahead, "AT_ONCE", at_once)
    found = advantages(dreams, standing(dreams), HOLD)
    assert found.tolist() == (-dreams.starts.z[:, 0]).tolist()


def test_after_the_move_c_acts(dreams):
    """One that always moves right dies where that is deadly, whichever move came first."""
    right = Controller([*[0.0] * 8, 9.0], feature_size=8, action_size=1)
    found = advantages(dreams, right, HOLD)
    assert found.tolist() == (dreams.starts.z[:, 0] == -1).float().tolist()


def test_the_agents_m_may_make_the_dreams(dreams):
    found = advantages(replace(dreams, agent=None), standing(dreams), HOLD)
    assert found.tolist() == (-dreams.starts.z[:, 0]).tolist()


def test_c_moves_to_the_safer_side(dreams, tmp_path):
    settings = LookaheadConfig(improvements=1, moments=60, hold=1, horizon=3, spread=2.0)
    found = look_ahead(dreams, standing(dreams), settings, tmp_path / "initial.safetensors")
    features = dreams.agent[0].features(dreams.starts)
    actions, z = found(features)[:, 0], dreams.starts.z[:, 0]
    assert (actions[z == 1] < -1 / 3).all()
    assert (actions[z == -1] > 1 / 3).all()
    assert (actions[z == 0].abs() < 1 / 3).all()
    assert found.raw(features).square().mean().sqrt() == pytest.approx(2.0)


def test_two_processes_find_the_same(dreams):
    with processes(2) as executor:
        found = advantages(dreams, standing(dreams), HOLD, executor)
    assert torch.equal(found, advantages(dreams, standing(dreams), HOLD))


def test_what_was_found_is_kept_for_the_same_question_alone(dreams, tmp_path):
    file = tmp_path / "initial.safetensors"
    settings = LookaheadConfig(improvements=2, moments=60)
    found = look_ahead(dreams, standing(dreams), settings, file)
    before = file.stat().st_mtime_ns
    again = look_ahead(dreams, standing(dreams), settings, file)
    assert np.array_equal(again.parameters, found.parameters)
    assert file.stat().st_mtime_ns == before
    for other in (replace(settings, improvements=1), replace(settings, spread=1.0)):
        with pytest.raises(ValueError, match="initial"):
            look_ahead(dreams, standing(dreams), other, file)
    with pytest.raises(ValueError, match="initial"):
        look_ahead(replace(dreams, temperature=0.5), standing(dreams), settings, file)


def test_where_no_move_matters_c_stays(dreams, tmp_path, caplog):
    dreams.world_model.mdn_rnn.done.bias.data.fill_(-1e6)
    start = Controller(np.arange(9.0), feature_size=8, action_size=1)
    settings = LookaheadConfig(improvements=2, moments=60)
    with caplog.at_level(logging.WARNING):
        found = look_ahead(dreams, start, settings, tmp_path / "initial.safetensors")
    assert np.array_equal(found.parameters, start.parameters)
    assert "60 moments" in caplog.text


def test_the_fit_is_that_of_least_squares():
    features = torch.randn(5000, 3)
    weight = torch.tensor([1.0, -2.0, 0.0])
    found = fit_controller(features, features @ weight + 0.5, spread=3.0)
    raw = found.raw(features)[:, 0]
    assert np.corrcoef(raw, features @ weight)[0, 1] > 0.9999
    assert raw.square().mean().sqrt() == pytest.approx(3.0)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (get_config("smoke"), "lookahead.improvements must be 0 for car_racing"),
        (get_config("smoke", dream=True), "must be 0 for car_racing_dream.*got 1"),
        (get_config("smoke", task="take_cover").change(vae_epochs=(1, 0)), "vae_epochs must be 1"),
    ],
)
def test_what_fits_no_run_is_refused(config, said):
    with pytest.raises(ValueError, match=said):
        check_settings(config.change(lookahead={"improvements": 1}), Machine(0))


def test_an_action_is_held_and_then_c_acts():
    c = Controller(np.array([1.0, 0.0]), feature_size=1, action_size=1)
    policy = HeldThenPolicy((-1.0, 1.0), 2, c)
    policy.begin(0, EpisodeSpec(0, 1))
    policy.begin(2, EpisodeSpec(0, 0))
    features = torch.full((3, 1), 0.3)
    acts = [policy.act(features, 3)[:, 0].tolist() for _ in range(3)]
    c_acts = pytest.approx(np.tanh(0.3))
    assert acts == [[1, c_acts, -1], [1, c_acts, -1], [c_acts, c_acts, c_acts]]
    policy.begin(0, EpisodeSpec(0, 0))
    assert policy.act(features, 3)[:, 0].tolist() == [-1, c_acts, c_acts]
    with pytest.raises(ValueError, match="world model"):
        policy.act(None, 3)
