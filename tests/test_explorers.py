"""Explorers: controls are set through their ranges, pictures compared with V, M and C."""

import asyncio
import math

import numpy as np
import pytest
import torch

from wmlib.envs.vector import VectorEnvSpec
from wmlib.evaluation import watch
from wmlib.models.controller import Controller
from wmlib.models.mdn_rnn import MDNRNN, sample_next
from wmlib.models.vae import VAE, frames_to_tensor, tensor_to_frames
from wmlib.models.world_model import State, WorldModel
from wmlib.view.explorers import (
    ControllerExplorer,
    DreamExplorer,
    DreamPlayer,
    LatentExplorer,
    MixtureExplorer,
)
from wmlib.view.explorers.latent import LIMIT
from wmlib.view.explorers.pictures import png

COMPONENTS = "principal components"


@pytest.fixture
def frames():
    return np.random.default_rng(0).integers(0, 255, (4, 64, 64, 3), dtype=np.uint8)


@pytest.fixture
def latent(world_model, frames):
    return LatentExplorer(world_model.vae, frames, torch.randn(100, 32), dimensions=5)


def decoded_png(vae, z):
    with torch.no_grad():
        return png(tensor_to_frames(vae.decode(z))[0])


def close(a, b):
    return torch.allclose(a, b, atol=1e-5)


def test_every_slider_moves_its_own_latent_dimension(latent):
    for slider in latent.sliders:
        latent.reset()
        before, d = latent.z[0], int(slider.description[2:-1])
        for value in np.linspace(-LIMIT, LIMIT, 5):
            slider.value = value
            after = latent.z[0]
            assert after[d] == pytest.approx(value, abs=0.006)  # rounded to the slider's step
            after[d] = before[d]
            assert close(after, before)
            assert latent.decoded.value == decoded_png(latent.vae, latent.z)


def test_a_frame_and_a_reset_show_the_encoded_z(latent, frames):
    for basis in latent.bases:
        latent.basis.value = basis
        for i, frame in enumerate(frames):
            latent.moment.value = i
            latent.randomize()
            latent.reset_button.click()
            assert close(latent.z[0], latent.mu[i])
            assert latent.original.value == png(frame)
            assert latent.reconstruction.value == decoded_png(latent.vae, latent.mu[i : i + 1])


def test_changing_the_basis_keeps_z(latent):
    """Also back again; a component's slider then moves z along this component alone."""
    latent.randomize()
    before = latent.z
    for basis in (COMPONENTS, "z", COMPONENTS):
        latent.basis.value = basis
        assert close(latent.z, before)
    start = latent.sliders[1].value
    latent.sliders[1].value = start + 1 if start < 0 else start - 1
    moved = (latent.z - before)[0]
    component = latent.bases[COMPONENTS].rows[1]
    assert abs(torch.cosine_similarity(moved, component, dim=0)) == pytest.approx(1, abs=1e-4)
    assert moved.norm() == pytest.approx(component.norm().item(), rel=1e-3)


def test_a_morph_goes_from_one_frame_to_the_other(latent):
    latent.moment.value, latent.end.value = 0, 2
    for share in (0.0, 0.5, 1.0):
        latent.fraction.value = share
        assert close(latent.z[0], torch.lerp(latent.mu[0], latent.mu[2], share))


def test_frozen_sliders_keep_their_values(latent):
    latent.randomize()
    values = [slider.value for slider in latent.sliders]
    latent.freeze.value = True
    latent.moment.value = 3
    assert [slider.value for slider in latent.sliders] == values
    others = [d for d in range(32) if f"z[{d}]" not in latent.bases["z"].names]
    assert close(latent.z[0, others], latent.mu[3, others])


def test_the_contact_sheet_is_what_dragging_shows(latent):
    sheet = latent.contact_sheet(rows=2, steps=3)
    pictures = [ax.images[0].get_array() for ax in sheet.axes]
    for i, picture in enumerate(pictures):
        latent.reset()
        row, column = divmod(i, 4)
        if column > 0:  # the first column shows the unchanged z
            latent.sliders[row].value = (-LIMIT, 0, LIMIT)[column - 1]
        assert latent.decoded.value == png(np.asarray(picture))
    latent.randomize()
    latent.sliders[0].value = 0
    now, _, unchanged, _ = (ax.images[0].get_array() for ax in latent.contact_sheet(1, 3).axes)
    np.testing.assert_array_equal(now, unchanged)


