"""Episodes on disk, and the batches that V and M learn from.

One episode is one Zarr zip file, compressed with zstd (frames shrink 10 to 20 times). It is written
under another name and moved into place when complete, so no torn episode is ever seen, however the
writing ended, and any number of processes can write at once.
"""

import json
import math
import os
import shutil
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import torch
import zarr
from numcodecs import Blosc
from torch import Tensor
from zarr.storage import ZipStore

from wmlib.mdn_rnn import with_pay
from wmlib.world_model import insist, write_atomically

ABOUT = "about.json"
FRAMES_PER_CHUNK = 64
BUFFER_STEPS = 4_000_000  # of encoded episodes that M's batches hold in memory
CODEC = Blosc("zstd", clevel=5, shuffle=Blosc.NOSHUFFLE)
# Zarr 3 (Python 3.11+) still writes format 2, the only one that Zarr 2 knows.
FORMAT = {"zarr_format": 2} if int(zarr.__version__.split(".")[0]) >= 3 else {}


class EpisodeStore:
    """A folder of episodes; an episode is a dictionary of arrays that share their first axis."""

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)

    def write(self, name: str, episode: dict[str, np.ndarray]) -> None:
        """Add an episode, or replace it. All or nothing.

        Raises ValueError for a NaN or an infinity in it: whatever learned from it would be lost.
        """
        _require_finite(episode, self.path(name))
        write_atomically(self.path(name), lambda path: _write_zip(path, episode))

    @property
    def about(self) -> dict:
        """What `describe` wrote: what all episodes have in common. Empty if nothing was said."""
        file = self.folder / ABOUT
        return json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}

    def describe(self, about: dict) -> None:
        """Say what all episodes have in common. ValueError if those here have something else."""
        told = self.about
        if told == about:
            return
        if len(self):
            insist(self.folder, told, about)
        text = json.dumps(about, indent=1) + "\n"
        write_atomically(self.folder / ABOUT, lambda path: path.write_text(text, encoding="utf-8"))

    def clear(self) -> None:
        """Remove all episodes, and what they had in common."""
        for name in self.names():
            self.path(name).unlink()
        (self.folder / ABOUT).unlink(missing_ok=True)

    def names(self) -> list[str]:
        """All complete episodes, sorted."""
        return sorted(path.stem for path in self.folder.glob("[!.]*.zip"))

    def __len__(self) -> int:
        return len(self.names())

    def __contains__(self, name: str) -> bool:
        return self.path(name).exists()

    def read(self, name: str, key: str, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Rows start:stop of one array; only the chunks they lie in are decompressed.

        This and what follows raise ValueError for a file that is damaged.
        """
        with self._open(name) as store:
            return _turned(zarr.open_array(store=store, path=key, mode="r")[start:stop])

    def episode(self, name: str) -> dict[str, np.ndarray]:
        """All arrays of an episode."""
        with self._open(name) as store:
            group = zarr.open_group(store=store, mode="r")
            return {key: _turned(array[:]) for key, array in group.arrays()}

    def length(self, name: str, key: str = "frames") -> int:
        """First axis of one array, without reading it."""
        with self._open(name) as store:
            return zarr.open_array(store=store, path=key, mode="r").shape[0]

    @contextmanager
    def _open(self, name: str) -> Iterator[ZipStore]:
        try:
            with ZipStore(str(self.path(name)), mode="r") as store:
                yield store
        # (AttributeError: what Zarr says on closing a file that it could not open.)
        except (BadZipFile, AttributeError, KeyError, RuntimeError, zlib.error) as error:
            raise ValueError(
                f"{self.path(name)} is damaged: delete it (and its like in other rounds, which "
                f"are the same file), and collect or encode again"
            ) from error

    def include(self, other: "EpisodeStore", names: Sequence[str] | None = None) -> None:
        """Take in all episodes of another store, or those: by links, where the disk has them."""
        for name in other.names() if names is None else names:
            if name not in self:
                _link_or_copy(other.path(name), self.path(name))

    def path(self, name: str) -> Path:
        """The file of an episode, whether it is there or not."""
        return self.folder / f"{name}.zip"


def _require_finite(episode: Mapping[str, np.ndarray], file: Path) -> None:
    for key, values in episode.items():
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            step = int(np.argwhere(~np.isfinite(values))[0][0])
            raise ValueError(f"{file}: {key} is not finite (NaN or infinity) at step {step}")


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except FileExistsError:
        raise
    except OSError:  # another disk, or one without links: FAT, some network drives
        write_atomically(target, lambda path: shutil.copyfile(source, path))


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


def just_earned(rewards: Tensor) -> Tensor:
    """Of T steps' rewards (T,), what each of their T + 1 moments had just brought: first 0."""
    return torch.cat([rewards.new_zeros(1), rewards])


def _steps_until(points: float, rewards: np.ndarray) -> int:
    enough = np.flatnonzero(np.maximum(rewards, 0).cumsum() >= points)
    return int(enough[0]) + 1 if len(enough) else len(rewards)


class SequenceBatches:
    """Windows of `window` steps cut out of encoded episodes, in random order, for M.

    Every step is in one window an epoch; short windows are padded and masked. The order depends on
    (seed, epoch) alone. Encoded episodes are small (70 numbers a step): up to `buffer_steps` of
    them are held in memory (1.1 GB). Of more, so many at a time: memory stays constant.
    pay: whether z is to be larger by what was just earned (see `with_pay`).
    until: of each drive, only as much as it took to earn so many points.
    Raises ValueError if the store is empty.
    """

    KEYS = ("mu", "logvar", "actions", "rewards", "done")
    MOMENTS = ("mu", "logvar")  # of these, T steps have T + 1
    PAY_LOGVAR = -2.2  # a third of a tile: exact values would make M's Gaussians infinitely sharp

    def __init__(
        self,
        latents: EpisodeStore,
        batch_size: int,
        window: int,
        seed: int,
        buffer_steps: int = BUFFER_STEPS,
        pay: bool = False,
        until: float = math.inf,
    ):
        self.latents, self.batch_size, self.window, self.seed = latents, batch_size, window, seed
        self.buffer_steps, self.pay = buffer_steps, pay
        self._lengths = {
            name: latents.length(name, "actions")
            if until == math.inf
            else _steps_until(until, latents.read(name, "rewards"))
            for name in latents.names()
        }
        if not self._lengths:
            raise ValueError(f"there are no episodes in {latents.folder}: encode some first")
        self._held: list[dict[str, Tensor]] = []  # read when a pass begins: a done fit has none

    @property
    def num_steps(self) -> int:
        """Steps in all episodes together."""
        return sum(self._lengths.values())

    def __len__(self) -> int:
        windows = sum(-(-steps // self.window) for steps in self._lengths.values())
        return -(-windows // self.batch_size)

    def _load(self, names: list[str]) -> list[dict[str, Tensor]]:
        episodes = []
        for name in names:
            arrays = {key: self.latents.read(name, key) for key in self.KEYS}
            _require_finite(arrays, self.latents.path(name))
            parts = {key: torch.from_numpy(values) for key, values in arrays.items()}
            steps = self._lengths[name]
            episodes.append({k: v[: steps + (k in self.MOMENTS)].float() for k, v in parts.items()})
        for episode in episodes if self.pay else []:
            unsure = torch.full_like(episode["logvar"][:, 0], self.PAY_LOGVAR)
            episode["logvar"] = torch.cat([episode["logvar"], unsure[:, None]], dim=1)
            episode["mu"] = with_pay(episode["mu"], just_earned(episode["rewards"]))
        return episodes

    def _parts(self, rng: np.random.Generator) -> Iterator[list[dict[str, Tensor]]]:
        if self.num_steps <= self.buffer_steps:
            self._held = self._held or self._load(list(self._lengths))
            yield self._held
            return
        names, part, steps = list(self._lengths), [], 0
        for i in rng.permutation(len(names)):
            if part and steps + self._lengths[names[i]] > self.buffer_steps:
                yield self._load(part)
                part, steps = [], 0
            part.append(names[i])
            steps += self._lengths[names[i]]
        yield self._load(part)

    def _starts(self, episode: dict[str, Tensor], rng: np.random.Generator) -> list[int]:
        steps = len(episode["actions"])
        windows = -(-steps // self.window)
        # What the last window has to spare is shared with the first, by chance: cuts fall
        # elsewhere in every epoch, and yet every step comes once and the count stays.
        first = -int(rng.integers(windows * self.window - steps + 1))
        return [first + k * self.window for k in range(windows)]

    def __call__(self, epoch: int) -> Iterator[Sequences]:
        """The batches of one pass."""
        rng = np.random.default_rng([self.seed, epoch])
        rest: list[tuple[dict, int]] = []
        for episodes in self._parts(rng):
            windows = [(e, start) for e in episodes for start in self._starts(e, rng)]
            windows = rest + [windows[i] for i in rng.permutation(len(windows))]
            full = len(windows) // self.batch_size * self.batch_size
            for first in range(0, full, self.batch_size):
                yield self._cut(windows[first : first + self.batch_size])
            rest = windows[full:]
        if rest:
            yield self._cut(rest)

    def _cut(self, windows: list[tuple[dict[str, Tensor], int]]) -> Sequences:
        rows: dict[str, list[Tensor]] = {key: [] for key in (*self.KEYS, "mask")}
        for episode, start in windows:
            begin = max(start, 0)
            end = min(start + self.window, len(episode["actions"]))
            for key in self.KEYS:
                moments = key in self.MOMENTS
                values = episode[key][begin : end + moments]
                padded = values.new_zeros(self.window + moments, *values.shape[1:])
                padded[: len(values)] = values
                rows[key].append(padded)
            rows["mask"].append((torch.arange(self.window) < end - begin).float())
        return Sequences(**{key: torch.stack(values) for key, values in rows.items()})
