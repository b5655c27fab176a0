"""A headless browser for tests: Playwright without its own browsers, and a Chromium or Chrome."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
BROWSER = next(filter(None, map(shutil.which, NAMES)), None)

if BROWSER is None:
    raise ImportError(f"the browser tests need one of {', '.join(NAMES)} on the PATH")


@contextmanager
def open_browser(*arguments: str) -> Iterator[Browser]:
    """A browser that talks to nobody but the pages it opens."""
    usual = ("--no-sandbox", "--disable-gpu", "--disable-background-networking")
    with sync_playwright() as p:
        browser = p.chromium.launch(executable_path=BROWSER, args=[*usual, *arguments])
        yield browser
        browser.close()
