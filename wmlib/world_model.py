"""V and M together: what the agent carries with it, and how it is kept on disk.

The pair `observe` and `imagine` is what everything else is made of. Both remember what was just
done; then `observe` looks at the frame that came, and `imagine`, with no frame, draws one from M.
"""

import dataclasses
import hashlib
import json
import os
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from inspect import signature
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from filelock import FileLock, Timeout
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from wmlib.controller import Controller
from wmlib.mdn_rnn import MDNRNN, Noise, Prediction, sample_next, with_pay
from wmlib.vae import VAE, frames_to_tensor

# Where the pretrained weights may be: in a checkout, or in an installed package.
PLACES = (Path(__file__).parents[1] / "data" / "pretrained", Path(__file__).parent / "pretrained")
PRETRAINED = next((folder for folder in PLACES if folder.is_dir()), PLACES[0])


class State(NamedTuple):
    """What the agent knows at one moment, for a batch: z (B, z_size), h and c (B, hidden)."""

    z: Tensor
    h: Tensor
    c: Tensor

    def __reduce__(self):
        # As for the networks: plain arrays travel to any worker.
        return _unpack_state, tuple(part.cpu().numpy() for part in self)

    @property
    def features(self) -> Tensor:
        """What C reads: [z, h] (B, z_size + hidden)."""
        return torch.cat([self.z, self.h], dim=-1)

    def take(self, rows: Tensor) -> "State":
        """The rows (R,) int64 alone."""
        return State(*(part[rows] for part in self))

    def put(self, rows: Tensor, other: "State") -> "State":
        """This state with `rows` (R,) int64 replaced by the R rows of `other`."""
        return State(*(a.index_copy(0, rows, b) for a, b in zip(self, other, strict=True)))


