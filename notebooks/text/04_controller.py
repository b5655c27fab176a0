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
# # 4. C, the controller
#
# ![Ten plots in two rows: in the upper one a small circle moves slowly along a ridge, in the lower one an ellipse stretches along it and contracts at the summit](../figures/04_search.png)
#
# Two evolution strategies climb a narrow, tilted ridge: the one that you will write (above) and CMA-ES (below).
#
# The controller C maps what V and M know to an action. It has 867 parameters, and an evolution strategy finds them without a gradient.
#
# **What you'll do.** Write C and an evolution strategy, let your C drive a car with trained weights, compare your strategy with CMA-ES, and search for a controller on CarRacing.
# **What you'll learn.** How evolution strategies work; why CMA-ES adapts a covariance matrix; what the winner's curse is; how the choice of a search space changes a search; what a trained controller uses, $z$ or $h$.
# **What you need.** Chapters [2](02_vae.ipynb) and [3](03_mdn_rnn.ipynb) for $z$ and $h$.
# **How long.** 50 minutes of reading and building; running all cells takes about 2 minutes on two cores.

# %%
from functools import partial

import numpy as np
import torch

# %%
from wmlib.evaluation import episode_interval, features, seed_interval
from wmlib.files import read_log
from wmlib.models.checkpoints import load_agent
from wmlib.models.controller import Controller
from wmlib.models.vae import frames_to_tensor, kl_per_dimension
from wmlib.paths import pretrained
from wmlib.pipeline import car_racing
from wmlib.pipeline.fitness import returns
from wmlib.pipeline.rounds import Round
from wmlib.pipeline.scales import get_chapter_config, get_config, get_machine
from wmlib.rollout.policies import EpisodeSpec
from wmlib.rollout.rollout import record_episode
from wmlib.rollout.workers import processes
from wmlib.tools.search_ablation import random_policy_features
from wmlib.training.evolution import Evolution
from wmlib.training.search_space import Directions
from wmlib.view import build, figures
from wmlib.view.explorers import ControllerExplorer

# %%
figures.use_style()
config, chapter, machine = get_config(), get_chapter_config(), get_machine()
RETRAIN = chapter.retrain  # set to True to train everything here from scratch

# %% [markdown]
# ## 4.1 A policy with 867 parameters
#
# How small can the part of the agent be that chooses actions? V and M are trained without reward: V reconstructs frames, M predicts the next latent vector. Only C is trained to maximize the return. V and M already extract what is in a frame ($z$, 32 numbers) and what the past says about the future ($h$, 256 numbers), so the paper makes C a single linear layer.

# %%
figures.agent_diagram()

# %% [markdown]
# **Figure 4.1.** The agent at work. At every agent step V encodes the frame as $z$, C computes an action from $z$ and $h$, and M updates $h$ from $z$ and that action. Blue: the real environment.
#
# With the features $x = [z, h]$ (288 numbers), the weight matrix $W$ (3 × 288) and the bias $b$ (3 numbers), the raw outputs are $u = Wx + b$. CarRacing expects steering in $[-1, 1]$, gas in $[0, 1]$ and brake in $[0, 1]$ (paper, appendix A.3):
#
# $$a_\text{steering} = \tanh u_1, \qquad a_\text{gas} = \tfrac12(\tanh u_2 + 1), \qquad a_\text{brake} = \max(\tanh u_3,\, 0)$$
#
# **Build 4.1: `squash`** (2 lines). Write these ranges as a function of a batch of raw outputs.

# %%
def squash(raw):
    """Raw outputs (B, 3) -> CarRacing's steering -1..1, gas 0..1, brake 0..1: (B, 3)."""
    ...


squash = build.check(squash)

# %%
raw = torch.linspace(-3, 3, 61)
figure, ax = figures.new_axes(width=4.5, height=2.4)
steering, gas, brake = squash(raw[:, None].expand(-1, 3)).T
ax.plot(raw, steering, color="black", label="steering")
ax.plot(raw, gas, "--", color="black", label="gas")
ax.plot(raw, brake, ":", color="black", lw=3, label="brake")
ax.set(xlabel="raw output $u$", ylabel="action")
ax.legend()
figure

# %% [markdown]
# **Figure 4.2.** Actions as functions of the raw outputs. At $u = 0$ the car steers straight ahead with half gas and does not brake.
#
# An evolution strategy works on flat vectors. The 867 parameters of C are stored in one: first the 864 weights of $W$, row by row (288 for steering, 288 for gas, 288 for brake), then the three entries of $b$.
#
# **Build 4.2: `linear_policy`** (2 lines). Write C as a function of that vector and a batch of features. `parameters` and `features` are tensors, and each row of `features` is one $x$.

# %%
def linear_policy(parameters, features):
    """squash(W x + b) for every row x of the features: (867,), (B, 288) -> (B, 3)."""
    ...


linear_policy = build.check(linear_policy)

# %% [markdown]
# **Predict:** with all 867 parameters at zero, what does the car do?

# %% tags=["nbval-check-output"]
print(linear_policy(torch.zeros(867), torch.randn(2, 288)).tolist())

# %% [markdown]
# All raw outputs are 0: straight ahead with half gas, whatever the frame shows. All searches of this chapter start there.
#
# Where such a search leads is shown by the pretrained agent. We take its 867 parameters, and your function computes every action of an episode. A policy in `wmlib` is an object with two methods:

