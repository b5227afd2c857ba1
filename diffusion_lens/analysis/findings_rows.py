"""Which rows of a table the findings page shows, in which order, and what tells them apart."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from diffusion_lens.analysis.curves import on_enough_prompts
from diffusion_lens.analysis.markdown import word
from diffusion_lens.scoring.baselines import is_baseline

__all__ = ["curve_keys", "in_order", "names_of", "shown_rows", "telling_keys"]

_ORDERED = ("object", "attribute", "axis", "order", "relation", "count", "global", "identity")


def shown_rows(table: pd.DataFrame) -> pd.DataFrame:
    """Without baselines, and without what rests on too few prompts."""
    real = table[~is_baseline(table["scorer"])] if "scorer" in table else table
    return real[on_enough_prompts(real)] if "prompts" in real else real


def curve_keys(summary: pd.DataFrame) -> list[str]:
    """The columns that name curves."""
    return list(summary.columns)[: list(summary.columns).index("condition")]


def telling_keys(keys: Sequence[str], table: pd.DataFrame) -> list[str]:
    """The keys that tell rows apart."""
    return [key for key in keys if table[key].nunique(dropna=False) > 1 or key == "run"]


def names_of(line: Mapping[Any, Any], keys: Sequence[str], table: pd.DataFrame) -> list[str]:
    """What tells a row from the others, in words."""
    return [word(line[key]) for key in telling_keys(keys, table)]


def in_order(table: pd.DataFrame) -> pd.DataFrame:
    """By run and category, kinds in the order in which images are built."""
    rank = {kind: place for place, kind in enumerate(_ORDERED)}
    by = [name for name in ("run", "encoder", "category") if name in table]
    if "kind" not in table:
        return table.sort_values(by)
    return table.assign(_rank=table["kind"].map(rank).fillna(9)).sort_values([*by, "_rank"])
