"""One table from the numbers of many groups: made once, since each small table takes a millisecond."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

__all__ = ["stack"]

_LISTED = (np.ndarray, list, tuple)


def stack(parts: Sequence[Mapping[str, object]], columns: Sequence[str]) -> pd.DataFrame:
    """The rows of all parts, one below the other.

    Args:
        parts: by column, either an array, list or tuple with a cell for each row of the part, or one value
            for all of them; what a part lacks is missing. A part of single values is one row.
        columns: those of the table, in order.
    """
    sizes = [
        max((len(cells) for cells in part.values() if isinstance(cells, _LISTED)), default=1)
        for part in parts
    ]
    made = {
        name: np.concatenate(
            [_column(part.get(name, np.nan), size) for part, size in zip(parts, sizes, strict=True)]
        )
        for name in columns
        if parts
    }
    return pd.DataFrame(made, columns=list(columns))


def _column(value: object, size: int) -> np.ndarray:
    if isinstance(value, _LISTED):
        cells = np.asarray(value)
        return np.asarray(value, dtype=object) if cells.dtype.kind in "US" else cells
    if isinstance(value, (int, float, np.number)):
        return np.full(size, value)
    # text of unequal length
    return np.full(size, value, dtype=object)
