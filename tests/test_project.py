"""The project's files: notebooks, declared dependencies, links, names, commands."""

import ast
import json
import os
import re
import shlex
import shutil
import subprocess

import jupytext
import nbformat
import pytest
import yaml
from declared import EXTRAS, PYPROJECT, ROOT, allowed, imports, name, names, sources
from glossary import FORMER_NAMES, FORMER_TEXT, former_names

from wmlib.evaluation import seed_interval
from wmlib.pipeline.scoring import read_score
from wmlib.tools.cli import AGENTS, RUNS, main

CHAPTERS = sorted((ROOT / "notebooks").glob("*.ipynb"))
TEXTS = sorted((ROOT / "notebooks" / "text").glob("*.py"))
README = ROOT / "README.md"
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"

pytestmark = pytest.mark.hygiene


def code_cells(path):
    cells = nbformat.read(path, as_version=4).cells
    return [cell for cell in cells if cell.cell_type == "code" and cell.source.strip()]


def outputs(path):
    return [output for cell in code_cells(path) for output in cell.outputs]


def test_every_chapter_has_its_text():
    assert len(CHAPTERS) >= 8
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
def test_code_cells_are_short(path):
    lengths = [len(cell.source.splitlines()) for cell in code_cells(path)]
    assert max(lengths) <= 25


def about(seconds: float) -> str:
    """A measured time in words, such as 40 seconds or 3 minutes."""
    if seconds < 90:
        return f"{max(10, round(seconds, -1))} seconds"
    return f"{round(seconds / 60)} minutes"


def test_times_in_words():
    assert [about(s) for s in (4, 44, 89, 91, 200)] == [
        "10 seconds",
        "40 seconds",
        "90 seconds",
        "2 minutes",
        "3 minutes",
    ]


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_measured_times_are_those_of_times_json(path):
    """In the chapter and in the README; `make chapters` measures them."""
    times = json.loads((ROOT / "notebooks" / "times.json").read_text(encoding="utf-8"))
    time = about(times[path.stem])
    text = "\n".join(c.source for c in nbformat.read(path, as_version=4).cells)
    assert f"running all cells takes about {time} on two cores" in text
    (row,) = re.findall(
        rf"^\|.*notebooks/{path.stem}\.ipynb.*", README.read_text(encoding="utf-8"), re.MULTILINE
    )
    assert f"| {time} |" in row


def reads_the_scale(source: str) -> bool:
    """Whether code reads a config's scale, or the environment that it comes from."""
    names = {"scale", "environ", "getenv"}
    return any(
        (isinstance(node, ast.Attribute) and node.attr in names)
        or (isinstance(node, ast.Constant) and node.value in ("scale", "WM_SCALE"))
        for node in ast.walk(ast.parse(source))
    )


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_no_chapter_reads_the_scale(path):
    """Values come from the config: at smoke scale a chapter runs the same cells."""
    for reading in ("if config.scale == 'smoke': pass", "os.environ", "getattr(config, 'scale')"):
        assert reads_the_scale(reading)
    assert not reads_the_scale("rng.normal(scale=config.sigma)")
    for cell in code_cells(path):
        assert not reads_the_scale(cell.source), cell.source


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


def test_pictures_have_a_description():
    for path, text in markdown_files():
        for description in re.findall(r"!\[([^\]]*)\]", text):
            assert len(description) > 10, f"{path.name}: a picture without a description"


def test_the_conda_environment_has_the_same_dependencies():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    (from_pip,) = [d["pip"] for d in environment["dependencies"] if isinstance(d, dict)]
    wanted = [*EXTRAS["core"], *EXTRAS["notebooks"], *EXTRAS["dev"]]
    assert from_pip == ["-c constraints.txt", "-e .[notebooks,dev]", *wanted]
    assert f"python{PYPROJECT['project']['requires-python']}" in environment["dependencies"]


def test_every_import_is_declared():
    """In pyproject.toml, by the extras that `declared.MAY_USE` allows the file."""
    used = {path: imports(file) for path, file in sources().items()}
    assert "torch" in used["wmlib/models/vae.py"]
    undeclared = {path: found - names(*allowed(path)) for path, found in used.items()}
    assert not {path: found for path, found in undeclared.items() if found}


