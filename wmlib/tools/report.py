"""Figures of an agent from a shell: those of chapters 2 to 6, without a notebook."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from sklearn.decomposition import PCA

from wmlib import evaluation
from wmlib.envs.vector import VectorEnvSpec
from wmlib.models.controller import Controller
from wmlib.models.vae import frames_to_tensor, kl_per_dimension, tensor_to_frames
from wmlib.models.world_model import WorldModel
from wmlib.pipeline import car_racing, rounds, scoring
from wmlib.pipeline.config import ChapterConfig, Config
from wmlib.pipeline.rounds import TEST_TRACKS_FROM
from wmlib.pipeline.tasks import CAR_RACING
from wmlib.rollout.policies import ControllerPolicy, EpisodeSpec
from wmlib.rollout.rollout import record_episode
from wmlib.tools.play import play
from wmlib.view import figures

M, BASELINE = "M, open-loop", "last-value baseline"
Recording = Mapping[str, np.ndarray]  # as in `Episode`


def everything(
    config: Config,
    chapter: ChapterConfig,
    world_model: WorldModel,
    controller: Controller,
    out: str | Path,
    run: str | Path | None = None,
) -> Iterator[Path]:
    """Write all figures, a GIF and a video into the folder `out`; yields the path of each.

    Frames are of held-out tracks. run: the folder of a run; the learning curve and the scores are
    drawn if it has their logs. Raises ValueError if the episodes are too short (see `accuracy` and
    `dream_against_reality`).
    """
    figures.use_style()
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    policy = CAR_RACING.noisy_policy(ControllerPolicy(controller), world_model.mdn_rnn.repeat)
    env_spec = _env_spec(config, world_model)
    episodes = [
        record_episode(env_spec, policy, EpisodeSpec(TEST_TRACKS_FROM + i), world_model).recording
        for i in range(chapter.test_episodes)
    ]
    drawings: dict[str, Callable[[], Figure]] = {
        "reconstructions": lambda: reconstructions(world_model, episodes),
        "latent_map": lambda: latent_map(world_model, episodes),
        "accuracy": lambda: accuracy(world_model, episodes, chapter.context, chapter.horizon),
    }
    run = None if run is None else Path(run)
    if run is not None and (run / "evolution.jsonl").exists():
        drawings["learning_curve"] = partial(_learning_curve, run)
    if run is not None and (run / "score.jsonl").exists():
        drawings["scores"] = partial(_scores, run)
    for name, draw in drawings.items():
        draw().savefig(out / f"{name}.png", dpi=90)
        yield out / f"{name}.png"
    agent, horizon = (world_model, controller), (chapter.context, chapter.horizon)
    dream_against_reality(config, *agent, out / "dream.gif", TEST_TRACKS_FROM, *horizon)
    yield out / "dream.gif"
    video = out / "episode.mp4"
    play(ControllerPolicy(controller), world_model, TEST_TRACKS_FROM, video, config.env.max_steps)
    yield video


def _learning_curve(run: Path) -> Figure:
    return figures.learning_curve(rounds.timeline(run))


def _scores(run: Path) -> Figure:
    return figures.score_histogram(scoring.read_score(run))


def _env_spec(config: Config, world_model: WorldModel) -> VectorEnvSpec:
    return car_racing.training_env_spec(config.change(frame_size=world_model.vae.frame_size))


def reconstructions(
    world_model: WorldModel, episodes: Sequence[Recording], columns: int = 10
) -> Figure:
    """`columns` evenly spaced frames of recorded episodes, and V's reconstructions of them."""
    frames = np.concatenate([episode["frames"][::20] for episode in episodes])
    shown = frames[np.linspace(0, len(frames) - 1, columns).astype(int)]
    decoded = tensor_to_frames(world_model.decode(world_model.encode(shown)))
    colors = {"frame": figures.REALITY, "reconstruction": figures.DREAM}
    return figures.frame_grid({"frame": shown, "reconstruction": decoded}, colors=colors)


def latent_map(world_model: WorldModel, episodes: Sequence[Recording]) -> Figure:
    """The first two principal components of every tenth frame's z, coloured by the steering."""
    z = torch.cat([world_model.encode(episode["frames"][:-1:10]) for episode in episodes])
    steering = np.concatenate([episode["actions"][::10, 0] for episode in episodes])
    return figures.scatter_map(
        PCA(2).fit_transform(z.numpy()), steering, "steering (-1: left, 1: right)"
    )


