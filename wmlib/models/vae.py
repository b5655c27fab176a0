"""V, the vision model: a variational autoencoder (VAE) from a frame to a latent vector z.

Ha & Schmidhuber 2018, section 2.1 and appendix A.1: the network and its loss. Frames are read from
disk in `rollout/episodes.py`; the training loop is in `training/fit.py`.

Differs from the paper in:
- free bits (a KL tolerance): the KL divergence costs nothing below 0.5 nats per latent dimension.
  The paper's text does not name it, its code has it;
- `cubed_weight`: cubed errors may count beside squared ones, so that V keeps small bright objects;
- `horizon_weight`: errors at the horizon may count more, where distant objects are a few pixels;
- `frame_size=96`, a larger network for frames as CarRacing draws them.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from wmlib.models.numerics import SinglePixelUp

FRAME_SIZES = (64, 96)
HORIZON = (7 / 16, 11 / 16)  # of a frame's height, from the top: where distant objects are seen


class VAELoss(NamedTuple):
    """Means over a batch, each a scalar float tensor."""

    total: Tensor
    squared_error: Tensor
    kl: Tensor


class VAE(nn.Module):
    """Frame (B, 3, S, S) <-> latent z (B, z_size).

    `frame_size=64` is the paper's network (4,348,547 parameters at z_size 32): 4x4 convolutions,
    stride 2, no padding, mirrored by 5, 5, 6, 6 transposed ones. `frame_size=96` is the larger
    variant: 4x4, stride 2, padding 1 throughout, so that 96 -> 48 -> 24 -> 12 -> 6.

    Raises ValueError for any other frame size.
    """

    def __init__(self, frame_size: int = 64, z_size: int = 32):
        super().__init__()
        if frame_size not in FRAME_SIZES:
            raise ValueError(f"frame_size must be one of {FRAME_SIZES}, got {frame_size}")
        if z_size < 1:
            raise ValueError(f"z_size must be at least 1, got {z_size}")
        self.frame_size, self.z_size = frame_size, z_size
        padding, grid = (0, 2) if frame_size == 64 else (1, 6)

        def down(inputs: int, outputs: int) -> list[nn.Module]:
            return [nn.Conv2d(inputs, outputs, 4, stride=2, padding=padding), nn.ReLU()]

        def up(inputs: int, outputs: int, kernel: int, layer=nn.ConvTranspose2d) -> nn.Module:
            return layer(inputs, outputs, kernel, stride=2, padding=padding)

        self.encoder = nn.Sequential(
            *down(3, 32), *down(32, 64), *down(64, 128), *down(128, 256), nn.Flatten()
        )
        flat = 256 * grid * grid
        self.mu = nn.Linear(flat, z_size)
        self.logvar = nn.Linear(flat, z_size)

        # The paper's decoder starts from a single 1x1 "pixel" of 1024 channels.
        start = (flat, 1, 1) if frame_size == 64 else (256, grid, grid)
        kernels = (5, 5, 6, 6) if frame_size == 64 else (4, 4, 4, 4)
        first = SinglePixelUp if frame_size == 64 else nn.ConvTranspose2d
        self.decoder = nn.Sequential(
            nn.Linear(z_size, flat),
            nn.Unflatten(1, start),
            *(up(start[0], 128, kernels[0], first), nn.ReLU()),
            *(up(128, 64, kernels[1]), nn.ReLU()),
            *(up(64, 32, kernels[2]), nn.ReLU()),
            *(up(32, 3, kernels[3]), nn.Sigmoid()),
        )
        # A third faster on a CPU. (`to` takes it, but its annotations do not know.)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @property
    def config(self) -> dict:
        """The arguments that build this network again."""
        return {"frame_size": self.frame_size, "z_size": self.z_size}

    def encode(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Frames (B, 3, S, S) float 0..1 -> mu, logvar, each (B, z_size) float."""
        if frames.shape[1:] != (3, self.frame_size, self.frame_size):
            raise ValueError(
                f"this VAE sees frames (B, 3, {self.frame_size}, {self.frame_size}), "
                f"got {tuple(frames.shape)}"
            )
        features = self.encoder(frames)
        return self.mu(features), self.logvar(features)

    def decode(self, z: Tensor) -> Tensor:
        """z (B, z_size) -> frames (B, 3, S, S) float 0..1."""
        return self.decoder(z)

    def forward(
        self, frames: Tensor, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Frames (B, 3, S, S) -> reconstructions of the same shape, mu, logvar (B, z_size)."""
        mu, logvar = self.encode(frames)
        return self.decode(sample_latent(mu, logvar, generator)), mu, logvar


def sample_latent(mu: Tensor, logvar: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Draw z ~ N(mu, exp(logvar)), differentiably (the reparameterization trick).

    mu, logvar: any one shape; z comes back in it.
    """
    noise = torch.randn(mu.shape, generator=generator, device=mu.device, dtype=mu.dtype)
    return mu + noise * torch.exp(0.5 * logvar)


def vae_loss(
    reconstructions: Tensor,
    frames: Tensor,
    mu: Tensor,
    logvar: Tensor,
    free_bits: float = 0.5,
    cubed_weight: float = 0.0,
    horizon_weight: float = 1.0,
) -> VAELoss:
    """Squared error *summed* over pixels + max(KL, free_bits * z_size) (paper A.1).

    The sum matters: a mean over the 12,288 pixel values makes the squared error 12,288 times
    smaller and leaves the KL as it is, so that z collapses to the prior (notebooks/02_vae.ipynb).
    `free_bits`: the KL costs nothing below so many nats per latent dimension, counted over all
    dimensions of a frame together.
    `cubed_weight` (not in the paper): adds so many times the sum of |error|^3. Small bright objects
    are large errors on few pixels: beside small errors on many they count more then.
    `horizon_weight` (not in the paper): errors in the rows `HORIZON` count so many times.

    reconstructions, frames (B, 3, S, S); mu, logvar (B, z_size). The three losses are means over B.
    """
    error = reconstructions - frames
    squares = error.square()
    errors = squares + cubed_weight * error.abs().pow(3) if cubed_weight else squares
    kl = kl_per_dimension(mu, logvar).sum(1)
    total = kl.clamp(min=free_bits * mu.shape[1]) + errors.flatten(1).sum(1)
    if horizon_weight != 1:
        top, bottom = (round(share * errors.shape[2]) for share in HORIZON)
        total = total + (horizon_weight - 1) * errors[:, :, top:bottom].flatten(1).sum(1)
    squared_error = squares.flatten(1).sum(1)
    return VAELoss(total.mean(), squared_error.mean(), kl.mean())


def kl_per_dimension(mu: Tensor, logvar: Tensor) -> Tensor:
    """KL( N(mu, exp(logvar)) || N(0, 1) ) in nats, elementwise, same shape as mu."""
    return 0.5 * (mu.square() + logvar.exp() - 1 - logvar)


def frames_to_tensor(frames: np.ndarray | Tensor, device: str | torch.device = "cpu") -> Tensor:
    """uint8 frames (..., H, W, 3) as stored -> float 0..1 (..., 3, H, W) as V sees them.

    Raises TypeError for any dtype but uint8 and ValueError if the last axis is not 3: a float
    frame divided by 255 once more is black, and V would learn from it without complaint.
    """
    frames = torch.as_tensor(frames)
    if frames.dtype != torch.uint8:
        raise TypeError(f"frames must be uint8 (0..255), got {frames.dtype}")
    if frames.ndim < 3 or frames.shape[-1] != 3:
        raise ValueError(f"frames must be (..., height, width, 3), got {tuple(frames.shape)}")
    # The moved axis leaves the memory "channels last", the layout convolutions are fastest in.
    return frames.to(device).movedim(-1, -3).float() / 255


def tensor_to_frames(frames: Tensor) -> np.ndarray:
    """Float 0..1 (..., 3, H, W) -> uint8 (..., H, W, 3), rounded to the nearest level."""
    return (frames.detach().clamp(0, 1) * 255).round().byte().movedim(-3, -1).cpu().numpy()
