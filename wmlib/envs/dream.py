"""The dream: M in the place of the world, as a Gymnasium vector environment (paper, section 4).

A dream begins at a real moment, as the agent knew it. From there on nothing real comes in: M draws
the next z, says what was earned, and whether this is the end.
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

from wmlib.envs.vector import pad_batch
from wmlib.models.mdn_rnn import Noise
from wmlib.models.vae import tensor_to_frames
from wmlib.models.world_model import State, WorldModel

CAR_ACTIONS = gym.spaces.Box(np.array([-1, 0, 0], np.float32), np.ones(3, np.float32))


NOISE_ROWS = 1 << 14


EARNED = 1.0  # points, a third of a tile: M never expects quite nothing, so less is no progress


class Dream(gym.vector.VectorEnv):
    """`lanes` dreams at once. Observed is what the agent knows, [z, h] (L, z + hidden) float32.

    starts: N real moments (see `real_moments`). Seed s begins at moment s % N, and also fixes all
    chance in the dream to come: the same seed and actions give the same dream in any lane, and all
    candidates of a population can be given the same luck.
    agent: the world model that the agent itself remembers with, and the same moments as that one
    knew them; by default the dream's own. With two, the dream can learn more about the world while
    h goes on to mean to the agent what it always meant.
    max_steps: looks, then the dream is truncated; or earlier, after `patience` looks in which
    no more than `EARNED` came in (see `NoProgressTruncation`). temperature: see `sample_next`;
    pay_temperature: of pay, at most, where M is told of it. (Temperature makes likelier what is
    rare: a road gets wilder, but pay gets generous, and M expects more where it hears of some.)
    dropout: the share of h's entries that M's forecast cannot see, others at every step; doubt,
    against a driver that lives off what M gets wrong.

    `reset(seed=[...], options={"reset_mask": mask})` resets the masked lanes, as in Gymnasium; a
    finished lane rests until then. There is no autoreset.
    """

    def __init__(
        self,
        world_model: WorldModel,
        starts: State,
        lanes: int,
        max_steps: int = 150,
        temperature: float = 1.0,
        pay_temperature: float = math.inf,
        dropout: float = 0.0,
        patience: int | None = None,
        agent: tuple[WorldModel, State] | None = None,
    ):
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout must be 0 or more and below 1, got {dropout}")
        self.metadata = {"render_modes": ["rgb_array"], "autoreset_mode": AutoresetMode.DISABLED}
        self.render_mode = "rgb_array"
        self.world_model, self.starts = world_model, starts
        self.num_envs, self.max_steps = lanes, max_steps
        self.dropout = dropout
        self.patience = math.inf if patience is None else patience
        self._sees = world_model.vae.z_size
        self._temperature: float | Tensor = temperature
        if pay_temperature < temperature:
            self._temperature = torch.full((world_model.mdn_rnn.z_size,), float(temperature))
            self._temperature[self._sees :] = pay_temperature
        mind, known = agent or (None, starts)
        self._agent, self._known_at = mind, known._replace(z=known.z[:, : self._sees])
        shape = (self._known_at.features.shape[1],)
        self.single_observation_space = gym.spaces.Box(-np.inf, np.inf, shape, np.float32)
        self.single_action_space = CAR_ACTIONS
        self.observation_space = batch_space(self.single_observation_space, lanes)
        self.action_space = batch_space(CAR_ACTIONS, lanes)
        anywhere = torch.zeros(lanes, dtype=torch.long)
        self._state, self._known = starts.take(anywhere), self._known_at.take(anywhere)
        self._noise = Noise.table(NOISE_ROWS, world_model.mdn_rnn)
        self._row = np.zeros(lanes, dtype=np.int64)
        self._steps, self._since_best = np.zeros((2, lanes), dtype=np.int64)
        self._return, self._best = np.zeros((2, lanes))
        self._resting = np.ones(lanes, dtype=bool)
        self._infos: list[dict] = [{"steps": world_model.mdn_rnn.repeat}] * lanes

    def reset(self, *, seed: Any = None, options: dict | None = None):
        """Observations (L, z + hidden) and an empty info for every lane, under "lanes"."""
        mask = (options or {}).get("reset_mask", np.ones(self.num_envs, dtype=bool))
        seeds = list(seed) if isinstance(seed, list) else [seed] * self.num_envs
        lanes = np.flatnonzero(mask)
        for lane in lanes:
            if seeds[lane] is None:
                seeds[lane] = int(self.np_random.integers(2**31))
            self._row[lane] = np.random.default_rng(seeds[lane]).integers(NOISE_ROWS)
        moments = torch.tensor([seeds[lane] for lane in lanes]) % len(self.starts.z)
        rows = torch.from_numpy(lanes)
        self._state = self._state.put(rows, self.starts.take(moments))
        self._known = self._known.put(rows, self._known_at.take(moments))
        self._steps[lanes], self._resting[lanes] = 0, False
        self._return[lanes] = self._best[lanes] = self._since_best[lanes] = 0
        return self._known.features.numpy(), {"lanes": [{}] * self.num_envs}

    def step(self, actions: np.ndarray):
        """actions (L, 3) -> observations, rewards, terminated, truncated, {"lanes": infos}."""
        awake = ~self._resting
        rows = pad_batch(np.flatnonzero(awake), self.num_envs)  # who rests need not dream
        noise = self._noise.take((self._row[rows] + self._steps[rows]) % NOISE_ROWS)
        taken, index = torch.from_numpy(actions[rows]), torch.from_numpy(rows)
        dreamt, prediction = self.world_model.imagine(
            self._state.take(index), taken, self._temperature, noise=noise, dropout=self.dropout
        )
        self._state, memory = self._state.put(index, dreamt), (dreamt.h, dreamt.c)
        if self._agent is not None:
            memory = self._agent.remember(self._known.take(index), taken)
        seen = State(dreamt.z[:, : self._sees], *memory)
        self._known = self._known.put(index, seen)
        self._steps += 1
        rewards, ends = np.zeros(self.num_envs), np.zeros(self.num_envs, dtype=bool)
        rewards[rows] = prediction.reward[:, 0].double().numpy()
        ends[rows] = (noise.end < prediction.done_logit[:, 0].sigmoid()).numpy()
        rewards, ends = rewards * awake, ends & awake
        self._return += rewards
        better = self._return > self._best + EARNED
        self._best = np.where(better, self._return, self._best)
        self._since_best = np.where(better, 0, self._since_best + 1)
        over = (self._steps >= self.max_steps) | (self._since_best >= self.patience)
        late = over & awake & ~ends
        self._resting |= ends | late
        return self._known.features.numpy(), rewards, ends, late, {"lanes": self._infos}

    def render(self) -> np.ndarray:
        """What every lane dreams of: frames (L, S, S, 3) uint8, z decoded by V."""
        return tensor_to_frames(self.world_model.decode(self._state.z))


class PassThroughEncoder:
    """What stands for the world model of an agent that dreams: it knows [z, h] already.

    To be given to `rollout` in place of the `WorldModel` that makes [z, h] out of frames.
    """

    def __init__(self, world_model: WorldModel):
        self.feature_size, self._z_size = world_model.feature_size, world_model.vae.z_size

    def begin(self, observations: np.ndarray) -> State:
        """[z, h] (B, z + hidden) as the dream gives them."""
        known = torch.from_numpy(observations)
        return State(known[:, : self._z_size], known[:, self._z_size :], known[:, :0])

    def observe(self, state: State, actions: Tensor, observations: np.ndarray) -> State:
        """As `begin`: the dream remembers for us."""
        return self.begin(observations)


@dataclass(frozen=True, eq=False)
class DreamWorld:
    """How to make a `Dream`, here or in another process: a `World` for `run_episodes`."""

    world_model: WorldModel
    starts: State
    lanes: int = 512
    max_steps: int = 150
    temperature: float = 1.0
    pay_temperature: float = math.inf
    dropout: float = 0.0
    patience: int | None = None
    agent: tuple[WorldModel, State] | None = None
    note: str = ""  # about the starts, for the log

    def __str__(self) -> str:
        """What a score depends on, beside the world model and the lanes."""
        capped = self.pay_temperature < self.temperature
        but = f" (pay: {self.pay_temperature})" if capped else ""
        doubt = f"temperature {self.temperature}{but}, dropout {self.dropout}"
        length = f"{self.max_steps} looks, patience {self.patience}"
        return f"dreams of {length}, {doubt}, from {len(self.starts.z)} moments{self.note}"

    @contextmanager
    def open(self) -> Iterator[Dream]:
        """A dream to drive in."""
        names = [field.name for field in fields(self) if field.name != "note"]
        yield Dream(**{name: getattr(self, name) for name in names})

    def at_pace(self, world_model: PassThroughEncoder | None) -> "DreamWorld":
        """A dream has the pace of its M."""
        return self
