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
# **What you'll do.** Train the second half of the world model on CarRacing and question it: one step ahead, two seconds ahead, at several temperatures, by hand, and with its memory wiped.
# **What you'll learn.** How to predict what is not certain; how to tell an honest forecast from an overconfident one; what temperature does; how fast errors grow.
# **What you need.** [Chapter 1](01_bouncing_ball.ipynb) for the idea, [chapter 2](02_vae.ipynb) for $z$.
# **How long.** 40 minutes; the cells take under a minute with the shipped weights.

# %%
import numpy as np
import torch

from wmlib import evaluation
from wmlib.files import read_log
from wmlib.models.checkpoints import load_world_model
from wmlib.models.mdn_rnn import MDNRNN, mdn_rnn_loss, mixture_mean, sample_next
from wmlib.models.vae import frames_to_tensor, kl_per_dimension, sample_latent, tensor_to_frames
from wmlib.paths import pretrained
from wmlib.pipeline import car_racing, scoring
from wmlib.pipeline.rounds import Round
from wmlib.pipeline.scales import get_chapter_config, get_config
from wmlib.training.fit import mdn_rnn_step
from wmlib.view import figures
from wmlib.view.explorers import MixtureExplorer

figures.use_style()
config, chapter = get_config(), get_chapter_config()
RETRAIN = chapter.retrain  # set to True to train everything here from scratch

# %% [markdown]
# ## 3.1 What M is asked
#
# A drive, seen through V, is a sequence of vectors $z_0, z_1, z_2, \dots$ with an action $a_t$ between each two. M reads $[z_t, a_t]$ and must say what comes next:
#
# - $z_{t+1}$, as a **mixture of five Gaussians for each of the 32 dimensions**;
# - the reward $r_t$, one number;
# - whether the episode ends, one probability.
#
# The first is the paper's. The other two are small additional heads. They will matter when M has to stand in for the whole environment: a dream in which one can earn something, and fail.
#
# One departure: CarRacing moves fifty times a second, and the paper's agent looks and acts at every step. Ours looks at every *second*, and holds its action in between (`repeat` in `wmlib/pipeline/config.py`). A car does not need fifty decisions a second, and M need not say fifty times that nothing much has changed: what it dreams reaches twice as far in as many steps. So $t$ counts looks, 25 a second, and $r_t$ is the reward of two steps.

# %%
figures.source(MDNRNN)

# %% [markdown]
# And its loss. (The likelihood itself, and how it breaks if written carelessly, is in [chapter 1](01_bouncing_ball.ipynb).)

# %%
figures.source(mdn_rnn_loss)

# %%
# NBVAL_CHECK_OUTPUT
mdn_rnn = MDNRNN()
for name, part in mdn_rnn.named_children():
    print(f"{name:8} {sum(p.numel() for p in part.parameters()):8,}")

# %% [markdown]
# Why a mixture, and not simply the next $z$? **Predict:** imagine that just beyond the picture's edge half of all roads bend left, and half bend right. A network trained with a squared error must give one answer. Which?
#
# It would answer with the average, a road that goes straight on, which is the one thing that never happens. A mixture can say "left or right, even chances, and I am sure that it is not straight on". (It says so for each dimension of $z$ by itself. That the dimensions fit together, all left or all right, it can only arrange through $h$, once the first draw has been seen.)

# %% [markdown]
# ## 3.2 Training it, or not
#
# One training step takes a batch of windows cut out of drives, draws a fresh $z$ for every moment from V's Gaussian, and asks for the loss:

# %%
figures.source(mdn_rnn_step)

# %%
folder = config.run_folder("car_racing") if RETRAIN else pretrained("car_racing")
if RETRAIN:
    car_racing.train_world_model(Round.of(config, folder=folder))
world_model = load_world_model(folder)
print("weights trained in this chapter" if RETRAIN else "weights that came with the repository")

