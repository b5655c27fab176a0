"""The policy gradient in closed form, and fine-tuning a C with it."""

import dataclasses
import json

import gymnasium as gym
import numpy as np
import pytest
import torch

from wmlib.envs.missed_tiles import MissedTiles
from wmlib.evaluation import features
from wmlib.files import read_log, write_log
from wmlib.models.controller import Controller, squash
from wmlib.pipeline.car_racing import check_settings, run_all_rounds, training_env_spec
from wmlib.pipeline.config import GradientConfig
from wmlib.pipeline.fine_tuning import experience_of, fine_tune
from wmlib.pipeline.rounds import timeline
from wmlib.pipeline.scales import get_config, get_machine
from wmlib.rollout.policies import EpisodeSpec, ExploringPolicy
from wmlib.rollout.rollout import Episode, record_episode, run_episodes
from wmlib.tools import release
from wmlib.training.policy_gradient import (
    Experience,
    PolicyGradient,
    advantages,
    natural_gradient,
)
from wmlib.training.search_space import Directions
from wmlib.view import figures

RNG = np.random.default_rng(0)
REWARDS, VALUES = RNG.normal(size=9), RNG.normal(size=9)
DISCOUNTS = RNG.uniform(0.5, 1, size=9)
EPISODE = Experience(np.zeros((9, 1)), np.zeros((9, 1)), REWARDS, DISCOUNTS, goes_on=False)
SETTINGS = GradientConfig(episodes=3, components=4, patience=20)
SPEC = dataclasses.replace(training_env_spec(get_config("smoke")), repeat=1)
WHOLE = training_env_spec(get_config("laptop"))  # episodes of 1,000 steps
STILL = ExploringPolicy(Controller(feature_size=2), 0.0, smoothness=0.5)


def discounted(rewards, discounts, last=0.0):
    total, result = last, []
    for reward, discount in zip(rewards[::-1], discounts[::-1], strict=True):
        total = reward + discount * total
        result.append(total)
    return np.array(result[::-1])


@pytest.mark.parametrize("goes_on", [False, True])
def test_advantages_between_the_next_value_and_all_rewards(goes_on):
    last = VALUES[-1] if goes_on else 0.0
    errors = REWARDS + DISCOUNTS * np.append(VALUES[1:], last) - VALUES
    one_step, all_steps = (
        advantages(EPISODE._replace(goes_on=goes_on), VALUES, decay) for decay in (0.0, 1.0)
    )
    np.testing.assert_allclose(one_step, errors)
    np.testing.assert_allclose(all_steps, discounted(REWARDS, DISCOUNTS, last) - VALUES)


@pytest.mark.parametrize("decay", [0.0, 0.5, 1.0])
def test_where_the_critic_knows_what_comes_nothing_is_an_advantage(decay):
    result = advantages(EPISODE, discounted(REWARDS, DISCOUNTS), decay)
    np.testing.assert_allclose(result, 0, atol=1e-12)


def test_the_natural_gradient_is_that_of_the_log_likelihood():
    """By torch's differentiation; times the Fisher matrix's inverse, scale squared."""
    inputs, noise, gained = torch.randn(50, 3), torch.randn(50, 2), torch.randn(50)
    weight, scale = torch.randn(2, 4, requires_grad=True), 0.3
    outputs = torch.cat([inputs, torch.ones(50, 1)], 1) @ weight.T
    raw = (outputs + scale * noise).detach()
    likelihood = torch.distributions.Normal(outputs, scale).log_prob(raw).sum(1)
    (gained * likelihood).mean().backward()
    expected = weight.grad * scale**2
    torch.testing.assert_close(scale * natural_gradient(inputs, noise, gained), expected)


def experience(count=400, n=6, actions=2, wanted=None):
    """Steps of one episode whose reward falls with the distance of the outputs from `wanted`."""
    seen = torch.randn(count, n) * torch.arange(1, n + 1) + 3
    noise = torch.randn(count, actions)
    rewards = np.zeros(count) if wanted is None else -wanted(seen, noise)
    return Experience(seen.numpy(), noise.numpy(), rewards, np.zeros(count), goes_on=False)


def learner_with(**settings):
    usual = {"k": 5, "scale": 0.2, "step": 0.01, "momentum": 0.8, "decay": 0.97}
    learner = PolicyGradient(6, 2, **usual | settings)
    optimizer = torch.optim.Adam(learner.critic.parameters(), lr=1e-3)
    return learner, optimizer, torch.Generator().manual_seed(0)


