"""CarRacing-v3 with Gymnasium's own physics, tracks and rewards, and a fast renderer ("fast eye").

Nearly all of the time of a CarRacing step is drawing. Gymnasium draws hundreds of polygons on a
canvas of 1000 x 800 pixels and shrinks it to 96 x 96, fifty times per second. But the track does
not move; the camera does, and a camera that shifts, turns and zooms is an affine map. So the track
is drawn once per episode, into a texture seen from above; every frame is one affine warp of that
texture, with the car on top. (Tiles that are touched change their shade, and are drawn again.)
`tests/test_fast_car_racing.py` holds the mean of every frame's differences from
Gymnasium's below one grey level, and everything else to equality.

The car is small, always at the same place of the frame, and only its wheels change: it is read
from a table. Half of the remaining time of a step is physics, a quarter the warp.

Libraries compared for the warp (64 x 64 samples, bilinear, one core, one run, microseconds):
OpenCV 18, Numba 30 (our own loop, and a compiler to install), torch's grid_sample 78, Pillow 96,
pygame's rotozoom 249, NumPy's indexing 329 (60 without interpolation).
"""

import math
from functools import lru_cache
from typing import Any

import cv2
import gymnasium as gym
import numpy as np
from Box2D import b2World
from gymnasium.envs.box2d import car_dynamics, car_racing
from gymnasium.envs.box2d.car_racing import PLAYFIELD, WINDOW_H, WINDOW_W, ZOOM
from gymnasium.envs.box2d.car_racing import SCALE as TRACK_SCALE

TEXELS = 3.0  # texture pixels per unit of length; a pixel of a 64x64 frame covers 1.0 x 0.7 units
LEVELS = 6  # the texture, halved and halved again, for the zoom-in at the start
BLOCK = 2 ** (LEVELS - 1)  # texture pixels that are one pixel of the coarsest level
FINER = 4  # the car is drawn with so many samples more than the track, each way
SUBPIXELS = 4  # fractional bits of polygon corners
VISIBLE = WINDOW_H * 84 // 96  # rows of the canvas above the instrument bar
LENS = (WINDOW_W / 2, WINDOW_H * 3 / 4)  # where the car is on the canvas
_SPARE: list[tuple] = []  # what renderers of closed environments drew on


class CarRacing(car_racing.CarRacing):
    """As `gymnasium.make("CarRacing-v3")` in everything but the frame it observes.

    The observation is (frame_size, frame_size, 3) uint8: Gymnasium's frame with its instrument bar
    cropped and area-resized, to within one grey level on average. `render()` is Gymnasium's own.

    mirror: after `reset` with an odd seed, left and right are exchanged, in frames and steering.
    Tracks are driven counterclockwise, so right-hand hairpins are rare on them; with `mirror` they
    are as frequent as left-hand ones (data augmentation, for training).
    """

    look_away = False  # True: `step` does not draw, and returns the frame drawn last

    def __init__(
        self,
        frame_size: int = 64,
        render_mode: str | None = None,
        mirror: bool = False,
        **kwargs: Any,
    ):
        super().__init__(render_mode=render_mode, **kwargs)
        self.frame_size, self.mirror = frame_size, mirror
        self._mirrored = False
        self.observation_space = gym.spaces.Box(0, 255, (frame_size, frame_size, 3), np.uint8)
        self.renderer = Renderer(frame_size)

    def reset(self, *, seed: int | None = None, options: dict | None = None):
        """As in Gymnasium."""
        self._mirrored = self.mirror and seed is not None and seed % 2 == 1
        return super().reset(seed=seed, options=options)

    def step(self, action: Any):
        """As in Gymnasium."""
        if self._mirrored and action is not None:
            steering, gas, brake = action
            action = np.array([-steering, gas, brake], np.float32)
        return super().step(action)

    def close(self) -> None:
        """As in Gymnasium. The next environment of this process takes the textures over."""
        super().close()
        self.renderer.release()
        self._track_is_drawn = False

    def _create_track(self) -> bool:
        self.look_away = False
        success = super()._create_track()
        self._track_is_drawn = False
        return success

    def _render(self, mode: str):
        if mode != "state_pixels":
            return super()._render(mode)
        if self.look_away:
            return self.state
        if not self._track_is_drawn:
            self.renderer.draw_track(self)
            self._track_is_drawn = True
        frame = self.renderer.frame(self)
        return np.ascontiguousarray(frame[:, ::-1]) if self._mirrored else frame


