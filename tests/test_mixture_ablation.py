"""The ablation of M's mixture: its measures, its rows, what it goes on with."""

import json
import math

import pytest
import torch

from wmlib.files import read_log, write_log
from wmlib.models.checkpoints import load_world_model
from wmlib.models.mdn_rnn import MDNRNN
from wmlib.models.vae import VAE
from wmlib.models.world_model import WorldModel
from wmlib.paths import pretrained
from wmlib.pipeline.scales import get_chapter_config, get_config
from wmlib.pipeline.scoring import agent_digest
from wmlib.tools import mixture_ablation
from wmlib.tools.cli import main
from wmlib.tools.mixture_ablation import (
    ARMS,
    COPY,
    LINEAR,
    SEEDS,
    Linear,
    Mixture,
    energy_score,
    settings_of,
)


def oscillation(episodes=3, steps=60):
    """Episodes of a linear system of two dimensions with an action as its input, known to 0.01."""
    latents = []
    for k in range(episodes):
        torch.manual_seed(k)
        actions, mu = torch.randn(steps, 1), [torch.randn(2), torch.randn(2)]
        for action in actions[1:]:
            mu.append(1.8 * mu[-1] - 0.9 * mu[-2] + torch.tensor([0.5, -0.5]) * action)
        z = torch.stack(mu)
        logvar = torch.full_like(z, 2 * math.log(0.01))
        latents.append({"mu": z, "logvar": logvar, "actions": actions, "rewards": actions[:, 0]})
    return latents


def test_the_linear_baseline_finds_a_linear_system_and_a_copy_does_not():
    latents, chapter = oscillation(), get_chapter_config(get_config("smoke"))
    linear = mixture_ablation.measure(Linear.fit(latents), latents, chapter)
    copy = mixture_ablation.measure(Linear.fit(latents, copy=True), latents, chapter)
    assert linear["active"] == [0, 1]
    assert len(linear["error"]) == chapter.horizon
    assert linear["error"][0] < 0.01 < copy["error"][0]
    assert sum(linear["nll"]) < sum(copy["nll"])
    # A Gaussian with the residuals' own variance: the NLL is its entropy.
    z = torch.cat([episode["mu"][1:] - episode["mu"][:-1] for episode in latents])
    entropy = 0.5 * (2 * math.pi * math.e * z.square().mean(0)).log()
    assert copy["nll"] == pytest.approx(entropy.tolist(), abs=0.02)


def test_rollouts_of_m_continue_its_own_samples():
    torch.manual_seed(0)
    mdn_rnn = MDNRNN(z_size=2, action_size=1, hidden_size=8)
    forecaster = Mixture(WorldModel(VAE(z_size=2), mdn_rnn))
    z, actions = torch.randn(3, 6, 2), torch.randn(3, 9, 1)
    with torch.no_grad():
        drawn = forecaster.rollouts(z, actions, torch.Generator().manual_seed(0))
        changed = actions.clone()
        changed[:, -1] += 1
        other = forecaster.rollouts(z, changed, torch.Generator().manual_seed(0))
    assert drawn.shape == (mixture_ablation.SAMPLES, 3, 4, 2)
    assert torch.equal(drawn[:, :, :3], other[:, :, :3])
    assert not torch.equal(drawn[:, :, 3], other[:, :, 3])
    assert len({round(value, 4) for value in drawn[:, 0, 0, 0].tolist()}) > 10


def test_the_energy_score_is_lowest_for_the_true_distribution():
    torch.manual_seed(0)
    real = torch.randn(4000, 2)
    scores = {s: energy_score(s * torch.randn(8, 4000, 2), real).mean() for s in (0.3, 1.0, 3.0)}
    assert min(scores, key=scores.get) == 1.0
    torch.testing.assert_close(energy_score(real[None] + 3, real), torch.full((4000,), 18**0.5))


def test_the_command_writes_a_row_per_arm_and_seed_and_goes_on(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("WM_RUNS", str(tmp_path / "runs"))
    monkeypatch.setattr(mixture_ablation, "SEEDS", (0,))
    out = tmp_path / "mixtures.jsonl"
    command = ["ablate", "mixtures", "--scale", "smoke", "--out", str(out)]
    assert main(command) == 0
    rows = read_log(out)
    assert [row["arm"] for row in rows] == [*ARMS, LINEAR, COPY]
    pace = load_world_model(pretrained("car_racing")).mdn_rnn.repeat
    chapter = get_chapter_config(get_config("smoke")).at_pace(pace)
    for row in rows:
        assert len(row["nll"]) == 32
        assert len(row["error"]) == len(row["energy_score"]) == chapter.horizon
        assert ("reward_error" in row) == (row["arm"] in ARMS)
    assert rows[0]["nll"] != rows[2]["nll"]
    # It makes again what is missing, the same as before, and nothing else.
    write_log([rows[0] | {"reward_error": 7}, *rows[2:]], out)
    assert main(command) == 0
    again = {row["arm"]: row for row in read_log(out)}
    assert again["K = 1"]["reward_error"] == 7
    assert again["K = 2"] == rows[1]
    assert str(out) in capsys.readouterr().out
    rows[2]["record"]["settings"]["horizon"] += 1
    write_log(rows, out)
    assert main(command) == 1
    assert "was made with horizon = " in capsys.readouterr().err


def test_the_published_table_is_of_the_pretrained_agent():
    rows = read_log(mixture_ablation.RESULTS)
    wanted = [(arm, seed) for seed in SEEDS for arm in ARMS] + [(LINEAR, 0), (COPY, 0)]
    assert sorted((row["arm"], row["seed"]) for row in rows) == sorted(wanted)
    made_from = {json.dumps(row["record"]["made_from"]) for row in rows}
    assert len(made_from) == 1
    assert json.loads(made_from.pop())["agent"] == agent_digest(pretrained("car_racing"))
    pace = load_world_model(pretrained("car_racing")).mdn_rnn.repeat
    chapter = get_chapter_config(get_config("laptop")).at_pace(pace)
    for row in rows:  # the command would go on with them
        assert row["record"]["settings"] == settings_of(get_config("laptop"), chapter, pace)
