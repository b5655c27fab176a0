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
# # 2. V: a variational autoencoder for race track frames
#
# ![Race track frames above, V's reconstructions of the same frames below](../figures/02_reconstructions.png)
#
# **Figure 2.1.** Above (blue label): frames of CarRacing. Below (orange label): V's reconstructions, decoded from 32 numbers per frame.
#
# **What you'll do.** Write V's encoder and decoder, measure what a trained V keeps of a frame and where it fails, and train four small V's whose losses differ in one term.
#
# **What you'll learn.** Where a VAE's loss comes from (ELBO, Gaussian likelihood, KL divergence, free bits); which facts about the road and the car are in $z$, and which are not; what the KL term changes, measured against a V without it; why a mean instead of a sum over the pixels makes $z$ collapse.
#
# **What you need.** PyTorch's `nn.Module`. [Chapter 1](01_bouncing_ball.ipynb) introduces the VAE and its loss on an easier problem.
#
# **How long.** 60 minutes of reading and building; running all cells takes about 2 minutes on two cores.

# %% tags=["install", "remove-cell"]
import subprocess
import sys
from importlib.util import find_spec

if find_spec("wmlib") is None:  # on Colab, for example; where it is installed, nothing is done
    source = "..[notebooks]"
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", source], check=True)

# %%
import copy
import itertools

import gymnasium as gym
import numpy as np
import torch
from sklearn.decomposition import PCA
from torch import nn

# %%
from wmlib import evaluation
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
from wmlib.rollout.policies import EpisodeSpec, random_car_policy
from wmlib.rollout.rollout import record_episode
from wmlib.tools.road_state import replay
from wmlib.view import build, figures
from wmlib.view.explorers import LatentExplorer

# %%
figures.use_style()
config, chapter = get_config(), get_chapter_config()
RETRAIN = chapter.retrain  # set to True to train everything here from scratch

# %% [markdown]
# ## 2.1 The frames
#
# What does V get to see? CarRacing shows a car from above. The reward is $1000/N$ for each of the track's $N$ tiles when a wheel first touches it, and −0.1 per environment step. Gymnasium draws frames of 96 × 96 pixels. As in the paper, the instrument bar at the bottom is cropped, and the rest is resized to 64 × 64.

# %%
original, cropped = gym.make("CarRacing-v3"), gym.make("wmlib/CarRacingOriginal-v3")
full, _ = original.reset(seed=3)
small, _ = cropped.reset(seed=3)
for _ in range(60):
    full, *_ = original.step(np.array([0.0, 0.5, 0.0], np.float32))
    small, *_ = cropped.step(np.array([0.0, 0.5, 0.0], np.float32))
rows = {"": [full, small], "instrument\nbar": [full[84:, :60]]}
figures.frame_grid(rows, ["Gymnasium's frame, 96 × 96", "V's input, 64 × 64"], size=3.2)

# %% [markdown]
# **Figure 2.2.** The same moment before and after cropping. Below, the instrument bar enlarged: the return so far (a number, blurred), a white bar whose height is the speed, and in blue the speeds of the wheels.
#
# **Predict:** the speed bar is gone. Can a network that reads one such frame still predict the speed? (Section 2.4 has the answer.)
#
# V learns from recorded episodes. At first there is no trained agent, so the first ones are recorded with random actions. Independent random actions, 25 per second, would nearly cancel each other; the policy below uses autocorrelated noise, which changes slowly.

# %%
first = config.change(num_rounds=1)  # with the frame skip of the first round
episode = record_episode(
    car_racing.training_env_spec(first, config.collect.patience),
    random_car_policy(),
    EpisodeSpec(500_000),
)
print(f"{episode.steps} environment steps, return {episode.score:.0f}")
figures.moving_picture(
    episode.recording["frames"][::2], "with random actions, the car leaves the road", fps=25
)

# %% [markdown]
# **Figure 2.3.** An episode with random actions, at twice its real speed (every second frame that the agent observes). It ends early because the car makes no progress.
#
# ## 2.2 The network
#
# How does a frame of 12,288 numbers become 32, and the 32 a frame again?
#
# The encoder has four convolutions with stride 2. Each roughly halves the grid, while the channels grow from 3 to 256. Two linear layers turn its 1,024 outputs into a mean $\mu$ and a log variance $\log \sigma^2$ for each of the 32 latent dimensions. The decoder does the reverse, with transposed convolutions.
#
# A convolution with kernel $k$, stride $s$ and no padding maps a grid of $n$ pixels to $\lfloor (n - k)/s \rfloor + 1$. A transposed convolution maps $n$ to $(n - 1)\,s + k$.
#
# **Predict:** with $k = 4$ and $s = 2$, what becomes of 64 after each of the four convolutions? Find four kernels that lead from 1 back to 64 with stride 2. (There are several solutions; Figure 2.4 has the paper's.)

# %%
figures.vae_diagram(VAE())

# %% [markdown]
# **Figure 2.4.** V, with the shapes (channels × height × width) read from the network. $\varepsilon$ is standard Gaussian noise.
#
# **Build 2.1: `build_encoder`** (9 lines). Convolution, ReLU, four times over, then flatten. `width` is the number of channels after the first convolution, 32 in the paper; section 2.9 uses a smaller one. The shapes for `width=32`:
#
# | layer | kernel, stride | output |
# |---|---|---|
# | input | | 3 × 64 × 64 |
# | `nn.Conv2d`, `nn.ReLU` | 4, 2 | 32 × 31 × 31 |
# | `nn.Conv2d`, `nn.ReLU` | 4, 2 | 64 × 14 × 14 |
# | `nn.Conv2d`, `nn.ReLU` | 4, 2 | 128 × 6 × 6 |
# | `nn.Conv2d`, `nn.ReLU` | 4, 2 | 256 × 2 × 2 |
# | `nn.Flatten` | | 1024 |
#
# The checker compares the layers one by one, and tells you at the first that differs what was expected there.

# %%
def build_encoder(width=32):
    """The encoder: frames (B, 3, 64, 64) -> features (B, 32 * width), as an nn.Sequential.

    Its four convolutions have width, 2 * width, 4 * width and 8 * width output channels.
    """
    ...


build_encoder = build.check(build_encoder)

