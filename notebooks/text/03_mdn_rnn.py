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

# %%
import numpy as np
import torch

from wmlib import evaluation
from wmlib.files import read_log
from wmlib.models.checkpoints import load_world_model
from wmlib.models.mdn_rnn import MDNRNN, mdn_rnn_loss, mixture_mean, mixture_nll
from wmlib.models.vae import frames_to_tensor, kl_per_dimension, sample_latent, tensor_to_frames
from wmlib.models.world_model import State
from wmlib.paths import pretrained
from wmlib.pipeline import car_racing, scoring
from wmlib.pipeline.rounds import Round
from wmlib.pipeline.scales import get_chapter_config, get_config
from wmlib.view import build, figures
from wmlib.view.explorers import MixtureExplorer

figures.use_style()
config, chapter = get_config(), get_chapter_config()
RETRAIN = chapter.retrain  # True: train V and M here (20 minutes), instead of the pretrained ones

# %%
folder = config.run_folder("car_racing") if RETRAIN else pretrained("car_racing")
if RETRAIN:
    car_racing.train_world_model(Round.of(config, folder=folder))
world_model = load_world_model(folder)
mdn_rnn = world_model.mdn_rnn

# %%
tests = scoring.collect_test_episodes(config, chapter.test_episodes)
episodes = [tests.episode(name) for name in tests.names()]
actions = [torch.from_numpy(e["actions"]) for e in episodes]
with torch.no_grad():
    posteriors = [world_model.vae.encode(frames_to_tensor(e["frames"])) for e in episodes]
zs = [mu for mu, logvar in posteriors]
information = kl_per_dimension(*(torch.cat(part) for part in zip(*posteriors, strict=True))).mean(0)
active = information > 0.1
print(f"{len(episodes)} episodes, {sum(map(len, actions)):,} agent steps, {active.sum()} active")

# %%
figures.mdn_rnn_diagram(mdn_rnn)

# %% tags=["nbval-check-output"]
for name, part in MDNRNN().named_children():
    print(f"{name:8} {sum(p.numel() for p in part.parameters()):8,}")


# %%
def lstm_step(x, h, c, w_ih, w_hh, b_ih, b_hh):
    """One step of an LSTM: x (B, I), h and c (B, H) -> the new h and c, each (B, H).

    w_ih (4H, I), w_hh (4H, H), b_ih and b_hh (4H,): rows in the order i, f, g, o.
    """
    ...


lstm_step = build.check(lstm_step)

# %%
h = c = torch.zeros(1, mdn_rnn.hidden_size)
memory = []
with torch.no_grad():
    for z, a in zip(zs[0][:-1], actions[0], strict=True):
        h, c = lstm_step(torch.cat([z, a])[None], h, c, *mdn_rnn.lstm.all_weights[0])
        memory.append(h)
    memory = torch.cat(memory)
    torchs, _ = mdn_rnn.remember(zs[0][None, :-1], actions[0][None])
print(f"{len(memory)} steps, h of {memory.shape[1]} numbers")
print("the same as torch's LSTM, to 1e-4:", torch.allclose(memory, torchs[0], atol=1e-4))


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
print(tuple(output.shape), "->", tuple(mu.shape))
print("smallest and largest sum of weights:", log_pi.exp().sum(-1).aminmax())

# %%
figures.source(mdn_rnn_loss)

# %%
history = read_log(folder / "mdn_rnn.jsonl")
for number in sorted({row["round"] for row in history}):
    last = [row for row in history if row["round"] == number][-1]
    print(f"round {number}: {last['step']} steps in {last['seconds'] / 60:.1f} minutes")
figures.training_curves(history, {"nll": "-log p(next z), nats per dimension"})

# %%
with torch.no_grad():
    forecasts = [mdn_rnn(z[None, :-1], a[None])[0] for z, a in zip(zs, actions, strict=True)]
guesses = [mixture_mean(p)[0] for p in forecasts]


# %%
def inputs(z, a):
    """z_t, z_{t-1}, a_t and 1 of an episode: (T, 2 * 32 + 3 + 1)."""
    return torch.cat([z[:-1], torch.cat([z[:1], z[:-2]]), a, torch.ones(len(a), 1)], dim=1)


halves = []
for k in (0, 1):  # fitted on the other half of the episodes
    others = [(inputs(z, a), z[1:]) for z, a in zip(zs[1 - k :: 2], actions[1 - k :: 2], strict=True)]
    x, y = (torch.cat(part) for part in zip(*others, strict=True))
    halves.append(torch.linalg.lstsq(x.double(), y.double()).solution.float())
linear = [inputs(z, a) @ halves[k % 2] for k, (z, a) in enumerate(zip(zs, actions, strict=True))]


