"""The command line: whole runs, single phases, killed and resumed runs, agents."""

import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from filelock import FileLock
from PIL import Image
from runs import SMOKE, error_of, fingerprints

from wmlib.files import digest, read_log
from wmlib.models.checkpoints import load_controller, load_world_model
from wmlib.pipeline.scales import get_config
from wmlib.rollout.episodes import EpisodeStore
from wmlib.tools.cli import main

posix = pytest.mark.skipif(
    os.name != "posix", reason="signals, limits and permissions of POSIX; Windows has others"
)


def shell(*arguments, **options):
    """Start `python -m wmlib ARGUMENTS` as a subprocess."""
    return subprocess.Popen(
        [sys.executable, "-m", "wmlib", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def forked(*arguments):
    """The same, forked from a process that has imported everything: it starts faster."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["wmlib.tools.cli", "torch._dynamo"])
    process = context.Process(target=_main_and_exit, args=([str(a) for a in arguments],))
    process.start()
    return process


def _main_and_exit(arguments):
    sys.exit(main(arguments))


@pytest.fixture(scope="module")
def reference_run(tmp_path_factory):
    """The folder of a run that was not interrupted."""
    folder = tmp_path_factory.mktemp("runs") / "uninterrupted"
    process = shell("run", "car_racing", *SMOKE, "--folder", folder, "--final-eval")
    out, error = process.communicate()
    assert process.returncode == 0, error
    assert error == ""  # no progress bars in a pipe
    assert "95% CI" in out
    return folder


def test_a_run_publishes_the_last_rounds_agent_and_all_logs(reference_run):
    config = get_config("smoke")
    rounds = [row["round"] for row in read_log(reference_run / "evolution.jsonl")]
    assert rounds == [k for k, r in enumerate(config.rounds) for _ in range(r.generations)]
    assert load_world_model(reference_run).mdn_rnn.repeat == config.frame_skip
    assert fingerprints(reference_run) == fingerprints(reference_run / "round1")


# Files that exist while a round collects, trains V, encodes, trains M, and evolves C.
FILES_OF_PHASES = [
    "round0/episodes/0000001-000.zip",
    "round0/vae.checkpoint",
    "round1/own_pace/0100001-000.zip",
    "round1/episodes/0100001-000.zip",
    "round1/latents/0100001-000.zip",
    "round1/mdn_rnn.checkpoint",
    "round1/evolution.jsonl",
]


@posix
def test_a_run_killed_in_every_phase_equals_an_uninterrupted_one(reference_run, tmp_path):
    # While episodes run, with a worker process, which must end as well. (Each takes seconds to
    # start, and their number does not change the results: in the other phases there is none.)
    run, resume = ["run", "car_racing", *SMOKE, "--folder", tmp_path / "killed"], []
    for file in FILES_OF_PHASES:
        workers = int(any(phase in file for phase in ("own_pace", "episodes", "evolution")))
        process = forked(*run, "--workers", workers, *resume)
        while not (tmp_path / "killed" / file).exists() and process.is_alive():
            time.sleep(0.002)
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL  # it was still running
        resume = ["--resume"]
    process = forked(*run, "--resume")
    process.join()
    assert process.exitcode == 0
    assert fingerprints(tmp_path / "killed") == fingerprints(reference_run)


def test_a_run_phase_by_phase_equals_a_run_in_one_command(reference_run, tmp_path):
    for number in range(2):
        for phase in ("collect", "train-vae", "encode", "train-rnn", "evolve"):
            where = ["--folder", str(tmp_path), "--round", str(number)]
            assert main([phase, *SMOKE, *where]) == 0
    assert fingerprints(tmp_path) == fingerprints(reference_run)


def test_a_conflicting_option_leaves_the_settings_unchanged(reference_run, tmp_path, capsys):
    shutil.copytree(reference_run, tmp_path / "run")
    resume = ["run", "car_racing", "--folder", tmp_path / "run", "--resume"]
    kept = (tmp_path / "run" / "settings.json").read_bytes()
    assert "population = 4" in error_of(capsys, *resume, "--search.population", "5")
    assert (tmp_path / "run" / "settings.json").read_bytes() == kept
    (tmp_path / "run" / "settings.json").unlink()  # a run by a chapter has none
    assert "population = 4" in error_of(capsys, *resume, *SMOKE, "--search.population", "5")
    assert not (tmp_path / "run" / "settings.json").exists()
    (tmp_path / "run" / "settings.json").write_bytes(kept)
    assert main([str(a) for a in resume]) == 0


def test_options_override_the_scale_and_are_stored_with_the_run(reference_run, tmp_path, capsys):
    kept = json.loads((reference_run / "settings.json").read_text(encoding="utf-8"))
    assert kept["scale"] == "smoke"
    flags = ["--search.population", "5", "--episodes", "3", "--generations", "1", "1", "1"]
    flags += ["--seed", "2"]
    collect = ["collect", *SMOKE, "--folder", str(tmp_path)]
    assert main([*collect, *flags]) == 0
    kept = json.loads((tmp_path / "settings.json").read_text(encoding="utf-8"))
    assert (kept["search"]["population"], kept["seed"]) == (5, 2)
    assert [row["episodes"] for row in kept["rounds"]] == [3, 3, 3]
    assert len(EpisodeStore(tmp_path / "round0" / "episodes")) == 3
    # The next phase reads the stored settings.
    assert main(["train-vae", "--folder", str(tmp_path)]) == 0
    assert json.loads((tmp_path / "settings.json").read_text(encoding="utf-8")) == kept
    # Of a round that is not finished, the pace alone is settled: its episodes have it.
    other = ["train-vae", "--folder", tmp_path, "--frame-skip", "2"]
    assert "made with round 0: frame_skip = 4, not 2" in error_of(capsys, *other)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--scale", "laptop"], "has scale smoke, not laptop"),
        (["--seed", "1"], "has seed 0, not 1"),
        (["--dream"], "has C evolved in the environment, not dreams"),
        (["--episodes", "3"], "made with round 0: episodes = 4, not 3"),
        (["--frame-skip", "2"], "made with round 0: frame_skip = 4, not 2"),
        (["--env.frame-size", "96"], "made with env.frame_size = 64, not 96"),
        (["--collect.patience", "9"], "made with collect.patience = 80, not 9"),
        (["--vae.batch-size", "9"], "made with vae.batch_size = 32, not 9"),
        (["--rnn.epochs", "9"], "made with rnn.epochs = 2, not 9"),
        (["--lookahead.moments", "9"], "made with lookahead.moments = 40000, not 9"),
        (["--sigma", "9"], "made with round 0: sigma = 0.6, not 9"),
    ],
)
def test_the_settings_of_a_started_run_cannot_change(
    reference_run, tmp_path, capsys, flags, message
):
    shutil.copytree(reference_run, tmp_path / "run")
    kept = (tmp_path / "run" / "settings.json").read_bytes()
    assert message in error_of(capsys, "collect", "--folder", tmp_path / "run", *flags)
    assert (tmp_path / "run" / "settings.json").read_bytes() == kept


def test_only_a_finished_run_is_exported_and_with_its_own_settings(
    reference_run, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr("wmlib.tools.release.PRETRAINED", tmp_path / "pretrained")
    shutil.copytree(reference_run, tmp_path / "run")
    export = ["export", "car_racing", "--folder", tmp_path / "run", "--tracks", "2"]
    assert "leave out the options" in error_of(capsys, *export, "--search.population", "8")
    assert "no run in" in error_of(capsys, *export[:3], tmp_path / "mistyped")
    assert not (tmp_path / "mistyped").exists()
    (tmp_path / "run" / "round1" / "controller.safetensors").rename(tmp_path / "C")
    assert "is not finished" in error_of(capsys, *export)
    assert not (tmp_path / "pretrained").exists()
    (tmp_path / "C").rename(tmp_path / "run" / "round1" / "controller.safetensors")
    assert main([str(a) for a in export]) == 0
    card = (tmp_path / "pretrained" / "car_racing" / "controller.json").read_text(encoding="utf-8")
    assert json.loads(card)["settings"]["search"]["population"] == 4


def test_a_run_of_the_ball_cannot_shrink(tmp_path, capsys):
    ball = ["run", "ball", *SMOKE, "--folder", tmp_path, "--ball.episodes"]
    assert main([str(a) for a in [*ball, "3"]]) == 0
    assert "1 more episodes than the 2" in error_of(capsys, *ball, "2", "--resume")


def test_an_import_that_cannot_be_used_leaves_nothing(reference_run, tmp_path, capsys):
    evolve = ["evolve", *SMOKE, "--folder", tmp_path, "--vae", reference_run / "vae.safetensors"]
    assert "no weights at" in error_of(capsys, *evolve)  # there is no M
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and path.name != ".lock"]


def test_a_command_that_cannot_start_creates_no_files(tmp_path, capsys, monkeypatch):
    run = ["run", "car_racing", *SMOKE, "--folder", tmp_path / "run"]
    assert "no run in" in error_of(capsys, *run, "--resume")
    assert not (tmp_path / "run").exists()
    monkeypatch.setitem(sys.modules, "dask.distributed", None)  # as if it were not installed
    assert "install Dask" in error_of(capsys, *run, "--dask", "tcp://127.0.0.1:9")
    assert not (tmp_path / "run" / "settings.json").exists()


def test_a_search_starts_from_imported_weights(reference_run, tmp_path, capsys):
    work = tmp_path / "run" / "round0"
    shutil.copytree(reference_run / "round0" / "episodes", work / "episodes")
    evolve = ["evolve", *SMOKE, "--folder", tmp_path / "run"]
    for flag, name in {"vae": "vae", "controller": "controller"}.items():
        evolve += [f"--{flag}", reference_run / f"{name}.safetensors"]
    faster = [*evolve, "--rnn", reference_run / "mdn_rnn.safetensors"]  # of the last round
    assert "with a frame skip of 2, not of 4 as in round 0" in error_of(capsys, *faster)
    evolve += ["--rnn", reference_run / "round0" / "mdn_rnn.safetensors"]
    assert main([str(a) for a in evolve]) == 0
    start = load_controller(reference_run / "controller.safetensors").parameters[0]
    assert read_log(work / "evolution.jsonl")[0]["record"]["made_from"]["start"] == digest(start)
    assert not (work / "vae.jsonl").exists()  # V was imported, not trained
    run = ["run", "car_racing", *SMOKE, "--folder", tmp_path / "run", "--resume"]
    assert main([str(a) for a in run]) == 0  # and this round keeps the imported V
    assert (work / "vae.safetensors").read_bytes() == (
        reference_run / "vae.safetensors"
    ).read_bytes()
    evolve[evolve.index("--vae") + 1] = reference_run / "round0" / "vae.safetensors"  # another V
    assert "vae.safetensors is there already" in error_of(capsys, *evolve)
    assert "is for round 0" in error_of(capsys, *evolve, "--round", "1")
    other = [*evolve[:3], "--folder", tmp_path / "other", *evolve[5:]]
    assert "collect some first" in error_of(capsys, *other)
    assert not list((tmp_path / "other").rglob("*.safetensors"))


def test_two_runs_never_share_a_folder(reference_run, capsys):
    again = ["run", "car_racing", *SMOKE, "--folder", reference_run]
    assert "holds a run already: add --resume" in error_of(capsys, *again)
    with FileLock(reference_run / ".lock"):
        assert "another process is at work" in error_of(capsys, *again, "--resume")
    assert main([str(a) for a in [*again, "--resume"]]) == 0  # returns at once: the run is finished


def test_evaluate_dream_and_figures_of_a_run(reference_run, tmp_path, capsys):
    agent = [*SMOKE, "--folder", reference_run]
    scores = tmp_path / "score.json"
    score = ["evaluate", *agent, "--tracks", 2, "--workers", 0, "--json", scores]
    assert main([str(a) for a in score]) == 0
    mean = json.loads(scores.read_text(encoding="utf-8"))["mean"]
    assert mean == pytest.approx(
        np.mean([r["score"] for r in read_log(reference_run / "score.jsonl")]), abs=0.1
    )
    assert main([str(a) for a in ["dream", *agent, "--context", 5, "--horizon", 10,
                                  "--out", tmp_path / "dream.gif"]]) == 0  # fmt: skip
    assert main([str(a) for a in ["figures", *agent, "--out", tmp_path / "all"]]) == 0
    written = {path.name for path in (tmp_path / "all").iterdir()}
    assert written == {"reconstructions.png", "latent_map.png", "accuracy.png", "dream.gif",
                       "learning_curve.png", "scores.png", "episode.mp4"}  # fmt: skip
    assert "written" in capsys.readouterr().out


def test_every_phase_works_with_frames_of_96_pixels(tmp_path):
    run = ["run", "car_racing", *SMOKE, "--env.frame-size", "96"]
    real = ["--env.max-steps", "40", "--num-rounds", "1", "--folder", str(tmp_path / "real")]
    assert main([*run, *real]) == 0
    dream = ["--dream", "--env.max-steps", "60", "--num-rounds", "2", "--folder", str(tmp_path)]
    assert main([*run, *dream]) == 0  # C is distilled for the next M
    agent = ["--folder", str(tmp_path), *SMOKE]
    assert main(["evaluate", *agent, "--tracks", "2", "--workers", "0"]) == 0
    out = ["--out", str(tmp_path / "dream.gif")]
    assert main(["dream", *agent, "--context", "5", "--horizon", "10", *out]) == 0
    with Image.open(tmp_path / "dream.gif") as picture:
        assert picture.height >= 96


@pytest.mark.parametrize("seed", [0, 8])
def test_smoke_runs_complete_with_several_seeds(tmp_path, capsys, seed):
    """Some of the cases of smoke_seeds.py: short episodes, many without any reward."""
    run = ["run", "car_racing", *SMOKE, "--dream", "--env.max-steps", "60", "--num-rounds", "2"]
    assert main([*run, "--seed", str(seed), "--folder", str(tmp_path)]) == 0, capsys.readouterr()


@posix
def test_a_full_disk_is_reported_and_the_run_can_be_resumed(reference_run, tmp_path):
    """A limit on the size of files stands in for the disk: only the name of the error differs."""
    import resource  # not on Windows

    run = ["run", "car_racing", *SMOKE, "--folder", tmp_path / "run"]
    limit = (2_000_000, 2_000_000)  # episodes fit, V's checkpoint does not
    process = shell(*run, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limit))
    _, error = process.communicate()
    assert process.returncode == 1
    assert error.count("\n") == 1
    assert os.strerror(27) in error  # EFBIG
    assert main([str(a) for a in [*run, "--resume"]]) == 0
    assert fingerprints(tmp_path / "run") == fingerprints(reference_run)


@posix
def test_a_folder_without_write_permission_is_named(reference_run, tmp_path):
    shutil.copytree(reference_run, tmp_path / "run")
    episodes = tmp_path / "run" / "round0" / "episodes"
    min(episodes.glob("*.zip")).unlink()
    # Root may write everywhere, unless it gives up that capability.
    root = os.geteuid() == 0
    if root and not shutil.which("setpriv"):
        pytest.skip("root may write everywhere, and there is no setpriv")
    before = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] if root else []
    episodes.chmod(0o555)
    command = [sys.executable, "-m", "wmlib", "collect", "--folder", str(tmp_path / "run")]
    process = subprocess.run([*before, *command], capture_output=True, text=True)
    episodes.chmod(0o755)
    assert process.returncode == 1
    assert process.stderr.strip().endswith(
        f"{episodes}: {os.strerror(13)}. Nothing finished is lost"  # EACCES
    )
