"""The site: it is built, every link in it leads somewhere, and it needs no host but its own.

Needs Sphinx, and for the tests in a real browser Playwright and a Chromium: see `make extras`.
"""

import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import nbformat
import pytest

pytest.importorskip("sphinx", reason="the site's tests need Sphinx: see `make extras`")

ROOT = Path(__file__).parents[1]
CHAPTERS = sorted((ROOT / "notebooks").glob("*.ipynb"))
OWN_PAGES = ["index.html", "results.html", "run.html"]
NO_BROWSER = "needs Playwright and a Chromium: see `make extras`"
# `make site` adds it after Sphinx is done, with `python -m wmlib export-web`.
DREAM = "dream/index.html"
# Attributes whose address a browser loads; that of an <a> is opened only when a reader clicks.
LOADED = {"src", "srcset", "poster", "data", "href"}


class Page(HTMLParser):
    """What the tests need of a page: ids, addresses and the title."""

    def __init__(self, file: Path):
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.text = file.read_text(encoding="utf-8")
        self.feed(self.text)
        self.title = re.search("<title>(.*?)</title>", self.text, re.DOTALL).group(1)

    def handle_starttag(self, tag, attrs):
        for key, value in attrs:
            if key == "id":
                self.ids.add(value)
            elif key in LOADED and value:
                (self.links if tag == "a" else self.loaded).append(value)


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """The folder of a new site. Building it fails at the first warning."""
    folder = tmp_path_factory.mktemp("site") / "site"
    command = [sys.executable, str(ROOT / "site" / "build.py"), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def pages(site) -> dict[str, Page]:
    """Every page by its path from the site's folder."""
    files = [*site.glob("*.html"), *site.glob("notebooks/*.html")]
    return {file.relative_to(site).as_posix(): Page(file) for file in files}


def own(page: Page) -> list[str]:
    """The addresses in a page that are the site's own."""
    return [uri for uri in page.links + page.loaded if not urlsplit(uri).scheme]


def test_every_chapter_has_a_page_with_its_title(pages):
    for path in CHAPTERS:
        heading = re.search("^# (.*)", nbformat.read(path, as_version=4).cells[0].source).group(1)
        assert pages[f"notebooks/{path.stem}.html"].title.startswith(heading)
    assert set(OWN_PAGES) <= set(pages)


def test_the_first_link_of_the_landing_page_is_the_dream(pages):
    links = re.findall(r'href="([^"]+)"', pages["index.html"].text.split("<article")[1])
    assert next(uri for uri in links if not uri.startswith("#")) == DREAM


def test_every_link_leads_somewhere(site, pages):
    broken = []
    for path, page in pages.items():
        for uri in own(page):
            target, fragment = urlsplit(uri).path, unquote(urlsplit(uri).fragment)
            file = ((site / path).parent / unquote(target)).resolve() if target else site / path
            name = file.relative_to(site.resolve()).as_posix() if target else path
            if name != DREAM and not file.is_file():
                broken.append(f"{path}: {uri}")
            elif fragment and name in pages and fragment not in pages[name].ids:
                broken.append(f"{path}: {uri} (no such anchor)")
    assert sum(len(own(page)) for page in pages.values()) > 500
    assert not broken


def test_chapters_link_to_pages_and_not_to_notebooks(pages):
    assert not [uri for page in pages.values() for uri in own(page) if ".ipynb" in uri]
    assert "02_vae.html" in pages["notebooks/03_mdn_rnn.html"].links


def test_nothing_is_loaded_from_another_host_or_embedded(site, pages):
    """Neither by a page nor by a style sheet. Links that a reader clicks may lead anywhere."""
    foreign = [
        f"{path}: {uri[:80]}"
        for path, page in pages.items()
        for uri in page.loaded
        if urlsplit(uri).scheme or urlsplit(uri).netloc
    ]
    for file in site.rglob("*.css"):
        style = file.read_text(encoding="utf-8")
        uris = re.findall(r"(?:@import|url\()\s*[\"']?(?:https?:)?//[^)]*", style)
        foreign += [f"{file.name}: {uri}" for uri in uris]
    assert not foreign


def test_pages_show_no_error(pages):
    for path, page in pages.items():
        for sign in ("system-message", "problematic", "Traceback (", "widget-view", "<IPython"):
            assert sign not in page.text, f"{path}: {sign}"


def test_figures_have_captions_and_descriptions(pages):
    for path in CHAPTERS:
        page = pages[f"notebooks/{path.stem}.html"]
        assert page.text.count('<p class="caption"><strong>Figure') > 3
        for image in re.findall("<img [^>]*>", page.text):
            assert re.search('alt="(?!\\.\\./)[^"]+"', image), f"{path.stem}: {image}"


def test_the_site_is_small(site):
    assert sum(file.stat().st_size for file in site.rglob("*") if file.is_file()) < 60e6


def test_a_page_says_where_a_widget_would_be(pages):
    for path in CHAPTERS:
        cells = nbformat.read(path, as_version=4).cells
        widgets = [c for c in cells if c.cell_type == "code" and c.source.endswith(".widget")]
        text = pages[f"notebooks/{path.stem}.html"].text
        assert text.count("A running notebook shows a widget here.") == len(widgets)


@pytest.fixture(scope="module")
def address(site):
    """The address of a server of the site."""
    browser = pytest.importorskip("browser", reason=NO_BROWSER, exc_type=ImportError)
    with browser.serve(site) as address:
        yield address


@pytest.fixture(scope="module")
def chromium():
    """A headless browser, or skip."""
    browser = pytest.importorskip("browser", reason=NO_BROWSER, exc_type=ImportError)
    with browser.open_browser() as opened:
        yield opened


@pytest.mark.parametrize(
    "path", [*OWN_PAGES, *(f"notebooks/{chapter.stem}.html" for chapter in CHAPTERS)]
)
def test_in_a_browser_formulas_are_set_and_a_phone_shows_the_page(address, chromium, path):
    """All that is loaded is there, every formula is set, and the page does not scroll sideways."""
    page = chromium.new_page(viewport={"width": 400, "height": 800})
    requests, failed = [], []
    page.on("request", lambda request: requests.append(request.url))
    page.on("requestfailed", lambda request: failed.append(request.url))
    page.on("response", lambda r: r.status >= 400 and failed.append(r.url))
    page.goto(f"{address}{path}")
    page.evaluate("window.MathJax?.startup.promise")
    assert not failed
    assert not [uri for uri in requests if not uri.startswith((address, "data:", "blob:"))]
    assert page.locator("mjx-container").count() == page.locator(".math").count()
    assert page.locator("mjx-merror, [data-mjx-error]").count() == 0
    if path.startswith("notebooks/"):
        assert page.locator(".math").count() > 0
    assert page.evaluate("document.documentElement.scrollWidth") <= 400
    page.close()
