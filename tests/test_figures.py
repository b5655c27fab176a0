"""Figures: what is drawn is the data, in the colours of the series, labelled, with nothing cut off.

Whether a figure is beautiful no test says: look at it.
"""

import base64
import io
import itertools
import json
import re

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.text import Text
from PIL import Image
from scipy import stats

from wmlib import paths
from wmlib.evaluation import Probe, Score, interval
from wmlib.view import figures
from wmlib.view.figures import BASELINE, DREAM, REALITY


@pytest.fixture(autouse=True)
def _as_in_a_chapter():
    """The chapters' style; and pyplot, which would keep a figure for ever, has none afterwards."""
    with plt.rc_context():
        figures.use_style()
        yield
    assert plt.get_fignums() == []


def rng():
    return np.random.default_rng(0)


def frames(count, height=16, width=16):
    return rng().integers(0, 255, (count, height, width, 3), dtype=np.uint8)


def history(rounds=2):
    return [
        {"round": k, "step": step, "nll": 10.0 * k + step, "kl": -float(step)}
        for k in range(rounds)
        for step in (5, 10, 20)
    ]


def timeline(checks=True, offset=0.0):
    """Rows as `rounds.timeline` returns them: three rounds of four generations."""
    rows = []
    for k, g in itertools.product(range(3), range(4)):
        minutes = 10.0 * k + 2 * g + 5 + offset
        scores = list(100.0 * k + 50 * g + np.arange(11))
        rows.append(
            {"round": k, "minutes": minutes, "scores": scores, "mean": float(np.mean(scores))}
        )
        if checks and g % 3 == 0:
            rows[-1] |= {"check": 300.0 * k + 40 * g, "check_std": 20.0 + g}
    return rows


def dream_timeline(offset=0.0):
    rows = timeline(offset=offset)
    rows[-1] |= {"found": 650.0, "found_std": 30.0}
    return rows


def evolved(seed=0, kinds=("as in chapter 3", "learning faster", "both")):
    """Rows of bred.jsonl that differ in kind."""
    return [
        {"kind": kind, "temperature": 1.0, "dropout": 0.0, "real_std": 40.0 + k,
         "promised": 300.0 + 10 * k + seed, "real": 200.0 + 30 * k - 7 * seed}
        for k, kind in enumerate(kinds)
    ]  # fmt: skip


def doubtful(seed=0):
    """Rows of bred.jsonl that differ in temperature and dropout."""
    return [
        {"kind": "both", "temperature": tau, "dropout": rate, "real_std": 40.0,
         "promised": 300 * tau + seed, "real": 200 * tau + 100 * rate - 7 * seed}
        for tau, rate in itertools.product((0.5, 1.0, 1.8), (0.0, 0.1))
    ]  # fmt: skip


def score(scores):
    scores = np.array(scores, float)
    return Score(list(range(len(scores))), scores, np.full(len(scores), 900), scores > 800)


def policies(count=5, shift=0.0):
    """Means and half-widths (count, 2)."""
    return np.stack([np.linspace(-50, 900, count) + shift, np.linspace(5, 50, count)], 1)


def mixture():
    """log_pi, mu, log_sigma (2, 3) and truth (2, 4)."""
    pi = rng().dirichlet(np.ones(3), 2)
    mu, sigma = rng().normal(size=(2, 3)), rng().uniform(0.2, 0.8, (2, 3))
    return np.log(pi), mu, np.log(sigma), rng().normal(size=(2, 4))


def published():
    return json.loads(paths.published("bench.json").read_text(encoding="utf-8"))


def probe():
    truth = rng().uniform(0, 1, (50, 2))
    return Probe(truth, truth + 0.1 * rng().normal(size=truth.shape))


ONE_GENERATION = [np.array([[0.0, 1.0], [1.0, -1.0]])]
ITS_DISTRIBUTION = [(np.array([0.5, 0.2]), np.array([[1.0, 0.6], [0.6, 0.5]]))]


