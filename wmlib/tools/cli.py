"""`python -m wmlib ...`: the phases of a run from a shell, for long runs.

A run is a directory: its settings, logs, checkpoints, weights and scores.
"""

import argparse
import contextlib
import io
import json
import shutil
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import BrokenExecutor
from functools import partial
from pathlib import Path

import torch
from safetensors import SafetensorError

from wmlib import evaluation
from wmlib.envs import HELD_OUT_SEEDS
from wmlib.files import exclusive_lock, write_atomically
from wmlib.models.checkpoints import load_controller, load_network
from wmlib.models.controller import Controller
from wmlib.models.mdn_rnn import MDNRNN
from wmlib.models.vae import VAE
from wmlib.models.world_model import WorldModel
from wmlib.paths import pretrained
from wmlib.pipeline import ball, car_racing, scoring
from wmlib.pipeline.config import DREAM, POLICIES, SCALES, SETTINGS, TABLE, Preset, preset
from wmlib.rollout.episodes import ABOUT
from wmlib.rollout.policies import ControllerPolicy
from wmlib.rollout.workers import processes
from wmlib.tools import release
from wmlib.training.fit import pick_device

PHASES = {
    "collect": ("drive, and keep the drives", car_racing.car_collect),
    "train-vae": ("train V on the frames collected", car_racing.car_vae),
    "encode": ("let V look at all that was collected", car_racing.car_encode),
    "train-rnn": ("train M on what V saw", car_racing.car_mdn_rnn),
    "evolve": ("evolve C, on the road or (--dream) in M's dreams", car_racing.car_controller),
}


# Weights from elsewhere that a phase can begin with.
V, M = "V from elsewhere, to see with", "M from elsewhere, to remember with"


C = "C from elsewhere, to begin the search at"


READS = {
    "encode": {"vae": V},
    "evolve": {"vae": V, "rnn": M, "controller": C},
}


# What only notebooks ask for.
FOR_CHAPTERS = ("retrain", "ball_tests", "seen", "ahead", "car_seen", "car_ahead", "car_looks",
                "car_tests", "broken_epochs", "tried_generations")  # fmt: skip


OF_THE_BALL = ("seed", "workers", "cluster", "device", "rnn_batch", "window")  # and its own


ALIASES = {"cluster": ("--dask",)}


INTERRUPTED = 130  # what shells call a Ctrl-C


IN_RUNS = " in the runs' folder (see `run --help`, --folder)"


SCALE_HELP = "the usual settings; default: those of the run in --folder, or $WM_SCALE, or laptop"


CODES = """exit codes: 0: done. 1: something to mend, said in one sentence. 2: not a command.
130: interrupted; nothing that was finished is lost."""


def run_phase(arguments: argparse.Namespace) -> None:
    """One phase of one round of CarRacing; goes on with what is there."""
    _, phase = PHASES[arguments.command]
    with _run(arguments, resume=True) as (numbers, folder):
        if not 0 <= arguments.round < numbers.rounds:
            raise ValueError(f"round must be 0 to {numbers.rounds - 1}, got {arguments.round}")
        with _brought_in(arguments, folder / f"round{arguments.round}"):
            phase(numbers, folder, arguments.round)
        print(f"{arguments.command}: done, in {folder / f'round{arguments.round}'}")


@contextlib.contextmanager
def _brought_in(arguments: argparse.Namespace, work: Path) -> Iterator[None]:
    """Weights from elsewhere, copied into the round's folder; gone again if nobody can use them."""
    if arguments.round > 0 and getattr(arguments, "controller", None):
        raise ValueError("--controller is for round 0: a later one begins at the C of the last")
    files = []
    for flag, name, load in (
        ("vae", "vae", partial(load_network, VAE)),
        ("rnn", "mdn_rnn", partial(load_network, MDNRNN)),
        ("controller", "start", load_controller),
    ):
        file, target = getattr(arguments, flag, None), work / f"{name}.safetensors"
        if file is None:
            continue
        load(file)  # or say what is wrong with it
        if target.exists() and target.read_bytes() != Path(file).read_bytes():
            raise ValueError(f"{target} is there already: name another --folder")
        files += [] if target.exists() else [(file, target)]
    for file, target in files:
        write_atomically(target, lambda path, file=file: shutil.copy(file, path))
    try:
        yield
    except ValueError:
        for _, target in files:
            target.unlink()
        raise


