"""Where files are read from and written to.

The package may be an editable install of a checkout, a checkout that is read-only (a course folder
on a JupyterHub), or installed without its checkout (`pip install .`).
"""

import os
import sys
import tempfile
from functools import lru_cache
from pathlib import Path

from platformdirs import user_data_dir

ROOT = Path(__file__).parents[1]  # the checkout; without one, the folder the package lies in
FIGURES = "figures"
# Where the pretrained weights may be: in a checkout, or in an installed package.
PLACES = (ROOT / "data" / "pretrained", Path(__file__).parent / "pretrained")
PRETRAINED = next((folder for folder in PLACES if folder.is_dir()), PLACES[0])


def runs() -> Path:
    """The folder of everything that runs and chapters write. It need not exist yet.

    $WM_RUNS, if it is set. Else data/runs of the checkout; where there is no checkout, or it cannot
    be written to, the user's data folder, and one line on stderr says so, once per process.
    """
    named = os.environ.get("WM_RUNS")
    return Path(named) if named else _default_runs(ROOT)


def figures(scale: str) -> Path:
    """The folder where chapters save their figures.

    $WM_FIGURES, if it is set: `make chapters` sets it to figures/ of the checkout, whose files are
    tracked. Else the runs' folder, so that reading a chapter changes no tracked file.
    """
    named = os.environ.get("WM_FIGURES")
    return Path(named) if named else runs() / scale / FIGURES


def published(name: str) -> Path:
    """A file of figures/ as it was committed.

    It is no part of the installed package: without a checkout around the package, it is looked for
    in the one around the current directory, which for a notebook is the notebook's own. Raises
    FileNotFoundError, with the places tried, if it is in neither.
    """
    here = Path.cwd()
    tried = [folder / FIGURES / name for folder in (ROOT, here, *here.parents)]
    for file in tried:
        if file.is_file():
            return file
    raise FileNotFoundError(
        f"{name} is in figures/ of the repository, not in the installed package: open the notebook "
        f"in a clone. There is no {tried[0]}, and no figures/{name} in {here} or above it"
    )


@lru_cache
def _default_runs(root: Path) -> Path:
    # Cached, so that the folder is tried, and the line said, once per process.
    own = root / "data" / "runs"
    checkout = (root / "pyproject.toml").is_file()
    if checkout and _can_write(own):
        return own
    elsewhere = Path(user_data_dir("world-models", appauthor=False)) / "runs"
    why = f"{root} cannot be written to" if checkout else "wmlib is installed without a checkout"
    print(f"wmlib: {why}; runs are written to {elsewhere} ($WM_RUNS changes that)", file=sys.stderr)
    return elsewhere


def _can_write(folder: Path) -> bool:
    """Whether a file can be made in a folder, or in the one above that exists; leaves nothing.

    It makes one: on Windows and on network file systems, `os.access` does not tell all.
    """
    while not folder.exists():
        folder = folder.parent
    try:
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def pretrained(world: str) -> Path:
    """The folder of pretrained weights, with their cards and logs.

    world is "ball", "car_racing" or "car_racing_dream". The files have the names that a run's
    folder has. Raises ValueError for another world, FileNotFoundError if there are no weights.
    """
    if not PRETRAINED.is_dir():
        raise FileNotFoundError(
            f"no pretrained weights: neither {PLACES[0]} nor {PLACES[1]} exists. Install wmlib "
            f"again from a whole clone of its repository (`pip install .` there)"
        )
    known = sorted(path.name for path in PRETRAINED.iterdir() if path.is_dir())
    if world not in known:
        raise ValueError(f"there are pretrained weights for {', '.join(known)}, not for {world!r}")
    return PRETRAINED / world
