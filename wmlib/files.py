"""Files written whole or not at all, logs as JSON lines, a lock, digests; no part of wmlib's."""

import hashlib
import json
import os
import re
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from filelock import FileLock, Timeout


def read_log(path: str | Path) -> list[dict]:
    """A JSON-lines file as a list of dictionaries. Raises ValueError where it is damaged."""
    rows = []
    for number, line in enumerate(Path(path).read_text(encoding="utf-8").splitlines(), 1):
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError as error:
            raise ValueError(f"line {number} of {path} is damaged: remove it") from error
    return rows


def write_log(rows: list[dict], path: str | Path) -> None:
    """Dictionaries as a JSON-lines file."""
    text = "".join(json.dumps(row) + "\n" for row in rows)
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


TEMPORARY = r"\..+\.[0-9a-f]{12}"


def write_atomically(path: str | Path, write) -> None:
    """Call write(temporary path), then move the result to `path`: a reader sees all or nothing."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}")  # on any machine, once
    try:
        write(temporary)
        with temporary.open("r+b") as file:  # or a crash might leave an empty file
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:  # a full disk should not be left fuller
        temporary.unlink(missing_ok=True)
        raise


@contextmanager
def exclusive_lock(folder: str | Path) -> Iterator[None]:
    """A lock on a folder, as long as this lasts.

    What a process that was killed in the middle of writing left there is removed. Raises ValueError
    if another process has the lock, or another thread; the same thread may have it twice.
    """
    Path(folder).mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(Path(folder).resolve() / ".lock", timeout=0, is_singleton=True) as lock:
            if lock.lock_counter == 1:
                for path in Path(folder).rglob(".*"):
                    if re.fullmatch(TEMPORARY, path.name):
                        path.unlink(missing_ok=True)
            yield
    except Timeout as error:
        raise ValueError(
            f"another process is at work in {folder}: wait for it, or name another folder"
        ) from error


def digest(vector: np.ndarray) -> str:
    """Twelve characters that stand for a vector, to tell whether two are the same."""
    return hashlib.sha256(np.asarray(vector, float).tobytes()).hexdigest()[:12]


def sha256(file: str | Path) -> str:
    """The SHA-256 of a file's content, in hexadecimal."""
    return hashlib.sha256(Path(file).read_bytes()).hexdigest()


def link_or_copy(source: str | Path, target: str | Path) -> None:
    """Make `target` the same file as `source` or, where the disk has no links, a copy.

    FileExistsError if it is there already.
    """
    try:
        os.link(source, target)
    except FileExistsError:
        raise
    except OSError:  # another disk, or one without links: FAT, some network drives
        write_atomically(Path(target), lambda path: shutil.copyfile(source, path))