def test_every_former_name_would_be_found():
    found = " ".join(former_names("some.py", FORMER_TEXT))
    assert [names for names in FORMER_NAMES.values() if f"(now: {names})" not in found] == []
    assert former_names("some.py", "It looks like an agent drives on_the_real_road.") == []


def test_no_private_names():
    """In the code, docstrings and comments of wmlib and of the tests, in chapters and documents."""
    files = sources() | {path.name: path for path in (*TEXTS, *ROOT.glob("*.md"))}
    searched = {
        path: file.read_text(encoding="utf-8")
        for path, file in files.items()
        if path.startswith(("wmlib/", "tests/")) or file.suffix == ".md" or file in TEXTS
        if path != "tests/glossary.py"
    }
    assert len(searched) > 60
    found = [use for path, text in searched.items() for use in former_names(path, text)]
    assert not found, "\n".join(found)


def documents():
    """Texts that mention commands: (path, text); of the package, every string, docstrings too."""
    for path in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *TEXTS):
        yield path, path.read_text(encoding="utf-8")
    for path in (ROOT / "wmlib").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield path, " ".join(node.value.split())


def options_of(command: str, capsys) -> set[str]:
    """The options that the help text of a command lists."""
    with pytest.raises(SystemExit):
        main([*command.split(), "--help"])
    return set(re.findall(r"--[\w.-]+", capsys.readouterr().out))


def unknown_in(text: str, options: dict[str, set[str]]) -> list[str]:
    """The commands and options in a text that do not exist. options: those of every command."""
    unknown = []
    for mention in re.findall(r"python -m wmlib ([a-z][^`\n]*)", text):
        words = mention.split()
        command = next((c for n in (2, 1) if (c := " ".join(words[:n])) in options), None)
        if command is None:
            any_of_them = words[1:] == ["..."] and any(c.split()[0] == words[0] for c in options)
            unknown += [] if any_of_them else [f"python -m wmlib {mention}"]
            continue
        named = [word.partition("=")[0] for word in words if word.startswith("--")]
        unknown += [f"{command} {option}" for option in named if option not in options[command]]
    known = set().union(*options.values())
    return unknown + [name for name in re.findall(r"`(--[\w.-]+)", text) if name not in known]


def test_commands_and_options_in_documents_exist(capsys):
    options = {command: options_of(command, capsys) for command in (*RUNS, *AGENTS)}
    for wrong in ("python -m wmlib fly", "python -m wmlib play --loops 3", "with `--magic`"):
        assert unknown_in(wrong, options), wrong
    right = "`python -m wmlib run ball --seed=3`, `python -m wmlib export ...`, `--seed 3`"
    assert not unknown_in(right, options)
    found = [(path, unknown_in(text, options)) for path, text in documents()]
    assert not [f"{path}: {names}" for path, names in found if names]
    assert sum("python -m wmlib" in text for _, text in documents()) > 5


@pytest.mark.parametrize("agent", ["car_racing", "car_racing_dream"])
def test_the_readme_has_the_scores_of_the_cards_and_of_all_seeds(agent):
    folder = ROOT / "data/pretrained" / agent
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    score = json.loads((folder / "controller.json").read_text(encoding="utf-8"))["score"]
    assert f"{score['mean']} ± {score['std']}" in readme
    assert f"{score['lap_completion']:.0%} complete laps" in readme
    runs = [folder, *sorted(folder.glob("seed*"))]
    means = [read_score(run).first(100).scores.mean() for run in runs]
    interval = seed_interval(means)
    assert f"**{interval.mean:.1f}**, the mean over three training seeds" in readme
    assert "{:.1f}, {:.1f} and {:.1f}".format(*means) in readme
    assert f"{interval.low:.1f} to {interval.high:.1f}" in readme


def test_every_dependency_is_pinned():
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = [name(line) for line in lines if line and not line.startswith("#")]
    assert pinned == sorted(names(*EXTRAS))


needs_make = pytest.mark.skipif(not shutil.which("make"), reason="there is no make")


@needs_make
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


def test_pretrained_files_are_small_and_have_cards():
    weights = list((ROOT / "data" / "pretrained").rglob("*.safetensors"))
    assert len(weights) >= 5
    assert sum(path.stat().st_size for path in weights) < 40e6
    for path in weights:
        card = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        assert {"sha256", "config", "record", "training_seconds", "machine"} <= set(card)


