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
# # World Models, notebook by notebook
#
# ![Left, the agent on a race track; right, the same agent in a dream, where the border turns orange](../figures/00_reality_and_dream.gif)
#
# **Figure 0.1.** Left: a trained agent on a track of CarRacing-v3. Right: the same agent observes the track for two seconds (blue border) and then receives no more frames (orange border): its world model imagines the road, and the agent acts in that dream.
#
# A **world model** is a network that predicts what an environment will do next, so that an agent can plan or train in its predictions. In 2018 David Ha and Jürgen Schmidhuber built an agent around one, for a racing car. The agent has three parts: **V** (vision) compresses each frame and **M** (memory) predicts the next one; these two are the world model. **C** (controller) acts. In this series you build that agent yourself, on a laptop without a GPU.
#
# **What you'll do.** Watch a trained agent and its dream; measure for how long the dream can be trusted; check that your machine is ready.
#
# **What you'll learn.** What V, M and C are, and how these notebooks work.
#
# **What you need.** Nothing to read and run it (Shift+Enter runs a cell); a little PyTorch for its one build cell, which you may skip.
#
# **How long.** 15 minutes of reading and building; running all cells takes about 40 seconds on two cores.

# %% tags=["install", "remove-cell"]
import subprocess
import sys
from importlib.util import find_spec

if find_spec("wmlib") is None:  # on Colab, for example; where it is installed, nothing is done
    source = "..[notebooks]"
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", source], check=True)

# %%
import os
import platform

import gymnasium as gym
import numpy as np
import torch

from wmlib.models.checkpoints import load_agent, load_network
from wmlib.models.mdn_rnn import MDNRNN
from wmlib.models.vae import tensor_to_frames
from wmlib.models.world_model import WorldModel
from wmlib.paths import pretrained
from wmlib.pipeline import car_racing, phases, scoring
from wmlib.pipeline.scales import get_chapter_config, get_config
from wmlib.rollout.policies import ControllerPolicy
from wmlib.training.fit import pick_device
from wmlib.view import build, figures

figures.use_style()
config = get_config()
folder = pretrained("car_racing_dream")  # the agent of chapter 6
agent, controller = load_agent(folder)
chapter = get_chapter_config().at_pace(agent.mdn_rnn.repeat)  # its times, in agent steps
dream_model = WorldModel(agent.vae, load_network(MDNRNN, folder / "dream.safetensors"))

# %% [markdown]
# ## 0.1 Three parts
#
# What does the agent consist of?

# %%
figures.architecture(agent, controller)

# %% [markdown]
# **Figure 0.2.** The agent in one step. Blue: from the environment. Orange: what the model reconstructs or predicts.
#
# - **V**, a variational autoencoder, compresses a frame of 12,288 numbers to a latent vector $z$ of 32.
# - **M**, a recurrent network (LSTM) with a mixture of Gaussians as its output, reads $z$ and the action, and predicts the next $z$ (and, for dreams, the reward and whether the episode ends). Its memory $h$ holds what a single frame does not show, such as the speed.
# - **C**, a single linear layer, computes steering, gas and brake from $z$ and $h$.
#
# V learns from recorded frames alone, M from recorded frames, actions and rewards. Only C is trained to maximize reward, and it is tiny:

# %% tags=["nbval-check-output"]
for name, part in (("V", agent.vae), ("M", agent.mdn_rnn)):
    print(f"{name} {sum(p.numel() for p in part.parameters()):9,} parameters")
print(f"C {controller.num_parameters:9,} parameters")

# %% [markdown]
# How good is it? The series trains two agents. The C of the first one was evolved in the real environment; the C of the second one, shown here, was evolved only in dreams of its M and never received a reward of the real environment.

# %%
for name in ("car_racing", "car_racing_dream"):
    print(f"{name:17} {scoring.score_run(get_config(), pretrained(name))}")

# %% [markdown]
# The first number of each line is the mean return over n tracks that no part of the agent was trained on, followed by the SD of episodes and the 95% CI of the mean. An episode has at most 1,000 environment steps; the tiles of the track are worth 1,000 points together, and each step costs 0.1. The number of steps in the output is the mean length of an episode. Chapter 5 explains how the scores were measured.
#
# **Finding.** Both agents have a mean return of about 900 (897.7 and 899.9). This does not compare the two methods: each agent is one training run, and the second is the best of three. Over three runs each, the means are 899 (real environment) and 862 (dreams); the 95% CI of the difference, -43 to 117, includes 0 (chapter 6). The second agent also completes fewer laps, 48% against 85%.

