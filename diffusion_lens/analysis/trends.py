"""Trends: does a number of a prompt, such as its length, go with how its images turn out?"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float

from diffusion_lens.analysis.curves import why_no_interval
from diffusion_lens.analysis.statistics import DEFAULT, Resampling
from diffusion_lens.analysis.summary import area
from diffusion_lens.analysis.trajectories import gather, groups
from diffusion_lens.errors import ScoresError

__all__ = ["trend"]

_AT_ONCE = 2**22  # numbers of shuffled prompts that are held at once: 32 MB


def trend(
    table: pd.DataFrame,
    column: str,
    by: Sequence[str] = ("run", "scorer", "encoder", "kind"),
    *,
    resampling: Resampling = DEFAULT,
) -> pd.DataFrame:
    """The rank correlation of a prompt's number with its rates, layer by layer and over all layers.

    Args:
        table: validated scores.
        column: a column of numbers, the same in all rows of a prompt.
        by: groups that are analysed apart.
        resampling: the level of intervals, and the permutations behind p.

    Returns:
        One row by group and `number`: "area", and the rate at "layer 0", ...: `correlation` (Spearman's)
        with `low` and `high` (Fisher's z with the variance of Bonett & Wright 2000, Psychometrika 65,
        23-28), `p` from permutations of prompts, `prompts`, `note`.

    Raises:
        ScoresError: the column is not there, or holds anything but numbers.
    """
    if column not in table:
        raise ScoresError(f"There is no column {column!r}; there are {list(table.columns)}.")
    numbers = pd.to_numeric(table[column], errors="coerce")
    if numbers.isna().all():
        raise ScoresError(f"The column {column!r} holds no numbers, so that there is no trend over it.")
    of_prompt = numbers.groupby(table["prompt_id"]).first()
    rows = []
    for key, part in groups(table, by):
        found = gather(part)
        means = found.prompt_means()
        x = of_prompt.reindex(list(found.prompts)).to_numpy(dtype=float)
        under = area(means, found.depths) if len(found.layers) > 1 else np.full(len(means), np.nan)
        names = ["area", *(f"layer {layer}" for layer in found.layers)]
        for name, values in zip(names, [under, *means.T], strict=True):
            rows.append({**key, "column": column, "number": name, **_correlation(x, values, resampling)})
    return pd.DataFrame(rows)


def _correlation(
    x: Float[np.ndarray, " prompt"], y: Float[np.ndarray, " prompt"], resampling: Resampling
) -> dict[str, object]:
    from scipy import stats  # a second to import

    known = np.isfinite(x) & np.isfinite(y)
    count = int(known.sum())
    row: dict[str, object] = {"prompts": count, "note": why_no_interval(count)}
    ranks = [stats.rankdata(side[known]) for side in (x, y)]
    a, b = (side - side.mean() if count else side for side in ranks)
    scale = np.sqrt((a**2).sum() * (b**2).sum())
    if count < 5 or scale == 0:
        return {"correlation": np.nan, "low": np.nan, "high": np.nan, "p": np.nan, **row}
    r = float((a * b).sum() / scale)
    if abs(r) > 1 - 1e-12:
        row["note"] = "all prompts are in one order: the interval is not known"
    error = np.sqrt((1 + r**2 / 2) / (count - 3)) * stats.norm.ppf(0.5 + resampling.level / 2)
    # of one order of all, Fisher's z is infinite and the interval a point, which no sample can know
    center = np.arctanh(r) if abs(r) <= 1 - 1e-12 else np.nan
    rng = np.random.default_rng(resampling.seed)
    parts = np.array_split(np.arange(resampling.resamples), -(-resampling.resamples * count // _AT_ONCE))
    # the same draws, in however many parts
    draws = np.concatenate(
        [rng.permuted(np.repeat(a[None], len(part), axis=0), axis=1) @ b for part in parts]
    )
    p = ((abs(draws) >= abs((a * b).sum()) - 1e-9).sum() + 1) / (resampling.resamples + 1)
    return {
        "correlation": r,
        "low": float(np.tanh(center - error)),
        "high": float(np.tanh(center + error)),
        "p": float(p),
        **row,
    }
