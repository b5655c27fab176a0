"""Commands on a trained agent: score it, watch it, draw it; and the measurement of speed."""

import json
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import arg

from wmlib import evaluation
from wmlib.envs import HELD_OUT_SEEDS
from wmlib.models.checkpoints import load_controller, load_network
from wmlib.models.controller import Controller
from wmlib.models.mdn_rnn import MDNRNN
from wmlib.models.vae import VAE
from wmlib.models.world_model import WorldModel
from wmlib.paths import pretrained
from wmlib.pipeline.scales import get_chapter_config, get_config, get_machine
from wmlib.pipeline.tasks import CAR_RACING, TASKS
from wmlib.pipeline.workers import processes
from wmlib.rollout.policies import ControllerPolicy
from wmlib.tools.external import score_agent
from wmlib.tools.settings import Flat


@dataclass(frozen=True)
class Agent:
    """An agent: V, M and C."""

    scale: str | None = None  # smoke, laptop or paper; default: $WM_SCALE, or laptop
    folder: Path | None = None  # of a run; default: your own run's, or else the pretrained agent
    vae: Path | None = None  # V from elsewhere
    rnn: Path | None = None  # M from elsewhere
    controller: Path | None = None  # C from elsewhere

    def load(self, any_task: bool = False) -> tuple[WorldModel, Controller]:
        """V, M and C: from the files named, and what is not named from the folder.

        Raises ValueError for an agent of another task than CarRacing, unless any will do.
        """
        own = get_config(self.scale).run_folder("car_racing")
        has_own = (own / "controller.safetensors").exists()
        folder = self.folder or (own if has_own else pretrained("car_racing"))
        vae = self.vae or folder / "vae.safetensors"
        rnn = self.rnn or folder / "mdn_rnn.safetensors"
        controller = self.controller or folder / "controller.safetensors"
        print(f"the agent: {vae}, {rnn}, {controller}")
        world_model = WorldModel(load_network(VAE, vae), load_network(MDNRNN, rnn))
        if world_model.mdn_rnn.action_size != CAR_RACING.action_size and not any_task:
            raise ValueError(
                f"this command is for agents of CarRacing, whose actions are three numbers; the "
                f"actions of the M in {rnn} have {world_model.mdn_rnn.action_size}"
            )
        return world_model, load_controller(controller)

    @property
    def pictures(self) -> Path:
        """Where pictures go by default: not the current folder, which may be read-only."""
        return get_config(self.scale).run_folder("pictures")


@dataclass(frozen=True)
class Evaluate:
    """Score an agent on held-out tracks of the untouched CarRacing-v3: ours, or any other.

    (An agent of Take Cover, in as many held-out episodes of that.)
    """

    agent: Annotated[Agent, Flat] = Agent()
    external: str | None = None
    """Instead: any agent, as FILE.py:NAME (what NAME() makes has reset() and act(frame)) or, with
    Stable-Baselines3, ppo:FILE.zip. It is run as code."""
    tracks: int = 100  # how many held-out tracks, 2 or more
    workers: int | None = None  # processes; default: the scale's
    cluster: str = ""  # address of a Dask scheduler; on trusted networks only
    json: Path | None = None  # file to keep the numbers in

    def __call__(self) -> None:
        """Run it."""
        if not 2 <= self.tracks <= len(HELD_OUT_SEEDS):
            raise ValueError(f"tracks must be 2 to {len(HELD_OUT_SEEDS):,}, got {self.tracks:,}")
        machine = get_machine(self.agent.scale)
        workers = machine.workers if self.workers is None else self.workers
        with processes(workers, self.cluster) as executor:
            result = self._score(executor)
        print(result)
        if self.json:
            self.json.write_text(json.dumps(result.summary(), indent=1) + "\n", encoding="utf-8")
            print(f"written: {self.json}")

    def _score(self, executor: Executor | None) -> evaluation.Score:
        steps = get_config(self.agent.scale).env.max_steps
        if self.external is not None:
            if self.agent != Agent(self.agent.scale):
                raise ValueError("with --external, leave out --folder, --vae, --rnn, --controller")
            return score_agent(self.external, self.tracks, executor=executor, max_steps=steps)
        world_model, controller = self.agent.load(any_task=True)
        [name] = [n for n, t in TASKS.items() if t.action_size == controller.action_size]
        task = TASKS[name]
        return evaluation.score(
            ControllerPolicy(controller),
            world_model,
            self.tracks,
            executor=executor,
            max_steps=get_config(self.agent.scale, task=name).env.max_steps,
            frame_size=world_model.vae.frame_size,
            env_id=task.original_id,
            has_laps=task.has_laps,
        )


