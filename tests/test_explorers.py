"""What a hand would do, done by code: every control set through its range, the picture watched."""

import asyncio
import math

import numpy as np
import pytest
import torch

from wmlib.envs.vector import World
from wmlib.evaluation import watch
from wmlib.models.controller import Controller
from wmlib.models.mdn_rnn import MDNRNN, sample_next
from wmlib.models.vae import frames_to_tensor, tensor_to_frames
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


def shown(vae, z):
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
            assert after[d] == pytest.approx(value, abs=0.006)  # to half a slider's step
            after[d] = before[d]
            assert close(after, before)
            assert latent.decoded.value == shown(latent.vae, latent.z)


def test_every_frame_and_reset_show_what_was_encoded(latent, frames):
    for basis in latent.bases:
        latent.basis.value = basis
        for i, frame in enumerate(frames):
            latent.moment.value = i
            latent.randomize()
            latent.reset_button.click()
            assert close(latent.z[0], latent.mu[i])
            assert latent.original.value == png(frame)
            assert latent.reconstruction.value == shown(latent.vae, latent.mu[i : i + 1])


def test_the_same_place_by_other_sliders(latent):
    """From z to components and back: z stays, and a component then moves along itself alone."""
    latent.randomize()
    there = latent.z
    for basis in (COMPONENTS, "z", COMPONENTS):
        latent.basis.value = basis
        assert close(latent.z, there)
    start = latent.sliders[1].value
    latent.sliders[1].value = start + 1 if start < 0 else start - 1
    moved = (latent.z - there)[0]
    component = latent.bases[COMPONENTS].rows[1]
    assert abs(torch.cosine_similarity(moved, component, dim=0)) == pytest.approx(1, abs=1e-4)
    assert moved.norm() == pytest.approx(component.norm().item(), rel=1e-3)


def test_a_morph_goes_from_one_frame_to_the_other(latent):
    latent.moment.value, latent.end.value = 0, 2
    for share in (0.0, 0.5, 1.0):
        latent.fraction.value = share
        assert close(latent.z[0], torch.lerp(latent.mu[0], latent.mu[2], share))


def test_frozen_sliders_stay_where_they_are(latent):
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
        if column > 0:  # the first shows the picture as it is
            latent.sliders[row].value = (-LIMIT, 0, LIMIT)[column - 1]
        assert latent.decoded.value == png(np.asarray(picture))


def test_few_frames_make_their_own_components(world_model, frames):
    explorer = LatentExplorer(world_model.vae, frames)
    explorer.basis.value = COMPONENTS
    assert torch.isfinite(explorer.z).all()
    with torch.no_grad():
        mu, _ = world_model.vae.encode(frames_to_tensor(frames))
    assert close(explorer.z[0], mu[0])


def test_the_dream_player_shows_the_moment_and_the_temperature_that_are_set():
    rng = np.random.default_rng(0)
    dreams = {t: rng.integers(0, 255, (7, 64, 64, 3), dtype=np.uint8) for t in (0.1, 1.0, 1.5)}
    player = DreamPlayer(dreams)
    for t, frames in dreams.items():
        player.temperature.value = t
        for moment, frame in enumerate(frames):
            player.moment.value = moment
            assert player.picture.value == png(frame)
    player.play.value = 2  # as the running film does
    assert player.picture.value == png(dreams[1.5][2])
    assert len(player.contact_sheet().axes) == 3 * 9


def test_dreams_to_compare_are_equally_long():
    frames = np.zeros((7, 64, 64, 3), np.uint8)
    with pytest.raises(ValueError, match="lengths \\[5, 7\\]"):
        DreamPlayer({0.5: frames, 1.0: frames[:5]})


@pytest.fixture
def mixture(world_model):
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 255, (16, 64, 64, 3), dtype=np.uint8)
    actions = rng.uniform(0, 1, (15, 3)).astype(np.float32)
    return MixtureExplorer(world_model, frames, actions, dimensions=3, horizon=6, dreams=2)


