"""The dream against what is known about it: closed forms, and the world model's own `imagine`."""

import math
from functools import partial

import numpy as np
import pytest
import torch

from wmlib.envs.dream import Dream, DreamWorld, PassThroughEncoder
from wmlib.models.controller import Controller
from wmlib.models.mdn_rnn import MDNRNN, TILE
from wmlib.models.world_model import State, WorldModel
from wmlib.pipeline import car_racing, search
from wmlib.pipeline.fitness import MeanReturn
from wmlib.pipeline.scales import get_config
from wmlib.rollout.episodes import EpisodeStore
from wmlib.rollout.policies import ConstantPolicy, ControllerPolicy, EpisodeSpec
from wmlib.rollout.rollout import run_episodes
from wmlib.rollout.starts import find_moments, real_moments
from wmlib.rollout.workers import processes


@pytest.fixture
def starts():
    parts = (torch.randn(7, size) for size in (32, 256, 256))
    return State(*parts)


@pytest.fixture
def plain(world_model):
    """An M without weights: whatever happens, its forecast is its biases."""
    m = world_model.mdn_rnn
    for head in (m.mixture, m.reward, m.done):
        torch.nn.init.zeros_(head.weight)
        torch.nn.init.zeros_(head.bias)
    m.reward.bias.data.fill_(0.5)
    m.done.bias.data.fill_(-math.inf)
    return world_model


def population(size=6):
    return Controller(np.random.default_rng(0).normal(size=(size, 867)))


def test_it_is_a_vector_environment(world_model, starts):
    dream = Dream(world_model, starts, lanes=5)
    observations, _ = dream.reset(seed=3)
    assert observations in dream.observation_space
    actions = dream.action_space.sample()
    observations, rewards, terminated, truncated, _ = dream.step(actions)
    assert observations in dream.observation_space
    assert rewards.shape == terminated.shape == truncated.shape == (5,)
    assert dream.render().shape == (5, 64, 64, 3)


def test_what_it_pays_is_what_m_says(plain, starts):
    for steps, ends in ((12, -math.inf), (1, math.inf)):
        plain.mdn_rnn.done.bias.data.fill_(ends)
        world = DreamWorld(plain, starts, max_steps=12)
        drive = run_episodes(
            world, ConstantPolicy([0, 0, 0]), [EpisodeSpec(1)], PassThroughEncoder(plain)
        )[0]
        assert drive.score == pytest.approx(0.5 * steps)
        assert drive.steps == steps * plain.mdn_rnn.repeat


def test_a_dream_in_which_nothing_is_earned_any_more_is_given_up(plain, starts):
    world = DreamWorld(plain, starts, max_steps=12, patience=4)
    driver, mind = ConstantPolicy([0, 0, 0]), PassThroughEncoder(plain)
    # Of 0.1 points a look, or less, patience runs out; 0.5 are more than EARNED in three looks.
    for reward, looks in ((-0.1, 4), (0.1, 4), (0.5, 12)):
        plain.mdn_rnn.reward.bias.data.fill_(reward)
        drives = run_episodes(world, driver, [EpisodeSpec(1), EpisodeSpec(2)], mind)
        assert [drive.steps for drive in drives] == [looks * plain.mdn_rnn.repeat] * 2


@pytest.mark.parametrize("temperature", [0.25, 1.0, 2.0])
def test_temperature_is_a_variance(plain, starts, temperature):
    dream = Dream(plain, starts, lanes=2000, temperature=temperature)
    dream.reset(seed=list(range(2000)))
    observations, *_ = dream.step(np.zeros((2000, 3), np.float32))
    z = observations[:, :32]  # five equal Gaussians of mean 0 and sigma 1
    assert z.mean() == pytest.approx(0, abs=0.05)
    assert z.var() == pytest.approx(temperature, rel=0.05)


def test_without_chance_it_is_imagine(world_model, starts):
    world_model.mdn_rnn.done.bias.data.fill_(-math.inf)
    dream = Dream(world_model, starts, lanes=7, temperature=0)
    observations, _ = dream.reset(seed=list(range(7)))
    state = starts
    np.testing.assert_array_equal(observations, state.features)
    for _ in range(5):
        actions = dream.action_space.sample()
        observations, rewards, *_ = dream.step(actions)
        state, prediction = world_model.imagine(state, torch.from_numpy(actions), 0)
        np.testing.assert_array_equal(observations, state.features)
        np.testing.assert_allclose(rewards, prediction.reward[:, 0])


