"""Order of emergence: which of two things comes first, one noun or the other, the place or the object."""

from collections.abc import Sequence
from itertools import combinations
from typing import Literal, get_args

import numpy as np
import pandas as pd
from jaxtyping import Float

from diffusion_lens.analysis.confidence import difference_interval
from diffusion_lens.analysis.curves import LEAST_PROMPTS, why_no_interval
from diffusion_lens.analysis.emergence import intervals
from diffusion_lens.analysis.parents import depends
from diffusion_lens.analysis.significance import holm, sign_flip_test
from diffusion_lens.analysis.statistics import DEFAULT, Resampling, of_means
from diffusion_lens.analysis.trajectories import gather, groups
from diffusion_lens.errors import ScoresError

__all__ = ["DEFINITIONS", "Definition", "all_orders", "order", "roles"]

Definition = Literal["stays right", "first right"]
DEFINITIONS: tuple[Definition, ...] = get_args(Definition)
_OUTCOMES = ("first_earlier", "second_earlier", "tie", "only_first", "only_second", "neither")


def order(
    table: pd.DataFrame,
    first: str,
    second: str,
    by: Sequence[str] = ("run", "scorer", "encoder"),
    *,
    column: str = "check",
    definition: Definition = "stays right",
    resampling: Resampling = DEFAULT,
) -> pd.DataFrame:
    """Which of two checks of the same image series emerges at an earlier layer.

    By "stays right", a check has emerged at the layer from which on it is right at every layer; by "first
    right", at the first layer at which it is right. The two can disagree, where images flicker. Emergence
    is known between two sampled layers: one check is earlier if it has emerged at a layer after which the
    other still has to. Where both emerge between the same two layers, it is a tie.

    A check that can only be asked where others are right would come after them by construction. So only
    series count in which both checks can be asked at every layer; the others are in `not_asked`. A relation
    that never changes then comes neither before nor after its objects.

    Args:
        table: validated scores.
        first: a value of `column`, such as "object-0".
        second: the other one.
        by: groups that are analysed apart.
        column: "check" or "kind"; by kind, every check of the one meets every check of the other in the
            same prompt and seed.
        definition: of emergence.
        resampling: the level of intervals, and the sign flips behind p.

    Returns:
        One row by group: the shares of pairs, each prompt counting once, in which both emerge,
        `first_earlier`, `second_earlier` or as a `tie`, and in which `only_first`, `only_second` or
        `neither` does; `lead`, first_earlier - second_earlier, with `low`, `high` and the sign-flip `p`:
        what never emerges is neither early nor late; `prompts`, `pairs`; pairs left out: `unknown` for
        missing answers, `not_asked`.

    Raises:
        ScoresError: the column is another, or no prompt has both checks.
    """
    if column not in ("check", "kind"):
        raise ScoresError(f"Checks are paired by 'check' or 'kind', not by {column!r}.")
    rows = [
        {**key, **_compare(_emergence(part, definition), column, first, second, definition, resampling)}
        for key, part in groups(table, by)
    ]
    if all("lead" not in row for row in rows):
        raise ScoresError(
            f"No prompt has answers to both {first!r} and {second!r} (column {column!r}) at all layers."
        )
    return pd.DataFrame(rows)


def all_orders(
    table: pd.DataFrame,
    by: Sequence[str] = ("run", "scorer", "encoder"),
    *,
    resampling: Resampling = DEFAULT,
) -> pd.DataFrame:
    """`order` of each two kinds, and of each two checks of one kind, by both definitions.

    Checks that are asked of a few prompts only, and so stand for no role, are not compared.

    Returns:
        The rows of `order` of pairs that are on the same prompts, with `p_holm` over all pairs of one
        definition.

    Raises:
        ScoresError: there is no such pair, or one layer alone.
    """
    if table["layer"].nunique() < 2:
        raise ScoresError("one layer alone is there, so that nothing can come before anything else")
    rows = []
    for key, part in groups(table, by):
        pairs = [("kind", *pair) for pair in combinations(sorted(part["kind"].unique()), 2)]
        for _, of_kind in part.groupby("kind"):
            pairs += [("check", *pair) for pair in combinations(roles(of_kind), 2)]
        for definition in DEFINITIONS:
            times = _emergence(part, definition)
            for pair in pairs:
                rows.append({**key, **_compare(times, *pair, definition, resampling)})
    found = pd.DataFrame([row for row in rows if "lead" in row])
    if found.empty:
        raise ScoresError("no two checks are on the same prompts")
    # one family by definition: the two ask the same question
    found["p_holm"] = found.groupby("definition")["p"].transform(lambda p: holm(p.to_numpy(dtype=float)))
    return found


