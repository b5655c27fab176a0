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
# **What you'll do.** Put V, M and C together: collect episodes, train V and M, evolve C, score the agent on held-out tracks, find out where it fails, and make the whole loop fast enough for a laptop. You write the rollout and the confidence interval.
#
# **What you'll learn.** How the parts fit together; how to report a score with its uncertainty; why one training run is not a result; how to find and remove a bottleneck.
#
# **What you need.** Chapters [2](02_vae.ipynb) to [4](04_controller.ipynb): $z$, $h$, and CMA-ES.
#
# **How long.** 60 minutes of reading and building; running all cells takes about 3 minutes on two cores.

# %%
import cProfile
import json
import pstats
import tempfile
import time
from pathlib import Path

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
from wmlib.pipeline.config import Machine
from wmlib.pipeline.scales import get_chapter_config, get_config, get_machine
from wmlib.rollout.policies import ControllerPolicy, EpisodeSpec
from wmlib.rollout.rollout import one_thread, record_episode, run_episodes
from wmlib.rollout.workers import processes
from wmlib.tools import estimate
from wmlib.training.evolution import Evolution
from wmlib.training.search_space import Directions, imitate
from wmlib.view import build, figures, hairpins

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
# A random policy leaves the road after a few bends, so V and M of round 0 have never seen a fast car or most of a track. A trained agent visits those states. Training again on **on-policy data** removes part of this *distribution shift*; the paper proposes the same iteration in its section 5.

# %%
figures.loop_diagram(config)

# %% [markdown]
# **Figure 5.2.** One round, with the settings of this run's rounds below each phase. Blue: phases that act in the real environment.
#
# Two settings hold for the whole chapter. The **frame skip** (action repeat) is 2: the agent acts at every second environment step, 25 times per second, and the action is held in between. An **agent step** is therefore two environment steps. And candidates of the search are stopped after 60 environment steps without progress (**early termination**); scores are never taken that way.
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
figures.training_curves(curves["vae"], labels)

# %% [markdown]
# **Figure 5.3.** V's training loss, in its two parts. A dotted line marks the next round, in which V is trained further.

# %%
labels = {"nll": "M: -log p(next z) (nats per dimension)"}
labels |= {"reward": "M: squared error of the reward (points²)"}
figures.training_curves(curves["mdn_rnn"], labels)

# %% [markdown]
# **Figure 5.4.** M's training loss. M starts from new random weights in every round, because V has changed, and with it the meaning of $z$.
#
# M's reward error rises from round to round. A likely reason is the data: a car that stands on the grass has a constant reward of −0.1 per step, which is easy to predict, and a fast car reaches a tile at irregular times.
#
# **Finding.** A random episode lasts about 230 steps and has a return of about 10. With noise on its actions, an episode of round 0's agent lasts the full 1,000 steps and returns more than 500.
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
# - `world_model.observe(state, actions, frames, rewards)`: M's step with `actions` (B, 3) taken in `state`, then V's with the frames that followed; `rewards` is a tensor (B,).
# - `state.features`: $[z, h]$, (B, 288). `controller(state.features)`: actions (B, 3).
#
# Here B = 1, and an environment knows nothing of batches: it takes a NumPy action of shape (3,), `actions[0].numpy()`, and returns `frame` (64, 64, 3), `reward`, `terminated`, `truncated` and `info`.
#
# **Build 5.1: `agent_step`** (4 lines). One agent step in an environment.

# %%
def agent_step(env, world_model, controller, state):
    """One agent step in an environment: (next state, reward, terminated, truncated).

    state: a State of one row. reward: float, in points. terminated, truncated: bool.
    """
    ...


agent_step = build.check(agent_step)

# %%
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
# **Build 5.2: `run_episode`** (8 lines). Now a whole episode. `env.reset(seed=seed)` returns the first frame and an `info`; the seed decides the track. An episode ends when the environment **terminates** it (the lap is complete, or the car left the field) or **truncates** it (the limit of 1,000 steps). The **return** is the sum of all its rewards, the last one included: $R = \sum_t r_t$.

# %%
def run_episode(env, world_model, controller, seed):
    """The return of one episode on the track of this seed: float, in points."""
    ...


run_episode = build.check(run_episode)

# %% [markdown]
# Your loop runs one environment. The package's `rollout` runs the same loop for 64 at once, so that V encodes their frames as one batch. Compare the two on tracks that nothing was trained on.
#
# **Predict:** are the returns equal?

# %%
policy = ControllerPolicy(controller)
with one_thread():
    for track in tracks[:3]:
        single = run_episode(env, world_model, controller, track)
        batched = record_episode(env_spec, policy, EpisodeSpec(track), world_model).score
        print(f"track {track}: run_episode {single:.1f}, the package's rollout {batched:.1f}")
rows = torch.randn(100, 1, controller.feature_size, generator=torch.Generator().manual_seed(0))
apart = max((controller(row) - controller(row.repeat(4, 1))).abs().max() for row in rows)
print(f"C's actions for 1 row and for 4 equal rows, 100 random rows: apart by up to {apart:.0e}")

