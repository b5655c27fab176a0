"""C by CMA-ES: the search for a controller that maximizes a fitness."""

import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from pathlib import Path

import numpy as np
import torch

from wmlib.envs.vector import VectorEnvSpec
from wmlib.evaluation import features
from wmlib.files import digest, read_log, write_atomically
from wmlib.models.checkpoints import save_controller, world_model_digest
from wmlib.models.controller import Controller
from wmlib.models.world_model import WorldModel
from wmlib.pipeline.fitness import MeanReturn, returns
from wmlib.pipeline.phases import append_to_log
from wmlib.pipeline.rounds import CHECK_TRACKS_FROM
from wmlib.provenance import Record, require
from wmlib.rollout.episodes import EpisodeStore
from wmlib.training.evolution import Evolution
from wmlib.training.search_space import Directions


def evolve(
    fitness: MeanReturn,
    folder: str | Path,
    *,
    start: Controller,
    population: int,
    generations: int,
    sigma: float = 0.1,
    directions: Directions | None = None,
    seed: int = 0,
    check: Callable[[Controller], dict] | None = None,
    check_every: int = 10,
    select: bool = False,
    separable: bool = False,
    mirrored: bool = False,
) -> tuple[Controller, Evolution]:
    """C by CMA-ES: a mean of the search distribution, and the search itself.

    The search begins at `start` with step size `sigma`, over all weights, or over the changes to
    them that lie in `directions`. Every `check_every` generations, and at the end, `check` scores
    the mean, and its columns are added to the log; the search does not use them. "rollouts" in the
    log is the number of episodes of each candidate, "steps" the environment steps that all of a
    generation's took. separable, mirrored: see `Evolution`.

    C is the mean after the last generation. With `select`, it is the one with the highest "check"
    (model selection by a validation score, which is then too high as an estimate): from some
    generation on, the mean moves to and fro, because few episodes decide where it goes.

    Writes evolution.jsonl, controller.safetensors, and the last generation's candidates as
    population.safetensors. Raises ValueError if the log there is of another search, and for
    `select` without a `check`.
    """
    if select and check is None:
        raise ValueError("select=True chooses by the check of every mean, and check is None")
    first, size, steps = start.parameters[0], start.config, 0

    def controllers(changes: np.ndarray) -> Controller:
        changes = changes if directions is None else directions.expand(changes)
        return type(start)(first + changes, **size)

    def evaluate(points: np.ndarray, generation: int) -> np.ndarray:
        nonlocal steps
        values, steps = fitness(controllers(points), generation)
        return values

    def extra(evolution: Evolution) -> dict:
        columns = {"rollouts": len(fitness.tracks(evolution.generation - 1)), "steps": steps}
        last = evolution.generation == generations
        if check is not None and (last or evolution.generation % check_every == 0):
            columns |= check(controllers(evolution.mean))
        return columns

    folder, objective = Path(folder), fitness.record
    made_from = objective.made_from | {"start": digest(first)}
    if directions is not None:
        made_from |= {"directions": digest(directions.matrix)}
    evolution = Evolution(
        len(first) if directions is None else directions.num_parameters,
        population,
        sigma=sigma,
        seed=seed,
        log=folder / "evolution.jsonl",
        extra=extra,
        record=Record(made_from, objective.settings),
        separable=separable,
        mirrored=mirrored,
    )
    for _ in evolution.run(evaluate, generations):
        pass
    mean, settings = evolution.mean, evolution.record.settings | {"generations": generations}
    if select:
        checked = [row for row in evolution.history if "check" in row]
        best = max(checked, key=lambda row: row["check"])["generation"]
        mean, settings = evolution.means[best - 1], settings | {"selected": best}
    controller, record = controllers(mean), Record(evolution.record.made_from, settings)
    everyone = controllers(evolution.candidates)
    save_controller(everyone, folder / "population.safetensors", record=record)
    save_controller(controller, folder / "controller.safetensors", record=record)
    return controller, evolution


