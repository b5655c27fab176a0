import cv2
import pytest

from wmlib.models.controller import Controller
from wmlib.rollout.policies import ControllerPolicy
from wmlib.tools import play


def test_an_episode_is_saved_as_a_video(world_model, tmp_path):
    path = tmp_path / "videos" / "episode.mp4"
    episode = play.play(ControllerPolicy(Controller()), world_model, 1_000_000, path, max_steps=20)
    assert episode.steps == 20
    video = cv2.VideoCapture(str(path))
    assert int(video.get(cv2.CAP_PROP_FRAME_COUNT)) == 20 // play.SKIP
    assert video.get(cv2.CAP_PROP_FPS) == 50 / play.SKIP
    ok, frame = video.read()
    assert ok
    assert frame.shape == (400, 600, 3)
    assert frame[..., 1].mean() > frame[..., 0].mean() + 20  # green grass, not blue


def test_another_video_format_and_a_missing_display_are_named(world_model, monkeypatch, tmp_path):
    policy = ControllerPolicy(Controller())
    with pytest.raises(ValueError, match=r"must end in .mp4, got 'episode.gif'"):
        play.play(policy, world_model, 0, "episode.gif")
    monkeypatch.setattr(play, "has_display", lambda: False)
    with pytest.raises(ValueError, match="no display"):
        play.play(policy, world_model, 0)
