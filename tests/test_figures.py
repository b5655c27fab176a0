"""Figures: what is drawn is the data, everything is labelled, and nothing is cut off.

Whether a figure is easy to read, no test can say: look at it. (Figures of returns and speeds are
tested in test_figures_of_returns.py.)
"""

import base64
import io
import re

import numpy as np
import pytest
import torch
from figure_data import (
    SEARCH,
    assert_drawn_legibly,
    drawn,
    frames,
    hill,
    history,
    intervals,
    legend,
    mixture,
    probe,
    published,
    rng,
    score,
    search_log,
    searches,
    timeline,
    visible_texts,
)
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image
from scipy import stats

from wmlib.evaluation import episode_interval
from wmlib.models.mdn_rnn import MDNRNN
from wmlib.pipeline.scales import get_config
from wmlib.view import figures
from wmlib.view.figures import BASELINE, DREAM, REALITY

pytestmark = pytest.mark.usefixtures("chapter_style")


ALL = {
    "training_curves": lambda: figures.training_curves(
        history(), {"nll": "-log p(next z), nats per dimension", "kl": "KL (nats per frame)"}
    ),
    "horizon_curves": lambda: figures.horizon_curves(
        {"M": rng().uniform(1, 2, (4, 9)), "last-value baseline": rng().uniform(2, 3, (4, 9))},
        "squared error of z",
    ),
    "baseline_gaps": lambda: figures.baseline_gaps(
        {"M": rng().uniform(1, 2, (4, 9)), "copy": rng().uniform(2, 3, (5, 9))[1:]}, "M", "error"
    ),
    "linear_probes": lambda: figures.linear_probes({"position": probe(), "velocity": probe()}),
    "mixtures": lambda: figures.mixtures(*mixture(), ["z[3]", "z[12]"]),
    "mdn_rnn_diagram": lambda: figures.mdn_rnn_diagram(MDNRNN()),
    "calibration": lambda: figures.calibration([torch.rand(40, 3) for _ in range(4)]),
    "measures": lambda: figures.measures(
        (0.5, 1, 2),
        {"error": {"M": rng().uniform(1, 2, (4, 3))}, "sharpness": {"M": np.eye(4, 3)}},
        "temperature τ",
        references={"sharpness": 0.5},
    ),
    "scatter_map": lambda: figures.scatter_map(rng().normal(size=(9, 2)), np.arange(9), "share"),
    "agent_diagram": figures.agent_diagram,
    "search_spaces": lambda: figures.search_spaces(searches()),
    "costs": lambda: figures.costs(
        {"ES": {1: [9, 11], 10: [20, 24]}, "CMA-ES": {1: [8, 9], 10: [9, 9]}}, "condition", "n"
    ),
    "seed_dots": lambda: figures.seed_dots({"height": {"a": np.arange(3.0), "b": np.ones(3)}}),
    "search_steps": lambda: figures.search_steps(
        hill, {"ES": SEARCH * 5, "CMA-ES": SEARCH * 5}, list("01234"), extent=3
    ),
    "learning_curve": lambda: figures.learning_curve(timeline()),
    "wall_clock": lambda: figures.wall_clock(timeline(), [timeline(offset=1)]),
    "score_histogram": lambda: figures.score_histogram(score([-20, 500, 880, 905, 910])),
    "before_and_after": lambda: figures.before_and_after(
        {"previous reward as an input": np.array([[-60.0, 5, 9], [410, -20, 590]])}
    ),
    "two changes": lambda: figures.before_and_after(
        dict.fromkeys(("loss (D1 to D2)", "optimizer (D3 to D4)"), (np.zeros(3), np.arange(3))),
        {"never moves": -93, "chapter 5": 900},
    ),
    "dream_accuracy": lambda: figures.dream_accuracy(
        {
            "the run's M": [(0.5, -0.1, 0.8)] * 3,
            "episodes of the run's controllers": [(0.9, 0.7, 1.0)] * 3,
        },
        {"the run's M": [900, 20, 0], "episodes of the run's controllers": [3, 4, 5]},
    ),
    "dream_loop": lambda: figures.dream_loop(get_config("laptop", dream=True)),
    "dream_step": figures.dream_step,
    "predicted_by_action": lambda: figures.predicted_by_action(
        np.array([0.0, 0.5, 1.0]),
        {"naive M": intervals(), "final M": intervals(-50)},
        intervals(-80),
        "brake",
        0.2,
        steps=200,
    ),
    "recipes_compared": lambda: figures.recipes_compared(
        {"in the real environment": [score([890, 905, 910])] * 3, "in dreams": [score([700, 900])]}
    ),
    "returns_by_round": lambda: figures.returns_by_round([timeline(), timeline(offset=1)], 32),
    "score_matrix": lambda: figures.score_matrix(
        {
            "never steers": -27.0,
            "evolved: episodes of the run's controllers": 520.0,
            "the run's C": 900.0,
        },
        {f"dream {k}, previous reward": [10.0, 400.0, 800.0 + k] for k in range(8)},
        first=2,
    ),
    "search_in_dream": lambda: figures.search_in_dream([search_log(), search_log(9.0)], 32),
    "bench": lambda: figures.bench(published()),
}


