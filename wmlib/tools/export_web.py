"""The dream as a web page: `python -m wmlib export-web` writes a folder of static files.

The page (wmlib/view/web) needs no server but one for files. It computes V's decoder, M and C itself
from `weights.safetensors`; dreams begin at real moments, whose states are in that file, too. Beside
the dream it shows what the real environment did from that moment on, as a recorded strip of frames.
"""

import json
import math
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from wmlib.envs.dream import Dream
from wmlib.envs.vector import VectorEnvSpec
from wmlib.files import sha256, write_atomically
from wmlib.models.checkpoints import load_agent, load_controller, load_network
from wmlib.models.controller import Controller
from wmlib.models.mdn_rnn import MDNRNN
from wmlib.models.vae import VAE
from wmlib.models.world_model import State, WorldModel
from wmlib.paths import pretrained
from wmlib.pipeline.car_racing import training_env_spec
from wmlib.pipeline.rounds import TEST_TRACKS_FROM
from wmlib.pipeline.scales import get_config
from wmlib.view.hairpins import RoadAhead

SOURCE = Path(__file__).parents[1] / "view" / "web"
AGENT = "car_racing_dream"
FILES = {"agent": "mdn_rnn", "dream": "dream", "naive": "naive_dream"}  # the Ms, by their use
CONTROLLERS = {"agent": "controller", "naive": "naive_controller"}

MOMENTS = 12  # one per track
EARLIEST, LATEST = 40, 160  # agent steps before a moment
ROADS = ("left bend", "right bend", "straight")  # what the moments show, in turn
STRIP = 250  # agent steps of a recorded strip, 10 seconds
COLUMNS = 25  # frames per row of a strip
QUALITY = 80  # of its WebP compression
STILLS, STILL_STEPS = 6, 50  # frames of the picture without JavaScript, agent steps between them


@dataclass
class Moment:
    """Where a dream begins, and what the real environment did from there on."""

    track: int
    step: int  # agent steps before it
    road: str  # one of `ROADS`
    states: dict[str, State]  # of one row, by M
    strips: dict[str, np.ndarray]  # by controller: frames (T + 1, S, S, 3) uint8
    rewards: dict[str, np.ndarray]  # by controller: (T,) points per agent step


def export_web(out: str | Path, moments: int = MOMENTS, steps: int = STRIP) -> Path:
    """Write the page, pretrained weights and `moments` starting points into the folder `out`."""
    out = Path(out)
    agent, _ = load_agent(pretrained(AGENT))
    ms = {use: load_network(MDNRNN, pretrained(AGENT) / f"{name}.safetensors")
          for use, name in FILES.items()}  # fmt: skip
    models = {use: WorldModel(agent.vae, m) for use, m in ms.items()}
    controllers = {use: load_controller(pretrained(AGENT) / f"{name}.safetensors")
                   for use, name in CONTROLLERS.items()}  # fmt: skip
    spec = training_env_spec(get_config("laptop"), mirror=False).at_pace(agent)
    found = [
        record_moment(spec, models, controllers, TEST_TRACKS_FROM + k, ROADS[k % 3], steps)
        for k in range(moments)
    ]
    out.mkdir(parents=True, exist_ok=True)
    for file in SOURCE.iterdir():
        if file.suffix in (".html", ".css", ".js", ".wasm"):
            shutil.copy(file, out / file.name)
    for k, moment in enumerate(found):
        for name, frames in moment.strips.items():
            write_strip(frames, out / f"{name}{k:02d}.webp")
    tensors = {"decoder": decoder_tensors(agent.vae)}
    tensors |= {f"m_{use}": dict(m.state_dict()) for use, m in ms.items()}
    tensors |= {f"c_{use}": controller_tensors(c) for use, c in controllers.items()}
    for use in ms:
        rows = [moment.states[use] for moment in found]
        names = ("z", "h", "c", "reward")
        parts = (torch.cat(part) for part in zip(*rows, strict=True))
        tensors[f"moments_{use}"] = dict(zip(names, parts, strict=True))
    write_strip(dream_stills(models, controllers["agent"], found[0]), out / "still.webp", STILLS)
    write_tensors(tensors, out / "weights.safetensors")
    described = {
        "sha256": sha256(out / "weights.safetensors"),
        "ms": {use: m.config for use, m in ms.items()},
        "cards": cards(),
        "step_seconds": agent.mdn_rnn.repeat / 50,
        "columns": COLUMNS,
        "latents": latent_ranges(agent, found),
        "moments": [
            {"track": m.track, "step": m.step, "road": m.road}
            | {f"rewards_{name}": r.round(3).tolist() for name, r in m.rewards.items()}
            for m in found
        ],
    }
    text = json.dumps(described, separators=(",", ":"))
    write_atomically(out / "page.json", lambda path: path.write_text(text, encoding="utf-8"))
    return out


