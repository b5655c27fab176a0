"""Images for explorers: PNG bytes for an image widget, and plots that redraw in milliseconds.

A new matplotlib figure for every move of a slider would take too long, and fill the page.
"""

import io
from collections.abc import Sequence
from typing import Any

import ipywidgets as widgets
import numpy as np
from matplotlib.artist import Artist
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

DISPLAY_SIZE = 256  # pixels on the page
WIDE = {"description_width": "90px"}  # style of a control with a long description


def png(frame: np.ndarray, size: int = DISPLAY_SIZE) -> bytes:
    """A frame (H, W, 3) uint8 as PNG bytes, scaled to `size` pixels high without smoothing."""
    height, width, _ = frame.shape
    shape = round(width * size / height), size
    return _encoded(Image.fromarray(frame).resize(shape, Image.Resampling.NEAREST))


def row_of(frames: np.ndarray, gap: int = 2) -> np.ndarray:
    """Frames (N, H, W, 3) uint8 as one frame, side by side with `gap` white pixels between."""
    frames = np.pad(frames, ((0, 0), (0, 0), (0, gap), (0, 0)), constant_values=255)
    return np.concatenate(list(frames), axis=1)[:, :-gap]


def image(width: int = DISPLAY_SIZE, height: int = DISPLAY_SIZE) -> widgets.Image:
    """An image widget without an image yet, `width` by `height` pixels on the page."""
    return widgets.Image(format="png", width=width, height=height)


def captioned(caption: str | widgets.Widget, picture: widgets.Widget) -> widgets.VBox:
    """A picture with a caption above it: a text, or a label whose text may change."""
    return widgets.VBox([widgets.Label(caption) if isinstance(caption, str) else caption, picture])


class LivePlot:
    """A figure whose axes are drawn once, and whose `moving` artists are drawn anew every time.

    size: width and height in pixels.
    """

    def __init__(self, figure: Figure, moving: Sequence[Artist]):
        self.figure, self.moving = figure, list(moving)
        width, height = figure.get_size_inches() * figure.dpi
        self.size = int(width), int(height)
        self._canvas = FigureCanvasAgg(figure)
        self._background: Any = None  # the drawn axes; matplotlib does not export the type
        for artist in self.moving:
            artist.set_animated(True)

    def redraw_axes(self) -> None:
        """Draw the axes anew in the next `png`: needed when their limits or labels have changed."""
        self._background = None

    def png(self) -> bytes:
        """The figure in its present state, as PNG bytes."""
        if self._background is None:
            self._canvas.draw()
            self._background = self._canvas.copy_from_bbox(self.figure.bbox)
        self._canvas.restore_region(self._background)
        for artist in self.moving:
            artist.draw(self._canvas.get_renderer())
        return _encoded(Image.fromarray(np.asarray(self._canvas.buffer_rgba())).convert("RGB"))


def _encoded(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", compress_level=1)  # fast: the image usually stays on this machine
    return buffer.getvalue()