@pytest.mark.parametrize("name", ALL)
def test_nothing_is_cut_off_and_no_text_covers_another(name):
    assert_drawn_legibly(ALL[name]())


@pytest.mark.parametrize("name", ALL)
def test_every_axis_says_what_it_shows(name):
    figure = ALL[name]()
    for ax in figure.axes:
        if not ax.axison:
            continue
        named, columns = (
            [t for t in labels if re.search("[a-z]", t.get_text())]
            for labels in (ax.get_yticklabels(), ax.get_xticklabels())
        )
        shared = ax.get_subplotspec() is not None and not ax.get_subplotspec().is_first_col()
        assert ax.get_ylabel() or named or shared, name
        covered = ax.get_subplotspec() is not None and not ax.get_subplotspec().is_last_row()
        colorbar = ax.get_label() == "<colorbar>"
        assert ax.get_xlabel() or columns or colorbar or covered, name


EMPTY = {
    "frame_grid": (lambda: figures.frame_grid({}), "no frames"),
    "moving_picture": (lambda: figures.moving_picture([], "nothing"), "no clips"),
    "an empty clip": (lambda: figures.moving_picture(frames(0), "nothing"), "no frames in a clip"),
    "training_curves": (lambda: figures.training_curves([], {"nll": "nats"}), "no rows"),
    "a column": (lambda: figures.training_curves(history(), {"mse": "error"}), "has no 'mse'"),
    "horizon_curves": (lambda: figures.horizon_curves({}, "error"), "no curves"),
    "one episode": (lambda: figures.horizon_curves({"M": np.ones((1, 3))}, "e"), "at least two"),
    "baseline_gaps": (
        lambda: figures.baseline_gaps({"M": np.ones((4, 3))}, "M", "e"),
        "no baselines",
    ),
    "no model": (
        lambda: figures.baseline_gaps({"copy": np.ones((4, 3))}, "M", "e"),
        "no errors of 'M', only of copy",
    ),
    "linear_probes": (lambda: figures.linear_probes({}), "no probes"),
    "mixtures": (lambda: figures.mixtures(*mixture(), ["z[0]"]), "1 names, 2 mixtures and 2 true"),
    "scatter_map": (lambda: figures.scatter_map(np.ones((3, 2)), np.ones(2), "v"), "3 points"),
    "search_steps": (lambda: figures.search_steps(hill, {"ES": []}, [], 3), "no generations"),
    "too few generations": (
        lambda: figures.search_steps(hill, {"ES": SEARCH}, ["0", "1"], 3),
        r"2 titles for searches with \[1\] generations",
    ),
    "search_spaces": (lambda: figures.search_spaces([]), "no searches"),
    "seed_dots": (lambda: figures.seed_dots({}), "no columns"),
    "costs": (lambda: figures.costs({}, "condition", "generations"), "no methods"),
    "learning_curve": (lambda: figures.learning_curve([]), "no generations"),
    "wall_clock": (lambda: figures.wall_clock(timeline(checks=False)), "no checks"),
    "score_histogram": (lambda: figures.score_histogram(score([900])), "at least two values"),
    "before_and_after": (lambda: figures.before_and_after({}), "no changes"),
    "dream_accuracy": (lambda: figures.dream_accuracy({}, {}), "no dreams"),
    "other regrets": (
        lambda: figures.dream_accuracy({"a dream": [(0, 0, 0)]}, {"another": [0]}),
        r"of \['a dream'\], but regrets of \['another'\]",
    ),
    "predicted_by_action": (
        lambda: figures.predicted_by_action(np.ones(1), {}, [], "brake", 0.2, 9),
        "no dreams",
    ),
    "recipes_compared": (lambda: figures.recipes_compared({}), "no recipes"),
    "returns_by_round": (
        lambda: figures.returns_by_round([timeline(), []], 32),
        "no rows in the log of training seed 1",
    ),
    "score_matrix": (
        lambda: figures.score_matrix({"never steers": 3.0}, {"a dream": [1.0, 2.0]}),
        "a dream: 2 predictions, but 1 policies",
    ),
    "search_in_dream": (lambda: figures.search_in_dream([[]], 32), "no generations"),
    "bench": (lambda: figures.bench({"rows": []}), "two measurements"),
}  # fmt: skip


