"""A smaller space to search for a controller in; imitation of a controller by least squares."""

import numpy as np
import torch
from torch import Tensor

from wmlib.models.controller import Controller


class Directions:
    """The search space for C: linear functions of the first principal components of [z, h].

    A point of this space is a weight for each component and action, and a bias per action: a change
    to C is W y + b with y = matrix (x - mean). Row i of the matrix (k, n) is the i-th principal
    component of the features x, divided by the square root of its standard deviation. All rows have
    a common factor, with which the mean of |y|^2 is 1: a random change then varies the outputs as
    much through its weights as through its bias. Every such change is linear in x.

    mean: (n,), matrix: (k, n), float64.
    """

    def __init__(self, mean: np.ndarray, matrix: np.ndarray, action_size: int = 3):
        self.mean, self.matrix, self.action_size = mean, matrix, action_size

    @classmethod
    def of(
        cls, features: Tensor, k: int, action_size: int = 3, blocks: tuple[int, ...] = ()
    ) -> "Directions":
        """The first k principal components of features (N, n) float.

        blocks: sizes of parts of the n features, in order. Each part is scaled to a total variance
        of 1 first: c's variance is many times that of z, and components of [z, c, h] as it is are
        nearly those of c alone. Raises ValueError unless k is 1 to the number of directions in
        which the features vary at all: at most n, at most N - 1. Along any other, the weights would
        be divided by almost 0.
        """
        x = features.double().cpu().numpy()
        scale = np.ones(x.shape[1])
        if blocks:
            parts = np.split(x.var(0), np.cumsum(blocks)[:-1])
            scale = np.repeat([1 / np.sqrt(max(part.sum(), 1e-12)) for part in parts], blocks)
        mean, x = x.mean(0), x * scale
        covariance = np.atleast_2d(np.cov(x.T)) if len(x) > 1 else np.zeros((x.shape[1],) * 2)
        rank = int(np.linalg.matrix_rank(covariance, hermitian=True))
        if not 1 <= k <= rank:
            raise ValueError(
                f"the number of directions must be 1 to {rank}, in so many do these {len(x)} "
                f"samples of {x.shape[1]} features vary, got {k}"
            )
        variances, vectors = np.linalg.eigh(covariance)
        deviations = np.sqrt(variances[::-1][:k])
        unit = np.sqrt(deviations * deviations.sum())
        return cls(mean, (vectors[:, ::-1][:, :k] / unit).T * scale, action_size)

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
    """The linear controller that fits `raw` (N, A), its outputs before tanh, to `features` (N, n).

    Least squares, with `ridge` times the squared weights added. For an agent whose world model was
    retrained: its C cannot read the new [z, h], but the new one can be fitted to do what it did.
    """
    x, y = features.double(), raw.double()
    x_mean, y_mean = x.mean(0), y.mean(0)
    x = x - x_mean
    gram = x.T @ x + ridge * torch.eye(x.shape[1], dtype=x.dtype)
    weight = torch.linalg.solve(gram, x.T @ (y - y_mean)).T
    parameters = torch.cat([weight.flatten(), y_mean - weight @ x_mean])
    return Controller(parameters, feature_size=x.shape[1], action_size=y.shape[1])
