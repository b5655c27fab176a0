"""The settings of a run, typed. The defaults are those of the laptop scale; see `scales.py`.

Every field is an option of the command line (`python -m wmlib run car_racing --help`). Three kinds
of settings are kept apart: `Config` is stored with a run, `Machine` (processes, cluster, device)
never is, and `ChapterConfig` holds what only the chapters need.
"""

import json
import math
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from wmlib import paths
from wmlib.files import write_atomically
from wmlib.pipeline.tasks import TASKS, Task

SETTINGS = "settings.json"


def number(default: float | None = None, low: float = 1, high: float = math.inf) -> Any:
    """A dataclass field that must lie in low..high; without a default, it must be given."""
    limits = {"low": low, "high": high}
    return field(metadata=limits) if default is None else field(default=default, metadata=limits)


class Checked:
    """A dataclass whose fields are checked for type and range when it is made.

    Raises ValueError that names the field, what was given and what is allowed.
    """

    def __post_init__(self):
        hints = get_type_hints(type(self))
        for item in fields(self):  # type: ignore[arg-type]  # every subclass is a dataclass
            value = getattr(self, item.name)
            wanted = _wanted(hints[item.name], dict(item.metadata), value)
            if wanted:
                raise ValueError(f"{item.name} must be {wanted}, got {value!r}")


def _wanted(kind: Any, limits: dict, value: Any) -> str | None:
    # What the value should have been; None if it is that.
    if get_origin(kind) is Literal:
        allowed = get_args(kind)
        return None if value in allowed else f"one of {', '.join(map(str, allowed))}"
    if kind in (int, float):
        numbers = (int,) if kind is int else (int, float)
        if not isinstance(value, numbers) or isinstance(value, bool):
            return "an integer" if kind is int else "a number"
        low, high = limits.get("low", -math.inf), limits.get("high", math.inf)
        if not low <= value <= high:
            return f"{low} or more" if high == math.inf else f"{low} to {high}"
        return None
    if get_origin(kind) is tuple:
        kind, good = get_args(kind)[0], isinstance(value, tuple) and value
        return None if good and all(isinstance(v, kind) for v in value) else "a non-empty tuple"
    return None if isinstance(value, kind) else f"of type {kind.__name__}"


@dataclass(frozen=True)
class Machine(Checked):
    """Where a run computes. It changes no result and is never stored with a run."""

    workers: int = number(2, low=0)  # processes that run episodes; 0: only this one
    cluster: str = ""  # address of a Dask scheduler, instead; on trusted networks only
    device: str = ""  # cpu, cuda or mps; default: the best one of this machine


@dataclass(frozen=True)
class EnvConfig(Checked):
    """CarRacing."""

    frame_size: Literal[64, 96] = 64  # pixels
    num_envs: int = number(64)  # environments in one process
    max_steps: int = number(1000)  # environment steps per episode, at most
    mirror: bool = False  # exchange left and right on every second training track


@dataclass(frozen=True)
class CollectConfig(Checked):
    """The random policy of the first round, and the agent's own episodes of later ones."""

    # The task's random policy, for CarRacing smooth noise; random networks (the paper's); or, in
    # Take Cover, moves that are held for up to 10, 40 or 160 tics.
    policy: Literal["smooth", "networks", "varied"] = "smooth"
    patience: int = number(150)  # environment steps without progress, then truncation
    own_patience: int = number(0, low=0)  # the same, of the agent's own episodes; 0: to the end
    noise: float = number(1.0, low=0)  # on the agent's actions, as a multiple of the task's

    def patience_of(self, first: bool) -> int | None:
        """Of the first round's episodes, or of the agent's own; None without any."""
        return self.patience if first else self.own_patience or None


@dataclass(frozen=True)
class VAEConfig(Checked):
    """V, and training it. Passes over the frames are set by round."""

    batch_size: int = number(100)  # frames
    learning_rate: float = number(1e-4, low=1e-6)  # of Adam
    anneal: bool = False  # lower the learning rate to 0, linearly, in every round's training
    flip: bool = False  # show V a random half of the frames mirrored
    z_size: int = number(32)  # latent dimensions
    free_bits: float = number(0.5, low=0)  # nats per dimension, below which the KL costs nothing
    cubed_weight: float = number(0.0, low=0)  # of cubed errors of pixels, in V's loss
    horizon_weight: float = number(1.0, low=1)  # of errors in the rows around the horizon


