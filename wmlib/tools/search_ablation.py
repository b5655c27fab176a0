"""Which space should CMA-ES search for C in? Searches that differ in one thing at a time.

`python -m wmlib ablate search` evolves C with the pretrained V and M in four spaces, each of which
changes one thing in the one before it, with several seeds. Chapter 4 draws the result.
"""

import dataclasses
from concurrent.futures import Executor
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from wmlib.evaluation import features
from wmlib.files import exclusive_lock
from wmlib.models.checkpoints import load_world_model, world_model_digest
from wmlib.models.controller import Controller
from wmlib.models.world_model import WorldModel
from wmlib.paths import pretrained
from wmlib.pipeline import car_racing, phases, search
from wmlib.pipeline.config import Config, Machine
from wmlib.pipeline.fitness import MeanReturn
from wmlib.pipeline.rounds import TEST_TRACKS_FROM
from wmlib.pipeline.scales import get_chapter_config
from wmlib.pipeline.workers import processes
from wmlib.provenance import Record
from wmlib.rollout.policies import random_car_policy
from wmlib.tools.tables import Ablate, Table, published
from wmlib.training.search_space import Directions

RESULTS = published("search")
SPACES = ("all weights", "components", "scaled", "common factor")
SEEDS = range(5)
EPISODE = 400  # environment steps of a candidate's episode, at most: half a lap of a trained C
RAW_STEP = 0.6 * 2**0.5  # RMS change of C's raw outputs; at laptop scale, that of round 0


def search_spaces(seen: Tensor, k: int) -> dict[str, Directions]:
    """The four spaces for features `seen` (N, n), by name; each changes one thing.

    In all of them the mean of the features is subtracted first, so that the bias alone sets the
    average output. all weights: W and b themselves. components: W on the first k principal
    components alone. scaled: each component divided by the square root of its SD. common factor:
    all of these multiplied by one number, with which the bias gets as large a share of every change
    as all components together. Raises ValueError as `Directions.of`.
    """
    best = Directions.of(seen, k)
    unit = best.matrix / np.linalg.norm(best.matrix, axis=1, keepdims=True)
    deviations = ((seen.double().cpu().numpy() - best.mean) @ unit.T).std(0, ddof=1)
    spaces = (
        Directions(best.mean, np.eye(len(best.mean))),
        Directions(best.mean, unit),
        Directions(best.mean, unit / np.sqrt(deviations)[:, None]),
        best,
    )
    return dict(zip(SPACES, spaces, strict=True))


def step_size(space: Directions, seen: Tensor) -> float:
    """The step size with which candidates' raw outputs differ as much in every space.

    The RMS of W [z, h] + b over the features `seen` (N, n) and over candidates is then `RAW_STEP`.
    """
    inputs = (seen.double().cpu().numpy() - space.mean) @ space.matrix.T
    return float(RAW_STEP / np.sqrt((inputs**2).sum(1).mean() + 1))  # 1: the bias


def run_search_ablation(config: Config, file: Path, work: Path, machine: Machine) -> None:
    """A row per search in `file`; goes on with what is there, and in `work`.

    Rows: "space", "seed", "parameters" (how many), "sigma" (initial), "check" (mean return of the
    search distribution's mean on other tracks), "check_std". Raises ValueError if the rows there
    were made with other settings or another world model.
    """
    if not config.search.directions:
        raise ValueError("this ablation needs principal components: use scale smoke or laptop")
    world_model = load_world_model(pretrained("car_racing"))
    table = Table(file, record_of(config, world_model))
    with exclusive_lock(work), processes(machine.workers, machine.cluster) as executor:
        seen = random_policy_features(config, world_model, work)
        spaces = search_spaces(seen, config.search.directions)
        for seed in SEEDS:
            for name, space in spaces.items():
                sigma = step_size(space, seen)
                folder = work / f"{name.replace(' ', '_')}-{seed}"
                table.add(
                    {"space": name, "seed": seed},
                    partial(_evolve, config, world_model, space, sigma, seed, folder, executor),
                )


def record_of(config: Config, world_model: WorldModel) -> Record:
    """What the rows depend on, beside space and seed."""
    env = dataclasses.asdict(config.env) | {"repeat": world_model.mdn_rnn.repeat}
    settings = {"env": env, "search": settings_of(config)}
    return Record({"world_model": world_model_digest(world_model)}, settings)


def settings_of(config: Config) -> dict:
    """Of smaller searches than a round's: only their beginnings are compared."""
    return {
        "population": max(4, config.search.population // 2),
        "generations": config.search.ablation_generations,
        "rollouts": 1,
        "max_steps": min(EPISODE, config.env.max_steps),
        "patience": config.search.patience,
        "directions": config.search.directions,
        "raw_step": RAW_STEP,
        "random_episodes": get_chapter_config(config).test_episodes,
        "random_patience": config.collect.patience,
        "tracks": max(2, config.search.check_tracks // 2),
    }


def random_policy_features(config: Config, world_model: WorldModel, work: Path) -> Tensor:
    """[z, h] at every agent step of a few random episodes, (N, n)."""
    settings = settings_of(config)
    spec = car_racing.training_env_spec(config, settings["random_patience"]).at_pace(world_model)
    store = phases.collect(
        spec,
        random_car_policy(spec.repeat),
        range(TEST_TRACKS_FROM, TEST_TRACKS_FROM + settings["random_episodes"]),
        work / "episodes",
    )
    recorded = [store.episode(name) for name in store.names()]
    return torch.cat([features(world_model, e["frames"], e["actions"]) for e in recorded])


def _evolve(
    config: Config,
    world_model: WorldModel,
    space: Directions,
    sigma: float,
    seed: int,
    folder: Path,
    executor: Executor | None,
) -> dict:
    settings = settings_of(config)
    short = config.change(env={"max_steps": settings["max_steps"]})
    check = partial(
        search.check_in_environment,
        car_racing.training_env_spec(config, mirror=False),
        world_model,
        tracks=settings["tracks"],
        executor=executor,
    )
    _, evolution = search.evolve(
        MeanReturn(
            car_racing.training_env_spec(short, settings["patience"]),
            world_model,
            settings["rollouts"],
            seed=seed,
            executor=executor,
        ),
        folder,
        start=Controller(feature_size=world_model.feature_size),
        population=settings["population"],
        generations=settings["generations"],
        sigma=sigma,
        directions=space,
        seed=seed,
        check=check,
        check_every=settings["generations"],
    )
    row = evolution.history[-1]
    return {
        "parameters": space.num_parameters,
        "sigma": round(sigma, 4),
        "check": round(row["check"], 2),
        "check_std": round(row["check_std"], 2),
    }


class AblateSearch(Ablate):
    """Which space to search for C in: weights or principal components, scaled or not."""

    name = RESULTS.stem

    def measure(self, config: Config, file: Path, work: Path, machine: Machine) -> None:
        """As of `Ablate`."""
        run_search_ablation(config, file, work, machine)
