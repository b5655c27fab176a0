"""The batches that V and M learn from."""

import math
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from wmlib.rollout.episodes import (
    FRAMES_PER_CHUNK,
    EpisodeStore,
    previous_rewards,
    require_finite_arrays,
)


class FrameBatches:
    """All frames of a store in random order, as batches (B, S, S, 3) uint8 tensors, for V.

    The order depends on (seed, epoch) alone. Memory stays constant however large the store:
    chunks are drawn in random order, and frames are shuffled among `buffer_chunks` of them.
    flip: exchange left and right in a random half of the frames (data augmentation). Raises
    ValueError if the store is empty.
    """

    buffer_chunks = 128

    def __init__(self, store: EpisodeStore, batch_size: int, seed: int, flip: bool = False):
        self.store, self.batch_size, self.seed, self.flip = store, batch_size, seed, flip
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
        rest: list[np.ndarray] = []
        for first in range(0, len(order), self.buffer_chunks):
            drawn = [self._chunks[i] for i in order[first : first + self.buffer_chunks]]
            chunks = [self.store.read(n, "frames", s, s + FRAMES_PER_CHUNK) for n, s in drawn]
            for chunk in chunks if self.flip else ():
                flipped = rng.random(len(chunk)) < 0.5
                chunk[flipped] = chunk[flipped, :, ::-1]
            frames = np.concatenate(rest + chunks)
            frames = frames[rng.permutation(len(frames))]
            full = len(frames) // self.batch_size * self.batch_size
            for start in range(0, full, self.batch_size):
                yield torch.from_numpy(frames[start : start + self.batch_size])
            rest = [frames[full:]]
        if rest and len(rest[0]):
            yield torch.from_numpy(rest[0])


class Sequences:
    """One batch of windows for M, all float32: T steps, T + 1 moments.

    mu, logvar (B, T + 1, z_size); previous (B, T + 1), the previous reward at each moment, in
    points; actions (B, T, A); rewards (in points), done, mask (B, T).
    """

    def __init__(self, **tensors: Tensor):
        self.mu, self.logvar, self.previous = (tensors[k] for k in ("mu", "logvar", "previous"))
        self.actions, self.rewards = tensors["actions"], tensors["rewards"]
        self.done, self.mask = tensors["done"], tensors["mask"]


def _steps_until(points: float, rewards: np.ndarray) -> int:
    enough = np.flatnonzero(np.maximum(rewards, 0).cumsum() >= points)
    return int(enough[0]) + 1 if len(enough) else len(rewards)


class SequenceBatches:
    """Windows of `window` steps cut out of encoded episodes, in random order, for M.

    Every step is in one window an epoch; short windows are padded and masked. The order depends on
    (seed, epoch) alone. Encoded episodes are small (70 numbers per step): up to `buffer_steps` of
    them are held in memory (1.1 GB). Of more, so many at a time: memory stays constant.
    until: each episode is cut off after the step at which its positive rewards add up to so many
    points.
    Raises ValueError if the store is empty.
    """

    STORED = ("mu", "logvar", "actions", "rewards", "done")
    MOMENTS = ("mu", "logvar", "previous")  # of these, T steps have T + 1
    KEYS = (*STORED, "previous")
    buffer_steps = 4_000_000

    def __init__(
        self,
        latents: EpisodeStore,
        batch_size: int,
        window: int,
        seed: int,
        until: float = math.inf,
    ):
        self.latents, self.batch_size, self.window, self.seed = latents, batch_size, window, seed
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
            arrays = {key: self.latents.read(name, key) for key in self.STORED}
            require_finite_arrays(arrays, self.latents.path(name))
            parts = {key: torch.from_numpy(values) for key, values in arrays.items()}
            parts["previous"] = previous_rewards(parts["rewards"])
            steps = self._lengths[name]
            episodes.append({k: v[: steps + (k in self.MOMENTS)].float() for k, v in parts.items()})
        return episodes

    def _parts(self, rng: np.random.Generator) -> Iterator[list[dict[str, Tensor]]]:
        if self.num_steps <= self.buffer_steps:
            self._held = self._held or self._load(list(self._lengths))
            yield self._held
            return
        names, steps = list(self._lengths), 0
        part: list[str] = []
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
