"""M, the memory: an LSTM whose output is a mixture of Gaussians over the next z (paper A.2).

The idea is the network, its likelihood and its sampling, all on this page.
"""

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from wmlib.models.numerics import SteadyLinear

LSTMState = tuple[Tensor, Tensor]


TILE = 3.2  # points that a tile of the road brings, about


class Prediction(NamedTuple):
    """What M says about the next moment. All float tensors.

    logits, mu, log_sigma: (B, T, z_size, mixtures), one mixture for every dimension of z; the
    logits of its weights are good up to a constant, `log_pi` are the log-weights themselves.
    reward: (B, T). done_logit: (B, T), the log-odds that the episode ends here.
    """

    logits: Tensor
    mu: Tensor
    log_sigma: Tensor
    reward: Tensor
    done_logit: Tensor

    @property
    def log_pi(self) -> Tensor:
        """log of the mixture weights, (B, T, z_size, mixtures)."""
        return self.logits.log_softmax(-1)


class MDNRNNLoss(NamedTuple):
    """Means over all real (unmasked) steps, each a scalar float tensor."""

    total: Tensor
    nll: Tensor
    reward: Tensor
    done: Tensor


class MDNRNN(nn.Module):
    """[z, a] (B, T, z_size + action_size) -> a mixture over the next z, the reward, the end.

    With the default sizes the paper's own parts have 422,368 parameters + 1,024 (torch keeps two
    LSTM biases where the paper's framework keeps one); the heads for reward and end add 514.

    repeat: how many steps of the environment lie between one z and the next, the action being held
    for all of them. The paper's M has 1.
    """

    def __init__(
        self,
        z_size: int = 32,
        action_size: int = 3,
        hidden_size: int = 256,
        mixtures: int = 5,
        repeat: int = 1,
    ):
        super().__init__()
        self.repeat = repeat
        self.z_size, self.action_size = z_size, action_size
        self.hidden_size, self.mixtures = hidden_size, mixtures
        self.lstm = nn.LSTM(z_size + action_size, hidden_size, batch_first=True)
        self.mixture = SteadyLinear(hidden_size, 3 * mixtures * z_size)
        self.reward = nn.Linear(hidden_size, 1)
        self.done = nn.Linear(hidden_size, 1)

    @property
    def config(self) -> dict:
        """The arguments that build this network again."""
        names = ("z_size", "action_size", "hidden_size", "mixtures", "repeat")
        return {name: getattr(self, name) for name in names}

    def initial_state(self, batch: int) -> LSTMState:
        """Zeros, ((1, B, hidden), (1, B, hidden)): what M remembers before anything happened."""
        zeros = self.mixture.weight.new_zeros(1, batch, self.hidden_size)
        return zeros, zeros.clone()

    def remember(
        self, z: Tensor, actions: Tensor, state: LSTMState | None = None
    ) -> tuple[Tensor, LSTMState]:
        """Run the LSTM alone: z (B, T, z_size), actions (B, T, action_size) -> h (B, T, hidden).

        Also returns the state to carry on from. Raises ValueError on shapes that do not fit.
        """
        if z.shape[-1] != self.z_size or actions.shape[-1] != self.action_size:
            raise ValueError(
                f"M takes z of size {self.z_size} and actions of size {self.action_size}, "
                f"got {z.shape[-1]} and {actions.shape[-1]}"
            )
        return self.lstm(torch.cat([z, actions], dim=-1), state)

    def step(self, z: Tensor, actions: Tensor, h: Tensor, c: Tensor) -> LSTMState:
        """One step of `remember` by itself, for a few rows at half the time.

        z (B, z_size), actions (B, action_size), h and c (B, hidden) -> the next h and c. (What runs
        whole sequences packs the weights for them in every call; many rows are worth it.)
        """
        return torch.lstm_cell(torch.cat([z, actions], dim=-1), (h, c), *self.lstm.all_weights[0])

    def predict(self, h: Tensor) -> Prediction:
        """Read the prediction out of h (B, T, hidden)."""
        mixture = self.mixture(h).unflatten(-1, (3, self.z_size, self.mixtures)).unbind(-3)
        return Prediction(*mixture, *(_of_each_row(head, h) for head in (self.reward, self.done)))

    def forward(
        self, z: Tensor, actions: Tensor, state: LSTMState | None = None
    ) -> tuple[Prediction, LSTMState]:
        """`remember`, then `predict`: step t's prediction is about z at t + 1."""
        h, state = self.remember(z, actions, state)
        return self.predict(h), state


def _of_each_row(head: nn.Linear, h: Tensor) -> Tensor:
    # h (..., hidden) -> (...), as head(h)[..., 0] on paper. But where a matrix product has a single
    # column, some processors sum several rows at once, and a row's last bits depend on how many
    # others there are. A dream is chaotic enough to end elsewhere for that.
    return (h * head.weight[0]).sum(-1) + head.bias[0]


def with_pay(z: Tensor, earned: Tensor) -> Tensor:
    """z (..., z_size), and what was earned on the way there (...), in tiles: (..., z_size + 1).

    For an M whose z is larger by one. From what is earned it can tell what no picture shows:
    whether a road is driven for the first time, or back again.
    """
    return torch.cat([z, earned[..., None].to(z) / TILE], dim=-1)


