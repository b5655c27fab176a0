"""The dream environment, compared with closed forms and with `WorldModel.imagine`."""

import math
from functools import partial

import numpy as np
import pytest
import torch

from wmlib.envs.dream import Dream, DreamSpec, PassThroughEncoder, independent_seeds
from wmlib.models.controller import Controller
from wmlib.models.mdn_rnn import MDNRNN, TILE
from wmlib.models.vae import VAE
from wmlib.models.world_model import State, WorldModel
from wmlib.pipeline import car_racing, search
from wmlib.pipeline.dreaming import dream_env_spec
from wmlib.pipeline.fitness import MeanReturn
from wmlib.pipeline.scales import get_config
from wmlib.pipeline.workers import processes
from wmlib.rollout.episodes import EpisodeStore
from wmlib.rollout.policies import ConstantPolicy, ControllerPolicy, EpisodeSpec
from wmlib.rollout.rollout import run_episodes
from wmlib.rollout.starts import find_moments, real_moments


@pytest.fixture
def starts():
    parts = (torch.randn(7, size) for size in (32, 256, 256))
    return State(*parts, torch.zeros(7))


@pytest.fixture
def plain(world_model):
    """A world model whose M has zero weights: whatever its input, it predicts its biases."""
    m = world_model.mdn_rnn
    for head in (m.mixture, m.reward, m.done):
        torch.nn.init.zeros_(head.weight)
        torch.nn.init.zeros_(head.bias)
    m.reward.bias.data.fill_(0.5)
    m.done.bias.data.fill_(-math.inf)
    return world_model


def population(size=6):
    return Controller(np.random.default_rng(0).normal(size=(size, 867)))


def test_a_dream_is_a_vector_environment(world_model, starts):
    dream = Dream(world_model, starts, num_envs=5)
    observations, _ = dream.reset(seed=3)
    assert observations in dream.observation_space
    actions = dream.action_space.sample()
    observations, rewards, terminated, truncated, _ = dream.step(actions)
    assert observations in dream.observation_space
    assert rewards.shape == terminated.shape == truncated.shape == (5,)
    assert dream.render().shape == (5, 64, 64, 3)


def test_an_integer_seed_gives_every_dream_its_own_seed(world_model, starts):
    """As in Gymnasium's vector environments: seed + i."""
    one, each = (Dream(world_model, starts, num_envs=5) for _ in range(2))
    observations, _ = one.reset(seed=3)
    np.testing.assert_array_equal(observations, each.reset(seed=[3, 4, 5, 6, 7])[0])
    assert len(np.unique(observations, axis=0)) == 5
    actions = one.action_space.sample()
    np.testing.assert_array_equal(one.step(actions)[0], each.step(actions)[0])


def test_rewards_and_termination_are_those_that_m_predicts(plain, starts):
    for steps, ends in ((12, -math.inf), (1, math.inf)):
        plain.mdn_rnn.done.bias.data.fill_(ends)
        env_spec = DreamSpec(plain, starts, max_steps=12)
        episode = run_episodes(
            env_spec, ConstantPolicy([0, 0, 0]), [EpisodeSpec(1)], PassThroughEncoder(plain)
        )[0]
        assert episode.score == pytest.approx(0.5 * steps)
        assert episode.steps == steps * plain.mdn_rnn.repeat
        assert episode.terminated == (ends > 0)


def test_a_known_reward_takes_the_place_of_ms(plain, starts):
    dream = Dream(plain, starts, num_envs=3, max_steps=4, reward=2.0)
    dream.reset(seed=[0, 1, 2])
    rewards = [dream.step(np.zeros((3, 3), np.float32))[1] for _ in range(5)]
    assert np.array(rewards).tolist() == [[2.0] * 3] * 4 + [[0.0] * 3]  # nothing after the end


@pytest.mark.parametrize(("log_odds", "ends"), [(-2.4, False), (-2.2, True)])
def test_the_end_may_be_a_threshold(plain, starts, log_odds, ends):
    """The paper's rule: a logit above 0; with a weight of 10, log-odds above -log 10."""
    plain.mdn_rnn.done.bias.data.fill_(log_odds)
    dream = Dream(plain, starts, num_envs=3, end_above=-math.log(10))
    dream.reset(seed=[0, 1, 2])
    assert dream.step(np.zeros((3, 3), np.float32))[2].tolist() == [ends] * 3