# %% [markdown]
# They differ by one to three points. V and M give the same $z$ and $h$ in both, bit by bit, because the package makes their rows independent of the size of the batch. C's sum of 288 products is rounded differently for one row than for the rollout's batch, which has at least four. CarRacing is **chaotic**: a difference of $10^{-7}$ in an action grows until the car takes another line. For the same reason, single episodes differ between processors; means over many tracks do not, beyond their uncertainty.
#
# **Finding.** A rollout is a loop of a dozen lines; yours and the package's agree to within about three points per episode here.
#
# ## 5.4 Search in 24 principal components
#
# C has 867 parameters, but the 288 features do not vary independently. This run's search is restricted to *changes* of C that read only the main **principal components** of $x = [z, h]$:
#
# $$W' = W + A P, \qquad b' = b + c - A P\,\bar x, \qquad P_i = \frac{v_i^\top}{\sqrt{s_i}} \Big/ \sqrt{\textstyle\sum_j s_j}$$
#
# $\bar x$ is the mean of $x$ over recorded episodes, $v_i$ its $i$-th principal component, $s_i$ the standard deviation along it, and $P$ (24 × 288) has the rows $P_i$. CMA-ES searches over $A$ (3 × 24) and $c$ (3): 75 numbers. A changed C is again linear in $x$, with the same 867 parameters. `expand` is the equation, for a whole population of points (`self.matrix` is $P$, `self.mean` is $\bar x$):

# %%
figures.source(Directions.expand)

# %% [markdown]
# **Predict:** how many numbers would the same search have with all 288 components?

# %%
episodes = scoring.collect_test_episodes(config, chapter.test_episodes)
recorded = [
    [episodes.read(name, key) for key in ("frames", "actions", "rewards")]
    for name in episodes.names()
]
x = torch.cat([features(world_model, *episode) for episode in recorded])
directions = Directions.of(x, config.search.directions)
components = directions.matrix / np.linalg.norm(directions.matrix, axis=1, keepdims=True)
share = (x.numpy() @ components.T).var(0).sum() / x.numpy().var(0).sum()
print(f"{controller.num_parameters} parameters, searched in {directions.num_parameters}")
print(f"{len(components)} of {x.shape[1]} components: {share:.0%} of the variance of [z, h]")

# %% [markdown]
# With all 288 components it would have $3 \cdot 288 + 3 = 867$ again.
#
# **Finding.** The run searches in 24 principal components, which hold about 95% of the variance of $[z, h]$: 75 numbers. [Chapter 4](04_controller.ipynb) found no measurable benefit or harm in short searches; we keep it because the pretrained runs were made this way.
#
# ## 5.5 Evolve C
#
# In each generation CMA-ES draws 48 candidates. All of them run on the same randomly chosen tracks (**common random numbers**), so that a candidate's rank does not depend on an easy track. The differences between candidates shrink as they improve, so the number of tracks grows: 2 in rounds 0 and 1, 4 in round 2, and 8 in its last ten generations. Every ten generations the *mean* of the search distribution, which is the C that we keep, is run on 32 other tracks.
#
# **Predict:** the candidates' returns are widely spread. Is the mean of the distribution better or worse than its average candidate?

# %%
history = read_log(folder / "evolution.jsonl")
rows = rounds.timeline(folder)
figure = figures.learning_curve(rows)
path = config.figure("05_learning_curve.png")
path.parent.mkdir(parents=True, exist_ok=True)
figure.savefig(path, dpi=80)
figure

# %% [markdown]
# **Figure 5.5.** Returns during the search. Line and band: all candidates of a generation, which are terminated early. Circles: the mean of the distribution on 32 other tracks, whole episodes, ± the SD of episodes.

# %%
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
# M is trained from new random weights in every round, so its $h$ has a new meaning, and the old C cannot read it. Both world models can process the same recorded episodes, though. Let $x_t$ be the features of the old world model and $x'_t$ those of the new one at the same moment. **Policy distillation by least squares** finds the weights that reproduce the old outputs from the new features:
#
# $$W', b' = \arg\min_{W', b'} \sum_t \big\lVert W' x'_t + b' - \mathrm{clip}(W x_t + b,\, -3,\, 3) \big\rVert^2 + \rho \lVert W' \rVert^2$$
#
# The outputs are taken before tanh, and clipped where tanh is flat; the weight of the penalty is $\rho = 30$. No new episode and no reward is needed.

# %%
figures.source(imitate)

# %% [markdown]
# **Predict:** train another M on recorded episodes, from another seed. What does the old C return with its $h$? And a distilled C?

# %%
work = config.run_folder(f"another_m-{scoring.agent_digest(folder)}")
latents = phases.encode(episodes, world_model.vae, work / "latents")
settings = {"epochs": config.rnn.epochs, "batch_size": config.rnn.batch_size}
settings |= {"window": config.rnn.window, "repeat": world_model.mdn_rnn.repeat}
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
    results = {
        "old C, its own M": episode_interval(as_drawn),
        "old C, another M": episode_interval(returns_of(controller, another)),
        "distilled C, another M": episode_interval(returns_of(distilled, another)),
    }
