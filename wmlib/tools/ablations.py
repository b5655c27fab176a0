"""How accurate are dreams? For controllers with known real scores, and for those evolved in them.

A dream is as accurate as the M that makes it. Here Ms are compared that learn from equally many
episodes: first one with the loss and the learning rate of chapter 3's (but fewer passes), from a
random policy, then step by step what makes a dream's M (see `dreaming.train_dream`), in the end
with the episodes of the agents that were evolved in dreams. All of it needs a finished run in
dreams, and is added to its folder.
"""

import dataclasses
import math
import shutil
from collections.abc import Iterator
from concurrent.futures import Executor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from wmlib.envs.dream import NOISE_ROWS, DreamSpec, PassThroughEncoder, independent_seeds
from wmlib.models.checkpoints import load_agent, load_controller, load_network, weights_digest
from wmlib.models.controller import Controller
from wmlib.models.mdn_rnn import MDNRNN
from wmlib.models.world_model import WorldModel
from wmlib.pipeline import car_racing, dreaming, fitness, search
from wmlib.pipeline.config import Config, Machine
from wmlib.pipeline.rounds import Round, rounds_of
from wmlib.pipeline.scoring import agent_digest
from wmlib.pipeline.workers import processes
from wmlib.provenance import Record
from wmlib.rollout.episodes import EpisodeStore
from wmlib.tools.tables import Table

REAL, OWN_DREAM, WITH_TEMPERATURE = "real environment", "the run's M", "the run's M, temperature"
RESULT = "the run's C"

# How M learns; each adds something to the one before. The last three differ in their episodes.
PLAIN, SHARP, REWARD_INPUT, ANNEALED, ON_POLICY, MIXED = KINDS = (
    "as in chapter 3",
    "posterior scale, sum over z",
    "previous reward as an input",
    "annealed learning rate",
    "on-policy episodes",
    "random and on-policy episodes",
)

# M as it was trained: temperature 1, no dropout.
NEUTRAL = {"temperature": 1.0, "dropout": 0.0}
TEMPERATURES = (0.5, 1.0, 1.3, 1.8)
DROPOUTS = (0.0, 0.1)

DREAMS = 96  # per policy of the set, at most
CHECK_EVERY = 3  # generations between real scores for `SHARP`, whose M is exploited
NEVER_STEERS, CONTROLLER = "never steers", "controller.safetensors"
TRACKS_FROM = 920_000  # training tracks that no training and no search uses
SCORE_MATRIX, EVOLVED = "score_matrix.jsonl", "evolved.jsonl"


def run_ablations(config: Config, run: str | Path, machine: Machine | None = None) -> None:
    """The score matrix, and a search in every kind of dream; goes on with what is there.

    score_matrix.jsonl: a row for the real environment, with "policies" and their "scores", a list
    per policy; and a row per dream: what it predicts for a whole episode ("predicted_return"), and
    the half-width of that number's 95% interval ("margin").
    evolved.jsonl: a row per dream in which a controller was evolved from scratch: mean predicted
    return of the last generation's candidates ("population_return"), that of the resulting
    controller ("predicted_return"), and its real score ("real", "real_std"). The M of `SHARP` and
    the C evolved in its dreams are kept as naive_dream and naive_controller.safetensors: an example
    of model exploitation.
    """
    run = Path(run)
    last = rounds_of(config, run, machine)[-1]
    dream = weights_digest(load_network(MDNRNN, run / "dream.safetensors"))
    record = Record({"agent": agent_digest(run), "dream": dream}, dataclasses.asdict(config))
    with processes(last.machine.workers, last.machine.cluster) as executor:
        for row in searches():
            work = partial(evolve_in, last, executor, **row)
            Table(run / EVOLVED, record).add(row, work)
        _keep_naive(run)
        for where in (REAL, *KINDS, OWN_DREAM, WITH_TEMPERATURE):
            work = partial(score_policies, last, where, executor)
            Table(run / SCORE_MATRIX, record).add({"where": where}, work)


