"""The cells of a table of scores: whole numbers, fractions and labels, however they were written."""

import pandas as pd

from diffusion_lens.errors import ScoresError

__all__ = ["fractions", "labels", "whole_numbers"]

_LABELS = {word: True for word in ("true", "1", "1.0", "yes")} | {
    word: False for word in ("false", "0", "0.0", "no")
}


def whole_numbers(column: pd.Series) -> pd.Series:
    """Integers.

    Raises:
        ScoresError: a cell holds none.
    """
    numbers = pd.to_numeric(column, errors="coerce")
    if numbers.isna().any() or (numbers % 1 != 0).any():
        wrong = column[numbers.isna() | (numbers % 1 != 0)].iloc[0]
        raise ScoresError(
            f"The column {column.name} of a table of scores holds whole numbers, not {wrong}."
        )
    return numbers.astype("int64")


def fractions(column: pd.Series) -> pd.Series:
    """Numbers from 0 to 1, or missing.

    Raises:
        ScoresError: a cell holds anything else.
    """
    numbers = pd.to_numeric(column, errors="coerce").astype("Float64")
    bad = (numbers.isna() & column.notna()) | ((numbers < 0) | (numbers > 1)).fillna(False)
    if bad.any():
        raise ScoresError(
            f"The column {column.name} of a table of scores lies between 0 and 1; there is "
            f"{column[bad].iloc[0]!r}."
        )
    return numbers


def labels(column: pd.Series) -> pd.Series:
    """Booleans, or missing; 0 and 1 and words are understood.

    Raises:
        ScoresError: a cell holds anything else.
    """
    if column.dtype == "boolean" or column.dtype == bool:
        return column.astype("boolean")
    words = column.map(lambda cell: None if pd.isna(cell) else _LABELS.get(str(cell).strip().lower()))
    found = words.astype("boolean")
    bad = found.isna() & column.notna()
    if bad.any():
        raise ScoresError(
            f"The column label of a table of scores is true, false or empty, not {column[bad].iloc[0]!r}."
        )
    return found
