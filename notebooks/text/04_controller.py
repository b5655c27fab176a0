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
# ![Five plots in a row: a circle moves slowly along a narrow ridge and is still far from the summit in the last one](../figures/04_search.png)
#
# The evolution strategy that you will write climbs a narrow, tilted ridge towards its summit, the triangle. Why is it so slow?
#
# The controller C maps what V and M know to an action. It has 867 parameters, and an evolution strategy finds them without a gradient.
#
# **What you'll do.** Write C and an evolution strategy, let your C drive a car with trained weights, compare your strategy with CMA-ES, and search for a controller on CarRacing.
#
# **What you'll learn.** How evolution strategies work; why CMA-ES adapts a covariance matrix; what the winner's curse is; how the choice of a search space changes a search; what a trained controller uses, $z$ or $h$.
#
# **What you need.** Chapters [2](02_vae.ipynb) and [3](03_mdn_rnn.ipynb) for $z$ and $h$.
#
# **How long.** 50 minutes of reading and building, and about as long again for tasks and exercises; running all cells takes about 2 minutes on two cores.

# %% tags=["install", "remove-cell"]
import subprocess
import sys
from importlib.util import find_spec

if find_spec("wmlib") is None:  # on Colab, for example; where it is installed, nothing is done
    source = "..[notebooks]"
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", source], check=True)

# %%
from functools import partial

import numpy as np
import torch
from scipy.stats import binomtest

# %%
from wmlib.evaluation import episode_interval, features, seed_interval
from wmlib.files import read_log
from wmlib.models.checkpoints import load_agent
from wmlib.models.controller import Controller
from wmlib.models.vae import frames_to_tensor, kl_per_dimension
from wmlib.paths import pretrained
from wmlib.pipeline import car_racing, scoring
from wmlib.pipeline.fitness import run_controllers
from wmlib.pipeline.scales import get_chapter_config, get_config, get_machine
from wmlib.pipeline.workers import processes
from wmlib.rollout.policies import EpisodeSpec
from wmlib.rollout.rollout import record_episode
from wmlib.tools.search_ablation import random_policy_features
from wmlib.training.evolution import Evolution
from wmlib.training.search_space import Directions
from wmlib.view import build, figures
from wmlib.view.explorers import ControllerExplorer

# %%
figures.use_style()
config, chapter, machine = get_config(), get_chapter_config(), get_machine()
RETRAIN = chapter.retrain  # True: train V, M and C by the loop of chapter 5 (an hour)

# %% [markdown]
# ## 4.1 A policy with 867 parameters
#
# How small can the part of the agent be that chooses actions? V and M are trained without reward; only C is trained to maximize the return. V and M already extract what is in a frame ($z$, 32 numbers: here the mean of V's Gaussian, without sampling) and what the past says about the future ($h$, 256 numbers), so the paper makes C a single linear layer.

# %%
figures.agent_diagram()

# %% [markdown]
# **Figure 4.1.** The agent at work. At every agent step V encodes the frame as $z$, C computes an action from $z$ and $h$, and M updates $h$ from $z$ and that action. Blue: the real environment.
#
# With the features $x = [z, h]$ (288 numbers), the weight matrix $W$ (3 × 288) and the bias $b$ (3 numbers), the raw outputs are $u = Wx + b$. CarRacing expects steering in $[-1, 1]$, gas in $[0, 1]$ and brake in $[0, 1]$. The paper (appendix A.3) names these ranges and the tanh; shift and clipping are those of its authors' code:
#
# $$a_\text{steering} = \tanh u_1, \qquad a_\text{gas} = \tfrac12(\tanh u_2 + 1), \qquad a_\text{brake} = \max(\tanh u_3,\, 0)$$
#
# **Build 4.1: `squash`** (2 lines). Write these formulas as a function of a batch of raw outputs. `raw` is a tensor.

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
# **Figure 4.2.** Actions as functions of the raw outputs. You will need the three actions at $u = 0$.
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
# Straight ahead with half gas, whatever the frame shows. All searches of this chapter on the car start there.
#
# Where such a search leads is shown by the pretrained agent:

# %%
folder = config.run_folder("car_racing") if RETRAIN else pretrained("car_racing")
if RETRAIN:
    car_racing.run_all_rounds(config, folder)
world_model, trained = load_agent(folder)
pace = world_model.mdn_rnn.repeat  # environment steps per agent step
chapter = get_chapter_config().at_pace(pace)
env_spec = car_racing.training_env_spec(config)
sizes = [
    sum(p.numel() for p in part.parameters()) for part in (world_model.vae, world_model.mdn_rnn)
]
print(f"V {sizes[0]:,}, M {sizes[1]:,}, C {trained.num_parameters} parameters")
print(f"C is {trained.num_parameters / (sum(sizes) + trained.num_parameters):.3%} of the agent")

# %% [markdown]
# We take its 867 parameters, and your function computes every action of an episode. A policy in `wmlib` has two methods: `begin` is called at the start of an episode, `act` at every agent step for all parallel environments. Tracks are numbered by their random seed; those from 500,000 on were not used to train the pretrained agent.

# %%
class LinearPolicy:
    def __init__(self, parameters):
        self.parameters = torch.tensor(parameters, dtype=torch.float32)

    def begin(self, row, spec):
        """Nothing to prepare: the memory is in M."""

    def act(self, features, num_envs):
        return linear_policy(self.parameters, features).numpy()


track = EpisodeSpec(500_101)
episode = record_episode(env_spec, LinearPolicy(trained.parameters[0]), track, world_model)
frames = episode.recording["frames"]
print(f"return {episode.score:.0f} in {episode.steps} environment steps")
figures.moving_picture(frames[:150], "the trained controller", fps=50 / pace)

