"""Alternatives to choose from: "a red fox" against foxes of the other colours that a run asks for."""

import zlib
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from diffusion_lens.checks.checks import CHOICE, WHOLE, Check, CheckedPrompt
from diffusion_lens.checks.english import article, number_word, plural
from diffusion_lens.testbed.captions import PLACE_PHRASES, SIZE_WORDS
from diffusion_lens.testbed.scenes import ENTITY_NAMES, OBJECTS, OPPOSITE, RELATIONS
from diffusion_lens.testbed.sprites import COLOURS

__all__ = ["value_of", "with_choices"]

# Where all values of a role are among these, all of these are alternatives: then chance is the same in
# a study of two prompts as in one of two hundred.
_VOCABULARIES: tuple[tuple[str, ...], ...] = (
    OBJECTS,
    tuple(COLOURS),
    SIZE_WORDS,
    RELATIONS,
    ("1", "2", "3", "4"),
    ENTITY_NAMES,
    tuple(PLACE_PHRASES.values()),
)
_WHERE = {"left": "to the left of", "right": "to the right of"}


def with_choices(prompts: Sequence[CheckedPrompt], most: int = 8) -> list[CheckedPrompt]:
    """Give each check captions to choose from, for scorers that compare images with texts.

    A caption says what the check asks. Its alternatives say the same with the value of another prompt's
    check of the same role: other objects for an object, other colours of the same object for a colour.
    What the prompt states of another of its things is no alternative: of "a dog and a cat", both are right.
    The testbed's words are alternatives to each other, whether a run asks for all of them or not.
    A check of the whole prompt stays as it is and is joined by the choice among prompts.

    Args:
        prompts: prompts and their checks.
        most: choices by check, the right one among them; chosen by chance, but always the same.

    Returns:
        The prompts, their checks with choices. A check that has none already, and whose role has one
        value in all prompts, stays without.
    """
    values: dict[str, set[str]] = {}
    for prompt in prompts:
        for check in prompt.checks:
            value = value_of(check)
            if value is not None:
                values.setdefault(_role(check), set()).add(value)
    for known in values.values():
        for words in _VOCABULARIES:
            if known <= set(words):
                known.update(words)
    texts = [prompt.prompt for prompt in prompts]
    made = []
    for prompt in prompts:
        checks = [_choose(prompt, check, values, most) for check in prompt.checks]
        others = [text for text in texts if text != prompt.prompt]
        if others and all(check.id != CHOICE for check in checks):
            choices = _pick(prompt.prompt, others, most, f"{prompt.prompt_id}/{CHOICE}")
            question = "Which of these is it?"
            checks.append(
                Check(CHOICE, "global", question, prompt.prompt, subject=prompt.prompt, choices=choices)
            )
        made.append(replace(prompt, checks=tuple(checks)))
    return made


def _choose(prompt: CheckedPrompt, check: Check, values: dict[str, set[str]], most: int) -> Check:
    value = value_of(check)
    if check.choices or value is None:
        return check
    if check.kind == "order":  # which of two is where; that they stand on this axis is another check
        alternatives = {OPPOSITE[value]} if value in OPPOSITE else set()
    else:
        alternatives = values[_role(check)] - {value}
    others = [_caption(check, other) for other in sorted(alternatives)]
    right = _caption(check, value)
    # "a fox left of a car" may become the same caption with another value
    stated = {right, *_stated(prompt)}
    others = [caption for caption in dict.fromkeys(others) if caption not in stated]
    if not others:
        return check
    choices = _pick(right, others, most, f"{prompt.prompt_id}/{check.id}")
    return replace(check, answer=right, choices=choices)


def _stated(prompt: CheckedPrompt) -> list[str]:
    """All that is right of a prompt, as captions."""
    values = ((check, value_of(check)) for check in prompt.checks)
    return [_caption(check, value) for check, value in values if value is not None]


def _pick(right: str, others: Sequence[str], most: int, key: str) -> tuple[str, ...]:
    rng = np.random.default_rng(zlib.crc32(key.encode()))
    chosen = rng.permutation(len(others))[: most - 1]
    return (right, *(others[index] for index in sorted(chosen)))


def _role(check: Check) -> str:
    """What a check is about: "object", "attribute", "size", "place"; of "object-0", its first word."""
    head = check.id.rsplit("-", 1)[0]
    return head if head != check.id else check.kind


def value_of(check: Check) -> str | None:
    """What another check of the same role could ask for instead; None where that can't be told."""
    if check.id == WHOLE or check.answer != "yes":
        return None
    if check.kind == "object":
        return check.subject
    if check.kind == "attribute":
        return check.attribute if check.subject else None
    if check.kind in ("relation", "order"):
        return check.relation if check.subject and check.target else None
    if check.kind == "count":
        exact = check.subject and check.count is not None and check.relation == "exactly"
        return str(check.count) if exact else None
    return _told(check)


def _told(check: Check) -> str | None:
    """Of "Is this at night?", "at night"."""
    question = check.question
    return question[len("Is this ") : -1] if question.startswith("Is this ") else None


def _caption(check: Check, value: str) -> str:
    """A check in words, with one of its values."""
    subject = check.subject or ""
    if check.kind == "object":
        return article(value)
    if check.kind == "attribute":
        return article(f"{value} {subject}")
    if check.kind in ("relation", "order"):
        return f"{article(subject)} {_WHERE.get(value, value)} {article(check.target or '')}"
    if check.kind == "count":
        count = int(value)
        return f"{number_word(count)} {plural(subject) if count != 1 else subject}"
    return value