def test_a_few_frames_suffice_for_principal_components(world_model, frames):
    explorer = LatentExplorer(world_model.vae, frames)
    explorer.basis.value = COMPONENTS
    with torch.no_grad():
        mu, _ = world_model.vae.encode(frames_to_tensor(frames))
    assert close(explorer.z[0], mu[0])


def test_the_dream_player_shows_the_selected_moment_and_temperature():
    rng = np.random.default_rng(0)
    dreams = {t: rng.integers(0, 255, (7, 64, 64, 3), dtype=np.uint8) for t in (0.1, 1.0, 1.5)}
    player = DreamPlayer(dreams)
    for t, frames in dreams.items():
        player.temperature.value = t
        for moment, frame in enumerate(frames):
            player.moment.value = moment
            assert player.picture.value == png(frame)
    player.play.value = 2  # as the playing film does
    assert player.picture.value == png(dreams[1.5][2])
    assert len(player.contact_sheet().axes) == 3 * 9


def test_dreams_to_compare_must_have_equal_lengths():
    frames = np.zeros((7, 64, 64, 3), np.uint8)
    with pytest.raises(ValueError, match="lengths \\[5, 7\\]"):
        DreamPlayer({0.5: frames, 1.0: frames[:5]})


@pytest.fixture
def mixture(world_model):
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 255, (16, 64, 64, 3), dtype=np.uint8)
    actions = rng.uniform(0, 1, (15, 3)).astype(np.float32)
    return MixtureExplorer(world_model, frames, actions, dimensions=3, horizon=6, dreams=2)


def test_the_forecast_is_ms_at_the_selected_moment(mixture, world_model):
    _, h = watch(world_model, mixture.frames, mixture.actions)
    for t in range(mixture.moment.max + 1):
        mixture.moment.value = t
        with torch.no_grad():
            expected = world_model.mdn_rnn.predict(h[None, t : t + 1])
        for name, part in mixture.forecast._asdict().items():
            assert torch.allclose(part, getattr(expected, name)[0, 0], atol=0.05), name  # 16 bits
        assert mixture.real.value == png(mixture.frames[t + mixture.horizon.value], 104)


def test_temperature_widens_the_mixture_and_zero_leaves_the_likeliest_mean(mixture):
    def spread():
        forecast = mixture.forecast
        return forecast.log_sigma.exp().mean().item(), forecast.log_pi.exp().amax(-1).mean().item()

    mixture.temperature.value = 0
    # (With 16 bits, two logits can be equal.)
    assert spread() == (pytest.approx(0, abs=0.01), pytest.approx(1, abs=0.05))
    sharp = mixture.dream(3)
    assert torch.equal(sharp[0], sharp[1])  # no randomness left
    spreads = []
    for tau in (0.25, 1.0, 2.0):
        mixture.temperature.value = tau
        spreads.append(spread())
        assert not torch.allclose(*mixture.dream(3), atol=1e-2)
    sigmas, largest = zip(*spreads, strict=True)
    assert sigmas[1] == pytest.approx(2 * sigmas[0], rel=1e-4)  # sqrt(tau)
    assert list(sigmas) == sorted(sigmas)
    assert list(largest) == sorted(largest, reverse=True)


def test_a_dream_continues_from_the_moment_as_m_does(mixture, world_model):
    mixture.moment.value = 3
    generator = torch.Generator().manual_seed(0)
    state = mixture.states[3].repeat(2)  # two dreams
    for action in mixture.actions[3:7]:
        h, c = world_model.remember(state, action.expand(2, -1))
        with torch.no_grad():
            prediction = world_model.mdn_rnn.predict(h[:, None])
        state = State(sample_next(prediction, 0.7, generator)[:, 0], h, c, state.reward)
    assert torch.allclose(mixture.dream(4, 0.7), state.z, atol=1e-4)


def test_every_control_of_the_mixture_explorer_changes_its_picture(mixture):
    for control, values, picture in [
        (mixture.dimension, [d for _, d in mixture.dimension.options], mixture.density),
        (mixture.temperature, (0, 0.5, 2), mixture.density),
        (mixture.horizon, range(2, 7), mixture.dreamt),
        (mixture.moment, range(1, mixture.moment.max + 1), mixture.real),
    ]:
        for value in values:
            before = picture.value
            if control.value != value:
                control.value = value
                assert picture.value != before
    before = mixture.dreamt.value
    mixture.resample_button.click()
    assert mixture.dreamt.value != before
    assert len(mixture.contact_sheet(columns=4).axes) == 5 * 4