def run(arguments: argparse.Namespace) -> None:
    """Everything, from nothing to a trained agent: all phases, round after round."""
    with _run(arguments, arguments.resume, arguments.dry_run) as (numbers, folder):
        from wmlib.tools import estimate

        if arguments.dry_run:
            print(estimate.estimate(numbers, folder, arguments.world))
            return
        estimate.examine(numbers, folder, arguments.world)
        if arguments.world == "ball":
            ball.ball(numbers, folder)
        else:
            car_racing.car_racing(numbers, folder)
        print(f"trained: {folder}")
        if arguments.final_eval:
            with processes(numbers.workers, numbers.cluster) as executor:
                print(scoring.score_car(numbers, folder, executor))


@contextlib.contextmanager
def _run(
    arguments: argparse.Namespace, resume: bool, look_only: bool = False
) -> Iterator[tuple[Preset, Path]]:
    """The settings and the folder of a run, which is ours alone as long as this lasts."""
    flags, world = _flags(arguments), arguments.world
    if world == "ball":
        _fit_the_ball(flags, arguments)
    numbers = preset(arguments.scale)
    if arguments.dream:
        numbers = numbers.dreaming()
    usual = numbers.change(seed=flags.get("seed", 0)).run_folder(
        "car_racing_dream" if arguments.dream else world
    )
    # In full: workers elsewhere begin in another directory.
    folder = Path(arguments.folder or usual).resolve()
    begun = (folder / SETTINGS).exists()
    there = begun or _has_drives(folder)  # as a chapter's run, which has no settings
    if there and not resume:
        raise ValueError(
            f"{folder} holds a run already: add --resume to go on with it, or name another --folder"
        )
    if getattr(arguments, "resume", False) and not there:
        raise ValueError(f"there is no run in {folder} to go on with")
    if begun:
        numbers = Preset.load(folder, world)
        _same_run(numbers, arguments, folder)
    before, numbers = numbers, numbers.change(**flags)
    if world == "ball":
        pick_device(numbers.device or None)
    else:
        car_racing.examine(numbers)
    if look_only:
        yield numbers, folder
        return
    with exclusive_lock(folder):
        contents = _contents(folder)
        numbers.save(folder, world)
        try:
            yield numbers, folder
        except (ValueError, OSError):
            # A flag that does not fit what is there, or nothing could begin: as it was before.
            if contents == _contents(folder):
                if begun:
                    before.save(folder, world)
                else:
                    (folder / SETTINGS).unlink()
            raise


def _contents(folder: Path) -> dict[Path, int]:
    """All files of a run but its settings, and their sizes."""
    files = (path for path in folder.rglob("[!.]*.*") if path.name not in (SETTINGS, ABOUT))
    return {path: path.stat().st_size for path in files if path.is_file()}


def _has_drives(folder: Path) -> bool:
    # (Not anywhere below: runs may lie inside one another.)
    places = (folder / "episodes", folder / "round0" / "episodes")  # the ball's, and a car's
    return any(path for place in places for path in place.glob("*.zip"))


def _same_run(kept: Preset, arguments: argparse.Namespace, folder: Path) -> None:
    """ValueError for what a run cannot change on its way."""
    kind = "in dreams" if kept.dream else "on the road"
    for what, before, now in (
        ("scale", kept.scale, arguments.scale),
        ("seed", kept.seed, arguments.seed),
        ("C evolved", kind, kind if arguments.dream in (None, kept.dream) else "elsewhere"),
    ):
        if now not in (None, before):
            raise ValueError(
                f"the run in {folder} has {what} {before}, not {now}: name another --folder"
            )


def _fit_the_ball(flags: dict, arguments: argparse.Namespace) -> None:
    """ValueError for what the ball does not have."""
    strange = [n for n in flags if n not in OF_THE_BALL and not n.startswith("ball_")]
    strange += ["dream"] if arguments.dream else []
    strange += ["final_eval"] if getattr(arguments, "final_eval", False) else []
    if strange:
        names = ", ".join(f"--{name.replace('_', '-')}" for name in strange)
        raise ValueError(f"the ball has V and M alone, and nothing that {names} could change")


def _flags(arguments: argparse.Namespace) -> dict:
    names = (*TABLE, "rounds")
    given = {name: getattr(arguments, name, None) for name in names}
    # --dream also stands for all the other numbers of a run in dreams.
    return {name: value for name, value in given.items() if value is not None and name != "dream"}


