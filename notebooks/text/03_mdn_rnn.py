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
# ![Two rows of frames: the real environment, and M's open-loop rollout with the same actions](../figures/03_dream.png)
#
# **Figure 3.1.** Above: frames of a real episode. Below: an open-loop rollout. M has observed the 150 agent steps before; from then on it reads only the actions and its own samples. From +15 (0.6 s) on, the two roads differ; around +50 (2 s) the dreamt road breaks up.
#
# **What you'll do.** Write the four pieces of an MDN-RNN (mixture density network on a recurrent network): a step of the LSTM, the mixture head, sampling with temperature, and the open-loop rollout. Then test the trained M on CarRacing against three baselines.
#
# **What you'll learn.** How to predict a distribution instead of a value; how to check that it is calibrated; when a mixture of Gaussians is needed; what temperature does; how errors compound, and where a world model stops being better than a simple baseline.
#
# **What you need.** [Chapter 1](01_bouncing_ball.ipynb) for mixture densities and their likelihood, [chapter 2](02_vae.ipynb) for $z$.
#
# **How long.** 60 minutes of reading and building; running all cells takes about 30 seconds on two cores.

# %% tags=["install", "remove-cell"]
import subprocess
import sys
from importlib.util import find_spec

if find_spec("wmlib") is None:  # on Colab, for example; where it is installed, nothing is done
    source = "..[notebooks]"
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", source], check=True)

# %%
import numpy as np
import torch
from torch.distributions import Normal

from wmlib import evaluation
from wmlib.files import read_log
from wmlib.models.checkpoints import load_world_model
from wmlib.models.mdn_rnn import MDNRNN, mdn_rnn_loss, mixture_mean
from wmlib.models.vae import frames_to_tensor, kl_per_dimension, sample_latent, tensor_to_frames
from wmlib.models.world_model import State
from wmlib.paths import pretrained
from wmlib.pipeline import car_racing, scoring
from wmlib.pipeline.scales import get_chapter_config, get_config
from wmlib.view import build, figures
from wmlib.view.explorers import MixtureExplorer

figures.use_style()
config, chapter = get_config(), get_chapter_config()
RETRAIN = chapter.retrain  # True: train V, M and C by the loop of chapter 5 (an hour)

# %% [markdown]
# ## 3.1 What M predicts
#
# V turns an episode into a sequence of latent vectors $z_0, z_1, z_2, \dots$; between $z_t$ and $z_{t+1}$ the agent takes the action $a_t$ (steering, gas, brake). M reads $z_t$ and $a_t$, updates its memory $h$, and predicts three things about the next agent step:
#
# - the next latent vector $z_{t+1}$, as a **mixture of $K = 5$ Gaussians for each of the 32 dimensions**;
# - the reward $r_t$, one number;
# - whether the episode ends, one probability.
#
# The mixture is that of the paper. The paper's M for VizDoom also predicts the end of the episode; for CarRacing it predicts $z$ alone. Ours has both extra heads, so that [chapter 6](06_dreaming.ipynb) can use M as an environment. We also use a frame skip of 2: an agent step is two environment steps, or 40 ms.

# %%
folder = config.run_folder("car_racing") if RETRAIN else pretrained("car_racing")
if RETRAIN:
    car_racing.run_all_rounds(config, folder)
world_model = load_world_model(folder)
mdn_rnn = world_model.mdn_rnn
chapter = get_chapter_config().at_pace(mdn_rnn.repeat)  # its times, in agent steps
figures.mdn_rnn_diagram(mdn_rnn)

# %% [markdown]
# **Figure 3.2.** M, unrolled over three agent steps. Blue: inputs from the real environment. Orange: M's outputs. In an *open-loop rollout* (section 3.9) the curved orange arrow replaces the real $z$ by a sample of M's own prediction. During training the real $z$ is always used (teacher forcing).

# %% tags=["nbval-check-output"]
for name, part in MDNRNN().named_children():
    print(f"{name:8} {sum(p.numel() for p in part.parameters()):8,} parameters")

# %% [markdown]
# All measurements of this chapter use episodes on which neither V nor M was trained. The agent collected them, with noise added to its actions.
#
# V leaves most of its 32 dimensions unused (chapter 2): their posterior equals the prior, so they carry almost no information about the frame. We measure errors over the *active* dimensions only, those with a KL divergence above 0.1 nats.

# %%
tests = scoring.collect_test_episodes(config, chapter.test_episodes, folder)
episodes = [tests.episode(name) for name in tests.names()]
actions = [torch.from_numpy(e["actions"]) for e in episodes]
with torch.no_grad():
    posteriors = [world_model.vae.encode(frames_to_tensor(e["frames"])) for e in episodes]
zs = [mu for mu, _ in posteriors]
information = kl_per_dimension(*(torch.cat(part) for part in zip(*posteriors, strict=True))).mean(0)
active = information >= information.sort().values[-4].clamp(max=0.1)  # at least four
print(f"{len(episodes)} episodes, {sum(map(len, actions)):,} agent steps")
print(f"{active.sum()} active dimensions, {information[active].sum():.1f} nats of KL divergence")

# %% [markdown]
# ## 3.2 Build: one step of the LSTM
#
# M's memory is a long short-term memory network (LSTM). Its state has two vectors: the cell state $c$, which is changed by addition and so keeps gradients alive over many steps, and the output $h$, which the three heads read. One step is
#
# $$\begin{pmatrix} i \\ f \\ g \\ o \end{pmatrix} = W_{ih}\, x + b_{ih} + W_{hh}\, h + b_{hh}, \qquad
# c' = \mathrm{sig}(f) \odot c + \mathrm{sig}(i) \odot \tanh(g), \qquad
# h' = \mathrm{sig}(o) \odot \tanh(c')$$
#
# where $x = [z_t, a_t]$ is the input ($I$ = 35 numbers), $h$ has $H$ = 256 numbers, $\mathrm{sig}$ is the sigmoid, $\odot$ the elementwise product. $i$, $f$ and $o$ are the input, forget and output *gates*: numbers between 0 and 1 after the sigmoid. $g$ is the *candidate*, the new content. torch stacks the four in this order in the rows of its weights: `w_ih` is $(4H, I)$, `w_hh` is $(4H, H)$.
#
# **Build 3.1: `lstm_step`** (4 lines). The rows of `x`, `h` and `c` are the batch, so a product is `x @ w_ih.T`.


# %%
def lstm_step(x, h, c, w_ih, w_hh, b_ih, b_hh):
    """One step of an LSTM: x (B, I), h and c (B, H) -> the new h and c, each (B, H).

    w_ih (4H, I), w_hh (4H, H), b_ih and b_hh (4H,): rows in the order i, f, g, o.
    """
    ...


lstm_step = build.check(lstm_step)

# %% [markdown]
# Now we run it over a whole episode, with M's own weights, and compare with torch's LSTM:

# %%
h = c = torch.zeros(1, mdn_rnn.hidden_size)
memory = []
with torch.no_grad():
    for z, a in zip(zs[0][:-1], actions[0], strict=True):
        h, c = lstm_step(torch.cat([z, a])[None], h, c, *mdn_rnn.lstm.all_weights[0])
        memory.append(h)
    memory = torch.cat(memory)
    expected, _ = mdn_rnn.remember(zs[0][None, :-1], actions[0][None])