def test_an_agent_may_remember_with_another_m_than_the_dream(world_model, starts):
    """z as the dream makes it; h as the agent's own M makes it of that z and the actions."""
    world_model.mdn_rnn.done.bias.data.fill_(-math.inf)
    agent = WorldModel(world_model.vae, MDNRNN(hidden_size=16))
    known = State(starts.z, torch.randn(7, 16), torch.randn(7, 16))
    dream = Dream(world_model, starts, lanes=7, agent=(agent, known))
    alone = Dream(world_model, starts, lanes=7)
    seeds = list(range(7))
    observations, _ = dream.reset(seed=seeds)
    np.testing.assert_array_equal(observations, known.features)
    alone.reset(seed=seeds)
    for _ in range(5):
        actions = alone.action_space.sample()
        observations, *paid = dream.step(actions)
        dreamt, *same = alone.step(actions)
        np.testing.assert_array_equal(observations[:, :32], dreamt[:, :32])
        np.testing.assert_array_equal(paid[0], same[0])
        known = State(
            torch.from_numpy(dreamt[:, :32]), *agent.remember(known, torch.from_numpy(actions))
        )
        np.testing.assert_allclose(observations, known.features, atol=1e-6)
    assert observations in dream.observation_space


def test_what_was_earned_is_the_dreams_own_affair(world_model, starts):
    """An M that is told of it makes the dream; who drives there is shown z and h alone."""
    told = WorldModel(world_model.vae, MDNRNN(33))
    wide = starts._replace(z=torch.randn(7, 33))
    agent = (world_model, starts._replace(z=wide.z[:, :32]))
    for mind in (None, agent):
        dream = Dream(told, wide, lanes=7, agent=mind)
        known, _ = dream.reset(seed=list(range(7)))
        for _ in range(3):
            assert known in dream.observation_space
            assert dream.render().shape == (7, 64, 64, 3)
            known, *_ = dream.step(dream.action_space.sample())
        assert known.shape == (7, 288)


@pytest.mark.parametrize("temperature", [0.25, 1.0, 3.0])
def test_doubt_need_not_make_pay_likelier(world_model, temperature):
    """A tile in one look of ten: flattened by temperature 3, it comes in a third of them."""
    m = MDNRNN(33)
    for parameter in m.parameters():
        torch.nn.init.zeros_(parameter)
    m.done.bias.data.fill_(-math.inf)
    of_pay = m.mixture.bias.data.view(3, 33, 5)[:, 32]  # logits, mu, log_sigma
    of_pay.copy_(torch.tensor([[0.9, 0.1, 0, 0, 0], [0, 1, 0, 0, 0], [1e-3] * 5]))
    of_pay[[0, 2]] = of_pay[[0, 2]].log()
    told, lanes = WorldModel(world_model.vae, m), 4000
    start = State(*(torch.zeros(1, size) for size in (33, 256, 256)))
    for most in (1.0, math.inf):
        world = DreamWorld(told, start, lanes, temperature=temperature, pay_temperature=most)
        with world.open() as dream:
            dream.reset(seed=list(range(lanes)))
            dream.step(np.zeros((lanes, 3), np.float32))
            z = dream._state.z
        assert z[:, :32].var().item() == pytest.approx(temperature, rel=0.05)
        power = 1 / min(temperature, most)
        share = 0.1**power / (0.1**power + 0.9**power)
        assert z[:, 32].mean().item() == pytest.approx(share, abs=0.02)
    told_so = "temperature 3.0 (pay: 1.0), dropout"
    world = DreamWorld(told, start, temperature=temperature, pay_temperature=1.0)
    assert (told_so in str(world)) == (temperature == 3)


def test_dropout_doubts_but_does_not_bias(world_model, starts):
    actions = np.zeros((4000, 3), np.float32)
    rewards = []
    for dropout in (0.0, 0.2):
        dream = Dream(world_model, starts.take(torch.zeros(1).long()), 4000, dropout=dropout)
        dream.reset(seed=list(range(4000)))
        rewards.append(dream.step(actions)[1])
    assert rewards[0].std() < 1e-6 < rewards[1].std()
    assert rewards[1].mean() == pytest.approx(rewards[0].mean(), abs=5 * rewards[1].std() / 63)
    with pytest.raises(ValueError, match="below 1, got 1"):
        Dream(world_model, starts, 1, dropout=1)


def test_same_seed_same_dream_whoever_else_dreams(world_model, starts):
    driver, mind = ControllerPolicy(population()), PassThroughEncoder(world_model)
    jobs = [EpisodeSpec(seed, member) for member in range(6) for seed in range(9)]
    scores = []
    for lanes in (4, 7, 16):
        world = DreamWorld(world_model, starts, lanes=lanes, max_steps=10, dropout=0.1)
        scores.append([drive.score for drive in run_episodes(world, driver, jobs, mind)])
    with processes(2) as executor:
        drives = run_episodes(world, driver, jobs, mind, executor=executor)
    scores.append([drive.score for drive in drives])
    assert len(set(scores[0])) > 1
    assert all(row == scores[0] for row in scores)


