"""Does M need its mixture? Ms with 1, 2 and 5 Gaussians per dimension, and two simple baselines.

All learn from the same episodes of the pretrained agent, and are measured on the test episodes of
chapter 3: the likelihood of the next z, and open-loop rollouts at every horizon.
`python -m wmlib ablate mixtures` trains 15 Ms, half a minute each, and writes the table that
chapter 3 reads.
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from wmlib.files import exclusive_lock
from wmlib.models.checkpoints import load_agent, load_world_model
from wmlib.models.mdn_rnn import MDNRNN, Prediction, mixture_nll
from wmlib.models.vae import kl_per_dimension, sample_latent
from wmlib.models.world_model import State, WorldModel
from wmlib.paths import PRETRAINED, pretrained
from wmlib.pipeline.car_racing import training_env_spec
from wmlib.pipeline.config import ChapterConfig, Config
from wmlib.pipeline.phases import collect, encode, train_mdn_rnn
from wmlib.pipeline.scales import get_chapter_config, get_config
from wmlib.pipeline.scoring import agent_digest, collect_test_episodes
from wmlib.pipeline.tasks import CAR_RACING
from wmlib.provenance import Record
from wmlib.rollout.episodes import EpisodeStore
from wmlib.rollout.policies import ControllerPolicy
from wmlib.tools.tables import Table

RESULTS = PRETRAINED / "ablations" / "mixtures.jsonl"
# How an M learns: Gaussians per dimension, weight of z's mean likelihood in the loss (32: the sum).
ARMS = {
    "K = 1": (1, 1.0),
    "K = 2": (2, 1.0),
    "K = 5": (5, 1.0),
    "K = 1, sum over dimensions": (1, 32.0),
    "K = 5, sum over dimensions": (5, 32.0),
}
LINEAR, COPY = "linear autoregression", "copy of the last z"
SEEDS = (0, 1, 2)
TRACKS_FROM = 940_000  # training tracks that no other training uses
SAMPLES = 16  # open-loop rollouts per window
ACTIVE = 0.1  # nats of KL divergence; latent dimensions with less are inactive

Latents = list[dict[str, Tensor]]  # per episode: mu, logvar (T + 1, D), actions (T, A), rewards (T)


class Forecaster(Protocol):
    """What is measured: an M, or a baseline."""

    def nll(self, z: Tensor, actions: Tensor) -> Tensor:
        """-log p of z[1:], in nats: z (T + 1, D), actions (T, A) -> (T, D)."""
        ...

    def rollouts(self, z: Tensor, actions: Tensor, generator: torch.Generator) -> Tensor:
        """The H steps after a context of C: z (N, C + 1, D), actions (N, C + H, A) -> (S, N, H, D).

        S samples; 1 where nothing is random.
        """
        ...


def run_ablation(config: Config, chapter: ChapterConfig, out: str | Path) -> list[dict]:
    """A row per arm and training seed, and one per baseline; goes on with the rows in `out`.

    out: a JSON-lines file. A row has "arm" and "seed"; "active", the latent dimensions that carry
    information; "nll" of the next z in nats, a number per latent dimension; and, over the active
    dimensions, a number per horizon: "error", the squared distance between M's mean and the real z,
    and "energy_score" of the rollouts. Ms have a "reward_error" (points squared). Raises ValueError
    if the rows there were made with other settings, from another agent or from other episodes.
    """
    folder = config.run_folder(f"mixtures-{agent_digest(pretrained('car_racing'))}")
    with exclusive_lock(folder):
        agent = load_world_model(pretrained("car_racing"))
        repeat = agent.mdn_rnn.repeat
        chapter = chapter.at_pace(repeat)
        latents, held_out = encoded_episodes(config, chapter, folder)
        table = Table(Path(out), record_of(config, chapter, repeat, latents, held_out))
        test = read_latents(held_out)

        def of_mdn_rnn(mixtures: int, z_weight: float, seed: int) -> dict:
            mdn_rnn = train(config, latents, mixtures, z_weight, seed, repeat)
            measured = measure(Mixture(WorldModel(agent.vae, mdn_rnn)), test, chapter)
            return measured | {"reward_error": reward_error(mdn_rnn, test)}

        def of_baseline(copy: bool) -> dict:
            return measure(Linear.fit(read_latents(latents), copy=copy), test, chapter)

        for seed in SEEDS:
            for arm, settings in ARMS.items():
                table.add({"arm": arm, "seed": seed}, partial(of_mdn_rnn, *settings, seed))
        for arm in (LINEAR, COPY):
            table.add({"arm": arm, "seed": 0}, partial(of_baseline, arm == COPY))
        return table.rows()


def record_of(
    config: Config,
    chapter: ChapterConfig,
    repeat: int,
    latents: EpisodeStore,
    held_out: EpisodeStore,
) -> Record:
    """What the rows depend on, beside arm and seed."""
    made_from = {"agent": agent_digest(pretrained("car_racing"))}
    made_from |= {"latents": latents.digest(), "held_out": held_out.digest()}
    return Record(made_from, settings_of(config, chapter, repeat))


def settings_of(config: Config, chapter: ChapterConfig, repeat: int) -> dict:
    """How every M learns, and what is measured of it."""
    return {
        "epochs": config.rnn.epochs,
        "batch_size": config.dream.batch_size,
        "window": config.window(repeat),
        "learning_rate": config.dream.learning_rate,
        "context": chapter.context,
        "horizon": chapter.horizon,
        "samples": SAMPLES,
        "active": ACTIVE,
    }


@dataclass(frozen=True)
class AblateMixtures:
    """Does M need its mixture: Ms with 1, 2 and 5 Gaussians per dimension, and baselines."""

    scale: str | None = None  # smoke, laptop or paper; default: $WM_SCALE, or laptop
    out: Path | None = None  # file; default: data/pretrained/ablations/mixtures.jsonl

    def __call__(self) -> None:
        """Run it."""
        out, config = self.out or RESULTS, get_config(self.scale)
        run_ablation(config, get_chapter_config(config), out)
        print(f"written: {out}")


def encoded_episodes(
    config: Config, chapter: ChapterConfig, folder: Path
) -> tuple[EpisodeStore, EpisodeStore]:
    """Episodes of the pretrained agent, with noise, as V encodes them: for training, held out."""
    world_model, controller = load_agent(pretrained("car_racing"))
    episodes = collect(
        training_env_spec(config),
        CAR_RACING.noisy_policy(ControllerPolicy(controller), world_model.mdn_rnn.repeat),
        range(TRACKS_FROM, TRACKS_FROM + config.rounds[-1].episodes),
        folder / "episodes",
        world_model=world_model,
    )
    test = collect_test_episodes(config, chapter.test_episodes)
    held_out = encode(test, world_model.vae, folder / "held_out" / "latents")
    return encode(episodes, world_model.vae, folder / "latents"), held_out


def train(
    config: Config, latents: EpisodeStore, mixtures: int, z_weight: float, seed: int, repeat: int
) -> MDNRNN:
    """An M with so many Gaussians per dimension, with the annealed learning rate of dreams' M."""
    torch.manual_seed(seed)
    mdn_rnn, _ = train_mdn_rnn(
        latents,
        latents.folder.parent / f"{mixtures}-{z_weight:g}-{seed}",
        epochs=config.rnn.epochs,
        batch_size=config.dream.batch_size,
        window=config.window(repeat),
        learning_rate=config.dream.learning_rate,
        anneal=True,
        seed=seed,
        device="cpu",
        z_weight=z_weight,
        start=MDNRNN(mixtures=mixtures, repeat=repeat),
    )
    return mdn_rnn


