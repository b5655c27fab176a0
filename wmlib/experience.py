"""Episodes on disk, and the batches that V and M learn from.

One episode is one Zarr zip file, compressed with zstd (frames shrink 10 to 20 times). It is written
under another name and moved into place when complete, so no torn episode is ever seen, however the
writing ended, and any number of processes can write at once.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
import zarr
from numcodecs import Blosc
from torch import Tensor
from zarr.storage import ZipStore

from wmlib.world_model import write_atomically

FRAMES_PER_CHUNK = 64
CODEC = Blosc("zstd", clevel=5, shuffle=Blosc.NOSHUFFLE)
# Zarr 3 (Python 3.11+) still writes format 2, the only one that Zarr 2 knows.
FORMAT = {"zarr_format": 2} if int(zarr.__version__.split(".")[0]) >= 3 else {}


class EpisodeStore:
    """A folder of episodes; an episode is a dictionary of arrays that share their first axis."""

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)

    def write(self, name: str, episode: dict[str, np.ndarray]) -> None:
        """Add an episode, or replace it. All or nothing."""
        write_atomically(self._path(name), lambda path: _write_zip(path, episode))

    def names(self) -> list[str]:
        """All complete episodes, sorted."""
        return sorted(path.stem for path in self.folder.glob("[!.]*.zip"))

    def __len__(self) -> int:
        return len(self.names())

    def __contains__(self, name: str) -> bool:
        return self._path(name).exists()

    def read(self, name: str, key: str, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Rows start:stop of one array; only the chunks they lie in are decompressed."""
        with ZipStore(str(self._path(name)), mode="r") as store:
            return _turned(zarr.open_array(store=store, path=key, mode="r")[start:stop])

    def episode(self, name: str) -> dict[str, np.ndarray]:
        """All arrays of an episode."""
        with ZipStore(str(self._path(name)), mode="r") as store:
            group = zarr.open_group(store=store, mode="r")
            return {key: _turned(array[:]) for key, array in group.arrays()}

    def length(self, name: str, key: str = "frames") -> int:
        """First axis of one array, without reading it."""
        with ZipStore(str(self._path(name)), mode="r") as store:
            return zarr.open_array(store=store, path=key, mode="r").shape[0]

    def include(self, other: "EpisodeStore") -> None:
        """Take in all episodes of another store on the same disk; none is copied."""
        for name in other.names():
            if name not in self:
                os.link(other._path(name), self._path(name))

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.zip"


def _write_zip(path: Path, episode: dict[str, np.ndarray]) -> None:
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


class FrameBatches:
    """All frames of a store in random order, as batches (B, S, S, 3) uint8 tensors, for V.

    The order depends on (seed, epoch) alone. Memory stays constant however large the store:
    chunks are drawn in random order, and frames are shuffled among `buffer_chunks` of them.
    Raises ValueError if the store is empty.
    """

    def __init__(self, store: EpisodeStore, batch_size: int, seed: int, buffer_chunks: int = 128):
        self.store, self.batch_size, self.seed = store, batch_size, seed
        self.buffer_chunks = buffer_chunks
        self._chunks, self.num_frames = [], 0
        for name in store.names():
            length = store.length(name)
            self._chunks += [(name, start) for start in range(0, length, FRAMES_PER_CHUNK)]
            self.num_frames += length
        if not self._chunks:
            raise ValueError(f"there are no episodes in {store.folder}: collect some first")

    def __len__(self) -> int:
        return -(-self.num_frames // self.batch_size)

    def __call__(self, epoch: int) -> Iterator[Tensor]:
        """The batches of one pass; the last one may be smaller."""
        rng = np.random.default_rng([self.seed, epoch])
        order = rng.permutation(len(self._chunks))
        rest = None
        for first in range(0, len(order), self.buffer_chunks):
            drawn = [self._chunks[i] for i in order[first : first + self.buffer_chunks]]
            frames = [self.store.read(n, "frames", s, s + FRAMES_PER_CHUNK) for n, s in drawn]
            frames = np.concatenate(frames if rest is None else [rest, *frames])
            frames = frames[rng.permutation(len(frames))]
            full = len(frames) // self.batch_size * self.batch_size
            for start in range(0, full, self.batch_size):
                yield torch.from_numpy(frames[start : start + self.batch_size])
            rest = frames[full:]
        if len(rest):
            yield torch.from_numpy(rest)


class Sequences:
    """One batch of windows for M, all float32: T steps, T + 1 moments.

    mu, logvar (B, T + 1, z_size); actions (B, T, A); rewards, done, mask (B, T).
    """

    def __init__(self, **tensors: Tensor):
        self.mu, self.logvar, self.actions = tensors["mu"], tensors["logvar"], tensors["actions"]
        self.rewards, self.done, self.mask = tensors["rewards"], tensors["done"], tensors["mask"]


class SequenceBatches:
    """Windows of `window` steps cut out of encoded episodes, in random order, for M.

    Every step is in one window an epoch; short windows are padded and masked. The order depends on
    (seed, epoch) alone. Encoded episodes are small (70 numbers a step): they are held in memory.
    """

    KEYS = ("mu", "logvar", "actions", "rewards", "done")

    def __init__(self, latents: EpisodeStore, batch_size: int, window: int, seed: int):
        self.batch_size, self.window, self.seed = batch_size, window, seed
        self._episodes = [
            {key: torch.from_numpy(latents.read(name, key)).float() for key in self.KEYS}
            for name in latents.names()
        ]
        if not self._episodes:
            raise ValueError(f"there are no episodes in {latents.folder}: encode some first")

    @property
    def num_steps(self) -> int:
        """Steps in all episodes together."""
        return sum(len(episode["actions"]) for episode in self._episodes)

    def __len__(self) -> int:
        return -(-len(self._starts(np.random.default_rng(0))) // self.batch_size)

    def _starts(self, rng: np.random.Generator) -> list[tuple[int, int]]:
        starts = []
        for i, episode in enumerate(self._episodes):
            steps = len(episode["actions"])
            windows = -(-steps // self.window)
            # What the last window has to spare is shared with the first, by chance: cuts fall
            # elsewhere in every epoch, and yet every step comes once and the count stays.
            first = -int(rng.integers(windows * self.window - steps + 1))
            starts += [(i, first + k * self.window) for k in range(windows)]
        return starts

    def __call__(self, epoch: int) -> Iterator[Sequences]:
        """The batches of one pass."""
        rng = np.random.default_rng([self.seed, epoch])
        starts = self._starts(rng)
        order = rng.permutation(len(starts))
        for first in range(0, len(order), self.batch_size):
            yield self._cut([starts[i] for i in order[first : first + self.batch_size]])

    def _cut(self, starts: list[tuple[int, int]]) -> Sequences:
        rows: dict[str, list[Tensor]] = {key: [] for key in (*self.KEYS, "mask")}
        for i, start in starts:
            episode = self._episodes[i]
            begin = max(start, 0)
            end = min(start + self.window, len(episode["actions"]))
            for key in self.KEYS:
                moments = key in ("mu", "logvar")
                values = episode[key][begin : end + moments]
                padded = values.new_zeros(self.window + moments, *values.shape[1:])
                padded[: len(values)] = values
                rows[key].append(padded)
            rows["mask"].append((torch.arange(self.window) < end - begin).float())
        return Sequences(**{key: torch.stack(values) for key, values in rows.items()})
