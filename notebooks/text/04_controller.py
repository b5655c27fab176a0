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
# # 4. C, the driver
#
# ![Five panels: a cloud of points climbs a hill, its ellipse stretching along the slope](../figures/04_search.png)
#
# *CMA-ES climbs a hill it cannot see: blue the candidates of one generation, orange the distribution they are drawn from.*
#
# **What you'll do.** Meet the smallest part of the agent, 867 numbers, and the method that finds them without a single gradient. First where you can watch it, in two dimensions; then on the road.
# **What you'll learn.** How an evolution strategy works; why its *mean* is the result and its *best* is not; how much of the driving comes from $z$ and how much from $h$.
# **What you need.** Chapters [2](02_vae.ipynb) and [3](03_mdn_rnn.ipynb) for $z$ and $h$.
# **How long.** 30 minutes; the cells take about five minutes, most of it real driving.

# %%
import numpy as np
import torch

from wmlib import figures, presets, recipes
from wmlib.controller import Controller, squash
from wmlib.drivers import ControllerDriver, Job
from wmlib.evaluation import interval
from wmlib.evolution import Evolution
from wmlib.rollout import drive_all, processes, record_drive
from wmlib.world_model import WorldModel, load_controller, pretrained

figures.use_style()
numbers = presets.preset()
RETRAIN = numbers.retrain  # set to True to train everything here from scratch

# %% [markdown]
# ## 4.1 A driver of 867 numbers
#
# V has 4.3 million parameters and M 0.4 million. What they learn needs no reward at all: they watch, and predict. So what is left for the part that is rewarded can be tiny. C is one linear layer:
#
# $$a = \mathrm{squash}\big(W\,[z, h] + b\big)$$
#
# $[z, h]$ is what the agent knows (32 + 256 numbers), $W$ is 3 × 288, $b$ has three entries, and *squash* turns the three results into steering, gas and brake:

# %%
figures.source(squash)

# %%
# NBVAL_CHECK_OUTPUT
controller = Controller()
print(controller.num_parameters, "parameters, all zero to begin with")
print("its action:", controller(torch.zeros(1, 288)).tolist())

# %% [markdown]
# Zero everywhere means: wheel straight, half gas, no brake. Not a bad start!
#
# Everything about a controller is in one flat vector, and a *population* of controllers is a matrix. `Controller` holds such a matrix, and lets each row drive a car of its own.

# %%
figures.source(Controller.__call__)

# %% [markdown]
# ## 4.2 Climbing without a slope
#
# Why not gradients? A score is the sum of a thousand steps through a physics engine, and neither the engine nor "did a wheel touch this tile" has a derivative. An evolution strategy needs none. It draws candidates from a Gaussian, tries them, and moves the Gaussian towards the better half. CMA-ES (covariance matrix adaptation) also learns the Gaussian's *shape*.
#
# Two dimensions can be drawn. Here is a narrow, tilted ridge; the summit is at (1, 1).

# %%
def ridge(points, generation=None):
    """Height of a tilted ridge at points (N, 2): (N,). The summit, 0, is at (1, 1)."""
    along, across = points.sum(1) - 2, points[:, 0] - points[:, 1]
    return -(0.15 * along**2 + 4 * across**2)


search = Evolution(2, population=12, sigma=0.4, start=np.array([-1.2, -1.2]), seed=3)
clouds, shapes = [], []


def watch(points, generation):
    clouds.append(points)
    shapes.append((search.mean, search.covariance))
    return ridge(points)


for _ in search.run(watch, 17):
    pass

# %%
figure = figures.search_steps(ridge, clouds[::4], shapes[::4], extent=2)
for ax, generation in zip(figure.axes, range(0, 17, 4), strict=True):
    ax.set_title(f"generation {generation}", fontsize=9)
path = numbers.figure("04_search.png")
path.parent.mkdir(parents=True, exist_ok=True)
figure.savefig(path, dpi=80)
figure

# %% [markdown]
# The ellipses are where 39% and 86% of the candidates fall (one and two standard deviations). They stretch along the ridge, which nobody told the search about, and shrink around the summit.

# %%
# NBVAL_CHECK_OUTPUT
print("the mean:", search.mean.round(1), " height:", round(float(ridge(search.mean[None])[0]), 2))

