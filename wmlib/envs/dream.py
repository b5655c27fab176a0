"""The dream: M in the place of the environment, as a Gymnasium vector environment.

Ha & Schmidhuber 2018, section 4. A dream begins at a moment of a real episode, in the state that
the agent had there. From then on M draws every next z, gives the reward, and ends the episode.

Differs from the paper in:
- the world is CarRacing; the paper trained in dreams of VizDoom alone;
- M also predicts the reward, where it is not known (`reward`); in the paper's dream every step that
  is survived brings 1;
- dreams begin in the middle of real episodes with M's memory of them, in the paper at an episode's
  first frame with an empty memory;
- the end is drawn with the probability that M gives it; in the paper it comes where the done head's
  logit is above 0 (`end_above`);
- early termination (`patience`) and a limit of some agent steps (`max_steps`);
- dropout and `reward_temperature`, as uncertainty beside the temperature;
- the agent may compute h with another M than the one that makes the dream;
- common random numbers: the seed fixes all noise of an episode.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space
from torch import Tensor
from torch.nn.functional import logsigmoid

from wmlib.envs.vector import pad_batch, seed_per_env
from wmlib.models.mdn_rnn import Noise
from wmlib.models.vae import tensor_to_frames
from wmlib.models.world_model import State, WorldModel

CAR_ACTIONS = gym.spaces.Box(np.array([-1, 0, 0], np.float32), np.ones(3, np.float32))
NOISE_ROWS = 1 << 14
PROGRESS = 1.0  # points, a third of a tile: the rewards that M predicts are seldom quite 0


class Dream(gym.vector.VectorEnv):
    """N = `num_envs` dreams at once. Observations are what C reads, [z, h] (N, z + hidden) float32.

    starts: S real moments (see `real_moments`). Seed s begins at moment s % S and fixes all noise
    of the episode: the same seed and actions give the same dream in any environment, so that all
    candidates of a population can be compared with common random numbers.
    agent: the agent's own world model, which computes h, and the same moments in its states; by
    default the dream's own. With two, the dream's M can be trained further while h keeps the
    meaning that the controller was trained for. Both need the same V and the same `repeat`.
    max_steps: agent steps until the dream is truncated. patience: agent steps in which the return
    does not exceed its maximum by more than `PROGRESS` points, until it is truncated; None: no such
    limit (compare `NoProgressTruncation`).
    temperature: see `sample_next`, may be changed between steps. reward_temperature: an upper limit
    to the temperature of the reward that an M with `reward_input` draws. (A high temperature makes
    rare rewards likelier, and after a reward M expects more of them.)
    reward: of an agent step, in points, where it is known; by default M's expected reward.
    end_above: the episode ends where M's log-odds of the end are above this; by default the end is
    drawn with M's probability.
    log_survival: neither; the reward of a step is the logarithm of the probability of surviving it,
    so that the return is that of surviving them all. Then `reward` and `patience` have no meaning.
    dropout: probability of zeroing each entry of h before M's output layers, drawn anew at every
    step (the recurrence is unaffected); it discourages policies that exploit M's errors. Raises
    ValueError unless 0 <= dropout < 1.

    `reset(seed=[...], options={"reset_mask": mask})` resets the masked environments, as in
    Gymnasium; until then the observation of a finished one has no meaning. There is no autoreset.
    """

    def __init__(
        self,
        world_model: WorldModel,
        starts: State,
        num_envs: int,
        max_steps: float = 150,
        temperature: float = 1.0,
        reward_temperature: float = math.inf,
        dropout: float = 0.0,
        patience: int | None = None,
        agent: tuple[WorldModel, State] | None = None,
        reward: float | None = None,
        end_above: float | None = None,
        log_survival: bool = False,
    ):
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout must be 0 or more and below 1, got {dropout}")
        self.metadata = {"render_modes": ["rgb_array"], "autoreset_mode": AutoresetMode.DISABLED}
        self.render_mode = "rgb_array"
        self.world_model, self.starts = world_model, starts
        self.num_envs, self.max_steps = num_envs, max_steps
        self.temperature, self.reward_temperature = temperature, reward_temperature
        self.dropout, self.reward, self.end_above = dropout, reward, end_above
        self.log_survival = log_survival
        self.patience = math.inf if patience is None or log_survival else patience
        self._agent: WorldModel | None = None if agent is None else agent[0]
        self._agent_starts = starts if agent is None else agent[1]
        shape = ((self._agent or world_model).feature_size,)
        self.single_observation_space = gym.spaces.Box(-np.inf, np.inf, shape, np.float32)
        self.single_action_space = actions_of(world_model.mdn_rnn.action_size)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        first = torch.zeros(num_envs, dtype=torch.long)
        self._state = starts.take(first)
        self._agent_state = self._state if agent is None else self._agent_starts.take(first)
        self._noise = Noise.table(NOISE_ROWS, world_model.mdn_rnn)
        self._noise_row = np.zeros(num_envs, dtype=np.int64)
        self._steps, self._steps_since_max = np.zeros((2, num_envs), dtype=np.int64)
        self._return, self._max_return = np.zeros((2, num_envs))
        self._over = np.ones(num_envs, dtype=bool)
        self._infos: list[dict] = [{"steps": world_model.mdn_rnn.repeat}] * num_envs

    def reset(self, *, seed: Any = None, options: dict | None = None):
        """Observations (N, z + hidden) and empty infos; seed: see `seed_per_env`."""
        super().reset(seed=seed if isinstance(seed, int) else None)
        mask = (options or {}).get("reset_mask", np.ones(self.num_envs, dtype=bool))
        seeds = seed_per_env(seed, self.num_envs)
        rows = np.flatnonzero(mask)
        drawn = np.zeros(len(rows), dtype=np.int64)
        for k, i in enumerate(rows):
            seed = seeds[i]
            drawn[k] = self.np_random.integers(2**31) if seed is None else seed
            self._noise_row[i] = noise_row(drawn[k])
        moments = torch.from_numpy(drawn) % len(self.starts.z)
        index = torch.from_numpy(rows)
        self._state.put_(index, self.starts.take(moments))
        if self._agent is not None:
            self._agent_state.put_(index, self._agent_starts.take(moments))
        self._steps[rows], self._over[rows] = 0, False
        self._return[rows] = self._max_return[rows] = self._steps_since_max[rows] = 0
        return self._observations(), {"envs": [{}] * self.num_envs}

    def _observations(self) -> np.ndarray:
        return (self._agent or self.world_model).features(self._agent_state).numpy()

    def step(self, actions: np.ndarray):
        """actions (N, A) -> observations, rewards, terminated, truncated, {"envs": infos}.

        rewards (N,) float: M's expected reward of the agent step, in points (its reward head), or
        what `reward` or `log_survival` say. The reward that is sampled with z is only M's next
        input.
        """
        running = ~self._over
        rows = pad_batch(np.flatnonzero(running), self.num_envs)  # the others need no forecast
        index, taken = torch.from_numpy(rows), torch.from_numpy(actions[rows])
        noise_rows = (self._noise_row[rows] + self._steps[rows]) % NOISE_ROWS
        noise = self._noise.take(noise_rows, self.dropout > 0)
        dreamt, prediction = self.world_model.imagine(
            self._state.take(index), taken, self._temperatures(), noise=noise, dropout=self.dropout
        )
        if self._agent is not None:
            h, c = self._agent.remember(self._agent_state.take(index), taken)
            self._agent_state.put_(index, dreamt._replace(h=h, c=c))
        self._state.put_(index, dreamt)
        self._steps += 1
        rewards, ends = np.zeros(self.num_envs), np.zeros(self.num_envs, dtype=bool)
        log_odds = prediction.done_logit[:, 0]
        if self.log_survival:
            rewards[rows] = logsigmoid(-log_odds).double().numpy()
        else:
            known = self.reward is not None
            rewards[rows] = self.reward if known else prediction.reward[:, 0].double().numpy()
            limit = self.end_above
            ended = noise.end < log_odds.sigmoid() if limit is None else log_odds > limit
            ends[rows] = ended.numpy()
        rewards, terminated = rewards * running, ends & running
        truncated = self._out_of_time(rewards) & running & ~terminated
        self._over |= terminated | truncated
        return self._observations(), rewards, terminated, truncated, {"envs": self._infos}

    def _temperatures(self) -> float | Tensor:
        m = self.world_model.mdn_rnn
        if not m.reward_input or self.reward_temperature >= self.temperature:
            return self.temperature
        return torch.tensor([self.temperature] * m.z_size + [self.reward_temperature])

    def _out_of_time(self, rewards: np.ndarray) -> np.ndarray:
        # Which environments have had all their steps, or no progress for too long: (N,) bool.
        self._return += rewards
        risen = self._return > self._max_return + PROGRESS
        self._max_return = np.where(risen, self._return, self._max_return)
        self._steps_since_max = np.where(risen, 0, self._steps_since_max + 1)
        return (self._steps >= self.max_steps) | (self._steps_since_max >= self.patience)

    def render(self) -> np.ndarray:  # type: ignore[override]  # Gymnasium: a tuple, one each
        """Frames (N, S, S, 3) uint8: every environment's z, decoded by V."""
        return tensor_to_frames(self.world_model.decode(self._state.z))


