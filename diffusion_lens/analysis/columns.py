"""The columns that a study is analysed by: those of the scores, and any that the prompts bring along."""

from collections.abc import Iterable, Sequence
from difflib import get_close_matches

import pandas as pd

from diffusion_lens.checks.checks import CHOICE, WHOLE
from diffusion_lens.errors import ScoresError
from diffusion_lens.scoring.table import COLUMNS

__all__ = [
    "FRAME",
    "MOST_VALUES",
    "NOT_GIVEN",
    "as_text",
    "check_by",
    "is_number",
    "prepare",
    "told_of_prompts",
    "unknown_column",
    "whole_prompts_apart",
]

# what never shares a curve
FRAME = ("run", "scorer", "encoder")
# a column with more values makes no readable set of curves
MOST_VALUES = 60
# a column of numbers with more values is cut into parts of equal size
_NUMBERS, _PARTS = 8, 3
# what the prompts are called that have no value in a column
NOT_GIVEN = "not given"
# what every image has a value in, and no prompt brings along
_NOT_BY = frozenset(
    {
        *("layer", "depth", "seed", "p", "label", "reason", "p_ungated", "label_ungated", "parents"),
        *("cell", "version", "baseline", "asked_of", "check_digest"),
    }
)


def is_number(column: pd.Series) -> bool:
    """Whether all values that are there are numbers, or texts that read as such; true and false are not."""
    there = column.dropna()
    there = there[there.astype(str).str.strip() != ""]
    if there.empty or there.map(lambda value: isinstance(value, bool)).any():
        return False
    return bool(pd.to_numeric(there, errors="coerce").notna().all())


def as_text(value: object) -> str:
    """A value of a column as a contrast names it: 3 is "3", also where missing values made it 3.0."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def check_by(table: pd.DataFrame, by: Sequence[str]) -> None:
    """Refuse columns that are not there, or that no curve can be made by.

    Raises:
        ScoresError: it names the column, the nearest right one, and what there is.
    """
    for name in by:
        if name not in table:
            raise ScoresError(f"{unknown_column(name, table.columns)} to group by.")
        if name in _NOT_BY:
            raise ScoresError(
                f"A curve can't be made by {name!r}, which differs from image to image. Columns to group "
                f"by: {', '.join(_choices(table.columns))}."
            )
        values = table[name].nunique()
        if values > MOST_VALUES and not is_number(table[name]):
            raise ScoresError(
                f"The column {name!r} has {values} values, more than {MOST_VALUES} curves can show. Group "
                "it into fewer values in the prompts' file."
            )


def prepare(table: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """The table with columns of many numbers cut into parts of as many prompts, named by their range.

    Prompts without a value in one of the columns are a part of their own, `NOT_GIVEN`.
    """
    cut: dict[str, pd.Series] = {}
    for name in by:
        if name in COLUMNS:
            continue
        if not is_number(table[name]):
            cut[name] = _filled(table[name])
            continue
        numbers = pd.to_numeric(table[name], errors="coerce")
        if numbers.nunique() > _NUMBERS:
            # by prompts, and not by rows
            of_prompts = numbers.groupby(table["prompt_id"]).first()
            parts = pd.qcut(of_prompts, _PARTS, duplicates="drop")
            ranges = of_prompts.groupby(parts, observed=True).agg(["min", "max"])
            words = dict(zip(ranges.index, _ranges(ranges), strict=True))
            cut[name] = _filled(table["prompt_id"].map(parts.map(words).astype(object)))
        else:
            cut[name] = _filled(table[name])
    return table.assign(**cut)


def told_of_prompts(table: pd.DataFrame, names: Iterable[str]) -> pd.DataFrame:
    """The table with what one scorer's rows say of a prompt said in the rows of all scorers.

    Answers of people, and tables from elsewhere, do not bring the columns of prompts along.

    Args:
        table: validated scores.
        names: the columns; what is not the same in all rows of a prompt stays as it is.
    """
    filled: dict[str, pd.Series] = {}
    for name in names:
        if name in COLUMNS or name not in table or not table[name].isna().any():
            continue
        of_prompt = table.groupby(["run", "prompt_id"])[name]
        is_one = of_prompt.transform("nunique") == 1
        filled[name] = table[name].where(table[name].notna() | ~is_one, of_prompt.transform("first"))
    return table.assign(**filled)


def _ranges(ends: pd.DataFrame) -> list[str]:
    """The ranges between two ends each in words, with as many digits as tell them apart."""
    for digits in range(6, 18):
        words = [f"{row['min']:.{digits}g} to {row['max']:.{digits}g}" for _, row in ends.iterrows()]
        if len(set(words)) == len(words):
            break
    return words


def _filled(column: pd.Series) -> pd.Series:
    """The column with its empty cells named; one without any as it is."""
    empty = column.isna()
    return column.map(as_text).astype(object).mask(empty, NOT_GIVEN) if empty.any() else column


def _choices(columns: Iterable[str]) -> list[str]:
    return [str(name) for name in columns if name not in _NOT_BY]


def unknown_column(name: str, columns: Iterable[str]) -> str:
    """That there is no such column, the nearest name, and which there are; without a full stop."""
    choices = _choices(columns)
    near = get_close_matches(name, choices, n=1, cutoff=0.6)
    guess = f" Did you mean {near[0]!r}?" if near else ""
    return f"There is no column {name!r}.{guess} There are {', '.join(choices)}"


def whole_prompts_apart(table: pd.DataFrame) -> pd.DataFrame:
    """Scores with checks of the whole prompt as a kind of their own: among "global" ones are places too."""
    is_whole = table["check"].isin([WHOLE, CHOICE]) & (table["kind"] == "global")
    return table.assign(kind=table["kind"].where(~is_whole, table["check"]))
