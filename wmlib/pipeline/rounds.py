"""A round of a run: its settings, its folder, the tracks it collects on, what came before it."""

import json
import math
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from wmlib.files import read_log, sha256, write_atomically, write_log
from wmlib.models.checkpoints import load_controller, load_network, load_world_model
from wmlib.models.controller import Controller
from wmlib.models.mdn_rnn import MDNRNN
from wmlib.models.vae import VAE
from wmlib.models.world_model import WorldModel
from wmlib.pipeline.config import Config, Machine, RoundConfig
from wmlib.pipeline.scales import get_machine
from wmlib.rollout.episodes import EpisodeStore

WORLD_MODEL = ("collect", "vae", "encode", "mdn_rnn")  # logs and weights that make V and M
SEARCH = ("reevaluation", "hard_tracks", "evolution", "controller")  # and C

# The logs of everything before C; True: every row has its own seconds, False: those so far.
LOGS = {
    "collect": True,
    "encode": True,
    "vae": False,
    "mdn_rnn": False,
    "dream": False,
    "reevaluation": False,
    "hard_tracks": False,
}

IMPORTED = "imported.json"

# Training tracks: 0 to 899,999 to learn on. Every round of every run has its own.
SEEDS_PER_ROUND = 100_000
SEEDS_PER_RUN = 10_000
LATE_ROUNDS, SEEDS_PER_LATE_ROUND = 4, 500  # from the fifth round on they are many, and short
MANY_TRACKS_SEEDS = 10  # so many runs have room for the paper's 10,000 episodes in every round
TEST_TRACKS_FROM = 500_000  # of episodes that nothing is trained on
FEW_TRACKS_FROM, SEEDS_PER_FIRST_ROUND = 510_000, 2_000  # the tracks of all other runs
CHECK_TRACKS_FROM = 900_000  # training tracks that no candidate drives: for the learning curve


