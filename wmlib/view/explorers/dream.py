"""A dream and the real environment side by side, with the same actions: C's or the reader's."""

import asyncio
import math
import time
from collections import deque

import ipywidgets as widgets
import numpy as np
import torch
from matplotlib.figure import Figure

from wmlib.envs.dream import Dream
from wmlib.envs.vector import VectorEnvSpec
from wmlib.models.controller import Controller
from wmlib.models.vae import tensor_to_frames
from wmlib.models.world_model import WorldModel
from wmlib.view.explorers.keypad import Keypad
from wmlib.view.explorers.pictures import WIDE, LivePlot, captioned, image, png
from wmlib.view.figures import DREAM, REALITY, frame_grid

YOU, AGENT = "you", "the agent"
SIDEWAYS = {"left": "move left", "right": "move right"}
SHOWN = 150  # agent steps in the plot
LAST_TRACK = 2**31 - 1  # seeds of the environment, the held-out ones included
MAX_DIFFERENCE = 40  # grey levels, the plot's limit; two unrelated frames differ by about 30


class DreamExplorer:
    """A dream and a real episode that begin at the same moment and receive the same actions.

    The agent first acts for `context` agent steps in the real episode of the seed `track`. Then the
    dream begins: a `Dream` of one environment, which gets no more frames. rate: agent steps per
    second, by default real time. dream: the world model that makes the dream, with the agent's V;
    by default the agent's. reward: of an agent step, where it is known (see `Dream`). unit: of
    returns, for the labels.

    By hand, the keys of the pad act as far as the task has a meaning for them: two in Take Cover,
    whose action of one number they set to -1 or 1 at once; four in CarRacing, where steering, gas
    and brake change smoothly.

    `tick()` makes one agent step; `running.value = True` repeats it in a running event loop, as a
    notebook has. A dream that has ended does not change until `resync()`, a real episode that has
    ended not until `restart()`. Call `close()` when done.
    """

    def __init__(
        self,
        world_model: WorldModel,
        controller: Controller,
        env_spec: VectorEnvSpec,
        track: int = 0,
        context: int = 50,
        rate: float | None = None,
        dream: WorldModel | None = None,
        reward: float | None = None,
        unit: str = "points",
    ):
        self.world_model, self.controller, self.context = world_model, controller, context
        self._dreaming = world_model if dream is None else dream  # makes the dream
        self._reward, self._unit = reward, unit
        self._env = env_spec.at_pace(world_model).make_one()
        steps_per_second = self._env.metadata["render_fps"] / world_model.mdn_rnn.repeat
        self.rate = steps_per_second if rate is None else rate
        self._action_size = world_model.mdn_rnn.action_size
        self._times: deque[float] = deque(maxlen=25)
        self._task: asyncio.Task | None = None

        self.running = widgets.ToggleButton(False, description="run", icon="play")
        self.policy = widgets.ToggleButtons(options=[AGENT, YOU], description="policy")
        self.keypad = Keypad() if self._action_size == 3 else Keypad(meanings=SIDEWAYS)
        self.temperature = widgets.FloatSlider(
            1, min=0, max=2, step=0.05, description="temperature", style=WIDE
        )
        self.track = widgets.BoundedIntText(
            track, min=0, max=LAST_TRACK, description="track", style=WIDE
        )
        self.resync_button = widgets.Button(
            description="resync", tooltip="begin a new dream at the real environment's state"
        )
        self.restart_button = widgets.Button(
            description="restart", tooltip="begin this track again"
        )
        self.dreamt, self.real = image(), image()
        self.dream_label, self.real_label, self.status = (widgets.Label() for _ in range(3))
        self._plot = _DifferencePlot(1 / self.rate)
        self.difference_plot = image(*self._plot.size)

        self.running.observe(lambda change: self._start_or_stop(), "value")
        self.keypad.observe(lambda change: self._take_over(), "held")
        self.track.observe(lambda change: self.restart(), "value")
        self.resync_button.on_click(lambda button: self.resync())
        self.restart_button.on_click(lambda button: self.restart())
        self.restart()

        buttons = widgets.HBox([self.running, self.resync_button, self.restart_button])
        controls = [buttons, self.policy, self.keypad, self.temperature, self.track, self.status]
        pictures = [captioned(self.dream_label, self.dreamt), captioned(self.real_label, self.real)]
        below = widgets.HBox([widgets.VBox(controls), self.difference_plot])
        self.widget = widgets.VBox([widgets.HBox(pictures), below])

    def restart(self) -> None:
        """Begin the track again: the agent acts for `context` steps, then the dream begins."""
        self._frame, _ = self._env.reset(seed=self.track.value)
        self._env_over = False
        self._agent_state = self.world_model.begin(self._frame[None])
        self._dream_state = self._dreaming.begin(self._frame[None])
        self.action = np.zeros(self._action_size, np.float32)
        for _ in range(self.context):
            features = self.world_model.features(self._agent_state)
            self._step_env(self.controller(features)[0].numpy())
        self.resync()

    def resync(self) -> None:
        """Begin a new dream at the real environment's present state; both returns become 0."""
        agent = self.world_model, self._agent_state
        self._dream = Dream(
            self._dreaming,
            self._dream_state,
            num_envs=1,
            max_steps=math.inf,
            agent=agent,
            reward=self._reward,
        )
        self._features, _ = self._dream.reset(seed=0)
        self._dream_over = False
        self._return = self._dream_return = 0.0
        self._differences: list[float] = []
        self._show()

    def tick(self) -> None:
        """One agent step: the same action in the dream and in the real environment."""
        if self.policy.value == AGENT:
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
        held = self.keypad.held
        sideways = ("right" in held) - ("left" in held)
        if self._action_size == 1:
            return np.array([sideways], np.float32)
        # Keys are either up or down. So that steering, gas and brake change smoothly, each goes a
        # third of the way to its target per agent step.
        target = np.array([sideways, "up" in held, 0.8 * ("down" in held)], np.float32)
        return self.action + (target - self.action) / 3

    def _take_over(self) -> None:
        if self.keypad.held:
            self.policy.value = YOU

    def _step_env(self, action: np.ndarray) -> float:
        # One step of the real environment, observed by both models; returns its reward.
        if self._env_over:
            return 0.0
        self._frame, reward, terminated, truncated, _ = self._env.step(action)
        self._env_over = terminated or truncated
        actions, rewards = torch.from_numpy(action)[None], torch.tensor([float(reward)])
        frame = self._frame[None]
        self._agent_state = self.world_model.observe(self._agent_state, actions, frame, rewards)
        # Both have the same V: the frame is encoded once.
        h, c = self._dreaming.remember(self._dream_state, actions)
        self._dream_state = self._agent_state._replace(h=h, c=c)
        return float(reward)

    def _show(self) -> None:
        z_size = self.world_model.vae.z_size
        dreamt_z = torch.from_numpy(self._features[:, :z_size])
        z = torch.cat([dreamt_z, self._agent_state.z])
        dreamt, real = tensor_to_frames(self.world_model.decode(z))
        self._differences.append(float(np.abs(dreamt.astype(int) - real).mean()))
        self.frames = dreamt, self._frame
        self.dreamt.value, self.real.value = map(png, self.frames)
        over = {True: " (over)", False: ""}
        self.dream_label.value = (
            f"dream: {self._dream_return:.0f} {self._unit}{over[self._dream_over]}"
        )
        self.real_label.value = f"real: {self._return:.0f} {self._unit}{over[self._env_over]}"
        self._plot.show(self._differences[-SHOWN:])
        self.difference_plot.value = self._plot.png()

    @property
    def difference(self) -> float:
        """Mean absolute difference of the dream's frame and the real frame's reconstruction.

        In grey levels, 0 to 255: both frames are decoded by V.
        """
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
                # Delays are not caught up with, and the loop always yields, so that keys are read.
                due = max(due + 1 / self.rate, time.monotonic() + 0.001)
                await asyncio.sleep(due - time.monotonic())
        except Exception as error:  # the task is not awaited: show the error in the widget
            self.status.value = f"stopped: {error!r}"
            raise

    def close(self) -> None:
        """Stop running, and close the environment."""
        self.running.value = False
        self._env.close()

    def contact_sheet(self, steps: int = 80, columns: int = 9) -> Figure:
        """The agent acts for `steps` steps after a restart: the dream above, the real frames below.

        A column's title is the number of agent steps since the dream began. Then restarts again.
        """
        self.restart()
        self.policy.value = AGENT
        pairs = [self.frames]
        for _ in range(steps):
            self.tick()
            pairs.append(self.frames)
        shown = np.linspace(0, steps, columns).astype(int)
        dreamt, real = (np.stack(frames)[shown] for frames in zip(*pairs, strict=True))
        names = (self.dream_label.value, self.real_label.value)
        self.restart()
        rows = dict(zip(names, (dreamt, real), strict=True))
        colors = dict(zip(names, (DREAM, REALITY), strict=True))
        return frame_grid(rows, [f"+{t}" for t in shown], colors)


class _DifferencePlot(LivePlot):
    """The difference of the dream's and the real frames over the last agent steps."""

    def __init__(self, seconds_per_step: float):
        figure = Figure(figsize=(4.4, 2.2), dpi=80)
        ax = figure.add_axes((0.14, 0.24, 0.83, 0.7))
        span = SHOWN * seconds_per_step
        ax.set(
            xlim=(0, span),
            ylim=(0, MAX_DIFFERENCE),
            xlabel="seconds",
            ylabel="difference (grey levels)",
        )
        self._seconds = np.arange(SHOWN) * seconds_per_step
        (self._line,) = ax.plot([], [], color="black", lw=1.5)
        super().__init__(figure, [self._line])

    def show(self, differences: list[float]) -> None:
        """differences: at most SHOWN of them, in grey levels, oldest first."""
        self._line.set_data(
            self._seconds[: len(differences)], np.minimum(differences, MAX_DIFFERENCE)
        )
