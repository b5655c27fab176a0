"""Pictures of an agent, from a shell: what chapters 2 to 6 draw, without a notebook."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from sklearn.decomposition import PCA

from wmlib import evaluation
from wmlib.envs.vector import World
from wmlib.models.controller import Controller
from wmlib.models.vae import frames_to_tensor, kl_per_dimension, tensor_to_frames
from wmlib.models.world_model import WorldModel
from wmlib.pipeline import car_racing, rounds, scoring
from wmlib.pipeline.config import Preset
from wmlib.pipeline.rounds import TEST_TRACKS_FROM
from wmlib.rollout.policies import ControllerPolicy, EpisodeSpec, noisy_car_policy
from wmlib.rollout.rollout import record_episode
from wmlib.tools.play import play
from wmlib.view import figures


def everything(
    preset: Preset,
    world_model: WorldModel,
    controller: Controller,
    out: str | Path,
    run: str | Path | None = None,
) -> Iterator[Path]:
    """Write all pictures into the folder `out`, and yield their paths.

    run: a folder whose logs, if there are any, become the learning curve and the scores.
    """
    figures.use_style()
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    driver = noisy_car_policy(ControllerPolicy(controller), world_model.mdn_rnn.repeat)
    world = _world(preset, world_model)
    drives = [
        record_episode(world, driver, EpisodeSpec(TEST_TRACKS_FROM + i), world_model).recording
        for i in range(preset.car_tests)
    ]
    pictures = {
        "reconstructions": lambda: reconstructions(world_model, drives),
        "latent_map": lambda: latent_map(world_model, drives),
        "accuracy": lambda: accuracy(world_model, drives, preset.car_seen, preset.car_ahead),
    }
    run = None if run is None else Path(run)
    if run is not None and (run / "evolution.jsonl").exists():
        pictures["learning_curve"] = lambda: figures.learning_curve(rounds.timeline(run))
    if run is not None and (run / "score.jsonl").exists():
        pictures["scores"] = lambda: figures.score_histogram(scoring.read_score(run))
    for name, draw in pictures.items():
        draw().savefig(out / f"{name}.png", dpi=90)
        yield out / f"{name}.png"
    agent, horizon = (world_model, controller), (preset.car_seen, preset.car_ahead)
    dream_against_reality(preset, *agent, out / "dream.gif", TEST_TRACKS_FROM, *horizon)
    yield out / "dream.gif"
    film = out / "drive.mp4"
    play(ControllerPolicy(controller), world_model, TEST_TRACKS_FROM, film, preset.max_steps)
    yield film


def _world(preset: Preset, world_model: WorldModel) -> World:
    return car_racing.car_world(preset.change(frame_size=world_model.vae.frame_size))


def reconstructions(world_model: WorldModel, drives: list[dict], columns: int = 10):
    """Frames, and what V keeps of them."""
    frames = np.concatenate([drive["frames"][::20] for drive in drives])
    shown = frames[np.linspace(0, len(frames) - 1, columns).astype(int)]
    kept = tensor_to_frames(world_model.decode(world_model.encode(shown)))
    return figures.frame_grid({"frame": shown, "through z": kept})


def latent_map(world_model: WorldModel, drives: list[dict]):
    """z of every tenth frame, on its two widest principal axes, coloured by the steering."""
    z = torch.cat([world_model.encode(drive["frames"][:-1:10]) for drive in drives])
    steering = np.concatenate([drive["actions"][::10, 0] for drive in drives])
    return figures.scatter_map(PCA(2).fit_transform(z.numpy()), steering, "steering")


def accuracy(world_model: WorldModel, drives: list[dict], seen: int, ahead: int):
    """Squared distance of z to what came, against the horizon, beside that nothing changes.

    Raises ValueError if fewer than two drives are long enough.
    """
    with torch.no_grad():
        code = world_model.vae.encode(frames_to_tensor(drives[0]["frames"][:300]))
    active = kl_per_dimension(*code).mean(0) > 0.1
    errors: dict[str, list] = {"M": [], "nothing changes": []}
    for drive in drives:
        if len(drive["actions"]) < seen + ahead:
            continue
        frames, actions = drive["frames"][: seen + ahead + 1], drive["actions"][: seen + ahead]
        real = world_model.encode(frames[seen + 1 :])
        generator = torch.Generator().manual_seed(0)
        guesses = {
            "M": evaluation.open_loop_rollout(
                world_model, frames, actions, seen, 0.1, 4, generator
            )[0],
            "nothing changes": world_model.encode(frames[[seen]]).expand(1, ahead, -1),
        }
        for name, guess in guesses.items():
            off = (guess - real)[..., active].square().sum(-1)
            errors[name].append(off.mean(0).numpy())
    if len(errors["M"]) < 2:
        raise ValueError(f"only {len(errors['M'])} drives last {seen + ahead} looks, 2 are needed")
    colors = {"M": figures.DREAM, "nothing changes": figures.TRUTH}
    values = {name: np.stack(rows) for name, rows in errors.items()}
    return figures.horizon_curves(values, "squared distance in z", colors)


def dream_against_reality(
    preset: Preset,
    world_model: WorldModel,
    controller: Controller,
    path: str | Path,
    track: int,
    seen: int,
    ahead: int,
    temperature: float = 1.0,
) -> str:
    """The agent's drive, V's view of it and M's dream of it, side by side, as a GIF.

    The dream gets the drive's actions from look `seen` on, and no more frames. Returns a sentence.
    Raises ValueError if the drive is shorter than seen + 2 looks.
    """
    world = _world(preset, world_model)
    recording = record_episode(
        world, ControllerPolicy(controller), EpisodeSpec(track), world_model
    ).recording
    frames, actions = recording["frames"], recording["actions"]
    if len(actions) < seen + 2:
        raise ValueError(f"the drive on track {track} ends after {len(actions)} looks: see fewer")
    frames, actions = frames[: seen + ahead + 1], actions[: seen + ahead]
    dream = evaluation.dream_frames(world_model, frames, actions, seen, temperature)
    kept = tensor_to_frames(world_model.decode(world_model.encode(frames)))
    rate = 50 / world_model.mdn_rnn.repeat
    description = "a drive, what V keeps of it, and M's dream of it"
    figures.moving_picture([frames, kept, dream], description, fps=rate, save=path)
    return f"from the left: {description}, from look {seen} on with closed eyes"
