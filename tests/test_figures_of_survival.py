"""Take Cover's figures: survival, forecasts of death, temperatures."""

import numpy as np
import pytest
from figure_data import assert_drawn_legibly, drawn, error_bars
from matplotlib.colors import to_hex

from wmlib.evaluation import episode_interval, reliability
from wmlib.tools.temperature_ablation import PAPER
from wmlib.view import figures
from wmlib.view.figures import BASELINE, DREAM, REALITY

pytestmark = pytest.mark.usefixtures("chapter_style")


def test_the_area_below_a_survival_curve_is_the_mean():
    tics = np.array([100.0, 250, 250, 700, 1000, 1000])  # the last two were ended alive
    figure = figures.survival_curves({"C": tics}, 1000)
    assert_drawn_legibly(figure)
    ((times, alive),) = drawn(figure.axes[0], REALITY)
    assert np.sum(np.diff(times) * alive[:-1]) / 100 == pytest.approx(tics.mean())
    assert alive[-1] == pytest.approx(100 * 2 / 6)
    assert figure.axes[0].get_legend_handles_labels()[1] == ["C: mean 550 (n = 6)"]
    two = {"a": tics, "b": tics[:2]}
    figure = figures.survival_curves(two, 1000, {"b": {"color": DREAM, "ls": "--"}})
    assert len(drawn(figure.axes[0], DREAM)) == 1
    for nothing in ({}, {"a": tics[:0]}):
        with pytest.raises(ValueError, match="no episodes"):
            figures.survival_curves(nothing, 1000)


def forecasts(shift=0.0):
    rng = np.random.default_rng(0)
    log_odds = rng.normal(-5, 3, 20_000)
    return 1 / (1 + np.exp(-log_odds)), rng.random(20_000) < 1 / (1 + np.exp(-log_odds - shift))


def test_calibrated_forecasts_lie_on_the_diagonal_and_others_do_not():
    for shift, right in ((0.0, True), (2.0, False)):
        groups = reliability(*forecasts(shift))
        inside = [group.low <= group.forecast <= group.high for group in groups]
        assert (np.mean(inside) > 0.85) == right
        assert all(group.count >= 20 for group in groups)
        assert [g.forecast for g in groups] == sorted(g.forecast for g in groups)
        ratio = groups[-2].forecast / groups[-3].forecast
        assert 2.2 < ratio < 4.5  # two groups to a factor of ten
        figure = figures.death_reliability({"M of round 0": groups, "M of round 3": groups})
        assert_drawn_legibly(figure)
        x, y, low, high = error_bars(figure.axes[0].containers[0])
        shown = [(g.forecast, g.share, g.low, g.high) for g in groups if g.low > 1e-5]
        found = np.array([x, y, low, high]).T[[g.low > 1e-5 for g in groups]]
        np.testing.assert_allclose(found, shown, rtol=1e-6)
    with pytest.raises(ValueError, match="no forecasts"):
        figures.death_reliability({})
    assert len(figures.death_reliability({"M": []}).axes[0].containers) == 0


def test_a_group_of_forecasts_has_its_share_and_wilsons_interval():
    happened = np.arange(50) < 5
    (group,) = reliability(np.full(50, 0.12), happened)
    assert (group.forecast, group.share, group.count) == (pytest.approx(0.12), 0.1, 50)
    assert (group.low, group.high) == pytest.approx((0.0434, 0.2136), abs=2e-4)  # by hand
    assert reliability(np.full(19, 0.12), happened[:19]) == []
    assert reliability(np.array([1.0, 0.0] * 20), np.array([True, False] * 20))[-1].share == 1
    with pytest.raises(ValueError, match="shape"):
        reliability(np.ones(3), happened)


def test_the_temperatures_of_two_rounds_and_of_the_paper():
    rng = np.random.default_rng(0)
    rows = [
        {"round": k, "temperature": t, "dream": rng.random(9) * 900, "real": rng.random(9) * 300}
        for k in (0, 1)
        for t in PAPER
    ]
    figure = figures.by_temperature(rows, PAPER)
    assert_drawn_legibly(figure)
    for ax, some in zip(figure.axes, (rows[:5], rows[5:]), strict=True):
        assert [t.get_text() for t in ax.get_xticklabels()] == ["0.1", "0.5", "1", "1.15", "1.3"]
        dream, paper_dream, real, paper_real = ax.containers
        colors = [to_hex(c.lines[0].get_color()).upper() for c in ax.containers]
        assert colors == [DREAM, BASELINE, REALITY, BASELINE]
        for key, bars in (("dream", dream), ("real", real)):
            ours = [episode_interval(row[key]) for row in some]
            _, y, low, high = error_bars(bars)
            np.testing.assert_allclose(y, [i.mean for i in ours])
            np.testing.assert_allclose([low, high], [[i.low for i in ours], [i.high for i in ours]])
        for k, bars in enumerate((paper_dream, paper_real)):
            _, y, low, _ = error_bars(bars)
            assert list(y) == [values[k][0] for values in PAPER.values()]
            np.testing.assert_allclose(y - low, [0.196 * v[k][1] for v in PAPER.values()])
    with pytest.raises(ValueError, match="no rows"):
        figures.by_temperature([], PAPER)
