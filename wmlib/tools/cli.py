"""`python -m wmlib COMMAND`: train, score, watch and measure from a shell.

The commands are the dataclasses of `runs.py` and `agents.py`; their fields are the options.
"""

import io
import re
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import BrokenExecutor
from pathlib import Path
from typing import Any

import torch
import tyro
from safetensors import SafetensorError

from wmlib.tools import (
    agents,
    deployment_ablation,
    export_web,
    exports,
    frame_ablation,
    input_ablation,
    mixture_ablation,
    ppo_ablation,
    round_ablation,
    runs,
    search_ablation,
    selection_ablation,
    survival_ablation,
    temperature_ablation,
    vision_ablation,
)

# Commands on a run, with the world that it is of.
RUNS: dict[str, tuple[type[runs.RunCommand], str]] = {
    "run ball": (runs.TrainBall, "ball"),
    "run car_racing": (runs.TrainCar, "car_racing"),
    "run take_cover": (runs.TrainTakeCover, "take_cover"),
    "collect": (runs.Collect, "car_racing"),
    "train-vae": (runs.TrainVAE, "car_racing"),
    "encode": (runs.Encode, "car_racing"),
    "train-rnn": (runs.TrainRNN, "car_racing"),
    "evolve": (runs.Evolve, "car_racing"),
    "ablate": (runs.Ablate, "car_racing"),
    "ablate round": (round_ablation.AblateRound, "car_racing"),
    "ablate survival": (survival_ablation.AblateSurvival, "take_cover"),
    "ablate temperature": (temperature_ablation.AblateTemperature, "take_cover"),
    "export ball": (exports.ExportBall, "ball"),
    "export car_racing": (exports.ExportCar, "car_racing"),
    "export take_cover": (exports.ExportTakeCover, "take_cover"),
}

AGENTS: dict[str, type] = {
    "evaluate": agents.Evaluate,
    "play": agents.Play,
    "dream": agents.DreamGif,
    "figures": agents.Figures,
    "bench": agents.Bench,
    "ablate deployment": deployment_ablation.AblateDeployment,
    "ablate frames": frame_ablation.AblateFrames,
    "ablate inputs": input_ablation.AblateInputs,
    "ablate mixtures": mixture_ablation.AblateMixtures,
    "ablate ppo": ppo_ablation.AblatePPO,
    "ablate search": search_ablation.AblateSearch,
    "ablate selection": selection_ablation.AblateSelection,
    "ablate vision": vision_ablation.AblateVision,
    "export-web": export_web.ExportWeb,
}

# What commands and options were called before: command -> option -> its name now.
RENAMED_COMMANDS = {"study": "ablate", "ship": "export"}
RENAMED_OPTIONS: dict[str, dict[str, str]] = {
    "run": {
        "--dask": "--cluster",
        "--rounds": "--num-rounds",
        "--sigmas": "--sigma",
        "--frame-size": "--env.frame-size",
        "--lanes": "--env.num-envs",
        "--max-steps": "--env.max-steps",
        "--repeat": "--frame-skip",
        "--env.repeat": "--frame-skip",
        "--policy": "--collect.policy",
        "--random-patience": "--collect.patience",
        "--vae-batch": "--vae.batch-size",
        "--rnn-epochs": "--rnn.epochs",
        "--rnn-batch": "--rnn.batch-size",
        "--window": "--rnn.window",
        "--population": "--search.population",
        "--directions": "--search.directions",
        "--double-every": "--search.double-every",
        "--patience": "--search.patience",
        "--check-every": "--search.check-every",
        "--check-tracks": "--search.check-tracks",
        "--study-generations": "--search.ablation-generations",
        "--dream-z-noise": "--dream.z-noise",
        "--dream-z-weight": "--dream.z-weight",
        "--dream-rate": "--dream.learning-rate",
        "--dream-batch": "--dream.batch-size",
        "--dream-fresh": "--dream.newest",
        "--dream-starts": "--dream.starts",
        "--dream-before": "--dream.start-before",
        "--dream-lanes": "--dream.num-envs",
        "--dream-steps": "--dream.steps",
        "--dream-patience": "--dream.patience",
        "--hindsight-dreams": "--dream.reevaluations",
        "--hindsight-best": "--dream.averaged",
        "--temperature": "--dream.temperature",
        "--pay-temperature": "--dream.reward-temperature",
        "--dropout": "--dream.dropout",
        "--ball-episodes": "--ball.episodes",
        "--ball-vae-epochs": "--ball.vae-epochs",
        "--ball-rnn-epochs": "--ball.rnn-epochs",
    },
    "evaluate": {"--dask": "--cluster"},
    "dream": {"--seen": "--context", "--ahead": "--horizon"},
}

