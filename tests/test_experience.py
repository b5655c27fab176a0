import errno
import math
import multiprocessing
import os
import time

import numpy as np
import pytest
import torch

from wmlib.rollout.episodes import FRAMES_PER_CHUNK, EpisodeStore, previous_rewards
from wmlib.training.batches import FrameBatches, SequenceBatches


def indexed(lengths, tmp_path) -> EpisodeStore:
    """Episodes in which every frame holds its own index, counted over all of them."""
    store, count = EpisodeStore(tmp_path), 0
    for i, length in enumerate(lengths):
        indices = np.arange(count, count + length)
        frames = np.zeros((length, 8, 8, 3), np.uint8)
        frames[:, 0, 0, 0], frames[:, 0, 0, 1] = indices % 256, indices // 256
        store.write(f"{i:03d}", {"frames": frames})
        count += length
    return store


def indices_of(batches) -> np.ndarray:
    frames = np.concatenate([batch.numpy() for batch in batches])
    return frames[:, 0, 0, 0].astype(int) + 256 * frames[:, 0, 0, 1].astype(int)


def latents(lengths, tmp_path) -> EpisodeStore:
    """Encoded episodes: mu holds the index of the moment, actions and rewards that of the step."""
    store = EpisodeStore(tmp_path)
    for i, length in enumerate(lengths):
        moments = 1000.0 * i + np.arange(length + 1, dtype=np.float32)
        store.write(
            f"{i:03d}",
            {
                "mu": moments[:, None].repeat(2, 1),
                "logvar": np.zeros((length + 1, 2), np.float32),
                "actions": moments[:-1, None],
                "rewards": moments[:-1],
                "done": np.zeros(length, np.float32),
            },
        )
    return store


@pytest.mark.parametrize("wrong", [math.nan, math.inf])
def test_values_that_are_not_finite_are_not_written(tmp_path, wrong):
    store = EpisodeStore(tmp_path)
    rewards = np.array([1, 2, wrong], np.float32)
    with pytest.raises(ValueError, match=r"a\.zip: rewards is not finite .* at step 2"):
        store.write("a", {"rewards": rewards})
    assert not len(store)


def test_a_latent_that_is_not_finite_is_named_before_m_is_trained_on_it(tmp_path, monkeypatch):
    with monkeypatch.context() as before:  # as a version without this check wrote it
        before.setattr("wmlib.rollout.episodes.require_finite_arrays", lambda *_: None)
        store = latents([5, 4], tmp_path)
        episode = store.episode("001")
        episode["mu"][3] = math.nan
        store.write("001", episode)
    with pytest.raises(ValueError, match=r"001\.zip: mu is not finite .* at step 3"):
        next(iter(SequenceBatches(store, 2, window=3, seed=0)(0)))


def test_episodes_survive_the_round_trip(tmp_path):
    rng = np.random.default_rng(0)
    episode = {
        "frames": rng.integers(0, 256, (150, 64, 64, 3), dtype=np.uint8),
        "actions": rng.normal(size=(149, 0)).astype(np.float32),
        "position": rng.normal(size=(150, 2)),
    }
    store = EpisodeStore(tmp_path)
    store.write("a", episode)
    assert store.names() == ["a"]
    assert "a" in store
    assert store.length("a") == 150
    back = store.episode("a")
    assert back.keys() == episode.keys()
    for key, values in episode.items():
        assert back[key].dtype == values.dtype
        np.testing.assert_array_equal(back[key], values)
    np.testing.assert_array_equal(store.read("a", "frames", 60, 70), episode["frames"][60:70])


def test_only_writing_creates_the_folder(tmp_path):
    mistyped = EpisodeStore(tmp_path / "episods")
    assert (mistyped.names(), len(mistyped), mistyped.record) == ([], 0, None)
    assert "a" not in mistyped
    for read in (mistyped.episode, mistyped.length, mistyped.keys, lambda a: mistyped.read(a, "z")):
        with pytest.raises(FileNotFoundError, match=r"there is no folder .*episods"):
            read("a")
    with pytest.raises(FileNotFoundError, match=r"there is no folder .*episods"):
        EpisodeStore(tmp_path / "other").include(mistyped)
    assert not list(tmp_path.iterdir())
    EpisodeStore(tmp_path / "new" / "episodes").write("a", {"rewards": np.zeros(3)})
    EpisodeStore(tmp_path / "linked").include(EpisodeStore(tmp_path / "new" / "episodes"))
    assert EpisodeStore(tmp_path / "linked").names() == ["a"]