def test_components_have_unit_variance_and_a_change_of_them_is_one_of_the_controller():
    learner, _, _ = learner_with()
    seen = torch.from_numpy(experience(5000).features)
    learner.begin(seen)
    inputs = (seen - learner.mean) @ learner.matrix.T
    np.testing.assert_allclose(np.cov(inputs.T), np.eye(5), atol=0.02)
    np.testing.assert_allclose(inputs.mean(0), 0, atol=0.01)
    change = torch.randn(2, 6)
    controller = Controller(learner.added(change), feature_size=6, action_size=2)
    expected = inputs @ change[:, :-1].T + change[:, -1]
    torch.testing.assert_close(controller.raw(seen), expected, atol=1e-4, rtol=1e-4)


def test_whitened_directions_span_the_same_space():
    seen = torch.from_numpy(experience().features)
    usual, white = (Directions.of(seen, 3, whiten=whiten).matrix for whiten in (False, True))
    ratio = white / usual
    np.testing.assert_allclose(ratio, ratio[:, :1].repeat(6, 1))
    assert ratio[0, 0] < ratio[1, 0] < ratio[2, 0]  # the smaller, the more they are stretched


def test_only_the_critic_learns_at_first_and_then_a_step_has_its_length():
    learner, optimizer, generator = learner_with(scale=0.3, step=0.02)
    for number in range(3):
        assert not learner.change.any()
        episode = experience(wanted=lambda _, noise: noise[:, 0].numpy())
        learner.update([episode], number, optimizer, generator)
    divergence = (learner.change / 0.3).square().sum() / 2
    assert divergence.item() == pytest.approx(0.02, rel=1e-4)
    torch.testing.assert_close(learner.average, learner.change * 0.1)
    assert learner.change[0, -1] < -0.9 * learner.change.norm()  # away from what was punished


def test_updates_lead_to_the_best_outputs():
    """Rewards are the squared distance from a linear function; nothing follows a step."""
    learner, optimizer, generator = learner_with(scale=0.3, step=0.02, momentum=0.5)
    wanted = torch.randn(2, 6)
    wanted /= wanted.norm()

    def cost(seen, noise):
        if not learner.matrix.any():
            return np.zeros(len(seen))
        inputs = (seen - learner.mean) @ learner.matrix.T
        off = torch.cat([inputs, torch.ones(len(seen), 1)], 1) @ (learner.change - wanted).T
        return (off + 0.3 * noise).square().sum(1).numpy()

    for number in range(42):
        learner.update([experience(4000, wanted=cost)], number, optimizer, generator)
    assert (learner.change - wanted).norm() < 0.3


def test_the_share_that_the_critic_explains():
    """The rewards are a function of what is seen: after some updates it knows most of it."""
    learner, optimizer, generator = learner_with()
    said = [
        learner.update(
            [experience(4000, wanted=lambda seen, _: seen[:, -1].numpy() / 6)],
            number,
            optimizer,
            generator,
        )
        for number in range(20)
    ]
    assert said[0] < 0.3 < 0.8 < said[-1] <= 1


def test_an_exploring_policy_adds_the_noise_it_names(world_model):
    controller = Controller(np.random.default_rng(0).normal(scale=0.1, size=867))
    policy = ExploringPolicy(controller, scale=0.4, smoothness=0.9, seed=3)
    specs, seen = [EpisodeSpec(5), EpisodeSpec(6)], torch.randn(2, 288)
    for row, spec in enumerate(specs):
        policy.begin(row, spec)
    noise = [policy.noise(spec, 30) for spec in specs]
    for t in range(30):
        added = torch.from_numpy(np.stack([noise[0][t], noise[1][t]]))
        expected = squash(controller.raw(seen) + 0.4 * added)
        np.testing.assert_allclose(policy.act(seen, 2), expected, atol=1e-6)
    long = policy.noise(specs[0], 5000)
    np.testing.assert_allclose(long.std(0), 1, atol=0.15)
    assert np.corrcoef(long[1:, 0], long[:-1, 0])[0, 1] == pytest.approx(0.9, abs=0.03)
    again = ExploringPolicy(controller, 0.4, 0.9, seed=4).noise(specs[0], 30)  # another seed
    assert np.abs(again - noise[0]).mean() > 0.5