class Renderer:
    """Draws a track once, and then frames of it for any pose of the car.

    levels: the track from straight above, (H, W, 3) uint8 each, every one half as fine as the last.
    """

    def __init__(self, frame_size: int):
        self.frame_size = frame_size
        self._sprites = _sprites(frame_size)
        self._field, self.levels, self._drawn_areas = _SPARE.pop() if _SPARE else ([], [], [])

    def release(self) -> None:
        """Leave the textures to another renderer: to copy the grass takes as long as 80 frames."""
        if self.levels:
            _SPARE.append((self._field, self.levels, self._drawn_areas))
        self._field, self.levels, self._drawn_areas = [], [], []

    def draw_track(self, env: CarRacing) -> None:
        """Draw the grass and the road; to be called once for every new track."""
        # Colours of tiles change when they are touched. Rows of one matrix can be watched at once.
        road: list = env.road or []
        self._colors = np.array([tile.color for tile in road], dtype=np.float64)
        shared = {id(tile.color): row for tile, row in zip(road, self._colors, strict=True)}
        env.road_poly = [(poly, shared.get(id(color), color)) for poly, color in env.road_poly]
        for tile, row in zip(road, self._colors, strict=True):
            tile.color = row
        self._drawn = self._colors.copy()

        polygons = np.array([poly for poly, _ in env.road_poly])
        # A kerb beside a stretch that does not turn at all has no width: there is nothing to see.
        wide = (polygons[:, 0] != polygons[:, 1]).any(-1)
        is_tile = np.array([isinstance(color, np.ndarray) for _, color in env.road_poly])
        self._tiles = polygons[is_tile]

        field = _draw_field(tuple(env.bg_color), tuple(env.grass_color))
        if field is not self._field:
            self._field, self.levels = field, [level.copy() for level in field]
        else:
            # Only what the last track covered has to become grass again.
            for level, grass, area in zip(self.levels, field, self._drawn_areas, strict=True):
                level[area] = grass[area]
        colors = [color for (_, color), seen in zip(env.road_poly, wide, strict=True) if seen]
        for corners, color in zip(_corners(polygons[wide], TEXELS), colors, strict=True):
            _fill(self.levels[0], corners, color)
        low, high = polygons.min((0, 1)), polygons.max((0, 1))
        left, top = (np.floor((low + PLAYFIELD) * TEXELS / BLOCK).astype(int) - 1).clip(0)
        right, bottom = np.ceil((high + PLAYFIELD) * TEXELS / BLOCK).astype(int) + 1
        sizes = [BLOCK >> level for level in range(LEVELS)]
        self._drawn_areas = [np.s_[top * s : bottom * s, left * s : right * s] for s in sizes]
        parts = _halved(self.levels[0][self._drawn_areas[0]])
        for level, area, part in zip(self.levels, self._drawn_areas, parts, strict=True):
            level[area] = part

    def frame(self, env: CarRacing) -> np.ndarray:
        """The frame (frame_size, frame_size, 3) uint8 for the environment's present state."""
        if not np.array_equal(self._colors, self._drawn):
            # The coarser textures are only looked at from far away, at the start.
            self._redraw(range(LEVELS if env.t < 1.2 else 2))
        if env.t >= 1:  # the camera has come to rest, and with it the car's place in the frame
            frame = self._warp(env.car, ZOOM * TRACK_SCALE, self.frame_size)
            self._sprites.draw(frame, env.car)
            return frame
        zoom = 0.1 * TRACK_SCALE * (1 - env.t) + ZOOM * TRACK_SCALE * env.t
        # Samples a pixel, each way: more while the camera is far away.
        picture = self._warp(env.car, zoom, self.frame_size * (2 if env.t < 0.4 else 1))
        frame = cv2.resize(picture, (self.frame_size,) * 2, interpolation=cv2.INTER_AREA)
        close_up = CloseUp(self.frame_size, zoom)
        canvas = close_up.enlarge(picture)
        for part, pose in enumerate(_poses(env.car)):
            self._sprites.shape.draw(canvas, part, close_up, *pose)
        frame[close_up.window] = close_up.shrink(canvas)
        return frame

    def _redraw(self, levels: range) -> None:
        for i in np.flatnonzero((self._colors != self._drawn).any(1)):
            self._drawn[i] = self._colors[i]
            for level in levels:
                corners = _corners(self._tiles[i : i + 1], TEXELS / 2**level)[0]
                _fill(self.levels[level], corners, self._colors[i])

    def camera(self, car, zoom: float, size: int) -> tuple[int, np.ndarray]:
        """A level, and the affine map (2, 3) from a frame of size x size pixels to its texels.

        zoom: `ZOOM * TRACK_SCALE`, but in the first second.
        """
        c, s = math.cos(-car.hull.angle), math.sin(-car.hull.angle)
        x, y = car.hull.position
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
        return level, to_texture

    def _warp(self, car, zoom: float, size: int) -> np.ndarray:
        level, to_texture = self.camera(car, zoom, size)
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP  # black beyond the texture
        return cv2.warpAffine(self.levels[level], to_texture, (size, size), flags=flags)


