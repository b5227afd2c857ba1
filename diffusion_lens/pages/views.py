"""What templates show: tables of estimates and strips of images, made from tables of the analysis."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from diffusion_lens.pages.templates import number

__all__ = ["Estimate", "FilmCell", "FilmStrip", "FilmView", "TableView", "estimate", "plain", "table_view"]


@dataclass(frozen=True)
class Estimate:
    """One cell of a table: text, and the exact number behind it with its interval.

    Attributes:
        text: the number as it is written, or words.
        value: the number; None for words.
        low: lower end of its interval.
        high: upper end.
        low_text: as it is written.
        high_text: as it is written.
        before: a sign before the number, such as that of a bound.
    """

    text: str
    value: float | None = None
    low: float | None = None
    high: float | None = None
    low_text: str = ""
    high_text: str = ""
    before: str = ""


@dataclass(frozen=True)
class TableView:
    """A table of a page.

    Attributes:
        name: of the table of the analysis that its numbers are from.
        caption: what it shows, in a sentence.
        head: the names of its columns.
        rows: its cells.
        words: how many columns, from the left, hold words.
    """

    name: str
    caption: str
    head: tuple[str, ...]
    rows: tuple[tuple[Estimate, ...], ...]
    words: int


@dataclass(frozen=True)
class FilmCell:
    """One image of a strip.

    Attributes:
        id: its cell.
        source: the address of the image; None where it is missing.
        missing: why it is.
        verdict: "right", "wrong", "missing" or None where nobody was asked.
        link: where a click leads.
    """

    id: str | None
    source: str | None
    missing: str = ""
    verdict: str | None = None
    link: str | None = None

    @property
    def verdict_text(self) -> str:
        """The verdict for somebody who can't see the mark."""
        return {"right": "right", "wrong": "wrong", "missing": "not judged"}.get(self.verdict or "", "")


@dataclass(frozen=True)
class FilmStrip:
    """The images of one prompt and seed, by layer."""

    prompt: str
    detail: str
    cells: tuple[FilmCell, ...]


@dataclass(frozen=True)
class FilmView:
    """Strips with a layer slider.

    Attributes:
        columns: the labels of the layers.
        strips: the rows.
        shape: width by height of an image.
        pixels: whether images are so small that their pixels are to be seen when enlarged.
    """

    columns: tuple[str, ...]
    strips: tuple[FilmStrip, ...]
    shape: float = 1.0
    pixels: bool = False


def plain(text: object) -> Estimate:
    """A cell of words, or of a count."""
    if isinstance(text, (int, float)) and not isinstance(text, bool):
        value = float(text)
        form = ".0f" if value.is_integer() else "g"  # "g" rounds counts from a million on
        return Estimate(number(value, form), value) if math.isfinite(value) else Estimate(number(None))
    return Estimate("" if text is None or text is pd.NA else str(text))


def estimate(
    row: Mapping[Any, Any], name: str, form: str = ".2f", ends: Sequence[str] | None = None
) -> Estimate:
    """A number of a row with its interval.

    Args:
        row: a row of a table of the analysis.
        name: the number's column.
        form: how it is written.
        ends: the columns of its interval; `NAME_low` and `NAME_high` by default.
    """
    low_name, high_name = ends or (f"{name}_low", f"{name}_high")
    value, low, high = (_float(row.get(key)) for key in (name, low_name, high_name))
    if value is None:
        return Estimate(number(None))
    if low is None or high is None:
        return Estimate(number(value, form), value)
    return Estimate(number(value, form), value, low, high, number(low, form), number(high, form))


def table_view(
    name: str,
    caption: str,
    words: Mapping[str, str],
    numbers: Iterable[str],
    rows: Iterable[Sequence[Estimate]],
    source: pd.DataFrame,
    also: int = 0,
) -> TableView | None:
    """A table whose columns of words are shown only where they tell rows apart.

    Args:
        name: of the table of the analysis.
        caption: what it shows.
        words: the heading of each leading column, by its name in `source`; the first is always shown.
        numbers: headings of the others.
        rows: all cells, those of words first.
        source: the rows of the analysis.
        also: how many of the others hold words too.

    Returns:
        The view; None where there is no row.
    """
    made = list(rows)
    if not made:
        return None
    shown = [i for i, key in enumerate(words) if i == 0 or source[key].nunique(dropna=False) > 1]
    kept = [*shown, *range(len(words), len(made[0]))]
    head = [*words.values(), *numbers]
    return TableView(
        name,
        caption,
        tuple(head[i] for i in kept),
        tuple(tuple(row[i] for i in kept) for row in made),
        len(shown) + also,
    )


def _float(value: Any) -> float | None:
    if value is None or value is pd.NA:
        return None
    found = float(value)
    return found if math.isfinite(found) else None
