"""M, the memory: an LSTM whose output is a mixture of Gaussians over the next z.

Ha & Schmidhuber 2018, section 2.2 and appendix A.2: the network, its likelihood, its sampling.

Differs from the paper in:
- a reward head and a done head, which the paper's M for CarRacing does not have (its M for VizDoom
  has a done head), so that M can be an environment by itself;
- `repeat`: one step of M may be several environment steps with the same action;
- `reward_input`: M may also read the previous reward, and then draws the next one with z;
- `done_weight`: M for VizDoom weighs the steps at which it dies, as in the paper's code, but the
  log-odds that come out are those of the data;
- two LSTM biases, as torch has them, where the paper's framework has one.
As in the paper's code, every latent dimension has a mixture with weights of its own, and the
likelihood is averaged over the dimensions.
"""

import math
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

LSTMState = tuple[Tensor, Tensor]

TILE = 3.2  # points for a tile of the road, about: the unit in which M reads and draws rewards


class Prediction(NamedTuple):
    """M's forecast of the next step. All float tensors.

    logits, mu, log_sigma: (B, T, D, mixtures), one mixture for every dimension of M's variable (see
    `MDNRNN`). logits are defined up to a constant per mixture; `log_pi` is normalized.
    reward: (B, T), the expected reward, in points. done_logit: (B, T), the log-odds that the
    episode ends with this step.
    """

    logits: Tensor
    mu: Tensor
    log_sigma: Tensor
    reward: Tensor
    done_logit: Tensor

    @property
    def log_pi(self) -> Tensor:
        """log of the mixture weights, (B, T, D, mixtures)."""
        return self.logits.log_softmax(-1)


class MDNRNNLoss(NamedTuple):
    """Means over all unmasked steps, each a scalar float tensor.

    nll: nats per dimension. reward: squared error, in points squared. done: cross-entropy, in nats.
    total: z_weight * nll + reward + done.
    """

    total: Tensor
    nll: Tensor
    reward: Tensor
    done: Tensor


