import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from wmlib.envs.vector import VectorEnvSpec
from wmlib.models.controller import Controller
from wmlib.models.mdn_rnn import MDNRNN, TILE
from wmlib.models.world_model import WorldModel
from wmlib.pipeline.tasks import CAR_RACING
from wmlib.pipeline.workers import processes
from wmlib.rollout.episodes import EpisodeStore
from wmlib.rollout.policies import (
    ConstantPolicy,
    ControllerPolicy,
    EpisodeSpec,
    NoisyPolicy,
    no_action_policy,
    random_car_policy,
    random_networks,
)
from wmlib.rollout.rollout import record_episode, run_episodes

CAR = VectorEnvSpec("wmlib/CarRacingOriginal-v3", num_envs=2, options={"max_episode_steps": 12})
BALL = VectorEnvSpec("wmlib/BouncingBall-v0", num_envs=3, options={"max_episode_steps": 9})


def scores(episodes):
    return [episode.score for episode in episodes]


def test_a_score_does_not_depend_on_other_episodes_or_their_order():
    specs = [EpisodeSpec(seed) for seed in (5, 6, 7)]
    together = run_episodes(CAR, random_car_policy(), specs)
    alone = [run_episodes(CAR, random_car_policy(), [spec])[0] for spec in specs]
    assert scores(together) == scores(alone)
    assert [episode.spec for episode in together] == specs
    assert all(episode.steps == 12 and not episode.lap for episode in together)


def test_processes_give_the_same_scores(world_model):
    parameters = np.random.default_rng(0).normal(scale=0.1, size=(2, 867))
    policy = ControllerPolicy(Controller(parameters))
    specs = [EpisodeSpec(5, 0), EpisodeSpec(5, 1), EpisodeSpec(6, 0)]
    here = run_episodes(CAR, policy, specs, world_model)
    with processes(2) as executor:
        there = run_episodes(CAR, policy, specs, world_model, executor=executor)
    assert scores(there) == scores(here)


@pytest.mark.parametrize("num_envs", [1, 5])
def test_an_episode_does_not_depend_on_the_number_of_environments(world_model, num_envs):
    """Bitwise: an episode is chaotic, so that the smallest difference would grow."""
    policy = ControllerPolicy(Controller(np.random.default_rng(0).normal(scale=0.3, size=867)))
    options = {"max_episode_steps": 40}
    specs = [EpisodeSpec(seed) for seed in (20, 21, 22)]
    together = run_episodes(
        VectorEnvSpec(CAR.env_id, num_envs, options=options), policy, specs, world_model
    )
    alone = record_episode(
        VectorEnvSpec(CAR.env_id, 4, options=options), policy, specs[2], world_model
    )
    assert together[2].score == alone.score


def test_each_member_of_a_population_acts_in_its_own_episode(world_model):
    """The biases set the gas: member 0 stands still, member 1 accelerates."""
    parameters = np.zeros((2, 867))
    parameters[:, -2] = [-9, 9]
    env_spec = VectorEnvSpec(CAR.env_id, 2, options={"max_episode_steps": 60})
    policy = ControllerPolicy(Controller(parameters))
    standing, going = run_episodes(
        env_spec, policy, [EpisodeSpec(3, 0), EpisodeSpec(3, 1)], world_model
    )
    assert going.score > standing.score + 5


def test_noise_varies_smoothly_about_the_policys_action():
    policy = NoisyPolicy(ConstantPolicy([0.2, -5.0]), [0.1, 0.1], [-1, 0], [1, 1])
    policy.begin(0, EpisodeSpec(1))
    actions = np.array([policy.act(None, 1)[0] for _ in range(4000)])
    assert actions[:, 0].mean() == pytest.approx(0.2, abs=0.05)
    assert actions[:, 0].std() == pytest.approx(0.1, abs=0.03)
    assert np.corrcoef(actions[1:, 0], actions[:-1, 0])[0, 1] == pytest.approx(0.95, abs=0.02)
    assert (actions[:, 1] == 0).all()  # clipped to the given range


