"""CarRacing-v3 with Gymnasium's own physics, tracks and rewards, seen through a fast eye.

Where the time goes: nearly all of a CarRacing step is drawing. Gymnasium paints some 300 polygons
on a canvas of 1000 x 800 pixels and shrinks it to 96 x 96, fifty times a second. But the track does
not move; the camera does, and a camera that shifts, turns and zooms is an affine map. So the track
is painted once an episode, into a texture seen from straight above; every frame is one affine warp
of that texture, with the car's few polygons on top. `tests/test_fast_car_racing.py` holds frames to
within one grey level of Gymnasium's, and everything else to equality.

Two samplings were measured, in one run on one core. Warping the fine texture to twice the frame's
size, and shrinking that: mean difference from Gymnasium's frame 0.36 grey levels, 31 times its
speed. Warping the texture already halved straight to the frame's size: 0.44, and 36 times. That is
the one used here.
"""

import math
from functools import lru_cache
from typing import Any

import cv2
import gymnasium as gym
import numpy as np
from gymnasium.envs.box2d import car_dynamics, car_racing
from gymnasium.envs.box2d.car_racing import PLAYFIELD, WINDOW_H, WINDOW_W, ZOOM
from gymnasium.envs.box2d.car_racing import SCALE as TRACK_SCALE

TEXELS = 3.0  # texture pixels per unit of length; a pixel of a 64x64 frame covers 1.0 x 0.7 units
LEVELS = 6  # the texture, halved and halved again, for the zoom-in at the start
FINER = 4  # the car is drawn with so many samples more than the track, each way
SUBPIXELS = 4  # fractional bits of polygon corners
VISIBLE = WINDOW_H * 84 // 96  # rows of the canvas above the instrument bar
LENS = (WINDOW_W / 2, WINDOW_H * 3 / 4)  # where the car is on the canvas


class CarRacing(car_racing.CarRacing):
    """As `gymnasium.make("CarRacing-v3")` in everything but the frame it observes.

    The observation is (frame_size, frame_size, 3) uint8: Gymnasium's frame with its instrument bar
    cropped and area-resized, to within one grey level on average. `render()` is Gymnasium's own.
    """

    def __init__(self, frame_size: int = 64, render_mode: str | None = None, **kwargs: Any):
        super().__init__(render_mode=render_mode, **kwargs)
        self.frame_size = frame_size
        self.observation_space = gym.spaces.Box(0, 255, (frame_size, frame_size, 3), np.uint8)
        self._eye = Eye(frame_size)

    def _create_track(self) -> bool:
        success = super()._create_track()
        self._track_is_drawn = False
        return success

    def _render(self, mode: str):
        if mode != "state_pixels":
            return super()._render(mode)
        if not self._track_is_drawn:
            self._eye.draw_track(self)
            self._track_is_drawn = True
        return self._eye.look(self)


