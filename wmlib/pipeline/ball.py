"""V and M of the bouncing ball, from nothing."""

from pathlib import Path

from wmlib.envs.vector import World
from wmlib.files import exclusive_lock
from wmlib.models.world_model import WorldModel
from wmlib.pipeline.config import Preset
from wmlib.pipeline.phases import collect, encode, train_mdn_rnn, train_vae
from wmlib.pipeline.rounds import SEEDS_PER_RUN
from wmlib.rollout.policies import no_action_policy
from wmlib.rollout.workers import processes

BALL = World("wmlib/BouncingBall-v0", num_envs=8)


TRUTH = ("position", "velocity", "bounced")


def ball(preset: Preset, folder: str | Path | None = None) -> WorldModel:
    """V and M of the ball, from nothing: collect, V, encode, M."""
    folder = Path(folder or preset.run_folder("ball"))
    device = preset.device or None
    with exclusive_lock(folder):
        with processes(preset.workers, preset.cluster) as executor:
            first = preset.seed * SEEDS_PER_RUN
            seeds = range(first, first + preset.ball_episodes)
            store = collect(BALL, no_action_policy(), seeds, folder / "episodes", executor, TRUTH)
        vae, _ = train_vae(
            store,
            folder,
            epochs=preset.ball_vae_epochs,
            learning_rate=1e-3,
            seed=preset.seed,
            device=device,
        )
        latents = encode(store, vae, folder / "latents")
        mdn_rnn, _ = train_mdn_rnn(
            latents,
            folder,
            epochs=preset.ball_rnn_epochs,
            batch_size=preset.rnn_batch,
            window=preset.window,
            action_size=0,
            seed=preset.seed,
            device=device,
        )
    return WorldModel(vae, mdn_rnn)
