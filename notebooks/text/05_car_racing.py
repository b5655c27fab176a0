# ---
# jupyter:
#   jupytext:
#     cell_metadata_filter: tags
#     notebook_metadata_filter: kernelspec,jupytext
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
#       jupytext_version: 1.19.6
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 5. The full loop: collect, train, evolve, repeat
#
# ![A car seen from above follows the road](../figures/05_drive.gif)
#
# **Figure 5.1.** The agent of this chapter on a held-out track of the untouched CarRacing-v3: the first seconds of its best episode.
#
# **What you'll do.** Put V, M and C together: collect episodes, train V and M, evolve C, score the agent on held-out tracks, find out where it fails, and make the whole loop fast enough for a laptop. You write one round of the loop, the rollout and the confidence interval.
#
# **What you'll learn.** How the parts fit together; how to report a score with its uncertainty; why one training run is not a result; how to find and remove a bottleneck.
#
# **What you need.** Chapters [2](02_vae.ipynb) to [4](04_controller.ipynb): $z$, $h$, and CMA-ES.
#
# **How long.** 90 minutes of reading and building; running all cells takes about 2 minutes on two cores. The next three cells only import and load.

# %% tags=["install", "remove-cell"]
import subprocess
import sys
from importlib.util import find_spec

if find_spec("wmlib") is None:  # on Colab, for example; where it is installed, nothing is done
    source = "..[notebooks]"
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", source], check=True)

# %%
import itertools
import json

import gymnasium as gym
import numpy as np
import torch
from scipy.stats import bootstrap

# %%
from wmlib import paths
from wmlib.evaluation import episode_interval, features, scoring_env_spec, seed_interval
from wmlib.files import read_log
from wmlib.models.checkpoints import load_agent
from wmlib.models.vae import tensor_to_frames
from wmlib.models.world_model import WorldModel
from wmlib.paths import pretrained
from wmlib.pipeline import car_racing, phases, rounds, scoring
from wmlib.pipeline.scales import get_chapter_config, get_config, get_machine
from wmlib.pipeline.workers import processes
from wmlib.rollout.policies import ControllerPolicy, EpisodeSpec
from wmlib.rollout.rollout import one_thread, record_episode, run_episodes
from wmlib.training.search_space import imitate
from wmlib.view import build, figures, hairpins, renderers
from wmlib.view.build.full_loop import NamedPhases

# %%
figures.use_style()
config, chapter, machine = get_config(), get_chapter_config(), get_machine()
RETRAIN = chapter.retrain  # set to True to train everything here from scratch
folder = config.run_folder("car_racing") if RETRAIN else pretrained("car_racing")

# %% [markdown]
# ## 5.1 The loop
#
# The four phases of a **round** run one after the other. Only the last one uses the reward as an objective.
#
# | phase | learns | from | uses the reward? |
# |---|---|---|---|
# | collect | nothing | a policy: random in round 0, the agent of the previous round after that | no |
# | train V | frame $\to z$ | single frames | no |
# | train M | $(z, a, h) \to$ next $z$, next $h$ | sequences of $z$ and actions | M predicts it |
# | evolve C | $[z, h] \to a$ | returns of whole episodes | C maximizes it |
#
# A random policy leaves the road after a few bends, so V and M of round 0 have never seen a fast car or most of a track. A trained agent does reach such states, so its episodes show them to V and M. Training again on **on-policy data** removes part of this *distribution shift*; the paper proposes the same iteration in its section 5. Each round adds its episodes to those of the rounds before and trains on all of them.

# %%
figures.loop_diagram(config)

# %% [markdown]
# **Figure 5.2.** One round, with the settings of this run's rounds below each phase. Blue: phases that act in the real environment.
#
# Two settings hold for the whole chapter. The **frame skip** (action repeat) is 2: the agent acts at every second environment step, 25 times per second, and the action is held in between. An **agent step** is therefore two environment steps. During the search, an episode ends after 60 environment steps without a new tile (**early termination**). Episodes that are scored never end this way. (A track is a ring of tiles; rewards are explained in [chapter 4.5](04_controller.ipynb).)
#
# **Build 5.1: `run_round`** (5 lines). `phase` offers:
#
# - `phase.collect(agent)`: a list of new episodes; `agent` None: of a random policy.
# - `phase.train_v(episodes, start)`: V, trained from the V `start`; None: from random weights.
# - `phase.encode(v, episodes)`: the episodes as sequences of $z$. `phase.train_m(latents)`: M, from random weights.
# - `phase.distill(agent, v, m, episodes)`: a C that acts on the features of the new `v` and `m` as the agent's C does on its own (section 5.6).
# - `phase.evolve(v, m, start)`: C, evolved from the C `start`; None: from zero weights.
#
# **Predict:** which call does round 1 make that round 0 does not, and why does round 0 not need it?

# %%
def run_round(phase, agent, episodes):
    """One round of the loop: (its agent, all episodes up to now).

    agent: (V, M, C) of the round before, None in round 0. episodes: of all rounds before, a list.
    """
    ...


run_round = build.check(run_round)

# %% tags=["nbval-check-output"]
named, agent, episodes = NamedPhases(), None, []
for _ in range(2):
    agent, episodes = run_round(named, agent, episodes)
print(named)

# %% [markdown]
# These phases only *name* their results: `V1` is the V of round 1. The package's `car_racing.run_all_rounds` makes the same calls with the real ones. Each of these keeps its result in a folder, so a run that was killed goes on where it stopped; `tests/test_cli.py` kills a run once in every phase and compares the final weights, bit by bit.
#
# **Finding.** V is trained further on a growing set of episodes, M begins anew, and C is carried over by distillation.
#
# ## 5.2 Collect, train V, train M
#
# **Predict:** an episode has at most 1,000 environment steps. A random episode is truncated after 150 steps without a new tile. How long does it last on average, and what is its return? And an episode of round 0's agent, with noise on its actions?

# %%
if RETRAIN:
    car_racing.run_all_rounds(config, folder)
world_model, controller = load_agent(folder)

# %%
collected = read_log(folder / "collect.jsonl")
for row in collected:
    each = row["steps"] / row["episodes"]
    print(f"round {row['round']}: {row['episodes']} episodes, {row['steps']:,} steps,")
    print(f"    {each:.0f} steps per episode, mean return {row['mean_score']:.0f}")

# %%
curves = {name: read_log(folder / f"{name}.jsonl") for name in ("vae", "mdn_rnn")}
labels = {"squared_error": "V: squared error (summed over a frame)", "kl": "V: KL (nats)"}
figures.training_curves(curves["vae"], labels, logarithmic=["squared_error"])

# %% [markdown]
# **Figure 5.3.** V's training loss, in its two parts; left on a logarithmic axis. Each dotted line marks the next round, in which V is trained further: the squared error jumps up, because the data now include new episodes, and then falls below its earlier values.

