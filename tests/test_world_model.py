import json
import math
import pickle
import threading

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from wmlib.files import exclusive_lock
from wmlib.models import numerics
from wmlib.models.checkpoints import (
    fill,
    load_controller,
    load_network,
    load_world_model,
    save_controller,
    save_network,
    save_world_model,
)
from wmlib.models.controller import Controller
from wmlib.models.mdn_rnn import MDNRNN, TILE, mixture_mean
from wmlib.models.vae import VAE
from wmlib.models.world_model import WorldModel
from wmlib.paths import pretrained


def frames(count: int, size: int = 64) -> np.ndarray:
    return np.random.default_rng(count).integers(0, 256, (count, size, size, 3), dtype=np.uint8)


def test_observe_and_imagine_update_h_alike(world_model):
    state = world_model.begin(frames(4))
    assert state.features.shape == (4, 288)
    assert not state.h.any()
    actions = torch.rand(4, 3)
    observed = world_model.observe(state, actions, frames(4))
    dreamt, prediction = world_model.imagine(state, actions)
    torch.testing.assert_close(observed.h, dreamt.h)
    torch.testing.assert_close(observed.z, world_model.encode(frames(4)))
    assert prediction.reward.shape == (4, 1)


@pytest.mark.parametrize("missing", [[1], [0, 2, 5], [0, 1, 2, 3, 4], range(6)])
def test_where_a_frame_is_missing_z_is_the_mean_of_ms_forecast(world_model, missing):
    """And in every other row it is V's, whichever rows those are."""
    state, actions = world_model.begin(frames(6)), torch.rand(6, 3)
    after = np.random.default_rng(1).integers(0, 256, (6, 64, 64, 3), dtype=np.uint8)
    whole = world_model.observe(state, actions, after)
    _, prediction = world_model.imagine(state, actions)
    gone = np.isin(np.arange(6), missing)
    after[gone] = 0
    some = world_model.observe(state, actions, after)
    expected = torch.where(torch.from_numpy(gone)[:, None], mixture_mean(prediction)[:, 0], whole.z)
    # (The forecast is computed with 32-bit floats here, in imagine with 16-bit ones if faster.)
    torch.testing.assert_close(some.z, expected, atol=2e-3, rtol=0)
    assert (some.z - whole.z)[torch.from_numpy(gone)].abs().max() > 0.02
    assert torch.equal(some.z[~torch.from_numpy(gone)], whole.z[~torch.from_numpy(gone)])
    assert torch.equal(some.h, whole.h)


def test_an_m_with_reward_input_reads_and_draws_the_reward(world_model):
    """z and the features stay of V's size; the reward is a part of the state."""
    model = WorldModel(world_model.vae, MDNRNN(reward_input=True))
    state = model.begin(frames(2))
    assert state.features.shape == (2, model.feature_size) == (2, 288)
    assert state.reward.tolist() == [0, 0]
    actions, rewards = torch.rand(2, 3), torch.tensor([TILE, -TILE])
    observed = model.observe(state, actions, frames(2), rewards)
    assert observed.reward.tolist() == [1, -1]
    torch.testing.assert_close(observed.z, model.encode(frames(2)))
    other = observed._replace(reward=torch.zeros(2))
    assert (model.remember(observed, actions)[0] != model.remember(other, actions)[0]).any()
    dreamt, _ = model.imagine(observed, actions)
    assert dreamt.z.shape == (2, 32)
    assert dreamt.reward.shape == (2,)
    assert dreamt.reward.all()
    with pytest.raises(ValueError, match="give it the rewards of the step"):
        model.observe(state, actions, frames(2))


def test_without_reward_input_rewards_make_no_difference(world_model):
    state, actions = world_model.begin(frames(2)), torch.rand(2, 3)
    observed = world_model.observe(state, actions, frames(2), torch.tensor([TILE, -TILE]))
    other = observed._replace(reward=torch.zeros(2))
    assert torch.equal(*(world_model.remember(s, actions)[0] for s in (observed, other)))
    assert world_model.imagine(observed, actions)[0].reward.tolist() == [0, 0]


