"""The table of an ablation: a JSON-lines file, to which one row after the other is added."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from wmlib.files import read_log, write_log
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