for name, result in results.items():
    print(f"{name:23} {result.describe()}")
figures.intervals(results, "mean return (points)")

# %% [markdown]
# **Figure 5.6.** Mean returns on 32 tracks, with their 95% CIs.
#
# **Finding.** The distilled C returns about 825 (95% CI 725 to 880); the old C with its own M about 910, with the other M about 210. (The other M was trained on 24 episodes only; in a run there are hundreds.) In Figure 5.5, rounds 1 and 2 therefore begin at about 500 and 880 points, where round 0 began at 10.
#
# ## 5.7 The score
#
# The score of this series is the mean return of the final C (the mean of the last distribution), **on held-out tracks, in the untouched Gymnasium environment, every episode to its end**. Track seeds below 1,000,000 are used for training and those above for scoring; the collecting code raises an error for a scoring seed.

# %%
with processes(machine.workers) as executor:
    score = scoring.score_run(config, folder, executor)
print(score)

# %% [markdown]
# The best of these episodes, once more:

# %%
best = EpisodeSpec(score.tracks[score.scores.argmax()])
episode = record_episode(scoring_env_spec(config.env.max_steps), policy, best, world_model)
print(f"track {best.seed}: {episode.score:.0f} now, {score.scores.max():.0f} when it was scored")
path = config.figure("05_drive.gif")
frames = episode.recording["frames"][:125]
figures.moving_picture(frames, "the best episode", fps=50 / config.env.repeat, save=path)

# %%
figures.score_histogram(score)

# %% [markdown]
# **Figure 5.7.** Left: the distribution of returns on held-out tracks; each tick below it is one track. Right: the mean with its 95% CI, the median, and the mean that the paper reports.
#
# "±" is the **standard deviation** of episodes: how much single tracks differ. The **confidence interval** is about the mean: how far it may be off because the number of tracks is finite.
#
# A detail of CarRacing matters for all comparisons. An episode ends early only when *every* tile was touched, or when the car leaves the field (−100 points). (The documentation says 95% of the tiles. But that check is made only when the first tile of the track is touched for the first time, and the car starts on it.) An episode in which a tile is missed lasts all 1,000 steps, which cost 100 points, and returns at most about 896. A return above 900 needs a complete lap, so lap completion is reported beside the score.
#
# The returns are skewed: most lie just above 900, a few are hundreds of points lower. A symmetric interval, mean ± 1.96 SD / $\sqrt n$, ignores that. The **bootstrap** does not need a formula for the distribution. Draw $n$ returns from the $n$ that you have, *with replacement*, and take their mean; repeat that many times:
#
# $$\bar R^{*}_k = \frac{1}{n} \sum_{i=1}^{n} R_{j_{k,i}}, \qquad j_{k,i} \text{ uniform on } 1 \dots n, \qquad k = 1 \dots K$$
#
# **Build 5.3: `interval`** (2 lines). The 2.5% and 97.5% quantiles of the means $\bar R^{*}_1 \dots \bar R^{*}_K$ are the **percentile bootstrap** interval of the mean. Write it, for returns (n,) and a NumPy `Generator`, with $K$ = `resamples`.

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
bca, t = episode_interval(score.scores), seed_interval(score.scores)
print(f"percentile bootstrap: {low:.1f} to {high:.1f}")
print(f"BCa bootstrap:        {bca.low:.1f} to {bca.high:.1f}   (the package's)")
print(f"Student's t:          {t.low:.1f} to {t.high:.1f}")

# %% [markdown]
# With so many tracks the three nearly agree. With few tracks, does a 95% interval contain the true mean in 95% of all cases? Take the tracks above as the population, and draw small samples from it.
#
# **Predict:** how often does the interval of 20 episodes contain the mean of all? (The shares below have a standard error of one point.)

# %%
truth, draws = score.scores.mean(), 2000
for n in (20, 32, 50, 100):
    samples = rng.choice(score.scores, (draws, n))
    ends = {"percentile": np.array([interval(sample, rng, 1000) for sample in samples])}
    options = {"axis": 1, "n_resamples": 1000, "batch": 20, "random_state": rng}
    ends["BCa"] = np.stack(bootstrap((samples,), np.mean, **options).confidence_interval, axis=1)
    ends["Student's t"] = np.array([(i.low, i.high) for i in map(seed_interval, samples)])
    inside = {name: np.mean((e[:, 0] <= truth) & (truth <= e[:, 1])) for name, e in ends.items()}
    print(f"n = {n:3}: " + ", ".join(f"{name} {share:.0%}" for name, share in inside.items()))

# %%
figure, ax = figures.new_axes(width=6.4, height=3.2)
drawn = sorted(tuple(interval(sample, rng)) for sample in rng.choice(score.scores, (50, 20)))
for y, (low, high) in enumerate(drawn):
    ax.plot([low, high], [y, y], color=figures.REALITY if high >= truth >= low else "black")