# %%
labels = {"nll": "M: -log p(next z) (nats per dimension)"}
labels |= {"reward": "M: squared error of the reward (points²)"}
for name, column in (("vae", "squared_error"), ("mdn_rnn", "reward")):
    last = {row["round"]: row[column] for row in curves[name]}
    ends = ", ".join(f"{value:.1f}" for value in last.values())
    print(f"{name}: {column} at the end of rounds 0, 1, ...: {ends}")
figures.training_curves(curves["mdn_rnn"], labels)

# %% [markdown]
# **Figure 5.4.** M's training loss, in its two parts: the next $z$ (left) and the reward (right). Dotted lines mark the next round. M starts from new random weights in every round, because V has changed, and with it the meaning of $z$.
#
# M's reward error rises from round to round (0.6, 1.5, 1.9). A likely reason is the data: a car that stands on the grass has a constant reward of −0.1 per environment step, which is easy to predict, and a fast car reaches a tile at irregular times.
#
# **Finding.** The 500 random episodes last 232 steps on average and have a mean return of 9. The 100 episodes of round 0's agent, with noise on its actions, last the full 1,000 steps and have a mean return of 524. (The log keeps means only.)
#
# ## 5.3 The rollout
#
# Collecting, evolving and scoring need the same loop, the **rollout**. The paper gives it as pseudocode:
#
# ```
# frame = env.reset();  h = 0;  R = 0
# until the episode is over:
#     z = V(frame)                 # encode the frame
#     a = C([z, h])                # act
#     frame, r = env.step(a);  R += r
#     h = M(h, z, a)               # remember: the old z, and the action that was taken
# ```
#
# The order matters: M reads the $z$ on which the agent acted and the action that it took, and its new $h$ belongs to the *next* frame. `wmlib` keeps $z$ and $h$ together in a `State` (a batch of B rows):
#
# - `world_model.begin(frames)`, frames (B, 64, 64, 3): the state at the first frames, with $h = 0$.
# - `world_model.observe(state, actions, frames, rewards)`: M's step with `actions` (B, 3) taken in `state`, then V's with the frames that followed; `rewards` is a tensor (B,). (The state stores it. This M ignores it; others read the previous reward.)
# - `state.features`: $[z, h]$, (B, 288). `controller(state.features)`: actions (B, 3).
#
# Here B = 1, and an environment knows nothing of batches: it takes a NumPy action of shape (3,), `actions[0].numpy()`, and returns `frame` (64, 64, 3), `reward`, `terminated`, `truncated` and `info`.
#
# **Build 5.2: `agent_step`** (4 lines). One agent step in an environment.

# %%
def agent_step(env, world_model, controller, state):
    """One agent step in an environment: (next state, reward, terminated, truncated).

    state: a State of one row. reward: float, as the environment returned it. terminated, truncated:
    bool.
    """
    ...


agent_step = build.check(agent_step)

# %%
# The environment of the training, with the frame skip that this M was trained for.
env_spec = car_racing.training_env_spec(config).at_pace(world_model)
tracks = [500_301 + 2 * i for i in range(config.search.check_tracks)]
env = env_spec.make_one()
frame, _ = env.reset(seed=tracks[0])
state = world_model.begin(frame[None])
for t in range(4):
    state, reward, terminated, truncated = agent_step(env, world_model, controller, state)
    print(f"agent step {t}: reward {reward:4.1f}, length of h {state.h.norm():.2f}")

# %% [markdown]
# The car starts on the road, so the first step has the reward of two tiles; then only the cost of time, 0.1 points per environment step, until the car moves.
#
# **Build 5.3: `run_episode`** (8 lines). Now a whole episode. `env.reset(seed=seed)` returns the first frame and an `info`; the seed decides the track. An episode ends when the environment **terminates** it (the lap is complete, or the car left the field) or **truncates** it (the limit of 1,000 steps). The **return** is the sum of all its rewards, the last one included: $R = \sum_t r_t$.

# %%
def run_episode(env, world_model, controller, seed):
    """The return of one episode on the track of this seed: float, in points."""
    ...


run_episode = build.check(run_episode)

# %% [markdown]
# Your loop runs one environment. The package's `rollout` runs the same loop for 64 at once, so that V encodes their frames as one batch. It asks for a policy, here C as a `ControllerPolicy`, and an `EpisodeSpec`, which names the track. Compare the two on tracks that nothing was trained on.
#
# **Predict:** are the returns equal?

# %%
policy = ControllerPolicy(controller)
with one_thread():
    for track in tracks[:3]:
        single = run_episode(env, world_model, controller, track)
        batched = record_episode(env_spec, policy, EpisodeSpec(track), world_model).score
        print(f"track {track}: run_episode {single:.1f}, the package's rollout {batched:.1f}")
inputs = torch.randn(100, 1, controller.feature_size, generator=torch.Generator().manual_seed(0))
apart = max((controller(row) - controller(row.repeat(4, 1))).abs().max() for row in inputs)
print(f"C's actions for 1 row and for 4 equal rows, 100 random rows: apart by up to {apart:.0e}")

# %% [markdown]
# They differ by one to two points on two tracks, and by eleven on the third, where the package's car missed a tile. From equal frames and actions, V and M give the same $z$ and $h$ in both, bit by bit, because the package makes their rows independent of the size of the batch. C's sum of 288 products is rounded differently for one row than for the rollout's batch, which has at least four. CarRacing is **chaotic**: a difference of $10^{-6}$ in an action grows until the car takes another line. For the same reason, single episodes differ between processors.
#
# **Finding.** A rollout is a loop of a dozen lines; yours and the package's agree to within about eleven points per episode on these three tracks. Where the car nearly fails, such a difference can decide hundreds of points (5.9).
#
# ## 5.4 Search in 24 principal components
#
# C has 867 parameters, but the 288 features do not vary independently. As in [chapter 4.6](04_controller.ipynb), the search is restricted to the 24 main principal components $y$ of $x = [z, h]$, scaled as there:
#
# $$u = W x + b + A y + c$$
#
# $u$ are C's outputs before tanh. $W$ and $b$ are the weights of the C with which the round begins: zero in round 0, distilled after that (5.6). CMA-ES searches over $A$ (3 × 24) and $c$ (3). Since $y$ is linear in $x$, the result is again a linear C with 867 parameters (`Directions.expand` in `wmlib/training/search_space.py`).
#
# **Finding.** The search has 75 parameters in place of 867. Chapter 4.6 found no measurable benefit or harm of this in short searches; we keep it because the pretrained runs were made this way.
#
# ## 5.5 Evolve C
#
# In each generation CMA-ES draws 48 candidates. All of them run on the same randomly chosen tracks (**common random numbers**), so that a candidate's rank does not depend on an easy track. The differences between candidates shrink as they improve, so the number of tracks grows: 2 in rounds 0 and 1, 4 in round 2, and 8 in its last ten generations. Every ten generations, and at the end of each round, the *mean* of the search distribution, which is the C that we keep, is run on 32 other tracks, every episode to its end. We call this a **check**.
#
# **Predict:** the candidates' returns are widely spread. Is the return of the mean (one C, run in the check) higher or lower than the average return of the 48 candidates?

