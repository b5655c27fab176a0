"""The whole loop at smoke scale: every round, a kill in the middle, a C that learns a new M."""

import hashlib
import json
import shutil

import numpy as np
import pytest
import torch

from wmlib import evaluation
from wmlib.files import digest, read_log, write_log
from wmlib.models.checkpoints import load_controller, save_controller, save_world_model
from wmlib.models.controller import Controller
from wmlib.models.mdn_rnn import MDNRNN
from wmlib.models.vae import VAE
from wmlib.models.world_model import WorldModel
from wmlib.pipeline import car_racing, fitness, phases, rounds, scoring
from wmlib.pipeline.config import preset
from wmlib.rollout.episodes import EpisodeStore
from wmlib.rollout.policies import ControllerPolicy, random_car_policy
from wmlib.tools import release
from wmlib.tools.ablations import KINDS, NEVER_STEERS, REALITY, RUN, RUN_IN_DOUBT, doubts, study

CONTROLLER = "controller.safetensors"


def fingerprints(folder):
    names = ("vae", "mdn_rnn", "controller")
    files = [folder / f"{name}.safetensors" for name in names]
    return [hashlib.sha256(file.read_bytes()).hexdigest() for file in files]


def test_a_controller_learns_to_read_another_memory(tmp_path):
    """Another M, another h: translated, C wants what it wanted; untranslated, something else."""
    numbers = preset("smoke")
    old = WorldModel(VAE(), MDNRNN())
    torch.manual_seed(1)
    new = WorldModel(old.vae, MDNRNN())
    controller = Controller(np.random.default_rng(0).normal(size=867))
    store = phases.collect(
        car_racing.car_world(numbers), random_car_policy(), range(4), tmp_path / "episodes"
    )
    translated = car_racing.translate(old, controller, new, tmp_path, episodes=3)
    test = store.episode(store.names()[0])  # the fit has not seen this one
    features = [evaluation.features(model, test["frames"], test["actions"]) for model in (old, new)]
    wanted = controller.raw(features[0])
    error = (translated.raw(features[1]) - wanted).square().mean()
    assert error < 0.3 * (controller.raw(features[1]) - wanted).square().mean()


def test_nothing_is_collected_twice(tmp_path):
    numbers = preset("smoke")
    world = car_racing.car_world(numbers)
    for stop in (2, 3):
        store = phases.collect(world, random_car_policy(), range(stop), tmp_path / "episodes")
        assert len(store) == stop
    assert [row["episodes"] for row in read_log(tmp_path / "collect.jsonl")] == [2, 1]


def test_drives_of_another_kind_are_not_mixed_in(tmp_path):
    numbers, folder = preset("smoke").change(max_steps=10), tmp_path / "episodes"
    phases.collect(car_racing.car_world(numbers), random_car_policy(), [0], folder)
    for wrong in ({"repeat": 2}, {"frame_size": 96}, {"max_steps": 20}):
        world = car_racing.car_world(numbers.change(**wrong))
        with pytest.raises(ValueError, match=r"this would be with .*another folder"):
            phases.collect(world, random_car_policy(), [1], folder)
    car_racing.car_collect(numbers.change(episodes=(3, 1)), tmp_path / "run")
    with pytest.raises(ValueError, match="more drives than the 2 that are wanted"):
        car_racing.car_collect(numbers.change(episodes=(2, 1)), tmp_path / "run")


def test_drives_that_a_cluster_wrote_elsewhere_are_missed(tmp_path, monkeypatch):
    monkeypatch.setattr(phases, "run_episodes", lambda *_, **__: [])
    with pytest.raises(ValueError, match="1 of 1 drives are not in"):
        phases.collect(
            car_racing.car_world(preset("smoke")), random_car_policy(), [0], tmp_path / "episodes"
        )


def test_another_v_encodes_anew(tmp_path):
    store = phases.collect(
        car_racing.car_world(preset("smoke").change(max_steps=10)),
        random_car_policy(),
        range(2),
        tmp_path / "episodes",
    )
    eyes, seen = [VAE(), VAE()], []
    for vae in (eyes[0], eyes[0], eyes[1]):
        latents = phases.encode(store, vae.eval(), tmp_path / "latents")
        seen.append([latents.read(name, "mu") for name in latents.names()])
    assert [row["episodes"] for row in read_log(tmp_path / "encode.jsonl")] == [2, 2]  # not thrice
    alone = phases.encode(store, eyes[1], tmp_path / "other" / "latents")
    for name, before, after in zip(alone.names(), seen[0], seen[2], strict=True):
        assert np.array_equal(alone.read(name, "mu"), after)
        assert not np.array_equal(before, after)