def test_the_reward_may_be_the_logarithm_of_survival(plain, starts):
    """Nothing ends before the last step, not even for want of progress."""
    plain.mdn_rnn.done.bias.data.fill_(0.5)
    rules = {"max_steps": 4, "patience": 2, "reward": 1.0, "log_survival": True}
    dream = Dream(plain, starts, num_envs=3, **rules)
    dream.reset(seed=[0, 1, 2])
    steps = [dream.step(np.zeros((3, 3), np.float32)) for _ in range(4)]
    survival = np.exp(sum(rewards for _, rewards, *_ in steps))
    np.testing.assert_allclose(survival, (1 / (1 + math.exp(0.5))) ** 4, rtol=1e-5)
    assert not any(terminated.any() for _, _, terminated, *_ in steps)
    assert [truncated.tolist() for *_, truncated, _ in steps] == [[False] * 3] * 3 + [[True] * 3]


def test_an_agent_may_read_the_cell_state(starts):
    """Of an M with one action, whose policies read [z, c, h]."""
    world_model = WorldModel(VAE(), MDNRNN(action_size=1, reads_cell=True))
    dream = Dream(world_model, starts, num_envs=4, max_steps=3)
    assert dream.single_action_space.shape == (1,)
    observations, _ = dream.reset(seed=[3, 4, 5, 6])
    expected = torch.cat([starts.z, starts.c, starts.h], dim=1)[3:7]
    np.testing.assert_array_equal(observations, expected)
    action = np.full((4, 1), 0.5, np.float32)
    observations, *_ = dream.step(action)
    h, c = world_model.remember(starts.take(slice(3, 7)), torch.from_numpy(action))
    np.testing.assert_allclose(observations[:, 32:], torch.cat([c, h], dim=1), atol=1e-6)
    encoder = PassThroughEncoder(world_model)
    state = encoder.begin(observations)
    np.testing.assert_array_equal(encoder.features(state), observations)


def test_a_dream_without_progress_is_truncated(plain, starts):
    env_spec = DreamSpec(plain, starts, max_steps=12, patience=4)
    policy, encoder = ConstantPolicy([0, 0, 0]), PassThroughEncoder(plain)
    # A reward of 0.1 per step, or less, is no progress; 0.5 exceeds PROGRESS in three steps.
    for reward, steps in ((-0.1, 4), (0.1, 4), (0.5, 12)):
        plain.mdn_rnn.reward.bias.data.fill_(reward)
        episodes = run_episodes(env_spec, policy, [EpisodeSpec(1), EpisodeSpec(2)], encoder)
        assert [e.steps for e in episodes] == [steps * plain.mdn_rnn.repeat] * 2
        assert not any(e.terminated for e in episodes)


@pytest.mark.parametrize("temperature", [0.25, 1.0, 2.0])
def test_temperature_is_a_variance(plain, starts, temperature):
    dream = Dream(plain, starts, num_envs=2000, temperature=temperature)
    dream.reset(seed=list(range(2000)))
    observations, *_ = dream.step(np.zeros((2000, 3), np.float32))
    z = observations[:, :32]  # five equal Gaussians of mean 0 and sigma 1
    assert z.mean() == pytest.approx(0, abs=0.05)
    assert z.var() == pytest.approx(temperature, rel=0.05)


def test_a_dream_at_temperature_zero_equals_imagine(world_model, starts):
    world_model.mdn_rnn.done.bias.data.fill_(-math.inf)
    dream = Dream(world_model, starts, num_envs=7, temperature=0)
    observations, _ = dream.reset(seed=list(range(7)))
    state = starts
    np.testing.assert_array_equal(observations, state.features)
    for _ in range(5):
        actions = dream.action_space.sample()
        observations, rewards, *_ = dream.step(actions)
        state, prediction = world_model.imagine(state, torch.from_numpy(actions), 0)
        np.testing.assert_array_equal(observations, state.features)
        np.testing.assert_allclose(rewards, prediction.reward[:, 0])


def test_the_agents_m_may_differ_from_the_dreams_m(world_model, starts):
    """z is the dream's; h is that of the agent's own M, given this z and the actions."""
    world_model.mdn_rnn.done.bias.data.fill_(-math.inf)
    agent = WorldModel(world_model.vae, MDNRNN(hidden_size=16))
    state = starts._replace(h=torch.randn(7, 16), c=torch.randn(7, 16))
    dream = Dream(world_model, starts, num_envs=7, agent=(agent, state))
    alone = Dream(world_model, starts, num_envs=7)
    seeds = list(range(7))
    observations, _ = dream.reset(seed=seeds)
    np.testing.assert_array_equal(observations, state.features)
    alone.reset(seed=seeds)
    for _ in range(5):
        actions = alone.action_space.sample()
        observations, *outcome = dream.step(actions)
        dreamt, *expected = alone.step(actions)
        np.testing.assert_array_equal(observations[:, :32], dreamt[:, :32])
        np.testing.assert_array_equal(outcome[0], expected[0])
        h, c = agent.remember(state, torch.from_numpy(actions))
        state = state._replace(z=torch.from_numpy(dreamt[:, :32]), h=h, c=c)
        np.testing.assert_allclose(observations, state.features, atol=1e-6)
    assert observations in dream.observation_space


