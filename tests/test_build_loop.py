"""Chapter 5's build cells: what the checker prints for a wrong round, rollout, or interval."""

import pytest
from readers import written

from wmlib.view import build
from wmlib.view.build import full_loop, loop

EXERCISES = build.exercises()
RIGHT = "is right: from here on"


def said(source, name, capsys):
    """What the checker prints about a function, given as a reader's source text."""
    tools = {} if name == "agent_step" else {"agent_step": loop.agent_step}
    function = written(source, name, **tools)
    checked = build.check(function)
    printed = capsys.readouterr().out
    assert checked is (function if RIGHT in printed else EXERCISES[name].reference)
    return printed


ROUND = """
def run_round(phase, agent, episodes):
    episodes = episodes + phase.collect(agent)
    if agent is None:
        v = phase.train_v(episodes, None)
        m = phase.train_m(phase.encode(v, episodes))
        return (v, m, phase.evolve(v, m, None)), episodes
    old_v, old_m, old_c = agent
    {phases}
    return (v, m, c), episodes
"""
V = "v = phase.train_v(episodes, old_v)"
M = "m = phase.train_m(phase.encode(v, episodes))"
C = "c = phase.evolve(v, m, phase.distill(agent, v, m, episodes))"


@pytest.mark.parametrize(
    ("phases", "phrase"),
    [
        ((V, M, C), RIGHT),
        ((V, "m = phase.train_m(phase.encode(old_v, episodes))", C),
         "Z1 in round 1 is encode(V0, [E0, E1]), expected encode(V1, [E0, E1])"),
        ((V, M, C.replace("phase.distill(agent, v, m, episodes)", "old_c")), "distill it first"),
        ((V, "m = old_m", C), "Z1 in round 1 is missing"),
        ((V, V, M, C), "the number of calls in round 1 is 7, expected 6"),
        ((V, M, C, "phase.collect(agent)"), "it must call phase.collect once"),
        ((V, M, C, "episodes = len(episodes)"), "episodes are a list, got int"),
        ((V, M, C, "return v, m, c"), "it must return (agent, episodes)"),
    ],
)  # fmt: skip
def test_run_round(phases, phrase, capsys):
    source = ROUND.format(phases="\n    ".join(phases))
    assert phrase in said(source, "run_round", capsys)


def test_named_phases_show_what_every_phase_was_given():
    phase = full_loop.NamedPhases()
    agent, episodes = full_loop.run_round(phase, None, [])
    full_loop.run_round(phase, agent, episodes)
    lines = str(phase).splitlines()
    assert lines[0] == "round 0: E0 = collect(None)"
    assert lines[-1].strip() == "C1 = evolve(V1, M1, start=distilled C0)"


STEP = """
def agent_step(env, world_model, controller, state):
    action = controller(state.features)
    frame, reward, terminated, truncated, info = env.step({action})
    {observe}
    return {returned}
"""
ACTION = "action[0].numpy()"
OBSERVE = "state = world_model.observe(state, action, frame[None], torch.tensor([reward]))"
RETURNED = "state, reward, terminated, truncated"


@pytest.mark.parametrize(
    ("action", "observe", "returned", "phrase"),
    [
        (ACTION, OBSERVE, RETURNED, RIGHT),
        ("action[0]", OBSERVE, RETURNED, "a NumPy array, got a tensor: actions[0].numpy()"),
        ("action.numpy()", OBSERVE, RETURNED, r"an action has shape (2,), got (1, 2)"),
        (ACTION, OBSERVE.replace("state =", "following ="), RETURNED, "an old z and h"),
        (ACTION, "state = world_model.begin(frame[None])", RETURNED, "reset at every step"),
        (ACTION, OBSERVE.replace(", torch.tensor([reward])", ""), RETURNED,
         "without the reward"),
        (ACTION, OBSERVE.replace("frame[None]", "frame"), RETURNED, "(B, 2, 2, 3), got"),
        (ACTION, OBSERVE.replace("action", "action[0]"), RETURNED, "(B, 2), got (2,)"),
        (ACTION, OBSERVE, "state, reward, terminated or truncated",
         "must return (state, reward, terminated, truncated)"),
        (ACTION, OBSERVE, "state, reward, truncated, terminated",
         "terminated is True, expected False"),
        (ACTION, OBSERVE, "state.z, reward, terminated, truncated", "must be a State"),
    ],
)  # fmt: skip
def test_agent_step(action, observe, returned, phrase, capsys):
    source = STEP.format(action=action, observe=observe, returned=returned)
    assert phrase in said(source, "agent_step", capsys)