def mixture_nll(prediction: Prediction, z_next: Tensor) -> Tensor:
    """-log p(z_next) per dimension, in nats: z_next (B, T, z_size) -> (B, T, z_size).

    log p = logsumexp_k [ log pi_k + log N(z; mu_k, sigma_k) ]. Summing the densities first and
    taking the log afterwards is the same on paper, but a target some fourteen sigmas off makes
    every density round to zero in 32 bits, and the loss infinite; chapter 01 breaks it on purpose.
    """
    z_next = z_next.unsqueeze(-1)
    standardized = (z_next - prediction.mu) * torch.exp(-prediction.log_sigma)
    log_normal = -0.5 * standardized.square() - prediction.log_sigma - 0.5 * math.log(2 * math.pi)
    return -torch.logsumexp(prediction.log_pi + log_normal, dim=-1)


def mdn_rnn_loss(
    prediction: Prediction,
    z_next: Tensor,
    rewards: Tensor,
    done: Tensor,
    mask: Tensor,
    z_weight: float = 1.0,
) -> MDNRNNLoss:
    """Likelihood of the next z (mean over dimensions, as in the paper's code) + reward + end.

    z_next (B, T, z_size); rewards, done, mask (B, T) float, mask 1 where the step is real and 0
    where a short episode was padded. z_weight: of the first term. With z_size it is the *sum* over
    dimensions, the likelihood of the whole of z.
    """

    def mean(values: Tensor) -> Tensor:
        return (values * mask).sum() / mask.sum()

    nll = mean(mixture_nll(prediction, z_next).mean(-1))
    reward = mean((prediction.reward - rewards).square())
    end = mean(binary_cross_entropy_with_logits(prediction.done_logit, done, reduction="none"))
    return MDNRNNLoss(z_weight * nll + reward + end, nll, reward, end)


class Noise(NamedTuple):
    """All the chance in B steps of M, drawn beforehand; float32.

    pick (B, z_size) 0..1: which Gaussian of each mixture. normal (B, z_size): where in it.
    end (B,) 0..1: whether it ends. keep (B, hidden) 0..1: what a dropout would leave.
    """

    pick: Tensor
    normal: Tensor
    end: Tensor
    keep: Tensor

    @classmethod
    def table(cls, rows: int, mdn_rnn: MDNRNN, seed: int = 0) -> "Noise":
        """So many rows for an M of this size."""
        return _table(rows, mdn_rnn.z_size, mdn_rnn.hidden_size, seed)

    def take(self, rows: np.ndarray) -> "Noise":
        """The rows (R,) int64 alone."""
        return Noise(*(part[torch.from_numpy(rows)] for part in self))


@lru_cache(4)  # a new dream is made for every generation of a search
def _table(rows: int, z_size: int, hidden_size: int, seed: int) -> Noise:
    generator = torch.Generator().manual_seed(seed)
    return Noise(
        torch.rand(rows, z_size, generator=generator),
        torch.randn(rows, z_size, generator=generator),
        torch.rand(rows, generator=generator),
        torch.rand(rows, hidden_size, generator=generator),
    )


def sample_next(
    prediction: Prediction,
    temperature: float | Tensor = 1.0,
    generator: torch.Generator | None = None,
    noise: Noise | None = None,
) -> Tensor:
    """Draw the next z from M's mixtures: (B, T, z_size). noise: for T = 1, instead of a generator.

    Temperature tau divides the mixture logits and multiplies sigma by sqrt(tau) (paper, section 4):
    0 always takes the likeliest Gaussian's mean, 1 is what M believes, more is wilder. One for all
    entries of z, or (z_size,), one for each. Raises ValueError if one is negative.
    """
    logits, mu, log_sigma = prediction.logits, prediction.mu, prediction.log_sigma
    tau = torch.as_tensor(temperature, dtype=torch.float64)
    if (tau < 0).any():
        raise ValueError(f"temperature must be 0 or more, got {tau.min():g}")
    if not tau.any():
        chosen = logits.argmax(-1, keepdim=True)
        return mu.gather(-1, chosen)[..., 0]
    if noise is None:
        like = {"generator": generator, "device": mu.device, "dtype": mu.dtype}
        pick, normal = torch.rand(mu.shape[:-1], **like), torch.randn(mu.shape[:-1], **like)
    else:
        pick, normal = noise.pick[:, None], noise.normal[:, None]
    # The Gaussian in which `pick` falls when the weights are laid end to end. (Not by softmax: over
    # five entries it is several times slower than its parts.)
    below = logits - logits.amax(-1, keepdim=True)
    weights = (below / tau[..., None].clamp(1e-6).to(mu)).exp().cumsum(-1)
    chosen = (weights[..., :-1] < pick[..., None] * weights[..., -1:]).sum(-1, keepdim=True)
    mu, sigma = mu.gather(-1, chosen)[..., 0], log_sigma.gather(-1, chosen)[..., 0].exp()
    return mu + sigma * tau.sqrt().to(mu) * normal


def mixture_mean(prediction: Prediction) -> Tensor:
    """The mean of the whole mixture, sum_k pi_k mu_k: (B, T, z_size)."""
    return (prediction.log_pi.exp() * prediction.mu).sum(-1)