# %%
folder = config.run_folder("car_racing") if RETRAIN else pretrained("car_racing")
if RETRAIN:
    car_racing.train_world_model(Round.of(config, folder=folder))
    car_racing.evolve_controller(Round.of(config, folder=folder))
world_model, trained = load_agent(folder)
env_spec = car_racing.training_env_spec(config)


# %%
class LinearPolicy:
    def __init__(self, parameters):
        self.parameters = torch.tensor(parameters, dtype=torch.float32)

    def begin(self, row, spec):
        """Nothing to prepare: the memory is in M."""

    def act(self, features, num_envs):
        return linear_policy(self.parameters, features).numpy()


episode = record_episode(
    env_spec, LinearPolicy(trained.parameters[0]), EpisodeSpec(500_101), world_model
)
frames = episode.recording["frames"]
figures.moving_picture(frames[:150], "the trained controller drives", fps=50 / config.env.repeat)

# %%
sizes = [
    sum(p.numel() for p in part.parameters()) for part in (world_model.vae, world_model.mdn_rnn)
]
print(f"V {sizes[0]:,}, M {sizes[1]:,}, C {trained.num_parameters} parameters")
print(f"C is {trained.num_parameters / (sum(sizes) + trained.num_parameters):.3%} of the agent")
print(f"return {episode.score:.0f} in {episode.steps} environment steps")

# %% [markdown]
# **Figure 4.3.** The first 150 agent steps (6 s) of an episode in the real environment, with actions from `linear_policy` and the pretrained parameters.
#
# **Finding.** A linear policy on $[z, h]$ can drive: 867 parameters, about 0.02% of the agent, finish this track with a return of about 920. One episode is an example; chapter 5 scores the agent on held-out tracks.
#
# `Controller` in `wmlib` computes the same for a whole population: its parameters are a matrix, and every environment uses the row of its own candidate.

# %% [markdown]
# ## 4.2 Search without gradients
#
# How can 867 parameters be found that maximize the return? Backpropagation needs the derivative of the return with respect to $W$ and $b$. The return is a sum over up to 1,000 steps of a physics simulation whose rewards are events (a wheel touches a new tile), and neither has a derivative that we could use. Policy-gradient methods estimate one from many sampled actions. An *evolution strategy* (ES) is simpler: it treats the return as a black box, and needs only a ranking of candidates.
#
# Each *generation* samples $\lambda$ candidates from a Gaussian, evaluates their *fitness* $f$ (here: the return), and moves the Gaussian to the better half:
#
# $$\theta_i = m + \sigma\,\varepsilon_i, \quad \varepsilon_i \sim \mathcal N(0, I), \quad i = 1, \dots, \lambda \qquad\qquad m \leftarrow \frac{1}{\mu} \sum_{i \,\in\, \text{best } \mu} \theta_i, \quad \mu = \lambda / 2$$
#
# $\theta_i$ are the candidates, vectors of parameters; $m$ is the mean, $\sigma$ the step size, $\lambda$ the population size; the best $\mu$ candidates are called the *elite*. The step size follows the *one-fifth success rule* (Rechenberg, 1973): if more than one fifth of the candidates have a higher fitness than the mean $m$ that they were sampled around, the steps can be longer, and otherwise they are too long:
#
# $$\sigma \leftarrow \begin{cases} 1.2\,\sigma & \text{if } \frac{1}{\lambda}\sum_i [f(\theta_i) > f(m)] > 0.2 \\ \sigma / 1.2 & \text{otherwise} \end{cases}$$
#
# **Build 4.3: `evolution_strategy`** (10 lines). Write the loop. `fitness` takes an array of candidates (N, D) and returns (N,), so that the mean alone is `fitness(mean[None])`. Take the noise $\varepsilon$ of a generation from `rng.standard_normal((population, len(mean)))`: with the same random numbers your result can be compared exactly. The result is a list with one pair (mean, sigma) per generation.

# %%
def evolution_strategy(fitness, mean, sigma, population, generations, rng):
    """Maximize fitness, (N, D) -> (N,), starting at N(mean, sigma^2 I); mean is (D,).

    rng: a NumPy Generator. Returns [(mean, sigma)] after each generation.
    """
    ...


evolution_strategy = build.check(evolution_strategy)

# %% [markdown]
# In two dimensions a search can be drawn. The fitness here is the height of a narrow, tilted ridge with its summit at (1, 1), where the height is 0. With $p$ along the ridge and $q$ across it, both 0 at the summit, the height falls as $p^2 + \kappa q^2$; $\kappa$ is the *condition number* of the problem. With $\kappa = 27$ the contour lines are about five times as long as wide.

# %%
START = np.array([-1.2, -1.2])


def ridge(points, condition=27):
    """Height of the ridge at points (N, 2): (N,)."""
    along, across = points.sum(1) - 2, points[:, 0] - points[:, 1]
    return -0.15 * (along**2 + condition * across**2)


populations = []


def recorded_ridge(points):
    if len(points) > 1:  # a population, and not the mean
        populations.append(points)
    return ridge(points)


history = evolution_strategy(recorded_ridge, START, 0.4, 12, 17, np.random.default_rng(5))
es_steps = [
    (points, mean, sigma**2 * np.eye(2))
    for points, (mean, sigma) in zip(populations, [(START, 0.4), *history[:-1]], strict=True)
]

