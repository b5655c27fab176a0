"""The one training loop, for V and for M: progress, loss curve, checkpoint, exact resume."""

import contextlib
import ctypes
import itertools
import json
import math
import os
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from tqdm.auto import tqdm

from wmlib.files import write_atomically
from wmlib.models.checkpoints import fill
from wmlib.models.mdn_rnn import MDNRNN, TILE, MDNRNNLoss, Prediction, mdn_rnn_loss
from wmlib.models.numerics import half_precision
from wmlib.models.vae import VAE, VAELoss, frames_to_tensor, sample_latent, vae_loss
from wmlib.provenance import Record, require
from wmlib.training.batches import Sequences

os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # what `_deterministic` needs on CUDA

# Of the previous reward: an SD of a third of a tile. Exact values would let sigma go to zero.
REWARD_LOGVAR = -2.2


class Batches(Protocol):
    """Anything with a length that makes the same batches again for the same epoch."""

    def __len__(self) -> int: ...

    def __call__(self, epoch: int) -> Iterable[Any]: ...


Loss = Callable[..., Any]  # (network, batch, generator) -> a named tuple of losses, the total first


def pick_device(name: str | None = None) -> torch.device:
    """The device to compute on: `name`, or the best one here (CUDA, then Apple's MPS, then CPU).

    Raises ValueError if the named device is not on this machine.
    """
    here = ["cpu"]
    if torch.backends.mps.is_available():
        here.insert(0, "mps")
    if torch.cuda.is_available():
        here = ["cuda", *(f"cuda:{i}" for i in range(torch.cuda.device_count())), *here]
    if name is None:
        return torch.device(here[0])
    if name not in here:
        raise ValueError(f"no device {name!r} on this machine, which has {', '.join(here)}")
    return torch.device(name)


def vae_step(
    vae: VAE,
    frames: Tensor,
    generator: torch.Generator,
    free_bits: float = 0.5,
    **weights: float,
) -> VAELoss:
    """V's loss on a batch of uint8 frames (B, S, S, 3). free_bits, weights: see `vae_loss`.

    The convolutions use 16-bit floats where these are faster; weights, noise and loss do not.
    """
    frames = frames_to_tensor(frames, generator.device)
    with half_precision(frames.device):
        mu, logvar = (moment.float() for moment in vae.encode(frames))
        reconstructions = vae.decode(sample_latent(mu, logvar, generator))
    return vae_loss(reconstructions.float(), frames, mu, logvar, free_bits, **weights)


def mdn_rnn_step(
    mdn_rnn: MDNRNN,
    batch: Sequences,
    generator: torch.Generator,
    z_noise: float = 1.0,
    z_weight: float = 1.0,
) -> MDNRNNLoss:
    """M's loss on a batch of windows, with teacher forcing.

    z is sampled from V's posterior anew for every batch (paper A.2), so that M does not overfit one
    sample; so are the previous rewards, for an M that reads them.

    z_noise: scale of the samples' deviation from their mean, 0 to 1 (the paper's). z_weight: see
    `mdn_rnn_loss`.
    """
    device = generator.device
    mean = mdn_rnn.join(batch.mu, batch.previous / TILE).to(device)
    reward_logvar = torch.full_like(batch.previous, REWARD_LOGVAR)
    logvar = mdn_rnn.join(batch.logvar, reward_logvar).to(device)
    variable = mean.lerp(sample_latent(mean, logvar, generator), z_noise)
    z, reward = mdn_rnn.split(variable)
    # (On CPUs, 16-bit floats make an LSTM slower.)
    with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
        prediction, _ = mdn_rnn(z[:, :-1], batch.actions.to(device), reward=reward[:, :-1])
    prediction = Prediction(*(part.float() for part in prediction))
    rewards, done, mask = (t.to(device) for t in (batch.rewards, batch.done, batch.mask))
    weights = z_weight, mdn_rnn.done_weight
    return mdn_rnn_loss(prediction, variable[:, 1:], rewards, done, mask, *weights)


