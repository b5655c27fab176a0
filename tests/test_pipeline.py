"""The pipeline at smoke scale: rounds, killed runs, records, distillation, release, ablations."""

import hashlib
import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from wmlib import evaluation
from wmlib.files import digest, read_log, write_log
from wmlib.models.checkpoints import (
    load_controller,
    read_record,
    save_controller,
    save_network,
    save_world_model,
)
from wmlib.models.controller import Controller
from wmlib.models.mdn_rnn import MDNRNN
from wmlib.models.vae import VAE
from wmlib.models.world_model import WorldModel
from wmlib.pipeline import car_racing, fitness, phases, rounds, scoring
from wmlib.pipeline.config import Machine
from wmlib.pipeline.rounds import Round, rounds_of
from wmlib.pipeline.scales import dreaming, get_config
from wmlib.provenance import code_version
from wmlib.rollout.episodes import EpisodeStore
from wmlib.rollout.policies import (
    ControllerPolicy,
    EpisodeSpec,
    noisy_car_policy,
    random_car_policy,
)
from wmlib.rollout.rollout import Episode
from wmlib.tools import release
from wmlib.tools.ablations import (
    KINDS,
    NEVER_STEERS,
    OWN_DREAM,
    REAL,
    WITH_TEMPERATURE,
    run_ablations,
    searches,
)

CONTROLLER = "controller.safetensors"


def fingerprints(folder):
    names = ("vae", "mdn_rnn", "controller")
    files = [folder / f"{name}.safetensors" for name in names]
    return [hashlib.sha256(file.read_bytes()).hexdigest() for file in files]


def test_a_distilled_controller_imitates_the_old_one_with_a_new_m(tmp_path):
    """The new M has another h: without distillation, C acts differently."""
    config = get_config("smoke")
    old = WorldModel(VAE(), MDNRNN())
    torch.manual_seed(1)
    new = WorldModel(old.vae, MDNRNN())
    controller = Controller(np.random.default_rng(0).normal(size=867))
    store = phases.collect(
        car_racing.training_world(config), random_car_policy(), range(4), tmp_path / "episodes"
    )
    distilled = car_racing.distill(old, controller, new, tmp_path, episodes=3)
    test = store.episode(store.names()[0])  # not one of the three that it was fitted to
    features = [evaluation.features(model, test["frames"], test["actions"]) for model in (old, new)]
    expected = controller.raw(features[0])
    error = (distilled.raw(features[1]) - expected).square().mean()
    assert error < 0.3 * (controller.raw(features[1]) - expected).square().mean()


def test_existing_episodes_are_not_collected_again(tmp_path):
    config = get_config("smoke")
    world = car_racing.training_world(config)
    for stop in (2, 3):
        store = phases.collect(world, random_car_policy(), range(stop), tmp_path / "episodes")
        assert len(store) == stop
    assert [row["episodes"] for row in read_log(tmp_path / "collect.jsonl")] == [2, 1]


def test_episodes_of_another_environment_are_not_mixed_in(tmp_path):
    config, folder = get_config("smoke").change(max_steps=10), tmp_path / "episodes"
    phases.collect(car_racing.training_world(config), random_car_policy(), [0], folder)
    for wrong in ({"repeat": 2}, {"frame_size": 96}, {"max_steps": 20}):
        world = car_racing.training_world(config.change(**wrong))
        with pytest.raises(ValueError, match=r"this would be with .*another folder"):
            phases.collect(world, random_car_policy(), [1], folder)
    run = tmp_path / "run"
    car_racing.collect_episodes(Round.of(config.change(episodes=(3, 1)), folder=run))
    with pytest.raises(ValueError, match="more episodes than the 2 that are wanted"):
        car_racing.collect_episodes(Round.of(config.change(episodes=(2, 1)), folder=run))


