"""Half of a search's tracks from those on which the C that it begins with scores worst."""

import dataclasses
import itertools

import numpy as np
import pytest

from wmlib.files import read_log, write_log
from wmlib.models.controller import Controller
from wmlib.models.mdn_rnn import MDNRNN
from wmlib.models.vae import VAE
from wmlib.models.world_model import WorldModel
from wmlib.pipeline.car_racing import (
    mean_return,
    run_all_rounds,
    training_env_spec,
    zero_controller,
)
from wmlib.pipeline.checks import check_settings
from wmlib.pipeline.config import Machine
from wmlib.pipeline.fitness import MeanReturn
from wmlib.pipeline.rounds import CHECK_TRACKS_FROM, Round, timeline
from wmlib.pipeline.scales import get_config, get_machine
from wmlib.pipeline.search import prefer_hard_tracks
from wmlib.rollout.policies import EpisodeSpec
from wmlib.rollout.rollout import Episode

HARD = (11, 22, 33)


@dataclasses.dataclass(frozen=True)
class ScoredByNumber(MeanReturn):
    """A track brings its seed modulo 1,000 points; no episode is run."""

    def episodes(self, controllers, seeds):
        return [
            [Episode(EpisodeSpec(seed, member), seed % 1000, steps=10) for seed in seeds]
            for member in range(len(controllers))
        ]


@pytest.fixture
def fitness():
    config = get_config("smoke")
    return ScoredByNumber(training_env_spec(config), WorldModel(VAE(), MDNRNN()), 4, seed=5)


def pool_of(count, seed=5):
    return np.random.default_rng(seed).choice(CHECK_TRACKS_FROM, count, replace=False).tolist()


def test_half_of_the_tracks_are_hard_and_the_others_are_those_of_a_search_without(fitness):
    hard = dataclasses.replace(fitness, hard_tracks=HARD)
    for generation in range(20):
        plain, drawn, again = (fit.tracks(generation) for fit in (fitness, hard, hard))
        assert drawn[2:] == plain[2:]
        assert set(drawn[:2]) <= set(HARD)
        assert len(set(drawn[:2])) == 2
        assert drawn == again
    assert {track for k in range(20) for track in hard.tracks(k)[:2]} == set(HARD)


@pytest.mark.parametrize(("rollouts", "expected"), [(1, 0), (5, 2), (7, 3), (20, 3)])
def test_no_hard_track_comes_twice_and_they_are_half_at_most(fitness, rollouts, expected):
    drawn = dataclasses.replace(fitness, rollouts=rollouts, hard_tracks=HARD).tracks(0)
    assert len(drawn) == rollouts
    assert len(set(drawn) & set(HARD)) == sum(track in HARD for track in drawn) == expected


def test_the_hard_tracks_are_the_worst_tenth(fitness, tmp_path):
    start, pool = Controller(), pool_of(50)
    hard = prefer_hard_tracks(fitness, start, tmp_path, pool)
    [row] = read_log(tmp_path / "hard_tracks.jsonl")
    assert len(hard.hard_tracks) == row["num_hard"] == 5
    assert row["tracks"] == pool
    assert list(hard.hard_tracks) == sorted(pool, key=lambda track: track % 1000)[:5]
    assert row["scores"] == [track % 1000 for track in pool]
    assert row["steps"] == 500
    assert len(prefer_hard_tracks(fitness, start, tmp_path / "few", pool[:3]).hard_tracks) == 1


def test_what_was_scored_is_not_scored_again(fitness, tmp_path):
    start, pool = Controller(), pool_of(20)
    hard = prefer_hard_tracks(fitness, start, tmp_path, pool).hard_tracks
    log = tmp_path / "hard_tracks.jsonl"
    [row] = read_log(log)
    write_log([row | {"scores": row["scores"][::-1]}], log)
    assert prefer_hard_tracks(fitness, start, tmp_path, pool).hard_tracks != hard
    write_log([row], log)
    assert prefer_hard_tracks(fitness, start, tmp_path, pool).hard_tracks == hard


@pytest.mark.parametrize("other", ["controller", "pool", "world"])
def test_scores_of_another_controller_or_of_other_tracks_are_refused(fitness, tmp_path, other):
    start, pool = Controller(), pool_of(20)
    prefer_hard_tracks(fitness, start, tmp_path, pool)
    if other == "controller":
        start = Controller(np.ones(867))
    elif other == "pool":
        pool = pool_of(20, seed=6)
    else:
        env_spec = dataclasses.replace(fitness.env_spec, patience=7)
        fitness = dataclasses.replace(fitness, env_spec=env_spec)
    with pytest.raises(ValueError, match=r"hard_tracks\.jsonl"):
        prefer_hard_tracks(fitness, start, tmp_path, pool)


def test_a_search_with_other_hard_tracks_is_another_search(fitness):
    one, other = (dataclasses.replace(fitness, hard_tracks=t) for t in (HARD, HARD[:2]))
    assert len({f.record.digest for f in (fitness, one, other)}) == 3


def test_a_pool_must_have_a_track(fitness, tmp_path):
    with pytest.raises(ValueError, match="the pool must have a track"):
        prefer_hard_tracks(fitness, Controller(), tmp_path, [])