def roles(table: pd.DataFrame) -> list[str]:
    """Checks that stand for a role, such as "the first object": those of several prompts."""
    prompts = table.groupby("check")["prompt_id"].nunique()
    return sorted(prompts[prompts >= min(LEAST_PROMPTS, table["prompt_id"].nunique())].index)


def _compare(
    times: pd.DataFrame,
    column: str,
    first: str,
    second: str,
    definition: Definition,
    resampling: Resampling,
) -> dict[str, object]:
    """The row of one group."""
    one, two = (times[times[column] == value] for value in (first, second))
    pairs = one.merge(two, on=["run", "encoder", "prompt_id", "seed"], suffixes=("_1", "_2"))
    pairs = pairs.loc[pairs["check_1"] != pairs["check_2"]]
    asked = pairs["asked_1"].astype(bool) & pairs["asked_2"].astype(bool)
    not_asked = int((~asked).sum())
    pairs = pairs.loc[asked]
    outcome = _outcomes(pairs)
    known = np.asarray(outcome.any(axis=1))
    if not known.any():
        return {"note": f"no prompt with answers to both {first} and {second}"}
    return {
        "first": first,
        "second": second,
        "definition": definition,
        **_numbers(pairs.loc[known, "prompt_id"], outcome[known], resampling),
        "pairs": int(known.sum()),
        "unknown": int((~known).sum()),
        "not_asked": not_asked,
    }


def _numbers(
    prompts: pd.Series, outcome: Float[np.ndarray, "pair 6"], resampling: Resampling
) -> dict[str, object]:
    lead = outcome[:, :1] - outcome[:, 1:2]
    columns = pd.DataFrame(np.concatenate([outcome, lead], axis=1))
    means = columns.groupby(prompts.to_numpy()).mean().to_numpy(dtype=float)
    result = of_means(means[:, :-1])
    low, high = result.shares(resampling.level)
    ends = difference_interval(
        (result.estimate[0], low[0], high[0]),
        (result.estimate[1], low[1], high[1]),
        result.correlation(0, 1),
    )
    return {
        **dict(zip(_OUTCOMES, result.estimate, strict=True)),
        "lead": result.estimate[0] - result.estimate[1],
        "low": float(ends[0]),
        "high": float(ends[1]),
        "p": sign_flip_test(means[:, -1], resampling),
        "prompts": len(means),
        "note": why_no_interval(len(means)),
    }


def _emergence(part: pd.DataFrame, definition: Definition) -> pd.DataFrame:
    """When each trajectory emerges, as an interval of depths, and whether it can be asked at all layers."""
    found = gather(part)
    settled = depends(part)
    asked = np.ones(len(found.values), dtype=bool)
    if settled.any():
        never_asked = gather(part.assign(label=settled.astype("boolean"))).values > 0.5
        asked = np.asarray(~never_asked.any(axis=1))
    values = found.values
    if definition == "first right":
        # what has been right once counts as right from then on
        values = np.where(np.logical_or.accumulate(values > 0.5, axis=1), 1.0, values)
    after, by = intervals(values)
    never = values[:, -1] <= 0.5
    depth = np.array([-1.0, *found.depths, np.inf])
    kinds = part.drop_duplicates("check").set_index("check")["kind"]
    names = ["run", "encoder", "prompt_id", "seed", "check"]
    return found.keys[names].assign(
        kind=found.keys["check"].map(kinds),
        after=depth[after + 1],
        by=depth[by + 1],
        never=never,
        asked=asked,
    )


def _outcomes(pairs: pd.DataFrame) -> Float[np.ndarray, "pair 6"]:
    """One column for each of `_OUTCOMES`; all 0 where missing answers leave it open."""
    after, by, never = (
        [pairs[f"{name}_{side}"].to_numpy() for side in (1, 2)] for name in ("after", "by", "never")
    )
    after, by = [side.astype(float) for side in after], [side.astype(float) for side in by]
    never = [side.astype(bool) for side in never]
    emerged = [np.isfinite(side) for side in by]
    both = emerged[0] & emerged[1]
    first = both & (by[0] <= after[1])
    second = both & (by[1] <= after[0])
    outcomes = [
        *(first, second, both & ~first & ~second),
        *(emerged[0] & never[1], emerged[1] & never[0], never[0] & never[1]),
    ]
    return np.stack(outcomes, axis=1).astype(float)
