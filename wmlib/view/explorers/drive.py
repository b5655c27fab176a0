"""Drive inside M's dream, by hand, beside the real CarRacing with the same actions."""

import asyncio
import time
from collections import deque

import ipywidgets as widgets
import numpy as np
import torch
from matplotlib.figure import Figure

from wmlib.envs.vector import World
from wmlib.models.controller import Controller
from wmlib.models.vae import tensor_to_frames
from wmlib.models.world_model import State, WorldModel
from wmlib.view.explorers.keypad import Keypad
from wmlib.view.explorers.pictures import WIDE, LivePlot, captioned, image, png
from wmlib.view.figures import DREAM, REALITY, frame_grid

YOU, AGENT = "you", "the agent"
SHOWN = 150  # looks of divergence on the plot
LOST = 40  # grey levels: the plot's end; two unlike moments differ by about 30


class DreamDrive:
    """A dream and a drive that began at the same moment, and whoever holds the wheel of both.

    The agent first drives `seen` looks on the real `track`. Then the eyes close: from there on the
    dream's pictures are M's alone, while the real car gets the same actions, and M never hears of
    it. `rate` looks a second, as many as real time has by default. dream: the world model that
    makes the dream, where it is not the agent's own.

    `tick()` is one look; `running.value = True` calls it again and again, in a notebook.
    """

    def __init__(
        self,
        world_model: WorldModel,
        controller: Controller,
        world: World,
        track: int = 0,
        seen: int = 50,
        rate: float | None = None,
        dream: WorldModel | None = None,
    ):
        self.world_model, self.controller, self.seen = world_model, controller, seen
        # The first knows what C reads, the last makes the dream.
        self._minds = (world_model,) if dream is None else (world_model, dream)
        repeat = world_model.mdn_rnn.repeat
        self.rate = 50 / repeat if rate is None else rate
        self._road = world.at_pace(world_model).make_one()
        self._times: deque[float] = deque(maxlen=25)
        self._task: asyncio.Task | None = None

        self.running = widgets.ToggleButton(False, description="drive", icon="play")
        self.who = widgets.ToggleButtons(options=[AGENT, YOU], description="at the wheel")
        self.keypad = Keypad()
        self.temperature = widgets.FloatSlider(
            1, min=0, max=2, step=0.05, description="temperature", style=WIDE
        )
        self.track = widgets.BoundedIntText(
            track, min=0, max=999_999, description="track", style=WIDE
        )
        self.wake_button = widgets.Button(description="wake up", tooltip="dream on from reality")
        self.restart_button = widgets.Button(description="restart", tooltip="this track anew")
        self.dreamt, self.real = image(), image()
        self.dream_told, self.real_told, self.status = (widgets.Label() for _ in range(3))
        self._plot = _Divergence(1 / self.rate)
        self.divergence = image(*self._plot.size)

        self.running.observe(lambda change: self._start_or_stop(), "value")
        self.keypad.observe(lambda change: self._take_over(), "held")
        self.track.observe(lambda change: self.restart(), "value")
        self.wake_button.on_click(lambda button: self.wake_up())
        self.restart_button.on_click(lambda button: self.restart())
        self.restart()

        buttons = widgets.HBox([self.running, self.wake_button, self.restart_button])
        controls = [buttons, self.who, self.keypad, self.temperature, self.track, self.status]
        pictures = [captioned(self.dream_told, self.dreamt), captioned(self.real_told, self.real)]
        below = widgets.HBox([widgets.VBox(controls), self.divergence])
        self.widget = widgets.VBox([widgets.HBox(pictures), below])

    def restart(self) -> None:
        """The track from its beginning: the agent drives `seen` looks, then the dream begins."""
        self._frame, _ = self._road.reset(seed=self.track.value)
        self._over = False
        self._awake = [mind.begin(self._frame[None]) for mind in self._minds]
        self.action = np.zeros(3, np.float32)
        for _ in range(self.seen):
            self._drive_on(self.controller(self._awake[0].features)[0].numpy())
        self.wake_up()

    def wake_up(self) -> None:
        """Let the dream begin anew, from what is real now."""
        self._asleep = [State(*(part.clone() for part in state)) for state in self._awake]
        self._earned = self._dreamt_of = 0.0
        self._luck = torch.Generator().manual_seed(0)
        self._apart: list[float] = []
        self._show()

    def tick(self) -> None:
        """One look: one action, for both."""
        if self.who.value == AGENT:
            self.action = self.controller(self._asleep[0].features)[0].numpy()
        else:
            self.action = self._by_hand()
        action, tau = torch.from_numpy(self.action)[None], self.temperature.value
        dreamt, prediction = self._minds[-1].imagine(self._asleep[-1], action, tau, self._luck)
        own = [
            State(dreamt.z[:, : mind.mdn_rnn.z_size], *mind.remember(state, action))
            for mind, state in zip(self._minds[:-1], self._asleep, strict=False)
        ]
        self._asleep = [*own, dreamt]
        self._dreamt_of += prediction.reward.item()
        self._earned += self._drive_on(self.action)
        self._show()

    def _by_hand(self) -> np.ndarray:
        # A key is down or up, a wheel is not: it turns a third of the way with every look.
        held = self.keypad.held
        wanted = np.array(
            [("right" in held) - ("left" in held), "up" in held, 0.8 * ("down" in held)], np.float32
        )
        return self.action + (wanted - self.action) / 3

    def _take_over(self) -> None:
        if self.keypad.held:
            self.who.value = YOU

    def _drive_on(self, action: np.ndarray) -> float:
        if self._over:
            return 0.0
        self._frame, reward, terminated, truncated, _ = self._road.step(action)
        self._over = terminated or truncated
        action, earned = torch.from_numpy(action)[None], torch.tensor([reward])
        z = self.world_model.encode(self._frame[None])  # once: both minds see with the same V
        self._awake = [
            State(mind.moment(z, earned), *mind.remember(state, action))
            for mind, state in zip(self._minds, self._awake, strict=True)
        ]
        return float(reward)

    def _show(self) -> None:
        z = torch.cat([self._asleep[0].z, self._awake[0].z])
        dreamt, seen = tensor_to_frames(self.world_model.decode(z))
        self._apart.append(float(np.abs(dreamt.astype(int) - seen).mean()))
        self.frames = dreamt, self._frame
        self.dreamt.value, self.real.value = map(png, self.frames)
        self.dream_told.value = f"M dreams: {self._dreamt_of:.0f} points"
        over = " (over)" if self._over else ""
        self.real_told.value = f"what really happens: {self._earned:.0f} points{over}"
        self._plot.show(self._apart[-SHOWN:])
        self.divergence.value = self._plot.png()

    @property
    def apart(self) -> float:
        """How much the dream's picture differs from V's of the real one: mean grey levels."""
        return self._apart[-1]

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
                    self.status.value = f"{(len(self._times) - 1) / passed:.0f} looks a second"
                # Whoever is late does not hurry afterwards; and there is always time for a key.
                due = max(due + 1 / self.rate, time.monotonic() + 0.001)
                await asyncio.sleep(due - time.monotonic())
        except Exception as error:  # nobody awaits this task: say it where the driver looks
            self.status.value = f"stopped: {error!r}"
            raise

    def close(self) -> None:
        """Stop, and give the environment back."""
        self.running.value = False
        self._road.close()

    def contact_sheet(self, looks: int = 80, columns: int = 9) -> Figure:
        """The agent at the wheel from the beginning: dream above, reality below."""
        self.restart()
        self.who.value = AGENT
        pairs = [self.frames]
        for _ in range(looks):
            self.tick()
            pairs.append(self.frames)
        shown = np.linspace(0, looks, columns).astype(int)
        dreamt, real = (np.stack(frames)[shown] for frames in zip(*pairs, strict=True))
        names = (
            f"M dreams:\n{self._dreamt_of:.0f} points",
            f"what happens:\n{self._earned:.0f} points",
        )
        self.restart()
        rows = dict(zip(names, (dreamt, real), strict=True))
        colors = dict(zip(names, (DREAM, REALITY), strict=True))
        return frame_grid(rows, [f"+{t}" for t in shown], colors)


class _Divergence(LivePlot):
    """The last looks' distance between dream and reality."""

    def __init__(self, seconds_per_look: float):
        figure = Figure(figsize=(4.4, 2.2), dpi=80, layout="none")
        ax = figure.add_axes((0.14, 0.24, 0.83, 0.7))
        span = SHOWN * seconds_per_look
        ax.set(xlim=(0, span), ylim=(0, LOST), xlabel="seconds", ylabel="apart (grey levels)")
        self._seconds = np.arange(SHOWN) * seconds_per_look
        (self._line,) = ax.plot([], [], color="black", lw=1.5)
        super().__init__(figure, [self._line])

    def show(self, apart: list[float]) -> None:
        self._line.set_data(self._seconds[: len(apart)], np.minimum(apart, LOST))