# %% [markdown]
# CMA-ES (*covariance matrix adaptation*; Hansen & Ostermeier, 2001) is the method of the paper. It samples from $\mathcal N(m, \sigma^2 \Sigma)$ and learns the matrix $\Sigma$ (called $C$ in the literature and in pycma) from the steps that succeeded. In essence
#
# $$\Sigma \leftarrow (1 - \eta)\, \Sigma + \eta \sum_{i \,\in\, \text{best } \mu} w_i\, \delta_i \delta_i^\top, \qquad \delta_i = (\theta_i - m) / \sigma$$
#
# with a learning rate $\eta$ and weights $w_i$ that are larger for better candidates. (It also accumulates the steps of the mean over generations, for $\Sigma$ and for $\sigma$; Hansen's tutorial has all of it.) We use the implementation pycma, wrapped as `Evolution`.
#
# **Predict:** your ES samples from a circle, CMA-ES from an ellipse. Which step sizes can a circle use on a narrow ridge?

# %%
cma_search = Evolution(2, population=12, sigma=0.4, start=START, seed=5)
cma_steps = []


def recorded_cma(points, generation):
    cma_steps.append((points, cma_search.mean, cma_search.covariance))
    return ridge(points)


rows = list(cma_search.run(recorded_cma, 17))

# %%
titles = [f"generation {k}" for k in range(0, 17, 4)]
searches = {"your ES": es_steps[::4], "CMA-ES": cma_steps[::4]}
figure = figures.search_steps(ridge, searches, titles, extent=3)
path = config.figure("04_search.png")
path.parent.mkdir(parents=True, exist_ok=True)
figure.savefig(path, dpi=110)
figure

# %%
for name, mean in {"your ES": history[-1][0], "CMA-ES": cma_search.mean}.items():
    print(f"{name:8} ends at {mean.round(2)}, {-ridge(mean[None])[0]:.2f} below the summit")

# %% [markdown]
# **Figure 4.4.** Two searches on the ridge (the lighter, the higher; the triangle is the summit). Dots: the candidates of one generation. Cross: the mean. Ellipses: one and two standard deviations of the distribution that the candidates are sampled from. Inset: the last distribution, enlarged ten times.
#
# **Finding.** After 17 generations CMA-ES is at the summit (0.00 below it), while the ES with a circular distribution is still about 0.8 below it (2.9 at the start). The ellipses of CMA-ES first grow and stretch along the ridge, then contract at the summit.

# %% [markdown]
# ## 4.3 Why the covariance matters
#
# That was one search each. How does the cost grow with the narrowness of the ridge? We count generations until the mean is within 0.01 of the summit's height, for condition numbers from 1 (a round hill) to 1,000, with ten seeds each.
#
# **Predict:** when $\kappa$ is multiplied by 10, what happens to the number of generations of each method?

# %%
CONDITIONS, SEEDS = (1, 10, 100, 1000), range(10)


def generations_needed(means, condition):
    """How many generations until the mean is within 0.01 of the summit's height."""
    reached = ridge(np.array(means), condition) > -0.01
    return 1 + np.argmax([*reached, True])


def cma_means(fitness, seed, generations=40):
    search = Evolution(2, 12, sigma=0.4, start=START, seed=seed)
    rows = search.run(lambda points, generation: fitness(points), generations)
    return [search.mean for _ in rows]


needed, es_runs = {"your ES": [], "CMA-ES": []}, {}
for condition in CONDITIONS:
    height, rngs = partial(ridge, condition=condition), map(np.random.default_rng, SEEDS)
    es_runs[condition] = [evolution_strategy(height, START, 0.4, 12, 3000, rng) for rng in rngs]
    all_means = {
        "your ES": [[mean for mean, _ in run] for run in es_runs[condition]],
        "CMA-ES": [cma_means(height, seed) for seed in SEEDS],
    }
    for name, runs in all_means.items():
        needed[name].append([generations_needed(means, condition) for means in runs])

# %%
figure, ax = figures.new_axes(width=5)
for (name, counts), color in zip(needed.items(), (figures.BASELINE, "black"), strict=True):
    intervals = [seed_interval(seeds) for seeds in counts]
    for condition, interval in zip(CONDITIONS, intervals, strict=True):
        print(f"{name:8} condition {condition:4}: {interval.describe()}")
    bounds = np.array([[i.mean - i.low, i.high - i.mean] for i in intervals]).T
    means = [i.mean for i in intervals]
    ax.errorbar(CONDITIONS, means, bounds, fmt="o-", ms=4, capsize=3, color=color, label=name)
ax.set(xscale="log", yscale="log", xlabel="condition number of the ridge")
ax.set(ylabel="generations to the summit")
ax.legend()
figure

# %% [markdown]
# **Figure 4.5.** Generations of 12 candidates until the mean is within 0.01 of the summit's height: mean over 10 seeds, with the 95% CI of the mean (Student's $t$). Both axes are logarithmic.
#
# Why in proportion to $\kappa$? The circular distribution has one step size for all directions. From the bottom of the ridge ($q = 0$) a step of length $\sigma$ across it loses $\kappa \sigma^2$, and one along it gains about $2 |p| \sigma$, where $|p|$ is the distance left to the summit. A fifth of the candidates succeed only if gains and losses are of similar size, which keeps $\sigma$ near a multiple of $|p| / \kappa$. We measure $\sigma$ relative to $|p|$, and the progress along the ridge relative to $\sigma$:

# %%
for condition, counts in zip(CONDITIONS[1:], needed["your ES"][1:], strict=True):
    step_sizes, progress = [], []
    for run, count in zip(es_runs[condition], counts, strict=True):
        means, sigmas = (np.array(values) for values in zip(*run[:count], strict=True))
        left = np.abs(means.sum(1) - 2) / np.sqrt(2)  # |p| after each generation
        step_sizes.extend(sigmas / left)
        progress.extend((left[:-1] - left[1:]) / sigmas[:-1])
    print(
        f"condition {condition:4}: sigma / |p| = {np.median(step_sizes):.4f} (median), "
        f"progress per generation = {np.mean(progress):.2f} sigma (mean)"
    )

# %% [markdown]
# $\sigma$ is about $5\,|p| / \kappa$, and a generation moves the mean by about $0.3\,\sigma$. The share of the distance that it covers is therefore proportional to $1 / \kappa$, and the number of generations to $\kappa$. The ellipse of CMA-ES has a long step along the ridge and a short one across it. (One step size *per parameter* would be enough if the ridge were parallel to an axis. On a tilted ridge it is not: exercise 4.)
#
# **Finding.** From $\kappa = 10$ to $1{,}000$ the cost of the isotropic ES grows from about 20 to about 1,750 generations, nearly in proportion to $\kappa$; CMA-ES needs about 8 to 13 on every ridge.
#
# The price is that $\Sigma$ has to be learned. In $D$ dimensions it has $D(D+1)/2$ entries: 3 in two dimensions, 2,850 for $D = 75$, 376,278 for $D = 867$. How much that costs is not measured here: the searches of 4.6, with 288 candidates each, are too short for it.

# %% [markdown]
# ## 4.4 Break it: keep the best candidate
#
# What is the result of a search: the best candidate that was ever evaluated, or the mean of the last distribution? Returns are noisy, because a candidate drives well on one track and badly on another. To see what this does, we add Gaussian noise with an SD of 1 to the height of the ridge, which is more than the differences between good candidates.
#
# **Predict:** which of the two has the higher *measured* height, and which the higher *true* height?

# %%
def noisy_search(seed, population=48, generations=10):
    """The best candidate's measured and true height, and the last mean's true height."""
    rng = np.random.default_rng(seed)
    search = Evolution(2, population, sigma=0.4, start=START, seed=seed)
    tried = []

    def measure(points, generation):
        heights = ridge(points) + rng.normal(scale=1.0, size=len(points))
        tried.extend(zip(heights, points, strict=True))
        return heights

    list(search.run(measure, generations))
    measured, best = max(tried, key=lambda pair: pair[0])
    return measured, ridge(best[None])[0], ridge(search.mean[None])[0]


best_measured, best_true, mean_true = np.array([noisy_search(seed) for seed in range(40)]).T

# %%
results = {
    "best candidate, measured": best_measured,
    "best candidate, true": best_true,
    "mean, true": mean_true,
    "mean - best candidate, true": mean_true - best_true,
}
figure, ax = figures.new_axes(width=6.5, height=2.2)
for y, (name, values) in enumerate(results.items()):
    print(f"{name:28} {seed_interval(values).describe(2)}")
    ax.plot(values, y + np.linspace(-0.2, 0.2, len(values)), ".", color="black", ms=4)
ax.axvline(0, color="black", lw=0.8)
ax.set(
    yticks=range(4),
    yticklabels=results,
    xlabel="height, or difference of heights (the summit is at 0)",
)
ax.invert_yaxis()
figure

# %% [markdown]
# **Figure 4.6.** Forty searches on the noisy ridge, a dot per search: what was measured for the best of 480 candidates, its true height, the true height of the last mean, and the difference between the last two. The printed intervals are 95% CIs of the mean over searches (Student's $t$).
#
# The measured height of the best candidate lies *above the summit*, which is impossible: the maximum of many noisy measurements is biased upwards. This is the *winner's curse*. Averaging over the elite in every generation removes most of the noise, so the mean is the better answer although no measurement of it was ever the highest.
#
# **Finding.** The best candidate measures about 2.6 and its true height is about -0.24; the mean is at about -0.04, better by 0.20 (95% CI 0.13 to 0.26). This series therefore keeps and scores the mean of the distribution, never the best sample.

# %% [markdown]
# ## 4.5 The first generation on CarRacing
#
# We now replace the ridge by CarRacing-v3, seen through V and M, and two parameters by 867. A track is a ring of about 280 *tiles*. The first contact of a wheel with a tile gives a reward of 1000 divided by the number of tiles, every environment step costs 0.1, and leaving the field costs 100 and ends the episode, which otherwise ends after 1,000 steps or a complete lap.
#
# The candidates of the first generation are the zero controller plus Gaussian noise with $\sigma = 0.1$. All of them drive the same track (*common random numbers*), so that a difference between two returns is due to the candidates. As in training, an episode is cut off early after 60 environment steps without a new tile.
#
# **Predict:** what share of random linear policies passes 100 points?

# %%
cut_off = car_racing.training_env_spec(config, config.search.patience)


def evaluate(env_spec, parameters, tracks):
    """Returns (P, tracks) of controllers with these parameters (P, 867)."""
    with processes(machine.workers) as executor:
        return returns(env_spec, world_model, Controller(parameters), tracks, executor)


TRACK = [500_100]
random_search = Evolution(867, config.search.population, sigma=0.1, seed=1)
[row] = random_search.run(lambda candidates, k: evaluate(cut_off, candidates, TRACK)[:, 0], 1)

