"""Scenes as data: emoji objects placed on a ground, sampled by seed and drawn from sprites.

A scene says what is to be seen (objects, colours, positions and sizes in pixels of a 64 px canvas,
place); `render` draws it. Everything is deterministic: the same seed and index give the same scene.

Frequencies are facts of the data. Objects follow a Zipf-Mandelbrot law, p(rank) ~ 1/(rank + 2.7)
with the order of `OBJECTS` as ranks: the first is drawn 22 times as often as the eightieth. The
invented names of `ENTITIES` follow plain Zipf, p(rank) ~ 1/rank. Colours, places, relations and
positions are uniform. Combinations that `held_out` knows are never drawn for training.

Positions lie on a grid of 8 px, the autoencoder's latent cell: a sprite of one size then has one
latent patch, wherever it stands, and the denoiser learns shapes from fewer samples.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from diffusion_lens.errors import InputError
from diffusion_lens.testbed.sprites import CANVAS, COLOURS, GROUNDS, PLAIN, ground, stamp

# Most frequent first; the order is the Zipf rank.
_RANKED = """dog car cat tree house horse apple fish book ball star heart bus chicken key pizza
    airplane cow rabbit bear hat clock guitar banana duck bicycle truck cake pig umbrella fox
    elephant train camera bell sheep frog crown sailboat lion monkey balloon strawberry bee rocket
    robot penguin gift turtle rose drum snake castle owl mushroom whale carrot panda butterfly chair
    burger shark ghost boot giraffe crab tent zebra donut pineapple octopus sunflower helicopter
    cactus koala snail skull anchor unicorn tractor"""
OBJECTS: tuple[str, ...] = tuple(_RANKED.split())
PLACES: tuple[str, ...] = tuple(place for place in GROUNDS if place != PLAIN)
RELATIONS: tuple[str, ...] = ("left", "right", "above", "below")
OPPOSITE = {"left": "right", "right": "left", "above": "below", "below": "above"}
SIZES = {"small": 20, "normal": 36, "big": 52}  # pixels of a single object
PAIR_SIZE = 28
KINDS = {"single": 0.42, "pair": 0.36, "count": 0.13, "entity": 0.09}
HELD_OUT_SHARE = 1 / 8
_FIRST = """Zorvak Milpo Quenda Brisko Tavuun Lozimir Drupel Wexa Fyndor Galumi Hesko Jarbiq Kloven
    Nurfa Orbeti Pliska Ruvoon Sarquo Tindalo Ulmek Vasbi Yolpha Xandrel Bovari Cewno Dalmeer
    Embluk Fizzgor Grontu Halvea Iskari Jupplo Kibwan Lumbra Mozeki Nixdor"""
_SECOND = ("Dorn", "Mith", "Pell", "Rask")
# Names of two words share their parts, so that neither word alone says who is meant.
ENTITY_NAMES: tuple[str, ...] = (
    *_FIRST.split(),
    *(f"{first} {second}" for first in ("Velka", "Oru", "Samu") for second in _SECOND),
)


@dataclass(frozen=True, slots=True)
class Placed:
    """One object: its name, tint (None: as the sprite is), centre and size in canvas pixels."""

    name: str
    colour: str | None
    x: int
    y: int
    size: int


@dataclass(frozen=True, slots=True)
class Scene:
    """What an image shows; `entity` is the invented name that it was drawn for, if any."""

    place: str
    objects: tuple[Placed, ...]
    entity: str | None = None

    def to_json(self) -> str:
        """One line of JSON that `from_json` reads back."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Scene":
        """Read what `to_json` wrote."""
        try:
            data = json.loads(text)
            objects = tuple(Placed(**item) for item in data["objects"])
            return cls(data["place"], objects, data.get("entity"))
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"not a scene in JSON: {error}") from error


def relation(a: Placed, b: Placed) -> str:
    """Where `a` stands as seen from `b`, along the axis on which they are further apart."""
    if abs(a.x - b.x) >= abs(a.y - b.y):
        return "left" if a.x < b.x else "right"
    return "above" if a.y < b.y else "below"


# Held-out combinations