def hill(x):
    return -np.square(x).sum(1)


ALL = {
    "training_curves": lambda: figures.training_curves(
        history(), {"nll": "-log p(next z), nats per dimension", "kl": "KL (nats per frame)"}
    ),
    "horizon_curves": lambda: figures.horizon_curves(
        {"M": rng().uniform(1, 2, (4, 9)), "last-value baseline": rng().uniform(2, 3, (4, 9))},
        "squared error of z",
    ),
    "linear_probes": lambda: figures.linear_probes({"position": probe(), "velocity": probe()}),
    "mixtures": lambda: figures.mixtures(*mixture(), ["z[3]", "z[12]"]),
    "scatter_map": lambda: figures.scatter_map(rng().normal(size=(9, 2)), np.arange(9), "share"),
    "search_steps": lambda: figures.search_steps(
        hill, ONE_GENERATION * 5, ITS_DISTRIBUTION * 5, extent=3
    ),
    "learning_curve": lambda: figures.learning_curve(timeline()),
    "wall_clock": lambda: figures.wall_clock(timeline(), [timeline(offset=1)]),
    "score_histogram": lambda: figures.score_histogram(score([-20, 500, 880, 905, 910])),
    "dream_returns": lambda: figures.dream_returns(np.arange(5.0), rng().normal(size=(5, 3))),
    "predicted_against_real": lambda: figures.predicted_against_real(
        {f"dream {k}, learning faster": policies(shift=k) for k in range(6)},
        policies(),
        {"never steers": 0, "bred sharper": 1, "the run's C": 4},
    ),
    "returns_by_dream": lambda: figures.returns_by_dream([evolved(), evolved(1)]),
    "returns_by_temperature": lambda: figures.returns_by_temperature([doubtful(), doubtful(1)]),
    "dream_learning_curve": lambda: figures.dream_learning_curve(
        {"this run": dream_timeline(), "seed1": dream_timeline(2), "seed2": dream_timeline(4)}
    ),
    "bench": lambda: figures.bench(published()),
}


def visible_texts(figure):
    """Every text that is drawn, as (text, its box in pixels)."""
    hidden = set()
    for ax in figure.axes:
        for axis in (ax.xaxis, ax.yaxis):
            low, high = sorted(axis.get_view_interval())
            for tick in (*axis.get_major_ticks(), *axis.get_minor_ticks()):
                if not low <= tick.get_loc() <= high or not ax.axison:
                    hidden |= {tick.label1, tick.label2}
    texts = figure.findobj(lambda a: isinstance(a, Text) and a.get_visible())
    return [
        (t.get_text(), t.get_window_extent()) for t in texts if t.get_text() and t not in hidden
    ]


@pytest.mark.parametrize("name", ALL)
def test_nothing_is_cut_off_and_no_text_covers_another(name):
    figure = ALL[name]()
    FigureCanvasAgg(figure).draw()
    texts = visible_texts(figure)
    assert len(texts) > 4
    for text, box in texts:
        assert min(box.x0, box.y0) > -1, text
        assert box.x1 < figure.bbox.x1 + 1, text
        assert box.y1 < figure.bbox.y1 + 1, text
    for (one, a), (other, b) in itertools.combinations(texts, 2):
        across = min(a.x1, b.x1) - max(a.x0, b.x0)
        down = min(a.y1, b.y1) - max(a.y0, b.y0)
        assert across < 1 or down < 1, f"{one!r} and {other!r}"


@pytest.mark.parametrize("name", ALL)
def test_every_axis_says_what_it_shows(name):
    figure = ALL[name]()
    for ax in figure.axes:
        if not ax.axison:
            continue
        named = [t for t in ax.get_yticklabels() if re.search("[a-z]", t.get_text())]
        shared = ax.get_subplotspec() is not None and not ax.get_subplotspec().is_first_col()
        assert ax.get_ylabel() or named or shared, name
        covered = ax.get_subplotspec() is not None and not ax.get_subplotspec().is_last_row()
        colorbar = ax.get_label() == "<colorbar>"
        assert ax.get_xlabel() or colorbar or covered, name


