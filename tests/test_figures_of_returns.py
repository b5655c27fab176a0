"""Figures of returns and of speeds: lines, bars and intervals are those of the logs."""

import numpy as np
import pytest
from figure_data import (
    drawn,
    dream_timeline,
    error_bars,
    evolved,
    evolved_by_temperature,
    legend,
    policies,
    published,
    real_policies,
    timeline,
)
from matplotlib.colors import to_hex

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
    x, y, *_ = error_bars(ax.containers[0])
    checks = [row for row in timeline() if "check" in row]
    assert list(x) == [row["minutes"] / 60 for row in checks]
    assert list(y) == [row["check"] for row in checks]
    assert drawn(ax, REALITY)[0][0][0] == other[0]["minutes"] / 60
    ((hours, scores),) = drawn(ax, BASELINE)
    assert (list(hours), list(scores)) == ([15.6, 30.0, 1119.0], [822.9, 867.0, 900.5])
    assert "(hours)" in ax.get_xlabel()


def test_returns_of_dreams_are_drawn_over_the_real_returns():
    real, predicted = np.array([10.0, 30.0]), np.array([[8.0, 14.0], [20.0, 50.0]])
    figure = figures.dream_returns(real, predicted)
    (ax,) = figure.axes
    ((x, y),) = drawn(ax, DREAM)
    assert sorted(zip(x, y, strict=True)) == [(10, 8), (10, 14), (30, 20), (30, 50)]
    ((x, y),) = drawn(ax, "#000000")
    assert (list(x), list(y)) == ([10, 30], [11, 35])
    ((a, b),) = drawn(ax, BASELINE)
    assert list(a) == list(b) == [8, 50]
    assert legend(figure) == ["one dream", "mean of an episode's dreams", "predicted = real"]


def test_predicted_returns_have_intervals_marks_and_a_rank_correlation():
    real = real_policies(4)
    predicted = np.stack([[0.0, 2.0, 1.0, 3.0], [0.5, 0, 0.5, 1]], 1)
    figure = figures.predicted_against_real({"its dream": predicted}, real, {"the run's C": 3})
    (ax,) = figure.axes
    line, _, (across, down) = ax.containers[0].lines
    np.testing.assert_array_equal(
        np.stack(line.get_data(), 1), np.stack([real[:, 0], [0, 2, 1, 3]], 1)
    )
    sides = np.array(across.get_segments())
    np.testing.assert_allclose(sides[:, :, 0], real[:, 1:])
    ends = np.array(down.get_segments())
    np.testing.assert_allclose(ends[:, 1, 1] - ends[:, 0, 1], 2 * predicted[:, 1])
    assert to_hex(line.get_color()).upper() == DREAM
    assert [(float(x[0]), float(y[0])) for x, y in drawn(ax, "#000000")] == [(real[3, 0], 3)]
    assert ax.get_title() == "its dream\nrank correlation 0.80\n(95% CI -1.00 to 1.00)"
    assert set(legend(figure)) == {"the run's C", "a policy (95% CI)", "predicted = real"}


def test_five_dreams_take_two_rows_of_axes():
    predicted = {f"dream {k}": policies(shift=k) for k in range(5)}
    figure = figures.predicted_against_real(predicted, real_policies())
    assert len(figure.axes) == 6
    assert [ax.axison for ax in figure.axes] == [True] * 5 + [False]


def test_returns_by_dream_are_means_and_sds_of_the_seeds():
    runs = [evolved(0), evolved(1), evolved(4)]
    figure = figures.returns_by_dream(runs)
    (ax,) = figure.axes
    predicted, real = ax.containers
    for container, key, color in ((predicted, "predicted_return", DREAM), (real, "real", REALITY)):
        values = np.array([[row[key] for row in run] for run in runs])
        _, y, low, high = error_bars(container)
        assert y == pytest.approx(values.mean(0))
        assert (high - low) / 2 == pytest.approx(values.std(0, ddof=1))
        seeds = [y for _, y in drawn(ax, color)][:3]
        np.testing.assert_array_equal(seeds, values)
    labels = [label.get_text().replace("\n", " ") for label in ax.get_xticklabels()]
    assert labels == [row["kind"] for row in runs[0]]
    assert legend(figure) == ["predicted by the dream", "in the real environment"]
    runs[2][0]["population_return"] = runs[2][0].pop(
        "predicted_return"
    )  # a log of an earlier version
    for row in (row for run in runs for row in run):
        row.setdefault("population_return", 1.0)
    figure = figures.returns_by_dream(runs)
    assert legend(figure)[0] == "predicted for the last population"


