"""What a hand would do, done by code: every control set through its range, the picture watched."""

import numpy as np
import pytest
import torch

from wmlib.explorers import LIMIT, DreamPlayer, LatentExplorer, png
from wmlib.vae import frames_to_tensor, tensor_to_frames


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


def test_every_slider_moves_its_own_entry_of_z(latent):
    for slider in latent.sliders:
        latent.reset()
        before, d = latent.z[0], int(slider.description[2:-1])
        for value in np.linspace(-LIMIT, LIMIT, 5):
            slider.value = value
            after = latent.z[0]
            assert after[d] == pytest.approx(value, abs=1e-5)
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
            assert latent.plain.value == shown(latent.vae, latent.mu[i : i + 1])


def test_the_same_place_by_other_sliders(latent):
    """From z to axes and back: the picture stays, and an axis then moves along itself alone."""
    latent.randomize()
    there = latent.z
    for basis in ("axes", "z", "axes"):
        latent.basis.value = basis
        assert close(latent.z, there)
    start = latent.sliders[1].value
    latent.sliders[1].value = start + 1 if start < 0 else start - 1
    moved = (latent.z - there)[0]
    axis = latent.bases["axes"].rows[1]
    assert abs(torch.cosine_similarity(moved, axis, dim=0)) == pytest.approx(1, abs=1e-4)
    assert moved.norm() == pytest.approx(axis.norm().item(), rel=1e-3)


def test_a_morph_goes_from_one_frame_to_the_other(latent):
    latent.moment.value, latent.other.value = 0, 2
    for share in (0.0, 0.5, 1.0):
        latent.morph.value = share
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
        latent.sliders[i // 3].value = (-LIMIT, 0, LIMIT)[i % 3]
        assert latent.decoded.value == png(np.asarray(picture))


def test_few_frames_make_their_own_axes(world_model, frames):
    explorer = LatentExplorer(world_model.vae, frames)
    explorer.basis.value = "axes"
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
