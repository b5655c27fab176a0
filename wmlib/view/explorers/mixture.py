"""M's forecast at any moment of an episode: its Gaussians, their meaning, samples of the future."""

import math

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
STRIP = 104  # pixels: height of a row of small frames


class MixtureExplorer:
    """A recorded episode, and M's forecast at every moment of it.

    frames (T + 1, S, S, 3) uint8, actions (T, A), and rewards (T,) for an M that reads them. Choose
    among the `dimensions` latent dimensions with the largest KL divergence. From the moment that is
    chosen, `dreams` samples of M go on with the episode's own actions, up to `horizon` agent steps.
    No moment before agent step `first` can be chosen: M's memory has to fill first. Raises
    ValueError if the episode is no longer than both together.
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
        self.again_button = widgets.Button(description="again", tooltip="the next random seed")
        self._seed = 0

        mixtures = world_model.mdn_rnn.mixtures
        self._plot = _Density(mixtures)
        width = round(STRIP * 1.03)
        self.density = image(*self._plot.size)
        self.meanings = image(mixtures * width, STRIP)
        self.happened = image(STRIP, STRIP)
        self.dreamt = image(dreams * width, STRIP)
        self.weights, self.ahead = widgets.Label(), widgets.Label()

        for control in (self.moment, self.temperature):
            control.observe(lambda change: self._draw(), "value")
        self.dimension.observe(lambda change: self._draw_forecast(), "value")
        self.horizon.observe(lambda change: self._draw_dreams(), "value")
        self.again_button.on_click(lambda button: self.again())
        self._draw()

        sliders = [self.moment, self.dimension, self.temperature, self.horizon, self.again_button]
        dreams_row = widgets.HBox([self.happened, self.dreamt])
        right = widgets.VBox(
            [captioned(self.weights, self.meanings), captioned(self.ahead, dreams_row)]
        )
        self.widget = widgets.HBox([widgets.VBox(sliders), self.density, right])

    def again(self) -> None:
        """The same moment with the next random seed."""
        self._seed += 1
        self._draw()

    @property
    def forecast(self) -> Prediction:
        """M's forecast of the next step at the temperature that is set: entries (D, mixtures)."""
        t, tau = self.moment.value, self.temperature.value
        action = self.actions[t : t + 1]
        _, prediction = self.world_model.imagine(self.states[t], action, 0)
        prediction = Prediction(*(part[0, 0] for part in prediction))
        tau = max(tau, 1e-6)  # at 0 only the likeliest Gaussian's mean is left
        return prediction._replace(
            logits=prediction.logits / tau, log_sigma=prediction.log_sigma + 0.5 * math.log(tau)
        )

    def dream(self, steps: int, temperature: float | None = None) -> torch.Tensor:
        """z (dreams, z_size), `steps` agent steps after the moment; temperature: None is as set."""
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
        frames = self._frames(torch.cat([self._draw_density(), self._dreams_ahead()]))
        self._show_meanings(frames[: -self.dreams])
        self._show_dreams(frames[-self.dreams :])

    def _draw_forecast(self) -> None:
        self._show_meanings(self._frames(self._draw_density()))

    def _draw_dreams(self) -> None:
        self._show_dreams(self._frames(self._dreams_ahead()))

    def _draw_density(self) -> torch.Tensor:
        # Also returns z (mixtures, z_size) with the Gaussians' means, the heaviest first.
        d, forecast = self.dimension.value, self.forecast
        parts = [part[d].numpy() for part in (forecast.log_pi, forecast.mu, forecast.log_sigma)]
        real = self.states[self.moment.value + 1].z[0, d].item()
        self._plot.show(f"z[{d}]", self._low[d].item(), self._high[d].item(), *parts, real)
        self.density.value = self._plot.png()
        heaviest_first = parts[0].argsort()[::-1].copy()
        shares = " ".join(f"{share:.0%}" for share in np.exp(parts[0][heaviest_first]))
        self.weights.value = f"the next frame, if z[{d}] is where each Gaussian has it ({shares})"
        mean = mixture_mean(Prediction(*(part[None, None] for part in forecast)))[0]
        z, _ = self.world_model.mdn_rnn.split(mean)
        z = z.repeat(len(heaviest_first), 1)
        z[:, d] = forecast.mu[d, heaviest_first]
        return z

    def _dreams_ahead(self) -> torch.Tensor:
        return self.dream(self.horizon.value)

    def _show_meanings(self, frames: np.ndarray) -> None:
        self.meanings.value = png(row_of(frames), STRIP)

    def _show_dreams(self, frames: np.ndarray) -> None:
        steps = self.horizon.value
        self.ahead.value = f"{steps} agent steps ahead: what happened, and {self.dreams} dreams"
        self.happened.value = png(self.frames[self.moment.value + steps], STRIP)
        self.dreamt.value = png(row_of(frames), STRIP)

    @torch.no_grad()
    def _frames(self, z: torch.Tensor) -> np.ndarray:
        # For speed: 16-bit floats are off by less than a grey level.
        with half_precision(z.device):
            return tensor_to_frames(self.world_model.decode(z).float())

    def contact_sheet(self, temperatures=(0.1, 0.5, 1.0, 2.0), columns: int = 8) -> Figure:
        """From the moment that is set: a row for each temperature, one dream each."""
        steps = np.linspace(1, self.horizon.max, columns).astype(int)
        rows = {"what happened": self.frames[self.moment.value + steps]}
        for tau in temperatures:
            z = torch.stack([self.dream(k, tau)[0] for k in steps])
            rows[f"τ = {tau:g}"] = tensor_to_frames(self.world_model.decode(z))
        colors = dict.fromkeys(rows, DREAM) | {"what happened": REALITY}
        return frame_grid(rows, [f"+{k}" for k in steps], colors)


