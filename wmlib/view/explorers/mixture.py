"""M's forecast at each moment of an episode: its Gaussians, decoded, and dreams that follow it."""

import math
from collections.abc import Sequence

import ipywidgets as widgets
import numpy as np
import torch
from matplotlib.figure import Figure

from wmlib.models.mdn_rnn import Prediction, mixture_mean
from wmlib.models.numerics import half_precision
from wmlib.models.vae import frames_to_tensor, kl_per_dimension, tensor_to_frames
from wmlib.models.world_model import State, WorldModel
from wmlib.view.explorers.pictures import WIDE, LivePlot, captioned, image, png, row_of
from wmlib.view.figures import DREAM, REALITY, frame_grid

POINTS = 240  # of a density curve
REAL_FRAMES = "real frames"
STRIP = 104  # height of a row of small frames, in pixels


class MixtureExplorer:
    """M's forecast at each moment of a recorded episode, and dreams that begin there.

    frames (T + 1, S, S, 3) uint8, actions (T, A) float32; rewards (T,) in points for an M with
    `reward_input`. The density of one latent dimension is shown, chosen among the `dimensions` with
    the largest mean KL. `dreams` samples of M continue from the chosen moment with the episode's
    own actions, for up to `horizon` agent steps. Moments before agent step `first` cannot be
    chosen, so that M has observed that many steps. Raises ValueError unless T > first + horizon.
    """

    def __init__(
        self,
        world_model: WorldModel,
        frames: np.ndarray,
        actions: np.ndarray,
        dimensions: int = 8,
        horizon: int = 30,
        dreams: int = 4,
        first: int = 0,
        rewards: np.ndarray | None = None,
    ):
        if len(actions) <= first + horizon:
            raise ValueError(
                f"more than {first + horizon} agent steps are needed, got {len(actions)}"
            )
        self.world_model, self.frames, self.dreams = world_model, frames, dreams
        self.actions = torch.from_numpy(actions)
        self.states = _observed(world_model, frames, self.actions, rewards)
        with torch.no_grad():
            mu, logvar = world_model.vae.encode(frames_to_tensor(frames))
        order = kl_per_dimension(mu, logvar).mean(0).argsort(descending=True)[:dimensions]
        self._low, self._high = mu.amin(0) - 1, mu.amax(0) + 1

        self.moment = widgets.IntSlider(
            first, first, len(actions) - horizon, description="agent step", style=WIDE
        )
        self.dimension = widgets.Dropdown(
            options=[(f"z[{d}]", d) for d in order.tolist()],
            description="dimension",
            style=WIDE,
        )
        self.temperature = widgets.FloatSlider(
            1, min=0, max=2, step=0.05, description="temperature", style=WIDE
        )
        self.horizon = widgets.IntSlider(1, 1, horizon, description="horizon", style=WIDE)
        self.resample_button = widgets.Button(
            description="resample", tooltip="new dreams, with the next random seed"
        )
        self._seed = 0

        mixtures = world_model.mdn_rnn.mixtures
        self._plot = _Density(mixtures)
        width = round(STRIP * 1.03)
        self.density = image(*self._plot.size)
        self.gaussians = image(mixtures * width, STRIP)
        self.real = image(STRIP, STRIP)
        self.dreamt = image(dreams * width, STRIP)
        self.gaussians_label, self.dreams_label = widgets.Label(), widgets.Label()

        for control in (self.moment, self.temperature):
            control.observe(lambda change: self._draw(), "value")
        self.dimension.observe(lambda change: self._draw_forecast(), "value")
        self.horizon.observe(lambda change: self._draw_dreams(), "value")
        self.resample_button.on_click(lambda button: self.resample())
        self._draw()

        sliders = [self.moment, self.dimension, self.temperature, self.horizon]
        controls = widgets.VBox([*sliders, self.resample_button])
        frames_ahead = widgets.HBox([self.real, self.dreamt])
        above = captioned(self.gaussians_label, self.gaussians)
        below = captioned(self.dreams_label, frames_ahead)
        self.widget = widgets.HBox([controls, self.density, widgets.VBox([above, below])])

    def resample(self) -> None:
        """Dream again from the same moment, with the next random seed."""
        self._seed += 1
        self._draw()

    @property
    def forecast(self) -> Prediction:
        """M's forecast of the next step, at the temperature that is set.

        log_pi, mu and log_sigma are (D, K): D entries that M predicts (z, and the reward for an M
        with `reward_input`), K Gaussians each.
        """
        t, tau = self.moment.value, self.temperature.value
        action = self.actions[t : t + 1]
        _, prediction = self.world_model.imagine(self.states[t], action, 0)
        prediction = Prediction(*(part[0, 0] for part in prediction))
        tau = max(tau, 1e-6)  # at 0, the mean of the most probable Gaussian remains
        return prediction._replace(
            logits=prediction.logits / tau, log_sigma=prediction.log_sigma + 0.5 * math.log(tau)
        )

    def dream(self, steps: int, temperature: float | None = None) -> torch.Tensor:
        """z (dreams, z_size) float32 of each dream, `steps` agent steps after the chosen moment.

        temperature: by default the one that is set.
        """
        temperature = self.temperature.value if temperature is None else temperature
        t, generator = self.moment.value, torch.Generator().manual_seed(self._seed)
        rows = self.dreams if temperature > 0 else 1  # at 0 all dreams are equal
        state = self.states[t].repeat(rows)
        for action in self.actions[t : t + steps]:
            state, _ = self.world_model.imagine(
                state, action.expand(rows, -1), temperature, generator, few_rows=True
            )
        return state.z.expand(self.dreams, -1)

    def _draw(self) -> None:
        # Both rows of frames at once: decoding nine takes little longer than decoding four.
        frames = self._frames(torch.cat([self._draw_density(), self.dream(self.horizon.value)]))
        self._show_gaussians(frames[: -self.dreams])
        self._show_dreams(frames[-self.dreams :])

    def _draw_forecast(self) -> None:
        self._show_gaussians(self._frames(self._draw_density()))

    def _draw_dreams(self) -> None:
        self._show_dreams(self._frames(self.dream(self.horizon.value)))

    def _draw_density(self) -> torch.Tensor:
        # Also returns z (mixtures, z_size): the forecast's mean, but dimension d at the mean of one
        # Gaussian each, in the order of their weights, largest first.
        d, forecast = self.dimension.value, self.forecast
        log_pi = forecast.log_pi[d].numpy()
        mu, log_sigma = forecast.mu[d].numpy(), forecast.log_sigma[d].numpy()
        real = self.states[self.moment.value + 1].z[0, d].item()
        limits = self._low[d].item(), self._high[d].item()
        self._plot.show(f"z[{d}]", limits, log_pi, mu, log_sigma, real)
        self.density.value = self._plot.png()
        order = log_pi.argsort()[::-1].copy()
        weights = " ".join(f"{weight:.0%}" for weight in np.exp(log_pi[order]))
        self.gaussians_label.value = f"next frame, z[{d}] at each Gaussian's mean (π: {weights})"
        mean = mixture_mean(Prediction(*(part[None, None] for part in forecast)))[0]
        z, _ = self.world_model.mdn_rnn.split(mean)
        z = z.repeat(len(order), 1)
        z[:, d] = forecast.mu[d, order]
        return z

    def _show_gaussians(self, frames: np.ndarray) -> None:
        self.gaussians.value = png(row_of(frames), STRIP)

    def _show_dreams(self, frames: np.ndarray) -> None:
        steps = self.horizon.value
        unit = "agent step" if steps == 1 else "agent steps"
        self.dreams_label.value = f"{steps} {unit} ahead: the real frame and {self.dreams} dreams"
        self.real.value = png(self.frames[self.moment.value + steps], STRIP)
        self.dreamt.value = png(row_of(frames), STRIP)

    @torch.no_grad()
    def _frames(self, z: torch.Tensor) -> np.ndarray:
        # With 16-bit floats, for speed: the error is below one grey level.
        with half_precision(z.device):
            return tensor_to_frames(self.world_model.decode(z).float())

    def contact_sheet(
        self, temperatures: Sequence[float] = (0.1, 0.5, 1.0, 2.0), columns: int = 8
    ) -> Figure:
        """One dream from the chosen moment per temperature, one row each, below the real frames."""
        steps = np.linspace(1, self.horizon.max, columns).astype(int)
        rows = {REAL_FRAMES: self.frames[self.moment.value + steps]}
        for tau in temperatures:
            z = torch.stack([self.dream(k, tau)[0] for k in steps])
            rows[f"τ = {tau:g}"] = tensor_to_frames(self.world_model.decode(z))
        colors = dict.fromkeys(rows, DREAM) | {REAL_FRAMES: REALITY}
        return frame_grid(rows, [f"+{k}" for k in steps], colors)