def actions_of(size: int) -> gym.spaces.Box:
    """The actions of an M: CarRacing's for three of them, otherwise -1 to 1 each."""
    return CAR_ACTIONS if size == 3 else gym.spaces.Box(-1, 1, (size,), np.float32)


def noise_row(seed: int) -> int:
    """The row of the noise table, of `NOISE_ROWS`, at which the dream of a seed begins."""
    return int(np.random.default_rng(seed).integers(NOISE_ROWS))


def independent_seeds(count: int, steps: int) -> list[int]:
    """The first `count` seeds whose dreams of `steps` agent steps share no row of noise.

    Raises ValueError if they would take more than half of the table: the rows at which dreams begin
    are random, and beyond that there might be no free interval left.
    """
    if 2 * count * steps > NOISE_ROWS:
        raise ValueError(
            f"at most {NOISE_ROWS // (2 * steps)} dreams of {steps} steps share no noise, "
            f"got {count}"
        )
    seeds: list[int] = []
    taken, seed = np.zeros(NOISE_ROWS, dtype=bool), 0
    while len(seeds) < count:
        rows = (noise_row(seed) + np.arange(steps)) % NOISE_ROWS
        if not taken[rows].any():
            seeds.append(seed)
            taken[rows] = True
        seed += 1
    return seeds


