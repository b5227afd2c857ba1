"""Checks that depend on others: rates of all images, and of those images in which the check can be asked.

A colour or a relation can only be judged where its objects are. Counted over all images, one whose object
is absent is wrong (Cho et al., ICLR 2024, arXiv 2310.18235, section 3.1), and its rate is on one scale with
that of objects. Counted where it can be asked, the rate rests on other prompts at every layer, and is on
another scale: the two never share an axis here.
"""

import re

import numpy as np
import pandas as pd
from jaxtyping import Bool

from diffusion_lens.analysis.trajectories import Trajectories
from diffusion_lens.checks.checks import split_parents
from diffusion_lens.scoring.table import KEY

__all__ = ["depends", "fixed_set", "of_all", "where_asked"]

# what names an image and who judged it
_IMAGE = tuple(name for name in KEY if name != "check")
_KINDS = ("run", "scorer", "encoder", "kind")
_ABSENT = r"^there is no .+ to ask about$"
_WRONG = " is wrong"


def depends(table: pd.DataFrame) -> pd.Series:
    """Whether each answer is settled by a wrong parent: by the column `parents`, else by the reason.

    Scorers that see that there is nothing to ask about say so in their reason, also where the parents of a
    check are not written down. The reason of gating, "fox is wrong", counts where the check depends on the
    fox: a person may note that a colour is wrong.
    """
    named = _told_by_reason(table)
    settled = pd.Series(named & ~table["label"].fillna(False).to_numpy(dtype=bool), index=table.index)
    children = table.index[(table["parents"] != "").to_numpy()] if "parents" in table else table.index[:0]
    if len(children):
        edges = table.loc[children, list(_IMAGE)]
        edges = edges.assign(check=table.loc[children, "parents"].map(split_parents), row=children)
        wrong = table.loc[~table["label"].fillna(True).astype(bool), [*_IMAGE, "check"]]
        found = edges.explode("check").merge(wrong, on=[*_IMAGE, "check"])
        settled.loc[found["row"].unique()] = True
    return settled


def _is_settled(reason: str, parents: str) -> bool:
    """Whether a reason says that a check can't be asked."""
    if re.search(_ABSENT, reason):
        return True
    names = set(reason.removesuffix(_WRONG).split(", "))
    return reason.endswith(_WRONG) and names <= set(split_parents(parents))


def _told_by_reason(table: pd.DataFrame) -> Bool[np.ndarray, " row"]:
    """Of each row, whether its reason says that it can't be asked: few reasons, many rows."""
    reason = table["reason"].fillna("").astype(str)
    parents = table["parents"] if "parents" in table else pd.Series("", table.index)
    (said, reasons), (of, listed) = pd.factorize(reason), pd.factorize(parents)
    pairs, which = np.unique(said * len(listed) + of, return_inverse=True)
    told = [_is_settled(reasons[pair // len(listed)], listed[pair % len(listed)]) for pair in pairs]
    return np.array(told, dtype=bool)[which]


def of_all(table: pd.DataFrame) -> pd.DataFrame:
    """The scores with a check counted as wrong where a parent is: rates of all images."""
    settled = depends(table)
    return table.assign(
        label=table["label"].mask(settled, False), p=table["p"].mask(settled & table["p"].isna(), 0.0)
    )


def where_asked(table: pd.DataFrame) -> pd.DataFrame:
    """The scores of checks that depend on others, missing where a parent is wrong.

    A kind of which no parent settles any check is left out: its two rates are the same. Of any other kind
    all checks count that depend on others, those too whose parents are always right: without them, the rate
    would be that of hard prompts. Where no parents are written down, all checks of the kind do.
    """
    settled = depends(table)
    kinds = [table[name] for name in _KINDS]
    kept = settled.groupby(kinds, dropna=False).transform("any")
    if "parents" in table:
        written = table["parents"] != ""
        kept &= written | ~written.groupby(kinds, dropna=False).transform("any")
    return table.assign(label=table["label"].mask(settled), p=table["p"].mask(settled))[kept]


def fixed_set(found: Trajectories, least: int) -> tuple[Trajectories, int]:
    """The trajectories that are judged at every layer from some layer on, and the position of that layer.

    It is the earliest layer from which on so many prompts are judged throughout; the last one if there is
    none. On such a set, a rate can't rise or fall because other prompts come into it.

    Args:
        found: the trajectories, with missing values where a check can't be asked.
        least: how many prompts are wanted.
    """
    known = np.isfinite(found.values)
    throughout = np.flip(np.logical_and.accumulate(np.flip(known, axis=1), axis=1), axis=1)
    counts = [len(np.unique(found.prompt[throughout[:, layer]])) for layer in range(known.shape[1])]
    start = next((layer for layer, count in enumerate(counts) if count >= least), known.shape[1] - 1)
    return found.keep(throughout[:, start]), start
