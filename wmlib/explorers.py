"""What a chapter lets you touch: ipywidgets over the trained networks.

An explorer has a `widget` to show, named controls that code can set as a hand would, and a
`contact_sheet` made by the same code for those who read without a kernel.
"""

import io

import ipywidgets as widgets
import numpy as np
import torch
from matplotlib.figure import Figure
from PIL import Image

from wmlib.figures import frame_grid
from wmlib.vae import VAE, frames_to_tensor, kl_per_dimension, tensor_to_frames

DISPLAY_SIZE = 256  # pixels on the page


def png(frame: np.ndarray) -> bytes:
    """A frame (H, W, 3) uint8 as PNG bytes, enlarged without smoothing."""
    buffer = io.BytesIO()
    picture = Image.fromarray(frame)
    picture.resize((DISPLAY_SIZE,) * 2, Image.Resampling.NEAREST).save(buffer, "PNG")
    return buffer.getvalue()


class LatentExplorer:
    """Sliders on z that decode live, beside the frame that z came from.

    frames: (N, S, S, 3) uint8, some moments to start from. The `dimensions` sliders are those
    that carry most information (mean KL over the frames), most first; the others stay as encoded.
    """

    def __init__(self, vae: VAE, frames: np.ndarray, dimensions: int = 10):
        self.vae, self.frames = vae, frames
        with torch.no_grad():
            self.mu, logvar = vae.encode(frames_to_tensor(frames))
        information = kl_per_dimension(self.mu, logvar).mean(0)
        self.dimensions = information.argsort(descending=True)[:dimensions].tolist()
        self._rng = np.random.default_rng(0)

        self.moment = widgets.IntSlider(0, 0, len(frames) - 1, description="frame")
        self.sliders = [
            widgets.FloatSlider(
                0, min=-3, max=3, step=0.1, description=f"z[{d}]", readout_format=".1f"
            )
            for d in self.dimensions
        ]
        self.reset_button = widgets.Button(description="reset", tooltip="back to the frame's own z")
        self.random_button = widgets.Button(description="random", tooltip="draw the sliders")
        size = {"width": DISPLAY_SIZE, "height": DISPLAY_SIZE, "format": "png"}
        self.original, self.decoded = widgets.Image(**size), widgets.Image(**size)

        self.moment.observe(lambda change: self.reset(), "value")
        for slider in self.sliders:
            slider.observe(lambda change: self._draw(), "value")
        self.reset_button.on_click(lambda button: self.reset())
        self.random_button.on_click(lambda button: self.randomize())
        self._quiet = False
        self.reset()

        buttons = widgets.HBox([self.reset_button, self.random_button])
        captions = [widgets.Label("what V saw"), widgets.Label("what z says")]
        pictures = [
            widgets.VBox(pair) for pair in zip(captions, (self.original, self.decoded), strict=True)
        ]
        controls = widgets.VBox([self.moment, *self.sliders, buttons])
        self.widget = widgets.HBox([controls, *pictures])

    @property
    def z(self) -> torch.Tensor:
        """The z now shown: the frame's own, with the sliders' values put in. (1, z_size)."""
        z = self.mu[self.moment.value].clone()
        for d, slider in zip(self.dimensions, self.sliders, strict=True):
            z[d] = slider.value
        return z[None]

    def reset(self) -> None:
        """Set the sliders to the chosen frame's own z."""
        self.original.value = png(self.frames[self.moment.value])
        self._set([self.mu[self.moment.value, d].item() for d in self.dimensions])

    def randomize(self) -> None:
        """Draw every slider from the prior, N(0, 1)."""
        self._set(self._rng.standard_normal(len(self.sliders)))

    def _set(self, values) -> None:
        # One redraw for all of them, not one for each.
        self._quiet = True
        for slider, value in zip(self.sliders, values, strict=True):
            slider.value = float(np.clip(value, slider.min, slider.max))
        self._quiet = False
        self._draw()

    def _draw(self) -> None:
        if not self._quiet:
            self.decoded.value = png(self._decode(self.z)[0])

    @torch.no_grad()
    def _decode(self, z: torch.Tensor) -> np.ndarray:
        return tensor_to_frames(self.vae.decode(z))

    def contact_sheet(self, rows: int = 6, steps: int = 9) -> Figure:
        """What dragging each of the first `rows` sliders from -3 to 3 shows."""
        values = np.linspace(-3, 3, steps)
        strips = {}
        for d in self.dimensions[:rows]:
            z = self.mu[self.moment.value].repeat(steps, 1)
            z[:, d] = torch.from_numpy(values).float()
            strips[f"z[{d}]"] = self._decode(z)
        return frame_grid(strips, [f"{value:+.1f}" for value in values])