print(f"{len(memory)} steps, h has {memory.shape[1]} numbers")
print("equal to torch's LSTM within 1e-4:", torch.allclose(memory, expected[0], atol=1e-4))

# %% [markdown]
# **Finding.** A step of the LSTM is two matrix products and a few elementwise functions. Carried over a whole episode, the state agrees with torch's within rounding error.

# %% [markdown]
# ## 3.3 Build: the mixture head
#
# From $h_{t+1}$ a single linear layer computes 480 numbers: for each of $D = 32$ dimensions and each of $K = 5$ Gaussians a logit, a mean $\mu$ and a $\log\sigma$. Together they define a density for the next $z$:
#
# $$p(z_{t+1} \mid h_{t+1}) = \prod_{d=1}^{D} \; \sum_{k=1}^{K} \pi_{d,k}\; \mathcal N\!\left(z_{t+1,d};\, \mu_{d,k}, \sigma_{d,k}\right), \qquad \sum_k \pi_{d,k} = 1$$
#
# The *product* over dimensions says that, given $h_{t+1}$, the dimensions are independent: every dimension has weights $\pi_{d,k}$ of its own. Dependence between dimensions can enter only through $h$. The logarithm of the product is a *sum*, so the negative log-likelihood (NLL) of a whole step is
#
# $$-\log p(z_{t+1} \mid h_{t+1}) = -\sum_{d} \log \sum_k \pi_{d,k}\, \mathcal N(z_{t+1,d};\, \mu_{d,k}, \sigma_{d,k}).$$
#
# Over a whole episode, the chain rule of probability adds up the steps: $\log p(z_1, \dots, z_T \mid z_0, a) = \sum_t \log p(z_{t+1} \mid h_{t+1})$, because $h_{t+1}$ is a function of everything before.
#
# **Build 3.2: `mdn_head`** (2 lines). The 480 numbers come in the order: all logits, all $\mu$, all $\log\sigma$; within each, the 5 numbers of one dimension lie side by side. Return $\log \pi$ (normalized), $\mu$ and $\log\sigma$, each $(B, D, K)$.


# %%
def mdn_head(output, dimensions, mixtures):
    """M's mixtures from one linear layer's output: (B, 3 * D * K) -> three tensors (B, D, K).

    log_pi, normalized over the K Gaussians of a dimension; mu; log_sigma.
    """
    ...


mdn_head = build.check(mdn_head)

# %%
with torch.no_grad():
    output = mdn_rnn.mixture(memory)
log_pi, mu, log_sigma = mdn_head(output, mdn_rnn.dimensions, mdn_rnn.mixtures)
print(f"{tuple(output.shape)} -> {tuple(mu.shape)}")
print(f"σ in active dimensions: {log_sigma[:, active].exp().mean():.2f} on average")
print(f"σ in inactive dimensions: {log_sigma[:, ~active].exp().mean():.2f}")

# %% [markdown]
# **Finding.** In inactive dimensions M predicts $\sigma$ = 0.97 on average, nearly the prior's 1: these dimensions are noise. In active dimensions its Gaussians are about four times narrower (0.25).

# %% [markdown]
# ## 3.4 How it was trained
#
# The loss of one step is the NLL of the next $z$, plus a squared error for the reward, plus a cross-entropy for the end:

# %%
figures.source(mdn_rnn_loss)

# %% [markdown]
# Note `.mean(-1)` in the line of `nll`. The equation of 3.3 has a *sum* over dimensions; this loss takes the *mean*, as the paper's code does. The minimum of the NLL alone is the same, but here it is added to two other terms, and dividing by 32 gives $z$ a 32 times smaller share of the gradient. Section 3.13 measures what changes.
#
# Three more choices:
#
# - **Teacher forcing.** In training, M always reads the real $z_t$, never its own prediction. This makes training parallel and stable. The price is a mismatch: in a rollout M reads its own samples, inputs that it never saw in training. (Scheduled sampling is one remedy; see the references.)
# - **Truncated backpropagation through time.** An episode of 500 agent steps is cut into windows of 50. Each window starts with $h = c = 0$, and gradients flow through its 50 steps only. So M is never trained to remember more than 2 seconds.
# - **A fresh sample for every batch.** Inputs and targets are samples of V's posterior $\mathcal N(\mu_t, \sigma_t^2)$, drawn anew each time, so that M does not overfit one encoding.

# %%
history = read_log(folder / "mdn_rnn.jsonl")
for number in sorted({row["round"] for row in history}):
    last = [row for row in history if row["round"] == number][-1]
    print(f"round {number}: {last['step']} steps, {last['seconds'] / 60:.1f} minutes; ", end="")
    print(f"at the end {last['nll']:.2f} nats per dimension")
figures.training_curves(history, {"nll": "-log p(next z), nats per dimension"})

# %% [markdown]
# **Figure 3.3.** NLL of the next $z$ during the training of the pretrained M. The loop of [chapter 5](05_car_racing.ipynb) runs three rounds, separated by dotted lines. M is trained *from scratch* in each round, because V has changed; V itself is trained further. So the NLL jumps back at each dotted line. The reward term is left out: its level depends on how often the agent of the round hits a new tile.
#
# Why does the NLL end near 1 and not near 0? The target is a sample. In an inactive dimension it is standard normal noise, and the entropy of that, $\frac12 \log 2\pi e \approx 1.42$ nats, is the lowest possible NLL. With 22 of 32 dimensions inactive, no M can get much below $22 \times 1.42 / 32 = 0.98$ nats per dimension unless its active dimensions have a negative NLL (a density can exceed 1).
#
# **Finding.** The final NLL is about 0.99 nats per dimension. The inactive dimensions account for nearly all of it; the active ones average about zero nats.

# %% [markdown]
# ## 3.5 One step ahead, against two baselines
#
# Does M predict the next $z$ better than a simple forecaster? We use two baselines:
#
# - **Copy.** The next $z$ is the last $z$. In 40 ms little changes.
# - **Linear autoregression.** $z_{t+1} = W_1 z_t + W_2 z_{t-1} + W_3 a_t + w_0$, fitted by least squares. With two past vectors it can continue a motion, and it reads the action. For each half of the test episodes it is fitted on the *other* half.
#
# **Predict:** how many times smaller is M's squared error than that of the copy, and than that of the linear model?

# %%
with torch.no_grad():
    forecasts = [mdn_rnn(z[None, :-1], a[None])[0] for z, a in zip(zs, actions, strict=True)]


def linear_inputs(z, before, a):
    """The last two z (N, 32), the actions (N, 3) and 1: (N, 68)."""
    return torch.cat([z, before, a, torch.ones(len(z), 1)], dim=1)


inputs = [
    linear_inputs(z[:-1], torch.cat([z[:1], z[:-2]]), a) for z, a in zip(zs, actions, strict=True)
]
fits = []
for half in (0, 1):
    x, y = torch.cat(inputs[1 - half :: 2]), torch.cat([z[1:] for z in zs[1 - half :: 2]])
    fits.append(torch.linalg.lstsq(x.double(), y.double()).solution.float())


# %%
def distance(predicted, real):
    """Squared distance in z, summed over the active dimensions: (..., 32) -> (...)."""
    return (predicted - real)[..., active].square().sum(-1)