# %%
def distance(guess, real):
    """Squared distance in z over the active dimensions, (T,)."""
    return (guess - real)[..., active].square().sum(-1)


one_step = {"M": guesses, "linear autoregression": linear, "copy of z": [z[:-1] for z in zs]}
errors = {
    name: [distance(g, z[1:]).mean().item() for g, z in zip(some, zs, strict=True)]
    for name, some in one_step.items()
}
for name, values in errors.items():
    print(f"{name:22}", evaluation.episode_interval(values).describe(3))
better = np.array(errors["linear autoregression"]) - np.array(errors["M"])
print(f"{'linear minus M':22}", evaluation.episode_interval(better).describe(3))

# %%
moments = np.linspace(2, len(actions[0]) - 2, 8).astype(int)
picture = {
    "next frame": zs[0][moments + 1],
    "M's forecast": guesses[0][moments],
    "copy": zs[0][moments],
}
decoded = {name: tensor_to_frames(world_model.decode(z)) for name, z in picture.items()}
gap = {
    f"{name}: error × 4": (4 * np.abs(frames.astype(int) - decoded["next frame"])).clip(0, 255)
    for name, frames in list(decoded.items())[1:]
}
rows = {"next frame, real": episodes[0]["frames"][moments + 1], **decoded, **gap}
colors = {"next frame, real": figures.REALITY, "M's forecast": figures.DREAM}
figures.frame_grid({k: v.astype(np.uint8) for k, v in rows.items()}, colors=colors)


# %%
def one_gaussian(p):
    """The Gaussian with each mixture's mean and variance: mean and sigma, (T, D)."""
    pi, mean = p.log_pi[0].exp(), mixture_mean(p)[0]
    second = (pi * (p.log_sigma[0].exp() ** 2 + p.mu[0] ** 2)).sum(-1)
    return mean, (second - mean**2).sqrt()


gains = []
for p, z in zip(forecasts, zs, strict=True):
    single = torch.distributions.Normal(*one_gaussian(p))
    gains.append(-mixture_nll(p, z[None, 1:])[0] - single.log_prob(z[1:]))
per_step = [gain[:, active].sum(1).mean().item() for gain in gains]
print("mixture minus one Gaussian, nats per step:", evaluation.episode_interval(per_step).describe(2))

# %%
def density(p, t):
    """M's densities at step t on a grid of 4 SDs around each mean, and the one Gaussian's."""
    mean, sigma = (part[t, active] for part in one_gaussian(p))
    z = mean[:, None] + sigma[:, None] * torch.linspace(-4, 4, 161)
    parts = torch.distributions.Normal(p.mu[0, t, active], p.log_sigma[0, t, active].exp())
    weighted = p.log_pi[0, t, active] + parts.log_prob(z.T[..., None])
    single = torch.distributions.Normal(mean, sigma).log_prob(z.T)
    return z.T, weighted.exp().sum(-1), single.exp()


peaks, divergence = [], []
for k, p in enumerate(forecasts):
    for t in range(p.mu.shape[1]):
        z, mixed, single = density(p, t)
        inner = (mixed[1:-1] > mixed[:-2]) & (mixed[1:-1] > mixed[2:])
        peaks.append(inner.sum(0))
        nats = (mixed * (mixed / single).log() * (z[1] - z[0])).sum(0)
        divergence += [(value.item(), k, t, d) for d, value in enumerate(nats)]
share = (torch.stack(peaks) > 1).float().mean().item()
print(f"mixtures with two peaks: {share:.2%} of {len(divergence):,}")

# %%
names = active.nonzero()[:, 0].tolist()
found, chosen = [], {}
for value, k, t, d in sorted(divergence, reverse=True):
    if d not in chosen and len(chosen) < 4:
        chosen[d] = value, k, t
for d, (value, k, t) in chosen.items():
    print(f"z[{names[d]}], episode {k}, step {t}: {value:.2f} nats")

# %%
columns = {name: [] for name in ("log_pi", "mu", "log_sigma")}
for d, (_, k, t) in chosen.items():
    for name, values in columns.items():
        values.append(getattr(forecasts[k], name)[0, t, names[d]].numpy())
truth = np.array([zs[k][t + 1, names[d]].item() for d, (_, k, t) in chosen.items()])
labels = [f"z[{names[d]}]" for d in chosen]
figures.mixtures(*map(np.stack, columns.values()), truth, labels)

# %%
generator, q = torch.Generator().manual_seed(0), []
with torch.no_grad():
    for (m, logvar), a in zip(posteriors, actions, strict=True):
        z = sample_latent(m, logvar, generator)[None]
        forecast, _ = mdn_rnn(z[:, :-1], a[None])
        q.append(evaluation.quantiles(forecast, z[:, 1:])[0, :, active])