@torch.no_grad()
def decoder_tensors(vae: VAE) -> dict[str, Tensor]:
    """V's decoder as the page computes it: the two linear maps before the first ReLU are one.

    first.weight (5 * 5 * 128, z_size) and first.bias: z -> the first feature map, row by row,
    channels last. Raises ValueError for another network than the paper's.
    """
    if vae.frame_size != 64:
        raise ValueError(f"the page draws frames of 64 pixels, this V makes {vae.frame_size}")
    weights = {name: tensor.double() for name, tensor in vae.decoder.state_dict().items()}
    kernel = weights["2.weight"].permute(0, 2, 3, 1).flatten(1)  # (1024, 5 * 5 * 128)
    cells = kernel.shape[1] // len(weights["2.bias"])
    bias = kernel.T @ weights["0.bias"] + weights["2.bias"].repeat(cells)
    tensors = {"first.weight": (kernel.T @ weights["0.weight"]).float(), "first.bias": bias.float()}
    for name, layer in (("second", 4), ("third", 6), ("fourth", 8)):
        for part in ("weight", "bias"):
            tensors[f"{name}.{part}"] = weights[f"{layer}.{part}"].float()
    return tensors


def controller_tensors(controller: Controller) -> dict[str, Tensor]:
    """W (3, 288) and b (3,) of one controller."""
    weights = torch.from_numpy(controller.parameters[0]).float()
    split = controller.action_size * controller.feature_size
    return {"weight": weights[:split].view(controller.action_size, -1), "bias": weights[split:]}


def record_moment(
    spec: VectorEnvSpec,
    models: dict[str, WorldModel],
    controllers: dict[str, Controller],
    track: int,
    road: str,
    steps: int,
) -> Moment:
    """A moment of a track with this kind of road ahead, and `steps` agent steps from it."""
    agent, strips, rewards = controllers["agent"], {}, {}
    alone = {"agent": models["agent"]}
    *_, turns = record_strip(spec, alone, (agent, agent), track, 0, LATEST)
    step = choose_step(turns, road)
    for name, controller in controllers.items():
        states, strips[name], rewards[name], _ = record_strip(
            spec, models, (agent, controller), track, step, steps
        )
    return Moment(track, step, road, states, strips, rewards)


def choose_step(turns: np.ndarray, road: str) -> int:
    """When the road ahead turns (T,), left positive, most to a side, or least: an agent step."""
    value = {"left bend": turns, "right bend": -turns, "straight": -np.abs(turns)}[road]
    first = min(EARLIEST, len(turns) - 1)
    return first + int(value[first:].argmax())


@torch.no_grad()
def record_strip(
    spec: VectorEnvSpec,
    models: dict[str, WorldModel],
    controllers: tuple[Controller, Controller],
    track: int,
    step: int,
    steps: int,
) -> tuple[dict[str, State], np.ndarray, np.ndarray, np.ndarray]:
    """Drive `step` agent steps with the first controller, then `steps` with the second.

    Returns the states of all models in between, and from there on frames (steps + 1, S, S, 3),
    rewards (steps,) and turns of the road ahead (steps + 1,), see `RoadAhead`; after the end of the
    episode, the last frame and turn again and a reward of 0.
    """
    env = RoadAhead(replace(spec, patience=None).make_one())
    frame, info = env.reset(seed=track)
    states = {use: model.begin(frame[None]) for use, model in models.items()}
    start, frames, turns, over = dict(states), [frame], [info["turn"]], False
    rewards: list[float] = []
    for t in range(step + steps):
        if t == step:
            start, frames, rewards, turns = dict(states), [frame], [], [info["turn"]]
        action = controllers[0 if t < step else 1](states["agent"].features)
        reward: Any = 0
        if not over:
            frame, reward, terminated, truncated, info = env.step(action[0].numpy())
            over = terminated or truncated
        rewarded = torch.tensor([float(reward)])
        observed = models["agent"].observe(states["agent"], action, frame[None], rewarded)
        for use, model in models.items():  # all have the same V: the frame is encoded once
            h, c = model.remember(states[use], action)
            states[use] = observed._replace(h=h, c=c)
        frames.append(frame)
        rewards.append(float(reward))
        turns.append(info["turn"])
    env.close()
    return start, np.stack(frames), np.array(rewards), np.array(turns)


