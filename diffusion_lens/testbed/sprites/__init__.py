"""Sprites, tints and grounds: the material that scenes are drawn with.

The sprites are Noto emoji (copyright Google Inc.; Apache-2.0, see LICENSE and ATTRIBUTION.md beside
this file) as RGBA of 72 x 72 px in `sprites.npz`: arrays `rgba` `[sprite, 72, 72, 4]` uint8 and
`names` `[sprite]`. Those of `unseen.npz` can be drawn too, and are in no scene that training draws.
"""

from functools import lru_cache
from importlib.resources import as_file, files

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from diffusion_lens.errors import InputError

CANVAS = 64
COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (225, 35, 40),
    "orange": (245, 130, 20),
    "yellow": (250, 210, 30),
    "green": (40, 165, 60),
    "blue": (40, 95, 225),
    "purple": (140, 60, 190),
    "pink": (245, 125, 185),
    "black": (45, 45, 50),
}
# Rows of a vertical gradient as (height from the top, colour). The plain mint is the pastel that is
# furthest from the pixels of every sprite: white, grey and pale objects stay visible on it.
PLAIN = "plain"
GROUNDS: dict[str, tuple[tuple[float, tuple[int, int, int]], ...]] = {
    PLAIN: ((0.0, (150, 240, 216)), (1.0, (150, 240, 216))),
    "grass": (
        (0.0, (170, 215, 245)),
        (0.55, (200, 232, 235)),
        (0.6, (135, 200, 90)),
        (1.0, (105, 180, 65)),
    ),
    "night": ((0.0, (34, 40, 116)), (1.0, (78, 84, 172))),
    "water": ((0.0, (60, 190, 205)), (1.0, (5, 85, 130))),
    "desert": (
        (0.0, (252, 225, 160)),
        (0.5, (245, 210, 140)),
        (0.55, (226, 178, 105)),
        (1.0, (205, 150, 85)),
    ),
    "snow": (
        (0.0, (150, 175, 205)),
        (0.55, (175, 195, 220)),
        (0.6, (235, 242, 250)),
        (1.0, (222, 232, 245)),
    ),
    "sunset": ((0.0, (96, 52, 120)), (0.5, (225, 105, 110)), (1.0, (255, 190, 110))),
    "forest": ((0.0, (20, 80, 50)), (0.6, (40, 110, 65)), (0.65, (92, 66, 44)), (1.0, (80, 56, 38))),
}


@lru_cache
def _sprites() -> dict[str, NDArray[np.uint8]]:
    """RGBA sprites of 72 x 72 px by object name, those last that training never draws."""
    return _read("sprites.npz") | _read("unseen.npz")


def _read(name: str) -> dict[str, NDArray[np.uint8]]:
    source = files(__package__).joinpath(name)
    try:
        with as_file(source) as path, np.load(path, allow_pickle=False) as data:
            return dict(zip(data["names"].tolist(), data["rgba"], strict=True))
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"the sprite file {source} is missing or damaged: {error}") from error


def tint(rgba: NDArray[np.uint8], colour: str) -> NDArray[np.uint8]:
    """Dye a sprite: shades of the colour by luminance, its lights towards white.

    The luminance is centred on the sprite's own median, or a black sprite would stay black.
    """
    target = np.array(COLOURS[colour], float)
    light = rgba[..., :3] @ np.array([0.299, 0.587, 0.114]) / 255
    light = np.clip(0.55 + 0.8 * (light - np.median(light[rgba[..., 3] > 128])), 0, 1)[..., None]
    shade = np.where(light < 0.6, target * light / 0.6, target + (255 - target) * (light - 0.6) / 0.4)
    return np.concatenate([shade.astype(np.uint8), rgba[..., 3:]], -1)


@lru_cache(maxsize=1024)
def _dyed(name: str, colour: str) -> NDArray[np.uint8]:
    """A sprite in a tint, which is the same at all sizes."""
    return tint(_sprites()[name], colour)


@lru_cache(maxsize=8192)
def stamp(name: str, colour: str | None, size: int) -> NDArray[np.float32]:
    """Premultiplied RGBA of one sprite at a size, `[size, size, 4]` in 0..255 (alpha in 0..1)."""
    if name not in _sprites():
        raise InputError(f"no object named {name!r}; there are {', '.join(_sprites())}")
    if colour is not None and colour not in COLOURS:
        raise InputError(f"no colour named {colour!r}; there are {', '.join(COLOURS)}")
    rgba = _sprites()[name] if colour is None else _dyed(name, colour)
    image = Image.fromarray(rgba, "RGBA").convert("RGBa")
    pixels = np.asarray(image.resize((size, size), Image.Resampling.LANCZOS), np.float32).copy()
    pixels[..., 3] /= 255
    return pixels


@lru_cache
def ground(place: str, side: int) -> NDArray[np.float32]:
    """Empty scene of a place, `[side, side, 3]` in 0..255; not to be written into."""
    if place not in GROUNDS:
        raise InputError(f"no place named {place!r}; there are {', '.join(GROUNDS)}")
    heights, colours = zip(*GROUNDS[place], strict=True)
    rows = (np.arange(side) + 0.5) / side
    column = np.stack([np.interp(rows, heights, channel) for channel in np.array(colours).T], -1)
    return np.repeat(column[:, None], side, 1).astype(np.float32)


def sheet(pictures: NDArray[np.uint8], columns: int = 8) -> Image.Image:
    """A sheet of images `[n, side, side, 3]`, in rows."""
    rows = -(-len(pictures) // columns)
    side = pictures.shape[1]
    page = np.full((rows * side, columns * side, 3), 255, np.uint8)
    for i, picture in enumerate(pictures):
        top, left = i // columns * side, i % columns * side
        page[top : top + side, left : left + side] = picture
    return Image.fromarray(page)
