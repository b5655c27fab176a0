"""`pip install .` installs the package and the pretrained weights, without the checkout."""

import os
import re
import runpy
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest
from declared import PYPROJECT, ROOT, allowed, modules, sources


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A Python with wmlib from its wheel, and all else from the environment of these tests.

    Built from a copy, in a folder with a space and an accent: the checkout may be read-only.
    """
    home = tmp_path_factory.mktemp("My Drive") / "Wörld Models"
    shutil.copytree(ROOT / "wmlib", home / "wmlib", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "data" / "pretrained", home / "data" / "pretrained")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, home)
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    wheel = [*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", home / "dist", home]
    subprocess.run(wheel, check=True)
    venv.create(home / "bare", symlinks=os.name != "nt")
    python = home / "bare" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    (wheel,) = (home / "dist").glob("*.whl")
    install = [*pip, "--python", python, "install", "--no-deps", "--no-index", wheel]
    subprocess.run(install, check=True)
    shutil.rmtree(home / "wmlib")
    shutil.rmtree(home / "data")
    shared = [path for path in sys.path if path.endswith("-packages")]

    def run(code: str, *arguments: str) -> subprocess.CompletedProcess:
        # Appended, not by PYTHONPATH: installed packages come first, as without this line.
        code = f"import sys; sys.path += {shared!r}\n{code}"
        return subprocess.run(
            [python, "-I", "-X", "utf8", "-c", code, *arguments],
            cwd=home,
            capture_output=True,
            text=True,
            encoding="utf-8",
        )

    return run


@pytest.mark.install
def test_an_installed_package_finds_its_weights(installed):
    process = installed("""
import wmlib
from wmlib.models.checkpoints import load_agent
from wmlib.paths import pretrained
for world in ("car_racing", "car_racing_dream"):
    load_agent(pretrained(world))
print(wmlib.__file__, pretrained("ball"), sep="\\n")
""")
    assert process.returncode == 0, process.stderr
    package, weights = map(Path, process.stdout.splitlines())
    assert weights == package.parent / "pretrained" / "ball"
    assert ROOT not in package.parents


@pytest.mark.install
def test_the_core_works_without_the_notebooks_extra(installed):
    """No distribution of that extra can be imported."""
    hidden = sorted(modules("notebooks") - modules("core"))
    core = [
        path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        for path in sources()
        if path.startswith("wmlib/") and "notebooks" not in allowed(path)
    ]
    assert len(core) > 20
    process = installed(f"""
sys.modules.update(dict.fromkeys({hidden!r}))
import importlib
for name in {core!r}:
    importlib.import_module(name)
from wmlib.tools.cli import main
assert main(["figures"]) == 1
main(["--help"])
""")
    assert process.returncode == 0, process.stderr
    assert "COMMAND" in process.stdout
    assert "Warning" not in process.stderr
    assert re.search(r"is not installed: pip install .*\[notebooks\]", process.stderr)


@pytest.mark.install
def test_every_package_is_installed():
    folders = {p.parent for p in (ROOT / "wmlib").rglob("*.py")}
    packages = {".".join(folder.relative_to(ROOT).parts) for folder in folders}
    assert packages | {"wmlib.pretrained"} == set(PYPROJECT["tool"]["setuptools"]["packages"])


@pytest.mark.install
@pytest.mark.skipif(not shutil.which("git"), reason="there is no git")
def test_the_chapters_first_cell_installs_the_package_from_its_repository(tmp_path):
    """In a Python without wmlib, from any folder. Only wmlib itself: no index is asked."""
    repository, elsewhere = tmp_path / "repository", tmp_path / "My Drive"
    elsewhere.mkdir()
    for name in ("wmlib", "data/pretrained"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, repository / name, ignore=ignored)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, repository)
    git = ["git", "-C", str(repository), "-c", "user.name=x", "-c", "user.email=x@example.org"]
    for command in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "--message", "All"]):
        subprocess.run([*git, *command], check=True)
    links = runpy.run_path(str(ROOT / "notebooks" / "links.py"))
    cell = links["install_cell"](address := "https://example.org/world-models")
    venv.create(tmp_path / "bare", symlinks=os.name != "nt", with_pip=True)
    python = tmp_path / "bare" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    offline = {"PIP_NO_DEPS": "1", "PIP_NO_INDEX": "1", "PIP_NO_BUILD_ISOLATION": "0"}
    # git takes the folder for that address.
    offline |= {
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": f"url.{repository.as_uri()}.insteadOf",
        "GIT_CONFIG_VALUE_0": address,
    }
    shared = os.pathsep.join(path for path in sys.path if path.endswith("-packages"))
    process = subprocess.run(
        [python, "-c", f"{cell}\nimport wmlib\nprint(wmlib.__file__)"],
        cwd=elsewhere,
        env=os.environ | offline | {"PYTHONPATH": shared},
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0, process.stderr
    assert tmp_path / "bare" in Path(process.stdout.strip()).parents
