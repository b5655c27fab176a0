"""Put a finished run, with cards, into data/pretrained."""

import datetime
import os
import platform
import shutil
from importlib import metadata
from pathlib import Path

from wmlib.files import read_log
from wmlib.models.checkpoints import write_card
from wmlib.paths import PRETRAINED
from wmlib.pipeline.config import Preset
from wmlib.pipeline.scoring import score_car
from wmlib.rollout.workers import processes
from wmlib.training.fit import pick_device


def _seconds(log: Path) -> float:
    # The clock of a log starts anew with every round: the last row of each counts.
    return round(sum({row.get("round", 0): row["seconds"] for row in read_log(log)}.values()), 1)


def ship(preset: Preset, run: str | Path, world: str, command: str) -> Path:
    """Copy a finished run's weights and logs to data/pretrained/<world>, with a card each.

    A card tells the command, seed, seconds and machine, and for C the held-out score. It also holds
    the file's sha256, which `load_network` checks.

    Of a run with another seed than 0 only the logs and the score are kept, in a folder "seed<n>" of
    that: to show how much of a result is luck, they are enough.
    """
    run, folder = Path(run), PRETRAINED / world
    if (run / "controller.safetensors").exists():
        with processes(preset.workers, preset.cluster) as executor:
            result = score_car(preset, run, executor)
    if preset.seed:
        return _copy_logs(run, folder / f"seed{preset.seed}")
    folder.mkdir(parents=True, exist_ok=True)
    for weights in sorted(run.glob("*.safetensors")):
        name = weights.stem
        log = "evolution" if name == "controller" else name
        card = {
            "command": command,
            "seed": preset.seed,
            "date": datetime.date.today().isoformat(),
            "training_seconds": _seconds(run / f"{log}.jsonl"),
            "machine": f"{os.cpu_count()} cores, {platform.machine()}, {_accelerator(preset)}",
            "versions": {
                package: metadata.version(package) for package in ("torch", "gymnasium", "cma")
            },
        }
        shutil.copy(weights, folder)
        if name == "controller":
            card["score"] = result.summary()
        write_card(folder / weights.name, card)
    return _copy_logs(run, folder)


def _accelerator(preset: Preset) -> str:
    device = pick_device(preset.device or None).type
    return "no GPU" if device == "cpu" else device


def _copy_logs(run: Path, folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for log in run.glob("*.jsonl"):
        shutil.copy(log, folder)
    return folder