one_step = {
    "copy": [z[:-1] for z in zs],
    "linear autoregression": [x @ fits[k % 2] for k, x in enumerate(inputs)],
    "M": [mixture_mean(p)[0] for p in forecasts],
}
errors = {
    name: np.array([distance(p, z[1:]).mean() for p, z in zip(predicted, zs, strict=True)])
    for name, predicted in one_step.items()
}
for name, values in errors.items():
    print(f"{name:22}", evaluation.episode_interval(values).describe(3))
for name in ("copy", "linear autoregression"):
    gap = evaluation.episode_interval(errors[name] - errors["M"])
    print(f"{name} minus M:".ljust(30), gap.describe(3))
lower = int((errors["M"] < errors["linear autoregression"]).sum())
print(f"M's error is below the linear model's in {lower} of {len(episodes)} episodes")
worst = int(errors["linear autoregression"].argmax())
print(f"largest error of the linear model: episode {worst}, ", end="")
print(f"{errors['linear autoregression'][worst]:.2f}; M there: {errors['M'][worst]:.2f}; ", end="")
print(f"return {episodes[worst]['rewards'].sum():.0f}")

# %%
moments = np.linspace(20, len(actions[0]) - 2, 7).astype(int)
shown = {"next frame": zs[0][moments + 1], "M": one_step["M"][0][moments]}
shown["copy"] = zs[0][moments]
pictures = {n: tensor_to_frames(world_model.decode(z)).astype(int) for n, z in shown.items()}
rows = {"next frame, real": episodes[0]["frames"][moments + 1]}
rows["next frame, reconstructed"] = pictures["next frame"]
for name in ("M", "copy"):
    rows[f"predicted: {name}"] = pictures[name]
    rows[f"{name}: |error| × 4"] = 4 * np.abs(pictures[name] - pictures["next frame"])
colors = {"next frame, real": figures.REALITY, "predicted: M": figures.DREAM}
figures.frame_grid({n: f.clip(0, 255).astype(np.uint8) for n, f in rows.items()}, colors=colors)

# %% [markdown]
# **Figure 3.4.** One agent step ahead. Both predictions look like the reconstruction of the next frame; only the amplified differences from it show that M's error is smaller at most of these moments. Such pictures alone cannot show that a model is good.
#
# **Finding.** M's one-step error is about half of the copy's (0.14 against 0.30, mean over episodes). M does *not* beat linear autoregression: the interval of the mean difference includes 0, and in 22 of 24 episodes the linear model has the smaller error. 40 ms ahead, $z$ changes almost linearly. The largest exception is episode 9, in which the car leaves the road for good (return 193): the linear model's error is 1.2 there, M's 0.2. The linear model was fitted almost only to frames on the road; M was also trained on episodes of a random policy, which often end on the grass.

# %% [markdown]
# ## 3.6 Does M need a mixture?
#
# The usual argument for a mixture: if half of all roads bend left and half bend right, a squared error (or a single Gaussian) predicts the average, a road that goes straight on, and that road does not exist. A mixture can put one Gaussian on each.
#
# **Predict:** in which share of M's one-step forecasts does the density of a dimension have two peaks?
#
# We compare each of M's mixtures with *one* Gaussian of the same mean and variance, in two ways: by counting the peaks of the density, and by the KL divergence from the mixture to the Gaussian, the nats that one Gaussian would lose (summed over the active dimensions).


# %%
def compare(p):
    """Peaks of each mixture's density, and KL(mixture || one Gaussian): (T, active) each."""
    log_pi, mu, log_sigma = (part[0][:, active] for part in (p.log_pi, p.mu, p.log_sigma))
    mean = (log_pi.exp() * mu).sum(-1)
    variance = (log_pi.exp() * (log_sigma.exp() ** 2 + mu**2)).sum(-1) - mean**2
    z = mean + variance.sqrt() * torch.linspace(-5, 5, 201)[:, None, None]
    parts = log_pi + Normal(mu, log_sigma.exp()).log_prob(z[..., None])
    mixture = parts.exp().sum(-1).clamp(min=1e-12)
    gaussian = Normal(mean, variance.sqrt()).log_prob(z)
    peaks = ((mixture[1:-1] > mixture[:-2]) & (mixture[1:-1] > mixture[2:])).sum(0)
    return peaks, (mixture * (mixture.log() - gaussian)).sum(0) * (z[1] - z[0])


compared = [compare(p) for p in forecasts]
peaks, nats = (torch.cat(part) for part in zip(*compared, strict=True))
print(f"mixtures with two peaks or more: {(peaks > 1).float().mean():.1%} of {peaks.numel():,}")
print(f"KL divergence to one Gaussian: {nats.sum(1).mean():.2f} nats per step, all active together")

# %% [markdown]
# These are the four dimensions with the least Gaussian forecasts, each at its least Gaussian moment:

# %%
names = active.nonzero()[:, 0].tolist()
columns = []
for d in nats.amax(0).argsort(descending=True)[:4].tolist():
    k = int(np.argmax([kl[:, d].max().item() for _, kl in compared]))
    t, p = int(compared[k][1][:, d].argmax()), forecasts[k]
    parts = [part[0, t, names[d]].numpy() for part in (p.log_pi, p.mu, p.log_sigma)]
    title = f"z[{names[d]}], episode {k}, step {t}"
    columns.append([*parts, zs[k][t + 1, names[d]].numpy(), title])
extreme = [np.stack(part) for part in list(zip(*columns, strict=True))[:4]]
figures.mixtures(*extreme, [title for *_, title in columns])

# %% [markdown]
# **Figure 3.5.** The least Gaussian forecast of each of four dimensions, among all test episodes. All four are among the first five steps of an episode, when M has observed at most five frames. Each has one main peak. Beside it lies a low second peak or a long tail: an outcome with a small weight.
#
# This is what a trained M *does*. What would it lose *without* the mixture? For that, Ms have to be trained with $K$ = 1, 2 and 5. `python -m wmlib ablate mixtures` trained them (15 Ms, three training seeds per kind, on the same 100 *on-policy* episodes, which the pretrained agent itself collected; about 10 minutes). Three kinds of M use the mean over dimensions in the loss, as above, and two the sum (see 3.13). These are the measurements on our test episodes:

# %%
table = read_log(pretrained("ablations") / "mixtures.jsonl")


def of(arm, key):
    """A column of the table, one row per training seed."""
    return np.array([row[key] for row in table if row["arm"] == arm])


def step_nll(arm):
    """NLL of the next z, summed over the active dimensions, one number per training seed."""
    return of(arm, "nll")[:, table[0]["active"]].sum(1)


SUM = ", sum over dimensions"
arms = ("copy of the last z", "linear autoregression", "K = 1", "K = 2", "K = 5")
for arm in (*arms, "K = 1" + SUM, "K = 5" + SUM):
    print(f"{arm:28} {step_nll(arm).mean():6.2f} nats per step")
for arm, other in (("K = 1", "K = 5"), ("K = 2", "K = 5"), ("K = 1" + SUM, "K = 5" + SUM)):
    gap = evaluation.seed_interval(step_nll(arm) - step_nll(other))
    print(f"{arm} minus {other}: {gap.mean:.2f} (95% CI {gap.low:.2f} to {gap.high:.2f})")

