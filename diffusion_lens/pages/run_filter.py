"""`Filter`: which strips of a run are shown, as it stands in the address of the page."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urlencode

from diffusion_lens.errors import InputError
from diffusion_lens.pages.run_index import RunIndex, Strip
from diffusion_lens.pages.run_parts import whole_layers
from diffusion_lens.pages.verdicts import Verdicts

__all__ = ["ANSWERS", "END", "Filter", "Found", "select"]

ANSWERS = ("right", "wrong", "missing")
END = "end"


@dataclass(frozen=True)
class Filter:
    """Conditions that all must hold.

    Attributes:
        text: the prompt contains it, in any case.
        columns: values of columns that came with the prompts.
        question: a scorer and a check.
        at: the label of a layer, or "end" for the last one of each strip.
        answer: what the scorer said at that layer; empty for anything.
        end: what it said at the last layer; empty for anything.
        low: the lowest score at that layer.
        high: the highest.
        page: which page, from 1.
    """

    text: str = ""
    columns: Mapping[str, str] = field(default_factory=dict)
    question: tuple[str, str] | None = None
    at: str = END
    answer: str = ""
    end: str = ""
    low: float | None = None
    high: float | None = None
    page: int = 1

    @classmethod
    def read(
        cls, query: Iterable[tuple[str, str]], index: RunIndex, questions: Sequence[tuple[str, str]]
    ) -> "Filter":
        """The filter of an address.

        Args:
            query: its names and values.
            index: the run.
            questions: the scorers and checks that there are.

        Raises:
            InputError: a value that can't be; what is allowed is said.
        """
        given = {name: value for name, value in query if value != ""}
        question = questions[0] if questions else None
        if "question" in given:
            asked = tuple(
                given["question"].split("\x1f", 1)
                if "\x1f" in given["question"]
                else given["question"].rsplit("|", 1)
            )
            question = next((one for one in questions if one == asked), None)
            if question is None:
                raise InputError(
                    f"There are no answers to {given['question']!r}. There are: "
                    f"{_listed(map('|'.join, questions))}."
                )
        columns = {
            name.removeprefix("col."): value for name, value in given.items() if name.startswith("col.")
        }
        strange = sorted(set(columns) - set(index.user_columns))
        if strange:
            raise InputError(
                f"There is no column {strange[0]!r}. There are: {_listed(index.user_columns)}."
            )
        at = given.get("at", END)
        if at not in (END, *index.columns):
            raise InputError(f"There is no layer {at!r}. There are: {_listed(index.columns)}.")
        for name in ("answer", "end"):
            if given.get(name, "right") not in ANSWERS:
                raise InputError(f"{name} is one of {_listed(ANSWERS)}, not {given[name]!r}.")
        low, high = (_number(given, name) for name in ("low", "high"))
        page = max(1, int(_number(given, "page") or 1))
        return cls(
            given.get("q", ""),
            columns,
            question,
            at,
            given.get("answer", ""),
            given.get("end", ""),
            low,
            high,
            page,
        )

    @property
    def active(self) -> bool:
        """Whether anything is filtered away."""
        return replace(self, page=1, question=None, at=END) != Filter()

    def address(self, **changed: Any) -> str:
        """The filter as the query of an address, with other values for some of its attributes."""
        one = replace(self, **changed)
        pairs = [("q", one.text), *((f"col.{name}", value) for name, value in one.columns.items())]
        if one.question:
            # a reader of addresses takes the last bar for the one between scorer and check
            between = "\x1f" if "|" in one.question[1] else "|"
            pairs.append(("question", between.join(one.question)))
        pairs += [("at", "" if one.at == END else one.at), ("answer", one.answer), ("end", one.end)]
        pairs += [
            ("low", _text(one.low)),
            ("high", _text(one.high)),
            ("page", _text(one.page) if one.page > 1 else ""),
        ]
        return urlencode([(name, value) for name, value in pairs if value != ""])


@dataclass(frozen=True)
class Found:
    """The strips that a filter lets through."""

    strips: tuple[Strip, ...]
    of: int


def select(index: RunIndex, strips: Sequence[Strip], verdicts: Verdicts, asked: Filter) -> Found:
    """The strips for which all conditions of a filter hold, in their order."""
    kept = list(strips)
    if asked.text:
        wanted = asked.text.casefold()
        kept = [strip for strip in kept if wanted in str(strip.key["prompt"]).casefold()]
    if asked.columns:
        mask = index.table["cell"].notna()
        for name, value in asked.columns.items():
            mask &= index.table[name].astype(str) == value
        allowed = set(index.table.loc[mask, "cell"])
        kept = [strip for strip in kept if allowed.issuperset(strip.cells.values())]
    if asked.question is not None and (asked.answer or asked.end):
        labels = verdicts.labels(*asked.question)
        for layer, answer in ((asked.at, asked.answer), (END, asked.end)):
            if answer:
                kept = [strip for strip in kept if labels.get(_cell(strip, layer), "missing") == answer]
    if asked.question is not None and (asked.low is not None or asked.high is not None):
        scores = verdicts.scores(*asked.question)
        low, high = (
            asked.low if asked.low is not None else 0.0,
            asked.high if asked.high is not None else 1.0,
        )
        kept = [strip for strip in kept if low <= scores.get(_cell(strip, asked.at), -1.0) <= high]
    return Found(tuple(kept), len(strips))


def _cell(strip: Strip, layer: str) -> str:
    """The image of a layer; empty where the strip has none."""
    return strip.cells.get(whole_layers(strip.cells)[-1] if layer == END else layer, "")


def _number(given: Mapping[str, str], name: str) -> float | None:
    if name not in given:
        return None
    try:
        found = float(given[name])
    except ValueError:
        found = math.nan
    if not math.isfinite(found):
        raise InputError(f"{name} is a number, not {given[name]!r}.")
    return found


def _text(value: int | float | None) -> str:
    return "" if value is None else f"{value:.16g}"


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names) or "none"