deviation = []
for of_episode in q:
    nominal, empirical = evaluation.coverage(of_episode)
    deviation.append(empirical - nominal)
deviation = np.array(deviation)

# %%
figure, (left, right) = figures.panels(2, width=3.6, height=2.8)
bins = np.linspace(0, 1, 21)
counts = [np.histogram(of_episode, bins)[0] / of_episode.numel() * 20 for of_episode in q]
intervals = [evaluation.episode_interval(column) for column in np.array(counts).T]
left.bar(bins[:-1] + 0.025, [i.mean for i in intervals], 0.045, color=figures.DREAM)
left.errorbar(bins[:-1] + 0.025, [i.mean for i in intervals],
    np.array([(i.mean - i.low, i.high - i.mean) for i in intervals]).T, fmt="none", color="black", lw=1)
left.axhline(1, color=figures.BASELINE)
left.set(xlabel="quantile of M's mixture", ylabel="density of the real z")
intervals = [evaluation.episode_interval(column) for column in 100 * deviation[:, 1:-1].T]
right.plot(100 * nominal[1:-1], [i.mean for i in intervals], color=figures.DREAM)
right.fill_between(100 * nominal[1:-1], [i.low for i in intervals], [i.high for i in intervals], color=figures.DREAM, alpha=.25, lw=0)
right.axhline(0, color=figures.BASELINE)
right.set(xlabel="nominal coverage (%)", ylabel="empirical minus nominal (points)")
figure

# %%
for probability in (0.5, 0.8, 0.96):
    at = np.abs(nominal - probability).argmin()
    print(f"{probability:.0%}", evaluation.episode_interval(100*deviation[:, at]).describe(2))


# %%
def sample_mixture(log_pi, mu, log_sigma, temperature):
    """Draw z from the mixtures: three tensors (B, D, K), temperature > 0 -> (B, D)."""
    ...


sample_mixture = build.check(sample_mixture)

# %%
def open_loop(world_model, state, actions, temperature, generator):
    """z of M's open-loop rollout from `state` (B rows), with actions (B, H, A): (B, H, z_size)."""
    ...


open_loop = build.check(open_loop)

# %%
context, horizon = chapter.context, chapter.horizon
steps = context + horizon
windows, owner = [], []
for k, (z, a) in enumerate(zip(zs, actions, strict=True)):
    for start in range(0, len(a) - steps + 1, horizon):
        windows.append((z[start : start + steps + 1], a[start : start + steps]))
        owner.append(k)
z_windows, a_windows = (torch.stack(part) for part in zip(*windows, strict=True))
owner = np.array(owner)
real, future = z_windows[:, context + 1 :], a_windows[:, context:]
with torch.no_grad():
    _, (h, c) = mdn_rnn.remember(z_windows[:, :context], a_windows[:, :context])
now = State(z_windows[:, context], h[0], c[0], torch.zeros(len(real)))
print(len(real), len(set(owner)))


# %%
def dream(samples, temperature=1.0, future=future, seed=0):
    """z of open-loop rollouts of all windows: (samples, windows, horizon, 32)."""
    rows = torch.arange(len(real)).repeat(samples)
    generator = torch.Generator().manual_seed(seed)
    z = open_loop(world_model, now.take(rows), future[rows], temperature, generator)
    return z.unflatten(0, (samples, len(real)))


def per_episode(values):
    """Means over the windows of each episode: (windows, ...) -> (episodes, ...)."""
    return np.stack([values[owner == k].mean(0) for k in sorted(set(owner))])


dreams = dream(16)

# %%
pair, imagined = (z_windows[:, context - 1], z_windows[:, context]), []
weights = torch.stack([halves[k % 2] for k in owner])
for t in range(horizon):
    x = torch.cat([pair[1], pair[0], future[:, t], torch.ones(len(real), 1)], dim=1)
    pair = pair[1], torch.einsum("ni,nij->nj", x, weights)
    imagined.append(pair[1])
linear_ahead = torch.stack(imagined, 1)
by_horizon = {
    "M, mean of 16 samples": per_episode(distance(dreams.mean(0), real)),
    "M, one sample": per_episode(distance(dreams[0], real)),
    "linear autoregression": per_episode(distance(linear_ahead, real)),
    "copy of z": per_episode(distance(now.z[:, None], real)),
    "mean z": per_episode(distance(torch.cat(zs).mean(0), real)),
}
colors = {name: figures.DREAM for name in by_horizon}
figures.horizon_curves(by_horizon, "squared distance in z")

# %%
ours = by_horizon["M, mean of 16 samples"]
for name, values in list(by_horizon.items())[1:]:
    for step in (1, 5, 10, 20, 30, 40, 60):
        if step <= horizon:
            print(f"{name:22} +{step:2}", evaluation.episode_interval((values-ours)[:, step-1].tolist()).describe(2))
