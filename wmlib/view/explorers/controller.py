"""C opened up: what each of its inputs pushes, and how it drives without some of them."""

import dataclasses
from collections.abc import Mapping

import ipywidgets as widgets
import numpy as np
import torch
from matplotlib.figure import Figure

from wmlib.envs.vector import World
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
    """The same track driven by C, and by C with a group of its inputs cut.

    groups: name -> which of [z, h] (indices or a slice); by default all of z, and all of h. Cut
    inputs stay at their average over C's own drive (`Controller.without`). The drives, of at most
    `looks` looks, are driven once, at the start; then every control answers at once.
    """

    def __init__(
        self,
        world_model: WorldModel,
        controller: Controller,
        world: World,
        track: int,
        looks: int = 200,
        groups: Mapping[str, np.ndarray | slice] | None = None,
        pushes: int = 8,
    ):
        z_size = world_model.vae.z_size
        steps = looks * world_model.mdn_rnn.repeat
        world = dataclasses.replace(world, options=world.options | {"max_episode_steps": steps})
        self._names = [f"z[{i}]" for i in range(z_size)]
        self._names += [f"h[{i}]" for i in range(world_model.mdn_rnn.hidden_size)]
        self._groups = {"z": slice(0, z_size), "h": slice(z_size, None)}

        self.drivers, self.drives = {NOTHING: controller}, {}
        self._drive(NOTHING, world_model, world, track)
        self._average = self.drives[NOTHING].features.mean(0)
        for name, inputs in (self._groups if groups is None else groups).items():
            self.drivers[name] = controller.without(inputs, self._average)
            self._drive(name, world_model, world, track)

        last = len(self.drives[NOTHING].frames) - 2
        self.cut = widgets.ToggleButtons(options=list(self.drivers), description="cut")
        self.action = widgets.ToggleButtons(options=ACTIONS, description="pushes on")
        self.look = widgets.IntSlider(0, 0, last, description="look", style=WIDE)
        self.play = widgets.Play(0, 0, last, interval=20 * world_model.mdn_rnn.repeat)
        self._link = widgets.link((self.play, "value"), (self.look, "value"))
        self.whole, self.shown = image(), image()
        self.told, self.whole_does, self.shown_does = (widgets.Label() for _ in range(3))
        self._plot = _Pushes(pushes, self._largest())
        self.pushes = image(*self._plot.size)
        for control in (self.cut, self.action, self.look):
            control.observe(lambda change: self._draw(), "value")
        self._draw()

        controls = widgets.VBox([self.cut, self.action, widgets.HBox([self.look, self.play])])
        pictures = [
            widgets.VBox([captioned("nothing cut", self.whole), self.whole_does]),
            widgets.VBox([captioned(self.told, self.shown), self.shown_does]),
        ]
        self.widget = widgets.VBox([controls, widgets.HBox([*pictures, self.pushes])])

    def _drive(self, name: str, world_model: WorldModel, world: World, track: int) -> None:
        driver = ControllerPolicy(self.drivers[name])
        drive = record_episode(world, driver, EpisodeSpec(track), world_model)
        frames, actions = drive.recording["frames"], drive.recording["actions"]
        known = features(world_model, frames, actions)
        self.drives[name] = _Watched(frames, actions, drive.recording["rewards"], known)

    def contributions(self) -> torch.Tensor:
        """What every input of the shown driver adds to every action, before squashing: (3, n).

        At this look, as a difference from its average over the whole driver's drive.
        """
        name = self.cut.value
        now = self.drives[name].features[self._at(name)]
        return self.drivers[name].weight[0] * (now - self._average)

    def _at(self, name: str) -> int:
        return min(self.look.value, len(self.drives[name].features) - 1)

    def _largest(self) -> list[float]:
        # Sum at any look, for each action: the plot's scale, which must not jump about.
        weight = self.drivers[NOTHING].weight[0]
        spread = self.drives[NOTHING].features - self._average
        sums = [spread[:, part] @ weight[:, part].T for part in self._groups.values()]
        return torch.stack(sums).abs().amax((0, 1)).tolist()

    def _draw(self) -> None:
        name, row = self.cut.value, ACTIONS.index(self.action.value)
        whole, cut = self.drives[NOTHING], self.drives[name]
        self.whole.value = png(whole.frames[self._at(NOTHING)])
        self.shown.value = png(cut.frames[self._at(name)])
        earned = cut.rewards[: self._at(name) + 1].sum()
        over = " (over)" if self.look.value >= len(cut.features) else ""
        self.told.value = f"{name} cut: {earned:.0f} points so far{over}"
        self.whole_does.value = _in_words(whole.actions[self._at(NOTHING)])
        self.shown_does.value = _in_words(cut.actions[self._at(name)])
        pushes = self.contributions()[row]
        bars = {f"all of {group}": pushes[part].sum() for group, part in self._groups.items()}
        for i in pushes.abs().argsort(descending=True)[: self._plot.count].tolist():
            bars[self._names[i]] = pushes[i]
        self._plot.show(bars, ACTIONS[row])
        self.pushes.value = self._plot.png()

    def contact_sheet(self, columns: int = 8) -> Figure:
        """A row for each driver, on the same track at the same looks, with what it had earned."""
        shown = np.linspace(0, self.look.max + 1, columns + 1)[1:].astype(int)
        rows = {
            f"{name} cut:\n{drive.rewards.sum():.0f} points": drive.frames[
                np.minimum(shown, len(drive.frames) - 1)
            ]
            for name, drive in self.drives.items()
        }
        return frame_grid(rows, [f"look {t}" for t in shown])


@dataclasses.dataclass
class _Watched:
    frames: np.ndarray
    actions: np.ndarray
    rewards: np.ndarray
    features: torch.Tensor


def _in_words(action: np.ndarray) -> str:
    return " ".join(f"{name} {value:.1f}" for name, value in zip(ACTIONS, action, strict=True))


class _Pushes(LivePlot):
    """Bars: both halves of [z, h] above, the largest single inputs below."""

    def __init__(self, count: int, limits: list[float]):
        self.count, rows = count, count + 2
        figure = Figure(figsize=(3.6, 3.2), dpi=80, layout="none")
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
        self._action = None
        super().__init__(figure, [*self._bars, *self._labels])

    def show(self, bars: Mapping[str, torch.Tensor], action: str) -> None:
        if action != self._action:
            self._action = action
            left, right = ("left", "right") if action == "steering" else ("less", "more")
            self._ax.set_xlabel(f"{left} ← {action}, before squashing → {right}", fontsize=9)
            self._ax.set_xlim(-self._limits[action], self._limits[action])
            self.new_axes()
        for bar, label, (name, value) in zip(self._bars, self._labels, bars.items(), strict=True):
            bar.set_width(float(value))
            label.set_text(name)