def test_episodes_of_another_policy_are_not_mixed_in(tmp_path, world_model):
    """Also if only the noise on the actions or the world model differs."""
    world = car_racing.training_world(get_config("smoke").change(max_steps=10))
    random = np.random.default_rng(0)
    policy, other = (ControllerPolicy(Controller(random.normal(size=867))) for _ in range(2))
    folder, options = tmp_path / "episodes", {"world_model": world_model}
    phases.collect(world, policy, [0], folder, **options)
    for wrong in (other, noisy_car_policy(policy)):
        with pytest.raises(ValueError, match=r"was made with policy = .*another folder"):
            phases.collect(world, wrong, [1], folder, **options)
    torch.manual_seed(1)
    with pytest.raises(ValueError, match="was made from world_model = "):
        phases.collect(world, policy, [1], folder, world_model=WorldModel(VAE(), MDNRNN()))
    assert len(phases.collect(world, policy, [0, 1], folder, **options)) == 2


def test_a_policy_of_the_user_is_described_by_its_attributes():
    class UserPolicy:
        def __init__(self, gain, table):
            self.gain, self.table, self._cache, self.reference = gain, table, object(), self

    described = [
        phases.describe_policy(UserPolicy(g, np.full(20, t))) for g, t in ((1, 0), (2, 0), (1, 1))
    ]
    assert described[0] == phases.describe_policy(UserPolicy(1, np.zeros(20)))
    assert described[0] != described[1]
    assert described[0] != described[2]
    json.dumps(described)  # as it goes into the record


def two_stores(folder):
    """Two stores with equally many, but different frames."""
    world = car_racing.training_world(get_config("smoke").change(max_steps=8))
    stores = [
        phases.collect(world, random_car_policy(), seeds, folder / str(i) / "episodes")
        for i, seeds in enumerate(([0, 1], [2, 3]))
    ]
    assert len({store.digest() for store in stores}) == 2
    return stores


def test_training_on_other_data_or_with_other_settings_is_refused(tmp_path):
    """Also if the number of frames, or of training steps, is the same."""
    one, other = two_stores(tmp_path)
    settings = {"epochs": 1, "batch_size": 3}
    phases.train_vae(one, tmp_path, **settings)
    with pytest.raises(ValueError, match=r"vae\.checkpoint was made from episodes = "):
        phases.train_vae(other, tmp_path, **settings)
    with pytest.raises(ValueError, match="made with epochs = 1, this would be with epochs = 2"):
        phases.train_vae(one, tmp_path, epochs=2, batch_size=6)
    with pytest.raises(ValueError, match="this would be from start = "):
        phases.train_vae(one, tmp_path, start=VAE(), **settings)
    vae, _ = phases.train_vae(one, tmp_path, **settings)
    record = read_record(tmp_path / "vae.safetensors")
    assert record.made_from == {"episodes": one.digest()}
    assert record.settings["epochs"] == 1
    latents = [phases.encode(s, vae, s.folder.parent / "latents") for s in (one, other)]
    rnn = {"epochs": 1, "batch_size": 4, "window": 2}
    phases.train_mdn_rnn(latents[0], tmp_path, **rnn)
    with pytest.raises(ValueError, match="made from latents = "):
        phases.train_mdn_rnn(latents[1], tmp_path, **rnn)


def test_weights_without_a_checkpoint_are_trained_again(tmp_path):
    """Unless a record says that they were imported."""
    this = Round.of(get_config("smoke").change(max_steps=10), folder=tmp_path)
    car_racing.collect_episodes(this)
    car_racing.train_round_vae(this)
    for name in ("vae.checkpoint", "vae.jsonl"):
        (this.work / name).unlink()
    torch.manual_seed(7)
    save_network(VAE(), this.work / "vae.safetensors")  # stale weights
    stale = (this.work / "vae.safetensors").read_bytes()
    car_racing.train_round_vae(this)
    assert (this.work / "vae.jsonl").exists()
    assert (this.work / "vae.safetensors").read_bytes() != stale