def test_an_agent_collects_with_its_own_eyes(tmp_path, world_model):
    numbers = preset("smoke")
    driver = ControllerPolicy(Controller())
    with pytest.raises(ValueError, match="give rollout a world model"):
        phases.collect(car_racing.car_world(numbers), driver, [0], tmp_path / "episodes")
    store = phases.collect(
        car_racing.car_world(numbers), driver, [0], tmp_path / "episodes", world_model=world_model
    )
    assert len(store) == 1


def a_run(folder, world_model, seed=0):
    torch.manual_seed(seed)
    save_world_model(world_model, folder)
    save_controller(Controller(np.random.default_rng(seed).normal(size=867)), folder / CONTROLLER)
    for name in ("collect", "encode", "vae", "mdn_rnn", "evolution"):
        write_log([{"round": 0, "seconds": 1.0}], folder / f"{name}.jsonl")


def test_scoring_goes_on_where_it_stopped(tmp_path, world_model):
    a_run(tmp_path, world_model)
    numbers = preset("smoke")._replace(max_steps=30)
    scoring.score_car(numbers._replace(score_tracks=1), tmp_path)
    first = (tmp_path / "score.jsonl").read_text(encoding="utf-8")
    result = scoring.score_car(numbers._replace(score_tracks=3), tmp_path)
    assert result.tracks == [1_000_000, 1_000_001, 1_000_002]
    assert (tmp_path / "score.jsonl").read_text(encoding="utf-8").startswith(first)
    # Another agent's scores are not this one's.
    agents = {row["agent"] for row in read_log(tmp_path / "score.jsonl")}
    a_run(tmp_path, world_model, seed=1)
    again = scoring.score_car(numbers._replace(score_tracks=2), tmp_path)
    assert again.tracks == [1_000_000, 1_000_001]
    assert not agents & {row["agent"] for row in read_log(tmp_path / "score.jsonl")}
    # Nor are those of shorter episodes.
    shorter = scoring.score_car(numbers._replace(score_tracks=3, max_steps=8), tmp_path)
    assert set(shorter.steps) == {8}


def test_reading_a_pretrained_agents_score_never_writes_beside_it(
    tmp_path, world_model, monkeypatch
):
    folder = tmp_path / "pretrained" / "car"
    monkeypatch.setattr(scoring, "PRETRAINED", tmp_path / "pretrained")
    monkeypatch.setenv("WM_RUNS", str(tmp_path / "runs"))
    a_run(folder, world_model)
    numbers = preset("smoke")._replace(max_steps=12)
    before = {path: path.read_bytes() for path in folder.iterdir()}
    for tracks in (2, 3):
        assert (
            len(scoring.score_car(numbers._replace(score_tracks=tracks), folder).scores) == tracks
        )
    assert {path: path.read_bytes() for path in folder.iterdir()} == before
    [log] = (tmp_path / "runs").rglob("score.jsonl")
    assert [row["track"] for row in read_log(log)] == [1_000_000, 1_000_001, 1_000_002]


def test_weights_are_shipped_for_seed_0_and_luck_for_the_others(tmp_path, world_model, monkeypatch):
    monkeypatch.setattr(release, "PRETRAINED", tmp_path / "pretrained")
    numbers = preset("smoke")._replace(max_steps=20)
    for seed in (0, 1):
        a_run(tmp_path / f"run{seed}", world_model, seed)
        run = numbers._replace(seed=seed)
        folder = release.ship(run, tmp_path / f"run{seed}", "car_racing", "the command")
        assert len(scoring.read_score(folder).tracks) == numbers.score_tracks
        assert (folder / CONTROLLER).exists() == (seed == 0)
    card = json.loads(
        (tmp_path / "pretrained/car_racing/controller.json").read_text(encoding="utf-8")
    )
    assert card["command"] == "the command"
    assert card["score"]["tracks"] == numbers.score_tracks


def test_no_two_rounds_and_no_two_runs_collect_on_the_same_tracks():
    laptop, paper = (preset(scale).dreaming() for scale in ("laptop", "paper"))
    tests = set(range(rounds.TEST_TRACKS_FROM, rounds.TEST_TRACKS_FROM + 1000))
    seeds = (0, 1, 9, 10, 19, 48)
    for runs in ([laptop._replace(seed=seed) for seed in seeds], (paper,)):
        taken = set(tests)
        for numbers in runs:
            tracks = [t for k in range(numbers.rounds) for t in rounds.training_tracks(numbers, k)]
            assert tracks == sorted(set(tracks))
            assert tracks[-1] < rounds.CHECK_TRACKS_FROM
            assert not taken & set(tracks)
            taken |= set(tracks)
    for wrong, number in (
        ({"seed": 49}, 0),
        ({"episodes": (20_000,)}, 0),
        ({"episodes": (2_001,), "seed": 10}, 0),
        ({"rounds": 30}, 29),
        ({"rounds": 18, "seed": 10}, 17),
    ):
        with pytest.raises(ValueError, match="must be 0 to"):
            rounds.training_tracks(laptop.change(**wrong), number)


