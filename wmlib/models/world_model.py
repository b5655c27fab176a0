"""V and M together: what the agent knows, and how one step changes it.

Ha & Schmidhuber 2018, section 2 to 4 and appendix A.3. `observe` makes the step with a frame of the
environment, `imagine` makes it without one: a real episode and a dream differ in nothing else.

Differs from the paper in:
- z is V's mean, where the paper's code draws a sample of V's posterior for every frame: a policy
  then acts the same every time;
- one agent step is `MDNRNN.repeat` environment steps (an action repeat), 1 in the paper;
- M may read the previous reward, which is then a part of the state;
- dropout on the h that M's forecast is read from, as one more source of uncertainty in dreams.
As in the paper, C reads [z, h] in CarRacing, and [z, c, h] in VizDoom (`MDNRNN.reads_cell`).
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from wmlib.models.mdn_rnn import MDNRNN, TILE, Noise, Prediction, mixture_mean, sample_next
from wmlib.models.numerics import half_precision, steady
from wmlib.models.vae import VAE, frames_to_tensor


class State(NamedTuple):
    """What the agent knows at one agent step, for a batch of B; all float32.

    z (B, z_size), h and c (B, hidden). reward (B,): the previous reward in tiles (`TILE` points), 0
    at the start of an episode and where it is unknown; only an M with `reward_input` reads it.
    """

    z: Tensor
    h: Tensor
    c: Tensor
    reward: Tensor

    @property
    def features(self) -> Tensor:
        """What C reads in CarRacing: [z, h] (B, z_size + hidden)."""
        return torch.cat([self.z, self.h], dim=-1)

    def take(self, rows: Tensor | slice) -> "State":
        """The state of some rows, (R,) int64."""
        return State(*(part[rows] for part in self))

    def put_(self, rows: Tensor, other: "State") -> None:
        """Replace `rows` (R,) int64 by the R rows of `other`, in place."""
        for mine, new in zip(self, other, strict=True):
            mine.index_copy_(0, rows, new)

    def repeat(self, count: int) -> "State":
        """`count` copies of a state of one row."""
        return self.take(torch.zeros(count, dtype=torch.long))


@dataclass
class WorldModel:
    """A trained V and a trained M of the same z. ValueError if they do not fit.

    Both networks are set to evaluation, and `steady` (see there).
    """

    vae: VAE
    mdn_rnn: MDNRNN

    def __post_init__(self):
        if self.mdn_rnn.z_size != self.vae.z_size:
            raise ValueError(
                f"V makes z of size {self.vae.z_size}, but M reads z of size {self.mdn_rnn.z_size}"
            )
        for network in (self.vae, self.mdn_rnn):
            steady(network.eval())

    @property
    def device(self) -> torch.device:
        """Where the networks live."""
        return self.vae.mu.weight.device

    @property
    def feature_size(self) -> int:
        """Length of [z, h], or of [z, c, h]."""
        return self.vae.z_size + self.mdn_rnn.hidden_size * (1 + self.mdn_rnn.reads_cell)

    def features(self, state: State) -> Tensor:
        """What C reads: [z, h], or [z, c, h] with an M that `reads_cell`; (B, feature_size)."""
        if not self.mdn_rnn.reads_cell:
            return state.features
        return torch.cat([state.z, state.c, state.h], dim=-1)

    def to(self, device: str | torch.device) -> "WorldModel":
        """Move both networks; returns itself."""
        self.vae.to(device)
        self.mdn_rnn.to(device)
        return self

    @torch.no_grad()
    def encode(self, frames: np.ndarray | Tensor) -> Tensor:
        """uint8 frames (B, S, S, 3) -> z (B, z_size) float32: V's mean.

        Computed with 16-bit floats where these are faster (see `half_precision`); the difference
        (about 0.002 in z) is far below the standard deviation of V's posterior.
        """
        with half_precision(self.device):
            mu, _ = self.vae.encode(frames_to_tensor(frames, self.device))
        return mu.float()

    @torch.no_grad()
    def decode(self, z: Tensor) -> Tensor:
        """z (B, z_size), V's or M's -> frames (B, 3, S, S), float 0..1."""
        return self.vae.decode(z)

    @torch.no_grad()
    def begin(self, frames: np.ndarray | Tensor) -> State:
        """The state at the first frames (B, S, S, 3) uint8 of B episodes: h, c and reward are 0."""
        z = self.encode(frames)
        h, c = self.mdn_rnn.initial_state(len(z))
        return State(z, h[0], c[0], z.new_zeros(len(z)))

    @torch.no_grad()
    def observe(
        self,
        state: State,
        actions: Tensor,
        frames: np.ndarray | Tensor,
        rewards: Tensor | None = None,
    ) -> State:
        """One step with what the environment returned: frames (B, S, S, 3) uint8, rewards (B,).

        Where a frame is missing (all zeros), z is the mean of M's forecast.

        actions: (B, action_size) float, as taken in `state`. rewards: in points; an M with
        `reward_input` needs them, or raises ValueError.
        """
        if rewards is None and self.mdn_rnn.reward_input:
            raise ValueError("this M has reward_input=True: give it the rewards of the step")
        h, c = self.remember(state, actions)
        frames = torch.as_tensor(frames, device=self.device)
        seen = frames.flatten(1).any(1).bool()  # (of uint8, any is uint8)
        if seen.all():
            z = self.encode(frames)
        else:
            z = self.expect(state, h)
            # At least four rows: with fewer, torch picks other kernels (see `steady`).
            rows = seen.logical_not().argsort(stable=True)[: max(4, int(seen.sum()))]
            encoded = torch.where(seen[rows, None], self.encode(frames[rows]), z[rows])
            z = z.index_copy(0, rows, encoded)
        rewards = z.new_zeros(len(z)) if rewards is None else rewards
        return State(z, h, c, rewards.to(z) / TILE)

    @torch.no_grad()
    def expect(self, state: State, h: Tensor) -> Tensor:
        """The z after a step from `state` to h (B, hidden): the mean of M's forecast, (B, z_size).

        Computed with 32-bit floats.
        """
        return self.mdn_rnn.split(mixture_mean(self.mdn_rnn.predict(h[:, None]))[:, 0])[0]

    @torch.no_grad()
    def imagine(
        self,
        state: State,
        actions: Tensor,
        temperature: float | Tensor = 1.0,
        generator: torch.Generator | None = None,
        noise: Noise | None = None,
        dropout: float = 0.0,
        few_rows: bool = False,
    ) -> tuple[State, Prediction]:
        """One step without the environment: the next z is drawn from M's forecast.

        actions: (B, action_size) float, as taken in `state`. Also returns the forecast (T = 1),
        with its reward and its end. temperature: see `sample_next`. noise: instead of the
        generator. dropout: the probability with which the forecast (not the memory) does
        without an entry of h; it needs noise. few_rows: see `remember`.

        The forecast (not the memory, in which rounding errors would add up) is computed as in
        `encode`, with 16-bit floats where these are faster, unless the rows are few.
        """
        h, c = self.remember(state, actions, few_rows)
        visible = h
        if dropout > 0:
            if noise is None:
                raise ValueError("dropout draws from the noise: give imagine some")
            visible = h * (noise.keep >= dropout) / (1 - dropout)
        with half_precision(self.device, wanted=not few_rows):
            prediction = self.mdn_rnn.predict(visible[:, None])
        prediction = Prediction(*(part.float() for part in prediction))
        drawn = sample_next(prediction, temperature, generator, noise)[:, 0]
        z, reward = self.mdn_rnn.split(drawn)
        return State(z, h, c, reward), prediction

    @torch.no_grad()
    def remember(
        self, state: State, actions: Tensor, few_rows: bool = False
    ) -> tuple[Tensor, Tensor]:
        """h and c (B, hidden) after actions (B, action_size) were taken in `state`.

        few_rows: half the time for a few rows, whose last bits then depend on how many they are.
        """
        z, actions, reward = state.z, actions.to(state.z), state.reward
        if few_rows:
            return self.mdn_rnn.step(z, actions, state.h, state.c, reward)
        memory = (state.h[None].contiguous(), state.c[None].contiguous())
        _, (h, c) = self.mdn_rnn.remember(z[:, None], actions[:, None], memory, reward[:, None])
        return h[0], c[0]