def test_the_forecast_is_ms_for_the_moment_that_is_set(mixture, world_model):
    _, h = watch(world_model, mixture.frames, mixture.actions)
    for t in range(mixture.moment.max + 1):
        mixture.moment.value = t
        with torch.no_grad():
            expected = world_model.mdn_rnn.predict(h[None, t : t + 1])
        for name, part in mixture.forecast._asdict().items():
            assert torch.allclose(part, getattr(expected, name)[0, 0], atol=0.05), name  # 16 bits
        assert mixture.real.value == png(mixture.frames[t + mixture.horizon.value], 104)


def test_temperature_widens_and_zero_is_the_likeliest_mean_alone(mixture):
    def spread():
        forecast = mixture.forecast
        return forecast.log_sigma.exp().mean().item(), forecast.log_pi.exp().amax(-1).mean().item()

    mixture.temperature.value = 0
    # (With 16 bits, two logits can be equal.)
    assert spread() == (pytest.approx(0, abs=0.01), pytest.approx(1, abs=0.05))
    sharp = mixture.dream(3)
    assert torch.equal(sharp[0], sharp[1])  # no randomness left
    seen = []
    for tau in (0.25, 1.0, 2.0):
        mixture.temperature.value = tau
        seen.append(spread())
        assert not torch.allclose(*mixture.dream(3), atol=1e-2)
    sigmas, largest = zip(*seen, strict=True)
    assert sigmas[1] == pytest.approx(2 * sigmas[0], rel=1e-4)  # sqrt(tau)
    assert list(sigmas) == sorted(sigmas)
    assert list(largest) == sorted(largest, reverse=True)


def test_a_dream_goes_on_from_the_moment_as_ms_own_parts_do(mixture, world_model):
    mixture.moment.value = 3
    generator = torch.Generator().manual_seed(0)
    state = mixture.states[3].repeat(2)  # two dreams
    for action in mixture.actions[3:7]:
        h, c = world_model.remember(state, action.expand(2, -1))
        with torch.no_grad():
            prediction = world_model.mdn_rnn.predict(h[:, None])
        state = State(sample_next(prediction, 0.7, generator)[:, 0], h, c, state.reward)
    assert torch.allclose(mixture.dream(4, 0.7), state.z, atol=1e-4)


def test_every_control_of_the_mixtures_changes_the_picture_it_names(mixture):
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


def test_the_mixtures_want_a_drive_that_is_long_enough(world_model):
    frames, actions = np.zeros((7, 64, 64, 3), np.uint8), np.zeros((6, 3), np.float32)
    for first in (0, 2):
        with pytest.raises(ValueError, match="more than 6 agent steps"):
            MixtureExplorer(world_model, frames, actions, horizon=6 - first, first=first)


def test_before_the_first_moment_m_has_watched(world_model, mixture):
    later = MixtureExplorer(world_model, mixture.frames, mixture.actions.numpy(), 3, 6, 2, first=4)
    assert (later.moment.min, later.moment.max) == (4, mixture.moment.max)
    mixture.moment.value = 4
    assert later.moment.value == 4
    assert later.density.value == mixture.density.value


ROAD = World("wmlib/CarRacing-v3", num_envs=1, options={"max_episode_steps": 30})


def driver_of(world_model, seed=0):
    weights = 0.3 * np.random.default_rng(seed).standard_normal(867)
    return Controller(weights, feature_size=world_model.feature_size)


def test_contributions_add_up_to_the_action(world_model):
    """Contributions are differences from the average: their sums differ as the raw actions do."""
    explorer = ControllerExplorer(world_model, driver_of(world_model), ROAD, 7, steps=12)
    whole = explorer.episodes["nothing"].features
    raw = explorer.controllers["nothing"].raw(whole)
    for t in range(explorer.step.max + 1):
        explorer.step.value = t
        added = explorer.contributions().sum(1)
        assert torch.allclose(added, raw[t] - raw.mean(0), atol=1e-3)
    explorer.cut.value = "h"
    assert explorer.contributions()[:, 32:].abs().max() == 0
    explorer.cut.value = "z"
    assert explorer.contributions()[:, :32].abs().max() == 0


def test_every_control_of_the_cut_controller_shows_its_own_episode(world_model):
    explorer = ControllerExplorer(world_model, driver_of(world_model), ROAD, 7, steps=12)
    for name, episode in explorer.episodes.items():
        explorer.cut.value = name
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
def ride(world_model):
    world_model.mdn_rnn.done.bias.data.fill_(-math.inf)  # untrained, it would end at once
    drive = DreamExplorer(world_model, driver_of(world_model), ROAD, track=7, context=5)
    yield drive
    drive.close()