@pytest.fixture(scope="module")
def dreaming_run(tmp_path_factory):
    """A run in dreams that nothing disturbed: for reading, or to be copied."""
    folder = tmp_path_factory.mktemp("dreaming")
    car_racing.car_racing(preset("smoke").dreaming(), folder)
    return folder


def test_a_run_in_dreams_keeps_its_language_and_dreams_ever_better(dreaming_run, tmp_path):
    numbers = preset("smoke").dreaming()
    shutil.copytree(dreaming_run, tmp_path, dirs_exist_ok=True)
    first, second, third = (tmp_path / f"round{k}" for k in range(3))

    def same(name, *folders):
        return len({(folder / f"{name}.safetensors").read_bytes() for folder in folders}) == 1

    for name in ("vae", "mdn_rnn", "dream", "controller"):
        assert not same(name, first, second)
    for name in ("vae", "mdn_rnn"):  # no passes over the frames: both stay, and so does h
        assert numbers.vae_epochs[2] == 0
        assert same(name, second, third, tmp_path)
    assert not same("dream", second, third)
    assert same("dream", third, tmp_path)
    # What was seen before is not looked at again; what is new is the last generation's.
    assert [row["episodes"] for row in read_log(tmp_path / "encode.jsonl")] == [4, 6, 2]
    members = {name[-3:] for name in EpisodeStore(third / "latents").names()}
    assert len(members) > 1
    assert len(load_controller(second / "population.safetensors")) == numbers.population
    # The new search begins at the mean of the best so far, and that is what is published.
    start = load_controller(third / "start.safetensors").parameters[0]
    [judged] = read_log(tmp_path / "hindsight.jsonl")
    assert judged["names"] == ["start 1", "controller 1"]
    best = judged["names"][np.argmax(judged["dream"])]
    assert judged["chosen"] == [best]
    chosen = load_controller(second / f"{best.removesuffix(' 1')}.safetensors")
    assert np.array_equal(start, chosen.parameters[0])
    settings = read_log(third / "evolution.jsonl")[0]["settings"]
    assert settings["first"] == digest(start)
    assert (tmp_path / CONTROLLER).read_bytes() == (third / "start.safetensors").read_bytes()
    rows = rounds.timeline(tmp_path)
    assert {row["round"] for row in rows} == {0, 1, 2}
    begun = [row for row in rows if row["round"] == 2]
    assert begun[0]["check"] == judged["check"]
    assert "found" in begun[-1]
    (third / CONTROLLER).unlink()
    with pytest.raises(ValueError, match="made with best = 1, this would be with 2"):
        car_racing.car_controller(numbers.change(hindsight_best=2), tmp_path, 2)


def test_what_a_whole_drive_would_bring():
    # Lost at a given rate, at times drawn from what that means: the mean over many such drives.
    pace, rate, length, many = 2.0, 0.004, 500, 200_000
    times = np.random.default_rng(0).exponential(1 / rate, many)
    drives = pace * np.minimum(times, length)
    looks, lost = np.minimum(times, length).sum(), (times < length).sum()
    two = np.array([[pace * looks, pace * 1e9], [looks, 1e9], [lost, 0]])
    judged = fitness.whole_drive(*two[..., None], length)
    assert judged[0] == pytest.approx(drives.mean(), rel=0.005)
    assert judged[1] == pytest.approx(pace * length, rel=1e-4)  # never lost
    never, often = fitness.whole_drive(
        *np.array([[4e9, 4e3], [1e9, 1e3], [0, 2]])[..., None], length
    )
    assert never == pytest.approx(1000, rel=1e-4)  # a lap has no more
    assert often == pytest.approx(2 / 0.0025 * (1 - np.exp(-0.0025 * length)))  # nor is haste paid


LONGER = preset("smoke").dreaming().change(episodes=(5, 2, 2, 2), hindsight_best=2, rounds=4)