# %% [markdown]
# **Figure 4.3.** The first 150 agent steps (6 s) of an episode in the real environment, with actions from `linear_policy` and the pretrained parameters. The view first zooms in on the car.
#
# **Finding.** A linear policy on $[z, h]$ can drive: 867 parameters, about 0.02% of the agent, finish this track with a return of about 920. One episode is an example; chapter 5 has a score.
#
# `Controller` in `wmlib` computes the same for a whole population, with a matrix of parameters.

# %% [markdown]
# ## 4.2 Search without gradients
#
# Backpropagation needs the derivative of the return with respect to $W$ and $b$. The return is a sum over up to 1,000 steps of a physics simulation whose rewards are events (a wheel touches a new tile), and neither has a derivative that we could use. Policy-gradient methods make the actions random and estimate the gradient of the *expected* return from samples. Can a search work without even an estimated gradient? An *evolution strategy* (ES) needs only a ranking of candidates.
#
# Each *generation* samples $\lambda$ candidates from a Gaussian, evaluates their *fitness* $f$ (here: the return), and moves the Gaussian to the better half:
#
# $$\theta_i = m + \sigma\,\varepsilon_i, \quad \varepsilon_i \sim \mathcal N(0, I), \quad i = 1, \dots, \lambda \qquad\qquad m \leftarrow \frac{1}{\mu} \sum_{i \,\in\, \text{best } \mu} \theta_i, \quad \mu = \lfloor \lambda / 2 \rfloor$$
#
# $\theta_i$ are the candidates, vectors of parameters; $m$ is the mean, $\sigma$ the step size, $\lambda$ the population size; the best $\mu$ candidates are called the *elite*. The covariance matrix is $\sigma^2 I$, the same in every direction (*isotropic*). The step size follows the *one-fifth success rule* (Rechenberg, 1973), here in a version for populations: if more than one fifth of the candidates have a higher fitness than the mean $m$ that they were sampled around, the steps can be longer, and otherwise they are too long:
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
# In two dimensions a search can be drawn. The fitness here is the height of a narrow, tilted ridge with its summit at (1, 1), where the height is 0. With $p$ along the ridge and $q$ across it, both 0 at the summit, the height is $-0.3\,(p^2 + \kappa q^2)$; $\kappa$ is the *condition number* of the problem. (In the code `along` is $\sqrt 2\,p$ and `across` is $\sqrt 2\,q$.) With $\kappa = 27$ the contour lines are about five times as long as wide.

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


rng = np.random.default_rng(5)
history = evolution_strategy(recorded_ridge, START.copy(), 0.4, 12, 17, rng)
es_steps = [
    (points, mean, sigma**2 * np.eye(2))
    for points, (mean, sigma) in zip(populations, [(START, 0.4), *history[:-1]], strict=True)
]

# %% [markdown]
# CMA-ES (*covariance matrix adaptation*; Hansen & Ostermeier, 2001) is the method of the paper. It samples from $\mathcal N(m, \sigma^2 \boldsymbol\Sigma)$ and learns the matrix $\boldsymbol\Sigma$ (called $C$ in the literature and in pycma) from the steps that succeeded. Simplified,
#
# $$\boldsymbol\Sigma \leftarrow (1 - \eta)\, \boldsymbol\Sigma + \eta \sum_{i \,\in\, \text{best } \mu} w_i\, \delta_i \delta_i^\top, \qquad \delta_i = (\theta_i - m) / \sigma$$
#
# with a learning rate $\eta$ and weights $w_i$ that are larger for better candidates. (It also accumulates the steps of the mean: where successive steps agree, the distribution grows in their direction.) We use the implementation pycma, wrapped as `Evolution`. Its `run` is a generator that yields a row of the log per generation; `list(...)` runs it to the end.
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
titles = [f"generation {k + 1}" for k in range(0, 17, 4)]
searches = {"ES": es_steps[::4], "CMA-ES": cma_steps[::4]}
path = config.figure("04_search.png")
path.parent.mkdir(parents=True, exist_ok=True)
figures.search_steps(ridge, {"ES": searches["ES"]}, titles, extent=3).savefig(path, dpi=110)
figures.search_steps(ridge, searches, titles, extent=3)

# %%
for name, mean in {"ES": history[-1][0], "CMA-ES": cma_search.mean}.items():
    below = -ridge(mean[None])[0]
    print(f"{name:6} after generation 17: {mean.round(2)}, {below:.2f} below the summit")

# %% [markdown]
# **Figure 4.4.** Two searches on the ridge (the lighter, the higher; three dashed contour lines surround the summit, the triangle). Dots: the candidates of one generation. Cross and ellipses: the mean, and one and two standard deviations of the distribution that they were sampled from. Inset: the last distribution of CMA-ES, enlarged ten times.
#
# **Finding.** In one run of each, CMA-ES is at the summit after 17 generations (0.00 below it), and the ES is still about 0.8 below it (both start 2.9 below it). The circle has to stay small: a step that is long along the ridge is just as long across it, and falls off. An ellipse can be long one way and short the other: those of CMA-ES first grow and stretch along the ridge, then contract at the summit.

# %% [markdown]
# ## 4.3 Why the covariance matters
#
# How does the cost grow with the narrowness of the ridge? We count generations until the mean is within 0.01 of the summit's height, for condition numbers from 1 (a round hill) to 1,000, with ten seeds each.
#
# **Predict:** when $\kappa$ is multiplied by 10, what happens to the number of generations of each method?

# %%
CONDITIONS, SEEDS = (1, 10, 100, 1000), range(10)


def generations_needed(means, condition):
    """How many generations until the mean is within 0.01 of the summit's height."""
    reached = ridge(np.array(means), condition) > -0.01
    return 1 + reached.argmax() if reached.any() else np.inf


