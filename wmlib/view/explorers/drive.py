"""Act in M's dream, by hand or with C, beside the real CarRacing with the same actions."""

import asyncio
import math
import time
from collections import deque

import ipywidgets as widgets
import numpy as np
import torch
from matplotlib.figure import Figure

from wmlib.envs.dream import Dream
from wmlib.envs.vector import World
from wmlib.models.controller import Controller
from wmlib.models.vae import tensor_to_frames
from wmlib.models.world_model import WorldModel
from wmlib.view.explorers.keypad import Keypad
from wmlib.view.explorers.pictures import WIDE, LivePlot, captioned, image, png
from wmlib.view.figures import DREAM, REALITY, frame_grid

YOU, AGENT = "you", "the agent"
SHOWN = 150  # agent steps on the plot
LOST = 40  # grey levels: the plot's limit; two unrelated moments differ by about 30


class DreamDrive:
    """A dream and a real episode that begin at the same moment and get the same actions.

    The agent first acts for `context` steps on the real `track`. Then the dream begins: a `Dream`
    of one environment, which gets no frame any more. rate: agent steps per second, by default real
    time. dream: the world model that makes the dream, with the agent's V; by default the agent's.

    `tick()` makes one agent step; `running.value = True` calls it repeatedly, in a notebook. A
    dream or an episode that is over stands still until `resync()` or `restart()`.
    """

    def __init__(
        self,
        world_model: WorldModel,
        controller: Controller,
        world: World,
        track: int = 0,
        context: int = 50,
        rate: float | None = None,
        dream: WorldModel | None = None,
    ):
        self.world_model, self.controller, self.context = world_model, controller, context
        # The first computes what C reads, the last makes the dream.
        self._models = (world_model,) if dream is None else (world_model, dream)
        repeat = world_model.mdn_rnn.repeat
        self.rate = 50 / repeat if rate is None else rate
        self._env = world.at_pace(world_model).make_one()
        self._times: deque[float] = deque(maxlen=25)
        self._task: asyncio.Task | None = None

        self.running = widgets.ToggleButton(False, description="drive", icon="play")
        self.who = widgets.ToggleButtons(options=[AGENT, YOU], description="policy")
        self.keypad = Keypad()
        self.temperature = widgets.FloatSlider(
            1, min=0, max=2, step=0.05, description="temperature", style=WIDE
        )
        self.track = widgets.BoundedIntText(
            track, min=0, max=999_999, description="track", style=WIDE
        )
        self.resync_button = widgets.Button(
            description="resync", tooltip="a new dream from the real moment"
        )
        self.restart_button = widgets.Button(
            description="restart", tooltip="this track from its start"
        )
        self.dreamt, self.real = image(), image()
        self.dream_label, self.real_label, self.status = (widgets.Label() for _ in range(3))
        self._plot = _Divergence(1 / self.rate)
        self.divergence = image(*self._plot.size)

        self.running.observe(lambda change: self._start_or_stop(), "value")
        self.keypad.observe(lambda change: self._take_over(), "held")
        self.track.observe(lambda change: self.restart(), "value")
        self.resync_button.on_click(lambda button: self.resync())
        self.restart_button.on_click(lambda button: self.restart())
        self.restart()

        buttons = widgets.HBox([self.running, self.resync_button, self.restart_button])
        controls = [buttons, self.who, self.keypad, self.temperature, self.track, self.status]
        pictures = [captioned(self.dream_label, self.dreamt), captioned(self.real_label, self.real)]
        below = widgets.HBox([widgets.VBox(controls), self.divergence])
        self.widget = widgets.VBox([widgets.HBox(pictures), below])

    def restart(self) -> None:
        """The track from its start: the agent acts for `context` steps, then the dream begins."""
        self._frame, _ = self._env.reset(seed=self.track.value)
        self._env_over = False
        self._observed = [model.begin(self._frame[None]) for model in self._models]
        self.action = np.zeros(3, np.float32)
        for _ in range(self.context):
            self._step_env(self.controller(self._observed[0].features)[0].numpy())
        self.resync()

    def resync(self) -> None:
        """Let a new dream begin at the real environment's present moment."""
        agent, model = self._models[0], self._models[-1]
        known, start = self._observed[0], self._observed[-1]
        self._dream = Dream(
            model, start, 1, math.inf, agent=None if model is agent else (agent, known)
        )
        self._features, _ = self._dream.reset(seed=0)
        self._dream_over = False
        self._return = self._dream_return = 0.0
        self._differences: list[float] = []
        self._show()

    def tick(self) -> None:
        """One agent step: the same action in the dream and in the real environment."""
        if self.who.value == AGENT:
            self.action = self.controller(torch.from_numpy(self._features))[0].numpy()
        else:
            self.action = self._by_hand()
        if not self._dream_over:
            self._dream.temperature = self.temperature.value
            self._features, rewards, terminated, _, _ = self._dream.step(self.action[None])
            self._dream_return += float(rewards[0])
            self._dream_over = bool(terminated[0])
        self._return += self._step_env(self.action)
        self._show()

    def _by_hand(self) -> np.ndarray:
        # A key is down or up, a wheel is not: it turns a third of the way with every agent step.
        held = self.keypad.held
        wanted = np.array(
            [("right" in held) - ("left" in held), "up" in held, 0.8 * ("down" in held)], np.float32
        )
        return self.action + (wanted - self.action) / 3

    def _take_over(self) -> None:
        if self.keypad.held:
            self.who.value = YOU

    def _step_env(self, action: np.ndarray) -> float:
        # One step of the real environment, observed by all models; returns its reward in points.
        if self._env_over:
            return 0.0
        self._frame, reward, terminated, truncated, _ = self._env.step(action)
        self._env_over = terminated or truncated
        taken, rewards = torch.from_numpy(action)[None], torch.tensor([float(reward)])
        first, *others = zip(self._models, self._observed, strict=True)
        seen = first[0].observe(first[1], taken, self._frame[None], rewards)
        self._observed = [seen]
        for model, state in others:  # the frame is encoded once: all models have the same V
            h, c = model.remember(state, taken)
            self._observed.append(seen._replace(h=h, c=c))
        return float(reward)

    def _show(self) -> None:
        z_size = self.world_model.vae.z_size
        dreamt_z = torch.from_numpy(self._features[:, :z_size])
        z = torch.cat([dreamt_z, self._observed[0].z])
        dreamt, real = tensor_to_frames(self.world_model.decode(z))
        self._differences.append(float(np.abs(dreamt.astype(int) - real).mean()))
        self.frames = dreamt, self._frame
        self.dreamt.value, self.real.value = map(png, self.frames)
        over = {True: " (over)", False: ""}
        self.dream_label.value = (
            f"M dreams: {self._dream_return:.0f} points" + over[self._dream_over]
        )
        self.real_label.value = f"real: {self._return:.0f} points" + over[self._env_over]
        self._plot.show(self._differences[-SHOWN:])
        self.divergence.value = self._plot.png()

    @property
    def difference(self) -> float:
        """Mean absolute difference, in grey levels, of the dream's frame and V's reconstruction."""
        return self._differences[-1]

    def _start_or_stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            self._task = None
        if self.running.value:
            self._task = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        due = time.monotonic()
        try:
            while True:
                self.tick()
                self._times.append(time.monotonic())
                passed = self._times[-1] - self._times[0]
                if passed:
                    self.status.value = (
                        f"{(len(self._times) - 1) / passed:.0f} agent steps per second"
                    )
                # Lost time is not made up for; and there is always time for a key.
                due = max(due + 1 / self.rate, time.monotonic() + 0.001)
                await asyncio.sleep(due - time.monotonic())
        except Exception as error:  # nobody awaits this task: show it in the widget
            self.status.value = f"stopped: {error!r}"
            raise

    def close(self) -> None:
        """Stop, and give the environment back."""
        self.running.value = False
        self._env.close()

    def contact_sheet(self, steps: int = 80, columns: int = 9) -> Figure:
        """The agent acts for some steps from the start: the dream above, the real episode below."""
        self.restart()
        self.who.value = AGENT
        pairs = [self.frames]
        for _ in range(steps):
            self.tick()
            pairs.append(self.frames)
        shown = np.linspace(0, steps, columns).astype(int)
        dreamt, real = (np.stack(frames)[shown] for frames in zip(*pairs, strict=True))
        names = (f"M dreams:\n{self._dream_return:.0f} points", f"real:\n{self._return:.0f} points")
        self.restart()
        rows = dict(zip(names, (dreamt, real), strict=True))
        colors = dict(zip(names, (DREAM, REALITY), strict=True))
        return frame_grid(rows, [f"+{t}" for t in shown], colors)


class _Divergence(LivePlot):
    """The difference between dream and real episode over the last agent steps."""

    def __init__(self, seconds_per_step: float):
        figure = Figure(figsize=(4.4, 2.2), dpi=80, layout="none")
        ax = figure.add_axes((0.14, 0.24, 0.83, 0.7))
        span = SHOWN * seconds_per_step
        ax.set(xlim=(0, span), ylim=(0, LOST), xlabel="seconds", ylabel="difference (grey levels)")
        self._seconds = np.arange(SHOWN) * seconds_per_step
        (self._line,) = ax.plot([], [], color="black", lw=1.5)
        super().__init__(figure, [self._line])

    def show(self, differences: list[float]) -> None:
        self._line.set_data(self._seconds[: len(differences)], np.minimum(differences, LOST))