def accuracy(
    world_model: WorldModel, episodes: Sequence[Recording], context: int, horizon: int
) -> Figure:
    """Squared error of M's open-loop z against the horizon, and of the last-value baseline.

    M observes `context` agent steps of an episode, then imagines the next `horizon` at temperature
    0.1; the error is the mean over 4 samples. The baseline is the last observed z. Errors are
    summed over the active dimensions (mean KL above 0.1 nats). Shorter episodes are left out:
    raises ValueError if fewer than two are long enough.
    """
    with torch.no_grad():
        code = world_model.vae.encode(frames_to_tensor(episodes[0]["frames"][:300]))
    active = kl_per_dimension(*code).mean(0) > 0.1
    errors: dict[str, list] = {M: [], BASELINE: []}
    for episode in episodes:
        if len(episode["actions"]) < context + horizon:
            continue
        frames = episode["frames"][: context + horizon + 1]
        actions, rewards = (episode[k][: context + horizon] for k in ("actions", "rewards"))
        real = world_model.encode(frames[context + 1 :])
        generator = torch.Generator().manual_seed(0)
        imagined, _ = evaluation.open_loop_rollout(
            world_model, frames, actions, context, 0.1, 4, generator, rewards
        )
        predictions = {
            M: imagined,
            BASELINE: world_model.encode(frames[[context]]).expand(1, horizon, -1),
        }
        for name, z in predictions.items():
            error = (z - real)[..., active].square().sum(-1)
            errors[name].append(error.mean(0).numpy())
    if len(errors[M]) < 2:
        raise ValueError(
            f"two or more episodes of {context + horizon} agent steps are needed, got "
            f"{len(errors[M])} among {len(episodes)}"
        )
    colors = {M: figures.DREAM, BASELINE: figures.BASELINE}
    values = {name: np.stack(rows) for name, rows in errors.items()}
    return figures.horizon_curves(values, "squared error of z (active dimensions)", colors)


def dream_against_reality(
    config: Config,
    world_model: WorldModel,
    controller: Controller,
    path: str | Path,
    track: int,
    context: int,
    horizon: int,
    temperature: float = 1.0,
) -> str:
    """An episode of the agent, V's reconstruction and M's dream of it, side by side, as a GIF.

    From agent step `context` on, the dream gets the episode's actions and no more frames, for at
    most `horizon` agent steps. path: of the GIF. track: seed of the environment. temperature: of
    the dream. Returns a caption. Raises ValueError if the episode has fewer than context + 2 agent
    steps.
    """
    env_spec = _env_spec(config, world_model)
    recording = record_episode(
        env_spec, ControllerPolicy(controller), EpisodeSpec(track), world_model
    ).recording
    frames, actions, rewards = (recording[k] for k in ("frames", "actions", "rewards"))
    if len(actions) < context + 2:
        raise ValueError(
            f"context must be at most {len(actions) - 2}, as the episode on track {track} has "
            f"{len(actions)} agent steps, got {context}"
        )
    stop = context + horizon
    frames, actions, rewards = frames[: stop + 1], actions[:stop], rewards[:stop]
    dream = dream_frames(world_model, frames, actions, context, temperature, rewards=rewards)
    decoded = tensor_to_frames(world_model.decode(world_model.encode(frames)))
    rate = 50 / world_model.mdn_rnn.repeat
    description = "an episode, V's reconstruction of it, and M's dream of it"
    figures.moving_picture([frames, decoded, dream], description, fps=rate, save=path)
    return f"from the left: {description}, open-loop from agent step {context} on"


def dream_frames(
    world_model: WorldModel,
    frames: np.ndarray,
    actions: np.ndarray,
    context: int,
    temperature: float = 1.0,
    seed: int = 0,
    rewards: np.ndarray | None = None,
) -> np.ndarray:
    """Frames 0..context of an episode as V reconstructs them, then an open-loop rollout of M.

    frames (T + 1, S, S, 3) uint8 and actions (T, A) as recorded, rewards as in
    `evaluation.open_loop_rollout`; returns frames of the same shape.
    """
    generator = torch.Generator(world_model.device).manual_seed(seed)
    imagined, _ = evaluation.open_loop_rollout(
        world_model, frames, actions, context, temperature, 1, generator, rewards
    )
    z = torch.cat([world_model.encode(frames[: context + 1]), imagined[0]])
    return tensor_to_frames(world_model.decode(z))
