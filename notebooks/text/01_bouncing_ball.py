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
# # 1. A ball in a box
#
# ![Two rows of small pictures: what happened, and what the model dreamt](../figures/01_ball_dream.png)
#
# *A ball flies and bounces. The model has watched 60 frames and closed its eyes; this is what happened next (above) and what it dreamt (below).*
#
# **What you'll do.** Train the two halves of a world model, V and M, on a world so small that you know everything about it.
# **What you'll learn.** That a picture can become a few numbers without losing the ball; that *one* picture cannot tell how fast it flies, and what a memory is for; what "predicting a mixture" means and how its loss breaks.
# **What you need.** Python and a little PyTorch. No other chapter.
# **How long.** 30 minutes of reading; the cells take less than a minute with the shipped weights, and about eight minutes more if you train your own.
#
# Why start here and not with racing cars? Because here we can *check*. The environment tells us the ball's true position and velocity. The model never gets to see those. If they can nevertheless be read out of what the model has learned, it has understood something.

# %%
import gymnasium as gym
import numpy as np
import torch
from sklearn.linear_model import Ridge

from wmlib import evaluation
from wmlib.files import read_log
from wmlib.models.checkpoints import load_world_model
from wmlib.models.mdn_rnn import Prediction, mixture_nll
from wmlib.models.vae import frames_to_tensor, sample_latent, tensor_to_frames, vae_loss
from wmlib.models.world_model import WorldModel
from wmlib.paths import pretrained
from wmlib.pipeline import ball, phases
from wmlib.pipeline.scales import get_chapter_config, get_config
from wmlib.rollout.policies import no_action_policy
from wmlib.view import figures

figures.use_style()
config, chapter = get_config(), get_chapter_config()  # WM_SCALE: smoke, laptop (default) or paper
RETRAIN = chapter.retrain  # set to True to train everything here from scratch

# %% [markdown]
# ## 1.1 The world
#
# The ball world is a Gymnasium environment like any other: `reset`, `step`, an observation, an `info`. The action is an empty vector, because all one can do is watch.

# %%
env = gym.make("wmlib/BouncingBall-v0")
frame, info = env.reset(seed=7)
print("a frame:", frame.shape, frame.dtype)
print("the truth:", info)
print("an action:", env.action_space.sample())

# %%
frames = [frame]
for _ in range(90):
    frame, *_ = env.step(env.action_space.sample())
    frames.append(frame)
figures.moving_picture(np.stack(frames), "a ball bounces in a box")

# %% [markdown]
# A frame is 64 × 64 × 3 = 12,288 numbers. Yet you need only four to describe this world: where the ball is, and how fast it moves in each direction.
#
# **Predict before you go on:** which of these four can be seen in a *single* frame?

# %% [markdown]
# ## 1.2 Learn from watching
#
# Everything the model learns comes from recorded episodes. `ball.train_ball` records them, trains V on the frames, turns every frame into V's numbers, and trains M on those. This is its whole source; the rest of the chapter takes it apart.

# %%
figures.source(ball.train_ball)

# %%
folder = config.run_folder("ball") if RETRAIN else pretrained("ball")
if RETRAIN:
    ball.train_ball(config, folder)
world_model = load_world_model(folder)
print("weights trained in this chapter" if RETRAIN else "weights that came with the repository")

# %% [markdown]
# And here are episodes that it has *not* learned from. All that follows is measured on these.

# %%
first = 500_000  # a seed far from those of the training episodes
tests = phases.collect(
    ball.BALL,
    no_action_policy(),
    range(first, first + chapter.ball_test_episodes),
    config.run_folder("ball_tests") / "episodes",
    record=ball.TRUTH,
)
episodes = [tests.episode(name) for name in tests.names()]
print(f"{len(episodes)} episodes of {len(episodes[0]['frames'])} frames")

# %% [markdown]
# ## 1.3 V: from a picture to a few numbers
#
# V is a variational autoencoder. An *encoder* squeezes the frame into a Gaussian over a 32-dimensional vector $z$, with mean $\mu$ and variance $\sigma^2$; a *decoder* paints the frame again from a sample of it. Its loss asks for two things at once:
#
# $$\mathcal L = \underbrace{\sum_{\text{pixels}} (\hat x - x)^2}_{\text{paint it right}} + \max\Big(\underbrace{\mathrm{KL}\big(\mathcal N(\mu, \sigma^2)\,\|\,\mathcal N(0, 1)\big)}_{\text{spend few bits on it}},\; 16\Big)$$
#
# $x$ is the frame, $\hat x$ the repainted one; KL is the Kullback-Leibler divergence, in nats: how much $z$ tells about the frame. Below 16 nats (half a nat for each of 32 dimensions) it costs nothing. In code:

