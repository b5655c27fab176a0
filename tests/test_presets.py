import pytest

from wmlib.presets import SCALES, TABLE, preset


def test_every_scale_has_every_number(monkeypatch):
    for scale in SCALES:
        numbers = preset(scale)
        assert numbers.scale == scale
        assert all(getattr(numbers, name) is not None for name in TABLE)
    monkeypatch.delenv("WM_SCALE", raising=False)
    assert preset().scale == "laptop"
    monkeypatch.setenv("WM_SCALE", "smoke")
    assert preset().scale == "smoke"


def test_runs_can_be_kept_elsewhere(monkeypatch, tmp_path):
    monkeypatch.setenv("WM_RUNS", str(tmp_path))
    assert preset("smoke").run_folder("ball") == tmp_path / "smoke" / "ball"


def test_an_unknown_scale_is_named(monkeypatch):
    monkeypatch.setenv("WM_SCALE", "huge")
    with pytest.raises(ValueError, match="one of smoke, laptop, paper, got 'huge'"):
        preset()
