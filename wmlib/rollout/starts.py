"""Moments of real episodes at which dreams begin."""

import math
from collections.abc import Sequence

import numpy as np
import torch

from wmlib.models.mdn_rnn import TILE
from wmlib.models.world_model import State, WorldModel
from wmlib.rollout.episodes import EpisodeStore, previous_rewards


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
    chosen: dict[str, list[int]] = {}
    for i in sorted(rng.integers(len(moments), size=count)):
        name, t = moments[i]
        chosen.setdefault(name, []).append(t)
    found = []
    for name, times in chosen.items():
        z = torch.from_numpy(latents.read(name, "mu"))[None]
        rewards = torch.from_numpy(latents.read(name, "rewards"))
        reward = previous_rewards(rewards).to(z)[None] / TILE
        actions = torch.from_numpy(latents.read(name, "actions"))[None]
        memory, begin = world_model.mdn_rnn.initial_state(1), 0
        for end in times:
            if end > begin:
                part = slice(begin, end)
                _, memory = world_model.mdn_rnn.remember(
                    z[:, part], actions[:, part], memory, reward[:, part]
                )
            found.append((z[0, end], memory[0][0, 0], memory[1][0, 0], reward[0, end]))
            begin = end
    shuffled = torch.from_numpy(rng.permutation(count))  # not episode after episode
    return State(*(torch.stack(part)[shuffled] for part in zip(*found, strict=True)))


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
