"""Episodes on disk.

One episode is one Zarr zip file, compressed with zstd (frames shrink 10 to 20 times). It is written
under another name and moved into place when complete, so no torn episode is ever seen, however the
writing ended, and any number of processes can write at once.
"""

import hashlib
import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile

import numpy as np
import torch
import zarr
from numcodecs import Blosc
from torch import Tensor
from zarr.storage import ZipStore

from wmlib.files import link_or_copy, write_atomically
from wmlib.provenance import Record, require

RECORD = "record.json"


FRAMES_PER_CHUNK = 64


CODEC = Blosc("zstd", clevel=5, shuffle=Blosc.NOSHUFFLE)


# Zarr 3 (Python 3.11+) still writes format 2, the only one that Zarr 2 knows.
FORMAT: dict[str, Any] = {"zarr_format": 2} if int(zarr.__version__.split(".")[0]) >= 3 else {}


class EpisodeStore:
    """A folder of episodes; an episode is a dictionary of arrays that share their first axis.

    The folder is made by the first write. What reads an episode raises FileNotFoundError if the
    folder or the episode does not exist, and ValueError if the file is damaged.
    """

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)

    def write(self, name: str, episode: dict[str, np.ndarray]) -> None:
        """Add an episode, or replace it. All or nothing.

        Raises ValueError for a NaN or an infinity in it: whatever learned from it would be lost.
        """
        require_finite_arrays(episode, self.path(name))
        write_atomically(self.path(name), lambda path: _write_zip(path, episode))

    @property
    def record(self) -> Record | None:
        """What all episodes were made from and with, see `begin`; None if nothing was said."""
        file = self.folder / RECORD
        if not file.exists():
            return None
        try:
            return Record.from_dict(json.loads(file.read_text(encoding="utf-8")))
        except (json.JSONDecodeError, TypeError) as error:
            raise ValueError(f"{file} is damaged: delete {self.folder}, and start again") from error

    def begin(self, record: Record, rebuild: bool = False) -> None:
        """Say what all episodes are made from and with, before the first one is written.

        Raises ValueError if there are episodes of another origin. rebuild: these are removed
        instead; for what can be computed again.
        """
        if len(self):
            if not rebuild:
                require(self.folder, self.record, record)
            if self.record == record:
                return
            for name in self.names():
                self.path(name).unlink()
        text = json.dumps(record.to_dict(), indent=1) + "\n"
        write_atomically(self.folder / RECORD, lambda path: path.write_text(text, encoding="utf-8"))

    def digest(self) -> str:
        """Twelve characters that stand for the content of all episodes.

        From the checksums inside the files, so that nothing has to be decompressed.
        """
        total = hashlib.sha256()
        for name in self.names():
            with self._decoding(name), ZipFile(self.path(name)) as file:
                parts = sorted((part.filename, part.CRC) for part in file.infolist())
            total.update(repr((name, parts)).encode())
        return total.hexdigest()[:12]

    def names(self) -> list[str]:
        """All complete episodes, sorted."""
        return sorted(path.stem for path in self.folder.glob("[!.]*.zip"))

    def __len__(self) -> int:
        return len(self.names())

    def __contains__(self, name: str) -> bool:
        return self.path(name).exists()

    def keys(self, name: str) -> list[str]:
        """The names of an episode's arrays, sorted."""
        self._require_folder()
        if name not in self:
            raise FileNotFoundError(f"there is no episode {name!r} in {self.folder}")
        with self._decoding(name), ZipFile(self.path(name)) as file:
            keys = {entry.split("/")[0] for entry in file.namelist() if "/" in entry}
            if not keys:
                raise BadZipFile("an archive without arrays")
            return sorted(keys)

    def read(self, name: str, key: str, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Rows start:stop of one array; only the chunks they lie in are decompressed.

        Raises KeyError if the episode has no such array.
        """
        self._require_key(name, key)
        with self._decoding(name), ZipStore(str(self.path(name)), mode="r") as store:
            return _turned(np.asarray(zarr.open_array(store=store, path=key, mode="r")[start:stop]))

    def episode(self, name: str) -> dict[str, np.ndarray]:
        """All arrays of an episode."""
        keys = self.keys(name)
        with self._decoding(name), ZipStore(str(self.path(name)), mode="r") as store:
            arrays = {key: zarr.open_array(store=store, path=key, mode="r") for key in keys}
            return {key: _turned(np.asarray(array[:])) for key, array in arrays.items()}

    def length(self, name: str, key: str = "frames") -> int:
        """First axis of one array, without reading it. Raises KeyError if there is none."""
        self._require_key(name, key)
        with self._decoding(name), ZipStore(str(self.path(name)), mode="r") as store:
            return zarr.open_array(store=store, path=key, mode="r").shape[0]

    def _require_key(self, name: str, key: str) -> None:
        if key not in (keys := self.keys(name)):
            raise KeyError(f"{self.path(name)} has no {key!r}, only {', '.join(keys)}")

    @contextmanager
    def _decoding(self, name: str) -> Iterator[None]:
        # For opening and decoding a file, and nothing else: what fails then means damage.
        try:
            yield
        except (BadZipFile, KeyError, RuntimeError, zlib.error) as error:
            raise ValueError(
                f"{self.path(name)} is damaged: delete it (and its like in other rounds, which "
                f"are the same file), and collect or encode again"
            ) from error

    def _require_folder(self) -> None:
        if not self.folder.is_dir():
            raise FileNotFoundError(f"there is no folder {self.folder}: collect or encode first")

    def include(self, other: "EpisodeStore", names: Sequence[str] | None = None) -> None:
        """Take in another store's episodes (default: all): by links, where the disk has them.

        Raises FileNotFoundError if the other store's folder does not exist.
        """
        other._require_folder()
        self.folder.mkdir(parents=True, exist_ok=True)
        for name in other.names() if names is None else names:
            if name not in self:
                link_or_copy(other.path(name), self.path(name))

    def path(self, name: str) -> Path:
        """The file of an episode, whether it is there or not."""
        return self.folder / f"{name}.zip"


def require_finite_arrays(episode: Mapping[str, np.ndarray], file: Path) -> None:
    for key, values in episode.items():
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            step = int(np.argwhere(~np.isfinite(values))[0][0])
            raise ValueError(f"{file}: {key} is not finite (NaN or infinity) at step {step}")


def _write_zip(path: Path, episode: dict[str, np.ndarray]) -> None:
    path.touch()  # where that is not allowed, Zarr would say something else
    with ZipStore(str(path), mode="w") as store:
        zarr.open_group(store=store, mode="a", **FORMAT)
        for key, values in episode.items():
            values = np.ascontiguousarray(_turned(values))
            rows = FRAMES_PER_CHUNK if values.ndim == 4 else max(1, len(values))
            array = zarr.create(
                store=store,
                path=key,
                shape=values.shape,
                dtype=values.dtype,
                chunks=(rows, *(max(1, n) for n in values.shape[1:])),
                compressor=CODEC,
                **FORMAT,
            )
            array[:] = values


def _turned(values: np.ndarray) -> np.ndarray:
    # Frames rest on disk colour by colour and column by column, which zstd likes a fifth better
    # (14.7:1 as they come, 17.6:1 turned), and finishes sooner. The same turn leads back.
    return values.transpose(0, 3, 2, 1) if values.ndim == 4 else values


def previous_rewards(rewards: Tensor) -> Tensor:
    """Rewards (T,) of T steps -> the previous reward at each of their T + 1 moments, 0 at first."""
    return torch.cat([rewards.new_zeros(1), rewards])
