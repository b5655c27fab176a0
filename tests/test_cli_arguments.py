"""The command line: help texts, options, and errors, each reported in one line."""

import dataclasses
import io
import json
import os
import re
import sys
from concurrent.futures.process import BrokenProcessPool

import numpy as np
import pytest
from runs import SMOKE, error_of, save_run

from wmlib.models.checkpoints import save_network
from wmlib.models.vae import VAE
from wmlib.pipeline.config import RoundConfig
from wmlib.rollout.episodes import EpisodeStore
from wmlib.tools.cli import AGENTS, RENAMED_OPTIONS, RUNS, main
from wmlib.tools.settings import ByRound


def test_options_that_the_ball_does_not_have_are_named(tmp_path, capsys):
    ball = ["run", "ball", *SMOKE, "--folder", tmp_path / "run"]
    for flags in (["--env.frame-size", "96"], ["--dream"], ["--final-eval"]):
        with pytest.raises(SystemExit) as end:
            main([str(a) for a in [*ball, *flags]])
        assert end.value.code == 2
        assert f"Unrecognized options: {flags[0]}" in capsys.readouterr().err
    assert "no device 'cuda:7'" in error_of(capsys, *ball, "--device", "cuda:7")
    assert not (tmp_path / "run").exists()


def test_a_terminal_that_cannot_encode_plus_minus_is_no_error(monkeypatch):
    out = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(out, encoding="ascii"))
    monkeypatch.setattr(AGENTS["evaluate"], "__call__", lambda self: print("911.8 ± 8.5"))
    assert main(["evaluate"]) == 0
    sys.stdout.flush()
    assert out.getvalue() == b"911.8 \\xb1 8.5\n"


def test_every_command_has_a_help_text(capsys):
    for name in (*RUNS, *AGENTS):
        with pytest.raises(SystemExit) as end:
            main([*name.split(), "--help"])
        assert end.value.code == 0
        text = " ".join(capsys.readouterr().out.replace("│", " ").split())
        kind = RUNS[name][0] if name in RUNS else AGENTS[name]
        assert " ".join(kind.__doc__.split()) in text
        for option in ("--folder", "--out", "--seed", "--tracks", "--workers"):
            if option in text:  # (their first mention is the list of options)
                assert not re.search(rf"{option} \S+ \(default", text), (name, option)
    for arguments, code in (([], 2), (["--help"], 0), (["run"], 2), (["run", "--help"], 0)):
        with pytest.raises(SystemExit) as end:
            main(arguments)
        assert end.value.code == code
        captured = capsys.readouterr()
        assert "run car_racing" in captured.out + captured.err
        assert ("evaluate" in captured.out + captured.err) == ("run" not in arguments)


def test_renamed_commands_and_options_still_work_and_print_the_new_name(tmp_path, capsys):
    collect = ["collect", "car_racing", *SMOKE, "--folder", str(tmp_path)]
    old = ["--max-steps", "10", "--repeat=4", "--episodes", "2,2", "--population", "5"]
    assert main([*collect, *old]) == 0
    printed = capsys.readouterr().err
    for old, new in (("--max-steps", "--env.max-steps"), ("--population", "--search.population")):
        assert f"{old} is called {new} now" in printed
    kept = json.loads((tmp_path / "settings.json").read_text(encoding="utf-8"))
    assert (kept["env"]["max_steps"], kept["search"]["population"]) == (10, 5)
    assert [(row["episodes"], row["frame_skip"]) for row in kept["rounds"]] == [(2, 4)] * 2
    with pytest.raises(SystemExit):
        main(["study", "--help"])
    assert "python -m wmlib ablate" in capsys.readouterr().out


def test_every_setting_of_a_round_is_an_option():
    columns = {item.name for item in dataclasses.fields(ByRound)} - {"num_rounds"}
    assert columns == {item.name for item in dataclasses.fields(RoundConfig)}


