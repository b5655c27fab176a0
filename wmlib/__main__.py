"""`python -m wmlib ...`: the phases of `recipes.py` from a shell, for long runs.

A run is a directory: its settings, logs, checkpoints, weights and scores.
"""

import argparse
import contextlib
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from filelock import FileLock, Timeout
from safetensors import SafetensorError

from wmlib import evaluation, recipes
from wmlib.controller import Controller
from wmlib.drivers import ControllerDriver
from wmlib.envs import HELD_OUT_SEEDS
from wmlib.mdn_rnn import MDNRNN
from wmlib.presets import SCALES, SETTINGS, TABLE, Preset, preset
from wmlib.rollout import processes
from wmlib.vae import VAE
from wmlib.world_model import WorldModel, load_controller, load_network, pretrained

PHASES = {
    "collect": ("drive, and keep the drives", recipes.car_collect),
    "train-vae": ("train V on the frames collected", recipes.car_vae),
    "encode": ("let V look at all that was collected", recipes.car_encode),
    "train-rnn": ("train M on what V saw", recipes.car_mdn_rnn),
    "evolve": ("evolve C, on the road or (--dream) in M's dreams", recipes.car_controller),
}
# What only notebooks ask for.
FOR_CHAPTERS = ("retrain", "ball_tests", "seen", "ahead", "car_seen", "car_ahead", "car_looks",
                "car_tests", "broken_epochs", "tried_generations")  # fmt: skip
ALIASES = {"cluster": ("--dask",)}
INTERRUPTED = 130  # what shells call a Ctrl-C


def run_phase(arguments: argparse.Namespace) -> None:
    """One phase of one round of CarRacing; goes on with what is there."""
    _, phase = PHASES[arguments.command]
    with _run(arguments, resume=True) as (numbers, folder):
        if not 0 <= arguments.round < numbers.rounds:
            raise ValueError(f"round must be 0 to {numbers.rounds - 1}, got {arguments.round}")
        phase(numbers, folder, arguments.round)
        print(f"{arguments.command}: done, in {folder / f'round{arguments.round}'}")


def run(arguments: argparse.Namespace) -> None:
    """Everything, from nothing to a trained agent: all phases, round after round."""
    with _run(arguments, arguments.resume, arguments.dry_run) as (numbers, folder):
        if arguments.dry_run:
            from wmlib.plan import estimate

            print(estimate(numbers, folder, arguments.world))
            return
        if arguments.world == "ball":
            recipes.ball(numbers, folder)
        else:
            recipes.car_racing(numbers, folder)
        print(f"trained: {folder}")
        if arguments.final_eval and arguments.world != "ball":
            with processes(numbers.workers, numbers.cluster) as executor:
                print(recipes.score_car(numbers, folder, executor))


@contextlib.contextmanager
def _run(
    arguments: argparse.Namespace, resume: bool, look_only: bool = False
) -> Iterator[tuple[Preset, Path]]:
    """The settings and the folder of a run, which is ours alone as long as this lasts."""
    numbers = preset(arguments.scale)
    if arguments.dream:
        numbers = numbers.dreaming()
    name = "ball" if arguments.world == "ball" else "car_racing"
    name += "_dream" if arguments.dream else ""
    seed = numbers.seed if arguments.seed is None else arguments.seed
    folder = Path(arguments.folder or numbers.change(seed=seed).run_folder(name))
    if (folder / SETTINGS).exists():
        if not resume:
            raise ValueError(
                f"{folder} holds a run already: add --resume to go on with it, or name another "
                f"--folder"
            )
        numbers = Preset.load(folder)
        if arguments.dream not in (None, numbers.dream):
            kind = "in dreams" if numbers.dream else "on the road"
            raise ValueError(f"the run in {folder} evolves C {kind}: name another --folder")
    before, numbers = numbers, numbers.change(**_flags(arguments))
    if arguments.world != "ball":
        recipes.examine(numbers)
    if look_only:
        yield numbers, folder
        return
    folder.mkdir(parents=True, exist_ok=True)
    begun = (folder / SETTINGS).exists()
    try:
        with FileLock(folder / ".lock", timeout=0):
            numbers.save(folder)
            try:
                yield numbers, folder
            except ValueError:  # a flag that does not fit what is there: the run keeps its own
                if begun:
                    before.save(folder)
                raise
    except Timeout as error:
        raise ValueError(
            f"another process is at work in {folder}: wait for it, or name another --folder"
        ) from error


