"""Export a finished run, with cards, to data/pretrained."""

import datetime
import os
import platform
import shutil
from dataclasses import asdict
from importlib import metadata
from pathlib import Path

from wmlib.files import read_log
from wmlib.models.checkpoints import write_card
from wmlib.paths import PRETRAINED
from wmlib.pipeline.config import Config, Machine
from wmlib.pipeline.rounds import rounds_of
from wmlib.pipeline.scoring import score_run
from wmlib.pipeline.workers import processes
from wmlib.provenance import code_version
from wmlib.training.fit import pick_device


def _seconds(log: Path) -> float:
    # The clock of a log starts anew with every round: the last row of each counts.
    return round(sum({row.get("round", 0): row["seconds"] for row in read_log(log)}.values()), 1)


def export(
    config: Config, run: str | Path, world: str, machine: Machine, tracks: int | None = None
) -> Path:
    """Copy a finished run's weights and logs to data/pretrained/<world>, with a card each.

    A card has the run's own settings, the file's record and sha256 (`load_network` checks it), the
    version of the code, seconds and machine, and for C the score on held-out tracks; by default the
    config's number of them.

    Of a run with another seed than 0 only the logs and the score are kept, in a folder "seed<n>" of
    that: to show how results vary with the seed, they are enough. "machine" and "versions" of a
    card are those of the export. Raises ValueError if the run is not finished.
    """
    run, folder, score = Path(run), PRETRAINED / world, None
    rounds = rounds_of(config, run, machine)
    unfinished = [current.work for current in rounds if world != "ball" and not current.is_finished]
    missing = [n for n in ("vae", "mdn_rnn") if not (run / f"{n}.safetensors").exists()]
    if unfinished or missing:
        raise ValueError(f"the run in {run} is not finished: run it to its end first")
    if world != "ball":
        with processes(machine.workers, machine.cluster) as executor:
            score = score_run(config, run, executor, tracks).summary()
    if config.seed:
        return _copy_logs(run, folder / f"seed{config.seed}")
    device = pick_device(machine.device or None).type
    files, cards = sorted(run.glob("*.safetensors")), []
    for weights in files:
        name, log = weights.stem, run / f"{_log_of(weights.stem)}.jsonl"
        card = {
            "settings": asdict(config),
            "exported_by": code_version(),
            "date": datetime.date.today().isoformat(),
            "training_seconds": _seconds(log) if log.exists() else None,  # None: imported
            "machine": f"{os.cpu_count()} cores, {platform.machine()}, "
            + ("no GPU" if device == "cpu" else device),
            "versions": {
                package: metadata.version(package) for package in ("torch", "gymnasium", "cma")
            },
        }
        cards.append(card | ({"score": score} if name == "controller" else {}))
    folder.mkdir(parents=True, exist_ok=True)
    for weights, card in zip(files, cards, strict=True):
        shutil.copy(weights, folder)
        write_card(folder / weights.name, card)
    return _copy_logs(run, folder)


def _log_of(name: str) -> str:
    return "evolution" if name == "controller" else name


def _copy_logs(run: Path, folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for log in run.glob("*.jsonl"):
        shutil.copy(log, folder)
    return folder