class PassThroughEncoder:
    """Takes the world model's place in `rollout` where observations are features: in dreams."""

    def __init__(self, world_model: WorldModel):
        self._z_size = world_model.vae.z_size

    def begin(self, observations: np.ndarray) -> State:
        """[z, h] or [z, c, h] -> the state; all but z is its h, for the dream keeps the rest."""
        features = torch.from_numpy(observations)
        z, h = features[:, : self._z_size], features[:, self._z_size :]
        return State(z, h, h[:, :0], z.new_zeros(len(z)))

    def observe(
        self, state: State, actions: Tensor, observations: np.ndarray, rewards: Tensor
    ) -> State:
        """As `begin`."""
        return self.begin(observations)

    def features(self, state: State) -> Tensor:
        """The observations themselves."""
        return state.features


@dataclass(frozen=True, eq=False)
class DreamSpec:
    """How to make a `Dream`, here or in another process: an `EnvSpec` for `run_episodes`."""

    world_model: WorldModel
    starts: State
    num_envs: int = 512
    max_steps: int = 150
    temperature: float = 1.0
    reward_temperature: float = math.inf
    dropout: float = 0.0
    patience: int | None = None
    agent: tuple[WorldModel, State] | None = None
    reward: float | None = None
    end_above: float | None = None
    log_survival: bool = False
    note: str = ""  # about the starts, for the log
    origin: str = ""  # a digest of what the starts were made from, for records

    def __str__(self) -> str:
        """What a score depends on, besides the world model and the number of environments.

        A part of every record: with other words no run could go on.
        """
        capped = self.reward_temperature < self.temperature
        of_reward = f" (reward: {self.reward_temperature})" if capped else ""
        uncertainty = f"temperature {self.temperature}{of_reward}, dropout {self.dropout}"
        length = f"{self.max_steps} agent steps, patience {self.patience}"
        rules = "" if self.reward is None else f", reward {self.reward} per step"
        rules += "" if self.end_above is None else f", end above log-odds of {self.end_above:g}"
        rules += ", log-survival as reward" if self.log_survival else ""
        moments = f"{len(self.starts.z)} moments{self.note}"
        return f"dreams of {length}, {uncertainty}{rules}, from {moments}"

    @contextmanager
    def open(self) -> Iterator[Dream]:
        """A new `Dream`, in a context."""
        names = [f.name for f in fields(self) if f.name not in ("note", "origin")]
        yield Dream(**{name: getattr(self, name) for name in names})

    def at_pace(self, world_model: PassThroughEncoder | None) -> "DreamSpec":
        """Itself: a dream has the action repeat of its M."""
        return self
