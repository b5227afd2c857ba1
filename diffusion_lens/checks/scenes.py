"""What a caption of the testbed states, as checks."""

from diffusion_lens.checks.checks import Check, CheckedPrompt
from diffusion_lens.checks.english import article, number_word, plural
from diffusion_lens.testbed.captions import PLACE_PHRASES, Description, Item
from diffusion_lens.testbed.scenes import ENTITIES
from diffusion_lens.testbed.sprites import PLAIN

__all__ = ["from_description"]

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
                checks.append(
                    Check(f"{role}-{i}", "attribute", f"{be} the {many} {word}?", subject=item.name,
                          attribute=word, parents=(there,))
                )  # fmt: skip
        if stated.count > 1:
            question = f"Are there {number_word(stated.count)} {many}?"
            checks.append(
                Check("count-0", "count", question, subject=item.name, relation="exactly",
                      count=stated.count, parents=(there,))
            )  # fmt: skip
    if stated.where is not None:
        first, second = items[0].name, items[1].name
        checks.append(
            Check("relation-0", "relation", f"Is the {first} {_WHERE[stated.where]} the {second}?",
                  subject=first, relation=stated.where, target=second, parents=("object-0", "object-1"))
        )  # fmt: skip
    if place is not None and place != PLAIN:
        checks.append(Check("place-0", "global", f"Is this {PLACE_PHRASES[place]}?", attribute=place))
    return CheckedPrompt(prompt_id, prompt, tuple(checks), category)
