"""The oracle: reads an image back into a scene, by drawing every scene that it could be.

Scenes are drawn from known sprites on known grounds at known spots, so that an image can be compared
with all of them. The ground is read off the image's left and right edges, which no object touches.
What differs from it is explained by one of the layouts that `scenes.arrange` makes: a single object,
two, three or four, each spot by the sprite and tint that leaves the least squared error. An object
counts as seen if it explains enough of what its spot shows; else the spot holds something unknown.

Images and sprites are compared at half their size and slightly blurred, which forgives small shifts
and misplaced details.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import combinations, product
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8
from numpy.typing import NDArray

from diffusion_lens.errors import InputError
from diffusion_lens.testbed.scenes import OBJECTS, PAIR_SIZE, SIZES, Placed
from diffusion_lens.testbed.sprites import CANVAS, COLOURS, GROUNDS, ground, stamp

__all__ = ["Reading", "read"]

SIDE = CANVAS // 2  # at which images are compared
TINTS = (None, *COLOURS)
COUNT_SIZE = 24  # pixels of three or four objects
GROUND_ERROR = 18.0  # mean absolute error of the edges, of 255, up to which a ground is known
LEAST_FIT = 0.65  # share of a spot's difference from the ground that its sprite must explain
MOST_PATCHES = 64  # parts of pictures that are compared with all sprites at once
LEAST_ENERGY = 8.0  # root mean square difference from the ground, of 255, below which a spot is empty

_MARGIN = ((1, 1), (1, 1), (0, 0))  # pixels around a picture, since the margins of sprites reach beyond it

Spot = tuple[int, int, int]  # centre x, centre y, size in canvas pixels


@dataclass(frozen=True, slots=True)
class Reading:
    """What the oracle sees.

    Attributes:
        place: one of `GROUNDS`; None if the image shows none of them.
        objects: those that it knows, in the order of the layout (left to right, top to bottom).
        fits: for each of them, the share of its spot that it explains, up to 1.
        unknown: spots that hold something which no sprite explains.
    """

    place: str | None
    objects: tuple[Placed, ...] = ()
    fits: tuple[float, ...] = ()
    unknown: int = 0


def _layouts() -> tuple[tuple[Spot, ...], ...]:
    """All arrangements of spots that scenes can have; a contract with `scenes.arrange`."""
    layouts: list[tuple[Spot, ...]] = []
    centres = {"small": (16, 24, 32, 40, 48), "normal": (24, 32, 40), "big": (28, 32, 36)}
    for name, values in centres.items():
        layouts += [((x, y, SIZES[name]),) for x, y in product(values, values)]
    for a, b in product((24, 32, 40), (24, 32, 40)):
        layouts.append(((16, a, PAIR_SIZE), (48, b, PAIR_SIZE)))
        layouts.append(((a, 16, PAIR_SIZE), (b, 48, PAIR_SIZE)))
    quarters = ((16, 16), (48, 16), (16, 48), (48, 48))
    for count, size in ((2, PAIR_SIZE), (3, COUNT_SIZE), (4, COUNT_SIZE)):
        for chosen in combinations(quarters, count):
            layouts.append(tuple((x, y, size) for x, y in chosen))
    return tuple(layouts)


LAYOUTS = _layouts()
SPOTS: tuple[Spot, ...] = tuple(dict.fromkeys(spot for layout in LAYOUTS for spot in layout))


def _halve(picture: NDArray[np.float32]) -> NDArray[np.float32]:
    """Mean of each 2 x 2 pixels, `[..., y, x, channel]`."""
    *rest, height, width, channels = picture.shape
    blocks = picture.reshape(*rest, height // 2, 2, width // 2, 2, channels)
    return blocks.mean((-4, -2), dtype=np.float32)


def _blur(picture: NDArray[Any]) -> NDArray[Any]:
    """Binomial blur of three pixels along y and x, `[..., y, x, channel]`, the edges repeated."""
    for axis in (-3, -2):
        width = [(0, 0)] * picture.ndim
        width[axis] = (1, 1)
        padded = np.moveaxis(np.pad(picture, width, "edge"), axis, 0)
        picture = np.moveaxis(padded[:-2] / 4 + padded[1:-1] / 2 + padded[2:] / 4, 0, axis)
    return picture


@dataclass(frozen=True)
class _Sprites:
    """All sprites and tints at one size, at half resolution, blurred, with a margin of one pixel."""

    colour: NDArray[np.float32]  # premultiplied, [sprite and tint, y, x, 3]
    cover: NDArray[np.float32]  # alpha, the same for all tints of a sprite, [sprite, y, x]


@lru_cache
def _sprites(size: int) -> _Sprites:
    stamps = np.stack([_halve(stamp(name, tint, size)) for name in OBJECTS for tint in TINTS])
    stamps = _blur(np.pad(stamps, ((0, 0), (1, 1), (1, 1), (0, 0))))
    return _Sprites(np.ascontiguousarray(stamps[..., :3]), stamps[:: len(TINTS), ..., 3].copy())


@lru_cache
def _grounds() -> NDArray[np.float32]:
    return np.stack([_halve(ground(place, CANVAS)) for place in GROUNDS])


def read(pictures: UInt8[np.ndarray, "picture y x 3"]) -> list[Reading]:
    """Read scenes from images of 64 x 64 px, or of a multiple of that.

    Raises:
        InputError: the images have another shape.
    """
    count, height, width, _ = pictures.shape
    if height != width or height % CANVAS:
        raise InputError(
            f"the oracle reads square pictures of {CANVAS} px or a multiple, not {width} x {height}"
        )
    halves = pictures.reshape(count, SIDE, height // SIDE, SIDE, height // SIDE, 3)
    halves = halves.mean((2, 4), dtype=np.float32)
    edges = halves[:, :, (0, -1)]
    errors = np.abs(edges[:, None] - _grounds()[:, :, (0, -1)]).mean((2, 3, 4))
    places = np.where(errors.min(1) <= GROUND_ERROR, errors.argmin(1), -1)
    readings = [Reading(None)] * count
    for index, place in enumerate(GROUNDS):
        chosen = np.flatnonzero(places == index)
        if len(chosen):
            for position, reading in zip(chosen, _explain(halves[chosen], place), strict=True):
                readings[position] = reading
    return readings


def _explain(halves: Float[np.ndarray, "picture y x 3"], place: str) -> list[Reading]:
    """Find the layout and the sprites that leave the least error on a known ground."""
    empty = _grounds()[list(GROUNDS).index(place)]
    # beyond the image's edges there is nothing to see
    differences = np.pad(_blur(halves - empty), ((0, 0), *_MARGIN))
    gains, whats, fits, energies = {}, {}, {}, {}
    for spots in _together(len(halves)):
        patches = np.stack([_cut(differences, spot) for spot in spots])
        for spot, patch, gain in zip(spots, patches, _gain(patches, place, spots), strict=True):
            energy = np.square(patch).sum((1, 2, 3))
            whats[spot] = gain.argmax(1)
            gains[spot] = gain.max(1)
            fits[spot] = gains[spot] / np.maximum(energy, 1)
            energies[spot] = np.sqrt(energy / patch[0].size)
    totals = np.stack([sum(gains[spot] for spot in layout) for layout in LAYOUTS], 1)
    readings = []
    for index, best in enumerate(totals.argmax(1)):
        objects, sure, unknown = [], [], 0
        for x, y, size in LAYOUTS[best]:
            spot = (x, y, size)
            if energies[spot][index] < LEAST_ENERGY:
                continue
            if fits[spot][index] < LEAST_FIT:
                unknown += 1
                continue
            name, tint = divmod(int(whats[spot][index]), len(TINTS))
            objects.append(Placed(OBJECTS[name], TINTS[tint], x, y, size))
            sure.append(round(float(fits[spot][index]), 3))
        readings.append(Reading(place, tuple(objects), tuple(sure), unknown))
    return readings


def _together(pictures: int) -> list[list[Spot]]:
    """All spots, those of one size together as far as memory allows: few pictures are read sooner so."""
    parts = []
    for size in dict.fromkeys(spot[2] for spot in SPOTS):
        same = [spot for spot in SPOTS if spot[2] == size]
        count = max(1, MOST_PATCHES // pictures)
        parts += [same[first : first + count] for first in range(0, len(same), count)]
    return parts


def _cut(padded: NDArray[np.float32], spot: Spot) -> NDArray[np.float32]:
    """What a spot covers, with its margin, of pictures with a margin, `[..., y, x, channel]`."""
    x, y, size = spot
    top, left, side = (y - size // 2) // 2, (x - size // 2) // 2, size // 2 + 2
    return padded[..., top : top + side, left : left + side, :]


def _gain(
    patches: Float[np.ndarray, "spot picture y x 3"], place: str, spots: Sequence[Spot]
) -> Float[np.ndarray, "spot picture sprite"]:
    """How much squared error each sprite and tint saves against the empty ground, at spots of one size.

    With a difference D from the ground G, a sprite of colour T (premultiplied) and cover A draws
    Q = T - A G, and saves |D|^2 - |D - Q|^2 = 2 <D, Q> - |Q|^2.
    """
    sprites, terms = _sprites(spots[0][2]), [_fixed_terms(place, spot) for spot in spots]
    below, drawn = (np.stack(one)[:, None] for one in zip(*terms, strict=True))
    flat = sprites.colour.reshape(len(sprites.colour), -1)
    cover = sprites.cover.reshape(len(sprites.cover), -1)
    count = len(patches) * patches.shape[1]
    hidden = (patches * below).sum(4).reshape(count, -1) @ cover.T
    product_ = patches.reshape(count, -1) @ flat.T - np.repeat(hidden, len(TINTS), 1)
    return 2 * product_.reshape(*patches.shape[:2], -1) - drawn


@cache
def _fixed_terms(place: str, spot: Spot) -> tuple[Float[np.ndarray, "y x 3"], Float[np.ndarray, " sprite"]]:
    """The ground G of a spot, and |Q|^2 of each sprite and tint there: the same for all images."""
    sprites = _sprites(spot[2])
    padded = np.pad(_grounds()[list(GROUNDS).index(place)], _MARGIN, "edge")
    below = _cut(padded, spot)
    drawn = sprites.colour - np.repeat(sprites.cover[..., None] * below, len(TINTS), 0)
    return below, np.square(drawn).sum((1, 2, 3))
