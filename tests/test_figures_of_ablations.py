"""Chapter 7's figures: learning curves of several recipes, values per seed in several columns."""

import numpy as np
import pytest
from figure_data import assert_drawn_legibly, drawn, legend

from wmlib.view import figures
from wmlib.view.figures import BASELINE, REALITY

pytestmark = pytest.mark.usefixtures("chapter_style")

STEPS = np.array([1e5, 2e6, 4e6])
CURVES = {
    "z": [(STEPS, np.array([20.0, 500, 650])), (STEPS, np.array([40.0, 450, 700]))],
    "z and h": [(STEPS, np.array([30.0, 700, 880])), (STEPS / 2, np.array([10.0, 800, 890]))],
    "z and h, M without memory": [(STEPS, np.array([35.0, 600, 800]))],
}
PROBES = {
    f"R², {name}": {arm: np.array([0.1, 0.2, 0.4]) for arm in CURVES} for name in ("bend", "speed")
}
ALL = {
    "arms_learning": lambda: figures.arms_learning(CURVES, "z and h"),
    "seed_dots": lambda: figures.seed_dots(PROBES, width=3.4),
    "seed_dots of differences": lambda: figures.seed_dots(PROBES, differences=True),
}


@pytest.mark.parametrize("name", ALL)
def test_nothing_is_cut_off_and_no_text_covers_another(name):
    assert_drawn_legibly(ALL[name]())


def test_every_recipe_has_a_panel_and_the_reference_is_in_each():
    figure = figures.arms_learning(CURVES, "z and h", levels=(800,))
    others = [name for name in CURVES if name != "z and h"]
    for ax, name in zip(figure.axes, others, strict=True):
        for color, shown in ((REALITY, name), (BASELINE, "z and h")):
            for (x, y), (steps, returns) in zip(drawn(ax, color), CURVES[shown], strict=True):
                np.testing.assert_allclose(x, steps / 1e6)
                np.testing.assert_array_equal(y, returns)
        (level,) = drawn(ax, "#000000")
        assert list(level[1]) == [800, 800]
        assert ax.get_ylim() == figure.axes[0].get_ylim()
    assert legend(figure) == ["z and h", "z", "z and h", "z and h, M without memory"]


def test_differences_share_a_scale_that_shows_zero():
    columns = {"own": {"a": np.array([5.0, 6, 7])}, "others": {"a": np.array([-90.0, -80, -85])}}
    left, right = figures.seed_dots(columns, differences=True).axes
    low, high = left.get_xlim()
    assert (low, high) == right.get_xlim()
    assert low < -85
    assert high > 7
    assert all(drawn(ax, BASELINE) for ax in (left, right))
    apart, other = figures.seed_dots(columns).axes
    assert apart.get_xlim() != other.get_xlim()


def test_names_that_all_columns_share_are_written_once():
    left, right = figures.seed_dots(PROBES).axes
    assert left.yaxis.get_tick_params()["labelleft"]
    assert not right.yaxis.get_tick_params()["labelleft"]
    other = {"height": {"a": np.ones(3)}, "width": {"b": np.ones(3)}}
    assert figures.seed_dots(other).axes[1].yaxis.get_tick_params()["labelleft"]


@pytest.mark.parametrize(
    ("curves", "said"),
    [
        ({}, "no recipes"),
        ({"z": []}, "no curves of 'z and h', only of z"),
        ({"z and h": []}, "no recipes beside 'z and h'"),
    ],
)
def test_what_is_missing_is_named(curves, said):
    with pytest.raises(ValueError, match=said):
        figures.arms_learning(curves, "z and h")
