import re

import pytest

from wmlib.pipeline.config import SCALES, TABLE, Preset, preset


def test_every_scale_has_every_number(monkeypatch):
    for scale in SCALES:
        numbers = preset(scale)
        assert numbers.scale == scale
        assert all(getattr(numbers, name) is not None for name in TABLE)
    monkeypatch.delenv("WM_SCALE", raising=False)
    assert preset().scale == "laptop"
    monkeypatch.setenv("WM_SCALE", "smoke")
    assert preset().scale == "smoke"


def test_an_unknown_scale_is_named(monkeypatch):
    monkeypatch.setenv("WM_SCALE", "huge")
    with pytest.raises(ValueError, match="one of smoke, laptop, paper, got 'huge'"):
        preset()


def test_one_number_counts_for_all_rounds_and_a_list_says_how_many_there_are():
    laptop = preset("laptop")
    assert laptop.change(generations=(7,)).generations == (7, 7, 7)
    two = laptop.change(generations=(7, 8), population=10)
    assert (two.rounds, two.generations, two.population) == (2, (7, 8), 10)
    assert two.vae_epochs == laptop.vae_epochs[:2]
    five = laptop.change(rounds=5)
    assert five.episodes == (*laptop.episodes, laptop.episodes[-1], laptop.episodes[-1])
    assert laptop.dreaming().rounds == len(laptop.dreaming().episodes)
    with pytest.raises(ValueError, match=r"lists of \[2, 5\] entries"):
        laptop.change(rounds=5, generations=(7, 8))
    with pytest.raises(ValueError, match=r"lists of \[2, 3\] entries"):
        laptop.change(generations=(1, 2), episodes=(1, 2, 3))


def test_settings_come_back(tmp_path):
    numbers = preset("smoke").change(seed=3, temperature=0.5, generations=(1, 2, 3))
    numbers.save(tmp_path, "car_racing")
    assert Preset.load(tmp_path, "car_racing") == numbers
    with pytest.raises(ValueError, match="is of car_racing, not of ball"):
        Preset.load(tmp_path, "ball")
    file = tmp_path / "settings.json"
    for damaged in (file.read_text(encoding="utf-8")[:40], "{}", "[]"):
        file.write_text(damaged, encoding="utf-8")
        with pytest.raises(ValueError, match=r"settings\.json is damaged"):
            Preset.load(tmp_path, "car_racing")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"population": 3}, "population must be 4 or more, got 3"),
        ({"check_every": 0}, "check-every must be 1 or more, got 0"),
        ({"workers": -1}, "workers must be 0 or more, got -1"),
        ({"generations": (5, 0)}, "generations must be 1 or more, got 0"),
        ({"rounds": 0}, "rounds must be 1 or more, got 0"),
        ({"score_tracks": 1}, "score-tracks must be 2 or more, got 1"),
        ({"dropout": 2.0}, "dropout must be 0 to 0.99, got 2.0"),
        ({"temperature": 0.0}, "temperature must be 1e-06 or more, got 0.0"),
        ({"policy": "netwroks"}, "policy must be one of smooth, networks, got 'netwroks'"),
    ],
)
def test_numbers_that_nothing_could_be_made_with_are_named(wrong, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        preset("smoke").change(**wrong)