def test_recorded_features_are_what_the_policy_read(world_model):
    policy = ExploringPolicy(Controller(feature_size=288), 0.3, 0.8)
    env_spec = dataclasses.replace(SPEC, options=SPEC.options | {"max_episode_steps": 25})
    spec = EpisodeSpec(4)
    [episode] = run_episodes(
        env_spec, policy, [spec], world_model, record=["missed_tiles"], features=True
    )
    assert episode.recording.keys() == {"features", "actions", "rewards", "done", "missed_tiles"}
    frames = record_episode(env_spec, policy, spec, world_model).recording
    np.testing.assert_array_equal(frames["actions"], episode.recording["actions"])
    expected = features(world_model, *(frames[name] for name in ("frames", "actions", "rewards")))
    got = episode.recording["features"]
    np.testing.assert_allclose(got, expected[: len(got)], atol=1e-4)


class Road(gym.Env):
    """A road of 60 tiles; an action is the list of tiles that are touched."""

    class Tile:
        road_visited = False

    def reset(self, **kwargs):
        self.road = [self.Tile() for _ in range(60)]
        return 0, {}

    def step(self, action):
        for i in action:
            self.road[i].road_visited = True
        return 0, 3.0 if action else -0.1, False, False, {}


def test_tiles_that_are_left_behind_untouched_are_missed():
    env = MissedTiles(Road())
    for _ in range(2):  # a reset forgets
        assert env.reset()[1] == {"missed_tiles": 0}
        count = lambda touched: env.step(touched)[4]["missed_tiles"]  # noqa: E731
        assert count([0, 1]) == 0
        assert count([]) == 0
        assert count([2, 4]) == 0
        assert count([6, 10]) == 0  # 3 and 5 may still be touched
        assert count([3, 13]) == 0
        assert count([14]) == 1  # 5 is nine tiles behind
        assert count([20]) == 5  # 7, 8, 9, 11
        assert count([59]) == 5  # far away: no step leads there
        assert count([19]) == 5


def test_the_car_that_stays_on_the_road_misses_nothing_on_its_first_metres(world_model):
    policy = ExploringPolicy(Controller(feature_size=288), 0.01, 0.8)  # straight on
    env_spec = dataclasses.replace(SPEC, options=SPEC.options | {"max_episode_steps": 60})
    [episode] = run_episodes(
        env_spec, policy, [EpisodeSpec(7)], world_model, record=["missed_tiles"], features=True
    )
    assert episode.score > 0
    assert episode.recording["missed_tiles"].tolist() == [0] * 61


def recorded(rewards, missed=None, **values):
    steps = len(rewards)
    missed = np.zeros(steps + 1, int) if missed is None else np.array(missed)
    recording = {
        "features": np.zeros((steps, 2), np.float32),
        "rewards": np.array(rewards, np.float32),
        "missed_tiles": missed,
    }
    return Episode(EpisodeSpec(0), recording=recording, **{"steps": steps} | values)


def test_an_experience_is_discounted_by_points_and_missed_tiles_have_a_price():
    settings = GradientConfig(missed_tile=20.0, horizon=100.0)
    episode = recorded([-0.1, 4.9, -0.1, 2.4], [0, 0, 1, 1, 1], terminated=True)
    seen = experience_of(episode, STILL, settings, WHOLE)
    np.testing.assert_allclose(seen.rewards, [-0.01, 0.49 - 2.0, -0.01, 0.24], atol=1e-6)
    np.testing.assert_allclose(seen.discounts, np.exp([0, -0.05, 0, -0.025]), atol=1e-6)
    assert not seen.goes_on
    assert len(seen.features) == len(seen.noise) == 4


def test_with_a_frame_skip_a_step_costs_as_much_more():
    episode = recorded([-0.2, 4.8], steps=4)
    seen = experience_of(episode, STILL, GradientConfig(horizon=100.0), WHOLE)
    np.testing.assert_allclose(seen.discounts, np.exp([0, -0.05]), atol=1e-6)


@pytest.mark.parametrize(
    ("steps", "terminated", "goes_on"),
    [(1000, False, True), (500, False, False), (700, True, False)],
)
def test_only_the_limit_of_steps_ends_an_episode_that_would_go_on(steps, terminated, goes_on):
    episode = recorded([-0.1] * steps, terminated=terminated)
    assert experience_of(episode, STILL, GradientConfig(), WHOLE).goes_on == goes_on


