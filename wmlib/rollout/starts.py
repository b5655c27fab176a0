"""Real moments at which dreams begin."""

import math

import numpy as np
import torch

from wmlib.models.world_model import State, WorldModel
from wmlib.rollout.episodes import EpisodeStore, just_earned


@torch.no_grad()
def real_moments(
    world_model: WorldModel,
    latents: EpisodeStore,
    count: int,
    after: int = 50,
    recent: int = 20,
    seed: int = 0,
    before: int | None = None,
    newest: int = 0,
) -> State:
    """`count` moments of real episodes, as the agent knew them: M has seen all that came before.

    latents: encoded episodes; only the `newest` so many are used (0: all). The moments are those of
    `find_moments`, drawn with replacement. Raises ValueError if there are no episodes.
    """
    moments, _ = find_moments(
        latents, world_model.mdn_rnn.repeat, after, recent, before=before, newest=newest
    )
    rng = np.random.default_rng(seed)
    chosen: dict[str, list[int]] = {}
    for i in sorted(rng.integers(len(moments), size=count)):
        name, t = moments[i]
        chosen.setdefault(name, []).append(t)
    found = []
    for name, times in chosen.items():
        mu = torch.from_numpy(latents.read(name, "mu"))
        rewards = torch.from_numpy(latents.read(name, "rewards"))
        z = world_model.moment(mu, just_earned(rewards))[None]
        actions = torch.from_numpy(latents.read(name, "actions"))[None]
        memory, begin = world_model.mdn_rnn.initial_state(1), 0
        for end in times:
            if end > begin:
                _, memory = world_model.mdn_rnn.remember(
                    z[:, begin:end], actions[:, begin:end], memory
                )
            found.append((z[0, end], memory[0][0, 0], memory[1][0, 0]))
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
    after a reward: a car that is lost already has nothing to learn, and would dream of being found.

    Where no episode has such a moment (they may all be short, or all lost), every moment of every
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
        on_the_road += [
            (name, t + 1) for t in np.flatnonzero(lately) if after <= t + 1 < min(steps, latest)
        ]
    if on_the_road:
        return on_the_road, True
    return [(name, t) for name, steps in lengths.items() for t in range(steps)], False