def test_imported_weights_are_known_by_their_record(tmp_path):
    this = Round.of(get_config("smoke").change(max_steps=10), folder=tmp_path / "run")
    save_network(VAE(), tmp_path / "v.safetensors")
    this.import_weights(tmp_path / "v.safetensors", "vae")
    car_racing.collect_episodes(this)
    car_racing.train_round_vae(this)
    assert not (this.work / "vae.checkpoint").exists()  # nothing was trained
    file = this.work / "vae.safetensors"
    torch.manual_seed(7)
    save_network(VAE(), file)
    with pytest.raises(ValueError, match=r"is not the file that was imported from .*v\.safet"):
        car_racing.train_round_vae(this)


def test_episodes_that_a_cluster_wrote_elsewhere_are_reported_as_missing(tmp_path, monkeypatch):
    monkeypatch.setattr(phases, "run_episodes", lambda *_, **__: [])
    with pytest.raises(ValueError, match="1 of 1 episodes are not in"):
        phases.collect(
            car_racing.training_world(get_config("smoke")),
            random_car_policy(),
            [0],
            tmp_path / "episodes",
        )


def test_another_v_encodes_all_episodes_again(tmp_path):
    store = phases.collect(
        car_racing.training_world(get_config("smoke").change(max_steps=10)),
        random_car_policy(),
        range(2),
        tmp_path / "episodes",
    )
    vaes, encoded = [VAE(), VAE()], []
    for vae in (vaes[0], vaes[0], vaes[1]):
        latents = phases.encode(store, vae.eval(), tmp_path / "latents")
        encoded.append([latents.read(name, "mu") for name in latents.names()])
    assert [row["episodes"] for row in read_log(tmp_path / "encode.jsonl")] == [
        2,
        2,
    ]  # not by the second call
    alone = phases.encode(store, vaes[1], tmp_path / "other" / "latents")
    for name, before, after in zip(alone.names(), encoded[0], encoded[2], strict=True):
        assert np.array_equal(alone.read(name, "mu"), after)
        assert not np.array_equal(before, after)


def test_collecting_with_a_controller_needs_a_world_model(tmp_path, world_model):
    config = get_config("smoke")
    policy = ControllerPolicy(Controller())
    with pytest.raises(ValueError, match="give rollout a world model"):
        phases.collect(car_racing.training_world(config), policy, [0], tmp_path / "episodes")
    store = phases.collect(
        car_racing.training_world(config),
        policy,
        [0],
        tmp_path / "episodes",
        world_model=world_model,
    )
    assert len(store) == 1


def save_run(folder, world_model, seed=0):
    torch.manual_seed(seed)
    save_world_model(world_model, folder)
    save_controller(Controller(np.random.default_rng(seed).normal(size=867)), folder / CONTROLLER)
    for name in ("collect", "encode", "vae", "mdn_rnn", "evolution"):
        write_log([{"round": 0, "seconds": 1.0}], folder / f"{name}.jsonl")


def test_scoring_resumes_where_it_stopped(tmp_path, world_model):
    save_run(tmp_path, world_model)
    config = get_config("smoke").change(max_steps=30)
    scoring.score_run(config, tmp_path, tracks=1)
    first = (tmp_path / "score.jsonl").read_text(encoding="utf-8")
    result = scoring.score_run(config, tmp_path, tracks=3)
    assert result.tracks == [1_000_000, 1_000_001, 1_000_002]
    assert (tmp_path / "score.jsonl").read_text(encoding="utf-8").startswith(first)
    # Another agent's scores are not this one's.
    agents = {row["agent"] for row in read_log(tmp_path / "score.jsonl")}
    save_run(tmp_path, world_model, seed=1)
    again = scoring.score_run(config, tmp_path, tracks=2)
    assert again.tracks == [1_000_000, 1_000_001]
    assert not agents & {row["agent"] for row in read_log(tmp_path / "score.jsonl")}
    # Nor are those of shorter episodes.
    shorter = scoring.score_run(config.change(max_steps=8), tmp_path, tracks=3)
    assert set(shorter.steps) == {8}