def study(arguments: argparse.Namespace) -> None:
    """How far dreams can be trusted: a panel of drivers, and drivers bred under doubts."""
    from wmlib.tools import ablations

    with _run(arguments, resume=True) as (numbers, folder):
        ablations.study(numbers, folder)
        print(f"studied: {folder}")


def evaluate(arguments: argparse.Namespace) -> None:
    """Score a driver on held-out tracks of the untouched CarRacing-v3."""
    numbers = preset(arguments.scale)
    world_model, controller = _agent(arguments)
    workers = numbers.workers if arguments.workers is None else arguments.workers
    with processes(workers, arguments.cluster or "") as executor:
        driver = ControllerPolicy(controller)
        result = evaluation.score(
            driver,
            world_model,
            arguments.tracks,
            executor=executor,
            max_steps=numbers.max_steps,
            frame_size=world_model.vae.frame_size,
        )
    print(result)
    if arguments.json:
        Path(arguments.json).write_text(
            json.dumps(result.summary(), indent=1) + "\n", encoding="utf-8"
        )
        print(f"written: {arguments.json}")


def _agent(arguments: argparse.Namespace) -> tuple[WorldModel, Controller]:
    """V, M and C: from --vae, --rnn, --controller, and what is not named from --folder."""
    folder = arguments.folder
    if folder is None:
        own = preset(arguments.scale).run_folder("car_racing")
        folder = own if (own / "controller.safetensors").exists() else pretrained("car_racing")
    names = {"vae": "vae", "rnn": "mdn_rnn", "controller": "controller"}
    files = {
        name: Path(getattr(arguments, name) or Path(folder) / f"{file}.safetensors")
        for name, file in names.items()
    }
    print(f"the agent: {', '.join(str(file) for file in files.values())}")
    world_model = WorldModel(load_network(VAE, files["vae"]), load_network(MDNRNN, files["rnn"]))
    return world_model, load_controller(files["controller"])


def play(arguments: argparse.Namespace) -> None:
    """Watch the agent drive a held-out track: a window, or a video where there is no display."""
    from wmlib.tools.play import has_display
    from wmlib.tools.play import play as drive_and_show

    world_model, controller = _agent(arguments)
    video = arguments.video or (None if has_display() else _pictures(arguments) / "drive.mp4")
    drive = drive_and_show(ControllerPolicy(controller), world_model, arguments.track, video)
    print(f"track {arguments.track}: score {drive.score:.0f} in {drive.steps} steps")
    if video is not None:
        print(f"written: {video}")


def dream(arguments: argparse.Namespace) -> None:
    """A drive, what V makes of it, and M's dream of it side by side, as a moving GIF."""
    from wmlib.tools import report

    out = arguments.out or _pictures(arguments) / "dream.gif"
    told = report.dream_against_reality(
        preset(arguments.scale),
        *_agent(arguments),
        out,
        track=arguments.track,
        context=arguments.seen,
        horizon=arguments.ahead,
        temperature=arguments.temperature,
    )
    print(told)
    print(f"written: {out}")


def _pictures(arguments: argparse.Namespace) -> Path:
    # Not the current directory: that may be the checkout, or a folder that is read-only.
    return preset(arguments.scale).run_folder("pictures")


def figures(arguments: argparse.Namespace) -> None:
    """Pictures of an agent: reconstructions, a map of z, M's accuracy, its drive, its scores."""
    from wmlib.tools import report

    agent = _agent(arguments)
    out = arguments.out or _pictures(arguments)
    paths = report.everything(preset(arguments.scale), *agent, out, arguments.folder)
    for path in paths:
        print(f"written: {path}")


def bench(arguments: argparse.Namespace) -> None:
    """Measure the speed of everything, side by side; writes bench.json and bench.png."""
    from wmlib.tools import bench  # only here: they need more than a training machine has
    from wmlib.view import figures

    numbers = preset(arguments.scale)
    folder = Path(arguments.out or numbers.run_folder("bench"))
    folder.mkdir(parents=True, exist_ok=True)
    figures.use_style()
    workers = numbers.workers
    with processes(workers) as executor, bench.local_cluster(workers) as cluster:
        measured = bench.everything(executor, cluster, workers, arguments.steps)
        for result in bench.run(measured, arguments.repetitions):  # it takes long: nothing is lost
            (folder / "bench.json").write_text(
                json.dumps(result, indent=1) + "\n", encoding="utf-8"
            )
            figures.bench(result).savefig(folder / "bench.png", dpi=110)
    print(bench.table(result))
    print(f"written: {folder / 'bench.json'}, {folder / 'bench.png'}")


