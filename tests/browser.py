"""A headless browser for tests, and a server for static pages.

Playwright without browsers of its own, and a Chromium or Chrome: see `make extras`.
"""

import functools
import http.server
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

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
        try:
            yield browser
        finally:
            browser.close()


class _QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        """Write no log."""


@contextmanager
def serve(folder: Path) -> Iterator[str]:
    """Serve a folder; gives the address, which ends in a slash."""
    handler = functools.partial(_QuietHandler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