def _observed(
    world_model: WorldModel,
    frames: np.ndarray,
    actions: torch.Tensor,
    rewards: np.ndarray | None,
) -> list[State]:
    # The agent's state at every agent step, T + 1 of them.
    states = [world_model.begin(frames[:1])]
    for t in range(len(actions)):
        reward = None if rewards is None else torch.as_tensor(rewards[t : t + 1])
        step = actions[t : t + 1], frames[t + 1 : t + 2], reward
        states.append(world_model.observe(states[-1], *step))
    return states


class _Density(LivePlot):
    """The density of one latent dimension: Gaussians, their sum, the encoded next value.

    The sum is scaled to a height of 1, and the Gaussians with it.
    """

    def __init__(self, mixtures: int):
        figure = Figure(figsize=(4.2, 2.9), dpi=80)
        self._ax = figure.add_axes((0.08, 0.18, 0.89, 0.66))
        self._parts = [self._ax.plot([], [], color=DREAM, lw=1)[0] for _ in range(mixtures)]
        (self._sum,) = self._ax.plot([], [], color=DREAM, lw=2.5, label="M's mixture")
        self._real = self._ax.axvline(0, color=REALITY, lw=1.5, label="real next z")
        self._ax.set(yticks=[], ylim=(0, 1.08), ylabel="density (scaled)")
        figure.legend(loc="upper center", ncols=2, fontsize=8, frameon=False)
        self._name = ""
        super().__init__(figure, [*self._parts, self._sum, self._real])

    def show(
        self,
        name: str,
        limits: tuple[float, float],
        log_pi: np.ndarray,
        mu: np.ndarray,
        log_sigma: np.ndarray,
        real: float,
    ) -> None:
        """log_pi, mu, log_sigma: (K,). limits: of the x axis. real: the encoded next value."""
        if name != self._name:
            self._name = name
            self._ax.set(xlim=limits, xlabel=name)
            self.redraw_axes()
        z = np.linspace(*limits, POINTS)
        log_sigma = np.maximum(log_sigma, np.log(z[1] - z[0]))  # narrower peaks would be missed
        log_heights = log_pi - 0.5 * ((z[:, None] - mu) / np.exp(log_sigma)) ** 2 - log_sigma
        heights = np.exp(log_heights - log_heights.max())
        total = heights.sum(1)
        for line, height in zip(self._parts, heights.T, strict=True):
            line.set_data(z, height / total.max())
        self._sum.set_data(z, total / total.max())
        self._real.set_xdata([real, real])