# %% [markdown]
# ## 0.2 For how long does a dream follow the real track?
#
# The agent acts at 25 Hz: an **agent step** is two environment steps with the same action. We record 24 episodes, let the model observe 50 agent steps of each (2 s), and then let it predict without frames, in two ways: **open loop**, with the actions of the real episode, or with **C acting in the dream**. Two Ms take part in this agent: `dream_model` predicts the dream, and the agent's own M computes the memory $h$ that C reads. Chapter 6 explains why; you can skip the code for now.
#
# **Predict:** after how many seconds will the dream show a road different from the real one?

# %%
start, seen = 2 * chapter.context, chapter.context  # at laptop scale: from agent step 100, 50 steps
ahead = chapter.horizon
steps = agent.mdn_rnn.repeat * (start + seen + ahead)
store = phases.collect(
    car_racing.training_env_spec(config.change(max_steps=steps)),
    ControllerPolicy(controller),
    range(500_000, 500_000 + chapter.test_episodes),
    config.run_folder(f"start_here-{scoring.agent_digest(folder)}") / "episodes",
    world_model=agent,
)
episodes = [store.episode(name) for name in store.names()]
frames, actions, rewards = (
    torch.from_numpy(np.stack([e[name][start:] for e in episodes]))
    for name in ("frames", "actions", "rewards")
)
print(f"{len(frames)} episodes, {actions.shape[1]} agent steps of each")


# %%
@torch.no_grad()
def dream(steps, temperature, c_acts):
    """z (episodes, steps, 32) imagined after `seen` observed steps.

    The actions are C's, or those of the real episodes.
    """
    state, memory = dream_model.begin(frames[:, 0]), agent.begin(frames[:, 0])
    for t in range(seen):
        step = actions[:, t], frames[:, t + 1], rewards[:, t]
        state, memory = dream_model.observe(state, *step), agent.observe(memory, *step)
    generator, imagined = torch.Generator().manual_seed(0), []
    for t in range(seen, seen + steps):
        action = controller(memory.features) if c_acts else actions[:, t]
        state, _ = dream_model.imagine(state, action, temperature, generator)
        h, c = agent.remember(memory, action)
        memory = memory._replace(z=state.z, h=h, c=c)  # what C reads: the imagined z, and its own h
        imagined.append(state.z)
    return torch.stack(imagined, dim=1)


def decode(z):
    """z (episodes, steps, 32) -> frames (episodes, steps, 3, 64, 64), float 0..1."""
    return torch.stack([agent.decode(one) for one in z])


# %% [markdown]
# To compare frames we need a distance: the squared error, summed over the pixels. You write it, in a **build cell**; every chapter has some. Replace the dots and run the cell. `build.check` compares your function with the package's and says what differs; once it is right, the cells below use yours, and until then the package's. If you are stuck, run `build.hint("squared_error")` or `build.solution("squared_error")`.
#
# **Build 0.1: `squared_error`** (1 line). `x.flatten(1)` makes (B, 3·S·S) of a batch of B images, (B, 3, S, S).

# %%
def squared_error(images, targets):
    """Squared error summed over channels and pixels, per image: (B, 3, S, S) twice -> (B,)."""
    ...


squared_error = build.check(squared_error)

# %% [markdown]
# The baseline is the squared error between the frames of two *unrelated* episodes. We say that the dreams *follow* the real track as long as their squared error, averaged over the 24 episodes, is below half of the baseline's mean. The temperature sets how random the dream is (chapter 3). We try three, and keep the one for which the dream follows the longest.

# %%
real = decode([agent.encode(one[seen + 1 :]) for one in frames])
unrelated = np.stack([squared_error(a, b) for a, b in zip(real, real.roll(1, 0), strict=True)])
limit = unrelated.mean() / 2
errors, follows = {}, {}
for tau in (0.1, 0.5, 1.0):
    dreamt = decode(dream(ahead, tau, c_acts=False))
    errors[tau] = np.stack([squared_error(a, b) for a, b in zip(dreamt, real, strict=True)])
    follows[tau] = int(np.append(errors[tau].mean(0) > limit, True).argmax())
    print(f"temperature {tau}: follows for {follows[tau]} agent steps ({follows[tau] / 25:.1f} s)")
