"""Framed clips, the agent as a diagram, logarithmic axes: chapters 0 and 1."""

import numpy as np
import pytest
import torch
from figure_data import frames, history, visible_texts
from matplotlib.backends.backend_agg import FigureCanvasAgg

from wmlib.models.controller import Controller
from wmlib.models.mdn_rnn import MDNRNN
from wmlib.models.vae import VAE
from wmlib.models.world_model import WorldModel
from wmlib.view import figures
from wmlib.view.figures import DREAM, REALITY

pytestmark = pytest.mark.usefixtures("chapter_style")


def test_a_framed_clip_has_its_pixels_in_a_border_of_its_colour():
    clip = frames(3, 32, 48)
    framed = figures.framed(clip, "dreams", DREAM, scale=2)
    assert framed.shape == (3, 2 * 32 + 20, 2 * 48 + 8, 3)
    assert framed.dtype == np.uint8
    np.testing.assert_array_equal(framed[:, 16:80:2, 4:100:2], clip)
    color = [int(DREAM[i : i + 2], 16) for i in (1, 3, 5)]
    for edge in (framed[0, 12:16], framed[0, -4:], framed[0, 16:, :4], framed[0, 16:, -4:]):
        assert (edge == color).all()
    header = framed[0, :12]
    assert (header == 255).all(-1).any()
    assert (header < 255).any()  # the text
    with pytest.raises(ValueError, match="wider than the clip"):
        figures.framed(clip, "a text that is far too long for such a clip", REALITY)
    with pytest.raises(ValueError, match="no frames"):
        figures.framed(clip[:0], "", REALITY)


@pytest.mark.parametrize("with_controller", [True, False])
def test_the_architecture_has_the_sizes_of_its_networks(with_controller):
    torch.manual_seed(0)
    world_model = WorldModel(VAE(z_size=7), MDNRNN(z_size=7, hidden_size=9, mixtures=3))
    controller = Controller(feature_size=16) if with_controller else None
    figure = figures.architecture(world_model, controller)
    FigureCanvasAgg(figure).draw()
    texts = visible_texts(figure)
    said = "\n".join(text for text, _ in texts)
    for part in ("12,288 numbers", "z\n7 numbers", "h: 9 numbers", "next z: 3"):
        assert part in said
    assert ("C\n(one linear layer)" in said) == with_controller
    for text, box in texts:
        assert min(box.x0, box.y0) > -1, text
        assert box.x1 < figure.bbox.x1 + 1, text
        assert box.y1 < figure.bbox.y1 + 1, text


def test_a_column_of_the_log_may_have_a_logarithmic_axis():
    labels = {"nll": "nats", "kl": "KL (nats)"}
    nll, kl = figures.training_curves(history(), labels, logarithmic=["nll"]).axes
    assert (nll.get_yscale(), kl.get_yscale()) == ("log", "linear")
