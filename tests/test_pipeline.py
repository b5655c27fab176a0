"""Phases and rounds at smoke scale: collecting, training, distillation, scores, release."""

import json

import numpy as np
import pytest
import torch
from runs import CONTROLLER, save_run

from wmlib import evaluation
from wmlib.files import read_log
from wmlib.models.checkpoints import read_record, save_controller, save_network, weights_digest
from wmlib.models.controller import Controller
from wmlib.models.mdn_rnn import MDNRNN
from wmlib.models.vae import VAE
from wmlib.models.world_model import WorldModel
from wmlib.pipeline import car_racing, phases, rounds, scoring
from wmlib.pipeline.config import Machine
from wmlib.pipeline.distillation import distill
from wmlib.pipeline.rounds import Round, rounds_of
from wmlib.pipeline.scales import get_config
from wmlib.pipeline.tasks import CAR_RACING
from wmlib.provenance import code_version
from wmlib.rollout.episodes import EpisodeStore
from wmlib.rollout.policies import CAR_SPREAD, ControllerPolicy, random_car_policy
from wmlib.tools import release


def test_a_distilled_controller_imitates_the_old_one_with_a_new_m(tmp_path):
    """The new M has another h: without distillation, C acts differently."""
    config = get_config("smoke")
    old = WorldModel(VAE(), MDNRNN())
    torch.manual_seed(1)
    new = WorldModel(old.vae, MDNRNN())
    controller = Controller(np.random.default_rng(0).normal(size=867))
    store = phases.collect(
        car_racing.training_env_spec(config), random_car_policy(), range(4), tmp_path / "episodes"
    )
    distilled = distill(old, controller, new, tmp_path, episodes=3)
    test = store.episode(store.names()[0])  # not one of the three that it was fitted to
    features = [evaluation.features(model, test["frames"], test["actions"]) for model in (old, new)]
    expected = controller.raw(features[0])
    error = (distilled.raw(features[1]) - expected).square().mean()
    assert error < 0.3 * (controller.raw(features[1]) - expected).square().mean()


def test_existing_episodes_are_not_collected_again(tmp_path):
    config = get_config("smoke")
    env_spec = car_racing.training_env_spec(config)
    for stop in (2, 3):
        store = phases.collect(env_spec, random_car_policy(), range(stop), tmp_path / "episodes")
        assert len(store) == stop
    assert [row["episodes"] for row in read_log(tmp_path / "collect.jsonl")] == [2, 1]


def test_the_agents_own_episodes_may_have_less_noise_and_be_truncated(tmp_path, world_model):
    """A C that stands still makes no progress. By default its episodes go on to the end."""
    quiet = {"own_patience": 6, "noise": 0.5}
    # (The first step touches a tile.)
    for name, collect, steps in (("usual", {}, 80), ("quiet", quiet, 7)):
        current = Round.of(
            get_config("smoke").change(frame_skip=1, collect=collect), 1, tmp_path / name
        )
        save_run(current.previous.work, world_model)
        still = Controller(np.append(np.zeros(864), [0.0, -9.0, 9.0]))
        save_controller(still, current.previous.work / CONTROLLER)
        (current.previous.work / "episodes").mkdir()
        store = car_racing.collect_episodes(current)
        assert [store.length(name, "actions") for name in store.names()] == [steps] * 2
        spread = store.record.settings["policy"]["spread"]
        assert spread == pytest.approx([collect.get("noise", 1) * value for value in CAR_SPREAD])


def test_episodes_of_another_environment_are_not_mixed_in(tmp_path):
    config, folder = get_config("smoke").change(max_steps=10), tmp_path / "episodes"
    phases.collect(car_racing.training_env_spec(config), random_car_policy(), [0], folder)
    for wrong in ({"frame_skip": 4}, {"frame_size": 96}, {"max_steps": 20}):
        env_spec = car_racing.training_env_spec(config.change(**wrong))
        with pytest.raises(ValueError, match=r"this would be with .*another folder"):
            phases.collect(env_spec, random_car_policy(), [1], folder)
    run = tmp_path / "run"
    car_racing.collect_episodes(Round.of(config.change(episodes=(3, 1)), folder=run))
    with pytest.raises(ValueError, match="more episodes than the 2 that are wanted"):
        car_racing.collect_episodes(Round.of(config.change(episodes=(2, 1)), folder=run))


def test_episodes_of_another_policy_are_not_mixed_in(tmp_path, world_model):
    """Also if only the noise on the actions or the world model differs."""
    env_spec = car_racing.training_env_spec(get_config("smoke").change(max_steps=10))
    random = np.random.default_rng(0)
    policy, other = (ControllerPolicy(Controller(random.normal(size=867))) for _ in range(2))
    folder, options = tmp_path / "episodes", {"world_model": world_model}
    phases.collect(env_spec, policy, [0], folder, **options)
    for wrong in (other, CAR_RACING.noisy_policy(policy)):
        with pytest.raises(ValueError, match=r"was made with policy = .*another folder"):
            phases.collect(env_spec, wrong, [1], folder, **options)
    torch.manual_seed(1)
    with pytest.raises(ValueError, match="was made from world_model = "):
        phases.collect(env_spec, policy, [1], folder, world_model=WorldModel(VAE(), MDNRNN()))
    assert len(phases.collect(env_spec, policy, [0, 1], folder, **options)) == 2


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
    for kind in (torch.tensor, lambda x: {"weights": np.array(x)}, np.float32):
        one, same, other = (
            phases.describe_policy(UserPolicy(kind(gain), None)) for gain in (1.0, 1.0, 2.0)
        )
        assert one == same != other


