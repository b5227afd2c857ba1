"""The interventions by name, and from text to interventions: `keep(fox)`, `scale(fox, 2)`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import MISSING, fields
from typing import Any

from diffusion_lens.errors import InputError, nearest
from diffusion_lens.text.interventions.ablate import Ablate, Skip
from diffusion_lens.text.interventions.base import Intervention
from diffusion_lens.text.interventions.keep import Drop, Keep, Pads
from diffusion_lens.text.interventions.only import Only
from diffusion_lens.text.interventions.patch import Patch, Swap
from diffusion_lens.text.interventions.scale import Average, Scale
from diffusion_lens.text.interventions.steer import Steer
from diffusion_lens.text.interventions.values import read_value
from diffusion_lens.text.interventions.words import Contextless, Shuffle

__all__ = [
    "INTERVENTIONS",
    "Interventions",
    "parse_intervention",
    "parse_interventions",
    "split_interventions",
]

Interventions = str | Intervention | Sequence[str | Intervention]
"""What is changed: an intervention or its text, or several of both."""

INTERVENTIONS: dict[str, type[Intervention]] = {
    kind.name: kind
    for kind in (
        Ablate,
        Average,
        Contextless,
        Drop,
        Keep,
        Only,
        Pads,
        Patch,
        Scale,
        Shuffle,
        Skip,
        Steer,
        Swap,
    )
}
"""The interventions by how they are written."""

_CALL = re.compile(r"\s*(?P<name>[a-z_]+)\s*\((?P<values>.*)\)\s*", re.DOTALL)
_VALUE = re.compile(
    r'\s*(?:(?P<key>[a-z_]+)\s*=\s*)?(?:"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<bare>[^,"]*))\s*(?:,|$)'
)


def parse_intervention(text: str, *, files: bool = True) -> Intervention:
    """Read what `Intervention.id` gives, or a user writes: `keep(fox)`, `keep("red fox")`.

    Args:
        text: the intervention.
        files: it may name a file, which is then read; False for the text of somebody else.

    Raises:
        InputError: no intervention of that name, or other values than it takes; or it names a file that
            it may not name.
    """
    call = _CALL.fullmatch(text)
    if call is None or call["name"] not in INTERVENTIONS:
        raise InputError(
            f"{text!r} is no intervention. Write NAME(VALUES), such as keep(fox). Allowed names: "
            f"{', '.join(sorted(INTERVENTIONS))}.{nearest(text.partition('(')[0], INTERVENTIONS)}"
        )
    kind = INTERVENTIONS[call["name"]]
    names = [one.name for one in fields(kind)]
    given: dict[str, Any] = {}
    for number, (key, value) in enumerate(_values(text, call["values"])):
        name = key or (names[number] if number < len(names) else "")
        if name not in names or name in given:
            raise InputError(f"{text!r} can't be read: {kind.name} takes {', '.join(names)}, each once.")
        given[name] = value
    lacking = [
        one.name
        for one in fields(kind)
        if one.default is MISSING and one.default_factory is MISSING and one.name not in given
    ]
    if lacking:
        raise InputError(f"{text!r} lacks {', '.join(lacking)}. {kind.name} takes {', '.join(names)}.")
    if not files and any(kind.names_file(name, value) for name, value in given.items()):
        raise InputError(
            f"{text!r} names a file, and a file can't be named here. Write prompts in its place, such as "
            "steer(a big dog minus a small dog)."
        )
    try:
        return kind(**given)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"{text!r} can't be read: {str(error).rstrip('.')}. {kind.name} takes {', '.join(names)}."
        ) from error


def parse_interventions(texts: Interventions, *, files: bool = True) -> tuple[Intervention, ...]:
    """Interventions in the order that they are made, of which some may be written as text.

    Args:
        texts: the interventions, or a single one.
        files: see `parse_intervention`.

    Raises:
        InputError: one can't be read, or two contradict each other.
    """
    listed = texts if isinstance(texts, Iterable) and not isinstance(texts, str) else [texts]
    found = tuple(parse_intervention(one, files=files) if isinstance(one, str) else one for one in listed)
    for one in found:
        if not isinstance(one, Intervention):
            raise InputError(f"{one!r} is no intervention. Give one, such as Keep('fox') or 'keep(fox)'.")
    _check_together(found)
    return found


def split_interventions(text: str) -> tuple[str, ...]:
    """The interventions in a table's column `interventions`, which joins them with a plus sign."""
    return tuple(one.strip() for one in _JOINED.findall(text) if one.strip())


# a plus inside of a value is quoted
_JOINED = re.compile(r'(?:"(?:[^"\\]|\\.)*"|[^"+])+')


def _check_together(changes: Sequence[Intervention]) -> None:
    """Refuse interventions of which one undoes or hides another."""
    stages = [
        3 if isinstance(one, Only) else 0 if one.in_encoder else 2 if one.after_norm else 1
        for one in changes
    ]
    if stages != sorted(stages):
        late = next(i for i in range(1, len(stages)) if stages[i] < stages[i - 1])
        raise InputError(
            f"{changes[late]} is made before {changes[late - 1]}, wherever it stands: first those in the "
            "encoder, then those on the hidden state, then scale on what is drawn, then only. Write "
            "them in this order."
        )
    for kinds in ((Keep, Drop), (Pads,), (Keep,), (Contextless,), (Average,), (Shuffle,), (Only,)):
        same = [one for one in changes if isinstance(one, kinds) and not one.in_encoder]
        if len(same) > 1 and not (kinds == (Keep, Drop) and len({type(one) for one in same}) == 1):
            raise InputError(
                f"{same[0]} and {same[1]} contradict each other: what the one leaves, the other takes "
                "away. Give one of them, or draw them one after the other."
            )


def _values(text: str, values: str) -> list[tuple[str, Any]]:
    found, place = [], 0
    while place < len(values):
        match = _VALUE.match(values, place)
        if match is None:
            raise InputError(
                f"{text!r} can't be read at {values[place:]!r}. Quote a value that has a comma."
            )
        place = match.end()
        quoted, bare = match["quoted"], (match["bare"] or "").strip()
        found.append(
            (
                match["key"] or "",
                re.sub(r"\\(.)", r"\1", quoted) if quoted is not None else read_value(bare),
            )
        )
    return found
