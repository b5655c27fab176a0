"""What each input of C contributes to its actions, and episodes with some inputs fixed."""

import dataclasses
from collections.abc import Mapping

import ipywidgets as widgets
import numpy as np
import torch
from matplotlib.figure import Figure

from wmlib.envs.vector import VectorEnvSpec
from wmlib.evaluation import features
from wmlib.models.controller import Controller
from wmlib.models.world_model import WorldModel
from wmlib.rollout.policies import ControllerPolicy, EpisodeSpec
from wmlib.rollout.rollout import record_episode
from wmlib.view.explorers.pictures import WIDE, LivePlot, captioned, image, png
from wmlib.view.figures import REALITY, frame_grid

ACTIONS = ("steering", "gas", "brake")
NOTHING = "nothing"


class ControllerExplorer:
    """Episodes of C on one track, and of C with a group of its inputs fixed.

    groups: {name: indices into [z, h], or a slice}; by default all of z, and all of h. They
    are fixed at their average over the episode of C with nothing fixed (`Controller.with_fixed`).
    track: the seed of the environment. The episodes, of at most `steps` agent steps, are recorded
    when the explorer is made. bars: how many single inputs are shown, those with the largest
    contributions.
    """

    def __init__(
        self,
        world_model: WorldModel,
        controller: Controller,
        env_spec: VectorEnvSpec,
        track: int,
        steps: int = 200,
        groups: Mapping[str, np.ndarray | slice] | None = None,
        bars: int = 8,
    ):
        z_size = world_model.vae.z_size
        limit = {"max_episode_steps": steps * world_model.mdn_rnn.repeat}
        env_spec = dataclasses.replace(env_spec, options=env_spec.options | limit)
        self._names = [f"z[{i}]" for i in range(z_size)]
        self._names += [f"h[{i}]" for i in range(world_model.mdn_rnn.hidden_size)]
        self._groups = {"z": slice(0, z_size), "h": slice(z_size, None)}

        self.controllers = {NOTHING: controller}
        self.episodes: dict[str, _Recording] = {}
        self._record(NOTHING, world_model, env_spec, track)
        self._average = self.episodes[NOTHING].features.mean(0)
        for name, inputs in (self._groups if groups is None else groups).items():
            self.controllers[name] = controller.with_fixed(inputs, self._average)
            self._record(name, world_model, env_spec, track)

        last = len(self.episodes[NOTHING].frames) - 2
        self.fixed = widgets.ToggleButtons(options=list(self.controllers), description="fixed")
        self.action = widgets.ToggleButtons(options=ACTIONS, description="bars for")
        self.step = widgets.IntSlider(0, 0, last, description="agent step", style=WIDE)
        self.play = widgets.Play(0, 0, last, interval=20 * world_model.mdn_rnn.repeat)
        self._link = widgets.link((self.play, "value"), (self.step, "value"))
        self.whole, self.shown = image(), image()
        self.whole_caption, self.caption = widgets.Label(), widgets.Label()
        self.whole_action, self.shown_action = widgets.Label(), widgets.Label()
        self._plot = _Bars(bars, self._largest())
        self.bars = image(*self._plot.size)
        for control in (self.fixed, self.action, self.step):
            control.observe(lambda change: self._draw(), "value")
        self._draw()

        controls = widgets.VBox([self.fixed, self.action, widgets.HBox([self.step, self.play])])
        pictures = [
            widgets.VBox([captioned(self.whole_caption, self.whole), self.whole_action]),
            widgets.VBox([captioned(self.caption, self.shown), self.shown_action]),
        ]
        self.widget = widgets.VBox([controls, widgets.HBox([*pictures, self.bars])])

    def _record(
        self, name: str, world_model: WorldModel, env_spec: VectorEnvSpec, track: int
    ) -> None:
        policy = ControllerPolicy(self.controllers[name])
        recording = record_episode(env_spec, policy, EpisodeSpec(track), world_model).recording
        frames, actions, rewards = (recording[k] for k in ("frames", "actions", "rewards"))
        inputs = features(world_model, frames, actions, rewards)
        self.episodes[name] = _Recording(frames, actions, rewards, inputs)

    def contributions(self) -> torch.Tensor:
        """What each input adds to each action before `squash`: (3, n) float32.

        Of the controller and at the agent step that are shown: weight times (input - its average
        over the episode with nothing fixed).
        """
        name = self.fixed.value
        now = self.episodes[name].features[self._at(name)]
        return self.controllers[name].weight[0] * (now - self._average)

    def _at(self, name: str) -> int:
        return min(self.step.value, len(self.episodes[name].features) - 1)

    def _largest(self) -> list[float]:
        # Of each action, the largest sum over a group at any step: limits of the plot's x axis.
        weight = self.controllers[NOTHING].weight[0]
        spread = self.episodes[NOTHING].features - self._average
        sums = [spread[:, part] @ weight[:, part].T for part in self._groups.values()]
        return torch.stack(sums).abs().amax((0, 1)).tolist()

    def _draw(self) -> None:
        name, row = self.fixed.value, ACTIONS.index(self.action.value)
        whole, fixed = self.episodes[NOTHING], self.episodes[name]
        self.whole.value = png(whole.frames[self._at(NOTHING)])
        self.shown.value = png(fixed.frames[self._at(name)])
        self.whole_caption.value, self.caption.value = map(self._describe, (NOTHING, name))
        self.whole_action.value = _action_text(whole.actions[self._at(NOTHING)])
        self.shown_action.value = _action_text(fixed.actions[self._at(name)])
        added = self.contributions()[row]
        bars = {f"all of {group}": added[part].sum() for group, part in self._groups.items()}
        for i in added.abs().argsort(descending=True)[: self._plot.count].tolist():
            bars[self._names[i]] = added[i]
        self._plot.show(bars, ACTIONS[row])
        self.bars.value = self._plot.png()

    def _describe(self, name: str) -> str:
        episode, t = self.episodes[name], self._at(name)
        over = " (over)" if self.step.value >= len(episode.features) else ""
        return f"{name} fixed: return {episode.rewards[: t + 1].sum():.0f} so far{over}"

    def contact_sheet(self, columns: int = 8) -> Figure:
        """One row per controller: frames at the same agent steps, and the episode's return."""
        shown = np.linspace(0, self.step.max + 1, columns + 1)[1:].astype(int)
        rows = {
            f"{name} fixed:\nreturn {episode.rewards.sum():.0f}": episode.frames[
                np.minimum(shown, len(episode.frames) - 1)
            ]
            for name, episode in self.episodes.items()
        }
        return frame_grid(rows, [f"agent step {t}" for t in shown])