def fit(
    network: nn.Module,
    step: Loss,
    batches: Batches,
    *,
    epochs: int,
    learning_rate: float,
    seed: int,
    checkpoint: str | Path | None = None,
    clip: float | None = None,
    device: str | torch.device | None = None,
    save_seconds: float = 30.0,
    anneal: bool = False,
    record: Record | None = None,
) -> list[dict]:
    """Fit a network with Adam; returns the history, a row about every 1% of the way.

    A row has "step", "epoch", "seconds" (of training, over all sittings) and the mean of each of
    the loss's named parts since the row before. `clip` is the gradient's largest norm. anneal: let
    the learning rate fall to zero, linearly, so that the last batches do not decide.

    With a `checkpoint` path, everything the future depends on (weights, optimizer, noise, history)
    is saved there every `save_seconds` and at the end; called again, the same fit goes on from
    there and arrives at the same weights as an uninterrupted one. record: what step and batches
    depend on. Raises ValueError if the checkpoint belongs to a fit with other settings or another
    record; and if a loss or a gradient is not finite: the checkpoint keeps the weights of before.
    """
    _keep_memory()
    device = pick_device(None if device is None else str(device))
    network.to(device).train()
    # (Fused: all of Adam's arithmetic in one pass over the memory. It came late to MPS.)
    fused = device.type != "mps"
    optimizer = torch.optim.Adam(network.parameters(), lr=learning_rate, fused=fused)
    generator = torch.Generator(device).manual_seed(seed)
    total = epochs * len(batches)
    own = {"learning_rate": learning_rate, "seed": seed, "clip": clip, "anneal": anneal}
    own |= {"epochs": epochs, "batches": len(batches)}
    record = record or Record()
    record = Record(record.made_from, record.settings | own)
    progress: dict[str, Any] = {"done": 0, "seconds": 0.0, "history": [], "sums": {}}
    if checkpoint is not None and Path(checkpoint).exists():
        progress = _load(checkpoint, network, optimizer, generator, record)
    resumed_at, log_every = progress["done"], max(1, total // 100)
    clock = saved = time.monotonic()

    with (
        _deterministic(device),
        tqdm(
            total=total,
            initial=resumed_at,
            desc=type(network).__name__,
            unit="step",
            leave=False,
            disable=None,
        ) as bar,
    ):
        for epoch in range(resumed_at // len(batches), epochs):
            first = progress["done"] - epoch * len(batches)
            for batch in itertools.islice(batches(epoch), first, None):
                if anneal:
                    optimizer.param_groups[0]["lr"] = learning_rate * (1 - progress["done"] / total)
                loss = step(network, batch, generator)
                parts = {key: value.item() for key, value in loss._asdict().items()}
                _require_finite_loss(parts, network, progress["done"], len(batches), checkpoint)
                optimizer.zero_grad()
                loss[0].backward()
                norm = nn.utils.clip_grad_norm_(
                    network.parameters(), math.inf if clip is None else clip
                )
                _require_finite_loss(
                    {"gradient": norm.item()}, network, progress["done"], len(batches), checkpoint
                )
                optimizer.step()

                progress["done"] += 1
                progress["seconds"] += time.monotonic() - clock
                clock = time.monotonic()
                for key, value in parts.items():
                    progress["sums"][key] = progress["sums"].get(key, 0.0) + value
                if progress["done"] % log_every == 0 or progress["done"] == total:
                    bar.set_postfix(_log(progress, epoch))
                bar.update()
                if checkpoint is not None and clock - saved > save_seconds:
                    _save(checkpoint, network, optimizer, generator, record, progress)
                    saved = clock
    if checkpoint is not None and progress["done"] > resumed_at:
        _save(checkpoint, network, optimizer, generator, record, progress)
    network.eval()
    return progress["history"]


@contextlib.contextmanager
def _deterministic(device: torch.device) -> Iterator[None]:
    # On CUDA the order of sums is free unless one asks, and a resumed fit would differ from an
    # uninterrupted one in its last bits. (A CPU and MPS have nothing to choose here.)
    before = torch.are_deterministic_algorithms_enabled()
    if device.type == "cuda":
        torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)


def _require_finite_loss(
    parts: dict[str, float], network: nn.Module, done: int, batches: int, checkpoint
) -> None:
    wrong = [f"{key} is {value}" for key, value in parts.items() if not math.isfinite(value)]
    if wrong:
        kept = "" if checkpoint is None else f"; {checkpoint} keeps the last good weights"
        raise ValueError(
            f"training {type(network).__name__} stopped: {wrong[0]} in batch {done % batches + 1} "
            f"of epoch {done // batches + 1} (step {done + 1}): try a lower learning rate, or look "
            f"at the data{kept}"
        )


def _keep_memory() -> None:
    # glibc hands large blocks back to the kernel after every step, and has to ask for them again,
    # zeroed: a quarter of V's training time. Elsewhere (macOS, Windows) there is no such call.
    with contextlib.suppress(AttributeError, OSError, TypeError):
        libc = ctypes.CDLL(None)
        libc.mallopt(-4, 0)  # M_MMAP_MAX: no separate mapping for large blocks
        libc.mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD: keep what is free


def _log(progress: dict, epoch: int) -> dict[str, str]:
    history = progress["history"]
    count = progress["done"] - (history[-1]["step"] if history else 0)
    means = {key: value / count for key, value in progress["sums"].items()}
    row = {"step": progress["done"], "epoch": epoch, "seconds": round(progress["seconds"], 2)}
    history.append(row | means)
    progress["sums"] = {}
    return {key: f"{value:.3g}" for key, value in means.items()}


def _save(path, network, optimizer, generator, record: Record, progress: dict) -> None:
    tensors = {f"network.{name}": tensor for name, tensor in network.state_dict().items()}
    for i, moments in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{i}.{name}": tensor for name, tensor in moments.items()}
    tensors["generator"] = generator.get_state()
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    metadata = {"record": json.dumps(record.to_dict()), "progress": json.dumps(progress)}
    write_atomically(path, lambda temporary: save_file(tensors, temporary, metadata=metadata))


def _load(path, network, optimizer, generator, record: Record) -> dict:
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata()
            tensors = {name: file.get_tensor(name) for name in file.keys()}
    except SafetensorError as error:
        raise ValueError(
            f"{path} is damaged ({error}): delete it, and this training starts again"
        ) from error
    require(path, Record.from_dict(json.loads(metadata.get("record", "null"))), record)
    fill(network, _under("network.", tensors), path)
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in _under("optimizer.", tensors).items():
        i, moment = name.split(".")
        state.setdefault(int(i), {})[moment] = tensor
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
    for parameter, moments in optimizer.state.items():
        # In the parameter's own memory layout: the fused Adam goes through both side by side.
        own = {n: torch.empty_like(parameter).copy_(m) for n, m in moments.items() if m.dim()}
        moments.update(own)
    try:
        generator.set_state(tensors["generator"])
    except RuntimeError as error:
        raise ValueError(
            f"{path} was begun on another kind of device than {generator.device.type}, whose noise "
            f"is another: go on there (--device), or name another folder"
        ) from error
    return json.loads(metadata["progress"])


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}