@torch.no_grad()
def search_directions(
    world_model: WorldModel,
    folder: str | Path,
    k: int,
    episodes: int = 60,
    kept_in: str | Path | None = None,
) -> Directions | None:
    """The first k principal components of what C reads, over a folder's newest episodes.

    None for k = 0, which stands for all weights. Of [z, c, h], each of the three counts alike.
    Kept as directions.npz in the folder, or in another one; see `kept_directions`.
    """
    if k == 0:
        return None
    file = Path(kept_in or folder) / "directions.npz"
    store = EpisodeStore(Path(folder) / "episodes")
    made_from = {"world_model": world_model_digest(world_model), "episodes": store.digest()}
    m = world_model.mdn_rnn
    blocks = (m.z_size, m.hidden_size, m.hidden_size) if m.reads_cell else ()
    balanced = {"blocks": list(blocks)} if blocks else {}

    def find() -> Directions:
        newest = newest_episodes(folder, episodes)
        seen = torch.cat([features(world_model, *episode) for episode in newest])
        return Directions.of(seen, k, m.action_size, blocks)

    record = Record(made_from, {"k": k, "newest": episodes} | balanced)
    return kept_directions(file, record, find)


def newest_episodes(folder: str | Path, count: int) -> Iterator[list[np.ndarray]]:
    """Frames, actions and rewards of a round's newest episodes. ValueError if there are none."""
    store = EpisodeStore(Path(folder) / "episodes")
    if not len(store):
        raise ValueError(f"there are no episodes in {store.folder}: collect some first")
    for name in store.names()[-count:]:
        yield [store.read(name, key) for key in ("frames", "actions", "rewards")]


def kept_directions(file: str | Path, record: Record, find: Callable[[], Directions]) -> Directions:
    """What `find` returned the first time: a search that goes on must go on in the very same ones.

    On another processor, the same data would give others in their last bits. Raises ValueError if
    the file has another record.
    """
    file = Path(file)
    if file.exists():
        with np.load(file) as kept:
            require(file, Record.from_json(kept["record"].item()), record)
            return Directions(kept["mean"], kept["matrix"], int(kept["action_size"]))
    found = find()

    def write(path: Path) -> None:
        with path.open("wb") as stream:
            np.savez(
                stream,
                mean=found.mean,
                matrix=found.matrix,
                action_size=found.action_size,
                record=record.to_json(),
            )

    write_atomically(file, write)
    return found


def prefer_hard_tracks(
    fitness: MeanReturn, controller: Controller, folder: str | Path, pool: Sequence[int]
) -> MeanReturn:
    """The same fitness, with half of its tracks from those on which `controller` scores worst.

    (Hard example mining.) The controller is scored once on the tracks of the pool; the worst tenth
    of them, one at least, are the hard ones. Where most returns are nearly the same, the rare
    others decide the mean, and a generation of a few tracks has none of them. (One episode per
    track chose them: on average, they are less hard for the next controller.)

    Writes one row to hard_tracks.jsonl, and goes on with what is there: "tracks", their "scores",
    "num_hard", environment "steps", "seconds". Raises ValueError if the row there is of other
    tracks or another controller, and if the pool is empty.
    """
    if not pool:
        raise ValueError("the pool must have a track, got none")
    log, origin = Path(folder) / "hard_tracks.jsonl", fitness.record
    record = Record(
        origin.made_from | {"controller": digest(controller.parameters)},
        {"world": origin.settings["world"], "pool": digest(np.array(pool))},
    )
    if log.exists():
        [row] = read_log(log)
        require(log, Record.from_dict(row.get("record")), record)
    else:
        began = time.monotonic()
        [episodes] = fitness.episodes(controller, pool)
        row = {
            "tracks": list(pool),
            "scores": [episode.score for episode in episodes],
            "num_hard": max(1, len(pool) // 10),
            "steps": sum(episode.steps for episode in episodes),
            "record": record.to_dict(),
        }
        append_to_log(log, row, began)
    hardest = np.argsort(row["scores"], kind="stable")[: row["num_hard"]]
    return dataclasses.replace(
        fitness, hard_tracks=tuple(row["tracks"][i] for i in hardest.tolist())
    )


def check_in_environment(
    env_spec: VectorEnvSpec,
    world_model: WorldModel,
    controller: Controller,
    tracks: int,
    executor: Executor | None = None,
) -> dict:
    """For learning curves: "check", mean score on training tracks no search uses, "check_std".

    Every episode runs to its end, without patience.
    """
    env_spec = dataclasses.replace(env_spec, patience=None)
    seeds = range(CHECK_TRACKS_FROM, CHECK_TRACKS_FROM + tracks)
    scores = returns(env_spec, world_model, controller, seeds, executor)[0]
    return {"check": float(scores.mean()), "check_std": float(scores.std(ddof=1))}
