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
# # 5. The whole loop
#
# ![The car seen from above, driving along the road](../figures/05_drive.gif)
#
# *The agent of this chapter on a track that it never trained on, in the untouched CarRacing-v3: the first seconds of its best drive.*
#
# **What you'll do.** Start from an empty folder and end with a score: collect, train V, train M, evolve C, and drive tracks that nobody has seen.
# **What you'll learn.** How the parts fit; where the time goes; what a score means, and how to report one that others can believe.
# **What you need.** Chapters [2](02_vae.ipynb) to [4](04_controller.ipynb).
# **How long.** 30 minutes of reading. With the shipped run the cells take about a minute; from scratch an hour more, on two cores without a GPU (5.9 has the times).

# %%
import cProfile
import json
import pstats
import time

import gymnasium as gym
import numpy as np

from wmlib import paths
from wmlib.evaluation import episode_interval, scoring_world, seed_interval
from wmlib.files import read_log
from wmlib.models.checkpoints import load_controller, load_world_model
from wmlib.models.vae import tensor_to_frames
from wmlib.models.world_model import WorldModel
from wmlib.paths import pretrained
from wmlib.pipeline import car_racing, rounds, scoring
from wmlib.pipeline.config import Machine
from wmlib.pipeline.scales import get_chapter_config, get_config, get_machine
from wmlib.rollout.policies import ControllerPolicy, EpisodeSpec, random_car_policy
from wmlib.rollout.rollout import record_episode, rollout, run_episodes
from wmlib.rollout.workers import processes
from wmlib.tools import estimate
from wmlib.view import figures

# %%
figures.use_style()
config, chapter, machine = get_config(), get_chapter_config(), get_machine()
RETRAIN = chapter.retrain  # set to True to train everything here from scratch
folder = config.run_folder("car_racing") if RETRAIN else pretrained("car_racing")

# %% [markdown]
# ## 5.1 The plan
#
# | phase | makes | learns from | reward? |
# |---|---|---|---|
# | collect | episodes | driving: at random first, then the agent's own | no |
# | V | $z$ | single frames | no |
# | M | $h$ | sequences of $z$ and actions | predicts it, does not seek it |
# | C | actions | scores | **seeks it**, and only C does |
#
# And then again, from the top. In the first round V and M have only seen what random driving shows, a few bends and a lot of grass. A driver that can drive sees more: whole tracks, at speed. So the agent of one round collects for the next.
#
# Every phase keeps its work in one folder. If a cell is interrupted, run it again: it goes on from where it was, and arrives at the same result as if nothing had happened. Nothing is done twice.

# %%
print("\n".join(map(str, config.rounds)), config.search, config.rnn, config.env, sep="\n")

# %% [markdown]
# Each of the first lines is a round. In each generation, a `population` of candidates drives so many tracks each (`rollouts`, doubled after every `double_every` generations). They differ in so many `directions` (chapter 4), and are stopped after so many steps without a new tile (`patience`). `sigma` is how far around its starting point the search looks at first. `repeat`: the agent looks and acts at every second step, and holds its action in between. That makes every drive half as expensive for V and M, and M's memory reaches twice as far. (Why not four? See exercise 4.)
#
# ## 5.2 Collect, V, M
#
# **Predict:** driving at random, how long does a car stay on the road? (Such a drive is given up after three seconds, 150 steps, without a new tile.) And the agent of round 0, with some noise on its hands?

# %%
if RETRAIN:
    car_racing.run_all_rounds(config, folder)
world_model = load_world_model(folder)

# %%
collected = read_log(folder / "collect.jsonl")
for row in collected:
    each, minutes = row["steps"] / row["episodes"], row["seconds"] / 60
    print(f"round {row['round']}: {row['episodes']} drives in {minutes:.1f} minutes,")
    print(f"    {row['steps']:,} steps, {each:.0f} each; mean score {row['mean_score']:.0f}")

# %% [markdown]
# A random drive is mostly the waiting at its end; the agent, even a noisy one, stays in the game to the last step.

