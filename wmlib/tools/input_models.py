"""World models and a controller that differ in what C reads: the arms of `ablate inputs`."""

import numpy as np
import torch
from torch import Tensor

from wmlib.models.controller import Controller
from wmlib.models.world_model import State, WorldModel
from wmlib.training.search_space import Directions


class WithoutMemory(WorldModel):
    """M begins every step with h and c at 0: its h is a function of the last z and action alone."""

    @torch.no_grad()
    def remember(
        self, state: State, actions: Tensor, few_rows: bool = False
    ) -> tuple[Tensor, Tensor]:
        """As of `WorldModel`."""
        fresh = state._replace(h=torch.zeros_like(state.h), c=torch.zeros_like(state.c))
        return super().remember(fresh, actions, few_rows)


class WithLastChange(WorldModel):
    """In place of h is the last change of z, z[t] - z[t - 1]; M is not used."""

    @property
    def feature_size(self) -> int:
        """Length of [z, change]."""
        return 2 * self.vae.z_size

    @torch.no_grad()
    def begin(self, frames: np.ndarray | Tensor) -> State:
        """As of `WorldModel`; the first change is 0."""
        z = self.encode(frames)
        return State(z, torch.zeros_like(z), torch.zeros_like(z), z.new_zeros(len(z)))

    @torch.no_grad()
    def observe(
        self,
        state: State,
        actions: Tensor,
        frames: np.ndarray | Tensor,
        rewards: Tensor | None = None,
    ) -> State:
        """As of `WorldModel`; actions and rewards, which only M reads, are not kept."""
        now = self.begin(frames)
        return now._replace(h=now.z - state.z)


class Projected(WorldModel):
    """What C reads is [z, h] along some directions: their k components."""

    directions: Directions

    @classmethod
    def of(cls, world_model: WorldModel, directions: Directions) -> "Projected":
        """The same world model."""
        projected = cls(world_model.vae, world_model.mdn_rnn)
        projected.directions = directions
        return projected

    @property
    def feature_size(self) -> int:
        """How many directions there are."""
        return len(self.directions.matrix)

    def features(self, state: State) -> Tensor:
        """(B, k) float32."""
        return self.project(super().features(state))

    def project(self, features: Tensor) -> Tensor:
        """[z, h] (B, n) -> its components (B, k), both float32."""
        centred = features.double() - torch.from_numpy(self.directions.mean)
        return (centred @ torch.from_numpy(self.directions.matrix).T).float()


class HiddenController(Controller):
    """C with a hidden layer of tanh units: squash(W2 tanh(W1 x + b1) + b2).

    parameters: (P, n) or (n,), each row W1 (hidden x feature_size, row by row), b1, W2 (action_size
    x hidden) and b2.
    """

    def __init__(
        self,
        parameters: np.ndarray | Tensor | None = None,
        feature_size: int = 24,
        action_size: int = 3,
        hidden: int = 16,
    ):
        self.hidden = hidden
        super().__init__(parameters, feature_size, action_size)

    @property
    def num_parameters(self) -> int:
        """Parameters of one controller: 451 for 24 features, 16 hidden units and 3 actions."""
        return (self.feature_size + 1) * self.hidden + (self.hidden + 1) * self.action_size

    @property
    def config(self) -> dict:
        """As of `Controller`."""
        return super().config | {"hidden": self.hidden}

    def _unpack(self, matrix: Tensor) -> None:
        sizes = [self.hidden * self.feature_size, self.hidden, self.action_size * self.hidden]
        self._layers = matrix.split([*sizes, self.action_size], dim=1)

    def raw(self, features: Tensor, members: Tensor | np.ndarray | None = None) -> Tensor:
        """W2 tanh(W1 x + b1) + b2: (B, action_size)."""
        if members is None:
            members = torch.zeros(len(features), dtype=torch.long)
        w1, b1, w2, b2 = (part[torch.as_tensor(members)] for part in self._layers)
        w1 = w1.unflatten(1, (self.hidden, self.feature_size))
        w2 = w2.unflatten(1, (self.action_size, self.hidden))
        units = (torch.einsum("bhf,bf->bh", w1, features) + b1).tanh()
        return torch.einsum("bah,bh->ba", w2, units) + b2


def hidden_step(features: Tensor, raw_step: float, hidden: int = 16) -> float:
    """The step size around zero at which raw outputs of a `HiddenController` have an RMS of this.

    features: (N, k) float, over which the RMS is taken, and over random candidates.
    """
    rng, size = np.random.default_rng(0), features.shape[1]
    rows = features[torch.linspace(0, len(features) - 1, 200).long()].float()
    shape = HiddenController(feature_size=size, hidden=hidden)
    directions = rng.normal(size=(64, shape.num_parameters))
    low, high = 0.0, 16.0
    for _ in range(30):
        sigma = (low + high) / 2
        everyone = HiddenController(sigma * directions, **shape.config)
        members = np.repeat(np.arange(64), len(rows))
        raw = everyone.raw(rows.repeat(64, 1), members)
        low, high = (sigma, high) if raw.square().mean().sqrt() < raw_step else (low, sigma)
    return sigma
