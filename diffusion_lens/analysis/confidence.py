"""Confidence intervals of shares and of their differences, for clustered answers and few prompts.

One rule for all numbers between 0 and 1, and one for their differences. Neither is ever a point: a rate of
0 or 1 is as uncertain as its number of prompts says.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from scipy import special

__all__ = ["difference_interval", "difference_p", "share_interval"]

_SAME = 1e-12
# the tail of an approximation says no more; and how often the range of p is halved
_LEAST_P, _HALVINGS = 1e-6, 16
Numbers = np.ndarray | np.number | Sequence[float | int] | float | int
"""One number or an array of them."""


def share_interval(
    share: Numbers, variance: Numbers, prompts: Numbers, level: Numbers = 0.95
) -> tuple[Float[np.ndarray, "..."], Float[np.ndarray, "..."]]:
    """Wilson's score interval at the effective number of prompts.

    The effective number is that of independent answers that would vary as the share does,
    share (1 - share) / variance, times (normal quantile / t quantile) squared, since the variance is itself
    an estimate from few prompts (Korn & Graubard 1998, Survey Methodology 24, 193-201; Wilson's interval at
    that number: Franco et al. 2019, Journal of Survey Statistics and Methodology 7, 334-364). Where all
    prompts agree, the effective number is that of the prompts. Coverage at 8 to 60 prompts is in
    `tests/analysis/test_coverage.py`.

    Args:
        share: any mean between 0 and 1.
        variance: of the share.
        prompts: how many prompts it rests on.
        level: of the interval, or of each of them.

    Returns:
        Both ends; NaN where the share is, and for fewer than two prompts.
    """
    share, variance, count = (np.asarray(one, dtype=float) for one in (share, variance, prompts))
    # the quantiles of scipy.stats, without the time that it takes to look at its arguments
    quantile = 0.5 + np.asarray(level, dtype=float) / 2
    z = special.ndtri(quantile)
    known = np.isfinite(share) & (count > 1)
    count = np.where(known, count, 2.0)
    inside = np.clip(np.where(known, share, 0.5), 0, 1)
    with np.errstate(invalid="ignore", divide="ignore"):
        effective = np.where(variance > _SAME, inside * (1 - inside) / variance, count)
    effective = np.maximum(effective, 1e-9) * (z / special.stdtrit(count - 1, quantile)) ** 2
    middle = (inside + z**2 / (2 * effective)) / (1 + z**2 / effective)
    spread = inside * (1 - inside) / effective + z**2 / (4 * effective**2)
    half = z * np.sqrt(spread) / (1 + z**2 / effective)
    low, high = np.clip(middle - half, 0, inside), np.clip(middle + half, inside, 1)
    return np.where(known, low, np.nan), np.where(known, high, np.nan)


def difference_interval(
    first: tuple[Numbers, Numbers, Numbers],
    second: tuple[Numbers, Numbers, Numbers],
    correlation: Numbers = 0.0,
) -> tuple[Float[np.ndarray, "..."], Float[np.ndarray, "..."]]:
    """An interval of a difference from the intervals of its two parts.

    The method of variance estimates recovery (Newcombe 1998, Statistics in Medicine 17, 873-890; Zou &
    Donner 2008, Statistics in Medicine 27, 1693-1702): the distance to each end is put together from those
    of the parts. It keeps to -1 and 1, and has a width where all prompts agree.

    Args:
        first: a number, and both ends of its interval.
        second: the number to be taken away, likewise.
        correlation: of the two numbers over prompts; 0 if their prompts differ.
    """
    (a, a_low, a_high), (b, b_low, b_high) = (
        tuple(np.asarray(one, dtype=float) for one in part) for part in (first, second)
    )

    rho = np.asarray(correlation)
    below = (a - a_low) ** 2 + (b_high - b) ** 2 - 2 * rho * (a - a_low) * (b_high - b)
    above = (a_high - a) ** 2 + (b - b_low) ** 2 - 2 * rho * (a_high - a) * (b - b_low)
    difference = a - b
    return (
        np.asarray(difference - np.sqrt(np.maximum(below, 0))),
        np.asarray(difference + np.sqrt(np.maximum(above, 0))),
    )


def difference_p(
    first: tuple[Numbers, Numbers, Numbers],
    second: tuple[Numbers, Numbers, Numbers],
    correlation: Numbers = 0.0,
    level: float = 0.95,
) -> Float[np.ndarray, "..."]:
    """Two-sided p of a difference of zero between two shares: the test that inverts their interval.

    p is 1 less the highest level at which `difference_interval`, of two `share_interval`, leaves zero out.
    So interval and test agree: at the level asked for, zero is outside exactly where p is below 1 - level.
    It errs as often as the interval misses the truth (Lehmann & Romano 2005, Testing Statistical
    Hypotheses, section 3.5): near 0 and 1, and with few prompts, less often than p says.

    Args:
        first: a share, its variance, and how many prompts it rests on.
        second: the share to be taken away, likewise.
        correlation: of the two over prompts; 0 if their prompts differ.
        level: at which interval and test have to agree to the last digit.

    Returns:
        p, not below 1e-6; NaN where there is no interval.
    """
    # both at once, which takes less time: `[side, ...]`
    both = np.array(np.broadcast_arrays(*first, *second), dtype=float)
    share, variance, prompts = both[0::3], both[1::3], both[2::3]
    difference = np.asarray(share[0] - share[1])

    def without_zero(alpha: Numbers) -> np.ndarray:
        low, high = share_interval(share, variance, prompts, 1 - np.asarray(alpha))
        one, two = ((share[side], low[side], high[side]) for side in (0, 1))
        below, above = difference_interval(one, two, correlation)
        return np.asarray((below > 0) | (above < 0))

    known = np.isfinite(share_interval(share, variance, prompts, level)[0]).all(axis=0)
    asked = np.full(difference.shape, 1 - level)
    below = without_zero(asked)
    # zero is outside at `out` and inside at `within`
    out, within = np.where(below, asked, 1.0), np.where(below, np.minimum(_LEAST_P, asked), asked)
    for _ in range(_HALVINGS):
        middle = np.sqrt(out * within)
        outside = without_zero(middle)
        out, within = np.where(outside, middle, out), np.where(outside, within, middle)
    return np.where(known, np.where(difference == 0, 1.0, out), np.nan)