def _observed(
    world_model: WorldModel,
    frames: np.ndarray,
    actions: torch.Tensor,
    rewards: np.ndarray | None,
) -> list[State]:
    states = [world_model.begin(frames[:1])]
    for t in range(len(actions)):
        reward = None if rewards is None else torch.as_tensor(rewards[t : t + 1])
        step = actions[t : t + 1], frames[t + 1 : t + 2], reward
        states.append(world_model.observe(states[-1], *step))
    return states


class _Density(LivePlot):
    """The Gaussians, their sum, and the value that V encoded next."""

    def __init__(self, mixtures: int):
        figure = Figure(figsize=(4.2, 2.9), dpi=80, layout="none")
        self._ax = figure.add_axes((0.04, 0.18, 0.92, 0.66))
        self._parts = [self._ax.plot([], [], color=DREAM, lw=1)[0] for _ in range(mixtures)]
        (self._sum,) = self._ax.plot([], [], color=DREAM, lw=2.5, label="M's mixture")
        self._real = self._ax.axvline(0, color=REALITY, lw=1.5, label="next value, from V")
        self._ax.set(yticks=[], ylim=(0, 1.08))
        figure.legend(loc="upper center", ncols=2, fontsize=8, frameon=False)
        self._name = None
        super().__init__(figure, [*self._parts, self._sum, self._real])

    def show(self, name, low, high, log_pi, mu, log_sigma, real) -> None:
        if name != self._name:
            self._name = name
            self._ax.set(xlim=(low, high), xlabel=name)
            self.new_axes()
        z = np.linspace(low, high, POINTS)
        log_sigma = np.maximum(log_sigma, np.log(z[1] - z[0]))  # no thinner than can be drawn
        log_heights = log_pi - 0.5 * ((z[:, None] - mu) / np.exp(log_sigma)) ** 2 - log_sigma
        heights = np.exp(log_heights - log_heights.max())
        total = heights.sum(1)
        for line, height in zip(self._parts, heights.T, strict=True):
            line.set_data(z, height / total.max())
        self._sum.set_data(z, total / total.max())
        self._real.set_xdata([real, real])