def test_scoring_a_pretrained_agent_does_not_write_to_its_folder(
    tmp_path, world_model, monkeypatch
):
    folder = tmp_path / "pretrained" / "car"
    monkeypatch.setattr(scoring, "PRETRAINED", tmp_path / "pretrained")
    monkeypatch.setenv("WM_RUNS", str(tmp_path / "runs"))
    save_run(folder, world_model)
    config = get_config("smoke").change(max_steps=12)
    before = {path: path.read_bytes() for path in folder.iterdir()}
    for tracks in (2, 3):
        assert len(scoring.score_run(config, folder, tracks=tracks).scores) == tracks
    assert {path: path.read_bytes() for path in folder.iterdir()} == before
    [log] = (tmp_path / "runs").rglob("score.jsonl")
    assert [row["track"] for row in read_log(log)] == [1_000_000, 1_000_001, 1_000_002]


def test_weights_are_exported_for_seed_0_and_only_scores_for_other_seeds(
    tmp_path, world_model, monkeypatch
):
    monkeypatch.setattr(release, "PRETRAINED", tmp_path / "pretrained")
    config = get_config("smoke").change(max_steps=20, population=8)
    for seed in (0, 1):
        save_run(tmp_path / f"run{seed}", world_model, seed)
        run = config.change(seed=seed)
        folder = release.export(run, tmp_path / f"run{seed}", "car_racing", Machine(0))
        assert len(scoring.read_score(folder).tracks) == config.score_tracks
        assert (folder / CONTROLLER).exists() == (seed == 0)
    card = json.loads(
        (tmp_path / "pretrained/car_racing/controller.json").read_text(encoding="utf-8")
    )
    assert card["settings"]["search"]["population"] == 8
    assert card["exported_by"] == code_version()
    assert card["score"]["tracks"] == config.score_tracks


def test_no_two_rounds_and_no_two_runs_collect_on_the_same_tracks():
    laptop, paper = (get_config(scale, dream=True) for scale in ("laptop", "paper"))
    tests = set(range(rounds.TEST_TRACKS_FROM, rounds.TEST_TRACKS_FROM + 1000))
    seeds = (0, 1, 9, 10, 19, 48)
    for runs in ([laptop.change(seed=seed) for seed in seeds], (paper,)):
        taken = set(tests)
        for config in runs:
            tracks = [track for this in rounds_of(config) for track in this.training_tracks()]
            assert tracks == sorted(set(tracks))
            assert tracks[-1] < rounds.CHECK_TRACKS_FROM
            assert not taken & set(tracks)
            taken |= set(tracks)
    for wrong, number in (
        ({"seed": 49}, 0),
        ({"episodes": (20_000,)}, 0),
        ({"episodes": (2_001,), "seed": 10}, 0),
        ({"num_rounds": 30}, 29),
        ({"num_rounds": 18, "seed": 10}, 17),
    ):
        with pytest.raises(ValueError, match="must be 0 to"):
            Round.of(laptop.change(**wrong), number).training_tracks()


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
    world = SimpleNamespace(
        world_model=SimpleNamespace(mdn_rnn=SimpleNamespace(repeat=2)),
        patience=patience,
        max_steps=steps,
    )
    returns, alive, failed = fitness.dream_outcomes(world, None, Controller(), range(4000))
    assert returns.sum() / alive.sum() == pytest.approx(2.0)
    assert failed.sum() / alive.sum() == pytest.approx(end_probability, rel=0.1)


def test_a_truncated_dream_failed_when_its_rewards_stopped(monkeypatch):
    episode = Episode(EpisodeSpec(0), score=100.0, steps=2 * 65)  # 50 steps with a reward of 2
    monkeypatch.setattr(fitness, "run_episodes", lambda *_, **__: [episode])
    world = SimpleNamespace(
        world_model=SimpleNamespace(mdn_rnn=SimpleNamespace(repeat=2)), patience=15, max_steps=400
    )
    returns, alive, failed = fitness.dream_outcomes(world, None, Controller(), range(1))
    assert (returns[0, 0] / alive[0, 0], bool(failed[0, 0])) == (2.0, True)