# %%
scores, zero = np.array(row["scores"]), np.zeros((1, 867))
print(f"lowest {scores.min():.0f}, median {np.median(scores):.0f}, best {scores.max():.0f}")
print(f"{(scores > 100).mean():.0%} of {len(scores)} random controllers return more than 100")
print(f"zero controller, early termination: {evaluate(cut_off, zero, TRACK).item():.0f}")
print(f"zero controller, whole episode: {evaluate(env_spec, zero, TRACK).item():.0f}")
figure, ax = figures.new_axes(width=5)
ax.hist(scores, bins=20, color=figures.REALITY)
ax.set(xlabel="return of a random controller (points)", ylabel="controllers")
figure

# %% [markdown]
# **Figure 4.7.** Returns of one generation of random controllers on one track of the real environment.
#
# No return is negative, because early termination ends an episode before the car leaves the field and before standing still costs much. The zero controller shows the difference on the same track: 67 points with early termination, and about -45 in a whole episode. Of the difference, 100 points are for leaving the field and 12 for the time until then.
#
# **Finding.** Half of the random controllers return less than about 22 points, and 6% more than 100 (the best one about 350). A ranking of these is all that the search needs: it moves its mean towards the better half.

# %% [markdown]
# ## 4.6 Which space to search in
#
# Does a search have to treat all 867 parameters alike? Many latent dimensions are inactive (chapter 2), and the 256 entries of $h$ are correlated. A weight on an input that does not vary acts like a bias, and two weights on inputs that vary together do the same thing. We therefore record $[z, h]$ during a few episodes of a random policy and compute its principal components.
#
# **Predict:** how many of the 288 components contain 90% of the variance?

# %%
random_features = random_policy_features(config, world_model, config.run_folder("chapter04"))
variances = np.linalg.eigvalsh(np.cov(random_features.T.numpy()))[::-1]
share = variances.cumsum() / variances.sum()
print(f"{len(random_features):,} agent steps")
for k in (8, 16, 24, 64):
    print(f"the first {k:2} of 288 components: {share[k - 1]:.1%} of the variance")
figure, ax = figures.new_axes(width=5)
ax.plot(range(1, 289), share, color=figures.REALITY)
ax.axvline(config.search.directions, color=figures.BASELINE, ls="--")
ax.set(xlabel="principal components of [z, h]", ylabel="share of the variance", xscale="log")
figure

# %% [markdown]
# **Figure 4.8.** Cumulative share of the variance of $[z, h]$ in its first principal components during episodes of a random policy. Dashed: the number of components that the searches of chapter 5 use.
#
# Searching in fewer dimensions for a solution in many is called *random subspace training* if the subspace is random (Li et al., 2018); ours is chosen from data. With the principal components $v_i$ of $x = [z, h]$, their standard deviations $s_i$ and the mean $\bar x$ we search over a matrix $A$ (3 × 24) and a bias $b'$ (3) in
#
# $$u = A y + b', \qquad y_i = \frac{1}{\sqrt{s_1 + \dots + s_{24}}}\, \frac{v_i^\top (x - \bar x)}{\sqrt{s_i}}$$
#
# Three choices are in this formula. Only 24 components are used (75 parameters). Dividing by $\sqrt{s_i}$ brings their sizes closer together, without making all of them equal. And with the common factor the mean of $|y|^2$ is 1, so that a random change of $b'$ moves the raw outputs as much as a random change of $A$: the average gas is an important parameter, and one of 867 weights would have little influence on it. Since $y$ is linear in $x$, the result is again a linear controller with 867 parameters $W$, $b$. This function computes them:

# %%
figures.source(Directions.expand)

# %% [markdown]
# First a short search in this space, on other tracks than the evaluation that follows:

# %%
space = Directions.of(random_features, config.search.directions)
short_search = Evolution(space.num_parameters, config.search.population, sigma=0.6, seed=1)


def fitness(points, generation):
    return evaluate(cut_off, space.expand(points), [500_100 + generation])[:, 0]


rows = list(short_search.run(fitness, chapter.trial_generations))
evolved = space.expand(short_search.mean)
tracks = range(500_200, 500_200 + config.search.check_tracks)
zero_returns, evolved_returns = evaluate(env_spec, np.concatenate([zero, evolved]), tracks)
evolved_name = f"generation {short_search.generation}"
outcomes = {"zero controller": zero_returns, evolved_name: evolved_returns}
for name, values in outcomes.items():
    print(f"{name:15} {episode_interval(values).describe()}")

# %% [markdown]
# These intervals are over tracks: BCa bootstrap intervals of one controller's mean return (`episode_interval`), because returns of episodes are skewed. 95% is their nominal coverage: chapter [5.7](05_car_racing.ipynb) measures about 75% for 32 episodes of an agent with a few rare failures. They say how well *this* controller is known, and not what the method would find next time. To compare search spaces, the unit is the *search*, and the interval has to be over seeds.
#
# So we made an ablation with four spaces, each of which changes one thing in the one before it:
#
# | space | parameters | what is new |
# |---|---|---|
# | all weights | 867 | $y = x - \bar x$ |
# | components | 75 | $y_i = v_i^\top (x - \bar x)$, 24 components |
# | scaled | 75 | each $y_i$ divided by $\sqrt{s_i}$ |
# | bias scaled | 75 | the common factor: the space above |
#
# Everything else is equal: pretrained V and M, the zero controller as the start, 12 generations of 24 candidates with one episode each of at most 400 environment steps (8 s), and the same tracks for the same seed. The initial step size differs, because the inputs do. It is set by one rule: in every space the raw outputs of the first candidates have the same root mean square (0.85, which gives $\sigma = 0.6$ in the last space, as in chapter 5). It was not tuned further. Each search's mean is then scored on whole episodes on 16 other tracks. The command that makes the file is `python -m wmlib ablate search`.
#
# **Predict:** which of the three changes matters most?

