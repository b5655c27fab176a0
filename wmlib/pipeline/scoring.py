"""Scores on held-out tracks, kept beside the agent."""

import hashlib
from concurrent.futures import Executor
from pathlib import Path

import numpy as np

from wmlib.evaluation import Score, score
from wmlib.files import read_log, write_log
from wmlib.models.checkpoints import load_agent
from wmlib.paths import PRETRAINED, pretrained
from wmlib.pipeline.car_racing import car_world
from wmlib.pipeline.config import Preset
from wmlib.pipeline.phases import collect
from wmlib.pipeline.rounds import TEST_TRACKS_FROM
from wmlib.rollout.episodes import EpisodeStore
from wmlib.rollout.policies import ControllerPolicy, noisy_car_policy

SCORED = ("track", "score", "steps", "lap")  # columns of score.jsonl


def score_car(preset: Preset, folder: str | Path, executor: Executor | None = None) -> Score:
    """The score of a run's controller on held-out tracks.

    Kept in score.jsonl, a row per track, and read from there as long as the agent and the length of
    an episode are the same; only tracks that are not there yet are driven. Tracks beyond those that
    were scored for a pretrained agent are kept in the runs' folder: its own files stay as they are.
    """
    folder = Path(folder)
    origin = {"agent": fingerprint(folder), "max_steps": preset.max_steps}
    log = folder / "score.jsonl"
    rows = _scored(log, origin)
    if PRETRAINED.resolve() in folder.resolve().parents and len(rows) < preset.score_tracks:
        log = preset.run_folder(f"score-{origin['agent'][:8]}") / "score.jsonl"
        rows = max(rows, _scored(log, origin), key=len)
    while (missing := preset.score_tracks - len(rows)) > 0:
        world_model, controller = load_agent(folder)
        result = score(
            ControllerPolicy(controller),
            world_model,
            min(missing, 100),  # at a time: a thousand tracks take an hour
            skip=len(rows),
            executor=executor,
            max_steps=preset.max_steps,
            frame_size=preset.frame_size,
        )
        columns = (result.tracks, *(c.tolist() for c in (result.scores, result.steps, result.laps)))
        fresh = [dict(zip(SCORED, row, strict=True)) for row in zip(*columns, strict=True)]
        rows += [row | origin for row in fresh]
        write_log(rows, log)
    return _score_of(rows)


def _scored(log: Path, origin: dict) -> list[dict]:
    # The rows of a log, if they are all of that origin.
    rows = read_log(log) if log.exists() else []
    return rows if all(origin.items() <= row.items() for row in rows) else []


def read_score(folder: str | Path) -> Score:
    """The score that `score_car` left in a folder."""
    return _score_of(read_log(Path(folder) / "score.jsonl"))


def _score_of(rows: list[dict]) -> Score:
    tracks, *columns = ([row[name] for row in rows] for name in SCORED)
    return Score(tracks, *map(np.array, columns))


def test_drives(preset: Preset, folder: str | Path | None = None) -> EpisodeStore:  # noqa: PT028
    """Drives that nobody learns from, to measure V and M with.

    By the agent in a folder (default: the one that came with the repository), with noise, so that
    it does not always do what the road suggests. Kept in a folder of their own.
    """
    folder, first = folder or pretrained("car_racing"), TEST_TRACKS_FROM
    world_model, controller = load_agent(folder)
    return collect(
        car_world(preset),
        noisy_car_policy(ControllerPolicy(controller), preset.repeat),
        range(first, first + preset.car_tests),
        preset.run_folder(f"test_drives-{fingerprint(folder)[:8]}") / "episodes",
        world_model=world_model,
    )


def fingerprint(folder: str | Path) -> str:
    """One sha256 of V, M and C as they lie in a folder: a score belongs to all three."""
    digest = hashlib.sha256()
    for name in ("vae", "mdn_rnn", "controller"):
        file = Path(folder) / f"{name}.safetensors"
        digest.update(file.read_bytes() if file.exists() else b"")
    return digest.hexdigest()
