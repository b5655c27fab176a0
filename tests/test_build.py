"""Build cells: every solution, every typical mistake, and what the checker prints."""

import ast
import builtins
import inspect
import re
from pathlib import Path
from types import FunctionType

import jupytext
import pytest
import torch

from wmlib.view import build
from wmlib.view.build.exercise import Exercise, call, is_unwritten, message

EXERCISES = build.exercises()
TEXTS = sorted((Path(__file__).parents[1] / "notebooks" / "text").glob("*.py"))
each = pytest.mark.parametrize("exercise", EXERCISES.values(), ids=list(EXERCISES))


@each
def test_the_solution_is_right_and_is_used(exercise, capsys):
    assert build.check(exercise.solution) is exercise.solution
    assert "is right" in capsys.readouterr().out


@each
def test_every_typical_mistake_is_named(exercise, capsys):
    assert len(exercise.mistakes) >= 2
    for mistake in exercise.mistakes:
        mistaken = _as(exercise.name, mistake)
        assert build.check(mistaken) is exercise.reference
        assert message(mistake) in capsys.readouterr().out, mistake.__name__


def _as(name, function):
    # The same function (or class) under the exercise's name.
    if inspect.isclass(function):
        return type(name, (function,), {})
    return FunctionType(
        function.__code__, function.__globals__, name, function.__defaults__, function.__closure__
    )


def build_cells():
    """(chapter, name, the cell, all cells before it, all after it: as source) of build cells."""
    for path in TEXTS:
        cells = [c for c in jupytext.read(path).cells if c.cell_type == "code"]
        for i, cell in enumerate(cells):
            for name in re.findall(r"^(\w+) = build\.check\(\1\)$", cell.source, re.MULTILINE):
                parts = cells[:i], cells[i + 1 :]
                earlier, later = ("\n".join(c.source for c in part) for part in parts)
                yield path.stem, name, cell.source, earlier, later


def test_every_exercise_is_in_one_chapter():
    coming = {"death_loss", "survive", "safer_side"}  # of Take Cover: it has no agent yet
    assert sorted(name for _, name, *_ in build_cells()) == sorted(EXERCISES.keys() - coming)


@pytest.mark.parametrize("cell", list(build_cells()), ids=lambda cell: "-".join(cell[:2]))
def test_build_cells_are_unwritten_and_what_they_define_is_used(cell):
    """With the signature and the docstring of the solution."""
    _, name, source, _, later = cell
    namespace = {"torch": torch}
    exec(source.replace(f"{name} = build.check({name})", ""), namespace)
    written, solution = namespace[name], EXERCISES[name].solution
    assert is_unwritten(written)
    assert re.search(rf"\b{name}\(", later), f"{name} is not used in a later cell"
    for ours, theirs in _pairs(solution, written):
        assert inspect.signature(ours) == inspect.signature(theirs)
        assert inspect.getdoc(ours) == inspect.getdoc(theirs)


@pytest.mark.parametrize("cell", list(build_cells()), ids=lambda cell: "-".join(cell[:2]))
def test_a_solution_needs_nothing_that_its_chapter_lacks(cell):
    """Whoever copies it into the cell gets no NameError."""
    _, name, _, earlier, _ = cell
    nodes = list(ast.walk(ast.parse(EXERCISES[name].source())))
    bound = {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    bound |= {node.arg for node in nodes if isinstance(node, ast.arg)}
    loaded = {node.id for node in nodes if isinstance(node, ast.Name)}
    bound |= {n.id for n in nodes if isinstance(n, ast.Name) and not isinstance(n.ctx, ast.Load)}
    for node in ast.walk(ast.parse(re.sub(r"^[%!].*", "", earlier, flags=re.MULTILINE))):
        if isinstance(node, ast.Import | ast.ImportFrom):
            bound |= {(alias.asname or alias.name).split(".")[0] for alias in node.names}
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            bound.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            bound.add(node.id)
    assert loaded - bound - set(dir(builtins)) == set()


def _pairs(solution, written):
    if not inspect.isclass(solution):
        return [(solution, written)]
    names = [n for n, v in vars(solution).items() if inspect.isfunction(v)]
    return [(getattr(solution, n), getattr(written, n)) for n in names]


def kl_divergence(mu, logvar):
    """A function with a name that has an exercise."""
    ...


def test_what_is_not_written_is_replaced_by_the_packages(capsys):
    assert build.check(kl_divergence) is EXERCISES["kl_divergence"].package
    assert "not written yet" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("if mu is None:\n        return mu", "it returned None"),
        ("return (mu + logvar).sum(1)", r"shape is (4,), expected (4, 3)"),
        ("return torch.zeros_like(mu)", "difference in values at ["),
        ("return mu / 0", "numbers are infinite or not a number"),
        ("return mu.tolist()", "of type list, expected a tensor"),
        ("return mu @ logvar", "it raised RuntimeError"),
        ("return 0.5 * (mu**2 + logvar.exp() - 1 - logvar).detach()", "no gradient reaches mu"),
    ],
)
def test_what_differs_is_said(body, said, capsys):
    namespace = {"torch": torch}
    exec(f"def kl_divergence(mu, logvar):\n    {body}", namespace)
    assert build.check(namespace["kl_divergence"]) is EXERCISES["kl_divergence"].package
    assert said in capsys.readouterr().out


def test_the_readers_random_numbers_are_left_alone():
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    EXERCISES["sample_latent"].verdict(EXERCISES["sample_latent"].solution)
    assert torch.equal(torch.rand(2), expected)


def test_hints_and_solutions(capsys):
    build.hint("kl_divergence")
    assert "log sigma^2" in capsys.readouterr().out
    build.solution("kl_divergence")
    assert "return 0.5 * (mu**2" in capsys.readouterr().out
    for function in (build.hint, build.solution):
        with pytest.raises(ValueError, match=r"no exercise 'fly'; there are .*kl_divergence"):
            function("fly")


def test_an_exercise_without_a_package_function_compares_with_its_solution():
    def double(x):
        return 2 * x

    exercise = Exercise(double, lambda f: call(f, {"x": torch.ones(2)}), hint="")
    assert exercise.reference is double
    assert exercise.verdict(lambda x: x + x) is None
    assert "expected 2" in exercise.verdict(lambda x: 3 * x)