def test_the_code_path_for_few_rows_gives_the_same_step(world_model, monkeypatch):
    """With 32-bit floats in both: the usual path has 16-bit ones where the processor has them."""
    monkeypatch.setattr(numerics, "_is_faster_with_bfloat16", lambda device: False)
    state, actions = world_model.begin(frames(2)), torch.rand(2, 3)
    state = world_model.observe(state, actions, frames(2))
    default, _ = world_model.imagine(state, actions, temperature=0)
    few_rows, _ = world_model.imagine(state, actions, temperature=0, few_rows=True)
    for a, b in zip(default, few_rows, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("name", "instructions", "wanted"),
    [
        ("Intel Xeon", {"amx_bf16": True, "avx512_bf16": True}, True),
        ("Intel Xeon", {"avx512_bf16": True}, False),
        ("AMD EPYC", {"avx512_bf16": True}, True),
        ("AMD EPYC", {"avx2": True}, False),
    ],
)
def test_16_bit_floats_are_for_processors_that_are_faster_with_them(
    monkeypatch, name, instructions, wanted
):
    known = {"cpu_name": name, **instructions}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: known, raising=False)
    assert numerics._is_faster_with_bfloat16.__wrapped__("cpu") is wanted


def test_a_dream_at_temperature_zero_is_deterministic(world_model):
    state = world_model.begin(frames(2))
    first, _ = world_model.imagine(state, torch.zeros(2, 3), temperature=0)
    second, _ = world_model.imagine(state, torch.zeros(2, 3), temperature=0)
    torch.testing.assert_close(first.z, second.z, atol=0, rtol=0)


@pytest.mark.parametrize("half", [False, True])
def test_weights_survive_the_round_trip(world_model, tmp_path, half):
    save_world_model(world_model, tmp_path, {"score": 1}, half=half)
    back = load_world_model(tmp_path)
    for name in ("vae", "mdn_rnn"):
        before, after = getattr(world_model, name), getattr(back, name)
        for a, b in zip(before.parameters(), after.parameters(), strict=True):
            assert b.dtype == torch.float32
            assert torch.equal(b, a.half().float() if half else a)
        card = json.loads((tmp_path / f"{name}.json").read_text(encoding="utf-8"))
        assert card["config"] == {"class": type(before).__name__, **before.config}


def test_a_world_model_can_be_pickled(world_model):
    loaded = pickle.loads(pickle.dumps(world_model))
    torch.testing.assert_close(loaded.encode(frames(2)), world_model.encode(frames(2)))


def test_controllers_are_saved_exactly(tmp_path):
    controller = Controller(np.random.default_rng(0).normal(size=867))
    save_controller(controller, tmp_path / "c.safetensors")
    back = load_controller(tmp_path / "c.safetensors")
    np.testing.assert_array_equal(back.parameters, controller.parameters)


def test_bad_files_are_named(tmp_path):
    path = tmp_path / "vae.safetensors"
    with pytest.raises(FileNotFoundError, match="python -m wmlib run"):
        load_network(VAE, path)
    save_network(VAE(), path, card={})
    with pytest.raises(ValueError, match="holds a VAE, not a MDNRNN"):
        load_network(MDNRNN, path)
    save_network(VAE(z_size=8), path)
    with pytest.raises(ValueError, match="sha256 differs"):
        load_network(VAE, path)
    (tmp_path / "vae.json").unlink()
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ValueError, match="not a readable safetensors file"):
        load_network(VAE, path)


def rewritten(path, change_tensors=lambda tensors: None, change_config=lambda config: None):
    """The same safetensors file with something changed in it."""
    with safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}
        config = json.loads(file.metadata()["config"])
    change_tensors(tensors)
    change_config(config)
    save_file(tensors, path, metadata={"config": json.dumps(config)})


