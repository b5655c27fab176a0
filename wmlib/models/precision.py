"""16-bit floats where the processor is faster with them."""

from functools import lru_cache

import torch


def half_precision(device: torch.device) -> torch.autocast:
    """A context in which V's layers use 16-bit floats, if the device is faster with them."""
    return torch.autocast(device.type, torch.bfloat16, enabled=_has_bfloat16(device.type))


@lru_cache
def _has_bfloat16(device: str) -> bool:
    if device != "cpu":
        return device == "cuda"
    # Other processors would only emulate them, and be slower for it. (Older torch cannot tell.)
    return getattr(torch.cpu, "get_capabilities", dict)().get("avx512_bf16", False)