def es_run(condition, seed):
    height, rng = partial(ridge, condition=condition), np.random.default_rng(seed)
    return evolution_strategy(height, START.copy(), 0.4, 12, 3000, rng)


def cma_means(condition, seed):
    search = Evolution(2, 12, sigma=0.4, start=START, seed=seed)
    rows = search.run(lambda points, generation: ridge(points, condition), 40)
    return [search.mean for _ in rows]


# %%
needed, es_runs = {"ES": {}, "CMA-ES": {}}, {}
for kappa in CONDITIONS:
    es_runs[kappa] = [es_run(kappa, seed) for seed in SEEDS]
    es_means = [[mean for mean, _ in run] for run in es_runs[kappa]]
    needed["ES"][kappa] = [generations_needed(means, kappa) for means in es_means]
    needed["CMA-ES"][kappa] = [generations_needed(cma_means(kappa, k), kappa) for k in SEEDS]

# %%
for name, counts in needed.items():
    for kappa, seeds in counts.items():
        print(f"{name:6} condition {kappa:4}: {seed_interval(seeds).describe()}")
figures.costs(needed, "condition number of the ridge", "generations to the summit")

# %% [markdown]
# **Figure 4.5.** Generations of 12 candidates until the mean is within 0.01 of the summit's height: mean over 10 seeds, with the 95% CI of the mean (Student's $t$). In this section and the next, the printed SD is over seeds. Both axes are logarithmic; on them, proportional growth is a line of slope 1 (dashed).
#
# For $\kappa = 10$, 100 and 1,000 the ES needs 22, 165 and 1,748 generations: ten times the $\kappa$ costs about 7 to 11 times as many. CMA-ES needs 8 to 13 on every ridge. Why in proportion? The circle has one step size. From the crest of the ridge ($q = 0$) a step of length $\sigma$ across it loses $0.3\,\kappa \sigma^2$, and one along it gains about $0.6\, |p| \sigma$, where $|p|$ is the distance left to the summit. A fifth of the candidates succeed only if gains and losses are of similar size. So $\sigma$ should stay near a multiple of $|p| / \kappa$, and a generation should cover a share of $|p|$ proportional to $1 / \kappa$. We measure both, and predict the number of generations from them:

# %%
def relative_steps(run, count):
    """sigma / |p| in each generation, and the progress along the ridge in units of sigma."""
    means, sigmas = (np.array(values) for values in zip(*run[:count], strict=True))
    left = np.abs(means.sum(1) - 2) / np.sqrt(2)  # |p|
    return sigmas / left, (left[:-1] - left[1:]) / sigmas[:-1]


first, last = np.abs(START.sum() - 2) / np.sqrt(2), np.sqrt(0.01 / 0.3)  # |p|
for kappa in CONDITIONS[1:]:
    steps = map(relative_steps, es_runs[kappa], needed["ES"][kappa])
    sizes, progress = (np.concatenate(part) for part in zip(*steps, strict=True))
    size, covered = np.median(sizes), np.median(sizes) * progress.mean()
    print(
        f"condition {kappa:4}: sigma = {size * kappa:.1f} |p| / condition, "
        f"progress {progress.mean():.2f} sigma, "
        f"so {np.log(first / last) / covered:,.0f} generations"
    )

# %% [markdown]
# $\sigma$ is about $5\,|p| / \kappa$ (gain equal to loss would give 2: the argument is rough), and a generation moves the mean by about $0.3\,\sigma$. $|p|$ has to shrink from 3.11 to 0.18, by a factor of $e^{2.8}$; with $1.5 / \kappa$ per generation that takes about $1.9\,\kappa$ generations. The printed predictions (19, 162, 1,688) are about 2% to 14% below the counts. (One step size *per parameter* would be enough only if the ridge were parallel to an axis: exercise 4.)
#
# **Finding.** From $\kappa = 10$ to $1{,}000$ the cost of the isotropic ES grows from 22 generations (95% CI 17 to 27, ten seeds) to 1,748 (1,665 to 1,832), nearly in proportion to $\kappa$; CMA-ES needs 8 to 13 on every ridge (means over ten seeds).
#
# The price is that $\boldsymbol\Sigma$ has to be learned. It has $D(D+1)/2$ entries: 3 in two dimensions, 2,850 for $D = 75$, 376,278 for $D = 867$. The searches of 4.6 are too short to show what that costs.

# %% [markdown]
# ## 4.4 Break it: keep the best candidate
#
# What is the result of a search: the best candidate ever evaluated, or the mean of the last distribution? Returns are noisy: a candidate drives well on one track and badly on another. We add Gaussian noise with an SD of 1 to the height of the ridge, which is larger than the differences between good candidates. The last mean is measured once, with the same noise.
#
# **Predict:** which of the two has the higher *measured* height, and which the higher *true* height?

# %%
def noisy_search(seed, population=48, generations=10):
    """Measured and true heights of the best candidate ever, and of the last mean."""
    rng = np.random.default_rng(seed)
    search = Evolution(2, population, sigma=0.4, start=START, seed=seed)
    tried = []

    def measure(points, generation):
        heights = ridge(points) + rng.normal(scale=1.0, size=len(points))
        tried.extend(zip(heights, points, strict=True))
        return heights

    list(search.run(measure, generations))
    best_measured, best = max(tried, key=lambda pair: pair[0])
    [mean_measured] = measure(search.mean[None], None)
    return {
        "measured": {"best candidate": best_measured, "mean": mean_measured},
        "true": {
            "best candidate": ridge(best[None])[0],
            "average candidate": ridge(search.candidates).mean(),
            "mean": ridge(search.mean[None])[0],
        },
    }


