"""The loop, phase by phase: collect, train V, encode, train M, evolve C.

Of CarRacing; and, with another `Task` and other settings, of Take Cover. Every phase of a `Round`
keeps its work in the round's folder and, called again, goes on from what it finds there; a finished
phase trains nothing again. Chapters call these functions, and so does the command line.

Differs from the paper, with the default (laptop) settings, in:
- several rounds: the agent of one collects episodes for V and M of the next (the paper's section 5
  proposes this), where the paper has one round of 10,000 episodes;
- 500 random episodes at first, with smooth noise as actions instead of random networks, truncated
  where they make no progress;
- a frame skip of 2 (an agent step is two environment steps);
- the search is over 24 principal components of [z, h] instead of all weights; a candidate is scored
  on 2 to 8 tracks instead of 16, the same ones for a whole generation, and truncated where it makes
  no progress;
- C is the mean of the last search distribution, not its best candidate.
"""

import shutil
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from wmlib.envs.dream import DreamSpec, PassThroughEncoder
from wmlib.envs.vector import VectorEnvSpec
from wmlib.files import exclusive_lock, write_atomically
from wmlib.models.checkpoints import load_agent, load_controller, load_world_model
from wmlib.models.controller import Controller
from wmlib.models.mdn_rnn import MDNRNN
from wmlib.models.vae import VAE
from wmlib.models.world_model import WorldModel
from wmlib.pipeline.checks import check_settings
from wmlib.pipeline.config import Config, Machine
from wmlib.pipeline.distillation import distilled
from wmlib.pipeline.dreaming import dream_env_spec, reevaluate, train_dream
from wmlib.pipeline.fitness import ExtrapolatedReturn, MeanReturn
from wmlib.pipeline.lookahead import agent_of, look_ahead, lookahead_spec
from wmlib.pipeline.phases import collect, encode, train_mdn_rnn, train_vae
from wmlib.pipeline.rounds import SEARCH, WORLD_MODEL, Round, rounds_of
from wmlib.pipeline.search import (
    check_in_environment,
    evolve,
    prefer_hard_tracks,
    search_directions,
)
from wmlib.pipeline.workers import processes
from wmlib.rollout.episodes import EpisodeStore
from wmlib.rollout.policies import ControllerPolicy, Policy, RecordedPolicy, random_networks
from wmlib.training.evolution import Evolution
from wmlib.training.fit import pick_device
from wmlib.training.search_space import Directions


def training_env_spec(
    config: Config, patience: int | None = None, mirror: bool | None = None
) -> VectorEnvSpec:
    """The task's environment to learn in; CarRacing has the fast renderer there.

    patience (see `NoProgressTruncation`) is for training, never for scores. mirror: by default the
    config's.
    """
    env, env_id = config.env, config.task_spec.env_id
    options: dict[str, Any] = {"frame_size": env.frame_size, "max_episode_steps": env.max_steps}
    mirror = env.mirror if mirror is None else mirror
    if mirror:  # absent otherwise: the options are in every record
        options["mirror"] = True
    return VectorEnvSpec(env_id, env.num_envs, patience, options, config.frame_skip)


def run_all_rounds(
    config: Config, folder: str | Path | None = None, machine: Machine | None = None
) -> tuple[WorldModel, Controller]:
    """The whole loop, from scratch, all rounds of a config: V, M and C.

    The folder ends up with the final round's weights, and with the logs of all rounds, whose rows
    say which "round" they are from. With `evolve_in="dream"`, every C is evolved in dreams alone;
    which C is a round's result, see `Round.result`.
    """
    rounds = rounds_of(config, folder, machine)
    check_settings(config, rounds[0].machine)
    finished = [current.number for current in rounds if current.is_finished]
    with exclusive_lock(rounds[0].folder):
        # The last finished round is included: a kill may have come before its files were published.
        for current in rounds[max(finished, default=0) :]:
            train_world_model(current)
            evolve_controller(current)
    return load_agent(rounds[0].folder)


def train_world_model(current: Round) -> WorldModel:
    """V and M of a round: collect, V, encode, M.

    A later round that freezes V copies both from the previous one; only episodes are added.
    """
    with exclusive_lock(current.folder):
        collect_episodes(current)
        vae = train_round_vae(current)
        encode_episodes(current)
        return WorldModel(vae, train_round_mdn_rnn(current))


