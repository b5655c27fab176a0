"""Timing, and the restriction to one core."""

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from typing import Any

import cv2
import torch


def timed(function: Callable[[], Any]) -> tuple[Any, float]:
    """The function's return value, and the seconds that it took."""
    began = time.perf_counter()
    result = function()
    return result, time.perf_counter() - began


def per_second(function: Callable[[], Any], times: int) -> float:
    """Calls per second, timed over `times` calls after an untimed one."""
    function()  # the first call may fill caches
    _, seconds = timed(lambda: [function() for _ in range(times)])
    return times / seconds


@contextlib.contextmanager
def one_core() -> Iterator[None]:
    """One thread, for torch and OpenCV; on Linux, the process is also restricted to one core."""
    threads, affinity = torch.get_num_threads(), None
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    if hasattr(os, "sched_getaffinity"):  # Linux
        affinity = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {min(affinity)})
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        cv2.setNumThreads(-1)
        if affinity is not None:
            os.sched_setaffinity(0, affinity)
