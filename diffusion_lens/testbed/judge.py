"""Whether an image shows what a caption states: one answer for each thing stated."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass

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
    first, second = (find_object(item.name, seen, {item.colour}) for item in stated.items)
    about = f"{stated.items[0].name} {stated.where} {stated.items[1].name}"
    if first is None or second is None:
        return [Answer("axis", about, None), Answer("order", about, None)]
    axis, order = relation_parts(first, second, stated.where)
    return [Answer("axis", about, axis), Answer("order", about, order)]


def relation_parts(first: Placed, second: Placed, where: str) -> tuple[bool, bool | None]:
    """Whether two objects stand on the axis of a relation, and if so, whether in its order."""
    found = relation(first, second)
    axis = AXES[found] == AXES[where]
    return axis, found == where if axis else None


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
        first, second = found
        both = first is not None and second is not None
        right = relation(first, second) == stated.where if both else None  # type: ignore[arg-type]
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


def count_objects(name: str, seen: Reading) -> int:
    """How many objects there are of a name; a spot that no sprite explains counts as one of them."""
    return sum(placed.name == name for placed in seen.objects) + seen.unknown
