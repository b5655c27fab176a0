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
# # 3. M, the memory
#
# ![Real frames above; below, frames that M imagined with the same steering](../figures/03_dream.png)
#
# *Above: what happened. Below: what M, with closed eyes and told only the steering, gas and brake, imagines.*
#
# **What you'll do.** Train the second half of the world model on CarRacing and question it: one step ahead, thirty steps ahead, at several temperatures, and with its memory wiped.
# **What you'll learn.** How to predict what is not certain; how to tell an honest forecast from an overconfident one; what temperature does; how fast errors grow.
# **What you need.** [Chapter 1](01_bouncing_ball.ipynb) for the idea, [chapter 2](02_vae.ipynb) for $z$.
# **How long.** 40 minutes; the cells take under a minute with the shipped weights.

# %%
import numpy as np
import torch

from wmlib import evaluation, figures, presets, recipes
from wmlib.drivers import random_car_driver
from wmlib.experience import SequenceBatches
from wmlib.mdn_rnn import MDNRNN, mixture_mean, mixture_nll, sample_next
from wmlib.vae import frames_to_tensor, kl_per_dimension, tensor_to_frames
from wmlib.world_model import WorldModel, pretrained, read_log

figures.use_style()
numbers = presets.preset()
RETRAIN = numbers.retrain  # set to True to train everything here from scratch

# %% [markdown]
# ## 3.1 What M is asked
#
# A drive, seen through V, is a sequence of vectors $z_0, z_1, z_2, \dots$ with an action $a_t$ between each two. M reads $[z_t, a_t]$ and must say what comes next:
#
# - $z_{t+1}$, as a **mixture of five Gaussians for each of the 32 dimensions**;
# - the reward $r_t$, one number;
# - whether the episode ends, one probability.
#
# The first is the paper's. The other two are small additional heads, for chapter 6, where M has to stand in for the whole environment.

# %%
figures.source(MDNRNN)

# %%
# NBVAL_CHECK_OUTPUT
mdn_rnn = MDNRNN()
for name, part in mdn_rnn.named_children():
    print(f"{name:8} {sum(p.numel() for p in part.parameters()):8,}")

# %% [markdown]
# Why a mixture, and not simply the next $z$? **Predict:** a car comes to a fork that the camera cannot see yet; half of all roads go left, half go right. A network trained with a squared error must give one answer. Which?
#
# It would answer with the average, a road that goes straight on, which is the one thing that never happens. A mixture can say "left or right, even chances, and I am sure that it is not straight on".

# %% [markdown]
# ## 3.2 Training it, or not

# %%
folder = numbers.run_folder("car_racing") if RETRAIN else pretrained("car_racing")
if RETRAIN:
    recipes.car_world_model(numbers, folder)
world_model = WorldModel.load(folder)
print("weights trained in this chapter" if RETRAIN else "weights that came with the repository")

# %%
history = read_log(folder / "mdn_rnn.jsonl")
print(f"{history[-1]['step']} steps in {history[-1]['seconds'] / 60:.1f} minutes")
figures.training_curves(
    history, {"nll": "-log p(next z), nats per dimension", "reward": "reward, squared error"}
)

# %% [markdown]
# The likelihood never comes near zero, and it should not. M's input is a *sample* of $z$, drawn afresh every time, and so is its target. In a collapsed dimension (chapter 2) $z$ is pure noise, and the best possible forecast of a standard normal variable costs $\frac12\log 2\pi e \approx 1.42$ nats. Only the active dimensions can be predicted better than that.
#
# From here on, everything is measured on drives that neither V nor M has seen.

# %%
tests = recipes.collect(
    recipes.car_world(numbers, numbers.random_patience),
    random_car_driver(),
    range(500_000, 500_000 + numbers.car_tests),
    numbers.run_folder("car_tests") / "episodes",
)
episodes = [tests.episode(name) for name in tests.names()]
print(f"{len(episodes)} drives, {sum(len(e['actions']) for e in episodes)} steps")