def test_the_mixture_explorer_refuses_an_episode_that_is_too_short(world_model):
    frames, actions = np.zeros((7, 64, 64, 3), np.uint8), np.zeros((6, 3), np.float32)
    for first in (0, 2):
        with pytest.raises(ValueError, match="more than 6 agent steps"):
            MixtureExplorer(world_model, frames, actions, horizon=6 - first, first=first)


def test_m_observes_the_episode_before_the_first_moment(world_model, mixture):
    later = MixtureExplorer(world_model, mixture.frames, mixture.actions.numpy(), 3, 6, 2, first=4)
    assert (later.moment.min, later.moment.max) == (4, mixture.moment.max)
    mixture.moment.value = 4
    assert later.moment.value == 4
    assert later.density.value == mixture.density.value


CAR = VectorEnvSpec("wmlib/CarRacing-v3", num_envs=1, options={"max_episode_steps": 30})


def random_controller(world_model, seed=0):
    weights = 0.3 * np.random.default_rng(seed).standard_normal(867)
    return Controller(weights, feature_size=world_model.feature_size)


@pytest.mark.parametrize("reward_input", [False, True])
def test_contributions_add_up_to_the_action(world_model, reward_input):
    """Contributions are differences from the mean over the episode, as are the raw actions here."""
    world_model = WorldModel(world_model.vae, MDNRNN(reward_input=reward_input))
    explorer = ControllerExplorer(world_model, random_controller(world_model), CAR, 7, steps=12)
    features = explorer.episodes["nothing"].features
    raw = explorer.controllers["nothing"].raw(features)
    for t in range(explorer.step.max + 1):
        explorer.step.value = t
        added = explorer.contributions().sum(1)
        assert torch.allclose(added, raw[t] - raw.mean(0), atol=1e-3)
    explorer.fixed.value = "h"
    assert explorer.contributions()[:, 32:].abs().max() == 0
    explorer.fixed.value = "z"
    assert explorer.contributions()[:, :32].abs().max() == 0


def test_every_ablated_controller_shows_its_own_episode(world_model):
    explorer = ControllerExplorer(world_model, random_controller(world_model), CAR, 7, steps=12)
    for name, episode in explorer.episodes.items():
        explorer.fixed.value = name
        for t in range(explorer.step.max + 1):
            explorer.step.value = t
            assert explorer.shown.value == png(episode.frames[min(t, len(episode.features) - 1)])
            assert explorer.whole.value == png(explorer.episodes["nothing"].frames[t])
            steering = explorer.episodes["nothing"].actions[t, 0]
            assert f"steering {steering:.1f} " in explorer.whole_action.value
    for action in explorer.action.options:
        before = explorer.bars.value
        explorer.action.value = action
        assert (explorer.bars.value != before) == (action != "steering")
    assert len(explorer.contact_sheet(columns=4).axes) == 3 * 4


@pytest.fixture
def dream_drive(world_model):
    world_model.mdn_rnn.done.bias.data.fill_(-math.inf)  # untrained, it would end at once
    explorer = DreamExplorer(world_model, random_controller(world_model), CAR, track=7, context=5)
    yield explorer
    explorer.close()


def test_the_dream_begins_in_the_real_state_and_a_resync_returns_to_it(dream_drive):
    assert dream_drive.difference == 0
    for _ in range(4):
        dream_drive.tick()
    assert dream_drive.difference > 0
    dream_drive.resync_button.click()
    assert dream_drive.difference == 0
    dream_drive.tick()
    before = dream_drive.real.value
    dream_drive.restart_button.click()
    assert dream_drive.real.value != before


def test_the_same_track_and_actions_give_the_same_frames(dream_drive):
    def frames():
        dream_drive.restart()
        shown = []
        for _ in range(4):
            dream_drive.tick()
            shown += [dream_drive.dreamt.value, dream_drive.real.value]
        return shown

    first = frames()
    assert frames() == first
    dream_drive.track.value = 1_000_003
    assert frames()[1] != first[1]
    assert dream_drive.track.value == 1_000_003


def test_a_key_selects_the_user_until_the_agent_is_selected(dream_drive):
    dream_drive.tick()
    assert dream_drive.policy.value == "the agent"
    dream_drive.keypad.held = ["left"]
    assert dream_drive.policy.value == "you"
    steering = []
    for _ in range(4):
        dream_drive.tick()
        steering.append(dream_drive.action[0])
    assert steering == sorted(steering, reverse=True)  # further and further to the left
    assert steering[-1] < -0.5
    dream_drive.keypad.held = ["up", "right"]
    for _ in range(6):
        dream_drive.tick()
    assert dream_drive.action[0] > 0.5
    assert dream_drive.action[1] > 0.8
    dream_drive.keypad.held = []
    assert dream_drive.policy.value == "you"  # releasing the keys changes nothing
    dream_drive.policy.value = "the agent"
    dream_drive.tick()
    assert dream_drive.policy.value == "the agent"


