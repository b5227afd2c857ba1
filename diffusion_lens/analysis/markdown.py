"""Cells and tables in Markdown."""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from diffusion_lens.analysis.curves import FEW_PROMPTS
from diffusion_lens.checks.checks import KIND_WORDS

__all__ = [
    "estimate",
    "markdown",
    "no_html",
    "number",
    "p_value",
    "pair_count",
    "prompt_count",
    "word",
]


def markdown(names: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    """A table in Markdown; nothing for no rows."""
    if not rows:
        return []
    cells = [
        [no_html(str(cell)).replace("|", "\\|").replace("\n", " ") for cell in row]
        for row in (names, *rows)
    ]
    lines = [f"| {' | '.join(row)} |" for row in cells]
    return [lines[0], "|" + "---|" * len(names), *lines[1:]]


def no_html(text: str) -> str:
    """Text in which Markdown finds no element of HTML; a sign of "less than" stays as it is."""
    return re.sub(r"<(?=[A-Za-z/!?])", "&lt;", text)


def word(value: object) -> str:
    """What a kind of check asks for; any other value as text, and none as nothing."""
    return "" if value is None or value != value else KIND_WORDS.get(str(value), str(value))


def prompt_count(prompts: Any) -> str:
    """A number of prompts, with a star where they are few."""
    if not isinstance(prompts, (int, float)) or math.isnan(prompts):
        return ""
    return f"{int(prompts)}{'*' if prompts < FEW_PROMPTS else ''}"


def pair_count(line: Mapping[Any, Any]) -> str:
    """How many prompts a contrast rests on: of both, or of each side."""
    return (
        prompt_count(line["prompts"])
        if line["paired"]
        else f"{prompt_count(line['prompts'])} / {prompt_count(line['others'])}"
    )


def number(value: Any, low: Any = None, high: Any = None, form: str = "{:.2f}") -> str:
    """A number, with its interval if it has one; empty if it is missing."""
    if not isinstance(value, (int, float)) or math.isnan(value):
        return ""
    if low is None or math.isnan(low) or math.isnan(high):
        return form.format(value)
    return f"{form.format(value)} [{form.format(low)}, {form.format(high)}]"


def estimate(line: Mapping[Any, Any], name: str, form: str = "{:.2f}") -> str:
    """A number with its interval, by the names of its columns; of a rate these are plain low and high."""
    ends = ("low", "high") if name == "rate" else (f"{name}_low", f"{name}_high")
    return number(line[name], line[ends[0]], line[ends[1]], form)


def p_value(value: object) -> str:
    """A p, to three digits."""
    if not isinstance(value, float) or math.isnan(value):
        return ""
    return "< 0.001" if value < 0.001 else f"{value:.3f}"
