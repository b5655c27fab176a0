"""Build cells: the reader writes a function, `check` compares it with the package's own.

    def kl_divergence(mu, logvar):
        \"\"\"KL( N(mu, exp(logvar)) || N(0, 1) ), in nats, elementwise.\"\"\"
        ...

    kl_divergence = build.check(kl_divergence)

A chapter runs on whether or not anything was written: `check` returns the reader's function once it
is right, and the package's until then. `hint` and `solution` print help.
"""

from collections.abc import Callable
from typing import TypeVar

from wmlib.view.build.exercise import Exercise, is_unwritten

__all__ = ["check", "exercises", "hint", "solution"]

Function = TypeVar("Function", bound=Callable)


def exercises() -> dict[str, Exercise]:
    """All exercises by name, in the order of the chapters."""
    # Only here: each chapter's module imports what its chapter is about.
    from wmlib.view.build import (
        ablation,
        controller,
        dream,
        full_loop,
        lookahead,
        loop,
        loss,
        memory,
        mixture,
        rollout,
        survival,
        vision,
    )

    chapters_0_to_4 = (loss, mixture, vision, memory, rollout, controller)
    modules = (*chapters_0_to_4, full_loop, loop, dream, ablation, survival, lookahead)
    return {e.name: e for module in modules for e in module.EXERCISES}


def _named(name: str) -> Exercise:
    known = exercises()
    if name not in known:
        raise ValueError(f"there is no exercise {name!r}; there are {', '.join(known)}")
    return known[name]


def check(function: Function) -> Function:
    """Compare a function with the package's own, by its name; print what differs.

    Returns the function itself if it is right, and the package's otherwise. Raises ValueError if
    there is no exercise of that name.
    """
    exercise = _named(function.__name__)
    more = f'build.hint("{exercise.name}") has a hint, build.solution("{exercise.name}") a solution'
    if is_unwritten(function):
        print(f"{exercise.name} is not written yet: the chapter uses the package's own.\n{more}.")
        return exercise.reference  # type: ignore[return-value]
    wrong = exercise.verdict(function)
    if wrong is None:
        print(f"{exercise.name} is right: from here on the chapter uses yours.")
        return function
    print(f"{exercise.name}: {wrong}\nUntil it is right, the chapter uses the package's. {more}.")
    return exercise.reference  # type: ignore[return-value]


def hint(name: str) -> None:
    """Print an exercise's hint. Raises ValueError for an unknown name."""
    print(_named(name).hint)


def solution(name: str) -> None:
    """Print an exercise's solution. Raises ValueError for an unknown name."""
    print(_named(name).source())