def read_latents(store: EpisodeStore) -> Latents:
    """All encoded episodes of a store, as float32 tensors."""
    episodes = (store.episode(name) for name in store.names())
    return [{k: torch.from_numpy(v).float() for k, v in episode.items()} for episode in episodes]


@dataclass(frozen=True)
class Mixture:
    """The M of a world model as a forecaster."""

    world_model: WorldModel

    def nll(self, z: Tensor, actions: Tensor) -> Tensor:
        """See `Forecaster`."""
        prediction, _ = self.world_model.mdn_rnn(z[None, :-1], actions[None])
        return mixture_nll(prediction, z[None, 1:])[0]

    def rollouts(self, z: Tensor, actions: Tensor, generator: torch.Generator) -> Tensor:
        """See `Forecaster`: `SAMPLES` of them, at temperature 1."""
        context = z.shape[1] - 1
        _, (h, c) = self.world_model.mdn_rnn.remember(z[:, :-1], actions[:, :context])
        state = State(z[:, -1], h[0], c[0], z.new_zeros(len(z)))
        state = State(*(part.repeat(SAMPLES, *[1] * (part.ndim - 1)) for part in state))
        imagined = []
        for action in actions[:, context:].unbind(1):
            taken = action.repeat(SAMPLES, 1)
            # As for few rows: with 32-bit floats, so that every processor gives the same table.
            state, _ = self.world_model.imagine(state, taken, generator=generator, few_rows=True)
            imagined.append(state.z)
        return torch.stack(imagined, 1).unflatten(0, (SAMPLES, len(z)))


