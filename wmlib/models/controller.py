"""C, the controller: one linear layer from what V and M know, [z, h], to an action.

Ha & Schmidhuber 2018, section 2.3 and appendix A.3: 867 parameters for CarRacing, small enough for
an evolution strategy (`training/evolution.py`), which needs no gradient.

For VizDoom the paper's C has no bias and also reads the LSTM's cell state c: 1,088 parameters.

Differs from the paper in:
- one object holds a whole population, and every row of a batch may use another member;
- `with_fixed`, for ablations: inputs fixed at their average.
As in the paper's version for CarRacing, tanh squashes the actions into CarRacing's ranges.
"""

import numpy as np
import torch
from torch import Tensor


class Controller:
    """A population of P linear controllers, action = squash(W [z, h] + b). P = 1 is the usual case.

    parameters: (P, n) or (n,) array, float, each row W (action_size x feature_size, row by row)
    and then b; None is all zeros. bias: False leaves b out. Raises ValueError if the length does
    not fit.
    """

    def __init__(
        self,
        parameters: np.ndarray | Tensor | None = None,
        feature_size: int = 288,
        action_size: int = 3,
        bias: bool = True,
    ):
        self.feature_size, self.action_size, self.bias = feature_size, action_size, bias
        if parameters is None:
            parameters = np.zeros(self.num_parameters)
        self.parameters = parameters

    @property
    def num_parameters(self) -> int:
        """Parameters of one controller: 867 for 288 features and 3 actions."""
        return (self.feature_size + self.bias) * self.action_size

    @property
    def config(self) -> dict:
        """The arguments, but for the parameters, that build this controller again."""
        sizes = {"feature_size": self.feature_size, "action_size": self.action_size}
        return sizes if self.bias else sizes | {"bias": False}

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
        self._unpack(torch.as_tensor(values, dtype=torch.float32))

    def _unpack(self, matrix: Tensor) -> None:
        # From parameters (P, n) to the layers' weights.
        split = self.action_size * self.feature_size
        self._weight = matrix[:, :split].unflatten(1, (self.action_size, self.feature_size))
        self._bias = matrix[:, split:] if self.bias else matrix.new_zeros(len(matrix), 1)

    def __len__(self) -> int:
        """How many controllers."""
        return len(self._parameters)

    @property
    def weight(self) -> Tensor:
        """W of every controller: (P, action_size, feature_size) float32."""
        return self._weight

    def with_fixed(self, inputs: Tensor | np.ndarray | slice, average: Tensor) -> "Controller":
        """The same controllers, with some of their inputs fixed at their average (n,).

        What these contributed on average stays, as a constant: only what *changes* is taken away.
        Raises ValueError for controllers without a bias, which have no place for it.
        """
        if not self.bias:
            raise ValueError("a controller without a bias cannot have inputs fixed")
        weight, bias = self._weight.double().clone(), self._bias.double()
        bias = bias + weight[:, :, inputs] @ average[inputs].double()
        weight[:, :, inputs] = 0
        parameters = torch.cat([weight.flatten(1), bias], dim=1)
        return Controller(parameters, self.feature_size, self.action_size)

    def __call__(self, features: Tensor, members: Tensor | np.ndarray | None = None) -> Tensor:
        """Features (B, feature_size) -> actions (B, action_size), both float32.

        members (B,) int: the controller of each row; by default the first for all rows. Raises
        ValueError for features of another size.
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
