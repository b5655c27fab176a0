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
# ![Two rows of small pictures: the real ball, and the ball that the model imagines](../figures/01_ball_dream.png)
#
# **Figure 1.1.** A ball bounces in a box. The model has observed 60 frames; for the next 30 steps it receives none. Top: the real frames, every third step. Bottom: the model's open-loop rollout ("dream": each prediction is the next input), decoded to frames.
#
# **What you'll do.** Write the losses of V and M and a training loop; train a small VAE and three mixture density networks with them; then take a pretrained world model of a ball apart.
#
# **What you'll learn.** The VAE's loss (ELBO, reparameterization, free bits); why M predicts a mixture of Gaussians, and how to compute its likelihood without overflow; what linear probes can and cannot show.
#
# **What you need.** Python, and a little PyTorch: tensors, modules, `backward`. No other chapter.
#
# **How long.** 50 minutes of reading and building; running all cells takes about 50 seconds on two cores.
#
# Why a ball before a racing car? Because we know its true state: the environment reports the ball's position and velocity. The model never receives them, so whatever we find of them in its latent vectors comes from the pixels.

# %% tags=["install", "remove-cell"]
import subprocess
import sys
from importlib.util import find_spec

if find_spec("wmlib") is None:  # on Colab, for example; where it is installed, nothing is done
    source = "..[notebooks]"
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", source], check=True)

# %%
import gymnasium as gym
import numpy as np
import torch
from sklearn.linear_model import Ridge
from torch import nn

from wmlib import evaluation
from wmlib.files import read_log
from wmlib.models.checkpoints import load_world_model
from wmlib.models.mdn_rnn import MDNRNN
from wmlib.models.vae import frames_to_tensor, tensor_to_frames
from wmlib.models.world_model import WorldModel
from wmlib.paths import pretrained
from wmlib.pipeline import ball, phases
from wmlib.pipeline.scales import get_chapter_config, get_config
from wmlib.rollout.policies import no_action_policy
from wmlib.view import build, figures

figures.use_style()
config, chapter = get_config(), get_chapter_config()  # WM_SCALE: smoke, laptop (default) or paper
RETRAIN = chapter.retrain  # set to True to train V and M from scratch (about 8 minutes)

# %% [markdown]
# ## 1.1 The environment
#
# What does the model observe, and what is hidden from it? The ball's box is a Gymnasium environment with the usual `reset` and `step`. The observation is a frame; the true state is in `info`, which only our measurements use. The action is an empty vector, because nothing can influence the ball.

# %%
env = gym.make("wmlib/BouncingBall-v0")
frame, info = env.reset(seed=7)
print("a frame:", frame.shape, frame.dtype)
print("the true state:", info)

# %%
frames = [frame]
for _ in range(60):
    frame, *_ = env.step(env.action_space.sample())
    frames.append(frame)
figures.moving_picture(np.stack(frames), "a ball bounces in a box")

# %% [markdown]
# **Figure 1.2.** 60 steps of the environment.
#
# A frame is 64 × 64 × 3 = 12,288 numbers. The state of this world is four numbers: the ball's position and its velocity, each with two components.
#
# **Predict:** which of these four numbers can be computed from a *single* frame?
#
# A world model has two parts, and this chapter is about both. V, a variational autoencoder (VAE), compresses a frame to a latent vector $z$. M, a recurrent network, reads one $z$ per step, keeps a memory $h$, and predicts the next $z$.

# %%
folder = config.run_folder("ball") if RETRAIN else pretrained("ball")
if RETRAIN:
    ball.train_ball(config, folder)
world_model = load_world_model(folder)
figures.architecture(world_model)

# %% [markdown]
# **Figure 1.3.** V and M in one step. The decoder is needed for training V and for displaying $z$.
#
# The next cell records the test episodes, on which we measure the pretrained V and M. They were not trained on these episodes. (Section 1.3 uses 40 of them to train a small VAE, and tests it on the other 20.)

# %%
first = 500_000  # seeds of the test episodes; those of the training episodes are below 1,000
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
# ## 1.2 The loss of V
#
# How do we train a network to compress frames? A VAE (Kingma & Welling 2013) has an *encoder* that maps a frame $x$ to a Gaussian $q(z|x) = \mathcal N(\mu, \sigma^2)$ over the latent vector (the approximate *posterior*), and a *decoder* that reconstructs the frame from a sample $z$ of it. Training maximizes the *evidence lower bound* (ELBO) of $\log p(x)$,
#
# $$\text{ELBO} = \mathbb E_{z \sim q(z|x)}\big[\log p(x|z)\big] - \mathrm{KL}\big(q(z|x)\,\|\,p(z)\big),$$
#
# with the *prior* $p(z) = \mathcal N(0, I)$, a standard normal distribution in every dimension. The loss is its negative, with one modification. You write it as three functions.
#
# A **build cell** contains a function whose body is `...`. Replace the dots, run the cell, and `build.check` compares your function with the package's: shape, values, gradients. From there on the chapter uses yours; until then it uses the package's, so every cell runs either way. `build.hint("sample_latent")` prints a hint, `build.solution("sample_latent")` a solution.
#
# **The sample.** If $z$ is drawn directly from $\mathcal N(\mu, \sigma^2)$, no gradient reaches $\mu$ and $\sigma$. The *reparameterization trick* draws the noise separately, so that $z$ is a differentiable function of both:
#
# $$z = \mu + \sigma\,\varepsilon, \qquad \varepsilon \sim \mathcal N(0, 1).$$
#
# The encoder returns `mu` ($\mu$) and `logvar` ($\log \sigma^2$), each (B, D): B frames, D latent dimensions. The logarithm can have any sign, so the network's output needs no constraint.
#
# **Build 1.1: `sample_latent`** (1 line). `torch.randn_like(mu)` draws noise of the shape of `mu`.

