"""Sliders on z: what does each latent dimension change in the decoded frame?"""

from typing import NamedTuple

import ipywidgets as widgets
import numpy as np
import torch
from matplotlib.figure import Figure

from wmlib.models.vae import VAE, frames_to_tensor, kl_per_dimension, tensor_to_frames
from wmlib.view.explorers.pictures import captioned, image, png
from wmlib.view.figures import frame_grid

LIMIT = 3.0  # sliders go from -LIMIT to LIMIT


class LatentExplorer:
    """Sliders on z, whose decoded frame is shown beside a frame and its reconstruction.

    frames: (N, S, S, 3) uint8, from which sliders can be set. latents: z (M, z_size) of many
    frames, for the principal components; by default those of `frames`. There are at most
    `dimensions` sliders, in one of two bases: "z", the latent dimensions with the largest mean KL
    over the frames, largest first; or "principal components" of the latents, in standard
    deviations, largest variance first. What has no slider keeps its value.
    Switching the basis keeps z and sets the sliders to it, unless they are frozen.
    """

    def __init__(
        self,
        vae: VAE,
        frames: np.ndarray,
        latents: torch.Tensor | None = None,
        dimensions: int = 10,
    ):
        self.vae, self.frames = vae, frames
        with torch.no_grad():
            self.mu, logvar = vae.encode(frames_to_tensor(frames))
        self.bases = _bases(self.mu, logvar, self.mu if latents is None else latents, dimensions)
        self._rng = np.random.default_rng(0)

        last = len(frames) - 1
        self.moment = widgets.IntSlider(0, 0, last, description="frame")
        self.end = widgets.IntSlider(min(1, last), 0, last, description="end frame")
        self.fraction = widgets.FloatSlider(0, min=0, max=1, step=0.025, description="interpolate")
        self.basis = widgets.ToggleButtons(options=list(self.bases), description="sliders")
        self.sliders = [
            widgets.FloatSlider(0, min=-LIMIT, max=LIMIT, step=0.01, readout_format=".1f")
            for _ in self.bases["z"].names
        ]
        self.freeze = widgets.Checkbox(False, description="freeze the sliders", indent=False)
        self.reset_button = widgets.Button(
            description="reset", tooltip="set the sliders to the z of the frame"
        )
        self.random_button = widgets.Button(
            description="random", tooltip="sample every slider from N(0, 1)"
        )
        captions = ("frame", "reconstruction", "decoded from the sliders")
        pictures = [image() for _ in captions]
        self.original, self.reconstruction, self.decoded = pictures

        for control in (self.moment, self.end, self.fraction):
            control.observe(lambda change: self._start_from_frames(), "value")
        self.basis.observe(lambda change: self._start_from(self.z[0]), "value")
        for slider in self.sliders:
            slider.observe(lambda change: self._draw(), "value")
        self.reset_button.on_click(lambda button: self.reset())
        self.random_button.on_click(lambda button: self.randomize())
        self._paused = False  # no redraw while several sliders are set
        self.reset()

        buttons = widgets.HBox([self.reset_button, self.random_button, self.freeze])
        frame_controls = [self.moment, self.end, self.fraction]
        controls = widgets.VBox([*frame_controls, self.basis, *self.sliders, buttons])
        columns = [captioned(*pair) for pair in zip(captions, pictures, strict=True)]
        self.widget = widgets.HBox([controls, *columns])

    @property
    def z(self) -> torch.Tensor:
        """The z that is decoded, (1, z_size) float32."""
        values = torch.tensor([slider.value for slider in self.sliders])
        return (self._base + (values - self._coordinates) @ self._rows)[None]

    @property
    def frame(self) -> np.ndarray:
        """The decoded frame, (S, S, 3) uint8."""
        return self._decode(self.z)[0]

    def reset(self) -> None:
        """Set the sliders to the frame's z (or to the interpolated z), frozen or not."""
        frozen, self.freeze.value = self.freeze.value, False
        self._start_from_frames()
        self.freeze.value = frozen

    def randomize(self) -> None:
        """Sample every slider from N(0, 1), limited to its ends: in the basis "z", the prior."""
        self._set(self._rng.standard_normal(len(self.sliders)))

    def _start_from_frames(self) -> None:
        start, end = self.mu[self.moment.value], self.mu[self.end.value]
        self.original.value = png(self.frames[self.moment.value])
        self.reconstruction.value = png(self._decode(start[None])[0])
        self._start_from(start + self.fraction.value * (end - start))

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

    def _set(self, values: np.ndarray | torch.Tensor) -> None:
        self._paused = True
        for slider, value in zip(self.sliders, values, strict=True):
            # To whole steps of the slider, as the browser does, which would send its value back.
            slider.value = round(min(max(float(value), -LIMIT), LIMIT), 2)
        self._paused = False
        self._draw()

    def _draw(self) -> None:
        if not self._paused:
            self.decoded.value = png(self.frame)

    @torch.no_grad()
    def _decode(self, z: torch.Tensor) -> np.ndarray:
        return tensor_to_frames(self.vae.decode(z))

    def contact_sheet(self, rows: int = 6, steps: int = 7) -> Figure:
        """Decoded frames for `steps` values of each of the first `rows` sliders, one row each.

        The first column is the present frame; the row's label gives the slider's present value.
        """
        values, strips = torch.linspace(-LIMIT, LIMIT, steps), {}
        for slider, row in zip(self.sliders[:rows], self._rows, strict=False):
            moved = self.z + (values - slider.value)[:, None] * row
            label = f"{slider.description} = {slider.value:.1f}"
            strips[label] = self._decode(torch.cat([self.z, moved]))
        return frame_grid(strips, ["now", *(f"{value:.2g}" for value in values)])


class Basis(NamedTuple):
    """What k sliders change.

    names: of the sliders. origin (z_size,): z with all sliders at 0. rows (k, z_size), orthogonal:
    the change of z per unit of each slider.
    """

    names: list[str]
    origin: torch.Tensor
    rows: torch.Tensor


def _bases(
    mu: torch.Tensor, logvar: torch.Tensor, latents: torch.Tensor, dimensions: int
) -> dict[str, Basis]:
    size = mu.shape[1]
    kl = kl_per_dimension(mu, logvar).mean(0)
    order = kl.argsort(descending=True)[:dimensions]
    variance, components = torch.linalg.eigh(torch.cov(latents.T))
    largest = variance.argsort(descending=True)[:dimensions]
    deviations = components.T[largest] * variance[largest].clamp(min=1e-6).sqrt()[:, None]
    return {
        "z": Basis([f"z[{d}]" for d in order], torch.zeros(size), torch.eye(size)[order]),
        "principal components": Basis(
            [f"PC {k + 1}" for k in range(len(deviations))], latents.mean(0), deviations
        ),
    }
