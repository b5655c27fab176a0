"""The phases of a round: collect, train V, encode, train M. Each goes on from what it finds."""

import copy
import math
import time
from collections.abc import Sequence
from concurrent.futures import Executor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from tqdm.auto import tqdm

from wmlib.envs import TRAINING_SEEDS
from wmlib.envs.vector import World
from wmlib.files import digest, read_log, write_log
from wmlib.models.checkpoints import load_network, save_network
from wmlib.models.mdn_rnn import MDNRNN
from wmlib.models.numerics import half_precision
from wmlib.models.vae import VAE, frames_to_tensor
from wmlib.models.world_model import WorldModel
from wmlib.rollout.episodes import EpisodeStore
from wmlib.rollout.policies import EpisodeSpec, Policy
from wmlib.rollout.rollout import episode_name, run_episodes
from wmlib.training.batches import FrameBatches, SequenceBatches
from wmlib.training.fit import fit, mdn_rnn_step, pick_device, vae_step


def collect(
    world: World,
    driver: Policy,
    seeds: Sequence[int],
    folder: str | Path,
    executor: Executor | None = None,
    record: Sequence[str] = (),
    world_model: WorldModel | None = None,
    members: int = 1,
) -> EpisodeStore:
    """Drive one episode for each seed and keep it; seeds already in the store are not driven again.

    world_model: for drivers that read [z, h]. members: a population of so many takes turns.

    Appends episodes, steps, mean score and seconds to collect.jsonl beside the folder. Raises
    ValueError for a seed that is kept for scoring, for a store that was filled in another way, and
    if drives do not arrive there.
    """
    for seed in seeds:
        if seed not in TRAINING_SEEDS:
            raise ValueError(
                f"seed {seed} is kept for scoring; to learn on, take one below "
                f"{TRAINING_SEEDS.stop:,}"
            )
    store = EpisodeStore(folder)
    pace = world.at_pace(world_model)
    store.describe({"world": str(pace), "repeat": pace.repeat, "members": members})
    jobs = [EpisodeSpec(seed, i % members) for i, seed in enumerate(seeds)]
    jobs = [job for job in jobs if episode_name(job) not in store]
    if jobs:
        began = time.monotonic()
        drives = run_episodes(
            world,
            driver,
            jobs,
            world_model,
            executor=executor,
            store=store,
            record=record,
            progress="collecting",
        )
        lost = [job for job in jobs if episode_name(job) not in store]
        if lost:
            raise ValueError(
                f"{len(lost)} of {len(jobs)} drives are not in {store.folder}: on a cluster, all "
                f"workers must see that folder under this very path"
            )
        row = {
            "episodes": len(drives),
            "steps": sum(drive.steps for drive in drives),
            "mean_score": float(np.mean([drive.score for drive in drives])),
        }
        append_to_log(store.folder.parent / "collect.jsonl", row, began)
    return store


def train_vae(
    store: EpisodeStore,
    folder: str | Path,
    *,
    epochs: int,
    batch_size: int = 100,
    learning_rate: float = 1e-4,
    frame_size: int = 64,
    seed: int = 0,
    device: str | None = None,
    start: VAE | None = None,
) -> tuple[VAE, list[dict]]:
    """V from a store's frames; writes vae.safetensors. Returns V and its history.

    start: a V to go on from; by default a new one.
    """
    torch.manual_seed(seed)
    vae = VAE(frame_size) if start is None else copy.deepcopy(start)
    batches = FrameBatches(store, batch_size, seed)
    history = fit(
        vae,
        vae_step,
        batches,
        epochs=epochs,
        learning_rate=learning_rate,
        seed=seed,
        checkpoint=Path(folder) / "vae.checkpoint",
        device=device,
    )
    return keep_network(vae, history, folder, "vae"), history


