"""What a reader types into a build cell, and what the checker does with it."""

import textwrap

import numpy as np
import torch

from wmlib.view import build


def written(source, name, **tools):
    """The function (or class) `name` that a cell defines; tools: what the chapter has imported."""
    namespace = {"torch": torch, "np": np, **tools}
    exec(textwrap.dedent(source), namespace)
    return namespace[name]


def assert_right(function, capsys):
    """The checker returns the reader's function itself, and says so."""
    assert build.check(function) is function, capsys.readouterr().out
    assert "is right" in capsys.readouterr().out


def assert_wrong(function, said, capsys):
    """The checker returns the package's function instead, and says this of the reader's."""
    assert build.check(function) is build.exercises()[function.__name__].reference
    assert said in capsys.readouterr().out
