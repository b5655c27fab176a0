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
# # 2. V, the eye
#
# ![Race track frames above, the same frames after passing through 32 numbers below](../figures/02_reconstructions.png)
#
# *Above: what the car's camera sees. Below: what is left of it after passing through 32 numbers.*
#
# **What you'll do.** Look at CarRacing through a variational autoencoder, turn its knobs by hand, and break it on purpose.
# **What you'll learn.** What V keeps and what it throws away; how the two halves of its loss pull against each other; why *sum* or *mean* in one line of code decides between an eye and a blank wall.
# **What you need.** Chapter 1 helps.
# **How long.** 40 minutes; the cells take about two minutes with the shipped weights, and about a quarter of an hour more if you train your own.

# %%
import gymnasium as gym
import numpy as np
import torch
from sklearn.decomposition import PCA

# %%
from wmlib.files import read_log
from wmlib.models.checkpoints import load_world_model
from wmlib.models.vae import (
    VAE,
    frames_to_tensor,
    kl_per_dimension,
    sample_latent,
    tensor_to_frames,
    vae_loss,
)
from wmlib.paths import pretrained
from wmlib.pipeline import car_racing, scoring
from wmlib.pipeline.rounds import Round
from wmlib.pipeline.scales import get_chapter_config, get_config
from wmlib.rollout.episodes import EpisodeStore
from wmlib.rollout.policies import EpisodeSpec, random_car_policy
from wmlib.rollout.rollout import record_episode
from wmlib.training.batches import FrameBatches
from wmlib.training.fit import fit, vae_step
from wmlib.view import figures
from wmlib.view.explorers import LatentExplorer

# %%
figures.use_style()
config, chapter = get_config(), get_chapter_config()
RETRAIN = chapter.retrain  # set to True to train everything here from scratch

# %% [markdown]
# ## 2.1 What there is to see
#
# In CarRacing a car is seen from above. It earns a little for every new tile of road it touches and pays a little for every moment that passes. Gymnasium draws a frame of 96 × 96 pixels. As in the paper, we cut off the instrument bar at the bottom and shrink the rest to 64 × 64.

# %%
original = gym.make("CarRacing-v3")
window = gym.make("wmlib/CarRacingOriginal-v3")
full, _ = original.reset(seed=3)
small, _ = window.reset(seed=3)
for _ in range(60):
    full, *_ = original.step(np.array([0.0, 0.2, 0.0], np.float32))
    small, *_ = window.step(np.array([0.0, 0.2, 0.0], np.float32))
figures.frame_grid({"Gymnasium's frame, and ours": [full, small]})

# %% [markdown]
# The bar is where the speed was written. **Predict:** can the agent still know how fast it is? (Chapter 1 gave the answer away.)
#
# To learn to see, one needs something to look at: someone has to drive. Nobody here can drive yet, so the wheel is turned at random; not by fresh dice at every one of 50 frames a second, which would average out to a tremble, but by a noise that wanders slowly.

# %%
drive = record_episode(
    car_racing.training_world(config, config.collect.patience),
    random_car_policy(),
    EpisodeSpec(500_000),
)
clip = drive.recording["frames"]
print(f"{drive.steps} steps, score {drive.score:.0f}")
figures.moving_picture(clip[::2], "a car driven at random leaves the road", fps=25)

# %% [markdown]
# ## 2.2 The network
#
# Four convolutions down, four transposed convolutions up, and 32 numbers between. This is the whole of it:

# %%
figures.source(VAE)

# %%
# NBVAL_CHECK_OUTPUT
vae = VAE()
print(f"{sum(p.numel() for p in vae.parameters()):,} parameters; the paper has 4,348,547")
x = torch.zeros(1, 3, 64, 64)
for layer in vae.encoder:
    x = layer(x)
    print(f"{type(layer).__name__:10} {tuple(x.shape[1:])}")

# %% [markdown]
# The encoder does not answer with a vector but with a *distribution* over vectors, $\mathcal N(\mu, \sigma^2)$, one Gaussian a dimension. The decoder gets a sample. That is one line, and it has a name, the reparameterization trick: written as $z = \mu + \sigma\epsilon$, the randomness $\epsilon$ comes from outside, and the gradient flows through $\mu$ and $\sigma$.

# %%
figures.source(sample_latent)

# %% [markdown]
# ## 2.3 Training it, or not
#
# One training step takes a batch of frames from disk, and asks for the loss. All the rest (Adam, progress, checkpoints) is the same for V and M, and lives in `fit` in `wmlib/training.py`.

# %%
figures.source(vae_step)

# %% [markdown]
# `car_racing.train_world_model` drives, trains V, and trains M for the next chapter. The weights that came along are from three rounds of that: first V learned from random driving, then, behind the dotted lines, from the agent's own as well ([chapter 5](05_car_racing.ipynb) has the whole loop). If you train here, you make the first round.