@pytest.mark.parametrize("command", RENAMED_OPTIONS)
def test_every_new_name_of_an_option_exists(command, capsys):
    for name in [n for n in (*RUNS, *AGENTS) if n.split()[0] == command]:
        with pytest.raises(SystemExit):
            main([*name.split(), "--help"])
    text = capsys.readouterr().out
    assert [new for new in RENAMED_OPTIONS[command].values() if new not in text] == []


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--env.frame-size", "100"], "invalid choice"),
        (["--search.population", "lots"], "'lots'"),
        (["--search.population", "3"], "population must be 4 or more, got 3"),
        (["--nonsense", "3"], "Unrecognized options: --nonsense"),
        (["--given", "3"], "Unrecognized options: --given"),
    ],
)
def test_an_invalid_option_exits_with_2(flags, message, tmp_path, capsys):
    with pytest.raises(SystemExit) as end:
        main(["collect", *SMOKE, "--folder", str(tmp_path / "run"), *flags])
    assert end.value.code == 2
    assert message in " ".join(capsys.readouterr().err.replace("│", " ").split())
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--device", "cuda:7"], "no device 'cuda:7' on this machine"),
        (["--cluster", "tcp://127.0.0.1:9"], "for a cluster, install Dask"),
        (["--round", "9"], "round must be 0 to 1, got 9"),
        (["--generations", "3", "4", "--episodes", "1", "2", "3"], "lists of [2, 3] entries"),
        (["--num-rounds", "2", "--episodes", "1", "2", "3"], "lists of [2, 3] entries"),
        (["--generations", "1", "2", "--episodes", "1", "2", "3"], "lists of [2, 3] entries"),
    ],
)
def test_a_request_that_cannot_be_met_is_explained_in_one_sentence(
    flags, message, tmp_path, capsys, monkeypatch
):
    monkeypatch.setitem(sys.modules, "dask.distributed", None)  # as if it were not installed
    if "device" in flags[0]:
        assert main(["collect", *SMOKE, "--folder", str(tmp_path)]) == 0
    phase = "train-vae" if "device" in flags[0] else "collect"
    assert message in error_of(capsys, phase, *SMOKE, "--folder", tmp_path, *flags)


def test_phases_out_of_order_name_what_is_missing(tmp_path, capsys):
    where = [*SMOKE, "--folder", tmp_path]
    assert "collect some first" in error_of(capsys, "train-vae", *where)
    assert "no weights at" in error_of(capsys, "evolve", *where)
    (tmp_path / "note").write_text("", encoding="utf-8")
    error = error_of(capsys, "collect", *SMOKE, "--folder", tmp_path / "note")
    reason = os.strerror(17) if os.name == "posix" else ""  # EEXIST; Windows has another message
    assert f"{tmp_path / 'note'}: {reason}" in error


def test_a_truncated_episode_and_a_v_that_does_not_fit_m_are_named(tmp_path, capsys, world_model):
    where = [*SMOKE, "--folder", tmp_path]
    assert main([str(a) for a in ["collect", *where]]) == 0
    episode = min((tmp_path / "round0" / "episodes").glob("*.zip"))
    store, content = EpisodeStore(episode.parent), episode.read_bytes()
    before = store.episode(episode.stem)
    episode.write_bytes(content[: len(content) // 2])
    assert f"{episode.name} is damaged" in error_of(capsys, "train-vae", *where)
    episode.unlink()
    assert main([str(a) for a in ["collect", *where]]) == 0
    for key, values in store.episode(episode.stem).items():  # (the zip itself holds the time, too)
        assert np.array_equal(values, before[key]), f"{key} differs"

    save_run(tmp_path / "agent", world_model)
    save_network(VAE(z_size=8), tmp_path / "small.safetensors")
    agent = ["--folder", tmp_path / "agent", "--vae", tmp_path / "small.safetensors"]
    assert "V makes z of size 8, but M reads z of size 32" in error_of(capsys, "evaluate", *agent)


def test_errors_of_the_system_are_reported_in_one_line(capsys, monkeypatch):
    for error, message in (
        (BrokenProcessPool("it ended"), "a worker was ended from outside"),
        (MemoryError(), "not enough memory"),
        (OSError("strange"), "the disk: strange"),
    ):

        def fail(self, error=error):
            raise error

        monkeypatch.setattr(AGENTS["evaluate"], "__call__", fail)
        assert message in error_of(capsys, "evaluate")

    def stop(self):
        raise KeyboardInterrupt

    for name, message in {"evaluate": "nothing was kept", "export ball": "again goes on"}.items():
        kind = RUNS[name][0] if name in RUNS else AGENTS[name]
        monkeypatch.setattr(kind, "__call__", stop)
        assert main(name.split()) == 130
        assert message in capsys.readouterr().err
