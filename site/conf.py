"""Sphinx's configuration: pages from executed notebooks, which need no host but their own."""

import sys
from importlib.util import find_spec
from pathlib import Path

SITE = Path(__file__).resolve().parent
sys.path += [str(SITE), str(SITE.parent / "notebooks")]  # for `outputs`, and for `links`
from links import on_github, repository  # noqa: E402

REPOSITORY = repository(SITE.parent)

project = html_title = "World Models"
extensions = ["myst_nb", "sphinx.ext.mathjax", "sphinx_copybutton", "outputs"]
include_patterns = ["*.md", "notebooks/*.ipynb"]

nb_execution_mode = "off"  # outputs are those of `make chapters`
nb_ipywidgets_js = {}  # widgets need a kernel: nothing is loaded to show them
myst_enable_extensions = ["dollarmath", "amsmath", "html_image"]
myst_heading_anchors = 3

# MathJax comes from a package. Its bundles for other input than TeX, and for SVG, are left out.
mathjax_path = "mathjax/tex-chtml.js"
MATHJAX = Path(find_spec("sphinx-mathjax-offline").origin).parent / "static"
OTHER_BUNDLES = ["*-full*", "*-mml*", "*-svg*", "mml-*", "output/svg*"]
exclude_patterns = ["README.md"]  # pages include parts of it
exclude_patterns += [f"mathjax/{name}" for name in (*OTHER_BUNDLES, "latest.js", "node-main.js")]

LAUNCH = {"colab_url": "https://colab.research.google.com", "binderhub_url": "https://mybinder.org"}
html_theme = "sphinx_book_theme"
html_static_path = ["_static", str(MATHJAX)]
html_css_files = ["site.css"]
html_favicon = "_static/favicon.svg"
html_context = {"default_mode": "auto"}  # light or dark, as the reader's system
html_copy_source = False
html_show_copyright = False
html_theme_options = {
    "navbar_persistent": [],  # the sidebar has the search field
    "show_navbar_depth": 1,
    "show_toc_level": 2,
    "use_download_button": False,
    "use_repository_button": bool(REPOSITORY),
    "repository_url": REPOSITORY or "",
    "repository_branch": "main",
    "launch_buttons": LAUNCH if on_github(REPOSITORY) else {},
}
