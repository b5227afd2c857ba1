"""Effects of causal patching: how much of what a clean prompt states each token and layer brings back."""

from typing import Literal

import numpy as np
import pandas as pd
from jaxtyping import Float

from diffusion_lens.analysis.significance import benjamini_hochberg, holm, sign_flip_test
from diffusion_lens.analysis.statistics import DEFAULT, Resampling, jackknife, of_means, rates, totals
from diffusion_lens.errors import InputError

__all__ = ["Correction", "GroupBy", "effect_grid", "patch_effects"]

Correction = Literal["bh", "holm"]
GroupBy = Literal["place", "role"]
_ROLES = ("start", "before", "changed", "after", "end", "pads")


def patch_effects(
    table: pd.DataFrame,
    by: GroupBy | None = None,
    correction: Correction = "bh",
    *,
    resampling: Resampling = DEFAULT,
) -> pd.DataFrame:
    """The effect of each place and layer, with intervals and p values corrected over the whole grid.

    The effect is the rate of right images under the patch less the rate of the corrupted prompt; its share
    is the effect over the rate of the clean prompt less that of the corrupted one, as a ratio of means.
    Units of statistics are the pairs of prompts; of one pair, the seeds. All images of a unit are averaged
    first.

    Args:
        table: that of `scoring.patching.Patched`.
        by: rows of the grid: "place", the position of a token, for one pair or pairs of one form; "role",
            what the token is to the words that differ. If None, the place where all pairs have the
            same ones.
        correction: "bh" keeps the share of false findings (Benjamini-Hochberg), "holm" the chance of any.
        resampling: the level of the intervals.

    Returns:
        One row by row of the grid and layer: `row` (its number), `place` or `role`, `token`, `layer`,
        `effect` with `low` and `high` (t intervals), `share` with `share_low` and `share_high` (jackknife),
        `restored` (see `Patched`) with its ends, `p` (two-sided, by flipping signs of units), `p_bh` or
        `p_holm`, `units`, `images` (drawn ones).

    Raises:
        InputError: an unknown grouping or correction, or pairs whose places differ are grouped by place.
    """
    if correction not in ("bh", "holm"):
        raise InputError(f"{correction!r} is no correction. Allowed: bh, holm.")
    by = by or ("place" if _same_places(table) else "role")
    if by not in ("place", "role"):
        raise InputError(f"{by!r} is no grouping of patches. Allowed: place, role.")
    if by == "place" and not _same_places(table):
        raise InputError("The pairs are read as unequal numbers of tokens; group them by role.")
    unit = "pair" if table["pair"].nunique() > 1 else "seed"
    gain = table["right"] - table["right_corrupted"]
    values = table.assign(
        gain=gain,
        # of the same images as the gain, for the share of one in the other
        whole=(table["right_clean"] - table["right_corrupted"]).where(gain.notna()),
        row=_rows(table, by),
    )
    parts = []
    for (row, layer), here in values.groupby(["row", "layer"], sort=True):
        means = here.groupby(unit)[["gain", "whole", "restored"]].mean()
        tokens = list(dict.fromkeys(here["token"]))
        parts.append(
            {
                "row": row,
                by: here[by].iloc[0],
                "token": tokens[0] if len(tokens) == 1 else "",
                "layer": layer,
                **_numbers(means.to_numpy(dtype=float), resampling),
                "units": len(means),
                "images": int(here["drawn"].sum()),
            }
        )
    found = pd.DataFrame(parts)
    adjust = benjamini_hochberg if correction == "bh" else holm
    found.insert(
        found.columns.get_loc("p") + 1,
        f"p_{correction}",
        adjust(found["p"].to_numpy(dtype=float)),
    )
    return found


def effect_grid(effects: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """The numbers of the heat map, rows as the table has them and layers as columns, and what they are.

    They are shares of the whole effect; effects where the clean prompt does no better than the corrupted
    one; and where nothing was judged, how far the image is restored.
    """
    named = {
        "share": "share of the clean prompt's advantage",
        "effect": "gain in right images",
        "restored": "image restored",
    }
    value = next((one for one in ("share", "effect") if effects[one].notna().any()), "restored")
    key = "place" if "place" in effects else "role"
    repeated = effects.groupby("token")["row"].nunique()
    labels = [
        f"{token} ({place})" if token and repeated[token] > 1 else token or place
        for token, place in zip(effects["token"], effects[key], strict=True)
    ]
    labelled = effects.assign(label=labels if key == "place" else effects["role"])
    grid = labelled.set_index(["row", "label", "layer"])[value].unstack("layer")
    return grid.droplevel("row"), named[value]


def _numbers(means: Float[np.ndarray, "unit 3"], resampling: Resampling) -> dict[str, float]:
    """Effect, share and restored image with their intervals, from gain, whole and restored by unit."""
    plain = of_means(means[:, [0, 2]])
    low, high = plain.normal(resampling.level)
    known = np.isfinite(means[:, :2]).all(axis=1)
    share = jackknife(totals(means[known][:, :2]), _ratio) if known.any() else None
    ends = share.normal(resampling.level) if share else None
    return {
        "effect": float(plain.estimate[0]),
        "low": float(low[0]),
        "high": float(high[0]),
        "share": float(share.estimate[0]) if share else np.nan,
        "share_low": float(ends[0][0]) if ends else np.nan,
        "share_high": float(ends[1][0]) if ends else np.nan,
        "restored": float(plain.estimate[1]),
        "restored_low": float(low[1]),
        "restored_high": float(high[1]),
        "p": sign_flip_test(means[:, 0], resampling),
    }


def _ratio(sums: Float[np.ndarray, "many 4"]) -> Float[np.ndarray, "many 1"]:
    """Mean gain over mean whole; missing where the clean prompt is no better than the corrupted one."""
    gain, whole = rates(sums).T
    return np.divide(gain, whole, out=np.full(len(gain), np.nan), where=whole > 0)[:, None]


def _same_places(table: pd.DataFrame) -> bool:
    return len({tuple(dict.fromkeys(one)) for _, one in table.groupby("pair")["place"]}) == 1


def _rows(table: pd.DataFrame, by: GroupBy) -> "pd.Series[int]":
    """The number of the grid's row of each patch, in the order of the tokens, or of the roles."""
    order = list(dict.fromkeys(table["place"])) if by == "place" else [*_ROLES, "asked"]
    numbers = {one: number for number, one in enumerate(order)}
    return pd.Series([numbers[one] for one in table[by]], table.index)