# %%
history = read_log(folder / "evolution.jsonl")
timeline = rounds.timeline(folder)
figure = figures.learning_curve(timeline)
path = config.figure("05_learning_curve.png")
path.parent.mkdir(parents=True, exist_ok=True)
figure.savefig(path, dpi=80)
figure

# %% [markdown]
# **Figure 5.5.** Returns during the search. Line: median of the 48 candidates; band: 10th to 90th percentile. They are terminated early. Circles: checks of the mean of the distribution, ± the SD of 32 episodes. Dotted lines: the search of a round begins. Before it (to minute 5.5, 9 to 13, 19 to 24), the round's episodes are collected and V and M are trained.

# %%
print("a row of the log:", ", ".join(history[-1]))
checked = [row for row in history if "check" in row]
for row in (checked[0], checked[-1]):
    where = f"round {row['round']}, generation {row['generation']}"
    print(f"{where}: average candidate {row['mean']:.0f}, best candidate {row['best']:.0f},")
    print(f"    mean of the distribution {row['check']:.0f} ± {row['check_std']:.0f} (SD)")
for number in range(len(config.rounds)):
    begun = next(row for row in history if row["round"] == number)
    print(f"round {number} begins with a median return of {np.median(begun['scores']):.0f}")

# %% [markdown]
# A candidate is the mean plus noise in 75 dimensions, and most of that noise makes it worse. (Early termination lowers the candidates' returns as well.) The return of the *best* candidate is a maximum over 48 noisy estimates and therefore biased upwards, the **winner's curse** of chapter 4.
#
# **Finding.** After ten generations, the mean of the distribution returns about 610 on other tracks, where the average candidate returns about 150. At the end of the search the two are close (881 and 843).
#
# ## 5.6 Keep C when M changes
#
# M is trained from new random weights in every round, so its $h$ has a new meaning, and the old C cannot read it. Both world models can process the same recorded episodes, though. Let $x_t$ be the features of the old world model and $x'_t$ those of the new one at the same moment. (Below, these are episodes of the final agent, with noise on its actions.) **Policy distillation by least squares** finds the weights that reproduce the old outputs from the new features:
#
# $$W', b' = \arg\min_{W', b'} \sum_t \big\lVert W' x'_t + b' - \mathrm{clip}(W x_t + b,\, -3,\, 3) \big\rVert^2 + \rho \lVert W' \rVert^2$$
#
# The outputs are taken before tanh, and clipped where tanh is flat; the weight of the penalty is $\rho = 30$. No new episode and no reward is needed.

# %%
figures.source(imitate)

# %%
store = scoring.collect_test_episodes(config, chapter.test_episodes, folder)
recorded = [
    [store.read(name, key) for key in ("frames", "actions", "rewards")] for name in store.names()
]
x = torch.cat([features(world_model, *episode) for episode in recorded])
print(f"{len(recorded)} episodes, features {tuple(x.shape)}")

# %% [markdown]
# **Predict:** train another M on recorded episodes, from another seed. What does the old C return when it reads the $h$ of this other M? And a distilled C?

# %%
work = config.run_folder(f"another_m-{scoring.agent_digest(folder)}")
latents = phases.encode(store, world_model.vae, work / "latents")
settings = {"epochs": config.rnn.epochs, "batch_size": config.rnn.batch_size}
pace = world_model.mdn_rnn.repeat  # environment steps per agent step
settings |= {"window": config.window(pace), "repeat": pace}
another_m, _ = phases.train_mdn_rnn(latents, work, seed=1, **settings)
another = WorldModel(world_model.vae, another_m)

x_new = torch.cat([features(another, *episode) for episode in recorded])
distilled = imitate(x_new, controller.raw(x).clamp(-3, 3), ridge=30.0)


# %%
def returns_of(controller, world_model, env_spec=env_spec):
    """The returns (n,) on the tracks of 5.3, in points."""
    specs, candidate = [EpisodeSpec(track) for track in tracks], ControllerPolicy(controller)
    episodes = run_episodes(env_spec, candidate, specs, world_model, executor=executor)
    return np.array([episode.score for episode in episodes])


with processes(machine.workers) as executor:
    as_drawn = returns_of(controller, world_model)
    distillation = {
        "old C, its own M": as_drawn,
        "old C, another M": returns_of(controller, another),
        "distilled C, another M": returns_of(distilled, another),
    }
for name, returns in distillation.items():
    print(f"{name:23} {episode_interval(returns).describe()}")
figures.episode_returns(distillation, "return (points)")

# %% [markdown]
# **Figure 5.6.** Returns on 32 tracks. Small dots: tracks. Large dots: means with 95% CIs. With the distilled C, most tracks return about 900 and four far less.
#
# **Finding.** For one other M, the old C returns 106 points (95% CI 86.6 to 122.2), the distilled one 825 (728.8 to 880.5), and the old C with its own M 907 (884.5 to 913.2). The intervals are over 32 tracks, not over Ms. (This M was trained on 24 episodes; in a run there are hundreds.) In Figure 5.5, accordingly, rounds 1 and 2 begin with a median candidate of 502 and 884, where round 0 began with 9. (Candidates are noisy, so this does not say how much the distillation itself lost.)
#
# ## 5.7 The score
#
# The score of this series is the mean return of the final C (the mean of the last distribution), **on held-out tracks, in the untouched Gymnasium environment, every episode to its end**. (Here the returns are read from the log; running all 1,000 tracks takes about an hour.) Track seeds below 1,000,000 are used for training, those from 1,000,000 on for scoring; the collecting code raises an error for a scoring seed.

# %%
with processes(machine.workers) as executor:
    score = scoring.score_run(config, folder, executor)
print(score)

# %% [markdown]
# The last number is the mean length of an episode, in environment steps. The best of these episodes, once more:

# %%
best = EpisodeSpec(score.tracks[score.scores.argmax()])
lap = record_episode(scoring_env_spec(config.env.max_steps), policy, best, world_model)
print(f"track {best.seed}: {lap.score:.0f} now, {score.scores.max():.0f} when it was scored")
path = config.figure("05_drive.gif")
frames = lap.recording["frames"][:125]
figures.moving_picture(frames, "the best episode", fps=50 / pace, save=path)

# %%
figures.score_histogram(score)

# %% [markdown]
# **Figure 5.7.** Left: the distribution of returns on 1,000 held-out tracks; each tick below it is one track. Right: the mean with its 95% CI, the median, and the mean that the paper reports (n = 100), ± 1.96 standard errors.
#
# "±" is the **standard deviation** of episodes: how much single tracks differ. The **confidence interval** is about the mean: how far it may be off because the number of tracks is finite. A return above 900 needs a complete lap, so lap completion is reported beside the score.
#
# <details><summary>Why above 900?</summary>
#
# An episode ends early only when *every* tile was touched, or when the car leaves the field (−100 points). An episode in which a tile is missed lasts all 1,000 steps, which cost 100 points, and returns at most about 897. (The documentation says that 95% of the tiles are enough. But that check is made only when the first tile of the track is touched for the first time, and the car starts on it.)
# </details>
#
# **The bootstrap.** The returns are skewed: most lie just above 900, a few are hundreds of points lower. A symmetric interval, mean ± 1.96 SD / $\sqrt n$, ignores that. The **bootstrap** does not need a formula for the distribution. Draw $n$ returns from the $n$ that you have, *with replacement*, and take their mean; repeat that many times:
#
# $$\bar R^{*}_k = \frac{1}{n} \sum_{i=1}^{n} R_{j_{k,i}}, \qquad j_{k,i} \text{ uniform on } 1 \dots n, \qquad k = 1 \dots K$$
#
# **Build 5.4: `interval`** (2 lines). The 2.5% and 97.5% quantiles of the means $\bar R^{*}_1 \dots \bar R^{*}_K$ are the **percentile bootstrap** interval of the mean. Write it, for returns (n,) and a NumPy `Generator`, with $K$ = `resamples`.