@dataclass(frozen=True)
class Round:
    """Round `number` of the run in `folder`, on a machine. See `Round.of`."""

    config: Config
    folder: Path
    number: int
    machine: Machine = field(compare=False)

    @classmethod
    def of(
        cls,
        config: Config,
        number: int = 0,
        folder: str | Path | None = None,
        machine: Machine | None = None,
    ) -> "Round":
        """A round of a config's run.

        folder: of the run; by default the one that the config names. machine: where it computes; by
        default what is usual at the config's scale. Raises ValueError for a number that the run
        does not have.
        """
        if not 0 <= number < len(config.rounds):
            raise ValueError(f"round must be 0 to {len(config.rounds) - 1}, got {number}")
        folder = config.run_folder(run_name(config)) if folder is None else Path(folder)
        return cls(config, folder, number, machine or get_machine(config.scale))

    def at(self, number: int) -> "Round":
        """Another round of the same run."""
        return Round.of(self.config, number, self.folder, self.machine)

    @property
    def settings(self) -> RoundConfig:
        """What differs by round."""
        return self.config.rounds[self.number]

    @property
    def work(self) -> Path:
        """The folder of this round."""
        return self.folder / f"round{self.number}"

    @property
    def previous(self) -> "Round":
        """The round before; ValueError for the first one."""
        return self.at(self.number - 1)

    @property
    def episodes(self) -> EpisodeStore:
        """Everything collected since the pace changed last, this round's included."""
        return EpisodeStore(self.work / "episodes")

    @property
    def latents(self) -> EpisodeStore:
        """The same episodes, encoded by this round's V."""
        return EpisodeStore(self.work / "latents")

    @property
    def device(self) -> str | None:
        """Where to train; None: the best device of this machine."""
        return self.machine.device or None

    @property
    def is_finished(self) -> bool:
        """Whether its C is there."""
        return (self.work / "controller.safetensors").exists()

    @property
    def freezes_vae(self) -> bool:
        """Whether V, the agent's M and what h means to C stay what they were."""
        return self.number > 0 and self.settings.vae_epochs == 0

    @property
    def repeat(self) -> int:
        """Environment steps per agent step."""
        return self.settings.frame_skip

    @property
    def agent_steps(self) -> int:
        """Agent steps of an episode that is not cut short."""
        return math.ceil(self.config.env.max_steps / self.repeat)

    @property
    def rollout_steps(self) -> int:
        """Environment steps of a candidate's episode in the environment, at most."""
        whole = self.config.env.max_steps
        return min(self.settings.rollout_steps or whole, whole)

    @property
    def changes_pace(self) -> bool:
        """Whether it acts at other moments than the round before: no M serves both."""
        return self.number > 0 and self.repeat != self.previous.repeat

    @property
    def reevaluates(self) -> bool:
        """Whether it begins by re-evaluating earlier Cs, which can read its h, in its dreams."""
        return self.config.in_dreams and self.freezes_vae

    @property
    def vae_since(self) -> int:
        """The round since which V and h are what they are in this one."""
        return max(k for k in range(self.number + 1) if not self.at(k).freezes_vae)

    @property
    def result(self) -> str:
        """The file of the round's C: with re-evaluation, the average it began with is surer."""
        return "initial" if self.reevaluates else "controller"

    def vae(self) -> VAE:
        """V of this round, from disk."""
        return load_network(VAE, self.work / "vae.safetensors")

    def mdn_rnn(self, name: str = "mdn_rnn") -> MDNRNN:
        """The agent's M of this round, or ("dream") the one that makes dreams, from disk.

        With `shared_m`, that is the agent's.
        """
        name = "mdn_rnn" if self.config.dream.shared_m else name
        return load_network(MDNRNN, self.work / f"{name}.safetensors")

    def agent(self) -> tuple[WorldModel, Controller]:
        """What this round came to, from disk."""
        controller = load_controller(self.work / f"{self.result}.safetensors")
        return load_world_model(self.work), controller

    def import_weights(self, source: str | Path, name: str) -> None:
        """Copy weights from elsewhere into this round, and keep a record that they were."""
        target = self.work / f"{name}.safetensors"
        write_atomically(target, lambda path: shutil.copy(source, path))
        self._keep_imports(
            self._imports() | {name: {"from": str(source), "sha256": sha256(target)}}
        )

    def forget_import(self, name: str) -> None:
        """Undo `import_weights`."""
        (self.work / f"{name}.safetensors").unlink()
        self._keep_imports({k: v for k, v in self._imports().items() if k != name})

    def _keep_imports(self, imports: dict) -> None:
        file = self.work / IMPORTED
        if not imports:
            file.unlink()
            return
        text = json.dumps(imports, indent=1) + "\n"
        write_atomically(file, lambda path: path.write_text(text, encoding="utf-8"))

    def is_imported(self, name: str) -> bool:
        """Whether these weights came from elsewhere. ValueError if they are others by now."""
        origin, file = self._imports().get(name), self.work / f"{name}.safetensors"
        if origin is None:
            return False
        if not file.exists() or sha256(file) != origin["sha256"]:
            raise ValueError(
                f"{file} is not the file that was imported from {origin['from']}: import it again, "
                f"or name another folder"
            )
        return True

    def _imports(self) -> dict:
        file = self.work / IMPORTED
        return json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}

    def training_tracks(self) -> range:
        """The tracks it collects on: others in every round, and with every seed.

        They rise from round to round. Raises ValueError where they would run into another round's.
        """
        number, seed = self.number, self.config.seed
        if seed < MANY_TRACKS_SEEDS:
            late = max(0, number - LATE_ROUNDS)
            first = (number - late) * SEEDS_PER_ROUND + seed * SEEDS_PER_RUN
            first += late * SEEDS_PER_LATE_ROUND
            room = SEEDS_PER_RUN if number < LATE_ROUNDS else SEEDS_PER_LATE_ROUND
            rounds = LATE_ROUNDS + SEEDS_PER_RUN // SEEDS_PER_LATE_ROUND
        else:
            first = FEW_TRACKS_FROM + (seed - MANY_TRACKS_SEEDS) * SEEDS_PER_RUN
            room = SEEDS_PER_FIRST_ROUND if number == 0 else SEEDS_PER_LATE_ROUND
            first += number and SEEDS_PER_FIRST_ROUND + (number - 1) * SEEDS_PER_LATE_ROUND
            rounds = 1 + (SEEDS_PER_RUN - SEEDS_PER_FIRST_ROUND) // SEEDS_PER_LATE_ROUND
        seeds = MANY_TRACKS_SEEDS + (CHECK_TRACKS_FROM - FEW_TRACKS_FROM) // SEEDS_PER_RUN
        for name, value, limit in (
            ("seed", seed, seeds - 1),
            (f"episodes of round {number}", self.settings.episodes, room),
            ("rounds", number + 1, rounds),
        ):
            if value > limit:
                raise ValueError(f"{name} must be 0 to {limit:,}, got {value:,}")
        return range(first, first + self.settings.episodes)

    def pool_tracks(self) -> list[int]:
        """The training tracks among which a search finds the hard ones; none without a pool.

        Nor are there any where candidates never have two episodes: half of one is none. Raises
        ValueError for a pool in a round where it is of no use.
        """
        settings, search = self.settings, self.config.search
        most = num_tracks(settings.generations - 1, settings.rollouts, search.double_every)
        if not settings.hard_pool or most < 2:
            return []
        for unfit, why in (
            (self.config.in_dreams, "where C is evolved in dreams: their difficulty is noise"),
            (self.number == 0, "in round 0: to a C of zeros all tracks are hard"),
        ):
            if unfit:
                raise ValueError(f"hard_pool must be 0 {why}; got {settings.hard_pool}")
        # (No generation draws its tracks with three numbers.)
        rng = np.random.default_rng([self.config.seed, self.number, 2])
        return rng.choice(CHECK_TRACKS_FROM, settings.hard_pool, replace=False).tolist()

    def publish(self, *names: str) -> None:
        """Copy weights to the run's folder, and logs, behind those of earlier rounds.

        Unless a later round is there already: chapter 2 may train the first one again.
        """
        last = self.number + 1 == len(self.config.rounds)
        if not last and self.at(self.number + 1).is_finished:
            return
        for name in names:
            source = self.result if name == "controller" else name
            weights, log = self.work / f"{source}.safetensors", f"{name}.jsonl"
            if weights.exists():
                target = self.folder / f"{name}.safetensors"
                write_atomically(target, lambda p, w=weights: shutil.copy(w, p))
            if (self.work / log).exists():
                logs = [(k, self.at(k).work / log) for k in range(self.number + 1)]
                # A kill between the last episode and its row in the log may have cost the row.
                kept = [(k, path) for k, path in logs if path.exists()]
                rows = [row | {"round": k} for k, path in kept for row in read_log(path)]
                write_log(rows, self.folder / log)


