"""Hairpins of CarRacing's tracks: whether an agent fails there, and V's error on the way."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np

from wmlib.envs.vector import MaskedVectorEnv, VectorEnvSpec
from wmlib.evaluation import episode_interval
from wmlib.models.vae import frames_to_tensor
from wmlib.models.world_model import WorldModel
from wmlib.rollout.policies import EpisodeSpec, Policy
from wmlib.rollout.rollout import one_thread, rollout

AHEAD = 12  # tiles of the road within which a turn is measured
ZOOM = 60  # environment steps at the beginning, in which the camera zooms in
SHARP = 90  # degrees, from which on a turn is a hairpin
# In environment steps:
APART = 40  # hairpins that come into view sooner after one another are the same
STUCK = 100  # without a new tile: the car failed
VIEW = 24  # V's error at a hairpin is averaged over so many
STRIDE = 20  # from one sampled frame of an episode to the next


class RoadAhead(gym.Wrapper):
    """Adds two entries to the `info` of a CarRacing.

    "turn": degrees by which the road turns within the next `AHEAD` tiles, left positive. "offset":
    the distance of the car from the middle of the road, whose width is 13 of these units.
    """

    def reset(self, **kwargs):
        """As in Gymnasium."""
        frame, info = self.env.reset(**kwargs)
        return frame, info | self._road()

    def step(self, action):
        """As in Gymnasium."""
        *results, info = self.env.step(action)
        return *results, info | self._road()

    def _road(self) -> dict[str, float]:
        env: Any = self.unwrapped
        track = np.array(env.track)  # rows: angle, heading, x, y
        distance = np.hypot(*(track[:, 2:] - env.car.hull.position).T)
        places = distance.argmin() + np.arange(AHEAD + 1)
        ahead = np.take(track[:, 1], places, mode="wrap")
        turns = np.degrees(np.unwrap(ahead) - ahead[0])
        return {"turn": turns[np.abs(turns).argmax()], "offset": distance.min()}


@dataclass(frozen=True)
class Hairpin:
    """A turn of more than 90 degrees that came into view while the car was on the road.

    episode: the index of its episode. turn: degrees, left positive. failed: no new tile within
    `STUCK` environment steps, and no other hairpin came into view around the last one. recovered:
    there was a tile later. frames: uint8 (T, S, S, 3), of the agent steps since it came into view,
    for twice `VIEW`. error: V's squared error per frame, mean over `VIEW`.
    """

    episode: int
    turn: float
    failed: bool
    recovered: bool
    frames: np.ndarray
    error: float


@dataclass(frozen=True)
class Survey:
    """What n episodes showed.

    returns: points (n,). samples (4, N): of a frame per `STRIDE` the index of its episode, the turn
    of the road in degrees, V's squared error, and V's squared error on its mirror image. hairpins:
    of all episodes. gaps: the longest time without a new tile in each episode, in environment
    steps, int (n,).
    """

    returns: np.ndarray
    samples: np.ndarray
    hairpins: list[Hairpin]
    gaps: np.ndarray

    def column(self, name: str) -> np.ndarray:
        """An entry of all hairpins (H,), but not the frames: int, float or bool."""
        dtype = Hairpin.__annotations__[name]
        return np.array([getattr(hairpin, name) for hairpin in self.hairpins], dtype)


def survey(
    env_spec: VectorEnvSpec, policy: Policy, seeds: Sequence[int], world_model: WorldModel
) -> Survey:
    """Run an episode on the track of each seed (n,), and find its hairpins."""
    env_spec = env_spec.at_pace(world_model)
    repeat = env_spec.repeat
    skip, stride = ZOOM // repeat, max(1, STRIDE // repeat)
    returns, gaps = np.zeros(len(seeds)), np.zeros(len(seeds), int)
    samples, hairpins = [], list[Hairpin]()
    envs = MaskedVectorEnv(lambda: RoadAhead(env_spec.make_one()), 16)
    specs = [EpisodeSpec(seed) for seed in seeds]
    with one_thread():
        for k, episode in rollout(envs, policy, specs, world_model, ["turn", "offset"]):
            returns[k], recording = episode.score, episode.recording
            tiles = np.flatnonzero(recording["rewards"] > 0)
            gaps[k] = repeat * np.diff([0, *tiles, len(recording["rewards"])]).max()
            frames, turns = (recording[key][skip::stride] for key in ("frames", "turn"))
            errors = [squared_error(world_model, some) for some in (frames, mirror(frames))]
            samples.append([np.full(len(turns), k), turns, *errors])
            hairpins += find_hairpins(recording, world_model, k, skip)
    envs.close()
    return Survey(returns, np.concatenate(samples, axis=1), hairpins, gaps)


def mirror(frames: np.ndarray) -> np.ndarray:
    """Frames (T, S, S, 3) with left and right exchanged."""
    return np.ascontiguousarray(frames[:, :, ::-1])


def squared_error(world_model: WorldModel, frames: np.ndarray) -> np.ndarray:
    """V's squared error, summed over each frame: uint8 (T, S, S, 3) -> (T,)."""
    difference = world_model.decode(world_model.encode(frames)) - frames_to_tensor(frames)
    return difference.square().sum((1, 2, 3)).numpy()


