"""The phases of a round: collect, train V, encode, train M. Each goes on from what it finds.

Everything written carries a record of what it was made from (see `wmlib.provenance`); what is there
already is used if its record is the wanted one, and is an error, or made again, if it is not.
"""

import copy
import math
import time
from collections.abc import Sequence
from concurrent.futures import Executor
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import nn
from tqdm.auto import tqdm

from wmlib.envs import TRAINING_SEEDS
from wmlib.envs.vector import VectorEnvSpec
from wmlib.files import digest, read_log, write_log
from wmlib.models.checkpoints import load_network, save_network, weights_digest, world_model_digest
from wmlib.models.controller import Controller
from wmlib.models.mdn_rnn import MDNRNN
from wmlib.models.numerics import half_precision
from wmlib.models.vae import VAE, frames_to_tensor
from wmlib.models.world_model import WorldModel
from wmlib.provenance import Record
from wmlib.rollout.episodes import EpisodeStore
from wmlib.rollout.policies import EpisodeSpec, Policy
from wmlib.rollout.rollout import run_episodes
from wmlib.training.batches import FrameBatches, SequenceBatches
from wmlib.training.fit import fit, mdn_rnn_step, pick_device, vae_step

Network = TypeVar("Network", bound=nn.Module)
MIRRORED = "-mirrored"  # after an episode's name: its mirror image


def collect(
    env_spec: VectorEnvSpec,
    policy: Policy,
    seeds: Sequence[int],
    folder: str | Path,
    executor: Executor | None = None,
    record: Sequence[str] = (),
    world_model: WorldModel | None = None,
    members: int = 1,
    made_from: dict[str, str] | None = None,
) -> EpisodeStore:
    """Run one episode per seed and keep it; seeds already in the store are not run again.

    record: entries of the environment's `info` to keep beside frames, actions, rewards and done.
    world_model: for policies that read [z, h]. members: a population of so many takes turns.
    made_from: more about the origin of these episodes, for the store's record.

    Appends episodes, steps, mean score and seconds to collect.jsonl beside the folder, and that
    these episodes are "replayed", if what they are `made_from` says so. Raises
    ValueError for a seed that is kept for scoring, for a store that was filled in another way or by
    another policy or has episodes of higher seeds, and if episodes do not arrive there.
    """
    for seed in seeds:
        if seed not in TRAINING_SEEDS:
            raise ValueError(
                f"seed {seed} is kept for scoring; to learn on, take one below "
                f"{TRAINING_SEEDS.stop:,}"
            )
    store, pace = EpisodeStore(folder), env_spec.at_pace(world_model)
    origin = dict(made_from or {})
    if world_model is not None:
        origin["world_model"] = world_model_digest(world_model)
    settings = {"world": str(pace), "repeat": pace.repeat, "members": members}
    store.begin(Record(origin, settings | {"policy": describe_policy(policy)}))
    beyond = [name for name in store.names() if int(name.split("-")[0]) > max(seeds, default=1e9)]
    if beyond:
        raise ValueError(
            f"{store.folder} has {len(beyond)} more episodes than the {len(seeds)} that are "
            f"wanted: name another folder for fewer episodes"
        )
    specs = [EpisodeSpec(seed, i % members) for i, seed in enumerate(seeds)]
    specs = [spec for spec in specs if spec.name not in store]
    if specs:
        began = time.monotonic()
        episodes = run_episodes(
            env_spec,
            policy,
            specs,
            world_model,
            executor=executor,
            store=store,
            record=record,
            progress="collecting",
        )
        lost = [spec for spec in specs if spec.name not in store]
        if lost:
            raise ValueError(
                f"{len(lost)} of {len(specs)} episodes are not in {store.folder}: on a cluster, "
                f"all workers must see that folder under this very path"
            )
        row = {
            "episodes": len(episodes),
            "steps": sum(episode.steps for episode in episodes),
            "mean_score": float(np.mean([episode.score for episode in episodes])),
        }
        row |= {"replayed": True} if "replayed" in origin else {}
        append_to_log(store.folder.parent / "collect.jsonl", row, began)
    return store