def collect_episodes(current: Round) -> EpisodeStore:
    """The episodes that a round learns from.

    Round 0 uses a random policy; a later one lets the previous round's agent drive, with noise, and
    adds that to what was collected before. If C is evolved in dreams, the last generation's
    candidates drive, with four levels of noise: M must be accurate about the policies that the next
    search will compare. Raises ValueError if the folder has more episodes than are wanted, or was
    filled with other settings or by another policy.

    A round that acts more often than the one before lets that one's agent drive at its own pace,
    with four levels of noise, and replays the actions, each of them several times: these episodes
    have the frames in between, too. It learns from them alone.
    """
    config, task = current.config, current.config.task_spec
    world_model, members = None, 1
    made_from, first = {}, current.number == 0
    policy: Policy
    if not first:
        world_model, controller = current.previous.agent()
        pace = world_model.mdn_rnn.repeat
        if config.in_dreams:
            controller = load_controller(current.previous.work / "population.safetensors")
        levels = 4 if config.in_dreams or current.changes_pace else 1
        noise = config.collect.noise
        policy = task.noisy_policy(ControllerPolicy(controller), pace, levels, noise)
        members = len(controller)
        made_from = {"previous": current.previous.episodes.digest()}
    elif config.collect.policy == "networks":
        torch.manual_seed(config.seed)
        world_model = WorldModel(VAE(config.env.frame_size), MDNRNN(repeat=current.repeat))
        members = current.settings.episodes
        policy = random_networks(members, seed=config.seed)
    else:
        policy = task.random_policies[config.collect.policy](current.repeat)
    tracks, patience = current.training_tracks(), config.collect.patience_of(first)
    env_spec = replace(training_env_spec(config, patience), repeat=current.repeat)
    with processes(current.machine.workers, current.machine.cluster) as executor:
        run = partial(collect, env_spec, seeds=tracks, executor=executor, members=members)
        if current.changes_pace:
            folder = current.work / "own_pace"
            own = run(policy, folder=folder, world_model=world_model, made_from=made_from)
            assert own.record is not None  # `collect` has just written it
            policy = RecordedPolicy(own, task.action_size, pace // current.repeat)
            world_model, made_from = None, {"replayed": own.record.digest}
        folder = current.work / "episodes"
        store = run(policy, folder=folder, world_model=world_model, made_from=made_from)
    if not first and not current.changes_pace:
        store.include(current.previous.episodes)
    return store


def train_round_vae(current: Round) -> VAE:
    """V of a round: a new one; or the previous round's, trained further, or frozen."""
    if current.is_imported("vae"):
        return current.vae()
    if current.freezes_vae:
        return _copied(current, "vae").vae()
    vae, _ = train_vae(
        current.episodes,
        current.work,
        epochs=current.settings.vae_epochs,
        frame_size=current.config.env.frame_size,
        seed=current.config.seed,
        device=current.device,
        start=current.previous.vae() if current.number > 0 else None,
        **asdict(current.config.vae),
    )
    return vae


def _copied(current: Round, name: str) -> Round:
    # The previous round's weights; their record says how they were made.
    file = f"{name}.safetensors"
    write_atomically(
        current.work / file, lambda path: shutil.copy(current.previous.work / file, path)
    )
    return current


def encode_episodes(current: Round) -> EpisodeStore:
    """All episodes of a round as its V sees them, with their mirror images if these are wanted."""
    device = str(pick_device(current.device))
    reuse = current.previous.latents if current.freezes_vae else None
    return encode(
        current.episodes,
        current.vae(),
        current.work / "latents",
        device,
        reuse,
        mirrored=current.config.rnn.mirror_images,
    )


def train_round_mdn_rnn(current: Round) -> MDNRNN:
    """M of a round, trained from scratch; or the previous round's, if V and M are frozen.

    With `shared_m` it is trained as the M that makes dreams is.
    """
    if current.is_imported("mdn_rnn"):
        return current.mdn_rnn()
    if current.freezes_vae:
        return _copied(current, "mdn_rnn").mdn_rnn()
    rnn, task = current.config.rnn, current.config.task_spec
    if current.config.dream.shared_m:
        mdn_rnn = train_dream(current)
    else:
        mdn_rnn, _ = train_mdn_rnn(
            current.latents,
            current.work,
            epochs=rnn.epochs,
            batch_size=rnn.batch_size,
            window=current.config.window(current.repeat),
            action_size=task.action_size,
            hidden_size=rnn.hidden_size,
            reads_cell=task.reads_cell,
            done_weight=rnn.done_weight,
            repeat=current.repeat,
            seed=current.config.seed,
            device=current.device,
        )
    if current.number == 0:  # later ones are published together with the C that can read them
        current.publish(*WORLD_MODEL)
    return mdn_rnn


def evolve_controller(current: Round) -> tuple[Controller, Evolution]:
    """C of a round: `evolve` with the config's settings.

    In the environment; or, with `evolve_in="dream"`, in dreams (see `train_dream`) that begin early
    in the newest episodes. The search starts at the C before (distilled, if M is new) or, in a
    round that re-evaluates, at the mean that `reevaluate` returns; or, with `lookahead`, at the
    C that it found. Returns C at the end of the search; the round's result may be that mean
    instead, see `Round.result`.
    """
    config = current.config
    with exclusive_lock(current.folder):
        world_model = load_world_model(current.work)
        # In dreams there are many short searches, each with random numbers of its own.
        seed = config.seed + (1000 * current.number if config.in_dreams else 0)
        # First of all: settings that fit no directions are refused here.
        directions = search_directions(world_model, current.work, config.search.directions)
        dreams = _dreams(current, world_model) if config.in_dreams else None
        with processes(current.machine.workers, current.machine.cluster) as executor:
            check = check_of(config, world_model, executor)
            fitness = mean_return(current, world_model, executor)
            if dreams is not None:
                encoder = PassThroughEncoder(world_model)
                fitness = replace(fitness, env_spec=dreams, encoder=encoder, seed=seed)
                if config.task_spec.reward is None:
                    steps = config.extrapolated_steps
                    fitness = ExtrapolatedReturn(**vars(fitness), agent_steps=steps)
            if current.reevaluates:
                start = reevaluate(current, fitness, check)
            elif dreams is not None and config.lookahead.improvements:
                latents, folder = current.latents.folder, current.work
                start = by_lookahead(current, dreams, latents, folder, executor)
            else:
                start = initial_controller(current, world_model)
            if pool := current.pool_tracks():
                fitness = prefer_hard_tracks(fitness, start, current.work, pool)
            result = search_controller(current, fitness, current.work, start, directions, check)
        current.publish(*WORLD_MODEL, "dream", *SEARCH)
    return result


def search_controller(
    current: Round,
    fitness: MeanReturn,
    folder: str | Path,
    start: Controller,
    directions: Directions | None,
    check: Callable[[Controller], dict] | None,
) -> tuple[Controller, Evolution]:
    """`evolve` with the settings of a round; the seed is that of the fitness."""
    settings = current.config.search
    return evolve(
        fitness,
        folder,
        start=start,
        population=settings.population,
        generations=current.settings.generations,
        sigma=current.settings.sigma,
        directions=directions,
        seed=fitness.seed,
        check=check,
        check_every=settings.check_every,
        select=settings.select,
        separable=settings.separable,
        mirrored=settings.mirrored,
    )


def check_of(
    config: Config, world_model: WorldModel, executor: Executor | None
) -> Callable[[Controller], dict]:
    """`check_in_environment` with the config's settings."""
    return partial(
        check_in_environment,
        training_env_spec(config, mirror=False),  # tracks as scores have them
        world_model,
        tracks=config.search.check_tracks,
        executor=executor,
    )


def mean_return(current: Round, world_model: WorldModel, executor: Executor | None) -> MeanReturn:
    """The fitness of a round's search in the environment, on tracks from all alike."""
    search = current.config.search
    limited = current.config.change(env={"max_steps": current.rollout_steps})
    env_spec = training_env_spec(limited, search.patience)
    return MeanReturn(
        replace(env_spec, every=search.frame_every),
        world_model,
        current.settings.rollouts,
        search.double_every,
        current.config.seed,
        executor,
    )


def _dreams(current: Round, world_model: WorldModel) -> DreamSpec:
    # The M that makes them is trained here, if it is not the agent's.
    shared = current.config.dream.shared_m
    dream = world_model if shared else WorldModel(world_model.vae, train_dream(current))
    return dream_env_spec(current.config, dream, current.work / "latents", agent=world_model)


def zero_controller(config: Config, world_model: WorldModel) -> Controller:
    """C with all parameters 0, for the features and actions of a world model.

    As in the paper, it has no bias in Take Cover; but changes along directions have one.
    """
    m = world_model.mdn_rnn
    bias = not m.reads_cell or config.search.directions > 0
    return Controller(feature_size=world_model.feature_size, action_size=m.action_size, bias=bias)


def by_lookahead(
    current: Round, dreams: DreamSpec, latents: Path, folder: Path, executor: Executor | None
) -> Controller:
    """Where a search in dreams begins after lookahead, itself from a C of zeros. See `look_ahead`.

    dreams: those of the search, whose world models are asked. latents: the folder of the encoded
    episodes whose moments they are asked at. Kept in `folder` as initial.safetensors.
    """
    config, (agent, _) = current.config, agent_of(dreams)
    asked = lookahead_spec(config, dreams.world_model, latents, agent)
    start, file = zero_controller(config, agent), folder / "initial.safetensors"
    return look_ahead(asked, start, config.lookahead, file, executor)


def initial_controller(current: Round, world_model: WorldModel) -> Controller:
    """Where a round's search begins, if not at what re-evaluation chose."""
    if current.is_imported("initial"):
        return load_controller(current.work / "initial.safetensors")
    if current.number == 0:
        return zero_controller(current.config, world_model)
    if current.freezes_vae:
        return current.previous.agent()[1]
    return distilled(current, world_model)
