"""Arrow keys, and buttons for readers without a keyboard."""

from pathlib import Path

import anywidget
import traitlets

HERE = Path(__file__).parent


class Keypad(anywidget.AnyWidget):
    """`held` lists the keys that are held down now, of "left", "right", "up" and "down".

    Keys count while the pad has the focus: after a click on it, or with Tab. `meanings` is what a
    screen reader calls the buttons.
    """

    _esm = HERE / "keypad.js"
    _css = HERE / "keypad.css"
    held = traitlets.List(traitlets.Unicode()).tag(sync=True)
    label = traitlets.Unicode("click here, then use the arrow keys").tag(sync=True)
    meanings = traitlets.Dict(
        {"left": "steer left", "right": "steer right", "up": "gas", "down": "brake"}
    ).tag(sync=True)
