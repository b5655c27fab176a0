"""Diagrams drawn by code, so that the shapes in them are those of the networks."""

from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from wmlib.view.figures.style import new_axes


class Diagram:
    """Boxes and arrows on an empty canvas of `width` by `height` inches; the origin is at the lower
    left. `figure` is the result."""

    def __init__(self, width: float, height: float):
        self.figure: Figure
        self.figure, self.axes = new_axes(width, height)
        self.figure.set_layout_engine("none")
        self.axes.set_position((0, 0, 1, 1))
        self.axes.set_axis_off()
        self.axes.set(xlim=(0, width), ylim=(0, height), aspect="equal")

    def box(
        self, x: float, y: float, width: float, height: float, text: str, color: str = "black"
    ) -> None:
        """A rounded box around the centre (x, y)."""
        self.axes.annotate(text, (x, y), ha="center", va="center", fontsize=8, color=color)
        left, bottom = x - width / 2, y - height / 2
        self.axes.add_patch(
            FancyBboxPatch(
                (left, bottom),
                width,
                height,
                boxstyle="round,pad=0,rounding_size=0.06",
                edgecolor=color,
                facecolor="none",
            )
        )

    def text(self, x: float, y: float, text: str, color: str = "black", size: float = 8) -> None:
        """Text around the centre (x, y)."""
        self.axes.text(x, y, text, ha="center", va="center", fontsize=size, color=color)

    def arrow(
        self,
        start: tuple[float, float],
        end: tuple[float, float],
        text: str = "",
        color: str = "black",
        bend: float = 0.0,
    ) -> None:
        """An arrow with a text beside its middle. bend: curvature, as in Matplotlib's `arc3`."""
        style = {"arrowstyle": "-|>", "color": color, "connectionstyle": f"arc3,rad={bend}"}
        self.axes.annotate("", end, start, arrowprops=style | {"shrinkA": 0, "shrinkB": 0})
        middle = (start[0] + end[0]) / 2, (start[1] + end[1]) / 2
        self.axes.annotate(
            text, middle, (0, 5), textcoords="offset points", ha="center", fontsize=8, color=color
        )
