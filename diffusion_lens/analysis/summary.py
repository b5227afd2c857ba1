"""The numbers of a curve: area, final rate, their ratio, layer of half; each with an interval."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int

from diffusion_lens.analysis.curves import why_no_interval
from diffusion_lens.analysis.emergence import (
    flickers,
    half_of_final,
    half_of_final_interval,
    was_right_before,
)
from diffusion_lens.analysis.statistics import DEFAULT, Resampling, jackknife, of_means, rates, totals
from diffusion_lens.analysis.trajectories import Condition, Scores, Trajectories, gathered

__all__ = ["MEASURES", "area", "layers_that_count", "measures", "prompts_behind", "summary"]

# the primary number first
MEASURES: tuple[str, ...] = ("area", "final", "ratio")
_SHARES = ("never", "flicker", "failed_but_right_before")


def area(
    curves: Float[np.ndarray, "curve layer"], depths: Float[np.ndarray, " layer"]
) -> Float[np.ndarray, " curve"]:
    """Area under a layer curve: the mean rate over depth, 0 to 1, between the layers sampled.

    By the trapezoid rule, divided by the depth covered. It needs no threshold and no rising curve, and is
    always defined from two layers on; NaN for one.
    """
    if len(depths) < 2:
        return np.full(len(curves), np.nan)
    return np.trapezoid(curves, depths, axis=1) / (depths[-1] - depths[0])


def measures(
    curves: Float[np.ndarray, "curve layer"],
    depths: Float[np.ndarray, " layer"],
    there: Bool[np.ndarray, " layer"] | None = None,
) -> Float[np.ndarray, "curve 3"]:
    """The numbers named in `MEASURES`: area, final rate, area / final rate.

    Args:
        curves: one by row.
        depths: of the layers.
        there: the layers that count, the same for all curves; those at which every curve has a rate, if
            left out.
    """
    if there is None:
        there = np.isfinite(curves).all(axis=0)
    curves, depths = curves[:, there], depths[there]
    if not there.any():
        return np.full((len(curves), len(MEASURES)), np.nan)
    under, final = area(curves, depths), curves[:, -1]
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = np.where(final > 0, under / final, np.nan)
    return np.stack([under, final, ratio], axis=1)


def layers_that_count(means: Float[np.ndarray, "prompt layer"]) -> Bool[np.ndarray, " layer"]:
    """The layers that count for the numbers of a curve: those judged for two prompts or more.

    Of a single prompt, those at which it is judged. What counts is decided once, from all prompts, and
    never by a sample that leaves one of them out.
    """
    return np.isfinite(means).sum(axis=0) >= min(2, len(means))


def prompts_behind(
    means: Float[np.ndarray, "prompt layer"], there: Bool[np.ndarray, " layer"]
) -> Int[np.ndarray, " 3"]:
    """How many prompts each of `MEASURES` rests on: those that are judged at all, and at the last layer."""
    known = np.isfinite(means[:, there])
    some = int(known.any(axis=1).sum())
    return np.array([some, int(known[:, -1:].sum()), some])


def summary(
    table: Scores,
    by: Sequence[str] = ("run", "scorer", "encoder", "kind"),
    *,
    condition: Condition = "none",
    resampling: Resampling = DEFAULT,
) -> pd.DataFrame:
    """The numbers of each curve.

    Args:
        table: validated scores, or what `gathered` made of them.
        by: one row for each combination of values in these columns.
        condition: as for `curves.curves`.
        resampling: the level of the intervals.

    Returns:
        One row by group, each number with `_low` and `_high`: `area`, the primary number; `final`, the
        rate at the deepest layer; `ratio`, area / final, which takes the final rate out of the area;
        `half_depth` and `half_layer`, where an isotonic fit reaches half of its final value; `never`, the
        share wrong at the deepest layer; `flicker`, the share that is right, wrong and right again;
        `failed_but_right_before`, the share of final failures that were right earlier, of
        `failed_prompts`; then `prompts` (those with an answer), `trajectories`, `layers`, `condition` and a
        `note`.
    """
    rows = []
    for key, whole in gathered(table, by).groups:
        found = whole.where(condition)
        judged = found.judged()
        row: dict[str, object] = {**key, "condition": condition, "prompts": len(judged.prompts)}
        if found.prompts:
            row |= _numbers(judged if judged.prompts else found, condition, resampling.level)
            row["trajectories"] = len(found.values)
        else:
            row["note"] = f"nothing is {condition}"
        rows.append(row)
    return pd.DataFrame(rows)


def _numbers(found: Trajectories, condition: Condition, level: float) -> dict[str, object]:
    means = found.prompt_means()
    there = layers_that_count(means)
    curve = jackknife(
        totals(means),
        lambda sums: measures(rates(sums), found.depths, there),
        prompts_behind(means, there),
    )
    low, high = curve.shares(level)
    low[2], high[2] = (ends[2] for ends in curve.normal(level))
    if condition != "none":
        low[1] = high[1] = np.nan  # 0 or 1 by construction
    shares = of_means(found.prompt_means(_shares(found)))
    share_low, share_high = shares.shares(level)
    row: dict[str, object] = {}
    for names, estimate, lows, highs in (
        (MEASURES, curve.estimate, low, high),
        (_SHARES, shares.estimate, share_low, share_high),
    ):
        for index, name in enumerate(names):
            row |= {name: estimate[index], f"{name}_low": lows[index], f"{name}_high": highs[index]}
    row["failed_prompts"] = int(shares.counts[2])
    half, half_low, half_high = _half(found, means[:, there], there, level)
    last = found.layers[-1] / found.depths[-1] if found.depths[-1] > 0 else 0.0
    for end, depth in (("", half), ("_low", half_low), ("_high", half_high)):
        row[f"half_depth{end}"] = depth
        row[f"half_layer{end}"] = depth * last
    row["half_is_bound"] = bool(half == found.depths[0]) and len(found.layers) > 1
    row["layers"] = len(found.layers)
    row["note"] = _note(found, half)
    return row


def _shares(found: Trajectories) -> Float[np.ndarray, "trajectory 3"]:
    """Whether each trajectory is wrong at the end, comes and goes, was right before it failed."""
    final = found.values[:, -1]
    never = np.where(np.isfinite(final), final <= 0.5, np.nan)
    known = np.isfinite(found.values).any(axis=1)
    flicker = np.where(known, flickers(found.values) > 0, np.nan)
    return np.stack([never, flicker, was_right_before(found.values)], axis=1)


def _half(
    found: Trajectories,
    means: Float[np.ndarray, "prompt layer"],
    there: Bool[np.ndarray, " every"],
    level: float,
) -> tuple[float, float, float]:
    depths = found.depths[there]
    if len(depths) < 2:
        return np.nan, np.nan, np.nan
    result = of_means(means)
    half = float(half_of_final(result.estimate[None], depths)[0])
    return half, *half_of_final_interval(result, depths, level)


def _note(found: Trajectories, half: float) -> str:
    notes = [why_no_interval(len(found.prompts))]
    if len(found.layers) == 1:
        notes.append("one layer: no area, no emergence")
    elif found.depths[-1] < 1:
        notes.append(f"deepest layer scored is {found.layers[-1]}, at depth {found.depths[-1]:.2g}")
    if len(found.layers) > 1 and half == found.depths[0]:
        notes.append("half of the final rate is there at the first layer: half_layer is an upper bound")
    return "; ".join(note for note in notes if note)
