"""Precision, rounding and speed of V and M on different processors; no part of the idea."""

from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

LEAST_ROWS = 16


def steady(network: nn.Module) -> None:
    """Let no row of a batch depend on the number of other rows, not even in its last bits.

    The order in which a matrix product sums depends on the number of rows where there are few (up
    to 3 on one processor, up to 10 on another), and where the matrix has a single column. Episodes
    are chaotic: a score would depend on which other episodes ran beside it. So every `nn.Linear` of
    the network computes with at least `LEAST_ROWS` rows, and a single column row by row.

    Weights, names and shapes stay as they are; a second call changes nothing.
    """
    for layer in network.modules():
        if type(layer) is nn.Linear:
            layer.__class__ = _SteadyLinear


class _SteadyLinear(nn.Linear):
    def forward(self, input: Tensor) -> Tensor:
        """(..., in_features) -> (..., out_features)."""
        if self.out_features == 1:
            return (input * self.weight[0]).sum(-1, keepdim=True) + self.bias
        rows = input.flatten(0, -2)
        missing = LEAST_ROWS - len(rows)
        if missing <= 0:
            return super().forward(input)
        return super().forward(pad(rows, (0, 0, 0, missing)))[:-missing].view(*input.shape[:-1], -1)


class SinglePixelUp(nn.ConvTranspose2d):
    """A transposed convolution of 1x1 inputs, without padding: `kernel` x `kernel` outputs.

    Of a single pixel this is a product of matrices, for which PyTorch's convolutions were so slow
    on a CPU that they took half of V's training time (batches of 32 frames). Weights, names and
    shapes stay as they are.
    """

    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:
        """(B, in_channels, 1, 1) -> (B, out_channels, kernel, kernel)."""
        weight = self.weight.movedim(1, -1)  # channels last, as it lies in memory: nothing moves
        rows = input.flatten(1) @ weight.flatten(1)
        pixels = rows.unflatten(1, weight.shape[1:]) + self.bias
        return pixels.to(rows).movedim(-1, 1)


def half_precision(device: torch.device, wanted: bool = True) -> AbstractContextManager:
    """A context in which layers compute with 16-bit floats, if wanted and faster on the device."""
    if wanted and _is_faster_with_bfloat16(device.type):
        return torch.autocast(device.type, torch.bfloat16)
    return nullcontext()


@lru_cache
def _is_faster_with_bfloat16(device: str) -> bool:
    if device != "cpu":
        return device == "cuda"
    # Where the processor multiplies matrices of them (AMX), V's encoder was 1.8 times as fast; with
    # AVX-512's instructions for them 1.8 times on an AMD EPYC (Zen 4), and 0.65 times on another
    # processor. Others would emulate them. (Older torch cannot tell.)
    capabilities: dict = getattr(torch.cpu, "get_capabilities", dict)()
    amd = str(capabilities.get("cpu_name", "")).startswith("AMD")
    return capabilities.get("amx_bf16", False) or (amd and capabilities.get("avx512_bf16", False))
