"""The rounds of a run: their folders, their tracks, their logs."""

import shutil
from pathlib import Path
from typing import Any

from torch import nn

from wmlib.files import read_log, write_atomically, write_log
from wmlib.models.checkpoints import load_controller, load_network, load_world_model
from wmlib.models.controller import Controller
from wmlib.models.world_model import WorldModel
from wmlib.pipeline.config import Preset

WORLD_MODEL = ("collect", "vae", "encode", "mdn_rnn")  # what makes V and M, and its logs


# The logs of all that comes before C; True: every row has its own seconds, False: those so far.
LOGS = {
    "collect": True,
    "encode": True,
    "vae": False,
    "mdn_rnn": False,
    "dream": False,
    "hindsight": False,
}


SEEDS_PER_ROUND = 100_000


SEEDS_PER_RUN = 10_000  # runs with other seeds collect on other tracks


LATE_ROUNDS, SEEDS_PER_LATE_ROUND = 4, 500  # from the fifth round on they are many, and short


MANY_TRACKS_SEEDS = 10  # so many runs have room for the paper's 10,000 episodes in every round


TEST_TRACKS_FROM = 500_000  # of drives that nobody learns from


FEW_TRACKS_FROM, SEEDS_PER_FIRST_ROUND = 510_000, 2_000  # where the other runs' tracks lie


CHECK_TRACKS_FROM = 900_000  # tracks of training that no candidate drives: for the learning curve


def training_tracks(preset: Preset, number: int) -> range:
    """The tracks that round `number` collects on: others in every round, and with every seed.

    They rise from round to round. Raises ValueError where they would run into another round's.
    """
    if preset.seed < MANY_TRACKS_SEEDS:
        late = max(0, number - LATE_ROUNDS)
        first = (number - late) * SEEDS_PER_ROUND + preset.seed * SEEDS_PER_RUN
        first += late * SEEDS_PER_LATE_ROUND
        room = SEEDS_PER_RUN if number < LATE_ROUNDS else SEEDS_PER_LATE_ROUND
        rounds = LATE_ROUNDS + SEEDS_PER_RUN // SEEDS_PER_LATE_ROUND
    else:
        first = FEW_TRACKS_FROM + (preset.seed - MANY_TRACKS_SEEDS) * SEEDS_PER_RUN
        room = SEEDS_PER_FIRST_ROUND if number == 0 else SEEDS_PER_LATE_ROUND
        first += number and SEEDS_PER_FIRST_ROUND + (number - 1) * SEEDS_PER_LATE_ROUND
        rounds = 1 + (SEEDS_PER_RUN - SEEDS_PER_FIRST_ROUND) // SEEDS_PER_LATE_ROUND
    seeds = MANY_TRACKS_SEEDS + (CHECK_TRACKS_FROM - FEW_TRACKS_FROM) // SEEDS_PER_RUN
    for name, value, limit in (
        ("seed", preset.seed, seeds - 1),
        (f"episodes of round {number}", preset.episodes[number], room),
        ("rounds", number + 1, rounds),
    ):
        if not 0 <= value <= limit:
            raise ValueError(f"{name} must be 0 to {limit:,}, got {value:,}")
    return range(first, first + preset.episodes[number])


def network_before(
    preset: Preset, folder: str | Path | None, number: int, kind: type[nn.Module], name: str
) -> Any:
    return load_network(kind, round_folder(preset, folder, number - 1) / f"{name}.safetensors")


def agent_before(
    preset: Preset, folder: str | Path | None, number: int
) -> tuple[WorldModel, Controller] | None:
    if number == 0:
        return None
    work = round_folder(preset, folder, number - 1)
    proven = load_controller(work / f"{result_name(preset, number - 1)}.safetensors")
    return load_world_model(work), proven


def is_finished(preset: Preset, folder: str | Path | None, number: int) -> bool:
    return (round_folder(preset, folder, number) / "controller.safetensors").exists()


def round_folder(preset: Preset, folder: str | Path | None, number: int) -> Path:
    name = "car_racing_dream" if preset.dream else "car_racing"
    return Path(folder or preset.run_folder(name)) / f"round{number}"


def result_name(preset: Preset, number: int) -> str:
    # What a round has to show: in dreams, what it began with is surer than what it found.
    return "start" if preset.looks_back(number) else "controller"


def publish(preset: Preset, folder: str | Path | None, number: int, *names: str) -> None:
    # From the round's folder to the run's: its weights; its logs, behind those of earlier rounds.
    # Unless a later round is there already: chapters 2 and 3 may call for the first one again.
    work = round_folder(preset, folder, number)
    if is_finished(preset, folder, number + 1):
        return
    for name in names:
        source = result_name(preset, number) if name == "controller" else name
        weights, log = work / f"{source}.safetensors", f"{name}.jsonl"
        if weights.exists():
            target = work.parent / f"{name}.safetensors"
            write_atomically(target, lambda p, w=weights: shutil.copy(w, p))
        if (work / log).exists():
            rounds = [(k, round_folder(preset, folder, k) / log) for k in range(number + 1)]
            # A kill between the last drive and its row in the log may have cost the row.
            kept = [(k, path) for k, path in rounds if path.exists()]
            rows = [row | {"round": k} for k, path in kept for row in read_log(path)]
            write_log(rows, work.parent / log)


def timeline(folder: str | Path) -> list[dict]:
    """The rows of a run's evolution log, each with "minutes" since the folder was empty.

    Where a round began in `hindsight`, "check" and "check_std" are of what it began with, in its
    first row, and "found" and "found_std" of what its search came to.

    The sum of what all phases of all rounds logged. Pauses between sittings are not counted; nor is
    a sitting of collecting or encoding that was killed, because these log when they are done.
    """
    folder, before = Path(folder), 0.0
    evolution = read_log(folder / "evolution.jsonl")
    proven = folder / "hindsight.jsonl"
    begun = {row["round"]: row for row in read_log(proven)} if proven.exists() else {}
    rows = []
    for number in range(evolution[-1]["round"] + 1):
        for phase, adds_up in LOGS.items():
            file = folder / f"{phase}.jsonl"
            log = [r for r in read_log(file) if r["round"] == number] if file.exists() else []
            seconds = [r["seconds"] for r in log] or [0.0]  # what stayed took no time
            before += sum(seconds) if adds_up else seconds[-1]
        log = [row for row in evolution if row["round"] == number]
        if number in begun:
            renamed = {"check": "found", "check_std": "found_std"}
            log = [{renamed.get(key, key): row[key] for key in row} for row in log]
            log[0] |= {key: begun[number][key] for key in renamed}
        rows += [row | {"minutes": (before + row["seconds"]) / 60} for row in log]
        before += log[-1]["seconds"]
    return rows