@pytest.mark.parametrize("name", EMPTY)
def test_too_few_data_are_an_error_that_says_what_is_missing(name):
    draw, message = EMPTY[name]
    with pytest.raises(ValueError, match=message):
        draw()


def test_the_frame_grid_shows_its_frames_at_the_given_size():
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


def test_training_curves_show_the_rounds_one_after_another():
    figure = figures.training_curves(history(), {"nll": "nats", "kl": "KL (nats)"})
    nll, kl = figure.axes
    assert (nll.get_ylabel(), kl.get_ylabel()) == ("nats", "KL (nats)")
    (x, y), (later, values) = drawn(nll, DREAM)
    assert (list(x), list(y)) == ([5, 10, 20], [5, 10, 20])
    assert (list(later), list(values)) == ([25, 30, 40], [15, 20, 30])
    ((where, _),) = drawn(nll, BASELINE)
    assert set(where) == {20}
    assert list(drawn(kl, DREAM)[1][1]) == [-5, -10, -20]


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
    expected = episode_interval(values["M"][:, 2])
    at_three = band[band[:, 0] == 3, 1]
    assert (at_three.min(), at_three.max()) == pytest.approx((expected.low, expected.high))
    assert legend(figure) == ["M", "last value"]
    assert ax.get_ylim()[0] == 0
    below = figures.horizon_curves({"M": -values["M"]}, "reward").axes[0]
    assert below.get_ylim()[0] < -values["M"].mean(0).max()


def test_baseline_gaps_are_paired_differences_with_their_intervals():
    copy, model = rng().uniform(1, 3, (2, 5, 4))
    errors = {"copy": copy + 1, "M": model}
    left, right = figures.baseline_gaps(errors, "M", "error").axes
    ((_, drawn_model),) = drawn(left, DREAM)
    assert drawn_model == pytest.approx(model.mean(0))
    ((x, gap),) = drawn(right, BASELINE)
    assert list(x) == [1, 2, 3, 4]
    assert gap == pytest.approx((errors["copy"] - errors["M"]).mean(0))
    band = right.collections[0].get_paths()[0].vertices
    expected = episode_interval(errors["copy"][:, 2] - errors["M"][:, 2])
    at_three = band[band[:, 0] == 3, 1]
    assert (at_three.min(), at_three.max()) == pytest.approx((expected.low, expected.high))
    assert right.get_title() == "copy minus M"