# %%
curves = {name: read_log(folder / f"{name}.jsonl") for name in ("vae", "mdn_rnn")}
figures.training_curves(curves["vae"], {"squared_error": "V: squared error", "kl": "V: KL (nats)"})

# %%
figures.training_curves(
    curves["mdn_rnn"], {"nll": "M: nats per dimension", "reward": "M: reward error"}
)

# %% [markdown]
# The dotted line is where the next round begins. V goes on from where it was; M is learned anew, because V's $z$ has changed under it. M's reward error is larger in later rounds because there is more to miss: a car in the grass earns nothing, predictably, and a fast one a tile every few steps. (And C, which read the old $h$? See 5.4.)

# %% [markdown]
# ## 5.3 One rollout for everything
#
# Collecting, evolving and scoring are the same loop: look, remember, act. Many cars drive at once, so that V sees their frames as one batch, and a car that is done makes room for the next at once.

# %%
figures.source(rollout)

# %% [markdown]
# ## 5.4 Evolve C
#
# The search looks at changes to C in the main directions of what it reads ([chapter 4](04_controller.ipynb)), found anew in every round. Each generation: draw a population, let every candidate drive the same randomly chosen tracks, rank them, move the Gaussian. A candidate that has not earned anything for a while is stopped, because watching a car stand in the grass teaches nothing. The better the candidates get, the more drives it takes to tell which is better: so after every `double_every` generations each of them drives twice as many tracks. Every so often the *mean* of the distribution drives other tracks to the end: those are the black dots below.
#
# **Predict:** the population's scores scatter a lot. Is its mean controller better or worse than its average member? (The comparison is a little unfair: candidates are stopped early, the mean is not.)

# %%
controller = load_controller(folder / "controller.safetensors")
history = read_log(folder / "evolution.jsonl")
rows = rounds.timeline(folder)
figure = figures.learning_curve(rows)
path = config.figure("05_learning_curve.png")
path.parent.mkdir(parents=True, exist_ok=True)
figure.savefig(path, dpi=80)
figure

# %%
last = history[-1]
print(f"last generation: best {last['best']:.0f}, average {last['mean']:.0f}")
print(f"the mean controller, other tracks: {last['check']:.0f} ± {last['check_std']:.0f}")

# %% [markdown]
# Early in a round the mean is better than most of its own population, by far. Each candidate is the mean plus noise in many directions at once, and most of those make a driver worse; the mean is where the noise cancels. That is no loss: the search only needs to see *differences*, and wide steps make them stand out from the luck of a few tracks. Late in the last round it is a close thing: the line is the median, the few candidates that fail pull the average below it, and a dot's own uncertainty (twice its SD, divided by √32) is as large as the difference. The best candidate's number, on the other hand, looks good in a log and says little: one driver of many, a few tracks, one lucky day. Chapter 4 showed how far such a maximum can lie above the truth.

# %% [markdown]
# Between two rounds there is a trap. M was learned anew, so its $h$ means something else now: the old C reads it as noise, and would have to start from nothing. But both world models can *watch the same drives*. What did the old C want at each moment, reading the old $[z, h]$? Which weights want the same, reading the new? That is a linear regression, and takes seconds:

# %%
figures.source(car_racing.distill)

# %% [markdown]
# And in the light of the paper? Its authors published the log of their run, with 64 workers. On an axis of hours (each mark ten times the last):

# %%
seeds = sorted(pretrained("car_racing").glob("seed*"))
figures.wall_clock(rows, [rounds.timeline(seed) for seed in seeds])

# %% [markdown]
# Their log stands at 823 after 15.6 hours, 867 after 30 and 900 after 1,119 (the mean controller, 1,024 drives). Ours are 32 drives a dot, with the fast eye, on tracks of training. (Thin lines: the same with two other seeds, see 5.5; these had to share their two cores with other work at times, so their hours are longer than yours would be.) Other machines, other years, other tricks: what can be compared are the orders of magnitude.

