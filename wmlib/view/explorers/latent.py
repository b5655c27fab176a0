"""Sliders on z: what does each latent dimension draw?"""

from typing import NamedTuple

import ipywidgets as widgets
import numpy as np
import torch
from matplotlib.figure import Figure

from wmlib.models.vae import VAE, frames_to_tensor, kl_per_dimension, tensor_to_frames
from wmlib.view.explorers.pictures import captioned, image, png
from wmlib.view.figures import frame_grid

LIMIT = 3.0  # where sliders end


class LatentExplorer:
    """Sliders on z that decode live, beside the frame that z came from.

    frames: (N, S, S, 3) uint8, some moments to start from. cloud: z (M, z_size) of many frames, for
    the principal components; by default those of `frames`. At most `dimensions` sliders are shown,
    in one of two bases: "z", latent dimensions, those with the largest mean KL over the frames
    first; or "principal components" of the cloud, in standard deviations, the largest variance
    first. What has no slider stays as it is. Switching between them changes only the sliders.
    """

    def __init__(
        self, vae: VAE, frames: np.ndarray, cloud: torch.Tensor | None = None, dimensions: int = 10
    ):
        self.vae, self.frames = vae, frames
        with torch.no_grad():
            self.mu, logvar = vae.encode(frames_to_tensor(frames))
        self.bases = _bases(self.mu, logvar, self.mu if cloud is None else cloud, dimensions)
        self._rng = np.random.default_rng(0)

        last = len(frames) - 1
        self.moment = widgets.IntSlider(0, 0, last, description="frame")
        self.other = widgets.IntSlider(min(1, last), 0, last, description="towards")
        self.morph = widgets.FloatSlider(0, min=0, max=1, step=0.025, description="how far")
        self.basis = widgets.ToggleButtons(options=list(self.bases), description="sliders")
        self.sliders = [
            widgets.FloatSlider(0, min=-LIMIT, max=LIMIT, step=0.01, readout_format=".1f")
            for _ in self.bases["z"].names
        ]
        self.freeze = widgets.Checkbox(False, description="freeze the sliders", indent=False)
        self.reset_button = widgets.Button(
            description="reset", tooltip="back to the z of the frame"
        )
        self.random_button = widgets.Button(
            description="random", tooltip="draw the sliders from N(0, 1)"
        )
        captions = ("frame", "reconstruction", "decoded from the sliders")
        self.original, self.plain, self.decoded = pictures = [image() for _ in captions]

        for control in (self.moment, self.other, self.morph):
            control.observe(lambda change: self._start_from_frames(), "value")
        self.basis.observe(lambda change: self._start_from(self.z[0]), "value")
        for slider in self.sliders:
            slider.observe(lambda change: self._draw(), "value")
        self.reset_button.on_click(lambda button: self.reset())
        self.random_button.on_click(lambda button: self.randomize())
        self._quiet = False
        self.reset()

        buttons = widgets.HBox([self.reset_button, self.random_button, self.freeze])
        frame_controls = [self.moment, self.other, self.morph]
        controls = widgets.VBox([*frame_controls, self.basis, *self.sliders, buttons])
        columns = [captioned(*pair) for pair in zip(captions, pictures, strict=True)]
        self.widget = widgets.HBox([controls, *columns])

    @property
    def z(self) -> torch.Tensor:
        """The z now shown, (1, z_size)."""
        values = torch.tensor([slider.value for slider in self.sliders])
        return (self._base + (values - self._coordinates) @ self._rows)[None]

    @property
    def frame(self) -> np.ndarray:
        """The picture now shown, (S, S, 3) uint8."""
        return self._decode(self.z)[0]

    def reset(self) -> None:
        """Set the sliders to what the frame (or the mixture of two) was encoded as."""
        frozen, self.freeze.value = self.freeze.value, False
        self._start_from_frames()
        self.freeze.value = frozen

    def randomize(self) -> None:
        """Draw every slider from N(0, 1): the prior, where z is what they move."""
        self._set(self._rng.standard_normal(len(self.sliders)))

    def _start_from_frames(self) -> None:
        start, end = self.mu[self.moment.value], self.mu[self.other.value]
        self.original.value = png(self.frames[self.moment.value])
        self.plain.value = png(self._decode(start[None])[0])
        self._start_from(start + self.morph.value * (end - start))

    def _start_from(self, z: torch.Tensor) -> None:
        names, origin, self._rows = self.bases[self.basis.value]
        coordinates = self._rows @ (z - origin) / self._rows.square().sum(1)
        self._base, self._coordinates = z, coordinates.clamp(-LIMIT, LIMIT).round(decimals=2)
        for slider, name in zip(self.sliders, names, strict=True):
            slider.description = name
        if self.freeze.value:
            self._draw()
        else:
            self._set(self._coordinates)

    def _set(self, values) -> None:
        # One redraw for all of them, not one for each.
        self._quiet = True
        for slider, value in zip(self.sliders, values, strict=True):
            # In whole steps: the browser would round it, and send that back with the next touch.
            slider.value = round(min(max(float(value), -LIMIT), LIMIT), 2)
        self._quiet = False
        self._draw()

    def _draw(self) -> None:
        if not self._quiet:
            self.decoded.value = png(self.frame)

    @torch.no_grad()
    def _decode(self, z: torch.Tensor) -> np.ndarray:
        return tensor_to_frames(self.vae.decode(z))

    def contact_sheet(self, rows: int = 6, steps: int = 7) -> Figure:
        """What dragging each of the first `rows` sliders from end to end shows.

        In the first column the present picture; the slider's present value is in the row's label.
        """
        values = torch.linspace(-LIMIT, LIMIT, steps)
        changes = (values - self._coordinates[:, None])[..., None] * self._rows[:, None]
        strips = {
            f"{slider.description} = {now:.1f}": self._decode(torch.cat([self.z, self._base + k]))
            for slider, now, k in zip(self.sliders[:rows], self._coordinates, changes, strict=False)
        }
        return frame_grid(strips, ["now", *(f"{value:+.2g}" for value in values)])


class Basis(NamedTuple):
    """z with all sliders at 0, (z_size,); what a unit of each adds, (k, z_size) orthogonal."""

    names: list[str]
    origin: torch.Tensor
    rows: torch.Tensor


def _bases(
    mu: torch.Tensor, logvar: torch.Tensor, cloud: torch.Tensor, dimensions: int
) -> dict[str, Basis]:
    size = mu.shape[1]
    information = kl_per_dimension(mu, logvar).mean(0)
    order = information.argsort(descending=True)[:dimensions]
    variance, components = torch.linalg.eigh(torch.cov(cloud.T))
    largest = variance.argsort(descending=True)[:dimensions]
    deviations = components.T[largest] * variance[largest].clamp(min=1e-6).sqrt()[:, None]
    return {
        "z": Basis([f"z[{d}]" for d in order], torch.zeros(size), torch.eye(size)[order]),
        "principal components": Basis(
            [f"PC {k + 1}" for k in range(len(deviations))], cloud.mean(0), deviations
        ),
    }