# %%
noisy_runs = [noisy_search(seed) for seed in range(40)]
heights = {
    f"{kind} height (the summit is at 0)": {
        name: np.array([run[kind][name] for run in noisy_runs]) for name in noisy_runs[0][kind]
    }
    for kind in ("measured", "true")
}
for kind, rows in heights.items():
    for name, values in rows.items():
        print(f"{kind.split()[0]:8} {name:17} {seed_interval(values).describe(2)}")
true_best, true_average, true_mean = rows.values()
print("true: best - average", seed_interval(true_best - true_average).describe(2))
print("true: mean - best   ", seed_interval(true_mean - true_best).describe(2))
figures.seed_dots(heights)

# %% [markdown]
# **Figure 4.6.** Forty searches on the noisy ridge, a dot per search; bar and line: mean over searches and its 95% CI (Student's $t$). Left: measured heights of the best of 480 candidates and of the last mean. Right: true heights of the same two, and of the average candidate of the last generation.
#
# The measured height of the best candidate lies *above the summit*, which no true height does: the maximum of many noisy measurements is biased upwards. This is the *winner's curse*. The true heights show a second effect. A single sample of a wide distribution usually lies off the crest, below the mean, and the best-measured one is only a little better (by 0.14, 95% CI 0.07 to 0.20) than the average candidate of the last generation.
#
# **Finding.** The best candidate measures about 2.6, and its true height is about -0.24; the mean is at about -0.04, better by 0.20 (95% CI 0.13 to 0.26, 40 searches). This series therefore keeps and scores the mean of the distribution, never the best sample.

# %% [markdown]
# ## 4.5 The first generation on CarRacing
#
# Now the fitness is the return in CarRacing-v3, and $\theta$ has 867 entries. A track is a ring of about 280 *tiles*. The first contact of a wheel with a tile gives a reward of 1000 divided by the number of tiles, every environment step costs 0.1, and leaving the field costs 100 and ends the episode, which otherwise ends after 1,000 steps or a complete lap.
#
# The candidates of the first generation are the zero controller plus Gaussian noise with $\sigma = 0.1$. All of them get the same track (*common random numbers*); differences between returns are then due to the candidates. As in training, an episode is cut off early after 60 environment steps without a new tile.
#
# **Predict:** what share of random linear policies passes 100 points?

# %%
cut_off = car_racing.training_env_spec(config, config.search.patience)


def episodes_of(env_spec, parameters, tracks):
    """Episodes of controllers with these parameters (P, 867): P lists, an entry per track."""
    with processes(machine.workers) as executor:
        return run_controllers(env_spec, world_model, Controller(parameters), tracks, executor)


def evaluate(env_spec, parameters, tracks):
    """Their returns (P, tracks)."""
    episodes = episodes_of(env_spec, parameters, tracks)
    return np.array([[episode.score for episode in row] for row in episodes])


# %%
TRACK, zero = [500_100], np.zeros((1, 867))
noise = np.random.default_rng(1).standard_normal((config.search.population, 867))
episodes = [episode for [episode] in episodes_of(cut_off, zero + 0.1 * noise, TRACK)]
scores = np.array([episode.score for episode in episodes])
[[zero_episode]] = episodes_of(cut_off, zero, TRACK)
print(f"lowest {scores.min():.0f}, median {np.median(scores):.0f}, best {scores.max():.0f}")
for name, many in {
    "more than 100": scores > 100,
    "more than the zero controller": scores > zero_episode.score,
}.items():
    low, high = binomtest(int(many.sum()), len(many)).proportion_ci()
    print(f"{many.sum()} of {len(many)} return {name} (95% CI {low:.0%} to {high:.0%})")
print(f"{sum(e.terminated for e in episodes)} of {len(episodes)} episodes leave the field")
print(f"zero controller, early termination: {zero_episode.score:.0f}")
print(f"zero controller, whole episode: {evaluate(env_spec, zero, TRACK).item():.0f}")

# %%
figure, ax = figures.new_axes(width=5)
ax.hist(scores, bins=20, color=figures.REALITY)
ax.axvline(zero_episode.score, color=figures.BASELINE, ls="--", label="zero controller")
ax.set(xlabel="return of a random controller (points)", ylabel="controllers")
ax.legend()
figure

# %% [markdown]
# **Figure 4.7.** Returns of one generation of random controllers on one track of the real environment. Dashed: the zero controller.
#
# No return is negative: early termination ends every episode before the car leaves the field, and before standing still costs much. The zero controller returns 67 points with early termination, and about -45 in a whole episode. Of the difference, 100 points are for leaving the field and 12 for the time until then.
#
# **Finding.** None of 48 random controllers passes 100 points (95% CI 0% to 7%, one track), half of them return less than 16, and 46 return less than the zero controller: most random weights make it worse. A ranking of these is all that the search needs: it moves its mean towards the better half.

# %% [markdown]
# ## 4.6 Which space to search in
#
# Does a search have to treat all 867 parameters alike? Many latent dimensions hardly vary (chapter 2), so that a weight on them acts like a bias, and weights on inputs that vary together do the same thing. We therefore record $[z, h]$ during 24 episodes of chapter 2's random-action policy and compute its principal components.
#
# **Predict:** how many of the 288 components contain 90% of the variance?

# %%
work = config.run_folder(f"chapter04-{scoring.agent_digest(folder)}")
random_features = random_policy_features(config, world_model, work)
variances = np.linalg.eigvalsh(np.cov(random_features.T.numpy()))[::-1]
share = variances.cumsum() / variances.sum()
enough = 1 + np.argmax(share > 0.9)
print(f"{len(random_features):,} agent steps: {enough} of 288 components contain 90%")
print(f"{config.search.directions} components: {share[config.search.directions - 1]:.1%}")
figure, ax = figures.new_axes(width=5)
ax.plot(range(1, 289), share, color=figures.REALITY)
ax.axvline(config.search.directions, color=figures.BASELINE, ls="--")
ax.axhline(0.9, color=figures.BASELINE, lw=0.8)
ax.set(xlabel="number of principal components", ylabel="share of the variance of [z, h]")
figure

