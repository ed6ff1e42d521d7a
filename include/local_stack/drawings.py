"""Draws the pictures and clips that the demo models were trained on, each with its caption.

The demo corpus draws its pictures with the same code, so what the small models know is what the demo shows. All of it
follows from the attributes and `variant`: the same call gives the same pixels.
"""

import math
import random
import zlib
from collections.abc import Callable
from dataclasses import astuple, dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

Rgb = tuple[int, int, int]
Point = tuple[float, float]

COLOURS: dict[str, Rgb] = {
    "red": (214, 32, 38),
    "orange": (247, 134, 20),
    "yellow": (250, 221, 40),
    "green": (38, 152, 62),
    "blue": (34, 78, 204),
    "purple": (126, 46, 160),
    "pink": (244, 130, 178),
    "brown": (122, 74, 36),
}
BACKGROUNDS: dict[str, Rgb] = {
    "white": (248, 248, 248),
    "gray": (150, 150, 150),
    "black": (16, 16, 16),
    "beige": (226, 208, 172),
}
SIZES: dict[str, float] = {"small": 0.14, "large": 0.27}  # radius over the picture's side
PLACES: dict[str, Point] = {
    "in the center": (0.5, 0.5),
    "at the top": (0.5, 0.28),
    "at the bottom": (0.5, 0.72),
    "on the left": (0.28, 0.5),
    "on the right": (0.72, 0.5),
    "at the top left": (0.28, 0.28),
    "at the top right": (0.72, 0.28),
    "at the bottom left": (0.28, 0.72),
    "at the bottom right": (0.72, 0.72),
}
SHAPES = ("circle", "square", "triangle", "star", "cross", "ring", "heart", "moon")
MOTIONS = (
    "moving right",
    "moving left",
    "moving up",
    "moving down",
    "growing",
    "shrinking",
    "going round",
    "flashing",
)
HELD_OUT_ONE_IN = 10  # combinations that training never sees: what the demo models are measured on
_SUPERSAMPLING = 2


@dataclass(frozen=True, slots=True)
class Scene:
    """One shape on a plain background."""

    shape: str
    colour: str
    size: str
    place: str
    background: str
    variant: int = 0  # moves, resizes and tints the shape a little

    @property
    def held_out(self) -> bool:
        """Whether training never sees this combination of attributes."""
        return _held_out(*astuple(self)[:-1])

    @property
    def caption(self) -> str:
        """`a small red circle at the top left on a white background`."""
        return f"a {self.size} {self.colour} {self.shape} {self.place} on a {self.background} background"


@dataclass(frozen=True, slots=True)
class Clip:
    """One shape that moves once, from the first frame to the last."""

    shape: str
    colour: str
    motion: str
    background: str
    variant: int = 0

    @property
    def held_out(self) -> bool:
        """Whether training never sees this combination of attributes."""
        return _held_out(*astuple(self)[:-1])

    @property
    def caption(self) -> str:
        """`a red circle moving right on a white background`."""
        return f"a {self.colour} {self.shape} {self.motion} on a {self.background} background"


def scene_of(seed: int) -> Scene:
    """The scene that belongs to a seed."""
    rng = random.Random(f"scene {seed}")  # noqa: S311 - drawings, not secrets
    return Scene(
        shape=rng.choice(SHAPES),
        colour=rng.choice(list(COLOURS)),
        size=rng.choice(list(SIZES)),
        place=rng.choice(list(PLACES)),
        background=rng.choice(list(BACKGROUNDS)),
        variant=seed,
    )


def clip_of(seed: int) -> Clip:
    """The clip that belongs to a seed."""
    rng = random.Random(f"clip {seed}")  # noqa: S311 - drawings, not secrets
    return Clip(
        shape=rng.choice(SHAPES),
        colour=rng.choice(list(COLOURS)),
        motion=rng.choice(MOTIONS),
        background=rng.choice(list(BACKGROUNDS)),
        variant=seed,
    )


def draw_scene(scene: Scene | int, size: int = 256) -> tuple[NDArray[np.uint8], str]:
    """Draw one picture.

    Args:
        scene: The attributes, or a seed that chooses them.
        size: Side in pixels.
    Returns:
        Pixels of shape (size, size, 3), RGB, and the caption.
    """
    scene = scene_of(scene) if isinstance(scene, int) else scene
    rng = random.Random(scene.variant)  # noqa: S311
    x, y = PLACES[scene.place]
    centre = (x + rng.uniform(-0.02, 0.02), y + rng.uniform(-0.02, 0.02))
    radius = SIZES[scene.size] * rng.uniform(0.92, 1.06)
    colour, background = _tint(COLOURS[scene.colour], rng), _tint(BACKGROUNDS[scene.background], rng)
    return _draw(scene.shape, colour, background, centre, radius, size), scene.caption


def draw_clip(clip: Clip | int, size: int = 256, frames: int = 16) -> tuple[NDArray[np.uint8], str]:
    """Draw one clip: the whole motion, spread over the frames.

    Args:
        clip: The attributes, or a seed that chooses them.
        size: Side in pixels.
        frames: Number of frames.
    Returns:
        Frames of shape (frames, size, size, 3), RGB, and the caption.
    """
    clip = clip_of(clip) if isinstance(clip, int) else clip
    rng = random.Random(clip.variant)  # noqa: S311
    colour, background = _tint(COLOURS[clip.colour], rng), _tint(BACKGROUNDS[clip.background], rng)
    drift, radius = rng.uniform(-0.1, 0.1), rng.uniform(0.17, 0.21)
    pictures = []
    for number in range(frames):
        centre, scale = _position(clip.motion, number / max(frames - 1, 1), drift)
        pictures.append(_draw(clip.shape, colour, background, centre, radius * scale, size))
    return np.stack(pictures), clip.caption