# %%
history = read_log(folder / "mdn_rnn.jsonl")
for number in sorted({row["round"] for row in history}):
    last = [row for row in history if row["round"] == number][-1]
    print(f"round {number}: {last['step']} steps in {last['seconds'] / 60:.1f} minutes")
figures.training_curves(
    history, {"nll": "-log p(next z), nats per dimension", "reward": "reward, squared error"}
)

# %% [markdown]
# The curve levels off high, and it should. M's target is a *sample* of $z$. In a collapsed dimension (chapter 2) that is pure noise, and the best possible forecast of a standard normal variable costs $\frac12\log 2\pi e \approx 1.42$ nats. The active dimensions can be predicted better, down to the width of V's own Gaussian.
#
# (Three curves, because the weights that came along are from three rounds: first everything learns from random driving, then from the agent's own as well. [Chapter 5](05_car_racing.ipynb) has the whole loop. If you train here, you make the first round.)
#
# From here on, everything is measured on drives that neither V nor M has seen. Random driving soon ends up in the grass, where there is little to foresee. So the driver is the agent that came with the repository, with noise on its hands, so that it does not always do what the road suggests.

# %%
tests = scoring.collect_test_episodes(config, chapter.test_episodes)
episodes = [tests.episode(name) for name in tests.names()]
print(f"{len(episodes)} drives, {sum(len(e['actions']) for e in episodes)} looks at the road")

# %% [markdown]
# ## 3.3 One step ahead
#
# `watch` runs a drive through V and M. From every $h_t$ we take M's mixture for $z_{t+1}$.

# %%
known = [evaluation.watch(world_model, e["frames"], e["actions"]) for e in episodes]
with torch.no_grad():
    forecasts = [world_model.mdn_rnn.predict(h[None]) for z, h in known]

# %% [markdown]
# Is M's forecast better than *nothing changes*? From one look to the next little does change, so that is a serious rival. We compare squared errors in $z$, one number a drive, over the *active* dimensions, those that carry information:

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
print("nothing changes:", evaluation.episode_interval(change).describe(3))
print("M:              ", evaluation.episode_interval(error).describe(3))

# %%
e, (z, h) = episodes[0], known[0]
moments = np.linspace(2, len(h) - 2, 8).astype(int)
guess = mixture_mean(forecasts[0])[0, moments]
rows = {
    "next frame": e["frames"][moments + 1],
    "through z": tensor_to_frames(world_model.decode(z[moments + 1])),
    "M's forecast": tensor_to_frames(world_model.decode(guess)),
}
colors = {"next frame": figures.REALITY, "M's forecast": figures.DREAM}
figures.frame_grid(rows, colors=colors)

# %% [markdown]
# The middle row is all that could be hoped for: the real next frame, as V sees it. M made the lower row *without* that frame, and one step ahead the two can hardly be told apart.

# %% [markdown]
# ## 3.4 Looking at the mixtures
#
# Here is what M believes about the four most informative dimensions, at one moment of a drive. The thick line is the whole mixture, the thin ones its parts. Blue lines are ten samples of the real next $z$ (V's own Gaussian for the frame that came).

# %%
order = information.argsort(descending=True)[:4].tolist()
t = len(h) // 2
p = forecasts[0]
many = mu[t + 1, order].expand(10, 4), logvar[t + 1, order].expand(10, 4)
drawn = sample_latent(*many, torch.Generator().manual_seed(0))
parts = [part[0, t, order].numpy() for part in (p.log_pi, p.mu, p.log_sigma)]
figures.mixtures(*parts, drawn.T.numpy(), [f"z[{d}]" for d in order])

# %% [markdown]
# Does M use its five Gaussians? Where the parts lie on top of each other, one would have done; where they are apart or of different widths, M is saying something that a single Gaussian cannot.

# %% [markdown]
# ## 3.5 Is M honest?
#
# A forecast can be wrong in two ways: off the mark, or *overconfident*. The second has a clean test. If M names an interval and says "with 80% probability it falls in here", does it, 80% of the time? For every real $z_{t+1}$ we ask which quantile of M's mixture it falls on, and from that, which of M's central intervals it is in. Here input and target are samples of $z$, as in training. An honest forecaster's curve is the diagonal.
#
# **Predict:** a forecaster who always claims to know better than he does: does his curve run above or below?

