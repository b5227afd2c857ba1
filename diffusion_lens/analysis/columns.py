"""The columns that a study is analysed by: those of the scores, and any that the prompts bring along."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

import pandas as pd

from diffusion_lens.checks.assign import ask
from diffusion_lens.checks.checks import CHOICE, WHOLE, Check, CheckedPrompt
from diffusion_lens.errors import ScoresError
from diffusion_lens.runs.experiment import Prompt
from diffusion_lens.scoring.metadata import column_name
from diffusion_lens.scoring.table import COLUMNS

__all__ = [
    "FRAME",
    "MOST_VALUES",
    "Contrast",
    "as_text",
    "check_by",
    "check_experiment",
    "check_planned",
    "is_number",
    "prepare",
    "whole_prompts_apart",
]

# what never shares a curve
FRAME = ("run", "scorer", "encoder")
# what differs between runs, or is decided when they are scored
_LATER = frozenset({"run", "scorer", "model", "encoder"})
# a column with more values makes no readable set of curves
MOST_VALUES = 60
# a column of numbers with more values is cut into parts of equal size
_NUMBERS, _PARTS = 8, 3
# what every image has a value in, and no prompt brings along
_NOT_BY = frozenset(
    {
        *("layer", "depth", "seed", "p", "label", "reason", "p_ungated", "label_ungated", "parents"),
        *("cell", "version", "baseline", "asked_of"),
    }
)

_COMPARE = "Compare two of these."
_ADVICE = {
    "kind": 'Compare two of these kinds, or give a file of checks that has both: checks = "FILE" in the '
    "experiment."
}


@dataclass(frozen=True)
class Contrast:
    """What was planned to be compared, before anything was drawn.

    Attributes:
        column: any column of the scores or of the prompts.
        first: a value of it; None for the trend over a column of numbers.
        second: the other value.
    """

    column: str
    first: str | None = None
    second: str | None = None

    @classmethod
    def parse(cls, text: str) -> "Contrast":
        """Read "column=first,second", or the name of a column of numbers alone.

        Raises:
            ScoresError: it is neither.
        """
        column, equals, values = text.partition("=")
        first, comma, second = values.partition(",")
        if column.strip() and not equals:
            return cls(column.strip())
        if not (column.strip() and comma and first.strip() and second.strip()):
            raise ScoresError(
                f"{text!r} is no contrast. Write column=first,second, such as kind=object,relation, or the "
                "name of a column of numbers, such as length."
            )
        if first.strip() == second.strip():
            raise ScoresError(
                f"{text!r} compares a value with itself. Name two values of {column.strip()}."
            )
        return cls(column.strip(), first.strip(), second.strip())

    def __str__(self) -> str:
        return self.column if self.first is None else f"{self.column}={self.first},{self.second}"


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
            raise ScoresError(f"{_unknown(name, table.columns)} to group by.")
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


def check_planned(contrasts: Iterable[Contrast], values: Mapping[str, Iterable[object]]) -> None:
    """Refuse contrasts of columns or values that are not there.

    Args:
        contrasts: what was planned.
        values: the values of each column that there is; None for the values of one means that they are not
            known yet.

    Raises:
        ScoresError: it names the contrast, what is wrong with it, and the nearest right name.
    """
    for one in contrasts:
        if one.column not in values:
            raise ScoresError(f"The contrast {str(one)!r}: {_unknown(one.column, values)}.")
        known = [as_text(value) for value in dict.fromkeys(values[one.column])]
        if one.first is None:
            if not is_number(pd.Series(known)):
                raise ScoresError(
                    f"The contrast {str(one)!r}: {one.column!r} is no column of numbers, so there is no "
                    f"trend. Name two of its values: {one.column}={','.join(sorted(known)[:2])}."
                )
            continue
        for value in (one.first, one.second):
            if value not in known:
                near = get_close_matches(str(value), known, n=1)
                guess = f" Did you mean {near[0]!r}?" if near else ""
                shown = ", ".join(sorted(known)[:20]) + (", ..." if len(known) > 20 else "")
                raise ScoresError(
                    f"The contrast {str(one)!r}: no prompt or check has {value!r} in the column "
                    f"{one.column!r}.{guess} Its values: {shown}. {_ADVICE.get(one.column, _COMPARE)}"
                )


def check_experiment(
    contrasts: Iterable[str], prompts: Sequence[Prompt], given: Sequence[CheckedPrompt] = ()
) -> None:
    """Refuse planned contrasts that could not be made, before anything is drawn.

    Args:
        contrasts: as an experiment writes them.
        prompts: its prompts.
        given: checks of a file.

    Raises:
        ScoresError: as `check_planned`.
        CheckError: the checks of the prompts can't be read, or none given is of these prompts.
    """
    asked = ask(prompts, given)
    values: dict[str, list[object]] = {
        "category": [one.category for one in asked.prompts],
        "prompt_id": [one.prompt_id for one in asked.prompts],
        "prompt": [one.prompt for one in asked.prompts],
        # a scorer may choose among all prompts, whatever else is asked
        "kind": [CHOICE, *(_kind(check) for one in asked.prompts for check in one.checks)],
        "check": [check.id for one in asked.prompts for check in one.checks],
    }
    for prompt in prompts:
        for name, value in prompt.metadata.items():
            values.setdefault(column_name(name), []).append(value)
    planned = [Contrast.parse(text) for text in contrasts]
    # runs are put side by side when they are analysed
    check_planned([one for one in planned if one.column not in _LATER], values)


def _kind(check: Check) -> str:
    """The kind as tables have it, where checks of the whole prompt are kinds of their own."""
    return check.id if check.kind == "global" and check.id in (WHOLE, CHOICE) else check.kind


def prepare(table: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """The table with columns of many numbers cut into parts of as many prompts, named by their range."""
    cut: dict[str, pd.Series] = {}
    for name in by:
        if name in COLUMNS or not is_number(table[name]):
            continue
        numbers = pd.to_numeric(table[name], errors="coerce")
        if numbers.nunique() > _NUMBERS:
            # by prompts, and not by rows
            of_prompts = numbers.groupby(table["prompt_id"]).first()
            parts = pd.qcut(of_prompts, _PARTS, duplicates="drop")
            ranges = of_prompts.groupby(parts, observed=True).agg(["min", "max"])
            words = {part: f"{row['min']:g} to {row['max']:g}" for part, row in ranges.iterrows()}
            cut[name] = table["prompt_id"].map(parts.map(words).astype(str))
    return table.assign(**cut)


def _choices(columns: Iterable[str]) -> list[str]:
    return [str(name) for name in columns if name not in _NOT_BY]


def _unknown(name: str, columns: Iterable[str]) -> str:
    choices = _choices(columns)
    near = get_close_matches(name, choices, n=1, cutoff=0.6)
    guess = f" Did you mean {near[0]!r}?" if near else ""
    return f"There is no column {name!r}.{guess} There are {', '.join(choices)}"


def whole_prompts_apart(table: pd.DataFrame) -> pd.DataFrame:
    """Scores with checks of the whole prompt as a kind of their own: among "global" ones are places too."""
    is_whole = table["check"].isin([WHOLE, CHOICE]) & (table["kind"] == "global")
    return table.assign(kind=table["kind"].where(~is_whole, table["check"]))