# %%
def sample_latent(mu, logvar):
    """A sample z of N(mu, exp(logvar)), through which gradients flow: (B, D), (B, D) -> (B, D)."""
    ...


sample_latent = build.check(sample_latent)

# %% [markdown]
# **The KL divergence.** Between a one-dimensional Gaussian and the standard normal it has a closed form:
#
# $$\mathrm{KL}\big(\mathcal N(\mu, \sigma^2)\,\|\,\mathcal N(0, 1)\big) = \tfrac12\big(\mu^2 + \sigma^2 - 1 - \log\sigma^2\big).$$
#
# It measures how much information a latent dimension carries about the frame, in *nats* (1 nat is about 1.44 bits): it is 0 where posterior and prior are equal.
#
# **Build 1.2: `kl_divergence`** (1 line). One value per frame and dimension, no sum.

# %%
def kl_divergence(mu, logvar):
    """KL( N(mu, exp(logvar)) || N(0, 1) ) in nats, elementwise: (B, D), (B, D) -> (B, D)."""
    ...


kl_divergence = build.check(kl_divergence)

# %% [markdown]
# **The loss.** If $p(x|z)$ is a Gaussian of fixed variance $\tfrac12$ around the reconstruction $\hat x$, then $-\log p(x|z)$ is the squared error, *summed* over the pixels, plus a constant. So the loss of one frame is
#
# $$\mathcal L = \sum_{\text{pixels, channels}} (\hat x - x)^2 + \max\Big(\sum_{d=1}^{D} \mathrm{KL}_d,\; \lambda D\Big),$$
#
# and the loss of a batch is the mean over its frames. The maximum is not part of the ELBO: it is the *KL tolerance* ("free bits") of Ha & Schmidhuber's code (2018). With $\lambda$ = `free_bits` = 0.5 nats per latent dimension, the first $\lambda D$ nats of a frame cost nothing.
#
# **Build 1.3: `vae_loss`** (3 lines). A squared error (B,), a KL divergence (B,), then the maximum and the mean. For frames of S × S pixels, `x.flatten(1)` makes (B, 3·S·S) of (B, 3, S, S); `x.clamp(min=...)` is a maximum.

# %%
def vae_loss(reconstructions, frames, mu, logvar, free_bits=0.5):
    """Squared error summed over pixels + max(KL, free_bits * D), averaged over the batch: a scalar.

    reconstructions, frames (B, 3, S, S); mu, logvar (B, D); free_bits: nats per dimension.
    """
    ...


vae_loss = build.check(vae_loss)

# %% [markdown]
# ## 1.3 A training loop
#
# Does your loss train a network? V and M of this series are trained by the same few lines. For each batch: compute the loss, set the gradients to zero, compute the gradients by backpropagation (`backward`), and change the weights (`step` of the optimizer Adam; Kingma & Ba 2014).
#
# **Build 1.4: `train`** (8 lines). `loss(network, batch)` computes the loss. The returned list holds floats, not tensors: `value.item()`.

# %%
def train(network, loss, batches, learning_rate=1e-3):
    """Minimize loss(network, batch), a scalar tensor, with Adam: one step per batch, in order.

    Returns the list of losses, a float per step, each from before its step.
    """
    ...


train = build.check(train)

# %% [markdown]
# We train a small VAE on 40 of the episodes: fully connected layers, 8 latent dimensions, frames reduced to 16 × 16 pixels.
#
# **Predict:** because of the KL tolerance the second term of the loss is never below $\lambda D = 4$. Where will the curve end?

# %%
class SmallVAE(nn.Module):
    def __init__(self, size=16, z_size=8):
        super().__init__()
        pixels = 3 * size * size
        self.encoder = nn.Sequential(
            nn.Flatten(), nn.Linear(pixels, 128), nn.ReLU(), nn.Linear(128, 2 * z_size)
        )
        self.decoder = nn.Sequential(
            nn.Linear(z_size, 128), nn.ReLU(), nn.Linear(128, pixels), nn.Sigmoid()
        )

    def forward(self, frames):
        mu, logvar = self.encoder(frames).chunk(2, dim=1)
        return self.decoder(sample_latent(mu, logvar)).view_as(frames), mu, logvar


def loss_of_vae(vae, frames):
    reconstructions, mu, logvar = vae(frames)
    return vae_loss(reconstructions, frames, mu, logvar)


# %%
small = [frames_to_tensor(e["frames"][:, 2::4, 2::4]) for e in episodes]
held_out, fitted = torch.cat(small[::3]), torch.cat(small[1::3] + small[2::3])
torch.manual_seed(0)
small_vae = SmallVAE()
batches = (fitted[torch.randint(len(fitted), (100,))] for _ in range(1000))
losses = train(small_vae, loss_of_vae, batches, learning_rate=2e-3)

figure, ax = figures.new_axes(width=4.6)
ax.semilogy(losses, color=figures.DREAM, label="loss")
ax.axhline(0.5 * 8, color=figures.BASELINE, label="KL tolerance, 4 nats")
ax.set(xlabel="training step (mini-batches)", ylabel="loss per frame")
ax.legend()
figure

# %% [markdown]
# **Figure 1.4.** Training the small VAE with the loss and the loop above. The loss cannot fall below the tolerance of 4 nats.
#
# How good are its reconstructions of frames that it was not trained on? The baseline ignores the frame and always answers with the mean frame of the training set.

# %%
with torch.no_grad():
    reconstructions, mu, logvar = small_vae(held_out)
