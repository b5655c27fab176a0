"""A round that acts more often than the one before: replayed episodes, a new M, the same C."""

import numpy as np
import pytest
import torch
from runs import CONTROLLER, save_run
from test_estimate import SPEED

from wmlib.files import read_log
from wmlib.models.checkpoints import load_agent, save_controller
from wmlib.models.controller import Controller
from wmlib.models.mdn_rnn import MDNRNN
from wmlib.models.vae import VAE
from wmlib.models.world_model import WorldModel
from wmlib.pipeline import car_racing, distillation
from wmlib.pipeline.checks import check_settings
from wmlib.pipeline.rounds import Round, rounds_of
from wmlib.pipeline.scales import dreaming, get_config
from wmlib.rollout.episodes import EpisodeStore
from wmlib.rollout.policies import EpisodeSpec, RecordedPolicy
from wmlib.tools import bench
from wmlib.tools.estimate import Work, needs, tabulate

FASTER = get_config("smoke")  # a frame skip of 4 in round 0, and of 2 in round 1


def second_round(folder) -> Round:
    """Round 1, after a round 0 with an agent and no episodes."""
    current = Round.of(FASTER, 1, folder)
    save_run(current.previous.work, WorldModel(VAE(), MDNRNN(repeat=4)))
    controller = Controller(np.random.default_rng(0).normal(size=867) / 10)
    save_controller(controller, current.previous.work / CONTROLLER)
    (current.previous.work / "episodes").mkdir()
    return current


def test_a_round_that_acts_more_often_replays_the_agents_episodes(tmp_path):
    """With the frames in between; those that the agent saw are the same to the last bit."""
    current = second_round(tmp_path)
    store, own = car_racing.collect_episodes(current), EpisodeStore(current.work / "own_pace")
    assert store.names() == own.names()
    assert len(store) == current.settings.episodes
    for name in store.names():
        seen, replayed = own.episode(name), store.episode(name)
        assert len(replayed["actions"]) == 2 * len(seen["actions"])
        np.testing.assert_array_equal(replayed["frames"][::2], seen["frames"])
        np.testing.assert_array_equal(replayed["actions"], seen["actions"].repeat(2, 0))
        np.testing.assert_allclose(
            replayed["rewards"].reshape(-1, 2).sum(1), seen["rewards"], atol=1e-5
        )
    rows = read_log(current.work / "collect.jsonl")
    assert [row["steps"] for row in rows] == [160, 160]
    assert rows[0]["mean_score"] == pytest.approx(rows[1]["mean_score"])
    assert ["replayed" in row for row in rows] == [False, True]
    # Nothing is collected again, and another agent's episodes are not mixed in.
    assert car_racing.collect_episodes(current).digest() == store.digest()
    assert read_log(current.work / "collect.jsonl") == rows
    more = Round.of(FASTER.change(episodes=(4, 3)), 1, tmp_path)
    assert car_racing.collect_episodes(more).names()[:2] == store.names()[:2]
    assert len(more.episodes) == 3
    save_controller(Controller(np.ones(867)), current.previous.work / CONTROLLER)
    with pytest.raises(ValueError, match="another folder"):
        car_racing.collect_episodes(current)


def test_a_whole_run_ends_with_an_agent_that_acts_more_often(tmp_path):
    world_model, _ = car_racing.run_all_rounds(FASTER, tmp_path)
    assert world_model.mdn_rnn.repeat == 2
    assert load_agent(tmp_path)[0].mdn_rnn.repeat == 2
    first, last = rounds_of(FASTER, tmp_path)
    assert first.mdn_rnn().repeat == 4
    # It learns from its own episodes alone: those of the round before have another pace.
    assert set(last.episodes.names()).isdisjoint(first.episodes.names())