def _held_out(*attributes: str) -> bool:
    return zlib.crc32(" ".join(attributes).encode()) % HELD_OUT_ONE_IN == 0


def _tint(colour: Rgb, rng: random.Random) -> Rgb:
    red, green, blue = (min(255, max(0, channel + rng.randint(-8, 8))) for channel in colour)
    return red, green, blue


def _position(motion: str, progress: float, drift: float) -> tuple[Point, float]:
    """Where the shape is and how large, `progress` of the way through its motion."""
    along = 0.22 + 0.56 * progress
    if motion == "moving right":
        return (along, 0.5 + drift), 1.0
    if motion == "moving left":
        return (1 - along, 0.5 + drift), 1.0
    if motion == "moving down":
        return (0.5 + drift, along), 1.0
    if motion == "moving up":
        return (0.5 + drift, 1 - along), 1.0
    if motion == "growing":
        return (0.5, 0.5), 0.5 + 1.5 * progress
    if motion == "shrinking":
        return (0.5, 0.5), 2.0 - 1.5 * progress
    if motion == "going round":
        angle = 2 * math.pi * (progress + drift)
        return (0.5 + 0.25 * math.cos(angle), 0.5 + 0.25 * math.sin(angle)), 0.8
    return (0.5, 0.5), 1.4 if int(progress * 7.99) % 2 == 0 else 0.0  # flashing: there, gone, four times


def _draw(shape: str, colour: Rgb, background: Rgb, centre: Point, radius: float, size: int) -> NDArray[np.uint8]:
    canvas = Image.new("RGB", (size * _SUPERSAMPLING, size * _SUPERSAMPLING), background)
    if radius > 0:
        scale = size * _SUPERSAMPLING
        brush = _Brush(ImageDraw.Draw(canvas), centre[0] * scale, centre[1] * scale, radius * scale)
        _PAINT[shape](brush, colour, background)
    return np.asarray(canvas.reduce(_SUPERSAMPLING))


@dataclass(frozen=True, slots=True)
class _Brush:
    canvas: ImageDraw.ImageDraw
    x: float
    y: float
    radius: float

    def disc(self, fill: Rgb, radius: float = 1.0, right: float = 0.0, down: float = 0.0) -> None:
        x, y, reach = self.x + right * self.radius, self.y + down * self.radius, radius * self.radius
        self.canvas.ellipse((x - reach, y - reach, x + reach, y + reach), fill=fill)

    def polygon(self, points: list[Point], fill: Rgb) -> None:
        self.canvas.polygon([(self.x + px * self.radius, self.y + py * self.radius) for px, py in points], fill=fill)


def _paint_circle(brush: _Brush, colour: Rgb, _background: Rgb) -> None:
    brush.disc(colour)


def _paint_square(brush: _Brush, colour: Rgb, _background: Rgb) -> None:
    brush.polygon([(-0.88, -0.88), (0.88, -0.88), (0.88, 0.88), (-0.88, 0.88)], colour)


def _paint_triangle(brush: _Brush, colour: Rgb, _background: Rgb) -> None:
    brush.polygon([(0, -1.05), (1.05, 0.85), (-1.05, 0.85)], colour)


def _paint_star(brush: _Brush, colour: Rgb, _background: Rgb) -> None:
    corners = [(1.1 if corner % 2 == 0 else 0.44, math.pi * (corner / 5 - 0.5)) for corner in range(10)]
    brush.polygon([(reach * math.cos(angle), reach * math.sin(angle)) for reach, angle in corners], colour)


def _paint_cross(brush: _Brush, colour: Rgb, _background: Rgb) -> None:
    brush.polygon([(-0.3, -1), (0.3, -1), (0.3, 1), (-0.3, 1)], colour)
    brush.polygon([(-1, -0.3), (1, -0.3), (1, 0.3), (-1, 0.3)], colour)


def _paint_ring(brush: _Brush, colour: Rgb, background: Rgb) -> None:
    brush.disc(colour)
    brush.disc(background, radius=0.58)


def _paint_heart(brush: _Brush, colour: Rgb, _background: Rgb) -> None:
    brush.disc(colour, radius=0.54, right=-0.48, down=-0.38)
    brush.disc(colour, radius=0.54, right=0.48, down=-0.38)
    brush.polygon([(-0.95, -0.13), (0, -0.35), (0.95, -0.13), (0, 1.0)], colour)


def _paint_moon(brush: _Brush, colour: Rgb, background: Rgb) -> None:
    brush.disc(colour)
    brush.disc(background, radius=0.85, right=0.5, down=-0.15)


_PAINT: dict[str, Callable[[_Brush, Rgb, Rgb], None]] = {
    "circle": _paint_circle,
    "square": _paint_square,
    "triangle": _paint_triangle,
    "star": _paint_star,
    "cross": _paint_cross,
    "ring": _paint_ring,
    "heart": _paint_heart,
    "moon": _paint_moon,
}