# %% [markdown]
# ## 3.3 One step ahead
#
# `watch` runs a drive through V and M. From every $h_t$ we take M's mixture for $z_{t+1}$.

# %%
known = [evaluation.watch(world_model, e["frames"], e["actions"]) for e in episodes]
with torch.no_grad():
    forecasts = [world_model.mdn_rnn.predict(h[None]) for z, h in known]

# %% [markdown]
# Is M's forecast better than *nothing changes*? At 50 frames a second little does change, so that is a serious rival. We compare squared errors in $z$, an error per drive, over the dimensions that carry information:

# %%
with torch.no_grad():
    mu, logvar = world_model.vae.encode(frames_to_tensor(episodes[0]["frames"]))
information = kl_per_dimension(mu, logvar).mean(0)
active = information > 0.1
change = [(z[1:] - z[:-1])[:, active].square().sum(1).mean().item() for z, h in known]
error = [
    (mixture_mean(p)[0] - z[1:])[:, active].square().sum(1).mean().item()
    for p, (z, h) in zip(forecasts, known, strict=True)
]
print("nothing changes:", evaluation.interval(change).describe(3))
print("M:              ", evaluation.interval(error).describe(3))

# %%
e, (z, h) = episodes[0], known[0]
moments = np.linspace(2, len(h) - 2, 8).astype(int)
guess = tensor_to_frames(world_model.decode(mixture_mean(forecasts[0])[0, moments]))
rows = {"next frame": e["frames"][moments + 1], "M's forecast": guess}
figures.frame_grid(
    rows, colors={"next frame": figures.REALITY, "M's forecast": figures.DREAM}
)

# %% [markdown]
# ## 3.4 Looking at the mixtures
#
# Here is what M believes about the four most informative dimensions, at one moment of a drive. The thick line is the whole mixture, the thin ones its parts. Blue lines are ten samples of the real next $z$ (V's own Gaussian for the frame that came).

# %%
order = information.argsort(descending=True)[:4].tolist()
t = len(h) // 2
p = forecasts[0]
drawn = mu[t + 1, order] + (0.5 * logvar[t + 1, order]).exp() * torch.randn(10, 4)
parts = [part[0, t, order].numpy() for part in (p.log_pi, p.mu, p.log_sigma)]
figures.mixtures(*parts, drawn.T.numpy(), [f"z[{d}]" for d in order])

# %% [markdown]
# ## 3.5 Is M honest?
#
# A forecast can be wrong in two ways: off the mark, or *overconfident*. The second has a clean test. If M says "with 80% probability it falls in here", does it, 80% of the time? For every real $z_{t+1}$ we ask which quantile of M's mixture it falls on. An honest forecaster sees all quantiles equally often: the curve is the diagonal.
#
# **Predict:** a forecaster who always claims to know better than he does: on which side of the diagonal does his curve run?

# %%
figures.source(evaluation.quantiles)

# %%
q = torch.cat([
    evaluation.quantiles(p, (z + (0.5 * lv).exp() * torch.randn_like(z))[None, 1:])[0]
    for p, (z, h), lv in zip(forecasts, known, [
        world_model.vae.encode(frames_to_tensor(e["frames"]))[1].detach() for e in episodes
    ], strict=True)
])
claimed, found = evaluation.coverage(q[:, active])
figure, ax = figures.new_axes(width=3.4, height=3.2)
ax.plot([0, 1], [0, 1], color=figures.TRUTH, lw=1)
ax.plot(claimed, found, color=figures.DREAM)
ax.set(xlabel="M says: this often", ylabel="it happened this often")
figure

# %% [markdown]
# ## 3.6 Closing the eyes, and temperature
#
# Now we let M live on its own samples, as in chapter 1, but with the drive's own actions. The temperature $\tau$ divides the logits of the mixture weights and multiplies each $\sigma$ by $\sqrt\tau$:

