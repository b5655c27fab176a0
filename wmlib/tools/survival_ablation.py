"""What the length of a life in Take Cover depends on: in a finished run, one thing is changed.

`python -m wmlib ablate survival` adds two tables to a run. survival.jsonl: how long controllers
survive in dreams and in the game: those of the run and of a second round, and others that are found
or used in another way than the run does it. deaths.jsonl: how well M of either round forecasts
death in episodes that nothing was trained on.
"""

import dataclasses
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from torch import Tensor

from wmlib.evaluation import reliability
from wmlib.models.checkpoints import load_controller
from wmlib.models.mdn_rnn import MDNRNN
from wmlib.models.vae import frames_to_tensor, sample_latent
from wmlib.models.world_model import WorldModel
from wmlib.pipeline.config import Config, Machine
from wmlib.pipeline.dreaming import dream_env_spec, train_dreaming_mdn_rnn
from wmlib.pipeline.phases import encode
from wmlib.pipeline.rounds import Round
from wmlib.pipeline.scoring import agent_digest, collect_test_episodes
from wmlib.pipeline.workers import processes
from wmlib.provenance import Record
from wmlib.rollout.episodes import EpisodeStore
from wmlib.tools.runs import RunCommand
from wmlib.tools.settings import CarSettings, Flat
from wmlib.tools.survival import find_controller, lifetimes, two_rounds
from wmlib.tools.tables import Table

SURVIVAL, DEATHS = "survival.jsonl", "deaths.jsonl"
TEST_EPISODES = 48
# What differs from the run.
LOOKAHEAD = "no CMA-ES after lookahead"
DRAWN_Z = "z drawn from V's posterior"
LIKELY_DEATH = "dreams end where death is likely"
LONGER_M = "M trained for twice as many passes"
CHANGES = (LOOKAHEAD, DRAWN_Z, LIKELY_DEATH, LONGER_M)


class DrawnLatents(WorldModel):
    """A world model whose z is drawn from V's posterior for every frame, as in the paper's code."""

    @torch.no_grad()
    def encode(self, frames: np.ndarray | Tensor) -> Tensor:
        """As of `WorldModel`; the same frames get the same z."""
        generator = torch.Generator(self.device).manual_seed(int(torch.as_tensor(frames).sum()))
        return sample_latent(*self.vae.encode(frames_to_tensor(frames, self.device)), generator)


def run_survival_ablation(
    config: Config, run: Path, machine: Machine, test_episodes: int = TEST_EPISODES
) -> None:
    """A row per round (see `two_rounds`) and per change; goes on with what is there.

    Rows of survival.jsonl: "agent" ("round 0", "round 1" or one of `CHANGES`) and the columns of
    `lifetimes`. Rows of deaths.jsonl: "agent" and the columns of `death_forecasts`, of the rounds.
    Raises ValueError if the rows there were made with other settings or of another run.
    """
    rounds = two_rounds(config, run, machine)
    made_from, settings = {"agent": agent_digest(run)}, dataclasses.asdict(config)
    table = Table(run / SURVIVAL, Record(made_from, settings))
    deaths = Table(run / DEATHS, Record(made_from, settings | {"test_episodes": test_episodes}))
    played = collect_test_episodes(config, test_episodes, run, run / "survival" / "episodes")
    with processes(machine.workers, machine.cluster) as executor:
        for current in rounds:
            key, folder = {"agent": f"round {current.number}"}, run / "survival" / current.work.name
            deaths.add(key, partial(death_forecasts, current, played, folder))
            table.add(key, partial(lifetimes_of_round, current, executor))
        for change in CHANGES:
            folder = run / "survival" / change.replace(" ", "_").replace("'", "")
            table.add({"agent": change}, partial(measure, change, rounds[0], folder, executor))


