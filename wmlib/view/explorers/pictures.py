"""How explorers show things at once: PNG bytes for an image widget, plots that redraw in a few ms.

A new matplotlib figure for every move of a slider takes too long and piles up in the page.
"""

import io
from collections.abc import Sequence

import ipywidgets as widgets
import numpy as np
from matplotlib.artist import Artist
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

DISPLAY_SIZE = 256  # pixels on the page
WIDE = {"description_width": "90px"}  # room for a slider's name


def png(frame: np.ndarray, size: int = DISPLAY_SIZE) -> bytes:
    """A frame (H, W, 3) uint8 as PNG bytes, enlarged without smoothing to `size` pixels high."""
    height, width, _ = frame.shape
    shape = round(width * size / height), size
    return _encoded(Image.fromarray(frame).resize(shape, Image.Resampling.NEAREST))


def row_of(frames: np.ndarray, gap: int = 2) -> np.ndarray:
    """Frames (N, H, W, 3) uint8 side by side, `gap` white columns between them: one picture."""
    frames = np.pad(frames, ((0, 0), (0, 0), (0, gap), (0, 0)), constant_values=255)
    return np.concatenate(list(frames), axis=1)[:, :-gap]


def image(width: int = DISPLAY_SIZE, height: int = DISPLAY_SIZE) -> widgets.Image:
    """An empty picture, `width` by `height` pixels on the page."""
    return widgets.Image(format="png", width=width, height=height)


def captioned(caption: str | widgets.Widget, picture: widgets.Widget) -> widgets.VBox:
    """A picture with a line of text above it."""
    return widgets.VBox([widgets.Label(caption) if isinstance(caption, str) else caption, picture])


class LivePlot:
    """A figure whose axes are drawn once; `moving` artists are drawn over them every time.

    `size` is its width and height in pixels.
    """

    def __init__(self, figure: Figure, moving: Sequence[Artist]):
        self.figure, self.moving = figure, list(moving)
        self.size = tuple(int(side) for side in figure.get_size_inches() * figure.dpi)
        self._canvas, self._background = FigureCanvasAgg(figure), None
        for artist in self.moving:
            artist.set_animated(True)

    def new_axes(self) -> None:
        """To be called when limits or labels have changed."""
        self._background = None

    def png(self) -> bytes:
        """The figure as it is now, PNG bytes."""
        if self._background is None:
            self._canvas.draw()
            self._background = self._canvas.copy_from_bbox(self.figure.bbox)
        self._canvas.restore_region(self._background)
        for artist in self.moving:
            artist.axes.draw_artist(artist)
        return _encoded(Image.fromarray(np.asarray(self._canvas.buffer_rgba())).convert("RGB"))


def _encoded(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", compress_level=1)  # speed before size: it stays on this machine
    return buffer.getvalue()