# %% [markdown]
# (For the baselines, $p$ is a Gaussian around the prediction, with the variance of the training residuals. Intervals are over three training seeds, with Student's $t$.)
#
# **Finding.** Three training seeds show no effect of the mixture on the likelihood of the next $z$. With the mean in the loss, K = 1 loses about 0.1 nats per step against K = 5, with the sum 0.07, and both intervals include 0. For comparison: linear autoregression is more than 2 nats worse than any of these Ms, and sum against mean makes a difference of 0.8. So within one step, M hardly needs its five Gaussians: only 1.2% of its one-step forecasts have two peaks.
#
# ## 3.7 Is M calibrated?
#
# A probabilistic forecast can fail in two ways: its centre is off, or its *width* is wrong. M is *calibrated* if its intervals contain the real value as often as they say. The test is the probability integral transform (PIT): for every real $z_{t+1,d}$, compute the quantile of M's mixture at which it lies. If M is calibrated, these quantiles are uniform between 0 and 1. The *empirical coverage* of the central 80% interval is then the share of quantiles between 0.1 and 0.9; the *nominal* coverage is 80%.
#
# Input and target are samples of V's posterior here, as in training.
#
# **Predict:** an overconfident forecaster has intervals that are too narrow. Is its empirical coverage above or below nominal?

# %%
figures.source(evaluation.quantiles)

# %%
generator, q = torch.Generator().manual_seed(0), []
with torch.no_grad():
    for posterior, a in zip(posteriors, actions, strict=True):
        z = sample_latent(*posterior, generator)[None]
        forecast, _ = mdn_rnn(z[:, :-1], a[None])
        q.append(evaluation.quantiles(forecast, z[:, 1:])[0, :, active])

# %%
nominal, _ = evaluation.coverage(q[0])
deviation = [100 * (evaluation.coverage(of_one)[1] - nominal) for of_one in q]  # per episode
for probability in (0.5, 0.8, 0.96):
    at = np.abs(nominal - probability).argmin()
    points = evaluation.episode_interval([values[at] for values in deviation]).describe(2)
    print(f"nominal {probability:.0%}: empirical minus nominal", points)

# %%
figures.calibration(q)

# %% [markdown]
# **Figure 3.6.** Left: histogram of the quantiles (PIT); flat if M is calibrated. Right: deviation of the empirical from the nominal coverage, with the 95% CI of the mean over episodes.
#
# **Finding.** One step ahead, M is slightly overconfident: its 80% intervals contain the real $z$ about 1 percentage point less often than they say, and the interval of this deviation excludes 0. The upper tail contributes most: the real $z$ lies above M's 90% quantile in more than 10% of cases (the last bars in Figure 3.6, left).
#
# ## 3.8 Build: sampling with temperature
#
# To dream, M has to *draw* the next $z$. The temperature $\tau$ reshapes the density from which it draws. For a Gaussian, raising the density to the power $1/\tau$ (and normalizing again) gives
#
# $$\mathcal N(z; \mu, \sigma)^{1/\tau} \propto \exp\left(-\frac{(z-\mu)^2}{2\,\tau\sigma^2}\right) \propto \mathcal N(z;\, \mu, \sqrt\tau\,\sigma).$$
#
# So the *variance* is multiplied by $\tau$, and $\sigma$ by $\sqrt\tau$. For the discrete choice of a Gaussian, $\pi_k^{1/\tau}$ normalized is $\mathrm{softmax}(\log\pi_k / \tau)$. Drawing takes two steps, for every dimension separately:
#
# $$k \sim \mathrm{Categorical}\big(\mathrm{softmax}(\log \pi_d / \tau)\big), \qquad z_d = \mu_{d,k} + \sqrt\tau\, \sigma_{d,k}\, \epsilon, \qquad \epsilon \sim \mathcal N(0, 1).$$
#
# At $\tau = 1$ this is M's own distribution; as $\tau \to 0$ it becomes the mean of the most probable Gaussian.
#
# **Build 3.3: `sample_mixture`** (3 lines). `torch.distributions.Categorical` draws indices, `gather` picks the chosen $\mu$ and $\log \sigma$.


# %%
def sample_mixture(log_pi, mu, log_sigma, temperature):
    """Draw z from the mixtures: three tensors (B, D, K), temperature > 0 -> (B, D)."""
    ...


sample_mixture = build.check(sample_mixture)

# %% [markdown]
# We draw 20,000 values from the least Gaussian forecast of Figure 3.5 at four temperatures:

# %%
parts = [torch.from_numpy(part[0]).expand(20_000, 1, -1) for part in extreme[:3]]
figure, ax = figures.new_axes(width=6, height=2.8)
bins = np.linspace(-3, 3, 100) + sample_mixture(*parts, 1.0).mean().item()
for tau, shade in ((0.1, "#7A4B00"), (0.5, "#B87800"), (1.0, figures.DREAM), (2.0, "#F5CE7A")):
    draws = sample_mixture(*parts, tau)[:, 0].numpy()
    label = f"τ = {tau}: SD {draws.std():.2f}"
    ax.hist(draws, bins, density=True, histtype="step", lw=1.6, color=shade, label=label)
ax.set(xlabel=columns[0][-1], ylabel="density of the samples", yscale="log", ylim=(3e-3, None))
ax.legend()
figure

# %% [markdown]
# **Figure 3.7.** Samples of one mixture. A low temperature removes the rare component and narrows the common one; a high temperature does the opposite.
#
# **Finding.** Temperature changes weights and widths at once: from $\tau$ = 0.1 to 2, the standard deviation of this forecast grows by about an order of magnitude.
#
# ## 3.9 Build: an open-loop rollout
#
# So far M read a real $z$ at every step. In an *open-loop rollout* (a dream) M observes the first steps of an episode (the *context*). In the following steps (up to the *horizon*) it reads its own samples, with the episode's own actions.
#
# `world_model.imagine(state, actions, temperature, generator)` makes one such step for a batch: it updates $h$ and $c$, draws the next $z$ from M's forecast and returns the new state (with fields `z`, `h`, `c`) and the forecast.
#
# **Build 3.4: `open_loop`** (5 lines). Write a loop over the horizon that feeds every new state back in, and collects the $z$.


# %%
def open_loop(world_model, state, actions, temperature, generator):
    """z of M's open-loop rollout from `state` (B rows), with actions (B, T, A): (B, T, z_size)."""
    ...


open_loop = build.check(open_loop)

# %% [markdown]
# We cut the test episodes into windows of `context` + `horizon` agent steps, run M over the contexts, and roll out all windows at once, 16 samples each. Here no rollout begins before agent step 150 (two comparisons in 3.10 begin earlier), because nearly all tracks begin alike: from agent step 50, M's error stays small for about twice as long as from later ones (measured in section 3.10).


# %%
def cut(context, horizon):
    """Windows of context + horizon agent steps, as (episode, slice)."""
    return [
        (k, slice(start, start + context + horizon))
        for k, a in enumerate(actions)
        for start in range(0, len(a) - context - horizon + 1, horizon)
    ]


def observe(windows, context):
    """M's state after each context; the actions (N, T, 3) and real z (N, T, 32) that follow."""
    z = torch.stack([zs[k][s.start : s.stop + 1] for k, s in windows])
    a = torch.stack([actions[k][s] for k, s in windows])
    with torch.no_grad():
        _, (h, c) = mdn_rnn.remember(z[:, :context], a[:, :context])
    now = State(z[:, context], h[0], c[0], torch.zeros(len(windows)))
    return now, a[:, context:], z[:, context + 1 :]