# %%
ablation = read_log(pretrained("ablations") / "search.jsonl")
returns_in = {}  # space: the mean return of each seed's result
for name in dict.fromkeys(row["space"] for row in ablation):
    rows = [row for row in ablation if row["space"] == name]
    returns_in[name] = np.array([row["check"] for row in rows])
    interval = seed_interval(returns_in[name])
    print(f"{name:11} sigma {rows[0]['sigma']:.2f}: {interval.describe(0)}")

# %%
for space_name, baseline_name in [
    ("components", "all weights"),
    ("scaled", "components"),
    ("bias scaled", "scaled"),
    ("bias scaled", "all weights"),
]:
    difference = seed_interval(returns_in[space_name] - returns_in[baseline_name])
    print(f"{space_name} - {baseline_name}: {difference.describe(0)}")
figures.search_spaces(ablation)

# %% [markdown]
# **Figure 4.9.** Left: mean return of the result of each search, a dot per seed; bar and line: mean over seeds and its 95% CI (Student's $t$ over five seeds). Right: the same for the difference that each change makes, seed by seed. All in the real environment.
#
# All four intervals of differences contain 0, and each of them is some 300 points wide or more. The SD of a difference over seeds is 120 to 160 points, so that a comparison of one search per space can show an effect of 100 points in either direction by chance. With five seeds, a paired $t$ test at the 5% level detects an effect with a probability of 80% only if it is at least 1.68 SDs: about 200 to 270 points. Smaller effects need more searches.
#
# Limits: one initial step size per space, set by a rule and not tuned; short searches only. In longer searches the size of the covariance matrix (2,850 entries against 376,278) may matter. Chapter 5 uses the last space because it was built that way, and not because this ablation supports it.
#
# **Finding.** After 288 episodes the four spaces reach mean returns of about 360 to 445, and no difference between them can be distinguished from 0: for the 75 parameters of chapter 5 minus all 867 it is about -84 (95% CI -273 to 106, five seeds). The ablation supports neither a benefit nor a harm of any of the three changes.

# %% [markdown]
# ## 4.7 What does the trained controller use?
#
# The weights of a linear layer can be inspected. How strongly does each action depend on $z$, and how strongly on $h$? We split $u = W_z z + W_h h + b$ into its two parts and compute how much each varies during the episode of 4.1.

# %%
inputs = features(world_model, frames, episode.recording["actions"])
weight, z_part, h_part = trained.weight[0], slice(0, 32), slice(32, 288)
ACTIONS = ("steering", "gas", "brake")
effect = {
    "from z": (inputs[:, z_part] @ weight[:, z_part].T).std(0),
    "from h": (inputs[:, h_part] @ weight[:, h_part].T).std(0),
}
figure, ax = figures.new_axes(width=5)
for (name, height), shift, color in zip(
    effect.items(), (-0.2, 0.2), ("white", "black"), strict=True
):
    print(name, " ".join(f"{action} {sd:.2f}" for action, sd in zip(ACTIONS, height, strict=True)))
    style = {"color": color, "edgecolor": "black", "zorder": 2}
    ax.bar(np.arange(3) + shift, height, 0.4, label=name, **style)
ax.set(xticks=range(3), xticklabels=ACTIONS, ylabel="SD of the contribution to u")
ax.legend()
figure

# %% [markdown]
# **Figure 4.10.** Standard deviation over one episode of what $z$ and $h$ contribute to the raw outputs $u$, before squashing.
#
# A large contribution need not be a necessary one. So we *ablate inputs*: the same controller, with $z$ or $h$ fixed at its average over that episode, on the same tracks. The average contribution stays, as a part of the bias; only what varies is removed.
#
# **Predict:** which ablation costs more return?

# %%
figures.source(Controller.without)

# %%
average = inputs.mean(0)
policies = {
    "z and h": trained,
    "z alone (h fixed)": trained.without(h_part, average),
    "h alone (z fixed)": trained.without(z_part, average),
}
all_parameters = np.concatenate([policy.parameters for policy in policies.values()])
returns_of = dict(zip(policies, evaluate(env_spec, all_parameters, tracks), strict=True))
for name, values in returns_of.items():
    print(f"{name:18} {episode_interval(values).describe()}")
for name in list(policies)[1:]:
    difference = episode_interval(returns_of[name] - returns_of["z and h"])
    print(f"{name} - z and h: {difference.describe()}")

# %% [markdown]
# The intervals are BCa bootstrap intervals of the mean over 32 tracks, with a nominal coverage of 95% (4.6). The last two lines are differences on the same tracks, which is how paired scores have to be compared.
#
# Two limits of this experiment. First, $h$ is not independent of $z$: M has read all earlier frames, so that with $z$ fixed the agent still knows where the road was one agent step ago. Second, it removes inputs from a controller that was *trained with* them. That measures what this controller relies on. What a controller *trained without* them could reach is another question, and needs trainings of its own: the paper reports 632 ± 251 for C trained on $z$ alone and 906 ± 21 for both (mean ± SD over 100 tracks).
#
# How much of the loss without $h$ does one step of memory restore? Chapter [5.10](05_car_racing.ipynb) keeps the same C and resets M's state before every step, so that $h$ depends on the previous $z$ and action alone. On 32 other tracks it then returns about 670, between about 395 with a constant $h$ (here) and about 910 with the complete $h$ (there). One step of memory thus restores about half of the loss, although C was never evolved with such an $h$.
#
# **Finding.** This controller relies on both inputs, and more on $z$: with $h$ fixed its mean return falls from about 906 to about 395 (difference -511, nominal 95% CI -521 to -503), with $z$ fixed to about -54, no better than the zero controller's in 4.6 (about -45). Figure 4.10 alone does not predict that: there, $h$ varies the steering nearly as much as $z$ does.

