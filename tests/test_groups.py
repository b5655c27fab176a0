"""Candidates in groups, each with its own tracks: how hard those are makes no difference."""

import dataclasses

import numpy as np
import pytest

from wmlib.models.controller import Controller
from wmlib.models.mdn_rnn import MDNRNN
from wmlib.models.vae import VAE
from wmlib.models.world_model import WorldModel
from wmlib.pipeline.car_racing import training_env_spec
from wmlib.pipeline.fitness import MeanReturn, percent_beaten, run_controllers
from wmlib.pipeline.rounds import num_groups
from wmlib.pipeline.scales import get_config
from wmlib.rollout.policies import EpisodeSpec
from wmlib.rollout.rollout import Episode


@dataclasses.dataclass(frozen=True)
class Additive(MeanReturn):
    """A candidate's number, plus that of the track; no episode is run."""

    def episodes(self, controllers, seeds):
        table = np.broadcast_to(seeds, (len(controllers), np.shape(seeds)[-1]))
        return [
            [Episode(EpisodeSpec(seed, k), 3.0 * k + seed % 1000, steps=10) for seed in row]
            for k, row in enumerate(table.tolist())
        ]


def fitness_of(rollouts, group=0, hard_tracks=()):
    env_spec, world_model = training_env_spec(get_config("smoke")), WorldModel(VAE(), MDNRNN())
    return Additive(env_spec, world_model, rollouts, seed=5, group=group, hard_tracks=hard_tracks)


@pytest.mark.parametrize(
    ("population", "group", "groups"), [(48, 0, 1), (48, 8, 6), (20, 8, 2), (5, 8, 1), (8, 8, 1)]
)
def test_no_group_is_smaller_than_it_says(population, group, groups):
    assert num_groups(population, group) == groups


@pytest.mark.parametrize("rollouts", [1, 4])
def test_how_hard_the_tracks_of_a_group_are_makes_no_difference(rollouts):
    """Within a group the differences are those of the candidates, and every group has one mean."""
    population = Controller(np.zeros((16, 867)))
    values, steps = fitness_of(rollouts, group=4)(population, 3)
    assert steps == 16 * rollouts * 10
    groups = np.stack([values[k::4] for k in range(4)])
    np.testing.assert_allclose(np.diff(groups, axis=1), 3.0 * 4)
    np.testing.assert_allclose(groups.mean(1), values.mean())
    alike, _ = fitness_of(rollouts)(population, 3)
    np.testing.assert_allclose(np.diff(alike), 3.0)


def test_the_groups_have_different_tracks_and_as_many_hard_ones():
    """Half of each group's are hard, until there are no more: then the last groups have fewer."""
    fitness = fitness_of(5, group=4, hard_tracks=range(11))
    tracks = fitness.tracks(0, groups=4)
    assert tracks.shape == (4, 5)
    assert (tracks < 11).sum(1).tolist() == [2, 2, 2, 2]
    assert len(set(tracks.ravel().tolist())) == 20
    np.testing.assert_array_equal(tracks, fitness.tracks(0, groups=4))
    few = fitness_of(5, group=4, hard_tracks=range(7)).tracks(0, groups=4)
    assert (few < 7).sum(1).tolist() == [2, 2, 2, 1]
    assert (fitness_of(1, group=4, hard_tracks=range(7)).tracks(0, groups=4) >= 7).all()


def test_ranks_compare_candidates_track_by_track():
    """The best on two of three tracks comes first, however badly it fails on the third."""
    scores = np.array([[900.0, 910, 100], [890, 900, 900], [880, 880, 890]])
    percent = percent_beaten(scores, np.zeros(3, int))
    assert percent.tolist() == [[100, 100, 0], [50, 50, 100], [0, 0, 50]]
    assert percent.mean(1).argmax() == 0
    assert scores.mean(1).argmax() == 1
    # Within groups of two; equal scores count half.
    twice = np.concatenate([scores[:2], scores[:2] - 500, scores[:1], scores[:1]])
    group = np.array([0, 0, 1, 1, 2, 2])
    expected = [[100, 100, 0], [0, 0, 100]] * 2 + [[50] * 3] * 2
    assert percent_beaten(twice, group).tolist() == expected


def test_a_search_by_rank_ranks_within_its_groups():
    population = Controller(np.zeros((16, 867)))
    fitness = fitness_of(2, group=4)
    by_rank = dataclasses.replace(fitness, by_rank=True)
    values = by_rank(population, 0).fitness
    np.testing.assert_allclose(values, np.repeat([0, 100 / 3, 200 / 3, 100], 4))
    # Scores of controllers outside a search are returns, as ever.
    np.testing.assert_array_equal(
        by_rank.of(population, [1, 2]).fitness, fitness.of(population, [1, 2]).fitness
    )
    assert by_rank.record.settings == fitness.record.settings | {"by_rank": True}


def test_one_group_is_what_it_was_without():
    population = Controller(np.zeros((6, 867)))
    plain, grouped = (fitness_of(2, group)(population, 1).fitness for group in (0, 6))
    np.testing.assert_array_equal(plain, grouped)


def test_the_record_says_it_only_if_it_is_so():
    assert "group" not in fitness_of(1).record.settings
    assert fitness_of(1, group=8).record.settings["group"] == 8


def test_episodes_run_on_each_controllers_own_tracks():
    config = get_config("smoke")
    env_spec, world_model = training_env_spec(config, patience=10), WorldModel(VAE(), MDNRNN())
    population = Controller(np.random.default_rng(0).standard_normal((2, 867)))
    own = run_controllers(env_spec, world_model, population, np.array([[1, 2], [3, 1]]))
    assert [[e.spec.seed for e in row] for row in own] == [[1, 2], [3, 1]]
    assert [[e.spec.member for e in row] for row in own] == [[0, 0], [1, 1]]
    alike = run_controllers(env_spec, world_model, population, [1, 2])
    assert own[0][0].score == alike[0][0].score
    assert own[1][1].score == alike[1][0].score


@pytest.mark.parametrize("group", [1, 2, 3])
def test_groups_of_a_few_are_refused(group):
    """Of one candidate, less its mean, nothing is left."""
    with pytest.raises(ValueError, match=f"group must be 0 or at least 4, got {group}"):
        get_config("smoke").change(group=group)
