"""Policy distillation: C for new features from what it does on the old ones, by least squares.

A retrained M has another hidden state, which the old C does not fit. Both world models see the same
recorded episodes, and the new weights are fitted to the old outputs. No new episodes and no rewards
are used.
"""

from pathlib import Path

import torch

from wmlib.evaluation import features
from wmlib.files import digest
from wmlib.models.checkpoints import (
    load_controller,
    read_record,
    save_controller,
    world_model_digest,
)
from wmlib.models.controller import Controller
from wmlib.models.world_model import WorldModel
from wmlib.pipeline.rounds import Round
from wmlib.pipeline.search import newest_episodes
from wmlib.provenance import Record, require
from wmlib.training.search_space import imitate


@torch.no_grad()
def distill(
    old: WorldModel, controller: Controller, new: WorldModel, folder: str | Path, episodes: int = 60
) -> Controller:
    """A controller of the new world model's features that imitates `controller` on the old one's.

    By the newest `episodes` of the round whose folder is `folder`, recorded at the new world
    model's pace. Where the old one's agent steps are so many times as long, it sees every so
    manyth frame, and C imitates it at these moments. Raises ValueError if there are no episodes.
    """
    times, seen, raw = old.mdn_rnn.repeat // new.mdn_rnn.repeat, [], []
    for frames, actions, rewards in newest_episodes(folder, episodes):
        steps = len(actions) // times
        longer = frames[::times][: steps + 1], actions[::times][:steps]
        summed = rewards[: steps * times].reshape(steps, times).sum(1)
        seen.append(features(new, frames, actions, rewards)[: steps * times : times])
        # Beyond 3, tanh hardly changes: the fit need not follow the old outputs there.
        raw.append(controller.raw(features(old, *longer, summed)).clamp(-3, 3))
    return imitate(torch.cat(seen), torch.cat(raw), ridge=30.0)


def distilled(current: Round, world_model: WorldModel) -> Controller:
    """The previous round's C, for this round's world model: made once, and kept.

    A search that goes on must begin at the very same point, on any machine. Raises ValueError if
    what was kept has another record.
    """
    file, (old, controller) = current.work / "initial.safetensors", current.previous.agent()
    made_from = {
        "controller": digest(controller.parameters),
        "old": world_model_digest(old),
        "new": world_model_digest(world_model),
        "episodes": current.episodes.digest(),
    }
    record = Record(made_from)
    if file.exists():
        require(file, read_record(file), record)
    else:
        save_controller(distill(old, controller, world_model, current.work), file, record=record)
    return load_controller(file)