# %% [markdown]
# **Figure 4.8.** Cumulative share of the variance of $[z, h]$ in its first principal components, during episodes with random actions. Dashed: the 24 components that the searches of chapter 5 use. Horizontal line: 90%.
#
# **Finding.** 20 of 288 components contain 90% of the variance, and 24 contain 92%.
#
# With the principal components $v_i$ of $x = [z, h]$, their standard deviations $s_i$ and the mean $\bar x$ we search over a matrix $A$ (3 × 24) and a bias $b'$ (3) in
#
# $$u = A y + b', \qquad y_i = \frac{1}{\sqrt{s_1 + \dots + s_{24}}}\, \frac{v_i^\top (x - \bar x)}{\sqrt{s_i}}$$
#
# Three choices are in this formula. Only 24 components are used (75 parameters). Dividing by $\sqrt{s_i}$ brings their sizes closer together. And with the common factor the mean of $|y|^2$ is 1, so that a random change of $b'$ moves the raw outputs as much as a random change of $A$. The idea behind the factor: the average gas matters much for driving, and $b'$ sets it, so a search step should change $b'$ enough to be felt. Whether the three choices help is measured below. The result is again a linear controller. This function computes its 867 parameters $W$, $b$:

# %%
figures.source(Directions.expand)

# %% [markdown]
# First a short search in this space, on tracks that the evaluation below does not use.
#
# **Predict:** the zero controller returns about -45. What do 10 generations of 48 episodes make of it?

# %%
space = Directions.of(random_features, config.search.directions)
short_search = Evolution(space.num_parameters, config.search.population, sigma=0.6, seed=1)


def fitness(points, generation):
    return evaluate(cut_off, space.expand(points), [500_100 + generation])[:, 0]


rows = list(short_search.run(fitness, chapter.trial_generations))
print("mean return of each generation:", *(f"{row['mean']:.0f}" for row in rows))
evolved = space.expand(short_search.mean)
tracks = range(500_200, 500_200 + config.search.check_tracks)
zero_returns, evolved_returns = evaluate(env_spec, np.concatenate([zero, evolved]), tracks)
outcomes = {"zero controller": zero_returns, "evolved": evolved_returns}
for name, values in outcomes.items():
    print(f"{name:15} {episode_interval(values).describe()}")

# %%
evolved_episode = record_episode(env_spec, LinearPolicy(evolved[0]), track, world_model)
print(f"return {evolved_episode.score:.0f} in {evolved_episode.steps} environment steps")
clip = evolved_episode.recording["frames"][:150]
figures.moving_picture(clip, "after ten generations", fps=50 / pace)

# %% [markdown]
# **Figure 4.9.** The first 150 agent steps of the evolved controller, on the track of Figure 4.3, which is also the track of the search's second generation; the whole episode's return is printed above. The car follows the road, weaves from side to side, and after the first bend is half on the grass for a moment.
#
# **Finding.** Ten generations of 48 episodes take the mean return of this one search from -45 to 516 (95% CI over 32 tracks 428 to 588). (In another execution, with the same seed but other rounding, this search reached 379. The printed means of the generations are lower because they are means of noisy candidates, on one track each, with early termination.)
#
# These intervals and SDs are over tracks: `episode_interval` resamples the 32 returns with replacement, many times, and takes quantiles of their mean (a *bootstrap*; BCa, because returns are skewed). Its nominal coverage is 95%; its empirical coverage is only about 76% for 32 episodes of an agent with a few rare failures (chapter [5.7](05_car_racing.ipynb)). These intervals say how precisely the mean return of *this* controller is known. To compare search spaces, the unit is the *search*, and the interval has to be over seeds.
#
# So we ran an *ablation*: four spaces, each of which changes one thing in the one before it:
#
# | space | parameters | what is new |
# |---|---|---|
# | all weights | 867 | $y = x - \bar x$ |
# | components | 75 | $y_i = v_i^\top (x - \bar x)$, 24 components |
# | scaled | 75 | each $y_i$ divided by $\sqrt{s_i}$ |
# | common factor | 75 | all $y$ multiplied by $1 / \sqrt{s_1 + \dots + s_{24}}$ |
#
# Everything else is equal: pretrained V and M, the zero controller as the start, 12 generations of 24 candidates with one episode each of at most 400 environment steps (8 s), and the same tracks for the same seed. The initial step size is set by one rule, and not as in 4.5: in every space the raw outputs of the first candidates have the same root mean square (0.85, which gives $\sigma = 0.6$ in the last space, as in round 0 of chapter 5). Each search's mean is then scored on whole episodes on 16 other tracks. To repeat it: `python -m wmlib ablate search`.
#
# **Predict:** which of the three changes matters most?

# %%
ablation = read_log(pretrained("ablations") / "search.jsonl")
returns_in = {}  # space: the mean return of each seed's result
for name in dict.fromkeys(row["space"] for row in ablation):
    rows = [row for row in ablation if row["space"] == name]
    returns_in[name] = np.array([row["check"] for row in rows])
    interval = seed_interval(returns_in[name])
    print(f"{name:13} sigma {rows[0]['sigma']:.2f}: {interval.describe(0)}")

# %%
for new, old in [
    ("components", "all weights"),
    ("scaled", "components"),
    ("common factor", "scaled"),
    ("common factor", "all weights"),
]:
    difference = seed_interval(returns_in[new] - returns_in[old])
    unpaired = np.hypot(returns_in[new].std(ddof=1), returns_in[old].std(ddof=1))
    print(f"{new} - {old}: {difference.describe(0)}; unpaired {unpaired:.0f} SD")