def test_observations_do_not_contain_the_reward_that_m_reads(world_model, starts):
    model = WorldModel(world_model.vae, MDNRNN(reward_input=True))
    starts = starts._replace(reward=torch.ones(7))
    for agent in (None, (world_model, starts)):
        dream = Dream(model, starts, num_envs=7, agent=agent)
        observations, _ = dream.reset(seed=list(range(7)))
        for _ in range(3):
            assert observations in dream.observation_space
            assert dream.render().shape == (7, 64, 64, 3)
            observations, *_ = dream.step(dream.action_space.sample())
        assert observations.shape == (7, model.feature_size) == (7, 288)


@pytest.mark.parametrize("temperature", [0.25, 1.0, 3.0])
def test_the_temperature_of_the_reward_has_its_own_limit(world_model, temperature):
    """M predicts a tile in 10% of the steps, and at temperature 3 in a third of them."""
    m = MDNRNN(reward_input=True)
    for parameter in m.parameters():
        torch.nn.init.zeros_(parameter)
    m.done.bias.data.fill_(-math.inf)
    of_reward = m.mixture.bias.data.view(3, 33, 5)[:, 32]  # logits, mu, log_sigma
    of_reward.copy_(torch.tensor([[0.9, 0.1, 0, 0, 0], [0, 1, 0, 0, 0], [1e-3] * 5]))
    of_reward[[0, 2]] = of_reward[[0, 2]].log()
    model, num_envs = WorldModel(world_model.vae, m), 4000
    start = State(*(torch.zeros(1, size) for size in (32, 256, 256)), torch.zeros(1))
    for limit in (1.0, math.inf):
        env_spec = DreamSpec(
            model, start, num_envs, temperature=temperature, reward_temperature=limit
        )
        with env_spec.open() as dream:
            dream.reset(seed=list(range(num_envs)))
            dream.step(np.zeros((num_envs, 3), np.float32))
            state = dream._state
        assert state.z.var().item() == pytest.approx(temperature, rel=0.05)
        power = 1 / min(temperature, limit)
        share = 0.1**power / (0.1**power + 0.9**power)
        assert state.reward.mean().item() == pytest.approx(share, abs=0.02)
    env_spec = DreamSpec(model, start, temperature=temperature, reward_temperature=1.0)
    assert ("temperature 3.0 (reward: 1.0), dropout" in str(env_spec)) == (temperature == 3)


def test_dropout_adds_variance_and_no_bias(world_model, starts):
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


def test_a_dream_does_not_depend_on_the_number_of_environments(world_model, starts):
    policy, encoder = ControllerPolicy(population()), PassThroughEncoder(world_model)
    specs = [EpisodeSpec(seed, member) for member in range(6) for seed in range(9)]
    scores = []
    for num_envs in (4, 7, 16):
        env_spec = DreamSpec(world_model, starts, num_envs=num_envs, max_steps=10, dropout=0.1)
        scores.append([e.score for e in run_episodes(env_spec, policy, specs, encoder)])
    with processes(2) as executor:
        episodes = run_episodes(env_spec, policy, specs, encoder, executor=executor)
    scores.append([e.score for e in episodes])
    assert len(set(scores[0])) > 1
    assert all(row == scores[0] for row in scores)


def test_a_check_does_not_change_the_search(world_model, starts, tmp_path):
    """Two searches in the same dream, checked in two environments, find the same C."""
    env_spec, encoder = (
        DreamSpec(world_model, starts, num_envs=8, max_steps=10),
        PassThroughEncoder(world_model),
    )
    results = []
    for steps in (20, 40):
        real = car_racing.training_env_spec(get_config("smoke").change(max_steps=steps))
        _, evolution = search.evolve(
            MeanReturn(env_spec, encoder, rollouts=2),
            tmp_path / str(steps),
            start=Controller(),
            population=4,
            generations=2,
            check=partial(search.check_in_environment, real, world_model, tracks=2),
        )
        results.append((evolution.mean, evolution.history[-1]["check"]))
    np.testing.assert_array_equal(results[0][0], results[1][0])
    assert results[0][1] != results[1][1]