@pytest.fixture(scope="module")
def longer_run(tmp_path_factory):
    """One with more rounds and more episodes, for reading."""
    folder = tmp_path_factory.mktemp("longer")
    car_racing.car_racing(LONGER, folder)
    return folder


def test_half_of_what_a_dream_learns_from_is_new(longer_run):
    numbers, last = LONGER, longer_run / "round2"
    every, lesson = (EpisodeStore(last / name).names() for name in ("latents", "lesson"))
    assert len(every) == 9
    assert len(lesson) == 2 * numbers.dream_fresh
    assert set(every[-numbers.dream_fresh :]) < set(lesson) < set(every)


def test_the_mean_of_the_best_few_is_where_a_round_begins(longer_run):
    first, judged = read_log(longer_run / "hindsight.jsonl")
    assert len(first["names"]) == 2
    assert len(first["chosen"]) == 1  # of two, the worse one would spoil the mean
    assert judged["names"] == ["start 1", "controller 1", "start 2", "controller 2"]
    earned = dict(zip(judged["names"], judged["dream"], strict=True))
    assert sorted(earned[name] for name in judged["chosen"]) == sorted(earned.values())[-2:]
    files = ("round{1}/{0}.safetensors".format(*name.split()) for name in judged["chosen"])
    two = [longer_run / file for file in files]
    mean = np.mean([load_controller(path).parameters[0] for path in two], axis=0)
    assert np.allclose(load_controller(longer_run / CONTROLLER).parameters[0], mean, atol=1e-6)


def test_what_a_run_would_stumble_over_is_said_at_once(tmp_path):
    numbers = preset("smoke").dreaming()
    for wrong in ({"rounds": 30}, {"episodes": (4, 2, 2, 2, 600)}, {"frame_size": 100}):
        with pytest.raises(ValueError, match="must be"):
            car_racing.car_racing(numbers.change(**wrong), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_run_in_dreams_that_was_killed_ends_up_the_same(dreaming_run, tmp_path, monkeypatch):
    """Killed again and again, each time a few drives further on."""
    numbers = preset("smoke").dreaming()
    killed, run_episodes, kills = tmp_path / "killed", phases.run_episodes, 0

    def mortal(*args, **options):
        nonlocal left
        left -= 1
        if left < 0:
            raise KeyboardInterrupt
        return run_episodes(*args, **options)

    for module in (phases, fitness):
        monkeypatch.setattr(module, "run_episodes", mortal)
    while True:
        left = 2
        try:
            car_racing.car_racing(numbers, killed)
            break
        except KeyboardInterrupt:
            kills += 1
    assert kills > 2
    last = f"round{numbers.rounds - 1}"
    found = [f"{last}/{name}" for name in ("controller", "population", "start")]
    for name in ("vae", "mdn_rnn", "dream", "controller", *found):
        one, other = (run / f"{name}.safetensors" for run in (dreaming_run, killed))
        assert one.read_bytes() == other.read_bytes(), name
    for name in ("evolution", "hindsight", "dream"):
        one, other = (
            read_log(run / f"{name}.jsonl") for run in (dreaming_run, tmp_path / "killed")
        )
        assert len(one) == len(other), name


def test_a_study_asks_the_panel_in_every_dream_and_breeds_in_each(dreaming_run, tmp_path):
    numbers = preset("smoke").dreaming()
    shutil.copytree(dreaming_run, tmp_path, dirs_exist_ok=True)
    study(numbers, tmp_path)
    panel = {row["where"]: row for row in read_log(tmp_path / "panel.jsonl")}
    assert set(panel) == {REALITY, *KINDS, RUN, RUN_IN_DOUBT}
    bred_there = [f"bred {kind}" for kind in KINDS]
    names = [NEVER_STEERS, *bred_there, "round 1", "round 2", "the run's C"]
    assert all(row["drivers"] == names for row in panel.values())
    assert np.shape(panel[REALITY]["scores"]) == (len(names), numbers.check_tracks)
    foreseen = [tuple(row["foreseen"]) for where, row in panel.items() if where != REALITY]
    assert len(set(foreseen)) == len(foreseen)  # no two Ms are the same
    bred = read_log(tmp_path / "bred.jsonl")
    assert [{key: row[key] for key in kind} for row, kind in zip(bred, doubts(), strict=True)] == [
        *doubts()
    ]
    files = sorted(path.name for path in tmp_path.glob("naive*"))
    assert len(files) == 4
    before = [path.read_bytes() for path in sorted(tmp_path.glob("*.jsonl"))]
    study(numbers, tmp_path)  # all is there
    assert [path.read_bytes() for path in sorted(tmp_path.glob("*.jsonl"))] == before
