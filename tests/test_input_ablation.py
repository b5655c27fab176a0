"""The ablation of C's inputs: what C reads in every arm, and the command at smoke scale."""

import numpy as np
import pytest
import torch

from wmlib.files import read_log
from wmlib.models import numerics
from wmlib.models.checkpoints import load_agent
from wmlib.models.controller import Controller
from wmlib.models.vae import frames_to_tensor
from wmlib.paths import pretrained
from wmlib.pipeline.car_racing import training_env_spec
from wmlib.pipeline.scales import get_config
from wmlib.rollout.episodes import EpisodeStore
from wmlib.rollout.policies import EpisodeSpec, random_car_policy
from wmlib.rollout.rollout import rollout
from wmlib.tools import input_ablation
from wmlib.tools.cli import main
from wmlib.tools.input_ablation import (
    ARMS,
    BOTH,
    CHANGE,
    EIGHT,
    HIDDEN,
    MEMORYLESS,
    ONE,
    UNTRAINED_M,
    UNTRAINED_V,
    H,
    Z,
    features_of,
    world_model_of,
)
from wmlib.tools.input_models import HiddenController, hidden_step
from wmlib.tools.road_state import QUANTITIES, replay
from wmlib.training.search_space import Directions

PACE = 4  # environment steps per agent step


