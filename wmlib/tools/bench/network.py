"""V and M, with random weights, on which their speed does not depend."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from wmlib.models.mdn_rnn import MDNRNN
from wmlib.models.vae import VAE, frames_to_tensor
from wmlib.models.world_model import WorldModel
from wmlib.tools.bench.measure import NETWORKS, Measurement
from wmlib.tools.bench.timing import one_core, per_second, timed
from wmlib.training.batches import Sequences
from wmlib.training.fit import fit, mdn_rnn_step, vae_step

ENCODES, V_TRAINS, M_TRAINS = "V encodes, 16-bit where faster", "V trains", "M trains"
ENCODED = 64  # frames per call of V's encoder
V_BATCH = 100  # frames
M_BATCH = 32, 100  # windows, agent steps per window


def networks() -> list[Measurement]:
    """Measurements of frames per second: V encodes, on one core; V and M train, on all."""
    model = WorldModel(VAE(), MDNRNN())
    rng = np.random.default_rng(0)
    frames = torch.from_numpy(rng.integers(0, 255, (V_BATCH, 64, 64, 3), dtype=np.uint8))
    generator = torch.Generator().manual_seed(0)
    windows = Sequences(
        mu=torch.randn(M_BATCH[0], M_BATCH[1] + 1, 32, generator=generator),
        logvar=torch.zeros(M_BATCH[0], M_BATCH[1] + 1, 32),
        previous=torch.zeros(M_BATCH[0], M_BATCH[1] + 1),
        actions=torch.zeros(*M_BATCH, 3),
        **{name: torch.ones(M_BATCH) for name in ("rewards", "done", "mask")},
    )
    cores = torch.get_num_threads()

    @torch.no_grad()
    def full_precision(i: int) -> float:
        pictures = frames_to_tensor(frames[:ENCODED])
        with one_core():
            return ENCODED * per_second(lambda: model.vae.encode(pictures), 10)

    def half_precision(i: int) -> float:
        with one_core():
            return ENCODED * per_second(lambda: model.encode(frames[:ENCODED]), 10)

    def v_trains(i: int) -> float:
        return V_BATCH * _batches_per_second(VAE, vae_step, frames)

    def m_trains(i: int) -> float:
        return M_BATCH[0] * M_BATCH[1] * _batches_per_second(MDNRNN, mdn_rnn_step, windows)

    return [
        Measurement("V encodes, 32-bit floats", NETWORKS, 1, full_precision),
        Measurement(ENCODES, NETWORKS, 1, half_precision),
        Measurement(V_TRAINS, NETWORKS, cores, v_trains),
        Measurement(M_TRAINS, NETWORKS, cores, m_trains),
    ]


class _Batches:
    """Epochs of `count` times the same batch."""

    def __init__(self, batch: Any, count: int):
        self._batches = [batch] * count

    def __len__(self) -> int:
        return len(self._batches)

    def __call__(self, epoch: int) -> list:
        return self._batches


def _batches_per_second(
    network: type[torch.nn.Module], step: Callable, batch: Any, count: int = 4
) -> float:
    settings: dict[str, Any] = {"epochs": 1, "learning_rate": 1e-4, "seed": 0, "device": "cpu"}
    fit(network(), step, _Batches(batch, 1), **settings)  # untimed, to fill caches
    fresh, batches = network(), _Batches(batch, count)
    _, seconds = timed(lambda: fit(fresh, step, batches, **settings))
    return count / seconds