def two_stores(folder):
    """Two stores with equally many, but different frames."""
    env_spec = car_racing.training_env_spec(get_config("smoke").change(max_steps=8))
    stores = [
        phases.collect(env_spec, random_car_policy(), seeds, folder / str(i) / "episodes")
        for i, seeds in enumerate(([0, 1], [2, 3]))
    ]
    assert len({store.digest() for store in stores}) == 2
    return stores


OTHERWISE = {"flip": False, "anneal": False, "learning_rate": 1e-3, "batch_size": 6}
OTHERWISE |= {"free_bits": 0.5, "cubed_weight": 0.0, "horizon_weight": 1.0}


def test_how_v_is_trained_is_a_setting_and_is_in_its_record(tmp_path):
    settings = {"flip": True, "anneal": True, "learning_rate": 2e-3, "batch_size": 4}
    settings |= {"free_bits": 0.01, "cubed_weight": 6.0, "horizon_weight": 3.0}
    config = get_config("smoke").change(max_steps=8, episodes=2, vae=settings)
    current = Round.of(config, folder=tmp_path)
    car_racing.collect_episodes(current)
    digests = [weights_digest(car_racing.train_round_vae(current))]
    assert settings.items() <= read_record(current.work / "vae.safetensors").settings.items()
    for i, other in enumerate(({}, *({name: value} for name, value in OTHERWISE.items()))):
        folder = tmp_path / str(i)
        vae, _ = phases.train_vae(current.episodes, folder, epochs=1, **settings | other)
        digests.append(weights_digest(vae))
    assert digests[0] == digests[1]
    assert len(set(digests)) == 1 + len(OTHERWISE)  # each of them makes another V


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
    unusual = set(OTHERWISE) - {"batch_size", "learning_rate"}  # only named where they are
    assert not unusual & set(record.settings)
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
            car_racing.training_env_spec(get_config("smoke")),
            random_car_policy(),
            [0],
            tmp_path / "episodes",
        )


def test_another_v_encodes_all_episodes_again(tmp_path):
    store = phases.collect(
        car_racing.training_env_spec(get_config("smoke").change(max_steps=10)),
        random_car_policy(),
        range(2),
        tmp_path / "episodes",
    )
    vaes, encoded = [VAE(), VAE()], []
    for vae in (vaes[0], vaes[0], vaes[1]):
        latents = phases.encode(store, vae.eval(), tmp_path / "latents")
        encoded.append([latents.read(name, "mu") for name in latents.names()])
    # The second call, with the same V, encodes nothing.
    assert [row["episodes"] for row in read_log(tmp_path / "encode.jsonl")] == [2, 2]
    alone = phases.encode(store, vaes[1], tmp_path / "other" / "latents")
    for name, before, after in zip(alone.names(), encoded[0], encoded[2], strict=True):
        assert np.array_equal(alone.read(name, "mu"), after)
        assert not np.array_equal(before, after)


def test_mirror_images_exchange_left_and_right(tmp_path):
    rng, vae = np.random.default_rng(0), VAE().eval()
    frames = rng.integers(0, 255, (4, 64, 64, 3), dtype=np.uint8)
    actions = rng.uniform(-1, 1, (3, 3)).astype(np.float32)
    other = {"rewards": np.arange(3.0), "done": np.float32([0, 0, 1])}
    store = EpisodeStore(tmp_path / "episodes")
    store.write("a", {"frames": frames, "actions": actions, **other})
    phases.encode(store, vae, tmp_path / "latents")
    both = phases.encode(store, vae, tmp_path / "latents", mirrored=True)
    assert both.names() == ["a", "a-mirrored"]
    itself, mirrored = both.episode("a"), both.episode("a-mirrored")
    np.testing.assert_array_equal(itself["actions"], actions)
    np.testing.assert_array_equal(mirrored["actions"], actions * np.float32([-1, 1, 1]))
    for name in other:
        np.testing.assert_array_equal(mirrored[name], other[name])
    store.write("a", {"frames": frames[:, :, ::-1], "actions": actions, **other})
    turned = phases.encode(store, vae, tmp_path / "turned" / "latents").episode("a")
    for name in ("mu", "logvar"):
        np.testing.assert_array_equal(mirrored[name], turned[name])
        assert not np.array_equal(mirrored[name], itself[name])


def test_collecting_with_a_controller_needs_a_world_model(tmp_path, world_model):
    config = get_config("smoke")
    policy = ControllerPolicy(Controller())
    with pytest.raises(ValueError, match="give rollout a world model"):
        phases.collect(car_racing.training_env_spec(config), policy, [0], tmp_path / "episodes")
    store = phases.collect(
        car_racing.training_env_spec(config),
        policy,
        [0],
        tmp_path / "episodes",
        world_model=world_model,
    )
    assert len(store) == 1


def test_scoring_resumes_where_it_stopped(tmp_path, world_model):
    save_run(tmp_path, world_model)
    config = get_config("smoke").change(max_steps=30)
    scoring.score_run(config, tmp_path, tracks=2)
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
        for k in range(2):  # what says that a round is finished
            file = tmp_path / f"run{seed}" / f"round{k}" / CONTROLLER
            save_controller(Controller(), file)
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