def test_dream_and_reality_begin_together_and_a_resync_joins_them(ride):
    assert ride.difference == 0
    for _ in range(4):
        ride.tick()
    assert ride.difference > 0
    ride.resync_button.click()
    assert ride.difference == 0
    ride.tick()
    before = ride.real.value
    ride.restart_button.click()
    assert ride.real.value != before


def test_the_same_track_and_hands_give_the_same_ride(ride):
    def pictures():
        ride.restart()
        shown = []
        for _ in range(4):
            ride.tick()
            shown += [ride.dreamt.value, ride.real.value]
        return shown

    first = pictures()
    assert pictures() == first
    ride.track.value = 8
    assert pictures()[1] != first[1]


def test_keys_take_over_and_the_agent_takes_back(ride):
    ride.tick()
    assert ride.policy.value == "the agent"
    ride.keypad.held = ["left"]
    assert ride.policy.value == "you"
    steering = []
    for _ in range(4):
        ride.tick()
        steering.append(ride.action[0])
    assert steering == sorted(steering, reverse=True)  # further and further to the left
    assert steering[-1] < -0.5
    ride.keypad.held = ["up", "right"]
    for _ in range(6):
        ride.tick()
    assert ride.action[0] > 0.5
    assert ride.action[1] > 0.8
    ride.keypad.held = []
    assert ride.policy.value == "you"  # letting go is not giving back
    ride.policy.value = "the agent"
    ride.tick()
    assert ride.policy.value == "the agent"


def test_a_ride_goes_on_by_itself_until_it_is_stopped_and_says_when_it_breaks(ride):
    async def run():
        ride.running.value = True
        await asyncio.sleep(0.3)
        before = ride.dreamt.value
        await asyncio.sleep(0.3)
        assert ride.dreamt.value != before
        ride.running.value = False
        await asyncio.sleep(0)
        before = ride.dreamt.value
        await asyncio.sleep(0.2)
        assert ride.dreamt.value == before
        assert "agent steps per second" in ride.status.value

        ride.tick = lambda: 1 / 0
        ride.running.value = True
        task = ride._task
        await asyncio.wait([task])
        assert "ZeroDivisionError" in ride.status.value
        with pytest.raises(ZeroDivisionError):
            task.result()

    asyncio.run(run())


def test_a_ride_in_a_dream_of_another_m(world_model):
    """The same drive up to the dream; then other pictures. With the same M twice, nothing new."""
    torch.manual_seed(1)
    other = WorldModel(world_model.vae, MDNRNN())
    told = WorldModel(world_model.vae, MDNRNN(reward_input=True))
    for model in (world_model, other, told):
        model.mdn_rnn.done.bias.data.fill_(-math.inf)  # untrained, it would end at once
    shown = []
    for dream in (None, world_model, other, told):
        ride = DreamExplorer(world_model, driver_of(world_model), ROAD, 7, context=5, dream=dream)
        begin = ride.frames
        for _ in range(3):
            ride.tick()
        shown.append([*begin, *ride.frames])
        ride.close()
    np.testing.assert_array_equal(shown[0], shown[1])
    for another in shown[2:]:
        np.testing.assert_array_equal(shown[0][:2], another[:2])
        assert (shown[0][2] != another[2]).any()


def test_a_dream_that_is_over_stands_still_until_the_resync(world_model):
    world_model.mdn_rnn.done.bias.data.fill_(math.inf)
    ride = DreamExplorer(world_model, driver_of(world_model), ROAD, 7, context=5)
    ride.tick()
    assert ride.dream_label.value.endswith("(over)")
    assert not ride.real_label.value.endswith("(over)")
    before = ride.dreamt.value, ride.real.value
    ride.tick()
    assert ride.dreamt.value == before[0]
    assert ride.real.value != before[1]
    ride.resync_button.click()
    assert ride.difference == 0
    assert not ride.dream_label.value.endswith("(over)")
    ride.close()


def test_the_contact_sheet_of_a_ride(ride):
    assert len(ride.contact_sheet(steps=4, columns=3).axes) == 2 * 3
