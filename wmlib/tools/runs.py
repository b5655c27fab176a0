"""Commands on a run: a folder with its settings, logs, checkpoints, weights and scores."""

import argparse
import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar

from tyro.conf import FlagCreatePairsOff, Suppress, arg

from wmlib.envs.take_cover import import_vizdoom
from wmlib.files import exclusive_lock
from wmlib.models.checkpoints import load_controller, load_network
from wmlib.models.mdn_rnn import MDNRNN
from wmlib.models.vae import VAE
from wmlib.pipeline import ball, car_racing, scoring
from wmlib.pipeline.checks import check_settings
from wmlib.pipeline.config import SETTINGS, Config, Machine
from wmlib.pipeline.rounds import Round
from wmlib.pipeline.scales import get_config, get_machine
from wmlib.pipeline.workers import processes
from wmlib.rollout.episodes import RECORD
from wmlib.tools.settings import BallSettings, CarSettings, Flat
from wmlib.training.fit import pick_device


@dataclass(frozen=True)
class RunCommand:
    """What all commands on a run have."""

    folder: Path | None
    """Of the run; default: data/runs/SCALE/car_racing (or ball), with _dream and -SEED where these
    are given, or the same under $WM_RUNS, or in the user's data folder where the checkout cannot be
    written to."""
    machine: Annotated[Machine, Flat]
    given: Suppress[tuple[str, ...]]  # the options that were given
    in_dreams: ClassVar[bool] = False  # whether it is about runs in dreams only

    @classmethod
    def default(cls, argv: Sequence[str], world: str) -> Any:
        """The command before its options: from the run in --folder, or the scale.

        Raises ValueError if the settings in that folder cannot be read.
        """
        first = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
        first.add_argument("--scale")
        first.add_argument("--folder", type=Path)
        first.add_argument("--seed", type=int, default=0)
        first.add_argument("--dream", action="store_true", default=cls.in_dreams)
        seen, _ = first.parse_known_args(argv)
        config = get_config(seen.scale, seen.dream, world)
        machine = get_machine(seen.scale)
        if world == "ball":
            usual = replace(config, seed=seen.seed).run_folder("ball")
        else:
            usual = Round.of(replace(config, seed=seen.seed)).folder
        # In full: workers elsewhere begin in another directory.
        folder = (seen.folder or usual).resolve()
        if (folder / SETTINGS).exists():
            config = Config.load(folder, world)
            machine = get_machine(config.scale)
        settings = BallSettings.of(config) if world == "ball" else CarSettings.of(config)
        options = tuple(a.partition("=")[0].replace("-", "_") for a in argv if a[:2] == "--")
        given = tuple("--" + option[2:] for option in options)
        own: dict[str, Any] = {"folder": folder, "machine": machine, "settings": settings}
        own["given"] = given
        own |= {f.name: f.default for f in fields(cls) if f.name not in own}
        return cls(**own)

    @contextlib.contextmanager
    def open(
        self,
        settings: CarSettings | BallSettings,
        world: str,
        resume: bool | None,
        dry_run: bool = False,
        changes: bool = True,
    ) -> Iterator[tuple[Config, Path]]:
        """The settings and the folder of the run, locked inside this context.

        resume: whether a run must be there (True), must not (False), or may (None). dry_run: write
        nothing. changes: whether settings may differ from the run's. Raises ValueError if that is
        not so, or for a setting that what is there was made without.
        """
        assert self.folder is not None  # `default` fills it
        folder, begun = self.folder.resolve(), (self.folder / SETTINGS).exists()
        there = begun or _has_episodes(folder)  # as a chapter's run, which has no settings
        if there and resume is False:
            raise ValueError(
                f"{folder} holds a run already: add --resume to go on with it, or name another "
                f"--folder"
            )
        if resume and not there:
            raise ValueError(f"there is no run in {folder} to go on with")
        dream = isinstance(settings, CarSettings) and settings.dream
        kept = Config.load(folder, world) if begun else get_config(settings.scale, dream, world)
        _require_same_run(kept, settings, begun, folder)
        config = settings.change(kept, self.given)
        if begun and not changes and config != _with_free_settings(kept, config):
            raise ValueError(
                f"the run in {folder} is finished, its settings are what they are: leave out the "
                f"options that change them"
            )
        _require_unused(kept, config, folder)
        if world == "ball":
            pick_device(self.machine.device or None)
        else:
            check_settings(config, self.machine)
        if dry_run:
            yield config, folder
            return
        with exclusive_lock(folder):
            contents = _contents(folder)
            config.save(folder, world)
            try:
                yield config, folder
            except (ValueError, OSError):
                # An option that does not fit what is there, or nothing could begin: as it was.
                if contents == _contents(folder):
                    if begun:
                        kept.save(folder, world)
                    else:
                        (folder / SETTINGS).unlink()
                raise