def test_starts_are_states_of_the_agent_in_recorded_episodes(world_model, tmp_path):
    latents = EpisodeStore(tmp_path)
    rng = np.random.default_rng(0)
    expected = []
    for name, length in (("a", 9), ("b", 14), ("short", 3)):
        z, actions = rng.normal(size=(length + 1, 32)), rng.normal(size=(length, 3))
        z, actions = z.astype(np.float32), actions.astype(np.float32)
        rewards = np.full(length, -0.1, np.float32)
        rewards[6:8] = 3.0  # the last tiles: moments more than three steps later do not qualify
        latents.write(name, {"mu": z, "actions": actions, "rewards": rewards})
        zeros = torch.zeros(1, 256), torch.zeros(1, 256), torch.zeros(1)
        state = State(torch.from_numpy(z[:1]), *zeros)
        for t in range(length):
            with torch.no_grad():
                h, c = world_model.remember(state, torch.from_numpy(actions[t : t + 1]))
            state = State(torch.from_numpy(z[t + 1 : t + 2]), h, c, state.reward)
            if name != "short" and 7 <= t + 1 < min(length, 11):
                expected.append(state.features[0].numpy())
    where, on_the_road = find_moments(latents, 1, after=5, recent=3)
    assert on_the_road
    moments = real_moments(world_model, latents, where, count=40)
    assert moments.z.shape == (40, 32)
    for features in moments.features.numpy():
        assert min(np.abs(features - other).max() for other in expected) < 1e-5
    assert len(np.unique(moments.z.numpy(), axis=0)) == len(expected)
    with_rewards = WorldModel(world_model.vae, MDNRNN(reward_input=True))
    others = real_moments(with_rewards, latents, where, count=40)
    assert torch.equal(others.z, moments.z)
    assert {round(r * TILE, 3) for r in others.reward.tolist()} == {3.0, -0.1}
    assert (others.h != moments.h).any()
    early, _ = find_moments(latents, 1, after=5, recent=3, before=8)
    assert early == [("a", 7), ("b", 7)]


def test_the_moments_of_a_dream_spec_are_found_once(world_model, tmp_path, monkeypatch):
    """The dream's M and the agent's M use the same moments: reading all episodes is slow."""
    latents = EpisodeStore(tmp_path)
    episode = {"mu": np.zeros((4, 32), np.float32), "actions": np.zeros((3, 3), np.float32)}
    latents.write("a", episode | {"rewards": np.zeros(3, np.float32)})
    calls = []

    def counted(*args, **options):
        calls.append(args)
        return find_moments(*args, **options)

    monkeypatch.setattr("wmlib.pipeline.dreaming.find_moments", counted)
    monkeypatch.setattr("wmlib.rollout.starts.find_moments", counted)
    agent = WorldModel(world_model.vae, MDNRNN(hidden_size=16))
    env_spec = dream_env_spec(get_config("smoke"), world_model, tmp_path, agent)
    assert len(calls) == 1
    assert torch.equal(env_spec.starts.z, env_spec.agent[1].z)


def test_dreams_start_anywhere_if_no_episode_has_a_reward(world_model, tmp_path):
    """Dreams have starts however short the training and however bad its episodes."""
    latents = EpisodeStore(tmp_path)
    with pytest.raises(ValueError, match="no episodes in"):
        find_moments(latents, repeat=1)
    rng = np.random.default_rng(0)
    for name, steps in (("a", 3), ("b", 1)):
        z = rng.normal(size=(steps + 1, 32)).astype(np.float32)
        rewards = np.full(steps, -0.1, np.float32)
        latents.write(
            name, {"mu": z, "actions": np.zeros((steps, 3), np.float32), "rewards": rewards}
        )
    assert find_moments(latents, repeat=1) == ([("a", 0), ("a", 1), ("a", 2), ("b", 0)], False)
    moments = real_moments(world_model, latents, find_moments(latents, 1)[0], count=50)
    assert len(np.unique(moments.z.numpy(), axis=0)) == 4
    begin = np.flatnonzero((moments.h == 0).all(1).numpy())
    assert len(np.unique(moments.z.numpy()[begin], axis=0)) == 2  # moment 0 of either episode
    # With a single recent reward, dreams start only on the road.
    actions, rewards = np.zeros((8, 3), np.float32), np.eye(8, dtype=np.float32)[5]
    z = np.zeros((9, 32), np.float32)
    latents.write("c", {"mu": z, "actions": actions, "rewards": rewards})
    assert find_moments(latents, repeat=1, after=5, recent=2) == ([("c", 6), ("c", 7)], True)
    assert find_moments(latents, repeat=1, after=5, recent=2, before=7) == ([("c", 6)], True)
    assert not find_moments(latents, repeat=1, after=5, newest=1, before=3)[1]


def test_a_dream_can_be_reset_as_gymnasium_says(world_model, starts):
    def begun(*seeds):
        dream = Dream(world_model, starts, num_envs=3)
        return [dream.reset(seed=seed)[0].copy() for seed in seeds]

    once, again = begun(7, None, None), begun(7, None, None)
    assert np.array_equal(once, again)  # goes on from the seed
    dream = Dream(world_model, starts, num_envs=3)
    before, _ = dream.reset(seed=1)
    after, _ = dream.reset(options={"reset_mask": np.zeros(3, dtype=bool)})  # none of them
    assert np.array_equal(before, after)


def test_no_dreams_need_no_noise():
    assert independent_seeds(0, 10) == []