# %%
figures.source(evaluation.quantiles)

# %%
generator, q = torch.Generator().manual_seed(0), []
with torch.no_grad():
    for drive in episodes:
        code = world_model.vae.encode(frames_to_tensor(drive["frames"]))
        z_drawn = sample_latent(*code, generator)[None]
        actions = torch.from_numpy(drive["actions"])[None]
        forecast, _ = world_model.mdn_rnn(z_drawn[:, :-1], actions)
        q.append(evaluation.quantiles(forecast, z_drawn[:, 1:])[0])
q = torch.cat(q)

# %%
claimed, found = evaluation.coverage(q[:, active])
figure, ax = figures.new_axes(width=3.4, height=3.2)
ax.plot([0, 1], [0, 1], color=figures.BASELINE, lw=1)
ax.plot(claimed, found, color=figures.DREAM)
ax.set(xlabel="probability that M gives an interval", ylabel="share of real z inside")
figure

# %%
for probability in (0.5, 0.8, 0.96):
    share = found[np.abs(claimed - probability).argmin()]
    print(f"M says {probability:.0%}: it happened {share:.1%} of the time")

# %% [markdown]
# An overconfident forecaster's intervals are too narrow: his curve runs *below* the diagonal, everywhere.

# %% [markdown]
# ## 3.6 Closing the eyes, and temperature
#
# Now we let M live on its own samples, as in chapter 1, but with the drive's own actions. The temperature $\tau$ divides the logits of the mixture weights and multiplies each $\sigma$ by $\sqrt\tau$:

# %%
figures.source(sample_next)

# %%
seen, ahead = chapter.context, chapter.horizon
long_enough = [e for e in episodes if len(e["actions"]) >= seen + ahead]
print(f"{len(long_enough)} of {len(episodes)} drives last {seen + ahead} looks")


def dream_on(e, temperature=1.0, samples=1, seed=0, actions=None):
    """z imagined for `ahead` steps after `seen` frames: (samples, ahead, z_size)."""
    end = seen + ahead
    actions = e["actions"] if actions is None else actions
    return evaluation.open_loop_rollout(
        world_model,
        e["frames"][: end + 1],
        torch.from_numpy(actions[:end]),
        context=seen,
        temperature=temperature,
        samples=samples,
        generator=torch.Generator().manual_seed(seed),
    )[0]


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
path = config.figure("03_dream.png")
path.parent.mkdir(parents=True, exist_ok=True)
figures.frame_grid(rows, [f"+{t + 1}" for t in shown]).savefig(path, dpi=80)

# %% [markdown]
# One dream proves nothing; another sample gives another road. So here are five samples at $\tau = 1$, the last frame of each, beside what happened. Where they agree M is sure, where they differ it is not. (Whether it is *rightly* unsure so far ahead is another question; 3.5 only asked about one.)

# %%
last = tensor_to_frames(world_model.decode(dream_on(e, 1.0, samples=5)[:, -1]))
happened = e["frames"][[seen + ahead]]
figures.frame_grid({f"+{ahead}: happened": happened, "five dreams of it": last})