def _contents(folder: Path) -> dict[Path, int]:
    # All files of a run but its settings, and their sizes.
    files = (path for path in folder.rglob("[!.]*.*") if path.name not in (SETTINGS, RECORD))
    return {path: path.stat().st_size for path in files if path.is_file()}


def _has_episodes(folder: Path) -> bool:
    # (Not anywhere below: runs may lie inside one another.)
    places = (folder / "episodes", folder / "round0" / "episodes")  # the ball's, and a car's
    return any(path for place in places for path in place.glob("*.zip"))


def _require_same_run(
    kept: Config, settings: CarSettings | BallSettings, begun: bool, folder: Path
) -> None:
    # ValueError for what a run cannot change on its way.
    dream = isinstance(settings, CarSettings) and settings.dream
    where = ["the environment", "dreams"]
    for what, before, now in (
        ("scale", kept.scale, settings.scale),
        ("seed", kept.seed, settings.seed if begun else kept.seed),
        ("C evolved in", where[kept.in_dreams], where[dream]),
    ):
        if now != before:
            raise ValueError(
                f"the run in {folder} has {what} {before}, not {now}: name another --folder"
            )


# The parts of the settings that artefacts of a round were made with.
USED = {
    "episodes/*.zip": ("env", "collect"),
    "vae.checkpoint": ("vae",),
    "mdn_rnn.checkpoint": ("rnn",),
    "dream.checkpoint": ("dream",),
    "initial.safetensors": ("lookahead",),
    "evolution.jsonl": ("search", "dream"),
}
FREE = {"num_envs", "ablation_generations"}  # that change no artefact of a round


def _with_free_settings(kept: Config, config: Config) -> Config:
    # What a finished run may still change: how it is scored, and what ablations of it take.
    generations = config.search.ablation_generations
    search = replace(kept.search, ablation_generations=generations)
    return replace(kept, score_tracks=config.score_tracks, search=search)


def _require_unused(kept: Config, config: Config, folder: Path) -> None:
    # ValueError for a setting that has changed since something was made with it.
    parts = {p for pattern, ps in USED.items() if any(folder.glob(f"round*/{pattern}")) for p in ps}
    pairs = [(f"{part}.", getattr(kept, part), getattr(config, part)) for part in sorted(parts)]
    finished = len(list(folder.glob("round*/controller.safetensors")))
    for number, (before, now) in enumerate(zip(kept.rounds, config.rounds, strict=False)):
        if number < finished:  # (a search may go on for more generations: its log checks that)
            now = replace(now, generations=before.generations)
        elif any(folder.glob(f"round{number}/*/*.zip")):
            now = replace(before, frame_skip=now.frame_skip)
        else:
            continue
        pairs.append((f"round {number}: ", before, now))
    for name, before, now in pairs:
        for field in fields(before):
            was, is_now = getattr(before, field.name), getattr(now, field.name)
            if was != is_now and field.name not in FREE:
                raise ValueError(
                    f"the run in {folder} was made with {name}{field.name} = {was}, not {is_now}: "
                    f"name another --folder"
                )


@dataclass(frozen=True)
class TrainBall(RunCommand):
    """Train V and M of the bouncing ball, from scratch."""

    settings: Annotated[BallSettings, Flat]
    resume: FlagCreatePairsOff[bool] = False  # go on with the run in --folder
    dry_run: FlagCreatePairsOff[bool] = False  # only say how much disk, memory and time it takes

    def __call__(self) -> None:
        """Run it."""
        with self.open(self.settings, "ball", self.resume, self.dry_run) as (config, folder):
            if _fits(config, folder, "ball", self.machine, self.dry_run):
                ball.train_ball(config, folder, self.machine)
                print(f"trained: {folder}")


@dataclass(frozen=True)
class TrainCar(RunCommand):
    """Everything, from scratch to a trained agent: all phases, round after round."""

    settings: Annotated[CarSettings, Flat]
    resume: FlagCreatePairsOff[bool] = False  # go on with the run in --folder
    final_eval: FlagCreatePairsOff[bool] = False  # score it on held-out tracks at the end
    dry_run: FlagCreatePairsOff[bool] = False  # only say how much disk, memory and time it takes
    world: ClassVar[str] = "car_racing"

    def __call__(self) -> None:
        """Run it."""
        world = self.world
        with self.open(self.settings, world, self.resume, self.dry_run) as (config, folder):
            if not _fits(config, folder, world, self.machine, self.dry_run):
                return
            car_racing.run_all_rounds(config, folder, self.machine)
            print(f"trained: {folder}")
            if self.final_eval:
                with processes(self.machine.workers, self.machine.cluster) as executor:
                    print(scoring.score_run(config, folder, executor))