@dataclass(frozen=True)
class RNNConfig(Checked):
    """M, and training it."""

    epochs: int = number(20)  # passes over all steps
    batch_size: int = number(32)  # windows
    window: int = number(50)  # agent steps of round 0 per window; later ones take as long
    hidden_size: int = number(256)  # units of the LSTM
    done_weight: float = number(1.0, low=1)  # of a step at which the episode ends, in the loss
    mirror_images: bool = False  # M learns from the mirror image of every episode, too


@dataclass(frozen=True)
class SearchConfig(Checked):
    """The search for C by CMA-ES. What differs by round is set there."""

    population: int = number(48, low=4)  # candidates per generation
    separable: bool = False  # CMA-ES learns variances alone, and faster
    mirrored: bool = False  # candidates in pairs, mean + x and mean - x, ranked by the difference
    directions: int = number(24, low=0)  # principal components to search in; 0: all weights
    double_every: int = number(60)  # generations, then twice as many episodes per candidate
    patience: int = number(60)  # environment steps without progress, then truncation
    frame_every: int = number(1)  # agent steps between V's frames; z in between is M's forecast
    check_every: int = number(10)  # generations between two scores of the mean
    check_tracks: int = number(32, low=2)  # training tracks of such a score
    select: bool = False  # C is the mean with the best of these scores, not the last one
    ablation_generations: int = number(12)  # of the searches of an ablation


@dataclass(frozen=True)
class DreamConfig(Checked):
    """Dreams: the M that makes them, and the search in them."""

    z_noise: float = number(0.3, low=0, high=1)  # scale of V's posterior noise in M's training
    z_weight: float = number(32.0, low=1e-6)  # of z's likelihood in M's loss; 32: its sum over z
    learning_rate: float = number(6e-3, low=1e-6)  # of that M, at the start; annealed to 0
    batch_size: int = number(16)  # windows
    newest: int = number(240)  # newest episodes or mirror images it learns, and as many others
    starts: int = number(4000)  # real moments at which dreams begin
    start_before: int = number(150)  # environment steps: dreams begin earlier in their episode
    num_envs: int = number(512)  # dreams in one process
    steps: int = number(400)  # agent steps per dream, at most
    patience: int = number(15)  # agent steps without reward, then truncation
    reevaluations: int = number(200)  # dreams in which every earlier C is re-evaluated
    averaged: int = number(3)  # best Cs (at most half of them) that the next search begins from
    temperature: float = number(1.3, low=1e-6)  # of the dreams C is evolved in
    reward_temperature: float = number(10.0, low=1e-6)  # of M's previous reward, at most
    dropout: float = number(0.0, low=0, high=0.99)  # share of h hidden from M's prediction
    # Environment steps that returns are extrapolated to, at most; rewards count up to one lap in
    # that time. 0: what is left of an episode.
    lap_steps: int = number(0, low=0)
    shared_m: bool = False  # the agent's M makes the dreams, too; V is then never frozen
    end: Literal["drawn", "likely"] = "drawn"  # with M's probability; or where its logit is above 0


@dataclass(frozen=True)
class LookaheadConfig(Checked):
    """C by lookahead in dreams, before the search. Lengths in environment steps."""

    improvements: int = number(0, low=0)  # of C, each by as many dreams; 0: no lookahead
    moments: int = number(40_000)  # at which M is asked
    hold: int = number(10)  # how long the player moves to one side first
    horizon: int = number(50)  # of a dream
    spread: float = number(4.0, low=1e-6)  # root mean square of C's outputs before tanh


@dataclass(frozen=True)
class BallConfig(Checked):
    """The bouncing ball."""

    episodes: int = number(200)  # to learn from
    vae_epochs: int = number(3)  # passes of V over all frames
    rnn_epochs: int = number(150)  # passes of M over all steps


@dataclass(frozen=True)
class RoundConfig(Checked):
    """One round: collect, V, M, C."""

    episodes: int = number(low=0)  # to collect; 0 if V is frozen and C evolved in the environment
    vae_epochs: int = number(low=0)  # passes of V over all frames; 0: V, M and h stay as they are
    rollouts: int = number()  # episodes per candidate, at first
    generations: int = number()  # of CMA-ES
    sigma: float = number(low=1e-6)  # initial step size of CMA-ES
    dream_epochs: int = number()  # passes of the M that makes dreams
    # Tracks scored beforehand; half of the search's are from their worst tenth. 0: no such tracks.
    hard_pool: int = number(0, low=0, high=900_000)
    frame_skip: int = number(2)  # environment steps per agent step
    rollout_steps: int = number(0, low=0)  # environment steps of a candidate's episode; 0: no limit


