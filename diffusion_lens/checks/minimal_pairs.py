"""Pairs of captions that differ in one check alone: what a probe of that check is fitted on."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from diffusion_lens.checks.checks import Check
from diffusion_lens.checks.scenes import from_description
from diffusion_lens.testbed.captions import SIZE_WORDS, Description, Item, phrase
from diffusion_lens.testbed.scenes import OBJECTS, OPPOSITE, PLACES, RELATIONS
from diffusion_lens.testbed.sprites import COLOURS

__all__ = ["minimal_pairs"]

_Other = Callable[[Description, np.random.Generator], Description]


def minimal_pairs(stated: Description, check: Check, count: int, seed: int = 0) -> list[tuple[str, str]]:
    """Captions that state a check, each beside one that states something else in its place.

    What else a pair says (colours, sizes, the place, the relation, and the other object unless the check is
    of an object) varies from pair to pair and is the same in both, so that nothing but the check tells them
    apart. The colours of two things change places, so that both captions hold the same colours and only
    what they belong to differs.

    Args:
        stated: what the prompt states, from `checks.scenes.parse_caption`.
        check: one of its checks, of whatever id.
        count: how many pairs.
        seed: of what varies.

    Returns:
        (with, without) pairs; none for a check that the prompt does not state, or that no caption can be
        without, such as an invented name.
    """
    own = _own(stated, check)
    other = _other(stated, own) if own is not None else None
    if own is None or other is None or not stated.items:
        return []
    check = own
    made = []
    for number in range(count):
        rng = np.random.default_rng((seed, number))
        base = _vary(stated, check, rng)
        wording = int(rng.integers(1 << 31))
        with_it, without = (phrase(one, np.random.default_rng(wording)) for one in (base, other(base, rng)))
        made.append((with_it, without))
    return made


def _own(stated: Description, check: Check) -> Check | None:
    """The check of the prompt's own words that asks what a check asks, whose id says of which object."""
    asked = ("kind", "answer", "subject", "attribute", "relation", "target", "count")
    same = [
        one
        for one in from_description("", "", stated).checks
        if all(getattr(one, name) == getattr(check, name) for name in asked)
    ]
    return next((one for one in same if one.id == check.id), same[0] if same else None)


def _index(check: Check) -> int:
    """The object that a check is about; "attribute-1" is about the second one."""
    return int(check.id.rpartition("-")[2])


def _vary(stated: Description, check: Check, rng: np.random.Generator) -> Description:
    """The description with everything at random that the check is not about."""
    index = _index(check)
    kept = {"object": (), "count": ()}.get(check.kind, ("name",))
    items = []
    for place, item in enumerate(stated.items):
        mine = check.kind in ("axis", "order") or place == index
        name = item.name if mine or not kept else str(rng.choice(_without(OBJECTS, _names(stated))))
        colour = None if rng.random() < 0.5 else str(rng.choice(list(COLOURS)))
        if check.attribute in COLOURS:
            others = _without(list(COLOURS), [str(check.attribute)])
            colour = check.attribute if mine else str(rng.choice(others))
        size = check.attribute if mine and check.attribute in SIZE_WORDS else None
        items.append(Item(name, colour, size))
    place_now = None if rng.random() < 0.5 else str(rng.choice(PLACES))
    where = stated.where
    if len(items) == 2 and check.kind not in ("axis", "order"):
        where = str(rng.choice(RELATIONS))
    return replace(
        stated,
        items=tuple(items),
        where=where,
        place=check.attribute if check.kind == "global" else place_now,
    )


def _other(stated: Description, check: Check) -> _Other | None:
    """What makes another description of one that states the check."""
    if check.kind == "global":
        return lambda one, rng: replace(one, place=str(rng.choice(_without(PLACES, [str(one.place)]))))
    if check.kind == "count":
        return lambda one, rng: replace(
            one, count=int(rng.choice([n for n in (2, 3, 4) if n != one.count]))
        )
    if check.kind == "axis":
        across = {"left": "above", "right": "below", "above": "left", "below": "right"}
        return lambda one, rng: replace(one, where=across[str(one.where)])
    if check.kind == "order":
        return lambda one, rng: replace(one, where=OPPOSITE[str(one.where)])
    if check.kind == "object":
        return lambda one, rng: _with_item(
            one, _index(check), name=str(rng.choice(_without(OBJECTS, _names(stated))))
        )
    if check.kind == "attribute" and check.attribute in COLOURS and len(stated.items) == 2:
        return lambda one, rng: _with_colours_swapped(one)
    if check.kind == "attribute" and check.attribute in COLOURS:
        return lambda one, rng: _with_item(
            one, _index(check), colour=str(rng.choice(_without(list(COLOURS), [str(check.attribute)])))
        )
    if check.kind == "attribute" and check.attribute in SIZE_WORDS:
        (size,) = _without(SIZE_WORDS, [check.attribute])
        return lambda one, rng: _with_item(one, _index(check), size=size)
    return None


def _with_item(one: Description, index: int, **change: str) -> Description:
    items = list(one.items)
    items[index] = replace(items[index], **change)
    return replace(one, items=tuple(items))


def _with_colours_swapped(one: Description) -> Description:
    first, second = one.items
    return replace(one, items=(replace(first, colour=second.colour), replace(second, colour=first.colour)))


def _names(stated: Description) -> list[str]:
    return [item.name for item in stated.items]


def _without(words: "tuple[str, ...] | list[str]", left_out: list[str]) -> list[str]:
    return [word for word in words if word not in left_out]