def test_behind_a_lap_the_road_goes_on_and_what_follows_is_not_learned_from():
    """A tile was missed: all others are touched, and 200 steps without rewards follow."""
    episode = recorded([-0.1, 3.0] * 290 + [-0.1] * 200)
    seen = experience_of(episode, STILL, GradientConfig(), WHOLE)
    assert len(seen.rewards) == len(seen.features) == len(seen.noise) == 580
    assert seen.goes_on


def tune(world_model, folder, killed_after=9, updates=4, **settings):
    start, checks = Controller(np.random.default_rng(1).normal(scale=0.05, size=867)), []

    def check(controller):
        checks.append(controller)
        if len(checks) > killed_after:
            raise KeyboardInterrupt
        return {"check": float(controller.parameters.sum())}

    changed = dataclasses.replace(SETTINGS, **settings)
    return fine_tune(
        SPEC, world_model, start, folder, updates, changed, seed=2, check=check, check_every=1
    )


def test_fine_tuning_goes_on_as_if_never_interrupted(world_model, tmp_path):
    whole = tune(world_model, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        tune(world_model, tmp_path / "parts", killed_after=2)
    assert not (tmp_path / "parts" / "controller.safetensors").exists()
    assert np.array_equal(tune(world_model, tmp_path / "parts").parameters, whole.parameters)
    logs = [read_log(tmp_path / name / "gradient.jsonl") for name in ("whole", "parts")]
    for row in (*logs[0], *logs[1]):
        del row["seconds"]
    assert logs[0] == logs[1]
    assert [row["update"] for row in logs[0]] == [1, 2, 3, 4]
    assert len({row["check"] for row in logs[0]}) == 3  # the first two updates are the critic's
    for name, value in (("updates", 5), ("noise", 0.3)):
        with pytest.raises(ValueError, match=f"was made with {name} = .* with {name} = "):
            tune(world_model, tmp_path / "whole", **{name: value})


@pytest.mark.parametrize(
    "changes",
    [
        {"generations": 0},
        {"updates": 3},
        {"generations": 0, "updates": 3, "evolve_in": "dream", "frame_every": 1},
    ],
)
def test_a_round_is_searched_or_fine_tuned(changes):
    config = get_config("smoke").change(hard_pool=0, **changes)
    with pytest.raises(ValueError, match="a round has generations of CMA-ES or, in CarRacing"):
        check_settings(config, get_machine("smoke"))


def test_a_timeline_has_the_updates_of_rounds_that_were_fine_tuned(tmp_path):
    rows = [{"round": 0, "generation": k, "seconds": 60.0 * k} for k in (1, 2)]
    write_log(rows, tmp_path / "evolution.jsonl")
    rows = [{"round": 1, "update": k, "seconds": 30.0 * k} for k in (1, 2)]
    write_log(rows, tmp_path / "gradient.jsonl")
    assert [row["minutes"] for row in timeline(tmp_path)] == [1, 2, 2.5, 3]


def test_a_run_with_fine_tuning_has_a_learning_curve_and_the_seconds_of_both(
    tmp_path, monkeypatch, world_model
):
    config = get_config("smoke").change(
        score_tracks=2, episodes=2, generations=(1, 0), updates=(0, 3), hard_pool=0
    )
    config = config.change(gradient={"episodes": 2, "components": 3})
    run, machine = tmp_path / "run", get_machine("smoke")
    run_all_rounds(config, run, machine)
    rows = timeline(run)
    assert [len(row["scores"]) for row in rows] == [4, 2, 2, 2]
    (ax,) = figures.learning_curve(rows).axes
    assert [text.get_text().strip() for text in ax.texts] == ["round 0", "round 1"]
    monkeypatch.setattr(release, "PRETRAINED", tmp_path / "pretrained")
    folder = release.export(config, run, "car_racing", machine)
    card = json.loads((folder / "controller.json").read_text(encoding="utf-8"))
    logs = [read_log(folder / f"{name}.jsonl")[-1] for name in ("evolution", "gradient")]
    assert card["training_seconds"] == pytest.approx(sum(row["seconds"] for row in logs), abs=0.2)
    assert card["record"]["settings"]["updates"] == 3
