"""V and M of the bouncing ball, from scratch."""

from pathlib import Path

from wmlib.envs.vector import VectorEnvSpec
from wmlib.files import exclusive_lock
from wmlib.models.world_model import WorldModel
from wmlib.pipeline.config import Config, Machine
from wmlib.pipeline.phases import collect, encode, train_mdn_rnn, train_vae
from wmlib.pipeline.rounds import SEEDS_PER_RUN
from wmlib.pipeline.scales import get_machine
from wmlib.pipeline.workers import processes
from wmlib.rollout.policies import no_action_policy

BALL = VectorEnvSpec("wmlib/BouncingBall-v0", num_envs=8)

TRUTH = ("position", "velocity", "bounced")  # entries of `info` that the tests of V and M need


def train_ball(
    config: Config, folder: str | Path | None = None, machine: Machine | None = None
) -> WorldModel:
    """V and M of the ball, from scratch: collect, V, encode, M.

    folder, machine: as for `Round.of`; by default the config's ball folder.
    """
    folder = Path(folder or config.run_folder("ball"))
    machine = machine or get_machine(config.scale)
    device, seed = machine.device or None, config.seed
    with exclusive_lock(folder):
        with processes(machine.workers, machine.cluster) as executor:
            first = seed * SEEDS_PER_RUN
            tracks = range(first, first + config.ball.episodes)
            policy = no_action_policy()
            store = collect(BALL, policy, tracks, folder / "episodes", executor, TRUTH)
        vae, _ = train_vae(
            store,
            folder,
            epochs=config.ball.vae_epochs,
            learning_rate=1e-3,
            seed=seed,
            device=device,
        )
        latents = encode(store, vae, folder / "latents", device)
        mdn_rnn, _ = train_mdn_rnn(
            latents,
            folder,
            epochs=config.ball.rnn_epochs,
            batch_size=config.rnn.batch_size,
            window=config.rnn.window,
            action_size=0,
            seed=seed,
            device=device,
        )
    return WorldModel(vae, mdn_rnn)
