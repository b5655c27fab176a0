"""What pyproject.toml declares, and what the code imports."""

import ast
import re
import sys
from pathlib import Path

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    import tomli as tomllib

ROOT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
EXTRAS: dict[str, list[str]] = {
    "core": PYPROJECT["project"]["dependencies"],
    **PYPROJECT["project"]["optional-dependencies"],
}
# Modules whose distribution has another name.
DISTRIBUTIONS = {
    "Box2D": "gymnasium",  # its extra "box2d"
    "IPython": "ipython",
    "PIL": "pillow",
    "cv2": "opencv-python-headless",
    "dask": "distributed",
    "sklearn": "scikit-learn",
    "stable_baselines3": "stable-baselines3",
    "yaml": "pyyaml",
}
# The extras that a file may import from: those of every key that its path begins with.
MAY_USE = {
    "wmlib/": {"core"},
    "wmlib/envs/take_cover.py": {"doom"},
    "wmlib/pipeline/workers.py": {"cluster"},
    "wmlib/tools/bench/": {"notebooks", "cluster", "bench"},
    "wmlib/tools/external.py": {"sb3"},
    "wmlib/tools/ppo_ablation.py": {"sb3"},
    "wmlib/tools/report.py": {"notebooks"},
    "wmlib/view/": {"notebooks"},
    "notebooks/": {"core", "notebooks"},
    "notebooks/links.py": {"dev"},
    "notebooks/run.py": {"dev"},
    "site/": {"site"},
    "tests/": {"core", "notebooks", "dev"},
    "tests/browser.py": {"browser"},
    "tests/test_cluster.py": {"cluster"},
    "tests/test_external.py": {"sb3"},
    "tests/test_ppo_ablation.py": {"sb3"},
    "tests/test_site.py": {"site"},
    "tests/test_web.py": {"browser"},
}


def name(requirement: str) -> str:
    """ "gymnasium[box2d]>=1.2" -> "gymnasium"."""
    return re.match(r"[\w.-]+", requirement).group().lower()


def names(*extras: str) -> set[str]:
    """The distributions of some extras."""
    return {name(requirement) for extra in extras for requirement in EXTRAS[extra]}


def modules(*extras: str) -> set[str]:
    """The modules to import of some extras' distributions."""
    found = {module for module, d in DISTRIBUTIONS.items() if d in names(*extras)}
    return found | (names(*extras) - set(DISTRIBUTIONS.values()))


def sources() -> dict[str, Path]:
    """Every Python file of the project, the chapters' texts too, by its path from the root."""
    parts = ("wmlib", "tests", "notebooks", "site")
    files = [file for part in parts for file in (ROOT / part).rglob("*.py")]
    return {file.relative_to(ROOT).as_posix(): file for file in files}


def allowed(path: str) -> set[str]:
    """The extras that a file may import from."""
    return set().union(*(extras for start, extras in MAY_USE.items() if path.startswith(start)))


def imports(file: Path) -> set[str]:
    """The distributions that a file imports from, at its top or anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add(node.module)
    own = {
        "wmlib",
        *(file.stem for part in ("tests", "notebooks") for file in (ROOT / part).glob("*.py")),
    }
    tops = {module.partition(".")[0] for module in found} - set(sys.stdlib_module_names) - own
    # Of the standard library since Python 3.11, so that 3.10 does not know it.
    return {DISTRIBUTIONS.get(top, top) for top in tops} - {"tomllib"}
