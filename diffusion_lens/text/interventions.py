"""Interventions: frozen values that change hidden states, written alike in Python, flags and files.

`Keep("fox")` is written `keep(fox)`. The written form is the intervention's id: it is a column of every
row that was drawn with it and a part of its cell, and it is read back by `parse_intervention`. A new
intervention is a frozen dataclass here, or in a module that adds it to `INTERVENTIONS`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, ClassVar

from diffusion_lens.errors import InputError

if TYPE_CHECKING:
    from diffusion_lens.models.tokens import PromptTokens
    from diffusion_lens.text.states import LayerStates

__all__ = ["INTERVENTIONS", "Context", "Intervention", "Keep", "parse_intervention", "parse_interventions"]


@dataclass(frozen=True)
class Context:
    """What an intervention knows beside the states that it changes.

    Attributes:
        tokens: which tokens of the prompt stand for which of its words.
        sources: the states of each prompt of `Intervention.sources`, of the same encoder and layers.
    """

    tokens: PromptTokens
    sources: Mapping[str, LayerStates]


@dataclass(frozen=True)
class Intervention:
    """A change of hidden states. Subclasses are frozen dataclasses of texts and numbers.

    Attributes:
        name: how it is written.
    """

    name: ClassVar[str]

    @property
    def sources(self) -> tuple[str, ...]:
        """Further prompts whose states it needs; each is encoded once."""
        return ()

    def apply(self, states: LayerStates, context: Context) -> LayerStates:
        """The changed states of one prompt.

        Raises:
            PromptError: the prompt lacks a word that the intervention names.
        """
        raise NotImplementedError

    @property
    def id(self) -> str:
        """How it is written, with every value that is not at its default."""
        values = []
        for number, one in enumerate(fields(self)):
            value = getattr(self, one.name)
            if number == 0:
                values.append(_quote(value))
            elif value != one.default:
                values.append(f"{one.name}={_quote(value)}")
        return f"{self.name}({', '.join(values)})"

    def __str__(self) -> str:
        return self.id


@dataclass(frozen=True)
class Keep(Intervention):
    """Keep the hidden states of some words; all other tokens get those of the empty prompt.

    Attributes:
        words: a word of the prompt, or several with a space between them.
    """

    words: str

    name: ClassVar[str] = "keep"

    @property
    def sources(self) -> tuple[str, ...]:
        """See `Intervention`."""
        return ("",)

    def apply(self, states: LayerStates, context: Context) -> LayerStates:
        """See `Intervention`."""
        kept = sorted({i for place in context.tokens.find(self.words) for i in place})
        empty = context.sources[""].states
        if empty.shape[2] < states.states.shape[2]:
            raise InputError(
                f"{self.id} needs the empty prompt at the length of {states.prompts[0]!r}, and this "
                "pipeline encodes each prompt at its own length. Use it with a pipeline that pads prompts."
            )
        changed = empty[:, :, : states.states.shape[2]].clone()
        changed[:, :, kept] = states.states[:, :, kept]
        return replace(states, states=changed)


INTERVENTIONS: dict[str, type[Intervention]] = {Keep.name: Keep}
"""The interventions by how they are written."""

_CALL = re.compile(r"\s*(?P<name>[a-z_]+)\s*\((?P<values>.*)\)\s*", re.DOTALL)
_VALUE = re.compile(
    r'\s*(?:(?P<key>[a-z_]+)\s*=\s*)?(?:"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<bare>[^,"]*))\s*(?:,|$)'
)


def parse_intervention(text: str) -> Intervention:
    """Read what `Intervention.id` gives, or a user writes: `keep(fox)`, `keep("red fox")`.

    Raises:
        InputError: no intervention of that name, or other values than it takes.
    """
    call = _CALL.fullmatch(text)
    if call is None or call["name"] not in INTERVENTIONS:
        raise InputError(
            f"{text!r} is no intervention. Write NAME(VALUES), such as keep(fox). Allowed names: "
            f"{', '.join(sorted(INTERVENTIONS))}."
        )
    kind = INTERVENTIONS[call["name"]]
    names = [one.name for one in fields(kind)]
    given: dict[str, Any] = {}
    for number, (key, value) in enumerate(_values(text, call["values"])):
        name = key or (names[number] if number < len(names) else "")
        if name not in names or name in given:
            raise InputError(f"{text!r} can't be read: {kind.name} takes {', '.join(names)}, each once.")
        given[name] = value
    try:
        return kind(**given)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"{text!r} can't be read: {error}. {kind.name} takes {', '.join(names)}."
        ) from error


def parse_interventions(texts: Sequence[str | Intervention]) -> tuple[Intervention, ...]:
    """Interventions, of which some may be written as text."""
    return tuple(parse_intervention(one) if isinstance(one, str) else one for one in texts)


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
            (match["key"] or "", re.sub(r"\\(.)", r"\1", quoted) if quoted is not None else _scalar(bare))
        )
    return found


def _scalar(text: str) -> Any:
    """A bare value: a number where it reads as one."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return {"true": True, "false": False, "none": None}.get(text, text)


def _quote(value: Any) -> str:
    """A value as it is written; a text that could be read as another thing is quoted."""
    if not isinstance(value, str):
        return str(value).lower() if value is None or isinstance(value, bool) else repr(value)
    plain = value == value.strip() and re.fullmatch(r"[^\",=()\\]+", value) and _scalar(value) == value
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return value if plain else f'"{escaped}"'
