"""Tests whose unit is the prompt, many tests at once, and what a study of this size could have shown."""

import numpy as np
from jaxtyping import Float, Int
from scipy import special

from diffusion_lens.analysis.statistics import DEFAULT, Resampling

__all__ = ["benjamini_hochberg", "holm", "sign_flip_test", "smallest_difference"]

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


def smallest_difference(
    width: Float[np.ndarray, "..."] | float,
    freedom: Int[np.ndarray, "..."] | int,
    level: float = 0.95,
    power: float = 0.8,
) -> Float[np.ndarray, "..."]:
    """The smallest true difference that a study of this size would have found with a chance of 80 %.

    The standard error that the interval's width implies, times the sum of the t quantiles of the level and
    of the power (Cohen 1988, Statistical Power Analysis, section 2.4).

    Args:
        width: of the interval of the difference, at `level`.
        freedom: degrees of freedom of the interval: one less than the prompts of a paired difference.
        level: of the interval; 1 less the level of the test.
        power: the chance of finding it.
    """
    freedom = np.maximum(freedom, 1)
    # the quantiles of scipy.stats, which takes a second to import
    quantile = special.stdtrit(freedom, 0.5 + level / 2)
    return np.asarray(width / (2 * quantile) * (quantile + special.stdtrit(freedom, power)))


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
    known = np.flatnonzero(np.isfinite(p))
    order = known[np.argsort(-p[known], kind="stable")]
    ranks = np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.minimum.accumulate(p[order] * (len(order) / ranks)), 1)
    return adjusted