# %% [markdown]
# ## 4.3 Break it: crown the winner
#
# Driving is noisy: another track, another score. So let us put noise on the ridge, larger than the differences between good candidates, and compare two answers that one could take home: the best candidate ever seen, and the mean of the distribution.
#
# **Predict:** which of the two has the higher *measured* height, and which the higher *true* one?

# %%
claimed, best, mean = [], [], []
for seed in range(20):
    rng = np.random.default_rng(seed)
    noisy = Evolution(2, population=12, sigma=0.4, start=np.array([-1.2, -1.2]), seed=seed)
    seen = []

    def try_out(points, generation, rng=rng, seen=seen):
        scores = ridge(points) + rng.normal(scale=1.0, size=len(points))
        seen.extend(zip(scores, points, strict=True))
        return scores

    list(noisy.run(try_out, 30))
    score, winner = max(seen, key=lambda pair: pair[0])
    claimed.append(score)
    best.append(ridge(winner[None])[0])
    mean.append(ridge(noisy.mean[None])[0])

# %%
for name, values in {
    "the winner's measured height": claimed,
    "the winner's true height": best,
    "the mean's true height": mean,
}.items():
    print(f"{name:30} {interval(values).describe(2)}")

# %% [markdown]
# The winner claims to stand *above the summit* (which is at 0): the maximum of many noisy measurements is mostly luck. The mean of the distribution never stood out in any generation, and it is the better answer. So this series keeps and scores the mean, always. (Several well-known reimplementations save the winner.)

# %% [markdown]
# ## 4.4 On the road
#
# Now 867 dimensions instead of two, and instead of a ridge the real CarRacing-v3, seen through V and M.

# %%
folder = numbers.run_folder("car_racing") if RETRAIN else pretrained("car_racing")
if RETRAIN:
    recipes.car_controller(numbers, recipes.car_world_model(numbers, folder), folder)
world_model = WorldModel.load(folder)
trained = load_controller(folder / "controller.safetensors")
world = recipes.car_world(numbers)

# %% [markdown]
# One generation, tried out: every candidate is the zero controller plus Gaussian noise of size 0.1, and all of them drive the same track. (As in training, a drive is given up when no new tile has been reached for a while.)

# %%
search = Evolution(867, numbers.population, sigma=0.1, seed=1)
impatient = recipes.car_world(numbers, numbers.patience)


def drive_one_track(candidates, generation):
    jobs = [Job(seed=500_100, member=i) for i in range(len(candidates))]
    driver = ControllerDriver(Controller(candidates))
    with processes(numbers.workers) as executor:
        drives = drive_all(impatient, driver, jobs, world_model, executor=executor, progress="driving")
    return np.array([drive.score for drive in drives])


first = next(search.run(drive_one_track, 1))
figure, ax = figures.new_axes(width=5)
ax.hist(first["scores"], bins=20, color=figures.REALITY)
ax.set(xlabel="score of a random controller", ylabel="controllers")
figure

# %% [markdown]
# None of them can drive. But some are less bad than others, and that is all the search ever asks for. After one generation the mean has moved a little towards those; chapter 5 does this for as long as it takes. This is how a controller drives that came out of such a run:

# %%
drive = record_drive(world, ControllerDriver(trained), Job(500_101), world_model)
print(f"score {drive.score:.0f} in {drive.steps} steps")
figures.moving_picture(drive.recording["frames"][:600:3], "the trained controller drives", fps=17)

# %% [markdown]
# ## 4.5 What does it look at?
#
# The weights of a linear layer can be read. How strongly does each action depend on $z$, and how strongly on $h$? We multiply each weight by how much its input varies during a drive (a large weight on something that never changes does nothing).

# %%
features = []


class Notebook(ControllerDriver):
    """C, writing down what it reads."""

    def act(self, features_now, lanes):
        features.append(features_now[0].numpy())
        return super().act(features_now, lanes)


record_drive(world, Notebook(trained), Job(500_101), world_model)
effect = np.abs(trained.weight[0].numpy()) * np.std(features, axis=0)
figure, ax = figures.new_axes(width=5)
for name, part, shift in (("z", effect[:, :32], -0.2), ("h", effect[:, 32:], 0.2)):
    color = figures.TRUTH if name == "z" else figures.REALITY
    ax.bar(np.arange(3) + shift, np.sqrt((part**2).sum(1)), 0.4, label=name, color=color)