ax.axvline(truth, color=figures.BASELINE, ls="--", label="mean of all")
ax.set(xlabel="95% bootstrap interval of the mean of 20 episodes (points)", ylabel="sample")
ax.legend(loc="upper left")
figure

# %% [markdown]
# **Figure 5.8.** Intervals of 50 samples of 20 episodes each. Black: intervals that miss the mean of all episodes. They are short, and all lie on its right.
#
# A sample that happens to contain no failure has a high mean *and* a narrow interval. No method can correct this from the sample alone, because the rare event is not in it.
#
# **Finding.** This agent returns 898 ± 68 (SD, 1,000 tracks; 95% CI of the mean 893 to 901). The paper reports 906 ± 21 (SD, 100 tracks; so a standard error of 2.1): this agent's interval lies below it. Of nominal 95% intervals of 20 episodes, about two thirds contain the mean of all; of 100 episodes, about 90%. BCa, the best of the three, is used for episodes from here on; read its interval of 32 episodes as one of about 75% to 80%.
#
# ## 5.8 Three training runs
#
# The interval above is about one trained agent on other tracks. It says nothing about the next training run: other random episodes, other initial weights, another search. To know that, the recipe has to be run again. Two more runs were made, each from an empty folder with another seed; their logs and scores are in the repository.
#
# **Predict:** which is larger, the SD over episodes of one agent, or the SD over the mean scores of the three agents?

# %%
seeds = sorted(pretrained("car_racing").glob("seed*"))
scored = {"this run": score} | {seed.name: scoring.read_score(seed) for seed in seeds}
shared = min(len(result.tracks) for result in scored.values())
first = {name: result.first(shared) for name, result in scored.items()}
for name, result in first.items():
    print(f"{name:8} {result}")
means = {name: result.interval for name, result in first.items()}
means["mean of the runs"] = seed_interval([i.mean for i in means.values()])
print(f"mean of the runs: {means['mean of the runs'].describe()}")

# %%
figures.intervals(means, f"mean return on {shared} held-out tracks (points)")

# %% [markdown]
# **Figure 5.9.** Three runs of one recipe on the same held-out tracks: means of episodes with bootstrap intervals, and the mean of the three means with Student's t interval. (Of three values a bootstrap would be far too narrow.)
#
# One controller also has several numbers in this chapter, because it was run on several sets of tracks:

# %%
print("run        last check, 32 training tracks   held-out tracks, Gymnasium's frames")
for name, where in {"this run": folder, **{seed.name: seed for seed in seeds}}.items():
    last = [row for row in read_log(where / "evolution.jsonl") if "check" in row][-1]
    check = f"{last['check']:.0f} ± {last['check_std']:.0f} (SD)"
    sets = {shared: first[name], len(scored[name].tracks): scored[name]}
    held_out = ", ".join(f"{s.interval.mean:.0f} (n = {n})" for n, s in sets.items())
    print(f"{name:10} {check:32} {held_out}")

# %% [markdown]
# Twice the standard error of a check is $2 \cdot 114 / \sqrt{32} \approx 40$ points for this run. The differences between the columns are smaller. Compare agents on the same tracks, or use enough of them.
#
# The authors of the paper published the log of their run. Figure 5.10 compares the time that the checks took to rise:

# %%
checks = [row for row in rows if "check" in row]
reached = next((row for row in checks if row["check"] > 860), checks[-1])
hours, error = reached["minutes"] / 60, reached["check_std"] / np.sqrt(config.search.check_tracks)
print(f"{hours:.1f} hours: {reached['check']:.0f} ± {error:.0f} (standard error)")
figures.wall_clock(rows, [rounds.timeline(seed) for seed in seeds])

# %% [markdown]
# **Figure 5.10.** The mean of the distribution on other tracks, against the hours since the start (logarithmic). Blue: 32 episodes per point, fast renderer; the two other seeds shared their cores with other work. Grey: 1,024 episodes per point.
#
# The machines, the years and the methods differ, so only the order of magnitude can be compared. This run first returns about 867 after 0.3 hours on two cores, with a standard error of 14 points (32 episodes per point); the published log does after 30 hours on 64 workers.
#
# **Finding.** The recipe returns 899 on average over three runs (95% CI of the mean 888 to 910, Student's t, n = 3 runs); the SD between runs is about 4 points, between episodes 65 to 86. The SD of the three means (4) is below the standard error of each of them (about 7 to 9), so the variation between training runs cannot be separated from that between episodes. Two recipes would have to differ by clearly more than 10 points before three runs each could show it.
#
# ## 5.9 Where it fails
#
# Most episodes are complete laps. The few failures cost hundreds of points each:

# %%
print(f"mean {score.scores.mean():.1f}, median {np.median(score.scores):.1f}")
print(f"returns below 800: {np.mean(score.scores < 800):.1%} of the tracks")