# %%
folder = config.run_folder("car_racing") if RETRAIN else pretrained("car_racing")
if RETRAIN:
    car_racing.train_world_model(Round.of(config, folder=folder))
world_model = load_world_model(folder)
vae = world_model.vae
print("weights trained in this chapter" if RETRAIN else "weights that came with the repository")

# %%
history = read_log(folder / "vae.jsonl")
for number in sorted({row["round"] for row in history}):
    last = [row for row in history if row["round"] == number][-1]
    print(f"round {number}: {last['step']} steps in {last['seconds'] / 60:.1f} minutes")
figures.training_curves(
    history, {"squared_error": "squared error (per frame)", "kl": "KL (nats per frame)"}
)

# %% [markdown]
# Now frames of tracks that V has never seen. (Random driving would soon show nothing but grass. So the driver is the agent that came with the repository, with noise on its hands.)

# %%
tests = scoring.collect_test_episodes(config, chapter.test_episodes)
frames = np.concatenate([tests.read(name, "frames")[5::3] for name in tests.names()])
with torch.no_grad():
    mu, logvar = vae.encode(frames_to_tensor(frames))
    painted = tensor_to_frames(vae.decode(mu))
print(f"{len(frames)} frames of {len(tests)} unseen tracks")

# %%
few = np.linspace(3, len(frames) - 1, 9).astype(int)
figure = figures.frame_grid(
    {"frame": frames[few], "through z": painted[few]},
    colors={"frame": figures.REALITY, "through z": figures.DREAM},
)
path = config.figure("02_reconstructions.png")
path.parent.mkdir(parents=True, exist_ok=True)
figure.savefig(path, dpi=80)
figure

# %% [markdown]
# The road and its bends are there. Now look for the small things: the squares in the grass, the red and white kerbs in sharp bends. Much of that is blurred or gone. V did not forget it by accident: a squared error summed over pixels counts *area* times contrast, and these have little of it. What V throws away, M and C can never get back.

# %% [markdown]
# ## 2.4 Which of the 32 numbers carry something?
#
# For each dimension the KL divergence says how many nats it tells about the frame, on average. In code, the closed form for two Gaussians:

# %%
figures.source(kl_per_dimension)

# %% [markdown]
# **Predict:** are the 32 dimensions used equally?

# %%
information = kl_per_dimension(mu, logvar).mean(0).numpy()
order = information.argsort()[::-1]
figure, ax = figures.new_axes(width=6)
ax.bar(range(len(order)), information[order], color=figures.REALITY)
ax.set(xlabel="dimension of z, sorted", ylabel="information (nats)")
figure

# %%
active = int((information > 0.1).sum())
print(
    f"{active} of {len(information)} dimensions tell more than 0.1 nats; "
    f"together {information.sum():.1f} nats, {information.sum() / np.log(2):.0f} bits a frame"
)

# %% [markdown]
# Those that tell next to nothing have *collapsed*: their $\mu$ is 0 and their $\sigma$ is 1 whatever the frame, so they are pure noise, and the decoder has learned to ignore them. Up to 16 nats were free ($32 \times \frac12$), and V spends about those on the dimensions that paint most for their price.
#
# What does each one paint? Start from one frame, and slide one dimension at a time. (We take six frames for it, spread over the values of the most informative dimension.)

# %%
by_value = mu[:, information.argmax()].argsort().numpy()
picked = frames[by_value[(np.linspace(0.05, 0.95, 6) * len(frames)).astype(int)]]
explorer = LatentExplorer(vae, picked, mu)
explorer.contact_sheet()