# %%
def interval(returns, rng, resamples=2000):
    """95% percentile-bootstrap interval of the mean of returns (n,): (low, high), in points.

    rng: a numpy Generator, from which all random numbers are drawn.
    """
    ...


interval = build.check(interval)

# %%
rng = np.random.default_rng(0)
low, high = interval(score.scores, rng)
print(f"percentile bootstrap: {low:.1f} to {high:.1f}")
for name, of_mean in {"BCa bootstrap": episode_interval, "Student's t": seed_interval}.items():
    i = of_mean(score.scores)
    print(f"{name + ':':21} {i.low:.1f} to {i.high:.1f}")

# %% [markdown]
# The three nearly agree. **BCa** (*bias-corrected and accelerated*, Efron 1987) shifts and stretches the percentile interval for skewed data. `episode_interval` computes it, here and above.
#
# **Coverage.** Take these tracks as the population and draw samples from it. (The shares below have a standard error of one point.)
#
# **Predict:** how often does the 95% interval of 20 episodes contain the mean of all?

# %%
truth = score.scores.mean()


def coverage(intervals_of, n, draws=2000):
    """The share of samples of n episodes whose interval contains the mean of all."""
    low, high = np.transpose(intervals_of(rng.choice(score.scores, (draws, n))))
    return np.mean((low <= truth) & (truth <= high))


def percentile(samples):
    return [interval(sample, rng, 1000) for sample in samples]


def bca(samples):
    options = {"axis": 1, "n_resamples": 1000, "batch": 20, "random_state": rng}
    return np.transpose(bootstrap((samples,), np.mean, **options).confidence_interval)


def students_t(samples):
    return [(i.low, i.high) for i in map(seed_interval, samples)]


# %%
for n in (20, 32, 50, 100):
    shares = {method.__name__: coverage(method, n) for method in (percentile, bca, students_t)}
    print(f"n = {n:3}: " + ", ".join(f"{name} {share:.0%}" for name, share in shares.items()))

# %%
figure, ax = figures.new_axes(width=6.4, height=3.2)
drawn = sorted(tuple(interval(sample, rng)) for sample in rng.choice(score.scores, (50, 20)))
for y, (low, high) in enumerate(drawn):
    ax.plot([low, high], [y, y], color=figures.REALITY if high >= truth >= low else "black")
ax.axvline(truth, color=figures.BASELINE, ls="--", label="mean of all")
xlabel = "95% bootstrap interval of the mean of 20 episodes (points)"
ax.set(xlabel=xlabel, ylabel="sample (sorted)")
ax.legend(loc="upper left")
figure

# %%
low_share, n = np.mean(score.scores < 800), len(as_drawn)
print(f"lowest of the {n} returns of 5.6: {as_drawn.min():.0f}; of all tracks {low_share:.1%}")
print(f"are below 800, so {(1 - low_share) ** n:.0%} of samples of {n} contain no such track")

# %% [markdown]
# **Figure 5.8.** Intervals of 50 samples of 20 episodes each. Black: intervals that miss the mean of all episodes. They are short, and all lie to its right.
#
# A sample without a failure has a high mean *and* a narrow interval. No method can correct this from the sample alone, because the rare event is not in it.
#
# The 32 tracks of 5.6 (fast renderer) contain one low return, 752, and their interval (884.5 to 913.2) contains 898, the mean over 1,000 tracks. The other 31 alone (912 ± 9 SD) give about 909 to 915, which misses it.
#
# **Finding.** This agent returns 898 ± 68 (SD, 1,000 tracks; 95% CI of the mean 893.0 to 901.5). The paper reports 906 ± 21 (SD, 100 tracks; so a standard error of 2.1): this agent's interval lies below it. An interval that claims 95% contains the mean in about two thirds of all samples of 20 episodes (63% to 69%), and in 87% to 89% of samples of 100. BCa does best of the three; its intervals of 32 episodes contain the mean in 76% of the samples. Figures 5.6, 5.13 and 5.14 also have n = 32; their returns and differences have other distributions, so their coverage is not known, and may be below 95% as well.
#
# ## 5.8 Three training runs
#
# The interval above is about one trained agent on other tracks. It says nothing about the next training run: other random episodes, other initial weights, another search. Two more runs were made, each from an empty folder with another seed.
#
# **Predict:** which is larger, the SD over episodes of one agent, or the SD over the mean scores of the three agents?

# %%
runs = {path.name: path for path in sorted(pretrained("car_racing").glob("seed*"))}
scored = {"this run": score} | {name: scoring.read_score(path) for name, path in runs.items()}
shared = min(len(result.tracks) for result in scored.values())
on_shared = {name: result.first(shared) for name, result in scored.items()}
for name, result in on_shared.items():
    print(f"{name:8} {result}")
means = {name: result.interval for name, result in on_shared.items()}
means["mean of the runs"] = seed_interval([i.mean for i in means.values()])
print(f"mean of the runs: {means['mean of the runs'].describe()}")

# %%
figures.intervals(means, f"mean return on {shared} held-out tracks (points)")

# %% [markdown]
# **Figure 5.9.** Three runs of one recipe on the same held-out tracks: means of episodes with bootstrap intervals, and the mean of the three means with Student's t interval.
#
# **Predict:** round 2 takes two thirds of the run. How many points does it add?

# %%
timelines = {"this run": timeline} | {name: rounds.timeline(path) for name, path in runs.items()}
gains, root = [], np.sqrt(config.search.check_tracks)
for name, rows in timelines.items():
    checks = {row["round"]: row for row in rows if "check" in row}  # the last one of each round
    before, last = list(checks.values())[-2:][0], list(checks.values())[-1]
    share = 1 - before["minutes"] / last["minutes"]
    gains.append(last["check"] - before["check"])
    error = np.hypot(before["check_std"], last["check_std"]) / root
    ends = ", ".join(f"{row['check']:.0f} ± {row['check_std']:.0f}" for row in checks.values())
    gain = f"{gains[-1]:+.0f} points, standard error {error:.0f}"
    print(f"{name:8} last checks of the rounds: {ends} (SD)")
    print(f"         last round: {share:.0%} of the time, {gain}")
print(f"mean gain of the last round: {seed_interval(gains).describe(0)}")

