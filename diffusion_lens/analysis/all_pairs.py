"""The grid of contrasts that nobody planned: each two values of a column."""

from collections.abc import Sequence
from itertools import combinations

import pandas as pd

from diffusion_lens.analysis.columns import NOT_GIVEN
from diffusion_lens.analysis.contrasts import compare, select
from diffusion_lens.analysis.significance import benjamini_hochberg
from diffusion_lens.analysis.statistics import DEFAULT, Resampling
from diffusion_lens.analysis.trajectories import Condition, Trajectories, groups
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
    """Compare each two values of a column within each group; prompts without a value are left out.

    Returns:
        The rows of `contrast` for the numbers asked for, with `p_bh` (Benjamini &
        Hochberg) over all rows of one number: a grid that nobody planned is exploratory.
    """
    rows = []
    for key, part in groups(table, by):
        known = part[column].dropna()
        # prompts without a value have nothing in common that could be compared
        values = sorted(known[known != NOT_GIVEN].unique(), key=lambda value: (str(type(value)), value))
        # a curve is compared with many others
        sides = {value: _side(part, column, value, condition) for value in values}
        for first, second in combinations(values, 2):
            one, two = sides[first], sides[second]
            if isinstance(one, ScoresError) or isinstance(two, ScoresError):
                broken = one if isinstance(one, ScoresError) else two
                frame = pd.DataFrame({"number": [numbers[0]], "note": [str(broken)]})
            else:
                frame = compare(one, two, resampling.level).assign(condition=condition)
            named = {**key, "first_group": str(first), "second_group": str(second)}
            rows.append(frame[frame["number"].isin(numbers)].assign(**named))
    if not rows:
        return pd.DataFrame()
    found = pd.concat(rows, ignore_index=True)
    if "p" in found:
        adjusted = found.groupby("number")["p"]
        found["p_bh"] = adjusted.transform(lambda p: benjamini_hochberg(p.to_numpy(dtype=float)))
    front = [*by, "first_group", "second_group"]
    ends = [name for name in ("condition", "note") if name in found]
    between = [name for name in found if name not in (*front, *ends, "p_bh")]
    return found[[*front, *between, *ends, *(name for name in ("p_bh",) if name in found)]]


def _side(
    table: pd.DataFrame, column: str, value: object, condition: Condition
) -> Trajectories | ScoresError:
    """The trajectories of one value, or why there are none."""
    try:
        return select(table, {column: value}, condition)
    except ScoresError as error:
        return error