def _flags(arguments: argparse.Namespace) -> dict:
    names = (*TABLE, "rounds")
    given = {name: getattr(arguments, name, None) for name in names}
    # --dream also stands for all the other numbers of a run in dreams.
    return {name: value for name, value in given.items() if value is not None and name != "dream"}


def study(arguments: argparse.Namespace) -> None:
    """How far dreams can be trusted: a panel of drivers, and drivers bred under doubts."""
    from wmlib import study

    with _run(arguments, resume=True) as (numbers, folder):
        study.study(numbers, folder)
        print(f"studied: {folder}")


def evaluate(arguments: argparse.Namespace) -> None:
    """Score a driver on held-out tracks of the untouched CarRacing-v3."""
    numbers = preset(arguments.scale)
    world_model, controller = _agent(arguments)
    workers = numbers.workers if arguments.workers is None else arguments.workers
    with processes(workers, arguments.cluster or "") as executor:
        driver = ControllerDriver(controller)
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
        Path(arguments.json).write_text(json.dumps(result.summary(), indent=1) + "\n")
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
    from wmlib.play import has_display
    from wmlib.play import play as drive_and_show

    world_model, controller = _agent(arguments)
    video = arguments.video or (None if has_display() else "drive.mp4")
    drive = drive_and_show(ControllerDriver(controller), world_model, arguments.track, video)
    print(f"track {arguments.track}: score {drive.score:.0f} in {drive.steps} steps")
    if video is not None:
        print(f"written: {video}")


def dream(arguments: argparse.Namespace) -> None:
    """A drive, what V makes of it, and M's dream of it side by side, as a moving GIF."""
    from wmlib import report

    told = report.dream_against_reality(
        preset(arguments.scale),
        *_agent(arguments),
        arguments.out,
        track=arguments.track,
        seen=arguments.seen,
        ahead=arguments.ahead,
        temperature=arguments.temperature,
    )
    print(told)
    print(f"written: {arguments.out}")


def figures(arguments: argparse.Namespace) -> None:
    """Pictures of an agent: reconstructions, a map of z, M's accuracy, its drive, its scores."""
    from wmlib import report

    agent = _agent(arguments)
    paths = report.everything(preset(arguments.scale), *agent, arguments.out, arguments.folder)
    for path in paths:
        print(f"written: {path}")


def bench(arguments: argparse.Namespace) -> None:
    """Measure the speed of everything, side by side; writes bench.json and bench.png."""
    from wmlib import bench, figures  # only here: they need more than a training machine has

    folder = Path(arguments.out)
    folder.mkdir(parents=True, exist_ok=True)
    figures.use_style()
    workers = preset(arguments.scale).workers
    with processes(workers) as executor:
        measured = bench.everything(executor, workers, arguments.steps)
        for result in bench.run(measured, arguments.repetitions):  # it takes long: nothing is lost
            (folder / "bench.json").write_text(json.dumps(result, indent=1) + "\n")
            figures.bench(result).savefig(folder / "bench.png", dpi=90)
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
        print(f"shipped: {recipes.ship(numbers, folder, world, command)}")


