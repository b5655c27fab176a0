"""Runs in dreams at smoke scale: rounds, predicted returns, killed runs, ablations."""

import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from runs import CONTROLLER

from wmlib.files import digest, read_log
from wmlib.models.checkpoints import load_controller, save_controller
from wmlib.models.controller import Controller
from wmlib.pipeline import car_racing, fitness, phases, rounds
from wmlib.pipeline.rounds import Round
from wmlib.pipeline.scales import dreaming, get_config
from wmlib.rollout.episodes import EpisodeStore
from wmlib.rollout.policies import EpisodeSpec
from wmlib.rollout.rollout import Episode
from wmlib.tools.ablations import (
    KINDS,
    NEVER_STEERS,
    OWN_DREAM,
    REAL,
    WITH_TEMPERATURE,
    run_ablations,
    searches,
)


@pytest.fixture(scope="module")
def run_in_dreams(tmp_path_factory):
    """The folder of an uninterrupted run in dreams: only read or copy it."""
    folder = tmp_path_factory.mktemp("dreaming")
    car_racing.run_all_rounds(dreaming(get_config("smoke")), folder)
    return folder


def test_a_run_in_dreams_freezes_v_and_m_but_trains_the_dreams_m(run_in_dreams, tmp_path):
    config = dreaming(get_config("smoke"))
    shutil.copytree(run_in_dreams, tmp_path, dirs_exist_ok=True)
    first, second, third = (tmp_path / f"round{k}" for k in range(3))

    def same(name, *folders):
        return len({(folder / f"{name}.safetensors").read_bytes() for folder in folders}) == 1

    for name in ("vae", "mdn_rnn", "dream", "controller"):
        assert not same(name, first, second)
    for name in ("vae", "mdn_rnn"):  # no epochs: V and M are frozen, and so is the meaning of h
        assert config.rounds[2].vae_epochs == 0
        assert same(name, second, third, tmp_path)
    assert not same("dream", second, third)
    assert same("dream", third, tmp_path)
    # Only new episodes are encoded, which are those of the last generation.
    assert [row["episodes"] for row in read_log(tmp_path / "encode.jsonl")] == [4, 6, 2]
    members = {name[-3:] for name in EpisodeStore(third / "latents").names()}
    assert len(members) > 1
    assert len(load_controller(second / "population.safetensors")) == config.search.population
    # The initial controller of the search is the best so far, which is also what is published.
    start = load_controller(third / "initial.safetensors").parameters[0]
    [reevaluation] = read_log(tmp_path / "reevaluation.jsonl")
    assert reevaluation["names"] == ["initial 1", "controller 1"]
    best = reevaluation["names"][np.argmax(reevaluation["predicted_return"])]
    assert reevaluation["chosen"] == [best]
    chosen = load_controller(second / f"{best.removesuffix(' 1')}.safetensors")
    assert np.array_equal(start, chosen.parameters[0])
    record = read_log(third / "evolution.jsonl")[0]["record"]
    assert record["made_from"]["start"] == digest(start)
    assert (tmp_path / CONTROLLER).read_bytes() == (third / "initial.safetensors").read_bytes()
    rows = rounds.timeline(tmp_path)
    assert {row["round"] for row in rows} == {0, 1, 2}
    last = [row for row in rows if row["round"] == 2]
    assert last[0]["check"] == reevaluation["check"]
    assert "found" in last[-1]
    (third / CONTROLLER).unlink()
    changed = config.change(averaged=2)
    with pytest.raises(ValueError, match="averaged = 1, this would be with averaged = 2"):
        car_racing.evolve_controller(Round.of(changed, 2, tmp_path))


