"""The table of an ablation: a JSON-lines file, to which one row after the other is added."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from wmlib.files import read_log, write_log
from wmlib.paths import PRETRAINED, pretrained
from wmlib.pipeline.config import Config, Machine
from wmlib.pipeline.scales import get_config, get_machine
from wmlib.pipeline.scoring import agent_digest
from wmlib.provenance import Record, require


@dataclass(frozen=True)
class Table:
    """Rows of one origin. A row has the columns of its key, of what was measured, and "record"."""

    file: Path
    record: Record

    def rows(self) -> list[dict]:
        """What is there. Raises ValueError if one of the rows is of another origin."""
        rows = read_log(self.file) if self.file.exists() else []
        for row in rows:
            require(self.file, Record.from_dict(row.get("record")), self.record)
        return rows

    def add(self, key: dict, measure: Callable[[], dict]) -> None:
        """Measure and append the row of this key, unless it is there."""
        rows = self.rows()
        if not any(key.items() <= row.items() for row in rows):
            write_log([*rows, key | measure() | {"record": self.record.to_dict()}], self.file)


def published(name: str) -> Path:
    """The file of an ablation's table as it is committed."""
    return PRETRAINED / "ablations" / f"{name}.jsonl"


@dataclass(frozen=True)
class Ablate:
    """A command that measures the pretrained agents, in several processes."""

    scale: str | None = None  # smoke, laptop or paper; default: $WM_SCALE, or laptop
    out: Path | None = None  # file; default: the committed one, in data/pretrained/ablations
    workers: int | None = None  # processes; default: the scale's
    cluster: str = ""  # address of a Dask scheduler; on trusted networks only
    name: ClassVar[str]  # of the table

    def measure(self, config: Config, file: Path, work: Path, machine: Machine) -> None:
        """Complete the table in `file`; `work` is for what has to be made on the way."""
        raise NotImplementedError

    def __call__(self) -> None:
        """Run it."""
        config, usual = get_config(self.scale), get_machine(self.scale)
        out, agent = self.out or published(self.name), agent_digest(pretrained("car_racing"))
        work = config.run_folder(f"{self.name}_ablation-{agent}")
        workers = usual.workers if self.workers is None else self.workers
        self.measure(config, out, work, Machine(workers, self.cluster))
        print(f"written: {out}")