# %% [markdown]
# **Build 2.2: `build_decoder`** (10 lines). A linear layer makes 1,024 numbers out of $z$, and `nn.Unflatten(1, (1024, 1, 1))` turns them into a grid of a single pixel. Four transposed convolutions follow, with kernels 5, 5, 6, 6. A pixel's value lies between 0 and 1, so the last activation is a sigmoid.
#
# | layer | kernel, stride | output |
# |---|---|---|
# | input | | 32 |
# | `nn.Linear`, `nn.Unflatten` | | 1024 × 1 × 1 |
# | `nn.ConvTranspose2d`, `nn.ReLU` | 5, 2 | 128 × 5 × 5 |
# | `nn.ConvTranspose2d`, `nn.ReLU` | 5, 2 | 64 × 13 × 13 |
# | `nn.ConvTranspose2d`, `nn.ReLU` | 6, 2 | 32 × 30 × 30 |
# | `nn.ConvTranspose2d`, `nn.Sigmoid` | 6, 2 | 3 × 64 × 64 |

# %%
def build_decoder(z_size=32, width=32):
    """The decoder: z (B, z_size) -> frames (B, 3, 64, 64) in 0..1, as an nn.Sequential.

    Its first three transposed convolutions have 4 * width, 2 * width and width output channels.
    """
    ...


build_decoder = build.check(build_decoder)

# %% [markdown]
# V is these two, with two linear layers between them. The reparameterization trick of chapter 1, $z = \mu + \sigma \varepsilon$ with $\varepsilon \sim \mathcal N(0, 1)$, draws a sample through which gradients flow.

# %%
class ConvVAE(nn.Module):
    """Frames (B, 3, 64, 64) -> reconstructions of the same shape, mu and logvar (B, z_size)."""

    def __init__(self, z_size=32, width=32):
        super().__init__()
        self.encoder, self.decoder = build_encoder(width), build_decoder(z_size, width)
        self.mu = nn.Linear(32 * width, z_size)
        self.logvar = nn.Linear(32 * width, z_size)

    def encode(self, frames):
        features = self.encoder(frames)
        return self.mu(features), self.logvar(features)

    def forward(self, frames):
        mu, logvar = self.encode(frames)
        return self.decoder(sample_latent(mu, logvar)), mu, logvar


# %% tags=["nbval-check-output"]
for width in (32, 8):
    count = sum(p.numel() for p in ConvVAE(width=width).parameters())
    print(f"width {width:2}: {count:,} parameters")
print(f"the paper: 4,348,547 parameters; {3 * 64 * 64 / 32:.0f} pixel values per latent dimension")

# %% [markdown]
# **Finding.** At width 32 this is the paper's V, to the parameter: 4,348,547. Each of its 32 latent dimensions stands for 384 pixel values.
#
# ## 2.3 The loss
#
# Why a squared error plus a KL divergence, and in which proportion?
#
# A VAE is a model of frames $x$ with a latent variable $z$: the *prior* $p(z) = \mathcal N(0, I)$ and the decoder's likelihood $p(x \mid z)$. The likelihood of a frame, $p(x) = \int p(x \mid z)\,p(z)\,dz$, cannot be computed. The encoder's *posterior* $q(z \mid x) = \mathcal N(\mu, \sigma^2)$ gives a lower bound of its logarithm, the *evidence lower bound* (ELBO):
#
# $$\log p(x) \;\ge\; \underbrace{\mathbb E_{z \sim q}\big[\log p(x \mid z)\big]}_{\text{reconstruction}} \;-\; \underbrace{\mathrm{KL}\big(q(z \mid x)\,\|\,p(z)\big)}_{\text{information in } z}$$
#
# *Squared error.* Let the likelihood be a Gaussian around the decoded frame $\hat x$, with one fixed variance $\sigma_x^2$ for all pixels (the encoder's $\sigma^2$ is another one). Then
#
# $$-\log p(x \mid z) = \frac{1}{2 \sigma_x^2} \sum_{\text{pixels}} (\hat x - x)^2 + \text{constant}.$$
#
# The paper's loss has the plain *sum*, a factor of 1, which means $\sigma_x^2 = \tfrac12$. One unit of squared error then costs as much as one nat of information. Another variance changes the weight between the two: multiplied by $2\sigma_x^2$, the negative ELBO is the sum of squares plus $2\sigma_x^2$ times the KL, which is the loss of a $\beta$-VAE with $\beta = 2 \sigma_x^2$.
#
# *KL.* For Gaussians it has a closed form (a build cell of chapter 1), a sum over the latent dimensions $j$, in nats:
#
# $$\mathrm{KL} = \sum_{j=1}^{32} \tfrac12 \big(\mu_j^2 + \sigma_j^2 - 1 - \log \sigma_j^2\big).$$
#
# *KL tolerance.* The paper's code (not its text) charges for the KL only above $\lambda = 0.5$ nats per dimension, 16 nats in total:
#
# $$\mathcal L = \sum_{\text{pixels}} (\hat x - x)^2 + \max(\mathrm{KL},\; 32 \lambda).$$
#
# This is a form of *free bits*. Kingma et al. (2016) apply the maximum to each dimension (or group of dimensions) by itself, so that none can collapse; here it is applied to the sum, so V may divide the 16 nats among the dimensions in any way. In the code, `squared_error` and `kl` are the two terms, `free_bits` is $\lambda$ and `mu.shape[1]` is 32:

# %%
figures.source(vae_loss)

# %% [markdown]
# **Predict:** over the course of training, where will the KL settle?
#
# `car_racing.train_world_model` records episodes, trains V, and trains M. The pretrained weights come from three rounds of it: round 0 has random actions, rounds 1 and 2 add episodes of the agent itself ([chapter 5](05_car_racing.ipynb) has the whole loop). With `RETRAIN = True` you train round 0 here, in about 5 minutes.

# %%
folder = config.run_folder("car_racing") if RETRAIN else pretrained("car_racing")
if RETRAIN:
    car_racing.train_world_model(Round.of(config, folder=folder))
world_model = load_world_model(folder)
vae = world_model.vae
history = read_log(folder / "vae.jsonl")
for number in sorted({row["round"] for row in history}):
    last = [row for row in history if row["round"] == number][-1]
    print(f"round {number}: {last['step']} training steps, KL {last['kl']:.1f} nats at the end")