EMPTY = {
    "frame_grid": (lambda: figures.frame_grid({}), "no frames"),
    "moving_picture": (lambda: figures.moving_picture([], "nothing"), "no clips"),
    "an empty clip": (lambda: figures.moving_picture(frames(0), "nothing"), "no frames in a clip"),
    "training_curves": (lambda: figures.training_curves([], {"nll": "nats"}), "no rows"),
    "a column": (lambda: figures.training_curves(history(), {"mse": "error"}), "has no 'mse'"),
    "horizon_curves": (lambda: figures.horizon_curves({}, "error"), "no curves"),
    "one episode": (lambda: figures.horizon_curves({"M": np.ones((1, 3))}, "e"), "at least two"),
    "linear_probes": (lambda: figures.linear_probes({}), "no probes"),
    "mixtures": (lambda: figures.mixtures(*mixture(), ["z[0]"]), "1 names, 2 mixtures and 2 true"),
    "scatter_map": (lambda: figures.scatter_map(np.ones((3, 2)), np.ones(2), "v"), "3 points"),
    "search_steps": (lambda: figures.search_steps(hill, [], [], 3), "no generations"),
    "learning_curve": (lambda: figures.learning_curve([]), "no generations"),
    "wall_clock": (lambda: figures.wall_clock(timeline(checks=False)), "no checks"),
    "score_histogram": (lambda: figures.score_histogram(score([900])), "at least two values"),
    "dream_returns": (lambda: figures.dream_returns(np.ones(3), np.ones((2, 4))), "3 episodes,"),
    "predicted_against_real": (
        lambda: figures.predicted_against_real({"a dream": policies(4)}, policies(5)),
        r"a dream: shape \(4, 2\)",
    ),
    "returns_by_dream": (lambda: figures.returns_by_dream([]), "no runs"),
    "other dreams": (
        lambda: figures.returns_by_dream([evolved(), evolved(kinds=("both",))]),
        "runs of other dreams",
    ),
    "returns_by_temperature": (lambda: figures.returns_by_temperature([[]]), "no rows"),
    "dream_learning_curve": (
        lambda: figures.dream_learning_curve({"this run": timeline(), "seed1": []}),
        "no rows in the log of seed1",
    ),
    "bench": (lambda: figures.bench({"rows": []}), "two measurements"),
}  # fmt: skip


@pytest.mark.parametrize("name", EMPTY)
def test_too_few_data_are_an_error_that_says_what_is_missing(name):
    draw, message = EMPTY[name]
    with pytest.raises(ValueError, match=message):
        draw()


def drawn(ax, color):
    """The lines of a colour, each as (x, y)."""
    return [line.get_data() for line in ax.lines if to_hex(line.get_color()) == color.lower()]


def legend(figure):
    """The labels of all legends of a figure."""
    legends = [*figure.legends, *(ax.get_legend() for ax in figure.axes if ax.get_legend())]
    return [text.get_text() for one in legends for text in one.get_texts()]


def error_bars(container):
    """Of an error bar plot: (x, y, lower ends, upper ends)."""
    line, _, (bars, *_) = container.lines
    segments = np.array(bars.get_segments())
    return (*line.get_data(), segments[:, 0, 1], segments[:, 1, 1])


