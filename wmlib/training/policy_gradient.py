"""Policy gradient for C: the natural gradient of a linear policy, in closed form, with a critic.

While it learns, the controller adds Gaussian noise e to its raw outputs W y + b. A critic, a small
network, predicts the rewards to come, and the *advantage* A of a step says how much more of them
there were. The natural gradient (Kakade 2001) of the expected rewards is then, for whitened inputs
y and noise of unit variance, the average of A e [y, 1]^T: where advantage and noise go together,
and at which inputs. No backpropagation through C is needed.

Linear policies with natural gradients: Rajeswaran et al. 2017. Advantages: Schulman et al. 2016.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from wmlib.training.search_space import Directions

CRITIC_UPDATES = 2  # first updates of the critic alone: before it can predict, all is noise
BATCH, PASSES = 1024, 4  # of the critic's training: steps in a batch, passes in an update


class Experience(NamedTuple):
    """An episode of T agent steps, as an update learns from it.

    features (T, n) float32: what C read. noise (T, A) float32, of unit variance: what it added to
    its outputs. rewards (T,) float, discounts (T,) float 0..1: of what follows each step. goes_on:
    whether the task would have gone on behind the last step; if not, no rewards follow it.
    """

    features: np.ndarray
    noise: np.ndarray
    rewards: np.ndarray
    discounts: np.ndarray
    goes_on: bool


def advantages(episode: Experience, values: np.ndarray, decay: float) -> np.ndarray:
    """Generalized advantage estimation: (T,) float.

    values (T,): the critic's. decay: lambda, 0 to 1; with 0 only the next reward and value count,
    with 1 all rewards that followed. Where the task goes on, the last value stands for what would
    have followed.
    """
    following = np.append(values[1:], values[-1] if episode.goes_on else 0.0)
    errors = episode.rewards + episode.discounts * following - values
    result, total = np.zeros(len(errors)), 0.0
    for t in reversed(range(len(errors))):
        total = errors[t] + episode.discounts[t] * decay * total
        result[t] = total
    return result


def natural_gradient(inputs: Tensor, noise: Tensor, advantages: Tensor) -> Tensor:
    """Inputs (N, k), noise (N, A) and advantages (N,) of N steps -> gradient (A, k + 1).

    Its last column is that of the bias. In units of the noise's scale.
    """
    extended = torch.cat([inputs, torch.ones_like(inputs[:, :1])], dim=1)
    return (advantages[:, None] * noise).T @ extended / len(extended)


class PolicyGradient(nn.Module):
    """A search for a better C by policy gradient: what it came to so far, and its critic.

    The changes that it makes to C lie along the first k principal components of what C reads, of
    unit variance each. feature_size, action_size: n and A. scale: SD of the noise on C's outputs.
    step: by how much one changes the noisy policy, as a KL divergence in nats. momentum: 0 to
    1, share of the earlier gradients in the next step. decay: see `advantages`.
    """

    change: Tensor  # (A, k + 1) float32, of the raw outputs by each component, and of the bias
    average: Tensor  # the same, a running mean of the last ten updates or so
    gradient: Tensor
    mean: Tensor
    matrix: Tensor

    def __init__(
        self,
        feature_size: int,
        action_size: int,
        k: int,
        scale: float,
        step: float,
        momentum: float,
        decay: float,
    ):
        super().__init__()
        self.scale, self.step, self.momentum, self.decay = scale, step, momentum, decay
        for name in ("change", "average", "gradient"):
            self.register_buffer(name, torch.zeros(action_size, k + 1))
        self.register_buffer("mean", torch.zeros(feature_size))
        self.register_buffer("matrix", torch.zeros(k, feature_size))
        self.critic = nn.Sequential(
            nn.Linear(k, 128), nn.Tanh(), nn.Linear(128, 128), nn.Tanh(), nn.Linear(128, 1)
        )

    def begin(self, features: Tensor) -> None:
        """Find the components of features (N, n). ValueError if they vary in fewer than k ways."""
        found = Directions.of(features, len(self.matrix), len(self.change), whiten=True)
        self.mean.copy_(torch.from_numpy(found.mean))
        self.matrix.copy_(torch.from_numpy(found.matrix))

    def added(self, change: Tensor) -> np.ndarray:
        """A change (A, k + 1), or the average of changes, as what to add to C's parameters."""
        directions = Directions(self.mean.numpy(), self.matrix.numpy(), len(change))
        point = torch.cat([change[:, :-1].flatten(), change[:, -1]])
        return directions.expand(point.numpy())[0]

    def update(
        self,
        episodes: Sequence[Experience],
        number: int,
        optimizer: torch.optim.Optimizer,
        generator: torch.Generator,
        left: float = 1.0,
    ) -> float:
        """One update of the critic (with `optimizer`) and, from the third on, of the change.

        number: of updates before. generator: shuffles the steps for the critic. left: the step's
        length, as a share of the usual one. Advantages are by the critic as it was before it
        learned from these episodes. Returns the share of its targets' variance that this critic
        predicted.
        """
        features = torch.from_numpy(np.concatenate([e.features for e in episodes]))
        noise = torch.from_numpy(np.concatenate([e.noise for e in episodes]))
        if number == 0:
            self.begin(features)
        inputs = (features - self.mean) @ self.matrix.T
        with torch.no_grad():
            values = self.critic(inputs)[:, 0].double().numpy()
        parts = np.split(values, np.cumsum([len(e.rewards) for e in episodes])[:-1])
        pairs = zip(episodes, parts, strict=True)
        gained = np.concatenate([advantages(e, part, self.decay) for e, part in pairs])
        targets = gained + values
        for steps in torch.randperm(len(inputs) * PASSES, generator=generator).split(BATCH):
            steps = steps % len(inputs)
            wanted = torch.from_numpy(targets[steps.numpy()]).float()
            loss = nn.functional.mse_loss(self.critic(inputs[steps])[:, 0], wanted)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        if number >= CRITIC_UPDATES:
            normal = (gained - gained.mean()) / max(gained.std(), 1e-9)
            gradient = natural_gradient(inputs, noise, torch.from_numpy(normal).float())
            self._move(gradient, left * math.sqrt(2 * self.step))
        return 1 - gained.var() / max(targets.var(), 1e-9)

    def _move(self, gradient: Tensor, length: float) -> None:
        # As far as `step` allows: for whitened inputs, a change D of the outputs by their noise's
        # scale has a KL divergence of |D|^2 / 2.
        self.gradient.lerp_(gradient, 1 - self.momentum)
        self.change += self.gradient * self.scale * length / max(float(self.gradient.norm()), 1e-9)
        self.average.lerp_(self.change, 0.1)
