"""Settings that do not fit together, found before a run begins."""

from wmlib.pipeline.config import Config, Machine
from wmlib.pipeline.rounds import rounds_of, run_name
from wmlib.training.fit import pick_device


def check_settings(config: Config, machine: Machine) -> None:
    """ValueError for settings that a run would fail with only hours later."""
    pick_device(machine.device or None)
    allowed = [*config.task_spec.random_policies]
    allowed += ["networks"] if config.task == "car_racing" else []
    if config.collect.policy not in allowed:
        raise ValueError(
            f"collect.policy must be {' or '.join(allowed)} for {config.task}, got "
            f"{config.collect.policy}"
        )
    if config.in_dreams and config.search.frame_every != 1:
        got = config.search.frame_every
        raise ValueError(f"search.frame_every must be 1 where C is evolved in dreams, got {got}")
    if config.in_dreams and config.search.select:
        raise ValueError(
            "search.select must be off where C is evolved in dreams: it chooses by real episodes"
        )
    if config.search.mirrored and config.search.population % 2:
        raise ValueError(
            f"search.population must be even with search.mirrored, got {config.search.population}"
        )
    if config.lookahead.improvements and not (config.in_dreams and config.task == "take_cover"):
        raise ValueError(
            f"lookahead.improvements must be 0 for {run_name(config)}: it is about moves to two "
            f"sides, and how long dreams last; got {config.lookahead.improvements}"
        )
    for current in rounds_of(config, machine=machine):
        if config.dream.shared_m and current.freezes_vae:
            raise ValueError(
                f"vae_epochs must be 1 or more with dream.shared_m: C could not read the h of an M "
                f"that was trained further; got 0 in round {current.number}"
            )
        if not current.settings.episodes and (config.in_dreams or not current.freezes_vae):
            raise ValueError(f"episodes of round {current.number} must be 1 or more, got 0")
        if current.changes_pace and (
            config.in_dreams or current.freezes_vae or current.previous.repeat % current.repeat
        ):
            raise ValueError(
                f"a later frame_skip must divide the one before, train V (vae_epochs 1 or more), "
                f"and evolve C in the environment; round {current.number} has {current.repeat}, "
                f"after {current.previous.repeat}"
            )
        if current.settings.rollout_steps and config.in_dreams:
            raise ValueError(
                f"rollout_steps must be 0 where C is evolved in dreams (their limit is dream.steps)"
                f"; got {current.settings.rollout_steps} in round {current.number}"
            )
        current.training_tracks()
        current.pool_tracks()
