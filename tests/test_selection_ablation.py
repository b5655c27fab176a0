"""The ablation of two mistakes: which tracks a search has, and the command at smoke scale."""

import numpy as np
import pytest
import torch

from wmlib.files import read_log
from wmlib.models.checkpoints import load_agent
from wmlib.paths import pretrained
from wmlib.pipeline.scales import get_config
from wmlib.tools import selection_ablation
from wmlib.tools.cli import main
from wmlib.tools.selection_ablation import ARMS, CONTROLLERS, ONE, TRACKS_FROM, settings_of


@pytest.mark.parametrize("arm", ARMS)
def test_three_controllers_are_scored_on_the_tracks_of_the_search_and_on_others(arm, monkeypatch):
    """Returns are made up: of the change of one bias, and of the track."""
    config, asked = get_config("laptop"), []
    first = load_agent(pretrained("car_racing"))[1].parameters[0, -1]

    def returns(spec, world_model, controllers, tracks, executor):
        asked.append((len(controllers), list(tracks)))
        change = np.asarray(controllers.parameters[:, -1:] - first)
        return change + np.array([[0.0 if track >= TRACKS_FROM else 50.0 for track in tracks]])

    monkeypatch.setattr(selection_ablation, "returns", returns)
    settings = settings_of(config)
    row = selection_ablation._row(config, settings, torch.randn(400, 288), arm, 3, None)
    *searched, chosen_on, own, others = asked
    assert {count for count, _ in searched} == {settings["population"]}
    tracks = [track for _, tracks in searched for track in tracks]
    assert len(tracks) == settings["generations"]
    assert len(set(tracks)) == (1 if arm == ONE else len(tracks))
    assert chosen_on[0] == 1
    assert chosen_on[1][0] in tracks
    assert row["before_measured"] == 50
    assert own == (3, list(dict.fromkeys(tracks)))
    assert others == (3, list(range(TRACKS_FROM, TRACKS_FROM + settings["tracks"])))
    for name in CONTROLLERS:
        assert row[f"{name}_own"] == pytest.approx(row[f"{name}_others"] + 50, abs=0.02)
    assert row["before_others"] == 0
    assert row["best_measured"] == pytest.approx(row["best_own"], abs=0.02)
    assert row["best_others"] > row["result_others"] > 0


def test_the_command_makes_a_row_per_search_and_goes_on(tmp_path, monkeypatch):
    monkeypatch.setenv("WM_RUNS", str(tmp_path / "runs"))
    monkeypatch.setattr(selection_ablation, "SEEDS", range(2))
    out = tmp_path / "selection.jsonl"
    command = ["ablate", "selection", "--scale", "smoke", "--workers", "0", "--out", str(out)]
    assert main(command) == 0
    rows, text = read_log(out), out.read_text(encoding="utf-8")
    assert [(row["seed"], row["arm"]) for row in rows] == [(k, a) for k in range(2) for a in ARMS]
    for row in rows:
        assert np.isfinite([row[f"{c}_{t}"] for c in CONTROLLERS for t in ("own", "others")]).all()
        assert row["best_measured"] >= row["best_own"] - 1e-6 or row["arm"] != ONE
    out.write_text("".join(text.splitlines(keepends=True)[:-1]), encoding="utf-8")
    assert main(command) == 0
    assert out.read_text(encoding="utf-8") == text


def test_at_paper_scale_it_is_refused_at_once(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("WM_RUNS", str(tmp_path))
    assert main(["ablate", "selection", "--scale", "paper"]) == 1
    assert "needs principal components" in capsys.readouterr().err
