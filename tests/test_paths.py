"""Where files are written: to the checkout or the user's data folder, never to a tracked file."""

import json
import os
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import nbformat
import pytest

from wmlib import paths
from wmlib.pipeline.scales import SCALES, get_config
from wmlib.rollout.policies import EpisodeSpec
from wmlib.rollout.rollout import Episode
from wmlib.tools import bench
from wmlib.tools.cli import main

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def _no_folder_is_set(monkeypatch, tmp_path):
    monkeypatch.delenv("WM_RUNS", raising=False)
    monkeypatch.delenv("WM_FIGURES", raising=False)
    monkeypatch.setattr(paths, "user_data_dir", lambda name, **_: str(tmp_path / "home" / name))


@pytest.fixture
def checkout(monkeypatch, tmp_path) -> Path:
    """An empty checkout, which the package takes for its own."""
    folder = tmp_path / "checkout"
    folder.mkdir()
    (folder / "pyproject.toml").touch()
    monkeypatch.setattr(paths, "ROOT", folder)
    return folder


def test_runs_are_written_to_the_checkout_and_asking_for_the_folder_creates_nothing(
    checkout, capsys
):
    assert get_config("smoke").run_folder("ball") == checkout / "data" / "runs" / "smoke" / "ball"
    assert [path.name for path in checkout.rglob("*")] == ["pyproject.toml"]
    assert capsys.readouterr() == ("", "")


def test_an_environment_variable_sets_the_folder_of_runs(monkeypatch, tmp_path):
    monkeypatch.setenv("WM_RUNS", str(tmp_path))
    assert get_config("smoke").run_folder("ball") == tmp_path / "smoke" / "ball"


def test_without_a_checkout_runs_are_written_to_the_users_data_folder(checkout, capsys, tmp_path):
    (checkout / "pyproject.toml").unlink()  # as in site-packages, which can be written to
    home = tmp_path / "home" / "world-models" / "runs"
    assert [get_config("smoke").run_folder("ball") for _ in range(2)] == [
        home / "smoke" / "ball"
    ] * 2
    out, notice = capsys.readouterr()
    assert not out
    assert notice.count("\n") == 1
    assert str(home) in notice
    assert "installed without a checkout" in notice


def test_on_a_read_only_checkout_runs_are_written_to_the_users_data_folder(
    run_in_read_only_checkout, tmp_path
):
    done = run_in_read_only_checkout(
        "-c",
        "from wmlib.pipeline.scales import get_config\n"
        "for _ in range(2):\n"
        "    print(get_config().run_folder('ball'), get_config().figure('a.png'), sep='\\n')\n",
    )
    runs = tmp_path / "home" / "world-models" / "runs"
    wanted = [str(runs / "smoke" / "ball"), str(runs / "smoke" / "figures" / "a.png")]
    assert done.stdout.splitlines() == wanted * 2, done.stderr
    (notice,) = done.stderr.splitlines()
    assert f"{ROOT} cannot be written to" in notice
    assert str(runs) in notice


@pytest.mark.parametrize("scale", SCALES)
def test_a_chapter_saves_no_figure_among_the_committed_ones(scale, tmp_path, monkeypatch):
    committed = ROOT / "figures"
    assert committed not in get_config(scale).figure("05_drive.gif").parents
    ignored = subprocess.run(
        ["git", "check-ignore", "--quiet", get_config(scale).figure("05_drive.gif")], cwd=ROOT
    )
    assert ignored.returncode == 0  # 128: no git repository
    monkeypatch.setenv("WM_FIGURES", str(tmp_path))
    assert get_config(scale).figure("05_drive.gif") == tmp_path / "05_drive.gif"


def test_commands_write_to_the_folder_of_runs_and_not_to_the_current_one(monkeypatch, tmp_path):
    monkeypatch.setenv("WM_RUNS", str(tmp_path / "runs"))
    monkeypatch.chdir(tmp_path)
    written = []

    def play(policy, world_model, track, video):
        written.append(video)
        return Episode(EpisodeSpec(track))

    monkeypatch.setattr("wmlib.tools.play.has_display", lambda: False)
    monkeypatch.setattr("wmlib.tools.play.play", play)
    monkeypatch.setattr(
        "wmlib.tools.report.dream_against_reality", lambda *a, **k: written.append(a[3])
    )
    monkeypatch.setattr("wmlib.tools.report.everything", lambda *a: written.append(a[4]) or [])
    rows = [bench.Measurement(name, bench.RESETS, 1, lambda i: 2.0) for name in "ab"]
    monkeypatch.setattr(bench, "everything", lambda *a: rows)
    monkeypatch.setattr(bench, "local_cluster", nullcontext)
    for command in ("play", "dream", "figures", "bench"):
        assert main([command, "--scale", "smoke"]) == 0
    pictures = tmp_path / "runs" / "smoke" / "pictures"
    assert written == [pictures / "episode.mp4", pictures / "dream.gif", pictures]
    made = {path.relative_to(tmp_path) for path in tmp_path.rglob("*.*")}
    assert made == {Path("runs/smoke/bench") / name for name in ("bench.json", "bench.png")}


@pytest.mark.parametrize(("scale", "folder"), [("laptop", ROOT / "figures"), ("smoke", None)])
def test_make_chapters_saves_committed_figures_but_not_at_smoke_scale(scale, folder, tmp_path):
    book = nbformat.v4.new_notebook()
    source = "import os; print(os.environ.get('WM_FIGURES'))"  # which `paths.figures` follows
    book.cells = [nbformat.v4.new_code_cell(source)]
    file = tmp_path / "book.ipynb"
    nbformat.write(book, file)
    command = [sys.executable, ROOT / "notebooks" / "run.py", file]
    environment = os.environ | {"WM_SCALE": scale}
    subprocess.run(command, check=True, capture_output=True, env=environment)
    (output,) = nbformat.read(file, as_version=4).cells[0].outputs
    assert output.text == f"{folder}\n"


def test_published_results_are_found_from_a_notebook_if_wmlib_lies_elsewhere(monkeypatch, tmp_path):
    monkeypatch.setattr(paths, "ROOT", tmp_path / "site-packages")
    monkeypatch.chdir(ROOT / "notebooks")
    assert json.loads(paths.published("bench.json").read_text(encoding="utf-8"))["rows"]
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match="open the notebook in a clone"):
        paths.published("bench.json")