def test_the_grid_shows_its_frames_as_large_as_it_says():
    rows = {"frame": frames(3), "a long label of a row\nin two lines": frames(2, 8, 16)}
    figure = figures.frame_grid(rows, ["+1", "+2", "+3"], {"frame": REALITY}, size=1.5)
    FigureCanvasAgg(figure).draw()
    cells = np.array(figure.axes).reshape(2, 3)
    for line, pictures in zip(cells, rows.values(), strict=True):
        for ax, picture in zip(line, pictures, strict=False):
            np.testing.assert_array_equal(ax.images[0].get_array(), picture)
            shown = ax.get_window_extent()
            assert shown.width / figure.dpi == pytest.approx(1.5, abs=0.01)
            assert shown.height / shown.width == pytest.approx(len(picture) / 16, abs=0.01)
    assert not cells[1, 2].images
    assert [ax.get_title() for ax in cells[0]] == ["+1", "+2", "+3"]
    assert [(t.get_text(), t.get_color()) for ax in cells[:, 0] for t in ax.texts] == [
        ("frame", REALITY), ("a long label of a row\nin two lines", "black")
    ]  # fmt: skip
    for _, box in visible_texts(figure):
        assert box.x0 > 0
    with pytest.raises(ValueError, match="4 titles for 3 columns"):
        figures.frame_grid(rows, "abcd")


def test_a_moving_picture_has_all_frames_and_its_speed(tmp_path):
    red, green = np.zeros((2, 3, 8, 8, 3), np.uint8)
    red[..., 0], green[..., 1] = 255, 255
    file = tmp_path / "new" / "clip.gif"
    page = figures.moving_picture([red, green[:1]], 'a "real" <ball>', fps=20, save=file).data
    assert 'alt="a &quot;real&quot; &lt;ball&gt;"' in page
    code = re.search('base64,([^"]+)', page).group(1)
    assert base64.b64decode(code) == file.read_bytes()
    with Image.open(io.BytesIO(file.read_bytes())) as gif:
        assert gif.size == (8 + 4 + 8, 8)  # side by side, white between them
        total = 0
        for k in range(gif.n_frames):
            gif.seek(k)
            total += gif.info["duration"]
            pixels = np.asarray(gif.convert("RGB"))
            assert pixels[4, [0, 9, 19]].tolist() == [[255, 0, 0], [255, 255, 255], [0, 255, 0]]
    assert total == 3 * 50  # milliseconds: equal frames may be one, shown for longer


def test_training_curves_put_one_round_behind_the_other():
    figure = figures.training_curves(history(), {"nll": "nats", "kl": "KL (nats)"})
    nll, kl = figure.axes
    assert (nll.get_ylabel(), kl.get_ylabel()) == ("nats", "KL (nats)")
    (x, y), (later, values) = drawn(nll, REALITY)
    assert (list(x), list(y)) == ([5, 10, 20], [5, 10, 20])
    assert (list(later), list(values)) == ([25, 30, 40], [15, 20, 30])
    ((where, _),) = drawn(nll, BASELINE)
    assert set(where) == {20}
    assert list(drawn(kl, REALITY)[1][1]) == [-5, -10, -20]


def test_horizon_curves_are_means_with_their_intervals():
    values = {"M": rng().uniform(1, 3, (5, 4)), "last value": rng().uniform(2, 4, (5, 4))}
    figure = figures.horizon_curves(
        values, "error (box widths)", {"M": DREAM, "last value": BASELINE}
    )
    (ax,) = figure.axes
    for (name, episodes), color in zip(values.items(), (DREAM, BASELINE), strict=True):
        ((x, y),) = drawn(ax, color)
        assert list(x) == [1, 2, 3, 4]
        assert y == pytest.approx(episodes.mean(0)), name
    band = ax.collections[0].get_paths()[0].vertices
    expected = interval(values["M"][:, 2])
    at_three = band[band[:, 0] == 3, 1]
    assert (at_three.min(), at_three.max()) == pytest.approx((expected.low, expected.high))
    assert legend(figure) == ["M", "last value"]
    assert ax.get_ylim()[0] == 0
    below = figures.horizon_curves({"M": -values["M"]}, "reward").axes[0]
    assert below.get_ylim()[0] < -values["M"].mean(0).max()