def test_the_noise_level_alternates_with_the_seed():
    constant, spread = ConstantPolicy([0.5, 0.5]), [0.1, 0.2]
    policy = NoisyPolicy(constant, spread, [-9, -9], [9, 9], levels=3)
    full = NoisyPolicy(constant, spread, [-9, -9], [9, 9])
    for seed, level in ((0, 0.0), (4, 0.5), (8, 1.0)):
        policy.begin(0, EpisodeSpec(seed))
        full.begin(0, EpisodeSpec(seed))
        noise, full_noise = (p.act(None, 1) - 0.5 for p in (policy, full))
        np.testing.assert_allclose(noise, level * full_noise, atol=1e-6)


def test_a_controller_acts_with_noise_and_without(world_model):
    plain = ControllerPolicy(random_networks(2).controller)
    noisy = CAR_RACING.noisy_policy(random_networks(2))
    specs = [EpisodeSpec(5, 0), EpisodeSpec(6, 1)]
    recordings = [
        [record_episode(CAR, policy, spec, world_model).recording["actions"] for spec in specs]
        for policy in (plain, noisy)
    ]
    assert np.abs(recordings[0][0] - recordings[1][0]).mean() > 0.05
    assert not np.array_equal(recordings[0][0], recordings[0][1])  # members have different weights


def test_with_action_repeat_environment_steps_are_counted():
    env_spec = VectorEnvSpec(
        "wmlib/CarRacing-v3", num_envs=2, options={"max_episode_steps": 10}, repeat=4
    )
    episode = record_episode(env_spec, random_car_policy(), EpisodeSpec(5))
    assert episode.steps == 10
    assert len(episode.recording["actions"]) == 3


def test_reused_environments_keep_nothing_of_the_last_spec():
    """Neither its patience nor its action repeat."""
    options = {"max_episode_steps": 60}
    impatient = VectorEnvSpec(
        "wmlib/CarRacing-v3", num_envs=4, patience=5, options=options, repeat=4
    )
    patient = VectorEnvSpec("wmlib/CarRacing-v3", num_envs=4, options=options)
    assert run_episodes(impatient, random_car_policy(), [EpisodeSpec(5)])[0].steps < 60
    again = run_episodes(patient, random_car_policy(), [EpisodeSpec(5)])[0]
    fresh = record_episode(patient, random_car_policy(), EpisodeSpec(5))
    assert (again.score, again.steps) == (fresh.score, fresh.steps) == (again.score, 60)


def test_frames_actions_and_rewards_of_a_recording_are_aligned(ball_model, tmp_path):
    store = EpisodeStore(tmp_path)
    run_episodes(
        BALL,
        no_action_policy(),
        [EpisodeSpec(4), EpisodeSpec(5)],
        store=store,
        record=["position", "velocity"],
    )
    episode = store.episode("0000004-000")
    assert episode["frames"].shape == (10, 64, 64, 3)
    assert episode["actions"].shape == (9, 0)
    assert episode["rewards"].shape == episode["done"].shape == (9,)
    assert not episode["done"].any()  # truncated by the time limit, not terminated
    moved = np.diff(episode["position"], axis=0)
    straight = np.isclose(np.abs(moved), np.abs(episode["velocity"][1:])).all(1)
    assert straight.sum() >= 7  # all but the bounces


def test_replaying_the_recorded_actions_gives_the_recorded_frames_and_rewards():
    episode = record_episode(CAR, random_car_policy(), EpisodeSpec(5))
    assert episode.recording["rewards"].sum() == pytest.approx(episode.score, rel=1e-6)
    env = CAR.make().envs[0]
    frame, _ = env.reset(seed=5)
    for t, action in enumerate(episode.recording["actions"]):
        np.testing.assert_array_equal(episode.recording["frames"][t], frame)
        frame, reward, *_ = env.step(action)
        assert episode.recording["rewards"][t] == np.float32(reward)


