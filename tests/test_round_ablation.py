"""The last round once more, without one part of it."""

import pytest
from runs import error_of

from wmlib.files import read_log
from wmlib.models.checkpoints import load_agent
from wmlib.pipeline.car_racing import run_all_rounds
from wmlib.pipeline.scales import get_config
from wmlib.tools.cli import main
from wmlib.tools.round_ablation import ALL_ALIKE, SLOWER, START, WHOLE

COMMAND = ["ablate", "round", "--scale", "smoke", "--workers", "0", "--folder"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished smoke run, whose last round has hard tracks and acts more often."""
    folder = tmp_path_factory.mktemp("rounds") / "run"
    run_all_rounds(get_config("smoke"), folder)
    return folder


def test_the_round_without_hard_tracks_and_the_one_that_acts_less_often(run):
    assert main([*COMMAND, str(run)]) == 0
    rows = read_log(run / "last_round.jsonl")
    assert [row["arm"] for row in rows] == [START, WHOLE, ALL_ALIKE, SLOWER]
    assert {len(row[name]) for row in rows for name in ("scores", "laps", "steps")} == {8}
    work = run / "round1"
    here, other = (read_log(f / "evolution.jsonl") for f in (work, work / "all_tracks"))
    # The first generation has one track per candidate, and so no hard one: the same candidates.
    assert here[0]["scores"] == other[0]["scores"]
    assert here[1]["scores"] != other[1]["scores"]
    assert all("check" in row for log in (here, other) for row in log)  # by which C is selected
    records = [log[0]["record"] for log in (here, other)]
    assert records[0]["settings"] == records[1]["settings"]
    assert records[0]["made_from"].pop("hard_tracks")
    assert records[0]["made_from"] == records[1]["made_from"]
    # As many agent steps: twice as many episodes, of half of them; after the very same round 0.
    slower = run / "slower"
    episodes = [
        sum(row["rollouts"] for row in read_log(f / "round1" / "evolution.jsonl"))
        for f in (run, slower)
    ]
    assert episodes == [3, 6]
    assert [load_agent(f)[0].mdn_rnn.repeat for f in (run, slower)] == [2, 4]
    name = "controller.safetensors"
    assert (slower / "round0" / name).read_bytes() == (run / "round0" / name).read_bytes()
    before = (run / "last_round.jsonl").read_bytes()
    assert main([*COMMAND, str(run)]) == 0
    assert (run / "last_round.jsonl").read_bytes() == before


def test_of_a_round_that_freezes_v_and_only_of_a_finished_run(tmp_path, capsys):
    """Its search begins at the C before, which is in no file of the round."""
    config = get_config("smoke").change(vae_epochs=(1, 0), episodes=(4, 0), frame_skip=4)
    run_all_rounds(config, tmp_path / "run")
    config.save(tmp_path / "run", "car_racing")
    last = tmp_path / "run" / "round1"
    assert not (last / "initial.safetensors").exists()
    controller = (last / "controller.safetensors").rename(tmp_path / "controller.safetensors")
    assert "is not finished" in error_of(capsys, *COMMAND, str(tmp_path / "run"))
    assert not (tmp_path / "run" / "last_round.jsonl").exists()
    controller.rename(last / "controller.safetensors")
    assert main([*COMMAND, str(tmp_path / "run")]) == 0
    arms = [row["arm"] for row in read_log(tmp_path / "run" / "last_round.jsonl")]
    assert arms == [START, WHOLE, ALL_ALIKE]


def test_a_run_whose_last_round_has_no_such_part_is_refused(tmp_path, capsys):
    config = get_config("smoke").change(hard_pool=0, frame_skip=4)
    run_all_rounds(config, tmp_path / "run")
    config.save(tmp_path / "run", "car_racing")
    assert "neither hard tracks nor another" in error_of(capsys, *COMMAND, tmp_path / "run")
