"""Whether an image shows what a caption states: one answer for each thing stated."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace

from diffusion_lens.testbed.captions import Description
from diffusion_lens.testbed.oracle import Reading
from diffusion_lens.testbed.scenes import ENTITIES, SIZES, Placed, relation

__all__ = [
    "AXES",
    "CHECKS",
    "RELATION_PARTS",
    "Answer",
    "count_objects",
    "find_object",
    "find_pair",
    "judge",
    "judge_relation_parts",
    "relation_parts",
    "shows_entity",
]

CHECKS = ("object", "colour", "size", "count", "relation", "place", "name")

RELATION_PARTS = ("axis", "order")  # of a relation; by chance, each is right half of the time
AXES = {"left": "beside", "right": "beside", "above": "over", "below": "over"}


@dataclass(frozen=True, slots=True)
class Answer:
    """One check of `CHECKS`: about what, and whether the image is right.

    Colour, size and count are asked of an object that is there, a relation of two; where they are
    not there, `right` is None: missing, not wrong.
    """

    check: str
    about: str
    right: bool | None


def judge(stated: Description, seen: Reading) -> list[Answer]:
    """Compare what a caption states with what the oracle sees."""
    return list(_entity(stated.entity, seen) if stated.entity else _items(stated, seen))


def judge_relation_parts(stated: Description, seen: Reading) -> list[Answer]:
    """Judge the two parts of a relation apart: the axis, and given the axis the order.

    A relation is one of four. An image may have the two objects beside each other, as stated, and still in
    the wrong order; a model that knows nothing of order gets half of these right.

    Returns:
        for a caption that states a relation, the axis (missing where an object is not there) and the order
        (missing where the axis is wrong as well); for others nothing.
    """
    if not stated.where:
        return []
    about = f"{stated.items[0].name} {stated.where} {stated.items[1].name}"
    axis, order = _relation(stated, stated.where, seen)
    return [Answer("axis", about, axis), Answer("order", about, order)]


def _relation(stated: Description, where: str, seen: Reading) -> tuple[bool | None, bool | None]:
    """The two parts of a stated relation, both missing where one of its objects is not there."""
    one, other = stated.items
    first, second = find_pair((one.name, {one.colour}), (other.name, {other.colour}), seen)
    if first is None or second is None:
        return None, None
    return relation_parts(first, second, where, alike=one == other)


def relation_parts(
    first: Placed, second: Placed, where: str, *, alike: bool = False
) -> tuple[bool, bool | None]:
    """Whether two objects stand on the axis of a relation, and if so, whether in its order.

    Args:
        first: the one that is told of.
        second: the other one.
        where: one of `RELATIONS`.
        alike: nothing tells which is the first: on the axis, one order is as right as the other.
    """
    found = relation(first, second)
    axis = AXES[found] == AXES[where]
    return axis, (alike or found == where) if axis else None


def _entity(entity: str, seen: Reading) -> Iterator[Answer]:
    """An invented name is right if its object, colour and place are."""
    yield Answer("name", entity, shows_entity(entity, seen))


def _items(stated: Description, seen: Reading) -> Iterator[Answer]:
    found = [find_object(item.name, seen, {item.colour}) for item in stated.items]
    for item, placed in zip(stated.items, found, strict=True):
        yield Answer("object", item.name, placed is not None)
        if item.colour:
            right = None if placed is None else placed.colour == item.colour
            yield Answer("colour", f"{item.colour} {item.name}", right)
        if item.size:
            right = None if placed is None else placed.size == SIZES[item.size]
            yield Answer("size", f"{item.size} {item.name}", right)
    if stated.count > 1:
        name = stated.items[0].name
        number = count_objects(name, seen)
        yield Answer("count", f"{stated.count} {name}", number == stated.count if found[0] else None)
    if stated.where:
        axis, order = _relation(stated, stated.where, seen)
        right = None if axis is None else bool(order)
        yield Answer("relation", f"{stated.items[0].name} {stated.where} {stated.items[1].name}", right)
    if stated.place:
        yield Answer("place", stated.place, seen.place == stated.place)


def shows_entity(entity: str, seen: Reading) -> bool:
    """Whether the object, colour and place that an invented name stands for are there."""
    name, colour, place = ENTITIES[entity]
    shown = [(item.name, item.colour) for item in seen.objects]
    return (name, colour) in shown and seen.place == place


def find_object(name: str, seen: Reading, colours: Collection[str | None] = ()) -> Placed | None:
    """The object that is meant: of several with its name, one that also has one of these colours."""
    named = [placed for placed in seen.objects if placed.name == name]
    named.sort(key=lambda placed: placed.colour not in colours)
    return named[0] if named else None


def find_pair(
    one: tuple[str, Collection[str | None]], other: tuple[str, Collection[str | None]], seen: Reading
) -> tuple[Placed | None, Placed | None]:
    """Two objects that are meant, each as by `find_object`; those of one name are never the same object.

    Args:
        one: a name, and the colours asked for.
        other: likewise.
        seen: what the oracle sees.
    """
    first, second = find_object(one[0], seen, one[1]), find_object(other[0], seen, other[1])
    if first is None or first is not second:
        return first, second
    rest = replace(seen, objects=tuple(placed for placed in seen.objects if placed is not first))
    if first.colour in other[1] and first.colour not in one[1]:
        return find_object(one[0], rest, one[1]), second
    return first, find_object(other[0], rest, other[1])


def count_objects(name: str, seen: Reading) -> int:
    """How many objects there are of a name; a spot that no sprite explains counts as one of them."""
    return sum(placed.name == name for placed in seen.objects) + seen.unknown
