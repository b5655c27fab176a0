"""Places to act: plain Gymnasium environments, registered under "wmlib/"."""

import warnings

import gymnasium as gym

# pygame's own affair, and nothing that a reader could do about it.
warnings.filterwarnings("ignore", message="pkg_resources is deprecated", category=UserWarning)

# Tracks to learn on and tracks to be scored on never meet.
TRAINING_SEEDS = range(0, 1_000_000)
HELD_OUT_SEEDS = range(1_000_000, 2**31)

gym.register(
    "wmlib/BouncingBall-v0",
    entry_point="wmlib.envs.bouncing_ball:BouncingBall",
    max_episode_steps=200,
)
gym.register(
    "wmlib/CarRacing-v3",
    entry_point="wmlib.envs.fast_car_racing:CarRacing",
    max_episode_steps=1000,
)
gym.register(
    "wmlib/ChangedCarRacing-v3",
    entry_point="wmlib.tools.changed_car_racing:ChangedCarRacing",
    max_episode_steps=1000,
)
gym.register(
    "wmlib/CarRacingOriginal-v3",
    entry_point="wmlib.envs.car_racing:original",
    max_episode_steps=1000,
)
gym.register(
    "wmlib/TakeCover-v0",
    entry_point="wmlib.envs.take_cover:TakeCover",
    max_episode_steps=2100,
)
