"""Estimates over prompts and their jackknife: the unit of statistics is the prompt.

Images of one prompt are not independent, and neither are its layers, so whole prompts are left out, each
with all that belongs to it. Every statistic here is a function of column totals over prompts.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Float, Int
from scipy import special

from diffusion_lens.analysis.confidence import share_interval
from diffusion_lens.errors import InputError

__all__ = [
    "DEFAULT",
    "Jackknife",
    "Resampling",
    "jackknife",
    "mean_interval",
    "of_means",
    "rates",
    "totals",
]

_SAME = 1e-12
Statistic = Callable[[Float[np.ndarray, "many column"]], Float[np.ndarray, "many ..."]]


@dataclass(frozen=True)
class Resampling:
    """How sure intervals are to be, and how what is random is drawn.

    Attributes:
        level: of intervals and bands.
        resamples: draws behind each band and each p value.
        seed: of these draws.
    """

    level: float = 0.95
    resamples: int = 10_000
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.level < 1:
            raise InputError(f"The level {self.level} is not between 0 and 1. Give a share, such as 0.95.")
        if self.resamples < 100:
            raise InputError(f"{self.resamples} resamples are too few for p values. Give at least 100.")


DEFAULT = Resampling()


@dataclass(frozen=True)
class Jackknife:
    """A statistic, and what it is without each prompt (Tukey 1958; Efron & Tibshirani 1993, ch. 11).

    Attributes:
        estimate: the statistic, one number by column.
        deviations: the mean of the leave-one-out values less each of them.
        counts: how many prompts each number rests on.
    """

    estimate: Float[np.ndarray, " number"]
    deviations: Float[np.ndarray, "prompt number"]
    counts: Int[np.ndarray, " number"]

    @property
    def variance(self) -> Float[np.ndarray, " number"]:
        """Of each number; for a mean, the sample variance over the number of prompts."""
        prompts = np.maximum(len(self.deviations), 1)
        return (prompts - 1) / prompts * (self.deviations**2).sum(axis=0)

    @property
    def pseudo_values(self) -> Float[np.ndarray, "prompt number"]:
        """What each prompt alone says of each number (Tukey): for a mean, its own value."""
        return self.estimate + (len(self.deviations) - 1) * self.deviations

    def correlation(self, first: int, second: int) -> float:
        """Of two of the numbers over prompts; 0 where one of them does not vary.

        A positive one is made smaller by the agreement of half a prompt (Newcombe 1998, Statistics in
        Medicine 17, 2635-2650, method 10), without which paired differences of few prompts are too sure.
        """
        one, two = self.deviations[:, first], self.deviations[:, second]
        scale = np.sqrt((one**2).sum() * (two**2).sum())
        if scale <= _SAME**2:
            return 0.0
        product = (one * two).sum()
        if product > 0:
            product = max(product - 0.5 / max(len(one) - 1, 1) ** 2, 0.0)
        return float(np.clip(product / scale, -1, 1))

    def shares(self, level: float) -> tuple[Float[np.ndarray, " number"], Float[np.ndarray, " number"]]:
        """Ends of intervals of numbers between 0 and 1: see `confidence.share_interval`."""
        return share_interval(self.estimate, self.variance, self.counts, level)

    def normal(self, level: float) -> tuple[Float[np.ndarray, " number"], Float[np.ndarray, " number"]]:
        """Ends of t intervals of numbers without bounds; NaN where nothing varies."""
        error = np.sqrt(self.variance)
        known = (self.counts > 1) & (error > _SAME)
        quantile = special.stdtrit(np.maximum(self.counts - 1, 1), 0.5 + level / 2)
        half = np.where(known, quantile * error, np.nan)
        return self.estimate - half, self.estimate + half

    def normal_p(self) -> Float[np.ndarray, " number"]:
        """Two-sided p of each number being zero, by the t distribution: it agrees with `normal`."""
        error = np.sqrt(self.variance)
        known = (self.counts > 1) & (error > _SAME)
        t = np.divide(abs(self.estimate), error, out=np.zeros_like(error), where=known)
        return np.where(known, 2 * special.stdtr(np.maximum(self.counts - 1, 1), -t), np.nan)

    def simultaneous_level(self, resampling: Resampling) -> float:
        """The level at which intervals of all numbers together hold the whole curve.

        The quantile of the largest |t| of normal variates that are correlated as the numbers are ("sup-t",
        Montiel Olea & Plagborg-Moller 2019, Journal of Applied Econometrics 34, 1-17). A number that does
        not vary counts as independent of the others.
        """
        deviations = self.deviations[:, np.isfinite(self.estimate)]
        scale = np.sqrt((deviations**2).sum(axis=0))
        varies = scale > _SAME
        normal = deviations[:, varies] / scale[varies]
        # of fewer columns than prompts, or fewer prompts than columns: whatever is smaller
        width = min(normal.shape) if normal.shape[1] else 0
        alone, variates = _variates(resampling, int((~varies).sum()), width)
        largest = alone
        if width:
            root = np.linalg.qr(normal, mode="r")
            largest = np.maximum(alone, abs(variates @ root).max(axis=1))
        level = 2 * special.ndtr(np.quantile(largest, resampling.level)) - 1
        return max(float(level), resampling.level)


@lru_cache(maxsize=16)
def _variates(
    resampling: Resampling, alone: int, width: int
) -> tuple[Float[np.ndarray, " draw"], Float[np.ndarray, "draw width"]]:
    """The largest |t| of numbers that stand alone, and normal variates: the same for all curves of a size.

    Most curves of a study have the same number of layers, and to draw takes longer than all that is done
    with what is drawn.
    """
    rng = np.random.default_rng(resampling.seed)
    largest = abs(rng.standard_normal((resampling.resamples, alone))).max(axis=1, initial=0.0)
    return largest, rng.standard_normal((resampling.resamples, width))


def jackknife(
    columns: Float[np.ndarray, "prompt column"],
    statistic: Statistic,
    counts: Int[np.ndarray, " number"] | None = None,
) -> Jackknife:
    """Estimate a statistic and leave out one prompt after the other.

    Args:
        columns: what each prompt adds to the column totals.
        statistic: from many rows of column totals to as many rows of numbers.
        counts: how many prompts each number rests on; all if left out.
    """
    total = columns.sum(axis=0)
    estimate = np.asarray(statistic(total[None])[0], dtype=float)
    left_out = statistic(total - columns) if len(columns) > 1 else estimate[None]
    finite = np.isfinite(left_out)
    mean = np.where(finite, left_out, 0).sum(axis=0) / np.maximum(finite.sum(axis=0), 1)
    deviations = np.where(finite, mean - left_out, 0.0)
    if counts is None:
        counts = np.full(estimate.shape, len(columns), dtype=np.int64)
    return Jackknife(estimate, deviations, counts)


def of_means(means: Float[np.ndarray, "prompt column"]) -> Jackknife:
    """The means of columns over the prompts that have a value in them."""
    counts = np.isfinite(means).sum(axis=0)
    if len(means) < 2:
        return jackknife(totals(means), rates, counts)
    # in closed form: leaving out one value x of n moves the mean by (mean - x) / (n - 1)
    known = np.isfinite(means)
    with np.errstate(invalid="ignore", divide="ignore"):
        estimate = np.where(counts > 0, np.where(known, means, 0).sum(axis=0) / counts, np.nan)
        moved = np.where(known & (counts > 1), (estimate - means) / (counts - 1), 0.0)
    return Jackknife(estimate, -(moved - moved.mean(axis=0)), counts)


def totals(values: Float[np.ndarray, "prompt column"]) -> Float[np.ndarray, "prompt twice"]:
    """Columns from which `rates` gets means over prompts: the values, and whether they are there."""
    known = np.isfinite(values)
    return np.concatenate([np.where(known, values, 0.0), known.astype(float)], axis=1)


def rates(sums: Float[np.ndarray, "many twice"]) -> Float[np.ndarray, "many column"]:
    """Means of the columns that `totals` made; NaN where no prompt has a value."""
    half = sums.shape[1] // 2
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(sums[:, half:] > _SAME, sums[:, :half] / sums[:, half:], np.nan)


def mean_interval(values: Float[np.ndarray, " prompt"], level: float = 0.95) -> tuple[float, float, float]:
    """A mean over prompts (or concepts) and the ends of its t interval; NaN where there is none."""
    result = of_means(np.asarray(values, dtype=float)[:, None])
    low, high = result.normal(level)
    return float(result.estimate[0]), float(low[0]), float(high[0])
