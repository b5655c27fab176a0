"""The last round's search once more, without hard tracks."""

import pytest
from runs import error_of

from wmlib.files import read_log
from wmlib.pipeline.car_racing import run_all_rounds
from wmlib.pipeline.scales import get_config
from wmlib.tools.cli import main
from wmlib.tools.track_ablation import ARMS


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished smoke run, with a score of two tracks."""
    folder = tmp_path_factory.mktemp("tracks") / "run"
    run_all_rounds(get_config("smoke"), folder)
    return folder


def test_the_other_search_differs_in_nothing_but_its_tracks(run):
    command = ["ablate", "tracks", "--scale", "smoke", "--workers", "0", "--folder", str(run)]
    assert main(command) == 0
    rows = read_log(run / "tracks.jsonl")
    assert [row["arm"] for row in rows] == list(ARMS)
    assert {len(row[name]) for row in rows for name in ("scores", "laps", "steps")} == {8}
    work = run / "round1"
    here, other = (read_log(f / "evolution.jsonl") for f in (work, work / "all_tracks"))
    # The first generation has one track per candidate, and so no hard one: the same candidates.
    assert here[0]["scores"] == other[0]["scores"]
    assert here[1]["scores"] != other[1]["scores"]
    records = [log[0]["record"] for log in (here, other)]
    assert records[0]["settings"] == records[1]["settings"]
    assert records[0]["made_from"].pop("hard_tracks")
    assert records[0]["made_from"] == records[1]["made_from"]
    before = (run / "tracks.jsonl").read_bytes()
    assert main(command) == 0
    assert (run / "tracks.jsonl").read_bytes() == before


def test_of_a_round_that_freezes_v_and_only_of_a_finished_run(run, tmp_path, capsys):
    """Its search begins at the C before, which is in no file of the round."""
    config = get_config("smoke").change(vae_epochs=(1, 0), episodes=(4, 0))
    run_all_rounds(config, tmp_path / "run")
    config.save(tmp_path / "run", "car_racing")
    last = tmp_path / "run" / "round1"
    assert not (last / "initial.safetensors").exists()
    command = ["ablate", "tracks", "--scale", "smoke", "--workers", "0"]
    command += ["--folder", str(tmp_path / "run")]
    controller = (last / "controller.safetensors").rename(tmp_path / "controller.safetensors")
    assert "is not finished" in error_of(capsys, *command)
    assert not (tmp_path / "run" / "tracks.jsonl").exists()
    controller.rename(last / "controller.safetensors")
    assert main(command) == 0
    assert [row["arm"] for row in read_log(tmp_path / "run" / "tracks.jsonl")] == list(ARMS)


def test_a_run_without_hard_tracks_is_refused(tmp_path, capsys):
    config = get_config("smoke").change(hard_pool=0)
    run_all_rounds(config, tmp_path / "run")
    config.save(tmp_path / "run", "car_racing")
    command = ["ablate", "tracks", "--scale", "smoke", "--workers", "0"]
    said = error_of(capsys, *command, "--folder", tmp_path / "run")
    assert "has no hard tracks" in said
