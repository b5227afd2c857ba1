"""Layer curves: how often the images of each layer are right, with what is known about that."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy import stats

from diffusion_lens.analysis.statistics import Bootstrap, bootstrap, totals
from diffusion_lens.analysis.trajectories import Condition, Trajectories, Value, gather, groups

__all__ = ["curves", "published_curves", "why_no_interval"]

FEW_PROMPTS = 10


def curves(
    table: pd.DataFrame,
    by: Sequence[str] = ("run", "scorer", "encoder", "kind"),
    *,
    condition: Condition = "none",
    value: Value = "label",
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> pd.DataFrame:
    """The rate of right images by layer: the mean over prompts of each prompt's mean.

    Args:
        table: validated scores.
        by: one curve for each combination of values in these columns.
        condition: "final-correct" or "final-wrong" keeps the trajectories that are so at the deepest
            layer. Such a curve answers another question; the column `condition` says which it is.
        value: "label", or "p" for the mean probability.
        level: of intervals and bands.
        resamples: of prompts.
        seed: of the resampling.

    Returns:
        One row by curve and layer: `rate`; `low` and `high`, an interval for this layer alone;
        `band_low` and `band_high`, which hold the whole curve at once; the `prompts` and `cells` behind
        it; `missing` cells; `condition`; and a `note` where there is no interval or little behind it. A
        rate of exactly 0 or 1 has nothing to resample: its interval is the exact binomial one of as many
        prompts (Clopper & Pearson 1934), at the level divided by the number of layers for the band.
    """
    rows = []
    for key, part in groups(table, by):
        found = gather(part, value).where(condition)
        if len(found.prompts) == 0:
            rows.append(pd.DataFrame([{**key, "condition": condition, "note": f"nothing is {condition}"}]))
            continue
        means = found.prompt_means()
        result = bootstrap(totals(means), resamples=resamples, seed=seed)
        frame = pd.DataFrame({"layer": found.layers, "depth": found.depths, "rate": result.estimate})
        frame["low"], frame["high"] = _pointwise(result, means, condition, level)
        frame["band_low"], frame["band_high"] = _band(result, means, condition, level)
        frame["prompts"] = np.isfinite(means).sum(axis=0)
        frame["cells"] = np.isfinite(found.values).sum(axis=0)
        frame["missing"] = len(found.values) - frame["cells"]
        frame["condition"] = condition
        frame["note"] = why_no_interval(len(found.prompts))
        for name, cell in reversed(list(key.items())):
            frame.insert(0, name, cell)
        rows.append(frame)
    columns = [*by, "layer", "depth", "rate", "low", "high", "band_low", "band_high", "prompts", "cells",
               "missing", "condition", "note"]  # fmt: skip
    return pd.concat(rows, ignore_index=True).reindex(columns=columns)


def why_no_interval(prompts: int) -> str:
    """What to say of so few prompts; nothing if they are enough."""
    if prompts < 2:
        return "one prompt: no interval, as nothing is known of other prompts"
    return f"{prompts} prompts: intervals are rough" if prompts < FEW_PROMPTS else ""


def _pointwise(
    result: Bootstrap, means: Float[np.ndarray, "prompt layer"], condition: Condition, level: float
) -> tuple[Float[np.ndarray, " layer"], Float[np.ndarray, " layer"]]:
    low, high = result.interval(level)
    return _at_the_edges(result, means, condition, 1 - level, low, high)


def _band(
    result: Bootstrap, means: Float[np.ndarray, "prompt layer"], condition: Condition, level: float
) -> tuple[Float[np.ndarray, " layer"], Float[np.ndarray, " layer"]]:
    low, high = result.band(level, shares=True)
    error = (1 - level) / means.shape[1]
    return _at_the_edges(result, means, condition, error, low, high)


def _at_the_edges(
    result: Bootstrap,
    means: Float[np.ndarray, "prompt layer"],
    condition: Condition,
    error: float,
    low: Float[np.ndarray, " layer"],
    high: Float[np.ndarray, " layer"],
) -> tuple[Float[np.ndarray, " layer"], Float[np.ndarray, " layer"]]:
    """Exact binomial ends where all prompts agree; none at a final layer that is 0 or 1 by condition."""
    counts = np.isfinite(means).sum(axis=0)
    layers = range(means.shape[1] - (condition != "none"))
    for layer in layers:
        if counts[layer] > 1 and result.estimate[layer] == 1:
            low[layer], high[layer] = stats.beta.ppf(error / 2, counts[layer], 1), 1
        elif counts[layer] > 1 and result.estimate[layer] == 0:
            low[layer], high[layer] = 0, stats.beta.ppf(1 - error / 2, 1, counts[layer])
    return low, high


def published_curves(
    table: pd.DataFrame, by: Sequence[str] = ("run", "scorer", "encoder", "category", "check")
) -> pd.DataFrame:
    """Curves by the convention of the Diffusion Lens paper (Toker et al., ACL 2024, arXiv 2403.05846).

    Of the images that are right at the deepest layer, the share that is right at each layer: taken by
    seed over images, then averaged over seeds. The spread is the standard deviation over seeds, which is
    no confidence interval: seeds share their prompts.

    Args:
        table: validated scores.
        by: one curve for each combination of values in these columns.

    Returns:
        One row by curve and layer: `rate`, `sd` over seeds (n - 1), `low` and `high` one sd away, `cells`
        (the denominator, over all seeds) and `seeds`.
    """
    rows = []
    for key, part in groups(table, by):
        found = gather(part).where("final-correct")
        by_seed = _shares_by_seed(found)
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


def _shares_by_seed(found: Trajectories) -> Float[np.ndarray, "seed layer"]:
    seeds = found.keys["seed"].to_numpy()
    shares = np.full((len(np.unique(seeds)), len(found.layers)), np.nan)
    for row, seed in enumerate(np.unique(seeds)):
        values = found.values[seeds == seed]
        known = np.isfinite(values)
        with np.errstate(invalid="ignore"):
            shares[row] = np.where(known, values, 0).sum(axis=0) / known.sum(axis=0)
    return shares