def parser() -> argparse.ArgumentParser:
    """All commands with their flags."""
    top = argparse.ArgumentParser(prog="python -m wmlib", description=__doc__)
    commands = top.add_subparsers(required=True, dest="command", metavar="COMMAND")

    def add(name, function, help=None):
        text = help or function.__doc__
        command = commands.add_parser(name, help=text, description=text)
        command.set_defaults(run=function)
        command.add_argument("--scale", choices=SCALES, help="default: $WM_SCALE, or laptop")
        return command

    for name, (help, _) in PHASES.items():
        command = add(name, run_phase, help)
        command.add_argument("world", choices=["car_racing"], nargs="?", default="car_racing")
        command.add_argument("--round", type=int, default=0, help="of the loop; default: 0")
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
    command.add_argument("--tracks", type=int, default=100, help="default: 100")
    command.add_argument("--workers", type=int, help="processes; default: the scale's")
    command.add_argument("--cluster", "--dask", metavar="ADDRESS", help="of a Dask scheduler")
    command.add_argument("--json", metavar="FILE", help="keep the numbers")
    command = add("play", play)
    _add_agent(command)
    command.add_argument("--track", type=int, default=HELD_OUT_SEEDS.start)
    command.add_argument("--video", help="an .mp4 file instead of a window")
    command = add("dream", dream)
    _add_agent(command)
    command.add_argument("--track", type=int, default=0)
    command.add_argument("--seen", type=int, default=50, help="looks before the eyes close")
    command.add_argument("--ahead", type=int, default=100, help="looks dreamt after that")
    command.add_argument("--temperature", type=float, default=1.0)
    command.add_argument("--out", default="dream.gif", help="default: dream.gif")
    command = add("figures", figures)
    _add_agent(command)
    command.add_argument("--out", default="pictures", help="a folder; default: pictures")
    command = add("bench", bench)
    command.add_argument("--out", default="figures", help="a folder; default: figures")
    for name, default in {"repetitions": 7, "steps": 1000}.items():
        command.add_argument(f"--{name}", type=int, default=default, help=f"default: {default}")
    command = add("ship", ship)
    command.add_argument("world", choices=["ball", "car_racing"])
    command.add_argument("--tracks", type=int, help="held-out tracks; default: the scale's")
    _add_settings(command)
    return top


def _add_agent(command: argparse.ArgumentParser) -> None:
    command.add_argument("--folder", help="default: your own run's, or the one that came along")
    for name, what in {"vae": "V", "rnn": "M", "controller": "C"}.items():
        command.add_argument(f"--{name}", metavar="FILE", help=f"{what} from elsewhere")


def _add_settings(command: argparse.ArgumentParser) -> None:
    """A flag for every number of `presets.TABLE`."""
    command.add_argument("--folder", help="of the run; default: data/runs/<scale>/<world>")
    group = command.add_argument_group(
        "settings",
        "In brackets: at smoke, laptop, paper scale. Of what differs by round, give one for all, "
        "or several with commas between.",
    )
    group.add_argument("--rounds", type=int, help="of collect, V, M, C")
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
        elif isinstance(usual, tuple):
            kind = {"type": _several(type(usual[0])), "metavar": "N,..."}
        else:
            kind = {"type": type(usual), "metavar": type(usual).__name__.upper()}
        group.add_argument(*flags, default=None, help=f"{meaning} ({shown})", **kind)


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
    arguments = parser().parse_args(argv)
    try:
        arguments.run(arguments)
    except (ValueError, FileNotFoundError) as error:
        return _say(error)
    except SafetensorError as error:  # its own word for the same, without the file's name
        return _say(f"{error}. Nothing finished is lost")
    except OSError as error:  # a full disk, a directory that may not be written to
        return _say(f"{error.filename or 'the disk'}: {error.strerror}. Nothing finished is lost")
    except KeyboardInterrupt:
        print("\npython -m wmlib: stopped; the same with --resume goes on", file=sys.stderr)
        return INTERRUPTED
    return 0


def _say(error: object) -> int:
    print(f"python -m wmlib: {error}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