# %% [markdown]
# ## 4.8 Explore the controller
#
# | control | meaning |
# |---|---|
# | `cut` | which inputs are fixed at their average (`nothing`, `z`, `h`, or the inactive dimensions of `z`) |
# | `bars for` | the action that the bars explain |
# | `agent step` | the moment shown, 25 per second |
# | buttons beside it | play, stop (back to the start), repeat |
#
# Left: the trained controller on this track, and its action at this moment. Middle: the controller with the chosen inputs fixed, on the same track, with its return so far, and "(over)" once its episode has ended; as soon as the two act differently they also see different frames. Right: contributions to the raw output of the middle one. Each bar is a weight times the difference of its input from the average: all of $z$ and all of $h$ summed (black), and the eight largest single inputs (blue). A positive contribution to the brake need not mean braking, because $u_3$ below 0 is clipped.
#
# **Tasks.**
#
# 1. With nothing cut, go through the episode with `agent step`, or play it. Find a left bend and a right bend. Do $z$ and $h$ contribute to the steering with the same sign there?
# 2. Is the steering determined by a few of the largest single inputs, or by the sum of many small ones?
# 3. Switch to gas, then to brake, and compare the bars with the actions under the frames. Where in a bend does each act?
# 4. Cut $h$ (*z alone* of 4.7), go to agent step 0, and play. Where does the middle car fall behind, and how do the two use gas and brake there? Repeat with $z$ cut: when does it leave the road?
# 5. Cut *inactive z*, the dimensions with less than 0.1 nats of information (chapter 2). What changes?

# %%
with torch.no_grad():
    posterior = world_model.vae.encode(frames_to_tensor(frames[:200]))
inactive = torch.nonzero(kl_per_dimension(*posterior).mean(0) < 0.1)[:, 0]
explorer = ControllerExplorer(
    world_model,
    trained,
    env_spec,
    track=500_101,
    steps=chapter.agent_steps,
    groups={"z": z_part, "h": h_part, "inactive z": inactive},
)
explorer.widget

# %%
explorer.contact_sheet()

# %% [markdown]
# **Figure 4.11.** Contact sheet of the explorer: the same eight agent steps of each episode in the real environment, with the return at the end of the last one. An episode that has ended keeps its last frame.
#
# The same by code: the captions at the last agent step.

# %%
explorer.step.value = explorer.step.max
for name in explorer.controllers:
    explorer.cut.value = name
    print(explorer.caption.value)
explorer.cut.value = "nothing"

# %% [markdown]
# **Finding.** On this track the order is the same as in 4.7: in 200 agent steps (8 s) the complete controller returns about 430, with $h$ fixed about half of that, and with $z$ fixed less than 10. Fixing the inactive dimensions of $z$ leaves the return nearly unchanged: they carry almost no information.

# %% [markdown]
# ## 4.9 Exercises
#
# **1. The sign.** pycma *minimizes*. Run `Evolution` for 20 generations with the fitness `lambda points, k: -ridge(points)` and call the search `wrong`. Where does its mean go? Where in `wmlib` is the minus sign that prevents this?
#
# ```python
# assert np.abs(wrong.mean - 1).max() > 10 and wrong.sigma > 1
# ```
#
# <details><summary>Solution</summary>
#
# ```python
# wrong = Evolution(2, population=12, sigma=0.4, seed=0)
# list(wrong.run(lambda points, k: -ridge(points), 20))
# print(wrong.mean, wrong.sigma)
# ```
#
# The mean moves away from the summit in ever longer steps. The sign is in `Evolution._tell` alone, so that it cannot be applied twice.
# </details>
#
# **2. By hand.** Write `parameters` (867,) of a controller that ignores its inputs, steers straight ahead and gives a little gas, less than half, with as few numbers other than 0 as possible. Record an episode with it.
#
# ```python
# steering, gas, brake = linear_policy(torch.tensor(parameters).float(), torch.randn(1, 288))[0]
# assert steering == 0 and 0 < gas < 0.5 and brake == 0
# assert np.count_nonzero(parameters) == 1
# ```
#
# <details><summary>Hint</summary>
#
# The three biases come last; the gas is the middle one. Gas 0.5 is a raw output of 0.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# parameters = np.zeros(867)
# parameters[-2] = -1.0
# print(record_episode(env_spec, LinearPolicy(parameters), EpisodeSpec(500_101), world_model).score)
# ```
# </details>
#
# **3. Smaller populations.** Repeat 4.4 with `population=6` for the same number of evaluations (80 generations), and keep the true heights of the means as `small` (40,). Is a small population better or worse under noise?
#
# ```python
# assert seed_interval(mean_true - small).low > 0
# ```
#
# <details><summary>Solution</summary>
#
# ```python
# small = np.array([noisy_search(seed, population=6, generations=80) for seed in range(40)]).T[2]
# print(seed_interval(small).describe(2))
# ```
#
# Worse, by about 0.7: the mean of 3 elite candidates averages out less noise than the mean of 24, and more generations do not make up for it.
# </details>

