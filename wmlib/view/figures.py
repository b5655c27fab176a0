"""Every picture a chapter draws. One colour language: reality is blue, dream orange, truth grey.

Each function returns a matplotlib Figure (or, for moving pictures, HTML) and changes nothing else.
"""

import base64
import inspect
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from IPython import get_ipython
from IPython.core.pylabtools import select_figure_formats
from IPython.display import HTML
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer
from scipy import stats

from wmlib.evaluation import Probe, Score, episode_interval, rank_correlation

# From the Okabe-Ito palette: told apart by colour-blind readers, and in grey by lightness.
REALITY, DREAM, TRUTH = "#0072B2", "#E69F00", "#7F7F7F"


def use_style() -> None:
    """The series' matplotlib settings, for the running kernel."""
    if get_ipython() is not None:
        # Figures made without pyplot are shown as pictures only if IPython is told how.
        select_figure_formats(get_ipython(), ["png"])
    plt.rcParams.update(
        {
            "figure.dpi": 90,
            "figure.constrained_layout.use": True,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.grid": True,
            "grid.alpha": 0.25,
            "font.size": 10,
            "legend.frameon": False,
        }
    )


def new_axes(columns: int = 1, rows: int = 1, width: float = 3.6, height: float = 2.8):
    """A figure that pyplot does not keep (so that none pile up), and its axes."""
    figure = Figure(figsize=(columns * width, rows * height))
    return figure, figure.subplots(rows, columns)


def frame_grid(
    rows: Mapping[str, np.ndarray],
    titles: Sequence[str] = (),
    colors: Mapping[str, str] = {},
    size: float = 1.15,
) -> Figure:
    """Pictures in labelled rows: each value (N, H, W, 3) uint8, shown `size` inches wide.

    `colors` tints a row's label.
    """
    columns = max(len(frames) for frames in rows.values())
    figure = Figure(figsize=(size * columns + 1.2, 1.05 * size * len(rows) + 0.25))
    axes = figure.subplots(len(rows), columns, squeeze=False)
    for ax in axes.flat:
        ax.set_axis_off()
    for r, (label, frames) in enumerate(rows.items()):
        for c, frame in enumerate(frames):
            axes[r, c].imshow(frame, interpolation="nearest")
        color = colors.get(label, "black")
        position = {"xycoords": "axes fraction", "textcoords": "offset points"}
        axes[r, 0].annotate(
            label, (0, 0.5), (-6, 0), ha="right", va="center", color=color, **position
        )
    for c, title in enumerate(titles):
        axes[0, c].set_title(title, fontsize=9)
    return figure


def training_curves(history: list[dict], labels: Mapping[str, str]) -> Figure:
    """One panel for each entry of `labels`: {column of the history: what to call it, with unit}.

    Rounds of a run follow one another, a dotted line between them.
    """
    figure, axes = new_axes(len(labels))
    rounds = sorted({row.get("round", 0) for row in history})
    for ax, (column, label) in zip(np.atleast_1d(axes), labels.items(), strict=True):
        before = 0
        for number in rounds:
            rows = [row for row in history if row.get("round", 0) == number]
            steps = [before + row["step"] for row in rows]
            ax.plot(steps, [row[column] for row in rows], color=REALITY)
            if number > 0:
                ax.axvline(before, color=TRUTH, lw=0.8, ls=":")
            before = steps[-1]
        ax.set(xlabel="training step", ylabel=label)
    return figure


