"""Chapters in a read-only checkout, such as a course folder on a JupyterHub. See `make extras`.

Only chapter 0, because each takes up to a minute; WM_ALL_CHAPTERS=1 runs every one.
"""

import os
from pathlib import Path

import pytest

CHAPTERS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))
TESTED = CHAPTERS if os.environ.get("WM_ALL_CHAPTERS") else CHAPTERS[:1]


@pytest.mark.parametrize("chapter", TESTED, ids=lambda path: path.stem)
def test_a_chapter_runs_and_writes_to_the_users_data_folder(
    chapter, run_in_read_only_checkout, tmp_path
):
    done = run_in_read_only_checkout(
        *("-m", "pytest", "-x", "--nbval-lax", "--nbval-cell-timeout=240"),
        *("-p", "no:cacheprovider", chapter),
    )
    assert done.returncode == 0, done.stdout
    assert list((tmp_path / "home").rglob("*.*"))