class Reading:
    """Acts at random and keeps what it read: (T, n)."""

    def __init__(self):
        self.policy, self.features = random_car_policy(PACE), []

    def begin(self, row, spec):
        """As of `Policy`."""
        self.policy.begin(row, spec)

    def act(self, features, num_envs):
        """As of `Policy`, for one environment."""
        self.features.append(features[0].clone())
        return self.policy.act(None, num_envs)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Two recorded episodes of a few steps."""
    config = get_config("smoke").change(env={"num_envs": 1}, frame_skip=PACE)
    store = EpisodeStore(tmp_path_factory.mktemp("inputs") / "episodes")
    with training_env_spec(config).open() as envs:
        for _, episode in rollout(
            envs, random_car_policy(PACE), [EpisodeSpec(1), EpisodeSpec(2)], None, ()
        ):
            store.write(str(episode.spec.seed), episode.recording)
    return store


@pytest.mark.parametrize("arm", ARMS)
def test_recorded_features_are_what_c_reads(arm, store, monkeypatch):
    monkeypatch.setattr(numerics, "_is_faster_with_bfloat16", lambda device: False)
    config = get_config("smoke").change(env={"num_envs": 1}, frame_skip=PACE)
    world_model, policy = world_model_of(config, arm, 0, store), Reading()
    with training_env_spec(config).open() as envs:
        list(rollout(envs, policy, [EpisodeSpec(1)], world_model))
    recorded = features_of(world_model, store, ["1"])
    read = torch.stack(policy.features)
    assert read.shape == (80 // PACE, world_model.feature_size)
    torch.testing.assert_close(recorded, read, atol=1e-4, rtol=0)
    assert (recorded - recorded[5]).abs().max() > 1e-2


def test_every_arm_is_what_its_name_says(store):
    config = get_config("smoke")
    vae = load_agent(pretrained("car_racing"))[0].vae
    models = {arm: world_model_of(config, arm, 0, store) for arm in ARMS}
    weights = {arm: m.vae.mu.weight.detach().numpy() for arm, m in models.items()}
    own = [a for a in ARMS if not np.array_equal(weights[a], vae.mu.weight.detach().numpy())]
    assert own == [UNTRAINED_V]
    torch.manual_seed(0)
    fresh = type(models[UNTRAINED_M].mdn_rnn)()
    assert torch.equal(fresh.reward.weight, models[UNTRAINED_M].mdn_rnn.reward.weight)
    assert models[CHANGE].feature_size == 64
    assert [models[arm].mdn_rnn.mixtures for arm in (ONE, BOTH, EIGHT)] == [1, 5, 8]
    # What happened before the last step changes nothing without memory, and something with it.
    for arm in (MEMORYLESS, UNTRAINED_M):
        state = models[arm].begin(store.read("1", "frames")[:1])
        action = torch.zeros(1, 3)
        h = [models[arm].remember(state._replace(h=state.h + x), action)[0] for x in (0, 1)]
        assert torch.equal(*h) == (arm == MEMORYLESS)


def test_c_reads_what_the_arms_name_says(store):
    config = get_config("smoke")
    both = world_model_of(config, BOTH, 0, store)
    whole = input_ablation._inputs(BOTH, both, store, ["1"])
    z, h = (input_ablation._inputs(arm, both, store, ["1"]) for arm in (Z, H))
    assert torch.equal(z[:, :32], whole[:, :32])
    assert (z[:, 32:] == 0).all()
    assert torch.equal(h[:, 32:], whole[:, 32:])
    assert (h[:, :32] == 0).all()
    # So a controller along their directions has no weights elsewhere.
    points = np.random.default_rng(0).normal(size=(1, Directions.of(z, 4).num_parameters))
    parameters = Directions.of(z, 4).expand(points)
    weight = Controller(parameters).weight
    assert weight[:, :, 32:].abs().max() == 0
    assert weight[:, :, :32].abs().max() > 0


def test_a_controller_with_a_hidden_layer_reads_the_components(store):
    config = get_config("smoke")
    hidden, both = (world_model_of(config, arm, 0, store) for arm in (HIDDEN, BOTH))
    seen = input_ablation._inputs(BOTH, both, store, ["1"])
    components = (seen.double().numpy() - hidden.directions.mean) @ hidden.directions.matrix.T
    read = input_ablation._inputs(HIDDEN, hidden, store, ["1"])
    np.testing.assert_allclose(read, components, atol=1e-3)
    points = np.random.default_rng(0).normal(size=(3, HiddenController().num_parameters))
    everyone, x = HiddenController(points), torch.randn(3, 24)
    w1, b1, w2, b2 = np.split(points[2], [24 * 16, 25 * 16, 25 * 16 + 48])
    units = np.tanh(w1.reshape(16, 24) @ x[2].numpy() + b1)
    expected = w2.reshape(3, 16) @ units + b2
    np.testing.assert_allclose(everyone.raw(x, np.arange(3))[2], expected, rtol=1e-4)
    again = HiddenController(everyone.parameters, **everyone.config)
    torch.testing.assert_close(again(x), everyone(x))
    with pytest.raises(ValueError, match="451 parameters, got 450"):
        HiddenController(np.zeros(450))


def test_the_step_size_of_a_hidden_layer_varies_the_outputs_as_wanted():
    x = torch.randn(500, 24) / 24**0.5
    points = np.random.default_rng(1).normal(size=(400, 451)) * hidden_step(x, 0.85)
    raw = HiddenController(points).raw(x[:400], np.arange(400))
    assert raw.square().mean().sqrt() == pytest.approx(0.85, rel=0.15)


def test_an_untrained_v_has_a_z_that_varies_more_than_its_noise(store):
    vae = world_model_of(get_config("smoke"), UNTRAINED_V, 0, store).vae
    frames = np.concatenate([store.read(name, "frames") for name in store.names()])
    with torch.no_grad():
        mu, logvar = vae.encode(frames_to_tensor(frames))
    assert 0.3 < mu.std(0).median() < 3
    assert logvar.exp().sqrt().flatten().tolist() == pytest.approx([0.1] * logvar.numel())


def test_a_probe_finds_what_its_features_contain_and_at_the_right_step(store, monkeypatch):
    """Linear mixtures of the true state itself. (In so few steps, the road does not turn.)"""
    world_model, mix = load_agent(pretrained("car_racing"))[0], torch.randn(4, 6)

    def known(late):
        def inputs(arm, world_model, store, names):
            actions = store.read(names[0], "actions")
            truth = replay(int(names[0]), actions, world_model.mdn_rnn.repeat)[:-1]
            return torch.from_numpy(np.roll(truth, late, axis=0)).float() @ mix

        return inputs

    found = []
    for late in (0, 7):
        monkeypatch.setattr(input_ablation, "_inputs", known(late))
        found.append(input_ablation.probe(BOTH, world_model, store, zoom=0))
    assert list(found[0]) == list(QUANTITIES)
    for quantity in ("angle", "speed"):
        assert found[0][quantity] > 0.98 > found[1][quantity]


def test_the_command_makes_a_row_per_search_and_goes_on(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("WM_RUNS", str(tmp_path / "runs"))
    monkeypatch.setattr(input_ablation, "SEEDS", range(1))
    out = tmp_path / "inputs.jsonl"
    command = ["ablate", "inputs", "--scale", "smoke", "--workers", "0", "--out", str(out)]
    assert main(command) == 0
    rows, text = read_log(out), out.read_text(encoding="utf-8")
    assert [row["arm"] for row in rows] == list(ARMS)
    for row in rows:
        assert np.isfinite([*np.ravel(row["curve"]), row["score"], row["std"]]).all()
        steps = [steps for steps, _ in row["curve"]]
        assert len(steps) == 3
        assert steps == sorted(steps)
        assert steps[0] > 0
        assert list(row["probes"]) == list(QUANTITIES)
        assert row["record"]["settings"]["separable"]
    # Interrupted in the middle of the last search, and gone on with; the rows before are from
    # another machine, whose episodes are not equal to ours.
    assert list(ARMS)[-1] == HIDDEN
    [episodes] = {row["episodes"] for row in rows}
    elsewhere = text.replace(episodes, "0" * len(episodes))
    out.write_text("".join(elsewhere.splitlines(keepends=True)[:-1]), encoding="utf-8")
    [log] = (tmp_path / "runs").rglob("z_and_h_C_with_a_hidden_layer-0/evolution.jsonl")
    whole = log.read_text(encoding="utf-8").splitlines(keepends=True)
    log.write_text(whole[0], encoding="utf-8")
    assert main(command) == 0
    assert len(read_log(log)) == len(whole) > 1
    same = {"record": 0, "episodes": 0}
    assert [r | same for r in read_log(out)] == [r | same for r in rows]
    assert [r["episodes"] == episodes for r in read_log(out)] == [False] * (len(rows) - 1) + [True]
    assert "written" in capsys.readouterr().out


def test_at_paper_scale_it_is_refused_at_once(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("WM_RUNS", str(tmp_path))
    assert main(["ablate", "inputs", "--scale", "paper"]) == 1
    assert "needs principal components" in capsys.readouterr().err