def test_h_is_of_the_frames_before_the_present_one(world_model):
    """At every step, C reads the z of this frame and the h of all frames before it."""
    seen = []

    class Recorder(ControllerPolicy):
        def act(self, features, num_envs):
            seen.append(features.clone())
            return super().act(features, num_envs)

    policy = Recorder(Controller(np.random.default_rng(0).normal(scale=0.1, size=867)))
    recording = record_episode(CAR, policy, EpisodeSpec(5), world_model).recording
    with torch.no_grad():
        z = world_model.encode(recording["frames"])
        actions = torch.from_numpy(recording["actions"])
        h, _ = world_model.mdn_rnn.remember(z[None, :-1], actions[None])
    for t, features in enumerate(seen):
        torch.testing.assert_close(features[0, :32], z[t], atol=1e-5, rtol=1e-4)
        if t:
            torch.testing.assert_close(features[0, 32:], h[0, t - 1], atol=1e-5, rtol=1e-4)


def test_an_m_with_reward_input_reads_the_rewards_of_the_episode(world_model):
    """z and h in a rollout are those of M run over the recording, rewards included."""
    m = MDNRNN(reward_input=True)
    torch.nn.init.constant_(m.lstm.weight_ih_l0[:, 32], 1.0)  # the previous reward matters much
    model = WorldModel(world_model.vae, m)
    seen = []

    class Recorder(ControllerPolicy):
        def act(self, features, num_envs):
            seen.append(features[0].clone())
            return super().act(features, num_envs)

    flat = np.random.default_rng(0).normal(scale=0.1, size=3 * (model.feature_size + 1))
    policy = Recorder(Controller(flat, feature_size=model.feature_size))
    recording = record_episode(CAR, policy, EpisodeSpec(5), model).recording
    rewards = torch.from_numpy(recording["rewards"])
    assert rewards.std() > 0.5  # the first step touches tiles
    with torch.no_grad():
        z = model.encode(recording["frames"])
        actions = torch.from_numpy(recording["actions"])
        previous = torch.cat([torch.zeros(1), rewards[:-1]]) / TILE
        h, _ = m.remember(z[None, :-1], actions[None], reward=previous[None])
    for t, features in enumerate(seen[1:], start=1):
        torch.testing.assert_close(features[32:], h[0, t - 1], atol=1e-5, rtol=1e-4)


def test_an_episode_distinguishes_termination_from_truncation():
    """The ball's limit of steps truncates; a car that leaves the playing field is terminated."""
    assert not record_episode(BALL, no_action_policy(), EpisodeSpec(4)).terminated
    long = VectorEnvSpec("wmlib/CarRacing-v3", num_envs=1, options={"max_episode_steps": 1000})
    off_the_field = record_episode(long, ConstantPolicy([0.0, 0.5, 0.0]), EpisodeSpec(5))
    assert off_the_field.terminated
    assert off_the_field.recording["done"].tolist() == [0.0] * (off_the_field.steps - 1) + [1.0]


def test_tensors_reach_a_worker_with_their_strides(world_model):
    """V's convolutions are stored "channels last", which makes them faster."""
    tensors = [torch.zeros(0), *world_model.vae.parameters()]
    with processes(1) as executor:
        there = executor.submit(list, tensors).result()
        strides = executor.submit(_strides, tensors).result()
    for before, after in zip(tensors, there, strict=True):
        assert torch.equal(before, after)
    assert strides == _strides(tensors)


def test_of_a_part_of_a_tensor_only_that_part_reaches_a_worker():
    whole = torch.arange(1200.0).view(100, 12)
    parts = [whole[10:20], whole[1:, ::2], whole[0, 0]]
    with processes(1) as executor:
        there = executor.submit(list, parts).result()
        sizes = executor.submit(_sizes, parts).result()
    assert sizes == [part.numel() for part in parts]
    for before, after in zip(parts, there, strict=True):
        assert torch.equal(before, after)


def _strides(tensors):
    return [tensor.stride() for tensor in tensors]


