"""Curves compared: what was planned apart from all other pairs, and like with like."""

from collections.abc import Callable, Sequence

import pandas as pd

from diffusion_lens.analysis.all_pairs import all_pairs
from diffusion_lens.analysis.columns import FRAME, as_text
from diffusion_lens.analysis.contrasts import contrast
from diffusion_lens.analysis.declared import Contrast
from diffusion_lens.analysis.order import roles
from diffusion_lens.analysis.significance import benjamini_hochberg, holm
from diffusion_lens.analysis.statistics import Resampling
from diffusion_lens.analysis.trajectories import groups
from diffusion_lens.analysis.trends import trend
from diffusion_lens.checks.checks import KIND_WORDS
from diffusion_lens.errors import ScoresError

__all__ = ["add_contrasts", "held_equal"]

# what a row of a contrast says of itself
_OF_A_CONTRAST = frozenset(
    {
        *("first_group", "second_group", "number", "first", "second", "difference", "low", "high", "p"),
        *("detectable", "paired", "prompts", "others", "condition", "note"),
        *("compared", "contrast", "p_holm", "p_bh"),
    }
)
# a column with more values has too many pairs for a grid of comparisons
_PAIRED_VALUES = 12


def add_contrasts(
    add: Callable[[str, Callable[[], pd.DataFrame]], None],
    notes: list[str],
    table: pd.DataFrame,
    named: pd.DataFrame,
    by: Sequence[str],
    planned: Sequence[Contrast],
    resampling: Resampling,
) -> None:
    """Add what was planned to be compared, and the grid of all other pairs.

    Args:
        add: takes the name of a table (`planned`, `trends`, `contrasts`) and what makes it.
        notes: takes what was left out and why.
        table: validated scores of real images, its columns of numbers cut into parts.
        named: the columns that were planned, as they were before.
        by: what makes a curve.
        planned: what was decided on beforehand.
        resampling: the level of intervals, and the draws behind p of trends.
    """
    pairs = [one for one in planned if one.first is not None]
    trends = [one for one in planned if one.first is None]
    if pairs:
        add("planned", lambda: _planned(notes, table, named, by, pairs, resampling))
    if trends:
        add("trends", lambda: _trends(table, named, by, trends, resampling))
    add("contrasts", lambda: _grid(notes, table, by, resampling))


def held_equal(contrasts: pd.DataFrame) -> list[str]:
    """The columns of a table of contrasts that are the same on both sides, and tell its rows apart.

    Args:
        contrasts: `planned` or `contrasts` of `analyse`.
    """
    names = [name for name in contrasts.columns if name not in _OF_A_CONTRAST]
    return [*(name for name in FRAME if name in names), *(name for name in names if name not in FRAME)]


def _alike(table: pd.DataFrame, by: Sequence[str], column: str) -> list[str]:
    """What is held equal in a contrast, so that like is compared with like: never one kind with another."""
    held = [*FRAME]
    if column not in ("kind", "check"):
        # what is asked; published questions of one kind are questions of their own
        held += ["kind"] if len(roles(table)) * 2 < table["check"].nunique() else ["kind", "check"]
    named = [name for name in by if name not in (*FRAME, "category", "kind", "check")]
    return [name for name in dict.fromkeys((*held, *named)) if name != column]


def _planned(
    notes: list[str],
    table: pd.DataFrame,
    named: pd.DataFrame,
    by: Sequence[str],
    planned: Sequence[Contrast],
    resampling: Resampling,
) -> pd.DataFrame:
    rows: list[pd.DataFrame] = []
    for one in planned:
        texts = table.assign(**{one.column: named[one.column].map(as_text)})
        one_sided: list[str] = []
        for key, part in groups(texts, _alike(table, by, one.column)):
            try:
                frame = contrast(
                    part, {one.column: one.first}, {one.column: one.second}, resampling=resampling
                )
            except ScoresError:
                one_sided.append(_words(key))
                continue
            rows.append(frame.assign(**key, compared=one.column, contrast=str(one)))
        if one_sided:
            shown = "; ".join(one_sided[:4]) + (f"; and {len(one_sided) - 4} more" if one_sided[4:] else "")
            notes.append(
                f"planned {one}: left out where not both {one.first} and {one.second} were judged ({shown})"
            )
    if not rows:
        raise ScoresError("none of the planned contrasts could be made")
    return _adjusted(pd.concat(rows, ignore_index=True), "number")


def _words(key: dict[str, object]) -> str:
    named = {**key, "kind": KIND_WORDS.get(str(key["kind"]), key["kind"])} if "kind" in key else key
    return ", ".join(str(value) for value in named.values() if str(value))


def _trends(
    table: pd.DataFrame,
    named: pd.DataFrame,
    by: Sequence[str],
    planned: Sequence[Contrast],
    resampling: Resampling,
) -> pd.DataFrame:
    rows = []
    for one in planned:
        numbers = table.assign(**{one.column: named[one.column]})
        rows.append(trend(numbers, one.column, _alike(table, by, one.column), resampling=resampling))
    found = pd.concat(rows, ignore_index=True)
    # the area is what was planned; layers are there to look at
    main = found["number"] == "area"
    return found.assign(p_holm=holm(found["p"].where(main).to_numpy(dtype=float)))


def _grid(notes: list[str], table: pd.DataFrame, by: Sequence[str], resampling: Resampling) -> pd.DataFrame:
    """Areas of all pairs of curves that differ in one column: exploratory."""
    rows = []
    for column in by:
        others = [name for name in by if name != column]
        values = table[column].nunique()
        if column == "scorer" or values < 2:
            continue
        if values > _PAIRED_VALUES:
            notes.append(f"contrasts: {column} has {values} values, too many to compare each two")
            continue
        frame = all_pairs(table, column, others, resampling=resampling)
        if not frame.empty:
            rows.append(frame.assign(compared=column))
    if not rows:
        raise ScoresError("there is one curve only")
    pairs = pd.concat(rows, ignore_index=True)
    if "p" in pairs:
        pairs["p_bh"] = benjamini_hochberg(pairs["p"].to_numpy(dtype=float))
    return pairs


def _adjusted(frame: pd.DataFrame, family: str) -> pd.DataFrame:
    """Holm's adjustment over all rows of one number, or of one definition."""
    frame["p_holm"] = frame.groupby(family)["p"].transform(lambda p: holm(p.to_numpy(dtype=float)))
    return frame
