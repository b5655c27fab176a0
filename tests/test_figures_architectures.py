"""Diagrams of networks, and the map of z: what is drawn is what the network and the data are."""

import numpy as np
import pytest
from figure_data import assert_legible, visible_texts
from matplotlib.backends.backend_agg import FigureCanvasAgg

from wmlib.models.vae import VAE
from wmlib.view import figures
from wmlib.view.figures import DREAM, REALITY

pytestmark = pytest.mark.usefixtures("chapter_style")


@pytest.mark.parametrize(
    ("vae", "shapes"),
    [
        (VAE(), ["32×31×31", "64×14×14", "128×6×6", "256×2×2", "1024×1×1", "64×13×13", "z: 32"]),
        (VAE(96, 16), ["32×48×48", "128×12×12", "256×6×6", "flatten: 9216\nlinear", "z: 16"]),
    ],
    ids=["64", "96"],
)
def test_the_diagram_of_v_has_the_shapes_of_the_network(vae, shapes):
    figure = figures.vae_diagram(vae)
    FigureCanvasAgg(figure).draw()
    texts = visible_texts(figure)
    written = [text for text, _ in texts]
    assert set(shapes) <= set(written)
    frame = f"3×{vae.frame_size}×{vae.frame_size}"
    colors = [t.get_color() for t in figure.axes[0].texts if t.get_text() == frame]
    assert colors == [REALITY, DREAM]
    assert sum("Sigmoid" in text for text in written) == 1
    assert_legible(figure)


def test_large_values_lie_on_top_of_the_map_and_zero_is_in_the_middle_of_its_colours():
    points = np.random.default_rng(0).normal(size=(4, 2))
    values = np.array([30.0, -1.0, -90.0, 10.0])
    ax, _ = figures.scatter_map(points, values, "bend ahead (degrees)").axes
    (dots,) = ax.collections
    np.testing.assert_array_equal(dots.get_array(), [-1, 10, 30, -90])
    np.testing.assert_array_equal(dots.get_offsets(), points[[1, 3, 0, 2]])
    assert dots.get_clim() == (-90, 90)