@dataclass(frozen=True)
class Linear:
    """The next z as a linear function of the last two and the action, with Gaussian residuals.

    weights: (2 D + A + 1, D). log_sigma: of the residuals (D,).
    """

    weights: Tensor
    log_sigma: Tensor

    @classmethod
    def fit(cls, latents: Latents, copy: bool = False) -> "Linear":
        """By least squares, on samples of V's posterior, as M is. copy: the next z is the last."""
        z = [_sample(episode, k) for k, episode in enumerate(latents)]
        pairs = zip(z, latents, strict=True)
        inputs = torch.cat([_inputs(part, episode["actions"]) for part, episode in pairs])
        targets = torch.cat([part[1:] for part in z])
        if copy:
            weights = torch.eye(inputs.shape[1], targets.shape[1])
        else:
            weights = torch.linalg.lstsq(inputs, targets).solution
        return cls(weights, (targets - inputs @ weights).square().mean(0).log() / 2)

    def nll(self, z: Tensor, actions: Tensor) -> Tensor:
        """See `Forecaster`."""
        mu = (_inputs(z, actions) @ self.weights)[None, ..., None]
        zero = torch.zeros_like(mu)
        one_gaussian = Prediction(zero, mu, zero + self.log_sigma[:, None], mu[..., 0], mu[..., 0])
        return mixture_nll(one_gaussian, z[None, 1:])[0]

    def rollouts(self, z: Tensor, actions: Tensor, generator: torch.Generator) -> Tensor:
        """See `Forecaster`: one, of means."""
        context = z.shape[1] - 1
        pair, imagined = (z[:, -2], z[:, -1]), []
        for action in actions[:, context:].unbind(1):
            inputs = torch.cat([pair[1], pair[0], action, torch.ones(len(z), 1)], dim=1)
            pair = pair[1], inputs @ self.weights
            imagined.append(pair[1])
        return torch.stack(imagined, 1)[None]


def _inputs(z: Tensor, actions: Tensor) -> Tensor:
    # z (T + 1, D), actions (T, A) -> z_t, z_{t-1}, a_t and 1, (T, 2 D + A + 1).
    before = torch.cat([z[:1], z[:-2]])
    return torch.cat([z[:-1], before, actions, torch.ones(len(actions), 1)], dim=1)


def _sample(episode: dict[str, Tensor], seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return sample_latent(episode["mu"], episode["logvar"], generator)


@torch.no_grad()
def measure(forecaster: Forecaster, latents: Latents, chapter: ChapterConfig) -> dict[str, Any]:
    """The columns of a row, see `run_ablation`: means over episodes, or over their windows."""
    moments = [torch.cat([episode[key] for episode in latents]) for key in ("mu", "logvar")]
    active = kl_per_dimension(*moments).mean(0) > ACTIVE
    nll = [forecaster.nll(_sample(e, k), e["actions"]).mean(0) for k, e in enumerate(latents)]
    context, steps = chapter.context, chapter.context + chapter.horizon
    windows = [
        (episode["mu"][start : start + steps + 1], episode["actions"][start : start + steps])
        for episode in latents
        for start in range(0, len(episode["actions"]) - steps + 1, chapter.horizon)
    ]
    z, actions = (torch.stack(parts) for parts in zip(*windows, strict=True))
    generator = torch.Generator().manual_seed(0)
    imagined = forecaster.rollouts(z[:, : context + 1], actions, generator)[..., active]
    real = z[:, context + 1 :, active]
    # The mean of S samples is off M's mean by chance: the expected square of that, var / (S - 1),
    # is subtracted.
    own = imagined.var(0, correction=0).sum(-1) / max(1, len(imagined) - 1)
    error = (imagined.mean(0) - real).square().sum(-1) - own
    return {
        "active": active.nonzero()[:, 0].tolist(),
        "nll": _rounded(torch.stack(nll).mean(0)),
        "error": _rounded(error.mean(0)),
        "energy_score": _rounded(energy_score(imagined, real).mean(0)),
    }


def energy_score(samples: Tensor, real: Tensor) -> Tensor:
    """E|X - y| - E|X - X'| / 2 of samples X (S, ..., D) for a real y (..., D): (...).

    The smaller the better; for a single forecast, S = 1, its distance (Gneiting & Raftery 2007).
    """
    distance = (samples - real).norm(dim=-1).mean(0)
    pairs = len(samples) * (len(samples) - 1) / 2
    apart = [(samples[:k] - samples[k]).norm(dim=-1).sum(0) for k in range(1, len(samples))]
    return distance - sum(apart, torch.zeros_like(distance)) / max(1, pairs) / 2


@torch.no_grad()
def reward_error(mdn_rnn: MDNRNN, latents: Latents) -> float:
    """The mean squared error of M's expected reward, in points squared."""
    errors = []
    for k, episode in enumerate(latents):
        prediction, _ = mdn_rnn(_sample(episode, k)[None, :-1], episode["actions"][None])
        errors.append((prediction.reward[0] - episode["rewards"]).square().mean())
    return round(torch.stack(errors).mean().item(), 4)


def _rounded(values: Tensor) -> list[float]:
    return [round(value, 4) for value in values.tolist()]
