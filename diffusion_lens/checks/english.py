"""The little English that questions need."""

import re

__all__ = ["article", "number_word", "plural"]

_NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_ODD = {
    "sheep": "sheep",
    "fish": "fish",
    "person": "people",
    "man": "men",
    "woman": "women",
    "child": "children",
    "mouse": "mice",
    "knife": "knives",
    "scissors": "scissors",
    "skis": "skis",
    "foot": "feet",
    "leaf": "leaves",
}


def article(noun: str) -> str:
    """The noun with "a" or "an"; a plural such as "scissors" with none."""
    last = noun.split()[-1] if noun.split() else noun
    if last in ("scissors", "skis"):
        return noun
    vowel = re.match(r"[aeiou]", noun, re.IGNORECASE) and not re.match(
        r"(uni|eu|one\b)", noun, re.IGNORECASE
    )
    return f"{'an' if vowel else 'a'} {noun}"


def plural(noun: str) -> str:
    """Several of it; of "computer mouse", the last word."""
    *front, last = noun.split(" ")
    if last in _ODD:
        many = _ODD[last]
    elif re.search(r"[^aeiou]y$", last):
        many = f"{last[:-1]}ies"
    else:
        many = f"{last}es" if re.search(r"(s|x|z|ch|sh)$", last) else f"{last}s"
    return " ".join([*front, many])


def number_word(count: int) -> str:
    """Three as "three"; beyond ten in digits."""
    return _NUMBERS[count] if 0 <= count < len(_NUMBERS) else str(count)
