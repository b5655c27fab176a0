"""Networks and controllers to and from disk: safetensors with their config, and a JSON card."""

import json
from collections.abc import Mapping
from inspect import signature
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from wmlib.files import digest, sha256, write_atomically
from wmlib.models.controller import Controller
from wmlib.models.mdn_rnn import MDNRNN
from wmlib.models.vae import VAE
from wmlib.models.world_model import WorldModel
from wmlib.provenance import Record

RECORD = "record"  # key of the record, beside the network's config


def save_network(
    network: nn.Module,
    path: str | Path,
    card: dict | None = None,
    half: bool = False,
    record: Record | None = None,
) -> None:
    """Weights to safetensors, the network's config and its record inside; the card beside it.

    half: store 16-bit floats, half the size; they are read back as 32-bit ones.
    The card always gets the file's sha256; `load_network` refuses weights that do not match it.
    """
    tensors = {
        name: tensor.detach().cpu().contiguous().to(torch.float16 if half else tensor.dtype)
        for name, tensor in network.state_dict().items()
    }
    config: Any = network.config
    _save(tensors, {"class": type(network).__name__, **config}, path, card, record)


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
    config = {key: value for key, value in config.items() if key != RECORD}
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


def save_controller(
    controller: Controller,
    path: str | Path,
    card: dict | None = None,
    record: Record | None = None,
) -> None:
    """Like `save_network`, for the flat vectors of C (float64, nothing is rounded)."""
    tensors = {"parameters": torch.from_numpy(controller.parameters)}
    _save(tensors, {"class": type(controller).__name__, **controller.config}, path, card, record)


def load_controller(path: str | Path) -> Controller:
    """Read back what `save_controller` wrote. Errors as in `load_network`."""
    tensors, config = _load(path)
    if tensors.keys() != {"parameters"}:
        raise ValueError(f"{path} does not hold a Controller but {', '.join(sorted(tensors))}")
    require_finite(tensors, path)
    return _build(Controller, config, path, tensors["parameters"].numpy())


def save_world_model(
    world_model: WorldModel, folder: str | Path, card: dict | None = None, half: bool = False
) -> None:
    """Write vae.safetensors and mdn_rnn.safetensors, each with its card, into `folder`."""
    for name in ("vae", "mdn_rnn"):
        save_network(getattr(world_model, name), Path(folder) / f"{name}.safetensors", card, half)


def load_world_model(folder: str | Path) -> WorldModel:
    """Read back what `save_world_model` wrote. Errors as in `load_network`."""
    folder = Path(folder)
    return WorldModel(
        load_network(VAE, folder / "vae.safetensors"),
        load_network(MDNRNN, folder / "mdn_rnn.safetensors"),
    )


def load_agent(folder: str | Path) -> tuple[WorldModel, Controller]:
    """V, M and C as they lie together in a folder. Errors as in `load_network`."""
    folder = Path(folder)
    return load_world_model(folder), load_controller(folder / "controller.safetensors")


def read_record(path: str | Path) -> Record | None:
    """What a file of weights was made from and with; None if it does not say. Errors: see there."""
    _, config = _load(path)
    return Record.from_dict(config.get(RECORD))


def weights_digest(*networks: nn.Module) -> str:
    """Twelve characters that stand for the weights of some networks, on any device."""
    weights = [p.detach().cpu().reshape(-1) for n in networks for p in n.parameters()]
    return digest(torch.cat(weights).numpy())


def world_model_digest(world_model: WorldModel) -> str:
    """`weights_digest` of V and M."""
    return weights_digest(world_model.vae, world_model.mdn_rnn)


def _save(
    tensors: dict, config: dict, path: str | Path, card: dict | None, record: Record | None
) -> None:
    path = Path(path)
    require_finite(tensors, f"{path} was not written")
    if record is not None:
        config = {**config, RECORD: record.to_dict()}
    write_atomically(path, lambda p: save_file(tensors, p, metadata={"config": json.dumps(config)}))
    if card is not None:
        write_card(path, card)


def write_card(path: str | Path, card: dict) -> None:
    """The JSON card beside a weights file: its sha256, config and record, then what `card` adds."""
    path = Path(path)
    _, config = _read(path)
    record = config.pop(RECORD, None)
    card = {"sha256": sha256(path), "config": config, RECORD: record, **card}
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
        if sha256(path) != expected:
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