def test_a_missing_array_is_named_and_not_reported_as_damage(tmp_path):
    store = EpisodeStore(tmp_path)
    store.write("a", {"rewards": np.zeros(3), "actions": np.zeros((3, 2))})
    assert store.keys("a") == ["actions", "rewards"]
    for read in (store.read, store.length):
        with pytest.raises(KeyError, match=r"a\.zip has no 'frames', only actions, rewards"):
            read("a", "frames")
    with pytest.raises(FileNotFoundError, match="there is no episode 'b' in"):
        store.episode("b")


@pytest.mark.parametrize("damage", ["empty", "truncated", "a chunk", "the index"])
def test_a_damaged_episode_is_named(tmp_path, damage):
    store = EpisodeStore(tmp_path)
    frames = np.random.default_rng(0).integers(0, 256, (70, 64, 64, 3), dtype=np.uint8)
    store.write("a", {"frames": frames})
    content = bytearray(store.path("a").read_bytes())
    if damage in ("empty", "truncated"):
        del content[0 if damage == "empty" else len(content) // 2 :]
    else:
        place = len(content) // 2 if damage == "a chunk" else content.rindex(b"PK\x01\x02")
        content[place : place + 40] = bytes(40)
    store.path("a").write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.zip is damaged: delete it"):
        store.episode("a")
    with pytest.raises(ValueError, match=r"a\.zip is damaged: delete it"):
        store.read("a", "frames")


def _write_forever(folder):
    store = EpisodeStore(folder)
    frames = np.random.default_rng(0).integers(0, 256, (500, 64, 64, 3), dtype=np.uint8)
    for i in range(10_000):
        store.write(f"{i:05d}", {"frames": frames})


def test_a_killed_writer_leaves_only_complete_episodes(tmp_path):
    writer = multiprocessing.get_context("spawn").Process(target=_write_forever, args=(tmp_path,))
    writer.start()
    store = EpisodeStore(tmp_path)
    deadline = time.monotonic() + 60
    while len(store) < 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    writer.kill()
    writer.join()
    assert len(store) >= 3
    assert all(len(store.episode(name)["frames"]) == 500 for name in store.names())


def test_episodes_are_linked_or_else_copied(tmp_path, monkeypatch):
    store = indexed([5, 7], tmp_path / "first")
    linked = EpisodeStore(tmp_path / "linked")
    linked.include(store)
    assert os.path.samefile(tmp_path / "first/000.zip", tmp_path / "linked/000.zip")

    def refuse(source, target):
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), source)

    monkeypatch.setattr(os, "link", refuse)  # as between disks, and on FAT
    copied = EpisodeStore(tmp_path / "copied")
    copied.include(store)
    copied.include(store)  # nothing that exists is replaced
    assert copied.names() == linked.names() == store.names()
    for name in store.names():
        np.testing.assert_array_equal(copied.read(name, "frames"), store.read(name, "frames"))
    assert not os.path.samefile(tmp_path / "first/000.zip", tmp_path / "copied/000.zip")


@pytest.mark.parametrize("buffer_chunks", [1, 2, 100])
def test_every_frame_comes_once_per_epoch(tmp_path, buffer_chunks):
    store = indexed([FRAMES_PER_CHUNK + 5, 3, 2 * FRAMES_PER_CHUNK], tmp_path)
    batches = FrameBatches(store, 10, seed=0)
    batches.buffer_chunks = buffer_chunks
    first, again, second = (indices_of(batches(epoch)) for epoch in (0, 0, 1))
    assert len(list(batches(0))) == len(batches)
    np.testing.assert_array_equal(np.sort(first), np.arange(batches.num_frames))
    np.testing.assert_array_equal(first, again)
    assert (first != second).any()
    assert (first != np.sort(first)).any()