DAMAGES = {
    "no class": ({"change_config": lambda c: c.pop("class")}, "no class in its config, not a"),
    "another class": (
        {"change_config": lambda c: c.update({"class": "GAN"})},
        "holds a GAN, not a",
    ),
    "unknown setting": (
        {"change_config": lambda c: c.update(depth=3)},
        "config has depth, which this one does not know",
    ),
    "impossible setting": (
        {"change_config": lambda c: c.update({next(k for k in c if k != "class"): "lots"})},
        "has a config that .* cannot use",
    ),
    "unknown tensor": (
        {"change_tensors": lambda t: t.update(extra=torch.zeros(1))},
        "extra",
    ),
    "NaN": (
        {"change_tensors": lambda t: next(iter(t.values())).view(-1)[0].fill_(math.nan)},
        "is not finite",
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("kind", ["V", "M", "C"])
def test_weights_that_do_not_fit_are_refused_in_one_sentence(tmp_path, kind, damage):
    path = tmp_path / "weights.safetensors"
    if kind == "C":
        save_controller(Controller(np.ones(867)), path)
    else:
        save_network(VAE() if kind == "V" else MDNRNN(), path)
    changes, message = DAMAGES[damage]
    rewritten(path, **changes)
    with pytest.raises(ValueError, match=message) as error:
        load_controller(path) if kind == "C" else load_network(VAE if kind == "V" else MDNRNN, path)
    assert str(path) in str(error.value)


@pytest.mark.parametrize("card", ["{}", "not a card", "[1]"])
def test_a_card_without_a_sha256_is_named(tmp_path, card):
    save_network(MDNRNN(), tmp_path / "m.safetensors")
    (tmp_path / "m.json").write_text(card, encoding="utf-8")
    with pytest.raises(ValueError, match=r"m\.json is no card of weights"):
        load_network(MDNRNN, tmp_path / "m.safetensors")


def test_weights_that_are_not_finite_are_not_written(tmp_path):
    network = MDNRNN()
    save_network(network, tmp_path / "m.safetensors")
    before = (tmp_path / "m.safetensors").read_bytes()
    torch.nn.init.constant_(network.done.bias, math.inf)
    with pytest.raises(ValueError, match=r"was not written: done\.bias is not finite"):
        save_network(network, tmp_path / "m.safetensors")
    assert (tmp_path / "m.safetensors").read_bytes() == before


def test_another_size_is_named():
    with pytest.raises(ValueError, match=r"another size of VAE: mu.weight should be \(32, 1024\)"):
        fill(VAE(), VAE(z_size=8).state_dict(), "that file")
    with pytest.raises(ValueError, match="z of size 8, but M reads z of size 32"):
        WorldModel(VAE(z_size=8), MDNRNN())
    with pytest.raises(ValueError, match="z of size 32, but M reads z of size 33"):
        WorldModel(VAE(), MDNRNN(33))


def test_unknown_world_is_named():
    with pytest.raises(ValueError, match="not for 'chess'"):
        pretrained("chess")


def test_missing_pretrained_weights_are_reported_with_the_searched_folders(monkeypatch, tmp_path):
    places = (tmp_path / "checkout", tmp_path / "installed")
    monkeypatch.setattr("wmlib.paths.PLACES", places)
    monkeypatch.setattr("wmlib.paths.PRETRAINED", places[0])
    with pytest.raises(FileNotFoundError, match="Install wmlib again") as error:
        pretrained("ball")
    assert all(str(place) in str(error.value) for place in places)


def test_an_exclusive_lock_is_reentrant_and_excludes_other_threads(tmp_path):
    """Also with the oldest filelock that pyproject.toml allows."""
    messages = []

    def another():
        try:
            with exclusive_lock(tmp_path):
                messages.append("locked")
        except ValueError as error:
            messages.append(str(error))

    with exclusive_lock(tmp_path), exclusive_lock(tmp_path):
        thread = threading.Thread(target=another)
        thread.start()
        thread.join()
    another()
    assert "another process is at work" in messages[0]
    assert messages[1] == "locked"
