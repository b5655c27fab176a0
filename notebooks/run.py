"""Execute chapters from a clean kernel and keep their outputs: python notebooks/run.py FILE...

Leaves out what would be stale or different every time: views of live widgets (progress bars among
them; each explorer leaves a static contact sheet instead) and timestamps. Then syncs the pairs.

Figures that the chapters save replace the committed ones in figures/, and the seconds that a
chapter took are kept in times.json, which README and chapters quote; but not from a smoke run.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient

TIMES = Path(__file__).resolve().with_name("times.json")
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"


def run(path: Path) -> float:
    """Execute one notebook in place; a cell that fails leaves the file as it was.

    Returns the seconds it took.
    """
    notebook = nbformat.read(path, as_version=4)
    began = time.monotonic()
    folder = {"metadata": {"path": str(path.parent)}}
    NotebookClient(notebook, timeout=None, resources=folder, record_timing=False).execute()
    notebook.metadata.pop("widgets", None)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [o for o in cell.outputs if WIDGET_VIEW not in o.get("data", {})]
    nbformat.write(notebook, path)
    seconds = time.monotonic() - began
    print(f"{path}: {seconds:.0f} s, {path.stat().st_size / 1e6:.2f} MB")
    return seconds


def keep_time(chapter: str, seconds: float) -> None:
    """Put a chapter's time into times.json."""
    times = json.loads(TIMES.read_text(encoding="utf-8")) if TIMES.exists() else {}
    times = dict(sorted((times | {chapter: round(seconds)}).items()))
    TIMES.write_text(json.dumps(times, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    smoke = os.environ.get("WM_SCALE") == "smoke"
    if not smoke:
        os.environ.setdefault("WM_FIGURES", str(Path(__file__).resolve().parents[1] / "figures"))
    for name in sys.argv[1:]:
        took = run(Path(name))
        if not smoke and Path(name).resolve().parent == TIMES.parent:
            keep_time(Path(name).stem, took)
        subprocess.run([sys.executable, "-m", "jupytext", "--quiet", "--sync", name], check=True)