@torch.no_grad()
def latent_ranges(agent: WorldModel, moments: list[Moment]) -> list[dict[str, Any]]:
    """Latent dimensions that vary over the strips, most variable first: 1% to 99% quantiles."""
    z = torch.cat([agent.encode(moment.strips["agent"]) for moment in moments])
    low, high = z.quantile(torch.tensor([0.01, 0.99]), dim=0)
    order = [d for d in z.std(0).argsort(descending=True).tolist() if z.std(0)[d] > 0.3]
    return [{"index": d, "low": round(low[d].item(), 2), "high": round(high[d].item(), 2)}
            for d in order]  # fmt: skip


def cards() -> dict[str, Any]:
    """What the page says about its weights: the files' digests, and the agent's score."""
    read = {
        name: json.loads((pretrained(AGENT) / f"{name}.json").read_text(encoding="utf-8"))
        for name in ("vae", *FILES.values(), *CONTROLLERS.values())
    }
    digests = {name: card["sha256"] for name, card in read.items()}
    return {"sha256": digests, "score": read["controller"]["score"]}


@torch.no_grad()
def dream_stills(
    models: dict[str, WorldModel], controller: Controller, moment: Moment
) -> np.ndarray:
    """Frames of a dream, two seconds apart, for readers without JavaScript: (STILLS, S, S, 3)."""
    states, agent = moment.states, (models["agent"], moment.states["agent"])
    env = Dream(models["dream"], states["dream"], num_envs=1, max_steps=math.inf, agent=agent)
    features, _ = env.reset(seed=0)
    frames = [env.render()[0]]
    for t in range(1, (STILLS - 1) * STILL_STEPS + 1):
        features = env.step(controller(torch.from_numpy(features)).numpy())[0]
        if t % STILL_STEPS == 0:
            frames.append(env.render()[0])
    return np.stack(frames)


def write_strip(frames: np.ndarray, file: Path, columns: int = COLUMNS) -> None:
    """Frames (T, S, S, 3) uint8 as one WebP picture, so many per row."""
    size = frames.shape[1]
    rows = math.ceil(len(frames) / columns)
    sheet = np.zeros((rows, columns, *frames.shape[1:]), np.uint8)
    sheet.reshape(-1, *frames.shape[1:])[: len(frames)] = frames
    picture = sheet.swapaxes(1, 2).reshape(rows * size, columns * size, 3)
    ok, data = cv2.imencode(".webp", picture[:, :, ::-1], [cv2.IMWRITE_WEBP_QUALITY, QUALITY])
    if not ok:
        raise OSError(f"this OpenCV cannot write WebP, which {file} needs")
    write_atomically(file, lambda path: path.write_bytes(data.tobytes()))


def write_tensors(networks: dict[str, dict[str, Tensor]], file: Path) -> None:
    """All tensors as one safetensors file, named network/tensor.

    With 16 bits where no value changes by it (the pretrained weights are stored so), else with 32.
    """
    tensors = {}
    for network, parts in networks.items():
        for name, tensor in parts.items():
            values = tensor.detach().contiguous().float()
            exact = torch.equal(values.half().float(), values)
            tensors[f"{network}/{name}"] = values.half() if exact else values
    write_atomically(file, lambda path: save_file(tensors, path))


@dataclass(frozen=True)
class ExportWeb:
    """The dream as a web page: static files, to be opened through any web server."""

    out: Path = Path("_site/dream")  # folder

    def __call__(self) -> None:
        """Run it."""
        print(f"written: {export_web(self.out)}; try: python -m http.server -d {self.out}")
