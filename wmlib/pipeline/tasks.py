"""What the loop has to know about the environment that it learns: CarRacing, or Take Cover."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from wmlib.rollout.policies import (
    CAR_HIGH,
    CAR_LOW,
    CAR_SPREAD,
    HeldRandomPolicy,
    NoisyPolicy,
    Policy,
    random_car_policy,
)


@dataclass(frozen=True)
class Task:
    """An environment, and the parts of the agent that depend on it.

    env_id, original_id: the environment to learn in, and the one in which scores are taken. low,
    high: of the actions. spread: of the noise on a trained policy's actions. random_policies:
    of the first round, by name, each made from the action repeat. reward: of an environment step,
    in points, where it is known beforehand; None: M predicts it. reads_cell: whether C reads c
    beside h. has_laps: whether an episode is a lap, after which M can expect no more rewards.
    """

    env_id: str
    original_id: str
    low: tuple[float, ...]
    high: tuple[float, ...]
    spread: tuple[float, ...]
    random_policies: Mapping[str, Callable[[int], Policy]]
    reward: float | None = None
    reads_cell: bool = False
    has_laps: bool = False

    @property
    def action_size(self) -> int:
        """Numbers in an action."""
        return len(self.low)

    def noisy_policy(
        self, policy: Policy, repeat: int = 1, levels: int = 1, scale: float = 1.0
    ) -> NoisyPolicy:
        """A trained policy, disturbed: it visits what lies beside its own path, and the way back.

        levels: of noise, see `NoisyPolicy`; the noise is the same in time for every repeat. scale:
        of all of it.
        """
        spread = tuple(scale * value for value in self.spread)
        return NoisyPolicy(policy, spread, self.low, self.high, 0.95**repeat, levels)


CAR_RACING = Task(
    "wmlib/CarRacing-v3",
    "wmlib/CarRacingOriginal-v3",
    CAR_LOW,
    CAR_HIGH,
    CAR_SPREAD,
    {"smooth": random_car_policy},
    has_laps=True,
)
TAKE_COVER = Task(
    "wmlib/TakeCover-v0",
    "wmlib/TakeCover-v0",
    (-1.0,),
    (1.0,),
    (0.5,),
    # The paper's, and one whose habits differ more. With moves of at most 10 tics alone, M took a
    # wall for a safe place, and a C that was evolved in its dreams went there and died. A player
    # that runs from side to side survives longer (442 tics on average, the others 311): V and M see
    # more monsters.
    {
        "smooth": HeldRandomPolicy,
        "varied": partial(HeldRandomPolicy, longest=(10, 40, 160), turning=160),
    },
    reward=1.0,
    reads_cell=True,
)
TASKS = {"car_racing": CAR_RACING, "take_cover": TAKE_COVER}