# %% [markdown]
# ## 2.5 Touch it
#
# **Tasks.** With the explorer below:
#
# 1. Find a slider (or several) that bends the road to the left and to the right.
# 2. Find one that takes the car towards the edge of the road, or onto the grass.
# 3. Set a slider to −3 or 3: does it still look like CarRacing? And what does *random* make of all of them at once?
# 4. Choose another `frame`. Does the same slider still do the same thing? Then tick *freeze the sliders*, and go through the frames: the left and the middle picture change. And the right one?
# 5. Switch to *principal components* and move the first ones, then the last ones. How many of them make a difference you can see? (2.6 explains what they are.)
# 6. Choose another frame under `end frame` and drag `interpolate`. Is what lies half way between two bends a road?
#
# <details><summary>What you may have seen</summary>
#
# 1. and 2. Rarely does one slider do one thing. V was never asked to keep bends and car apart; it only had to paint with few numbers.
# 3. Far out there are pictures that no drive ever showed: torn roads, two roads, none. *Random* draws each number by itself, but in real frames they go together; so most of what it draws is no place on any track.
# 4. Hardly anything changes on the right: the frozen sliders are (nearly) all that the decoder listens to. What has no slider is the noise of the dimensions that 2.4 found collapsed.
# 5. On the whole, the later the axis, the less it moves in the picture: they are ordered by how much the $z$ of real frames vary along them.
# 6. Often, yes: half way from a right bend to a left one lies a straight road (the strip below). Nothing forces it: a straight line in $z$ need not stay where real frames are, and not every pair of frames is so kind.
# </details>
#
# **Controls.** `frame`: which of six real frames to start from · `end frame`, `interpolate`: move its $z$ on a straight line to that of another of the six, from 0 (not at all) to 1 (all the way); the left and the middle picture stay with `frame` · `sliders`: what the ten sliders below stand for. *z*: the ten most informative entries of $z$, from −3 to 3 (the KL term pulls all frames together towards a Gaussian of mean 0 and standard deviation 1, the *prior*). *principal components*: the ten directions in which the $z$ of all test frames vary most, the widest first, in standard deviations. Switching changes the sliders, not the picture (unless they are frozen) · `reset`: back to what V itself saw in that frame, or in the mixture if `interpolate` is above 0 · `random`: draw all sliders from a Gaussian of mean 0 and standard deviation 1 · `freeze the sliders`: keep them where they are when you choose another frame.
#
# **What it shows.** From left to right: the real frame; what V keeps of it; what the decoder makes of the sliders. (On GitHub widgets do not run. The sheet above, with a row for each of the first six sliders, and the strip below were made by the same code.)

# %%
explorer.widget

# %% [markdown]
# The same, by code: what a hand can do, a cell can do too.

# %%
before = explorer.decoded.value
explorer.sliders[0].value = 2.5
print("the picture changed:", explorer.decoded.value != before)
explorer.reset_button.click()
print("and came back:", explorer.decoded.value == before)

# %%
explorer.moment.value, explorer.end.value = 0, 5
between = []
for explorer.fraction.value in np.linspace(0, 1, 9):
    between.append(explorer.frame)
explorer.fraction.value = 0.0
figures.frame_grid({"from frame 0 to frame 5": np.array(between)})

# %% [markdown]
# ## 2.6 A map of everything V has seen
#
# Principal component analysis turns the cloud of all $\mu$ so that its widest direction comes first. Each dot is a frame; the colour is the share of green in it, which is our stand-in for "off the road".

# %%
pca = PCA().fit(mu.numpy())
points = pca.transform(mu.numpy())[:, :2]
green = (frames[..., 1].astype(int) - frames[..., 0] > 40).mean((1, 2))
figures.scatter_map(points, green, "share of green pixels")

# %%
share = pca.explained_variance_ratio_
print(
    f"the first two directions hold {share[:2].sum():.0%} of the variance of z, "
    f"the first {active} hold {share[:active].sum():.0%}"
)

# %% [markdown]
# And walking along those directions, decoding as we go:

# %%
walk = np.linspace(-2.5, 2.5, 9)
strips = {}
for k in range(3):
    steps = walk[:, None] * np.sqrt(pca.explained_variance_[k]) * pca.components_[k]
    z = torch.from_numpy(pca.mean_ + steps).float()
    strips[f"direction {k + 1}"] = tensor_to_frames(world_model.decode(z))
figures.frame_grid(strips, [f"{step:+.1f} SD" for step in walk])

# %% [markdown]
# Most pictures on the way look like a place one could be, although nobody has been there. That smoothness is what the KL term buys: it packs all frames' Gaussians around the same origin, so that there are few holes between them.

# %% [markdown]
# ## 2.7 Break it: the mean instead of the sum
#
# A common bug in copies of this model is one word: `mean()` instead of `sum()` over the pixels. Both look like "the squared error". Let us train two small V's on a handful of drives, equal but for that word (and with no free nats, so that the KL acts from the start). They train on our test drives; for this purpose that is harmless.
#
# **Predict:** what will the second one paint?


# %%
def step_with(reduce):
    """A training step for `fit` whose squared error is summed or averaged over the pixels."""

    def step(vae, batch, generator):
        frames = frames_to_tensor(batch)
        reconstructions, mu, logvar = vae(frames, generator)
        loss = vae_loss(reconstructions, frames, mu, logvar, free_bits=0.0)
        pixels = 3 * 64 * 64 if reduce == "mean" else 1
        return loss._replace(total=loss.squared_error / pixels + loss.kl)

    return step


# %%
batches = FrameBatches(EpisodeStore(tests.folder), batch_size=32, seed=0)
broken = {}
for reduce in ("sum", "mean"):
    torch.manual_seed(0)
    small_vae = VAE(z_size=8)
    settings = {"epochs": chapter.broken_epochs, "learning_rate": 5e-4, "seed": 0}
    curve = fit(small_vae, step_with(reduce), batches, **settings)
    broken[reduce] = small_vae.cpu(), curve

