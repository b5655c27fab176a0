"""Data in the form of the logs, and functions that read back what a figure shows."""

import itertools
import json

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.text import Text

from wmlib import paths
from wmlib.evaluation import Probe, Score, episode_interval


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


def search_log(shift=0.0):
    """Rows of a search's log: three generations, of which two were scored in the environment."""
    rows = [{"generation": k, "mean": y + shift} for k, y in enumerate((1.0, 40.0, 90.0), 1)]
    rows[0] |= {"check": -80.0, "check_std": 4.0}
    rows[2] |= {"check": -90.0, "check_std": 2.0}
    return rows


def score(scores):
    scores = np.array(scores, float)
    return Score(list(range(len(scores))), scores, np.full(len(scores), 900), scores > 800)


def intervals(shift=0.0):
    """Three intervals of returns."""
    return [episode_interval(np.array([10.0, 20, 30 + 9 * k]) + shift) for k in range(3)]


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


# One generation of a search: candidates, and the mean and covariance that they are sampled from.
SEARCH = [
    (
        np.array([[0.0, 1.0], [1.0, -1.0]]),
        np.array([0.5, 0.2]),
        np.array([[1.0, 0.6], [0.6, 0.5]]),
    )
]


def searches():
    """Rows of search.jsonl: two spaces, three seeds."""
    return [
        {"space": space, "parameters": parameters, "seed": seed, "check": check}
        for space, parameters, checks in (("all", 867, (1, 2, 3)), ("some", 75, (11, 22, 36)))
        for seed, check in enumerate(checks)
    ]


def hill(x):
    return -np.square(x).sum(1)


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


def assert_legible(figure):
    """No text of a drawn figure is cut off, and none covers another."""
    texts = visible_texts(figure)
    for text, box in texts:
        assert min(box.x0, box.y0) > -1, text
        assert box.x1 < figure.bbox.x1 + 1, text
        assert box.y1 < figure.bbox.y1 + 1, text
    for (one, a), (other, b) in itertools.combinations(texts, 2):
        across = min(a.x1, b.x1) - max(a.x0, b.x0)
        down = min(a.y1, b.y1) - max(a.y0, b.y0)
        assert across < 1 or down < 1, f"{one!r} and {other!r}"


def assert_drawn_legibly(figure):
    """Draw it: it has some texts, none is cut off, and none covers another."""
    FigureCanvasAgg(figure).draw()
    assert len(visible_texts(figure)) > 4
    assert_legible(figure)


def drawn(ax, color):
    """The lines of a colour, each as (x, y)."""
    return [line.get_data() for line in ax.lines if to_hex(line.get_color()) == color.lower()]


def legend(figure):
    """The labels of all legends of a figure."""
    legends = [*figure.legends, *(ax.get_legend() for ax in figure.axes if ax.get_legend())]
    return [text.get_text() for box in legends for text in box.get_texts()]


def error_bars(container):
    """The arrays (x, y, lower ends, upper ends) of an error bar plot."""
    line, _, (bars, *_) = container.lines
    segments = np.array(bars.get_segments())
    return (*line.get_data(), segments[:, 0, 1], segments[:, 1, 1])