tau = max(follows, key=follows.get)

# %%
curves = {"open-loop dream": errors[tau], "another episode": unrelated}
colors = {"open-loop dream": figures.DREAM, "another episode": figures.BASELINE}
figure = figures.horizon_curves(curves, "squared error per frame", colors)
ax = figure.axes[0]
ax.axhline(limit, color="black", lw=1, ls="--", label="half the baseline")
ax.legend()
figure

# %% [markdown]
# **Figure 0.3.** Squared error against the real frames as V reconstructs them: of open-loop dreams (orange), and of frames of another episode (grey); mean over the episodes with its 95% CI. The dreams follow the real track while the orange curve is below the dashed line (half the grey curve's mean over all steps).
#
# **Finding.** On average over 24 episodes the dream follows the real track for less than half a second, with little difference between the temperatures (8 to 11 agent steps). After one second its error is larger than that of another episode. A likely reason: the last observed frame shows only a short piece of the road ahead, and M has to guess how the road goes on.

# %% [markdown]
# ## 0.3 What a dream is good for
#
# After half a second the dream shows another road. Is it still a road? An agent can only learn to drive in a dream that shows one. We count the dreams in which a road is visible (more than 5% of the pixels are grey) after 30 and 60 agent steps, and let the dream in which C acts continue for 240 agent steps.
#
# **Predict:** which dream loses the road first, open loop or with C acting?

# %%
def road_visible(images):
    """Images (..., 3, 64, 64) float 0..1 -> whether 5% of the pixels are grey: (...) bool."""
    grey = (images[..., 1, :, :] - images[..., 0, :, :] < 0.15) & (images[..., 1, :, :] > 0.25)
    return grey.float().mean((-1, -2)) > 0.05