def _keep_naive(run: Path) -> None:
    dream, searched = _dream_folder(run, SHARP), _search_folder(run, SHARP, **NEUTRAL)
    for file, name in (
        (dream / "dream.safetensors", "naive_dream.safetensors"),
        (dream / "dream.jsonl", "naive_dream.jsonl"),
        (searched / CONTROLLER, "naive_controller.safetensors"),
        (searched / "evolution.jsonl", "naive_controller.jsonl"),
    ):
        shutil.copy(file, run / name)


def searches() -> Iterator[dict]:
    """Every dream to evolve in: one of each kind, and the last kind at other temperatures."""
    for kind in KINDS:
        yield {"kind": kind} | NEUTRAL
    for dropout in DROPOUTS:
        for temperature in TEMPERATURES:
            if (changed := {"temperature": temperature, "dropout": dropout}) != NEUTRAL:
                yield {"kind": MIXED} | changed


def policy_set(last: Round) -> dict[str, Controller]:
    """Policies from hopeless to good: never steering, evolved in each kind of dream, and the run's.

    Of the run, what every round found since the agent's M is what it is (earlier controllers were
    evolved on another h), and C.
    """
    # Biases before `squash`: steering 0, gas 0.3, brake 0.
    straight = np.zeros(Controller().num_parameters)
    straight[-3:] = 0.0, math.atanh(2 * 0.3 - 1), -3.0
    policies = {NEVER_STEERS: Controller(straight)}
    for kind in KINDS:
        file = _search_folder(last.folder, kind, **NEUTRAL) / CONTROLLER
        policies[f"evolved: {kind}"] = load_controller(file)
    for number in range(last.vae_since, last.number + 1):
        policies[f"round {number}"] = load_controller(last.at(number).work / CONTROLLER)
    return policies | {RESULT: load_controller(last.folder / CONTROLLER)}


