"""The grid of contrasts that nobody planned: each two values of a column."""

from collections.abc import Sequence
from itertools import combinations

import pandas as pd

from diffusion_lens.analysis.contrasts import contrast
from diffusion_lens.analysis.significance import benjamini_hochberg
from diffusion_lens.analysis.statistics import DEFAULT, Resampling
from diffusion_lens.analysis.trajectories import Condition, groups
from diffusion_lens.errors import ScoresError

__all__ = ["all_pairs"]


def all_pairs(
    table: pd.DataFrame,
    column: str,
    by: Sequence[str] = ("run", "scorer", "encoder"),
    *,
    numbers: Sequence[str] = ("area",),
    condition: Condition = "none",
    resampling: Resampling = DEFAULT,
) -> pd.DataFrame:
    """Compare each two values of a column within each group.

    Returns:
        The rows of `contrast` for the numbers asked for, with `p_bh` (Benjamini &
        Hochberg) over all rows of one number: a grid that nobody planned is exploratory.
    """
    rows = []
    for key, part in groups(table, by):
        values = sorted(part[column].unique())
        for first, second in combinations(values, 2):
            try:
                frame = contrast(
                    part, {column: first}, {column: second}, condition=condition, resampling=resampling
                )
            except ScoresError as error:
                frame = pd.DataFrame(
                    {
                        "first_group": [first],
                        "second_group": [second],
                        "number": [numbers[0]],
                        "note": [str(error)],
                    }
                )
            rows.append(frame[frame["number"].isin(numbers)].assign(**key))
    if not rows:
        return pd.DataFrame()
    found = pd.concat(rows, ignore_index=True)
    if "p" in found:
        adjusted = found.groupby("number")["p"]
        found["p_bh"] = adjusted.transform(lambda p: benjamini_hochberg(p.to_numpy(dtype=float)))
    return found[[*by, *(name for name in found if name not in by)]]
