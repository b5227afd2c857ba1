"""Rates of checks where they can be asked, on each layer's prompts and on a fixed set; and constancy."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from diffusion_lens.analysis.curves import LEAST_PROMPTS, why_no_interval
from diffusion_lens.analysis.parents import fixed_set, where_asked
from diffusion_lens.analysis.statistics import DEFAULT, Resampling, of_means
from diffusion_lens.analysis.trajectories import gather, groups

__all__ = ["chance_of", "conditional_curves", "constancy"]

# where both things are, they lie beside or above one another; and then in one order or the other
_CHANCE_OF_KIND = {"axis": 0.5, "order": 0.5}


def chance_of(table: pd.DataFrame) -> float:
    """How often blind guessing is right of these answers: as their scorer says, else by their kind.

    Returns:
        The chance; NaN where it isn't known, or not the same for all. What is missing has none and does not
        count.
    """
    table = table[table["label"].notna() | table["p"].notna()]
    said = table["kind"].map(_CHANCE_OF_KIND)
    if "chance" in table:
        said = table["chance"].astype(float).fillna(said)
    return float(said.iloc[0]) if len(said) and said.nunique(dropna=False) == 1 else np.nan


def conditional_curves(
    table: pd.DataFrame,
    by: Sequence[str] = ("run", "scorer", "encoder", "kind"),
    *,
    least: int = LEAST_PROMPTS,
    resampling: Resampling = DEFAULT,
) -> pd.DataFrame:
    """The rate of right images among those in which the check can be asked.

    Args:
        table: validated scores.
        by: one curve for each combination of values in these columns.
        least: prompts that a fixed set has at least, where so many can be had.
        resampling: the level of the intervals.

    Returns:
        One row by curve, `prompts_are` and layer: `rate` with `low` and `high`, `chance` (how often blind
        guessing is right where the check can be asked; missing where it isn't known), `prompts`, `note`.
        `prompts_are` is "those judged at this layer", other prompts at every layer; or "the same at all
        layers", from the earliest layer on from which so many prompts are judged throughout.
    """
    rows = []
    for key, part in groups(where_asked(table), by):
        found = gather(part)
        fixed, start = fixed_set(found, least)
        for words, one, first in (
            ("those judged at this layer", found, 0),
            ("the same at all layers", fixed, start),
        ):
            if not one.prompts:
                continue
            result = of_means(one.prompt_means()[:, first:])
            low, high = result.shares(resampling.level)
            rows.append(
                pd.DataFrame(
                    {
                        **key,
                        "prompts_are": words,
                        "layer": found.layers[first:],
                        "depth": found.depths[first:],
                        "rate": result.estimate,
                        "low": low,
                        "high": high,
                        "chance": chance_of(part),
                        "prompts": result.counts,
                        "note": [why_no_interval(int(count)) for count in result.counts],
                    }
                )
            )
    return pd.concat(rows, ignore_index=True) if rows else pd.DataFrame()


def constancy(
    table: pd.DataFrame,
    by: Sequence[str] = ("run", "scorer", "encoder", "kind"),
    *,
    resampling: Resampling = DEFAULT,
) -> pd.DataFrame:
    """Whether a check that depends on others changes once it can be asked.

    A relation can't be seen before its objects are, so that it always seems to come after them. What tells
    whether it is composed late is how the earlier layers answer it where they show both objects: if what
    ends right was right, and what ends wrong was wrong, it never changed.

    Returns:
        One row by group, end and layer before the last: `end` ("right" or "wrong" at the last layer),
        `rate` right at this layer among the images in which it can be asked here and at the end, `low`,
        `high`, `images`, `prompts`; "all" as the layer for all earlier layers together.
    """
    rows = []
    for key, part in groups(where_asked(table), by):
        found = gather(part)
        final = found.values[:, -1]
        for end, kept in (("right", final > 0.5), ("wrong", final <= 0.5)):
            one = found.keep(kept)
            if not one.prompts or len(found.layers) < 2:
                continue
            earlier = one.values[:, :-1]
            means = one.prompt_means(earlier)
            known = np.isfinite(earlier)
            with np.errstate(invalid="ignore"):
                pooled = np.where(known, earlier, 0).sum(axis=1) / known.sum(axis=1)
            result = of_means(np.concatenate([means, one.prompt_means(pooled[:, None])], axis=1))
            low, high = result.shares(resampling.level)
            images = np.append(known.sum(axis=0), known.sum())
            rows.append(
                pd.DataFrame(
                    {
                        **key,
                        "end": end,
                        "layer": [*map(str, found.layers[:-1]), "all"],
                        "rate": result.estimate,
                        "low": low,
                        "high": high,
                        "images": images,
                        "prompts": result.counts,
                        "note": [why_no_interval(int(count)) for count in result.counts],
                    }
                )
            )
    return pd.concat(rows, ignore_index=True) if rows else pd.DataFrame()