def score_policies(last: Round, where: str, executor: Executor | None) -> dict:
    """The real scores of the policy set, or what a dream of some kind predicts for each of them.

    All dreams have temperature 1 and no dropout, but for one: the run's own, as it was searched in.
    The dreams of a policy share no noise, so that the bootstrap may count them as independent. The
    table of noise then has room for 20 dreams of 400 agent steps.

    The predictions in data/pretrained are older: an earlier version used 96 dreams per policy,
    which shared rows of that table, so their margins are too small. To repeat them with this
    version (81 minutes per training seed, with the run itself): `python -m wmlib run car_racing
    --dream`, then `python -m wmlib ablate --dream`.
    """
    policies, config = policy_set(last), last.config
    agent, _ = load_agent(last.folder)
    everyone = Controller(np.concatenate([c.parameters for c in policies.values()]))
    if where == REAL:
        tracks = range(TRACKS_FROM, TRACKS_FROM + config.search.check_tracks)
        real = car_racing.training_env_spec(config, mirror=False)
        scores = fitness.returns(real, agent, everyone, tracks, executor)
        return {"policies": list(policies), "scores": scores.round(2).tolist()}
    changed = config if where == WITH_TEMPERATURE else config.change(dream=NEUTRAL)
    env_spec = dream_of(dataclasses.replace(last, config=changed), where)
    encoder, steps = PassThroughEncoder(agent), config.extrapolated_steps
    seeds = independent_seeds(
        min(DREAMS, NOISE_ROWS // (2 * env_spec.max_steps)), env_spec.max_steps
    )
    gained, alive, failed = fitness.dream_outcomes(env_spec, encoder, everyone, seeds, executor)
    drawn = np.random.default_rng(0).integers(len(seeds), size=(200, len(seeds)))  # a bootstrap
    again = [fitness.extrapolate(gained[:, k], alive[:, k], failed[:, k], steps) for k in drawn]
    return {
        "policies": list(policies),
        "predicted_return": fitness.extrapolate(gained, alive, failed, steps).round(4).tolist(),
        "margin": (1.96 * np.std(again, axis=0)).round(2).tolist(),
    }


def evolve_in(
    last: Round, executor: Executor | None, kind: str, temperature: float, dropout: float
) -> dict:
    """Evolve a C from scratch in one kind of dream: what dreams predict for it, its real score."""
    config, agent = last.config, load_agent(last.folder)[0]
    changed = config.change(dream={"temperature": temperature, "dropout": dropout})
    k, tracks = config.search.directions, config.search.check_tracks
    env_spec = dream_of(dataclasses.replace(last, config=changed), kind)
    objective = fitness.ExtrapolatedReturn(
        env_spec,
        PassThroughEncoder(agent),
        config.rounds[0].rollouts,
        seed=config.seed,
        executor=executor,
        agent_steps=config.extrapolated_steps,
    )
    real = car_racing.training_env_spec(config, mirror=False)
    controller, evolution = search.evolve(
        objective,
        _search_folder(last.folder, kind, temperature, dropout),
        start=Controller(feature_size=agent.feature_size),
        population=config.search.population,
        generations=config.search.ablation_generations,
        sigma=config.rounds[0].sigma,
        directions=search.search_directions(agent, last.work, k),
        seed=config.seed,
        check=partial(search.check_in_environment, real, agent, tracks=tracks, executor=executor),
        check_every=CHECK_EVERY if kind == SHARP else config.search.check_every,
    )
    row = evolution.history[-1]
    predicted = objective.of(controller, range(DREAMS)).fitness
    return {
        "population_return": row["mean"],
        "predicted_return": float(predicted[0]),
        "real": row["check"],
        "real_std": row["check_std"],
    }


def dream_of(last: Round, kind: str) -> DreamSpec:
    """Dreams of one kind, all from the same moments; the agent remembers with its own M."""
    agent, _ = load_agent(last.folder)
    own = kind in (OWN_DREAM, WITH_TEMPERATURE)
    file = last.folder / "dream.safetensors"
    dream = load_network(MDNRNN, file) if own else train_kind(last, kind)
    world_model = WorldModel(agent.vae, dream)
    return dreaming.dream_env_spec(last.config, world_model, last.work / "latents", agent)


def train_kind(last: Round, kind: str) -> MDNRNN:
    """An M of one kind, trained from scratch; each from equally many episodes."""
    config, run = last.config, last.folder
    folder, many = _dream_folder(run, kind), 2 * config.dream.newest
    everything, first = last.latents, set(last.at(0).episodes.names())
    at_random = [name for name in everything.names() if name in first]
    on_policy = [name for name in everything.names() if name not in first]
    names = at_random[-many:]
    if kind == ON_POLICY:
        names = on_policy[-many:]
    if kind == MIXED:
        names = at_random[-many // 2 :] + on_policy[-many // 2 :]
    latents = EpisodeStore(folder / "latents")
    latents.begin(Record({"latents": everything.digest()}, {"names": names}), rebuild=True)
    latents.include(everything, names)
    plainer: dict[str, Any] = {}
    if kind in (PLAIN, SHARP, REWARD_INPUT):
        plainer = {"learning_rate": 1e-3, "anneal": False, "batch_size": config.rnn.batch_size}
    if kind in (PLAIN, SHARP):
        plainer |= {"reward_input": False}
    if kind == PLAIN:
        plainer |= {"z_noise": 1.0, "z_weight": 1.0}
    return dreaming.train_dreaming_mdn_rnn(
        config,
        folder,
        latents,
        epochs=config.rounds[0].dream_epochs,
        seed=config.seed,
        device=last.device,
        **plainer,
    )


def _dream_folder(run: Path, kind: str) -> Path:
    return run / "ablations" / kind.replace(", ", "_").replace(" ", "_")


def _search_folder(run: Path, kind: str, temperature: float, dropout: float) -> Path:
    return _dream_folder(run, kind) / f"evolved-{temperature:g}-{dropout:g}"
