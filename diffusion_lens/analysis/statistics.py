"""Intervals, bands and tests whose unit is the prompt.

Images of one prompt are not independent, and neither are its layers, so prompts are resampled, each with
all that belongs to it. Every statistic here is a function of column totals over prompts: a resample is a
row of weights, and all resamples are one matrix product.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy import stats

__all__ = ["Bootstrap", "bootstrap", "permutation_test", "rates", "sign_flip_test", "totals"]

_CHUNK = 4_000_000  # weights held at once: 32 MB
_SAME = 1e-12
Statistic = Callable[[Float[np.ndarray, "many column"]], Float[np.ndarray, "many ..."]]


@dataclass(frozen=True)
class Bootstrap:
    """A statistic, and what it was on resampled prompts.

    Attributes:
        estimate: the statistic; of any shape.
        replicates: the same on each resample.
        influence: jackknife deviations, the mean of the leave-one-out values less each of them.
        prompts: how many prompts.
    """

    estimate: Float[np.ndarray, "..."]
    replicates: Float[np.ndarray, "resample ..."]
    influence: Float[np.ndarray, "prompt ..."]
    prompts: int

    def part(self, which: slice) -> "Bootstrap":
        """Some entries of a statistic of one dimension."""
        return Bootstrap(
            self.estimate[which], self.replicates[:, which], self.influence[:, which], self.prompts
        )

    def pseudo_values(self) -> Float[np.ndarray, "prompt ..."]:
        """What each prompt alone says of the statistic (Tukey's jackknife): for a mean, its own value."""
        return self.estimate + (self.prompts - 1) * self.influence

    def minus(self, other: "Bootstrap") -> "Bootstrap":
        """The difference to the same statistic on other prompts, resampled on their own."""
        return Bootstrap(
            np.asarray(self.estimate - other.estimate),
            self.replicates - other.replicates,
            np.concatenate([self.influence, -other.influence]),
            # a t distribution with the degrees of freedom of two samples
            self.prompts + other.prompts - 1,
        )

    def interval(self, level: float = 0.95) -> tuple[Float[np.ndarray, "..."], Float[np.ndarray, "..."]]:
        """Lower and upper ends of bias-corrected and accelerated intervals.

        BCa (Efron 1987, JASA 82, 171-185) at a nominal level widened as a t interval is wider than a
        normal one (Hesterberg 2015, The American Statistician 69, 371-386, section 4.5.1, "expanded
        percentile"), without which bootstrap intervals of few prompts are too narrow.

        Returns:
            Both ends; NaN where the statistic is, and for fewer than two prompts.
        """
        shape = self.estimate.shape
        low, high = np.full(shape, np.nan), np.full(shape, np.nan)
        if self.prompts < 2:
            return low, high
        for index in np.ndindex(shape):
            here = (slice(None), *index)
            low[index], high[index] = self._interval(
                float(self.estimate[index]), self.replicates[here], self.influence[here], level
            )
        return low, high

    def _interval(
        self,
        estimate: float,
        replicates: Float[np.ndarray, " resample"],
        influence: Float[np.ndarray, " prompt"],
        level: float,
    ) -> tuple[float, float]:
        replicates = replicates[np.isfinite(replicates)]
        # a statistic that most resamples leave undefined has no distribution to speak of
        if not np.isfinite(estimate) or len(replicates) < len(self.replicates) / 2:
            return np.nan, np.nan
        below = (replicates < estimate - _SAME).mean() + 0.5 * (abs(replicates - estimate) <= _SAME).mean()
        edge = 0.5 / len(replicates)
        bias = stats.norm.ppf(np.clip(below, edge, 1 - edge))
        influence = influence[np.isfinite(influence)]
        if (largest := abs(influence).max(initial=0.0)) > _SAME:
            influence = influence / largest
            acceleration = (influence**3).sum() / (6 * (influence**2).sum() ** 1.5)
        else:
            acceleration = 0.0
        point = bias + np.array([-1, 1]) * _widened(stats.norm.ppf(0.5 + level / 2), self.prompts)
        probability = stats.norm.cdf(bias + point / (1 - acceleration * point))
        low, high = np.quantile(replicates, probability)
        return float(low), float(high)

    def standard_error(self) -> Float[np.ndarray, "..."]:
        """Standard deviation of the replicates, without the bootstrap's bias of (n - 1) / n."""
        inflation = np.sqrt(self.prompts / max(self.prompts - 1, 1))
        return _spread(self.replicates) * inflation

    def band(
        self, level: float = 0.95, *, shares: bool = False
    ) -> tuple[Float[np.ndarray, " what"], Float[np.ndarray, " what"]]:
        """Ends of a band that holds the whole curve at once.

        The half width is the same multiple of the standard error everywhere: the quantile over
        resamples of the largest |t| along the curve (Davison & Hinkley 1997, Bootstrap Methods and Their
        Application, section 4.2.4), widened as a t quantile is wider than a normal one. Where nothing
        varies, the band has no width.

        Args:
            level: chance that the whole curve lies inside.
            shares: the curve is of shares between 0 and 1. The band is then made on the scale
                2 arcsin(sqrt(share)), where the standard error does not depend on the share (Anscombe
                1948, Biometrika 35, 246-254); on the plain scale it misses curves that start near 0.

        Returns:
            Both ends, NaN where the statistic is and for fewer than two prompts.
        """
        if self.prompts < 2:
            return np.full(self.estimate.shape, np.nan), np.full(self.estimate.shape, np.nan)
        if shares:
            estimate, replicates = _stable(self.estimate), _stable(self.replicates)
        else:
            estimate, replicates = self.estimate, self.replicates
        error = _spread(replicates)
        varies = np.isfinite(estimate) & (error > _SAME)
        if not varies.any():
            return self.estimate.copy(), self.estimate.copy()
        deviations = abs(replicates[:, varies] - estimate[varies]) / error[varies]
        # a resample may leave some layers undefined, few all of them
        largest = np.where(np.isfinite(deviations), deviations, -1.0).max(axis=1)
        half = _widened(float(np.quantile(largest[largest >= 0], level)), self.prompts) * error
        low, high = estimate - half, estimate + half
        if shares:
            low, high = (np.sin(np.clip(end, 0, np.pi) / 2) ** 2 for end in (low, high))
        return low, high


def _spread(replicates: Float[np.ndarray, "resample ..."]) -> Float[np.ndarray, "..."]:
    """Standard deviation of the replicates that are defined; 0 if fewer than two are."""
    known = np.isfinite(replicates)
    count = known.sum(axis=0)
    mean = np.where(known, replicates, 0).sum(axis=0) / np.maximum(count, 1)
    squares = np.where(known, replicates - mean, 0) ** 2
    return np.asarray(np.sqrt(squares.sum(axis=0) / np.maximum(count - 1, 1)))


def _stable(shares: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    return 2 * np.arcsin(np.sqrt(np.clip(shares, 0, 1)))


def _widened(normal: float, prompts: int) -> float:
    """A normal quantile as a t interval of so many prompts would have it."""
    # beyond eight standard errors a probability is no longer told from 1
    tail = stats.norm.sf(min(normal, 8.0))
    return float(stats.t.isf(tail, prompts - 1) * np.sqrt(prompts / (prompts - 1)))


def _deviations(left_out: Float[np.ndarray, "prompt ..."]) -> Float[np.ndarray, "prompt ..."]:
    finite = np.isfinite(left_out)
    count = np.maximum(finite.sum(axis=0), 1)
    return np.where(finite, left_out, 0).sum(axis=0) / count - left_out


def totals(values: Float[np.ndarray, "prompt column"]) -> Float[np.ndarray, "prompt twice"]:
    """Columns from which `rates` gets means over prompts: the values, and whether they are there."""
    known = np.isfinite(values)
    return np.concatenate([np.where(known, values, 0.0), known.astype(float)], axis=1)


def rates(sums: Float[np.ndarray, "many twice"]) -> Float[np.ndarray, "many column"]:
    """Means of the columns that `totals` made; NaN where no prompt has a value."""
    half = sums.shape[1] // 2
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(sums[:, half:] > _SAME, sums[:, :half] / sums[:, half:], np.nan)


def bootstrap(
    columns: Float[np.ndarray, "prompt column"],
    statistic: Statistic = rates,
    *,
    resamples: int = 2000,
    seed: int = 0,
) -> Bootstrap:
    """Resample prompts.

    Args:
        columns: what each prompt adds to the column totals.
        statistic: from many rows of column totals to as many values.
        resamples: how many resamples.
        seed: of the resampling.
    """
    total = columns.sum(axis=0)
    sums = np.concatenate(
        [weights @ columns for weights in _weights(len(columns), resamples, np.random.default_rng(seed))]
    )
    return Bootstrap(
        np.asarray(statistic(total[None])[0]),
        statistic(sums),
        _deviations(statistic(total - columns)),
        len(columns),
    )


def mean_interval(values: Float[np.ndarray, " prompt"]) -> tuple[float, float, float]:
    """A mean over prompts, and its 95 % interval by `bootstrap`."""
    result = bootstrap(totals(values[:, None]))
    low, high = result.interval()
    return float(result.estimate[0]), float(low[0]), float(high[0])


def _weights(
    prompts: int, resamples: int, rng: np.random.Generator
) -> Iterator[Float[np.ndarray, "resample prompt"]]:
    """How often each prompt is drawn, some resamples at a time."""
    step = max(1, _CHUNK // prompts)
    for start in range(0, resamples, step):
        rows = min(step, resamples - start)
        drawn = rng.integers(0, prompts, (rows, prompts)) + prompts * np.arange(rows)[:, None]
        yield np.bincount(drawn.ravel(), minlength=rows * prompts).reshape(rows, prompts).astype(float)


def sign_flip_test(
    differences: Float[np.ndarray, " prompt"], *, resamples: int = 10_000, seed: int = 0
) -> float:
    """Two-sided p of a mean difference of zero, by flipping the signs of whole prompts.

    Exact where all sign patterns can be tried (up to 13 prompts); else Monte Carlo with the observed
    pattern counted in (Phipson & Smyth 2010, arXiv 1603.05766), so that p is never 0.

    Args:
        differences: one by prompt; NaN are left out.
        resamples: sign patterns tried where there are too many for all.
        seed: of the patterns.

    Returns:
        The p value; NaN without at least two prompts.
    """
    differences = differences[np.isfinite(differences)]
    count = len(differences)
    if count < 2:
        return np.nan
    observed = abs(differences.sum()) - 1e-9 * abs(differences).sum()
    if 2**count <= resamples:
        patterns = 1.0 - 2.0 * ((np.arange(2**count)[:, None] >> np.arange(count)) & 1)
        return float((abs(patterns @ differences) >= observed).mean())
    rng = np.random.default_rng(seed)
    step = max(1, _CHUNK // count)
    as_far = 0
    for start in range(0, resamples, step):
        rows = min(step, resamples - start)
        flipped = 1.0 - 2.0 * rng.integers(0, 2, (rows, count), dtype=np.int8)
        as_far += int((abs(flipped @ differences) >= observed).sum())
    return (as_far + 1) / (resamples + 1)


def permutation_test(
    first: Float[np.ndarray, " prompt"],
    second: Float[np.ndarray, " other"],
    *,
    resamples: int = 10_000,
    seed: int = 0,
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
    rng = np.random.default_rng(seed)
    step = max(1, _CHUNK // (n + m))
    as_far = 0
    for start in range(0, resamples, step):
        rows = min(step, resamples - start)
        as_far += int((statistic(rng.permuted(np.repeat(mine, rows, 0), axis=1)) >= observed).sum())
    return (as_far + 1) / (resamples + 1)


def _variance(sums: Float[np.ndarray, "many 2"], count: int) -> Float[np.ndarray, " many"]:
    return np.maximum(sums[:, 1] - sums[:, 0] ** 2 / count, 0) / (count - 1)
