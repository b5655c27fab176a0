"""Figures of returns and of speeds: lines, bars and intervals are those of the logs."""

import numpy as np
import pytest
from figure_data import (
    drawn,
    error_bars,
    intervals,
    legend,
    published,
    score,
    search_log,
    timeline,
)
from matplotlib.colors import to_hex

from wmlib.evaluation import seed_interval
from wmlib.view import figures
from wmlib.view.figures import BASELINE, DREAM, REALITY

pytestmark = pytest.mark.usefixtures("chapter_style")


def test_a_learning_curve_shows_the_population_and_the_checks_over_minutes():
    rows = timeline()
    figure = figures.learning_curve(rows)
    (ax,) = figure.axes
    curves = [(x, y) for x, y in drawn(ax, REALITY) if len(x) == 4]  # a round's generations
    for k, (x, y) in enumerate(curves[:3]):
        some = [row for row in rows if row["round"] == k]
        assert list(x) == [row["minutes"] for row in some]
        assert list(y) == [np.median(row["scores"]) for row in some]
    first = ax.collections[0].get_paths()[0].vertices
    at_start = first[first[:, 0] == rows[0]["minutes"], 1]
    assert (at_start.min(), at_start.max()) == (1, 9)  # the 10th and the 90th percentile of 0..10
    checks = [row for row in rows if "check" in row]
    x, y, low, high = error_bars(ax.containers[0])
    assert list(x) == [row["minutes"] for row in checks]
    assert list(y) == [row["check"] for row in checks]
    assert list(high - low) == [2 * row["check_std"] for row in checks]
    assert [text.get_text().strip() for text in ax.texts] == ["round 0", "round 1", "round 2"]
    assert any("± SD of episodes" in label for label in legend(figure))


def test_wall_clock_is_in_hours_with_the_papers_results():
    other = timeline(offset=1)
    figure = figures.wall_clock(timeline(), [other])
    (ax,) = figure.axes
    (x, y), (later, _) = drawn(ax, REALITY)
    checks = [row for row in timeline() if "check" in row]
    assert list(x) == [row["minutes"] / 60 for row in checks]
    assert list(y) == [row["check"] for row in checks]
    assert later[0] == other[0]["minutes"] / 60
    ((hours, scores),) = drawn(ax, BASELINE)
    assert (list(hours), list(scores)) == ([15.6, 30.0, 1119.0], [822.9, 867.0, 900.5])
    assert "(hours)" in ax.get_xlabel()


def test_searches_in_dreams_have_predicted_and_real_returns():
    figure = figures.search_in_dream([search_log(), search_log(5.0)], 16)
    ax, second = figure.axes
    ((x, y),) = drawn(ax, DREAM)
    assert (list(x), list(y)) == ([1, 2, 3], [1, 40, 90])
    assert [list(y) for _, y in drawn(second, DREAM)] == [[6, 45, 95]]
    x, y, low, high = error_bars(ax.containers[0])
    assert list(x) == [1, 3]
    assert list(y) == [-80, -90]
    np.testing.assert_allclose(high - low, [2 * 1.96 * 4 / 4, 2 * 1.96 * 2 / 4])
    assert ax.get_ylim() == second.get_ylim()


def test_returns_by_action_are_means_with_intervals_and_a_limit():
    found, real = intervals(), intervals(-100)
    values = np.array([0.0, 0.5, 1.0])
    (ax,) = figures.predicted_by_action(values, {"naive M": found}, real, "brake", 0.2, 9).axes
    ((x, y),) = drawn(ax, DREAM)
    assert (list(x), list(y)) == ([0, 0.5, 1], [i.mean for i in found])
    assert list(drawn(ax, REALITY)[0][1]) == [i.mean for i in real]
    for collection, some in zip(ax.collections, (found, real), strict=True):
        band = collection.get_paths()[0].vertices
        assert band[:, 1].min() == min(i.low for i in some)
    assert drawn(ax, BASELINE)[0][0][0] == 0.2
    assert ax.get_xlabel() == "brake"
    assert "9 agent steps" in ax.get_ylabel()


def test_a_score_matrix_has_every_number_and_frames_the_highest_predictions():
    real, predicted = {"a": -90.0, "b": 500.0}, {"dream 1": [183.0, 20.0], "dream 2": [4.0, 800.0]}
    (ax,) = figures.score_matrix(real, predicted, first=1).axes
    texts = [[t.get_text() for t in ax.texts if t.get_position()[0] == k] for k in range(3)]
    assert texts == [["-90", "500"], ["183", "20"], ["4", "800"]]
    assert [t.get_text() for t in ax.texts if t.get_bbox_patch()] == ["183", "800"]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["a", "b"]
    assert [list(line.get_ydata()) for line in ax.lines] == [[0.5, 0.5]]  # between a and b