class MDNRNN(nn.Module):
    """(z, action) -> a mixture over the next z, the expected reward, the log-odds of the end.

    M's variable has D dimensions: z alone (D = z_size), or with `reward_input` z and the previous
    reward in tiles (D = z_size + 1). M reads this variable and predicts its next value.

    With the default sizes the paper's own parts have 422,368 parameters + 1,024 (torch keeps two
    LSTM biases where the paper's framework keeps one); the heads for reward and end add 514.

    repeat: environment steps from one z to the next, the action being held for all of them. The
    paper's M has 1. reads_cell: whether policies read the cell state c beside h (the paper's C for
    VizDoom does; M itself is the same). done_weight: how many times as much a step at which the
    episode ends counts in the loss of the done head.
    """

    def __init__(
        self,
        z_size: int = 32,
        action_size: int = 3,
        hidden_size: int = 256,
        mixtures: int = 5,
        repeat: int = 1,
        reward_input: bool = False,
        reads_cell: bool = False,
        done_weight: float = 1.0,
    ):
        super().__init__()
        self.z_size, self.action_size = z_size, action_size
        self.hidden_size, self.mixtures = hidden_size, mixtures
        self.repeat, self.reward_input = repeat, reward_input
        self.reads_cell, self.done_weight = reads_cell, done_weight
        self.dimensions = z_size + reward_input
        self.lstm = nn.LSTM(self.dimensions + action_size, hidden_size, batch_first=True)
        self.mixture = nn.Linear(hidden_size, 3 * mixtures * self.dimensions)
        self.reward = nn.Linear(hidden_size, 1)
        self.done = nn.Linear(hidden_size, 1)

    @property
    def config(self) -> dict:
        """The arguments that build this network again."""
        names = ("z_size", "action_size", "hidden_size", "mixtures", "repeat", "reward_input")
        config = {name: getattr(self, name) for name in names}
        # Named only where they are not usual: a config is a part of records that exist.
        config |= {"reads_cell": True} if self.reads_cell else {}
        return config | ({"done_weight": self.done_weight} if self.done_weight != 1 else {})

    def initial_state(self, batch: int) -> LSTMState:
        """h and c at the start of an episode, zeros: ((1, B, hidden), (1, B, hidden))."""
        zeros = self.mixture.weight.new_zeros(1, batch, self.hidden_size)
        return zeros, zeros.clone()

    def join(self, z: Tensor, reward: Tensor | None) -> Tensor:
        """z (..., z_size) and the previous reward (...), in tiles -> M's variable (..., D).

        Raises ValueError if this M reads rewards and there are none; without `reward_input` the
        variable is z.
        """
        if not self.reward_input:
            return z
        if reward is None:
            raise ValueError("this M has reward_input=True: it needs the previous rewards")
        return torch.cat([z, reward[..., None].to(z)], dim=-1)

    def split(self, variable: Tensor) -> tuple[Tensor, Tensor]:
        """M's variable (..., D) -> z (..., z_size), reward (...) in tiles: 0 if M draws none."""
        z, rest = variable.split([self.z_size, self.reward_input], dim=-1)
        return z, rest.sum(-1)  # over one column, or none

    def remember(
        self,
        z: Tensor,
        actions: Tensor,
        state: LSTMState | None = None,
        reward: Tensor | None = None,
    ) -> tuple[Tensor, LSTMState]:
        """Run the LSTM alone: z (B, T, z_size), actions (B, T, action_size) -> h (B, T, hidden).

        reward (B, T): in tiles, what the step before each z brought; read with `reward_input`.
        Also returns the state after the last step. Raises ValueError on shapes that do not fit.
        """
        if z.shape[-1] != self.z_size or actions.shape[-1] != self.action_size:
            raise ValueError(
                f"M takes z of size {self.z_size} and actions of size {self.action_size}, "
                f"got {z.shape[-1]} and {actions.shape[-1]}"
            )
        return self.lstm(torch.cat([self.join(z, reward), actions], dim=-1), state)

    def step(
        self, z: Tensor, actions: Tensor, h: Tensor, c: Tensor, reward: Tensor | None = None
    ) -> LSTMState:
        """One step of `remember` without the time axis, in half the time for a few rows.

        z (B, z_size), actions (B, action_size), h and c (B, hidden), reward (B,) -> h and c after
        it. (torch.nn.LSTM packs its weights at every call, which only many rows or steps justify.)
        """
        inputs = torch.cat([self.join(z, reward), actions], dim=-1)
        return torch.lstm_cell(inputs, (h, c), *self.lstm.all_weights[0])

    def predict(self, h: Tensor) -> Prediction:
        """The forecast from h (B, T, hidden)."""
        mixture = self.mixture(h).unflatten(-1, (3, self.dimensions, self.mixtures)).unbind(-3)
        logits, mu, log_sigma = mixture
        reward, done_logit = self.reward(h).squeeze(-1), self.done(h).squeeze(-1)
        return Prediction(logits, mu, log_sigma, reward, done_logit)

    def forward(
        self,
        z: Tensor,
        actions: Tensor,
        state: LSTMState | None = None,
        reward: Tensor | None = None,
    ) -> tuple[Prediction, LSTMState]:
        """`remember`, then `predict`: step t's prediction is about t + 1."""
        h, state = self.remember(z, actions, state, reward)
        return self.predict(h), state