def called_without_encoding(file):
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            keywords = {keyword.arg for keyword in node.keywords}
            if node.func.attr in ("read_text", "write_text") and "encoding" not in keywords:
                yield node.lineno


def test_text_is_read_and_written_as_utf_8():
    """Ruff's PLW1514 finds only calls on what it can infer to be a path."""
    assert not [
        f"{path}, line {line}"
        for path, file in sources().items()
        for line in called_without_encoding(file)
    ]


@pytest.fixture
def checkout(tmp_path):
    """The Makefile in a folder with a space and an accent; its Python only logs its arguments.

    Returns a function that runs make with its arguments: what make printed, and the logged calls.
    """
    folder, log = tmp_path / "My Drive" / "Wörld Models", tmp_path / "calls"
    stub = tmp_path / "stub"
    stub.write_text(STUB.replace("LOG", shlex.quote(str(log))), encoding="utf-8")
    stub.chmod(0o755)
    (folder / "notebooks").mkdir(parents=True)
    (folder / "notebooks" / "00_start.ipynb").touch()
    for file in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / file, folder)

    def run(*arguments, **environment):
        log.unlink(missing_ok=True)
        process = subprocess.run(
            ["make", "--no-print-directory", f"PYTHON={stub}", *arguments],
            cwd=folder,
            env=os.environ | environment,
            capture_output=True,
            text=True,
            encoding="utf-8",
        )
        assert process.returncode == 0, process.stderr
        assert not process.stderr
        return process.stdout, log.read_text(encoding="utf-8").splitlines()

    return run


# `-m venv` copies this script into the "venv" as its Python. Without a network: an index URL fails.
STUB = """#!/bin/bash
echo "$*" >> LOG
case "$*" in
    "-m venv "*) mkdir -p "${@: -1}/bin" && cp "$0" "${@: -1}/bin/python" ;;
    *--index-url*) exit 1 ;;
    *) exit 0 ;;
esac
"""


@needs_make
@pytest.mark.parametrize(
    ("target", "command"),
    [
        ("lab", "-m jupyterlab --LabApp.default_url=/lab/tree/notebooks/00_start_here.ipynb"),
        ("unit", "-m pytest tests -m not hygiene"),
        ("coverage", "--cov=wmlib"),
        ("notebooks", "-m pytest -x --nbval-lax"),
        ("hygiene", "-m pytest tests -m hygiene"),
        ("extras", "-e .[browser,cluster,doom,sb3,site]"),
        ("lowest", "--resolution lowest-direct"),
        ("lint", "-m ruff check ."),
        ("format", "-m ruff format ."),
        ("sync", "-m jupytext --quiet --sync notebooks/00_start.ipynb"),
        ("links", "notebooks/links.py"),
        ("chapters", "notebooks/run.py notebooks/00_start.ipynb"),
        ("site", "site/build.py _site"),
    ],
)
def test_targets_work_in_a_folder_with_a_space_and_an_accent(checkout, target, command):
    _, calls = checkout(target)
    assert any(command in call for call in calls)
    assert any("-e .[notebooks,dev]" in call for call in calls)  # the set-up comes first


@needs_make
def test_the_set_up_is_done_once(checkout):
    assert "-m venv .venv" in checkout("hygiene")[1]
    assert checkout("hygiene")[1] == ["-m pytest tests -m hygiene"]


@needs_make
@pytest.mark.parametrize(
    ("option", "gpu", "taken"),
    [("cpu", True, True), ("default", False, False), ("auto", True, False)],
)
def test_without_a_gpu_the_cpu_build_of_torch_is_tried_first(
    checkout, tmp_path, option, gpu, taken
):
    """The CPU build is tried first; where its index cannot be reached, the default one is used."""
    smi = tmp_path / "smi" / "nvidia-smi"
    smi.parent.mkdir()
    smi.write_text(f"#!/bin/sh\nexit {0 if gpu else 9}\n", encoding="utf-8")
    smi.chmod(0o755)
    path = f"{smi.parent}{os.pathsep}{os.environ['PATH']}"
    printed, calls = checkout("hygiene", f"TORCH={option}", PATH=path)
    cpu_builds = [
        call for call in calls if "--index-url https://download.pytorch.org/whl/cpu" in call
    ]
    assert len(cpu_builds) == taken
    assert ("going on with the default index" in printed) == taken
    assert all("--no-deps -c constraints.txt" in call for call in cpu_builds)  # the pinned torch