# %%
figures.source(sample_next)

# %%
seen, ahead = numbers.seen, numbers.ahead
long_enough = [e for e in episodes if len(e["actions"]) >= seen + ahead]
print(f"{len(long_enough)} of {len(episodes)} drives last {seen + ahead} steps")


def dream_on(e, temperature=1.0, samples=1, seed=0, actions=None):
    """z imagined for `ahead` steps after `seen` frames: (samples, ahead, z_size)."""
    end = seen + ahead
    actions = e["actions"] if actions is None else actions
    return evaluation.imagine_from(
        world_model, e["frames"][: end + 1], torch.from_numpy(actions[:end]),
        warm_up=seen, temperature=temperature, samples=samples,
        generator=torch.Generator().manual_seed(seed),
    )


# %%
e = long_enough[0]
shown = np.linspace(0, ahead - 1, 9).astype(int)
strips = {"what happened": e["frames"][seen + 1 + shown]}
for tau in (0.1, 0.5, 1.0, 1.5):
    dreamt = dream_on(e, tau)[0, shown]
    strips[f"τ = {tau}"] = tensor_to_frames(world_model.decode(dreamt))
colors = {name: figures.DREAM for name in strips} | {"what happened": figures.REALITY}
figures.frame_grid(strips, [f"+{t + 1}" for t in shown], colors)

# %%
rows = {"what happened": strips["what happened"], "dreamt, τ = 1": strips["τ = 1.0"]}
path = numbers.figure("03_dream.png")
path.parent.mkdir(parents=True, exist_ok=True)
figures.frame_grid(rows, [f"+{t + 1}" for t in shown]).savefig(path, dpi=80)

# %% [markdown]
# One dream proves nothing; another sample gives another road. So here are five samples at $\tau = 1$, last frame each, beside what happened. They agree about the near road and differ about the far: M is as unsure as it should be about what the camera had not shown yet.

# %%
last = tensor_to_frames(world_model.decode(dream_on(e, 1.0, samples=5)[:, -1]))
happened = e["frames"][[seen + ahead]]
figures.frame_grid({f"+{ahead}: happened": happened, "five dreams of it": last})

# %% [markdown]
# ## 3.7 How fast does it go wrong?
#
# The squared distance in $z$ (active dimensions) against the number of steps imagined, over all drives. *Nothing changes* is the rival again. And there is a second, more telling one: M with *someone else's actions*. If M had only learned what roads usually do, it would not care.

# %%
def z_error(imagined, e):
    """Squared distance to the real z, for every step ahead: (ahead,), mean over samples."""
    real = world_model.encode(e["frames"][seen + 1 : seen + ahead + 1]).detach()
    return (imagined - real)[..., active].square().sum(-1).mean(0).numpy()


others = long_enough[1:] + long_enough[:1]
errors = {"M": [], "M, another drive's actions": [], "nothing changes": []}
for e, other in zip(long_enough, others, strict=True):
    frozen = world_model.encode(e["frames"][[seen]]).detach().expand(1, ahead, -1)
    errors["M"].append(z_error(dream_on(e, 0.1, 4), e))
    wrong = dream_on(e, 0.1, 4, actions=np.concatenate([e["actions"][:seen], other["actions"][seen:]]))
    errors["M, another drive's actions"].append(z_error(wrong, e))
    errors["nothing changes"].append(z_error(frozen, e))

# %%
colors = {"M": figures.DREAM, "M, another drive's actions": "black", "nothing changes": figures.TRUTH}
figures.horizon_curves(
    {name: np.stack(values) for name, values in errors.items()}, "squared distance in z", colors
)

# %% [markdown]
# ## 3.8 Break it: a memory of nothing
#
# Another bug that public copies have shipped: to start every step from a zero state. Everything runs, the loss falls, and $h$ never learns to remember anything. We wipe the memory of *our* M and look at the same likelihood as in training.
#
# **Predict:** does the likelihood of the next $z$ suffer much? Where would you expect the damage?