errors = [row["check_std"] / np.sqrt(16) for row in ablation]
print(f"standard error of a search's score: {min(errors):.0f} to {max(errors):.0f}")
figures.search_spaces(ablation)

# %% [markdown]
# **Figure 4.10.** Left: mean return of the result of each search, a dot per seed; bar and line: mean over seeds and its 95% CI (Student's $t$ over five seeds). Right: the same for differences between two spaces, seed by seed.
#
# All four intervals of differences contain 0, and each is about 300 points wide or more. With an SD of 120 to 160 points over seeds, a comparison of one search per space can show 100 points in either direction by chance. Pairing by seed does not help: differences between independent searches would have about the same SD (`unpaired` in the output, 111 to 147). A part of this SD is noise of the scores themselves, with a standard error of 20 to 67 points over 16 tracks; more tracks are the cheapest remedy.
#
# <details><summary>How small an effect could this ablation detect?</summary>
#
# With five seeds, a paired $t$ test at the 5% level detects an effect with a probability of 80% only if it is at least 1.68 SDs: about 200 to 270 points. The step size was not tuned, and in longer searches the size of the covariance matrix may matter.
# </details>
#
# **Finding.** After 288 episodes the four spaces reach mean returns of about 360 to 445, and no difference between them can be distinguished from 0: for the 75 parameters of chapter 5 minus all 867 it is about -84 (95% CI -273 to 106, five seeds). The ablation supports neither a benefit nor a harm of any of the three changes.

# %% [markdown]
# ## 4.7 What does the trained controller use?
#
# How strongly does each action depend on $z$, and how strongly on $h$? We split $u = W_z z + W_h h + b$ into its two parts and compute how much each varies during the episode of 4.1.

# %%
inputs = features(world_model, frames, episode.recording["actions"])
weight, z_part, h_part = trained.weight[0], slice(0, 32), slice(32, 288)
ACTIONS = ("steering", "gas", "brake")
effect = {
    "from z": (inputs[:, z_part] @ weight[:, z_part].T).std(0),
    "from h": (inputs[:, h_part] @ weight[:, h_part].T).std(0),
}
correlations = [
    np.corrcoef(inputs[:, z_part] @ row[z_part], inputs[:, h_part] @ row[h_part])[0, 1]
    for row in weight
]

# %%
figure, ax = figures.new_axes(width=5)
for name, shift, color in [("from z", -0.2, "white"), ("from h", 0.2, "black")]:
    print(name, " ".join(f"{a} {sd:.2f}" for a, sd in zip(ACTIONS, effect[name], strict=True)))
    ax.bar(np.arange(3) + shift, effect[name], 0.4, label=name, color=color, edgecolor="black")
print("correlation", " ".join(f"{r:.2f}" for r in correlations))
ax.set(xticks=range(3), xticklabels=ACTIONS, ylabel="SD of the contribution to u")
ax.legend()
figure

# %% [markdown]
# **Figure 4.11.** Standard deviation over one episode of what $z$ and $h$ contribute to the raw outputs $u$, before squashing. $z$ and $h$ vary the steering about equally, and also the brake; the gas is varied mainly by $h$. In the steering their contributions partly cancel (correlation -0.76).
#
# A large contribution need not be a necessary one. So we *ablate inputs*: the same controller, with $z$ or $h$ fixed at its average over that episode, on the same tracks. The average contribution stays in the bias.
#
# **Predict:** which costs more return, fixing $z$ or fixing $h$?

# %%
figures.source(Controller.with_fixed)

# %%
average = inputs.mean(0)
policies = {
    "nothing fixed": trained,
    "h fixed": trained.with_fixed(h_part, average),
    "z fixed": trained.with_fixed(z_part, average),
}
all_parameters = np.concatenate([policy.parameters for policy in policies.values()])
rows = dict(zip(policies, episodes_of(env_spec, all_parameters, tracks), strict=True))
returns_of = {name: np.array([e.score for e in row]) for name, row in rows.items()}
for name, row in rows.items():
    laps, left = sum(e.lap for e in row), sum(e.terminated and not e.lap for e in row)
    print(f"{name:13} {episode_interval(returns_of[name]).describe()}")
    steps = np.mean([e.steps for e in row])
    print(f"{'':13} {steps:.0f} environment steps, {laps} laps, {left} leave the field")

# %%
for name in ("h fixed", "z fixed"):
    difference = episode_interval(returns_of[name] - returns_of["nothing fixed"])
    print(f"{name} - nothing fixed: {difference.describe()}")
difference = episode_interval(returns_of["z fixed"] - zero_returns)
print(f"z fixed - zero controller: {difference.describe()}")

# %% [markdown]
# Intervals and SDs are over 32 tracks, as in 4.6. The differences are paired: each one compares two returns on the same track.
#
# With $h$ fixed the car never leaves the field, but collects only half of the tiles in 1,000 steps: it is slow (4.8 shows how). With $z$ fixed it collects about 5%.
#
# Two limits. First, $h$ is not independent of $z$: with $z$ fixed the agent still knows where the road was one agent step ago. Second, this measures what a controller relies on that was *trained with* these inputs. What one *trained without* them could reach needs training runs of its own: the paper reports 632 ± 251 for C trained on $z$ alone and 906 ± 21 for both (± SD over 100 tracks). Chapter [5.10](05_car_racing.ipynb) resets $h$ before every step instead of fixing it: with one step of memory this C returns about 676 on 32 other tracks.
#
# **Finding.** This controller relies on both inputs, and more on $z$: with $h$ fixed its mean return falls from about 894 to about 405 (difference -489, nominal 95% CI -505 to -440), with $z$ fixed to about -58, slightly below the zero controller on the same tracks (difference -13, -26 to -5). Figure 4.11 alone does not predict that.