def test_a_dream_drive_runs_until_it_is_stopped_and_reports_an_error(dream_drive):
    async def run():
        dream_drive.running.value = True
        await asyncio.sleep(0.3)
        before = dream_drive.dreamt.value
        await asyncio.sleep(0.3)
        assert dream_drive.dreamt.value != before
        dream_drive.running.value = False
        await asyncio.sleep(0)
        before = dream_drive.dreamt.value
        await asyncio.sleep(0.2)
        assert dream_drive.dreamt.value == before
        assert "agent steps per second" in dream_drive.status.value

        dream_drive.tick = lambda: 1 / 0
        dream_drive.running.value = True
        task = dream_drive._task
        await asyncio.wait([task])
        assert "ZeroDivisionError" in dream_drive.status.value
        with pytest.raises(ZeroDivisionError):
            task.result()

    asyncio.run(run())


def test_the_dreams_m_may_differ_from_the_agents_m(world_model):
    """The context is the same and the dream differs, unless it is passed the agent's own M."""
    torch.manual_seed(1)
    other = WorldModel(world_model.vae, MDNRNN())
    with_rewards = WorldModel(world_model.vae, MDNRNN(reward_input=True))
    for model in (world_model, other, with_rewards):
        model.mdn_rnn.done.bias.data.fill_(-math.inf)  # untrained, it would end at once
    shown = []
    for dream in (None, world_model, other, with_rewards):
        dream_drive = DreamExplorer(
            world_model, random_controller(world_model), CAR, 7, context=5, dream=dream
        )
        context = dream_drive.frames
        for _ in range(3):
            dream_drive.tick()
        shown.append([*context, *dream_drive.frames])
        dream_drive.close()
    np.testing.assert_array_equal(shown[0], shown[1])
    for another in shown[2:]:
        np.testing.assert_array_equal(shown[0][:2], another[:2])
        assert (shown[0][2] != another[2]).any()


def test_a_terminated_dream_stands_still_until_a_resync(world_model):
    world_model.mdn_rnn.done.bias.data.fill_(math.inf)
    dream_drive = DreamExplorer(world_model, random_controller(world_model), CAR, 7, context=5)
    dream_drive.tick()
    assert dream_drive.dream_label.value.endswith("(over)")
    assert not dream_drive.real_label.value.endswith("(over)")
    before = dream_drive.dreamt.value, dream_drive.real.value
    dream_drive.tick()
    assert dream_drive.dreamt.value == before[0]
    assert dream_drive.real.value != before[1]
    dream_drive.resync_button.click()
    assert dream_drive.difference == 0
    assert not dream_drive.dream_label.value.endswith("(over)")
    dream_drive.close()


def test_two_keys_move_the_player_of_take_cover():
    """Its action is one number, its reward is known: one per tic survived, two per agent step."""
    pytest.importorskip("vizdoom", reason="needs ViZDoom: pip install vizdoom")
    torch.manual_seed(0)
    agent = WorldModel(VAE(z_size=4), MDNRNN(4, 1, 8, repeat=2, reads_cell=True))
    agent.mdn_rnn.done.bias.data.fill_(-math.inf)
    controller = Controller(feature_size=agent.feature_size, action_size=1)
    cover = VectorEnvSpec("wmlib/TakeCover-v0", 1)
    explorer = DreamExplorer(agent, controller, cover, context=3, reward=2.0, unit="tics")
    assert explorer.rate == 35 / 2
    assert explorer.keypad.meanings.keys() == {"left", "right"}
    moves = {}
    for key, action in (("left", -1), ("right", 1)):
        explorer.restart()
        explorer.keypad.held = [key]
        for _ in range(10):
            explorer.tick()
        np.testing.assert_array_equal(explorer.action, [action])
        moves[key] = explorer.frames[1]
        assert explorer.dream_label.value == "dream: 20 tics"
        assert explorer.real_label.value == "real: 20 tics"
    assert (moves["left"] != moves["right"]).any()
    explorer.close()


def test_the_contact_sheet_of_a_dream_drive(dream_drive):
    assert len(dream_drive.contact_sheet(steps=4, columns=3).axes) == 2 * 3
