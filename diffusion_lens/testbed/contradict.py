"""Captions made wrong: the hard negatives of the clip stage."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from diffusion_lens.testbed.captions import PLACE_PHRASES, Description
from diffusion_lens.testbed.scenes import ENTITIES, OBJECTS, OPPOSITE, RELATIONS
from diffusion_lens.testbed.sprites import COLOURS

__all__ = ["contradict", "differs_in_colour", "swap_colours"]


def contradict(stated: Description, rng: np.random.Generator) -> Description:
    """State the same with one thing wrong: words swapped where that is possible, else one replaced.

    A text encoder that sees a caption as a bag of words can't tell "a red fox and a blue cat" from
    "a blue fox and a red cat".
    """
    if stated.entity is not None:
        parts = stated.entity.split()
        alike = [n for n in ENTITIES if n != stated.entity and set(parts) & set(n.split())]
        return replace(stated, entity=_other(alike or list(ENTITIES), stated.entity, rng))
    wrongs: list[Description] = []
    if len(stated.items) == 2:
        if differs_in_colour(stated):
            wrongs.append(swap_colours(stated))
        if stated.where:
            wrongs.append(replace(stated, where=OPPOSITE[stated.where]))
            wrongs.append(replace(stated, where=_other(list(RELATIONS), stated.where, rng)))
    if not wrongs or rng.random() < 0.3:
        item = stated.items[0]
        others = stated.items[1:]
        name = _other([n for n in OBJECTS if n not in {o.name for o in others}], item.name, rng)
        wrongs = [replace(stated, items=(replace(item, name=name), *others))]
        if item.colour:
            colour = _other(list(COLOURS), item.colour, rng)
            wrongs.append(replace(stated, items=(replace(item, colour=colour), *others)))
        if len(stated.items) == 1 and not item.size:
            count = int(rng.choice([n for n in (1, 2, 3, 4) if n != stated.count]))
            wrongs.append(replace(stated, count=count))
        if stated.place:
            wrongs.append(replace(stated, place=_other(list(PLACE_PHRASES), stated.place, rng)))
    return wrongs[rng.integers(len(wrongs))]


def differs_in_colour(stated: Description) -> bool:
    """Whether two objects are stated, of different colours or with one that has none."""
    return len(stated.items) == 2 and stated.items[0].colour != stated.items[1].colour


def swap_colours(stated: Description) -> Description:
    """The same two objects with their colours exchanged: "a blue fox left of a cat" of a blue cat."""
    a, b = stated.items
    return replace(stated, items=(replace(a, colour=b.colour), replace(b, colour=a.colour)))


def _other(choices: Sequence[str], than: str, rng: np.random.Generator) -> str:
    """Draw another one."""
    left = [choice for choice in choices if choice != than]
    return left[rng.integers(len(left))]