def mixture_nll(prediction: Prediction, z_next: Tensor) -> Tensor:
    """-log p(z_next) per dimension, in nats: z_next, M's variable, (B, T, D) -> (B, T, D).

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
    done_weight: float = 1.0,
) -> MDNRNNLoss:
    """Negative log-likelihood of the next z (mean over dimensions) + reward + end.

    z_next (B, T, D): M's variable, see `MDNRNN.join`; rewards (in points), done, mask (B, T) float,
    mask 1 where the step is real and 0 where a short episode was padded. z_weight: factor of the
    first term; with D it is the likelihood of the whole variable, the *sum* over dimensions.
    done_weight w: a step at which the episode ends counts w times in the cross-entropy. The weight
    is taken back out of the forecast: the logit of the weighted problem is log w higher than the
    log-odds of the end, and it is the former that is compared here.
    """

    def mean(values: Tensor) -> Tensor:
        return (values * mask).sum() / mask.sum()

    nll = mean(mixture_nll(prediction, z_next).mean(-1))
    reward = mean((prediction.reward - rewards).square())
    weighted = prediction.done_logit + math.log(done_weight)
    weights = torch.full((), done_weight)
    end = mean(
        binary_cross_entropy_with_logits(weighted, done, pos_weight=weights, reduction="none")
    )
    return MDNRNNLoss(z_weight * nll + reward + end, nll, reward, end)


class Noise(NamedTuple):
    """Random numbers for B steps of M, drawn beforehand; float32.

    pick (B, D) uniform in 0..1: selects a Gaussian of each mixture. normal (B, D) standard normal:
    the value drawn from it. end (B,) uniform: compared with the probability of the end.
    keep (B, hidden) uniform: compared with the dropout probability.
    """

    pick: Tensor
    normal: Tensor
    end: Tensor
    keep: Tensor

    @classmethod
    def table(cls, rows: int, mdn_rnn: MDNRNN, seed: int = 0) -> "Noise":
        """Noise for `rows` steps of an M of this size; the same seed gives the same numbers."""
        return _table(rows, mdn_rnn.dimensions, mdn_rnn.hidden_size, seed)

    def take(self, rows: np.ndarray, dropout: bool = True) -> "Noise":
        """The rows (R,) int64 alone; without dropout (R, 0) for `keep`, most of the numbers."""
        index = torch.from_numpy(rows)
        keep = self.keep if dropout else self.keep[:, :0]
        return Noise(self.pick[index], self.normal[index], self.end[index], keep[index])


@lru_cache(4)  # a new dream is made for every generation of a search
def _table(rows: int, dimensions: int, hidden_size: int, seed: int) -> Noise:
    generator = torch.Generator().manual_seed(seed)
    return Noise(
        torch.rand(rows, dimensions, generator=generator),
        torch.randn(rows, dimensions, generator=generator),
        torch.rand(rows, generator=generator),
        torch.rand(rows, hidden_size, generator=generator),
    )


def sample_next(
    prediction: Prediction,
    temperature: float | Tensor = 1.0,
    generator: torch.Generator | None = None,
    noise: Noise | None = None,
) -> Tensor:
    """Draw M's next variable from its mixtures: (B, T, D); `MDNRNN.split` takes z out of it.

    noise: for T = 1, instead of a generator.
    Temperature tau divides the mixture logits and multiplies sigma by sqrt(tau) (paper, section 4):
    at 0 the mean of the likeliest Gaussian, at 1 M's own distribution, above 1 a wider one. One for
    all dimensions, or (D,), one for each. Raises ValueError if one is negative.
    """
    logits, mu, log_sigma = prediction.logits, prediction.mu, prediction.log_sigma
    tau = torch.as_tensor(temperature, dtype=torch.float64)
    if (tau < 0).any():
        raise ValueError(f"temperature must be 0 or more, got {tau.min():g}")
    if not tau.any():
        chosen = logits.argmax(-1, keepdim=True)
        return mu.gather(-1, chosen)[..., 0]
    if noise is None:
        like: dict[str, Any] = {"generator": generator, "device": mu.device, "dtype": mu.dtype}
        pick, normal = torch.rand(mu.shape[:-1], **like), torch.randn(mu.shape[:-1], **like)
    else:
        pick, normal = noise.pick[:, None], noise.normal[:, None]
    # Inverse transform sampling: the Gaussian in whose part of the cumulated weights `pick` falls.
    # (By max, exp and cumsum: for five weights several times faster than torch.softmax.)
    below = logits - logits.amax(-1, keepdim=True)
    weights = (below / tau[..., None].clamp(1e-6).to(mu)).exp().cumsum(-1)
    chosen = (weights[..., :-1] < pick[..., None] * weights[..., -1:]).sum(-1, keepdim=True)
    mu, sigma = mu.gather(-1, chosen)[..., 0], log_sigma.gather(-1, chosen)[..., 0].exp()
    return mu + sigma * tau.sqrt().to(mu) * normal


def mixture_mean(prediction: Prediction) -> Tensor:
    """The mean of the whole mixture, sum_k pi_k mu_k: (B, T, D)."""
    return (prediction.log_pi.exp() * prediction.mu).sum(-1)
