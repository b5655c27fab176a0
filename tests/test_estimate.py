"""The estimate of what a run takes, and the dry run that prints it."""

import pytest
from runs import error_of

from wmlib.pipeline.config import Machine
from wmlib.pipeline.rounds import rounds_of
from wmlib.pipeline.scales import dreaming, get_config
from wmlib.tools import bench
from wmlib.tools.cli import main
from wmlib.tools.estimate import (
    SEARCH,
    Work,
    ball_in_car_racings_terms,
    needs,
    search_seconds,
    searched_steps,
    tabulate,
)

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


def test_an_estimate_adds_up_and_refuses_what_does_not_fit():
    config = get_config("laptop").change(
        episodes=100, vae_epochs=2, generations=3, rollouts=4, num_rounds=1, frame_skip=2
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
    reevaluated = (2 + 4 + 6 + 2) * dreams.dream.reevaluations  # in rounds 1, 2, 3, and 5
    searched = sum(r.generations * dreams.search.population * r.rollouts for r in dreams.rounds)
    assert sum(searched_steps(Work.of(dreams), k, SPEED) for k in range(6)) == (
        (reevaluated + searched) * dreams.dream.steps * dreams.frame_skip
    )
    # Twice as long per episode with one environment per worker; of twice as many, half are idle.
    for workers, times in ((48 * 4, 2), (48 * 4 * 2, 4)):
        table = tabulate(Work.of(config, machine=Machine(workers)), SPEED, 1e12, 1e12)
        episodes = config.search.population * 4 * 3 * times + config.search.check_tracks
        assert f"{(episodes * 1000 / 1000 + 3 / 0.5) / 60:.1f} min" in table
    for free in ({"disk_free": 1e6, "memory_free": 1e12}, {"disk_free": 1e12, "memory_free": 1e6}):
        with pytest.raises(ValueError, match="this will not fit"):
            tabulate(Work.of(config), SPEED, **free)


def test_the_tracks_of_a_hard_pool_are_counted():
    plain = get_config("laptop").change(num_rounds=2, generations=3)
    mined = plain.change(hard_pool=(0, 120))
    plain_s, mined_s = (search_seconds(Work.of(c), 1, SPEED) for c in (plain, mined))
    assert mined_s - plain_s == pytest.approx(120 * 1000 / 1000)


def test_limited_episodes_of_candidates_take_less():
    plain = get_config("laptop").change(num_rounds=2, hard_pool=(0, 120))
    short = plain.change(rollout_steps=(0, 600))
    for number, share in ((0, 1), (1, 0.6)):
        whole, limited = (searched_steps(Work.of(c), number, SPEED) for c in (plain, short))
        assert limited == pytest.approx(share * whole)
    plain_s, short_s = (search_seconds(Work.of(c), 1, SPEED) for c in (plain, short))
    searched = searched_steps(Work.of(plain), 1, SPEED)
    assert plain_s - short_s == pytest.approx(0.4 * (searched + 120 * 1000) / 1000)


def test_lookahead_takes_two_dreams_per_moment():
    plain = get_config("laptop", task="take_cover")
    plain = plain.change(num_rounds=2, lookahead={"improvements": 0})
    asked = plain.change(lookahead={"improvements": 3, "moments": 100, "horizon": 40})
    more = [searched_steps(Work.of(c), 1, SPEED) for c in (asked, plain)]
    assert more[0] - more[1] == 3 * 2 * 100 * 40


def test_one_m_takes_less_than_two():
    """It is trained once, and dreams take half the time."""
    one = get_config("laptop", task="take_cover").change(num_rounds=1)
    two = one.change(dream={"shared_m": False})
    speed = SPEED | {SEARCH: 1e12, next(iter(bench.WHOLE)): 1e12}
    one_s, two_s = (search_seconds(Work.of(c), 0, speed) for c in (one, two))
    assert two_s == pytest.approx(2 * one_s)


def test_the_estimate_uses_the_measured_memory_of_a_worker():
    """1.55 GB with 64 environments and frames of 64 x 64 pixels."""
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
    assert "GB of disk" in error_of(capsys, *run)
    assert "GB of disk" in error_of(capsys, *run[:-1])  # a run that would not fit is not started
    assert not folder.exists() or not list(folder.glob("round*"))
    assert "episodes of round 0 must be" in error_of(capsys, *run, "--episodes", "20000")