# %% [markdown]
# For one run alone, the gain is no more than about two standard errors (of two checks, taken as independent). Over the three runs it is 27 points on average, with an interval that begins at 0. Whether the new data or the longer search adds them, these logs cannot tell.
#
# One agent also has several numbers, because it was run on several sets of tracks:

# %%
print(f"last check {checked[-1]['check']:.0f}, the tracks of 5.3 {as_drawn.mean():.0f},")
print(f"held-out tracks {on_shared['this run'].interval.mean:.0f} and {score.interval.mean:.0f}")
print(f"n = {config.search.check_tracks}, {len(as_drawn)}, {shared} and {len(score.tracks)} tracks")

# %% [markdown]
# ([Chapter 4.7](04_controller.ipynb) has 894 on 32 further tracks.) Two standard errors of a check are $2 \cdot 114 / \sqrt{32} \approx 40$ points for this run. The differences between these numbers are smaller.
#
# The authors of the paper published the log of their run. Figure 5.10 compares it with ours; the cell prints the first check above 860 points:

# %%
for name, rows in timelines.items():
    checks = [row for row in rows if "check" in row]
    first = next((row for row in checks if row["check"] > 860), checks[-1])
    print(f"{name:8} {first['minutes'] / 60:.2f} hours: {first['check']:.0f} points")
this_run, *other_runs = timelines.values()
figures.wall_clock(this_run, other_runs)

# %% [markdown]
# **Figure 5.10.** Checks of the mean of the distribution, against the hours since the start (logarithmic). Blue: 32 episodes per point, fast renderer, everything since an empty folder; the two other runs shared their cores with other work. Grey: three points of the published log (after 15.6, 30 and 1,119 hours), 1,024 episodes per point; its clock is that of the search alone.
#
# Machines and methods differ, so only the order of magnitude can be compared. The three runs first exceed 860 after 0.29, 0.31 and 0.34 hours on two cores; the published log reaches 867 after 30 hours on 64 workers. (A first crossing by a noisy curve comes early, by the winner's curse.)
#
# **Finding.** The recipe returns 899 on average over three runs (95% CI of the mean 888 to 910, Student's t, n = 3 runs). This interval contains the paper's 906, although that of our agent lies below it: one agent can be distinguished from the paper's, the recipe cannot. The SD over episodes is 65 to 86 points, the SD over the three means 4. By chance alone, three equally good agents would have means with an SD of about 8 points on 100 independent tracks (their standard errors are 7 to 9), and of about 7 on shared ones, on which their returns correlate. So we see no sign of variation between runs, and cannot exclude some. With this SD, which three values determine only roughly, two recipes of three runs each would have to differ by $2.78 \cdot 4.3 \cdot \sqrt{2/3} \approx 10$ points to be distinguished (Student's t, 4 degrees of freedom).
#
# ## 5.9 Where it fails
#
# 85% of the episodes are complete laps, and 11% miss some tiles but return at least 800 points. The few others lose more than 100 points each:

# %%
print(f"mean {score.scores.mean():.1f}, median {np.median(score.scores):.1f}")
print(f"returns below 800: {np.mean(score.scores < 800):.1%} of the tracks")

# %% [markdown]
# **Predict:** the same agent runs once more on the 40 tracks on which it scored less than 800. On how many does it return less than 800 again?
#
# `hairpins.survey` runs it on the 48 tracks with the lowest scores and on a sample of the others. (Such a *case-control* design can compare failures with successes, but not estimate how frequent failures are.)