@dataclasses.dataclass
class _Recording:
    """frames (T + 1, S, S, 3) uint8, actions (T, 3), rewards (T,), features (T, n)."""

    frames: np.ndarray
    actions: np.ndarray
    rewards: np.ndarray
    features: torch.Tensor


def _action_text(action: np.ndarray) -> str:
    return " ".join(f"{name} {value:.1f}" for name, value in zip(ACTIONS, action, strict=True))


class _Bars(LivePlot):
    """Contributions to one action as bars: all of z, all of h, and the largest single inputs.

    limits: of the x axis, for each action.
    """

    def __init__(self, count: int, limits: list[float]):
        self.count, rows = count, count + 2
        figure = Figure(figsize=(3.6, 3.2), dpi=80)
        ax = figure.add_axes((0.2, 0.17, 0.76, 0.8))
        self._ax, self._limits = ax, dict(zip(ACTIONS, limits, strict=True))
        ax.set(ylim=(rows - 0.4, -0.6), yticks=[])
        ax.axvline(0, color="black", lw=0.8)
        ax.axhline(1.5, color="black", lw=0.4)
        self._bars = ax.barh(range(rows), np.zeros(rows), color=["black"] * 2 + [REALITY] * count)
        self._labels = [
            ax.text(-0.02, y, "", transform=ax.get_yaxis_transform(), ha="right", va="center")
            for y in range(rows)
        ]
        self._action = ""
        super().__init__(figure, [*self._bars, *self._labels])

    def show(self, bars: Mapping[str, torch.Tensor], action: str) -> None:
        """bars: {label: contribution, a scalar}, from the top."""
        if action != self._action:
            self._action = action
            left, right = ("left", "right") if action == "steering" else ("less", "more")
            self._ax.set_xlabel(f"{left} ← {action}, before squashing → {right}", fontsize=9)
            self._ax.set_xlim(-self._limits[action], self._limits[action])
            self.redraw_axes()
        for bar, label, (name, value) in zip(self._bars, self._labels, bars.items(), strict=True):
            bar.set_width(float(value))
            label.set_text(name)