def test_with_one_seed_error_bars_are_the_sd_of_real_episodes():
    predicted, real = figures.returns_by_dream([evolved()]).axes[0].containers
    assert len(predicted.lines[2]) == 0
    *_, low, high = error_bars(real)
    assert list((high - low) / 2) == [row["real_std"] for row in evolved()]


def test_returns_by_temperature_have_a_panel_per_dropout_rate():
    runs = [evolved_by_temperature(0), evolved_by_temperature(3)]
    axes = figures.returns_by_temperature(runs).axes
    assert [ax.get_title() for ax in axes] == ["dropout 0", "dropout 0.1"]
    for ax, rate in zip(axes, (0.0, 0.1), strict=True):
        x, y, *_ = error_bars(ax.containers[1])
        rows = [[row for row in run if row["dropout"] == rate] for run in runs]
        assert list(x) == [0.5, 1.0, 1.8]
        assert y == pytest.approx(np.mean([[row["real"] for row in run] for run in rows], axis=0))
    assert axes[0].get_ylim() == axes[1].get_ylim()


def test_the_learning_curve_in_dreams_has_axes_of_predicted_and_of_real_returns():
    first, other = dream_timeline(), dream_timeline(2)
    figure = figures.dream_learning_curve({"this run": first, "seed1": other})
    above, below = figure.axes
    (x, y), _ = drawn(above, DREAM)
    last = [row for k in range(3) for row in first if row["round"] == k][3::4]
    assert (list(x), list(y)) == ([r["minutes"] for r in last], [r["mean"] for r in last])
    checks = [row for row in first if "check" in row]
    x, y, low, high = error_bars(below.containers[0])
    assert (list(x), list(y)) == ([r["minutes"] for r in checks], [r["check"] for r in checks])
    assert list((high - low) / 2) == [r["check_std"] for r in checks]
    assert [float(value[0]) for value in drawn(below, "#000000")[0]] == [first[-1]["minutes"], 650]
    lines = [list(y) for _, y in drawn(below, REALITY)]
    assert [row["check"] for row in other if "check" in row] in lines
    assert above.get_legend().get_texts()[1].get_text() == "seed1"


def test_the_bench_has_a_panel_per_unit_and_bars_of_the_medians():
    result = published()
    figure = figures.bench(result)
    rows = {panel: [row for row in result["rows"] if row["panel"] == panel]
            for panel in dict.fromkeys(row["panel"] for row in result["rows"])}  # fmt: skip
    rows = {panel: some for panel, some in rows.items() if len(some) > 1}
    assert [ax.get_title(loc="left") for ax in figure.axes] == list(rows)
    colors = {"baseline": BASELINE, "dream": DREAM, "real": REALITY}
    for ax, some in zip(figure.axes, rows.values(), strict=True):
        assert ax.get_xlabel() == some[0]["unit"]
        assert [bar.get_width() for bar in ax.patches] == [row["median"] for row in some[::-1]]
        assert [to_hex(bar.get_facecolor()).upper() for bar in ax.patches] == [
            colors[row["kind"]] for row in some[::-1]
        ]
        assert [list(line.get_xdata()) for line in ax.lines] == [row["runs"] for row in some[::-1]]
        for text, row in zip(ax.texts, some[::-1], strict=True):
            compared = row["times_gymnasium"] not in (None, 1)
            assert ("× Gymnasium" in text.get_text()) == compared