error = (reconstructions - held_out).square().flatten(1).sum(1).mean()
baseline = (fitted.mean(0) - held_out).square().flatten(1).sum(1).mean()
print(f"squared error per frame: {error:.2f}; of the mean frame: {baseline:.2f}")
print(f"KL divergence per frame: {kl_divergence(mu, logvar).sum(1).mean():.1f} nats")

# %% [markdown]
# **Finding.** A thousand training steps reduce the squared error of held-out frames to about a fifth of the mean frame's, and the KL divergence after training is 4.0 nats, its tolerance.

# %% [markdown]
# ## 1.4 V on the full frames
#
# How many numbers does V need for a ball? The V of this series is convolutional, reads 64 × 64 pixels and has 32 latent dimensions; chapter 2 builds it. The pretrained one was trained with the same loss on 200 other episodes, in about five minutes. This is the log of that training:

# %%
history = read_log(folder / "vae.jsonl")
labels = {"squared_error": "squared error per frame", "kl": "KL per frame (nats)"}
figures.training_curves(history, labels, logarithmic=["squared_error"])

# %% [markdown]
# **Figure 1.5.** Training V. Left, on a logarithmic axis: the squared error is still falling at the end. Right: the KL divergence settles just below its tolerance of 0.5 × 32 = 16 nats.

# %%
shown = episodes[0]["frames"][::20][:8]
reconstructions = tensor_to_frames(world_model.decode(world_model.encode(shown)))
figures.frame_grid(
    {"frame": shown, "reconstruction": reconstructions},
    colors={"frame": figures.REALITY, "reconstruction": figures.DREAM},
)

# %% [markdown]
# **Figure 1.6.** Test frames, and their reconstructions from 32 numbers.
#
# How many of the 32 dimensions carry information? Your `kl_divergence` answers, dimension by dimension:

# %%
some = frames_to_tensor(np.concatenate([e["frames"][::20] for e in episodes]))
with torch.no_grad():
    information = kl_divergence(*world_model.vae.encode(some)).mean(0)
order = information.argsort(descending=True).numpy()
print("nats per dimension, sorted:", [round(information[d].item(), 2) for d in order[:8]], "...")
print(f"the first six hold {information[order[:6]].sum() / information.sum():.0%} of all")

# %% [markdown]
# **Finding.** Six of V's 32 dimensions hold about 98% of the KL divergence. The other 26 are *inactive*, with less than 0.1 nats each: their posterior is nearly the prior.

# %% [markdown]
# ## 1.5 Is the position in z?
#
# A good reconstruction does not tell *how* $z$ represents the position. A **linear probe** (Alain & Bengio 2016) asks whether it is a linear function of $z$: we fit a ridge regression from $z$ to the true position (two coordinates) on 70% of the episodes and test it on the others. Here $z$ is the mean $\mu$ of V's posterior. $R^2$ is the explained share of the variance: 1 is a perfect prediction, 0 is as good as always predicting the mean.
#
# **Predict:** what is $R^2$ for the position? For the velocity?

# %%
begin = 5  # steps that M may observe before anything is measured
with torch.no_grad():
    known = [evaluation.watch(world_model, e["frames"], e["actions"]) for e in episodes]