# %%
figures.source(vae_loss)

# %%
history = read_log(folder / "vae.jsonl")
figures.training_curves(
    history, {"squared_error": "squared error (per frame)", "kl": "KL (nats per frame)"}
)

# %% [markdown]
# Does it paint the ball right? The top row is reality, the bottom row went through 32 numbers and back.

# %%
shown = episodes[0]["frames"][::20][:8]
painted = tensor_to_frames(world_model.decode(world_model.encode(shown)))
figures.frame_grid(
    {"frame": shown, "through z": painted},
    colors={"frame": figures.REALITY, "through z": figures.DREAM},
)

# %% [markdown]
# ## 1.4 Is the position in z?
#
# A good-looking picture proves little: we want to know whether $z$ *says* where the ball is. So we fit the simplest reader there is, a linear map from $z$ to the true $(x, y)$, on some episodes, and test it on others. $R^2$ is the share of the truth's variance that it reads: 1 is everything, 0 is no better than always answering "in the middle".
#
# **Predict:** $R^2$ of position from $z$? Of velocity from $z$?

# %%
steps = 5  # M needs a few frames before it can know anything about motion
known = [evaluation.watch(world_model, e["frames"], e["actions"]) for e in episodes]
z = np.concatenate([z[steps:-1] for z, h in known])
h = np.concatenate([h[steps:] for z, h in known])
position = np.concatenate([e["position"][steps:-1] for e in episodes])
velocity = np.concatenate([e["velocity"][steps:-1] for e in episodes])
episode = np.repeat(np.arange(len(episodes)), len(z) // len(episodes))

# %%
from_z = {
    "position": evaluation.linear_probe(z, position, episode),
    "velocity": evaluation.linear_probe(z, velocity, episode),
}
figures.linear_probes(from_z)

# %% [markdown]
# Position lies on the line: V was never told that there is such a thing as a position, it just had to paint balls. Velocity is a flat cloud: **one picture does not contain it**. A ball that flies left looks like a ball that flies right. No eye, however good, will help. What is needed is a memory.

# %% [markdown]
# ## 1.5 M: what one picture cannot tell
#
# M is an LSTM. At every step it reads $z_t$ (and, in later chapters, the action $a_t$), updates its hidden state $h_t$ (256 numbers), and from $h_t$ predicts the next $z_{t+1}$. Nobody asks it for a velocity. But nobody can predict where a ball will be next without knowing how fast it flies.

# %%
from_h = {
    "position": evaluation.linear_probe(h, position, episode),
    "velocity": evaluation.linear_probe(h, velocity, episode),
}
figures.linear_probes(from_h)

# %% [markdown]
# There it is. Velocity is in $h$, and it got there because predicting the future needs it. That is the idea of the whole series in one figure: $z$ for what is, $h$ for what moves, and together they are what the agent knows.

# %%
print(
    f"            from z   from h\n"
    f"position    {from_z['position'].r2:6.3f}   {from_h['position'].r2:6.3f}\n"
    f"velocity    {from_z['velocity'].r2:6.3f}   {from_h['velocity'].r2:6.3f}"
)

# %% [markdown]
# ## 1.6 Closing the eyes
#
# Now the real test. M watches 60 frames. Then the frames stop, and M lives on its own predictions for 30 more: it draws $z_{t+1}$ from what it predicts, reads that as if it had seen it, and goes on. (`temperature` makes the draw wilder above 1 and tamer below; for now it stays at 1.)

# %%
figures.source(WorldModel.imagine)

# %%
seen, ahead = chapter.ball_context, chapter.ball_horizon  # 60 and 30 at laptop scale
generator = torch.Generator().manual_seed(0)


def dream_on(e, temperature=1.0, samples=1):
    """z imagined for `ahead` steps after `seen` frames: (samples, ahead, z_size)."""
    end = seen + ahead
    return evaluation.open_loop_rollout(
        world_model,
        e["frames"][: end + 1],
        torch.from_numpy(e["actions"][:end]),
        context=seen,
        temperature=temperature,
        samples=samples,
        generator=generator,
    )[0]


# %% [markdown]
# We look at an episode in which a wall is hit while the eyes are closed.

# %%
bounces = [e["bounced"][seen + 3 : seen + ahead // 2].sum() for e in episodes]
chosen = episodes[int(np.argmax(bounces))]
dreamt = tensor_to_frames(world_model.decode(dream_on(chosen)[0]))
real = chosen["frames"][seen + 1 : seen + ahead + 1]
rows = {"what happened": real[::3], "dreamt": dreamt[::3]}
colors = {"what happened": figures.REALITY, "dreamt": figures.DREAM}
figure = figures.frame_grid(rows, [f"+{t}" for t in range(1, ahead + 1, 3)], colors)
path = config.figure("01_ball_dream.png")
path.parent.mkdir(parents=True, exist_ok=True)
figure.savefig(path, dpi=80)
figure

# %% [markdown]
# How far off is it, over all test episodes? We read the position out of the imagined $z$ with a linear map, and compare it with where the ball really was. (M dreams *samples* of $z$. V needs only a few of the 32 dimensions for a ball; in the others a sample is pure noise. So this reader is fitted to samples too: one fitted to V's clean means would trip over noise it has never met.) Two simple rivals set the scale: *stay* says the ball is where it was last seen; *straight on* gets the true velocity for free but knows of no walls.

# %%
seen_frames = np.concatenate([e["frames"][steps:-1:5] for e in episodes])
with torch.no_grad():
    z_samples = sample_latent(*world_model.vae.encode(frames_to_tensor(seen_frames)), generator)
reader = Ridge().fit(z_samples, np.concatenate([e["position"][steps:-1:5] for e in episodes]))

# %%
future = np.stack([e["position"][seen + 1 : seen + ahead + 1] for e in episodes])
start = np.stack([e["position"][seen] for e in episodes])[:, None]
speed = np.stack([e["velocity"][seen] for e in episodes])[:, None]
clock = np.arange(1, ahead + 1)[None, :, None]

guesses = {
    "M, eyes closed": np.stack([reader.predict(dream_on(e)[0]) for e in episodes]),
    "straight on": start + speed * clock,
    "stay": np.repeat(start, ahead, axis=1),
}
errors = {name: np.linalg.norm(g - future, axis=-1) for name, g in guesses.items()}

# %%
colors = {"M, eyes closed": figures.DREAM, "straight on": "black", "stay": figures.BASELINE}
figures.horizon_curves(errors, "distance from the truth (box widths)", colors)

# %% [markdown]
# Bands are 95% confidence intervals of the mean over episodes. For the first few steps *straight on*, which was told the true velocity, cannot be beaten: M's distance starts at a floor, because each $z$ that it draws is a little noisy. Then balls reach walls. M, which has *learned* that there are walls, overtakes both rivals; and as its own small errors feed on themselves, it slowly loses the ball.

# %% [markdown]
# ## 1.7 The loss, and how to break it
#
# M does not predict one future but a distribution of futures: for each dimension of $z$, a mixture of five Gaussians with weights $\pi_k$, means $\mu_k$ and widths $\sigma_k$. Its loss is the negative logarithm of the probability density it gave to what then happened:
#
# $$-\log \sum_{k=1}^{5} \pi_k \, \mathcal N(z_{t+1}; \mu_k, \sigma_k^2)$$
#
# Written down just so, it is a trap. Here is the formula as it stands, beside the one the series uses:


# %%
def naive_nll(prediction, z_next):
    """The formula, word by word: densities, sum, logarithm."""
    normal = torch.distributions.Normal(prediction.mu, prediction.log_sigma.exp())
    density = normal.log_prob(z_next.unsqueeze(-1)).exp()
    return -(prediction.log_pi.exp() * density).sum(-1).log()


figures.source(mixture_nll)

# %% [markdown]
# **Predict:** a two-part mixture, both parts of width 0.1, around 0 and 1. We move the target away from them. What do the two losses, and their gradients, do?


# %%
def losses_at(target):
    """(naive, stable) loss and gradient for one target, for a fixed two-part mixture."""
    # Shapes are (batch, step, dimension of z, part of the mixture). Reward and end play no role.
    result = []
    for nll in (naive_nll, mixture_nll):
        mu = torch.tensor([[[[0.0, 1.0]]]], requires_grad=True)
        log_pi, log_sigma = torch.full_like(mu, 0.5).log(), torch.full_like(mu, 0.1).log()
        prediction = Prediction(log_pi.detach(), mu, log_sigma.detach(), None, None)
        loss = nll(prediction, torch.tensor([[[target]]])).sum()
        loss.backward()
        result.append((loss.item(), mu.grad.abs().max().item()))
    return result


# %%
# NBVAL_CHECK_OUTPUT
print("target   naive loss, gradient     stable loss, gradient")
for target in (1.0, 2.0, 2.3, 2.4, 2.5, 5.0):
    (loss, slope), (stable, stable_slope) = losses_at(target)
    print(f"{target:6.1f}   {loss:10.2f} {slope:10.2f}    {stable:12.2f} {stable_slope:10.2f}")

# %% [markdown]
# Near the mixture they agree. Some fourteen widths away the densities become too small for 32-bit arithmetic. First the gradient goes (the loss still looks fine!), then the loss: the logarithm of zero. One Adam step later *every weight of M* is not a number. A new M is never that far off, because its Gaussians are wide. The trap springs later, when M has grown sure of itself, its $\sigma$ small, and is surprised. The stable version never leaves the logarithm: `logsumexp` subtracts the largest term before it exponentiates, so that at least one term survives.

# %% [markdown]
# ## 1.8 Exercises
#
# **1. How much memory does velocity need?** Above we let M watch five frames before probing. Fit a reader of velocity on all moments of most episodes, and test it on the others after 1, 2, 3, 4, 6 and 21 frames. When is the velocity there? *(Check yourself: after a single frame it must be impossible.)*
#
# <details><summary>Solution</summary>
#
# ```python
# test = max(1, len(episodes) // 3)
# fitted = episode >= test
# speedometer = Ridge(alpha=1e-3 * fitted.sum()).fit(h[fitted], velocity[fitted])
# for t in (0, 1, 2, 3, 5, 20):
#     truth = np.stack([e["velocity"][t] for e in episodes[:test]])
#     memory = np.stack([h_of_one[t] for _, h_of_one in known[:test]])
#     print(t + 1, "frames:", round(evaluation.Probe(truth, speedometer.predict(memory)).r2, 2))
# ```
#
# $R^2$ below 0 means worse than always answering the mean: after one frame the reader is fooled by a memory that is still settling. A handful of frames later the velocity is there.
# </details>
#
# **2. A wilder dream.** Call `dream_on(chosen, temperature=2.0)` and then `temperature=0.1`, and draw the frames as in 1.6. What goes wrong in each?
#
# <details><summary>Solution</summary>
#
# ```python
# strips = {f"τ = {tau}": tensor_to_frames(world_model.decode(dream_on(chosen, tau)[0]))[::3]
#           for tau in (0.1, 1.0, 2.0)}
# figures.frame_grid({"what happened": real[::3]} | strips)
# ```
#
# Temperature $\tau$ widens every Gaussian by $\sqrt\tau$ and evens out their weights. Too much and the ball jitters, splits or fades: each $z$ is a little wrong, and the next prediction starts from there. Too little and the ball flies smoothly, but M always takes the likeliest future, also where two futures were possible.
# </details>
#
# **3. Check the closed form.** With a single Gaussian, the mixture's loss is $\frac12\big(\frac{z-\mu}{\sigma}\big)^2 + \log\sigma + \frac12\log 2\pi$. Compute it by hand for $z = 2$, $\mu = 1$, $\sigma = 0.5$ and compare:

# %%
# NBVAL_CHECK_OUTPUT
one = [torch.tensor([[[[value]]]]) for value in (0.0, 1.0, np.log(0.5))]
print(f"{mixture_nll(Prediction(*one, None, None), torch.tensor([[[2.0]]])).item():.4f}")

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# 0.5 * ((2 - 1) / 0.5) ** 2 + np.log(0.5) + 0.5 * np.log(2 * np.pi)  # 2.2258
# ```
# </details>

# %% [markdown]
# ## Summary
#
# - V turns a frame of 12,288 numbers into a $z$ of 32, and the ball's position can be read out of $z$ by a linear map, although nobody asked for it.
# - Velocity is in no single frame. It is in M's memory $h$, because M has to predict.
# - With closed eyes M goes on predicting, through bounces, for a while: errors feed on themselves.
# - M predicts a mixture of Gaussians; its loss must stay in logarithms, or it breaks at the first surprise.
# - On a world with a known truth, all of this can be measured. In the next chapters it will have to be believed.
#
# **What's next.** [Chapter 2](02_vae.ipynb) gives V something harder to look at: a race track.
#
# **References.** Ha & Schmidhuber, [World Models](https://worldmodels.github.io/), 2018 · Kingma & Welling, [Auto-Encoding Variational Bayes](https://arxiv.org/abs/1312.6114), 2013 · Bishop, [Mixture Density Networks](https://publications.aston.ac.uk/id/eprint/373/), 1994