# %% [markdown]
# ## 5.5 The score
#
# What counts is this: **the mean controller, on tracks that no part of the agent has ever seen** (seeds from 1,000,000 up; training draws its tracks from below, and collecting refuses these), **in the untouched Gymnasium environment, every episode to its end**. And with the spread, because a mean alone hides the drives that went wrong.

# %%
with processes(machine.workers) as executor:
    score = scoring.score_run(config, folder, executor)
print(score)

# %%
figures.score_histogram(score)

# %%
summary = score.summary()
print(json.dumps(summary, indent=1))

# %% [markdown]
# Read it like this. "±" after the mean is the *standard deviation*: how different single drives are. The 95% interval is about the *mean*: how far it could be off, because we drove only so many tracks. The paper reports 906 ± 21 (mean and standard deviation, 100 tracks) after 1,800 generations on a cluster; ours are a thousand tracks, because one drive in thirty decides about the mean, and a hundred hold only three or four of those.
#
# A fact worth knowing before you compare: in this environment a drive ends early in two ways, when *every* tile of the track has been touched, or when the car has left the whole field (−100). (The documentation says that 95% of the tiles are enough; but that check is made in the moment when the first tile is touched, and the car starts on it.) So one missed tile means 1,000 steps, 100 points for the time, and at best about 896. Above 900 there are only complete laps, and lap completion stands beside the score.

# %% [markdown]
# **How much of it was luck?** The interval speaks of *this* agent on other tracks. It does not say what you will get from the same command: other random drives to begin with, other networks, another search. For that there is only one way, to do it again. Here is the whole loop twice more, each from an empty folder, with two other seeds (their logs came along, their weights did not), and all three on the same tracks:

# %%
runs = {"this agent": score} | {seed.name: scoring.read_score(seed) for seed in seeds}
shared = min(len(result.tracks) for result in runs.values())
runs = {name: result.first(shared) for name, result in runs.items()}
for name, result in runs.items():
    print(f"{name:11} {result}")
between = seed_interval([result.interval.mean for result in runs.values()])
print(f"between runs: {between.mean:.0f} ± {between.std:.0f}, from {between.n} runs")

# %% [markdown]
# Two kinds of spread, then: between *drives* of one agent, and between *agents* of one recipe. Whoever reports a single run shows only the first. When two recipes are compared, it is the second that counts.

# %% [markdown]
# ## 5.6 Watch it
#
# The worst, the middle and the best of those episodes, driven once more. An episode is chaotic: on another processor, rounding in the last bits grows until the car is elsewhere. So the six worst are driven again, and the three that are worst *here* are shown:

