"""The overview of the results in the numbers of tables that were drawn anew.

    git worktree add former HEAD
    make results
    python -m experiments.studies.renumber former/results

A number with an interval is looked for in the former tables of the studies that its paragraph links to, and
is said as the same row and column have it now. What stands in no table, in rows that differ now, or in
rows that numbers alone tell apart, is left as it is and named; sentences and numbers without an interval
are for a reader to go through. Pages are renumbered once: afterwards their numbers are no former ones.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import tyro

from diffusion_lens.cli.console import say
from diffusion_lens.errors import InputError

__all__ = ["INTERVAL", "Renumbered", "renumber", "renumber_pages"]

# 84 % [73, 91], +0.11 [0.05, 0.16]
INTERVAL = re.compile(r"([-+]?\d+(?:\.\d+)?)( %)?(\s+)\[([-+]?[\d.,]*\d),(\s+)([-+]?[\d.,]*\d)\]")
_LINK = re.compile(r"\]\((\w+)/(?:findings\.md|\w+\.png)\)")
# by page, the studies that it is of; those that a paragraph links to if none are named
_PAGES: dict[str, list[str]] = {"README.md": [], "testbed/README.md": ["testbed"]}
# whole numbers that tell rows apart
_COUNTED = ("layer", "seed", "step")

Place = tuple[str, ...]  # file, column, and what tells the row apart
Numbers = tuple[float, float, float]


@dataclass(frozen=True)
class Renumbered:
    """A text with the numbers of today.

    Attributes:
        text: the text.
        changed: what was said, and what is said now.
        unknown: what is left as it was, for no table tells it.
    """

    text: str
    changed: tuple[tuple[str, str], ...] = ()
    unknown: tuple[str, ...] = ()


def renumber(text: str, former: Sequence[Path], today: Sequence[Path]) -> Renumbered:
    """Say the intervals of a text by tables that were made anew.

    Args:
        text: a paragraph.
        former: the folders of the tables that its numbers are of.
        today: the folders of today's, in the same order.
    """
    before, now = _places(former), dict(_places(today))
    changed: list[tuple[str, str]] = []
    unknown: list[str] = []

    def replace(found: re.Match[str]) -> str:
        parts = found.group(1, 4, 6)
        said = tuple(part.removeprefix("+").replace(",", "") for part in parts)
        digits = [len(part.partition(".")[2]) for part in said]
        whole = 100 if found[2] else 1
        places = [place for place, numbers in before if _written(numbers, digits, whole) == said]
        choices = {_written(now[place], digits, whole) for place in places if place in now}
        if len(choices) != 1:
            unknown.append(found[0])
            return found[0]
        value, low, high = (_signed(one, like) for one, like in zip(choices.pop(), parts, strict=True))
        again = f"{value}{found[2] or ''}{found[3]}[{low},{found[5]}{high}]"
        if again != found[0]:
            changed.append((found[0], again))
        return again

    return Renumbered(INTERVAL.sub(replace, text), tuple(changed), tuple(unknown))


def renumber_pages(former: Path, today: Path) -> list[Renumbered]:
    """Renumber `README.md` of the results and of the testbed, in place; what was done, by paragraph.

    Args:
        former: a folder of results as they were.
        today: the folder of results.

    Raises:
        InputError: a page is missing, or it is no longer the one of the former results.
    """
    texts = {}
    for name in _PAGES:
        pages = [root / name for root in (former, today)]
        for page in pages:
            if not page.is_file():
                raise InputError(f"There is no {page}. Give the folder of results as they were.")
        said, texts[name] = (page.read_text(encoding="utf-8") for page in pages)
        if said != texts[name]:
            raise InputError(
                f"{pages[1]} differs from {pages[0]}, whose numbers it would be told by. Renumber first, "
                "and change sentences afterwards."
            )
    found = []
    for name, own in _PAGES.items():
        parts = re.split(r"(\n(?=- |\n|#))", texts[name])
        for index, part in enumerate(parts):
            studies = own or _LINK.findall(part)
            if studies:
                done = renumber(part, *([root / one for one in studies] for root in (former, today)))
                found.append(done)
                parts[index] = done.text
        (today / name).write_text("".join(parts), encoding="utf-8")
    return found


def _places(folders: Sequence[Path]) -> list[tuple[Place, Numbers]]:
    """The numbers with an interval of the tables of some folders, but for those of rows that look alike."""
    found: list[tuple[Place, Numbers]] = []
    for index, folder in enumerate(folders):
        for path in sorted([*folder.glob("*.csv"), *folder.glob("tables/*.csv")]):
            table = pd.read_csv(path)
            numbers = table.select_dtypes("number").columns.difference(list(_COUNTED))
            keys = table[table.columns.difference(numbers)].astype(str).to_numpy().tolist()
            ends = {name: (f"{name}_low", f"{name}_high") for name in numbers}
            for name, (low, high) in ends.items():
                if {low, high} <= set(numbers):
                    columns = [name, low, high]
                elif {"low", "high"} <= set(numbers) and name not in ("low", "high"):
                    columns = [name, "low", "high"]
                else:
                    continue
                values = table[columns].dropna()
                found += [
                    ((str(index), path.name, name, *keys[row]), (value, one, other))
                    for row, value, one, other in values.itertuples(name=None)
                ]
    alike = Counter(place for place, _ in found)
    return [one for one in found if alike[one[0]] == 1]


def _signed(number: str, like: str) -> str:
    """A number with the plus and the commas of another."""
    whole, point, rest = number.partition(".")
    sign = "+" if like.startswith("+") and not number.startswith("-") else ""
    return f"{sign}{int(whole):,}{point}{rest}" if "," in like else f"{sign}{number}"


def _written(numbers: Numbers, digits: Sequence[int], whole: int) -> tuple[str, ...]:
    """Three numbers as a page writes them, without a minus before zero."""
    rounded = (round(whole * one, count) + 0.0 for one, count in zip(numbers, digits, strict=True))
    return tuple(f"{one:.{count}f}" for one, count in zip(rounded, digits, strict=True))


def main(former: tyro.conf.Positional[Path], today: Path = Path("results")) -> None:
    """Bring the overviews of the results to tables that were made anew, once; say what changed.

    Args:
        former: the folder of results as they were.
        today: the folder of results.
    """
    try:
        parts = renumber_pages(former, today)
    except InputError as error:
        raise SystemExit(f"error: {error}") from None
    for part in parts:
        for one, other in part.changed:
            say(f"{one}  ->  {other}")
        for one in part.unknown:
            say(f"{one}  is told by no table, or by several that differ now")


if __name__ == "__main__":
    tyro.cli(main)
