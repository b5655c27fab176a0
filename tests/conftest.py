"""Fixtures of several tests: untrained networks, and a checkout that is mounted read-only."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from wmlib.models.mdn_rnn import MDNRNN
from wmlib.models.vae import VAE
from wmlib.models.world_model import WorldModel


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.fixture
def chapter_style() -> Iterator[None]:
    """The chapters' figure style; the test fails if it leaves a figure open in pyplot."""
    import matplotlib.pyplot as plt

    from wmlib.view import figures

    with plt.rc_context():
        figures.use_style()
        yield
    assert plt.get_fignums() == []


@pytest.fixture
def world_model() -> WorldModel:
    """Untrained, with the paper's sizes."""
    return WorldModel(VAE(), MDNRNN())


@pytest.fixture
def ball_model() -> WorldModel:
    """Untrained, for the environment without actions; 16 hidden units."""
    return WorldModel(VAE(), MDNRNN(action_size=0, hidden_size=16))


ROOT = Path(__file__).parents[1]
# A bind mount of the checkout over itself, visible to one process and its children alone.
READ_ONLY = """
mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && cd "$0" && exec "$@"
"""


@pytest.fixture
def run_in_read_only_checkout(tmp_path) -> Callable[..., subprocess.CompletedProcess]:
    """A function that runs Python with these arguments in the checkout, which is read-only.

    The user's data folder is tmp_path / "home". Skips where such a mount cannot be made.
    """
    unshare = shutil.which("unshare")
    if unshare is None:
        pytest.skip("a read-only mount for one process needs `unshare`, which only Linux has")
    root = [] if os.geteuid() == 0 else ["--map-root-user"]
    mounted = [unshare, *root, "--mount", "sh", "-c", READ_ONLY, str(ROOT)]
    refused = subprocess.run([*mounted, "true"], capture_output=True, text=True)
    if refused.returncode:
        pytest.skip(f"a read-only mount cannot be made here: {refused.stderr.strip()}")
    own = {name: v for name, v in os.environ.items() if name not in ("WM_RUNS", "WM_FIGURES")}
    home = {"XDG_DATA_HOME": str(tmp_path / "home"), "PYTHONPATH": str(ROOT), "WM_SCALE": "smoke"}

    def run(*arguments: str | Path) -> subprocess.CompletedProcess:
        command = [*mounted, sys.executable, *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, env=own | home)

    return run
