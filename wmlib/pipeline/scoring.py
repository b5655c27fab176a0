"""Scores on held-out tracks, kept beside the agent."""

import hashlib
from concurrent.futures import Executor
from pathlib import Path

import numpy as np

from wmlib.evaluation import Score, score
from wmlib.files import digest, read_log, write_log
from wmlib.models.checkpoints import load_agent, world_model_digest
from wmlib.paths import PRETRAINED, pretrained
from wmlib.pipeline.car_racing import training_env_spec
from wmlib.pipeline.config import Config
from wmlib.pipeline.phases import collect
from wmlib.pipeline.rounds import TEST_TRACKS_FROM
from wmlib.rollout.episodes import EpisodeStore
from wmlib.rollout.policies import ControllerPolicy

SCORED = ("track", "score", "steps", "lap")  # columns of score.jsonl


def score_run(
    config: Config,
    folder: str | Path,
    executor: Executor | None = None,
    tracks: int | None = None,
) -> Score:
    """The score of a run's controller on `tracks` held-out tracks, or on more if these are there.

    tracks: 2 or more; by default the config's `score_tracks`.

    Kept in score.jsonl, a row per track, and read from there as long as the agent and the length of
    an episode are the same; only tracks that are not there yet are driven. Tracks beyond those that
    were scored for a pretrained agent are kept in the runs' folder: its own files stay as they are.
    """
    folder, tracks = Path(folder), config.score_tracks if tracks is None else tracks
    if tracks < 2:
        raise ValueError(f"tracks must be 2 or more, got {tracks}")
    origin = {"agent": agent_digest(folder), "max_steps": config.env.max_steps}
    log = folder / "score.jsonl"
    rows = _scored(log, origin)
    if PRETRAINED.resolve() in folder.resolve().parents and len(rows) < tracks:
        log = config.run_folder(f"score-{origin['agent']}") / "score.jsonl"
        rows = max(rows, _scored(log, origin), key=len)
    while (missing := tracks - len(rows)) > 0:
        world_model, controller = load_agent(folder)
        result = score(
            ControllerPolicy(controller),
            world_model,
            min(missing, 100),  # at a time: a thousand tracks take an hour
            skip=len(rows),
            executor=executor,
            max_steps=config.env.max_steps,
            frame_size=config.env.frame_size,
            env_id=config.task_spec.original_id,
            has_laps=config.task_spec.has_laps,
        )
        columns = (result.tracks, *(c.tolist() for c in (result.scores, result.steps, result.laps)))
        fresh = [dict(zip(SCORED, row, strict=True)) for row in zip(*columns, strict=True)]
        rows += [row | origin for row in fresh]
        write_log(rows, log)
    return _score_of(rows, config.task_spec.has_laps)


def _scored(log: Path, origin: dict) -> list[dict]:
    # The rows of a log, if they are all of that origin.
    rows = read_log(log) if log.exists() else []
    return rows if all(origin.items() <= row.items() for row in rows) else []


def read_score(folder: str | Path) -> Score:
    """The score that `score_run` left in a folder."""
    return _score_of(read_log(Path(folder) / "score.jsonl"))


def _score_of(rows: list[dict], has_laps: bool = True) -> Score:
    tracks, *columns = ([row[name] for row in rows] for name in SCORED)
    scores, steps, laps = map(np.array, columns)
    return Score(tracks, scores, steps, laps, has_laps)


def collect_test_episodes(
    config: Config,
    episodes: int,
    folder: str | Path | None = None,
    into: str | Path | None = None,
) -> EpisodeStore:
    """Episodes that nothing is trained on, to measure V and M with.

    By the agent in a folder (default: the pretrained one), with noise, so that it does not always
    do what the road suggests. Kept in `into`, by default the runs' folder for this agent.
    """
    folder, first = folder or pretrained("car_racing"), TEST_TRACKS_FROM
    world_model, controller = load_agent(folder)
    noisy_policy = config.task_spec.noisy_policy
    return collect(
        training_env_spec(config),
        noisy_policy(ControllerPolicy(controller), world_model.mdn_rnn.repeat),
        range(first, first + episodes),
        into or config.run_folder(f"test_episodes-{agent_digest(folder)}") / "episodes",
        world_model=world_model,
    )


def agent_digest(folder: str | Path) -> str:
    """Twelve characters that stand for V, M and C in a folder: a score belongs to all three."""
    world_model, controller = load_agent(folder)
    weights = world_model_digest(world_model)
    return hashlib.sha256((weights + digest(controller.parameters)).encode()).hexdigest()[:12]
