"""The numbers of a curve: area, final rate, their ratio, emergence; each with an interval."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float

from diffusion_lens.analysis.curves import why_no_interval
from diffusion_lens.analysis.emergence import flickers, half_of_final, was_right_before
from diffusion_lens.analysis.statistics import bootstrap, rates, totals
from diffusion_lens.analysis.trajectories import Condition, Trajectories, gather, groups

__all__ = ["MEASURES", "area", "measures", "summary"]

# the primary number first
MEASURES: tuple[str, ...] = ("area", "final", "ratio", "half_depth")
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
    curves: Float[np.ndarray, "curve layer"], depths: Float[np.ndarray, " layer"]
) -> Float[np.ndarray, "curve 4"]:
    """The numbers named in `MEASURES`: area, final rate, area / final rate, depth of half of the final.

    Layers at which the first curve has no rate at all are left out.
    """
    there = np.isfinite(curves[0]) if len(curves) else np.ones(len(depths), dtype=bool)
    curves, depths = curves[:, there], depths[there]
    if not there.any():
        return np.full((len(curves), 4), np.nan)
    under, final = area(curves, depths), curves[:, -1]
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = np.where(final > 0, under / final, np.nan)
    half = half_of_final(curves, depths) if len(depths) > 1 else np.full(len(curves), np.nan)
    return np.stack([under, final, ratio, half], axis=1)


def summary(
    table: pd.DataFrame,
    by: Sequence[str] = ("run", "scorer", "encoder", "kind"),
    *,
    condition: Condition = "none",
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> pd.DataFrame:
    """The numbers of each curve.

    Args:
        table: validated scores.
        by: one row for each combination of values in these columns.
        condition: as for `curves.curves`.
        level: of the intervals.
        resamples: of prompts.
        seed: of the resampling.

    Returns:
        One row by group, each number with `_low` and `_high`: `area`, the primary number; `final`, the
        rate at the deepest layer; `ratio`, area / final, which takes the final rate out of the area;
        `half_depth` and `half_layer`, where an isotonic fit reaches half of its final value; `never`, the
        share wrong at the deepest layer; `flicker`, the share that is right, wrong and right again;
        `failed_but_right_before`, the share of final failures that were right earlier; then `prompts`,
        `trajectories`, `layers`, `condition` and a `note`.
    """
    rows = []
    for key, part in groups(table, by):
        found = gather(part).where(condition)
        row: dict[str, object] = {**key, "condition": condition, "prompts": len(found.prompts)}
        if found.prompts:
            row |= _numbers(found, level, resamples, seed)
        else:
            row["note"] = f"nothing is {condition}"
        rows.append(row)
    return pd.DataFrame(rows)


def _numbers(found: Trajectories, level: float, resamples: int, seed: int) -> dict[str, object]:
    layers = len(found.layers)
    final = found.values[:, -1]
    never = np.where(np.isfinite(final), final <= 0.5, np.nan)
    known = np.isfinite(found.values).any(axis=1)
    flicker = np.where(known, flickers(found.values) > 0, np.nan)
    shares = np.stack([never, flicker, was_right_before(found.values)], axis=1)
    columns = totals(np.concatenate([found.prompt_means(), found.prompt_means(shares)], axis=1))

    def statistic(sums: Float[np.ndarray, "many twice"]) -> Float[np.ndarray, "many 7"]:
        means = rates(sums)
        return np.concatenate([measures(means[:, :layers], found.depths), means[:, layers:]], axis=1)

    result = bootstrap(columns, statistic, resamples=resamples, seed=seed)
    low, high = result.interval(level)
    row: dict[str, object] = {}
    last = found.layers[-1] / found.depths[-1] if found.depths[-1] > 0 else 0.0
    for index, name in enumerate((*MEASURES, *_SHARES)):
        row[name], row[f"{name}_low"], row[f"{name}_high"] = result.estimate[index], low[index], high[index]
    for end in ("", "_low", "_high"):
        row[f"half_layer{end}"] = row[f"half_depth{end}"] * last  # type: ignore[operator]
    row["trajectories"], row["layers"] = len(found.values), layers
    row["note"] = _note(found, float(result.estimate[MEASURES.index("half_depth")]))
    return row


def _note(found: Trajectories, half: float) -> str:
    notes = [why_no_interval(len(found.prompts))]
    if len(found.layers) == 1:
        notes.append("one layer: no area, no emergence")
    elif found.depths[-1] < 1:
        notes.append(f"deepest layer scored is {found.layers[-1]}, at depth {found.depths[-1]:.2g}")
    if len(found.layers) > 1 and half == found.depths[0]:
        notes.append("half of the final rate is there at the first layer: half_depth is an upper bound")
    return "; ".join(note for note in notes if note)
