"""Layer curves: how often the images of each layer are right, with what is known about that."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from diffusion_lens.analysis.stacking import stack
from diffusion_lens.analysis.statistics import DEFAULT, Jackknife, Resampling, of_means
from diffusion_lens.analysis.trajectories import Condition, Scores, Trajectories, Value, gathered

__all__ = [
    "FEW_PROMPTS",
    "LEAST_PROMPTS",
    "curves",
    "on_enough_prompts",
    "published_curves",
    "why_no_interval",
]

# fewer prompts than the first are marked as rough; fewer than the second are left out of pages and figures
FEW_PROMPTS, LEAST_PROMPTS = 10, 5


def on_enough_prompts(table: pd.DataFrame) -> pd.Series:
    """Which rows of a table rest on enough prompts to be shown; where two groups are compared, both do.

    Args:
        table: any of the analysis with the column `prompts`; of contrasts also `paired` and `others`.
    """
    enough = table["prompts"].fillna(0) >= LEAST_PROMPTS
    if "others" in table and "paired" in table:
        enough &= table["paired"].astype(bool) | (table["others"].fillna(0) >= LEAST_PROMPTS)
    return enough


def curves(
    table: Scores,
    by: Sequence[str] = ("run", "scorer", "encoder", "kind"),
    *,
    condition: Condition = "none",
    value: Value = "label",
    resampling: Resampling = DEFAULT,
) -> pd.DataFrame:
    """The rate of right images by layer: the mean over prompts of each prompt's mean.

    Args:
        table: validated scores, or what `gathered` made of them.
        by: one curve for each combination of values in these columns.
        condition: "final-correct" or "final-wrong" keeps the trajectories that are so at the deepest
            layer. Such a curve answers another question; the column `condition` says which it is.
        value: "label", or "p" for the mean probability.
        resampling: the level of intervals and bands, and the draws behind bands.

    Returns:
        One row by curve and layer: `rate`; `low` and `high`, an interval for this layer alone
        (`confidence.share_interval`); `band_low` and `band_high`, which hold the whole curve at once: the
        same intervals at a level that accounts for all layers together; the `prompts` and `cells` behind
        it; `missing` cells; `condition`; and a `note` where there is no interval or little behind it. The
        last layer of a condition is 0 or 1 by construction and has no interval.
    """
    parts: list[dict[str, object]] = []
    for key, whole in gathered(table, by, value).groups:
        found = whole.where(condition)
        if len(found.prompts) == 0:
            parts.append({**key, "condition": condition, "note": f"nothing is {condition}"})
            continue
        means = found.prompt_means()
        result = of_means(means)
        low, high = _ends(result, resampling.level, condition)
        band_low, band_high = _ends(result, result.simultaneous_level(resampling), condition)
        cells = np.isfinite(found.values).sum(axis=0)
        part: dict[str, object] = {
            **key,
            "layer": found.layers,
            "depth": found.depths,
            "rate": result.estimate,
            "low": low,
            "high": high,
            "band_low": band_low,
            "band_high": band_high,
            "prompts": result.counts,
            "cells": cells,
            "missing": len(found.values) - cells,
            "condition": condition,
            "note": [why_no_interval(int(count)) for count in result.counts],
        }
        parts.append(part)
    columns = [
        *(*by, "layer", "depth", "rate", "low", "high", "band_low", "band_high"),
        *("prompts", "cells", "missing", "condition", "note"),
    ]
    return stack(parts, columns)


def why_no_interval(prompts: int) -> str:
    """What to say of so few prompts; nothing if they are enough."""
    if prompts < 1:
        return "no prompt"
    if prompts < 2:
        return "one prompt: no interval, as nothing is known of other prompts"
    return f"{prompts} prompts: intervals are rough" if prompts < FEW_PROMPTS else ""


def _ends(
    result: Jackknife, level: float, condition: Condition
) -> tuple[Float[np.ndarray, " layer"], Float[np.ndarray, " layer"]]:
    low, high = result.shares(level)
    if condition != "none":
        low[-1] = high[-1] = np.nan
    return low, high


def published_curves(
    table: Scores, by: Sequence[str] = ("run", "scorer", "encoder", "category", "check")
) -> pd.DataFrame:
    """Curves by the convention of the Diffusion Lens paper (Toker et al., ACL 2024, arXiv 2403.05846).

    Of the images that are right at the deepest layer, the share that is right at each layer: taken by
    seed over images, then averaged over seeds. The spread is the standard deviation over seeds, which is
    no confidence interval: seeds share their prompts. Where each prompt has noise of its own, the first
    seed of each counts as one, and so on.

    Args:
        table: validated scores, or what `gathered` made of them.
        by: one curve for each combination of values in these columns.

    Returns:
        One row by curve and layer: `rate`, `sd` over seeds (n - 1), `low` and `high` one sd away, `cells`
        (the denominator, over all seeds) and `seeds`.
    """
    rows = []
    for key, whole in gathered(table, by).groups:
        found = whole.where("final-correct")
        by_seed = _shares_by_seed(found, _seeds(whole.keys)[whole.values[:, -1] > 0.5])
        if not len(by_seed):
            continue
        known = np.isfinite(by_seed).sum(axis=0)
        filled = np.ma.masked_invalid(by_seed)
        rate = filled.mean(axis=0).filled(np.nan)
        spread = np.where(known > 1, filled.std(axis=0, ddof=1).filled(np.nan), np.nan)
        for index, layer in enumerate(found.layers):
            rows.append(
                {
                    **key,
                    "layer": layer,
                    "depth": found.depths[index],
                    "rate": rate[index],
                    "sd": spread[index],
                    "low": rate[index] - spread[index],
                    "high": rate[index] + spread[index],
                    "cells": int(np.isfinite(found.values[:, index]).sum()),
                    "seeds": int(known[index]),
                    "condition": "final-correct",
                }
            )
    columns = [*by, "layer", "depth", "rate", "sd", "low", "high", "cells", "seeds", "condition"]
    return pd.DataFrame(rows, columns=columns)


def _seeds(keys: pd.DataFrame) -> Int[np.ndarray, " trajectory"]:
    """The seed of each trajectory; its place among its prompt's where no two prompts share a seed."""
    if keys.groupby("seed")["prompt_id"].nunique().max() > 1:
        return keys["seed"].to_numpy(dtype=np.int64)
    of_prompt = keys.groupby(["run", "encoder", "prompt_id"])["seed"]
    return of_prompt.rank("dense").to_numpy(dtype=np.int64)


def _shares_by_seed(
    found: Trajectories, seeds: Int[np.ndarray, " trajectory"]
) -> Float[np.ndarray, "seed layer"]:
    shares = np.full((len(np.unique(seeds)), len(found.layers)), np.nan)
    for row, seed in enumerate(np.unique(seeds)):
        values = found.values[seeds == seed]
        known = np.isfinite(values)
        with np.errstate(invalid="ignore"):
            shares[row] = np.where(known, values, 0).sum(axis=0) / known.sum(axis=0)
    return shares
