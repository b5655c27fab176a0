"""Where the car is on the road: the true state, for measurements, which no agent receives."""

from typing import Any

import gymnasium as gym
import numpy as np

HALF_WIDTH = 40 / 6  # of the road, in Gymnasium's units of length
QUANTITIES = ("offset", "bend", "angle", "speed")


def replay(track: int, actions: np.ndarray, repeat: int = 1, ahead: int = 12) -> np.ndarray:
    """The car's state before every agent step and after the last, float64 (T + 1, 4).

    CarRacing's physics is deterministic, so the recorded actions (T, 3) of an episode on a `track`
    (its seed) lead through the same states again. repeat: environment steps per agent step. (Where
    an episode ended within an agent step, the last state is up to repeat - 1 steps late.) The
    columns, taken at the nearest tile of the road: offset to the right of its middle (1 is the
    edge), bend (degrees by which it turns left over the next `ahead` tiles, about what a frame
    shows), angle of the car to the road (degrees, left positive), speed (units of length per s).
    """
    env: Any = gym.make("wmlib/CarRacing-v3").unwrapped
    env.reset(seed=track)
    env.look_away = True  # physics only: nothing is drawn
    _, heading, x, y = np.array(env.track).T
    turns = _wrap(np.diff(heading, append=heading[0]))
    bends = sum(np.roll(turns, -k) for k in range(ahead))

    def state() -> tuple[float, ...]:
        hull = env.car.hull
        right, forward = hull.position
        tile = np.hypot(x - right, y - forward).argmin()
        from_middle = np.array([right - x[tile], forward - y[tile]])
        across = from_middle @ [np.cos(heading[tile]), np.sin(heading[tile])]
        angle, speed = _wrap(hull.angle - heading[tile]), np.hypot(*hull.linearVelocity)
        return across / HALF_WIDTH, np.degrees(bends[tile]), np.degrees(angle), speed

    states = [state()]
    for action in actions:
        for _ in range(repeat):
            env.step(action)
        states.append(state())
    env.close()
    return np.array(states)


def _wrap(angle: Any) -> Any:
    # An angle in -pi..pi.
    return (angle + np.pi) % (2 * np.pi) - np.pi
