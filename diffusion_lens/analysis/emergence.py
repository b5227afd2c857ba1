"""Emergence: the layer at which something has appeared, as an interval where it is not known exactly.

Layers are sampled, so a time of emergence is known as an interval; trajectories flicker, so the first
layer that is right is not yet emergence; and what is wrong at the end has never emerged.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from scipy.optimize import isotonic_regression

from diffusion_lens.analysis.confidence import difference_interval
from diffusion_lens.analysis.curves import why_no_interval
from diffusion_lens.analysis.stacking import stack
from diffusion_lens.analysis.statistics import DEFAULT, Jackknife, Resampling, jackknife
from diffusion_lens.analysis.trajectories import Scores, Trajectories, gather, gathered, groups

__all__ = [
    "distribution",
    "flickers",
    "half_of_final",
    "half_of_final_interval",
    "intervals",
    "times",
    "was_right_before",
]


def half_of_final(
    curves: Float[np.ndarray, "curve layer"], depths: Float[np.ndarray, " layer"]
) -> Float[np.ndarray, " curve"]:
    """The depth at which a rising fit of a curve first reaches half of its final value.

    The fit is isotonic regression (Barlow et al. 1972), straight lines between sampled layers.

    Returns:
        One depth by curve, the first one sampled if it is reached there already (then it is an upper
        bound); NaN where the final value is 0 or a rate is missing.
    """
    reached = np.full(len(curves), np.nan)
    for row in np.flatnonzero(np.isfinite(curves).all(axis=1)):
        fit = isotonic_regression(curves[row]).x
        half = fit[-1] / 2
        if half <= 0:
            continue
        after = int(np.argmax(fit >= half))
        if after == 0:
            reached[row] = depths[0]
        else:
            part = (half - fit[after - 1]) / (fit[after] - fit[after - 1])
            reached[row] = depths[after - 1] + part * (depths[after] - depths[after - 1])
    return reached


def half_of_final_interval(
    result: Jackknife, depths: Float[np.ndarray, " layer"], level: float
) -> tuple[float, float]:
    """Ends of an interval of `half_of_final`, by inversion (as Fieller 1954, JRSS B 16, 175-185).

    A depth belongs to it if the rate there may be half of the final rate: if an interval of the difference
    holds zero. Ends lie between layers, on straight lines between the ends of these intervals. Unlike a
    resampled one, such an interval also holds its level where the estimate jumps from layer to layer.

    Args:
        result: the rate of each layer.
        depths: of the layers.
        level: of the interval.
    """
    low, high = result.shares(level)
    estimate = result.estimate
    if not np.isfinite(low).all() or estimate[-1] <= 0:
        return np.nan, np.nan
    final = (estimate[-1] / 2, low[-1] / 2, high[-1] / 2)
    correlation = [result.correlation(layer, len(depths) - 1) for layer in range(len(depths))]
    least, most = difference_interval((estimate, low, high), final, correlation)
    # at the last layer the difference is half of the final rate itself, which is not below zero
    least[-1] = max(least[-1], low[-1] / 2)
    first = int(np.argmax(most > 0))
    last = int(len(depths) - 1 - np.argmax(least[::-1] < 0)) if (least < 0).any() else -1
    start = depths[0] if first == 0 else _crossing(most, depths, first - 1)
    end = depths[0] if last < 0 else _crossing(least, depths, last)
    # what is there at the first layer is known to come no later than the next one sampled
    return float(start), float(max(end, depths[1]) if end == depths[0] else end)


def _crossing(values: Float[np.ndarray, " layer"], depths: Float[np.ndarray, " layer"], at: int) -> float:
    """Where the straight line from layer `at` to the next one crosses zero."""
    part = -values[at] / (values[at + 1] - values[at])
    return float(depths[at] + part * (depths[at + 1] - depths[at]))


def intervals(
    values: Float[np.ndarray, "trajectory layer"],
) -> tuple[Int[np.ndarray, " trajectory"], Int[np.ndarray, " trajectory"]]:
    """Between which layers each trajectory turns right and stays so, as far as answers are known.

    Missing answers widen the interval; they are not taken for right or wrong.

    Returns:
        `after` and `by`, positions among the layers: the last that is wrong (-1: none) and the first
        right one after it (the number of layers: none). Emergence lies after the one and not after the
        other; a final answer that is wrong gives `after` = the last position: never.
    """
    layers = values.shape[1]
    positions = np.arange(layers)
    after = np.where(values <= 0.5, positions, -1).max(axis=1)
    right_since = (values > 0.5) & (positions > after[:, None])
    return after, np.where(right_since, positions, layers).min(axis=1)


def flickers(values: Float[np.ndarray, "trajectory layer"]) -> Int[np.ndarray, " trajectory"]:
    """How often each trajectory is right, then wrong, then right again; missing layers are skipped."""
    runs = np.zeros(len(values), dtype=np.int64)
    before = np.zeros(len(values), dtype=bool)
    for layer in range(values.shape[1]):
        known, right = np.isfinite(values[:, layer]), values[:, layer] > 0.5
        runs += known & right & ~before
        before = np.where(known, right, before)
    return np.maximum(runs - 1, 0)


def was_right_before(values: Float[np.ndarray, "trajectory layer"]) -> Float[np.ndarray, " trajectory"]:
    """Of what is wrong at the deepest layer: 1 if it was right at an earlier one, else 0.

    NaN for what is right or missing at the end. If layers were drawn from noise of their own, part of
    this is the luck of the draw; shared noise leaves the encoder alone to blame.
    """
    earlier = (values[:, :-1] > 0.5).any(axis=1)
    return np.where(values[:, -1] <= 0.5, earlier.astype(float), np.nan)


def times(table: pd.DataFrame, by: Sequence[str] = ("run", "scorer", "encoder")) -> pd.DataFrame:
    """One row by trajectory: when it turned right, and how steadily.

    Args:
        table: validated scores.
        by: columns whose values are analysed apart.

    Returns:
        Their columns, prompt_id, seed, check and: `first_right`, the first layer that is right (biased
        early where trajectories flicker); `after` and `by`, layers between which it turns right for good
        (`after` missing: not after the first layer sampled); `outcome`, "emerged", "never" (wrong at the
        deepest layer) or "unknown" (no answer after the last wrong one); `flickers`; `right_before`, for
        failures: whether it was right at an earlier layer.
    """
    parts = []
    for key, part in groups(table, by):
        found = gather(part)
        layers = np.array([*found.layers, -1])
        after, first = intervals(found.values)
        right = found.values > 0.5
        ends_wrong = found.values[:, -1] <= 0.5
        frame = found.keys[["run", "encoder", "scorer", "prompt_id", "seed", "check"]].copy()
        for name, cell in key.items():
            frame[name] = cell
        frame["first_right"] = _or_missing(layers[np.argmax(right, axis=1)], right.any(axis=1))
        frame["after"] = _or_missing(layers[after], after >= 0)
        frame["by"] = _or_missing(layers[np.minimum(first, len(found.layers))], first < len(found.layers))
        frame["outcome"] = np.select(
            [first < len(found.layers), ends_wrong], ["emerged", "never"], "unknown"
        )
        frame["flickers"] = flickers(found.values)
        before = was_right_before(found.values)
        frame["right_before"] = pd.Series(before).map({0.0: False, 1.0: True}).astype("boolean")
        parts.append(frame)
    return pd.concat(parts, ignore_index=True)


def _or_missing(numbers: np.ndarray, known: object) -> pd.Series:
    return pd.Series(numbers).astype("Int64").where(np.asarray(known))


def distribution(
    table: Scores,
    by: Sequence[str] = ("run", "scorer", "encoder", "kind"),
    *,
    resampling: Resampling = DEFAULT,
) -> pd.DataFrame:
    """The share that has emerged for good by each layer, and the share that never does.

    The nonparametric maximum likelihood estimate from interval-censored times (Turnbull 1976, JRSS B 38,
    290-295), each prompt counting once. Without missing answers it is the plain share.

    Returns:
        One row by group and layer: `emerged` with `low` and `high`, `emerged_of_ever` (the same among
        those that ever emerge), and the `never` share with `never_low` and `never_high`.
    """
    parts: list[dict[str, object]] = []
    for key, found in gathered(table, by).groups:
        pairs, columns = _censoring(found)
        known = columns.sum(axis=1) > 0
        if not known.any():
            parts.append({**key, "note": "no answers"})
            continue

        def shares(
            sums: Float[np.ndarray, "many pair"], pairs: Int[np.ndarray, "pair 2"] = pairs
        ) -> Float[np.ndarray, "many cell"]:
            cells = turnbull(sums, pairs, len(found.layers) + 1)  # noqa: B023
            cumulative = np.cumsum(cells, axis=1)
            return np.concatenate([cumulative[:, :-1], cells[:, -1:]], axis=1)

        result = jackknife(columns[known], shares)
        low, high = result.shares(resampling.level)
        ever = 1 - result.estimate[-1]
        part: dict[str, object] = {
            **key,
            "layer": found.layers,
            "depth": found.depths,
            "emerged": result.estimate[:-1],
            "low": low[:-1],
            "high": high[:-1],
            "emerged_of_ever": result.estimate[:-1] / ever if ever > 1e-9 else np.nan,
            "never": result.estimate[-1],
            "never_low": low[-1],
            "never_high": high[-1],
            "prompts": int(known.sum()),
            "note": why_no_interval(int(known.sum())),
        }
        parts.append(part)
    names = [
        *(*by, "layer", "depth", "emerged", "low", "high", "emerged_of_ever"),
        *("never", "never_low", "never_high", "prompts", "note"),
    ]
    return stack(parts, names)


def _censoring(
    found: Trajectories,
) -> tuple[Int[np.ndarray, "pair 2"], Float[np.ndarray, "prompt pair"]]:
    """The censoring intervals that occur, as first and last possible cell, and each prompt's share of them.

    Cell i is "emerges at the i-th layer"; the cell after the last is "never".
    """
    layers = len(found.layers)
    after, by = intervals(found.values)
    pairs = np.stack([after + 1, by], axis=1)
    # all layers missing says nothing
    informative = (pairs[:, 0] > 0) | (pairs[:, 1] < layers)
    kinds, which = np.unique(pairs[informative], axis=0, return_inverse=True)
    columns = np.zeros((len(found.prompts), len(kinds)))
    prompt = found.prompt[informative]
    each = np.bincount(prompt, minlength=len(found.prompts))
    np.add.at(columns, (prompt, which.ravel()), 1 / each[prompt])
    return kinds, columns


def turnbull(
    counts: Float[np.ndarray, "many pair"], pairs: Int[np.ndarray, "pair 2"], cells: int
) -> Float[np.ndarray, "many cell"]:
    """Self-consistent shares of cells from counts of intervals of cells, by expectation-maximisation.

    Args:
        counts: how much of each interval was seen; one estimate by row.
        pairs: first and last cell of each interval.
        cells: how many cells there are.
    """
    inside = (np.arange(cells) >= pairs[:, :1]) & (np.arange(cells) <= pairs[:, 1:])
    inside = inside.astype(float)
    share = np.full((len(counts), cells), 1 / cells)
    whole = counts.sum(axis=1, keepdims=True)
    for _ in range(500):
        expected = share @ inside.T
        ratio = np.divide(counts, expected, out=np.zeros_like(counts), where=expected > 1e-300)
        new = np.divide((ratio @ inside) * share, whole, out=np.zeros_like(share), where=whole > 0)
        moved = abs(new - share).max()
        share = new
        if moved < 1e-7:
            break
    return share
