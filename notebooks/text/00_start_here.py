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
# **A world model** is what lets you catch a ball with your eyes closed: a small picture of the world that goes on moving when you are not looking. In 2018 David Ha and Jürgen Schmidhuber built one for a racing car, in three parts: **V** sees, **M** remembers and predicts, **C** acts. In this series you take that agent apart and build it again, on a laptop without a GPU.
#
# This first chapter takes five minutes. It shows where you will arrive, and checks that your machine can get you there.
#
# **How to read it.** A notebook is a row of cells. Press Shift+Enter to run one, or choose *Run → Run All Cells*.

# %%
import os
import platform

import gymnasium as gym
import numpy as np
import torch

from wmlib import evaluation
from wmlib.models.checkpoints import load_agent
from wmlib.paths import pretrained
from wmlib.pipeline import car_racing, scoring
from wmlib.pipeline.scales import get_chapter_config, get_config
from wmlib.rollout.policies import ControllerPolicy, EpisodeSpec
from wmlib.rollout.rollout import record_episode
from wmlib.training.fit import pick_device
from wmlib.view import figures

figures.use_style()
config, chapter = get_config(), get_chapter_config()
shipped = pretrained("car_racing")
agent, controller = load_agent(shipped)

# %% [markdown]
# ## Reality and dream
#
# Left: the trained agent drives a track of CarRacing-v3 (a drive begins high above the field and zooms in). Right: its own dream of the same drive. The dream watched the first frames (while they play, it is the agent's view of them); then it got no more pictures, only the steering, gas and brake, and had to imagine the rest. The agent looks at the road at every second step of the game, 25 times a second, and holds its action in between: such a *look* is what the figures of this series count in.

# %%
track = EpisodeSpec(seed=500_007)
world = car_racing.training_world(config)
drive = record_episode(world, ControllerPolicy(controller), track, agent)
seen, end = chapter.context, chapter.context + 2 * chapter.horizon
frames, actions = drive.recording["frames"][: end + 1], drive.recording["actions"][:end]
# temperature: how wild the dream is; chapter 3 turns it up and down
dream = evaluation.dream_frames(agent, frames, actions, seen, temperature=0.5)

# %%
figures.moving_picture(
    [frames, dream],
    "left, the agent drives; right, its dream of the same drive",
    fps=50 / config.env.repeat,
    save=config.figure("00_reality_and_dream.gif"),
)

# %% [markdown]
# The same as still pictures, for those who read this without running it:

# %%
moments = np.linspace(0, len(actions), 10).astype(int)
figures.frame_grid(
    {"reality": frames[moments], "dream": dream[moments]},
    [f"look {t}" if t <= seen else f"+{t - seen}" for t in moments],
    {"reality": figures.REALITY, "dream": figures.DREAM},
)

# %% [markdown]
# Up to "look" the agent sees, from "+1" on it dreams. Where the two part is as interesting as where they agree. The dream cannot know what lies beyond the picture's edge, so it makes something up: other bends. The real drive's steering does not fit those, and so the dreamt car may end up in dreamt grass. Chapter 3 looks into how far ahead M knows, and how it doubts.

# %% [markdown]
# ## Three parts
#
# ```mermaid
# flowchart LR
#     world[the world] -- "frame<br>12,288 numbers" --> V
#     V -- "z, 32 numbers" --> M
#     V -- z --> C
#     M -- "h, 256 numbers" --> C
#     C -- "steering, gas, brake" --> world
#     C -- action --> M
# ```
#
# - **V**, a variational autoencoder, turns each frame into a short vector $z$.
# - **M**, a recurrent network with a mixture of Gaussians at its end, predicts the next $z$. Its memory $h$ holds what one picture cannot show.
# - **C**, a single linear layer, turns $z$ and $h$ into steering, gas and brake.
#
# V and M learn by watching what happens, like one who watches a game without caring who wins. Only C tries to *get* reward, and C is tiny:

# %%
# NBVAL_CHECK_OUTPUT
for name, part in (("V", agent.vae), ("M", agent.mdn_rnn)):
    print(f"{name} {sum(p.numel() for p in part.parameters()):9,} parameters")
print(f"C {controller.num_parameters:9,} parameters")

# %% [markdown]
# How well does it drive? Every number in this series says how it was measured. This one comes with the weights, and chapter 5 shows how to check it. (Mean ± standard deviation over 1,000 tracks that no part of the agent had seen, and how far off the mean may be. A drive lasts 1,000 steps at most; a thousand points are shared out along the track, and a step costs 0.1.)

# %%
print(scoring.score_run(config, shipped))

# %% [markdown]
# ## Your machine

# %%
print(f"Python {platform.python_version()}, torch {torch.__version__}, gymnasium {gym.__version__}")
print(f"{os.cpu_count()} cores; networks train on: {pick_device()}")
env = gym.make("CarRacing-v3")
env.reset(seed=0)
assert env.step(np.zeros(3, np.float32))[0].shape == (96, 96, 3)
print("CarRacing-v3 runs. You are ready.")

# %% [markdown]
# ## The way
#
# | chapter | question | reading |
# |---|---|---|
# | [1. A ball in a box](01_bouncing_ball.ipynb) | Do V and M work where we know the truth? | 30 min |
# | [2. V, the eye](02_vae.ipynb) | What does V see, and what does it throw away? | 40 min |
# | [3. M, the memory](03_mdn_rnn.ipynb) | How does M predict a future that is not certain? | 40 min |
# | [4. C, the driver](04_controller.ipynb) | How can 867 numbers drive, and how are they found? | 30 min |
# | [5. The whole loop](05_car_racing.ipynb) | Collect, V, M, C, score: from an empty folder | 30 min |
# | [6. Dreaming](06_dreaming.ipynb) | Can C learn in dreams alone, and when may a dream be trusted? | 45 min |
#
# Each chapter runs alone. You will meet the same things in each:
#
# - **Predict**: a question before a result. Answer it to yourself; it is the best part.
# - **`RETRAIN`**: every chapter loads weights that came with the repository. Set `RETRAIN = True` in its first cell to train your own instead. Training can be interrupted: run the cell again and it goes on.
# - **`WM_SCALE`**: how big everything is. `smoke` (seconds, for tests), `laptop` (the default) or `paper`. All numbers are in `wmlib/pipeline/scales.py`.
# - **Break it**: each chapter breaks something on purpose, because a thing is understood when you know how it fails.
# - **Blue is what happened, orange is what the model imagined, grey is a yardstick**, wherever these meet in a figure.
# - **`# NBVAL_CHECK_OUTPUT`** at the top of a cell is for the tests: its output must be the same on every machine.
#
# **What's next.** [Chapter 1](01_bouncing_ball.ipynb).
#
# **References.** Ha & Schmidhuber, [World Models](https://worldmodels.github.io/), 2018 ([arXiv:1803.10122](https://arxiv.org/abs/1803.10122)).
