"""A player for dreams that were computed beforehand."""

import ipywidgets as widgets
import numpy as np
from matplotlib.figure import Figure

from wmlib.view.explorers.pictures import WIDE, image, png
from wmlib.view.figures import DREAM, frame_grid


class DreamPlayer:
    """Plays dreams at several temperatures, one at a time, to compare them at the same agent step.

    dreams: {temperature: frames (T, S, S, 3) uint8}, one frame per agent step. frame_rate: frames
    per second. Raises ValueError if there are no dreams, or their lengths differ.
    """

    def __init__(self, dreams: dict[float, np.ndarray], frame_rate: float = 25):
        lengths = {len(frames) for frames in dreams.values()}
        if len(lengths) != 1:
            raise ValueError(f"dreams must have the same length, got lengths {sorted(lengths)}")
        last = lengths.pop() - 1
        self.dreams = dreams
        self._pictures = {t: [png(frame) for frame in frames] for t, frames in dreams.items()}

        self.temperature = widgets.SelectionSlider(
            options=[(f"{t:g}", t) for t in dreams], description="temperature", style=WIDE
        )
        self.moment = widgets.IntSlider(0, 0, last, description="agent step", style=WIDE)
        self.play = widgets.Play(0, 0, last, interval=round(1000 / frame_rate))
        self.picture = image()
        self._link = widgets.link((self.play, "value"), (self.moment, "value"))
        for control in (self.temperature, self.moment):
            control.observe(lambda change: self._draw(), "value")
        self._draw()
        self.widget = widgets.HBox(
            [widgets.VBox([self.temperature, self.moment, self.play]), self.picture]
        )

    def _draw(self) -> None:
        self.picture.value = self._pictures[self.temperature.value][self.moment.value]

    def contact_sheet(self, columns: int = 9) -> Figure:
        """One row per temperature: `columns` frames at evenly spaced agent steps."""
        shown = np.linspace(0, self.moment.max, columns).astype(int)
        rows = {f"τ = {t:g}": frames[shown] for t, frames in self.dreams.items()}
        return frame_grid(rows, [f"+{t}" for t in shown], dict.fromkeys(rows, DREAM))
