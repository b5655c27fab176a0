"""Build the site from the executed chapters: python site/build.py FOLDER.

Sphinx wants all its sources in one folder. They are copied into a temporary one that is laid out
like the checkout, so that relative links in the README and in the chapters remain right.
"""

import shutil
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from sphinx.cmd.build import main as sphinx_build

SITE = Path(__file__).resolve().parent
# What pages are made from, and wmlib because texts link to files of it.
PARTS = ("README.md", "notebooks", "figures", "wmlib")


def build(folder: str) -> int:
    """Replace the folder by a new site; any warning is an error. Returns Sphinx's exit status."""
    with TemporaryDirectory() as temporary:
        source, doctrees, html = (str(Path(temporary, d)) for d in ("source", "doctrees", "html"))
        shutil.copytree(SITE, source)
        for part in PARTS:
            copy = shutil.copytree if (SITE.parent / part).is_dir() else shutil.copy
            copy(SITE.parent / part, Path(source, part))
        options = ["--quiet", "--fail-on-warning", "--jobs", "auto", "--conf-dir", str(SITE)]
        status = sphinx_build([*options, "--doctree-dir", doctrees, source, html])
        if status == 0:
            shutil.rmtree(folder, ignore_errors=True)
            shutil.move(html, folder)
    return status


if __name__ == "__main__":
    sys.exit(build(sys.argv[1]))
