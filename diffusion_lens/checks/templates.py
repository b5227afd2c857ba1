"""Prompts from a template, with their checks by rule: no language model has to ask the questions."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

from diffusion_lens.checks.checks import Check, CheckedPrompt
from diffusion_lens.checks.english import article, number_word, plural
from diffusion_lens.errors import CheckError

__all__ = ["Template", "combinations"]

_SLOT = re.compile(r"\{([a-z]+)(\d*)\}")
_ROLES = ("object", "attribute", "count", "relation", "identity", "place")


@dataclass(frozen=True)
class Template:
    """A prompt with slots: "a {attribute} {object} {relation} a {attribute2} {object2}".

    The name of a slot says what its filling means, and a number tells two of them apart:
        object: is it there?
        attribute: of the next object: is it so?
        count: of the next object (a number): are there exactly so many? The object is then in the plural.
        relation: between the object before and the one after: do they stand so?
        identity: a name: is it this one?
        place: of the whole image.

    "a" becomes "an" where the filling wants it. Checks are called by slot and position: "object-0",
    "attribute-1", "relation-0", the same for all prompts of the template.

    Raises:
        CheckError: a slot of no known name, used twice, or with no object to belong to.
    """

    text: str
    name: str = ""

    def __post_init__(self) -> None:
        slots = self.slots
        if not slots:
            raise CheckError(f"The template {self.text!r} has no slots, such as {{object}}.")
        unknown = [slot for slot in slots if _role(slot) not in _ROLES]
        if unknown:
            raise CheckError(
                f"The template {self.text!r} has the slots {unknown}; roles are {list(_ROLES)}."
            )
        twice = sorted({slot for slot in slots if slots.count(slot) > 1})
        if twice:
            raise CheckError(f"The template {self.text!r} uses {twice} twice; number them: {{object2}}.")
        for index, slot in enumerate(slots):
            self._neighbours(index, slot)

    @property
    def slots(self) -> list[str]:
        """The slots in order: "attribute", "object", "relation", "object2"."""
        return ["".join(found) for found in _SLOT.findall(self.text)]

    def _neighbours(self, index: int, slot: str) -> tuple[str, ...]:
        """The object slots that an attribute or a relation belongs to."""
        slots, role = self.slots, _role(slot)
        after = next((other for other in slots[index + 1 :] if _role(other) == "object"), None)
        before = next((other for other in reversed(slots[:index]) if _role(other) == "object"), None)
        needed: tuple[str | None, ...]
        if role in ("attribute", "count"):
            needed = (after,)
        elif role == "relation":
            needed = (before, after)
        else:
            return ()
        if None in needed:
            raise CheckError(f"The slot {slot!r} of the template {self.text!r} has no object to belong to.")
        return tuple(name for name in needed if name is not None)

    def fill(self, prompt_id: str | None = None, /, **filling: str | int) -> CheckedPrompt:
        """One prompt and its checks.

        Args:
            prompt_id: a name of its own; the prompt itself if left out.
            filling: what goes into each slot.

        Raises:
            CheckError: a slot is not filled, or something has no slot.
        """
        if set(filling) != set(self.slots):
            raise CheckError(
                f"The template {self.text!r} has the slots {self.slots}, not {sorted(filling)}."
            )
        words = {slot: str(value) for slot, value in filling.items()}
        for slot in self.slots:
            if _role(slot) == "count" and not words[slot].removesuffix(".0").isdecimal():
                raise CheckError(
                    f"The slot {slot!r} of the template {self.text!r} is a count and can't be "
                    f"{words[slot]!r}. Give a whole number, such as 3."
                )
            if _role(slot) == "count":
                # a column of numbers with empty cells holds 3 as 3.0
                words[slot] = words[slot].removesuffix(".0")
        counts = {
            self._neighbours(index, slot)[0]: int(words[slot])
            for index, slot in enumerate(self.slots)
            if _role(slot) == "count"
        }
        shown = {
            slot: number_word(int(word))
            if _role(slot) == "count"
            else plural(word)
            if counts.get(slot, 1) > 1
            else word
            for slot, word in words.items()
        }
        prompt = re.sub(
            r"\b([Aa]) " + _SLOT.pattern,
            lambda found: found[1] + article(shown[found[2] + found[3]])[1:],
            self.text,
        )
        prompt = _SLOT.sub(lambda found: shown[found[1] + found[2]], prompt)
        return CheckedPrompt(
            prompt_id or prompt, prompt, self._checks(words, counts), self.name, dict(filling)
        )

    def _checks(self, words: Mapping[str, str], counts: Mapping[str, int]) -> tuple[Check, ...]:
        seen: dict[str, int] = {}
        ids = {}
        for slot in self.slots:
            role = _role(slot)
            ids[slot] = f"{role}-{seen.get(role, 0)}"
            seen[role] = seen.get(role, 0) + 1
        checks = []
        for index, slot in enumerate(self.slots):
            role, word = _role(slot), words[slot]
            about = self._neighbours(index, slot)
            parents = tuple(ids[name] for name in about)
            subject = words[about[0]] if about else word
            is_many = bool(about) and counts.get(about[0], 1) > 1
            named = plural(subject) if is_many else subject
            be = "Are" if is_many else "Is"
            if role == "object":
                check = Check(ids[slot], "object", f"Is there {article(word)}?", subject=word)
            elif role == "attribute":
                check = Check(
                    ids[slot],
                    "attribute",
                    f"{be} the {named} {word}?",
                    subject=subject,
                    attribute=word,
                    parents=parents,
                )
            elif role == "count":
                question = f"{be} there {number_word(int(word))} {named}?"
                check = Check(
                    ids[slot],
                    "count",
                    question,
                    subject=subject,
                    relation="exactly",
                    count=int(word),
                    parents=parents,
                )
            elif role == "relation":
                target = words[about[1]]
                check = Check(
                    ids[slot],
                    "relation",
                    f"{be} the {named} {word} the {target}?",
                    subject=subject,
                    relation=word,
                    target=target,
                    parents=parents,
                )
            elif role == "identity":
                check = Check(ids[slot], "identity", f"Is this {word}?", subject=word)
            else:
                check = Check(ids[slot], "global", f"Is this {word}?", attribute=word)
            checks.append(check)
        return tuple(checks)

    def fill_all(self, **fillings: Sequence[str | int]) -> list[CheckedPrompt]:
        """The prompts of `combinations`.

        Raises:
            CheckError: a slot is not filled, or something has no slot.
        """
        return [self.fill(**filling) for filling in combinations(**fillings)]


def combinations(**fillings: Sequence[str | int]) -> list[dict[str, str | int]]:
    """What can go into the slots of a template together, each slot's filling by its name.

    Combinations that put one object into two slots are left out.
    """
    found = []
    for values in product(*fillings.values()):
        filling = dict(zip(fillings, values, strict=True))
        objects = [value for slot, value in filling.items() if _role(slot) == "object"]
        if len(set(objects)) == len(objects):
            found.append(filling)
    return found


def _role(slot: str) -> str:
    return slot.rstrip("0123456789")