# %%
rows = {"frame": frames[few]}
for reduce, (small_vae, curve) in broken.items():
    with torch.no_grad():
        rows[reduce] = tensor_to_frames(small_vae(frames_to_tensor(frames[few]))[0])
    print(
        f"{reduce:5} KL {curve[-1]['kl']:8.4f} nats, squared error {curve[-1]['squared_error']:.0f}"
    )
figures.frame_grid(rows)

# %% [markdown]
# The one with the mean paints the same picture for every frame: its KL is nearly zero, so its $z$ says nothing at all. Nothing is wrong with its arithmetic. How much could it gain by painting? At most what is lost by always painting the average frame:

# %%
x = frames_to_tensor(frames)
worst = (x - x.mean(0)).square().sum((1, 2, 3)).mean().item()
print(f"summed over pixels: {worst:.0f}    averaged over pixels: {worst / (3 * 64 * 64):.4f}")

# %% [markdown]
# Averaged over the pixels, perfect painting is worth about a hundredth, and a single nat of information costs one: a hundred times more than it could ever bring. Collapsing is *optimal* for that loss. So a loss is not just "reconstruction plus KL": the exchange rate between the two is the model.

# %% [markdown]
# ## 2.8 Exercises
#
# **1. How many dimensions does a frame need?** Set all but the $k$ most informative dimensions of `mu` to 0 and decode. Plot the squared error per frame against $k$. *(Check: at k = 32 it must equal the error with all of them; beyond the active ones the curve must be flat.)*
#
# <details><summary>Solution</summary>
#
# ```python
# errors = []
# for k in range(33):
#     kept = torch.zeros_like(mu)
#     kept[:, order[:k].copy()] = mu[:, order[:k].copy()]
#     reconstructions = world_model.decode(kept)
#     errors.append((reconstructions - frames_to_tensor(frames)).square().sum((1, 2, 3)).mean().item())
# figure, ax = figures.new_axes(width=5)
# ax.plot(errors, color=figures.REALITY)
# ax.set(xlabel="dimensions kept", ylabel="squared error (per frame)")
# figure
# ```
# </details>
#
# **2. Morph.** Decode ten points on the straight line between `mu[0]` and `mu[-1]`. Then average the two *frames* pixel by pixel, with the same weights. Which looks like driving?
#
# <details><summary>Solution</summary>
#
# ```python
# t = torch.linspace(0, 1, 10)[:, None]
# between = tensor_to_frames(world_model.decode((1 - t) * mu[:1] + t * mu[-1:]))
# w = t.numpy()[..., None, None]
# blend = ((1 - w) * frames[0] + w * frames[-1]).astype(np.uint8)
# figures.frame_grid({"in z": between, "in pixels": blend})
# ```
#
# The pixels cross-fade: two roads, one growing pale. In $z$ there is (mostly) one road, and it turns.
# </details>
#
# **3. The larger eye.** `VAE(96)` reads 96 × 96 frames. How many parameters has it? Why so many fewer than the paper's, although its picture is larger? *(Check: 2,274,051.)*

# %%
# NBVAL_CHECK_OUTPUT
print(f"{sum(p.numel() for p in VAE(96).parameters()):,}")

# %% [markdown]
# <details><summary>Solution</summary>
#
# Count layer by layer: `for name, p in VAE(64).named_parameters(): print(name, p.numel())`. More than three quarters of the paper's parameters sit in one transposed convolution that starts from a single pixel with 1,024 channels and a 5 × 5 kernel: 1024 × 128 × 25 is 3.3 million. The larger one starts from a 6 × 6 grid and needs only 4 × 4 kernels.
# </details>

# %% [markdown]
# ## Summary
#
# - V turns a frame into a Gaussian over 32 numbers; a dozen or so of them do the work.
# - It keeps what covers area (road, bends, grass) and drops what is small (kerbs, texture).
# - The KL term makes the space smooth: between any two frames lie plausible frames.
# - The *sum* over pixels sets the exchange rate between painting and information; with a mean, V collapses.
# - What V drops is lost to everything that comes after it.
#
# **What's next.** One frame has no speed in it. [Chapter 3](03_mdn_rnn.ipynb) adds a memory.
#
# **References.** Ha & Schmidhuber, [World Models](https://worldmodels.github.io/), 2018, appendix A.1 · Kingma & Welling, [Auto-Encoding Variational Bayes](https://arxiv.org/abs/1312.6114), 2013 · Kingma et al., [Improved Variational Inference with Inverse Autoregressive Flow](https://arxiv.org/abs/1606.04934), 2016 (free bits)