def test_the_return_of_an_episode_is_extrapolated_from_rate_and_reward():
    # Failures at a constant rate, at exponentially distributed times: the mean of many episodes.
    reward, rate, length, count = 2.0, 0.004, 500, 200_000
    times = np.random.default_rng(0).exponential(1 / rate, count)
    episodes = reward * np.minimum(times, length)
    steps, failed = np.minimum(times, length).sum(), (times < length).sum()
    outcomes = np.array([[reward * steps, reward * 1e9], [steps, 1e9], [failed, 0]])
    predicted = fitness.extrapolate(*outcomes[..., None], length)
    assert predicted[0] == pytest.approx(episodes.mean(), rel=0.005)
    assert predicted[1] == pytest.approx(reward * length, rel=1e-4)  # no failure
    never, often = fitness.extrapolate(
        *np.array([[4e9, 4e3], [1e9, 1e3], [0, 2]])[..., None], length
    )
    assert never == pytest.approx(1000, rel=1e-4)  # the points of a lap
    assert often == pytest.approx(
        2 / 0.0025 * (1 - np.exp(-0.0025 * length))
    )  # at most a lap in this time


LONGER = dreaming(get_config("smoke")).change(episodes=(5, 2, 2, 2), averaged=2, num_rounds=4)


@pytest.fixture(scope="module")
def longer_run(tmp_path_factory):
    """The folder of a run in dreams with more rounds and more episodes: only read it."""
    folder = tmp_path_factory.mktemp("longer")
    car_racing.run_all_rounds(LONGER, folder)
    return folder


def test_half_of_a_dreams_training_subset_is_new(longer_run):
    config, tmp_path = LONGER, longer_run
    latents, subset = (
        EpisodeStore(tmp_path / "round2" / n).names() for n in ("latents", "training_subset")
    )
    assert len(latents) == 9
    newest = config.dream.newest
    assert len(subset) == 2 * newest
    assert set(latents[-newest:]) < set(subset) < set(latents)


def test_the_initial_controller_is_the_mean_of_the_best_few(longer_run):
    first, second = read_log(longer_run / "reevaluation.jsonl")
    assert len(first["names"]) == 2
    assert len(first["chosen"]) == 1  # not the mean with the worse one of two
    # "initial 2" is the mean of a single controller, which is not counted twice.
    assert second["names"] == ["initial 1", "controller 1", "controller 2"]
    predicted = dict(zip(second["names"], second["predicted_return"], strict=True))
    assert sorted(predicted[name] for name in second["chosen"]) == sorted(predicted.values())[-2:]
    files = ("round{1}/{0}.safetensors".format(*name.split()) for name in second["chosen"])
    chosen = [load_controller(longer_run / file).parameters[0] for file in files]
    result = load_controller(longer_run / CONTROLLER).parameters[0]
    assert np.allclose(result, np.mean(chosen, axis=0), atol=1e-6)


