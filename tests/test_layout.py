"""The package stays small enough to be read."""

import ast
import io
import tokenize
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "wmlib"
FILES = sorted(PACKAGE.rglob("*.py"))
CORE = ("models", "envs", "rollout", "training", "evaluation.py")
NOT_CODE = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENDMARKER,
}
pytestmark = pytest.mark.hygiene


def lines_of_code(file: Path) -> int:
    """Lines that are neither blank, nor comments, nor docstrings."""
    text, docstrings = file.read_text(encoding="utf-8"), set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(
            node
        ):
            first = node.body[0]
            docstrings |= set(range(first.lineno, (first.end_lineno or 0) + 1))
    code: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in NOT_CODE:
            code |= set(range(token.start[0], token.end[0] + 1))
    return len(code - docstrings)


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_no_file_has_more_than_400_lines(file):
    assert len(file.read_text(encoding="utf-8").splitlines()) <= 400


def test_the_core_has_at_most_2500_lines_of_code():
    """Without the fast renderer: models, envs, rollout, training and evaluation.

    The README says how many, rounded up to hundreds.
    """
    files = [file for file in FILES if file.relative_to(PACKAGE).parts[0] in CORE]
    files.remove(PACKAGE / "envs" / "fast_car_racing.py")
    lines = sum(lines_of_code(file) for file in files)
    assert lines <= 2500
    readme = (PACKAGE.parent / "README.md").read_text(encoding="utf-8")
    assert f"core of {-(-lines // 100) * 100:,} lines of code" in readme


def test_every_module_says_what_it_is():
    for file in FILES:
        text = file.read_text(encoding="utf-8")
        if text.strip():
            assert (ast.get_docstring(ast.parse(text)) or "").strip(), file
