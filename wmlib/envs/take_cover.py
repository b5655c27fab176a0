"""Take Cover, the paper's second task: dodge fireballs in a room of ViZDoom as long as you live.

Ha & Schmidhuber 2018, section 4 and appendix A.3. The environment needs `vizdoom`, which brings the
scenario and all game data with it: `pip install vizdoom`, or the extra "doom". It opens no window.

As in the paper, the status bar is drawn and cropped, and the skill is 4.

Differs from the paper in:
- the game draws 320 x 240 pixels, of which the first 200 rows are seen, where the paper has 640 x
  480 and 400: the same picture, and a third of the time;
- episodes begin at the first tic, the paper's at tic 14;
- the screen does not flash red where the player is hit;
- frames are not inverted, as the paper's code does by an overflow of 8-bit integers.
"""

import atexit
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import cv2
import gymnasium as gym
import numpy as np

THRESHOLD = 1 / 3  # of the action, beyond which the player moves
_CHANGING_FOLDER = threading.Lock()
SKILL = 4  # the paper's code asks for 5, which the ViZDoom of its time took for 4
MIDDLE, HALF_WIDTH = 384.0, 368.0  # of where the player can be, in the map's units
ROWS = 200  # of 240: below is the status bar


class TakeCover(gym.Env):
    """One episode lasts until the player is dead; its return is the number of tics survived.

    Observation (frame_size, frame_size, 3) uint8, RGB, each pixel the mean of the area it covers.
    Action (1,) float in -1..1: below -1/3 the player moves left, above 1/3 right, otherwise not at
    all. A step is one tic (1/35 s) and brings a reward of 1. Terminated when the player is dead:
    the game then draws nothing, and the observation is the frame before. Registered with the
    paper's limit of 2,100 tics; "solved" is a mean of 750 over 100 episodes.

    The same seed gives the same episode. info["health"]: float, 100 at the start; no frame shows
    it. info["position"]: float, from -1 at the left wall to 1 at the right one.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 35}  # noqa: RUF012 (gym's own way)

    def __init__(self, frame_size: int = 64, render_mode: str | None = None):
        vizdoom = import_vizdoom()
        self.frame_size, self.render_mode = frame_size, render_mode
        self.observation_space = gym.spaces.Box(0, 255, (frame_size, frame_size, 3), np.uint8)
        self.action_space = gym.spaces.Box(-1, 1, (1,), np.float32)
        self._game = game = vizdoom.DoomGame()
        game.load_config(os.path.join(vizdoom.scenarios_path, "take_cover.cfg"))
        # Said here, because these defaults are not the same in all versions of ViZDoom.
        game.set_doom_skill(SKILL)
        game.set_episode_start_time(1)
        game.set_render_hud(True)
        game.set_render_screen_flashes(False)
        game.set_available_buttons([vizdoom.Button.MOVE_LEFT, vizdoom.Button.MOVE_RIGHT])
        seen = vizdoom.GameVariable
        game.set_available_game_variables([seen.HEALTH, seen.POSITION_Y])
        game.set_window_visible(False)
        game.set_screen_format(vizdoom.ScreenFormat.RGB24)
        game.set_screen_resolution(vizdoom.ScreenResolution.RES_320X240)
        # The game writes into the current folder, which may be read-only: give it one of its own.
        self._folder = TemporaryDirectory(ignore_cleanup_errors=True)  # Windows: still in use
        game.set_doom_config_path(str(Path(self._folder.name, "vizdoom.ini")))
        with _inside(self._folder.name):
            game.init()
        atexit.register(self.close)  # while its folder is still there
        self._screen, self._position = np.zeros((240, 320, 3), np.uint8), 0.0

    def reset(self, *, seed: int | None = None, options: dict | None = None):
        """A new episode: the first frame, and info."""
        super().reset(seed=seed)
        self._game.set_seed(int(self.np_random.integers(2**31)) if seed is None else seed)
        self._game.new_episode()
        return self._observe()

    def step(self, action: Any):
        """One tic. Raises ValueError for an action out of range."""
        action = np.asarray(action, dtype=np.float32)
        if not self.action_space.contains(action):
            raise ValueError(f"an action is one number in -1..1, in an array, got {action!r}")
        left, right = action[0] < -THRESHOLD, action[0] > THRESHOLD
        self._game.make_action([bool(left), bool(right)])
        dead = self._game.is_player_dead()
        frame, info = self._observe()
        return frame, 1.0, dead, False, info

    def _observe(self) -> tuple[np.ndarray, dict[str, float]]:
        state, health = self._game.get_state(), 0.0
        if state is not None:  # there is none after death
            self._screen = state.screen_buffer
            health, y = map(float, state.game_variables)
            self._position = (MIDDLE - y) / HALF_WIDTH  # (y rises to the left)
        size = (self.frame_size, self.frame_size)
        frame = cv2.resize(self._screen[:ROWS], size, interpolation=cv2.INTER_AREA)
        return frame, {"health": health, "position": self._position}

    def render(self) -> np.ndarray | None:
        """The whole screen, (240, 320, 3) uint8, for people; None without a render_mode."""
        return None if self.render_mode is None else self._screen.copy()

    def close(self) -> None:
        """End the game's process."""
        atexit.unregister(self.close)
        self._game.close()
        self._folder.cleanup()


def import_vizdoom() -> Any:
    """The package `vizdoom`. ModuleNotFoundError that says how to install it, if it is missing."""
    try:
        import vizdoom
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "Take Cover needs ViZDoom, which is not installed: pip install vizdoom"
        ) from error
    return vizdoom


@contextmanager
def _inside(folder: str) -> Iterator[None]:
    # The current folder of this process, which the game's process inherits. (contextlib.chdir is
    # of Python 3.11.)
    with _CHANGING_FOLDER:
        before = Path.cwd()
        os.chdir(folder)
        try:
            yield
        finally:
            os.chdir(before)
