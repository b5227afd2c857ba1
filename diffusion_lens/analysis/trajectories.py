"""From the table of scores to arrays: right or wrong, layer by layer, for each image series of a prompt.

A trajectory is one check of one prompt at one seed, followed through the layers.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from diffusion_lens.errors import ScoresError

__all__ = [
    "Condition",
    "Gathered",
    "Scores",
    "Trajectories",
    "Value",
    "gather",
    "gathered",
    "groups",
    "missing",
]

Condition = Literal["none", "final-correct", "final-wrong"]
Value = Literal["label", "p"]
_SERIES = ("run", "encoder", "prompt_id", "seed", "check")


@dataclass(frozen=True)
class Trajectories:
    """Right (1) or wrong (0) by trajectory and layer.

    Attributes:
        values: 1, 0, or a probability in between; NaN where missing.
        prompt: which of `prompts` each trajectory is of.
        prompts: the prompt ids.
        keys: run, encoder, prompt_id, seed, check and scorer of each trajectory.
        layers: the layers, ascending.
        depths: layer / last layer, 0 to 1.
    """

    values: Float[np.ndarray, "trajectory layer"]
    prompt: Int[np.ndarray, " trajectory"]
    prompts: tuple[str, ...]
    keys: pd.DataFrame
    layers: tuple[int, ...]
    depths: Float[np.ndarray, " layer"]

    def where(self, condition: Condition) -> "Trajectories":
        """Those that are right, or wrong, at the deepest layer; a missing one is neither.

        A curve given "final-correct" reaches 1 at the end by construction: it says when a success takes
        shape, not how often there is one. Never put both kinds into one figure.
        """
        if condition == "none":
            return self
        final = self.values[:, -1]
        return self.keep(final > 0.5 if condition == "final-correct" else final <= 0.5)

    def judged(self) -> "Trajectories":
        """Those that have an answer at some layer: a prompt without any is not one that numbers rest on."""
        return self.keep(np.isfinite(self.values).any(axis=1))

    def keep(self, kept: np.ndarray) -> "Trajectories":
        """Some of the trajectories, and the prompts that they are of."""
        used, prompt = np.unique(self.prompt[kept], return_inverse=True)
        return replace(
            self,
            values=self.values[kept],
            prompt=prompt,
            prompts=tuple(self.prompts[index] for index in used),
            keys=self.keys[kept].reset_index(drop=True),
        )

    def prompt_means(
        self, values: Float[np.ndarray, "trajectory column"] | None = None
    ) -> Float[np.ndarray, "prompt column"]:
        """Mean of each prompt over its seeds and checks; NaN where it has no value at all.

        Args:
            values: one row by trajectory, of anything; right and wrong by layer if left out.
        """
        values = self.values if values is None else values
        known = np.isfinite(values)
        filled = np.where(known, values, 0.0)
        sums = np.empty((len(self.prompts), values.shape[1]))
        counts = np.empty_like(sums)
        for column in range(values.shape[1]):
            sums[:, column] = np.bincount(self.prompt, filled[:, column], len(self.prompts))
            counts[:, column] = np.bincount(self.prompt, known[:, column], len(self.prompts))
        with np.errstate(invalid="ignore"):
            return np.where(counts > 0, sums / counts, np.nan)


def gather(table: pd.DataFrame, value: Value = "label") -> Trajectories:
    """Arrange a part of a table of scores by trajectory and layer.

    Args:
        table: validated scores of one scorer.
        value: "label", or "p": the probability itself.

    Raises:
        ScoresError: several scorers, no rows, or encoders whose layers do not compare.
    """
    if table.empty:
        raise ScoresError("There are no rows to analyse.")
    scorers = sorted(table["scorer"].unique())
    if len(scorers) > 1:
        raise ScoresError(
            f"Answers of {scorers} can't make one curve. Analyse them apart: --by scorer "
            "(by=['scorer', ...])."
        )
    layers, at, column = np.unique(
        table["layer"].to_numpy(dtype=np.int64), return_index=True, return_inverse=True
    )
    depth = table["depth"].to_numpy(dtype=float)
    if (depth != depth[at][column]).any():
        raise ScoresError(
            f"The encoders {sorted(table['encoder'].unique())} of {sorted(table['run'].unique())} are of "
            "unequal depth, so that their layers can't make one curve. Analyse them apart: "
            "--by run encoder (by=['run', 'encoder', ...])."
        )
    code = np.zeros(len(table), dtype=np.int64)
    for name in _SERIES:
        codes, found = pd.factorize(table[name])
        code = code * len(found) + codes
    series, first, row = np.unique(code, return_index=True, return_inverse=True)
    values = np.full((len(series), len(layers)), np.nan)
    values[row, column] = table[value].to_numpy(dtype=float, na_value=np.nan)
    keys = table[[*_SERIES, "scorer"]].iloc[first].reset_index(drop=True)
    prompt, prompts = pd.factorize(keys["prompt_id"])
    return Trajectories(
        values,
        prompt.astype(np.int64),
        tuple(prompts),
        keys,
        tuple(int(layer) for layer in layers),
        depth[at],
    )


def groups(table: pd.DataFrame, by: Sequence[str]) -> Iterator[tuple[dict[str, Any], pd.DataFrame]]:
    """The parts of a table that have the same values in some columns.

    Raises:
        ScoresError: there is no such column.
    """
    unknown = [name for name in by if name not in table]
    if unknown:
        raise ScoresError(f"There are no columns {unknown} to group by; there are {list(table.columns)}.")
    if not by:
        yield {}, table
        return
    for key, part in table.groupby(list(by), sort=True, dropna=False):
        yield dict(zip(by, key, strict=True)), part


@dataclass(frozen=True)
class Gathered:
    """The trajectories of each group of a table: arranged once, for all the tables made of them.

    Attributes:
        by: the columns that make the groups.
        value: what the trajectories hold.
        groups: the values of these columns, and the trajectories.
    """

    by: tuple[str, ...]
    value: Value
    groups: tuple[tuple[dict[str, Any], Trajectories], ...]


Scores = pd.DataFrame | Gathered
"""A validated table of scores, or what `gathered` made of it by the same columns."""


def gathered(table: Scores, by: Sequence[str], value: Value = "label") -> Gathered:
    """Arrange each group of a table of scores by trajectory and layer.

    Args:
        table: validated scores; what is arranged so already is given back.
        by: columns whose values are analysed apart.
        value: as for `gather`.

    Raises:
        ScoresError: as `gather` and `groups`, or it is arranged by other columns.
    """
    if isinstance(table, pd.DataFrame):
        return Gathered(
            tuple(by), value, tuple((key, gather(part, value)) for key, part in groups(table, by))
        )
    if (table.by, table.value) != (tuple(by), value):
        raise ScoresError(
            f"These scores are gathered by {list(table.by)}, their {table.value}. Give the table itself "
            f"for {list(by)}, {value}."
        )
    return table


def missing(table: pd.DataFrame, by: Sequence[str] = ("run", "encoder", "scorer")) -> pd.DataFrame:
    """What is not there, by reason.

    A cell is expected for every layer of every trajectory that has a row at any layer, and for every
    seed and check that a prompt has with another seed or check.

    Returns:
        One row by group, layer and reason: `missing` cells of `expected`. "no row" is the reason where
        the table has no row, "no reason given" where the label is empty and nobody said why.
    """
    rows = []
    for key, part in groups(table, by):
        per_layer = _expected(part)
        for layer, here in part.groupby("layer"):
            empty = here[here["label"].isna() & here["p"].isna()]
            reasons = empty["reason"].fillna("no reason given").value_counts().to_dict()
            if per_layer > len(here):
                reasons["no row"] = per_layer - len(here)
            rows += [
                {**key, "layer": layer, "reason": reason, "missing": int(count), "expected": per_layer}
                for reason, count in reasons.items()
            ]
    return pd.DataFrame(rows, columns=[*by, "layer", "reason", "missing", "expected"])


def _expected(part: pd.DataFrame) -> int:
    """Cells by layer if each prompt had all its checks at all its seeds."""
    counts = part.groupby(["run", "encoder", "prompt_id"])[["seed", "check"]].nunique()
    return int((counts["seed"] * counts["check"]).sum())
