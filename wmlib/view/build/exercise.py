"""One exercise: what the reader writes, how it is measured, and what is said where it differs."""

import inspect
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

Measured = dict[str, Any]


@dataclass(frozen=True)
class Exercise:
    """A function (or class) that the reader writes, and how it is checked.

    solution: as short as the reader could write it; its name, signature and docstring are those of
    the build cell. measure: runs a function on inputs of its own and returns named results (see
    `call`), which are compared in their order. hint: what `hint` prints. mistakes: functions with a
    typical mistake; the docstring is what is printed for a reader's function that does the same.
    package: what the chapter uses until the reader's is right, and what the reader's is compared
    with; by default the solution. tolerance: of values, relative to the largest one.
    """

    solution: Callable
    measure: Callable[[Callable], Measured]
    hint: str
    mistakes: tuple[Callable, ...] = ()
    package: Callable | None = None
    tolerance: float = 1e-4

    @property
    def name(self) -> str:
        """The name of the function."""
        return self.solution.__name__

    @property
    def reference(self) -> Callable:
        """What a reader's function is compared with."""
        return self.solution if self.package is None else self.package

    def source(self) -> str:
        """The solution's source code."""
        return textwrap.dedent(inspect.getsource(self.solution))

    def run(self, function: Callable) -> Measured:
        """`measure`, with torch's random numbers seeded and afterwards as they were before."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return self.measure(function)

    def verdict(self, function: Callable) -> str | None:
        """What is wrong with a function, in one or two sentences; None if it is right."""
        try:
            measured = self.run(function)
        except Exception as error:  # whatever the reader's code raises is reported, not raised
            return f"it raised {type(error).__name__}: {error}{_where(error, function)}."
        expected = self.run(self.reference)
        difference = first_difference(expected, measured, self.tolerance)
        if difference is None:
            return None
        for mistaken in self.mistakes:
            try:
                same = self.run(mistaken)
            except Exception:  # a mistake that ends in an error is reported as that error
                continue
            if first_difference(same, measured, self.tolerance) is None:
                return f"{difference} {message(mistaken)}"
        return difference


def message(mistake: Callable) -> str:
    """What is printed for a mistake: its docstring, on one line."""
    return " ".join((mistake.__doc__ or "").split())


def is_unwritten(function: Callable) -> bool:
    """Whether the body of a function, or of any method of a class, is still `...`."""
    methods = vars(function).values() if inspect.isclass(function) else [function]
    bodies = [m.__code__.co_code for m in methods if inspect.isfunction(m)]
    return any(body in _EMPTY_BODIES for body in bodies)


def _without_docstring(): ...


def _with_docstring():
    """As in a build cell."""
    ...


_EMPTY_BODIES = {_without_docstring.__code__.co_code, _with_docstring.__code__.co_code}


def call(function: Callable, inputs: dict[str, Any], names: tuple[str, ...] = ()) -> Measured:
    """What a function of tensors returns, and the gradients with respect to its float inputs.

    Result: "shape", then "values"; for a function that returns several tensors, `names` names them
    and each has its own "shape of ..." and values. Then "gradient of <input>" for every float
    tensor: of the results' sum, weighted at random so that it differs from entry to entry.
    """
    given = {
        name: value.clone().requires_grad_()
        if isinstance(value, Tensor) and value.is_floating_point()
        else value
        for name, value in inputs.items()
    }
    result = function(**given)
    if result is None:
        raise TypeError("it returned None, where a result was expected (a return may be missing)")
    parts = tuple(result) if names else (result,)
    if names and len(parts) != len(names):
        raise ValueError(f"it returned {len(parts)} results, expected {', '.join(names)}")
    measured: Measured = {}
    total = torch.zeros(())
    generator = torch.Generator().manual_seed(0)
    for name, part in zip(names or ("",), parts, strict=True):
        if not isinstance(part, Tensor):
            kind = type(part).__name__
            raise TypeError(f"it returned {name or 'something'} of type {kind}, expected a tensor")
        measured[f"shape of {name}" if name else "shape"] = tuple(part.shape)
        measured[name or "values"] = part.detach()
        weights = torch.rand(part.shape, generator=generator)
        total = total + (part.float() * weights).sum()
    leaves = {name: v for name, v in given.items() if isinstance(v, Tensor) and v.requires_grad}
    gradients: tuple = (None,) * len(leaves)
    if total.requires_grad:
        gradients = torch.autograd.grad(total, list(leaves.values()), allow_unused=True)
    for name, gradient in zip(leaves, gradients, strict=True):
        zero = gradient is None or not gradient.any()
        measured[f"gradient of {name}"] = None if zero else gradient
    return measured


def first_difference(expected: Measured, measured: Measured, tolerance: float) -> str | None:
    """The first entry that differs, as a sentence; None if all are equal within the tolerance."""
    for name, wanted in expected.items():
        if name not in measured:
            return f"{name} is missing."
        given = measured[name]
        if isinstance(wanted, Tensor | np.ndarray | float):
            sentence = _compare(name, wanted, given, tolerance)
            if sentence:
                return sentence
        elif given != wanted:
            return f"{name} is {given}, expected {wanted}."
    return None


def _compare(name: str, wanted: Any, given: Any, tolerance: float) -> str | None:
    if given is None:
        if name.startswith("gradient of"):
            return f"no gradient reaches {name.removeprefix('gradient of ')}."
        return f"{name}: there is nothing."
    wanted = torch.as_tensor(wanted).detach().double()
    try:
        given = torch.as_tensor(given).detach().double()
    except (TypeError, ValueError, RuntimeError):
        return f"{name}: expected numbers, got {type(given).__name__}."
    if given.shape != wanted.shape:
        return f"the shape of {name} is {tuple(given.shape)}, expected {tuple(wanted.shape)}."
    if not wanted.numel():
        return None
    if not torch.isfinite(given).all():
        count = int((~torch.isfinite(given)).sum())
        return f"{name}: {count} of {given.numel()} numbers are infinite or not a number."
    apart = (given - wanted).abs()
    if apart.max() <= tolerance * wanted.abs().max().clamp(min=1e-3):
        return None
    place = [int(i) for i in np.unravel_index(int(apart.argmax()), tuple(apart.shape))]
    where = f" at {place}" if place else ""
    yours, right = given[tuple(place)].item(), wanted[tuple(place)].item()
    return f"difference in {name}{where}: yours {yours:.4g}, expected {right:.4g}."


def _where(error: Exception, function: Callable) -> str:
    # The line of the reader's own code in which it happened.
    trace, line = error.__traceback__, None
    file = getattr(getattr(function, "__code__", None), "co_filename", None)
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == file:
            line = trace.tb_lineno
        trace = trace.tb_next
    return "" if line is None else f" (line {line} of the cell)"
