"""Runs the smallest scale with many seeds, and prints a table of how each run ended.

    python tests/smoke_seeds.py --seeds 0-19

No run may fail because of the result of its very short training. Results differ between processors;
that every run completes must not. The exit code is 1 if a run failed. (The test suite runs a few of
these cases.)
"""

import argparse
import contextlib
import io
import itertools
import logging
import os
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

KINDS = {"real": [], "dream": ["--dream"], "short": ["--dream", "--max-steps", "60"]}


def outcome_of(seed: int, kind: str, size: int) -> str:
    """ "ok", or the error that `python -m wmlib run car_racing` ended in."""
    import torch

    from wmlib.tools.cli import main

    torch.set_num_threads(1)
    logging.disable(logging.WARNING)
    error = io.StringIO()
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stderr(error):
        with contextlib.redirect_stdout(io.StringIO()):
            code = main(
                ["run", "car_racing", "--scale", "smoke", "--seed", str(seed), "--folder", folder,
                 "--frame-size", str(size), *KINDS[kind]]
            )  # fmt: skip
    return "ok" if code == 0 else error.getvalue().strip()


def main() -> int:
    """Run all cases; returns 0 if every run completed, else 1."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", default="0-19", help="FIRST-LAST; default: 0-19")
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    arguments = parser.parse_args()
    first, last = (int(part) for part in arguments.seeds.split("-"))
    cases = list(itertools.product(range(first, last + 1), KINDS, (64, 96)))
    began = time.monotonic()
    with ProcessPoolExecutor(arguments.processes, get_context("spawn")) as executor:
        outcomes = list(executor.map(outcome_of, *zip(*cases, strict=True)))
    columns = list(itertools.product(KINDS, (64, 96)))
    print("seed  " + "  ".join(f"{kind} {size}".ljust(8) for kind, size in columns))
    outcome = dict(zip(cases, outcomes, strict=True))
    for seed in range(first, last + 1):
        cells = ("ok" if outcome[(seed, *column)] == "ok" else "ERROR" for column in columns)
        print(f"{seed:>4}  " + "  ".join(cell.ljust(8) for cell in cells))
    failed = {case: error for case, error in outcome.items() if error != "ok"}
    for case, error in failed.items():
        print(*case, error)
    print(f"{len(cases) - len(failed)} of {len(cases)} completed, {time.monotonic() - began:.0f} s")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