# %% [markdown]
# Three hypotheses: (a) V reconstructs some turns badly, so C does not get the information; (b) such turns are so rare that the search gets little signal about them; (c) candidates are terminated early, so nothing that happens after a failure is selected.
#
# **Predict:** is V's error larger where the road turns? Is it the same for left and right turns?
#
# `hairpins.survey` runs episodes and records how far the road turns within the next 12 tiles. A *hairpin* is a turn of more than 90 degrees that comes into view while the car is on the road, a *sharp* one of more than 120. The car *fails* there if no new tile follows for 50 agent steps. V's squared error is averaged over the first 12 agent steps, in which the car still approaches. It is also computed for the mirror image of each frame, in which a left turn is a right turn.
#
# The tracks: the 48 with the lowest scores, and a sample of all others. (Such a *case-control* design can compare failures with successes. It cannot estimate how frequent failures are.)

# %%
order, count = np.argsort(score.scores), chapter.test_episodes
lowest, others = order[: 2 * count], order[2 * count :: max(1, len(order) // count)]
seeds_of_survey = [score.tracks[i] for i in (*lowest, *others)]
survey = hairpins.survey(env_spec, policy, seeds_of_survey, world_model)
then, again = score.scores[lowest], survey.returns[: len(lowest)] < 800
for name, rows in {"below 600": then < 600, "600 to 800": (then >= 600) & (then < 800)}.items():
    print(f"{rows.sum()} tracks with scores {name}: {again[rows].sum()} below 800 again")

# %%
turn, error, failed = (survey.column(name) for name in ("turn", "error", "failed"))
right, sharp = turn < 0, np.abs(turn) > 120
typical = survey.column("episode") >= len(lowest)
for side, of_side in {"left": ~right, "right": right}.items():
    print(f"{side}: {(typical & of_side).sum()} hairpins on {len(others)} tracks of the sample;")
    for kind, rows in {"90 to 120 degrees": ~sharp, "sharp (above 120)": sharp}.items():
        rows = of_side & rows
        print(f"    {kind}: {rows.sum()}, of which {failed[rows].sum()} failed;", end=" ")
        print(f"V's error {hairpins.describe(error[rows])}")

# %%
figures.error_by_turn(*survey.samples, turn, error, failed)

# %% [markdown]
# **Figure 5.11.** V's squared error. Left: every tenth frame of these episodes and its mirror image, by the turn of the road in the frame itself (mean, 95% CI). Right: hairpins, averaged over the approach.

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
# The tracks of CarRacing are closed loops that are driven counter-clockwise. Most of their turns go left; a sharp right turn needs a track that winds back. V reconstructs left-hand hairpins as a curved road and sharp right-hand ones as a blob. A left-hand hairpin, mirrored, has the error of a right-hand one (Figure 5.11, left). So V's error depends on the direction and not on the shape of the road, and the asymmetry can only come from the training data, in which right-hand hairpins are *rare*.
#
# Of the 40 tracks below 800 points, 22 did not fail again. This is **regression to the mean**: tracks that were selected for their lowest scores return more on average when the episode is repeated, here with frames that differ by less than one grey level. Their first score was decided by such small differences as much as by the track.

# %%
recovered = survey.column("recovered")
print(f"{failed.sum()} failures; after {(failed & recovered).sum()} another tile was reached")
for name, rows in {"failed": right & sharp & failed, "passed": right & sharp & ~failed}.items():
    print(f"sharp right-hand hairpins, {name}: V's error {hairpins.describe(error[rows])}")

# %% [markdown]
# V's errors at the sharp right-hand hairpins that fail and at those that are passed do not differ measurably (68 and 65), so the data do not separate (a) from (b). After a failure, no car reaches another tile. That fits (c), but does not prove it, as no search without early termination was run here.
#
# **The same tracks, mirrored.** If the agent has learned *left turns*, and not hairpins as such, it returns less where left and right are exchanged. `training_env_spec(config, mirror=True)` flips the frames and negates the steering on every track with an odd seed, and nothing else: the shape of the road, the physics and the rewards are the same. The tracks of 5.3 have odd seeds.
#
# **Predict:** what is the mean return on the mirrored tracks?

# %%
with processes(machine.workers) as executor:
    mirrored = returns_of(controller, world_model, car_racing.training_env_spec(config, mirror=True))
print(f"as drawn:   {episode_interval(as_drawn).describe()}")
print(f"mirrored:   {episode_interval(mirrored).describe()}")
print(f"difference: {episode_interval(mirrored - as_drawn).describe()}")
figures.differences({"mirrored": mirrored - as_drawn}, "difference of returns (points)")

# %% [markdown]
# **Figure 5.13.** Return on the mirrored track minus return on the track as drawn. Small dots: tracks. Large dot: mean with 95% CI.
#
# The direction alone costs that much, so the agent has learned left turns: its V from frames, and its C from returns, in which right turns are rare. A remedy would be **data augmentation**: `--env.mirror` trains with every second track mirrored; whether it helps is the subject of a later run.
#
# **Finding.** On mirrored tracks the mean return falls by about 170 points (95% CI of the paired difference about 90 to 280). In a sample enriched with the 48 lowest-scoring tracks, 12 of the 13 hairpin failures are at right-hand hairpins: 8 at sharp ones (of 24, against none of 95 sharp left-hand ones), 4 at others (of 46, against 1 of 118); 22 of the 40 tracks below 800 did not fail again. V's squared error is about 66 at sharp right-hand hairpins and 33 at sharp left-hand ones. Whether V or C is the limit remains open.
#
# ## 5.10 Break it: wipe the memory, kill the search
#
# **Wipe the memory.** Reset M's $h$ and $c$ before every step (the bug from chapter 3) and keep C as it is. Then $h$ holds only the previous $z$ and action.
#
# **Predict:** the mean return of about 900 falls to what?

# %%
class Forgetful(WorldModel):
    """A world model whose memory is reset before every step."""

    def observe(self, state, actions, frames, rewards=None):
        blank = state._replace(h=state.h * 0, c=state.c * 0)
        return super().observe(blank, actions, frames, rewards)


with processes(machine.workers) as executor:
    wiped = returns_of(controller, Forgetful(world_model.vae, world_model.mdn_rnn))
print(f"with memory: {episode_interval(as_drawn).describe()}")
print(f"reset:       {episode_interval(wiped).describe()}")
print(f"difference:  {episode_interval(wiped - as_drawn).describe()}")
figures.differences({"memory reset": wiped - as_drawn}, "difference of returns (points)")

# %% [markdown]
# **Figure 5.14.** Return with the memory reset at every step, minus the return with memory, on the same tracks. Small dots: tracks. Large dot: mean with 95% CI.
#
# This is what *this* C loses, as it was evolved with the memory. It is not the value of memory for an agent that was trained without it. In [chapter 4.7](04_controller.ipynb), $h$ was *fixed* at its average, and the mean return fell further, to about 395. An $h$ that is reset before every step still varies: it contains the previous $z$ and action.
#
# **Kill the search.** A run takes an hour, and may be interrupted at any time. Every phase writes what it has done, with a record of its settings, and goes on from there. CMA-ES is the most delicate phase, because its state is a mean, a covariance and a random stream. Its log holds the scores of every generation; to resume, the search is replayed from them, without running a single episode. Here the fitness raises an error in the fourth generation:

# %%
def height(points, generation):
    """A hill with its summit at 1 in every dimension."""
    return -np.square(points - 1).sum(axis=1)


def interrupted(points, generation):
    if generation == 3:
        raise KeyboardInterrupt
    return height(points, generation)


def search(fitness, log=None):
    """The mean of the distribution after six generations, and how many of them were resumed."""
    evolution = Evolution(5, population=8, sigma=0.5, seed=1, log=log)
    resumed = evolution.generation
    for _ in evolution.run(fitness, 6):
        pass
    return evolution.mean, resumed


# %%
with tempfile.TemporaryDirectory() as temporary:
    log = Path(temporary) / "evolution.jsonl"
    try:
        search(interrupted, log)
    except KeyboardInterrupt:
        print("killed in the fourth generation")
    mean, resumed = search(height, log)
whole, _ = search(height)

# %% tags=["nbval-check-output"]
print(f"{resumed} generations read from the log")
print("equal to an uninterrupted search:", np.array_equal(mean, whole))

# %% [markdown]
# `tests/test_cli.py` kills a real run once in every phase, with SIGKILL, and compares the final weights with those of an uninterrupted run, bit by bit.
#
# **Finding.** Without memory the same C returns about 670 in place of about 900. A killed and resumed search ends at exactly the same mean.
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
# **Predict:** in Gymnasium's CarRacing, what takes more time: the physics or the drawing of a frame?

# %%
original = gym.make("CarRacing-v3")
original.reset(seed=1)
gas = np.array([0.0, 0.3, 0.0], dtype=np.float32)
profile = cProfile.Profile()
profile.enable()
for _ in range(100):
    original.step(gas)
profile.disable()
spent = {}
for (file, _, function), (*_, total, _) in pstats.Stats(profile).stats.items():
    spent[f"{file.rpartition('/')[2]}: {function}"] = total
parts = {
    "drawing": "car_racing.py: _render",
    "the car's forces": "car_dynamics.py: step",
    "the physics engine": "~: <built-in method Box2D._Box2D.b2World_Step>",
}
for name, function in parts.items():
    print(f"{name:20} {spent[function] / spent['car_racing.py: step']:6.1%}")

# %% [markdown]
# The profiler slows down Python calls and not compiled code, so its shares are approximate. (If drawing took exactly 97%, an environment without it would be at most 33 times as fast, by Amdahl's law; the table below shows more.)
#
# Gymnasium draws hundreds of polygons on a canvas of 1000 × 800 pixels, shrinks it to 96 × 96, and does so 50 times per second of simulated time. But the track does not move; the camera does. It shifts, rotates and, in the first second, zooms, and each of these is an **affine map**. So `wmlib`'s fast renderer draws the track *once* per episode, as a texture seen from above:

# %%
fast = gym.make("wmlib/CarRacing-v3")
fast.reset(seed=1)
figures.frame_grid({"texture": fast.unwrapped.renderer.levels[1][None, ::-1]}, size=3)

# %% [markdown]
# **Figure 5.15.** The texture of one track.
#
# Every frame is then one **warp**. A pixel $p$ of the 64 × 64 frame shows the texture at $q = S R\, p + d$: $R$ is the rotation by the car's heading, $S$ the zoom, $d$ the car's position. The car is drawn on top; it is always at the same place of the frame. With a frame skip of 2, the frame in between is not drawn at all. Physics, rewards and tracks are Gymnasium's own code. To check parity, both environments take the recorded actions of the best episode on its track:

# %%
window = gym.make("wmlib/CarRacingOriginal-v3")
fast.reset(seed=best.seed)
window.reset(seed=best.seed)
actions = np.repeat(episode.recording["actions"], config.env.repeat, axis=0)[:250]
moments, differences = np.linspace(10, len(actions) - 1, 6, dtype=int), []
strips = {"Gymnasium": [], "fast renderer": [], "10 × difference": []}
for t, action in enumerate(actions):
    (ours, our_reward, *_), (theirs, their_reward, *_) = fast.step(action), window.step(action)
    assert our_reward == their_reward
    difference = np.abs(ours.astype(int) - theirs)
    differences.append(difference.mean())
    if t in moments:
        pictures = (theirs, ours, np.minimum(10 * difference, 255).astype(np.uint8))
        for row, picture in zip(strips.values(), pictures, strict=True):
            row.append(picture)
print(f"all rewards equal; mean difference {np.mean(differences):.2f} of 255 grey levels")
titles = [f"{t / 50:.1f} s" for t in moments]
figures.frame_grid({name: np.array(row) for name, row in strips.items()}, titles)

# %% [markdown]
# **Figure 5.16.** The same moments drawn by Gymnasium and by the fast renderer, and ten times their difference. Edges differ because the two resample them differently, most of all those of the car.
#
# `tests/test_fast_car_racing.py` makes the same comparison on many tracks. (The score in 5.7 is always taken on Gymnasium's own frames.)

# %%
blind = gym.make("CarRacing-v3")
blind.unwrapped._render = lambda mode: np.zeros((96, 96, 3), np.uint8)
rates = {}
for name, place in {"Gymnasium": original, "fast renderer": fast, "no frames": blind}.items():
    place.reset(seed=2)
    began = time.perf_counter()
    for _ in range(150):
        place.step(gas)
    rates[name] = 150 / (time.perf_counter() - began)
    times = rates[name] / rates["Gymnasium"]
    print(f"{name:14} {rates[name]:7.0f} steps per second, {times:4.0f} times Gymnasium")

# %% [markdown]
# One measurement on a busy machine is uncertain. `python -m wmlib bench` interleaves repetitions of everything and reports medians. It also measures a stronger baseline: [EnvPool](https://github.com/sail-sg/envpool) reimplements CarRacing in C++, with its own track generator and its own renderer (`pip install envpool`).

# %%
published = json.loads(paths.published("bench.json").read_text(encoding="utf-8"))
speeds = [row for row in published["rows"] if row["unit"].endswith("per second")]
figures.bench(published | {"rows": speeds})

# %% [markdown]
# **Figure 5.17.** Speeds of environments, rollouts and networks, as published with this chapter. Large dots: medians; small dots: single repetitions. Grey: baselines; blue: real environment; orange: dreams, V and M. All axes but that of the resets are logarithmic. "16-bit where faster" is what rollouts use where the processor supports it; on this one it was not faster.
#
# **The paper's scale.** The paper's search has 1,800 generations of 64 candidates with 16 episodes each, at a frame skip of 1: up to 1.8 billion environment steps. The same code runs it: `python -m wmlib run car_racing --scale paper`, with `--workers` on one machine or `--cluster` on several. From speeds measured now, on this machine, an upper bound of the time it takes:

# %%
paper, cores = get_config("paper"), 2
speed = estimate.speeds(estimate.Work.of(paper, machine=Machine(cores)), chapter.measured_steps)
for times in (1, 32, 512):
    work = estimate.Work.of(paper, machine=Machine(times * cores))
    hours = estimate.search_seconds(work, 0, estimate.with_more_workers(speed, times)) / 3600
    print(f"{times * cores:5,} cores like these: {hours:7,.1f} hours")

# %% [markdown]
# It is an upper bound, because episodes that end early are counted in full. More cores count in proportion, reduced for workers that have few environments, whose frames V cannot encode in large batches.
#
# **Finding.** By the profiler, drawing takes about 97% of the time of Gymnasium's CarRacing. With one texture per episode and one warp per frame, the environment is about 26 times as fast as Gymnasium's and 2.7 times as fast as EnvPool's in the published bench (Figure 5.17), with the same physics and rewards, and frames that differ by less than one grey level on average.
#
# ## 5.12 Exercises
#
# **1. Check our numbers.** Run the first three held-out tracks in Gymnasium's environment with your own `run_episode`, and compare with the published scores. On the processor that made them they agree closely; on another one, single episodes may differ.
#
# ```python
# env = scoring_env_spec(config.env.max_steps).at_pace(world_model).make_one()
# yours = [...]  # the returns on score.tracks[:3]
# assert np.median(np.abs(np.array(yours) - score.scores[:3])) < 20
# ```
#
# <details><summary>Solution</summary>
#
# ```python
# yours = [run_episode(env, world_model, controller, seed) for seed in score.tracks[:3]]
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
# Compare with the log: in each of the last ten generations, by how many SDs of `row["scores"]` does `row["best"]` exceed `row["mean"]`?
#
# <details><summary>Solution</summary>
#
# ```python
# def excess_of_best(candidates, rng):
#     return rng.standard_normal((10_000, candidates)).max(axis=1).mean()
#
# np.mean([(row["best"] - row["mean"]) / np.std(row["scores"]) for row in history[-10:]])
# ```
#
# In the log it is less than the 2.2 SDs of normal noise, because returns have a long tail below and a limit above. The best of 48 exceeds its true return in either case: a report of "the best candidate" is not a score.
# </details>
#
# **4. Is the difference between two runs real?** Two runs on the same tracks can be compared track by track. Use `interval` on the differences of the returns of seed 2 and of this run. Does it contain 0? Compare its width with the widths of the two single intervals in Figure 5.9.
#
# ```python
# low, high = ...
# assert low < 0 < high
# ```
#
# <details><summary>Solution</summary>
#
# ```python
# low, high = interval(first["seed2"].scores - first["this run"].scores, rng)
# ```
#
# The interval is about as wide as the single ones: what varies is which tracks fail, and that is nearly independent between runs, so pairing removes little. And even an interval without 0 would be about two *agents*, not about the seeds.
# </details>
#
# **5. A frame skip of four.** How far do the front wheels turn within one agent step at full steering, with a frame skip of 2 and of 4? And in the end? Measure it: `fast.unwrapped.car.wheels[0].joint.angle` (radians) after some environment steps with the action (1, 0, 0).
#
# ```python
# def turned(steps): ...
# assert np.isclose(turned(4), 2 * turned(2), rtol=0.1)
# assert 0.5 < turned(4) / turned(20) < 0.65
# ```
#
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
# 0.13 and 0.25 of 0.43 rad. With a frame skip of 4, the wheels turn more than half of the way from straight to full lock before the agent can react. To measure what that costs, set `repeat` to 4 in `wmlib/pipeline/config.py`, and train three seeds of each (`python -m wmlib run car_racing --seed 1`).
# </details>
#
# ## Summary
#
# - A round is collect, train V, train M, evolve C; the agent of one round collects for the next. A random episode returns about 10 points, an episode of round 0's agent more than 500.
# - One rollout, a loop of a dozen lines, serves collecting, evolving and scoring.
# - The search runs in 24 principal components of $[z, h]$ (75 numbers). When M is retrained, C is kept by least-squares distillation.
# - This agent returns 898 ± 68 (SD, 1,000 held-out tracks; 95% CI of the mean 893 to 901); the recipe 899 over three runs (95% CI 888 to 910).
# - Nominal 95% intervals of 20 episodes contain the mean only about two thirds of the time, because failures are rare.
# - The agent has learned left turns: on the same tracks mirrored, its mean return falls by about 170 points. In a sample enriched with low-scoring tracks, 12 of its 13 hairpin failures are at right-hand hairpins.
# - By the profiler, drawing takes about 97% of the environment's time; the fast renderer makes it about 26 times as fast (published bench).
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
# | PPO, frame stack 4, action repeat 8 | 865 ± 159 | 100 | in the same; [code](https://github.com/xtma/pytorch_car_caring) |
# | PyTorch reimplementation | 915.9, "best agent", no spread given | not stated | [Flydexo/ha_schmidhuber](https://github.com/Flydexo/ha_schmidhuber) |
# | this chapter, mean of three training runs | 899, SD of episodes 65 to 86 | 100 per run | 5.8 |
#
# - [Ha & Schmidhuber 2018](https://arxiv.org/abs/1803.10122) introduced V, M and C and this benchmark's recipe; their [log and code](https://github.com/hardmaru/WorldModelsExperiments) are public.
# - [ctallec/world-models](https://github.com/ctallec/world-models) reproduced it in PyTorch, and asked whether M has to be trained at all.
# - [Risi & Stanley 2019](https://arxiv.org/abs/1906.08857) trained all parts end to end with a genetic algorithm.
# - [Tang, Nguyen & Ha 2020](https://arxiv.org/abs/2003.08165) evolved an agent that attends to a few image patches; they list PPO among the baselines.
# - [Weng et al. 2022](https://arxiv.org/abs/2206.10558) built EnvPool, fast environments in C++.
# - [Hansen 2016](https://arxiv.org/abs/1604.00772) is the tutorial on CMA-ES; [Efron 1987](https://doi.org/10.1080/01621459.1987.10478410) introduced the BCa bootstrap; [Henderson et al. 2018](https://arxiv.org/abs/1709.06560) and [Agarwal et al. 2021](https://arxiv.org/abs/2108.13264) showed how misleading few training runs are.
# - [CarRacing](https://gymnasium.farama.org/environments/box2d/car_racing/) is part of Gymnasium.