# %% [markdown]
# ## 3.7 Touch it
#
# **Tasks.** With the explorer below:
#
# 1. Go through the drive with `agent step`. Find a moment where M's Gaussians lie apart, and one where they sit on top of each other.
# 2. Leave `horizon` at 1 (so that the small picture on the lower right is simply the next frame), look for a bend there, and choose the entries of $z$ one after the other. For which do the five pictures on the upper right differ?
# 3. Drag `horizon` from 1 to its end. After how many looks do the four dreams begin to differ from each other? And from what happened?
# 4. Stay at that end, and set `temperature` to 0, to 1 and to 2. What happens to the Gaussians' widths, and what to their shares? How many of the four dreams are still a road at 2?
# 5. Press `resample` a few times at temperature 1, then at temperature 0.
#
# <details><summary>What you may have seen</summary>
#
# 1. Where the road ahead is clear, the Gaussians of most entries sit on top of each other. They part where the next frame could be one of two things, or where one of them has gone wide and flat to catch what is rare.
# 2. The pictures differ for those few entries of which M is not sure. Where all five look alike, M either knows, or the entry paints little.
# 3. After five looks or so, and at most moments about as much from each other as from what happened. That is as it should be: what happened is then one more dream among them, as far as the eye can tell.
# 4. Widths grow with the square root of the temperature (at 0 they are lines), and the shares even out. At 2 roads get ragged, and some end in a blot.
# 5. At 0 nothing is drawn by lot: M always takes the middle of the likeliest Gaussian. Luck has nothing to decide.
# </details>
#
# **Controls.** `agent step`: the moment of the drive, from a third of it on (M has watched all that came before) · `dimension`: whose density is drawn; the eight most informative of the 32 · `temperature`: of forecast and dreams, 0 to 2 · `horizon`: how far the dreams on the lower right have gone (25 looks are a second) · `resample`: everything stays, but M draws other numbers.
#
# **What it shows.** Left: M's density for the chosen entry of the *next* $z$ (thick), the five Gaussians that add up to it (thin), and the value that V then found in the next frame (blue). The curve is always drawn as high as the box: compare widths, not heights. Upper right: five decoded pictures. In each, the chosen entry is at the middle of one Gaussian; all other entries of $z$ are at M's mean. The heaviest Gaussian comes first; the shares stand above. Lower right: the frame that came so many looks later, and four dreams of it.
#
# First the sheet, for those who read where widgets do not run. Each row is one dream that begins at the same moment, at another temperature but with the same luck; +1 is one look later.

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
explorer.contact_sheet()

# %%
explorer.widget

# %% [markdown]
# The same, by code. As the temperature rises the Gaussians widen and their shares even out:

# %%
d = explorer.dimension.value
for tau in (0.1, 0.5, 1.0, 2.0):
    explorer.temperature.value = tau
    forecast = explorer.forecast
    sigma, share = forecast.log_sigma[d].exp().mean(), forecast.log_pi[d].exp().max()
    print(f"τ = {tau:3}: mean σ {sigma:.2f}, the heaviest Gaussian's share {share:.0%}")
explorer.temperature.value = 1.0

# %% [markdown]
# ## 3.8 How fast does it go wrong?
#
# The squared distance in $z$ (active dimensions) against the number of steps imagined, over all drives; the mean of four dreams each, at $\tau = 0.1$, because a wild sample's own noise would count as an error. *Nothing changes* is the rival again. And there is a second, more telling one: M with *someone else's actions*. If M had only learned what roads usually do, it would not care.


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
    swapped = np.concatenate([e["actions"][:seen], other["actions"][seen:]])
    wrong = dream_on(e, 0.1, 4, actions=swapped)
    errors["M, another drive's actions"].append(z_error(wrong, e))
    errors["nothing changes"].append(z_error(frozen, e))

# %%
names = ("M", "M, another drive's actions", "nothing changes")
colors = dict(zip(names, (figures.DREAM, "black", figures.BASELINE), strict=True))
figures.horizon_curves(
    {name: np.stack(values) for name, values in errors.items()}, "squared distance in z", colors
)

# %% [markdown]
# The orange line below the grey one: that much of the future M knows. Where they meet, its foresight ends, and a still picture, which at least shows a real road, is as good a guess. The black line above the orange one: that much of it M knows *because it was told what the driver does*. The bands overlap, but they are the wrong thing to look at: easy drives are easy for both. Drive by drive, the difference is

