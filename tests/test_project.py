"""The project's own promises: notebooks, declared dependencies, links."""

import json
import re
import subprocess
from pathlib import Path

import jupytext
import nbformat
import pytest
import yaml

ROOT = Path(__file__).parents[1]
CHAPTERS = sorted((ROOT / "notebooks").glob("*.ipynb"))
TEXTS = sorted((ROOT / "notebooks" / "text").glob("*.py"))
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"

pytestmark = pytest.mark.hygiene


def code_cells(path):
    cells = nbformat.read(path, as_version=4).cells
    return [cell for cell in cells if cell.cell_type == "code" and cell.source.strip()]


def outputs(path):
    return [output for cell in code_cells(path) for output in cell.outputs]


def test_every_chapter_has_its_text():
    assert len(CHAPTERS) >= 7
    assert [path.stem for path in CHAPTERS] == [path.stem for path in TEXTS]


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_pair_in_sync(path):
    """If this fails: `make sync`, and run the chapter again (`make chapters CHAPTERS=...`)."""
    text = jupytext.read(ROOT / "notebooks" / "text" / f"{path.stem}.py")
    book = nbformat.read(path, as_version=4)
    assert [(c.cell_type, c.source) for c in text.cells] == [
        (c.cell_type, c.source) for c in book.cells
    ]


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_run_top_to_bottom_without_errors(path):
    cells = code_cells(path)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert not [o for o in outputs(path) if o.output_type == "error"]
    noise = [o.text for o in outputs(path) if o.output_type == "stream" and o.name == "stderr"]
    assert not noise


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_small_and_without_stale_widgets(path):
    assert path.stat().st_size < 3_000_000
    assert "widgets" not in nbformat.read(path, as_version=4).metadata
    assert not [o for o in outputs(path) if WIDGET_VIEW in o.get("data", {})]


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_cells_can_be_read(path):
    lengths = [len(cell.source.splitlines()) for cell in code_cells(path)]
    assert max(lengths) <= 25


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_no_notebook_asks_for_the_scale(path):
    source = "\n".join(cell.source for cell in code_cells(path))
    assert "numbers.scale" not in source
    assert "environ" not in source


def markdown_files():
    for path in [*ROOT.glob("*.md"), *CHAPTERS]:
        if path.suffix == ".md":
            yield path, path.read_text(encoding="utf-8")
        else:
            cells = nbformat.read(path, as_version=4).cells
            yield path, "\n".join(c.source for c in cells if c.cell_type == "markdown")


def test_links_lead_somewhere():
    broken = []
    for path, text in markdown_files():
        for target in re.findall(r"\]\(([^)\s]+)\)", text):
            if not re.match(r"https?:|#|mailto:", target):
                if not (path.parent / target.split("#")[0]).exists():
                    broken.append(f"{path.name}: {target}")
    assert not broken


def test_pictures_say_what_they_show():
    for path, text in markdown_files():
        for description in re.findall(r"!\[([^\]]*)\]", text):
            assert len(description) > 10, f"{path.name}: a picture without a description"


def dependencies() -> list[str]:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    block = re.search(r"^dependencies = \[(.*?)^\]", text, re.S | re.M).group(1)
    return re.findall(r'"([^"]+)"', block)


def test_conda_users_get_the_same():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    (from_pip,) = [d["pip"] for d in environment["dependencies"] if isinstance(d, dict)]
    assert from_pip == ["-c constraints.txt", "-e .", *dependencies()]
    assert "python>=3.10" in environment["dependencies"]
    assert 'requires-python = ">=3.10"' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")


@pytest.mark.parametrize("agent", ["car_racing", "car_racing_dream"])
def test_the_readme_tells_the_cards_score(agent):
    card = json.loads(
        (ROOT / "data/pretrained" / agent / "controller.json").read_text(encoding="utf-8")
    )
    score = card["score"]
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert f"**{score['mean']} ± {score['std']}**" in readme
    assert f"{score['ci95'][0]} to {score['ci95'][1]}" in readme
    assert f"on {score['tracks']:,} tracks" in readme
    assert f"{score['lap_completion']:.0%} complete laps" in readme


def test_every_dependency_is_pinned():
    def name(requirement):
        return re.match(r"[\w.-]+", requirement).group().lower()

    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = [name(line) for line in lines if line and not line.startswith("#")]
    assert pinned == [name(requirement) for requirement in dependencies()]


def test_help_lists_every_target():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.search(r"\.PHONY: (.*)", makefile).group(1).split())
    text = subprocess.run(
        ["make", "--no-print-directory", "help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert {line.split()[1] for line in text.splitlines()} == targets


def test_shipped_files_are_small_and_have_cards():
    shipped = list((ROOT / "data" / "pretrained").rglob("*.safetensors"))
    assert len(shipped) >= 5
    assert sum(path.stat().st_size for path in shipped) < 40e6
    for path in shipped:
        card = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        assert {"sha256", "config", "command", "seed", "training_seconds", "machine"} <= set(card)