# %%
wiped, kept = [], []
with torch.no_grad():
    for e, (z, h), p in zip(episodes, known, forecasts, strict=True):
        actions = torch.from_numpy(e["actions"])[:, None]
        alone, _ = world_model.mdn_rnn(z[:-1, None], actions)  # T batches of one step each
        kept.append(mixture_nll(p, z[None, 1:])[0][:, active].mean().item())
        wiped.append(mixture_nll(alone, z[1:, None])[:, 0][:, active].mean().item())
print("with its memory:   ", evaluation.interval(kept).describe(2), "nats per dimension")
print("memory wiped:      ", evaluation.interval(wiped).describe(2), "nats per dimension")

# %% [markdown]
# Without memory the same network is a far worse prophet: a single frame does not say how fast the world streams past. When you write your own M, this comparison is the test that catches the bug, and the repository has one like it: `tests/test_rollout.py` checks at every step of a drive that C sees the $h$ of exactly the frames before.

# %% [markdown]
# ## 3.9 Exercises
#
# **1. What has M learned about reward?** A new tile pays about 3.4, every step costs 0.1. Plot M's predicted reward along one drive together with the real one. Does it know *when* a tile comes, or only how often?
#
# <details><summary>Solution</summary>
#
# ```python
# figure, ax = figures.new_axes(width=7)
# ax.plot(episodes[0]["rewards"], color=figures.REALITY, lw=0.8)
# ax.plot(forecasts[0].reward[0], color=figures.DREAM)
# ax.set(xlabel="step", ylabel="reward")
# figure
# ```
#
# Tiles are finer than 64 × 64 pixels can show while driving, so their exact moment is hardly predictable. A squared error then makes M answer with the expected rate: high on the road and fast, about −0.1 on the grass. That is all a dream needs.
# </details>
#
# **2. A colder forecast.** `quantiles` of M at temperature 0.5: multiply `log_sigma` accordingly, and draw the coverage again. On which side of the diagonal does an overconfident forecaster run?
#
# <details><summary>Solution</summary>
#
# `cold = p._replace(log_pi=(p.log_pi / 0.5).log_softmax(-1), log_sigma=p.log_sigma + 0.5 * np.log(0.5))`, then as in 3.5. The real value falls into his tails too often: for small claimed probabilities the curve lies above the diagonal, for large ones below.
# </details>
#
# **3. Step by step.** Show that feeding M one step at a time, carrying the state, gives the same $h$ as the whole sequence. The largest difference must be below 1e-4:

# %%
z, actions = torch.randn(1, 20, 32), torch.rand(1, 20, 3)
with torch.no_grad():
    whole, _ = world_model.mdn_rnn.remember(z, actions)
    state, steps = None, []
    for t in range(20):
        h, state = world_model.mdn_rnn.remember(z[:, t : t + 1], actions[:, t : t + 1], state)
        steps.append(h)
assert (torch.cat(steps, 1) - whole).abs().max() < 1e-4

# %% [markdown]
# ## Summary
#
# - M predicts a distribution over the next $z$, and so it can say "I don't know which".
# - Its honesty can be measured: claimed and found probabilities, on drives it has not seen.
# - Living on its own samples it keeps the road for a while; errors grow with the horizon, and the actions matter.
# - Temperature widens or narrows what it dreams.
# - Without the carried state, M is blind to motion.
#
# **What's next.** V sees and M remembers. [Chapter 4](04_controller.ipynb): who drives?
#
# **References.** Ha & Schmidhuber, [World Models](https://worldmodels.github.io/), 2018, appendix A.2 · Graves, [Generating Sequences With Recurrent Neural Networks](https://arxiv.org/abs/1308.0850), 2013 · Gneiting et al., [Probabilistic forecasts, calibration and sharpness](https://doi.org/10.1111/j.1467-9868.2007.00587.x), 2007