def ship(arguments: argparse.Namespace) -> None:
    """Score a finished run and put its weights, with cards, into data/pretrained."""
    with _run(arguments, resume=True) as (numbers, folder):
        numbers = numbers.change(score_tracks=arguments.tracks or numbers.score_tracks)
        world = f"{arguments.world}_dream" if numbers.dream else arguments.world
        command = f"python -m wmlib run {arguments.world} --scale {numbers.scale}"
        command += " --dream" if numbers.dream else ""
        command += f" --seed {numbers.seed}" if numbers.seed else ""
        print(f"shipped: {release.ship(numbers, folder, world, command)}")


def parser() -> argparse.ArgumentParser:
    """All commands with their flags."""
    top = argparse.ArgumentParser(
        prog="python -m wmlib",
        description=__doc__,
        epilog=CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = top.add_subparsers(required=True, dest="command", metavar="COMMAND")

    def add(name, function, help=None):
        text = help or function.__doc__
        command = commands.add_parser(name, help=text, description=text)
        command.set_defaults(run=function)
        command.add_argument("--scale", choices=SCALES, help=SCALE_HELP)
        return command

    for name, (help, _) in PHASES.items():
        command = add(name, run_phase, help)
        command.add_argument("world", choices=["car_racing"], nargs="?", default="car_racing")
        command.add_argument("--round", type=int, default=0, help="of the loop; default: 0")
        for flag, what in READS.get(name, {}).items():
            command.add_argument(f"--{flag}", metavar="FILE", help=what)
        _add_settings(command)
    command = add("run", run)
    command.add_argument("world", choices=["ball", "car_racing"])
    command.add_argument("--resume", action="store_true", help="go on with the run in --folder")
    command.add_argument(
        "--final-eval", action="store_true", help="score it on held-out tracks at the end"
    )
    command.add_argument(
        "--dry-run", action="store_true", help="only say how much disk, memory and time it takes"
    )
    _add_settings(command)

    command = add("study", study)
    _add_settings(command)
    command.set_defaults(world="car_racing", dream=True)
    command = add("evaluate", evaluate)
    _add_agent(command)
    text = "how many held-out tracks, 2 or more; default: 100"
    command.add_argument("--tracks", type=_tracks, default=100, help=text)
    command.add_argument("--workers", type=int, help="processes; default: the scale's")
    command.add_argument("--cluster", "--dask", metavar="ADDRESS", help="of a Dask scheduler")
    command.add_argument("--json", metavar="FILE", help="keep the numbers")
    command = add("play", play)
    _add_agent(command)
    held_out = HELD_OUT_SEEDS.start
    text_of_track = f"seed of the track; default: {held_out}, the first held-out one"
    command.add_argument("--track", type=int, default=held_out, help=text_of_track)
    text = "an .mp4 file instead of a window; without a display, by default pictures/drive.mp4"
    text += IN_RUNS
    command.add_argument("--video", metavar="FILE", help=text)
    command = add("dream", dream)
    _add_agent(command)
    command.add_argument("--track", type=int, default=held_out, help=text_of_track)
    for name, default, what in (
        ("seen", 50, "looks before the eyes close"),
        ("ahead", 100, "looks dreamt after that"),
        ("temperature", 1.0, "of the dream"),
    ):
        text = f"{what}; default: {default}"
        command.add_argument(f"--{name}", type=type(default), default=default, help=text)
    text = f"the picture to write; default: pictures/dream.gif{IN_RUNS}"
    command.add_argument("--out", metavar="FILE", help=text)
    command = add("figures", figures)
    _add_agent(command)
    command.add_argument("--out", metavar="FOLDER", help=f"default: pictures{IN_RUNS}")
    command = add("bench", bench)
    text = f"default: bench{IN_RUNS}. `--out figures` replaces the committed ones"
    command.add_argument("--out", metavar="FOLDER", help=text)
    for name, default, what in (
        ("repetitions", 3, "how often everything is measured, in turns"),
        ("steps", 80, "environment steps of an episode of the rollouts"),
    ):
        text = f"{what}; default: {default}"
        command.add_argument(f"--{name}", type=int, default=default, help=text)
    command = add("ship", ship)
    command.add_argument("world", choices=["ball", "car_racing"])
    command.add_argument("--tracks", type=int, help="held-out tracks; default: the scale's")
    _add_settings(command)
    return top


def _add_agent(command: argparse.ArgumentParser) -> None:
    text = "of a run; default: your own run's (car_racing, seed 0), or else the one that came along"
    command.add_argument("--folder", help=text)
    for name, what in {"vae": "V", "rnn": "M", "controller": "C"}.items():
        command.add_argument(f"--{name}", metavar="FILE", help=f"{what} from elsewhere")


def _add_settings(command: argparse.ArgumentParser) -> None:
    """A flag for every number of `presets.TABLE`."""
    text = (
        "of the run; default: data/runs/SCALE/car_racing (or ball), with _dream and -SEED where "
        "these are given, or the same under $WM_RUNS, or in the user's data folder where the "
        "checkout cannot be written to"
    )
    command.add_argument("--folder", help=text)
    command.usage = f"{command.prog} [WORLD] [options] [settings]"
    group = command.add_argument_group(
        "settings",
        "Kept in the folder: later commands there need not repeat them. In brackets: at smoke, "
        "laptop, paper scale; with --dream, these are others: "
        + ", ".join(name.replace("_", "-") for name in DREAM if name != "dream")
        + ", rounds. Of what differs by round, give one for all, or several with commas between. "
        "The ball has only its own, and " + ", ".join(n.replace("_", "-") for n in OF_THE_BALL),
    )
    group.add_argument("--rounds", type=int, help="how often all is done: collect, V, M, C")
    for name, (*values, meaning) in TABLE.items():
        if name in FOR_CHAPTERS:
            continue
        flags = [f"--{name.replace('_', '-')}", *ALIASES.get(name, ())]
        shown = ", ".join(
            " ".join(map(str, v)) if isinstance(v, tuple) else str(v) or "-" for v in values
        )
        usual = values[1]
        if isinstance(usual, bool):
            kind = {"action": argparse.BooleanOptionalAction}
        elif name == "policy":
            kind = {"choices": POLICIES}
        elif isinstance(usual, tuple):
            kind = {"type": _several(type(usual[0])), "metavar": "N,..."}
        else:
            kind = {"type": type(usual), "metavar": type(usual).__name__.upper()}
        group.add_argument(*flags, default=None, help=f"{meaning} ({shown})", **kind)


def _tracks(text: str) -> int:
    count = int(text)
    if not 2 <= count <= len(HELD_OUT_SEEDS):
        raise argparse.ArgumentTypeError(f"must be 2 to {len(HELD_OUT_SEEDS):,}, got {count:,}")
    return count


def _several(kind: type):
    def values(text: str) -> tuple:
        return tuple(kind(part) for part in text.split(","))

    values.__name__ = f"list of {kind.__name__}s"
    return values


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, run, and turn what a user can mend into one line; returns the exit code.

    0: done. 1: something to mend, said in one sentence. 2: a command that is not one.
    130: interrupted; nothing that was finished is lost.
    """
    for stream in (sys.stdout, sys.stderr):
        # A terminal that knows no ± must not end an hour's work with a UnicodeEncodeError.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    arguments = parser().parse_args(argv)
    try:
        arguments.run(arguments)
    except (ValueError, FileNotFoundError) as error:
        return _say(error)
    except ModuleNotFoundError as error:  # pictures and measurements need more than the core has
        return _say(f"{error.name} is not installed: pip install -e '.[notebooks]' brings it")
    except SafetensorError as error:  # its own word for a full disk, without the file's name
        return _say(f"{error}. Nothing finished is lost")
    except OSError as error:  # a full disk, a directory that may not be written to
        where = Path(error.filename or "the disk")
        where = where.parent if where.name.startswith(".") else where  # it is not our own file
        return _say(f"{where}: {error.strerror or error}. Nothing finished is lost")
    except (MemoryError, torch.cuda.OutOfMemoryError) as error:
        return _say(f"not enough memory ({error}): try fewer --workers, or smaller batches")
    except BrokenExecutor as error:
        return _say(f"a worker was ended from outside, for want of memory maybe: {error}")
    except KeyboardInterrupt:
        print(f"\npython -m wmlib: stopped; {_goes_on(arguments.command)}", file=sys.stderr)
        return INTERRUPTED
    return 0


def _goes_on(command: str) -> str:
    if command == "run":
        return "the same with --resume goes on"
    resumes = command in (*PHASES, "study", "ship")
    return "the same again goes on" if resumes else "nothing was kept"


def _say(error: object) -> int:
    print(f"python -m wmlib: {error}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