def describe_policy(policy: Any, depth: int = 4) -> Any:
    """A policy, as JSON can hold it: its class and its public attributes; weights as digests.

    depth: how far attributes of attributes are followed.
    """
    if policy is None or isinstance(policy, bool | int | float | str):
        return policy
    if isinstance(policy, list | tuple):
        return [describe_policy(part, depth - 1) for part in policy]
    if isinstance(policy, dict):
        return {str(key): describe_policy(part, depth - 1) for key, part in policy.items()}
    if isinstance(policy, torch.Tensor):
        policy = policy.detach().cpu().numpy()
    if isinstance(policy, np.ndarray | np.generic):
        return digest(np.asarray(policy)) if policy.size > 8 else policy.tolist()
    name = {"class": type(policy).__qualname__}
    if isinstance(policy, Controller):
        return name | {"weights": digest(policy.parameters)}
    if isinstance(policy, nn.Module):
        return name | {"weights": weights_digest(policy)}
    own = {k: v for k, v in getattr(policy, "__dict__", {}).items() if not k.startswith("_")}
    return name | {k: describe_policy(v, depth - 1) for k, v in own.items() if depth > 0}


def train_vae(
    store: EpisodeStore,
    folder: str | Path,
    *,
    epochs: int,
    batch_size: int = 100,
    learning_rate: float = 1e-4,
    frame_size: int = 64,
    z_size: int = 32,
    seed: int = 0,
    device: str | None = None,
    start: VAE | None = None,
    free_bits: float = 0.5,
    cubed_weight: float = 0.0,
    horizon_weight: float = 1.0,
    anneal: bool = False,
    flip: bool = False,
) -> tuple[VAE, list[dict]]:
    """V from a store's frames; writes vae.safetensors. Returns V and its history.

    start: a V to go on from; by default a new one. free_bits and the weights: see `vae_loss`.
    anneal: see `fit`. flip: see `FrameBatches`. Raises ValueError if the folder holds the
    checkpoint of another training: other episodes, settings or start.
    """
    torch.manual_seed(seed)
    vae = VAE(frame_size, z_size) if start is None else copy.deepcopy(start)
    settings = {"epochs": epochs, "batch_size": batch_size, "learning_rate": learning_rate}
    # Absent where they have their defaults, as in records that there are.
    rare: dict[str, tuple[float, float]] = {
        "anneal": (anneal, False),
        "flip": (flip, False),
        "free_bits": (free_bits, 0.5),
        "cubed_weight": (cubed_weight, 0.0),
        "horizon_weight": (horizon_weight, 1.0),
    }
    settings |= {name: value for name, (value, usual) in rare.items() if value != usual}
    record = Record(
        {"episodes": store.digest(), **_start_of(start)}, settings | {"seed": seed, **vae.config}
    )
    history = fit(
        vae,
        partial(
            vae_step,
            free_bits=free_bits,
            cubed_weight=cubed_weight,
            horizon_weight=horizon_weight,
        ),
        FrameBatches(store, batch_size, seed, flip=flip),
        epochs=epochs,
        learning_rate=learning_rate,
        seed=seed,
        checkpoint=Path(folder) / "vae.checkpoint",
        device=device,
        anneal=anneal,
        record=record,
    )
    return keep_network(vae, history, folder, "vae", record), history


def _start_of(network: nn.Module | None) -> dict[str, str]:
    return {} if network is None else {"start": weights_digest(network)}


