"""C by lookahead: M is asked, at many moments, which way is safer, and C is fitted to its answers.

A search that knows only how long each dream lasted learns one number from hundreds of actions. Here
every pair of dreams answers one question: how much likelier is it that the agent survives from this
moment on if it first moves right than if it first moves left, and then goes on with C? The new C is
a linear fit to the answers, by least squares. Then all is asked again, with the new C.

This is policy improvement by rollouts (Tesauro & Galperin, 1996), with a linear policy and M as the
simulator. The paper has nothing like it: its search begins at random weights.
"""

import logging
from concurrent.futures import Executor
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor
from tqdm.auto import tqdm

from wmlib.envs.dream import DreamSpec, PassThroughEncoder
from wmlib.files import digest
from wmlib.models.checkpoints import (
    load_controller,
    read_record,
    save_controller,
    weights_digest,
    world_model_digest,
)
from wmlib.models.controller import Controller
from wmlib.models.world_model import State, WorldModel
from wmlib.pipeline.config import Config, LookaheadConfig
from wmlib.pipeline.dreaming import dream_env_spec
from wmlib.provenance import Record, require
from wmlib.rollout.policies import EpisodeSpec, HeldThenPolicy
from wmlib.rollout.rollout import run_episodes
from wmlib.training.search_space import imitate

LOG = logging.getLogger(__name__)

MOVES = (-1.0, 1.0)  # as far to the left as possible, and to the right
AT_ONCE = 2048  # moments that are sent to the workers together
RIDGE = 10.0


def lookahead_spec(
    config: Config, dream: WorldModel, latents: str | Path, agent: WorldModel
) -> DreamSpec:
    """Short dreams from moments anywhere in the newest of the encoded episodes in a folder."""
    ahead = config.lookahead
    changes = {
        "starts": ahead.moments,
        "start_before": config.env.max_steps,
        "steps": max(1, ahead.horizon // config.frame_skip),
    }
    spec = dream_env_spec(config.change(dream=changes), dream, latents, agent)
    return replace(spec, log_survival=True)


def look_ahead(
    dreams: DreamSpec,
    controller: Controller,
    settings: LookaheadConfig,
    file: str | Path,
    executor: Executor | None = None,
) -> Controller:
    """C after so many improvements by lookahead, beginning with `controller`; kept in `file`.

    dreams: from the moments that M is asked at, each of them `settings.horizon` long, with an agent
    of its own or that of the dreams. Raises ValueError if the file has another record.
    """
    file, (agent, moments) = Path(file), agent_of(dreams)
    made_from = {
        "world_model": world_model_digest(agent),
        "dream": weights_digest(dreams.world_model.mdn_rnn),
        "starts": dreams.origin,
        "controller": digest(controller.parameters),
    }
    record = Record(made_from, {"world": str(dreams), **vars(settings)})
    if file.exists():
        require(file, read_record(file), record)
        return load_controller(file)
    hold = max(1, settings.hold // agent.mdn_rnn.repeat)
    for _ in range(settings.improvements):
        difference = advantages(dreams, controller, hold, executor)
        if not difference.any():
            LOG.warning(
                "in none of %d moments did it matter which way the player moved: M ends no dream "
                "of %d tics, or all of them; C stays what it was",
                len(difference),
                settings.horizon,
            )
            break
        controller = fit_controller(agent.features(moments), difference, settings.spread)
    save_controller(controller, file, record=record)
    return controller


def agent_of(dreams: DreamSpec) -> tuple[WorldModel, State]:
    """The world model whose [z, h] C reads, and in its states the moments that dreams begin at."""
    return dreams.agent or (dreams.world_model, dreams.starts)


def advantages(
    dreams: DreamSpec, controller: Controller, hold: int, executor: Executor | None = None
) -> Tensor:
    """At every moment M: the probability of survival if the first move is to the right, minus the
    probability if it is to the left. (M,) float32, -1 to 1.

    Each move is held for `hold` agent steps, and then `controller` acts until the dream's last
    step. Both dreams of a moment have the same noise. dreams: with `log_survival`; to draw whether
    the agent dies would add the noise of a coin to every answer.
    """
    (agent, moments), found = agent_of(dreams), []
    policy = HeldThenPolicy(MOVES, hold, controller)
    bar = tqdm(total=len(moments.z), desc="lookahead", unit="moment", disable=None, leave=False)
    with bar:
        for begin in range(0, len(moments.z), AT_ONCE):
            part = slice(begin, begin + AT_ONCE)
            starts = dreams.starts.take(part)
            own = dreams.agent and (agent, moments.take(part))
            spec = replace(dreams, starts=starts, agent=own)
            # (Seed s begins at moment s % S.)
            count = len(starts.z)
            first = -(-begin // count) * count
            episodes = run_episodes(
                spec,
                policy,
                [EpisodeSpec(first + i, k) for i in range(count) for k in range(2)],
                PassThroughEncoder(agent),
                executor=executor,
            )
            survival = torch.tensor([episode.score for episode in episodes]).exp()
            found.append(survival[1::2] - survival[::2])
            bar.update(count)
    return torch.cat(found)


def fit_controller(features: Tensor, difference: Tensor, spread: float) -> Controller:
    """The linear fit of `difference` (M,) to `features` (M, n), as a C of one action.

    Its outputs before tanh are scaled to a root mean square of `spread` at these moments. (The
    player moves where |tanh| is above 1/3.) The differences must not all be 0.
    """
    fitted = imitate(features, difference[:, None], RIDGE)
    size = float(fitted.raw(features).square().mean().sqrt())
    return Controller(fitted.parameters * (spread / size), **fitted.config)
