"""Write what follows from the repository's address: python notebooks/links.py (`make links`).

The address is `[project.urls] Repository` in pyproject.toml, for example
"https://github.com/OWNER/NAME"; it is written down nowhere else by hand. From it follow
- the install cell of every chapter, which installs wmlib where the kernel lacks it: from the
  repository or, as long as that has no address, from the checkout that the chapter lies in;
- below the title of every chapter, and at the top of the README, links to Colab and Binder, and in
  the README to the site, at the address that GitHub Pages gives it.
Without an address there are no links. Outputs and execution counts stay as they are.
"""

import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

import nbformat

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    import tomli as tomllib

BEGIN, END = "<!-- links: make links writes them -->", "<!-- end of links -->"
INSTALL = """\
import subprocess
import sys
from importlib.util import find_spec

if find_spec("wmlib") is None:  # on Colab, for example; where it is installed, nothing is done
    source = "{source}"
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", source], check=True)"""


def repository(root: Path) -> str | None:
    """The address in pyproject.toml; None if there is none."""
    text = (root / "pyproject.toml").read_text(encoding="utf-8")
    address = tomllib.loads(text)["project"].get("urls", {}).get("Repository")
    return address and address.rstrip("/").removesuffix(".git")


def install_cell(address: str | None) -> str:
    """Source of the first code cell of every chapter."""
    source = f"wmlib[notebooks] @ git+{address}" if address else "..[notebooks]"
    return INSTALL.format(source=source)


def on_github(address: str | None) -> str | None:
    """OWNER/NAME of a repository on GitHub; None for all others."""
    found = re.fullmatch(r"https://github\.com/([\w.-]+/[\w.-]+)", address or "")
    return found and found[1]


def launch_links(address: str | None, path: str, name: str) -> str:
    """Markdown with the links that open a file of the repository; only GitHub's have any."""
    project = on_github(address)
    if project is None:
        return ""
    colab = f"https://colab.research.google.com/github/{project}/blob/main/{path}"
    binder = f"https://mybinder.org/v2/gh/{project}/main?labpath={quote(path, safe='')}"
    return f"Run {name} without installing anything: on [Colab]({colab}) or [Binder]({binder})."


def site(address: str | None) -> str | None:
    """Where GitHub Pages publishes the site; None for a repository that is elsewhere."""
    project = on_github(address)
    if project is None:
        return None
    owner, name = project.split("/")
    return f"https://{owner.lower()}.github.io/{name}/"


def readme_links(address: str | None) -> str:
    """The README's links: the dream, the site, and the first chapter on Colab and Binder."""
    page = site(address)
    if page is None:
        return ""
    first = launch_links(address, "notebooks/00_start_here.ipynb", "chapter 0")
    dream = f"**[Drive a dream]({page}dream/)**"
    return f"{dream} or [read the chapters]({page}) in a browser. {first}\n"


def tagged(notebook: nbformat.NotebookNode, tag: str) -> int | None:
    """The index of the cell with a tag."""
    having = [i for i, c in enumerate(notebook.cells) if tag in c.metadata.get("tags", [])]
    return having[0] if having else None


def write_chapter(path: Path, address: str | None) -> None:
    """Bring a chapter's install cell and links up to date."""
    notebook = nbformat.read(path, as_version=4)
    where = tagged(notebook, "links")
    if where is not None:
        del notebook.cells[where]
    text = launch_links(address, f"notebooks/{path.name}", "this chapter")
    if text:
        # Not on the site, whose pages have buttons for it.
        metadata = {"tags": ["links", "remove-cell"]}
        notebook.cells.insert(1, nbformat.v4.new_markdown_cell(text, id="links", metadata=metadata))
    where = tagged(notebook, "install")
    if where is None:  # a new chapter
        where = next(i for i, c in enumerate(notebook.cells) if c.cell_type == "code")
        cell = nbformat.v4.new_code_cell(
            id="install", metadata={"tags": ["install", "remove-cell"]}
        )
        notebook.cells.insert(where, cell)
    notebook.cells[where].source = install_cell(address)
    nbformat.write(notebook, path)


def write_readme(path: Path, address: str | None) -> None:
    """Bring the README's links up to date."""
    text = path.read_text(encoding="utf-8")
    inside = f"{BEGIN}\n{readme_links(address)}{END}"
    text = re.sub(f"{BEGIN}.*?{END}", lambda _: inside, text, flags=re.DOTALL)
    path.write_text(text, encoding="utf-8")


def main(root: Path) -> None:
    """Every chapter, its text, and the README."""
    address = repository(root)
    write_readme(root / "README.md", address)
    for path in sorted((root / "notebooks").glob("*.ipynb")):
        sync(path)  # or an edit of its text would be lost: the newer one of a pair wins
        write_chapter(path, address)
        sync(path)


def sync(path: Path) -> None:
    """Bring a notebook and its text to the newer one of both."""
    subprocess.run([sys.executable, "-m", "jupytext", "--quiet", "--sync", str(path)], check=True)


if __name__ == "__main__":
    main(Path(__file__).resolve().parents[1])
