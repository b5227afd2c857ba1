"""Contrasts that are declared before anything is drawn: read, and refused where they can't be made."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

import pandas as pd

from diffusion_lens.analysis.columns import as_text, is_number, unknown_column
from diffusion_lens.checks.assign import ask
from diffusion_lens.checks.checks import CHOICE, WHOLE, Check, CheckedPrompt
from diffusion_lens.errors import ScoresError
from diffusion_lens.runs.experiment import Prompt
from diffusion_lens.scoring.metadata import column_name

__all__ = ["Contrast", "check_experiment", "check_planned", "fault_of"]

log = logging.getLogger(__name__)

# what differs between runs, or is decided when they are scored
_LATER = frozenset({"run", "scorer", "model", "encoder"})
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


def check_planned(contrasts: Iterable[Contrast], values: Mapping[str, Iterable[object]]) -> None:
    """Refuse contrasts of columns or values that are not there.

    Args:
        contrasts: what was planned.
        values: the values of each column that there is; empty and missing ones are none.

    Raises:
        ScoresError: it names the contrast, what is wrong with it, and the nearest right name.
    """
    for one in contrasts:
        if fault := fault_of(one, values):
            raise ScoresError(f"The contrast {str(one)!r}: {fault}")


def fault_of(contrast: Contrast, values: Mapping[str, Iterable[object]]) -> str:
    """Why a contrast can't be made of these values, and what to do, as `check_planned`; empty if it can."""
    column = contrast.column
    if column not in values:
        return f"{unknown_column(column, values)}."
    known = [as_text(value) for value in dict.fromkeys(values[column]) if not _is_empty(value)]
    if contrast.first is None:
        strange = sorted(value for value in known if not _is_number(value))
        if known and not strange:
            return ""
        what = f"{column!r} is no column of numbers, so there is no trend."
        if len(strange) < len(known):
            what = (
                f"the column {column!r} has {strange[0]!r}, which is no number. Write a number in its "
                "place, or leave the cell empty."
            )
        pair = f" Or name two of its values: {column}={','.join(sorted(known)[:2])}."
        return what + (pair if len(known) > 1 else "")
    for value in (contrast.first, contrast.second):
        if value not in known:
            near = get_close_matches(str(value), known, n=1)
            guess = f" Did you mean {near[0]!r}?" if near else ""
            shown = ", ".join(sorted(known)[:20]) + (", ..." if len(known) > 20 else "")
            return (
                f"no prompt or check has {value!r} in the column {column!r}.{guess} "
                f"Its values: {shown or 'none'}. {_ADVICE.get(column, _COMPARE)}"
            )
    return ""


def check_experiment(
    contrasts: Iterable[str],
    prompts: Sequence[Prompt],
    given: Sequence[CheckedPrompt] = (),
    *,
    limit: int | None = None,
) -> None:
    """Refuse planned contrasts that could not be made, before anything is drawn.

    Prompts that a trend leaves out, for they have no number, are named by a warning.

    Args:
        contrasts: as an experiment writes them.
        prompts: its prompts.
        given: checks of a file.
        limit: how many of the prompts are drawn in a trial. What these alone are too few for is named by a
            warning.

    Raises:
        ScoresError: as `check_planned`; it names the prompt that has no number in a column of numbers.
        CheckError: the checks of the prompts can't be read, or none given is of these prompts.
    """
    # runs are put side by side when they are analysed
    planned = [one for one in map(Contrast.parse, contrasts) if one.column not in _LATER]
    values = _values(prompts, given)
    for one in planned:
        if one.first is None:
            _check_numbers(one, prompts)
    check_planned(planned, values)
    if limit is None or limit >= len(prompts):
        return
    few = _values(prompts[:limit], given)
    for one in planned:
        if fault_of(one, few):
            log.warning(
                "The first %d of %d prompts are too few for the contrast %r; `analyze` will leave it out.",
                limit,
                len(prompts),
                str(one),
            )


def _values(prompts: Sequence[Prompt], given: Sequence[CheckedPrompt]) -> dict[str, list[object]]:
    """The values of the columns that the scores of prompts will have."""
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
    return values


def _check_numbers(contrast: Contrast, prompts: Sequence[Prompt]) -> None:
    """Name the prompts that have no number in a column of which a trend was planned."""
    cells = [
        (prompt.prompt, {column_name(name): value for name, value in prompt.metadata.items()})
        for prompt in prompts
    ]
    found = [(text, row.get(contrast.column)) for text, row in cells]
    empty = [text for text, value in found if _is_empty(value)]
    strange = [(text, value) for text, value in found if not _is_empty(value) and not _is_number(value)]
    if len(empty) + len(strange) == len(prompts):
        return  # no column of numbers
    if strange:
        raise ScoresError(
            f"The contrast {str(contrast)!r}: the prompt {strange[0][0]!r} has {strange[0][1]!r} in the "
            f"column {contrast.column!r}, which is no number. Write a number in its place, or leave the "
            "cell empty: the trend is then that of the other prompts."
        )
    if empty:
        log.warning(
            "%d of %d prompts, such as %r, have no number in the column %r; the trend %r leaves them out.",
            len(empty),
            len(prompts),
            empty[0],
            contrast.column,
            str(contrast),
        )


def _is_empty(value: object) -> bool:
    return value is None or value != value or not str(value).strip()


def _is_number(value: object) -> bool:
    return is_number(pd.Series([value], dtype=object))


def _kind(check: Check) -> str:
    """The kind as tables have it, where checks of the whole prompt are kinds of their own."""
    return check.id if check.kind == "global" and check.id in (WHOLE, CHOICE) else check.kind
