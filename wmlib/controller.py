"""C, the controller: one linear layer from what the agent knows to what it does (paper A.3).

[z, h] (288 numbers) -> 3 actions, 867 parameters. A controller is a flat vector, because that is
how CMA-ES thinks of it, and a population is a matrix of such vectors, acting all at once.
"""

import numpy as np
import torch
from torch import Tensor


class Controller:
    """A population of P linear controllers, action = squash(W [z, h] + b). P = 1 is the usual case.

    parameters: (P, n) or (n,) array, float, each row W (action_size x feature_size, row by row)
    and then b; None is all zeros. Raises ValueError if the length does not fit.
    """

    def __init__(
        self,
        parameters: np.ndarray | Tensor | None = None,
        feature_size: int = 288,
        action_size: int = 3,
    ):
        self.feature_size, self.action_size = feature_size, action_size
        if parameters is None:
            parameters = np.zeros(self.num_parameters)
        self.parameters = parameters

    @property
    def num_parameters(self) -> int:
        """Parameters of one controller: 867 for 288 features and 3 actions."""
        return (self.feature_size + 1) * self.action_size

    @property
    def config(self) -> dict:
        """The arguments, but for the parameters, that build this controller again."""
        return {"feature_size": self.feature_size, "action_size": self.action_size}

    @property
    def parameters(self) -> np.ndarray:
        """All controllers as one float64 matrix (P, n), CMA-ES's own precision."""
        return self._parameters.copy()

    @parameters.setter
    def parameters(self, values: np.ndarray | Tensor) -> None:
        values = np.atleast_2d(np.asarray(values, dtype=np.float64))
        if values.shape[1] != self.num_parameters:
            raise ValueError(
                f"a controller from {self.feature_size} features to {self.action_size} actions has "
                f"{self.num_parameters} parameters, got {values.shape[1]}"
            )
        self._parameters = values
        matrix = torch.as_tensor(values, dtype=torch.float32)
        split = self.action_size * self.feature_size
        self._weight = matrix[:, :split].unflatten(1, (self.action_size, self.feature_size))
        self._bias = matrix[:, split:]

    def __reduce__(self):
        # Plain arrays travel to any worker; torch would send handles of shared memory instead.
        return Controller, (self._parameters, self.feature_size, self.action_size)

    def __len__(self) -> int:
        """How many controllers."""
        return len(self._parameters)

    @property
    def weight(self) -> Tensor:
        """W of every controller: (P, action_size, feature_size) float32."""
        return self._weight

    def without(self, inputs: Tensor | np.ndarray | slice, average: Tensor) -> "Controller":
        """The same controllers, with some of their inputs frozen at their average (n,).

        What these contributed on average stays, as a constant: only what *changes* is taken away.
        """
        weight, bias = self._weight.double().clone(), self._bias.double()
        bias = bias + weight[:, :, inputs] @ average[inputs].double()
        weight[:, :, inputs] = 0
        parameters = torch.cat([weight.flatten(1), bias], dim=1)
        return Controller(parameters, self.feature_size, self.action_size)

    def __call__(self, features: Tensor, members: Tensor | np.ndarray | None = None) -> Tensor:
        """Features (B, feature_size) -> actions (B, action_size); row i is driven by members[i].

        `members` (B,) int picks a controller for each row; without it the first drives them all.
        """
        return squash(self.raw(features, members))

    def raw(self, features: Tensor, members: Tensor | np.ndarray | None = None) -> Tensor:
        """W [z, h] + b alone, before `squash`: (B, action_size)."""
        if features.shape[-1] != self.feature_size:
            raise ValueError(
                f"this controller reads {self.feature_size} features, got {features.shape[-1]}"
            )
        if members is None:
            members = torch.zeros(len(features), dtype=torch.long)
        members = torch.as_tensor(members)
        weight, bias = self._weight[members], self._bias[members]
        raw = torch.einsum("baf,bf->ba", weight.to(features.device), features)
        return raw + bias.to(features.device)


class Directions:
    """A smaller space in which to look for a C: the main directions in which [z, h] moves.

    C's 288 inputs do not move independently, and some hardly move at all; of 867 random changes to
    its weights, most are changes to nothing. Here a change to C reads y = matrix (x - mean). Row i
    of the matrix (k, n) is the i-th principal component of the features, divided by the square root
    of its standard deviation: y's components differ less in size than x's do, yet those that matter
    more still do more. All are scaled together so that the mean of |y|^2 is 1, and a change to the
    bias (how much gas on average, say) does as much as one to all the rest.

    Every such change is linear in x, so a C that was changed is one of the usual kind.

    mean: (n,), matrix: (k, n), float64.
    """

    def __init__(self, mean: np.ndarray, matrix: np.ndarray, action_size: int = 3):
        self.mean, self.matrix, self.action_size = mean, matrix, action_size

    @classmethod
    def of(cls, features: Tensor, k: int, action_size: int = 3) -> "Directions":
        """The first k of features (N, n). Raises ValueError if there are fewer than k."""
        x = features.double().cpu().numpy()
        variances, vectors = np.linalg.eigh(np.cov(x.T))
        if not 1 <= k <= len(variances):
            raise ValueError(f"the number of directions must be 1 to {len(variances)}, got {k}")
        deviations = np.sqrt(variances[::-1][:k])
        matrix = (vectors[:, ::-1][:, :k] / np.sqrt(deviations)).T
        return cls(x.mean(0), matrix / np.sqrt(deviations.sum()), action_size)

    @property
    def num_parameters(self) -> int:
        """Numbers to search over: 75 for 24 directions and 3 actions."""
        return (len(self.matrix) + 1) * self.action_size

    def expand(self, points: np.ndarray) -> np.ndarray:
        """Points (P, num_parameters) or (num_parameters,) -> what to add to C's parameters (P, n).

        Linear: zeros change nothing.
        """
        points = np.atleast_2d(points)
        weight, bias = np.split(points, [-self.action_size], axis=1)
        weight = weight.reshape(len(points), self.action_size, -1) @ self.matrix
        bias = bias - weight @ self.mean
        return np.concatenate([weight.reshape(len(points), -1), bias], axis=1)


def imitate(features: Tensor, raw: Tensor, ridge: float = 1.0) -> Controller:
    """The linear controller that comes closest to `raw` (N, A), reading `features` (N, n).

    Least squares, with `ridge` times the squared weights added. For a driver whose world model was
    retrained: its C cannot read the new [z, h], but the new one can be fitted to do what it did.
    """
    x, y = features.double(), raw.double()
    x_mean, y_mean = x.mean(0), y.mean(0)
    x = x - x_mean
    gram = x.T @ x + ridge * torch.eye(x.shape[1], dtype=x.dtype)
    weight = torch.linalg.solve(gram, x.T @ (y - y_mean)).T
    parameters = torch.cat([weight.flatten(), y_mean - weight @ x_mean])
    return Controller(parameters, feature_size=x.shape[1], action_size=y.shape[1])


def squash(raw: Tensor) -> Tensor:
    """Three raw outputs (B, 3) -> CarRacing's steering -1..1, gas 0..1, brake 0..1 (paper A.3).

    tanh on all, then gas = (a + 1) / 2 and brake = clip(a, 0, 1). Any other number of outputs
    gets the tanh alone.
    """
    squashed = raw.tanh()
    if squashed.shape[-1] != 3:
        return squashed
    steering, gas, brake = squashed.unbind(-1)
    return torch.stack([steering, (gas + 1) / 2, brake.clamp(0, 1)], dim=-1)