def episode_means(values: np.ndarray, episodes: np.ndarray) -> np.ndarray:
    """The mean of each episode's values: (n,) with the n-th value's episode (n,) -> (episodes,).

    Values of one episode are alike, so that an interval over all values would be too narrow.
    """
    return np.array([values[episodes == k].mean() for k in np.unique(episodes)])


def describe(errors: np.ndarray, episodes: np.ndarray) -> str:
    """The mean of errors (n,) over episodes (n,) with its 95% CI, which needs two of them."""
    means = episode_means(errors, episodes)
    return episode_interval(means).describe(0) if len(means) > 1 else f"episodes: {len(means)}"


def find_hairpins(
    recording: dict[str, np.ndarray], world_model: WorldModel, episode: int = 0, skip: int = 0
) -> list[Hairpin]:
    """The hairpins of a recorded episode, which has "turn" and "offset", see `RoadAhead`.

    episode: its index. skip: agent steps at its beginning that do not count.
    """
    turn, rewards, repeat = recording["turn"], recording["rewards"], world_model.mdn_rnn.repeat
    apart, stuck_after, view = APART // repeat, STUCK // repeat, VIEW // repeat
    tiles = np.append(0, np.flatnonzero(rewards > 0))  # agent steps that reached one
    reached = np.append(tiles, len(rewards))
    near = (np.abs(turn) > SHARP) & (recording["offset"] < 5)
    steps = skip + np.flatnonzero(near[skip:])
    new = (np.diff(steps) > apart) | (np.diff(np.sign(turn[steps])) != 0)
    groups = [group for group in np.split(steps, np.flatnonzero(new) + 1) if len(group)]
    found = []
    for group, following in itertools.zip_longest(groups, groups[1:]):
        # The longest time without a new tile that begins on the way through the turn.
        first, last = np.searchsorted(tiles, [group[0], group[-1] + apart // 2], side="right") - 1
        begins = first + np.diff(reached)[first : last + 1].argmax()
        stuck = reached[begins + 1] - reached[begins] >= stuck_after
        at_the_next = following is not None and following[0] <= reached[begins] + apart
        frames = recording["frames"][group[0] : group[0] + 2 * view]
        hairpin = Hairpin(
            episode,
            turn=float(turn[group[np.abs(turn[group]).argmax()]]),
            failed=bool(stuck and not at_the_next),
            recovered=begins + 1 < len(tiles),
            frames=frames,
            error=float(squared_error(world_model, frames[:view]).mean()),
        )
        found.append(hairpin)
    return found