def test_settings_that_a_later_round_cannot_use_are_refused_at_once(tmp_path):
    config = dreaming(get_config("smoke"))
    for wrong in ({"num_rounds": 30}, {"episodes": (4, 2, 2, 2, 600)}, {"frame_size": 100}):
        with pytest.raises(ValueError, match="must be"):
            car_racing.run_all_rounds(config.change(**wrong), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_killed_run_in_dreams_equals_an_uninterrupted_one(run_in_dreams, tmp_path, monkeypatch):
    """Killed repeatedly, after every second call of `run_episodes`."""
    config = dreaming(get_config("smoke"))
    run_episodes, kills = phases.run_episodes, 0

    def run_until_killed(*args, **options):
        nonlocal left
        left -= 1
        if left < 0:
            raise KeyboardInterrupt
        return run_episodes(*args, **options)

    for module in (phases, fitness):
        monkeypatch.setattr(module, "run_episodes", run_until_killed)
    while True:
        left = 2
        try:
            car_racing.run_all_rounds(config, tmp_path / "killed")
            break
        except KeyboardInterrupt:
            kills += 1
    assert kills > 2
    last = f"round{len(config.rounds) - 1}"
    last_round = [f"{last}/{name}" for name in ("controller", "population", "initial")]
    for name in ("vae", "mdn_rnn", "dream", "controller", *last_round):
        one, other = (run / f"{name}.safetensors" for run in (run_in_dreams, tmp_path / "killed"))
        assert one.read_bytes() == other.read_bytes(), name
    for name in ("evolution", "reevaluation", "dream"):
        one, other = (
            read_log(run / f"{name}.jsonl") for run in (run_in_dreams, tmp_path / "killed")
        )
        assert len(one) == len(other), name


def test_ablations_score_all_policies_in_every_dream_and_evolve_in_each(run_in_dreams, tmp_path):
    config = dreaming(get_config("smoke"))
    shutil.copytree(run_in_dreams, tmp_path, dirs_exist_ok=True)
    run_ablations(config, tmp_path)
    matrix = {row["where"]: row for row in read_log(tmp_path / "score_matrix.jsonl")}
    assert set(matrix) == {REAL, *KINDS, OWN_DREAM, WITH_TEMPERATURE}
    evolved_names = [f"evolved: {kind}" for kind in KINDS]
    names = [NEVER_STEERS, *evolved_names, "round 1", "round 2", "the run's C"]
    assert all(row["policies"] == names for row in matrix.values())
    assert np.shape(matrix[REAL]["scores"]) == (len(names), config.search.check_tracks)
    predicted = [tuple(row["predicted_return"]) for w, row in matrix.items() if w != REAL]
    assert len(set(predicted)) == len(predicted)  # no two Ms are the same
    evolved = read_log(tmp_path / "evolved.jsonl")
    rows = zip(evolved, searches(), strict=True)
    assert all({key: row[key] for key in kind} == kind for row, kind in rows)
    assert len(list(tmp_path.glob("naive*"))) == 4
    before = [path.read_bytes() for path in sorted(tmp_path.glob("*.jsonl"))]
    run_ablations(config, tmp_path)  # nothing is left to do
    assert [path.read_bytes() for path in sorted(tmp_path.glob("*.jsonl"))] == before
    changed = load_controller(tmp_path / CONTROLLER).parameters + 1
    save_controller(Controller(changed), tmp_path / CONTROLLER)
    with pytest.raises(ValueError, match="was made from agent = "):
        run_ablations(config, tmp_path)


@pytest.mark.parametrize("end_probability", [0.0, 0.01, 0.1])
def test_dreams_that_m_ends_are_extrapolated_without_bias(monkeypatch, end_probability):
    """`patience` is subtracted only from episodes that were truncated, not from terminated ones."""
    rng, steps, patience = np.random.default_rng(0), 400, 15
    drawn = rng.geometric(end_probability, 4000) if end_probability else np.full(4000, steps + 1)
    lengths = np.minimum(drawn, steps)
    episodes = [
        Episode(EpisodeSpec(0), score=2.0 * length, steps=2 * length, terminated=end <= steps)
        for length, end in zip(lengths, drawn, strict=True)
    ]
    monkeypatch.setattr(fitness, "run_episodes", lambda *_, **__: episodes)
    env_spec = SimpleNamespace(
        world_model=SimpleNamespace(mdn_rnn=SimpleNamespace(repeat=2)),
        patience=patience,
        max_steps=steps,
    )
    returns, alive, failed = fitness.dream_outcomes(env_spec, None, Controller(), range(4000))
    assert returns.sum() / alive.sum() == pytest.approx(2.0)
    assert failed.sum() / alive.sum() == pytest.approx(end_probability, rel=0.1)


def test_a_truncated_dream_failed_when_its_rewards_stopped(monkeypatch):
    episode = Episode(EpisodeSpec(0), score=100.0, steps=2 * 65)  # 50 steps with a reward of 2
    monkeypatch.setattr(fitness, "run_episodes", lambda *_, **__: [episode])
    env_spec = SimpleNamespace(
        world_model=SimpleNamespace(mdn_rnn=SimpleNamespace(repeat=2)), patience=15, max_steps=400
    )
    returns, alive, failed = fitness.dream_outcomes(env_spec, None, Controller(), range(1))
    assert (returns[0, 0] / alive[0, 0], bool(failed[0, 0])) == (2.0, True)
