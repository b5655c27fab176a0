"""Take Cover: a second round, with episodes of the agent, and how long a controller survives."""

import shutil
from concurrent.futures import Executor
from dataclasses import replace
from pathlib import Path

from wmlib.envs.dream import DreamSpec, PassThroughEncoder
from wmlib.models.controller import Controller
from wmlib.pipeline.car_racing import (
    by_lookahead,
    run_all_rounds,
    search_controller,
    training_env_spec,
)
from wmlib.pipeline.config import Config, Machine
from wmlib.pipeline.fitness import MeanReturn, returns
from wmlib.pipeline.rounds import CHECK_TRACKS_FROM, Round, rounds_of
from wmlib.pipeline.search import search_directions

DREAMS_FROM = 10**8  # seeds of dreams that no search uses
TRACKS_FROM = CHECK_TRACKS_FROM + 20_000  # of real episodes
SECOND = "second_round"


def two_rounds(config: Config, run: Path, machine: Machine) -> list[Round]:
    """A run's first round, and one after it that is made here, in a folder of its own.

    The second one adds half as many episodes, in which the candidates of the first one's search
    play; V is trained further for one pass over all of them, M anew on the newest and as many
    others, and C is found anew. (See `run_all_rounds`.)
    """
    first = rounds_of(config, run, machine)[0]
    more = {"episodes": max(1, first.settings.episodes // 2), "vae_epochs": 1}
    both = replace(config, rounds=(first.settings, replace(first.settings, **more)))
    folder = run / SECOND
    copied, partial = folder / first.work.name, folder / "incomplete"
    if not copied.exists():
        shutil.rmtree(partial, ignore_errors=True)
        shutil.copytree(first.work, partial).rename(copied)
    run_all_rounds(both, folder, machine)
    return [first, Round.of(both, 1, folder, machine)]


def find_controller(
    current: Round, dreams: DreamSpec, latents: Path, folder: Path, executor: Executor | None
) -> Controller:
    """C found in dreams as in a round of a run, with its config; kept in `folder`.

    latents: the folder of the encoded episodes in which lookahead begins.
    """
    config, agent = current.config, dreams.world_model
    encoder, seed = PassThroughEncoder(agent), config.seed
    fitness = MeanReturn(dreams, encoder, current.settings.rollouts, seed=seed, executor=executor)
    folder.mkdir(parents=True, exist_ok=True)
    start = by_lookahead(current, dreams, latents, folder, executor)
    directions = search_directions(agent, current.work, config.search.directions, kept_in=folder)
    controller, _ = search_controller(current, fitness, folder, start, directions, check=None)
    return controller


def lifetimes(
    config: Config, dreams: DreamSpec, controller: Controller, executor: Executor | None
) -> dict[str, list[float]]:
    """How long C survives, in tics: "dream", in `score_tracks` dreams, and "real", in as many
    episodes of the game, with the world model of the dreams. The seeds of both are none that a
    search uses.
    """
    agent, found, count = dreams.world_model, {}, config.score_tracks
    for name, env_spec, encoder, first in (
        ("dream", dreams, PassThroughEncoder(agent), DREAMS_FROM),
        ("real", training_env_spec(config), agent, TRACKS_FROM),
    ):
        lived = returns(env_spec, encoder, controller, range(first, first + count), executor)
        found[name] = lived[0].round(1).tolist()
    return found
