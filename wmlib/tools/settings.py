"""The settings of a run as options of the command line."""

from collections.abc import Collection
from dataclasses import dataclass, fields, replace
from typing import Annotated

from tyro.conf import arg

from wmlib.pipeline.config import (
    BallConfig,
    Checked,
    CollectConfig,
    Config,
    DreamConfig,
    EnvConfig,
    LookaheadConfig,
    RNNConfig,
    SearchConfig,
    VAEConfig,
    number,
)

PARTS = ("env", "collect", "vae", "rnn", "search", "lookahead")  # of a CarRacing run's settings
Flat = arg(name="")  # the fields of a part, without its name before them


@dataclass(frozen=True)
class ByRound:
    """One value for all rounds, or several: then there are so many rounds."""

    num_rounds: int  # rounds of: collect, V, M, C
    episodes: tuple[int, ...]  # episodes to collect
    vae_epochs: tuple[int, ...]  # passes of V over all frames; 0: V, M and h stay as they are
    rollouts: tuple[int, ...]  # episodes per candidate, at first
    generations: tuple[int, ...]  # of CMA-ES
    sigma: tuple[float, ...]  # initial step size of CMA-ES
    dream_epochs: tuple[int, ...]  # passes of the M that makes dreams
    # Tracks scored beforehand; half of the search's are from their worst tenth. 0: no such tracks.
    hard_pool: tuple[int, ...]
    frame_skip: tuple[int, ...]  # environment steps per agent step
    rollout_steps: tuple[int, ...]  # environment steps of a candidate's episode; 0: no limit

    @classmethod
    def of(cls, config: Config) -> "ByRound":
        """The rounds of a config, as columns."""
        names = [item.name for item in fields(cls)][1:]
        columns = {name: tuple(getattr(r, name) for r in config.rounds) for name in names}
        return cls(len(config.rounds), **columns)


@dataclass(frozen=True)
class CarSettings:
    """Settings of a CarRacing run. Kept in its folder: later commands need not repeat them."""

    scale: str  # smoke, laptop or paper: the usual settings; default: the run's, or $WM_SCALE
    seed: int  # of all random numbers, and of the tracks to learn on
    dream: bool  # evolve C in dreams
    score_tracks: int  # held-out tracks of a score
    by_round: Annotated[ByRound, Flat]
    env: EnvConfig
    collect: CollectConfig
    vae: VAEConfig
    rnn: RNNConfig
    search: SearchConfig
    lookahead: LookaheadConfig
    dreams: Annotated[DreamConfig, arg(name="dream")]

    @classmethod
    def of(cls, config: Config) -> "CarSettings":
        """The settings that a config has."""
        parts = {name: getattr(config, name) for name in PARTS}
        return cls(
            config.scale,
            config.seed,
            config.in_dreams,
            config.score_tracks,
            ByRound.of(config),
            dreams=config.dream,
            **parts,
        )

    def change(self, config: Config, options: Collection[str]) -> Config:
        """The config with these settings; of those by round, with the ones that were given.

        options: those of the command line, as they were given ("--episodes").
        """
        given = {n: v for n, v in vars(self.by_round).items() if f"--{n}" in options}
        config = config.with_rounds(
            given.pop("num_rounds", None),
            **{name: value[0] if len(value) == 1 else value for name, value in given.items()},
        )
        return replace(
            config,
            seed=self.seed,
            score_tracks=self.score_tracks,
            dream=self.dreams,
            **{name: getattr(self, name) for name in PARTS},
        )


@dataclass(frozen=True)
class BallRNN(Checked):
    """Training M."""

    batch_size: int = number()  # windows
    window: int = number()  # steps per window


@dataclass(frozen=True)
class BallSettings:
    """Settings of the ball's run. Kept in its folder: later commands need not repeat them."""

    scale: str  # smoke, laptop or paper: the usual settings; default: the run's, or $WM_SCALE
    seed: int  # of all random numbers, and of the episodes to learn from
    ball: BallConfig
    rnn: BallRNN

    @classmethod
    def of(cls, config: Config) -> "BallSettings":
        """The settings that a config has."""
        rnn = BallRNN(config.rnn.batch_size, config.rnn.window)
        return cls(config.scale, config.seed, config.ball, rnn)

    def change(self, config: Config, options: Collection[str]) -> Config:
        """The config with these settings."""
        rnn = replace(config.rnn, **vars(self.rnn))
        return replace(config, seed=self.seed, ball=self.ball, rnn=rnn)