def test_an_action_of_the_next_state_is_not_the_one_that_was_taken(capsys):
    source = """
def agent_step(env, world_model, controller, state):
    frame, reward, terminated, truncated, info = env.step(controller(state.features)[0].numpy())
    features = torch.cat([world_model.encode(frame[None]), state.h], 1)
    observed = world_model.observe(
        state, controller(features), frame[None], torch.tensor([reward])
    )
    return observed, reward, terminated, truncated
"""
    assert "another action than the environment" in said(source, "agent_step", capsys)


def test_an_agent_step_with_every_result_by_its_own_call(capsys):
    source = STEP.format(action=ACTION, observe=OBSERVE, returned=RETURNED)
    source = source.replace("    frame,", "    frame = env.step(action[0].numpy())[0]\n    frame,")
    assert "environment steps after step 1 is 2, expected 1" in said(source, "agent_step", capsys)


EPISODE = """
kept = []

def run_episode(env, world_model, controller, seed):
    frame, info = env.reset({seed})
    {begin}
    total = 0.0
    while True:
        state, reward, terminated, truncated = agent_step(env, world_model, controller, state)
        {body}
"""
BEGIN = "state = world_model.begin(frame[None])"
BODY = "total += reward\n        if terminated or truncated:\n            return total"


@pytest.mark.parametrize(
    ("seed", "begin", "body", "phrase"),
    [
        ("seed=seed", BEGIN, BODY, RIGHT),
        ("", BEGIN, BODY, "without the seed"),
        ("seed=seed", f"{BEGIN} if not kept else kept[0]",
         BODY.replace("return", "kept[:] = [state]; return"), "the memory of the first"),
        ("seed=seed", BEGIN, BODY.replace(" or truncated", ""), "after it was truncated"),
        ("seed=seed", BEGIN, BODY.replace("terminated or ", ""), "after it was terminated"),
        ("seed=seed", BEGIN, BODY.replace("terminated or truncated", "False"), "was over long ago"),
        ("seed=seed", BEGIN,
         "if terminated or truncated:\n            return total\n        total += reward",
         "reward of the last step is left out"),
        ("seed=seed", BEGIN, BODY.replace("return total", "return"), "it returned None"),
        ("seed=seed", BEGIN, BODY.replace("return total", "return total + 1"),
         "the return of the terminated episode with seed 3: yours"),
    ],
)  # fmt: skip
def test_run_episode(seed, begin, body, phrase, capsys):
    source = EPISODE.format(seed=seed, begin=begin, body=body)
    assert phrase in said(source, "run_episode", capsys)


@pytest.mark.parametrize(
    ("lines", "phrase"),
    [
        ("i = rng.integers(0, len(returns), (resamples, len(returns)))\n"
         "    return np.percentile(returns[i].mean(1), (2.5, 97.5))", RIGHT),
        ("means = [rng.choice(returns, len(returns)).mean() for _ in range(resamples)]\n"
         "    return tuple(np.quantile(means, [0.025, 0.975]))", RIGHT),
        ("half = 2 * np.std(returns)\n"
         "    return returns.mean() - half, returns.mean() + half", "differ"),
        ("half = 1.96 * np.std(returns, ddof=1)\n"
         "    return returns.mean() - half, returns.mean() + half", "interval of single episodes"),
        ("means = [rng.permutation(returns).mean() for _ in range(resamples)]\n"
         "    return np.quantile(means, [0.025, 0.975])", "draw with replacement"),
        ("drawn = rng.choice(returns, (resamples, len(returns)))\n"
         "    return np.quantile(drawn, [0.025, 0.975])", "quantiles of the returns themselves"),
        ("half = 1.96 * np.std(returns, ddof=1) / np.sqrt(len(returns))\n"
         "    return returns.mean() - half, returns.mean() + half", "symmetric about the mean"),
        ("means = rng.choice(returns, (resamples, len(returns))).mean(1)\n"
         "    return np.quantile(means, [0.05, 0.95])", "5% and 95%"),
        ("means = np.random.choice(returns, (resamples, len(returns))).mean(1)\n"
         "    return np.quantile(means, [0.025, 0.975])", "the same result for the same generator"),
    ],
)  # fmt: skip
def test_interval(lines, phrase, capsys):
    source = f"def interval(returns, rng, resamples=2000):\n    {lines}\n"
    assert phrase in said(source, "interval", capsys)
