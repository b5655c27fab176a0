"""Moments of real episodes at which dreams begin."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from wmlib.models.mdn_rnn import TILE
from wmlib.models.world_model import State, WorldModel
from wmlib.rollout.episodes import EpisodeStore, previous_rewards

TOGETHER = 256  # episodes that M reads in one batch


@torch.no_grad()
def real_moments(
    world_model: WorldModel,
    latents: EpisodeStore,
    moments: Sequence[tuple[str, int]],
    count: int,
    seed: int = 0,
) -> State:
    """States (rows: count) of a world model at moments of real episodes, drawn with replacement.

    latents: encoded episodes. moments: (episode, agent step) pairs, see `find_moments`. h and c are
    those after all earlier steps of the episode. The same seed draws the same moments for any
    world model.
    """
    rng = np.random.default_rng(seed)
    drawn: dict[str, list[tuple[int, int]]] = {}  # of each episode: (agent step, place)
    for place, i in enumerate(sorted(rng.integers(len(moments), size=count))):
        name, t = moments[i]
        drawn.setdefault(name, []).append((t, place))
    names, found = list(drawn), []
    places: list[int] = []
    for begin in range(0, len(names), TOGETHER):
        group = names[begin : begin + TOGETHER]
        z, actions, reward = _padded(latents, group)
        wanted: dict[int, list[tuple[int, int]]] = {}  # at each agent step: (row, place)
        for row, name in enumerate(group):
            for t, place in drawn[name]:
                wanted.setdefault(t, []).append((row, place))
        h, c = (part[0] for part in world_model.mdn_rnn.initial_state(len(group)))
        for t in range(max(wanted) + 1):
            state = State(z[:, t], h, c, reward[:, t])
            if t in wanted:
                rows, here = zip(*wanted[t], strict=True)
                found.append(state.take(torch.tensor(rows)))
                places += here
            if t < actions.shape[1]:
                h, c = world_model.remember(state, actions[:, t])
    shuffled = torch.tensor(places).argsort()[torch.from_numpy(rng.permutation(count))]
    return State(*(torch.cat(part)[shuffled] for part in zip(*found, strict=True)))


def _padded(latents: EpisodeStore, names: Sequence[str]) -> tuple[Tensor, Tensor, Tensor]:
    # Of E episodes: z (E, T + 1, z_size), actions (E, T, action_size), previous rewards (E, T + 1).
    z, actions, rewards = (
        [torch.from_numpy(latents.read(name, key)) for name in names]
        for key in ("mu", "actions", "rewards")
    )
    padded = pad_sequence(z, batch_first=True), pad_sequence(actions, batch_first=True)
    reward = pad_sequence([previous_rewards(part) for part in rewards], batch_first=True)
    return *padded, reward.to(padded[0]) / TILE


def find_moments(
    latents: EpisodeStore,
    repeat: int,
    after: int = 50,
    recent: int = 20,
    *,
    before: int | None = None,
    newest: int = 0,
) -> tuple[list[tuple[str, int]], bool]:
    """Where dreams may begin: (episode, agent step) pairs, and whether the car is on the road.

    latents: encoded episodes, of which only the `newest` so many are used (0: all). repeat:
    environment steps per agent step. A moment is `after` or more environment steps into its episode
    (by default, when CarRacing has zoomed in), earlier than `before`, and at most `recent` steps
    after a reward: a car that has left the road already has nothing to learn. (In Take Cover every
    step brings one.)

    Where no episode has such a moment (all may be short, or off the road), every moment of every
    episode but its last one counts, and the second value is False. Raises ValueError if there are
    no episodes.
    """
    names = latents.names()[-newest:]
    if not names:
        raise ValueError(f"there are no episodes in {latents.folder}: encode some first")
    after, recent = math.ceil(after / repeat), math.ceil(recent / repeat)
    latest = math.inf if before is None else before / repeat
    on_the_road, lengths = [], {}
    for name in names:
        rewarded = latents.read(name, "rewards") > 0
        steps = lengths[name] = len(rewarded)
        lately = np.convolve(rewarded, np.ones(recent))[:steps] > 0  # up to and with step t
        times = (np.flatnonzero(lately) + 1).tolist()
        on_the_road += [(name, t) for t in times if after <= t < min(steps, latest)]
    if on_the_road:
        return on_the_road, True
    return [(name, t) for name, steps in lengths.items() for t in range(steps)], False