def num_tracks(generation: int, rollouts: int, double_every: int) -> int:
    """How many tracks (or dreams) each candidate of a generation gets; they count from 0."""
    return rollouts * 2 ** (generation // double_every)


def run_name(config: Config) -> str:
    """Of the folder of a run, or of its pretrained weights: car_racing, car_racing_dream, ..."""
    # (C of Take Cover is evolved in dreams alone.)
    return config.task + ("_dream" if config.in_dreams and config.task == "car_racing" else "")


def rounds_of(
    config: Config, folder: str | Path | None = None, machine: Machine | None = None
) -> list[Round]:
    """All rounds of a run. See `Round.of`."""
    return [Round.of(config, k, folder, machine) for k in range(len(config.rounds))]


def timeline(folder: str | Path) -> list[dict]:
    """The rows of a run's evolution log, each with "minutes" since the folder was empty.

    Where a round began by re-evaluating earlier Cs, "check" and "check_std" of its first row are of
    the average it began with, and "found" and "found_std" of what its search came to.

    The sum of what all phases of all rounds logged. Pauses between sittings are not counted; nor is
    a sitting of collecting or encoding that was killed, because these log when they are done.
    """
    folder, before = Path(folder), 0.0
    evolution = read_log(folder / "evolution.jsonl")
    averaged = folder / "reevaluation.jsonl"
    begun = {row["round"]: row for row in read_log(averaged)} if averaged.exists() else {}
    rows = []
    for number in range(evolution[-1]["round"] + 1):
        for phase, adds_up in LOGS.items():
            file = folder / f"{phase}.jsonl"
            log = [r for r in read_log(file) if r["round"] == number] if file.exists() else []
            seconds = [r["seconds"] for r in log] or [0.0]  # what was frozen took no time
            before += sum(seconds) if adds_up else seconds[-1]
        log = [row for row in evolution if row["round"] == number]
        if number in begun:
            renamed = {"check": "found", "check_std": "found_std"}
            log = [{renamed.get(key, key): row[key] for key in row} for row in log]
            log[0] |= {key: begun[number][key] for key in renamed}
        rows += [row | {"minutes": (before + row["seconds"]) / 60} for row in log]
        before += log[-1]["seconds"]
    return rows