def test_a_probe_is_its_predictions_against_the_truth():
    known = probe()
    figure = figures.linear_probes({"position (box widths)": known})
    (ax,) = figure.axes
    ((x, y),) = drawn(ax, REALITY)
    np.testing.assert_array_equal(np.sort(x), np.sort(known.truth.ravel()))
    np.testing.assert_array_equal(
        y[np.argsort(x)], known.read.ravel()[known.truth.ravel().argsort()]
    )
    ((a, b),) = drawn(ax, BASELINE)
    assert list(a) == list(b) == [known.truth.min(), known.truth.max()]
    assert ax.get_title() == f"R² = {known.r2:.3f}"
    assert ax.get_xlabel() == "true position (box widths)"
    few = figures.linear_probes({"position": known}, limit=20).axes[0]
    assert len(drawn(few, REALITY)[0][0]) == 20


def test_a_mixture_is_its_density_with_the_real_values():
    log_pi, mu, log_sigma, truth = mixture()
    figure = figures.mixtures(log_pi, mu, log_sigma, truth, ["z[3]", "z[12]"])
    for d, ax in enumerate(figure.axes):
        (z, density), *parts = drawn(ax, DREAM)
        parts = np.array([y for _, y in parts])
        for k in range(3):
            one = stats.norm.pdf(z, mu[d, k], np.exp(log_sigma[d, k]))
            np.testing.assert_allclose(parts[k], np.exp(log_pi[d, k]) * one)
        np.testing.assert_allclose(density, parts.sum(0))
        assert density.sum() * (z[1] - z[0]) == pytest.approx(1, abs=0.01)  # nothing lies outside
        assert [x[0] for x, _ in drawn(ax, REALITY)] == list(truth[d])
        assert ax.get_xlabel() == ["z[3]", "z[12]"][d]
    assert legend(figure) == ["M's mixture", "its components", "real next z"]


def test_a_map_has_every_point_and_its_value():
    points, values = rng().normal(size=(7, 2)), np.arange(7.0)
    ax, bar = figures.scatter_map(points, values, "steering").axes
    (dots,) = ax.collections
    np.testing.assert_array_equal(dots.get_offsets(), points)
    np.testing.assert_array_equal(dots.get_array(), values)
    assert bar.get_ylabel() == "steering"


def test_a_search_shows_candidates_and_where_one_and_two_sigma_are():
    (ax,) = figures.search_steps(hill, ONE_GENERATION, ITS_DISTRIBUTION, extent=3).axes
    ((x, y),) = drawn(ax, REALITY)
    np.testing.assert_array_equal(np.stack([x, y], 1), ONE_GENERATION[0])
    (mean, covariance), (*ellipses, cross) = ITS_DISTRIBUTION[0], drawn(ax, "#000000")
    assert [float(value[0]) for value in cross] == list(mean)
    for sigma, (a, b) in enumerate(ellipses, start=1):
        off = np.stack([a, b], 1) - mean
        distance = np.einsum("ni,ij,nj->n", off, np.linalg.inv(covariance), off)
        np.testing.assert_allclose(distance, sigma**2)
    assert ax.get_xlim() == ax.get_ylim() == (-3, 3)


def test_a_learning_curve_is_the_population_and_the_checks_over_the_minutes():
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


def test_wall_clock_is_in_hours_beside_the_papers():
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


def test_the_histogram_has_every_track_and_the_interval_of_the_mean():
    scores = score([-131, 500, 505, 905, 910, 999])
    figure = figures.score_histogram(scores)
    (ax,) = figure.axes
    heights = {bar.get_x(): bar.get_height() for bar in ax.patches[:-1]}
    assert sum(heights.values()) == 6
    assert (heights[-140], heights[500], heights[900]) == (1, 2, 2)
    i = scores.interval
    span = ax.patches[-1].get_extents().transformed(ax.transData.inverted())
    assert (span.x0, span.x1) == pytest.approx((i.low, i.high))
    assert legend(figure) == [f"mean {i.mean:.1f}", "95% CI of the mean", "the paper, 906"]
    assert drawn(ax, "#000000")[0][0][0] == i.mean
    assert drawn(ax, BASELINE)[0][0][0] == 906


def test_returns_of_dreams_are_drawn_against_their_episodes():
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