ax.set(xticks=range(3), xticklabels=["steering", "gas", "brake"], ylabel="effect on the raw action")
ax.legend()
figure

# %% [markdown]
# An effect is not yet a need. So we blind the driver: the same controller, once with its $h$-weights set to zero, once with its $z$-weights set to zero, on the same tracks.
#
# **Predict:** which hurts more?

# %%
def without(part):
    """The trained controller with some of its inputs cut off."""
    parameters = trained.parameters[0]
    weight = parameters[: 3 * 288].reshape(3, 288).copy()
    weight[:, part] = 0
    return Controller(np.concatenate([weight.ravel(), parameters[3 * 288 :]]))


drivers = {
    "z and h": trained,
    "z alone": without(slice(32, 288)),
    "h alone": without(slice(0, 32)),
}
jobs = [Job(500_200 + i) for i in range(numbers.check_tracks)]
scores = {}
with processes(numbers.workers) as executor:
    for name, c in drivers.items():
        drives = drive_all(world, ControllerDriver(c), jobs, world_model, executor=executor)
        scores[name] = [drive.score for drive in drives]
        print(f"{name:8} {interval(scores[name]).describe()}")

# %% [markdown]
# This is surgery on a finished driver: it shows what *this* controller leans on, not what one could learn with $z$ alone. (The paper trained such drivers: 632 ± 251 with $z$ alone, 906 ± 21 with both.) Chapter 7 will do that comparison fairly.

# %% [markdown]
# ## 4.6 Exercises
#
# **1. The sign.** pycma *minimizes*. Give `Evolution` the function `lambda p, g: -ridge(p)` and look at where the mean goes. *(Check: away from (1, 1), and faster and faster.)* Where in `wmlib` is the one minus sign that prevents this?
#
# <details><summary>Solution</summary>
#
# ```python
# wrong = Evolution(2, population=12, sigma=0.4, seed=0)
# for row in wrong.run(lambda p, g: -ridge(p), 20):
#     pass
# print(wrong.mean, wrong.sigma)
# ```
#
# In `Evolution._tell`, and nowhere else: one place, so that it cannot be applied twice.
# </details>
#
# **2. By hand.** Write a controller that ignores everything and always gives a little gas. How many parameters do you have to set, and to what? Drive it. *(Check: `squash` of your three biases must be steering 0, gas 0.5 + something, brake 0.)*
#
# <details><summary>Solution</summary>
#
# ```python
# parameters = np.zeros(867)
# parameters[-3:] = [0.0, 0.2, -1.0]  # the three biases come last
# drive = record_drive(world, ControllerDriver(Controller(parameters)), Job(500_101), world_model)
# print(squash(torch.tensor(parameters[-3:])), drive.score)
# ```
# </details>
#
# **3. Smaller populations.** Repeat 4.3 with `population=6` and with `population=48`, for the same number of *evaluations*. Which gets closer to the summit under noise?
#
# <details><summary>Solution</summary>
#
# Change the two numbers (`run(try_out, 60)` for 6, `run(try_out, 7)` for 48). With strong noise, a large population averages it out, and takes fewer but surer steps; with none, small ones are faster. That trade is why chapter 5 asks how many tracks each candidate should drive.
# </details>

# %% [markdown]
# ## Summary
#
# - C is linear: 867 numbers, one flat vector.
# - CMA-ES needs only a ranking of candidates, no gradient; it learns the shape of its own steps.
# - Under noise the best sample is the luckiest; the mean of the distribution is the result.
# - The same code lets one controller drive, or a whole population.
# - Cutting $h$ or $z$ off shows what a finished driver leans on.
#
# **What's next.** [Chapter 5](05_car_racing.ipynb) puts everything together, from an empty folder to a score.
#
# **References.** Ha & Schmidhuber, [World Models](https://worldmodels.github.io/), 2018, appendix A.3 and A.4 · Hansen, [The CMA Evolution Strategy: A Tutorial](https://arxiv.org/abs/1604.00772), 2016 · [pycma](https://github.com/CMA-ES/pycma)
