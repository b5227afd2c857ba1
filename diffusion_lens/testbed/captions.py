"""Captions of scenes, what captions state, and words that training holds back.

A caption states a `Description`: objects with colour and size words, a count, a relation, a place
or an invented name. `describe` reads it off a scene, `phrase` puts it into one of several phrasings,
`parse` reads a caption back, and `imagine` arranges a scene that it is true of. A caption may leave
things out; what it states is always true of its scene.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from diffusion_lens.testbed.scenes import (
    ENTITIES,
    OBJECTS,
    OPPOSITE,
    Scene,
    arrange,
    relation,
)
from diffusion_lens.testbed.sprites import COLOURS, PLAIN

SIZE_WORDS = ("small", "big")
COUNT_WORDS = {2: "two", 3: "three", 4: "four"}
PLACE_PHRASES = {
    "grass": "on grass",
    "night": "at night",
    "water": "under water",
    "desert": "in the desert",
    "snow": "in the snow",
    "sunset": "at sunset",
    "forest": "in the forest",
}
OPENINGS = ("", "", "", "a photo of ", "a picture of ", "an image of ", "a drawing of ")
RELATION_PHRASES = {
    "left": ("to the left of", "left of", "on the left of"),
    "right": ("to the right of", "right of", "on the right of"),
    "above": ("above", "higher than"),
    "below": ("below", "lower than"),
}
# Told from the other object: "a cat with a dog to its left".
PASSIVE_PHRASES = {
    "left": ("to its left", "on its left"),
    "right": ("to its right", "on its right"),
    "above": ("above it",),
    "below": ("below it",),
}
FITTING_SEED = 85_001  # the stream of scenes that maps and features are fitted on; no experiment's default
UNRELATED = 0.25  # share of captions of two objects that state no relation
JOINTS = ("and", "next to", "together with")
_PLURALS = {"fish": "fish", "sheep": "sheep", "bus": "buses", "fox": "foxes"}


@dataclass(frozen=True, slots=True)
class Item:
    """One object as a caption tells it."""

    name: str
    colour: str | None = None
    size: str | None = None  # a word of SIZE_WORDS


@dataclass(frozen=True, slots=True)
class Description:
    """What a caption states: `count` of one item, or two items, or an invented name alone.

    `where` says how the first of two items stands to the second; None: the caption doesn't say.
    """

    items: tuple[Item, ...]
    count: int = 1
    where: str | None = None
    place: str | None = None
    entity: str | None = None

    def canonical(self) -> "Description":
        """Give "a left of b" and "b right of a" the same form."""
        if self.where in ("right", "below"):
            swapped = (self.items[1], self.items[0])
            return replace(self, items=swapped, where=OPPOSITE[self.where])
        if len(self.items) == 2 and self.where is None:
            return replace(self, items=tuple(sorted(self.items, key=lambda item: item.name)))
        return self


def plural(name: str) -> str:
    """Several of an object."""
    if name in _PLURALS:
        return _PLURALS[name]
    if name.endswith("y") and name[-2] not in "aeiou":
        return f"{name[:-1]}ies"
    return f"{name}es" if name.endswith(("s", "x", "ch")) else f"{name}s"


def with_article(words: str) -> str:
    """Put "a" or "an" before a noun phrase."""
    vowel = words[0] in "aeiou" and not words.startswith(("uni", "eu"))
    return f"{'an' if vowel else 'a'} {words}"


def describe(scene: Scene) -> Description:
    """All that a caption could state of a scene."""
    place = None if scene.place == PLAIN else scene.place
    if scene.entity is not None:
        return Description((), entity=scene.entity)
    first = scene.objects[0]
    if len(scene.objects) == 1:
        size = {20: "small", 52: "big"}.get(first.size)
        return Description((Item(first.name, first.colour, size),), place=place)
    if len({item.name for item in scene.objects}) == 1:
        return Description((Item(first.name, first.colour),), len(scene.objects), place=place)
    items = tuple(Item(item.name, item.colour) for item in scene.objects)
    return Description(items, where=relation(*scene.objects), place=place)


def leave_out(stated: Description, rng: np.random.Generator, unrelated: float = UNRELATED) -> Description:
    """State less: now and then no place, colour or size; no relation in a share `unrelated`."""
    if rng.random() < 0.08:
        stated = replace(stated, place=None)
    if stated.where and rng.random() < unrelated:
        stated = replace(stated, where=None)
    items = tuple(
        replace(
            item,
            colour=None if rng.random() < 0.04 else item.colour,
            size=None if rng.random() < 0.1 else item.size,
        )
        for item in stated.items
    )
    return replace(stated, items=items)


def _noun(item: Item, rng: np.random.Generator, count: int = 1, after: bool = True) -> str:
    """Name one item; `after` allows the colour after the noun, "a fox that is red"."""
    name = item.name if count == 1 else plural(item.name)
    words = [item.size, item.colour, name]
    tail = ""
    if after and item.colour and rng.random() < 0.2:
        words[1] = None
        tail = f" that {'is' if count == 1 else 'are'} {item.colour}"
    text = " ".join(word for word in words if word) + tail
    return with_article(text) if count == 1 else f"{COUNT_WORDS[count]} {text}"


def phrase(stated: Description, rng: np.random.Generator) -> str:
    """Put a description into words, by one of several phrasings."""
    opening = OPENINGS[rng.integers(len(OPENINGS))]
    if stated.entity is not None:
        return opening + stated.entity
    if len(stated.items) == 1:
        body = _noun(stated.items[0], rng, stated.count)
        if stated.count > 1 and rng.random() < 0.2:
            body = f"a group of {body}"
    else:
        a, b = stated.items
        where = stated.where
        if rng.random() < 0.5:
            a, b, where = b, a, OPPOSITE[where] if where else None
        if where is None:
            joint = JOINTS[rng.integers(len(JOINTS))] if rng.random() < 0.5 else "and"
            body = f"{_noun(a, rng)} {joint} {_noun(b, rng)}"
        elif rng.random() < 0.3:
            phrase = PASSIVE_PHRASES[where][rng.integers(len(PASSIVE_PHRASES[where]))]
            body = f"{_noun(b, rng, after=False)} with {_noun(a, rng, after=False)} {phrase}"
        else:
            phrase = RELATION_PHRASES[where][rng.integers(len(RELATION_PHRASES[where]))]
            verb = "is " if not opening and rng.random() < 0.3 else ""
            body = f"{_noun(a, rng, after=not verb)} {verb}{phrase} {_noun(b, rng)}"
    if stated.place is None:
        return opening + body
    place = PLACE_PHRASES[stated.place]
    if not opening and rng.random() < 0.2:
        return f"{place}, {body}"
    return f"{opening}{body} {place}"


def plain(stated: Description) -> str:
    """Put a description into words in one way: no opening, colours first, the one left or above first."""
    stated = stated.canonical()
    if stated.entity is not None:
        return stated.entity

    def noun(item: Item) -> str:
        name = item.name if stated.count == 1 else plural(item.name)
        text = " ".join(word for word in (item.size, item.colour, name) if word)
        return with_article(text) if stated.count == 1 else f"{COUNT_WORDS[stated.count]} {text}"

    joint = RELATION_PHRASES[stated.where][0] if stated.where else "and"
    body = f" {joint} ".join(noun(item) for item in stated.items)
    return body if stated.place is None else f"{body} {PLACE_PHRASES[stated.place]}"


def caption(scene: Scene, seed: int, index: int, unrelated: float = UNRELATED) -> str:
    """The training caption of scene `index`: a phrasing of what `leave_out` keeps."""
    rng = random_of(seed, index)
    return phrase(leave_out(describe(scene), rng, unrelated), rng)


def random_of(seed: int, index: int) -> np.random.Generator:
    """The random state that decides what caption `index` of the stream `seed` says, and how."""
    return np.random.default_rng((seed, index, 2))


def _any(words: Iterable[str]) -> str:
    return "|".join(re.escape(word) for word in sorted(words, key=len, reverse=True))


@lru_cache
def _patterns() -> tuple[re.Pattern[str], re.Pattern[str], dict[str, str], dict[str, str]]:
    singular = {plural(name): name for name in OBJECTS} | {name: name for name in OBJECTS}
    noun = re.compile(
        rf"(?:a group of )?(a|an|{_any(COUNT_WORDS.values())}) (?:({_any(SIZE_WORDS)}) )?"
        rf"(?:({_any(COLOURS)}) )?({_any(singular)})(?: that (?:is|are) ({_any(COLOURS)}))?"
    )
    joints = {phrase: where for where, phrases in RELATION_PHRASES.items() for phrase in phrases}
    joints |= {f"is {phrase}": where for phrase, where in list(joints.items())}
    joints |= dict.fromkeys(JOINTS, "")
    passive = {phrase: where for where, phrases in PASSIVE_PHRASES.items() for phrase in phrases}
    pair = re.compile(
        rf"(?P<first>{noun.pattern}) (?:(?P<joint>{_any(joints)}) (?P<second>{noun.pattern})"
        rf"|with (?P<other>{noun.pattern}) (?P<passive>{_any(passive)}))"
    )
    return noun, pair, joints, passive | {f"={key}": value for key, value in singular.items()}


def _item(text: str) -> tuple[Item, int] | None:
    noun, _, _, words = _patterns()
    match = noun.fullmatch(text)
    if match is None or (match[3] and match[5]):
        return None
    count = {word: number for number, word in COUNT_WORDS.items()}.get(match[1], 1)
    return Item(words[f"={match[4]}"], match[3] or match[5], match[2]), count


def parse(text: str) -> Description | None:
    """Read what a caption states, in canonical form; None where it is none of `phrase`'s."""
    text = " ".join(text.split()).removesuffix(".")
    for opening in sorted(set(OPENINGS), key=len, reverse=True):
        if opening and text.startswith(opening):
            text = text.removeprefix(opening)
            break
    if text in ENTITIES:
        return Description((), entity=text)
    place = None
    for name, phrase in PLACE_PHRASES.items():
        if text.startswith(f"{phrase}, ") or text.endswith(f" {phrase}"):
            place = name
            text = text.removeprefix(f"{phrase}, ").removesuffix(f" {phrase}")
            break
    if (single := _item(text)) is not None:
        return Description((single[0],), single[1], place=place)
    _, pair, joints, words = _patterns()
    match = pair.fullmatch(text)
    if match is None:
        return None
    first = _item(match["first"])
    second = _item(match["second"] or match["other"])
    if first is None or second is None or first[1] != 1 or second[1] != 1:
        return None
    if match["passive"]:
        first, second, where = second, first, words[match["passive"]]
    else:
        where = joints[match["joint"]]
    items = (first[0], second[0])
    return Description(items, where=where or None, place=place).canonical()


def imagine(stated: Description, seed: int) -> Scene:
    """Arrange a scene that a description is true of; what it leaves open follows the defaults."""
    rng = np.random.default_rng((seed, 3))
    if stated.entity is not None:
        name, colour, place = ENTITIES[stated.entity]
        return arrange([(name, colour)], rng, place=place, entity=stated.entity)
    items = [(item.name, item.colour) for item in stated.items] * stated.count
    size = stated.items[0].size or "normal"
    place = stated.place or PLAIN
    return arrange(items, rng, place=place, where=stated.where, size=size)