@torch.no_grad()
def encode(
    store: EpisodeStore, vae: VAE, folder: str | Path, device: str | None = None
) -> EpisodeStore:
    """What V sees in every episode: the same episodes with mu, logvar instead of frames.

    device: where to compute, V then being moved there; by default where it is. What another V has
    seen is encoded anew. Appends episodes and seconds to encode.jsonl beside the folder.
    """
    latents, began = EpisodeStore(folder), time.monotonic()
    about = {"vae": weights_digest(vae)}
    if latents.about and latents.about != about:
        latents.clear()
    latents.describe(about)
    missing = [name for name in store.names() if name not in latents]
    vae = vae if device is None else vae.to(pick_device(device))
    where = vae.mu.weight.device
    for name in tqdm(missing, desc="encoding", unit="drive", leave=False, disable=None):
        episode = store.episode(name)
        frames = torch.from_numpy(episode.pop("frames")).split(256)
        with half_precision(where):
            codes = [vae.encode(frames_to_tensor(part, where)) for part in frames]
        mu, logvar = (torch.cat(part).float().cpu().numpy() for part in zip(*codes, strict=True))
        latents.write(name, episode | {"mu": mu, "logvar": logvar})
    if missing:
        append_to_log(latents.folder.parent / "encode.jsonl", {"episodes": len(missing)}, began)
    return latents


def weights_digest(*networks: nn.Module) -> str:
    weights = [p.detach().cpu().reshape(-1) for n in networks for p in n.parameters()]
    return digest(torch.cat(weights).numpy())


def append_to_log(log: Path, row: dict, began: float) -> None:
    # Written as a whole: a full disk or a kill would leave half a line.
    rows = read_log(log) if log.exists() else []
    write_log([*rows, row | {"seconds": round(time.monotonic() - began, 2)}], log)


def train_mdn_rnn(
    latents: EpisodeStore,
    folder: str | Path,
    *,
    epochs: int,
    batch_size: int,
    window: int,
    action_size: int = 3,
    repeat: int = 1,
    learning_rate: float = 1e-3,
    seed: int = 0,
    device: str | None = None,
    z_noise: float = 1.0,
    z_weight: float = 1.0,
    anneal: bool = False,
    reward_input: bool = False,
    until: float = math.inf,
    start: MDNRNN | None = None,
    name: str = "mdn_rnn",
) -> tuple[MDNRNN, list[dict]]:
    """M from encoded episodes; writes <name>.safetensors. Returns M and its history.

    repeat: how many steps every action of these episodes was held for. z_noise, z_weight: see
    `mdn_rnn_step`. anneal: see `fit`. reward_input: see `MDNRNN`. until: see `SequenceBatches`.
    start: an M to go on from; by default a new one.
    """
    torch.manual_seed(seed)
    mdn_rnn = MDNRNN(action_size=action_size, repeat=repeat, reward_input=reward_input)
    mdn_rnn = mdn_rnn if start is None else copy.deepcopy(start)
    history = fit(
        mdn_rnn,
        partial(mdn_rnn_step, z_noise=z_noise, z_weight=z_weight),
        SequenceBatches(latents, batch_size, window, seed, until=until),
        epochs=epochs,
        learning_rate=learning_rate,
        seed=seed,
        clip=1.0,
        checkpoint=Path(folder) / f"{name}.checkpoint",
        device=device,
        anneal=anneal,
        about={
            "window": window,
            "z_noise": z_noise,
            "z_weight": z_weight,
            "reward_input": reward_input,
            "until": str(until),
            "z": latents.about.get("vae", ""),  # by whom it was encoded
        },
    )
    return keep_network(mdn_rnn, history, folder, name), history


def keep_network(network: nn.Module, history: list[dict], folder: str | Path, name: str) -> Any:
    # Kept as 16-bit floats and read back at once, so that what everything after it learns from,
    # and what is scored, is what is shipped.
    path = Path(folder) / f"{name}.safetensors"
    save_network(network, path, half=True)
    write_log(history, path.with_suffix(".jsonl"))
    return load_network(type(network), path)
