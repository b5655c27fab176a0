"""Execute chapters from a clean kernel and keep their outputs: python notebooks/run.py FILE...

Leaves out what would be stale or different every time: views of live widgets (progress bars among
them; each explorer leaves a static contact sheet instead) and timestamps. Then syncs the pairs.

Figures that the chapters save replace the committed ones in figures/, but not from a smoke run.
"""

import os
import subprocess
import sys
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient

WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"


def run(path: Path) -> None:
    """Execute one notebook in place; a cell that fails leaves the file as it was."""
    notebook = nbformat.read(path, as_version=4)
    began = time.monotonic()
    folder = {"metadata": {"path": str(path.parent)}}
    NotebookClient(notebook, timeout=None, resources=folder, record_timing=False).execute()
    notebook.metadata.pop("widgets", None)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [o for o in cell.outputs if WIDGET_VIEW not in o.get("data", {})]
    nbformat.write(notebook, path)
    print(f"{path}: {time.monotonic() - began:.0f} s, {path.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    if os.environ.get("WM_SCALE") != "smoke":
        os.environ.setdefault("WM_FIGURES", str(Path(__file__).resolve().parents[1] / "figures"))
    for name in sys.argv[1:]:
        run(Path(name))
        subprocess.run([sys.executable, "-m", "jupytext", "--quiet", "--sync", name], check=True)