# %%
gain = np.stack(errors["M, another drive's actions"]) - np.stack(errors["M"])
for step in (ahead // 3, 2 * ahead // 3, ahead):
    print(f"+{step:2}: {evaluation.episode_interval(gain[:, step - 1]).describe(2)}")

# %% [markdown]
# If an interval includes 0, so many drives cannot tell. (25 looks are a second of driving.)

# %% [markdown]
# ## 3.9 Break it: a memory of nothing
#
# Another bug that copies of this model have shipped: to start every step from a zero state. Everything runs, the loss falls, and $h$ never learns to remember anything. What is a memory worth? We wipe that of *our* M at every step, and compare its one-step forecasts with those of 3.3.
#
# **Predict:** better or worse than *nothing changes*, which has no memory either?

# %%
wiped = []
with torch.no_grad():
    for drive, (z, _) in zip(episodes, known, strict=True):
        actions = torch.from_numpy(drive["actions"])[:, None]
        alone, _ = world_model.mdn_rnn(z[:-1, None], actions)  # T batches of one step each
        off = (mixture_mean(alone)[:, 0] - z[1:])[:, active]
        wiped.append(off.square().sum(1).mean().item())
print("memory wiped:   ", evaluation.episode_interval(wiped).describe(3))
print("with its memory:", evaluation.episode_interval(error).describe(3))
print("nothing changes:", evaluation.episode_interval(change).describe(3))

# %% [markdown]
# Worse than saying nothing at all! This network was trained to lean on its memory, and without it, it takes every moment for the start of a drive. An M *trained* with a zero state would do better than that; but however long it trained, it could never know how fast the world streams past, because no single frame tells. When you write your own M, this comparison is the test that catches the bug, and the repository has one like it: `tests/test_rollout.py` checks at every step of a drive that C sees the $h$ of exactly the frames before.

# %% [markdown]
# ## 3.10 Exercises
#
# **1. What has M learned about reward?** A new tile pays about 3.4, every step costs 0.1, and a look lasts two steps. Plot M's predicted reward along one drive together with the real one. Does it know *when* a tile comes, or only how often?
#
# <details><summary>Solution</summary>
#
# ```python
# figure, ax = figures.new_axes(width=7)
# ax.plot(episodes[0]["rewards"], color=figures.REALITY, lw=0.8)
# ax.plot(forecasts[0].reward[0], color=figures.DREAM)
# ax.set(xlabel="look", ylabel="reward")
# figure
# ```
#
# Neighbouring tiles differ by a few grey levels of 255, which V does not keep, so the exact moment of the next one is hard to tell. A squared error makes M answer with the expected rate instead: high on the road and fast, low on the grass (two steps there cost 0.2).
# </details>
#
# **2. A colder forecast.** Make M overconfident on purpose: change its forecasts to those of temperature 0.3, and draw the coverage again. *(Check: the curve must lie below the diagonal.)*
#
# <details><summary>Solution</summary>
#
# ```python
# tau, q = 0.3, []
# for p, (z_of_one, _) in zip(forecasts, known, strict=True):
#     cold = p._replace(logits=p.logits / tau, log_sigma=p.log_sigma + 0.5 * np.log(tau))
#     q.append(evaluation.quantiles(cold, z_of_one[None, 1:])[0])
# claimed, found = evaluation.coverage(torch.cat(q)[:, active])
# print(np.c_[claimed, found][::10].round(2))
# ```
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
# - Living on its own samples it keeps the road for a while; errors grow with the horizon. Whether they grow less because M was told the actions, 24 drives cannot tell.
# - Temperature widens or narrows what it dreams.
# - Without the carried state, M is blind to motion.
#
# **What's next.** V sees and M remembers. [Chapter 4](04_controller.ipynb): who drives?
#
# **References.** Ha & Schmidhuber, [World Models](https://worldmodels.github.io/), 2018, appendix A.2 · Graves, [Generating Sequences With Recurrent Neural Networks](https://arxiv.org/abs/1308.0850), 2013 · Gneiting et al., [Probabilistic forecasts, calibration and sharpness](https://doi.org/10.1111/j.1467-9868.2007.00587.x), 2007