def test_flipped_frames_come_once_per_epoch_as_well(tmp_path):
    """Half of them mirrored, another half in another epoch, and the store stays as it is."""
    store, rng = EpisodeStore(tmp_path), np.random.default_rng(0)
    frames = rng.integers(0, 256, (2 * FRAMES_PER_CHUNK + 9, 4, 4, 3), dtype=np.uint8)
    store.write("000", {"frames": frames})
    number = {frame.tobytes(): (i, False) for i, frame in enumerate(frames)}
    number |= {frame[:, ::-1].tobytes(): (i, True) for i, frame in enumerate(frames)}
    batches, flipped = FrameBatches(store, 10, seed=0, flip=True), []
    batches.buffer_chunks = 2
    for epoch in (0, 0, 1):
        seen = [number[frame.numpy().tobytes()] for batch in batches(epoch) for frame in batch]
        assert sorted(i for i, _ in seen) == list(range(len(frames)))
        flipped.append({i for i, mirrored in seen if mirrored})
        assert 0.4 < len(flipped[-1]) / len(frames) < 0.6
    assert flipped[0] == flipped[1] != flipped[2]
    np.testing.assert_array_equal(store.read("000", "frames"), frames)


@pytest.mark.parametrize("buffer_steps", [1000, 25, 1])  # all at once, some, one episode at a time
@pytest.mark.parametrize("epoch", [0, 1, 2, 3])
def test_every_step_comes_once_per_epoch(tmp_path, epoch, buffer_steps):
    store = latents([25, 7, 10], tmp_path)
    batches = SequenceBatches(store, 2, window=10, seed=0)
    batches.buffer_steps = buffer_steps
    steps = []
    for batch in batches(epoch):
        real = batch.mask.bool()
        steps += batch.actions[..., 0][real].tolist()
        # Moments line up with steps: z[t] goes in with action[t], z[t + 1] comes out.
        assert (batch.mu[:, :-1, 0][real] == batch.actions[..., 0][real]).all()
        assert (batch.mu[:, 1:, 0][real] == batch.actions[..., 0][real] + 1).all()
        assert (batch.rewards[real] == batch.actions[..., 0][real]).all()
    everything = [1000.0 * i + t for i, length in enumerate([25, 7, 10]) for t in range(length)]
    assert sorted(steps) == everything
    assert len(list(batches(epoch))) == len(batches)


def test_episodes_are_truncated_at_a_given_return(tmp_path):
    store = latents([25, 7], tmp_path)  # step t has reward t in the first, 1000 + t in the second
    batches = SequenceBatches(store, 2, window=10, seed=0, until=10)  # 0 + 1 + 2 + 3 + 4
    taken = torch.cat([b.actions[..., 0][b.mask.bool()] for b in batches(0)]).sort().values
    assert taken.tolist() == [0, 1, 2, 3, 4, 1000]
    assert batches.num_steps == 6
    for batch in batches(0):  # with the moment that the last of them led to
        real = batch.mask.bool()
        assert (batch.mu[:, 1:, 0][real] == batch.actions[..., 0][real] + 1).all()


def test_every_moment_has_its_previous_reward(tmp_path):
    store = latents([25, 7], tmp_path)  # in the first of which, step t has reward t
    batches = SequenceBatches(store, 2, window=10, seed=0)
    for batch in batches(0):
        assert batch.previous.shape == batch.mu.shape[:-1]
        real = batch.mask.bool()
        now, before = batch.rewards[real], batch.previous[:, :-1][real]
        first = (now % 1000) == 0
        assert (before[first] == 0).all()
        torch.testing.assert_close(before[~first], now[~first] - 1)
        torch.testing.assert_close(batch.previous[:, 1:][real], now)
    assert previous_rewards(torch.tensor([2.0, 3.0])).tolist() == [0, 2, 3]


def test_an_empty_store_is_named(tmp_path):
    with pytest.raises(ValueError, match="collect some first"):
        FrameBatches(EpisodeStore(tmp_path), 10, seed=0)
    with pytest.raises(ValueError, match="encode some first"):
        SequenceBatches(EpisodeStore(tmp_path), 10, window=5, seed=0)
