"""Contrasts: is one curve deeper, or later, than another?

Two curves of the same prompts (object against relation, one encoder against another) are paired: prompts
make one difference each. Two sets of prompts (common against uncommon) are two samples.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float

from diffusion_lens.analysis.confidence import difference_interval, difference_p
from diffusion_lens.analysis.curves import why_no_interval
from diffusion_lens.analysis.significance import smallest_difference
from diffusion_lens.analysis.statistics import (
    DEFAULT,
    Jackknife,
    Resampling,
    jackknife,
    rates,
    totals,
)
from diffusion_lens.analysis.summary import MEASURES, layers_that_count, measures, prompts_behind
from diffusion_lens.analysis.trajectories import Condition, Trajectories, gather
from diffusion_lens.errors import ScoresError

__all__ = ["Group", "compare", "contrast", "select"]

Group = Mapping[str, object]


def contrast(
    table: pd.DataFrame,
    first: Group,
    second: Group,
    *,
    condition: Condition = "none",
    resampling: Resampling = DEFAULT,
) -> pd.DataFrame:
    """Compare the numbers of two curves.

    Args:
        table: validated scores.
        first: which rows make the first curve, by column: `{"kind": "object"}`.
        second: which rows make the second.
        condition: as for `curves.curves`, on each of them.
        resampling: the level of intervals.

    Returns:
        One row by number of `summary.MEASURES`: `first`, `second` and their `difference` with `low` and
        `high`; `p`, two-sided, of the test that inverts this interval (`confidence.difference_p`; of a
        ratio, the t test), so that the two agree; `detectable`, the smallest difference that so many
        prompts would have shown with a chance of 80 %; `prompts` (in both, if paired; else of the first)
        and `others` (of the second, or in one of the two only and left out); `note`.

        Curves of most prompts in common are paired: a prompt then counts at the layers at which both sides
        judged it, so that the two rates are of the same prompts.

    Raises:
        ScoresError: a group is empty, or can't make one curve.
    """
    one, two = select(table, first, condition), select(table, second, condition)
    frame = compare(one, two, resampling.level)
    frame.insert(0, "first_group", _words(first))
    frame.insert(1, "second_group", _words(second))
    note = frame.pop("note")
    return frame.assign(condition=condition, note=note)


def compare(one: Trajectories, two: Trajectories, level: float) -> pd.DataFrame:
    """The numbers of `contrast` of two curves that are gathered already."""
    one, two = (side.judged() if np.isfinite(side.values).any() else side for side in (one, two))
    common = sorted(set(one.prompts) & set(two.prompts))
    # one shared prompt among many does not make a paired study
    paired = 2 * len(common) > min(len(one.prompts), len(two.prompts))
    if paired:
        frame = _paired(one, two, common, level)
        prompts, others = len(common), len(set(one.prompts) ^ set(two.prompts))
    else:
        frame = _apart(one, two, level)
        prompts, others = len(one.prompts), len(two.prompts)
    least = prompts if paired else min(prompts, others)
    # intervals of shares are put together from each side's own, a ratio's is that of two samples
    two_samples = (frame["number"] == "ratio").to_numpy() & (not paired)
    freedom = np.where(two_samples, prompts + others - 2, least - 1)
    width = (frame["high"] - frame["low"]).to_numpy(dtype=float)
    return frame.assign(
        detectable=smallest_difference(width, freedom, level),
        paired=paired,
        prompts=prompts,
        others=others,
        note=why_no_interval(least),
    )


def select(table: pd.DataFrame, group: Group, condition: Condition = "none") -> Trajectories:
    """The trajectories of one side of a contrast.

    Raises:
        ScoresError: it is empty, or can't make one curve.
    """
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


def _both_judged(
    ours: Float[np.ndarray, "prompt layer"], theirs: Float[np.ndarray, "prompt layer"]
) -> tuple[Float[np.ndarray, "prompt layer"], Float[np.ndarray, "prompt layer"]]:
    """Both sides without what only one of them judged."""
    known = np.isfinite(ours) & np.isfinite(theirs)
    return np.where(known, ours, np.nan), np.where(known, theirs, np.nan)


def _paired(one: Trajectories, two: Trajectories, common: Sequence[str], level: float) -> pd.DataFrame:
    ours, theirs = _means_of(one, common), _means_of(two, common)
    if np.array_equal(one.depths, two.depths):
        ours, theirs = _both_judged(ours, theirs)
    width = ours.shape[1]
    here, there = layers_that_count(ours), layers_that_count(theirs)

    def both(sums: Float[np.ndarray, "many columns"]) -> Float[np.ndarray, "many numbers"]:
        means = rates(sums)
        first = measures(means[:, :width], one.depths, here)
        second = measures(means[:, width:], two.depths, there)
        return np.concatenate([first, second, first - second], axis=1)

    informed = np.isfinite(ours).any(axis=1) & np.isfinite(theirs).any(axis=1)
    final = np.isfinite(ours[:, -1]) & np.isfinite(theirs[:, -1])
    numbers = len(MEASURES)
    counts = np.array([informed.sum(), final.sum(), informed.sum()] * 3)
    result = jackknife(totals(np.concatenate([ours, theirs], axis=1)), both, counts)
    sides, differences = result.estimate[: 2 * numbers], result.estimate[2 * numbers :]
    low, high = result.shares(level)
    correlation = [result.correlation(index, index + numbers) for index in range(numbers)]
    ends = difference_interval(
        (sides[:numbers], low[:numbers], high[:numbers]),
        (sides[numbers:], low[numbers : 2 * numbers], high[numbers : 2 * numbers]),
        correlation,
    )
    ours_are, theirs_are = (
        (sides[part], result.variance[part], counts[part])
        for part in (slice(numbers), slice(numbers, 2 * numbers))
    )
    p = difference_p(ours_are, theirs_are, correlation, level)
    plain = (end[2 * numbers :] for end in (*result.normal(level), result.normal_p()))
    return _rows(sides, differences, (*ends, p), tuple(plain))


def _apart(one: Trajectories, two: Trajectories, level: float) -> pd.DataFrame:
    a, b = (_alone(found) for found in (one, two))
    ours, theirs = ((side.estimate, *side.shares(level)) for side in (a, b))
    ends = difference_interval(ours, theirs)
    one_is, two_is = ((side.estimate, side.variance, side.counts) for side in (a, b))
    p = difference_p(one_is, two_is, level=level)
    whole = len(a.deviations) + len(b.deviations)

    def own(side: Jackknife) -> Float[np.ndarray, "prompt number"]:
        """Deviations of which a jackknife of the whole makes the variance of this side."""
        prompts = len(side.deviations)
        factor = np.sqrt((prompts - 1) / prompts * whole / (whole - 1))
        return np.asarray(factor * side.deviations)

    together = Jackknife(
        a.estimate - b.estimate,
        np.concatenate([own(a), -own(b)]),
        # a t distribution with the degrees of freedom of two samples; of one prompt nothing is known
        np.where(np.minimum(a.counts, b.counts) > 1, a.counts + b.counts - 1, 0),
    )
    sides = np.concatenate([a.estimate, b.estimate])
    return _rows(sides, together.estimate, (*ends, p), (*together.normal(level), together.normal_p()))


def _rows(
    sides: Float[np.ndarray, " twice"],
    differences: Float[np.ndarray, " number"],
    shares: tuple[np.ndarray, ...],
    plain: tuple[np.ndarray, ...],
) -> pd.DataFrame:
    """One row by number, with both ends of its interval and p; a ratio is no share, and has plain ones."""
    number = len(MEASURES)
    is_share = np.array([name != "ratio" for name in MEASURES])
    return pd.DataFrame(
        {
            "number": MEASURES,
            "first": sides[:number],
            "second": sides[number:],
            "difference": differences,
            "low": np.where(is_share, shares[0], plain[0]),
            "high": np.where(is_share, shares[1], plain[1]),
            "p": np.where(is_share, shares[2], plain[2]),
        }
    )


def _alone(found: Trajectories) -> Jackknife:
    means = found.prompt_means()
    there = layers_that_count(means)
    return jackknife(
        totals(means),
        lambda sums: measures(rates(sums), found.depths, there),
        prompts_behind(means, there),
    )


def _words(group: Group) -> str:
    return ", ".join(str(value) for value in group.values())