def read_out(probes: Mapping[str, Probe], limit: int = 2000) -> Figure:
    """Your value beside the true value: a panel for each probe, all its columns together."""
    figure, axes = new_axes(len(probes), height=3.2)
    for ax, (name, probe) in zip(np.atleast_1d(axes), probes.items(), strict=True):
        every = max(1, probe.truth.size // limit)
        truth, read = probe.truth.ravel()[::every], probe.predicted.ravel()[::every]
        ends = [probe.truth.min(), probe.truth.max()]
        ax.plot(truth, read, ".", ms=2, alpha=0.5, color=REALITY)
        ax.plot(ends, ends, color=TRUTH, lw=1)
        ax.set(xlabel=f"true {name}", ylabel="read out", title=f"R² = {probe.r2:.3f}")
    return figure


def horizon_curves(
    errors: Mapping[str, np.ndarray], ylabel: str, colors: Mapping[str, str] = {}
) -> Figure:
    """Error against the horizon: each value (episodes, H); a line and its mean's 95% interval."""
    figure, ax = new_axes(width=5.2, height=3.2)
    for name, values in errors.items():
        steps = np.arange(1, values.shape[1] + 1)
        intervals = [episode_interval(column) for column in values.T]
        (line,) = ax.plot(
            steps, [i.mean for i in intervals], label=name, color=colors.get(name, REALITY)
        )
        low, high = [i.low for i in intervals], [i.high for i in intervals]
        ax.fill_between(steps, low, high, alpha=0.2, color=line.get_color(), lw=0)
    ax.set(xlabel="steps imagined", ylabel=ylabel, ylim=(0, None))
    ax.legend()
    return figure


def mixtures(
    log_pi: np.ndarray, mu: np.ndarray, log_sigma: np.ndarray, truth: np.ndarray, names: list[str]
) -> Figure:
    """M's mixture for some dimensions of z: arrays (D, mixtures), truth (D,) or (D, n)."""
    figure, axes = new_axes(len(names), width=2.6, height=2.3)
    for d, ax in enumerate(np.atleast_1d(axes)):
        pi, sigma = np.exp(log_pi[d]), np.exp(log_sigma[d])
        mean = (pi * mu[d]).sum()
        spread = 4 * np.sqrt((pi * (sigma**2 + (mu[d] - mean) ** 2)).sum())
        low, high = min(mean - spread, truth[d].min()), max(mean + spread, truth[d].max())
        z = np.linspace(low, high, 400)
        parts = pi * stats.norm.pdf(z[:, None], mu[d], sigma)
        ax.plot(z, parts, color=DREAM, lw=0.8, alpha=0.6)
        ax.plot(z, parts.sum(1), color=DREAM, lw=2)
        for value in np.atleast_1d(truth[d]):
            ax.axvline(value, color=REALITY, lw=1.2)
        ax.set(xlabel=names[d], yticks=[])
    np.atleast_1d(axes)[0].set_ylabel("density")
    return figure


# The mean solution's score on 1,024 episodes after so many hours, from the log that came with
# Ha & Schmidhuber's code (64 workers), at generations 25, 50 and 1,800.
PAPER_HOURS = {15.6: 822.9, 30.0: 867.0, 1119.0: 900.5}


def learning_curve(rows: list[dict]) -> Figure:
    """What `rounds.timeline` returned: scores against minutes since the folder was empty."""
    figure, ax = new_axes(width=7, height=3.8)
    for number in sorted({row["round"] for row in rows}):
        some = [row for row in rows if row["round"] == number]
        minutes = [row["minutes"] for row in some]
        low, middle, high = np.array([np.quantile(r["scores"], [0.1, 0.5, 0.9]) for r in some]).T
        first = {"label": "population: 10-90%, median"} if number == 0 else {}
        ax.fill_between(minutes, low, high, color=REALITY, alpha=0.15, lw=0)
        ax.plot(minutes, middle, color=REALITY, lw=1, **first)
        ax.axvline(minutes[0], color=TRUTH, lw=0.8, ls=":")
        ax.annotate(f" round {number}", (minutes[0], 1.0), xycoords=("data", "axes fraction"))
    _checks(ax, [row["minutes"] for row in rows if "check" in row], rows)
    ax.set(xlabel="minutes since the folder was empty", ylabel="score")
    figure.legend(loc="outside lower center", ncols=2, fontsize=8)
    return figure


def wall_clock(rows: list[dict], others: Sequence[list[dict]] = ()) -> Figure:
    """The checks of `rounds.timeline` beside the paper's log, on one axis of hours.

    others: the same of runs with other seeds.
    """
    figure, ax = new_axes(width=7, height=3.2)
    for k, other in enumerate(others):
        checks = [row for row in other if "check" in row]
        hours = [row["minutes"] / 60 for row in checks]
        label = {} if k else {"label": "the same with other seeds"}
        ax.plot(hours, [row["check"] for row in checks], "o-", color=REALITY, ms=3, lw=0.8, **label)
    _checks(ax, [row["minutes"] / 60 for row in rows if "check" in row], rows)
    ax.plot(
        list(PAPER_HOURS),
        list(PAPER_HOURS.values()),
        "s-",
        color=TRUTH,
        ms=5,
        label="Ha & Schmidhuber's log, 64 workers",
    )
    ax.set(xscale="log", xlabel="hours of wall-clock time", ylabel="score of the mean controller")
    figure.legend(loc="outside lower center", ncols=3, fontsize=8)
    return figure


def _checks(ax, times: list[float], rows: list[dict]) -> None:
    checks = [row for row in rows if "check" in row]
    ax.errorbar(
        times,
        [row["check"] for row in checks],
        [row["check_std"] for row in checks],
        fmt="o",
        color="black",
        ms=4,
        capsize=2,
        lw=1,
        label="mean controller, other tracks (± SD)",
    )


def score_histogram(score: Score) -> Figure:
    """Every held-out track's score, with the mean and its 95% interval."""
    figure, ax = new_axes(width=5.6, height=2.8)
    # On a logarithmic axis, because the rare disasters are what a mean hides.
    ax.hist(score.scores, bins=np.arange(-100, 1001, 20), color=REALITY, alpha=0.75, log=True)
    i = score.interval
    ax.axvline(i.mean, color="black", lw=1.5, label=f"mean {i.mean:.1f}")
    ax.axvspan(i.low, i.high, color="black", alpha=0.15, lw=0, label="its 95% interval")
    ax.axvline(906, color=TRUTH, ls="--", lw=1.5, label="the paper, 906")
    ax.set(xlabel="score on a held-out track", ylabel="tracks")
    ax.legend(loc="upper left")
    return figure


def scatter_map(points: np.ndarray, values: np.ndarray, label: str) -> Figure:
    """Principal components (N, 2) coloured by values (N,)."""
    figure, ax = new_axes(width=4.6, height=3.6)
    dots = ax.scatter(*points.T, c=values, s=4)
    figure.colorbar(dots, label=label)
    ax.set(xlabel="PC 1", ylabel="PC 2")
    return figure


def search_steps(
    landscape, populations: Sequence[np.ndarray], evolutions: Sequence[tuple], extent: float
) -> Figure:
    """CMA-ES in two dimensions: a panel a generation, with the 1- and 2-sigma ellipses.

    landscape: (N, 2) -> (N,), the higher the better. evolutions: (mean (2,), covariance (2, 2)).
    """
    figure, axes = new_axes(len(populations), width=2.3, height=2.4)
    side = np.linspace(-extent, extent, 120)
    grid = np.stack(np.meshgrid(side, side), -1)
    heights = landscape(grid.reshape(-1, 2)).reshape(120, 120)
    circle = np.linspace(0, 2 * np.pi, 100)
    for ax, points, (mean, covariance) in zip(axes, populations, evolutions, strict=True):
        ax.contourf(side, side, heights, 20, cmap="Greys_r", alpha=0.6)
        values, vectors = np.linalg.eigh(covariance)
        for k in (1, 2):
            round_ = np.stack([np.cos(circle), np.sin(circle)]) * np.sqrt(values)[:, None] * k
            ax.plot(*(mean[:, None] + vectors @ round_), color=DREAM, lw=1)
        ax.plot(*points.T, ".", color=REALITY, ms=4)
        ax.plot(*mean, "+", color=DREAM, ms=9, mew=2)
        ax.set(xlim=(-extent, extent), ylim=(-extent, extent), xticks=[], yticks=[])
        ax.grid(False)
    return figure


def _gif(clips: Sequence[np.ndarray], fps: float, gap: int = 4) -> bytes:
    length = max(len(clip) for clip in clips)
    pictures = []
    for t in range(length):
        frames = [clip[min(t, len(clip) - 1)] for clip in clips]
        spacer = np.full((frames[0].shape[0], gap, 3), 255, np.uint8)
        joined = [part for frame in frames for part in (frame, spacer)][:-1]
        pictures.append(Image.fromarray(np.concatenate(joined, axis=1)))
    buffer = io.BytesIO()
    pictures[0].save(
        buffer,
        "GIF",
        save_all=True,
        append_images=pictures[1:],
        duration=round(1000 / fps),
        loop=0,
        optimize=True,
    )
    return buffer.getvalue()


def moving_picture(
    clips: np.ndarray | Sequence[np.ndarray],
    description: str,
    fps: float = 25,
    save: str | Path | None = None,
) -> HTML:
    """Clips (T, H, W, 3) uint8, one or several side by side, as an animation in the page.

    `description` is read out by screen readers. `save` also writes the GIF to a file.
    """
    clips = [clips] if isinstance(clips, np.ndarray) else list(clips)
    gif = _gif(clips, fps)
    if save is not None:
        Path(save).parent.mkdir(parents=True, exist_ok=True)
        Path(save).write_bytes(gif)
    code = base64.b64encode(gif).decode()
    return HTML(
        f'<img alt="{description}" style="width:{240 * len(clips)}px; image-rendering:pixelated" '
        f'src="data:image/gif;base64,{code}">'
    )


def promises(real: np.ndarray, dreamt: np.ndarray) -> Figure:
    """What drives earned, real (drives,), and what dreams of them promised, (drives, dreams)."""
    figure, ax = new_axes(width=4.2, height=3.6)
    ax.plot(
        np.repeat(real, dreamt.shape[1]),
        dreamt.ravel(),
        ".",
        color=DREAM,
        ms=4,
        alpha=0.6,
        label="a dream",
    )
    ax.plot(
        real, dreamt.mean(1), "o", color="black", ms=4, mfc="none", label="mean of a drive's dreams"
    )
    ends = [min(real.min(), dreamt.min()), max(real.max(), dreamt.max())]
    ax.plot(ends, ends, color=TRUTH, lw=1, label="just right")
    ax.set(xlabel="earned on the road", ylabel="earned in the dream")
    ax.legend(fontsize=8)
    return figure


def against_reality(
    dreams: Mapping[str, np.ndarray],
    real: np.ndarray,
    marked: Mapping[str, int] = {},
) -> Figure:
    """What dreams say that drivers will earn, a panel for each dream, against what they do earn.

    real: (drivers, 3), a mean and the ends of its 95% interval. Values of `dreams`: (drivers, 2),
    a mean and the half-width of its interval, 0 where it is not known. marked: {name: row of the
    driver that gets it}.
    """
    rows = -(-len(dreams) // 4)
    figure, axes = new_axes(-(-len(dreams) // rows), rows, width=2.9, height=3.0)
    axes = np.ravel(axes)
    ends = [real[:, 0].min(), real[:, 0].max()]
    told = np.concatenate([ends, *(dreamt[:, 0] for dreamt in dreams.values())])
    room = 0.08 * np.ptp(told)
    for ax, (title, dreamt) in zip(axes, dreams.items(), strict=False):
        ax.plot(ends, ends, color=TRUTH, lw=1, label="just right")
        ax.errorbar(
            *(real[:, 0], dreamt[:, 0], dreamt[:, 1], np.abs(real[:, 1:] - real[:, :1]).T),
            fmt="o",
            color=DREAM,
            ms=4,
            lw=0.8,
        )
        for (name, row), marker in zip(marked.items(), "Xsd", strict=False):
            ax.plot(real[row, 0], dreamt[row, 0], marker, color="black", ms=7, label=name)
        rank = rank_correlation(dreamt[:, 0], real[:, 0])
        told_by = f"rank correlation {rank.rho:.2f} ({rank.low:.2f} to {rank.high:.2f})"
        ax.set(xlabel="score in reality", title=f"{title}\n{told_by}")
        ax.set_ylim(told.min() - room, told.max() + room)
    for ax in axes[len(dreams) :]:
        ax.set_axis_off()
    axes[0].set_ylabel("foreseen by the dream")
    axes[0].legend(fontsize=8)
    return figure


def promised_and_kept(runs: Sequence[list[dict]]) -> Figure:
    """Drivers bred in dreams of several kinds: what was promised them, and what they earned.

    runs: rows of bred.jsonl, one for each kind, a list for each training seed. Dots are seeds,
    thick lines their mean, bars their standard deviation; with one seed, that of its drives.
    """
    kinds = [row["kind"] for row in runs[0]]
    figure, ax = new_axes(width=7, height=3.0)
    _promised_and_real(ax, range(len(kinds)), list(zip(*runs, strict=True)), apart=0.16)
    ax.set_xticks(range(len(kinds)), [kind.replace(" ", "\n", 1) for kind in kinds])
    ax.set_ylabel("points")
    ax.axhline(0, color=TRUTH, lw=0.8)
    ax.legend(fontsize=8)
    return figure


def _promised_and_real(ax, places, rows: Sequence[Sequence[dict]], apart: float = 0.0) -> None:
    # rows: at each place, one for each training seed.
    for column, color, label, side in (
        ("promised", DREAM, "promised by its dream", -0.5),
        ("real", REALITY, "earned in reality", 0.5),
    ):
        at = np.array(places) + side * apart
        values = np.array([[row[column] for row in some] for some in rows])
        ax.plot(at, values, "o-", color=color, ms=4, lw=0.6, alpha=0.5, mew=0)
        spread = None
        if values.shape[1] > 1:
            spread = values.std(1, ddof=1)
        elif column == "real":
            spread = [some[0]["real_std"] for some in rows]
        ax.errorbar(at, values.mean(1), spread, color=color, lw=1.6, capsize=3, label=label)


def dream_learning_curve(runs: Mapping[str, list[dict]]) -> Figure:
    """Runs in dreams: what dreams paid, and what reality did; the first of them is drawn thick.

    runs: each as `rounds.timeline` returned it.
    """
    figure, (pays, real) = new_axes(rows=2, width=7, height=2.6)
    for k, (name, rows) in enumerate(runs.items()):
        style = {"lw": 0.8, "alpha": 0.6} if k else {"lw": 2.0}
        last = {row["round"]: row for row in rows}.values()  # the last row of each
        pays.plot(
            [r["minutes"] for r in last],
            [r["mean"] for r in last],
            color=DREAM,
            label=name,
            **style,
        )
        checks = [row for row in rows if "check" in row]
        minutes, means = [r["minutes"] for r in checks], [r["check"] for r in checks]
        real.plot(minutes, means, color=REALITY, **style)
        if k > 0:
            real.annotate(name, (minutes[-1], means[-1]), fontsize=7, color=REALITY, va="top")
        else:
            spread = [r["check_std"] for r in checks]
            real.errorbar(
                minutes,
                means,
                spread,
                fmt="o",
                color=REALITY,
                ms=4,
                lw=1,
                capsize=2,
                label="the round's C (± SD of drives)",
            )
            found = [row for row in rows if "found" in row]
            real.plot(
                [r["minutes"] for r in found],
                [r["found"] for r in found],
                "o",
                mfc="none",
                color=TRUTH,
                ms=4,
                label="what its search found",
            )
    pays.set(ylabel="foreseen, population's mean")
    pays.legend(fontsize=8)
    real.sharex(pays)
    real.set(xlabel="minutes since the folder was empty", ylabel="score in reality")
    real.legend(fontsize=8)
    return figure


def doubts(runs: Sequence[list[dict]]) -> Figure:
    """Drivers bred under temperature (across) and dropout (panels): their dream's pay, and reality.

    runs: rows of bred.jsonl, a list for each training seed. Thin lines are seeds, thick
    ones their mean, bars their standard deviation; with one seed, that of its drives.
    """
    rows = [row for run in runs for row in run]
    shares = sorted({row["dropout"] for row in rows})
    figure, axes = new_axes(len(shares), width=3.2, height=3.0)
    for ax, share in zip(np.atleast_1d(axes), shares, strict=True):
        some = [row for row in rows if row["dropout"] == share]
        taus = sorted({row["temperature"] for row in some})
        _promised_and_real(ax, taus, [[r for r in some if r["temperature"] == t] for t in taus])
        ax.set(xlabel="temperature", title=f"dropout {share:g}")
        ax.axhline(0, color=TRUTH, lw=0.8)
        ax.set_ylim(top=1.05 * max(max(r["promised"], r["real"] + r["real_std"]) for r in rows))
    np.atleast_1d(axes)[0].set_ylabel("points")
    figure.legend(
        *np.atleast_1d(axes)[0].get_legend_handles_labels(),
        loc="outside lower center",
        ncols=2,
        fontsize=8,
    )
    return figure


def bench(result: dict) -> Figure:
    """What `bench.run` returned: a panel of bars for each unit, dots for the single repetitions.

    Baselines are grey, dreams orange, everything else blue. A ratio to Gymnasium's environment, if
    a row has one, follows its number. A panel of a single row is left out: it compares nothing.
    """
    panels: dict[str, list[dict]] = {}
    for row in result["rows"]:
        panels.setdefault(row["panel"], []).append(row)
    panels = {panel: rows[::-1] for panel, rows in panels.items() if len(rows) > 1}
    heights = [len(rows) + 1.7 for rows in panels.values()]
    figure = Figure(figsize=(8.4, 0.24 * sum(heights) + 0.3), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.1, h_pad=0.06)
    axes = figure.subplots(len(panels), 1, squeeze=False, height_ratios=heights)[:, 0]
    for ax, (panel, rows) in zip(axes, panels.items(), strict=True):
        _bars(ax, rows)
        _scale(ax, [row for row in result["rows"] if row["unit"] == rows[0]["unit"]])
        ax.set_title(panel, loc="left", fontsize=10, fontweight="bold")
    count = len(result["rows"][0]["runs"])
    told = f"Bars: medians of {count} repetitions, measured in turns; dots: single repetitions."
    figure.supxlabel(f"{told} {result['machine']}, {result['date']}", fontsize=8, color=TRUTH)
    return figure


def _bars(ax: Axes, rows: list[dict]) -> None:
    colors = {"baseline": TRUTH, "dream": DREAM, "real": REALITY}
    for y, row in enumerate(rows):
        ax.barh(y, row["median"], color=colors[row["kind"]], height=0.7)
        ax.plot(row["runs"], [y] * len(row["runs"]), ".", color="black", ms=3)
        text, ratio = _digits(row["median"]), row["times_gymnasium"]
        if ratio not in (None, 1):
            text += f"  ({_digits(ratio)} × Gymnasium)"
        place = {"xytext": (5, 0), "textcoords": "offset points", "va": "center"}
        ax.annotate(text, (max(row["runs"]), y), fontsize=8, **place)
    mixed = len({row["cores"] for row in rows}) > 1  # else the panel's title says it
    ax.set_yticks(range(len(rows)), [_label(row, mixed) for row in rows], fontsize=9)
    ax.set_ylim(-0.6, len(rows) - 0.4)
    ax.set_xlabel(rows[0]["unit"], fontsize=9)
    ax.tick_params(axis="x", labelsize=8)
    ax.grid(axis="y", visible=False)


def _scale(ax: Axes, rows: list[dict]) -> None:
    """The x axis for all rows of a unit: logarithmic where they differ more than thirtyfold."""
    runs = [value for row in rows for value in row["runs"]]
    low, high = min(runs), max(runs)
    if high / low > 30:
        low = 10 ** np.floor(np.log10(low / 1.2))  # where bars begin: there is no zero
        ax.set_xscale("log")
        ax.set_xlim(low, high * (high / low) ** 0.5)  # room for the longest bar's text
    else:
        ax.set_xlim(0, 1.4 * high)


def _digits(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.1f}"


def _label(row: dict, with_cores: bool) -> str:
    cores = f", {row['cores']} core{'s' * (row['cores'] > 1)}" if with_cores else ""
    return row["name"] + cores


def source(thing: object) -> HTML:
    """A class or function of wmlib as it stands in the package, coloured."""
    formatter = HtmlFormatter(noclasses=True, nobackground=True)
    return HTML(highlight(inspect.getsource(thing), PythonLexer(), formatter))