def by_round(count: int, **columns: tuple) -> tuple[RoundConfig, ...]:
    """So many rounds from a column per field; a column that is too short repeats its last value."""
    padded = {name: (v + v[-1:] * count)[:count] for name, v in columns.items()}
    return tuple(
        RoundConfig(**dict(zip(padded, row, strict=True)))
        for row in zip(*padded.values(), strict=True)
    )


@dataclass(frozen=True)
class ChapterConfig(Checked):
    """What only the chapters need. Never stored with a run.

    Of CarRacing, steps are environment steps; a chapter with an agent counts them in that one's:
    see `at_pace`.
    """

    retrain: bool = False  # train in the chapter instead of loading pretrained weights
    ball_test_episodes: int = number(60)
    ball_context: int = number(60)  # frames that M sees before an open-loop rollout
    ball_horizon: int = number(30)  # steps of an open-loop rollout
    test_episodes: int = number(24)  # CarRacing episodes that nothing was trained on
    context: int = number(100)  # steps before an open-loop rollout
    horizon: int = number(120)  # steps of an open-loop rollout
    agent_steps: int = number(400)  # of an episode that is gone through step by step
    broken_epochs: int = number(2)  # of VAEs that are broken on purpose
    trial_generations: int = number(10)  # of a search that is only tried
    small_m_steps: int = number(300)  # gradient steps of Ms with another loss
    rollout_start: int = number(300)  # step at which M's rollouts begin: tracks differ there

    def at_pace(self, repeat: int) -> "ChapterConfig":
        """From environment steps to agent steps of `repeat` environment steps each."""
        names = ("context", "horizon", "agent_steps", "rollout_start")
        return replace(self, **{name: max(1, getattr(self, name) // repeat) for name in names})


@dataclass(frozen=True)
class Config(Checked):
    """All settings of a run: what it stores, and what decides its result."""

    task: Literal["car_racing", "take_cover"] = "car_racing"
    scale: Literal["smoke", "laptop", "paper"] = "laptop"
    seed: int = number(0, low=0)
    evolve_in: Literal["environment", "dream"] = "environment"
    score_tracks: int = number(100, low=2)  # held-out tracks of a score
    env: EnvConfig = EnvConfig()
    collect: CollectConfig = CollectConfig()
    vae: VAEConfig = VAEConfig()
    rnn: RNNConfig = RNNConfig()
    search: SearchConfig = SearchConfig()
    dream: DreamConfig = DreamConfig()
    lookahead: LookaheadConfig = LookaheadConfig()
    ball: BallConfig = BallConfig()
    rounds: tuple[RoundConfig, ...] = by_round(
        3,
        episodes=(500, 100, 100),
        vae_epochs=(3, 1, 1),
        rollouts=(2, 2, 4),
        generations=(25, 25, 70),
        sigma=(0.6, 0.5, 0.4),
        dream_epochs=(20, 20, 2),
    )

    @property
    def task_spec(self) -> Task:
        """What the loop has to know of the environment."""
        return TASKS[self.task]

    @property
    def in_dreams(self) -> bool:
        """Whether C is evolved in dreams."""
        return self.evolve_in == "dream"

    @property
    def frame_skip(self) -> int:
        """Environment steps per agent step of the last round, and so of the agent it ends with."""
        return self.rounds[-1].frame_skip

    def window(self, repeat: int) -> int:
        """Agent steps of M's windows at a pace: they take as long as those of round 0."""
        return max(1, self.rnn.window * self.rounds[0].frame_skip // repeat)

    @property
    def extrapolated_steps(self) -> int:
        """Agent steps of an extrapolated return: of an episode, or of a lap that is shorter.

        An episode counts from a moment half way to `start_before`.
        """
        left = self.env.max_steps - min(self.dream.start_before, self.env.max_steps) / 2
        return math.ceil(min(left, self.dream.lap_steps or math.inf) / self.frame_skip)

    def change(self, **values: Any) -> "Config":
        """The same with some fields changed, also those of its parts: change(population=8).

        A field that several parts have is named by its part: change(vae={"batch_size": 8}). A
        number per round counts for all rounds; a tuple says how many rounds there are, and shorter
        ones repeat their last value; num_rounds changes the number of rounds alone. Raises
        ValueError for tuples of several lengths, unknown fields and values out of range.
        """
        columns = {f.name: values.pop(f.name) for f in fields(RoundConfig) if f.name in values}
        config = self.with_rounds(values.pop("num_rounds", None), **columns)
        own = {f.name for f in fields(self)}
        parts = {f.name: getattr(self, f.name) for f in fields(self) if is_dataclass(f.type)}
        changes: dict[str, Any] = {}
        for name, value in values.items():
            if name in parts and isinstance(value, dict):
                changes[name] = replace(changes.get(name, parts[name]), **value)
            elif name in own:
                changes[name] = value
            else:
                having = [part for part, v in parts.items() if hasattr(v, name)]
                if len(having) != 1:
                    known = f"is in {', '.join(having)}: say which" if having else "is no setting"
                    raise ValueError(f"{name} {known}")
                [part] = having
                changes[part] = replace(changes.get(part, parts[part]), **{name: value})
        return replace(config, **changes)

    def with_rounds(self, count: int | None = None, **columns: Any) -> "Config":
        """See `change`."""
        lengths = {len(v) for v in columns.values() if isinstance(v, tuple) and len(v) > 1}
        lengths |= {count} if count is not None and lengths else set()
        if len(lengths) > 1:
            raise ValueError(f"one entry for each round: got lists of {sorted(lengths)} entries")
        count = lengths.pop() if lengths else len(self.rounds) if count is None else count
        if count < 1:
            raise ValueError(f"num_rounds must be 1 or more, got {count}")
        kept = {f.name: tuple(getattr(r, f.name) for r in self.rounds) for f in fields(RoundConfig)}
        given = {name: v if isinstance(v, tuple) else (v,) for name, v in columns.items()}
        return replace(self, rounds=by_round(count, **kept | given))

    def save(self, folder: str | Path, world: str) -> None:
        """Write settings.json, for `load` to read."""
        text = json.dumps({"world": world, **asdict(self)}, indent=1) + "\n"
        write_atomically(
            Path(folder) / SETTINGS, lambda path: path.write_text(text, encoding="utf-8")
        )

    @classmethod
    def load(cls, folder: str | Path, world: str) -> "Config":
        """The settings that a run was started with.

        Raises ValueError if they are of another world, cannot be read, have a value that is not
        allowed, or are not the settings of this version: nothing is filled in.
        """
        file = Path(folder) / SETTINGS
        try:
            kept = dict(json.loads(file.read_text(encoding="utf-8")))
        except (json.JSONDecodeError, TypeError, ValueError) as error:
            raise ValueError(
                f"{file} is damaged ({error!r}): restore it, or name another folder"
            ) from error
        made_for = kept.pop("world", None)
        if made_for != world:
            raise ValueError(f"the run in {folder} is of {made_for}, not of {world}")
        return _read(cls, kept, file)

    def run_folder(self, name: str) -> Path:
        """Where a run of this scale keeps its data: <scale>/<name> in the folder `paths.runs()`.

        A run with another seed than 0 has it in its name.
        """
        return paths.runs() / self.scale / (f"{name}-{self.seed}" if self.seed else name)

    def figure(self, name: str) -> Path:
        """Where a chapter saves a figure; see `paths.figures`."""
        return paths.figures(self.scale) / name


def _read(kind: type, values: Any, file: Path, where: str = "") -> Any:
    # A dataclass from what JSON made of it; ValueError with the first thing that does not fit.
    names = [item.name for item in fields(kind)]
    given = list(values) if isinstance(values, dict) else []
    for name in (*(n for n in names if n not in given), *(n for n in given if n not in names)):
        problem = "lacks" if name in names else "has an unknown setting,"
        raise ValueError(
            f"{file} {problem} {where}{name}: it was written by another version of wmlib; finish "
            f"the run with that one, or name another folder"
        )
    hints, read = get_type_hints(kind), {}
    for name in names:
        value, hint = values[name], hints[name]
        if is_dataclass(hint):
            value = _read(hint, value, file, f"{where}{name}.")  # type: ignore[arg-type]
        elif get_origin(hint) is tuple:
            if not isinstance(value, list):
                raise ValueError(f"{file}: {where}{name} must be a list, got {value!r}")
            part = get_args(hint)[0]
            value = tuple(_read(part, row, file, f"{where}{name}.") for row in value)
        read[name] = value
    try:
        return kind(**read)
    except ValueError as error:
        raise ValueError(f"{file}: {where}{error}") from error
