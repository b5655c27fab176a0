"""A pad of buttons, one for each arrow key in use, that also reads those keys."""

from pathlib import Path

import anywidget
import traitlets

HERE = Path(__file__).parent


class Keypad(anywidget.AnyWidget):
    """`held` lists the keys that are held down: any of "left", "right", "up" and "down".

    Keys are read while the pad has the focus, after a click on it or with Tab. label: the text
    beside the buttons. meanings: of the keys in use, their buttons' names for screen readers.
    """

    _esm = HERE / "keypad.js"
    _css = HERE / "keypad.css"
    held = traitlets.List(traitlets.Unicode()).tag(sync=True)
    label = traitlets.Unicode("click here, then use the arrow keys").tag(sync=True)
    meanings = traitlets.Dict(
        {"left": "steer left", "right": "steer right", "up": "gas", "down": "brake"}
    ).tag(sync=True)