# %%
order = np.argsort(score.scores)
world = scoring_world(config.env.max_steps, config.env.frame_size)
driver = ControllerPolicy(controller)
again = [*order[:6], order[len(order) // 2], order[-1]]
specs = [EpisodeSpec(score.tracks[i]) for i in again]
*bad, middle, best = [record_episode(world, driver, spec, world_model) for spec in specs]
for i, episode in zip(again, [*bad, middle, best], strict=True):
    now, then = episode.score, score.scores[i]
    print(f"track {score.tracks[i]}: {now:.0f} now, {then:.0f} when scored")
bad = sorted(bad, key=lambda episode: episode.score)[:3]
clips = {f"worst {k + 1}": episode.recording for k, episode in enumerate(bad)}
clips |= {"middle": middle.recording, "best": best.recording}

# %% [markdown]
# From left to right: the second worst, around the moment when it earns its last tile; the middle one; the best:

# %%
fallen = clips["worst 2"]
end = max(150, np.flatnonzero(fallen["rewards"] > 0)[-1] + 50)
three = [fallen, clips["middle"], clips["best"]]
figures.moving_picture(
    [recording["frames"][:end][-150:] for recording in three],
    "three drives: one of the worst, a middling one and the best",
    fps=50 / config.env.repeat,
)

# %%
best = clips["best"]["frames"][:125]
figures.moving_picture(
    best, "the best drive", fps=50 / config.env.repeat, save=config.figure("05_drive.gif")
)

# %% [markdown]
# What went wrong in the three worst?
#
# **Predict:** what will a car do once it has slid off: circle, drive on, stand still?


# %%
def trouble(recording, looks=20):
    """The first look after which no tile is earned for so many looks."""
    earned = np.convolve(recording["rewards"] > 0, np.ones(looks), "valid")
    return np.argmax(earned == 0)


around = np.arange(-20, 60, 8)
worst = {name: clip for name, clip in clips.items() if name.startswith("worst")}
moments = {n: (trouble(c) + around).clip(0, len(c["actions"]) - 1) for n, c in worst.items()}
rows = {name: clip["frames"][moments[name]] for name, clip in worst.items()}
figures.frame_grid(rows, [f"{t:+d}" for t in around])

# %%
for name, clip in worst.items():
    print(name)
    for pedal, values in zip(
        ("steering", "gas", "brake"), clip["actions"][moments[name]].T, strict=True
    ):
        print(f"  {pedal:9}", " ".join(f"{value:5.2f}" for value in values))

# %% [markdown]
# (Time is counted in agent steps from the moment after which no tile comes for twenty of them. The third row had no such moment here, so it shows its start: that episode scored 841.) Of the six episodes that were worst when they were scored, two fail here as well; the other four end at 841 to 916. They had failed on a processor whose rounding differs in the last bits. So most of these failures are not tracks that the agent cannot drive: they are places where a small difference decides.
#
# Both that fail here stop at a hairpin. The first comes to rest in front of it, with its foot off the gas and a little brake. The second slides off in it and then holds gas and brake together (1.00 and 0.98): from 0.9 on the brake locks the wheels, and it stands still. Why would evolution leave it such habits? A candidate that has not touched a tile for `patience` steps is stopped, so what it does after that makes no difference to its fitness. That is an explanation, not a proof: training without early termination was not compared.
#
# Drives like this are few, but each costs hundreds of points. That is why the mean and the middle are so far apart:

# %%
print(f"mean {score.scores.mean():.1f}, median {np.median(score.scores):.1f}")


# %% [markdown]
# ## 5.7 What was it thinking?
#
# Beside each frame of the middling drive, what V makes of it: this, and its memory, is all that C has to go by.

# %%
recording = clips["middle"]
moments = np.linspace(0, len(recording["actions"]) - 1, 9).astype(int)
seen = recording["frames"][moments]
figures.frame_grid(
    {"frame": seen, "through z": tensor_to_frames(world_model.decode(world_model.encode(seen)))},
    [f"look {t}" for t in moments],
    {"frame": figures.REALITY, "through z": figures.DREAM},
)

# %%
figure, axes = figures.panels(3, columns=1, width=7, height=1.3)
for ax, values, name in zip(
    axes, recording["actions"].T, ("steering", "gas", "brake"), strict=True
):
    ax.plot(values, color=figures.REALITY, lw=0.8)
    ax.set_ylabel(name)
axes[-1].set_xlabel(f"agent step ({config.env.repeat} environment steps)")
figure

# %% [markdown]
# The wheel goes from side to side all the way: nothing in the score asks for a quiet hand. And it hardly brakes; it takes the foot off the gas.

# %% [markdown]
# ## 5.8 Break it: a lap of honour without memory
#
# Wipe the agent's memory before every step (the bug from chapter 3) and let the same C drive (all $h$ can hold then is the last look and what was done).
#
# **Predict:** does it still drive?


# %%
class Forgetful(WorldModel):
    """Sees as well as ever; remembers one look, and nothing before it."""

    def observe(self, state, actions, frames, rewards=None):
        blank = state._replace(h=state.h * 0, c=state.c * 0)
        return super().observe(blank, actions, frames, rewards)


forgetful = Forgetful(world_model.vae, world_model.mdn_rnn)
jobs = [EpisodeSpec(500_300 + i) for i in range(config.search.check_tracks)]
for name, mind in {"with memory:": world_model, "without memory:": forgetful}.items():
    drives = run_episodes(car_racing.training_world(config), driver, jobs, mind)
    print(f"{name:16}", episode_interval([drive.score for drive in drives]).describe())

# %% [markdown]
# It does, and badly. Mind what this shows: this C never met such an $h$, and this M was never trained to start afresh at every look. It is what *this* agent loses, not what memory is worth to an agent that was made without one.
#
# ## 5.9 Where the time goes
#
# Every phase kept its own time (the score of 5.5 is not in it):

# %%
phases = {"collect": 0.0, "V": 0.0, "encode": 0.0, "M": 0.0, "C": 0.0}
logs = {"collect": collected, "encode": read_log(folder / "encode.jsonl")}
for name, log in logs.items():
    phases[name] = sum(row["seconds"] for row in log)
for name, log in {"V": curves["vae"], "M": curves["mdn_rnn"], "C": history}.items():
    # These clocks start anew with every round: the last row of each counts.
    phases[name] = sum({row["round"]: row["seconds"] for row in log}.values())
for name, seconds in phases.items():
    print(f"{name:8} {seconds / 60:6.1f} minutes")
print(f"{'together':8} {sum(phases.values()) / 60:6.1f} minutes")

# %% [markdown]
# Evolving C is nearly all driving: millions of frames. That they fit into an hour is not a matter of course, and how it came about is worth a section.
#
# ## 5.10 A fast eye
#
# **Look before you tune.** Here is Gymnasium's own CarRacing, 100 steps of it, under Python's profiler.
#
# **Predict:** what takes the time: the physics of the car, or the drawing of a frame?

# %%
env = gym.make("CarRacing-v3")
env.reset(seed=1)
gas = np.array([0.0, 0.3, 0.0], dtype=np.float32)
profile = cProfile.Profile()
profile.enable()
for _ in range(100):
    env.step(gas)
profile.disable()
seconds = {}
for (file, _, function), (*_, total, _) in pstats.Stats(profile).stats.items():
    seconds[f"{file.rpartition('/')[2]}: {function}"] = total
whole = seconds["car_racing.py: step"]
parts = {
    "drawing": "car_racing.py: _render",
    "the car's forces": "car_dynamics.py: step",
    "the physics engine": "~: <built-in method Box2D._Box2D.b2World_Step>",
}
for name, function in parts.items():
    print(f"{name:20} {seconds[function] / whole:6.1%}")

# %% [markdown]
# Nearly all of it is drawing. Gymnasium paints hundreds of polygons on a canvas of 1000 × 800 pixels, shrinks it to 96 × 96, and does so fifty times for a second of driving. V then throws most of that away.
#
# But the track does not move. Only the camera does: it shifts, turns and, in the first second, zooms. Each of these is an **affine map**, and so is all of them together. So paint the track *once*, from straight above,

# %%
fast = gym.make("wmlib/CarRacing-v3")
fast.reset(seed=1)
figures.frame_grid({"the track": fast.unwrapped.renderer.levels[1][None, ::-1]}, size=4)

# %% [markdown]
# and make every frame by one *warp* of that picture: for each of the 64 × 64 pixels of the frame, where does it lie on the track? (The car goes on top; it is always at the same place, so it comes out of a table. A tile that is touched changes its shade, and is painted again.) And where an action is held for two steps, the frame between is not drawn at all. The physics, the rewards and the tracks are Gymnasium's, untouched. Is it the same world? Drive both alike:

# %%
window = gym.make("wmlib/CarRacingOriginal-v3")
random_driver = random_car_policy()
random_driver.begin(0, EpisodeSpec(1))
ours, original = fast.reset(seed=1)[0], window.reset(seed=1)[0]
strips = {"Gymnasium": [], "fast eye": [], "10 × difference": []}
differences = []
for t in range(200):
    action = random_driver.act(None, 1)[0]
    ours, our_reward, *_ = fast.step(action)
    original, reward, *_ = window.step(action)
    assert our_reward == reward
    off = np.abs(ours.astype(int) - original)
    differences.append(off.mean())
    if t in (5, 30, 60, 110, 150, 199):
        pictures = (original, ours, np.minimum(10 * off, 255).astype(np.uint8))
        for row, picture in zip(strips.values(), pictures, strict=True):
            row.append(picture)
print(f"all rewards equal; frames {np.mean(differences):.2f} of 255 grey levels apart on average")
figures.frame_grid({name: np.array(row) for name, row in strips.items()})

# %% [markdown]
# (The bright spot in the last row is the car: what comes out of the table is a few levels off at its edges, in every frame. The rest is rounding.) And how fast?

# %%
blind = gym.make("CarRacing-v3")
blind.unwrapped._render = lambda mode: np.zeros((96, 96, 3), np.uint8)
rates = {}
for name, place in {"Gymnasium": env, "fast eye": fast, "no eye at all": blind}.items():
    place.reset(seed=2)
    began = time.perf_counter()
    for _ in range(150):
        place.step(gas)
    rates[name] = 150 / (time.perf_counter() - began)
    times = rates[name] / rates["Gymnasium"]
    print(f"{name:14} {rates[name]:7.0f} steps/s, {times:4.0f} times Gymnasium")

# %% [markdown]
# That is a single measurement, on whatever your machine is doing right now. `python -m wmlib bench` measures everything several times, in turns, and compares medians. It also has a stronger baseline, [EnvPool](https://github.com/sail-sg/envpool), which implements CarRacing in C++ (if it is installed: `pip install envpool`). This is its result from before this chapter was published, with V, M and whole rollouts. Grey: baselines; blue: the real environment, the networks and the explorers; orange: dreams.

# %%
figures.bench(json.loads(paths.published("bench.json").read_text(encoding="utf-8")))

# %% [markdown]
# **And the paper's own search?** 1,800 generations of 64 candidates, 16 drives each, every drive of up to a thousand steps, a look at every one of them: 1.8 billion steps. It runs in the same code: `python -m wmlib run car_racing --scale paper`, on one machine with `--workers`, or on a cluster with `--cluster`, where the same seeds give the same scores. From the speeds of *this* machine, measured now, what would the search take at most?

# %%
paper, cores = get_config("paper"), 2
speed = estimate.speeds(estimate.Work.of(paper, machine=Machine(cores)), chapter.measured_steps)
for times in (1, 32, 512):
    work = estimate.Work.of(paper, machine=Machine(times * cores))
    seconds = estimate.search_seconds(work, 0, estimate.with_more_workers(speed, times))
    print(f"{times * cores:5,} cores like these: {seconds / 3600:7,.1f} hours")

# %% [markdown]
# (At most: nobody who fails early drives on to the end. More cores than this machine has count as so many times as fast, less what they lose when each has only a few cars to drive at once: 16 times 64 drives leave one car for each of 1,024 cores, and a car that has a core to itself costs it several times what it costs among 64, which V looks at together. What the search does between the drives is one core's work, and counted as well.)
#
# Three lessons that hold beyond cars. **Measure first:** without the profile one would have tuned the networks. **Ask what changes:** a picture that is only moved need not be painted again. **Keep the old one beside the new one:** `tests/test_fast_car_racing.py` drives both, step by step, so that fast stays the same as right. (And the score in 5.5? That was taken on Gymnasium's own frames, always.)

# %% [markdown]
# ## 5.11 Again
#
# (For a run of your own.) In the figure of 5.4 the dots of the last round rise by no more than they scatter. We tried to go on from its end, about eight minutes each: with smaller steps and twice the drives, with more patience in the grass, with hard tracks driven again. On 300 tracks of training, none of it moved the mean by more than the 95% interval of the difference, ± 6 to 9. Two things are left to gain: the drive in thirty-odd that comes to grief, and time, since a complete lap still takes most of the 1,000 steps. What would help? A fourth round lets a better driver collect, and V and M see more of the fast and narrow moments where it still fails: add a round in `wmlib/pipeline/config.py`. Or let it look at every step, or select for what it does off the road. That is for you to find out.
#
# ## 5.12 Exercises
#
# **1. Check us.** Drive the first three held-out tracks yourself and compare with the numbers that came with the weights. *(They should agree closely; on another processor, rounding may make single drives differ.)*
#
# <details><summary>Solution</summary>
#
# ```python
# for i in range(3):
#     drive = record_episode(world, driver, EpisodeSpec(score.tracks[i]), world_model)
#     print(score.tracks[i], round(drive.score, 1), round(score.scores[i], 1))
# ```
# </details>
#
# **2. How many tracks are enough?** Take the first 5, 10, 20, 50, 100 scores, and all of them, and print `episode_interval(...)` of each. With how many tracks could you tell apart two drivers whose true means differ by 20 points?
#
# <details><summary>Solution</summary>
#
# ```python
# for n in (5, 10, 20, 50, 100, len(score.scores)):
#     print(episode_interval(score.scores[:n]).describe())
# ```
#
# On average, the interval's half-width shrinks with the square root of n. To tell 20 points apart, it should be about 10 or less for each driver: n of at least (2 × SD / 10)². With a standard deviation of 68 that is about 185 tracks; with the paper's 21 it is 18. But look at what was printed: with 20 tracks the interval is four points to either side, as narrow as with a thousand, and the mean of the thousand lies far outside it. None of the rare disasters happened to be among the twenty. A small sample does not know what it has not seen.
#
# (In the same way, a spread of ± 21 over 100 tracks says that there was hardly a disaster among them.)
# </details>
#
# **3. Ten more generations.** After a run of your own (`RETRAIN = True`), raise the last entry of `generations` in `wmlib/pipeline/config.py`, restart the kernel, set `RETRAIN = True` again and run the chapter: every phase but the last is finished, and that one continues from its log. (Then 5.5 scores the new controller, which takes some minutes.) Did the black dot move by more than its own uncertainty?
#
# <details><summary>Solution</summary>
#
# The bars are standard deviations of single drives, so they say little about the dot. And all dots are means over the *same* tracks, so their differences are surer than either dot: what would tell is the difference drive by drive, as in chapter 3. With the numbers at hand, `last["check_std"] / np.sqrt(config.search.check_tracks)`, times two, is a cautious interval for a dot. A step smaller than that may be luck.
# </details>
#
# **4. Why not four?** Holding an action for four steps makes driving cheaper still. What might it cost? The wheels turn by at most 3 rad/s, up to 0.4 rad, and fifty steps are a second. *(Check: how far can they turn within one look, of two steps and of four?)* If you have an hour, set `repeat` to 4 in `wmlib/pipeline/config.py` and `RETRAIN = True` above, delete `data/runs/laptop/car_racing` if it is there, and see.
#
# <details><summary>Solution</summary>
#
# 0.12 rad in two steps and 0.24 in four: with four, a wheel that is straight at one look can stand at more than half its full angle at the next. A driver that asks for much gets all of it before it looks again, and whatever it gets wrong, it learns 0.08 seconds late. (Even with two it saws at the wheel: see 5.7.) An earlier version of this chapter held for four steps. It came to 867.9 ± 83.9 on the same 100 tracks, with 40% of the laps complete, in the same hour; not a clean comparison, because population and rounds were of other sizes, too (its card: `git show 61360fe:data/pretrained/car_racing/controller.json`).
# </details>
#
# ## Summary
#
# - Collect, V, M, C: three phases watch and predict, only the last one is rewarded.
# - One rollout serves collecting, evolving and scoring.
# - Report the mean controller on held-out tracks, with spread, interval and lap completion.
# - Most of the time goes into driving, and nearly all of that used to go into drawing frames: what only moves need not be painted again.
# - Everything resumes, and the shipped numbers can be checked with one cell.
#
# **What's next.** C has been evolved on the road, twenty thousand drives of it. [Chapter 6](06_dreaming.ipynb) does it without: M becomes the world.
#
# **References.** Ha & Schmidhuber, [World Models](https://worldmodels.github.io/), 2018 · [CarRacing](https://gymnasium.farama.org/environments/box2d/car_racing/) in Gymnasium · Hansen, [The CMA Evolution Strategy: A Tutorial](https://arxiv.org/abs/1604.00772), 2016
