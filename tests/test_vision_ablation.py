"""The ablation of V: its measures, and the command at smoke scale."""

import numpy as np
import pytest
import torch

from wmlib.files import read_log
from wmlib.models.checkpoints import load_agent
from wmlib.models.vae import VAE, frames_to_tensor, kl_per_dimension
from wmlib.paths import pretrained
from wmlib.rollout.episodes import EpisodeStore
from wmlib.tools import vision_ablation
from wmlib.tools.cli import main
from wmlib.tools.vision_ablation import ARMS, errors_of
from wmlib.view import hairpins


def test_the_measures_of_a_v(tmp_path):
    world_model, _ = load_agent(pretrained("car_racing"))
    frames = np.random.default_rng(0).integers(0, 256, (11, 64, 64, 3), dtype=np.uint8)
    frames[1::2] = 0
    store = EpisodeStore(tmp_path / "episodes")
    store.write("1", {"frames": frames, "actions": np.zeros((10, 3), np.float32)})
    found = errors_of(world_model.vae, store, frames[:2])
    error = hairpins.squared_error(world_model, frames[:: vision_ablation.EVERY])
    assert found["squared_error"] == pytest.approx(error.mean(), rel=1e-3)
    turns = hairpins.squared_error(world_model, frames[:2])
    assert abs(turns[0] - turns[1]) > 500
    assert found["hairpin_error"] == pytest.approx(turns.mean(), rel=1e-3)
    seen = world_model.vae.encode(frames_to_tensor(frames[:: vision_ablation.EVERY]))
    expected = kl_per_dimension(*seen).sum(1).mean().item()
    assert found["kl"] == pytest.approx(expected, rel=1e-3)
    assert 5 < found["active"] <= 32
    fresh = VAE()
    torch.nn.init.zeros_(fresh.mu.weight)
    torch.nn.init.zeros_(fresh.logvar.weight)
    torch.nn.init.zeros_(fresh.mu.bias)
    torch.nn.init.zeros_(fresh.logvar.bias)
    blind = errors_of(fresh, store, frames[:0])  # z is the prior's, whatever it sees
    assert (blind["active"], blind["kl"], blind["hairpin_error"]) == (0, 0, None)


def test_the_command_makes_a_row_per_v_and_goes_on(tmp_path, monkeypatch):
    monkeypatch.setenv("WM_RUNS", str(tmp_path / "runs"))
    monkeypatch.setattr(vision_ablation, "SEEDS", range(1))
    out = tmp_path / "vision.jsonl"
    command = ["ablate", "vision", "--scale", "smoke", "--workers", "0", "--out", str(out)]
    assert main(command) == 0
    rows, text = read_log(out), out.read_text(encoding="utf-8")
    assert [row["arm"] for row in rows] == list(ARMS)
    numbers = ("squared_error", "kl", "active", "score", "std", "laps", "steps")
    assert np.isfinite([[row[name] for name in numbers] for row in rows]).all()
    # Other passes make another V, and so do bits as long as their KL is above the free ones.
    errors = {row["arm"]: row["squared_error"] for row in rows}
    different = ("0.5 free bits, two passes", "no free bits", "one pass", *list(ARMS)[-2:])
    assert len({errors[arm] for arm in different}) == len(different)
    out.write_text("".join(text.splitlines(keepends=True)[:-1]), encoding="utf-8")
    assert main(command) == 0
    again = read_log(out)
    assert [row | {"record": None} for row in again] == [row | {"record": None} for row in rows]