# %% [markdown]
# **4. Tilted or upright.** Is the problem of 4.3 that the ridge is narrow, or that it is tilted? *Separable* CMA-ES (Ros & Hansen, 2008) adapts one step size per parameter: the diagonal of $\Sigma$ alone, in pycma with the option `"CMA_diagonal": True`. Write `generations_of(height, diagonal, seed)` with pycma's own ask and tell: how many generations until the height of `search.result.xfavorite` (pycma's name for the mean) is above -0.01, at most 1,000. Compare both settings on the tilted ridge with $\kappa = 1{,}000$ and on an upright one.
#
# ```python
# tilted = partial(ridge, condition=1000)
# upright = lambda points: -0.3 * ((points - 1) ** 2 @ [1, 1000])
# count = lambda height, diagonal: np.mean([generations_of(height, diagonal, k) for k in range(1, 6)])
# assert count(upright, True) < 30 and count(tilted, False) < 30 and count(tilted, True) > 100
# ```
#
# <details><summary>Hint</summary>
#
# `search.ask()` returns a list of candidates, `search.tell(candidates, values)` takes values to *minimize*.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# import cma
#
#
# def generations_of(height, diagonal, seed):
#     options = {"popsize": 12, "seed": seed, "verbose": -9, "CMA_diagonal": diagonal}
#     search = cma.CMAEvolutionStrategy(START, 0.4, options)
#     for generation in range(1, 1001):
#         candidates = search.ask()
#         search.tell(candidates, (-height(np.array(candidates))).tolist())
#         if height(np.array([search.result.xfavorite]))[0] > -0.01:
#             break
#     return generation
# ```
#
# The diagonal is enough on the upright ridge (about 15 generations) and fails on the tilted one (about 460), where the full matrix also needs about 15. Inputs of C that are correlated tilt its fitness landscape; principal components are uncorrelated.
# </details>

# %% [markdown]
# ## Summary
#
# - C is linear: 867 parameters, 0.02% of the agent, map $[z, h]$ to steering, gas and brake.
# - An evolution strategy needs the returns of candidates and no gradient. With one step size for all directions, its cost grows nearly in proportion to the condition number (about 1,750 generations at 1,000); CMA-ES learns a covariance matrix and needs about 13.
# - Winner's curse: under noise the best of 480 candidates measures about 2.6 above the summit, and the mean of the distribution has the higher true height, by about 0.20 (95% CI 0.13 to 0.26). The mean is the result of a search.
# - Searching 24 principal components instead of all weights, scaling them, and scaling the bias: in short searches with five seeds none of these changes had an effect that can be distinguished from 0. One search per space would have been misleading.
# - With $h$ fixed at its average the trained controller's mean return falls from about 906 to about 395, with $z$ fixed to about -54. This measures what it relies on, and not what a controller trained without these inputs could reach.
#
# **What's next.** [Chapter 5](05_car_racing.ipynb) runs the whole loop, from an empty folder to a score on held-out tracks.
#
# **Related work.**
#
# - Rechenberg, *Evolutionsstrategie*, 1973: evolution strategies and the one-fifth success rule.
# - Hansen & Ostermeier, [Completely Derandomized Self-Adaptation in Evolution Strategies](https://doi.org/10.1162/106365601750190398), 2001: CMA-ES. Hansen, [The CMA Evolution Strategy: A Tutorial](https://arxiv.org/abs/1604.00772), 2016, derives it; [pycma](https://github.com/CMA-ES/pycma) implements it. Ros & Hansen, [A Simple Modification in CMA-ES Achieving Linear Time and Space Complexity](https://doi.org/10.1007/978-3-540-87700-4_30), 2008: its diagonal version.
# - Salimans et al., [Evolution Strategies as a Scalable Alternative to Reinforcement Learning](https://arxiv.org/abs/1703.03864), 2017: an isotropic ES trains large neural networks on hundreds of workers, which share random seeds so that only returns are communicated.
# - Ha & Schmidhuber, [World Models](https://worldmodels.github.io/), 2018, appendix A.3 and A.4: this controller, trained by CMA-ES with 64 candidates, 16 episodes each, for 1,800 generations.
# - Mania, Guy & Recht, [Simple random search of static linear policies is competitive for reinforcement learning](https://arxiv.org/abs/1803.07055), 2018: linear policies on MuJoCo, found by random search, and how much results differ between seeds.
# - Li et al., [Measuring the Intrinsic Dimension of Objective Landscapes](https://arxiv.org/abs/1804.08838), 2018: training in a random subspace of the parameters.
# - Risi & Stanley, [Deep Neuroevolution of Recurrent and Discrete World Models](https://arxiv.org/abs/1906.08857), 2019: V, M and C evolved together by a genetic algorithm, on the reward alone.
# - Tang, Nguyen & Ha, [Neuroevolution of Self-Interpretable Agents](https://arxiv.org/abs/2003.08165), 2020 (AttentionAgent): CMA-ES evolves an agent with fewer than 4,000 parameters that attends to patches of the frame, also on CarRacing.
# - Smith & Winkler, [The Optimizer's Curse](https://doi.org/10.1287/mnsc.1050.0451), 2006: the winner's curse in decisions, and how to correct for it.