# %% [markdown]
# ## 4.8 Explore the controller
#
# | control | meaning |
# |---|---|
# | `fixed` | which inputs are fixed at their average (`nothing`, `z`, `h`, or the inactive dimensions of `z`) |
# | `bars for` | the action that the bars explain |
# | `agent step` | the moment shown, 25 per second |
# | buttons beside it | play, stop (back to the start), repeat |
#
# Left: the trained controller on this track. Middle: the controller with the chosen inputs fixed, on the same track, and "(over)" once its episode has ended. Right: contributions to the raw output of the middle one, each a weight times the difference of its input from the average: all of $z$ and all of $h$ summed (black), and the eight largest single inputs (blue). A positive contribution to the brake need not mean braking, because $u_3$ below 0 is clipped.
#
# **Tasks.**
#
# 1. With nothing fixed, go through the episode with `agent step`, or play it. Find a left bend and a right bend. Do $z$ and $h$ contribute to the steering with the same sign there?
# 2. Is the steering determined by a few of the largest single inputs, or by the sum of many small ones?
# 3. Switch to gas, then to brake, and compare the bars with the actions under the frames. Where in a bend does each act?
# 4. Fix $h$, go to agent step 0, and play. Where does the middle car fall behind, and how do the two steer and use the gas there? Repeat with $z$ fixed: when does it leave the road?
# 5. Fix *inactive z*, the dimensions with less than 0.1 nats of information (chapter 2). What changes?

# %%
with torch.no_grad():
    posterior = world_model.vae.encode(frames_to_tensor(frames[:200]))
inactive = torch.nonzero(kl_per_dimension(*posterior).mean(0) < 0.1)[:, 0]
print(f"{len(inactive)} of 32 dimensions of z are inactive")
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
# **Figure 4.12.** Contact sheet of the explorer: the same eight agent steps of each episode in the real environment, and the return after agent step 200. An episode that has ended keeps its last frame. With $z$ fixed the car is off the road by step 75; with $h$ fixed it stays on the road, but lags.
#
# The tasks by numbers:

# %%
whole = explorer.episodes["nothing"]
added = trained.weight[0] * (whole.features - whole.features.mean(0))[:, None]  # (steps, 3, 288)
opposed = added[:, 0, z_part].sum(1) * added[:, 0, h_part].sum(1) < 0
print(f"1: z and h steer with opposite signs in {opposed.float().mean():.0%} of the steps")
sizes = added[:, 0].abs().sort(descending=True).values
share = (sizes[:, :8].sum(1) / sizes.sum(1)).mean()
print(f"2: the eight largest inputs have {share:.0%} of the sum of all 288 absolute contributions")
for name, recording in explorer.episodes.items():
    steering, gas, brake = np.abs(recording.actions).T
    print(
        f"{name} fixed: |steering| above 0.9 in {(steering > 0.9).mean():.0%} of the steps, "
        f"mean gas {gas.mean():.2f}, mean brake {brake.mean():.3f}"
    )

# %% [markdown]
# <details><summary>What we saw</summary>
#
# 1. Mostly with opposite signs (75% of all steps): $h$ takes back a part of what $z$ asks for.
# 2. By many: the eight largest of 288 inputs have 45% of the sum of absolute contributions.
# 3. Gas is given sparingly (mean 0.17), and the brake is hardly used on this track.
# 4. Before the first bend: at step 50 the left car is in the bend, and the middle one has not reached it. With $h$ fixed the car steers almost fully to one side or the other in 72% of the steps, with less than half of the gas. With $z$ fixed it gives three times the gas, and is off the road by step 75.
# 5. Hardly anything: mean gas 0.16 instead of 0.17, and the frames at the same agent step differ slightly.
# </details>
#
# **Finding.** On this one track, in 200 agent steps (8 s), the complete controller returns 437, with $h$ fixed 214, and with $z$ fixed 10. With $h$ fixed it steers by more than 0.9 to either side in 72% of the steps (4% with nothing fixed), and gives less than half of the gas. Fixing the 22 inactive dimensions of $z$ hardly changes the return (441).

# %% [markdown]
# ## 4.9 Exercises
#
# **1. Your ES on the car.** Run `evolution_strategy` for ten generations with the space, the population, the step size and the tracks of 4.6, and keep the result as `own`. Evaluate the last mean on `tracks`. Does this controller reach the return of the CMA-ES result in 4.6, and how does the step size of your ES change?
#
# ```python
# own_returns = evaluate(env_spec, space.expand(own[-1][0]), tracks)[0]
# assert len(own) == 10 and own_returns.shape == (len(tracks),)
# ```
#
# <details><summary>Hint</summary>
#
# `fitness` of 4.6 takes points and the generation; your ES calls it twice per generation (candidates and mean). `itertools.count()` counts the calls.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# import itertools
#
# calls = itertools.count()
# own = evolution_strategy(
#     lambda points: fitness(points, next(calls) // 2),
#     np.zeros(space.num_parameters),
#     0.6,
#     config.search.population,
#     chapter.trial_generations,
#     np.random.default_rng(1),
# )
# own_returns = evaluate(env_spec, space.expand(own[-1][0]), tracks)[0]
# print(episode_interval(own_returns).describe(), [round(sigma, 2) for _, sigma in own])
# ```
#
# When we ran it, it reached 161 (95% CI over 32 tracks 110 to 213), where one CMA-ES search reached 516. The step size fell from 0.6 to 0.2 and ended at 0.29. One search each: another seed, or the same seed with other rounding, as on another processor, can give a very different result.
# </details>
#
# **2. By hand.** Write `parameters` (867,) of a controller that ignores its inputs, steers straight ahead and gives a little gas, less than half, with as few numbers other than 0 as possible. Record an episode with it, and watch it.
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
# episode = record_episode(env_spec, LinearPolicy(parameters), track, world_model)
# figures.moving_picture(episode.recording["frames"][:150], f"return {episode.score:.0f}", fps=25)
# ```
# </details>
#
# **3. Smaller populations.** Repeat 4.4 with `population=6` for the same number of evaluations (80 generations), and keep the true heights of the means as `small` (40,). Is a small population better or worse under noise?
#
# ```python
# assert small.shape == (40,)
# ```
#
# <details><summary>Solution</summary>
#
# ```python
# runs = [noisy_search(seed, population=6, generations=80) for seed in range(40)]
# small = np.array([run["true"]["mean"] for run in runs])
# print(seed_interval(true_mean - small).describe(2), np.median(small), np.sort(small)[:5])
# ```
#
# Worse, on average by 0.68 (95% CI 0.40 to 0.96). The result is skewed: the median is -0.36, but three of the 40 searches end at -2.9 or lower, no higher than the start. The mean of 3 elite candidates averages out less noise than the mean of 24, and more generations do not make up for it.
# </details>