def test_accuracy_has_rank_correlations_with_intervals_and_regrets_by_seed():
    ranks = {"one": [(0.5, 0.1, 0.8), (0.6, 0.2, 0.7)], "two": [(0.9, 0.8, 1.0), (0.4, 0.0, 0.6)]}
    left, right = figures.dream_accuracy(ranks, {"one": [900, 30], "two": [5, 0]}).axes
    found = [container.lines for container in left.containers]
    rho = [float(line.get_xdata()[0]) for line, *_ in found]
    assert rho == [0.5, 0.6, 0.9, 0.4]
    ends = np.array([bars.get_segments()[0][:, 0] for _, _, (bars,) in found])
    np.testing.assert_allclose(ends, [(0.1, 0.8), (0.2, 0.7), (0.8, 1.0), (0.0, 0.6)])
    assert [float(x[0]) for x, _ in drawn(right, REALITY)] == [900, 30, 5, 0]


def test_before_and_after_are_lines_per_seed_and_the_mean_difference():
    before, after = np.array([-60.0, 5.0, 9.0]), np.array([410.0, -20.0, 590.0])
    left, right = figures.before_and_after({"reward": (before, after)}, {"still": -93}).axes
    lines = [list(x) for x, _ in drawn(left, REALITY)]
    assert lines == [[-60, 410], [-60], [5, -20], [5], [9, 590], [9]]
    assert list(drawn(left, BASELINE)[0][0]) == [-93, -93]
    assert [float(x[0]) for x, _ in drawn(right, REALITY)] == [470, -25, 581]
    (bars,) = right.containers[0].lines[2]
    mean = seed_interval(after - before)
    assert bars.get_segments()[0][:, 0] == pytest.approx([mean.low, mean.high])


def test_with_one_seed_before_and_after_have_no_interval():
    _, right = figures.before_and_after({"reward": (np.zeros(1), np.ones(1))}).axes
    assert not right.containers


def test_returns_by_round_are_the_last_predictions_and_the_checks_of_each_round():
    rows = timeline()
    left, right = figures.returns_by_round([rows], 16).axes
    assert left.get_ylim() == right.get_ylim()
    ((x, y),) = drawn(left, DREAM)
    last = [row for k in range(3) for row in rows if row["round"] == k][3::4]
    assert (list(x), list(y)) == ([0, 1, 2], [row["mean"] for row in last])
    checks = list({row["round"]: row for row in rows if "check" in row}.values())
    _, y, low, high = error_bars(right.containers[0])
    assert list(y) == [row["check"] for row in checks]
    assert high - low == pytest.approx([2 * 1.96 * row["check_std"] / 4 for row in checks])


def test_recipes_are_compared_by_the_means_of_their_seeds():
    base, ours = [score([900, 910, 920]), score([890, 900])], [score([700, 800, 850])]
    left, right = figures.recipes_compared({"real": base, "dreams": ours}).axes
    means = [float(container.lines[0].get_ydata()[0]) for container in left.containers]
    assert means == [910, 895, 902.5, pytest.approx(2350 / 3), pytest.approx(2350 / 3)]
    _, _, low, high = error_bars(left.containers[2])
    mean = seed_interval([910, 895])
    assert (low[0], high[0]) == pytest.approx((mean.low, mean.high))
    ((x, y),) = drawn(right, REALITY)
    assert (list(x), list(y)) == ([890, 900, 900, 910, 920], pytest.approx([0.2, 0.4, 0.6, 0.8, 1]))
    assert list(drawn(right, DREAM)[0][0]) == [700, 800, 850]
    assert right.get_xlim()[0] < 700


def test_the_bench_has_a_panel_per_unit_and_dots_at_the_medians():
    result = published()
    figure = figures.bench(result)
    rows = {panel: [row for row in result["rows"] if row["panel"] == panel]
            for panel in dict.fromkeys(row["panel"] for row in result["rows"])}  # fmt: skip
    rows = {panel: some for panel, some in rows.items() if len(some) > 1}
    assert [ax.get_title(loc="left") for ax in figure.axes] == list(rows)
    colors = {"baseline": BASELINE, "dream": DREAM, "real": REALITY}
    for ax, some in zip(figure.axes, rows.values(), strict=True):
        assert ax.get_xlabel() == some[0]["unit"]
        medians, runs = ax.lines[::2], ax.lines[1::2]
        assert [line.get_xdata()[0] for line in medians] == [row["median"] for row in some[::-1]]
        assert [to_hex(line.get_color()).upper() for line in medians] == [
            DREAM if row["panel"].startswith("Networks") else colors[row["kind"]]
            for row in some[::-1]
        ]
        assert [list(line.get_xdata()) for line in runs] == [row["runs"] for row in some[::-1]]
        for text, row in zip(ax.texts, some[::-1], strict=True):
            compared = row["times_gymnasium"] not in (None, 1)
            assert ("× Gymnasium" in text.get_text()) == compared
