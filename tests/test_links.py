"""What follows from the repository's address: install cells, links to Colab, Binder, the site."""

import os
import re
import runpy
import shutil
import subprocess
import sys
import time

import nbformat
import pytest
from declared import ROOT

links = runpy.run_path(str(ROOT / "notebooks" / "links.py"))

ADDRESS = "https://github.com/Somebody/world-models"
CHAPTERS = sorted(path.name for path in (ROOT / "notebooks").glob("*.ipynb"))

pytestmark = pytest.mark.hygiene


@pytest.fixture
def checkout(tmp_path):
    """A copy of what `make links` reads and writes, with one chapter."""
    (tmp_path / "notebooks" / "text").mkdir(parents=True)
    for name in ("README.md", f"notebooks/{CHAPTERS[0]}"):
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def publish(checkout, address):
    """Put an address into pyproject.toml, or take it out, and run the script."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    line = "" if address is None else f'Repository = "{address}"'
    text, found = re.subn(r'(# )?Repository = ".*"', line, text)
    assert found == 1
    (checkout / "pyproject.toml").write_text(text, encoding="utf-8")
    links["main"](checkout)


def contents(checkout):
    notebook = nbformat.read(checkout / "notebooks" / CHAPTERS[0], as_version=4)
    readme = (checkout / "README.md").read_text(encoding="utf-8")
    return notebook.cells, readme


@pytest.mark.parametrize("name", CHAPTERS)
def test_every_chapter_installs_what_is_missing_first(name):
    """If this fails: `make links`."""
    cells = nbformat.read(ROOT / "notebooks" / name, as_version=4).cells
    first = next(cell for cell in cells if cell.cell_type == "code")
    assert first.metadata["tags"] == ["install", "remove-cell"]
    assert first.source == links["install_cell"](links["repository"](ROOT))
    assert not first.outputs


def test_with_an_address_chapter_and_readme_have_links(checkout):
    publish(checkout, ADDRESS)
    cells, readme = contents(checkout)
    title, first = cells[0], cells[1]
    assert title.source.startswith("# ")
    path = f"blob/main/notebooks/{CHAPTERS[0]}"
    assert f"https://colab.research.google.com/github/Somebody/world-models/{path}" in first.source
    assert f"/main?labpath=notebooks%2F{CHAPTERS[0]})" in first.source
    assert "(https://somebody.github.io/world-models/dream/)" in readme
    assert readme.index("github.io") < readme.index("## Two commands")
    assert any(f"wmlib[notebooks] @ git+{ADDRESS}" in cell.source for cell in cells)
    assert "git+" in (checkout / "notebooks" / "text" / "00_start_here.py").read_text(
        encoding="utf-8"
    )


def test_the_address_can_be_changed_and_taken_out(checkout):
    publish(checkout, None)
    before = contents(checkout)
    publish(checkout, ADDRESS)
    published = contents(checkout)
    publish(checkout, ADDRESS)
    assert contents(checkout) == published != before
    publish(checkout, None)
    assert contents(checkout) == before


def test_elsewhere_than_on_github_there_are_no_links_to_its_services(checkout):
    publish(checkout, "https://example.org/world-models.git/")
    cells, readme = contents(checkout)
    assert not [cell for cell in cells if "links" in cell.metadata.get("tags", [])]
    assert "mybinder" not in readme
    assert links["readme_links"]("https://example.org/world-models") == ""
    assert any('git+https://example.org/world-models"' in cell.source for cell in cells)


def test_an_edit_of_the_text_is_kept(checkout):
    publish(checkout, None)
    text = checkout / "notebooks" / "text" / "00_start_here.py"
    edited = text.read_text(encoding="utf-8").replace("## 0.1 Three parts", "## 0.1 Parts")
    text.write_text(edited, encoding="utf-8")
    os.utime(text, (time.time() + 2,) * 2)
    publish(checkout, ADDRESS)
    cells, _ = contents(checkout)
    assert any("## 0.1 Parts" in cell.source for cell in cells)


def test_a_new_chapter_gets_its_install_cell(checkout):
    path = checkout / "notebooks" / CHAPTERS[0]
    notebook = nbformat.read(path, as_version=4)
    notebook.cells = [c for c in notebook.cells if "install" not in c.metadata.get("tags", [])]
    nbformat.write(notebook, path)
    publish(checkout, None)
    cells, _ = contents(checkout)
    first = next(cell for cell in cells if cell.cell_type == "code")
    assert first.source == links["install_cell"](None)


def test_the_install_cell_is_silent_where_the_package_is():
    code = links["install_cell"]("https://example.org/nothing-there")
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert process.stdout == process.stderr == b""
