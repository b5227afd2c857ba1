"""Many tests at once: adjusted p values."""

import numpy as np
from jaxtyping import Float
from scipy import stats

__all__ = ["benjamini_hochberg", "holm"]


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