def lifetimes_of_round(current: Round, executor: Executor | None) -> dict[str, list[float]]:
    """See `lifetimes`; of a round's V, M and C."""
    agent, controller = current.agent()
    dreams = dream_env_spec(current.config, agent, current.latents.folder, agent)
    return lifetimes(current.config, dreams, controller, executor)


def death_forecasts(current: Round, played: EpisodeStore, folder: Path) -> dict:
    """How well a round's V and M forecast the deaths in some episodes, which V encodes in `folder`.

    "steps", "deaths"; "loss", the mean cross-entropy in nats, and "constant_loss", that of a
    forecast that is always the share of fatal steps. Of a warning where the probability that counts
    a fatal step `done_weight` times is above 1/2, the paper's rule: "recall", the share of the
    deaths that it found (None if there are none), and "false_alarms" per 1,000 other steps.
    "groups": see `reliability`.
    """
    m, latents = current.mdn_rnn(), encode(played, current.vae(), folder)
    log_odds, died = log_odds_of_death(m, latents)
    probability, rate = log_odds.sigmoid(), died.mean()
    warned = log_odds > -np.log(current.config.rnn.done_weight)
    entropy = partial(torch.nn.functional.binary_cross_entropy, target=died)
    return {
        "steps": len(died),
        "deaths": int(died.sum()),
        "loss": entropy(probability).item(),
        "constant_loss": entropy(torch.full_like(died, rate.item())).item(),
        "recall": warned[died > 0].float().mean().item() if died.any() else None,
        "false_alarms": 1000 * warned[died == 0].float().mean().item(),
        "groups": [vars(group) for group in reliability(probability.numpy(), died.numpy() > 0)],
    }


@torch.no_grad()
def log_odds_of_death(m: MDNRNN, latents: EpisodeStore) -> tuple[Tensor, Tensor]:
    """M's forecast for every step of all episodes, and 1 where the player died; (steps,) float."""
    log_odds, died = [], []
    for name in latents.names():
        mu, actions, done = (
            torch.from_numpy(latents.read(name, key)) for key in ("mu", "actions", "done")
        )
        prediction, _ = m(mu[None, :-1], actions[None])
        log_odds.append(prediction.done_logit[0])
        died.append(done.float())
    return torch.cat(log_odds), torch.cat(died)


def measure(change: str, first: Round, folder: Path, executor: Executor | None) -> dict:
    """The numbers of one of `CHANGES`; what it takes is kept in `folder`. See `lifetimes`."""
    config, latents = first.config, first.latents.folder
    agent, controller = first.agent()
    if change == LOOKAHEAD:
        controller = load_controller(first.work / "initial.safetensors")
    elif change == DRAWN_Z:
        agent = DrawnLatents(agent.vae, agent.mdn_rnn)
    elif change == LIKELY_DEATH:
        first = replace(first, config=config.change(dream={"end": "likely"}))
    else:
        assert change == LONGER_M
        agent = WorldModel(agent.vae, train_longer(first, folder))
    dreams = dream_env_spec(first.config, agent, latents, agent)
    if change in (LIKELY_DEATH, LONGER_M):
        controller = find_controller(first, dreams, latents, folder, executor)
    return lifetimes(first.config, dreams, controller, executor)


def train_longer(first: Round, folder: Path) -> MDNRNN:
    """M of the first round, trained for twice as many passes."""
    return train_dreaming_mdn_rnn(
        first.config,
        folder,
        EpisodeStore(first.work / "training_subset"),
        epochs=2 * first.settings.dream_epochs,
        seed=first.config.seed,
        device=first.device,
    )


@dataclass(frozen=True)
class AblateSurvival(RunCommand):
    """Take Cover: what each round brings, and what else the length of a life depends on."""

    settings: Annotated[CarSettings, Flat]

    def __call__(self) -> None:
        """Run it."""
        with self.open(self.settings, "take_cover", True, changes=False) as (config, folder):
            run_survival_ablation(config, folder, self.machine)
            print(f"written: {folder / SURVIVAL}, {folder / DEATHS}")
