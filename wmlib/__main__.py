"""`python -m wmlib ...`: the phases of `recipes.py` from a shell, for long runs."""

import argparse
import json
import sys
from pathlib import Path

from wmlib import evaluation, recipes
from wmlib.drivers import ControllerDriver
from wmlib.envs import HELD_OUT_SEEDS
from wmlib.presets import SCALES, preset
from wmlib.rollout import processes
from wmlib.world_model import WorldModel, load_controller, pretrained


def train(arguments: argparse.Namespace) -> None:
    """Train everything for one world, going on from whatever its folder already holds."""
    numbers = preset(arguments.scale)._replace(seed=arguments.seed)
    if arguments.world == "car_racing_dream":
        numbers = numbers.dreaming()
    folder = arguments.folder or numbers.run_folder(arguments.world)
    if arguments.world == "ball":
        recipes.ball(numbers, folder)
    else:
        recipes.car_racing(numbers, folder)
    print(f"trained: {folder}")


def ship(arguments: argparse.Namespace) -> None:
    """Score a finished run and put its weights, with cards, into data/pretrained."""
    numbers = preset(arguments.scale)._replace(seed=arguments.seed)
    numbers = numbers._replace(score_tracks=arguments.tracks or numbers.score_tracks)
    folder = arguments.folder or numbers.run_folder(arguments.world)
    command = f"python -m wmlib train {arguments.world} --scale {numbers.scale}"
    command += f" --seed {numbers.seed}" if numbers.seed else ""
    print(f"shipped: {recipes.ship(numbers, folder, arguments.world, command)}")


def score(arguments: argparse.Namespace) -> None:
    """Score a driver on held-out tracks of the untouched CarRacing-v3."""
    numbers = preset(arguments.scale)
    own = numbers.run_folder("car_racing")
    trained = (own / "controller.safetensors").exists()
    folder = Path(arguments.folder or (own if trained else pretrained("car_racing")))
    driver = ControllerDriver(load_controller(folder / "controller.safetensors"))
    print(f"the agent in {folder}:")
    with processes(numbers.workers) as executor:
        print(
            evaluation.score(driver, WorldModel.load(folder), arguments.tracks, executor=executor)
        )


def play(arguments: argparse.Namespace) -> None:
    """Watch the agent drive a held-out track: a window, or a video where there is no display."""
    from wmlib.play import has_display
    from wmlib.play import play as drive_and_show

    folder = Path(arguments.folder or pretrained("car_racing"))
    driver = ControllerDriver(load_controller(folder / "controller.safetensors"))
    video = arguments.video or (None if has_display() else "drive.mp4")
    drive = drive_and_show(driver, WorldModel.load(folder), arguments.track, video)
    print(f"track {arguments.track}: score {drive.score:.0f} in {drive.steps} steps")
    if video is not None:
        print(f"written: {video}")


def bench(arguments: argparse.Namespace) -> None:
    """Measure the speed of everything, side by side; writes bench.json and bench.png."""
    from wmlib import bench, figures  # only here: they need more than a training machine has

    folder = Path(arguments.folder or "figures")
    workers = preset(arguments.scale).workers
    with processes(workers) as executor:
        measured = bench.everything(executor, workers, arguments.steps)
        result = bench.run(measured, arguments.rounds)
    print(bench.table(result))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "bench.json").write_text(json.dumps(result, indent=1) + "\n")
    figures.use_style()
    figures.bench(result).savefig(folder / "bench.png", dpi=90)
    print(f"written: {folder / 'bench.json'}, {folder / 'bench.png'}")


def main(argv: list[str] | None = None) -> int:
    """Parse, run, and turn what a user can mend into one line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m wmlib", description=__doc__)
    commands = parser.add_subparsers(required=True)
    for function in (train, score, ship, play, bench):
        command = commands.add_parser(function.__name__, help=function.__doc__)
        command.set_defaults(run=function)
        command.add_argument("--scale", choices=SCALES, help="default: WM_SCALE, or laptop")
        where = {
            bench: "figures",
            play: "the weights that came along",
            score: "your run's, or else the weights that came along",
        }
        where = where.get(function, "data/runs/<scale>/<world>")
        command.add_argument("--folder", help=f"default: {where}")
    for name in ("train", "ship"):
        commands.choices[name].add_argument(
            "world", choices=["ball", "car_racing", "car_racing_dream"]
        )
        commands.choices[name].add_argument("--seed", type=int, default=0, help="default: 0")
    commands.choices["score"].add_argument("--tracks", type=int, default=100, help="default: 100")
    commands.choices["ship"].add_argument("--tracks", type=int, help="default: the preset's")
    commands.choices["play"].add_argument("--track", type=int, default=HELD_OUT_SEEDS.start)
    commands.choices["play"].add_argument("--video", help="an .mp4 file instead of a window")
    for name, default in {"rounds": 7, "steps": 1000}.items():
        commands.choices["bench"].add_argument(
            f"--{name}", type=int, default=default, help=f"default: {default}"
        )
    arguments = parser.parse_args(argv)
    try:
        arguments.run(arguments)
    except (ValueError, FileNotFoundError) as error:
        print(f"python -m wmlib: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