dreams = {
    "real": real,
    "open loop": decode(dream(ahead, tau, c_acts=False)),
    "C acts": decode(dream(4 * ahead, tau, c_acts=True)),
}
for name, images in dreams.items():
    counts = road_visible(images).sum(0)
    later = [k for k in (ahead // 2, ahead, 4 * ahead) if k <= images.shape[1]]
    print(f"{name:10}", *[f"+{k}: {counts[k - 1]:2} of {len(images)}  " for k in later])

# %%
typical = int(np.argsort(errors[tau][:, : follows[tau] + 1].mean(1))[len(frames) // 2])
shown = [k for k in (1, 5, 10, 15, 20, 30, 40, 50, 60) if k <= ahead]
indices = np.array(shown) - 1
rows = {name: tensor_to_frames(images[typical])[indices] for name, images in dreams.items()}
rows["real"] = frames[typical, seen + 1 + indices].numpy()
colors = {"real": figures.REALITY, "open loop": figures.DREAM, "C acts": figures.DREAM}
figures.frame_grid(rows, [f"+{k / 25:.1f} s" for k in shown], colors)

# %% [markdown]
# **Figure 0.4.** The episode with the median open-loop error, averaged over the first 12 agent steps. Top: real frames. Middle: the dream with the real episode's actions. Bottom: the dream in which C acts. Times are from the last observed frame, rounded: the first column (+0.0 s) is one agent step, 0.04 s, after it.
#
# **Finding.** Open loop, 13 of the 24 dreams show no road after 60 agent steps (2.4 s). With C acting, all 24 show one even after 240 steps (9.6 s). So M can still predict roads. In the middle row, the recorded actions steer through the real bend (after +1.2 s), but the imagined road does not bend there: the car leaves it. Can C learn to drive in such dreams? The second agent's score above says yes; chapter 6 shows how, and where it goes wrong.
#
# This cell draws Figure 0.1, for the same episode:

# %%
recorded = frames[typical].numpy()
left = recorded[: seen + 1 + ahead]
imagined = tensor_to_frames(dreams["C acts"][typical, :ahead])
right = [figures.framed(recorded[: seen + 1], "observes", figures.REALITY)]
right.append(figures.framed(imagined, "dreams", figures.DREAM))
figures.moving_picture(
    [figures.framed(left, "real environment", figures.REALITY)[::2], np.concatenate(right)[::2]],
    "left, the agent on a real track; right, it observes the track, and then dreams",
    fps=12.5,
    save=config.figure("00_reality_and_dream.gif"),
)

# %% [markdown]
# ## 0.4 Your machine
#
# Is everything installed?

# %%
print(f"Python {platform.python_version()}, torch {torch.__version__}, gymnasium {gym.__version__}")
print(f"{os.cpu_count()} cores; networks train on: {pick_device()}")
env = gym.make("CarRacing-v3")
env.reset(seed=0)
assert env.step(np.zeros(3, np.float32))[0].shape == (96, 96, 3)
print("CarRacing-v3 runs. You are ready.")

# %% [markdown]
# ## 0.5 The chapters
#
# | chapter | question | you build |
# |---|---|---|
# | [1. A ball in a box](01_bouncing_ball.ipynb) | Do V and M work where we know the true state? | V's loss, a training loop, the likelihood of a mixture |
# | [2. V](02_vae.ipynb) | What does V keep of a frame, and what does it lose? | encoder and decoder, layer by layer |
# | [3. M](03_mdn_rnn.ipynb) | How does M predict a future that is uncertain? | the LSTM step, the mixture output, sampling, the open-loop rollout |
# | [4. C](04_controller.ipynb) | How can 867 parameters drive a car, and how are they found? | the linear policy, an evolution strategy |
# | [5. The full loop](05_car_racing.ipynb) | Data, V, M, C and a score, from an empty folder | one round of the loop, the rollout, a bootstrap interval |
# | [6. Learning inside a dream](06_dreaming.ipynb) | Can C be trained in dreams alone, and when can a dream be trusted? | the dream as an environment, the extrapolated return, the regret |
# | [7. What matters](07_what_matters.ipynb) | Which parts are worth their cost, and is training M one of them? | an interval for the difference of two recipes, the steps to a level, a linear probe |
#
# Each chapter runs alone. What they have in common:
#
# - **Predict:** a question before a result. Answer it for yourself before you run the next cell.
# - **Build cells**, as in section 0.2. A chapter runs from top to bottom whether or not you fill them in.
# - **Finding.** This paragraph says what the section's experiment has shown, with its number. "± SD" is the standard deviation of single episodes; "95% CI" is the confidence interval of a mean.
# - **Colours:** blue is the real environment, orange is what a model predicts or imagines, grey or black is a baseline.
# - **Break it:** a failure on purpose, to see which part of a method matters.
# - **`RETRAIN`:** chapters load pretrained weights. With `RETRAIN = True`, set near its top, a chapter trains its own; interrupted training continues when the cell is run again.
# - **`WM_SCALE`:** an environment variable with the size of everything: `smoke` (seconds, for tests), `laptop` (the default) or `paper`. The settings are in `wmlib/pipeline/scales.py`.
#
# ## Summary
#
# - V compresses a frame to 32 numbers, M predicts the next ones, and C, with 867 parameters, acts on both. The two agents of this series score about 898 and 900 points on tracks they were not trained on (one training run each; the second is the best of three).
# - A dream follows the real track for less than half a second. After that it shows another road.
# - With C acting in it, each of 24 dreams still shows a road after 9.6 s; with recorded actions, 13 of 24 show none after 2.4 s.
#
# **What's next.** [Chapter 1](01_bouncing_ball.ipynb): V and M for a ball in a box, where every claim can be checked.
#
# **Related work.** Sutton, [Dyna](https://dl.acm.org/doi/10.1145/122344.122377) (1991): an agent that also learns from the predictions of a learned model. Schmidhuber, [Making the World Differentiable](https://people.idsia.ch/~juergen/world-models-planning-curiosity-fki-1990.html) (1990): a recurrent world model and a controller, both neural networks. Ha & Schmidhuber, [World Models](https://worldmodels.github.io/) (2018; [arXiv:1803.10122](https://arxiv.org/abs/1803.10122)): the agent of this series, and a controller trained in dreams for VizDoom. Hafner et al., [PlaNet](https://arxiv.org/abs/1811.04551) (2019): planning in a latent model learned from pixels; [Dream to Control](https://arxiv.org/abs/1912.01603) (2020) and [DreamerV3](https://arxiv.org/abs/2301.04104) (2023): an actor and a critic trained in latent imagination. Alonso et al., [DIAMOND](https://arxiv.org/abs/2405.12399) (2024): a diffusion model as the world model.
