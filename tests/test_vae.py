import numpy as np
import pytest
import torch
from torch.distributions import Normal, kl_divergence

from wmlib.models.numerics import SinglePixelUp
from wmlib.models.vae import VAE, frames_to_tensor, kl_per_dimension, tensor_to_frames, vae_loss


def test_paper_size():
    assert sum(p.numel() for p in VAE().parameters()) == 4_348_547


@pytest.mark.parametrize("size", [64, 96])
def test_shapes_and_gradients(size):
    vae = VAE(size)
    frames = torch.rand(2, 3, size, size)
    reconstructions, mu, logvar = vae(frames)
    assert reconstructions.shape == frames.shape
    assert mu.shape == logvar.shape == (2, 32)
    vae_loss(reconstructions, frames, mu, logvar, free_bits=0).total.backward()
    assert all(p.grad.abs().sum() > 0 for p in vae.parameters())


def test_the_vae_for_96_pixels_has_four_padded_convolutions():
    vae = VAE(96)
    convolutions = [m for m in vae.encoder if isinstance(m, torch.nn.Conv2d)]
    assert [c.out_channels for c in convolutions] == [32, 64, 128, 256]
    assert {(c.kernel_size, c.stride, c.padding) for c in convolutions} == {
        ((4, 4), (2, 2), (1, 1))
    }
    assert vae.mu.in_features == 9216
    assert vae.decoder[0].out_features == 9216


@pytest.mark.parametrize("channels_last", [True, False])
def test_a_single_pixel_is_enlarged_as_by_a_transposed_convolution(channels_last):
    layer = SinglePixelUp(6, 4, 5, stride=2)
    expected = torch.nn.ConvTranspose2d(6, 4, 5, stride=2)
    expected.load_state_dict(layer.state_dict())
    if channels_last:
        layer.to(memory_format=torch.channels_last)
    pixel, weight = torch.randn(3, 6, 1, 1), torch.randn(3, 4, 5, 5)
    for each in (layer, expected):
        (each(pixel) * weight).sum().backward()
    torch.testing.assert_close(layer(pixel), expected(pixel))
    torch.testing.assert_close(layer.weight.grad, expected.weight.grad)
    torch.testing.assert_close(layer.bias.grad, expected.bias.grad)


def test_the_kl_is_the_closed_form():
    mu, logvar = torch.randn(5, 32), torch.randn(5, 32)
    expected = kl_divergence(Normal(mu, (logvar / 2).exp()), Normal(0.0, 1.0))
    torch.testing.assert_close(kl_per_dimension(mu, logvar), expected)


def test_the_loss_sums_over_pixels_and_has_free_bits():
    frames = torch.zeros(4, 3, 64, 64)
    mu = logvar = torch.zeros(4, 32)
    loss = vae_loss(frames + 0.5, frames, mu, logvar)
    assert loss.squared_error.item() == 0.25 * 3 * 64 * 64
    assert loss.kl.item() == 0
    assert loss.total.item() == 0.25 * 3 * 64 * 64 + 0.5 * 32
    large = torch.full((4, 32), 2.0)
    assert vae_loss(frames, frames, large, logvar).total.item() == 32 * 2.0
    for error in (0.5, -0.5):
        cubed = vae_loss(frames + error, frames, mu, logvar, cubed_weight=6)
        assert cubed.total.item() == (0.25 + 6 * 0.125) * 3 * 64 * 64 + 0.5 * 32
        assert cubed.squared_error.item() == loss.squared_error.item()


def test_errors_at_the_horizon_count_more():
    frames = torch.zeros(2, 3, 64, 64)
    mu = logvar = torch.zeros(2, 32)
    plain = {"free_bits": 0.0, "cubed_weight": 6.0}
    each = (0.25 + 6 * 0.125) * 3 * 64  # of a row of errors of 0.5
    for row, weight in ((27, 1), (28, 20), (43, 20), (44, 1)):
        wrong = frames.clone()
        wrong[:, :, row] = -0.5
        loss = vae_loss(wrong, frames, mu, logvar, **plain, horizon_weight=20)
        assert loss.total.item() == weight * each
        assert loss.squared_error.item() == 0.25 * 3 * 64
        assert vae_loss(wrong, frames, mu, logvar, **plain).total.item() == each


def test_frames_survive_the_round_trip():
    frames = np.random.default_rng(0).integers(0, 256, (2, 3, 64, 64, 3), dtype=np.uint8)
    tensor = frames_to_tensor(frames)
    assert tensor.shape == (2, 3, 3, 64, 64)
    np.testing.assert_array_equal(tensor_to_frames(tensor), frames)


def test_bad_input_is_named():
    with pytest.raises(ValueError, match=r"one of \(64, 96\), got 32"):
        VAE(32)
    with pytest.raises(TypeError, match="uint8"):
        frames_to_tensor(np.zeros((1, 64, 64, 3), dtype=np.float32))
    with pytest.raises(ValueError, match="height, width, 3"):
        frames_to_tensor(np.zeros((1, 3, 64, 64), dtype=np.uint8))
    with pytest.raises(ValueError, match="64, 64"):
        VAE(64).encode(torch.zeros(1, 3, 96, 96))
