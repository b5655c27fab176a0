"""The ablation of two mistakes: which tracks a search has, and the command at smoke scale."""

import numpy as np
import pytest
import torch

from wmlib.files import read_log
from wmlib.models.checkpoints import load_world_model
from wmlib.paths import pretrained
from wmlib.pipeline.scales import get_config
from wmlib.tools import selection_ablation
from wmlib.tools.cli import main
from wmlib.tools.search_ablation import settings_of
from wmlib.tools.selection_ablation import ARMS, ONE, TRACKS_FROM


def test_a_row_scores_the_result_and_the_best_candidate_on_their_own_tracks_and_on_others(
    monkeypatch,
):
    """Returns are made up: of the first parameter and the track."""
    config, seen = get_config("laptop"), torch.randn(400, 288)
    settings = settings_of(config) | {"tracks": 8}
    world_model = load_world_model(pretrained("car_racing"))
    asked = []

    def returns(spec, world_model, controllers, tracks, executor):
        asked.append((len(controllers), list(tracks)))
        first = np.asarray(controllers.parameters)[:, :1]
        return first + np.array([[0.0 if track >= TRACKS_FROM else 100.0 for track in tracks]])

    monkeypatch.setattr(selection_ablation, "returns", returns)
    for arm in ARMS:
        asked.clear()
        row = selection_ablation._row(config, world_model, settings, seen, arm, 3, None)
        *searched, own, others = asked
        assert {count for count, _ in searched} == {settings["population"]}
        tracks = [track for _, tracks in searched for track in tracks]
        assert len(tracks) == settings["generations"]
        assert len(set(tracks)) == (1 if arm == ONE else len(tracks))
        assert own == (2, tracks[:1] if arm == ONE else tracks)
        assert others == (2, list(range(TRACKS_FROM, TRACKS_FROM + 8)))
        for name in ("result", "best"):
            assert row[f"{name}_own"] == pytest.approx(row[f"{name}_others"] + 100, abs=0.02)
        assert row["best_own"] > row["result_own"]


def test_the_command_makes_a_row_per_search_and_goes_on(tmp_path, monkeypatch):
    monkeypatch.setenv("WM_RUNS", str(tmp_path / "runs"))
    monkeypatch.setattr(selection_ablation, "SEEDS", range(2))
    out = tmp_path / "selection.jsonl"
    command = ["ablate", "selection", "--scale", "smoke", "--workers", "0", "--out", str(out)]
    assert main(command) == 0
    rows, text = read_log(out), out.read_text(encoding="utf-8")
    assert [(row["seed"], row["arm"]) for row in rows] == [(k, a) for k in range(2) for a in ARMS]
    names = ("result_own", "result_others", "best_own", "best_others")
    assert np.isfinite([[row[name] for name in names] for row in rows]).all()
    out.write_text("".join(text.splitlines(keepends=True)[:-1]), encoding="utf-8")
    assert main(command) == 0
    assert out.read_text(encoding="utf-8") == text