def test_a_linear_probe_is_drawn_as_predictions_over_the_truth():
    known = probe()
    figure = figures.linear_probes({"position (box widths)": known})
    (ax,) = figure.axes
    ((x, y),) = drawn(ax, DREAM)
    np.testing.assert_array_equal(np.sort(x), np.sort(known.truth.ravel()))
    np.testing.assert_array_equal(
        y[np.argsort(x)], known.predicted.ravel()[known.truth.ravel().argsort()]
    )
    ((a, b),) = drawn(ax, BASELINE)
    assert list(a) == list(b) == [known.truth.min(), known.truth.max()]
    assert ax.get_title() == f"R² = {known.r2:.3f}"
    assert ax.get_xlabel() == "true position (box widths)"
    few = figures.linear_probes({"position": known}, limit=20).axes[0]
    assert len(drawn(few, DREAM)[0][0]) == 20


def test_a_mixture_is_drawn_as_its_density_with_the_real_values():
    log_pi, mu, log_sigma, truth = mixture()
    figure = figures.mixtures(log_pi, mu, log_sigma, truth, ["z[3]", "z[12]"])
    for d, ax in enumerate(figure.axes):
        (z, density), *parts = drawn(ax, DREAM)
        parts = np.array([y for _, y in parts])
        for k in range(3):
            component = stats.norm.pdf(z, mu[d, k], np.exp(log_sigma[d, k]))
            np.testing.assert_allclose(parts[k], np.exp(log_pi[d, k]) * component)
        np.testing.assert_allclose(density, parts.sum(0))
        assert density.sum() * (z[1] - z[0]) == pytest.approx(1, abs=0.01)  # nothing lies outside
        ((_, one),) = drawn(ax, BASELINE)
        mean = (density * z).sum() / density.sum()
        variance = (density * (z - mean) ** 2).sum() / density.sum()
        np.testing.assert_allclose(one, stats.norm.pdf(z, mean, variance**0.5), atol=0.01)
        assert [x[0] for x, _ in drawn(ax, REALITY)] == list(truth[d])
        assert ax.get_xlabel() == ["z[3]", "z[12]"][d]
    one = "one Gaussian, same mean and variance"
    assert legend(figure) == ["M's mixture", "its components", one, "real next z"]


def test_the_diagram_of_m_has_the_numbers_of_the_network():
    texts = visible_texts(figures.mdn_rnn_diagram(MDNRNN(hidden_size=16, mixtures=2)))
    words = [text for text, _ in texts]
    assert words.count("mixture\n32 × 2 × 3 = 192") == 3
    assert words.count("LSTM\n16 units") == 3


def test_calibration_is_drawn_as_a_deviation_and_is_0_for_uniform_quantiles():
    uniform = torch.linspace(0, 1, 1001)[:-1] + 0.0005
    left, right = figures.calibration([uniform, uniform]).axes
    np.testing.assert_allclose([bar.get_height() for bar in left.patches], 1, atol=0.01)
    ((_, deviation),) = drawn(right, DREAM)
    np.testing.assert_allclose(deviation, 0, atol=0.2)
    narrow = figures.calibration([uniform.round(), uniform.round()])  # all outside: overconfident
    ((nominal, deviation),) = drawn(narrow.axes[1], DREAM)
    np.testing.assert_allclose(deviation, -nominal)


def test_measures_are_means_over_episodes_with_their_references():
    values = rng().uniform(1, 2, (4, 3))
    figure = figures.measures((1, 2, 4), {"a": {"M": values}}, "τ", references={"a": 1.5})
    ((x, y),) = drawn(figure.axes[0], DREAM)
    np.testing.assert_array_equal(x, (1, 2, 4))
    np.testing.assert_allclose(y, values.mean(0))
    ((_, reference),) = drawn(figure.axes[0], BASELINE)
    assert list(reference) == [1.5, 1.5]