@dataclass(frozen=True)
class TrainTakeCover(TrainCar):
    """Take Cover (needs ViZDoom), from scratch to a trained agent; C is evolved in dreams alone."""

    world: ClassVar[str] = "take_cover"

    def __call__(self) -> None:
        """Run it."""
        import_vizdoom()  # here, before there is a folder, and not in every worker
        super().__call__()


def _fits(config: Config, folder: Path, world: str, machine: Machine, dry_run: bool) -> bool:
    # Whether to go on: not after a dry run. ValueError if the run would not fit on this machine.
    from wmlib.tools import estimate  # only here: it can measure, and needs the chapters' packages

    work = estimate.Work.of(config, world, machine)
    if dry_run:
        print(estimate.estimate(work, folder))
        return False
    estimate.check_space(work, folder)
    return True


@dataclass(frozen=True)
class Phase(RunCommand):
    """One phase of one round of CarRacing; goes on with what is there."""

    settings: Annotated[CarSettings, Flat]
    round: int = 0  # of the loop

    def imports(self) -> dict[str, Path | None]:
        """Weights from elsewhere, by the name that they get in the round's folder."""
        return {}

    def do(self, current: Round) -> Any:
        """The phase itself."""
        raise NotImplementedError

    def __call__(self) -> None:
        """Run it."""
        with self.open(self.settings, "car_racing", None) as (config, folder):
            current = Round.of(config, self.round, folder, self.machine)
            with _imported(current, self.imports()):
                self.do(current)
            print(f"done, in {current.work}")


@contextlib.contextmanager
def _imported(current: Round, files: dict[str, Path | None]) -> Iterator[None]:
    # Weights from elsewhere, copied into the round's folder; gone again if nothing can use them.
    if current.number > 0 and files.get("initial"):
        raise ValueError("--controller is for round 0: a later one begins at the C of the last")
    fresh = {}
    for name, file in files.items():
        if file is None:
            continue
        weights = _load_any(name, file)  # or say what is wrong with it
        if isinstance(weights, MDNRNN) and weights.repeat != current.repeat:
            raise ValueError(
                f"{file} was trained with a frame skip of {weights.repeat}, not of "
                f"{current.repeat} as in round {current.number}"
            )
        target = current.work / f"{name}.safetensors"
        if target.exists() and target.read_bytes() != file.read_bytes():
            raise ValueError(f"{target} is there already: name another --folder")
        if not target.exists():
            fresh[name] = file
    for name, file in fresh.items():
        current.import_weights(file, name)
    try:
        yield
    except (ValueError, OSError):
        for name in fresh:
            current.forget_import(name)
        raise


def _load_any(name: str, file: Path) -> Any:
    kinds = {"vae": VAE, "mdn_rnn": MDNRNN}
    return load_network(kinds[name], file) if name in kinds else load_controller(file)


@dataclass(frozen=True)
class Collect(Phase):
    """Run episodes, and keep them."""

    def do(self, current: Round) -> Any:
        """Collect."""
        return car_racing.collect_episodes(current)


@dataclass(frozen=True)
class TrainVAE(Phase):
    """Train V on the frames collected."""

    def do(self, current: Round) -> Any:
        """Train V."""
        return car_racing.train_round_vae(current)


@dataclass(frozen=True)
class Encode(Phase):
    """Encode with V all that was collected."""

    vae_file: Annotated[Path | None, arg(name="vae")] = None  # V from elsewhere

    def imports(self) -> dict[str, Path | None]:
        """V."""
        return {"vae": self.vae_file}

    def do(self, current: Round) -> Any:
        """Encode."""
        return car_racing.encode_episodes(current)


@dataclass(frozen=True)
class TrainRNN(Phase):
    """Train M on the encoded episodes."""

    def do(self, current: Round) -> Any:
        """Train M."""
        return car_racing.train_round_mdn_rnn(current)


@dataclass(frozen=True)
class Evolve(Phase):
    """Evolve C, in the environment or (--dream) in M's dreams."""

    vae_file: Annotated[Path | None, arg(name="vae")] = None  # V from elsewhere
    rnn_file: Annotated[Path | None, arg(name="rnn")] = None  # M from elsewhere
    controller: Path | None = None  # C from elsewhere, to begin the search at

    def imports(self) -> dict[str, Path | None]:
        """V, M and C."""
        return {"vae": self.vae_file, "mdn_rnn": self.rnn_file, "initial": self.controller}

    def do(self, current: Round) -> Any:
        """Evolve C."""
        return car_racing.evolve_controller(current)


@dataclass(frozen=True)
class Ablate(RunCommand):
    """How far dreams can be trusted: a score matrix, and searches in other kinds of dreams."""

    settings: Annotated[CarSettings, Flat]
    in_dreams: ClassVar[bool] = True

    def __call__(self) -> None:
        """Run it."""
        from wmlib.tools import ablations

        with self.open(self.settings, "car_racing", True, changes=False) as (config, folder):
            ablations.run_ablations(config, folder, self.machine)
            print(f"done, in {folder}")