@dataclass(frozen=True)
class Play:
    """Watch an agent drive a held-out track: a window, or a video where there is no display."""

    agent: Annotated[Agent, Flat] = Agent()
    track: int = HELD_OUT_SEEDS.start  # seed of the track; default: the first held-out one
    video: Path | None = None
    """An .mp4 file instead of a window; without a display, by default pictures/episode.mp4 in the
    runs' folder."""

    def __call__(self) -> None:
        """Run it."""
        from wmlib.tools.play import has_display, play  # only here: pygame takes a second

        world_model, controller = self.agent.load()
        video = self.video or (None if has_display() else self.agent.pictures / "episode.mp4")
        episode = play(ControllerPolicy(controller), world_model, self.track, video)
        print(f"track {self.track}: score {episode.score:.0f} in {episode.steps} steps")
        if video is not None:
            print(f"written: {video}")


@dataclass(frozen=True)
class DreamGif:
    """An episode, V's reconstruction of it and M's dream of it side by side, as a moving GIF."""

    agent: Annotated[Agent, Flat] = Agent()
    track: int = HELD_OUT_SEEDS.start  # seed of the track; default: the first held-out one
    context: int = 50  # agent steps that M sees before the open-loop rollout
    horizon: int = 100  # agent steps of the open-loop rollout
    temperature: float = 1.0  # of the dream
    out: Path | None = None  # default: pictures/dream.gif in the runs' folder

    def __call__(self) -> None:
        """Run it."""
        from wmlib.tools import report  # only here: it needs the chapters' packages

        out = self.out or self.agent.pictures / "dream.gif"
        description = report.dream_against_reality(
            get_config(self.agent.scale),
            *self.agent.load(),
            out,
            track=self.track,
            context=self.context,
            horizon=self.horizon,
            temperature=self.temperature,
        )
        print(description)
        print(f"written: {out}")


@dataclass(frozen=True)
class Figures:
    """Pictures of an agent: reconstructions, a map of z, M's accuracy, an episode, its scores."""

    agent: Annotated[Agent, Flat] = Agent()
    out: Path | None = None  # folder; default: pictures in the runs' folder

    def __call__(self) -> None:
        """Run it."""
        from wmlib.tools import report  # only here: it needs the chapters' packages

        agent, scale = self.agent.load(), self.agent.scale
        out, config = self.out or self.agent.pictures, get_config(scale)
        chapter = get_chapter_config(config).at_pace(agent[0].mdn_rnn.repeat)
        for path in report.everything(config, chapter, *agent, out, self.agent.folder):
            print(f"written: {path}")


@dataclass(frozen=True)
class Bench:
    """Measure the speed of everything, side by side; writes bench.json and bench.png."""

    scale: str | None = None  # smoke, laptop or paper; default: $WM_SCALE, or laptop
    out: Annotated[Path | None, arg(metavar="FOLDER")] = None
    """Default: bench in the runs' folder. `--out figures` replaces the committed ones."""
    repetitions: int = 3  # how often everything is measured, in turns
    steps: int = 80  # environment steps of an episode of the rollouts

    def __call__(self) -> None:
        """Run it."""
        from wmlib.tools import bench  # only here: they need the chapters' packages
        from wmlib.view import figures

        workers = get_machine(self.scale).workers
        folder = self.out or get_config(self.scale).run_folder("bench")
        folder.mkdir(parents=True, exist_ok=True)
        figures.use_style()
        result: dict = {}
        with processes(workers) as executor, bench.local_cluster(workers) as cluster:
            measured = bench.everything(executor, cluster, workers, self.steps)
            for result in bench.run(measured, self.repetitions):  # nothing is lost on the way
                (folder / "bench.json").write_text(
                    json.dumps(result, indent=1) + "\n", encoding="utf-8"
                )
                figures.bench(result).savefig(folder / "bench.png", dpi=110)
        print(bench.table(result))
        print(f"written: {folder / 'bench.json'}, {folder / 'bench.png'}")
