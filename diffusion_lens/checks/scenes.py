"""What a caption of the testbed states, as checks."""

import re
from dataclasses import replace

from diffusion_lens.checks.checks import Check, CheckedPrompt, Kind
from diffusion_lens.checks.english import article, number_word, plural
from diffusion_lens.testbed.captions import PLACE_PHRASES, Description, Item, parse
from diffusion_lens.testbed.captions import plural as plural_of
from diffusion_lens.testbed.scenes import ENTITIES, OPPOSITE
from diffusion_lens.testbed.sprites import PLAIN
from diffusion_lens.testbed.synonyms import SYNONYMS

__all__ = ["from_description", "parse_caption"]

_WHERE = {"left": "to the left of", "right": "to the right of", "above": "above", "below": "below"}


def from_description(prompt_id: str, prompt: str, stated: Description, category: str = "") -> CheckedPrompt:
    """The checks of all that a caption states.

    An invented name is asked for as such, and by the object, colour and place that it stands for.

    Args:
        prompt_id: a name of its own.
        prompt: the caption.
        stated: what it states, from `captions.describe` or `captions.parse`.
        category: what kind of prompt it is.
    """
    checks: list[Check] = []
    items, place = stated.items, stated.place
    if stated.entity is not None:
        name, colour, place = ENTITIES[stated.entity]
        items = (Item(name, colour),)
        checks.append(Check("identity-0", "identity", f"Is this {stated.entity}?", subject=stated.entity))
    for i, item in enumerate(items):
        there = f"object-{i}"
        many = plural(item.name) if stated.count > 1 else item.name
        be = "Are" if stated.count > 1 else "Is"
        checks.append(Check(there, "object", f"Is there {article(item.name)}?", subject=item.name))
        for role, word in (("attribute", item.colour), ("size", item.size)):
            if word is not None:
                question = f"{be} the {many} {word}?"
                checks.append(
                    Check(
                        f"{role}-{i}",
                        "attribute",
                        question,
                        subject=item.name,
                        attribute=word,
                        parents=(there,),
                    )
                )
        if stated.count > 1:
            question = f"Are there {number_word(stated.count)} {many}?"
            checks.append(
                Check(
                    "count-0",
                    "count",
                    question,
                    subject=item.name,
                    relation="exactly",
                    count=stated.count,
                    parents=(there,),
                )
            )
    if stated.where is not None:
        checks += _parts_of_relation(items[0].name, stated.where, items[1].name)
    if place is not None and place != PLAIN:
        checks.append(Check("place-0", "global", f"Is this {PLACE_PHRASES[place]}?", attribute=place))
    return CheckedPrompt(prompt_id, prompt, tuple(checks), category)


def _parts_of_relation(first: str, where: str, second: str) -> list[Check]:
    """A relation in two parts: an image can have the axis right and say nothing of the order."""
    beside = where in ("left", "right")
    axis = (
        f"Are the {first} and the {second} beside each other?"
        if beside
        else f"Is one of the {first} and the {second} above the other?"
    )
    order = f"Is the {first} {_WHERE[where]} the {second}?"
    parts: tuple[tuple[str, Kind, str, tuple[str, ...]], ...] = (
        ("axis-0", "axis", axis, ("object-0", "object-1")),
        ("order-0", "order", order, ("axis-0",)),
    )
    return [
        Check(name, kind, question, subject=first, relation=where, target=second, parents=parents)
        for name, kind, question, parents in parts
    ]


def parse_caption(text: str) -> Description | None:
    """What a caption of the testbed states, its objects in the order in which they are named.

    Words that training holds back mean what they stand for: "a puppy" states a dog.
    """
    stated = parse(text)
    if stated is None:
        text = _say_plainly(text)
        stated = parse(text)
    if stated is None or len(stated.items) < 2:
        return stated
    first, second = stated.items
    if _position(text, second.name) < _position(text, first.name):
        where = OPPOSITE[stated.where] if stated.where else None
        return replace(stated, items=(second, first), where=where)
    return stated


def _position(text: str, name: str) -> int:
    found = re.search(rf"\b{re.escape(name)}\b", text)
    return found.start() if found else len(text)


def _say_plainly(text: str) -> str:
    for synonym in sorted(SYNONYMS, key=lambda one: -len(one.phrase)):
        pairs = [(synonym.phrase, synonym.target)]
        if synonym.kind == "object":
            pairs.append((plural_of(synonym.phrase), plural_of(synonym.target)))
        for phrase, target in pairs:
            text = re.sub(rf"\b{re.escape(phrase)}\b", target, text)
    return text
