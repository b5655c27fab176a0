"""Chapters in JupyterLab in a real browser: sliders are dragged, keys and buttons pressed.

Needs Playwright (without browsers of its own) and a Chromium or Chrome: see `make extras`.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
browser = pytest.importorskip(
    "browser", reason="needs Playwright and a Chromium: see `make extras`", exc_type=ImportError
)


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """Address of a JupyterLab that serves a copy of the chapters, not the checkout."""
    home = tmp_path_factory.mktemp("lab")
    shutil.copytree(ROOT / "notebooks", home / "notebooks")
    shutil.copytree(ROOT / "figures", home / "figures")
    settings = home / "settings/@jupyterlab/notebook-extension/tracker.jupyterlab-settings"
    settings.parent.mkdir(parents=True)
    settings.write_text(
        json.dumps({"windowingMode": "none"}), encoding="utf-8"
    )  # renders cells outside the viewport, too
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    environment = os.environ | {
        "WM_SCALE": "smoke",
        "WM_RUNS": str(home / "runs"),
        "JUPYTER_CONFIG_DIR": str(home / "config"),
        "JUPYTER_RUNTIME_DIR": str(home / "runtime"),
        "JUPYTERLAB_SETTINGS_DIR": str(home / "settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(home / "workspaces"),
    }
    with (home / "log").open("w", encoding="utf-8") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "jupyter", "lab", "--no-browser", "--allow-root",
             f"--port={port}", "--ServerApp.port_retries=0", "--IdentityProvider.token=",
             "--LabApp.expose_app_in_browser=True", f"--ServerApp.root_dir={home}"],
            env=environment, stdout=log, stderr=log, cwd=home,
        )  # fmt: skip
        address = f"http://127.0.0.1:{port}"
        try:
            for _ in range(240):
                try:
                    urllib.request.urlopen(f"{address}/api", timeout=5)
                    break
                except OSError:
                    assert server.poll() is None, (home / "log").read_text(encoding="utf-8")
                    time.sleep(0.25)
            yield address
        finally:
            server.terminate()
            server.wait(20)


@pytest.fixture(scope="module")
def page():
    """A page of a headless browser; an action on it times out after 60 s."""
    with browser.open_browser() as opened:
        page = opened.new_page(viewport={"width": 1500, "height": 1400})
        page.set_default_timeout(60_000)
        yield page


def run_all(page, lab, notebook):
    """Open a notebook, run all its cells, and wait until the last one is done."""
    page.goto(f"{lab}/lab/tree/{notebook}?reset")
    page.wait_for_function("window.jupyterapp?.shell.currentWidget?.sessionContext?.isReady")
    # The command's promise is settled when the last cell is done, or one has failed.
    page.evaluate(
        """() => {
            window.done = null;
            window.jupyterapp.commands.execute("notebook:run-all-cells").then(
                () => { window.done = "done"; }, (error) => { window.done = String(error); });
        }"""
    )
    page.wait_for_function("window.done", timeout=240_000)
    assert page.evaluate("window.done") == "done"
    assert page.locator(".jp-OutputArea-output[data-mime-type*=error]").count() == 0


def drag(page, slider, pixels):
    """Drag a slider's handle horizontally, in ten moves of the mouse."""
    slider.scroll_into_view_if_needed()
    box = slider.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    for share in range(1, 11):
        page.mouse.move(x + pixels * share / 10, y)
    page.mouse.up()


def picture(image):
    """The pixels of an image, as a data URL. (A screenshot depends on the scroll position.)"""
    return image.evaluate(
        """(image) => {
            const canvas = document.createElement("canvas");
            [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
            canvas.getContext("2d").drawImage(image, 0, 0);
            return canvas.toDataURL();
        }"""
    )


def wait_until(condition, seconds=20):
    """Wait until a condition holds; fails if it does not within `seconds`."""
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.1)
    assert condition()


def test_a_chapter_runs_and_a_dragged_slider_changes_the_picture(lab, page):
    run_all(page, lab, "notebooks/02_vae.ipynb")
    explorer = page.locator(".jp-OutputArea .widget-hbox", has=page.get_by_text("reconstruction"))
    explorer = explorer.first
    slider = explorer.locator(".noUi-handle").nth(
        3
    )  # the first three are frame, end frame, interpolate
    decoded = explorer.locator("img.widget-image").nth(2)
    slider.scroll_into_view_if_needed()
    before = picture(decoded)
    drag(page, slider, 60)
    wait_until(lambda: picture(decoded) != before)
    explorer.get_by_role("button", name="reset").click()
    wait_until(lambda: picture(decoded) == before)
    assert page.locator(".jp-OutputArea img.widget-image").count() == 3  # updated in place


def test_arrow_keys_and_buttons_drive_the_dream(lab, page):
    run_all(page, lab, "notebooks/06_dreaming.ipynb")
    pad = page.locator(".wmlib-keypad")
    explorer = page.locator(".jp-OutputArea-output", has=pad)
    dream = explorer.locator("img.widget-image").first
    selected_policy = explorer.locator(
        ".widget-toggle-button.mod-active, .widget-toggle-buttons .mod-active"
    )
    assert "the agent" in selected_policy.all_inner_texts()

    explorer.get_by_role("button", name="run").click()
    before = picture(dream)
    wait_until(lambda: picture(dream) != before)  # the agent drives

    pad.click(position={"x": 320, "y": 20})
    position = """() => [
        window.jupyterapp.shell.currentWidget.content.activeCellIndex,
        ...[...document.querySelectorAll(".jp-WindowedPanel-outer")].map((e) => e.scrollTop),
    ]"""
    before = page.evaluate(position)
    page.keyboard.down("ArrowLeft")
    pressed = pad.locator("button[aria-pressed=true]")
    wait_until(lambda: pressed.count() == 1)
    wait_until(lambda: "you" in selected_policy.all_inner_texts())
    page.keyboard.up("ArrowLeft")
    wait_until(lambda: pressed.count() == 0)
    page.keyboard.press("ArrowDown")
    assert (
        page.evaluate(position) == before
    )  # the keypad handles the keys, the page does not scroll
    assert max(before[1:]) > 0  # it was scrolled, so it could have moved

    gas = pad.get_by_role("button", name="gas")
    gas.hover()
    page.mouse.down()
    wait_until(lambda: pressed.count() == 1)
    page.mouse.up()
    wait_until(lambda: pressed.count() == 0)

    explorer.get_by_role("button", name="the agent").click()
    wait_until(lambda: "you" not in selected_policy.all_inner_texts())
    wait_until(lambda: explorer.get_by_text("agent steps per second").count() == 1)
    explorer.get_by_role("button", name="run").click()
    time.sleep(0.5)
    before = picture(dream)
    time.sleep(0.5)
    assert picture(dream) == before
