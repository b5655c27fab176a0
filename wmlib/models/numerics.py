"""What makes V and M fast and steady on any processor; no part of the idea."""

from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.nn.functional import pad


class SteadyLinear(nn.Linear):
    """As `nn.Linear`, but no row's last bits depend on how many others there are.

    Where a matrix has few rows (up to 3 on one processor, up to 10 on another), libraries sum in
    another order than where it has many. An episode is chaotic enough to end elsewhere for that,
    and a score would depend on who else was driving: so there are always `LEAST_ROWS`, the missing
    ones being zeros.
    """

    LEAST_ROWS = 16

    def forward(self, input: Tensor) -> Tensor:
        """(..., in_features) -> (..., out_features)."""
        rows = input.flatten(0, -2)
        missing = self.LEAST_ROWS - len(rows)
        if missing <= 0:
            return super().forward(input)
        return super().forward(pad(rows, (0, 0, 0, missing)))[:-missing].view(*input.shape[:-1], -1)


def half_precision(device: torch.device) -> torch.autocast:
    """A context in which V's layers use 16-bit floats, if the device is faster with them."""
    return torch.autocast(device.type, torch.bfloat16, enabled=_has_bfloat16(device.type))


@lru_cache
def _has_bfloat16(device: str) -> bool:
    if device != "cpu":
        return device == "cuda"
    # Other processors would only emulate them, and be slower for it. (Older torch cannot tell.)
    return getattr(torch.cpu, "get_capabilities", dict)().get("avx512_bf16", False)