z = np.concatenate([z[begin:-1] for z, h in known])
position = np.concatenate([e["position"][begin:-1] for e in episodes])
velocity = np.concatenate([e["velocity"][begin:-1] for e in episodes])
episode = np.repeat(np.arange(len(episodes)), len(z) // len(episodes))


def probe(features, truth, shift=0):
    """A linear probe on standardized features; `shift` changes which episodes are held out."""
    features = (features - features.mean(0)) / features.std(0)
    return evaluation.linear_probe(features, truth, (episode + shift) % len(episodes))


def compare(probed):
    """The range of R² over four choices of held-out episodes, per {name: features}."""
    for name, values in probed.items():
        print(f"{name:15}", end="")
        for quantity, truth in (("position", position), ("velocity", velocity)):
            shifts = [len(episodes) * k // 4 for k in range(4)]
            r2 = [probe(values, truth, shift).r2 for shift in shifts]
            print(f"  R² of the {quantity}: {min(r2):6.3f} to {max(r2):6.3f}", end="")
        print()


# %%
figures.linear_probes(
    {
        "position (box widths)": probe(z, position),
        "velocity (box widths per step)": probe(z, velocity),
    }
)

# %% [markdown]
# **Figure 1.7.** Linear probes of $z$, tested on held-out episodes. Left: the position is predicted well. Right: the prediction of the velocity is near 0 whatever the true velocity is.
#
# Is $z$ a linear function of the position, then? We fit the probe to the six active dimensions alone, and then to these and their squares and products, with which it can also represent curves.

# %%
active = z[:, order[:6]]
products = [active[:, i : i + 1] * active[:, i:] for i in range(6)]
with_products = np.concatenate([active, *products], axis=1)
figures.linear_probes(
    {
        "position (box widths)\n6 active dimensions": probe(active, position),
        "position (box widths)\nwith squares and products": probe(with_products, position),
    }
)

# %% [markdown]
# **Figure 1.8.** Left: a linear function of the six active dimensions misses the position systematically. Right: with squares and products, the predictions lie on the line.
#
# So the representation is curved. Why is the linear probe better with all 32 dimensions (Figure 1.7) than with the six active ones? It reads the posterior's *mean*, which has no noise, and even an inactive dimension's mean varies a little with the frame. In a *sample* of $z$ the noise hides that. The table below tests this, and has two baselines: a linear probe of the pixels themselves, and one of the $z$ of an *untrained* V.

# %%
torch.manual_seed(0)
untrained = WorldModel(type(world_model.vae)(), MDNRNN(action_size=0))
pixels = np.concatenate([e["frames"][begin:-1, 2::4, 2::4, 1] for e in episodes]) / 255
z_untrained = np.concatenate([untrained.encode(e["frames"][begin:-1]) for e in episodes])
with torch.no_grad():
    batches = (frames_to_tensor(e["frames"][begin:-1]) for e in episodes)
    z_sampled = torch.cat([sample_latent(*world_model.vae.encode(batch)) for batch in batches])
compare(
    {
        "16 x 16 pixels": pixels.reshape(len(pixels), -1),
        "z, untrained V": z_untrained,
        "z": z,
        "z, 6 active": active,
        "z, sampled": z_sampled.numpy(),
    }
)

# %% [markdown]
# **Finding.** The position is in $z$: $R^2$ is about 0.94 from the six active dimensions alone, above 0.99 with their products, and about 0.9 from a noisy sample of $z$. By itself this says little about V, because the pixels give 1.0, and even an untrained V keeps most of it (0.94). What training adds is that six noisy dimensions are enough to reconstruct the frame. The linear probe finds the velocity in none of them ($R^2$ about 0). That alone would not exclude a nonlinear code, but here we know the environment: a frame is drawn from the position only, and the direction of flight is independent of it. So **one frame does not contain the velocity.** A memory is needed.

# %% [markdown]
# ## 1.6 M: the velocity is in h
#
# M is an LSTM. At each step it reads $z_t$ (and, in later chapters, the action $a_t$), updates its hidden state $h_t$ (256 numbers), and predicts $z_{t+1}$ from $h_t$. The velocity is not part of its loss.
#
# **Predict:** can a linear probe find the velocity in $h$? Could it find it in two successive $z$, without any M?

# %%
h = np.concatenate([h[begin:] for z, h in known])
two_frames = np.concatenate([np.concatenate([z[begin:-1], z[begin - 1 : -2]], 1) for z, h in known])
without_training = WorldModel(world_model.vae, untrained.mdn_rnn)
h_untrained = np.concatenate(
    [evaluation.watch(without_training, e["frames"], e["actions"])[1][begin:] for e in episodes]
)
from_h = {"position (box widths)": probe(h, position)}
from_h["velocity (box widths per step)"] = probe(h, velocity)
figures.linear_probes(from_h)

# %% [markdown]
# **Figure 1.9.** Linear probes of M's memory $h$, tested on held-out episodes. The velocity is predicted well, with some outliers.

# %%
compare({"two z": two_frames, "h, untrained M": h_untrained, "h": h})

# %% [markdown]
# An LSTM with *random* weights also keeps traces of the last frames, and a probe finds most of the velocity in them. Training to predict the next $z$ raises $R^2$ from about 0.85 to 0.96.
#
# Where do the outliers come from? A component of the velocity changes its sign at a bounce, so we group the probe's errors by the number of steps from the nearest bounce. Then we measure how much of the change the probe's prediction has made at each of these steps: 0 is the velocity before the bounce, 1 the velocity after it.

# %%
def steps_from_bounce(e):
    """Per step: its distance to the nearest bounce, negative before it."""
    apart = np.arange(len(e["bounced"]))[:, None] - np.flatnonzero(e["bounced"])
    return apart[np.arange(len(apart)), np.abs(apart).argmin(1)]


distance = np.concatenate([steps_from_bounce(e)[begin:-1] for e in episodes])
velocity_probe = from_h["velocity (box widths per step)"]
distance = distance[: len(velocity_probe.truth)]  # the first episodes are the held-out ones
squared = ((velocity_probe.predicted - velocity_probe.truth) ** 2).sum(1)
near = np.abs(distance) <= 2
away = evaluation.Probe(velocity_probe.truth[~near], velocity_probe.predicted[~near])
print(f"within 2 steps of a bounce: {near.mean():.0%} of the steps, ", end="")
print(f"{squared[near].sum() / squared.sum():.0%} of the squared error")
print(f"R² of the other steps: {away.r2:.3f}")

# %%
length = len(z) // len(episodes)  # steps per episode
bounce = np.flatnonzero(distance == 0)
bounce = bounce[(bounce % length > 1) & (bounce % length < length - 1)]
before = velocity_probe.truth[bounce - 1]
change = velocity_probe.truth[bounce] - before
for offset in (-2, -1, 0, 1):
    predicted_change = velocity_probe.predicted[bounce + offset] - before
    share = (predicted_change * change).sum(1) / (change**2).sum(1)
    print(f"{offset:+} steps from a bounce: ", end="")
    print(f"{share.mean():.2f} ± {share.std():.2f} SD of the change in velocity")

# %%
offsets = np.arange(-10, 11)
rms = [np.sqrt(squared[distance == k].mean()) if (distance == k).any() else np.nan for k in offsets]
figure, ax = figures.new_axes(width=4.8)
ax.plot(offsets, rms, "o-", color=figures.DREAM, label="probe of h")
ax.axhline(
    np.sqrt((velocity**2).sum(1).mean()), color=figures.BASELINE, label="always predicting 0"
)
ax.set(xlabel="steps from the nearest bounce", ylim=(0, 0.05), xticks=offsets[::5])
ax.set_ylabel("RMS error of the velocity\n(box widths per step)")
ax.legend(loc="upper right")
figure

# %% [markdown]
# **Figure 1.10.** Error of the velocity probe by the time from the nearest bounce. It is largest at the bounce and one step before it.
#
# **Finding.** The velocity is in $h$: $R^2$ is about 0.96, against about 0.85 for one untrained M and 0.83 for two successive $z$ (over four choices of held-out episodes the range is at most 0.034). About 90% of the squared error lies within two steps of a bounce; away from bounces $R^2$ is 0.99. One step *before* the bounce the probe's velocity has made about 0.3 of the change (± 0.16 SD over bounces): $h$ already contains part of the bounce that comes next.

# %% [markdown]
# ## 1.7 Why a mixture of Gaussians?
#
# M is trained to predict $z_{t+1}$, so why not with a squared error? The minimum of the squared error is the *conditional mean*. Where two different futures are possible, it lies between them, and may be a future that never happens. The ball has only one future, so we use a classic toy problem (Bishop 1994), the inverse sinusoid: $y$ is uniform in 0..1, $x = y + 0.3 \sin(2\pi y) + \text{noise}$, and the task is to predict $y$ from $x$ (in this section a number, not a frame). Around $x = 0.5$, three values of $y$ are possible.

# %%
def inverse_sinusoid(count, seed):
    generator = torch.Generator().manual_seed(seed)
    y = torch.rand(count, generator=generator)
    x = y + 0.3 * torch.sin(2 * torch.pi * y) + 0.05 * torch.randn(count, generator=generator)
    return x, y


x, y = inverse_sinusoid(2000, seed=1)
x_test, y_test = inverse_sinusoid(2000, seed=2)


def toy_batches(steps):
    for _ in range(steps):
        chosen = torch.randint(len(x), (500,))
        yield x[chosen], y[chosen]


# %% [markdown]
# A **mixture density network** (MDN) predicts not a number but a distribution: $K$ Gaussians with weights $\pi_k$ (which sum to 1), means $\mu_k$ and standard deviations $\sigma_k$,
#
# $$p(y|x) = \sum_{k=1}^{K} \pi_k\, \frac{1}{\sigma_k\sqrt{2\pi}} \exp\Big(-\frac12\Big(\frac{y-\mu_k}{\sigma_k}\Big)^2\Big).$$
#
# ($\mu$ and $\sigma$ now belong to the mixture, not to V's posterior. The $\pi$ under the root is the number 3.14..., in code `torch.pi`.)
#
# **Build 1.5: `mixture_density`** (3 lines). Each of N targets has a mixture of its own: `y` is (N,), `pi`, `mu` and `sigma` are (N, K).

# %%
def mixture_density(y, pi, mu, sigma):
    """sum_k pi_k N(y; mu_k, sigma_k^2), per target: y (N,); pi, mu, sigma (N, K) -> (N,)."""
    ...


mixture_density = build.check(mixture_density)

# %% [markdown]
# The loss is the **negative log-likelihood** (NLL), $-\log p(y|x)$. Computed with `mixture_density` it would fail in 32-bit arithmetic (section 1.8), so it is written with logarithms only. With $\log \mathcal N(y; \mu_k, \sigma_k^2) = -\frac12\big(\frac{y - \mu_k}{\sigma_k}\big)^2 - \log\sigma_k - \frac12\log 2\pi$,
#
# $$-\log p(y|x) = -\operatorname{logsumexp}_k\big[\log\pi_k + \log \mathcal N(y; \mu_k, \sigma_k^2)\big], \qquad \operatorname{logsumexp}_k a_k = \log \sum_k e^{a_k}.$$
#
# `torch.logsumexp(a, dim=-1)` subtracts the largest term before it exponentiates, so that its exponential is 1 and the sum is never 0. The network returns $\log\pi$ and $\log\sigma$ directly.
#
# **Build 1.6: `mixture_nll`** (3 lines).

# %%
def mixture_nll(y, log_pi, mu, log_sigma):
    """-log sum_k pi_k N(y; mu_k, sigma_k^2), in nats: y (N,); log_pi, mu, log_sigma (N, K) -> (N,).

    Finite in 32-bit floats wherever the target is.
    """
    ...


mixture_nll = build.check(mixture_nll)

# %% [markdown]
# We train four copies of a small network that differ in their last layer: one predicts a single number with the squared error, the others mixtures of $K$ = 1, 2 and 5.
#
# **Predict:** which $K$ is needed? What will the squared-error fit predict at $x = 0.35$, where $y$ is either near 0.13 or near 0.65?

# %%
def small_network(outputs):
    hidden = [nn.Linear(1, 32), nn.Tanh(), nn.Linear(32, 32), nn.Tanh()]
    return nn.Sequential(*hidden, nn.Linear(32, outputs))


class MixtureNetwork(nn.Module):
    def __init__(self, mixtures):
        super().__init__()
        self.layers = small_network(3 * mixtures)

    def forward(self, x):
        logits, mu, log_sigma = self.layers(x[:, None]).chunk(3, dim=1)
        return logits.log_softmax(-1), mu, log_sigma


def squared_error(network, batch):
    return (network(batch[0][:, None])[:, 0] - batch[1]).square().mean()


def nll(network, batch):
    return mixture_nll(batch[1], *network(batch[0])).mean()


# %%
torch.manual_seed(0)
regression = small_network(1)
train(regression, squared_error, toy_batches(1500), learning_rate=0.01)
mdns = {K: MixtureNetwork(K) for K in (1, 2, 5)}
for mdn in mdns.values():
    train(mdn, nll, toy_batches(1500), learning_rate=0.01)

# %%
grid_x, grid_y = torch.linspace(-0.1, 1.1, 121), torch.linspace(-0.1, 1.1, 121)
figure, axes = figures.panels(3, width=3.3, height=3.1)
with torch.no_grad():
    fit = regression(grid_x[:, None])[:, 0]
    for ax, K in zip(axes[1:], (1, 5), strict=True):
        log_pi, mu, log_sigma = (part.repeat_interleave(121, 0) for part in mdns[K](grid_x))
        p = mixture_density(grid_y.repeat(121), log_pi.exp(), mu, log_sigma.exp())
        ax.pcolormesh(grid_x, grid_y, p.view(121, 121).T, cmap="Oranges", vmax=8)
        ax.set(title=f"MDN, K = {K}: density")
axes[0].plot(grid_x, fit, color=figures.DREAM, lw=2.5, zorder=3)
axes[0].set(title="squared error", ylabel="y")
for ax in axes:
    ax.plot(x_test[::5], y_test[::5], ".", ms=1.5, color=figures.REALITY)
    ax.set(xlabel="x", xlim=(-0.1, 1.1), ylim=(-0.1, 1.1))
figure

# %% [markdown]
# **Figure 1.11.** Held-out data (blue) and three predictions (orange). Near x = 0.3 and x = 0.7 the squared-error fit crosses the empty space between the branches (around x = 0.5 the mean of the three branches happens to lie on the middle one); one Gaussian covers the branches and everything between them; five Gaussians follow all three.

# %%
middle = (x_test - 0.5).abs() < 0.2  # where three values of y are possible
with torch.no_grad():
    prediction = regression(x_test[:, None])[:, 0]
    nlls = {K: mixture_nll(y_test, *mdn(x_test)) for K, mdn in mdns.items()}
close = (prediction - y_test).abs()[middle] < 0.1
print(f"squared error: within 0.1 of the target for {close.float().mean():.0%} of the middle\n")
for K, values in nlls.items():
    print(f"K = {K}: NLL {evaluation.episode_interval(values).describe(2)} nats")
gain = evaluation.episode_interval(nlls[1] - nlls[5])
print(f"\nK = 5 is better than K = 1 by {gain.mean:.2f} nats ({gain.low:.2f} to {gain.high:.2f})")

# %% [markdown]
# **Finding.** In the middle ($x$ from 0.3 to 0.7), the squared-error fit is within 0.1 of the target for only about a third of the points. On held-out data, a mixture of five Gaussians is better than a single one by 0.64 nats per point (95% CI of the mean over points 0.50 to 1.27; one training run each). Two Gaussians already bring most of that gain. Whether M on the race track needs a mixture is a separate question: chapter 3 compares K = 1 and K = 5 there, with three training runs each.

# %% [markdown]
# ## 1.8 Break it: the loss without logarithms
#
# What if we take the formula literally: densities, sum, logarithm?
#
# **Predict:** take a mixture of two Gaussians with equal weights, means 0 and 1, and $\sigma$ = 0.1 each. The target moves from 1 to 5, away from both. What happens to the literal loss and to `mixture_nll`, and to the gradients of both?

# %%
def literal_nll(y, log_pi, mu, log_sigma):
    """The formula as it stands: densities, their sum, its logarithm."""
    return -mixture_density(y, log_pi.exp(), mu, log_sigma.exp()).log()


def loss_and_gradient(loss, target):
    """Of one target, for a fixed mixture of two: the loss, and its largest gradient."""
    mu = torch.tensor([[0.0, 1.0]], requires_grad=True)
    log_pi, log_sigma = torch.full((1, 2), 0.5).log(), torch.full((1, 2), 0.1).log()
    value = loss(torch.tensor([target]), log_pi, mu, log_sigma).sum()
    value.backward()
    return value.item(), mu.grad.abs().max().item()


# %% tags=["nbval-check-output"]
print("target   literal: loss, gradient    mixture_nll: loss, gradient")
for target in (1.0, 2.0, 2.3, 2.4, 2.5, 5.0):
    (loss, gradient), (stable, stable_gradient) = (
        loss_and_gradient(function, target) for function in (literal_nll, mixture_nll)
    )
    print(f"{target:6.1f}   {loss:13.2f} {gradient:9.2f}    {stable:17.2f} {stable_gradient:9.2f}")

# %% [markdown]
# **Finding.** About fourteen standard deviations from the nearest component, the densities are too small for 32-bit floats. First the gradient becomes NaN while the loss is still finite (at 2.4), then the loss is infinite (from 2.5 on). One optimizer step with a NaN gradient makes the weights NaN. With $\sigma$ near 1, as in a newly initialized network, targets of this size are never fourteen $\sigma$ away; the smaller $\sigma$ gets during training, the more likely it becomes.

# %% [markdown]
# ## 1.9 An open-loop rollout
#
# For how long can M predict the ball without seeing it? M observes 60 frames (the *context*). Then it receives no more: it draws $z_{t+1}$ from its prediction, reads that as its next input, and so on for 30 steps (the *horizon*). This is an **open-loop rollout**; world-model papers call it dreaming or imagination. Each prediction is the input of the next step, so errors *compound*.
#
# `temperature` scales the randomness of the draws; 1 is M's own distribution.

# %%
seen, ahead = chapter.ball_context, chapter.ball_horizon  # 60 and 30 at laptop scale
generator = torch.Generator().manual_seed(0)


def dream(e, temperature=1.0):
    """z imagined for `ahead` steps after `seen` observed frames: (ahead, 32)."""
    frames, actions = e["frames"][: seen + ahead + 1], e["actions"][: seen + ahead]
    imagined, _ = evaluation.open_loop_rollout(
        world_model, frames, actions, seen, temperature, generator=generator
    )
    return imagined[0]


# %% [markdown]
# Figure 1.1 shows the test episode with the most bounces from step 3 to 14 of the horizon. This cell draws it:

# %%
bounces = [e["bounced"][seen + 3 : seen + ahead // 2].sum() for e in episodes]
chosen = episodes[int(np.argmax(bounces))]
real = chosen["frames"][seen + 1 : seen + ahead + 1]
rows = {"real": real[::3], "dream": tensor_to_frames(world_model.decode(dream(chosen)))[::3]}
colors = {"real": figures.REALITY, "dream": figures.DREAM}
figure = figures.frame_grid(rows, [f"+{t}" for t in range(1, ahead + 1, 3)], colors)
path = config.figure("01_ball_dream.png")
path.parent.mkdir(parents=True, exist_ok=True)
figure.savefig(path, dpi=80)

# %% [markdown]
# One episode is not enough evidence. Over all test episodes we predict the position from the imagined $z$ with a linear map and measure its distance to the true position. (M draws *samples* of $z$, whose inactive dimensions are noise; so the map is fitted to samples of V's posterior, drawn with your `sample_latent`.)
#
# **Predict:** two baselines. *Last position* predicts that the ball stays where it was last observed. *Constant velocity* receives the true velocity, but does not know about walls. For how many steps is each of them better than M?

# %%
fit_frames = np.concatenate([e["frames"][begin:-1:5] for e in episodes])
fit_positions = np.concatenate([e["position"][begin:-1:5] for e in episodes])
with torch.no_grad():
    posterior = world_model.vae.encode(frames_to_tensor(fit_frames))
torch.manual_seed(0)
to_position = Ridge().fit(sample_latent(*posterior), fit_positions)

# %%
future = np.stack([e["position"][seen + 1 : seen + ahead + 1] for e in episodes])
last = np.stack([e["position"][seen] for e in episodes])[:, None]
speed = np.stack([e["velocity"][seen] for e in episodes])[:, None]
predictions = {
    "M, open loop": np.stack([to_position.predict(dream(e)) for e in episodes]),
    "constant velocity": last + speed * np.arange(1, ahead + 1)[None, :, None],
    "last position": np.repeat(last, ahead, axis=1),
}
errors = {name: np.linalg.norm(p - future, axis=-1) for name, p in predictions.items()}
colors = {"M, open loop": figures.DREAM, "constant velocity": "black"}  # black: a second baseline
colors["last position"] = figures.BASELINE
figures.horizon_curves(errors, "distance to the true position\n(box widths)", colors)

# %% [markdown]
# **Figure 1.12.** Mean distance to the true position over the test episodes, with its 95% confidence interval (CI of the mean over episodes). An agent step is one step of the environment here.

# %%
for k in (1, 5, ahead // 3, ahead):
    means = ", ".join(f"{name} {e[:, k - 1].mean():.2f}" for name, e in errors.items())
    print(f"step {k:2}: {means}")
mapped = to_position.predict(sample_latent(*posterior))
own_error = np.linalg.norm(mapped - fit_positions, axis=1).mean()
print(f"the linear map itself, from samples of V's posterior: {own_error:.2f}")

# %% [markdown]
# **Finding.** After 30 steps M's error is less than 0.2 box widths, against 0.44 for the last position and 1.2 for constant velocity: M has learned that the walls reflect the ball. Constant velocity, which receives the true velocity, is better for about the first five steps, and the last position for two. M's error starts at about 0.07 because the linear map from a sampled $z$ to the position has an error of that size itself (0.08).

# %% [markdown]
# ## 1.10 Exercises
#
# **1. One Gaussian is the squared error.** For $K = 1$ and $\sigma = 1$, `mixture_nll` differs from half the squared error by a constant only. Which? Set `constant` and run the cell.

# %%
constant = None  # your answer, a number

target, guess = torch.randn(100), torch.randn(100, 1)
zeros = torch.zeros(100, 1)
if constant is not None:
    half_squared_error = 0.5 * (target - guess[:, 0]) ** 2
    assert torch.allclose(mixture_nll(target, zeros, guess, zeros), half_squared_error + constant)
    print("right: minimizing one is minimizing the other")

# %% [markdown]
# <details><summary>Hint</summary>
#
# With $\pi_1 = 1$ the logsumexp has one term. What of $\log \mathcal N$ remains when $\log\sigma = 0$?
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# constant = 0.5 * np.log(2 * np.pi)  # about 0.919
# ```
# So the squared error is the NLL of one Gaussian of fixed width: section 1.7's regression is an MDN with $K = 1$ and a fixed $\sigma$.
# </details>
#
# **2. Sample from the mixture.** Draw one $y$ for each `x_test` from the MDN with $K = 5$: first a component by its weight, then a value from that Gaussian. A sample from the right distribution has the data's own spread, in the middle too.

# %%
def sample_mixture(log_pi, mu, log_sigma):
    """One sample per mixture: (N, K) each -> (N,)."""
    ...


drawn = sample_mixture(*[part.detach() for part in mdns[5](x_test)])
if drawn is not None:
    spread, real_spread = drawn[middle].std().item(), y_test[middle].std().item()
    print(f"SD of y in the middle: samples {spread:.3f}, data {real_spread:.3f}, ", end="")
    print(f"squared-error fit {prediction[middle].std().item():.3f}")
    assert abs(spread / real_spread - 1) < 0.1

# %% [markdown]
# <details><summary>Hint</summary>
#
# `torch.multinomial(log_pi.exp(), 1)` draws the index of a component per row, (N, 1). `mu.gather(1, index)` takes that column of each row.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# def sample_mixture(log_pi, mu, log_sigma):
#     index = torch.multinomial(log_pi.exp(), 1)
#     mean, sigma = mu.gather(1, index)[:, 0], log_sigma.gather(1, index)[:, 0].exp()
#     return mean + sigma * torch.randn_like(mean)
# ```
# This is what M does at every step of a dream; chapter 3 adds the temperature.
# </details>
#
# **3. How many frames does the velocity need?** Fit a ridge regression from $h$ to the velocity on two thirds of the episodes (the arrays `h`, `velocity` and `episode` of sections 1.5 and 1.6; they leave out the first 5 steps of each episode). Compute $R^2$ on the other episodes after 1, 2, 3, 4, 6 and 21 frames. Put them into `r2_after`.

# %%
r2_after = {}  # {number of frames: R²}

if r2_after:
    assert set(r2_after) == {1, 2, 3, 4, 6, 21}
    assert r2_after[1] < 0.5, "one frame cannot contain the velocity: is the test set held out?"
    assert r2_after[21] > 0.9, "after 21 frames almost all of it is known"
    print("right:", {frames: round(r2, 2) for frames, r2 in r2_after.items()})

# %% [markdown]
# <details><summary>Hint</summary>
#
# `known[i][1][t]` is $h$ of episode i after t + 1 frames, and `episodes[i]["velocity"][t]` the velocity then. `Ridge(alpha=1e-3 * n)` for n steps, as in `evaluation.linear_probe`; `evaluation.Probe(truth, predicted).r2` is $R^2$.
# </details>
#
# <details><summary>Solution</summary>
#
# ```python
# test = len(episodes) // 3
# fitted = episode >= test
# regression_of_velocity = Ridge(alpha=1e-3 * fitted.sum()).fit(h[fitted], velocity[fitted])
# for t in (0, 1, 2, 3, 5, 20):
#     truth = np.stack([e["velocity"][t] for e in episodes[:test]])
#     memory = np.stack([h_of_one[t] for _, h_of_one in known[:test]])
#     r2_after[t + 1] = evaluation.Probe(truth, regression_of_velocity.predict(memory)).r2
# ```
# $R^2$ is below 0 after one frame, about 0.6 after four and about 0.9 after six. Below 0 means worse than predicting the mean: after one frame $h$ is unlike all states that the regression was fitted to.
# </details>
#
# **4. Temperature.** Compute the mean distance at the last step of the horizon, over all episodes, for temperatures 0.1, 1 and 2. Guess first which is the most accurate. Why does that not make it the best for every purpose?

# %%
guess = None  # a temperature
distance_at = {}  # {temperature: mean distance at the last step}

if guess is not None and distance_at:
    assert set(distance_at) == {0.1, 1.0, 2.0}
    best = min(distance_at, key=distance_at.get)
    assert guess == best, f"the most accurate is {best}"
    print("right:", {tau: round(float(d), 2) for tau, d in distance_at.items()})

# %% [markdown]
# <details><summary>Solution</summary>
#
# ```python
# for tau in (0.1, 1.0, 2.0):
#     last_steps = [to_position.predict(dream(e, tau))[-1] for e in episodes]
#     distance_at[tau] = np.linalg.norm(np.stack(last_steps) - future[:, -1], axis=1).mean()
# ```
# Temperature 0.1, though its lead over 1 is small (about 0.14 against 0.17; section 1.9 gave 0.18, with other random draws; the 95% CIs of the means touch). The ball has only one future, so noise in $z$ can only harm. Where several futures are possible, a low temperature nearly always picks the likeliest one, and a policy that is trained in such dreams rarely meets the others (chapter 6).
# </details>

# %% [markdown]
# ## Summary
#
# - A VAE's loss is a squared error summed over pixels plus a KL divergence with a tolerance. With it, a small VAE reconstructs held-out frames with about a fifth of the mean frame's squared error.
# - V's six active dimensions of 32 contain the position, in a curved form ($R^2$ 0.94 linear, above 0.99 with products). The pixels and an untrained V contain it, too: what V learns is to reconstruct the frame from six noisy numbers.
# - No single frame contains the velocity ($R^2$ about 0). M's memory does: about 0.96, against 0.85 for an untrained M and 0.83 for two frames. The remaining error is concentrated at bounces.
# - The squared error predicts the mean of several possible futures. A mixture density network predicts their distribution: on the toy problem, five Gaussians are better than one by 0.64 nats per point (95% CI 0.50 to 1.27).
# - The mixture's NLL has to be computed with logsumexp: about fourteen standard deviations away, the literal formula gives NaN gradients and then an infinite loss.
# - In an open-loop rollout M predicts the ball through bounces, with an error of less than 0.2 box widths after 30 steps.
#
# **What's next.** [Chapter 2](02_vae.ipynb) builds V layer by layer, for a race track.
#
# **Related work.** Bishop, [Mixture Density Networks](https://publications.aston.ac.uk/id/eprint/373/) (1994): the MDN and the inverse sinusoid. Kingma & Welling, [Auto-Encoding Variational Bayes](https://arxiv.org/abs/1312.6114) (2013): the VAE, the reparameterization trick. Kingma et al., [Improving Variational Inference with Inverse Autoregressive Flow](https://arxiv.org/abs/1606.04934) (2016): free bits. Kingma & Ba, [Adam](https://arxiv.org/abs/1412.6980) (2014). Graves, [Generating Sequences with Recurrent Neural Networks](https://arxiv.org/abs/1308.0850) (2013): an LSTM with a mixture density output. Alain & Bengio, [Understanding intermediate layers using linear classifier probes](https://arxiv.org/abs/1610.01644) (2016): linear probes. Ha & Schmidhuber, [World Models](https://worldmodels.github.io/) (2018): V, M and C together. Bouncing balls as a test of sequence models: Sutskever, Hinton & Taylor, [The Recurrent Temporal Restricted Boltzmann Machine](https://papers.nips.cc/paper/2008/hash/9ad6aaed513b73148b7d49f70afcfb32-Abstract.html) (2008).