# %% [markdown]
# **4. Tilted or upright.** Is the problem of 4.3 that the ridge is narrow, or that it is tilted? *Separable* CMA-ES (Ros & Hansen, 2008) adapts one step size per parameter: the diagonal of $\Sigma$ alone, in pycma with the option `"CMA_diagonal": True`. Write `generations_of(height, diagonal, seed)` with pycma's own ask and tell: how many generations until the height of `search.result.xfavorite` (pycma's name for the mean) is above -0.01, at most 1,000. Begin as in 4.3: at `START`, with a step size of 0.4 and 12 candidates. Compare both settings on the tilted ridge with $\kappa = 1{,}000$ and on an upright one.
#
# ```python
# tilted = partial(ridge, condition=1000)
# upright = lambda points: -0.3 * ((points - 1) ** 2 @ [1, 1000])
# count = lambda height, diagonal: np.mean([generations_of(height, diagonal, k) for k in range(1, 6)])  # not 0: pycma would take the seed from the clock
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
# The diagonal is enough on the upright ridge (about 15 generations) and fails on the tilted one (about 460), where the full matrix also needs about 15. Correlated inputs of C could tilt its fitness landscape in this way, and principal components are uncorrelated; 4.6 found no benefit of them.
# </details>

# %% [markdown]
# ## Summary
#
# - C is linear: 867 parameters, 0.02% of the agent, map $[z, h]$ to steering, gas and brake.
# - An evolution strategy needs the returns of candidates and no gradient. With one step size for all directions, its cost grows nearly in proportion to the condition number (at 1,000: 1,748 generations, 95% CI 1,665 to 1,832, ten seeds); CMA-ES learns a covariance matrix and needs 13 (11 to 15).
# - Winner's curse: under noise the best of 480 candidates measures about 2.6 above the summit, and the mean of the distribution has the higher true height, by about 0.20 (95% CI 0.13 to 0.26, 40 searches). The mean is the result of a search.
# - Ten generations of 48 episodes evolve a controller that returns 516 (95% CI over 32 tracks 428 to 588; one search), from -45.
# - In short searches with five seeds, none of three changes of the search space (24 components instead of all weights, scaling them, the common factor) had an effect that can be distinguished from 0. One search per space could have been misleading.
# - With $h$ fixed at its average the trained controller's mean return falls from about 894 to about 405, with $z$ fixed to about -58 (32 tracks): it relies on both.
#
# **What's next.** [Chapter 5](05_car_racing.ipynb) runs the whole loop, from an empty folder to a score on held-out tracks. It uses the `Evolution` and the search space of 4.6, with more generations and more episodes per candidate.
#
# **Related work.**
#
# - Rechenberg, *Evolutionsstrategie*, 1973: evolution strategies and the one-fifth success rule.
# - Hansen & Ostermeier, [Completely Derandomized Self-Adaptation in Evolution Strategies](https://doi.org/10.1162/106365601750190398), 2001: CMA-ES. Hansen, [The CMA Evolution Strategy: A Tutorial](https://arxiv.org/abs/1604.00772), 2016, derives it; [pycma](https://github.com/CMA-ES/pycma) implements it. Ros & Hansen, [A Simple Modification in CMA-ES Achieving Linear Time and Space Complexity](https://doi.org/10.1007/978-3-540-87700-4_30), 2008: its diagonal version.
# - Salimans et al., [Evolution Strategies as a Scalable Alternative to Reinforcement Learning](https://arxiv.org/abs/1703.03864), 2017: an isotropic ES trains large neural networks on hundreds of workers.
# - Ha & Schmidhuber, [World Models](https://worldmodels.github.io/), 2018, appendix A.3 and A.4: this controller, trained by CMA-ES with 64 candidates, 16 episodes each, for 1,800 generations.
# - Mania, Guy & Recht, [Simple random search of static linear policies is competitive for reinforcement learning](https://arxiv.org/abs/1803.07055), 2018: linear policies for MuJoCo, and how much results differ between seeds.
# - Li et al., [Measuring the Intrinsic Dimension of Objective Landscapes](https://arxiv.org/abs/1804.08838), 2018: *random subspace training*; our subspace is chosen from data.
# - Risi & Stanley, [Deep Neuroevolution of Recurrent and Discrete World Models](https://arxiv.org/abs/1906.08857), 2019: V, M and C evolved together by a genetic algorithm, on the reward alone.
# - Tang, Nguyen & Ha, [Neuroevolution of Self-Interpretable Agents](https://arxiv.org/abs/2003.08165), 2020: CMA-ES evolves an agent that attends to patches of the frame, also on CarRacing.
# - Smith & Winkler, [The Optimizer's Curse](https://doi.org/10.1287/mnsc.1050.0451), 2006: the winner's curse in decisions, and how to correct for it.