# %%
order, count = np.argsort(score.scores), chapter.test_episodes
lowest, others = order[: 2 * count], order[2 * count :: max(1, len(order) // count)]
surveyed = [score.tracks[i] for i in (*lowest, *others)]
survey = hairpins.survey(env_spec, policy, surveyed, world_model)
then, low_again = score.scores[lowest], survey.returns[: len(lowest)] < 800
for name, part in {"below 600": then < 600, "600 to 800": (then >= 600) & (then < 800)}.items():
    print(f"{part.sum()} tracks with scores {name}: {low_again[part].sum()} below 800 again")

# %% [markdown]
# Only 15 of the 40, and of the 12 lowest only one. This is **regression to the mean**: tracks that were selected for low scores return more on average when the episode is repeated, here with frames that differ by less than one grey level on average (5.11), and with other rounding. So such differences, and not the track alone, decided the first scores.
#
# Three hypotheses about the failures that remain: (a) V reconstructs some turns badly, so C does not get the information; (b) such turns are so rare that the search gets little signal about them; (c) candidates are terminated early, so nothing that happens after a failure is selected.
#
# The survey also records how far the road turns within the next 12 tiles. A *hairpin* is a turn of more than 90 degrees that comes into view while the car is on the road, a *sharp* one of more than 120. The car *fails* there if no new tile follows for 50 agent steps.

# %%
low, episode_of = survey.returns < 800, survey.column("episode")
turn, error, failed = (survey.column(name) for name in ("turn", "error", "failed"))
at_hairpin = np.isin(np.arange(len(low)), episode_of[failed])
elsewhere = (survey.gaps >= hairpins.STUCK) & ~at_hairpin
print(f"{low.sum()} of {len(low)} episodes return less than 800;")
kinds = {"fail at a hairpin": at_hairpin, "fail elsewhere": elsewhere}
for name, part in (kinds | {"never stop, but miss tiles": ~at_hairpin & ~elsewhere}).items():
    print(f"    {(low & part).sum()} {name}")
print(f"{(at_hairpin & ~low).sum()} of the other episodes fail at a hairpin")
in_sample = episode_of >= len(lowest)
left, right = turn > 0, turn < 0
print(f"the {len(others)} tracks of the sample have {(left & in_sample).sum()} left-hand hairpins")
print(f"and {(right & in_sample).sum()} right-hand ones")

# %% [markdown]
# The tracks of CarRacing are closed loops that are driven counter-clockwise. Most of their turns go left; a hairpin to the right needs a track that winds back, and is *rare*.
#
# The next table has the hairpins of *all* surveyed episodes, with V's squared error averaged over the first 12 agent steps, in which the car still approaches. The table after it has V's error on single frames, by the turn of the road ahead in that frame, and on their mirror images, in which a left turn is a right turn. Means and intervals are over episodes, because the hairpins and frames of one episode are alike.

# %%
sharp, recovered = np.abs(turn) > 120, survey.column("recovered")
sides, sizes = {"left": left, "right": right}, {"90 to 120": ~sharp, "sharp": sharp}
for side, size in itertools.product(sides, sizes):
    part = sides[side] & sizes[size]
    print(f"{side:5} {size:9} {part.sum():3} hairpins, {failed[part].sum()} failed, ", end="")
    print(f"V's error {hairpins.describe(error[part], episode_of[part])}")
for name, part in {"failed": failed, "passed": ~failed}.items():
    part = right & sharp & part
    print(f"sharp right, {name}: V's error {hairpins.describe(error[part], episode_of[part])}")
print(f"{failed.sum()} failures; after {(failed & recovered).sum()} another tile was reached")

# %%
sample_of, degrees, real_error, mirror_error = survey.samples
for low_end, high_end in ((90, 120), (120, 240)):
    to_left = (degrees >= low_end) & (degrees < high_end)
    to_right = (-degrees > low_end) & (-degrees <= high_end)
    print(f"frames, {low_end} to {high_end} degrees:")
    print(f"  left           {hairpins.describe(real_error[to_left], sample_of[to_left])}")
    print(f"  left, mirrored {hairpins.describe(mirror_error[to_left], sample_of[to_left])}")
    print(f"  right          {hairpins.describe(real_error[to_right], sample_of[to_right])}")
figures.error_by_turn(*survey.samples, turn, error, failed)

# %% [markdown]
# **Figure 5.11.** V's squared error. Left: every tenth frame of these episodes and its mirror image, both by the turn of the road in the frame before mirroring (mean over episodes with 95% CI; bins end at ±10, 30, 60, 90 and 120 degrees). Right: hairpins, averaged over the approach. One right-hand hairpin with an extreme error was passed.
#
# Mirroring alone changes V's error: for left turns above 120 degrees it rises from 32 to 79, for those of 90 to 120 degrees from 30 to 53. The road is the same, so V's error depends on the direction. (Real right turns: 64 and 47.) The asymmetry most likely comes from the training data, in which right-hand hairpins are rare.

# %%
sharpest, strips = np.argsort(-np.abs(turn)), {}
kinds = {"right, failed": right & failed, "right, passed": right & ~failed}
for name, wanted in (kinds | {"left, passed": ~right & ~failed}).items():
    for k in sharpest[wanted[sharpest]][:1]:
        strips[name] = survey.hairpins[k].frames[::4]
        reconstruction = world_model.decode(world_model.encode(strips[name]))
        strips[f"{name}, reconstruction"] = tensor_to_frames(reconstruction)
colors = {k: figures.DREAM if "recon" in k else figures.REALITY for k in strips}
if strips:
    display(figures.frame_grid(strips, [f"+{4 * k}" for k in range(6)], colors, size=0.9))

# %% [markdown]
# **Figure 5.12.** The sharpest right-hand hairpin at which the agent fails, the sharpest right-hand one that it passes, and the sharpest left-hand one: frames (blue) and V's reconstructions (orange). Time in agent steps since the hairpin came into view.
#
# V reconstructs the left-hand hairpin as a curved road, and the right-hand ones in some frames as a blob or a fork. At the sharp right-hand hairpins, however, its errors where the car fails and where it passes are similar (71 and 63; 7 and 17 hairpins are too few to detect a difference of 10), so the data do not separate (a) from (b). After a failure, no car reaches another tile. That fits (c), but does not prove it, as no search without early termination was run here.
#
# **The same tracks, mirrored.** `training_env_spec(config, mirror=True)` flips the frames and negates the steering on every track with an odd seed, and nothing else: the shape of the road, the physics and the rewards are the same. The tracks of 5.3 have odd seeds.
#
# **Predict:** what is the mean return on the mirrored tracks?

# %%
with processes(machine.workers) as executor:
    mirrored_env_spec = car_racing.training_env_spec(config, mirror=True)
    mirrored = returns_of(controller, world_model, mirrored_env_spec)
change = mirrored - as_drawn
print(f"as drawn:   {episode_interval(as_drawn).describe()}")
print(f"mirrored:   {episode_interval(mirrored).describe()}")
print(f"difference: {episode_interval(change).describe()}")
lost, losses = change < -300, np.sort(-change).round().astype(int)
print(f"{lost.sum()} of {len(change)} tracks lose more than 300 points:", *losses[losses > 300])
print(f"the others lose {-change[~lost].mean():.0f} on average, at most {-change[~lost].min():.0f}")
figures.differences({"mirrored": change}, "difference of returns (points)")

# %% [markdown]
# **Figure 5.13.** Return on the mirrored track minus return on the track as drawn. Small dots: tracks. Large dot: mean with 95% CI. The mean describes no track: 9 of the 32 lose 352 to 848 points, the others 3 on average. (Among these, the one that returned 752 gains about 160, and the other 22 lose about 10 on average.)
#
# Only the direction has changed, so the agent drives left turns more reliably than right ones: 23 of the 32 mirrored tracks lose at most 36 points, the other 9 more than 300. Right turns are rare both in V's frames and in C's episodes. A remedy would be **data augmentation**: `--env.mirror` trains with every second track mirrored; whether it helps was not tested here.
#
# **Finding.** Mirrored, the agent loses 187 points on average (95% CI of the paired difference 93 to 308, n = 32 tracks): 9 tracks lose 352 to 848 points, the others, but for one, hardly change. Of its 12 hairpin failures in 72 episodes (one stop counts at two hairpins), 10 are to the right, though right-hand hairpins are rare (13 of 84 in the sample). V's error is twice as large at sharp right-hand hairpins (66 against 33). Whether V or C is the limit remains open.
#
# ## 5.10 Break it: wipe the memory
#
# Reset M's $h$ and $c$ before every step (the bug from chapter 3) and keep C as it is. Then $h$ holds only the previous $z$ and action.
#
# **Predict:** the mean return on these tracks, 907, falls to what? Do most tracks lose a little, or some a lot, as in Figure 5.13?

# %%
class Forgetful(WorldModel):
    """A world model whose memory is reset before every step."""

    def observe(self, state, actions, frames, rewards=None):
        blank = state._replace(h=state.h * 0, c=state.c * 0)
        return super().observe(blank, actions, frames, rewards)


with processes(machine.workers) as executor:
    wiped = returns_of(controller, Forgetful(world_model.vae, world_model.mdn_rnn))
change = wiped - as_drawn
print(f"with memory: {episode_interval(as_drawn).describe()}")
print(f"reset:       {episode_interval(wiped).describe()}")
print(f"difference:  {episode_interval(change).describe()}")
print(f"the tracks lose {-change.max():.0f} to {-change.min():.0f} points")
figures.differences({"memory reset": change}, "difference of returns (points)")

# %% [markdown]
# **Figure 5.14.** Return with the memory reset at every step, minus the return with memory, on the same tracks. Small dots: tracks. Large dot: mean with 95% CI. Here *every* track loses (58 to 635 points), where mirroring caused a few large losses.
#
# This is what *this* C loses, as it was evolved with the memory. It is not the value of memory for an agent that was trained without it. In [chapter 4.7](04_controller.ipynb), $h$ was *fixed* at its average, and the mean return on other tracks was lower, about 405. An $h$ that is reset still varies with the previous $z$ and action.
#
# **Finding.** Without memory the same C loses 232 points on average (95% CI of the paired difference 195 to 287, n = 32 tracks), at least 58 on every track.
#
# ## 5.11 Where the time goes
#
# Each phase of the run logged its time on two cores:

# %%
seconds = {"collect": 0.0, "train V": 0.0, "encode": 0.0, "train M": 0.0, "evolve C": 0.0}
for name, log in {"collect": collected, "encode": read_log(folder / "encode.jsonl")}.items():
    seconds[name] = sum(row["seconds"] for row in log)
# The other clocks start anew in every round, so the last row of each round counts.
trained = {"train V": curves["vae"], "train M": curves["mdn_rnn"], "evolve C": history}
for name, log in trained.items():
    seconds[name] = sum({row["round"]: row["seconds"] for row in log}.values())
for name, value in (seconds | {"all": sum(seconds.values())}).items():
    print(f"{name:8} {value / 60:6.1f} minutes")
ran = sum(len(row["scores"]) * row["rollouts"] for row in history)
print(f"candidates ran {ran:,} episodes")

# %% [markdown]
# Evolving C takes most of the time, and it is almost only running episodes. So the speed of the environment decides whether the loop fits on a laptop. Profile before you optimize:
#
# **Predict:** if Gymnasium's CarRacing did not have to draw its frames, how many times faster would it be?

# %%
original = gym.make("CarRacing-v3")
original.reset(seed=1)
parts = {
    "drawing": "car_racing.py: _render",
    "the car's forces": "car_dynamics.py: step",
    "the physics engine": "~: <built-in method Box2D._Box2D.b2World_Step>",
}
for name, share in renderers.profile_shares(original, parts).items():
    print(f"{name:20} {share:6.1%}")

# %% [markdown]
# The profiler slows down Python calls, but not compiled code, so its shares are approximate. The speeds below measure the same without a profiler.
#
# Gymnasium draws hundreds of polygons on a canvas of 1000 × 800 pixels, shrinks it to 96 × 96, and does so 50 times per second of simulated time. But the track does not move; the camera does. It shifts, rotates and, in the first second, zooms, and each of these is an **affine map**. So `wmlib`'s fast renderer draws the track *once* per episode, as a texture seen from above:

# %%
fast = gym.make("wmlib/CarRacing-v3")
fast.reset(seed=best.seed)
actions = np.repeat(lap.recording["actions"], pace, axis=0)[:250]
for action in actions[:200]:
    frame, *_ = fast.step(action)
figures.texture_and_frame(fast, frame)

# %% [markdown]
# **Figure 5.15.** Left: the texture of one track; the blue square is the part that the camera sees, the arrow the car's heading. Right: the frame, which is this square, rotated so that the heading points up, and the car.
#
# Every frame is one **warp**. A pixel $p$ of the 64 × 64 frame shows the texture at $q = S R\, p + d$: $R$ is the rotation by the car's heading, $S$ the zoom, $d$ the car's position. The car is drawn on top; it is always at the same place of the frame. With a frame skip of 2, the frame in between is not drawn at all. Physics, rewards and tracks are Gymnasium's own code. To check parity, both environments take the recorded actions of the best episode on its track:

# %%
moments = np.linspace(10, len(actions) - 1, 6, dtype=int)
strips, differences, equal = renderers.compare_renderers(best.seed, actions, moments)
print(f"all rewards equal: {equal}; mean difference {differences.mean():.2f} of 255 grey levels")
figures.frame_grid(strips, [f"{t / 50:.1f} s" for t in moments])

# %% [markdown]
# **Figure 5.16.** The same moments drawn by Gymnasium and by the fast renderer, and ten times their difference. The edges, most of all those of the car, differ because the two renderers resample them differently.
#
# `tests/test_fast_car_racing.py` compares many tracks. (Scores are always taken on Gymnasium's own frames.) The speeds, as medians of interleaved repetitions:

# %%
blind = gym.make("CarRacing-v3")
blind.unwrapped._render = lambda mode: np.zeros((96, 96, 3), np.uint8)
envs = {"Gymnasium": original, "fast renderer": fast, "Gymnasium, no frames": blind}
rates = renderers.step_rates(envs)
for name, rate in rates.items():
    times = rate / rates["Gymnasium"]
    print(f"{name:20} {rate:7.0f} steps per second, {times:4.0f} times Gymnasium")
print(f"drawing: {1 - rates['Gymnasium'] / rates['Gymnasium, no frames']:.1%} of Gymnasium's time")

# %% [markdown]
# `python -m wmlib bench` measures more, including a stronger baseline: [EnvPool](https://github.com/sail-sg/envpool) reimplements CarRacing in C++, with its own track generator and its own renderer (`pip install envpool`).

# %%
published = json.loads(paths.published("bench.json").read_text(encoding="utf-8"))
steps = [row for row in published["rows"] if row["unit"] == "environment steps per second"]
alone = [row for row in steps if row["cores"] == 1 and "frame skip" not in row["name"]]
figures.bench(published | {"rows": alone})

# %% [markdown]
# **Figure 5.17.** Environment steps per second (logarithmic), as published with this chapter. Grey: baselines; blue: ours. The speeds are those of the machine named below the figure, not of the one on which the cells above ran, so compare only the ratios.
#
# The same code runs the paper's scale, up to 1.8 billion environment steps: `python -m wmlib run car_racing --scale paper --dry-run` says how long it would take on this machine.
#
# **Finding.** Drawing takes about 98% to 99% of the time of Gymnasium's CarRacing (without the profiler): with no frames at all it would be more than 60 times as fast (above, and Figure 5.17). With one texture per episode and one warp per frame, the environment is more than 30 times as fast, with the same physics and rewards, and with frames that differ by less than one grey level on average.
#
# ## 5.12 Exercises
#
# **1. Check our numbers.** Run the first three held-out tracks in Gymnasium's environment with your own `run_episode`, and compare with the published scores. Most agree closely; with other rounding, as on another processor, single episodes may differ.
#
# ```python
# gym_env = scoring_env_spec(config.env.max_steps).at_pace(world_model).make_one()
# yours = [...]  # the returns on score.tracks[:3]
# assert np.median(np.abs(np.array(yours) - score.scores[:3])) < 20
# ```
#
# <details><summary>Solution</summary>
#
# ```python
# yours = [run_episode(gym_env, world_model, controller, seed) for seed in score.tracks[:3]]
# ```
# </details>
#
# **2. How many tracks?** The half-width of a 95% interval of the mean is about $2\,\mathrm{SD}/\sqrt n$. Write `tracks_needed(std, half_width)`, rounded up.
#
# ```python
# assert tracks_needed(68, 10) == 185  # this agent, to within 10 points
# assert tracks_needed(21, 10) == 18   # the paper's
# assert tracks_needed(68, 5) == 740
# ```
#
# Why is 18 nevertheless too few for an agent whose SD you do not know yet?
#
# <details><summary>Hint</summary>
#
# Solve $2\,\mathrm{SD}/\sqrt n \le$ half-width for $n$. For the question, see Figure 5.8.
# </details>
# <details><summary>Solution</summary>
#
# ```python
# def tracks_needed(std, half_width):
#     return int(np.ceil((2 * std / half_width) ** 2))
# ```
#
# The SD is dominated by rare failures, and 18 tracks often contain none: then the SD is underestimated, and with it the number of tracks.
# </details>
#
# **3. The winner's curse.** Suppose that all candidates of a generation had the same true return, and that their measured returns scattered around it with a standard deviation of 1. By how much would the best of `candidates` exceed it on average? Simulate it, with any number of generations.
#
# ```python
# def excess_of_best(candidates, rng): ...
# assert 2.1 < excess_of_best(48, rng) < 2.35
# assert 1.3 < excess_of_best(8, rng) < 1.55
# ```
#
# Compare with the log: in each of the last ten generations, `history[-10:]`, by how many SDs of `row["scores"]` (the 48 candidates' returns) does `row["best"]` exceed `row["mean"]`?
#
# <details><summary>Hint</summary>
#
# `rng.standard_normal((generations, candidates))` has a generation per row.
# </details>
# <details><summary>Solution</summary>
#
# ```python
# def excess_of_best(candidates, rng):
#     return rng.standard_normal((10_000, candidates)).max(axis=1).mean()
#
# np.mean([(row["best"] - row["mean"]) / np.std(row["scores"]) for row in history[-10:]])
# ```
#
# In the log it is about 0.8, less than the 2.2 SDs of normal noise, because returns have a long tail below and a limit above. The *measured* return of the best of 48 exceeds its true one on average in either case: a report of "the best candidate" is not a score.
# </details>
#
# **4. Mean or median?** Compute a 95% percentile-bootstrap interval of the *median* of the differences of Figure 5.13, `mirrored - as_drawn`. What does the median hide?
#
# ```python
# def interval_of_median(values, rng, resamples=2000): ...
# low, high = interval_of_median(mirrored - as_drawn, rng)
# assert -60 < low < high < 10
# ```
#
# <details><summary>Solution</summary>
#
# ```python
# def interval_of_median(values, rng, resamples=2000):
#     medians = np.median(rng.choice(values, (resamples, len(values))), axis=1)
#     return np.quantile(medians, [0.025, 0.975])
# ```
#
# On the typical mirrored track the agent loses 10 to 20 points. The median hides that it fails on more than a quarter of them.
# </details>
#
# **5. A frame skip of four.** How far do the front wheels turn within one agent step at full steering, with a frame skip of 2 and of 4? And when the steering is held for long? Measure it: `fast.unwrapped.car.wheels[0].joint.angle` (radians) after some environment steps with the action (1, 0, 0).
#
# ```python
# def turned(steps): ...
# assert np.isclose(turned(4), 2 * turned(2), rtol=0.1)
# assert 0.5 < turned(4) / turned(20) < 0.65
# ```
#
# <details><summary>Hint</summary>
#
# Reset `fast`, take `steps` environment steps with `np.array([1, 0, 0], np.float32)`, and return the absolute angle.
# </details>
# <details><summary>Solution</summary>
#
# ```python
# def turned(steps):
#     fast.reset(seed=1)
#     for _ in range(steps):
#         fast.step(np.array([1, 0, 0], np.float32))
#     return abs(fast.unwrapped.car.wheels[0].joint.angle)
# ```
#
# 0.13 and 0.25 of 0.43 rad. With a frame skip of 4, the wheels turn more than half of the way from straight to full lock before the agent can react. To measure what that costs, train three seeds of each (`python -m wmlib run car_racing --frame-skip 4 --seed 1`).
# </details>
#
# ## Summary
#
# - A round is collect, train V, train M, distill and evolve C; the agent of one round collects for the next. A random episode returns 9 points on average, one of round 0's agent 524.
# - When M is retrained, C is kept by least-squares distillation: for one other M, 825 points in place of 106.
# - This agent returns 898 ± 68 (SD, 1,000 held-out tracks; 95% CI of the mean 893.0 to 901.5), below the paper's 906; the recipe 899 over three runs (95% CI 888 to 910), which contains it.
# - Nominal 95% intervals of 20 episodes contain the mean only about two thirds of the time, because failures are rare.
# - The agent drives left turns more reliably than right ones: on the same tracks mirrored, it loses 187 points on average (95% CI 93 to 308, n = 32), nearly all of them on 9 tracks. Of 12 hairpin failures, 10 are to the right.
# - Without its memory it loses 232 points on average (95% CI 195 to 287, n = 32), at least 58 on every track.
# - Drawing takes about 98% to 99% of the time of Gymnasium's CarRacing; with the fast renderer it is tens of times as fast.
#
# **What's next.** C was evolved in the real environment, with about twenty thousand episodes. In [chapter 6](06_dreaming.ipynb) it is evolved without it: M becomes the environment.
#
# ## Related work
#
# Published CarRacing results of agents that see pixels, with what their authors report about uncertainty. (CarRacing-v0 to v3 differ in details, so small differences mean nothing. *Not stated*: neither the README nor the page says it.)
#
# | agent | return (mean ± SD of episodes) | episodes | source |
# |---|---|---|---|
# | World Models (V, M, C) | 906 ± 21 | 100 | [Ha & Schmidhuber 2018](https://worldmodels.github.io/) |
# | the same, C reads $z$ alone | 632 ± 251 | 100 | the same |
# | PyTorch reimplementation | 860 ± 120 | not stated | [ctallec/world-models](https://ctallec.github.io/world-models/) |
# | the same, M untrained | 870 ± 120 | not stated | the same |
# | genetic algorithm, V, M and C evolved end to end | 903 ± 73 | 100 | [Risi & Stanley 2019](https://arxiv.org/abs/1906.08857) |
# | AttentionAgent, CMA-ES | 914 ± 15 | 100 | [Tang, Nguyen & Ha 2020](https://attentionagent.github.io/) |
# | the same, a reimplementation in PyTorch | 903 ± 12, after 4 days on 32 CPUs | not stated | [kachayev/car-racing-attention-agent](https://github.com/kachayev/car-racing-attention-agent) |
# | PPO, frame stack 4, action repeat 8 | 865 ± 159 | 100 | in the AttentionAgent paper; [code](https://github.com/xtma/pytorch_car_caring) |
# | PyTorch reimplementation | 915.9, "best agent", no spread given | not stated | [Flydexo/ha_schmidhuber](https://github.com/Flydexo/ha_schmidhuber) |
# | this chapter, mean of three training runs | 899, SD of episodes 65 to 86 | 100 per run | 5.8 |
#
# - [Ha & Schmidhuber 2018](https://arxiv.org/abs/1803.10122) introduced V, M and C and this benchmark's recipe; their [log and code](https://github.com/hardmaru/WorldModelsExperiments) are public.
# - [Risi & Stanley 2019](https://arxiv.org/abs/1906.08857) trained all parts end to end with a genetic algorithm.
# - [Tang, Nguyen & Ha 2020](https://arxiv.org/abs/2003.08165) evolved an agent that attends to a few image patches; they list PPO among the baselines.
# - [Weng et al. 2022](https://arxiv.org/abs/2206.10558) built EnvPool, fast environments in C++.
# - [Hansen 2016](https://arxiv.org/abs/1604.00772) is the tutorial on CMA-ES; [Efron 1987](https://doi.org/10.1080/01621459.1987.10478410) introduced the BCa bootstrap; [Henderson et al. 2018](https://arxiv.org/abs/1709.06560) and [Agarwal et al. 2021](https://arxiv.org/abs/2108.13264) showed how misleading few training runs are.
