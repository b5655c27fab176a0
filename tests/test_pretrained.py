"""The pretrained weights have the properties that the chapters state."""

import json

import numpy as np
import pytest

from wmlib.evaluation import linear_probe, watch
from wmlib.models.checkpoints import load_controller, load_world_model
from wmlib.models.controller import Controller
from wmlib.paths import pretrained
from wmlib.pipeline.ball import BALL, TRUTH
from wmlib.pipeline.phases import collect
from wmlib.pipeline.scales import get_config
from wmlib.pipeline.scoring import agent_digest, score_run
from wmlib.rollout.policies import no_action_policy


def test_the_balls_position_is_linear_in_z_and_its_velocity_in_h(tmp_path):
    world_model = load_world_model(pretrained("ball"))
    store = collect(BALL, no_action_policy(), range(700_000, 700_030), tmp_path, record=TRUTH)
    z, h, position, velocity = [], [], [], []
    for name in store.names():
        episode = store.episode(name)
        states, memories = watch(world_model, episode["frames"], episode["actions"])
        z.append(states[5:-1])
        h.append(memories[5:])
        position.append(episode["position"][5:-1])
        velocity.append(episode["velocity"][5:-1])
    groups = np.repeat(np.arange(len(z)), len(z[0]))
    z, h, position, velocity = map(np.concatenate, (z, h, position, velocity))
    assert linear_probe(z, position, groups).r2 >= 0.99
    assert linear_probe(z, velocity, groups).r2 < 0.1
    assert linear_probe(h, velocity, groups).r2 >= 0.9


@pytest.mark.parametrize("agent", ["car_racing", "car_racing_dream"])
def test_the_pretrained_controller_fits_the_pretrained_world_model(agent):
    folder = pretrained(agent)
    world_model = load_world_model(folder)
    controller = load_controller(folder / "controller.safetensors")
    assert isinstance(controller, Controller)
    assert controller.feature_size == world_model.feature_size


@pytest.mark.parametrize("agent", ["car_racing", "car_racing_dream"])
def test_the_card_and_the_score_log_agree(agent):
    folder = pretrained(agent)
    first = json.loads((folder / "score.jsonl").read_text(encoding="utf-8").splitlines()[0])
    assert first["agent"] == agent_digest(folder)  # otherwise chapter 0 would score it again
    card = json.loads((folder / "controller.json").read_text(encoding="utf-8"))
    result = score_run(get_config("laptop"), folder)
    assert card["score"] == json.loads(json.dumps(result.summary()))
    assert len(result.scores) >= 100
    assert min(result.tracks) >= 1_000_000