@pytest.mark.parametrize("steps", [8, 9])
def test_c_is_imitated_at_the_moments_at_which_it_acted(tmp_path, monkeypatch, steps):
    """Of an episode that counts its steps. A last agent step that is cut short does not count."""
    counted = np.arange(steps + 1, dtype=np.uint8)
    frames = np.broadcast_to(counted[:, None, None, None], (steps + 1, 64, 64, 3))
    column = counted[:-1].astype(np.float32)
    episode = {"frames": frames, "actions": np.tile(column[:, None], 3), "rewards": column}
    EpisodeStore(tmp_path / "episodes").write(EpisodeSpec(0).name, episode)

    def features(_, frames, actions, rewards):
        assert len(frames) == len(actions) + 1
        read = np.stack([frames[:-1, 0, 0, 0], actions[:, 0], rewards], 1)
        return torch.from_numpy(read).float()

    monkeypatch.setattr(distillation, "features", features)
    monkeypatch.setattr(distillation, "imitate", lambda seen, raw, ridge: (seen, raw))
    old, new = (WorldModel(VAE(), MDNRNN(repeat=repeat)) for repeat in (2, 1))
    as_read = Controller(np.append(np.eye(3) / 100, np.zeros(3)), feature_size=3)
    seen, raw = distillation.distill(old, as_read, new, tmp_path)
    np.testing.assert_array_equal(seen, [[t, t, t] for t in (0, 2, 4, 6)])
    np.testing.assert_allclose(raw * 100, [[t, t, t + t + 1] for t in (0, 2, 4, 6)], rtol=1e-5)


@pytest.mark.parametrize(
    "changes", [{"frame_skip": (4, 3)}, {"frame_skip": (4, 8)}, {"vae_epochs": (1, 0)}]
)
def test_paces_that_do_not_fit_are_refused(changes):
    config = FASTER.change(**changes)
    with pytest.raises(ValueError, match="must divide the one before, train V"):
        check_settings(config, Round.of(config).machine)


def test_dreams_have_one_pace():
    config = dreaming(get_config("smoke")).change(frame_skip=(4, 2), vae_epochs=1)
    with pytest.raises(ValueError, match="evolve C in the environment"):
        check_settings(config, Round.of(config).machine)


def test_a_recorded_policy_repeats_its_actions_and_keeps_the_last(tmp_path):
    store = EpisodeStore(tmp_path)
    for spec, first in ((EpisodeSpec(1), 0), (EpisodeSpec(2), 10)):
        store.write(spec.name, {"actions": np.array([[first], [first + 1]], np.float32)})
    policy = RecordedPolicy(store, 1, times=2)
    policy.begin(0, EpisodeSpec(1))
    taken = [policy.act(None, 2)]
    policy.begin(1, EpisodeSpec(2))
    taken += [policy.act(None, 2) for _ in range(4)]
    rows = np.concatenate(taken, 1)
    np.testing.assert_array_equal(rows, [[0, 0, 1, 1, 1], [0, 10, 10, 11, 11]])
    with pytest.raises(FileNotFoundError):
        policy.begin(0, EpisodeSpec(3))


def test_an_estimate_counts_what_is_replayed():
    plain = get_config("laptop").change(num_rounds=2, episodes=(10, 20), frame_skip=2)
    faster = plain.change(frame_skip=(2, 1))
    fresh = [20 * 500, 20 * 500 + 20 * 1000]  # agent steps that round 1 records
    known = [30 * 500, 20 * 1000]  # and that it learns from
    extra = (fresh[1] - fresh[0]) / 1000 * 1e6 + (known[1] - known[0]) * 280
    disk = [needs(Work.of(config), 1000)["disk"] for config in (plain, faster)]
    assert disk[1] - disk[0] == pytest.approx(extra)
    table = tabulate(Work.of(faster), SPEED, disk_free=1e12, memory_free=1e12)
    assert f"{20 * 1000:,}" in table.splitlines()[2]
    assert f"{2 * 20 * 1000 / SPEED[next(iter(bench.WHOLE))]:.0f} s" in table.splitlines()[2]