def encode(
    store: EpisodeStore,
    vae: VAE,
    folder: str | Path,
    device: str | None = None,
    reuse: EpisodeStore | None = None,
    mirrored: bool = False,
) -> EpisodeStore:
    """What V sees in every episode: the same episodes with mu, logvar instead of frames.

    device: where to compute, V then being moved there; by default where it is. reuse: latents of
    the same V, which are not computed again. mirrored: the mirror image of every episode is added,
    named NAME + `MIRRORED`: left and right are exchanged in its frames and in the first number of
    its actions. Latents of another V, or of episodes of another origin, are replaced. Appends
    episodes and seconds to encode.jsonl beside the folder.
    """
    latents, began, by = EpisodeStore(folder), time.monotonic(), weights_digest(vae)
    origin = "" if store.record is None else store.record.digest
    settings = {"mirrored": True} if mirrored else {}
    latents.begin(Record({"vae": by, "episodes": origin}, settings), rebuild=True)
    if reuse is not None and reuse.record is not None and reuse.record.made_from["vae"] == by:
        latents.include(reuse)
    missing = [name for name in store.names() if name not in latents]
    vae = vae if device is None else vae.to(pick_device(device))
    where = vae.mu.weight.device
    for name in tqdm(missing, desc="encoding", unit="episode", leave=False, disable=None):
        episode = store.episode(name)
        frames = episode.pop("frames")
        if mirrored:  # first: the episode itself says that all is there
            actions = episode["actions"].copy()
            actions[:, 0] *= -1
            turned = _encode_episode(np.ascontiguousarray(frames[:, :, ::-1]), vae, where)
            latents.write(name + MIRRORED, episode | turned | {"actions": actions})
        latents.write(name, episode | _encode_episode(frames, vae, where))
    if missing:
        append_to_log(latents.folder.parent / "encode.jsonl", {"episodes": len(missing)}, began)
    return latents


@torch.no_grad()
def _encode_episode(frames: np.ndarray, vae: VAE, where: torch.device) -> dict[str, np.ndarray]:
    with half_precision(where):
        parts = torch.from_numpy(frames).split(256)
        codes = [vae.encode(frames_to_tensor(part, where)) for part in parts]
    mu, logvar = (torch.cat(part).float().cpu().numpy() for part in zip(*codes, strict=True))
    return {"mu": mu, "logvar": logvar}


def append_to_log(log: Path, row: dict, began: float) -> None:
    """Add a row, with the seconds since `began` (time.monotonic()), to a JSON-lines file."""
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
    hidden_size: int = 256,
    repeat: int = 1,
    learning_rate: float = 1e-3,
    seed: int = 0,
    device: str | None = None,
    z_noise: float = 1.0,
    z_weight: float = 1.0,
    anneal: bool = False,
    reward_input: bool = False,
    reads_cell: bool = False,
    done_weight: float = 1.0,
    until: float = math.inf,
    start: MDNRNN | None = None,
    name: str = "mdn_rnn",
) -> tuple[MDNRNN, list[dict]]:
    """M from encoded episodes; writes <name>.safetensors. Returns M and its history.

    repeat: environment steps per agent step in these episodes. z_noise, z_weight: see
    `mdn_rnn_step`. anneal: see `fit`. reward_input, reads_cell, done_weight: see `MDNRNN`.
    until: see `SequenceBatches`. start: an M to go on from; by default a new one. Raises ValueError
    if the folder holds the checkpoint of another training.
    """
    torch.manual_seed(seed)
    mdn_rnn = MDNRNN(
        latents.read(latents.names()[0], "mu").shape[1] if len(latents) else 32,
        action_size,
        hidden_size,
        repeat=repeat,
        reward_input=reward_input,
        reads_cell=reads_cell,
        done_weight=done_weight,
    )
    mdn_rnn = mdn_rnn if start is None else copy.deepcopy(start)
    settings = {
        "epochs": epochs,
        "batch_size": batch_size,
        "window": window,
        "learning_rate": learning_rate,
        "anneal": anneal,
        "z_noise": z_noise,
        "z_weight": z_weight,
        "until": None if until == math.inf else until,
        "seed": seed,
    }
    record = Record({"latents": latents.digest(), **_start_of(start)}, settings | mdn_rnn.config)
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
        record=record,
    )
    return keep_network(mdn_rnn, history, folder, name, record), history


def keep_network(
    network: Network, history: list[dict], folder: str | Path, name: str, record: Record
) -> Network:
    """Save a network as 16-bit floats and read it back, and its history beside it.

    So what everything after it learns from, and what is scored, is what is published.
    """
    path = Path(folder) / f"{name}.safetensors"
    save_network(network, path, half=True, record=record)
    write_log(history, path.with_suffix(".jsonl"))
    return load_network(type(network), path)
