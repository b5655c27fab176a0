"""Frames side by side, still and moving."""

import base64
import html
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from IPython.display import HTML
from matplotlib.figure import Figure
from PIL import Image, ImageDraw

from wmlib.view.figures.style import require_data

GAP, ROW_GAP, TITLE = 0.04, 0.07, 0.25  # inches: between columns, between rows, for titles
BORDER, HEADER = 4, 16  # pixels: of a framed clip; the header includes the border's upper side


def frame_grid(
    rows: Mapping[str, np.ndarray],
    titles: Sequence[str] = (),
    colors: Mapping[str, str] = {},
    size: float = 1.15,
) -> Figure:
    """Frames in labelled rows, each frame `size` inches wide.

    rows: {label: frames (N, H, W, 3) uint8}; N may differ between rows. titles: of the columns.
    colors: of the rows' labels, black where a label is missing. Raises ValueError if there are no
    frames, or more titles than columns.
    """
    columns = max((len(frames) for frames in rows.values()), default=0)
    require_data("frames", range(columns))
    if len(titles) > columns:
        raise ValueError(f"{len(titles)} titles for {columns} columns of frames")
    heights = [size * _aspect(frames) for frames in rows.values()]
    figure = Figure()
    axes = figure.subplots(len(rows), columns, squeeze=False, height_ratios=heights)
    for ax in axes.flat:
        ax.set_axis_off()
    labels = []
    for r, (label, frames) in enumerate(rows.items()):
        for c, frame in enumerate(frames):
            axes[r, c].imshow(frame, interpolation="nearest")
        label_text = axes[r, 0].annotate(
            label,
            (0, 0.5),
            (-6, 0),
            xycoords="axes fraction",
            textcoords="offset points",
            color=colors.get(label, "black"),
            ha="right",
            va="center",
        )
        labels.append(label_text)
    margin = 0.15 + max(label.get_window_extent().width for label in labels) / figure.dpi
    width = margin + columns * (size + GAP)
    top = TITLE if len(titles) else GAP
    height = top + sum(heights) + len(rows) * ROW_GAP
    figure.set_size_inches(width, height)
    figure.subplots_adjust(
        left=margin / width,
        right=1 - GAP / width,
        bottom=ROW_GAP / height,
        top=1 - top / height,
        wspace=GAP / size,
        hspace=ROW_GAP * len(heights) / sum(heights),
    )
    for c, title in enumerate(titles):
        axes[0, c].set_title(title, fontsize=9)
    return figure


def _aspect(frames: np.ndarray) -> float:
    # Height per width; 1 for a row without frames.
    return frames[0].shape[0] / frames[0].shape[1] if len(frames) else 1.0


def _gif(clips: Sequence[np.ndarray], fps: float, gap: int = 4) -> bytes:
    # gap: pixels of white between two clips.
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


def framed(clip: np.ndarray, text: str, color: str, scale: int = 2) -> np.ndarray:
    """A clip in a coloured border, with a line of text in that colour above it.

    clip (T, H, W, 3) uint8; scale: by which its pixels are enlarged. Returns uint8
    (T, scale * H + 20, scale * W + 8, 3). Raises ValueError if the text is wider than the clip.
    """
    require_data("frames in a clip", clip)
    large = clip.repeat(scale, axis=1).repeat(scale, axis=2)
    _, height, width, _ = large.shape
    canvas = Image.new("RGB", (width + 2 * BORDER, height + BORDER + HEADER), color)
    draw = ImageDraw.Draw(canvas)
    draw.rectangle((0, 0, canvas.width, HEADER - BORDER - 1), fill="white")
    if draw.textlength(text) > canvas.width:
        raise ValueError(f"{text!r} is wider than the clip: shorten it, or enlarge the frames")
    draw.text((1, 0), text, fill=color)
    result = np.repeat(np.asarray(canvas)[None], len(clip), axis=0)
    result[:, HEADER : HEADER + height, BORDER : BORDER + width] = large
    return result


def moving_picture(
    clips: np.ndarray | Sequence[np.ndarray],
    description: str,
    fps: float = 25,
    save: str | Path | None = None,
) -> HTML:
    """Clips (T, H, W, 3) uint8, one or several side by side, as an animated GIF in the page.

    Clips must have equal heights. A shorter clip stays on its last frame. description: for screen
    readers. fps: frames per second. save: a path to which the GIF is written, too. Raises
    ValueError if there are no clips, or a clip has no frames.
    """
    clips = [clips] if isinstance(clips, np.ndarray) else list(clips)
    require_data("clips", clips)
    for clip in clips:
        require_data("frames in a clip", clip)
    gif = _gif(clips, fps)
    if save is not None:
        Path(save).parent.mkdir(parents=True, exist_ok=True)
        Path(save).write_bytes(gif)
    code = base64.b64encode(gif).decode()
    return HTML(
        f'<img alt="{html.escape(description)}" '
        f'style="width:{240 * len(clips)}px; image-rendering:pixelated" '
        f'src="data:image/gif;base64,{code}">'
    )