CODES = """exit codes: 0: done. 1: something to mend, said in one sentence. 2: no command, or no
option of it. 130: interrupted; nothing that was finished is lost."""

PROG, INTERRUPTED = "python -m wmlib", 130  # what shells call a Ctrl-C


def parse(argv: Sequence[str]) -> tuple[str, Callable[[], None]]:
    """The name of a command, and the command with its options, to be called.

    Exits with 2 for what is no command or no option, with 0 after a --help.
    """
    name, rest = _split([RENAMED_COMMANDS.get(argv[0], argv[0]), *argv[1:]] if argv else [])
    rest = _with_names_of_today(name, rest)
    options: dict[str, Any] = {"args": rest, "prog": f"{PROG} {name}"}
    if name in AGENTS:
        return name, tyro.cli(AGENTS[name], **options)
    kind, world = RUNS[name]
    default = kind.default(rest, world)
    return name, tyro.cli(kind, default=default, **options)


def _split(argv: list[str]) -> tuple[str, list[str]]:
    # The command, which may be two words, and its options.
    names = (*RUNS, *AGENTS)
    for words in (2, 1):
        if (name := " ".join(argv[:words])) in names:
            rest = argv[words:]
            return name, rest[rest[:1] == ["car_racing"] :]  # it may be said: there is no other
    wanted = [name for name in names if name.split()[0] == (argv or [""])[0]] or names
    asked = not argv[:1] or argv[-1] in ("-h", "--help")
    print(_listing(wanted), file=sys.stdout if asked else sys.stderr)
    sys.exit(0 if asked and argv else 2)


def _listing(names: Sequence[str]) -> str:
    kinds = {name: kind for name, (kind, _) in RUNS.items()} | AGENTS
    lines = [f"usage: {PROG} COMMAND [options]    ({PROG} COMMAND --help lists them)", ""]
    width = 2 + max(map(len, kinds))
    for name in names:
        meaning = (kinds[name].__doc__ or "").splitlines()[0]
        lines.append(f"  {name:{width}}{meaning}")
    return "\n".join([*lines, "", CODES])


def _with_names_of_today(name: str, arguments: list[str]) -> list[str]:
    # Options that have other names now; values by round may have commas between them.
    renamed = RENAMED_OPTIONS.get("run" if name in RUNS else name, {})
    result: list[str] = []
    for argument in arguments:
        option, equals, value = argument.partition("=")
        if option in renamed:
            now = renamed[option]
            print(f"{PROG}: {option} is called {now} now", file=sys.stderr)
            argument = now + equals + value
        several = name in RUNS and re.fullmatch(r"[-+.\de]+(,[-+.\de]+)+", argument)
        result += argument.split(",") if several else [argument]
    return result


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, run, and turn what a user can mend into one line; returns the exit code.

    0: done. 1: something to mend, said in one sentence. 2: no command, or no option of it.
    130: interrupted; nothing that was finished is lost.
    """
    for stream in (sys.stdout, sys.stderr):
        # A terminal that knows no ± must not end an hour's work with a UnicodeEncodeError.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    name = ""
    try:
        name, command = parse(sys.argv[1:] if argv is None else argv)
        command()
    except (ValueError, FileNotFoundError) as error:
        return _say(error)
    except ModuleNotFoundError as error:  # pictures and measurements need more than the core has
        if error.name is None:  # one of our own, which says what to do
            return _say(error)
        return _say(f"{error.name} is not installed: pip install -e '.[notebooks]' brings it")
    except SafetensorError as error:  # its own word for a full disk, without the file's name
        return _say(f"{error}. Nothing finished is lost")
    except OSError as error:  # a full disk, a folder that may not be written to
        where = Path(error.filename or "the disk")
        where = where.parent if where.name.startswith(".") else where  # it is not our own file
        return _say(f"{where}: {error.strerror or error}. Nothing finished is lost")
    except (MemoryError, torch.cuda.OutOfMemoryError) as error:
        return _say(f"not enough memory ({error}): try fewer --workers, or smaller batches")
    except BrokenExecutor as error:
        return _say(f"a worker was ended from outside, for want of memory maybe: {error}")
    except KeyboardInterrupt:
        print(f"\n{PROG}: stopped; {_how_to_resume(name)}", file=sys.stderr)
        return INTERRUPTED
    return 0


def _how_to_resume(name: str) -> str:
    if name.startswith("run"):
        return "the same with --resume goes on"
    resumes = name in RUNS or name.startswith("ablate")
    return "the same again goes on" if resumes else "nothing was kept"


def _say(error: object) -> int:
    print(f"{PROG}: {error}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