def test_every_round_of_every_run_has_a_pool_of_its_own_without_the_tracks_of_checks():
    config = get_config("laptop").change(hard_pool=(0, 200, 200))
    pools = [
        Round.of(config.change(seed=seed), number).pool_tracks()
        for seed in (0, 1)
        for number in (1, 2)
    ]
    assert Round.of(config, 0).pool_tracks() == []
    assert Round.of(config.change(rollouts=1, double_every=25), 1).pool_tracks() == []
    for pool in pools:
        assert len(set(pool)) == 200
        assert max(pool) < CHECK_TRACKS_FROM
    assert all(len(set(a) & set(b)) < 5 for a, b in itertools.combinations(pools, 2))


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (
            get_config("smoke", dream=True).change(hard_pool=(0, 3, 3)),
            "where C is evolved in dreams",
        ),
        (get_config("smoke").change(hard_pool=3, rollouts=2), "in round 0"),
    ],
)
def test_a_pool_is_refused_where_it_is_of_no_use(config, said):
    with pytest.raises(ValueError, match=f"hard_pool must be 0 {said}.*; got 3"):
        check_settings(config, get_machine("smoke"))


def test_a_search_sees_some_of_the_frames_and_a_check_all_of_them():
    config = get_config("smoke")
    world_model = WorldModel(VAE(), MDNRNN())
    fitness = mean_return(Round.of(config, 1), world_model, None)
    assert fitness.env_spec.every == config.search.frame_every == 2
    assert "a frame every 2 agent steps" in fitness.record.settings["world"]
    assert training_env_spec(config).every == 1
    assert "frame" not in str(training_env_spec(config)).replace("frame_size", "")
    assert get_config("smoke", dream=True).search.frame_every == 1


def test_candidates_episodes_can_be_limited_by_round_and_checks_are_not():
    config = get_config("smoke").change(rollout_steps=(25, 0), search={"patience": 80})
    world_model = WorldModel(VAE(), MDNRNN())
    limited, whole = (mean_return(Round.of(config, n), world_model, None) for n in (0, 1))
    [[episode]] = limited.episodes(zero_controller(config, world_model), [1])
    assert episode.steps == 25
    assert whole.env_spec.options["max_episode_steps"] == config.env.max_steps == 80
    assert training_env_spec(config).options == whole.env_spec.options
    assert limited.record.digest != whole.record.digest
    unlimited = Round.of(config.change(rollout_steps=100), 0)
    assert unlimited.rollout_steps == 80
    with pytest.raises(ValueError, match="rollout_steps must be 0 where C is evolved in dreams"):
        check_settings(get_config("smoke", dream=True).change(rollout_steps=9), Machine(0))


def test_frames_that_dreams_do_not_have_cannot_be_left_out():
    dreaming = get_config("smoke", dream=True).change(frame_every=2)
    with pytest.raises(ValueError, match=r"search\.frame_every must be 1 where C is evolved in"):
        check_settings(dreaming, get_machine("smoke"))


def test_a_round_without_episodes_searches_on(tmp_path):
    """The V and M before; gone on with after a kill, too."""
    config = get_config("smoke").change(vae_epochs=(1, 0), episodes=(4, 0), frame_skip=4)
    _, controller = run_all_rounds(config, tmp_path)
    works = tmp_path / "round0", tmp_path / "round1"
    for name in ("vae", "mdn_rnn"):
        before, after = (work / f"{name}.safetensors" for work in works)
        assert before.read_bytes() == after.read_bytes()
    assert [row["episodes"] for row in read_log(tmp_path / "collect.jsonl")] == [4]
    (works[1] / "controller.safetensors").unlink()
    again = run_all_rounds(config, tmp_path)[1]
    assert np.array_equal(again.parameters, controller.parameters)


@pytest.mark.parametrize(
    ("config", "number"),
    [
        (get_config("smoke").change(episodes=0), 0),
        (get_config("smoke").change(episodes=(4, 0)), 1),
        (get_config("smoke", dream=True).change(episodes=(4, 2, 0)), 2),
    ],
)
def test_other_rounds_need_episodes(config, number):
    with pytest.raises(ValueError, match=f"episodes of round {number} must be 1 or more, got 0"):
        check_settings(config, get_machine("smoke"))


def test_a_run_publishes_its_hard_tracks_and_counts_their_time(tmp_path):
    config = get_config("smoke")
    assert [r.hard_pool for r in config.rounds] == [0, 3]
    run_all_rounds(config, tmp_path)
    [row] = read_log(tmp_path / "hard_tracks.jsonl")
    assert row["round"] == 1
    assert len(row["tracks"]) == 3
    assert not (tmp_path / "round0" / "hard_tracks.jsonl").exists()
    first, minutes = read_log(tmp_path / "evolution.jsonl")[1], timeline(tmp_path)[1]["minutes"]
    assert "hard_tracks" in first["record"]["made_from"]
    write_log([row | {"seconds": row["seconds"] + 600}], tmp_path / "hard_tracks.jsonl")
    assert timeline(tmp_path)[1]["minutes"] == pytest.approx(minutes + 10)