figures.training_curves(
    history, {"squared_error": "squared error (per frame)", "kl": "KL (nats per frame)"}
)

# %% [markdown]
# **Figure 2.5.** V's training log; dotted lines separate the rounds. The small rise of the squared error at the first dotted line is where the agent's episodes join those with random actions.
#
# **Finding.** The KL settles close to the tolerance of 16 nats (16.1 at the end). Below the tolerance, information costs nothing; above it, each nat costs as much as one unit of squared error.
#
# ## 2.4 What does V keep of a frame?
#
# From here on everything is measured on episodes of tracks that V was not trained on. With random actions they would soon show only grass, so the policy is the pretrained agent with noise on its actions. In the first second of an episode the camera zooms in; these frames are left out.

# %%
tests = scoring.collect_test_episodes(config, chapter.test_episodes)
pace = tests.record.settings["repeat"]  # environment steps per agent step
kept = slice(50 // pace + 1, None, 3)  # from after the zoom on, every third frame
parts = [tests.read(name, "frames")[kept] for name in tests.names()]
frames, groups = np.concatenate(parts), np.repeat(np.arange(len(parts)), [len(p) for p in parts])
with torch.no_grad():
    mu, logvar = vae.encode(frames_to_tensor(frames))
    decoded = vae.decode(mu)
reconstructions = tensor_to_frames(decoded)
print(f"{len(frames)} frames of {len(tests)} tracks")

# %%
few = np.linspace(3, len(frames) - 1, 9).astype(int)
figure = figures.frame_grid(
    {"frame": frames[few], "reconstruction": reconstructions[few]},
    colors={"frame": figures.REALITY, "reconstruction": figures.DREAM},
)
path = config.figure("02_reconstructions.png")
path.parent.mkdir(parents=True, exist_ok=True)
figure.savefig(path, dpi=80)
figure

# %% [markdown]
# **Figure 2.6.** Frames of held-out tracks, evenly spaced over all test frames, and their reconstructions from $\mu$.
#
# The road and the car are reconstructed. The lighter squares in the grass and the red and white kerbs are lost or blurred: they have little contrast or little area, so they contribute little to the squared error.
#
# The pictures show what the *decoder* can draw. To measure what $z$ *contains*, we need the true state of the car. CarRacing's physics is deterministic: replaying an episode's actions on the same track (`wmlib.tools.road_state.replay`) gives the state of the car at every step, which neither V nor the agent ever observes: its offset to the right of the road's centre (1 is the road's edge), the bend (the degrees by which the road turns left over the next 12 tiles, about what a frame shows), its angle to the road, and its speed.

# %%
states = np.concatenate(
    [
        replay(int(name.split("-")[0]), tests.read(name, "actions"), pace)[kept]
        for name in tests.names()
    ]
)
offset, bend, angle, speed = states.T
on_road = abs(offset) < 1
print(f"the car is on the road in {on_road.mean():.0%} of the frames")

# %% [markdown]
# A *linear probe* is a linear regression from $z$ (here the mean $\mu$) to such a quantity, fitted on 70% of the episodes and tested on the others. $R^2$ is the explained share of the variance: 1 is all of it, 0 is no better than always predicting the mean. Frames in which the car has left the road (5%) are left out here.
#
# **Predict:** which of the four quantities below can be predicted from $z$, and which cannot?

# %%
names = ["offset (half-widths)", "bend ahead (degrees)", "angle (degrees)", "speed (units/s)"]
inputs, first_probes = mu.numpy()[on_road], {}
for name, values in zip(names, states[on_road].T, strict=True):
    shifts = [len(tests) * k // 4 for k in range(4)]  # four choices of the held-out episodes
    splits = [(groups[on_road] + shift) % len(tests) for shift in shifts]
    probes = [evaluation.linear_probe(inputs, values, split) for split in splits]
    lowest, *_, highest = sorted(probe.r2 for probe in probes)
    print(f"{name:21} R² = {lowest:5.2f} to {highest:5.2f}")
    first_probes[name] = probes[0]
figures.linear_probes(first_probes)

# %% [markdown]
# **Figure 2.7.** Linear probes on $\mu$, tested on held-out episodes: the car's offset from the centre of the road, the bend over the next 12 tiles (left is positive), the angle between car and road, and the speed. The figure shows the first of four choices of the held-out episodes, the output the range of $R^2$ over all four.
#
# **Finding.** As long as the car is on the road, $z$ contains its offset ($R^2$ about 0.97) and how the road bends (about 0.88), some of the angle (about 0.6), and hardly anything about the speed ($R^2$ −0.01 to 0.13). A single frame without the instrument bar does not show the speed; for that the agent needs M's memory (chapter 3).
#
# ## 2.5 Where does V fail?
#
# Is V equally good on straight roads, left bends and right bends? The mean over all frames does not show it, so we plot the squared error by the bend ahead. Frames with a sharp bend contain more detail, so they may have a larger error for that reason alone. As a control, V also gets every frame *mirrored*, which turns a left bend into a right bend of exactly the same shape.
#
# **Predict:** CarRacing's tracks are driven counterclockwise. Will mirroring a frame change V's error?

# %%
def errors(vae, x):
    """Squared error of the reconstruction from mu: frames (N, 3, 64, 64) float -> (N,)."""
    with torch.no_grad():
        return (vae.decoder(vae.encode(x)[0]) - x).square().flatten(1).sum(1).numpy()


def over_episodes(values, some):
    """The mean over episodes of their mean in `some` frames, with its 95% CI.

    None if fewer than two episodes have such frames.
    """
    means = [values[some & (groups == g)].mean() for g in np.unique(groups[some])]
    return evaluation.episode_interval(means) if len(means) > 1 else None


def by_bend(error, bend, edges):
    """In each bin: its middle, and the mean error with its 95% CI over episodes."""
    for low, high in itertools.pairwise(edges):
        interval = over_episodes(error, (low <= bend) & (bend < high))
        if interval:
            yield (low + high) / 2, interval.mean, interval.low, interval.high


# %%
x = frames_to_tensor(frames)
error, error_mirrored = errors(vae, x), errors(vae, x.flip(3))
edges = [-180, -120, -90, -60, -15, 15, 60, 90, 120, 180]
figure, ax = figures.new_axes(width=6.4, height=3.2)
for label, values, turned, color in (
    ("frames as recorded", error, bend, figures.DREAM),
    ("the same frames, mirrored", error_mirrored, -bend, figures.BASELINE),
):
    rows = np.array(list(by_bend(values, turned, edges))).reshape(-1, 4)
    middle, mean, low, high = rows.T
    ax.errorbar(middle, mean, [mean - low, high - mean], fmt="o-", label=label, color=color)
ax.set(xlabel="bend in the picture (degrees; left bends are positive)", xlim=(170, -170))
ax.set(ylabel="squared error per frame", ylim=(0, None))
ax.legend()
figure

# %%
left, right = bend >= 90, bend <= -90
print(f"bends of 90 degrees or more: {left.sum()} frames to the left, {right.sum()} to the right")
for name, some in (("straight (below 15)", abs(bend) < 15), ("left", left), ("right", right)):
    recorded, difference = (over_episodes(v, some) for v in (error, error_mirrored - error))
    if recorded:
        mirrored = recorded.mean + difference.mean
        print(f"{name:19} error {recorded.mean:.0f}, mirrored {mirrored:.0f}: ", end="")
        print(f"difference {difference.mean:+.0f}, 95% CI {difference.low:+.0f}", end=" ")
        print(f"to {difference.high:+.0f} ({difference.n} episodes)")

# %% [markdown]
# **Figure 2.8.** V's squared error by the bend in its input: mean over episodes with its 95% CI. Left bends are on the left. Orange: frames as recorded. Grey: the same frames mirrored, placed at the bend that the mirrored picture shows.
#
# The two curves have a similar shape; they differ most at right bends beyond 120 degrees (about 49 as recorded, 70 mirrored). So the error depends mostly on the bend in V's input, mirrored or not, and beyond 60 degrees it is larger for right bends. Left bends of 90 degrees or more have an error of about 28 as recorded and 54 mirrored; for right bends of 90 degrees or more it is 45 as recorded and 28 mirrored (means over episodes; both 95% CIs of the difference exclude 0). Among these frames sharp left bends are six to seven times as frequent as sharp right ones. A likely reason for the asymmetry is that right bends are as rare in V's training frames; exercise 4 tests it. The agent, too, scores lower on mirrored tracks ([chapter 5](05_car_racing.ipynb)).
#
# What do the worst reconstructions look like? The worst frame of each episode among those with a bend of at least 90 degrees:

# %%
sharp = np.flatnonzero(abs(bend) >= 90)
sharp = sharp if len(sharp) else np.arange(len(frames))
worst = [max(sharp[groups[sharp] == g], key=error.__getitem__) for g in np.unique(groups[sharp])]
worst = sorted(worst, key=error.__getitem__, reverse=True)[:9]
figures.frame_grid(
    {"frame": frames[worst], "reconstruction": reconstructions[worst]},
    [f"{bend[i]:+.0f}°" for i in worst],
    colors={"frame": figures.REALITY, "reconstruction": figures.DREAM},
)

# %% [markdown]
# **Figure 2.9.** The largest errors at sharp bends, one per episode, with the bend ahead. In most of them the near part of the road is right, and the far part of the bend, where the road turns back, is missing: it ends in a blur, or leaves the frame in another direction.
#
# Elsewhere the decoder draws T-junctions, which no track has (Figure 2.11). Both errors change how often the road crosses the border of the frame. We call such a crossing an *exit*. How often does the number of exits in a reconstruction differ from that in its frame?

# %%
def exits(images):
    """How often the road crosses the border of each frame: (N, H, W, 3) uint8 -> (N,) int."""
    road = images[..., 1].astype(int) - images[..., 0] < 50  # grey, where grass is green
    sides = road[:, 0], road[:, :, -1], road[:, -1, ::-1], road[:, ::-1, 0]
    border = np.concatenate(sides, axis=1)
    return (border != np.roll(border, 1, axis=1)).sum(1) // 2


wrong = exits(reconstructions) != exits(frames)
for name, some in (
    ("below 60 degrees", abs(bend) < 60),
    ("60 to 90 degrees", (abs(bend) >= 60) & (abs(bend) < 90)),
    ("90 degrees or more", abs(bend) >= 90),
):
    interval = over_episodes(wrong.astype(float), some)
    if interval:
        print(f"bend {name:19} {interval.mean:4.0%} of the reconstructions are wrong", end=" ")
        print(f"(95% CI {interval.low:.0%} to {interval.high:.0%}, {some.sum()} frames)")

# %% [markdown]
# **Finding.** V's squared error is about 10 on straight roads, 28 at left bends of 90 degrees or more, and 45 at right bends of 90 degrees or more, which are rare. At bends of 90 degrees or more, about a fifth of the reconstructions show a road that leaves the frame too often or too rarely (95% CI 16% to 27%); below 60 degrees about one in twenty.
#
# C reads only $z$ and $h$, so it depends on what V keeps of a bend. [Chapter 5](05_car_racing.ipynb) compares V's errors at the bends where the agent fails with those where it does not. Whether V causes these failures was not tested: one would have to train C with a V that reconstructs sharp bends well.
#
# ## 2.6 Which of the 32 dimensions carry information?
#
# Are the 16 nats spread over all 32 dimensions? The closed form of the KL has one term for each:

# %%
figures.source(kl_per_dimension)

# %% [markdown]
# A dimension whose term is near 0 has *collapsed* to the prior: $\mu_j = 0$ and $\sigma_j = 1$ whatever the frame, so $z_j$ is noise (*posterior collapse*). We call a dimension *active* if its KL, averaged over frames, is above 0.1 nats.
#
# **Build 2.3: `active_dimensions`** (3 lines). `kl_per_dimension(mu, logvar)` is (N, D). Average over the N frames, sort the D means in descending order, and return the indices of those above the threshold.

# %%
def active_dimensions(mu, logvar, threshold=0.1):
    """The dimensions whose KL, averaged over frames, is above `threshold` nats, largest first.

    mu, logvar: (N, D), of N frames. Returns their indices, (k,) int64.
    """
    ...


active_dimensions = build.check(active_dimensions)

# %% [markdown]
# **Predict:** how many of the 32 dimensions are active?

# %%
information = kl_per_dimension(mu, logvar).mean(0).numpy()
active = active_dimensions(mu, logvar).tolist()
order = information.argsort()[::-1]
figure, ax = figures.new_axes(width=6)
colors = [figures.DREAM if d in active else figures.BASELINE for d in order]
ax.bar(range(len(order)), information[order], color=colors)
ax.axhline(0.5, color="black", lw=0.8, ls="--")
ax.annotate("the tolerance, 0.5 nats per dimension", (len(order) - 1, 0.55), ha="right", fontsize=8)
ax.set(xlabel="latent dimension, sorted", ylabel="mean KL (nats per frame)")
figure

# %%
collapsed = np.setdiff1d(order, active)
for name, some in (("active", active), ("collapsed", collapsed)):
    total, each = information[some].sum(), information[some].sum() / max(1, len(some))
    print(f"{len(some):2} {name:9} dimensions: {total:5.2f} nats, {each:.3f} each")
total = information.sum()
print(f"all together: {total:.1f} nats = {total / np.log(2):.0f} bits per frame")

# %% [markdown]
# **Figure 2.10.** Mean KL of each dimension over the test frames, sorted. Orange: active. Grey: collapsed (bars of about 0.004 nats, almost too low to see).
#
# The loss sets the sum: 32 × 0.5 = 16 nats are free. It does not set the division, which V has learned: ten dimensions with 0.5 to 2.9 nats each (1.6 on average), and 22 with less than 0.01 on average. Exercise 2 trains a V whose tolerance applies to each dimension.
#
# **Finding.** 10 of the 32 dimensions are active, with 99% of the 16 nats; 22 have collapsed.
#
# What does each dimension change? Below, one frame is encoded, and one dimension after another is set to values from −3 to 3 (*latent traversal*).

# %%
by_value = mu[:, information.argmax()].argsort().numpy()
picked = frames[by_value[(np.linspace(0.05, 0.95, 6) * len(frames)).astype(int)]]
explorer = LatentExplorer(vae, picked, mu)
explorer.contact_sheet()

# %% [markdown]
# **Figure 2.11.** Latent traversals: each row changes one of the six dimensions with the largest KL; the first column ("now") is the frame's own reconstruction, and the label gives the value that the frame itself has in this dimension. A row rarely changes one property alone: nothing in the loss asks for *disentangled* dimensions.
#
# ## 2.7 Explore z by hand
#
# | control | what it does |
# |---|---|
# | `frame` | which of six real frames to start from; they are ordered by the most informative dimension |
# | `end frame`, `interpolate` | moves $z$ on a straight line to that of another of the six frames; 0 is the start, 1 the end |
# | `sliders` | *z*: the ten dimensions with the largest KL, from −3 to 3. *principal components*: the ten components of all test frames' $\mu$ with the largest variance, in standard deviations (2.8). Switching keeps $z$ |
# | `reset` | sets the sliders to the encoded frame (or the interpolated $z$) |
# | `random` | samples every slider from $\mathcal N(0, 1)$; in *z*, that is the prior |
# | `freeze the sliders` | keeps the sliders when you choose another frame |
#
# The three pictures: the frame, its reconstruction, and what is decoded from the sliders. GitHub does not run widgets; Figure 2.11 was made by the same code.
#
# **Tasks**
#
# 1. Find a slider that bends the road to the left and to the right.
# 2. Find one that moves the car towards the edge of the road.
# 3. Set one slider to −3 or 3. Then press `random`, several times. Which pictures could be frames?
# 4. Freeze the sliders and go through the frames. Does the right picture change?
# 5. Switch to *principal components*; compare the first with the last.
# 6. Choose another `end frame` and move `interpolate` from 0 to 1.
#
# <details><summary>What to expect</summary>
#
# 1. and 2. Several sliders bend the road, and each changes other things, too.
# 3. At ±3 many pictures show torn or forked roads; most random ones are unlike any frame. 2.8 measures this.
# 4. Hardly: the ten sliders are the active dimensions, and the decoder ignores the others.
# 5. The first components change the whole road, the last ones little: they are sorted by the variance of $\mu$.
# 6. Between similar frames one road bends; between a left and a right bend you may pass a junction. 2.8 measures this, too.
# </details>

# %%
explorer.widget

# %% [markdown]
# The same controls can be set by code:

# %%
before = explorer.decoded.value
explorer.sliders[0].value = 2.5
print("the picture changed:", explorer.decoded.value != before)
explorer.reset_button.click()
print("and came back:", explorer.decoded.value == before)

# %% [markdown]
# ## 2.8 Interpolation, samples, and a map
#
# Are the points between two encoded frames plausible frames? Nothing in the loss says so. We look at the hardest case, from sharp left bends to sharp right bends.
#
# **Build 2.4: `interpolate`** (2 lines). `steps` points $z_k = (1 - t_k)\, z_\text{start} + t_k\, z_\text{end}$, with $t_k$ from 0 to 1 in equal steps, both ends included.

# %%
def interpolate(start, end, steps):
    """Points on a straight line, both ends included: (D,), (D,), a number -> (steps, D)."""
    ...


interpolate = build.check(interpolate)

# %%
rng = np.random.default_rng(0)
twentieth = max(1, len(bend) // 20)
lefts, rights = bend.argsort()[-twentieth:], rng.permutation(bend.argsort()[:twentieth])
start, end = lefts[0], rights[0]
with torch.no_grad():
    in_z = vae.decoder(interpolate(mu[start], mu[end], 9))
in_pixels = interpolate(x[start].flatten(), x[end].flatten(), 9).view(9, 3, 64, 64)
rows = {"in z": tensor_to_frames(in_z), "in pixels": tensor_to_frames(in_pixels)}
colors = {"in z": figures.DREAM, "in pixels": figures.BASELINE}
figures.frame_grid(rows, [f"{t:.2f}" for t in np.linspace(0, 1, 9)], colors)

# %% [markdown]
# **Figure 2.12.** From a sharp left bend to a sharp right bend, interpolated in $z$ and, as a baseline, in pixels. In the first frame the car is off the road, and only a piece of the road shows at the lower left. In pixels one road fades out while another fades in. In $z$ the road changes its shape, but no track has the roads in the middle: here the road ends ahead of the car; for other pairs it may be a junction.
#
# One example is not enough evidence. For many pairs, what is the squared distance of the decoded midpoint to the *nearest real frame* among all test frames? For comparison: the reconstructions of the pairs' own frames, the mean of the two reconstructions (the midpoint in pixels), and frames decoded from samples of the prior.
#
# **Predict:** order these four by that distance.

# %%
def distance_to_real(images, real=x):
    """Squared distance of each image (N, 3, 64, 64) to the nearest of the real ones: (N,) array."""
    return torch.cdist(images.flatten(1), real.flatten(1)).min(1).values.square().numpy()


@torch.no_grad()
def plausibility(vae, real, lefts, rights):
    """These distances for a V's reconstructions, midpoints, and samples of the prior."""
    mu = vae.encode(real)[0]
    pairs = zip(lefts, rights, strict=True)
    midpoints = torch.stack([interpolate(mu[i], mu[j], 3)[1] for i, j in pairs])
    prior = torch.randn(len(midpoints), mu.shape[1], generator=torch.Generator().manual_seed(0))
    ends = [vae.decoder(mu[some]) for some in (lefts, rights)]
    images = {
        "reconstructions": torch.cat(ends),
        "midpoints in z": vae.decoder(midpoints),
        "midpoints in pixels": sum(ends) / 2,
        "samples of the prior": vae.decoder(prior),
    }
    return {name: distance_to_real(image, real) for name, image in images.items()}


# %%
def summary(distances):
    """Print the mean of each kind of distance; 95% CI of the mean over images."""
    for name, values in distances.items():
        print(f"  {name:21} {values.mean():6.1f} ± {1.96 * values.std() / len(values) ** 0.5:.1f}")


distances = plausibility(vae, x, lefts.copy(), rights)
print("squared distance to the nearest real frame, mean ± 95% CI:")
summary(distances)
print(f"  the mean of all frames {distance_to_real(x.mean(0)[None])[0]:5.1f}")

# %% [markdown]
# The last line is a warning about this measure: blur reduces it. The mean of all frames, a straight and blurred road, is nearer to a real frame (16.9) than reconstructions of sharp bends are on average (26.2). So we compare with reconstructions by the same V, which are about as blurred, and look at pictures as well. The intervals treat the images as independent, though many come from the same episodes; so they are probably too narrow.
#
# **Finding.** The squared distance to the nearest real frame is about 1.6 times that of reconstructions for midpoints in $z$ between sharp left and right bends, about 2.2 times for midpoints in pixels, and more than 4 times for samples of the prior. Interpolation in $z$ is better than in pixels, but points between two frames need not be plausible frames, and the prior is not the distribution of $z$.
#
# What is the shape of that distribution? Principal component analysis (PCA) finds the directions in which $\mu$ varies most.

# %%
pca = PCA().fit(mu.numpy())
points = pca.transform(mu.numpy())[:, :2]
figures.scatter_map(points, bend, "bend ahead (degrees, left is positive)")

# %%
share = pca.explained_variance_ratio_
print(f"the first two components have {share[:2].sum():.0%} of the variance of μ,")
print(f"the first {len(active)} have {share[: len(active)].sum():.0%}")
walk = np.linspace(-2.5, 2.5, 9)
strips = {}
for k in range(3):
    steps = walk[:, None] * np.sqrt(pca.explained_variance_[k]) * pca.components_[k]
    z = torch.from_numpy(pca.mean_ + steps).float()
    strips[f"PC {k + 1}"] = tensor_to_frames(world_model.decode(z))
colors = dict.fromkeys(strips, figures.DREAM)
figures.frame_grid(strips, [f"{step:+.1f} SD" for step in walk], colors)

# %% [markdown]
# **Figure 2.13.** Above: each dot is a test frame, at its first two principal components; the colour is the bend ahead, from the environment. Straight roads (grey) lie along the lower right edge, left bends (red) to the left, right bends (blue) to the right and above. The thin line of red dots is one episode whose car has left the road and hardly moves. Below: decoded frames along the first three components, through the mean.
#
# **Finding.** The map, with about half of the variance of $\mu$, is ordered by the bend ahead, which V was never given. The frames fill a curved region, dense at its edge, instead of a round Gaussian cloud. So a sample of the prior, or a point halfway between two frames, can fall where no frames are; there the decoder draws roads that no track has (the second row, right).
#
# ## 2.9 V without the KL term
#
# Would V be worse without the KL term? As a control we train two small V's (the encoder and decoder above, with a quarter of the channels) in the same way from the same initial weights: one with the paper's loss, one with the squared error alone. They train on two thirds of the test episodes; the others are held out.


# %%
seen = torch.from_numpy(frames)[groups < len(tests) * 2 // 3]
unseen, turns = x[groups >= len(tests) * 2 // 3], bend[groups >= len(tests) * 2 // 3]
few_unseen = max(1, len(turns) // 20)


def train(vae, loss_of, epochs, learning_rate=2e-3):
    """Train a V on `seen`; returns squared error and KL of every batch, (steps, 2)."""
    torch.manual_seed(0)
    optimizer, history = torch.optim.Adam(vae.parameters(), learning_rate), []
    for _ in range(epochs):
        for batch in torch.randperm(len(seen)).split(16):
            x = frames_to_tensor(seen[batch])
            reconstructions, mu, logvar = vae(x)
            squared_error = (reconstructions - x).square().flatten(1).sum(1)
            kl = kl_per_dimension(mu, logvar)
            loss = loss_of(squared_error, kl).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            history.append([squared_error.mean().item(), kl.sum(1).mean().item()])
    return np.array(history)


# %% [markdown]
# `loss_of` gets the squared error (B,) and the KL of each dimension (B, 32). **Predict:** which of the two reconstructs better? Which one's midpoints and samples of the prior are nearer to real frames?

# %%
losses = {
    "paper's loss": lambda squared_error, kl: squared_error + kl.sum(1).clamp(min=16),
    "without KL": lambda squared_error, kl: squared_error,
}
trained = {}
for name, loss_of in losses.items():
    torch.manual_seed(0)
    trained[name] = ConvVAE(width=8)
    train(trained[name], loss_of, epochs=3 * chapter.broken_epochs)

# %%
pairs = turns.argsort()[-few_unseen:].copy(), rng.permutation(turns.argsort()[:few_unseen])
for name, small_vae in trained.items():
    with torch.no_grad():
        moments = small_vae.encode(unseen)
    print(f"{name}: squared error {errors(small_vae, unseen).mean():.0f},", end=" ")
    print(f"KL {kl_per_dimension(*moments).sum(1).mean():.0f} nats,", end=" ")
    print(f"{len(active_dimensions(*moments))} active dimensions")
    summary(plausibility(small_vae, unseen, *pairs))

# %%
rows = {}
generator = torch.Generator().manual_seed(2)
samples = torch.randn(4, 32, generator=generator)
for name, small_vae in trained.items():
    with torch.no_grad():
        z = small_vae.encode(unseen)[0]
        between = [interpolate(z[i], z[j], 3)[1] for i, j in list(zip(*pairs, strict=True))[:4]]
        rows[name] = tensor_to_frames(small_vae.decoder(torch.stack([*between, *samples])))
titles = ["midpoint in z"] * len(between) + ["sample"] * 4
figures.frame_grid(rows, titles, dict.fromkeys(rows, figures.DREAM))

# %% [markdown]
# **Figure 2.14.** Decoded midpoints between left and right bends, and samples of the prior, from the V trained with the paper's loss and from the V trained without the KL term.
#
# **Finding.** Both reconstruct held-out frames about equally well (squared error 26 with the KL term, 24 without). Without it $z$ carries about ten times as many nats, all 32 dimensions are active instead of about half, and samples of the prior have more than three times (here 4.6) the squared distance to real frames. Midpoints in $z$ differ less: they have 1.7 times the distance of reconstructions without the KL term, 1.5 times with it (1.4 and 1.2 in another execution). So the KL term gives a compact $z$, in which samples are much nearer to real frames, and M has less to predict. Each V was trained once: small differences, such as 26 against 24, are not evidence. (Do not compare these distances with those of 2.8: there V is larger and was trained on other frames, and the set of real frames is three times as large. Even the ratios differ: samples of the prior have 4.7 times the distance of reconstructions there, 1.2 times here. We did not test why.)
#
# ## 2.10 Break it: the mean instead of the sum
#
# A common bug in reimplementations of this model: `mean()` over the pixels where the paper has a sum. We continue from the V with the paper's loss, once with the sum and once with the mean, in both cases with a KL that is charged from the first nat on.
#
# **Predict:** what will the V with the mean reconstruct?

# %%
continued, curves = {}, {}
for name, pixels in {"sum": 1, "mean": 3 * 64 * 64}.items():
    continued[name] = copy.deepcopy(trained["paper's loss"])
    curves[name] = train(
        continued[name],
        lambda squared_error, kl, pixels=pixels: squared_error / pixels + kl.sum(1),
        epochs=chapter.broken_epochs,
    )

# %%
figure, axes = figures.panels(2)
for ax, column, label in zip(axes, (0, 1), ("squared error", "KL (nats)"), strict=True):
    for name, color in (("sum", figures.DREAM), ("mean", "black")):
        values = curves[name][:, column]
        smooth = np.convolve(values, np.ones(10) / 10, "valid") if len(values) > 10 else values
        ax.plot(smooth, label=f"{name} over pixels", color=color)
    ax.set(xlabel="training step", ylabel=f"{label} per frame", ylim=(0, None))
axes[0].legend()
figure

# %%
rows = {"frame": tensor_to_frames(unseen[:: max(1, len(unseen) // 9)][:9])}
for name, small_vae in continued.items():
    with torch.no_grad():
        m, v = small_vae.encode(unseen)
        rows[name] = tensor_to_frames(small_vae.decoder(m[:: max(1, len(unseen) // 9)][:9]))
    kl = kl_per_dimension(m, v).sum(1).mean()
    print(f"{name:4} squared error {errors(small_vae, unseen).mean():3.0f}, KL {kl:5.2f} nats")
constant = (unseen - unseen.mean(0)).square().flatten(1).sum(1).mean().item()
print(
    f"always the mean frame: {constant:.0f}; mean over 12,288 pixel values {constant / 12288:.4f}"
)
print(f"one nat costs {12288 / constant:.0f} times as much")
figures.frame_grid(rows, colors={"frame": figures.REALITY, "sum": figures.DREAM})

# %% [markdown]
# **Figure 2.15.** Above: squared error and KL of the training batches (running mean of 10) after the loss was changed. Below: reconstructions of held-out frames afterwards.
#
# With the mean, V draws the same picture for every frame. The arithmetic says why hardly anything else is optimal for this loss. A V that ignores $z$ and always draws the mean frame has a squared error of about 64 per frame on these held-out frames. Divided by 12,288 that is about 0.005. So a perfect reconstruction would gain about 0.005, and a V that spends more than 0.005 nats on it has a larger loss than a V that ignores $z$: a whole nat costs 1, about 190 times as much as there is to gain.
#
# **Finding.** With a mean over the pixels the KL falls to 0 within a few dozen steps, and the squared error rises to 66, about that of the mean frame. The weight between the two terms is part of the model: replacing the sum by the mean changes it by a factor of 12,288. (An early Keras reimplementation averaged over all dimensions, and its users reported a collapsed posterior: [issue 12](https://github.com/AppliedDataSciencePartners/WorldModels/issues/12).)
#
# ## 2.11 Exercises
#
# **1. How many dimensions does a frame need?** Set all but the $k$ most informative dimensions of `mu` to 0 and decode. Put the mean squared errors for $k = 0 \dots 32$ into the list `by_count` and plot it.
#
# ```python
# assert len(by_count) == 33 and abs(by_count[32] - error.mean()) < 0.1
# assert by_count[len(active)] < 1.1 * by_count[32]  # the active ones are enough
# ```
#
# <details><summary>Hint</summary>
#
# `order` has the dimensions, most informative first. Start from `torch.zeros_like(mu)`.
# </details>
# <details><summary>Solution</summary>
#
# ```python
# by_count = []
# for k in range(33):
#     z = torch.zeros_like(mu)
#     z[:, order[:k].copy()] = mu[:, order[:k].copy()]
#     by_count.append((world_model.decode(z) - x).square().flatten(1).sum(1).mean().item())
# figure, ax = figures.new_axes(width=5)
# ax.plot(by_count, color=figures.DREAM)
# ax.set(xlabel="dimensions kept", ylabel="squared error per frame")
# figure
# ```
# </details>
#
# **2. Free bits per dimension.** Train a third small V as in 2.9, with the maximum of Kingma et al. (2016) applied to *each dimension*: no dimension is charged for its first 0.5 nats. How many are active?
#
# ```python
# assert count == 32  # your count of active dimensions
# ```
#
# <details><summary>Hint</summary>
#
# `loss_of` gets the KL of each dimension, (B, 32). Clamp first, then sum.
# </details>
# <details><summary>Solution</summary>
#
# ```python
# torch.manual_seed(0)
# per_dimension = ConvVAE(width=8)
# train(per_dimension, lambda squared_error, kl: squared_error + kl.clamp(min=0.5).sum(1), 3 * chapter.broken_epochs)
# with torch.no_grad():
#     count = len(active_dimensions(*per_dimension.encode(unseen)))
# ```
#
# All 32, because giving up a dimension saves nothing. The total is about 16 nats again, spread over all of them, and the squared error is about the same.
# </details>
#
# **3. Does the tolerance protect against the mean?** Repeat 2.10 with a mean over pixels *and* the tolerance of 16 nats, so that information up to 16 nats is free. Is the frame reconstructed? Put the held-out squared error into `still`.
#
# ```python
# assert still > 0.8 * constant
# ```
#
# <details><summary>Solution</summary>
#
# ```python
# tolerant = copy.deepcopy(trained["paper's loss"])
# train(tolerant, lambda e, kl: e / 12288 + kl.sum(1).clamp(min=16), chapter.broken_epochs)
# still = errors(tolerant, unseen).mean()
# ```
#
# No. Below 16 nats the KL has no gradient, but the squared error's is 12,288 times smaller than before: whenever a frame's KL goes above 16 nats, the KL's gradient outweighs it.
# </details>
#
# **4. Cure the asymmetry.** Train a small V with the paper's loss on frames that are mirrored with probability one half (*data augmentation*). Compare the errors of `unseen` and of its mirror image at `turns > 60`.
#
# ```python
# assert abs(mirrored / as_recorded - 1) < 0.2  # two mean errors; without mirroring, in one execution: 1.5 times
# ```
#
# <details><summary>Hint</summary>
#
# Double the training frames: `seen = torch.cat([seen, seen.flip(2)])` (stored frames are (N, H, W, 3)), with half the epochs.
# </details>
# <details><summary>Solution</summary>
#
# ```python
# seen = torch.cat([seen, seen.flip(2)])
# torch.manual_seed(0)
# symmetric = ConvVAE(width=8)
# train(symmetric, losses["paper's loss"], 3 * chapter.broken_epochs // 2)
# some = unseen[torch.from_numpy(turns > 60)]
# as_recorded, mirrored = errors(symmetric, some).mean(), errors(symmetric, some.flip(3)).mean()
# ```
#
# (An agent trained on mirrored frames needs mirrored steering, too: M sees frames together with actions.)
# </details>
#
# ## Summary
#
# - V maps a frame to a Gaussian over 32 numbers. Its loss is the negative ELBO with a Gaussian likelihood of variance ½, and a KL that is free up to 16 nats.
# - V uses those 16 nats, and puts 99% of them into 10 dimensions; 22 have collapsed to the prior.
# - $z$ contains the offset from the road's centre ($R^2$ about 0.97) and the bend ahead (about 0.88), and hardly anything about the speed (below 0.2). Kerbs and grass texture are lost.
# - Sharp bends are reconstructed worst, and right bends worse than left bends of the same shape (45 against 28 at 90 degrees or more). About a fifth of the reconstructions at 90 degrees or more have a wrong number of road exits.
# - Midpoints in $z$ between sharp left and right bends have about 1.6 times the squared distance to real frames that reconstructions have; samples of the prior have more than 4 times. In small V's trained with and without the KL term, samples are much farther from real frames without it (midpoints only a little), and $z$ carries about ten times as many nats.
# - With a mean instead of a sum over the pixels, a nat costs about 190 times what a perfect reconstruction gains, and $z$ collapses.
#
# **What's next.** One frame has no speed in it. [Chapter 3](03_mdn_rnn.ipynb) adds a memory.
#
# ## Related work
#
# - Kingma & Welling, [Auto-Encoding Variational Bayes](https://arxiv.org/abs/1312.6114) (2013), and Rezende et al., [Stochastic Backpropagation](https://arxiv.org/abs/1401.4082) (2014): the VAE and the reparameterization trick, found independently.
# - Bowman et al., [Generating Sentences from a Continuous Space](https://arxiv.org/abs/1511.06349) (2015): posterior collapse in a VAE with a strong decoder, and annealing of the KL weight against it. Burda et al., [Importance Weighted Autoencoders](https://arxiv.org/abs/1509.00519) (2015): counting active units.
# - Kingma et al., [Improving Variational Inference with Inverse Autoregressive Flow](https://arxiv.org/abs/1606.04934) (2016): free bits.
# - Higgins et al., [β-VAE](https://openreview.net/forum?id=Sy2fzU9gl) (2017): the KL weight controls how disentangled the dimensions are. Alemi et al., [Fixing a Broken ELBO](https://arxiv.org/abs/1711.00464) (2018): the same weight as a position on a rate-distortion curve.
# - Lucas et al., [Don't Blame the ELBO!](https://arxiv.org/abs/1911.02469) (2019): posterior collapse already in the linear VAE, decided by the variance of the likelihood, as in 2.10.
# - Ha & Schmidhuber, [World Models](https://worldmodels.github.io/) (2018), appendix A.1: this V, and the CarRacing agent that is built on it.
# - [ctallec/world-models](https://github.com/ctallec/world-models) (2018): a widely used PyTorch reimplementation. Its V sums the squared error over pixels, has no KL tolerance, a ReLU after the decoder's linear layer, and is trained on randomly mirrored frames (exercise 4).
# - [AppliedDataSciencePartners/WorldModels](https://github.com/AppliedDataSciencePartners/WorldModels) (2018): a Keras reimplementation; its issues [2](https://github.com/AppliedDataSciencePartners/WorldModels/issues/2) and [12](https://github.com/AppliedDataSciencePartners/WorldModels/issues/12) discuss sum against mean, and the collapse that follows from the mean.
