import cv2
import pytest

from wmlib.models.controller import Controller
from wmlib.rollout.policies import ControllerPolicy
from wmlib.tools import play


def test_a_drive_becomes_a_video(world_model, tmp_path):
    path = tmp_path / "videos" / "drive.mp4"
    drive = play.play(ControllerPolicy(Controller()), world_model, 1_000_000, path, max_steps=20)
    assert drive.steps == 20
    video = cv2.VideoCapture(str(path))
    assert int(video.get(cv2.CAP_PROP_FRAME_COUNT)) == 20 // play.SKIP
    assert video.get(cv2.CAP_PROP_FPS) == 50 / play.SKIP
    ok, frame = video.read()
    assert ok
    assert frame.shape == (400, 600, 3)
    assert frame[..., 1].mean() > frame[..., 0].mean() + 20  # green grass, not blue


def test_what_cannot_be_shown_is_said(world_model, monkeypatch, tmp_path):
    driver = ControllerPolicy(Controller())
    with pytest.raises(ValueError, match=r"must end in .mp4, got 'drive.gif'"):
        play.play(driver, world_model, 0, "drive.gif")
    monkeypatch.setattr(play, "has_display", lambda: False)
    with pytest.raises(ValueError, match="no display"):
        play.play(driver, world_model, 0)