def _shade(color) -> tuple[int, ...]:
    # pygame's smoothscale, which makes Gymnasium's frames, rounds down twice: 102 comes out as 100.
    return tuple(max(int(value) - 2, 0) for value in color)


STRIPE = _shade(car_dynamics.WHEEL_WHITE)


@lru_cache(maxsize=4)
def _draw_field(background: tuple, grass: tuple) -> list[np.ndarray]:
    size = math.ceil(2 * PLAYFIELD * TEXELS / BLOCK) * BLOCK
    field = np.zeros((size, size, 3), np.uint8)
    edges = np.round(np.arange(41) * PLAYFIELD / 20 * TEXELS).astype(int)
    field[: edges[-1], : edges[-1]] = _shade(background)
    for row in range(0, 40, 2):
        for column in range(0, 40, 2):
            field[edges[row] : edges[row + 1], edges[column] : edges[column + 1]] = _shade(grass)
    return _halved(field)


def _halved(texture: np.ndarray) -> list[np.ndarray]:
    # The texture, and what it looks like from twice as far away, and twice again.
    levels = [texture]
    for _ in range(LEVELS - 1):
        half = cv2.resize(levels[-1], None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
        levels.append(half)
    return levels


def _corners(polygons: np.ndarray, texels: float) -> np.ndarray:
    # World (N, 4, 2) -> fixed-point texture coordinates. OpenCV's polygons reach half a pixel
    # beyond their corners: take that back across the road. (Along it, tiles overlap anyway.)
    # Corners come as near left, near right, far right, far left.
    corners = (polygons + PLAYFIELD) * texels - 0.5
    across = corners[:, [1, 0, 3, 2]] - corners
    corners += across * (0.5 / np.linalg.norm(across, axis=-1, keepdims=True))
    return _fixed(corners)


def _fill(texture: np.ndarray, corners: np.ndarray, color) -> None:
    cv2.fillConvexPoly(texture, corners, _shade(color), cv2.LINE_AA, SUBPIXELS)


def _fixed(corners: np.ndarray) -> np.ndarray:
    # OpenCV takes corners as whole numbers of 1 / 2**SUBPIXELS pixels.
    return np.rint(corners * (1 << SUBPIXELS)).astype(np.int32)


class CloseUp:
    """The few pixels of the frame that hold the car, with FINER samples a pixel each way.

    The camera turns with the car: in its own coordinates (hull at the origin, nose up) the car
    never moves, and a point (x, y) lies at scale * (x, y) + shift on the finer canvas.
    """

    def __init__(self, frame_size: int, zoom: float):
        self.frame_size = frame_size
        reach = math.ceil(4.5 * ZOOM * TRACK_SCALE * frame_size / VISIBLE)
        x, y = LENS[0] * frame_size / WINDOW_W, LENS[1] * frame_size / VISIBLE
        left, top = int(x) - reach, int(y) - reach
        right, bottom = min(int(x) + reach, frame_size), min(int(y) + reach, frame_size)
        self.window = np.s_[top:bottom, left:right]
        self.size = right - left, bottom - top
        fine = FINER * frame_size
        self.scale = np.array([zoom * fine / WINDOW_W, -zoom * fine / VISIBLE])
        self.shift = FINER * np.array([x - left, y - top]) - 0.5

    def canvas(self, level: int) -> np.ndarray:
        """An empty one, of one grey level."""
        return np.full((FINER * self.size[1], FINER * self.size[0], 3), level, np.uint8)

    def enlarge(self, picture: np.ndarray) -> np.ndarray:
        """The window out of a square picture of any size -> the canvas."""
        times = len(picture) // self.frame_size
        rows, columns = (slice(times * s.start, times * s.stop) for s in self.window)
        size = (FINER * self.size[0], FINER * self.size[1])
        return cv2.resize(picture[rows, columns], size, interpolation=cv2.INTER_NEAREST)

    def shrink(self, canvas: np.ndarray) -> np.ndarray:
        """The canvas -> pixels for the frame's window."""
        return cv2.resize(canvas, self.size, interpolation=cv2.INTER_AREA)


class CarShape:
    """The polygons of the car's five parts (four wheels, then the hull)."""

    def __init__(self, car):
        self._parts = [
            (
                [np.array(fixture.shape.vertices) for fixture in part.fixtures],
                _shade([255 * value for value in part.color]),
            )
            for part in car.drawlist
        ]

    def draw(self, canvas, part: int, close_up: CloseUp, place, angle: float, phase) -> None:
        """One part, at a place and angle seen from the hull; phase is None for the hull."""
        c, s = math.cos(angle), math.sin(angle)
        turn = np.array([[c, s], [-s, c]]) * close_up.scale
        shift = np.asarray(place) * close_up.scale + close_up.shift
        corners, color = self._parts[part]
        for polygon in corners:
            _polygon(canvas, polygon @ turn + shift, color)
        stripe = None if phase is None else _wheel_stripe(phase)
        if stripe is not None:
            _polygon(canvas, stripe @ turn + shift, STRIPE)


def _polygon(canvas: np.ndarray, corners: np.ndarray, color: tuple) -> None:
    cv2.fillConvexPoly(canvas, _fixed(corners), color, cv2.LINE_AA, SUBPIXELS)


def _poses(car) -> list[tuple]:
    # (place, angle, phase) of each part as seen from the hull.
    hull = car.hull
    wheels = [
        (hull.GetLocalPoint(w.position), w.angle - hull.angle, w.phase % (2 * math.pi))
        for w in car.wheels
    ]
    return [*wheels, ((0.0, 0.0), 0.0, None)]


class CarSprites:
    """The car once the camera has come to rest, out of a table of what its wheels can look like.

    The hull never moves in the frame, and each wheel only turns about its place. What they look
    like is drawn beforehand, for every steering angle and roll of each wheel, and kept as two
    small pictures: `keep`, the share of the ground that shows through, and `add`.
    """

    TURNS, ROLLS = 17, 32  # entries of the table for a wheel's angle, -LOCK to LOCK, and its phase
    LOCK = 0.4  # radians: where Gymnasium's joints stop

    def __init__(self, frame_size: int):
        self.shape = CarShape(car_dynamics.Car(b2World(), 0, 0, 0))
        close_up = CloseUp(frame_size, ZOOM * TRACK_SCALE)
        self._window = close_up.window
        hull_keep, hull = self._view(close_up, 4, (0, 0), 0, None)
        views = [
            self._view(close_up, wheel, np.array(place) * car_dynamics.SIZE, angle, phase)
            for wheel, place in enumerate(car_dynamics.WHEELPOS)
            for angle in np.linspace(-self.LOCK, self.LOCK, self.TURNS)
            for phase in np.arange(self.ROLLS) * (2 * math.pi / self.ROLLS)
        ]
        keep, add = (np.stack(pictures) for pictures in zip(*views, strict=True))
        # The wheels lie under the hull, beside each other. So the car is the product of what its
        # parts keep and the sum of what they add; the hull goes with the first wheel.
        table = len(car_dynamics.WHEELPOS), self.TURNS, self.ROLLS
        self._keep = keep.reshape(*table, *keep.shape[1:])
        self._add = (add * hull_keep).reshape(*table, *add.shape[1:])
        self._keep[0] *= hull_keep
        self._add[0] += hull

    def _view(self, close_up: CloseUp, part: int, *pose) -> tuple[np.ndarray, np.ndarray]:
        on_black, on_white = close_up.canvas(0), close_up.canvas(255)
        for canvas in (on_black, on_white):
            self.shape.draw(canvas, part, close_up, *pose)
        add, white = (close_up.shrink(c).astype(np.float32) for c in (on_black, on_white))
        return (white - add)[..., :1] / 255, add

    def draw(self, frame: np.ndarray, car) -> None:
        """Put the car into a frame (frame_size, frame_size, 3) uint8."""
        straight, bins = car.hull.angle, (self.TURNS - 1) / (2 * self.LOCK)
        turns = [
            min(max(round((wheel.angle - straight + self.LOCK) * bins), 0), self.TURNS - 1)
            for wheel in car.wheels
        ]
        rolls = [round(w.phase * self.ROLLS / (2 * math.pi)) % self.ROLLS for w in car.wheels]
        views = [0, 1, 2, 3], turns, rolls
        ground = frame[self._window]
        ground[:] = ground * self._keep[views].prod(0) + self._add[views].sum(0) + 0.5


@lru_cache(maxsize=2)
def _sprites(frame_size: int) -> CarSprites:
    return CarSprites(frame_size)  # one table serves all environments


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