def _sizes(tensors):
    return [tensor.untyped_storage().nbytes() // tensor.element_size() for tensor in tensors]


def test_an_error_in_a_worker_is_raised_in_the_parent():
    with processes(1) as executor, pytest.raises(ValueError, match="give rollout a world model"):
        run_episodes(CAR, ControllerPolicy(Controller()), [EpisodeSpec(0)], executor=executor)


CELLS = """
import numpy as np
from wmlib.envs.vector import VectorEnvSpec
from wmlib.models.controller import Controller
from wmlib.models.mdn_rnn import MDNRNN
from wmlib.models.vae import VAE
from wmlib.models.world_model import WorldModel
from wmlib.rollout.policies import ControllerPolicy, EpisodeSpec
from wmlib.rollout.rollout import run_episodes
from wmlib.pipeline.workers import processes

class Straight:
    def begin(self, row, spec): pass
    def act(self, features, num_envs): return np.tile(np.float32([0, 0.2, 0]), (num_envs, 1))

class Forgetful(WorldModel):  # its h is always 0
    def remember(self, state, actions): return state.h * 0, state.c * 0

def fitness(candidate): return float(Straight().act(None, 1).sum() - candidate ** 2)

car = VectorEnvSpec("wmlib/CarRacing-v3", num_envs=2, options={"max_episode_steps": 12})
specs, model = [EpisodeSpec(0), EpisodeSpec(1)], Forgetful(VAE(), MDNRNN())
policy = ControllerPolicy(Controller(np.ones(867)))
alone = run_episodes(car, Straight(), specs) + run_episodes(car, policy, specs, model)
with processes(2) as executor:
    there = run_episodes(car, Straight(), specs, executor=executor)
    there += run_episodes(car, policy, specs, model, executor=executor)
    found = list(executor.map(fitness, [0.0, 1.0]))
assert [e.score for e in alone] == [e.score for e in there], (alone, there)
assert found == [fitness(0.0), fitness(1.0)]
print("done")
"""


def test_workers_run_what_a_cell_defines():
    """A policy, a world model and a fitness of the main module, which has no "if __name__ ..."."""
    done = subprocess.run([sys.executable, "-c", CELLS], capture_output=True, text=True)
    assert done.stdout == "done\n", done.stderr


def test_idle_workers_are_reused():
    with processes(1) as executor:
        first = executor.submit(os.getpid).result()
    with processes(1) as executor:
        assert executor.submit(os.getpid).result() == first != os.getpid()


@pytest.mark.skipif(os.name != "posix", reason="sends a signal to a group of processes")
def test_an_interrupt_does_not_wait_for_the_workers():
    """The signal goes to the whole process group, as in a notebook."""
    # Both workers are at work, well after `submit`: see `processes`.
    task = "import time; time.sleep(1); print('started', flush=True); time.sleep(600)"
    code = (
        "import signal\n"
        "from wmlib.pipeline.workers import processes\n"
        # (What a shell starts in the background ignores it, and so do its children.)
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "with processes(2) as executor:\n"
        f"    tasks = [executor.submit(exec, {task!r}) for _ in range(2)]\n"
        "    tasks[0].result()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert [process.stdout.readline() for _ in range(2)] == ["started\n"] * 2
    os.killpg(process.pid, signal.SIGINT)
    _, error = process.communicate(timeout=60)  # less than the 600 s of the tasks
    assert error.count("Traceback") == 1  # the workers print none
    assert "KeyboardInterrupt" in error


@pytest.mark.skipif(os.name != "posix", reason="asks with POSIX signals whether a worker lives")
def test_workers_end_when_their_parent_is_killed():
    """Otherwise they would continue as orphans."""
    code = (
        "import os, time\n"
        "from wmlib.pipeline.workers import processes\n"
        "if __name__ == '__main__':\n"
        "    with processes(1) as executor:\n"
        "        print(executor.submit(os.getpid).result(), flush=True)\n"
        "        executor.submit(time.sleep, 600).result()\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    worker = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            os.kill(worker, 0)
        except ProcessLookupError:
            return
        stat = Path(f"/proc/{worker}/stat")
        if stat.exists() and stat.read_text(encoding="utf-8").rpartition(")")[2].split()[0] == "Z":
            return  # dead, under an init process that does not reap
        time.sleep(0.1)
    os.kill(worker, signal.SIGKILL)
    pytest.fail("the worker outlived its parent")


def test_an_unknown_member_is_named(world_model):
    with pytest.raises(ValueError, match="1 controllers, no number 3"):
        run_episodes(CAR, ControllerPolicy(Controller()), [EpisodeSpec(0, 3)], world_model)