def dream(now, future, samples=16, temperature=1.0):
    """z of open-loop rollouts from N states, with the actions `future`: (samples, N, T, 32)."""
    rows, generator = torch.arange(len(future)).repeat(samples), torch.Generator().manual_seed(0)
    z = open_loop(world_model, now.take(rows), future[rows], temperature, generator)
    return z.unflatten(0, (samples, len(future)))


# %%
context, horizon = chapter.rollout_start, chapter.horizon
windows = cut(context, horizon)
owner = np.array([k for k, _ in windows])  # the episode of each window
now, future, real = observe(windows, context)
dreams = dream(now, future)
print(f"{len(windows)} windows, {context} agent steps observed, {horizon} imagined")

# %% [markdown]
# First, one window: the real frames, and three samples of M.

# %%
k, window = windows[0]
shown = np.linspace(0, horizon - 1, 9).astype(int)
rows = {"real": episodes[k]["frames"][1:][window][context + shown]}
for sample in range(3):
    rows[f"dream {sample + 1}"] = tensor_to_frames(world_model.decode(dreams[sample, 0, shown]))
colors = dict.fromkeys(rows, figures.DREAM) | {"real": figures.REALITY}
titles = [f"+{t + 1}" for t in shown]
path = config.figure("03_dream.png")
path.parent.mkdir(parents=True, exist_ok=True)
pair = {name: rows[name] for name in ("real", "dream 1")}
figures.frame_grid(pair, titles, colors).savefig(path, dpi=80)
figures.frame_grid(rows, titles, colors)

# %% [markdown]
# **Figure 3.8.** An open-loop rollout: the real frames, and three samples of M at $\tau = 1$. "+15" is 15 agent steps, or 0.6 s, after the last frame that M has observed. The real double bend at +30 is in none of the dreams; dreams 1 and 2 break up for a while.
#
# Now we search for a moment with *two futures*: the window whose samples have the largest spread after 10 steps (0.4 seconds). We search only among windows whose samples all still show a road then: more road pixels than the 5% of real frames with the least road. From this moment we show the two samples that are furthest apart, and the mean of all 16.


# %%
def road(z):
    """Share of pixels above the car that are not green: (N, 32) -> (N,)."""
    red, green, _ = world_model.decode(z)[:, :, :48].unbind(1)
    return (green - red < 0.12).float().mean((1, 2))


later = min(10, horizon) - 1
spread = dreams[:, :, later, active].var(0).sum(-1)
least = road(dreams[:, :, later].flatten(0, 1)).view(len(dreams), -1).amin(0)
on_road = least >= road(real[:, later]).quantile(0.05)
w = int(spread.where(on_road, -1).argmax())
apart = torch.cdist(dreams[:, w, later, active], dreams[:, w, later, active])
one, other = divmod(int(apart.argmax()), len(dreams))
with torch.no_grad():
    _, prediction = world_model.imagine(now.take(torch.tensor([w])), future[[w], 0], 0.0)
print(f"a road in all samples: {on_road.sum()} of {len(windows)} windows")
print(f"spread after {later + 1} steps: {spread[w]:.1f}, median window {spread.median():.1f}")
print(f"peaks of the one-step forecasts there: {compare(prediction)[0][0].tolist()}")

# %%
k, window = windows[w]
futures = {"dream A": dreams[one, w], "dream B": dreams[other, w]}
futures["mean of 16"] = dreams[:, w].mean(0)
early = np.linspace(0, min(24, horizon - 1), 9).astype(int)
rows = {"real": episodes[k]["frames"][1:][window][context + early]}
rows |= {name: tensor_to_frames(world_model.decode(z[early])) for name, z in futures.items()}
colors = dict.fromkeys(rows, figures.DREAM) | {"real": figures.REALITY}
figures.frame_grid(rows, [f"+{t + 1}" for t in early], colors)

# %% [markdown]
# **Figure 3.9.** Two samples of M that start from the same state and take the same actions, and the mean of all 16. At +10, A bends right, B bends left, and the mean goes straight on. From +13 on, A breaks up.
#
# Every *one-step* forecast at this moment has a single peak (the list above). The futures diverge nevertheless: a sample that deviates a little is the input of the next step, so the deviation grows.
#
# **Finding.** M can represent several futures: 10 steps after this moment its samples lie on roads that bend to different sides, and their mean bends to neither. (It has the largest spread of 66 windows, 4.8; the median over all windows is 2.3. The real road bent left, as B does; another execution may find another moment.)
#
# ## 3.10 How far ahead does M see?
#
# We measure the squared distance in $z$ against the horizon. For M, the forecast is the mean of its samples, the best point forecast under a squared error. (With 16 samples, their mean has a sampling error of its own, variance / 16; we subtract it.) The baselines: the copy, linear autoregression run forward on its own predictions, and a *constant*, the mean $z$ of all episodes.
#
# **Predict:** at which horizon does M stop being better than each baseline?


# %%
def mean_error(dreams, real):
    """Squared error of M's mean, from S samples (S, N, T, 32): (N, T)."""
    own = dreams[..., active].var(0).sum(-1) / len(dreams)
    return distance(dreams.mean(0), real) - own


def by_episode(values):
    """(windows, ...) -> means over the windows of each episode, (episodes, ...)."""
    values = np.asarray(values)
    return np.stack([values[owner == k].mean(0) for k in sorted(set(owner))])


# %%
z, steps = now.z, []
before = torch.stack([zs[k][s.start + context - 1] for k, s in windows])
fit = torch.stack([fits[k % 2] for k in owner])
for a in future.unbind(1):
    after = (linear_inputs(z, before, a)[:, None] @ fit)[:, 0]
    z, before = after, z
    steps.append(after)
ahead = {
    "constant": by_episode(distance(torch.cat(zs).mean(0), real)),
    "copy": by_episode(distance(now.z[:, None], real)),
    "linear autoregression": by_episode(distance(torch.stack(steps, 1), real)),
    "M": by_episode(mean_error(dreams, real)),
}


# %%
def spans(horizons):
    """Horizons as text, consecutive ones together: [2, 3, 4, 9] -> "+2 to +4, +9"."""
    ends = [t for t in horizons if t + 1 not in horizons]
    starts = [t for t in horizons if t - 1 not in horizons]
    pairs = zip(starts, ends, strict=True)
    return ", ".join(f"+{a} to +{b}" if a < b else f"+{a}" for a, b in pairs) or "no horizon"


for name in ("copy", "linear autoregression", "constant"):
    gaps = [evaluation.episode_interval(gap) for gap in (ahead[name] - ahead["M"]).T]
    better = [t + 1 for t, gap in enumerate(gaps) if gap.low > 0]
    worse = [t + 1 for t, gap in enumerate(gaps) if gap.high < 0]
    print(f"M is better than {name:22} at {spans(better)}; worse at {spans(worse)}")

# %%
figures.baseline_gaps(ahead, "M", "squared distance in z")

