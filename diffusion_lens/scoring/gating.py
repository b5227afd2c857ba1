"""Gating: a check whose parent is wrong is wrong (DSG, arXiv 2310.18235, section 3.1).

"Is the fox red?" means nothing where there is no fox. Gating happens in the table of scores, so that it is
the same for every scorer, for people and for tables that a user brings. What the scorer itself answered
stays in the columns `p_ungated` and `label_ungated`.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from diffusion_lens.checks.checks import find_circle, split_parents
from diffusion_lens.errors import ScoresError

__all__ = ["gate"]

_WRONG, _RIGHT, _MISSING = 0, 1, -1
Edges = tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.object_]]


def gate(table: pd.DataFrame, image: Sequence[str]) -> pd.DataFrame:
    """Gate every check by its parents.

    A check with a wrong ancestor is wrong, with p = 0. A check with an ancestor that is missing, or that is
    not in the table at all, is missing, unless it is wrong by itself. A parent that has a p and no label
    gates nothing, since no threshold was agreed on.

    Args:
        table: scores with the columns check, parents, p, label and reason.
        image: the columns that together name one image and one scorer.

    Returns:
        The table, with p, label and reason gated, and the scorer's own answers in p_ungated and
        label_ungated.

    Raises:
        ScoresError: parents run in a circle.
    """
    table = table.assign(p_ungated=table["p"], label_ungated=table["label"])
    if not (table["parents"] != "").any():
        return table
    child, parent, name = _edges(table, image)
    own = np.array(table["label"].astype("Int8").fillna(_MISSING), dtype=np.int8)
    # a check that has a p alone can't be wrong, and is not missing
    own[(own == _MISSING) & table["p"].notna().to_numpy()] = _RIGHT
    state = _settle(own, child, parent)
    above = np.where(parent < 0, _MISSING, state[parent])
    reason = table["reason"].astype(object)
    gated = state != own
    for found, words in ((_MISSING, "is missing"), (_WRONG, "is wrong")):
        changed = gated & (state == found)
        because = changed[child] & (above == found)
        if because.any():
            names = pd.Series(name[because]).groupby(child[because]).agg(", ".join)
            reason.iloc[names.index] = names + f" {words}"
        table.loc[changed, "label"] = False if found == _WRONG else pd.NA
        table.loc[changed, "p"] = 0.0 if found == _WRONG else pd.NA
    # what is wrong by itself too keeps its reason, and has no more of a p than what only seems right
    below = np.zeros(len(table), dtype=bool)
    below[child[above == _WRONG]] = True
    table.loc[below & table["p"].notna().to_numpy(), "p"] = 0.0
    return table.assign(reason=reason.where(reason.notna(), None).astype("str"))


def _settle(own: NDArray[np.int8], child: NDArray[np.intp], parent: NDArray[np.intp]) -> NDArray[np.int8]:
    """The state of every row once all its ancestors are settled; each round settles one generation."""
    state = own
    while True:
        above = np.where(parent < 0, _MISSING, state[parent])
        settled = own.copy()
        missing = np.unique(child[above == _MISSING])
        settled[missing[own[missing] != _WRONG]] = _MISSING
        settled[child[above == _WRONG]] = _WRONG
        if (settled == state).all():
            return state
        state = settled


def _edges(table: pd.DataFrame, image: Sequence[str]) -> Edges:
    """All pairs of a check and one of its parents: both rows (-1 if it is not there), the parent's id."""
    group = table.groupby(list(image), sort=False, dropna=False).ngroup().to_numpy()
    index = pd.MultiIndex.from_arrays([group, table["check"].astype(str)])
    children = np.flatnonzero((table["parents"] != "").to_numpy())
    listed = [split_parents(cell) for cell in table["parents"].iloc[children]]
    child = np.repeat(children, [len(parents) for parents in listed])
    name = np.array([one for parents in listed for one in parents], dtype=object)
    parent = index.get_indexer(pd.MultiIndex.from_arrays([group[child], name.astype(str)]))
    graphs: dict[int, dict[str, tuple[str, ...]]] = {}
    for row, parents in zip(children.tolist(), listed, strict=True):
        graphs.setdefault(int(group[row]), {})[str(table["check"].iat[row])] = parents
    for graph in {tuple(one.items()): one for one in graphs.values()}.values():
        circle = find_circle(graph)
        if circle:
            raise ScoresError(f"In a table of scores, parents run in a circle: {' -> '.join(circle)}.")
    return child, np.asarray(parent, dtype=np.intp), name
