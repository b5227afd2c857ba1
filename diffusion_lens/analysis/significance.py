"""Tests whose unit is the prompt, many tests at once, and what a study of this size could have shown."""

import numpy as np
from jaxtyping import Float
from scipy import stats

from diffusion_lens.analysis.statistics import DEFAULT, Resampling

__all__ = ["benjamini_hochberg", "holm", "permutation_test", "sign_flip_test", "smallest_difference"]

_CHUNK = 4_000_000  # weights held at once: 32 MB


def sign_flip_test(differences: Float[np.ndarray, " prompt"], resampling: Resampling = DEFAULT) -> float:
    """Two-sided p of a mean difference of zero, by flipping the signs of whole prompts.

    Exact where all sign patterns can be tried (up to 13 prompts); else Monte Carlo with the observed
    pattern counted in (Phipson & Smyth 2010, arXiv 1603.05766), so that p is never 0.

    Args:
        differences: one by prompt; NaN are left out.
        resampling: how many sign patterns are tried where there are too many for all, and their seed.

    Returns:
        The p value; NaN without at least two prompts.
    """
    differences = differences[np.isfinite(differences)]
    count = len(differences)
    if count < 2:
        return np.nan
    observed = abs(differences.sum()) - 1e-9 * abs(differences).sum()
    if 2**count <= resampling.resamples:
        patterns = 1.0 - 2.0 * ((np.arange(2**count)[:, None] >> np.arange(count)) & 1)
        return float((abs(patterns @ differences) >= observed).mean())
    rng = np.random.default_rng(resampling.seed)
    step = max(1, _CHUNK // count)
    as_far = 0
    for start in range(0, resampling.resamples, step):
        rows = min(step, resampling.resamples - start)
        flipped = 1.0 - 2.0 * rng.integers(0, 2, (rows, count), dtype=np.int8)
        as_far += int((abs(flipped @ differences) >= observed).sum())
    return (as_far + 1) / (resampling.resamples + 1)


def permutation_test(
    first: Float[np.ndarray, " prompt"],
    second: Float[np.ndarray, " other"],
    resampling: Resampling = DEFAULT,
) -> float:
    """Two-sided p of equal means in two sets of prompts, by exchanging prompts between them.

    The difference is divided by its standard error in every permutation, so that the test also holds
    where the two sets vary unequally (Janssen 1997, Statistics & Probability Letters 36, 9-21).

    Returns:
        The p value; NaN without at least two prompts in each set.
    """
    first, second = first[np.isfinite(first)], second[np.isfinite(second)]
    n, m = len(first), len(second)
    if min(n, m) < 2:
        return np.nan
    pooled = np.concatenate([first, second])
    pooled = pooled - pooled.mean()
    powers = np.stack([pooled, pooled**2], axis=1)

    def statistic(taken: Float[np.ndarray, "many prompt"]) -> Float[np.ndarray, " many"]:
        inside, outside = taken @ powers, (1 - taken) @ powers
        variance = _variance(inside, n) / n + _variance(outside, m) / m
        return abs(inside[:, 0] / n - outside[:, 0] / m) / np.sqrt(np.maximum(variance, 1e-30))

    mine = np.repeat([1.0, 0.0], [n, m])[None]
    observed = statistic(mine)[0] * (1 - 1e-9)
    rng = np.random.default_rng(resampling.seed)
    step = max(1, _CHUNK // (n + m))
    as_far = 0
    for start in range(0, resampling.resamples, step):
        rows = min(step, resampling.resamples - start)
        as_far += int((statistic(rng.permuted(np.repeat(mine, rows, 0), axis=1)) >= observed).sum())
    return (as_far + 1) / (resampling.resamples + 1)


def _variance(sums: Float[np.ndarray, "many 2"], count: int) -> Float[np.ndarray, " many"]:
    return np.maximum(sums[:, 1] - sums[:, 0] ** 2 / count, 0) / (count - 1)


def smallest_difference(
    width: Float[np.ndarray, "..."] | float, prompts: int, level: float = 0.95, power: float = 0.8
) -> Float[np.ndarray, "..."] | float:
    """The smallest true difference that a study of this size would have found with a chance of 80 %.

    The standard error that the interval's width implies, times the sum of the t quantiles of the level and
    of the power (Cohen 1988, Statistical Power Analysis, section 2.4).

    Args:
        width: of the interval of the difference, at `level`.
        prompts: how many prompts are compared.
        level: of the interval; 1 less the level of the test.
        power: the chance of finding it.
    """
    freedom = max(prompts - 1, 1)
    quantile = stats.t.ppf(0.5 + level / 2, freedom)
    return width / (2 * quantile) * (quantile + stats.t.ppf(power, freedom))


def holm(p: Float[np.ndarray, " test"]) -> Float[np.ndarray, " test"]:
    """Adjusted so that the chance of any false finding is kept (Holm 1979): for few planned contrasts.

    Missing p values stay missing and do not count.
    """
    adjusted = np.full(p.shape, np.nan)
    known = np.flatnonzero(np.isfinite(p))
    order = known[np.argsort(p[known], kind="stable")]
    adjusted[order] = np.minimum(np.maximum.accumulate(p[order] * np.arange(len(order), 0, -1)), 1)
    return adjusted


def benjamini_hochberg(p: Float[np.ndarray, " test"]) -> Float[np.ndarray, " test"]:
    """Adjusted so that the share of false findings is kept (Benjamini & Hochberg 1995): for whole grids.

    Missing p values stay missing and do not count.
    """
    adjusted = np.full(p.shape, np.nan)
    known = np.isfinite(p)
    if known.any():
        adjusted[known] = stats.false_discovery_control(p[known])
    return adjusted
