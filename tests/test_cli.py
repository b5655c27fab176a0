"""The shell: a run from start to finish, phase by phase, killed, misused."""

import io
import json
import multiprocessing
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures.process import BrokenProcessPool

import numpy as np
import pytest
from filelock import FileLock
from PIL import Image
from test_pipeline import a_run, fingerprints

from wmlib.files import digest, read_log
from wmlib.models.checkpoints import load_controller, load_world_model, save_network
from wmlib.models.vae import VAE
from wmlib.pipeline.config import Machine
from wmlib.pipeline.rounds import rounds_of
from wmlib.pipeline.scales import dreaming, get_config
from wmlib.rollout.episodes import EpisodeStore
from wmlib.tools import bench
from wmlib.tools.cli import AGENTS, RENAMED_OPTIONS, RUNS, main
from wmlib.tools.estimate import (
    SEARCH,
    Work,
    ball_in_car_racings_terms,
    needs,
    searched_steps,
    tabulate,
)

SMOKE = ["--scale", "smoke"]
posix = pytest.mark.skipif(
    os.name != "posix", reason="signals, limits and permissions of POSIX; Windows has others"
)


def shell(*arguments, **options):
    """A process of its own: `python -m wmlib ARGUMENTS`."""
    return subprocess.Popen(
        [sys.executable, "-m", "wmlib", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def forked(*arguments):
    """The same as a fork of a process in which everything is imported: to be started often."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["wmlib.tools.cli", "torch._dynamo"])
    process = context.Process(target=_main_and_exit, args=([str(a) for a in arguments],))
    process.start()
    return process


def _main_and_exit(arguments):
    sys.exit(main(arguments))


def fails(capsys, *arguments):
    """The one line that a command ends with that could not do it."""
    assert main([str(a) for a in arguments]) == 1
    error = capsys.readouterr().err.strip()
    assert error.startswith("python -m wmlib: ")
    return error


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that nothing disturbed."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    process = shell("run", "car_racing", *SMOKE, "--folder", folder, "--final-eval")
    out, error = process.communicate()
    assert process.returncode == 0, error
    assert error == ""  # no progress bars in a pipe
    assert "95% CI" in out
    return folder


def test_a_run_ends_up_with_the_last_rounds_agent_and_all_logs(whole):
    config = get_config("smoke")
    rounds = [row["round"] for row in read_log(whole / "evolution.jsonl")]
    assert rounds == [k for k, r in enumerate(config.rounds) for _ in range(r.generations)]
    assert load_world_model(whole).mdn_rnn.repeat == config.env.repeat
    assert fingerprints(whole) == fingerprints(whole / "round1")


# What lies there in the middle of: collecting, V, encoding, M, and C, in the one or other round.
SIGNS = [
    "round0/episodes/0000001-000.zip",
    "round0/vae.checkpoint",
    "round1/latents/0000001-000.zip",
    "round1/mdn_rnn.checkpoint",
    "round1/evolution.jsonl",
]


@posix
def test_killed_in_every_phase_it_ends_where_it_would_have(whole, tmp_path):
    # With a worker, who has to go as well (and who drives makes no difference).
    run = ["run", "car_racing", *SMOKE, "--workers", "1", "--folder", tmp_path / "torn"]
    resume = []
    for sign in SIGNS:
        process = forked(*run, *resume)
        while not (tmp_path / "torn" / sign).exists() and process.is_alive():
            time.sleep(0.002)
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL  # it had not come to its end
        resume = ["--resume"]
    process = forked(*run, "--resume")
    process.join()
    assert process.exitcode == 0
    assert fingerprints(tmp_path / "torn") == fingerprints(whole)


def test_phase_by_phase_it_is_the_same(whole, tmp_path):
    for number in range(2):
        for phase in ("collect", "train-vae", "encode", "train-rnn", "evolve"):
            where = ["--folder", str(tmp_path), "--round", str(number)]
            assert main([phase, *SMOKE, *where]) == 0
    assert fingerprints(tmp_path) == fingerprints(whole)


def test_a_flag_that_does_not_fit_leaves_the_settings_alone(whole, tmp_path, capsys):
    shutil.copytree(whole, tmp_path / "run")
    resume = ["run", "car_racing", "--folder", tmp_path / "run", "--resume"]
    kept = (tmp_path / "run" / "settings.json").read_bytes()
    assert "population = 4" in fails(capsys, *resume, "--search.population", "5")
    assert (tmp_path / "run" / "settings.json").read_bytes() == kept
    (tmp_path / "run" / "settings.json").unlink()  # as a chapter leaves it
    assert "population = 4" in fails(capsys, *resume, *SMOKE, "--search.population", "5")
    assert not (tmp_path / "run" / "settings.json").exists()
    (tmp_path / "run" / "settings.json").write_bytes(kept)
    assert main([str(a) for a in resume]) == 0


def test_a_run_keeps_its_settings_and_flags_override_the_scale(whole, tmp_path):
    kept = json.loads((whole / "settings.json").read_text(encoding="utf-8"))
    assert kept["scale"] == "smoke"
    flags = ["--search.population", "5", "--episodes", "3", "--generations", "1", "1", "1"]
    flags += ["--seed", "2"]
    collect = ["collect", *SMOKE, "--folder", str(tmp_path)]
    assert main([*collect, *flags]) == 0
    kept = json.loads((tmp_path / "settings.json").read_text(encoding="utf-8"))
    assert (kept["search"]["population"], kept["seed"]) == (5, 2)
    assert [one["episodes"] for one in kept["rounds"]] == [3, 3, 3]
    assert len(EpisodeStore(tmp_path / "round0" / "episodes")) == 3
    # The next phase needs no flags any more.
    assert main(["train-vae", "--folder", str(tmp_path)]) == 0
    assert json.loads((tmp_path / "settings.json").read_text(encoding="utf-8")) == kept


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--scale", "laptop"], "has scale smoke, not laptop"),
        (["--seed", "1"], "has seed 0, not 1"),
        (["--dream"], "has C evolved in the environment, not dreams"),
        (["--episodes", "3"], "more episodes than the 3 that are wanted"),
        (["--env.repeat", "2"], "made with repeat = 4, this would be with repeat = 2"),
        (["--env.frame-size", "96"], "episodes was made with world = "),
    ],
)
def test_a_run_cannot_become_another(whole, tmp_path, capsys, flags, message):
    shutil.copytree(whole, tmp_path / "run")
    kept = (tmp_path / "run" / "settings.json").read_bytes()
    assert message in fails(capsys, "collect", "--folder", tmp_path / "run", *flags)
    assert (tmp_path / "run" / "settings.json").read_bytes() == kept


def test_what_could_not_begin_leaves_nothing(tmp_path, capsys, monkeypatch):
    run = ["run", "car_racing", *SMOKE, "--folder", tmp_path / "run"]
    assert "no run in" in fails(capsys, *run, "--resume")
    assert not (tmp_path / "run").exists()
    monkeypatch.setitem(sys.modules, "dask.distributed", None)  # as if it were not installed
    assert "install Dask" in fails(capsys, *run, "--dask", "tcp://127.0.0.1:9")
    assert not (tmp_path / "run" / "settings.json").exists()


def test_what_the_ball_does_not_have_is_named(tmp_path, capsys):
    ball = ["run", "ball", *SMOKE, "--folder", tmp_path / "run"]
    for flags in (["--env.frame-size", "96"], ["--dream"], ["--final-eval"]):
        with pytest.raises(SystemExit) as end:
            main([str(a) for a in [*ball, *flags]])
        assert end.value.code == 2
        assert f"Unrecognized options: {flags[0]}" in capsys.readouterr().err
    assert "no device 'cuda:7'" in fails(capsys, *ball, "--device", "cuda:7")
    assert not (tmp_path / "run").exists()


def test_a_search_begins_with_weights_from_elsewhere(whole, tmp_path, capsys):
    work = tmp_path / "run" / "round0"
    shutil.copytree(whole / "round0" / "episodes", work / "episodes")
    evolve = ["evolve", *SMOKE, "--folder", tmp_path / "run"]
    for flag, name in {"vae": "vae", "rnn": "mdn_rnn", "controller": "controller"}.items():
        evolve += [f"--{flag}", whole / f"{name}.safetensors"]
    assert main([str(a) for a in evolve]) == 0
    start = load_controller(whole / "controller.safetensors").parameters[0]
    assert read_log(work / "evolution.jsonl")[0]["record"]["made_from"]["start"] == digest(start)
    assert not (work / "vae.jsonl").exists()  # nothing was trained here
    run = ["run", "car_racing", *SMOKE, "--folder", tmp_path / "run", "--resume"]
    assert main([str(a) for a in run]) == 0  # and it stays, in this round
    assert (work / "vae.safetensors").read_bytes() == (whole / "vae.safetensors").read_bytes()
    evolve[evolve.index("--vae") + 1] = whole / "round0" / "vae.safetensors"  # another one
    assert "vae.safetensors is there already" in fails(capsys, *evolve)
    assert "is for round 0" in fails(capsys, *evolve, "--round", "1")
    other = [*evolve[:3], "--folder", tmp_path / "other", *evolve[5:]]
    assert "collect some first" in fails(capsys, *other)
    assert not list((tmp_path / "other").rglob("*.safetensors"))


def test_two_runs_never_share_a_folder(whole, capsys):
    again = ["run", "car_racing", *SMOKE, "--folder", whole]
    assert "holds a run already: add --resume" in fails(capsys, *again)
    with FileLock(whole / ".lock"):
        assert "another process is at work" in fails(capsys, *again, "--resume")
    assert main([str(a) for a in [*again, "--resume"]]) == 0  # at once: all is done


def test_an_agent_is_scored_shown_and_dreamt(whole, tmp_path, capsys):
    agent = [*SMOKE, "--folder", whole]
    scores = tmp_path / "score.json"
    score = ["evaluate", *agent, "--tracks", 2, "--workers", 0, "--json", scores]
    assert main([str(a) for a in score]) == 0
    mean = json.loads(scores.read_text(encoding="utf-8"))["mean"]
    assert mean == pytest.approx(
        np.mean([r["score"] for r in read_log(whole / "score.jsonl")]), abs=0.1
    )
    assert main([str(a) for a in ["dream", *agent, "--context", 5, "--horizon", 10,
                                  "--out", tmp_path / "dream.gif"]]) == 0  # fmt: skip
    assert main([str(a) for a in ["figures", *agent, "--out", tmp_path / "all"]]) == 0
    written = {path.name for path in (tmp_path / "all").iterdir()}
    assert written == {"reconstructions.png", "latent_map.png", "accuracy.png", "dream.gif",
                       "learning_curve.png", "scores.png", "episode.mp4"}  # fmt: skip
    assert "written" in capsys.readouterr().out


def test_the_larger_eye_goes_through_every_phase(tmp_path):
    run = ["run", "car_racing", *SMOKE, "--env.frame-size", "96"]
    road = ["--env.max-steps", "40", "--num-rounds", "1", "--folder", str(tmp_path / "road")]
    assert main([*run, *road]) == 0
    dream = ["--dream", "--env.max-steps", "60", "--num-rounds", "2", "--folder", str(tmp_path)]
    assert main([*run, *dream]) == 0  # with a C translated
    agent = ["--folder", str(tmp_path), *SMOKE]
    assert main(["evaluate", *agent, "--tracks", "2", "--workers", "0"]) == 0
    out = ["--out", str(tmp_path / "dream.gif")]
    assert main(["dream", *agent, "--context", "5", "--horizon", "10", *out]) == 0
    with Image.open(tmp_path / "dream.gif") as picture:
        assert picture.height >= 96


@pytest.mark.parametrize("seed", [0, 8])
def test_no_smoke_run_ends_in_an_error_by_luck(tmp_path, capsys, seed):
    """A slice of smoke_seeds.py: short episodes, of which many have no car on the road."""
    run = ["run", "car_racing", *SMOKE, "--dream", "--env.max-steps", "60", "--num-rounds", "2"]
    assert main([*run, "--seed", str(seed), "--folder", str(tmp_path)]) == 0, capsys.readouterr()


def test_a_terminal_that_knows_no_plus_or_minus_ends_nothing(monkeypatch):
    out = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(out, encoding="ascii"))
    monkeypatch.setattr(AGENTS["evaluate"], "__call__", lambda self: print("911.8 ± 8.5"))
    assert main(["evaluate"]) == 0
    sys.stdout.flush()
    assert out.getvalue() == b"911.8 \\xb1 8.5\n"


def test_every_command_explains_itself(capsys):
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


def test_what_had_another_name_says_so_and_goes_on(tmp_path, capsys):
    collect = ["collect", "car_racing", *SMOKE, "--folder", str(tmp_path)]
    old = ["--max-steps", "10", "--repeat=2", "--episodes", "2,2", "--population", "5"]
    assert main([*collect, *old]) == 0
    said = capsys.readouterr().err
    for old, new in (("--max-steps", "--env.max-steps"), ("--population", "--search.population")):
        assert f"{old} is called {new} now" in said
    kept = json.loads((tmp_path / "settings.json").read_text(encoding="utf-8"))
    assert (kept["env"]["max_steps"], kept["search"]["population"]) == (10, 5)
    assert [one["episodes"] for one in kept["rounds"]] == [2, 2]
    with pytest.raises(SystemExit):
        main(["study", "--help"])
    assert "python -m wmlib ablate" in capsys.readouterr().out


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
    ],
)
def test_an_option_that_is_none_exits_with_2(flags, message, tmp_path, capsys):
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
    ],
)
def test_what_is_not_there_is_said_in_one_sentence(flags, message, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "dask.distributed", None)  # as if it were not installed
    if "device" in flags[0]:
        assert main(["collect", *SMOKE, "--folder", str(tmp_path)]) == 0
    phase = "train-vae" if "device" in flags[0] else "collect"
    assert message in fails(capsys, phase, *SMOKE, "--folder", tmp_path, *flags)


def test_phases_out_of_order_say_what_is_missing(tmp_path, capsys):
    where = [*SMOKE, "--folder", tmp_path]
    assert "collect some first" in fails(capsys, "train-vae", *where)
    assert "no weights at" in fails(capsys, "evolve", *where)
    (tmp_path / "note").write_text("", encoding="utf-8")
    said = fails(capsys, "collect", *SMOKE, "--folder", tmp_path / "note")
    reason = os.strerror(17) if os.name == "posix" else ""  # EEXIST; Windows has other words
    assert f"{tmp_path / 'note'}: {reason}" in said


def test_a_torn_episode_and_a_strange_checkpoint_are_named(tmp_path, capsys, world_model):
    where = [*SMOKE, "--folder", tmp_path]
    assert main([str(a) for a in ["collect", *where]]) == 0
    episode = min((tmp_path / "round0" / "episodes").glob("*.zip"))
    store, content = EpisodeStore(episode.parent), episode.read_bytes()
    before = store.episode(episode.stem)
    episode.write_bytes(content[: len(content) // 2])
    assert f"{episode.name} is damaged" in fails(capsys, "train-vae", *where)
    episode.unlink()
    assert main([str(a) for a in ["collect", *where]]) == 0
    for key, values in store.episode(episode.stem).items():  # (a zip tells the time of day, too)
        assert np.array_equal(values, before[key]), "another drive"

    a_run(tmp_path / "agent", world_model)
    save_network(VAE(z_size=8), tmp_path / "small.safetensors")
    agent = ["--folder", tmp_path / "agent", "--vae", tmp_path / "small.safetensors"]
    assert "V makes z of size 8, but M reads z of size 32" in fails(capsys, "evaluate", *agent)


@posix
def test_a_full_disk_is_said_and_nothing_is_lost(whole, tmp_path):
    """(A limit on the size of files stands for the disk: the error has another name.)"""
    import resource  # not on Windows

    run = ["run", "car_racing", *SMOKE, "--folder", tmp_path / "run"]
    limit = (2_000_000, 2_000_000)  # episodes fit, V's checkpoint does not
    process = shell(*run, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limit))
    _, error = process.communicate()
    assert process.returncode == 1
    assert error.count("\n") == 1
    assert os.strerror(27) in error  # EFBIG
    assert main([str(a) for a in [*run, "--resume"]]) == 0
    assert fingerprints(tmp_path / "run") == fingerprints(whole)


@posix
def test_a_directory_that_may_not_be_written_to_is_named(whole, tmp_path):
    shutil.copytree(whole, tmp_path / "run")
    episodes = tmp_path / "run" / "round0" / "episodes"
    min(episodes.glob("*.zip")).unlink()
    # What root may do anyway, it has to give up for that.
    root = os.geteuid() == 0
    if root and not shutil.which("setpriv"):
        pytest.skip("root may write everywhere, and there is no setpriv")
    before = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] if root else []
    episodes.chmod(0o555)
    command = [sys.executable, "-m", "wmlib", "collect", "--folder", str(tmp_path / "run")]
    said = subprocess.run([*before, *command], capture_output=True, text=True)
    episodes.chmod(0o755)
    assert said.returncode == 1
    assert said.stderr.strip().endswith(
        f"{episodes}: {os.strerror(13)}. Nothing finished is lost"  # EACCES
    )


def test_what_breaks_is_said_in_one_line(capsys, monkeypatch):
    for error, message in (
        (BrokenProcessPool("it ended"), "a worker was ended from outside"),
        (MemoryError(), "not enough memory"),
        (OSError("strange"), "the disk: strange"),
    ):

        def breaks(self, error=error):
            raise error

        monkeypatch.setattr(AGENTS["evaluate"], "__call__", breaks)
        assert message in fails(capsys, "evaluate")

    def stop(self):
        raise KeyboardInterrupt

    for name, message in {"evaluate": "nothing was kept", "export ball": "again goes on"}.items():
        kind = RUNS[name][0] if name in RUNS else AGENTS[name]
        monkeypatch.setattr(kind, "__call__", stop)
        assert main(name.split()) == 130
        assert message in capsys.readouterr().err


SPEED = {
    next(iter(bench.WHOLE)): 1000.0,
    **dict(zip(bench.ALONE, (500.0, 250.0), strict=True)),
    bench.DREAMS: 100_000.0,
    bench.ENCODES: 5000.0,
    bench.V_TRAINS: 1000.0,
    bench.M_TRAINS: 50_000.0,
    bench.ON_DISK: 1000.0,
    SEARCH: 0.5,
}


def test_a_plan_adds_up_and_refuses_what_will_not_fit():
    config = get_config("laptop").change(
        episodes=100, vae_epochs=2, generations=3, rollouts=4, num_rounds=1, repeat=2
    )
    steps = 100 * 1000 / 2
    table = tabulate(Work.of(config), SPEED, disk_free=1e12, memory_free=1e12)
    assert f"{steps:,.0f}" in table
    disk = steps / 1000 * 1e6 + steps * 280 + 160e6
    assert needs(Work.of(config), 1000)["disk"] == pytest.approx(disk)
    assert f"{disk / 1e9:.1f} GB of the 1000.0 GB" in table
    episodes = config.search.population * 4 * 3 + config.search.check_tracks  # one check
    assert f"{(episodes * 1000 / 1000 + 3 / 0.5) / 60:.1f} min" in table  # C
    dreams = dreaming(config).change(vae_epochs=(3, 0, 0, 0, 1, 0))  # six rounds
    assert [this.number for this in rounds_of(dreams) if not this.freezes_vae] == [0, 4]
    again = (2 + 4 + 6 + 2) * dreams.dream.reevaluations  # in rounds 1, 2, 3, and 5
    searched = sum(r.generations * dreams.search.population * r.rollouts for r in dreams.rounds)
    assert sum(searched_steps(Work.of(dreams), k, SPEED) for k in range(6)) == (
        (again + searched) * dreams.dream.steps * dreams.env.repeat
    )
    # A worker with one car takes twice as long for it, and of twice as many workers half rest.
    for workers, times in ((48 * 4, 2), (48 * 4 * 2, 4)):
        crowd = tabulate(Work.of(config, machine=Machine(workers)), SPEED, 1e12, 1e12)
        episodes = config.search.population * 4 * 3 * times + config.search.check_tracks
        assert f"{(episodes * 1000 / 1000 + 3 / 0.5) / 60:.1f} min" in crowd
    for free in ({"disk_free": 1e6, "memory_free": 1e12}, {"disk_free": 1e12, "memory_free": 1e6}):
        with pytest.raises(ValueError, match="this will not fit"):
            tabulate(Work.of(config), SPEED, **free)


def test_a_worker_is_counted_with_the_memory_that_one_was_measured_to_take():
    """1.55 GB with 64 environments of 64 x 64 pixels."""
    few, many = (Work.of(get_config("laptop"), machine=Machine(n)) for n in (10, 74))
    each = (needs(many, 1000)["memory"] - needs(few, 1000)["memory"]) / 64
    assert each == pytest.approx(1.55e9, rel=0.1)


def test_a_dry_run_starts_nothing(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("wmlib.tools.estimate.speeds", lambda work: SPEED)
    folder = tmp_path / "run"
    run = ["run", "car_racing", "--scale", "laptop", "--folder", str(folder), "--dry-run"]
    assert main(run) == 0
    assert "at most" in capsys.readouterr().out
    assert not folder.exists()
    assert main(["run", "ball", *run[2:]]) == 0
    ball = ball_in_car_racings_terms(get_config("laptop"))
    assert f"{ball.rounds[0].episodes * 200:,}" in capsys.readouterr().out  # agent steps
    monkeypatch.setattr("wmlib.tools.estimate.free_disk", lambda folder: 1e6)
    assert "GB of disk" in fails(capsys, *run)
    assert "GB of disk" in fails(capsys, *run[:-1])  # nor does one start that would not fit
    assert not folder.exists() or not list(folder.glob("round*"))
    assert "episodes of round 0 must be" in fails(capsys, *run, "--episodes", "20000")