# %% [markdown]
# **Figure 3.10.** Left: open-loop error against the horizon (25 agent steps are one second), mean over episodes. The other three plots: each baseline's error minus M's (grey), with the 95% CI over episodes; below the orange line at 0 the baseline is better. The list above names the horizons at which this interval excludes 0.
#
# **Finding.** The pretrained M predicts about a third of a second ahead: its error is below that of the constant up to +7 (0.3 s), and above it from +13 (0.5 s) on. It is below that of the copy from +1 to +5 and again from +25 to +34; it is above that of linear autoregression from about +35 (1.4 s) on. At shorter horizons the comparison with linear autoregression is not robust: here M is also worse at +14 to +20; in another execution (other rounding) it was not, and was better at +2. (Episode 9, in which the linear model fails, makes the intervals against it wide.)
#
# How much does this depend on where the rollouts begin? We repeat it from four agent steps, one rollout per episode, and count for how many steps M's error stays below the average error of the constant.

# %%
typical = distance(torch.cat(zs).mean(0), torch.cat(zs)).mean()
for start in (context // 3, context // 2, context, 3 * context // 2):
    stop = start + horizon
    first = [(k, slice(0, stop)) for k, a in enumerate(actions) if len(a) >= stop]
    state, after, truth = observe(first, start)
    below = mean_error(dream(state, after), truth).mean(0) < typical
    steps = int(np.append(~below, True).argmax())
    print(f"rollouts from agent step {start:3}: below the constant's error for {steps} steps")

# %% [markdown]
# From step 50, M's error stays below the constant's for about 20 steps, from the other three for about 9. At step 50 nearly all episodes are in the same left bend, which leads onto a straight: this is not typical of a track, and that is why our rollouts begin at step 150.
#
# Where does M's large error far ahead come from? We count the pixels of the road in decoded frames:

# %%
half = horizon // 2
for t in sorted({0, half - 1, horizon - 1}):
    shares = [by_episode(road(z)).mean() for z in (real[:, t], dreams[0, :, t])]
    print("+{}: road in real frames {:.2f}, in dreams {:.2f}".format(t + 1, *shares))

# %% [markdown]
# The dreams lose the road: by +60 its share has fallen from 0.22 to 0.14. The pretrained M learned from 500 episodes of a random policy and 200 of trained agents, and random episodes soon end on the grass. The Ms of the ablation learned from 100 on-policy episodes alone. The *energy score* below compares whole distributions of samples, where the error compares their means; lower is better, and the intervals are over the seeds:

# %%
mixture, line = of("K = 5", "error").mean(0), of("linear autoregression", "error").mean(0)
print(f"K = 5 is below linear autoregression at +1 to +{int(np.argmin(mixture < line))}")
same = cut(chapter.context, horizon)  # the windows of the ablation
state, after, truth = observe(same, chapter.context)
pretrained_m = mean_error(dream(state, after), truth).mean(0)
print(f"error at +{len(mixture)}: {mixture[-1]:.1f}; ", end="")
print(f"of the pretrained M on the same windows, at +{horizon}: {pretrained_m[-1]:.1f}")
for loss in ("", SUM):
    for t in (0, 9, 29, 59):
        one, five = (of(k + loss, "energy_score")[:, t] for k in ("K = 1", "K = 5"))
        gap = evaluation.seed_interval(one - five)
        print(f"energy score at +{t + 1:2}, K = 5{loss}: {five.mean():.2f}; ", end="")
        print(f"K = 1 minus K = 5: {gap.mean:.2f} (95% CI {gap.low:.2f} to {gap.high:.2f})")

# %%
figure, ax = figures.new_axes(width=5.6, height=3.3)
arms = ("copy of the last z", "linear autoregression", "K = 1", "K = 5")
for arm, color in zip(arms, (figures.BASELINE, "black", "#B35900", figures.DREAM), strict=True):
    values = of(arm, "error").mean(0)
    ax.plot(np.arange(1, len(values) + 1), values, color=color, label=arm)
ax.set(xlabel="horizon (agent steps)", ylabel="squared distance in z", ylim=(0, None))
ax.legend(fontsize=8)
figure

# %% [markdown]
# **Figure 3.11.** Open-loop error of Ms that were trained on on-policy episodes only, mean over three training seeds. These rollouts begin at agent steps 50, 110, 170 and so on.
#
# **Finding.** Trained on on-policy episodes, M has a smaller error than linear autoregression up to about +25 (1 s), and at +60 about half the error of the pretrained M on the same windows (3.8 against 7.3). The form of the output matters less. With the mean in the loss, three seeds show no difference between $K$ = 1 and $K$ = 5; with the sum, $K$ = 5 has a slightly lower energy score far ahead (at +60 by about 0.08 of 1.4, the only one of these intervals that excludes 0). (The pretrained M and the Ms of the ablation differ in optimizer settings, too, so this is not a controlled comparison. The drift to the grass points to the data: a distribution shift between training and use.)
#
# ## 3.11 Do the actions matter?
#
# Does M's forecast depend on the actions? We give each window the future actions of a window of another episode and subtract: error with the wrong actions minus error with the right ones, per episode.
#
# **Predict:** from which horizon on is the difference above 0?

# %%
shift = len(windows) // 2  # to another episode
wrong = by_episode(mean_error(dream(now, future.roll(shift, 0)), real))
effect = wrong - ahead["M"]

# %%
largest = int(effect.mean(0).argmax())
for t in sorted({0, largest, horizon // 3, horizon // 2, horizon - 1}):
    print(f"+{t + 1:2}:", evaluation.episode_interval(effect[:, t]).describe(2))
above = [t + 1 for t, gap in enumerate(effect.T) if evaluation.episode_interval(gap).low > 0]
print(f"the interval lies above 0 at {spans(above)}")

# %%
figure = figures.horizon_curves(
    {"wrong actions minus right ones": effect},
    "difference in squared distance",
    {"wrong actions minus right ones": figures.DREAM},
)
(ax,) = figure.axes
ax.axhline(0, color=figures.BASELINE)
ax.set_ylim(-0.5, None)
figure

# %% [markdown]
# **Figure 3.12.** Error with the wrong actions minus error with the right ones; paired difference with its 95% CI over episodes.
#
# **Finding.** The actions matter most about 10 steps (0.4 s) ahead, where the wrong ones add about 1.9 to the squared distance. Here the interval excludes 0 up to +35 (1.4 s) and from +42 on; in another execution (other rounding, other pairs of windows) only at +2 to +15 and +20 to +23. So the effect is robust up to +15 (0.6 s); whether 24 episodes detect it beyond depends on the execution.
#
# ## 3.12 What temperature changes
#
# How does the temperature change the dreams? One sample per temperature shows little, so we roll out all windows at six temperatures and measure three things halfway to the horizon:
#
# - **Error and spread.** The squared distance from a sample to the real $z$, and between two samples. If the real future were just one more sample of M, both would be equal.
# - **Sharpness.** The mean absolute difference between neighbouring pixels of the decoded frame. Below the value of reconstructions, the frame is blurred or empty.
# - **Plausibility.** The distance of a sample to the nearest real $z$ of any other episode. Real $z$ have such a distance, too (grey line); samples above it lie outside the data.

# %%
bank = torch.cat(zs)[:, active]
foreign = np.repeat(np.arange(len(zs)), [len(z) for z in zs]) != owner[:, None]
foreign = torch.from_numpy(foreign)  # (windows, number of z)


def plausibility(z):
    """Distance to the nearest real z of another episode: (N, 32) -> (N,)."""
    return torch.cdist(z[:, active], bank).masked_fill(~foreign, torch.inf).amin(1)


def sharpness(z):
    """Mean absolute difference of neighbouring pixels, in grey levels: (N, 32) -> (N,)."""
    frames = 255 * world_model.decode(z)
    return frames.diff(dim=-1).abs().mean((1, 2, 3))


measured = {}
for tau in (0.1, 0.5, 0.75, 1.0, 1.5, 2.0):
    z = dream(now, future[:, :half], 4, tau)[:, :, -1]
    error, spread = distance(z, real[:, half - 1]).mean(0), 2 * z[..., active].var(0).sum(-1)
    measured[tau] = [error, spread, sharpness(z[0]), plausibility(z[0])]
reference = [by_episode(f(real[:, half - 1])).mean() for f in (sharpness, plausibility)]

# %%
for tau, rows in measured.items():
    means = [by_episode(row).mean() for row in rows]
    print(f"τ = {tau:4}: error {means[0]:5.1f}, spread {means[1]:5.1f}, ", end="")
    print(f"sharpness {means[2]:.2f}, nearest real z {means[3]:.2f}")
print("real frames: sharpness {:.2f}, nearest real z {:.2f}".format(*reference))

# %%
values = [np.stack([by_episode(m[k]) for m in measured.values()], 1) for k in range(4)]
curves = {
    "squared distance in z": {"sample to real z": values[0], "two samples": values[1]},
    "sharpness (grey levels)": {"samples": values[2]},
    "distance to nearest real z": {"samples": values[3]},
}
colors = {"sample to real z": figures.REALITY}
real_frames = dict(zip(list(curves)[1:], reference, strict=True))
figures.measures(list(measured), curves, "temperature τ", colors, real_frames)

# %% [markdown]
# **Figure 3.13.** Temperature, measured on all windows. Left: the error (blue) and the spread (orange). Middle and right: samples (orange), and the same measure for the real $z$ (grey; for the sharpness these are reconstructions). Bands are 95% CIs of the mean over episodes.
#
# **Finding.** Temperature controls the *spread* between samples, which grows from 4 to about 14 between $\tau$ = 0.1 and 2. At $\tau$ = 1 it about equals the error (12.3 and 12.5): half a horizon ahead, M's samples differ from each other about as much as from the real future. The error itself and the sharpness (within 6% of reconstructions) hardly change. At every temperature the samples are about four to five times further from the nearest real $z$ than real ones are (1.4 to 1.6 against 0.34): a low temperature reduces the spread, but hardly makes the dreams more plausible.
#
# ## 3.13 The sum or the mean of 32 likelihoods?
#
# The loss of 3.4 divides the NLL by 32. `z_weight=32` undoes that, so that the loss contains the whole log-likelihood of 3.3. The ablation trained both:


# %%
def compare_losses(name, key):
    """The loss with the sum against the one with the mean, K = 5 for both."""
    mean, total = key("K = 5"), key("K = 5" + SUM)
    gap = evaluation.seed_interval(total - mean)
    print(f"{name:24} mean {mean.mean():6.3f}, sum {total.mean():6.3f}, ", end="")
    print(f"difference {gap.mean:6.3f} (95% CI {gap.low:.3f} to {gap.high:.3f})")


compare_losses("NLL (nats per step)", step_nll)
compare_losses("reward error (points²)", lambda arm: of(arm, "reward_error"))
for t in (0, 9, 29, 59):
    compare_losses(f"open-loop error, +{t + 1}", lambda arm, t=t: of(arm, "error")[:, t])

# %% [markdown]
# **Finding.** The sum lowers the NLL by about 0.8 nats per step and the error 10 steps ahead by a quarter. The reward error rises by less than 1%. A likely reason: with the mean, the squared error of the reward (2.7 points²) dominates the gradient, and $z$ is learned less well. Far ahead, at +30 and +60, the sum has the *larger* error: a sharper one-step forecast is not automatically a better rollout. The M of [chapter 6](06_dreaming.ipynb) uses the sum.
#
# ## 3.14 Break it: no memory
#
# A frequent bug in recurrent models: the state is not carried from step to step. Everything runs, the loss falls, and $h$ never contains the past. We simulate it by wiping the memory of our M before each step, and compare the one-step errors of 3.5.
#
# **Predict:** is the error above or below that of a copy, which has no memory either?

# %%
wiped = []
with torch.no_grad():
    for z, a in zip(zs, actions, strict=True):
        alone, _ = mdn_rnn(z[:-1, None], a[:, None])  # T sequences of one step each
        wiped.append(distance(mixture_mean(alone)[:, 0], z[1:]).mean().item())
errors["M, memory wiped"] = np.array(wiped)
for name, values in errors.items():
    print(f"{name:22}", evaluation.episode_interval(values).describe(3))

# %% [markdown]
# **Finding.** Without its memory, M's one-step error is about twice that of the copy, and four times that of M with memory. This network was trained to rely on $h$, and here treats every step as the first of an episode. An M *trained* without memory would probably do better than this. When you write your own M, this comparison detects the bug.
#
# ## 3.15 Explore a mixture
#
# | control | what it sets |
# |---|---|
# | `agent step` | the moment of the episode, from a third of it on |
# | `dimension` | the latent dimension whose density is drawn, of the eight most informative |
# | `temperature` | of the forecast and of the dreams, 0 to 2 |
# | `horizon` | agent steps from the moment to the frames at the lower right (25 are one second) |
# | `resample` | new random numbers for the dreams |
#
# Left: M's density for this dimension of the *next* $z$ (thick), its five Gaussians (thin), and the value that V then encoded (blue). The curve is scaled to the height of the box, so compare widths and not heights. Upper right: decoded frames in which this dimension is at the mean of one Gaussian each, and all others at M's mean; the weights stand above. Lower right: the real frame at the horizon, and four dreams.
#
# **Tasks.**
#
# 1. Step through the episode. Find a moment where two Gaussians lie apart. How large is the weight of the smaller one?
# 2. Leave `horizon` at 1 and go through the dimensions. For which do the five frames at the upper right differ?
# 3. Increase `horizon`. After how many steps can you tell the four dreams apart?
# 4. At the largest horizon, compare temperatures 0, 1 and 2. Does what you see agree with Figure 3.13?
#
# <details><summary>What to expect</summary>
#
# 1. In most moments all Gaussians lie close together. Where one lies apart, its weight is usually below 10%: a heavy tail, as in Figure 3.5.
# 2. Only for those of which M is uncertain; elsewhere the five means are nearly equal.
# 3. After 5 to 10 steps in bends, later on straight road.
# 4. At 0 all dreams are equal, because nothing is drawn. At 2 they differ most. In Figure 3.13 the distance to the nearest real $z$ is nearly the same at 1 and 2, so do not expect a clear difference in plausibility.
# </details>

# %%
start = max(0, len(episodes[0]["actions"]) // 3)
stop = start + 4 * chapter.horizon
explorer = MixtureExplorer(
    world_model,
    episodes[0]["frames"][: stop + 1],
    episodes[0]["actions"][:stop],
    horizon=chapter.horizon // 2,
    first=start,
)
explorer.widget

# %%
explorer.contact_sheet()

# %% [markdown]
# **Figure 3.14.** The explorer's contact sheet: one dream per temperature, all from the same moment and with the same random seed. (One sample each; for what temperature does on average, see Figure 3.13.)
#
# ## 3.16 Exercises
#
# **1. Overconfident on purpose.** Cool M's one-step forecasts to $\tau = 0.3$ before computing the quantiles of 3.7. By how much does the coverage of the 80% interval fall? Put the empirical coverage of the central 80% interval into `cold` and check it with
#
# ```python
# assert 0.4 < cold < 0.75
# ```
#
# <details><summary>Hint</summary>
#
# `forecast._replace(logits=..., log_sigma=...)` gives a changed forecast. $\log(\sqrt\tau\,\sigma) = \log\sigma + \frac12\log\tau$.
# </details>
# <details><summary>Solution</summary>
#
# ```python
# tau, generator, q_cold = 0.3, torch.Generator().manual_seed(0), []
# with torch.no_grad():
#     for posterior, a in zip(posteriors, actions, strict=True):
#         z = sample_latent(*posterior, generator)[None]
#         p, _ = mdn_rnn(z[:, :-1], a[None])
#         p = p._replace(logits=p.logits / tau, log_sigma=p.log_sigma + 0.5 * np.log(tau))
#         q_cold.append(evaluation.quantiles(p, z[:, 1:])[0, :, active])
# q_cold = torch.cat(q_cold)
# cold = ((q_cold > 0.1) & (q_cold < 0.9)).float().mean().item()
# assert 0.4 < cold < 0.75
# ```
#
# For a single Gaussian, the 80% interval of 1.28 SDs shrinks to $1.28\sqrt{0.3} = 0.70$ SDs, which contain 52%.
# </details>
#
# **2. Independent dimensions?** The head treats the 32 dimensions as independent *given h*. Are they independent in a rollout? Take the 16 dreams at the middle of the horizon, and permute the samples *separately in every dimension*. Each dimension keeps its distribution; what holds them together is lost. Compare the distance to the nearest real $z$ (`plausibility`) of the permuted and of the original samples, and check with
#
# ```python
# assert by_episode(plausibility(permuted)).mean() > by_episode(plausibility(original)).mean()
# ```
#
# <details><summary>Hint</summary>
#
# `torch.rand(16, 32).argsort(0)` is a random permutation for each dimension; `gather` along axis 0 applies it. It is enough to compare sample 0 of both.
# </details>
# <details><summary>Solution</summary>
#
# ```python
# samples = dreams[:, :, half - 1]  # (16, windows, 32)
# order = torch.rand(samples.shape).argsort(0)
# permuted, original = samples.gather(0, order)[0], samples[0]
# print(by_episode(plausibility(original)).mean(), by_episode(plausibility(permuted)).mean())
# assert by_episode(plausibility(permuted)).mean() > by_episode(plausibility(original)).mean()
# ```
#
# The permuted samples lie further from the data: over several steps, $h$ has made the dimensions dependent.
# </details>
#
# **3. What does M know about reward?** A new tile gives about 3.4 points, and every agent step costs 0.2. Compute the share of variance ($R^2$) of the real reward that M's prediction explains in the test episodes: for single steps, and for sums over 25 steps (one second). Check with
#
# ```python
# assert r2_second > r2_step
# ```
#
# <details><summary>Hint</summary>
#
# `forecasts[k].reward[0]` and `episodes[k]["rewards"]` are both $(T,)$. $R^2 = 1 - \sum (r - \hat r)^2 / \sum (r - \bar r)^2$. `np.convolve(r, np.ones(25), "valid")` sums over 25 steps.
# </details>
# <details><summary>Solution</summary>
#
# ```python
# def r2(real, predicted):
#     return 1 - ((real - predicted) ** 2).sum() / ((real - real.mean()) ** 2).sum()
#
# def summed(parts, steps):
#     return np.concatenate([np.convolve(part, np.ones(steps), "valid") for part in parts])
#
# rewards, guesses = [e["rewards"] for e in episodes], [p.reward[0].numpy() for p in forecasts]
# r2_step, r2_second = (r2(summed(rewards, n), summed(guesses, n)) for n in (1, 25))
# print(r2_step, r2_second)
# assert r2_second > r2_step
# ```
#
# $R^2$ is about 0.1 for single steps and 0.7 for seconds. V's reconstructions do not show the small difference in colour between neighbouring tiles, so M cannot know the step in which the next tile is hit. It predicts the rate.
# </details>
#
# ## Summary
#
# - **One step ahead**, M halves the error of a copy (0.14 against 0.30). Linear autoregression does about as well: 40 ms ahead, $z$ changes almost linearly.
# - **The mixture** is hardly used within one step: about 1% of the forecasts have two peaks, and three training seeds detect no loss of likelihood with $K$ = 1. Different futures arise over several steps, because samples are fed back.
# - **Calibration**: one step ahead, M is slightly overconfident, by about 1 percentage point at 80%.
# - **The horizon** of the pretrained M is short: from half a second on, a constant has a smaller error. Trained on on-policy data alone, M has a smaller error than linear autoregression for about a second. The horizon depends on the start: about 20 steps from agent step 50, where nearly all tracks are alike, and about 9 from later ones.
# - **Actions** matter most around 0.4 s ahead; beyond 0.6 s, whether an effect is detected depends on the execution. **Temperature** controls the spread of the dreams and hardly changes how plausible they are.
# - **The loss**: the sum over dimensions, in place of the mean, lowers the NLL by about 0.8 nats per step.
# - **Memory**: without it, the one-step error is about twice that of a copy.
#
# **What's next.** V sees, M remembers and predicts. In [chapter 4](04_controller.ipynb) a linear controller with 867 parameters learns to act on both.
#
# **Related work.**
#
# - Bishop, [Mixture Density Networks](https://publications.aston.ac.uk/id/eprint/373/), 1994: first to let a network output the parameters of a mixture.
# - Graves, [Generating Sequences With Recurrent Neural Networks](https://arxiv.org/abs/1308.0850), 2013: first to put a mixture density on an LSTM, for handwriting.
# - Ha & Eck, [A Neural Representation of Sketch Drawings](https://arxiv.org/abs/1704.03477), 2017 (sketch-rnn): introduced the temperature with $\sqrt\tau$ that the paper and this chapter use.
# - Ha & Schmidhuber, [World Models](https://worldmodels.github.io/), 2018, appendix A.2: this M.
# - Bengio et al., [Scheduled Sampling](https://arxiv.org/abs/1506.03099), 2015: first to reduce the mismatch of teacher forcing by feeding a model its own samples during training.
# - Hafner et al., [PlaNet](https://arxiv.org/abs/1811.04551), 2019, and [Dream to Control](https://arxiv.org/abs/1912.01603), 2020: V and M trained together as one latent dynamics model, the RSSM, with a deterministic and a stochastic path.
# - Tallec, Blier & Kalainathan, [Reproducing "World Models": is training the recurrent network really needed?](https://ctallec.github.io/world-models/), 2018: found that on CarRacing, C scores almost as well with an *untrained* M.
# - Gneiting et al., [Probabilistic forecasts, calibration and sharpness](https://doi.org/10.1111/j.1467-9868.2007.00587.x), 2007: the PIT histogram; Gneiting & Raftery, [Strictly Proper Scoring Rules](https://doi.org/10.1198/016214506000001437), 2007: the energy score.
