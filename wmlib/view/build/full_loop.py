"""Chapter 5: one round of the loop, checked with phases that do nothing but name their results."""

from collections.abc import Callable

from wmlib.view.build.exercise import Exercise, Measured

ROUNDS = 3

Agent = tuple[str, str, str]  # the names of its V, M and C


class NamedPhases:
    """The phases of the loop on names: "V1" is the V of round 1, "E1" the episodes collected in it.

    Every call is kept in `calls`, a list for each round; `str` shows them. A round begins with
    `collect`.
    """

    def __init__(self):
        self.calls: list[list[str]] = []

    def collect(self, agent: Agent | None) -> list[str]:
        """The round's new episodes, a list; agent: (V, M, C), or None for a random policy."""
        self.calls.append([])
        return [self._name("E", f"collect({_agent(agent)})")]

    def train_v(self, episodes: list[str], start: str | None) -> str:
        """V; start: the V to train further, or None for random weights."""
        return self._name("V", f"train_v({_all(episodes)}, start={start})")

    def encode(self, v: str, episodes: list[str]) -> str:
        """The episodes as sequences of z."""
        return self._name("Z", f"encode({v}, {_all(episodes)})")

    def train_m(self, latents: str) -> str:
        """M, from random weights."""
        return self._name("M", f"train_m({latents})")

    def distill(self, agent: Agent, v: str, m: str, episodes: list[str]) -> str:
        """The C that acts on the features of the new v and m as the agent's C does on its own."""
        return self._name("distilled", f"distill({_agent(agent)}, {v}, {m}, {_all(episodes)})")

    def evolve(self, v: str, m: str, start: str | None) -> str:
        """C; start: the C at which the search begins, or None for zero weights."""
        return self._name("C", f"evolve({v}, {m}, start={start})")

    def __str__(self) -> str:
        return "\n".join(f"round {k}: " + "\n         ".join(c) for k, c in enumerate(self.calls))

    def _name(self, what: str, call: str) -> str:
        if not self.calls:
            raise RuntimeError("a round begins with collect")
        number = len(self.calls) - 1
        name = f"{what}{number}" if len(what) == 1 else f"{what} C{number - 1}"
        self.calls[-1].append(f"{name} = {call}")
        return name


def _all(episodes: list[str]) -> str:
    if not isinstance(episodes, list):
        raise TypeError(f"episodes are a list, got {type(episodes).__name__}")
    return "[" + ", ".join(episodes) + "]"


def _agent(agent: Agent | None) -> str:
    if agent is None:
        return "None"
    if not isinstance(agent, tuple) or len(agent) != 3:
        raise TypeError(f"an agent is a tuple (V, M, C) or None, got {agent!r}")
    return "(" + ", ".join(map(str, agent)) + ")"


def run_round(phase, agent, episodes):
    """One round of the loop: (its agent, all episodes up to now).

    agent: (V, M, C) of the round before, None in round 0. episodes: of all rounds before, a list.
    """
    episodes = episodes + phase.collect(agent)
    v = phase.train_v(episodes, start=agent[0] if agent else None)
    m = phase.train_m(phase.encode(v, episodes))
    start = phase.distill(agent, v, m, episodes) if agent else None
    return (v, m, phase.evolve(v, m, start)), episodes


def _new_episodes_alone(phase, agent, episodes):
    """V and M are trained on the new episodes alone: a round adds them to those of the rounds
    before, and trains on all."""
    new, old = phase.collect(agent), agent or (None, None, None)
    v = phase.train_v(new, start=old[0])
    m = phase.train_m(phase.encode(v, new))
    start = phase.distill(agent, v, m, new) if agent else None
    return (v, m, phase.evolve(v, m, start)), new


def _v_from_scratch(phase, agent, episodes):
    """V begins with random weights in every round: after round 0, the V of the round before is
    trained further."""
    episodes = episodes + phase.collect(agent)
    v = phase.train_v(episodes, start=None)
    m = phase.train_m(phase.encode(v, episodes))
    start = phase.distill(agent, v, m, episodes) if agent else None
    return (v, m, phase.evolve(v, m, start)), episodes


def _old_c_with_new_m(phase, agent, episodes):
    """The search begins with the old C, which cannot read the new M's h: distill it first."""
    episodes, (old_v, _, old_c) = episodes + phase.collect(agent), agent or (None, None, None)
    v = phase.train_v(episodes, start=old_v)
    m = phase.train_m(phase.encode(v, episodes))
    return (v, m, phase.evolve(v, m, old_c)), episodes


def _c_from_zero(phase, agent, episodes):
    """The search begins with zero weights in every round, so that what the last one found is lost:
    after round 0, distill the old C and begin there."""
    episodes = episodes + phase.collect(agent)
    v = phase.train_v(episodes, start=agent[0] if agent else None)
    m = phase.train_m(phase.encode(v, episodes))
    return (v, m, phase.evolve(v, m, None)), episodes


def _random_policy_in_every_round(phase, agent, episodes):
    """Every round collects with a random policy: after round 0, the agent of the round before
    collects, collect(agent)."""
    episodes = episodes + phase.collect(None)
    v = phase.train_v(episodes, start=agent[0] if agent else None)
    m = phase.train_m(phase.encode(v, episodes))
    start = phase.distill(agent, v, m, episodes) if agent else None
    return (v, m, phase.evolve(v, m, start)), episodes


def _rounds(function: Callable) -> Measured:
    phase, agent, episodes = NamedPhases(), None, list[str]()
    measured: Measured = {}
    for number in range(ROUNDS):
        result = function(phase, agent, list(episodes))
        if not isinstance(result, tuple) or len(result) != 2:
            raise ValueError("it must return (agent, episodes)")
        if len(phase.calls) != number + 1:
            raise ValueError("it must call phase.collect once")
        agent, episodes = result
        # By name: calls that do not depend on one another may come in any order.
        calls = dict(call.split(" = ", 1) for call in phase.calls[-1])
        measured |= {f"{name} in round {number}": call for name, call in calls.items()}
        measured[f"the number of calls in round {number}"] = len(phase.calls[-1])
        measured[f"the agent of round {number}"] = _agent(agent)
        measured[f"the episodes after round {number}"] = _all(episodes)
    return measured


EXERCISES = (
    Exercise(
        run_round,
        _rounds,
        hint="In the order of the table: collect(agent) returns new episodes, which you append to "
        "the old ones; train_v starts from agent[0]; encode; train_m. With an agent, "
        "distill(agent, v, m, episodes) is where evolve starts; without one, start is None.",
        mistakes=(
            _new_episodes_alone,
            _v_from_scratch,
            _old_c_with_new_m,
            _c_from_zero,
            _random_policy_in_every_round,
        ),
    ),
)