def test_a_check_does_not_change_the_search(world_model, starts, tmp_path):
    """Two searches in the same dream, checked in two environments, find the same C."""
    world, encoder = (
        DreamWorld(world_model, starts, lanes=8, max_steps=10),
        PassThroughEncoder(world_model),
    )
    found = []
    for steps in (20, 40):
        real = car_racing.training_world(get_config("smoke").change(max_steps=steps))
        _, evolution = search.evolve(
            MeanReturn(world, encoder, rollouts=2),
            tmp_path / str(steps),
            start=Controller(),
            population=4,
            generations=2,
            check=partial(search.check_in_environment, real, world_model, tracks=2),
        )
        found.append((evolution.mean, evolution.history[-1]["check"]))
    np.testing.assert_array_equal(found[0][0], found[1][0])
    assert found[0][1] != found[1][1]


def test_moments_are_what_the_agent_knew(world_model, tmp_path):
    latents = EpisodeStore(tmp_path)
    rng = np.random.default_rng(0)
    known = []
    for name, length in (("a", 9), ("b", 14), ("short", 3)):
        z, actions = rng.normal(size=(length + 1, 32)), rng.normal(size=(length, 3))
        z, actions = z.astype(np.float32), actions.astype(np.float32)
        rewards = np.full(length, -0.1, np.float32)
        rewards[6:8] = 3.0  # the last tiles; after three more steps, who drives is lost
        latents.write(name, {"mu": z, "actions": actions, "rewards": rewards})
        state = State(torch.from_numpy(z[:1]), *(torch.zeros(1, 256) for _ in range(2)))
        for t in range(length):
            with torch.no_grad():
                h, c = world_model.remember(state, torch.from_numpy(actions[t : t + 1]))
            state = State(torch.from_numpy(z[t + 1 : t + 2]), h, c)
            if name != "short" and 7 <= t + 1 < min(length, 11):
                known.append(state.features[0].numpy())
    moments = real_moments(world_model, latents, count=40, after=5, recent=3)
    assert moments.z.shape == (40, 32)
    for features in moments.features.numpy():
        assert min(np.abs(features - other).max() for other in known) < 1e-5
    assert len(np.unique(moments.z.numpy(), axis=0)) == len(known)
    told = real_moments(WorldModel(world_model.vae, MDNRNN(33)), latents, 40, after=5, recent=3)
    torch.testing.assert_close(told.z[:, :32], moments.z)
    assert {round(pay * TILE, 3) for pay in told.z[:, 32].tolist()} == {3.0, -0.1}
    early = real_moments(world_model, latents, count=40, after=5, recent=3, before=8)
    assert len(np.unique(early.z.numpy(), axis=0)) == 2  # look 7 of either drive


def test_where_no_car_is_on_the_road_dreams_begin_anywhere(world_model, tmp_path):
    """No training, however small or unlucky, may leave dreams without a start."""
    latents = EpisodeStore(tmp_path)
    with pytest.raises(ValueError, match="no episodes in"):
        real_moments(world_model, latents, count=1)
    rng = np.random.default_rng(0)
    for name, steps in (("a", 3), ("b", 1)):
        z = rng.normal(size=(steps + 1, 32)).astype(np.float32)
        rewards = np.full(steps, -0.1, np.float32)
        latents.write(
            name, {"mu": z, "actions": np.zeros((steps, 3), np.float32), "rewards": rewards}
        )
    assert find_moments(latents, repeat=1) == ([("a", 0), ("a", 1), ("a", 2), ("b", 0)], False)
    moments = real_moments(world_model, latents, count=50)
    assert len(np.unique(moments.z.numpy(), axis=0)) == 4
    begin = np.flatnonzero((moments.h == 0).all(1).numpy())
    assert len(np.unique(moments.z.numpy()[begin], axis=0)) == 2  # moment 0 of either episode
    # One reward in time is enough to begin on the road alone.
    actions, rewards = np.zeros((8, 3), np.float32), np.eye(8, dtype=np.float32)[5]
    z = np.zeros((9, 32), np.float32)
    latents.write("c", {"mu": z, "actions": actions, "rewards": rewards})
    assert find_moments(latents, repeat=1, after=5, recent=2) == ([("c", 6), ("c", 7)], True)
    assert find_moments(latents, repeat=1, after=5, recent=2, before=7) == ([("c", 6)], True)
    assert not find_moments(latents, repeat=1, after=5, newest=1, before=3)[1]
