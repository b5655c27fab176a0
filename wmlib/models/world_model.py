""" """

import dataclasses
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from wmlib.models.mdn_rnn import MDNRNN, Noise, Prediction, sample_next, with_pay
from wmlib.models.numerics import half_precision
from wmlib.models.vae import VAE, frames_to_tensor


class State(NamedTuple):
    """What the agent knows at one moment, for a batch: z (B, z_size), h and c (B, hidden)."""

    z: Tensor
    h: Tensor
    c: Tensor

    def __reduce__(self):
        # As for the networks: plain arrays travel to any worker.
        return _unpack_state, tuple(part.cpu().numpy() for part in self)

    @property
    def features(self) -> Tensor:
        """What C reads: [z, h] (B, z_size + hidden)."""
        return torch.cat([self.z, self.h], dim=-1)

    def take(self, rows: Tensor) -> "State":
        """The rows (R,) int64 alone."""
        return State(*(part[rows] for part in self))

    def put(self, rows: Tensor, other: "State") -> "State":
        """This state with `rows` (R,) int64 replaced by the R rows of `other`."""
        return State(*(a.index_copy(0, rows, b) for a, b in zip(self, other, strict=True)))


@dataclasses.dataclass
class WorldModel:
    """A trained V and a trained M that speak of the same z. ValueError if they do not fit.

    M's z may be larger by one: then it also knows what was just earned (see `with_pay`).
    """

    vae: VAE
    mdn_rnn: MDNRNN

    def __post_init__(self):
        if self.mdn_rnn.z_size not in (self.vae.z_size, self.vae.z_size + 1):
            raise ValueError(
                f"V makes z of size {self.vae.z_size}, but M reads z of size {self.mdn_rnn.z_size}"
            )
        self.vae.eval()
        self.mdn_rnn.eval()

    def __reduce__(self):
        # Plain arrays travel to any worker; torch would send handles of shared memory instead.
        parts = []
        for network in (self.vae, self.mdn_rnn):
            arrays = {name: t.cpu().numpy() for name, t in network.state_dict().items()}
            parts.append((type(network), network.config, arrays))
        return _unpack, (type(self), *parts)

    @property
    def device(self) -> torch.device:
        """Where the networks live."""
        return self.vae.mu.weight.device

    @property
    def feature_size(self) -> int:
        """Length of [z, h]."""
        return self.vae.z_size + self.mdn_rnn.hidden_size

    def to(self, device: str | torch.device) -> "WorldModel":
        """Move both networks; returns itself."""
        self.vae.to(device)
        self.mdn_rnn.to(device)
        return self

    @torch.no_grad()
    def encode(self, frames: np.ndarray | Tensor) -> Tensor:
        """uint8 frames (B, S, S, 3) -> z (B, z_size): V's mean, so that driving is repeatable.

        Computed with 16-bit floats where the processor has them: twice as fast, and the difference
        (about 0.002 in z) is far below what V itself is unsure of.
        """
        with half_precision(self.device):
            mu, _ = self.vae.encode(frames_to_tensor(frames, self.device))
        return mu.float()

    @torch.no_grad()
    def begin(self, frames: np.ndarray | Tensor) -> State:
        """The first frames (B, S, S, 3) of B episodes: z is seen, nothing is remembered yet."""
        z = self.moment(self.encode(frames))
        h, c = self.mdn_rnn.initial_state(len(z))
        return State(z, h[0], c[0])

    @torch.no_grad()
    def observe(
        self,
        state: State,
        actions: Tensor,
        frames: np.ndarray | Tensor,
        earned: Tensor | None = None,
    ) -> State:
        """Remember (z, a), then look at the frames (B, S, S, 3) uint8 that came next.

        actions: (B, action_size) float, as taken in `state`. earned: see `moment`.
        """
        h, c = self.remember(state, actions)
        return State(self.moment(self.encode(frames), earned), h, c)

    def moment(self, z: Tensor, earned: Tensor | None = None) -> Tensor:
        """What M is told of a moment: z (B, z_size of V), and what was earned (B,) if it cares."""
        if self.mdn_rnn.z_size == self.vae.z_size:
            return z
        return with_pay(z, torch.zeros(len(z)) if earned is None else earned)

    @torch.no_grad()
    def imagine(
        self,
        state: State,
        actions: Tensor,
        temperature: float | Tensor = 1.0,
        generator: torch.Generator | None = None,
        noise: Noise | None = None,
        dropout: float = 0.0,
    ) -> tuple[State, Prediction]:
        """Remember (z, a), then draw the next z from M: no frame needed.

        Also returns the whole prediction (T = 1), with reward and end. temperature: see
        `sample_next`. noise: in place of the generator. dropout: the share of h's entries that this
        forecast (not the memory) goes without; it needs noise.

        The forecast (not the memory, where rounding would add up) is computed as in `encode`, with
        16-bit floats where the processor has them; M itself is unsure of much more.
        """
        h, c = self.remember(state, actions)
        visible = h if dropout == 0 else h * (noise.keep >= dropout) / (1 - dropout)
        with half_precision(self.device):
            prediction = self.mdn_rnn.predict(visible[:, None])
        prediction = Prediction(*(part.float() for part in prediction))
        z = sample_next(prediction, temperature, generator, noise)[:, 0]
        return State(z, h, c), prediction

    @torch.no_grad()
    def remember(self, state: State, actions: Tensor) -> tuple[Tensor, Tensor]:
        """h and c (B, hidden) after actions (B, action_size) were taken in `state`."""
        memory = (state.h[None].contiguous(), state.c[None].contiguous())
        _, (h, c) = self.mdn_rnn.remember(state.z[:, None], actions[:, None].to(state.z), memory)
        return h[0], c[0]

    @torch.no_grad()
    def decode(self, z: Tensor) -> Tensor:
        """z (B, z_size), V's or M's -> frames (B, 3, S, S), float 0..1."""
        return self.vae.decode(z[..., : self.vae.z_size])


def _unpack_state(*parts: np.ndarray) -> State:
    return State(*(torch.from_numpy(part.copy()) for part in parts))


def _unpack(cls: type, *parts: tuple) -> WorldModel:
    networks = []
    for kind, config, arrays in parts:
        network = kind(**config)
        network.load_state_dict({name: torch.from_numpy(a.copy()) for name, a in arrays.items()})
        networks.append(network)
    return cls(*networks)
