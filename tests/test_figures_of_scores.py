"""Chapter 5's figures: scores with their intervals, the loop, turns at which an agent fails."""

import numpy as np
import pytest
from figure_data import assert_drawn_legibly, drawn, legend, rng, score, timeline, visible_texts

from wmlib.evaluation import episode_interval
from wmlib.pipeline.scales import get_config
from wmlib.view import figures
from wmlib.view.figures import BASELINE, DREAM, REALITY

pytestmark = pytest.mark.usefixtures("chapter_style")

SCORES = [-131, 500, 505, 905, 910, 999]
INTERVALS = {"this run": episode_interval(SCORES), "another": episode_interval(SCORES[1:])}
TURNS, ERRORS = np.array([-5.0, 5, 20, 25, 200]), np.array([1.0, 3, 5, 9, 100])
EPISODES = np.array([0, 1, 0, 1, 1])
HAIRPINS = np.array([100.0, 120, -170]), np.array([20.0, 30, 60]), np.array([False, False, True])

ALL = {
    "differences": lambda: figures.differences({"mirrored": ERRORS, "reset": -ERRORS}, "points"),
    "episode_returns": lambda: figures.episode_returns(
        {"old C": ERRORS, "new C": -ERRORS}, "points"
    ),
    "intervals": lambda: figures.intervals(INTERVALS, "return (points)"),
    "loop_diagram": lambda: figures.loop_diagram(get_config("laptop")),
    "error_by_turn": lambda: figures.error_by_turn(EPISODES, TURNS, ERRORS, 2 * ERRORS, *HAIRPINS),
    "score_histogram": lambda: figures.score_histogram(score(rng().normal(900, 20, 50))),
    "wall_clock": lambda: figures.wall_clock(timeline(), [timeline(offset=1)]),
}


@pytest.mark.parametrize("name", ALL)
def test_nothing_is_cut_off_and_no_text_covers_another(name):
    assert_drawn_legibly(ALL[name]())


def bars(ax):
    """(value, low, high, y) of every horizontal error bar."""
    found = []
    for container in ax.containers:
        line, _, (across, *_) = container.lines
        (x,), (y,) = line.get_data()
        ((low, _), (high, _)) = across.get_segments()[0]
        found.append((x, low, high, y))
    return found


def test_the_histogram_has_every_track_and_the_interval_of_the_mean():
    scores = score(SCORES)
    figure = figures.score_histogram(scores)
    left, right = figure.axes
    heights = {bar.get_x(): bar.get_height() for bar in left.patches}
    assert sum(heights.values()) == pytest.approx(100)  # percent
    assert heights[500] == pytest.approx(2 * heights[-140]) == pytest.approx(heights[900])
    ((ticks, _),) = drawn(left, REALITY)
    assert list(ticks) == SCORES
    i = scores.interval
    ours, papers = bars(right)
    assert ours == pytest.approx((i.mean, i.low, i.high, 0))
    assert papers == pytest.approx((906, 901.9, 910.1, 2), abs=0.1)
    (median,) = [x for x, y in drawn(right, REALITY) if list(y) == [1]]
    assert list(median) == [np.median(SCORES)]


def test_intervals_are_rows_from_the_top():
    figure = figures.intervals(INTERVALS, "return (points)", {"another": BASELINE})
    (ax,) = figure.axes
    wanted = [(i.mean, i.low, i.high, y) for y, i in enumerate(INTERVALS.values())]
    assert bars(ax) == [pytest.approx(row) for row in wanted]
    assert [label.get_text() for label in ax.get_yticklabels()] == list(INTERVALS)
    assert ax.yaxis_inverted()
    assert len(drawn(ax, BASELINE)) > 0


def test_differences_are_dots_with_their_mean_beside_them_and_a_line_at_zero():
    figure = figures.differences({"mirrored": ERRORS, "reset": -ERRORS}, "points", {"reset": DREAM})
    (ax,) = figure.axes
    i = episode_interval(ERRORS)
    wanted = [(i.mean, i.low, i.high), (-i.mean, -i.high, -i.low)]
    assert [bar[:3] for bar in bars(ax)] == [pytest.approx(row, abs=0.5) for row in wanted]
    assert any(list(x) == ERRORS.tolist() for x, _ in drawn(ax, REALITY))
    assert any(list(x) == (-ERRORS).tolist() for x, _ in drawn(ax, DREAM))
    assert [list(x) for x, _ in drawn(ax, BASELINE)] == [[0, 0]]


def test_wall_clock_names_the_runs_and_distinguishes_them():
    figure = figures.wall_clock(timeline(), [timeline(offset=1), timeline(offset=2)])
    assert legend(figure)[:3] == ["this run", "another training seed", "another training seed"]
    markers = [line.get_marker() for line in figure.axes[0].lines]
    assert len(set(markers)) == len(markers) == 4


def test_episode_returns_are_dots_with_their_mean_beside_them():
    (ax,) = figures.episode_returns({"old C": np.array(SCORES)}, "return (points)").axes
    i = episode_interval(SCORES)
    assert [bar[:3] for bar in bars(ax)] == [pytest.approx((i.mean, i.low, i.high))]
    assert any(list(x) == SCORES for x, _ in drawn(ax, REALITY))


def test_the_loop_has_the_configs_numbers():
    config = get_config("smoke")
    texts = [text for text, _ in visible_texts(figures.loop_diagram(config))]
    assert any(text.endswith(", ".join(str(r.episodes) for r in config.rounds)) for text in texts)
    assert any(text.startswith("evolve C") for text in texts)


def test_errors_by_turn_are_means_per_bin_and_hairpins_by_outcome():
    figure = figures.error_by_turn(EPISODES, TURNS, ERRORS, 2 * ERRORS, *HAIRPINS)
    left, right = figure.axes
    means = [np.stack(c.lines[0].get_data(), 1).tolist() for c in left.containers]
    assert means == [[[0, 2], [22.5, 7]], [[0, 4], [22.5, 14]]]  # no bin of one episode
    passed, failed = (points.get_offsets().tolist() for points in right.collections)
    assert (passed, failed) == ([[100, 20], [120, 30]], [[-170, 60]])
    [bar] = left.containers[0].lines[2][0].get_segments()[1:]
    interval = episode_interval([5.0, 9])
    np.testing.assert_allclose(bar[:, 1], [interval.low, interval.high])
    # Two frames of one episode are one value; alone, they are no bin.
    both = figures.error_by_turn(EPISODES * 0, TURNS, ERRORS, ERRORS, *HAIRPINS)
    assert not [x for c in both.axes[0].containers for x in c.lines[0].get_xdata()]
    frames = EPISODES, TURNS, ERRORS, ERRORS
    higher = figures.error_by_turn(*frames, HAIRPINS[0], 9 * HAIRPINS[1], HAIRPINS[2])
    assert all(ax.get_ylim()[0] == 0 and ax.get_ylim()[1] > 540 for ax in higher.axes)
    assert legend(figure) == ["frames", "their mirror images", "passed (n = 2)", "failed (n = 1)"]


def test_without_data_it_is_said_what_is_missing():
    with pytest.raises(ValueError, match="there are no intervals"):
        figures.intervals({}, "return")
    with pytest.raises(ValueError, match="there are no differences"):
        figures.differences({}, "points")
    with pytest.raises(ValueError, match="there are no episodes"):
        figures.episode_returns({}, "return")
    with pytest.raises(ValueError, match="there are no frames"):
        figures.error_by_turn(*np.zeros((7, 0)))