@dataclasses.dataclass
class WorldModel:
    """A trained V and a trained M that speak of the same z. ValueError if they do not fit.

    M's z may be larger by one: then it also knows what was just earned (see `with_pay`).
    """

    vae: VAE
    mdn_rnn: MDNRNN

    def __post_init__(self):
        if self.mdn_rnn.z_size not in (self.vae.z_size, self.vae.z_size + 1):
            raise ValueError(
                f"V makes z of size {self.vae.z_size}, but M reads z of size {self.mdn_rnn.z_size}"
            )
        self.vae.eval()
        self.mdn_rnn.eval()

    def __reduce__(self):
        # Plain arrays travel to any worker; torch would send handles of shared memory instead.
        parts = []
        for network in (self.vae, self.mdn_rnn):
            arrays = {name: t.cpu().numpy() for name, t in network.state_dict().items()}
            parts.append((type(network), network.config, arrays))
        return _unpack, (type(self), *parts)

    @property
    def device(self) -> torch.device:
        """Where the networks live."""
        return self.vae.mu.weight.device

    @property
    def feature_size(self) -> int:
        """Length of [z, h]."""
        return self.vae.z_size + self.mdn_rnn.hidden_size

    def to(self, device: str | torch.device) -> "WorldModel":
        """Move both networks; returns itself."""
        self.vae.to(device)
        self.mdn_rnn.to(device)
        return self

    @torch.no_grad()
    def encode(self, frames: np.ndarray | Tensor) -> Tensor:
        """uint8 frames (B, S, S, 3) -> z (B, z_size): V's mean, so that driving is repeatable.

        Computed with 16-bit floats where the processor has them: twice as fast, and the difference
        (about 0.002 in z) is far below what V itself is unsure of.
        """
        with half_precision(self.device):
            mu, _ = self.vae.encode(frames_to_tensor(frames, self.device))
        return mu.float()

    @torch.no_grad()
    def begin(self, frames: np.ndarray | Tensor) -> State:
        """The first frames (B, S, S, 3) of B episodes: z is seen, nothing is remembered yet."""
        z = self.moment(self.encode(frames))
        h, c = self.mdn_rnn.initial_state(len(z))
        return State(z, h[0], c[0])

    @torch.no_grad()
    def observe(
        self,
        state: State,
        actions: Tensor,
        frames: np.ndarray | Tensor,
        earned: Tensor | None = None,
    ) -> State:
        """Remember (z, a), then look at the frames (B, S, S, 3) uint8 that came next.

        actions: (B, action_size) float, as taken in `state`. earned: see `moment`.
        """
        h, c = self.remember(state, actions)
        return State(self.moment(self.encode(frames), earned), h, c)

    def moment(self, z: Tensor, earned: Tensor | None = None) -> Tensor:
        """What M is told of a moment: z (B, z_size of V), and what was earned (B,) if it cares."""
        if self.mdn_rnn.z_size == self.vae.z_size:
            return z
        return with_pay(z, torch.zeros(len(z)) if earned is None else earned)

    @torch.no_grad()
    def imagine(
        self,
        state: State,
        actions: Tensor,
        temperature: float | Tensor = 1.0,
        generator: torch.Generator | None = None,
        noise: Noise | None = None,
        dropout: float = 0.0,
    ) -> tuple[State, Prediction]:
        """Remember (z, a), then draw the next z from M: no frame needed.

        Also returns the whole prediction (T = 1), with reward and end. temperature: see
        `sample_next`. noise: in place of the generator. dropout: the share of h's entries that this
        forecast (not the memory) goes without; it needs noise.

        The forecast (not the memory, where rounding would add up) is computed as in `encode`, with
        16-bit floats where the processor has them; M itself is unsure of much more.
        """
        h, c = self.remember(state, actions)
        visible = h if dropout == 0 else h * (noise.keep >= dropout) / (1 - dropout)
        with half_precision(self.device):
            prediction = self.mdn_rnn.predict(visible[:, None])
        prediction = Prediction(*(part.float() for part in prediction))
        z = sample_next(prediction, temperature, generator, noise)[:, 0]
        return State(z, h, c), prediction

    @torch.no_grad()
    def remember(self, state: State, actions: Tensor) -> tuple[Tensor, Tensor]:
        """h and c (B, hidden) after actions (B, action_size) were taken in `state`."""
        memory = (state.h[None].contiguous(), state.c[None].contiguous())
        _, (h, c) = self.mdn_rnn.remember(state.z[:, None], actions[:, None].to(state.z), memory)
        return h[0], c[0]

    @torch.no_grad()
    def decode(self, z: Tensor) -> Tensor:
        """z (B, z_size), V's or M's -> frames (B, 3, S, S), float 0..1."""
        return self.vae.decode(z[..., : self.vae.z_size])

    def save(self, folder: str | Path, card: dict | None = None, half: bool = False) -> None:
        """Write vae.safetensors and mdn_rnn.safetensors, each with its card, into `folder`."""
        for name in ("vae", "mdn_rnn"):
            save_network(getattr(self, name), Path(folder) / f"{name}.safetensors", card, half)

    @classmethod
    def load(cls, folder: str | Path) -> "WorldModel":
        """Read back what `save` wrote. Errors as in `load_network`."""
        folder = Path(folder)
        return cls(
            load_network(VAE, folder / "vae.safetensors"),
            load_network(MDNRNN, folder / "mdn_rnn.safetensors"),
        )


def half_precision(device: torch.device) -> torch.autocast:
    """A context in which V's layers use 16-bit floats, if the device is faster with them."""
    return torch.autocast(device.type, torch.bfloat16, enabled=_has_bfloat16(device.type))


@lru_cache
def _has_bfloat16(device: str) -> bool:
    if device != "cpu":
        return device == "cuda"
    # Other processors would only emulate them, and be slower for it. (Older torch cannot tell.)
    return getattr(torch.cpu, "get_capabilities", dict)().get("avx512_bf16", False)


def _unpack_state(*parts: np.ndarray) -> State:
    return State(*(torch.from_numpy(part.copy()) for part in parts))


def _unpack(cls: type, *parts: tuple) -> WorldModel:
    networks = []
    for kind, config, arrays in parts:
        network = kind(**config)
        network.load_state_dict({name: torch.from_numpy(a.copy()) for name, a in arrays.items()})
        networks.append(network)
    return cls(*networks)


