"""Contrasts: is one curve deeper, or later, than another?

Two curves of the same prompts (object against relation, one encoder against another) are paired: prompts
are resampled once for both. Two sets of prompts (common against uncommon) are resampled apart.
"""

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from diffusion_lens.analysis.curves import why_no_interval
from diffusion_lens.analysis.multiplicity import benjamini_hochberg, holm
from diffusion_lens.analysis.statistics import (
    Bootstrap,
    bootstrap,
    permutation_test,
    rates,
    sign_flip_test,
    totals,
)
from diffusion_lens.analysis.summary import MEASURES, measures
from diffusion_lens.analysis.trajectories import Condition, Trajectories, gather, groups
from diffusion_lens.errors import ScoresError

__all__ = ["all_pairs", "contrast", "difference_curve"]

Group = Mapping[str, object]


def contrast(
    table: pd.DataFrame,
    first: Group,
    second: Group,
    *,
    condition: Condition = "none",
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> pd.DataFrame:
    """Compare the numbers of two curves.

    Args:
        table: validated scores.
        first: which rows make the first curve, by column: `{"kind": "object"}`.
        second: which rows make the second.
        condition: as for `curves.curves`, on each of them.
        level: of the intervals.
        resamples: of prompts; five times as many for p.
        seed: of the resampling.

    Returns:
        One row by number of `summary.MEASURES`: `first`, `second` and their `difference` with `low` and
        `high`; `p`, two-sided: if `paired` from sign flips of prompts, else from a studentised
        permutation of prompts, in both cases of jackknife pseudo-values, which for the area and the final
        rate are each prompt's own number; `prompts` (in both, if paired; else of the first) and `others`
        (of the second, or in one of the two only and left out); `note`. Curves of most prompts in common
        are paired.

    Raises:
        ScoresError: a group is empty, or can't make one curve.
    """
    one, two = _select(table, first, condition), _select(table, second, condition)
    common = sorted(set(one.prompts) & set(two.prompts))
    # one shared prompt among many does not make a paired study
    paired = 2 * len(common) > min(len(one.prompts), len(two.prompts))
    if paired:
        ours, theirs = _means_of(one, common), _means_of(two, common)
        result, here, there = _paired(ours, theirs, one, two, resamples, seed)
        p = [
            sign_flip_test(column, resamples=5 * resamples, seed=seed)
            for column in result.pseudo_values().T
        ]
        prompts, others = len(common), len(set(one.prompts) ^ set(two.prompts))
    else:
        a = _alone(one, resamples, seed)
        b = _alone(two, resamples, seed + 1)
        result, here, there = a.minus(b), a.estimate, b.estimate
        p = [
            permutation_test(x, y, resamples=5 * resamples, seed=seed)
            for x, y in zip(a.pseudo_values().T, b.pseudo_values().T, strict=True)
        ]
        prompts, others = len(one.prompts), len(two.prompts)
    low, high = result.interval(level)
    note = why_no_interval(prompts if paired else min(prompts, others))
    return pd.DataFrame(
        {
            "first_group": _words(first),
            "second_group": _words(second),
            "number": MEASURES,
            "first": here,
            "second": there,
            "difference": result.estimate,
            "low": low,
            "high": high,
            "p": p,
            "paired": paired,
            "prompts": prompts,
            "others": others,
            "condition": condition,
            "note": note,
        }
    )


def all_pairs(
    table: pd.DataFrame,
    column: str,
    by: Sequence[str] = ("run", "scorer", "encoder"),
    *,
    numbers: Sequence[str] = ("area",),
    condition: Condition = "none",
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> pd.DataFrame:
    """Compare each two values of a column within each group.

    Returns:
        The rows of `contrast` for the numbers asked for, with `p_holm` (few contrasts, planned
        beforehand) and `p_bh` (a whole grid): both over all rows of one number.
    """
    rows = []
    for key, part in groups(table, by):
        values = sorted(part[column].unique())
        for first, second in combinations(values, 2):
            try:
                frame = contrast(part, {column: first}, {column: second}, condition=condition, level=level,
                                 resamples=resamples, seed=seed)  # fmt: skip
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
        for name, adjust in (("p_holm", holm), ("p_bh", benjamini_hochberg)):
            found[name] = found.groupby("number")["p"].transform(
                lambda p, adjust=adjust: adjust(p.to_numpy())
            )
    return found[[*by, *(name for name in found if name not in by)]]


def difference_curve(
    table: pd.DataFrame,
    first: Group,
    second: Group,
    *,
    condition: Condition = "none",
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> pd.DataFrame:
    """The first curve less the second, layer by layer, on the prompts that both have.

    Returns:
        One row by layer: `difference` with `low`, `high` (this layer alone), `band_low`, `band_high` (the
        whole curve), and `prompts`.

    Raises:
        ScoresError: no prompt or no layer in common.
    """
    one, two = _select(table, first, condition), _select(table, second, condition)
    common = sorted(set(one.prompts) & set(two.prompts))
    shared = [layer for layer in one.layers if layer in two.layers]
    same = [one.depths[one.layers.index(i)] == two.depths[two.layers.index(i)] for i in shared]
    if not common or not shared or not all(same):
        raise ScoresError(
            f"{_words(first)} and {_words(second)} have {len(common)} prompts and {sum(same)} layers in "
            "common; a difference by layer needs both. Compare their areas instead."
        )
    ours = _means_of(one, common)[:, [one.layers.index(layer) for layer in shared]]
    theirs = _means_of(two, common)[:, [two.layers.index(layer) for layer in shared]]
    width = len(shared)

    def statistic(sums: Float[np.ndarray, "many columns"]) -> Float[np.ndarray, "many layer"]:
        both = rates(sums)
        return both[:, :width] - both[:, width:]

    result = bootstrap(
        totals(np.concatenate([ours, theirs], axis=1)), statistic, resamples=resamples, seed=seed
    )
    low, high = result.interval(level)
    band_low, band_high = result.band(level)
    return pd.DataFrame(
        {
            "layer": shared,
            "depth": [one.depths[one.layers.index(layer)] for layer in shared],
            "difference": result.estimate,
            "low": low,
            "high": high,
            "band_low": band_low,
            "band_high": band_high,
            "prompts": len(common),
        }
    )


def _select(table: pd.DataFrame, group: Group, condition: Condition) -> Trajectories:
    chosen = np.ones(len(table), dtype=bool)
    for name, value in group.items():
        if name not in table:
            raise ScoresError(
                f"There is no column {name!r} to choose rows by; there are {list(table.columns)}."
            )
        chosen &= (table[name] == value).to_numpy(dtype=bool)
    if not chosen.any():
        known = {name: sorted(map(str, table[name].unique()))[:20] for name in group}
        raise ScoresError(f"No rows have {_words(group)}; there are {known}.")
    found = gather(table[chosen]).where(condition)
    if not found.prompts:
        raise ScoresError(f"Nothing in {_words(group)} is {condition}.")
    return found


def _means_of(found: Trajectories, prompts: Sequence[str]) -> Float[np.ndarray, "prompt layer"]:
    place = {name: index for index, name in enumerate(found.prompts)}
    return found.prompt_means()[[place[name] for name in prompts]]


def _paired(
    ours: Float[np.ndarray, "prompt layer"],
    theirs: Float[np.ndarray, "prompt other"],
    one: Trajectories,
    two: Trajectories,
    resamples: int,
    seed: int,
) -> tuple[Bootstrap, Float[np.ndarray, " number"], Float[np.ndarray, " number"]]:
    width = ours.shape[1]

    def both(sums: Float[np.ndarray, "many columns"]) -> tuple[Any, Any]:
        means = rates(sums)
        return measures(means[:, :width], one.depths), measures(means[:, width:], two.depths)

    def statistic(sums: Float[np.ndarray, "many columns"]) -> Float[np.ndarray, "many number"]:
        first, second = both(sums)
        return first - second

    columns = totals(np.concatenate([ours, theirs], axis=1))
    first, second = both(columns.sum(axis=0)[None])
    return bootstrap(columns, statistic, resamples=resamples, seed=seed), first[0], second[0]


def _alone(found: Trajectories, resamples: int, seed: int) -> Bootstrap:
    return bootstrap(
        totals(found.prompt_means()),
        lambda sums: measures(rates(sums), found.depths),
        resamples=resamples,
        seed=seed,
    )


def _words(group: Group) -> str:
    return ", ".join(str(value) for value in group.values())