def test_a_scatter_map_has_every_point_and_its_value():
    points, values = rng().normal(size=(7, 2)), np.arange(7.0)
    ax, bar = figures.scatter_map(points, values, "steering").axes
    (dots,) = ax.collections
    np.testing.assert_array_equal(dots.get_offsets(), points)
    np.testing.assert_array_equal(dots.get_array(), values)
    assert bar.get_ylabel() == "steering"


def test_search_steps_show_candidates_and_ellipses_of_one_and_two_sigma():
    (ax,) = figures.search_steps(hill, {"ES": SEARCH}, ["start"], extent=3).axes
    [(points, mean, covariance)] = SEARCH
    ellipses = drawn(ax, "#555555")
    candidates, summit, cross = drawn(ax, "#000000")
    np.testing.assert_array_equal(np.stack(candidates, 1), points)
    assert [float(value[0]) for value in cross] == list(mean)
    np.testing.assert_allclose(np.ravel(summit), 0, atol=0.03)
    for sigma, (a, b) in enumerate(ellipses, start=1):
        off = np.stack([a, b], 1) - mean
        distance = np.einsum("ni,ij,nj->n", off, np.linalg.inv(covariance), off)
        np.testing.assert_allclose(distance, sigma**2)
    assert ax.get_xlim() == ax.get_ylim() == (-3, 3)
    assert not ax.child_axes


def test_a_small_ellipse_is_enlarged_in_an_inset():
    [(points, mean, covariance)] = SEARCH
    small = [(mean + points / 100, mean, covariance / 100**2)]
    (ax,) = figures.search_steps(hill, {"ES": small}, ["end"], extent=3).axes
    (inset,) = ax.child_axes
    for limits, center in zip((inset.get_xlim(), inset.get_ylim()), mean, strict=True):
        assert np.mean(limits) == pytest.approx(center)
        assert np.ptp(limits) == pytest.approx(0.6 * 6 / 10)
    candidates = drawn(inset, "#000000")[0]
    np.testing.assert_array_equal(np.stack(candidates, 1), small[0][0])


def test_costs_show_means_over_seeds_and_a_line_of_slope_one():
    counts = {"ES": {1: [9, 11], 10: [20, 24]}, "CMA-ES": {1: [8, 9], 10: [9, 9]}}
    (ax,) = figures.costs(counts, "condition", "generations").axes
    es, proportional, cma = (list(line.get_ydata()) for line in ax.lines)
    assert (es, cma) == ([10, 22], [8.5, 9])
    assert proportional == pytest.approx([2.2, 22])


def test_search_spaces_show_every_search_and_the_differences_of_the_same_seed():
    left, right = figures.search_spaces(searches()).axes
    dots = [
        [list(line.get_xdata()) for line in ax.lines if line.get_marker() == "o"]
        for ax in (left, right)
    ]
    assert dots == [[[1, 2, 3], [11, 22, 36]], [[10, 20, 33]]]
    assert [label.get_text() for label in left.get_yticklabels()] == ["all (867)", "some (75)"]


def test_search_spaces_compare_the_last_space_with_the_first():
    third = [row | {"space": "few", "check": 2 * row["check"]} for row in searches()[3:]]
    right = figures.search_spaces([*searches(), *third]).axes[1]
    names = [label.get_text() for label in right.get_yticklabels()]
    assert names == ["some - all", "few - some", "few - all"]
    last = [line for line in right.lines if line.get_marker() == "o"][-1]
    assert list(last.get_xdata()) == [21, 42, 69]


def test_source_shows_the_code_of_the_package():
    page = figures.source(episode_interval).data
    text = re.sub("<[^>]+>", "", page)
    assert "def episode_interval(" in text
    assert "bootstrap" in text