def pretrained(world: str) -> Path:
    """The folder of pretrained weights, with their cards and logs.

    world is "ball", "car_racing" or "car_racing_dream". The files have the names that a run's
    folder has. Raises ValueError for another world, FileNotFoundError if there are no weights.
    """
    if not PRETRAINED.is_dir():
        raise FileNotFoundError(
            f"no pretrained weights: neither {PLACES[0]} nor {PLACES[1]} exists. Install wmlib "
            f"again from a whole clone of its repository (`pip install .` there)"
        )
    known = sorted(path.name for path in PRETRAINED.iterdir() if path.is_dir())
    if world not in known:
        raise ValueError(f"there are pretrained weights for {', '.join(known)}, not for {world!r}")
    return PRETRAINED / world


def read_log(path: str | Path) -> list[dict]:
    """A JSON-lines file as a list of dictionaries. Raises ValueError where it is damaged."""
    rows = []
    for number, line in enumerate(Path(path).read_text(encoding="utf-8").splitlines(), 1):
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError as error:
            raise ValueError(f"line {number} of {path} is damaged: remove it") from error
    return rows


def write_log(rows: list[dict], path: str | Path) -> None:
    """Dictionaries as a JSON-lines file."""
    text = "".join(json.dumps(row) + "\n" for row in rows)
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def write_atomically(path: str | Path, write) -> None:
    """Call write(temporary path), then move the result to `path`: a reader sees all or nothing."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}")  # on any machine, once
    try:
        write(temporary)
        os.replace(temporary, path)
    except BaseException:  # a full disk should not be left fuller
        temporary.unlink(missing_ok=True)
        raise


def insist(source: str | Path, made_with: dict, wanted: dict) -> None:
    """ValueError if the source was made with settings that differ from what is wanted now.

    What is new since then, and so not among `made_with`, does not count.
    """
    for key, before in made_with.items():
        if before != (now := wanted.get(key)):
            raise ValueError(
                f"{source} was made with {key} = {before}, this would be with {now}: go on with "
                f"the old setting, or name another folder"
            )


@contextmanager
def alone(folder: str | Path) -> Iterator[None]:
    """As long as this lasts, nobody else is at work in the folder.

    Raises ValueError if another process is, or another thread; the same thread may be twice.
    """
    Path(folder).mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(Path(folder).resolve() / ".lock", timeout=0, is_singleton=True):
            yield
    except Timeout as error:
        raise ValueError(
            f"another process is at work in {folder}: wait for it, or name another folder"
        ) from error


def save_network(
    network: nn.Module, path: str | Path, card: dict | None = None, half: bool = False
) -> None:
    """Weights to safetensors, the network's config inside; the card beside it as JSON.

    half: store 16-bit floats, half the size; they are read back as 32-bit ones.
    The card always gets the file's sha256; `load_network` refuses weights that do not match it.
    """
    tensors = {
        name: tensor.detach().cpu().contiguous().to(torch.float16 if half else tensor.dtype)
        for name, tensor in network.state_dict().items()
    }
    _save(tensors, {"class": type(network).__name__, **network.config}, path, card)


def load_network(kind: type[nn.Module], path: str | Path) -> Any:
    """Build `kind` from the config in the file and fill it with the file's weights, on the CPU.

    Raises FileNotFoundError (with the command that makes the file) and ValueError (another class,
    another size, unknown settings or tensors, weights that are not finite, a file that is damaged
    or does not match its card).
    """
    tensors, config = _load(path)
    network = _build(kind, config, path)
    fill(network, tensors, path)
    return network.eval()


def _build(kind: type, config: dict, path: str | Path, *arguments: Any) -> Any:
    # kind(*arguments, **config), or a sentence that says why the file's config does not allow it.
    name = config.pop("class", None)
    if name != kind.__name__:
        found = "no class in its config" if name is None else f"a {name}"
        raise ValueError(f"{path} holds {found}, not a {kind.__name__}")
    unknown = sorted(config.keys() - signature(kind).parameters.keys())
    if unknown:
        raise ValueError(
            f"{path} was made by another version of {kind.__name__}: "
            f"its config has {', '.join(unknown)}, which this one does not know"
        )
    try:
        return kind(*arguments, **config)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"{path} has a config that {kind.__name__} cannot use: {error}") from error


def fill(network: nn.Module, tensors: dict[str, Tensor], source: str | Path) -> None:
    """Load tensors into a network. Raises ValueError with the first one that does not fit."""
    unknown = sorted(tensors.keys() - network.state_dict().keys())
    if unknown:
        raise ValueError(
            f"{source} was made for another {type(network).__name__}: "
            f"it has {unknown[0]}, which this one does not"
        )
    require_finite(tensors, source)
    for name, tensor in network.state_dict().items():
        if name not in tensors or tensors[name].shape != tensor.shape:
            found = tuple(tensors[name].shape) if name in tensors else "nothing"
            raise ValueError(
                f"{source} was made for another size of {type(network).__name__}: "
                f"{name} should be {tuple(tensor.shape)}, the file has {found}"
            )
    network.load_state_dict({name: tensors[name].float() for name in network.state_dict()})


def require_finite(tensors: Mapping[str, Tensor], source: str | Path) -> None:
    """ValueError that names the source and the first tensor with a NaN or an infinity in it."""
    for name, tensor in tensors.items():
        if not torch.isfinite(tensor).all():
            raise ValueError(f"{source}: {name} is not finite (NaN or infinity)")


def save_controller(controller: Controller, path: str | Path, card: dict | None = None) -> None:
    """Like `save_network`, for the flat vectors of C (float64, nothing is rounded)."""
    tensors = {"parameters": torch.from_numpy(controller.parameters)}
    _save(tensors, {"class": "Controller", **controller.config}, path, card)


def load_controller(path: str | Path) -> Controller:
    """Read back what `save_controller` wrote. Errors as in `load_network`."""
    tensors, config = _load(path)
    if tensors.keys() != {"parameters"}:
        raise ValueError(f"{path} does not hold a Controller but {', '.join(sorted(tensors))}")
    require_finite(tensors, path)
    return _build(Controller, config, path, tensors["parameters"].numpy())


def load_agent(folder: str | Path) -> tuple[WorldModel, Controller]:
    """V, M and C as they lie together in a folder. Errors as in `load_network`."""
    folder = Path(folder)
    return WorldModel.load(folder), load_controller(folder / "controller.safetensors")


def _save(tensors: dict, config: dict, path: str | Path, card: dict | None) -> None:
    path = Path(path)
    require_finite(tensors, f"{path} was not written")
    write_atomically(path, lambda p: save_file(tensors, p, metadata={"config": json.dumps(config)}))
    if card is not None:
        write_card(path, card)


def write_card(path: str | Path, card: dict) -> None:
    """The JSON card beside a weights file: the file's sha256 and config, then what `card` adds."""
    path = Path(path)
    _, config = _read(path)
    card = {"sha256": hashlib.sha256(path.read_bytes()).hexdigest(), "config": config, **card}
    text = json.dumps(card, indent=2) + "\n"
    write_atomically(path.with_suffix(".json"), lambda p: p.write_text(text, encoding="utf-8"))


def _load(path: str | Path) -> tuple[dict[str, Tensor], dict]:
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(
            f"no weights at {path}. `python -m wmlib run ball` or `python -m wmlib run "
            f"car_racing` makes them, and so does the chapter, run with RETRAIN = True"
        )
    card = path.with_suffix(".json")
    if card.exists():
        try:
            expected = json.loads(card.read_text(encoding="utf-8"))["sha256"]
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            raise ValueError(
                f"{card} is no card of weights (no sha256 in it): restore it, or delete it"
            ) from error
        if hashlib.sha256(path.read_bytes()).hexdigest() != expected:
            raise ValueError(
                f"{path} is not the file its card {card.name} describes (sha256 differs): "
                f"restore it with `git checkout {path.name}`, or delete the card if you changed it"
            )
    return _read(path)


def _read(path: Path) -> tuple[dict[str, Tensor], dict]:
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}
    except SafetensorError as error:
        raise ValueError(f"{path} is not a readable safetensors file: {error}") from error
    try:
        config = json.loads(metadata["config"])
    except (json.JSONDecodeError, KeyError) as error:
        raise ValueError(
            f"{path} has no wmlib config in it, so its network cannot be built"
        ) from error
    return tensors, config