class Eye:
    """Paints a track once, then looks at it from anywhere."""

    def __init__(self, frame_size: int):
        self.frame_size = frame_size
        reach = math.ceil(4.5 * ZOOM * TRACK_SCALE * frame_size / VISIBLE)
        x, y = LENS[0] * frame_size / WINDOW_W, LENS[1] * frame_size / VISIBLE
        left, top = max(int(x) - reach, 0), max(int(y) - reach, 0)
        self._car_window = (
            left,
            top,
            min(int(x) + reach, frame_size),
            min(int(y) + reach, frame_size),
        )
        self._field: np.ndarray | None = None

    def draw_track(self, env: CarRacing) -> None:
        """Paint the grass and the road; to be called once for every new track."""
        self._car = CarShape(env.car)
        field = _draw_field(tuple(env.bg_color), tuple(env.grass_color))
        if field is not self._field:
            self._field, self._levels = field, [field.copy()]
        else:
            # Only what the last track covered has to become grass again.
            self._levels[0][self._painted] = field[self._painted]
        # Colours of tiles change when they are touched. Rows of one matrix can be watched at once.
        self._colors = np.array([tile.color for tile in env.road], dtype=np.float64)
        shared = {id(tile.color): row for tile, row in zip(env.road, self._colors, strict=True)}
        env.road_poly = [(poly, shared.get(id(color), color)) for poly, color in env.road_poly]
        for tile, row in zip(env.road, self._colors, strict=True):
            tile.color = row
        self._drawn = self._colors.copy()
        self._tiles = [poly for poly, color in env.road_poly if isinstance(color, np.ndarray)]
        for poly, color in env.road_poly:
            _fill(self._levels[0], poly, color, TEXELS)
        corners = np.concatenate([poly for poly, _ in env.road_poly])
        low = np.floor((corners.min(0) + PLAYFIELD) * TEXELS).astype(int) - 2
        high = np.ceil((corners.max(0) + PLAYFIELD) * TEXELS).astype(int) + 2
        self._painted = np.s_[max(low[1], 0) : high[1], max(low[0], 0) : high[0]]
        del self._levels[1:]
        for _ in range(LEVELS - 1):
            half = cv2.resize(self._levels[-1], None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
            self._levels.append(half)

    def look(self, env: CarRacing) -> np.ndarray:
        """The frame (frame_size, frame_size, 3) uint8 for the environment's present state."""
        touched = np.flatnonzero((self._colors != self._drawn).any(1))
        for i in touched:
            self._drawn[i] = self._colors[i]
            for level, texture in enumerate(self._levels if env.t < 1.2 else self._levels[:2]):
                _fill(texture, self._tiles[i], self._colors[i], TEXELS / 2**level)

        samples = 4 if env.t < 0.4 else 1  # a pixel, each way: more while the camera is far away
        size = samples * self.frame_size
        zoom = 0.1 * TRACK_SCALE * max(1 - env.t, 0) + ZOOM * TRACK_SCALE * min(env.t, 1)
        angle = -env.car.hull.angle
        c, s = math.cos(angle), math.sin(angle)
        x, y = env.car.hull.position
        # World units per sample. The canvas' y axis points up in the world, down in the picture.
        across, down = WINDOW_W / size, VISIBLE / size
        left, top = (across / 2 - LENS[0]) / zoom, (LENS[1] - down / 2) / zoom
        across, down = across / zoom, -down / zoom
        level = min(max(math.floor(math.log2(across * TEXELS)), 0), LEVELS - 1)
        scale = TEXELS / 2**level
        to_texture = scale * np.array(
            [
                [c * across, s * down, x + c * left + s * top + PLAYFIELD],
                [-s * across, c * down, y - s * left + c * top + PLAYFIELD],
            ]
        )
        to_texture[:, 2] -= 0.5  # OpenCV's pixel centres are whole numbers
        picture = cv2.warpAffine(
            self._levels[level],
            to_texture,
            (size, size),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_CONSTANT,
            borderValue=(0, 0, 0),
        )
        frame = cv2.resize(picture, (self.frame_size,) * 2, interpolation=cv2.INTER_AREA)

        # The car is always at the same place of the frame: there, and only there, finer samples.
        left, top, right, bottom = self._car_window
        close_up = cv2.resize(
            picture[samples * top : samples * bottom, samples * left : samples * right],
            None,
            fx=FINER,
            fy=FINER,
            interpolation=cv2.INTER_NEAREST,
        )
        fine = samples * FINER * self.frame_size
        kx, ky = zoom * fine / WINDOW_W, -zoom * fine / VISIBLE
        turn = np.array([[c * kx, -s * kx], [s * ky, c * ky]])
        shift = np.array([LENS[0] * fine / WINDOW_W, LENS[1] * fine / VISIBLE]) - 0.5
        shift -= samples * FINER * np.array([left, top])
        self._car.draw(close_up, env.car, turn, shift - turn @ (x, y))
        size = (right - left, bottom - top)
        frame[top:bottom, left:right] = cv2.resize(close_up, size, interpolation=cv2.INTER_AREA)
        return frame


def _shade(color) -> tuple[int, ...]:
    # pygame's smoothscale, which makes Gymnasium's frames, rounds down twice: 102 comes out as 100.
    return tuple(max(int(value) - 2, 0) for value in color)


STRIPE = _shade(car_dynamics.WHEEL_WHITE)


@lru_cache(maxsize=4)
def _draw_field(background: tuple, grass: tuple) -> np.ndarray:
    size = round(2 * PLAYFIELD * TEXELS)
    field = np.full((size, size, 3), _shade(background), np.uint8)
    edges = np.round(np.arange(41) * PLAYFIELD / 20 * TEXELS).astype(int)
    for row in range(0, 40, 2):
        for column in range(0, 40, 2):
            field[edges[row] : edges[row + 1], edges[column] : edges[column + 1]] = _shade(grass)
    return field


def _fill(texture: np.ndarray, poly, color, texels: float) -> None:
    # OpenCV's polygons reach half a pixel beyond their corners: take that back across the road.
    # (Along it, tiles overlap anyway.) Corners are near left, near right, far right, far left.
    corners = (np.asarray(poly) + PLAYFIELD) * texels - 0.5
    across = corners[[1, 0, 3, 2]] - corners
    corners += across * (0.5 / np.linalg.norm(across, axis=1, keepdims=True))
    cv2.fillConvexPoly(texture, _fixed(corners), _shade(color), cv2.LINE_AA, SUBPIXELS)


def _fixed(corners: np.ndarray) -> np.ndarray:
    # OpenCV takes corners as whole numbers of 1 / 2**SUBPIXELS pixels.
    return np.rint(corners * (1 << SUBPIXELS)).astype(np.int32)


class CarShape:
    """The car's polygons in the coordinates of its five bodies (four wheels, then the hull)."""

    def __init__(self, car):
        corners, self._owner, self._slices, self._colors = [], [], [], []
        for i, part in enumerate(car.drawlist):
            for fixture in part.fixtures:
                start = len(self._owner)
                corners += fixture.shape.vertices
                self._owner += [i] * len(fixture.shape.vertices)
                self._slices.append(slice(start, len(self._owner)))
                self._colors.append(_shade([255 * value for value in part.color]))
        self._corners, self._owner = np.array(corners), np.array(self._owner)

    def draw(self, picture: np.ndarray, car, turn: np.ndarray, shift: np.ndarray) -> None:
        """Onto a picture whose pixels are turn @ world + shift."""
        angle = np.array([part.angle for part in car.drawlist])
        place = np.array([tuple(part.position) for part in car.drawlist])
        c, s = np.cos(angle), np.sin(angle)
        matrix = turn @ np.stack([c, -s, s, c], axis=1).reshape(-1, 2, 2)
        offset = place @ turn.T + shift
        corners = (matrix[self._owner] @ self._corners[:, :, None])[..., 0] + offset[self._owner]
        corners = _fixed(corners)
        for i, (part, color) in enumerate(zip(self._slices, self._colors, strict=True)):
            cv2.fillConvexPoly(picture, corners[part], color, cv2.LINE_AA, SUBPIXELS)
            if i < len(car.wheels):
                stripe = _wheel_stripe(car.wheels[i].phase)
                if stripe is not None:
                    stripe = _fixed(stripe @ matrix[i].T + offset[i])
                    cv2.fillConvexPoly(picture, stripe, STRIPE, cv2.LINE_AA, SUBPIXELS)


def _wheel_stripe(phase: float) -> np.ndarray | None:
    # The white mark on a rolling wheel, as in gymnasium.envs.box2d.car_dynamics.Car.draw.
    s1, s2 = math.sin(phase), math.sin(phase + 1.2)
    if s1 > 0 and s2 > 0:
        return None
    c1, c2 = math.cos(phase), math.cos(phase + 1.2)
    c1 = math.copysign(1, c1) if s1 > 0 else c1
    c2 = math.copysign(1, c2) if s2 > 0 else c2
    w, r = car_dynamics.WHEEL_W * car_dynamics.SIZE, car_dynamics.WHEEL_R * car_dynamics.SIZE
    return np.array([(-w, r * c1), (w, r * c1), (w, r * c2), (-w, r * c2)])