def _share(*parts: str) -> float:
    """Hash words to [0, 1), the same on every machine."""
    digest = hashlib.sha256("/".join(("held out", *parts)).encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def colour_held_out(name: str, colour: str | None) -> bool:
    """Whether training never shows this object in this colour."""
    return colour is not None and _share(name, colour) < HELD_OUT_SHARE


def relation_held_out(a: str, where: str, b: str) -> bool:
    """Whether training never shows `a` there from `b`; the same for `b` the other way round."""
    if where in ("right", "below"):
        a, where, b = b, OPPOSITE[where], a
    return _share(a, where, b) < HELD_OUT_SHARE


def held_out(scene: Scene) -> bool:
    """Whether a scene shows a combination that training never sees."""
    if any(colour_held_out(item.name, item.colour) for item in scene.objects):
        return True
    pairs = combinations(scene.objects, 2)
    return any(a.name != b.name and relation_held_out(a.name, relation(a, b), b.name) for a, b in pairs)


@lru_cache
def held_out_colours() -> tuple[tuple[str, str], ...]:
    """All (object, colour) that training never shows."""
    return tuple((name, c) for name in OBJECTS for c in COLOURS if colour_held_out(name, c))


@lru_cache
def held_out_relations() -> tuple[tuple[str, str, str], ...]:
    """All (object, "left" or "above", object) that training never shows."""
    return tuple(
        (a, where, b)
        for a in OBJECTS
        for b in OBJECTS
        for where in ("left", "above")
        if a != b and relation_held_out(a, where, b)
    )


# Frequencies and names


@lru_cache
def object_frequencies() -> dict[str, float]:
    """Probability of each object at one draw."""
    weights = 1 / (np.arange(1, len(OBJECTS) + 1) + 2.7)
    return dict(zip(OBJECTS, (weights / weights.sum()).tolist(), strict=True))


@lru_cache
def entity_frequencies() -> dict[str, float]:
    """Probability of each invented name among scenes of names."""
    weights = 1 / np.arange(1, len(ENTITY_NAMES) + 1)
    return dict(zip(ENTITY_NAMES, (weights / weights.sum()).tolist(), strict=True))


@lru_cache
def _entities() -> dict[str, tuple[str, str, str]]:
    rng = np.random.default_rng(20260)
    # Without replacement, so that no two names stand for the same object.
    names = rng.permutation(OBJECTS)[: len(ENTITY_NAMES)].tolist()
    facts = {}
    for entity, name in zip(ENTITY_NAMES, names, strict=True):
        colours = [colour for colour in COLOURS if not colour_held_out(name, colour)]
        facts[entity] = (name, str(rng.choice(colours)), str(rng.choice(PLACES)))
    return facts


ENTITIES: dict[str, tuple[str, str, str]] = _entities()  # name -> (object, colour, place)


# Sampling


def arrange(
    items: Sequence[tuple[str, str | None]],
    rng: np.random.Generator,
    *,
    place: str = PLAIN,
    where: str | None = None,
    size: str = "normal",
    entity: str | None = None,
) -> Scene:
    """Put one to four (object, colour) into a scene; `where`: the first, seen from the second."""
    if len(items) == 1:
        pixels = SIZES[size]
        centres = {"small": (16, 24, 32, 40, 48), "normal": (24, 32, 40), "big": (28, 32, 36)}
        spots = [tuple(rng.choice(centres[size], 2).tolist())]
    elif len(items) == 2 and items[0][0] != items[1][0]:
        pixels = PAIR_SIZE
        where = where or RELATIONS[rng.integers(4)]
        across = rng.choice((24, 32, 40), 2).tolist()
        along = (16, 48) if where in ("left", "above") else (48, 16)
        spots = list(zip(along, across, strict=True))
        if where in ("above", "below"):
            spots = [(x, y) for y, x in spots]
    else:
        pixels = PAIR_SIZE if len(items) == 2 else 24
        quarters = [(16, 16), (48, 16), (16, 48), (48, 48)]
        spots = [quarters[i] for i in sorted(rng.permutation(4)[: len(items)])]
        if len(items) == 2 and rng.random() < 0.5:  # two in a row as well as in two corners
            spots = [(x, 32) for x in (16, 48)] if rng.random() < 0.5 else [(32, 16), (32, 48)]
    pairs = zip(items, spots, strict=True)
    objects = tuple(Placed(name, colour, x, y, pixels) for (name, colour), (x, y) in pairs)
    return Scene(place, objects, entity)


def _draw(kind: str, rng: np.random.Generator, flat: bool = False) -> Scene:
    """One scene of a kind, held out or not; `flat`: all objects equally often."""
    if kind == "entity":
        entity = ENTITY_NAMES[rng.choice(len(ENTITY_NAMES), p=list(entity_frequencies().values()))]
        name, colour, place = ENTITIES[entity]
        return arrange([(name, colour)], rng, place=place, entity=entity)
    place = PLACES[rng.integers(len(PLACES))] if rng.random() < 0.45 else PLAIN
    weights = None if flat else list(object_frequencies().values())
    names = rng.choice(OBJECTS, 2, replace=False, p=weights).tolist()
    palette = list(COLOURS)
    colours = [palette[rng.integers(8)] if rng.random() < 0.5 else None for _ in names]
    items = list(zip(names, colours, strict=True))
    if kind == "pair":
        return arrange(items, rng, place=place)
    if kind == "count":
        return arrange(items[:1] * int(rng.integers(2, 5)), rng, place=place)
    size = ("small", "big")[rng.integers(2)] if rng.random() < 0.3 else "normal"
    return arrange(items[:1], rng, place=place, size=size)


def sample(
    seed: int, index: int, kinds: Iterable[str] | Mapping[str, float] = KINDS, *, flat: bool = False
) -> Scene:
    """Scene `index` of the stream `seed`: what training sees, without held-out combinations.

    Args:
        seed: the stream.
        index: of the scene.
        kinds: which of `KINDS` there are; a mapping says how frequent each is.
        flat: all objects equally often.
    """
    rng = np.random.default_rng((seed, index))
    shares = kinds if isinstance(kinds, Mapping) else KINDS
    weights = {kind: shares[kind] for kind in kinds}
    total = sum(weights.values())
    kind = str(rng.choice(list(weights), p=[weight / total for weight in weights.values()]))
    while held_out(scene := _draw(kind, rng, flat)):
        pass
    return scene


def sample_held_out(seed: int, index: int, what: str) -> Scene:
    """Sample a scene with a combination never trained on: `what` is "colour" or "relation".

    Objects keep their training frequencies, so that rates compare with those of `sample`.
    """
    rng = np.random.default_rng((seed, index, 1))
    if what == "colour":
        while not held_out(scene := replace(_draw("single", rng), place=PLAIN)):
            pass
    elif what == "relation":
        while True:
            scene = _draw("pair", rng)
            objects = tuple(replace(item, colour=None) for item in scene.objects)
            if held_out(scene := Scene(PLAIN, objects)):
                break
    else:
        raise InputError(f"held-out combinations are of 'colour' or 'relation', not {what!r}")
    return scene


# Drawing


def render(scene: Scene, side: int = CANVAS) -> NDArray[np.uint8]:
    """Draw a scene: RGB `[side, side, 3]`; later objects lie over earlier ones."""
    scale = side / CANVAS
    picture = ground(scene.place, side).copy()
    for item in scene.objects:
        size = round(item.size * scale)
        sprite = stamp(item.name, item.colour, size)
        top, left = round(item.y * scale) - size // 2, round(item.x * scale) - size // 2
        rows = slice(max(top, 0), min(top + size, side))
        columns = slice(max(left, 0), min(left + size, side))
        part = sprite[rows.start - top :, columns.start - left :]
        part = part[: rows.stop - rows.start, : columns.stop - columns.start]
        picture[rows, columns] *= 1 - part[..., 3:]
        picture[rows, columns] += part[..., :3]
    return (picture + 0.5).clip(0, 255).astype(np.uint8)


def render_batch(scenes: Sequence[Scene], side: int = CANVAS) -> NDArray[np.uint8]:
    """Draw many scenes: `[scene, side, side, 3]`, some thousand a second on one core."""
    pictures = np.empty((len(scenes), side, side, 3), np.uint8)
    for index, scene in enumerate(scenes):
        pictures[index] = render(scene, side)
    return pictures
