"""What the web page is made from: weights, moments, its size. The page itself: test_web.py."""

import json

import numpy as np
import torch
from safetensors.torch import load_file

from wmlib.models.checkpoints import load_agent
from wmlib.paths import pretrained
from wmlib.tools.export_web import (
    AGENT,
    ROADS,
    choose_step,
    controller_tensors,
    decoder_tensors,
    export_web,
    write_tensors,
)


def test_one_linear_layer_stands_for_the_decoders_first_two():
    vae = load_agent(pretrained(AGENT))[0].vae
    tensors, z = decoder_tensors(vae), torch.randn(3, 32, generator=torch.manual_seed(0))
    with torch.no_grad():
        expected = vae.decoder[:3](z).permute(0, 2, 3, 1).flatten(1)
        merged = z @ tensors["first.weight"].T + tensors["first.bias"]
    torch.testing.assert_close(merged, expected, atol=1e-4, rtol=1e-4)


def test_values_that_16_bits_hold_are_stored_with_16_bits(tmp_path):
    tensors = {"a": torch.tensor([0.5, -3.0, 2**-20]), "b": torch.tensor([[0.1]])}
    write_tensors({"net": tensors}, tmp_path / "weights.safetensors")
    stored = load_file(tmp_path / "weights.safetensors")
    assert [stored[f"net/{name}"].dtype for name in "ab"] == [torch.float16, torch.float32]
    for name, tensor in tensors.items():
        assert torch.equal(stored[f"net/{name}"].float(), tensor)


def test_moments_show_the_road_they_are_named_after():
    turns = np.full(160, 20.0)
    turns[[10, 100, 130, 150]] = 90, 80, -70, 1  # the first one is too early
    assert [choose_step(turns, road) for road in ROADS] == [100, 130, 150]
    assert choose_step(np.zeros(3), "straight") == 2  # an episode that is short


def test_the_page_is_small_and_says_which_weights_it_has(tmp_path):
    folder = export_web(tmp_path, moments=1, steps=3)
    code = [path for path in folder.iterdir() if path.suffix in (".js", ".css", ".html", ".wasm")]
    weights = folder / "weights.safetensors"
    assert sum(path.stat().st_size for path in [*code, weights]) < 4.5e6  # bytes
    described = json.loads((folder / "page.json").read_text(encoding="utf-8"))
    for name, digest in described["cards"]["sha256"].items():
        card = json.loads((pretrained(AGENT) / f"{name}.json").read_text(encoding="utf-8"))
        assert card["sha256"] == digest
    assert controller_tensors(load_agent(pretrained(AGENT))[1])["weight"].shape == (3, 288)