def test_predicted_returns_have_their_intervals_their_marks_and_their_rank():
    real = policies(4)
    predicted = np.stack([[0.0, 2.0, 1.0, 3.0], [0.5, 0, 0.5, 1]], 1)
    figure = figures.predicted_against_real({"its dream": predicted}, real, {"the run's C": 3})
    (ax,) = figure.axes
    line, _, (across, down) = ax.containers[0].lines
    np.testing.assert_array_equal(
        np.stack(line.get_data(), 1), np.stack([real[:, 0], [0, 2, 1, 3]], 1)
    )
    sides = np.array(across.get_segments())
    np.testing.assert_allclose(sides[:, 1, 0] - sides[:, 0, 0], 2 * real[:, 1])
    ends = np.array(down.get_segments())
    np.testing.assert_allclose(ends[:, 1, 1] - ends[:, 0, 1], 2 * predicted[:, 1])
    assert to_hex(line.get_color()).upper() == DREAM
    assert [(float(x[0]), float(y[0])) for x, y in drawn(ax, "#000000")] == [(real[3, 0], 3)]
    assert ax.get_title() == "its dream\nrank correlation 0.80"
    assert set(legend(figure)) == {"the run's C", "a policy (95% CI)", "predicted = real"}


def test_five_dreams_take_two_rows_and_leave_three_places_empty():
    predicted = {f"dream {k}": policies(shift=k) for k in range(5)}
    figure = figures.predicted_against_real(predicted, policies())
    assert len(figure.axes) == 6
    assert [ax.axison for ax in figure.axes] == [True] * 5 + [False]


def test_dreams_of_several_kinds_are_means_and_spreads_of_the_seeds():
    runs = [evolved(0), evolved(1), evolved(4)]
    figure = figures.returns_by_dream(runs)
    (ax,) = figure.axes
    predicted, real = ax.containers
    for container, key, color in ((predicted, "promised", DREAM), (real, "real", REALITY)):
        values = np.array([[row[key] for row in run] for run in runs])
        _, y, low, high = error_bars(container)
        assert y == pytest.approx(values.mean(0))
        assert (high - low) / 2 == pytest.approx(values.std(0, ddof=1))
        seeds = [y for _, y in drawn(ax, color)][:3]
        np.testing.assert_array_equal(seeds, values)
    labels = [label.get_text().replace("\n", " ") for label in ax.get_xticklabels()]
    assert labels == [row["kind"] for row in runs[0]]
    assert legend(figure) == ["predicted by the dream", "in the real environment"]


def test_with_one_seed_the_spread_is_of_its_episodes_and_of_real_ones_alone():
    predicted, real = figures.returns_by_dream([evolved()]).axes[0].containers
    assert len(predicted.lines[2]) == 0
    *_, low, high = error_bars(real)
    assert list((high - low) / 2) == [row["real_std"] for row in evolved()]


def test_a_panel_for_each_dropout_rate_and_temperature_across():
    runs = [doubtful(0), doubtful(3)]
    axes = figures.returns_by_temperature(runs).axes
    assert [ax.get_title() for ax in axes] == ["dropout 0", "dropout 0.1"]
    for ax, rate in zip(axes, (0.0, 0.1), strict=True):
        x, y, *_ = error_bars(ax.containers[1])
        rows = [[row for row in run if row["dropout"] == rate] for run in runs]
        assert list(x) == [0.5, 1.0, 1.8]
        assert y == pytest.approx(np.mean([[row["real"] for row in run] for run in rows], axis=0))
    assert axes[0].get_ylim() == axes[1].get_ylim()


def test_a_search_in_dreams_shows_predicted_returns_above_real_ones():
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


def test_the_bench_has_a_panel_for_each_unit_and_bars_of_the_medians():
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


def test_source_is_the_code_in_the_package():
    page = figures.source(interval).data
    text = re.sub("<[^>]+>", "", page)
    assert "def interval(" in text
    assert "half = stdtrit" in text
