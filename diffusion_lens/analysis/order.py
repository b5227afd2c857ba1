"""Order of emergence: which of two things comes first, one noun or the other, the place or the object."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal, get_args

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int

from diffusion_lens.analysis.confidence import difference_interval, difference_p
from diffusion_lens.analysis.curves import LEAST_PROMPTS, why_no_interval
from diffusion_lens.analysis.emergence import intervals
from diffusion_lens.analysis.parents import depends
from diffusion_lens.analysis.significance import holm
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
        resampling: the level of intervals.

    Returns:
        One row by group: the shares of pairs, each prompt counting once, in which both emerge,
        `first_earlier`, `second_earlier` or as a `tie`, and in which `only_first`, `only_second` or
        `neither` does; `lead`, first_earlier - second_earlier, with `low`, `high` and the `p` that inverts
        this interval (`confidence.difference_p`): what never emerges is neither early nor late; `prompts`,
        `pairs`; pairs left out: `unknown` for missing answers, `not_asked`.

    Raises:
        ScoresError: the column is another, or no prompt has both checks.
    """
    if column not in ("check", "kind"):
        raise ScoresError(f"Checks are paired by 'check' or 'kind', not by {column!r}.")
    rows = [
        {**key, **_compare(_emergence(part)[definition], column, first, second, definition, resampling)}
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
        of_kinds = {
            str(kind): list(combinations(roles(of_kind), 2)) for kind, of_kind in part.groupby("kind")
        }
        for definition, times in _emergence(part).items():
            for pair in pairs:
                rows.append({**key, **_compare(times, *pair, definition, resampling)})
            for kind, checks in of_kinds.items():
                for first, second in checks:
                    row = _compare(times, "check", first, second, definition, resampling, kind)
                    rows.append({**key, **row})
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


@dataclass(frozen=True)
class _Times:
    """When each trajectory emerges: after one depth and by another; an entry for each trajectory."""

    series: Int[np.ndarray, " trajectory"]  # image series: trajectories of one share their images
    prompt: Int[np.ndarray, " trajectory"]
    check: np.ndarray
    kind: np.ndarray
    after: Float[np.ndarray, " trajectory"]
    by: Float[np.ndarray, " trajectory"]
    never: Bool[np.ndarray, " trajectory"]
    asked: Bool[np.ndarray, " trajectory"]  # at every layer


def _compare(
    times: _Times,
    column: str,
    first: str,
    second: str,
    definition: Definition,
    resampling: Resampling,
    kind: str | None = None,
) -> dict[str, object]:
    """The row of one group; of one kind alone, where one id stands for checks of several kinds."""
    names = times.check if column == "check" else times.kind
    sides = (
        names == name if kind is None else (names == name) & (times.kind == kind)
        for name in (first, second)
    )
    one, two = _meet(times.series, *map(np.flatnonzero, sides))
    other = times.check[one] != times.check[two]
    one, two = one[other], two[other]
    asked = times.asked[one] & times.asked[two]
    not_asked = int((~asked).sum())
    one, two = one[asked], two[asked]
    outcome = _outcomes(times, one, two)
    known = np.asarray(outcome.any(axis=1))
    if not known.any():
        return {"note": f"no prompt with answers to both {first} and {second}"}
    return {
        "first": first,
        "second": second,
        "definition": definition,
        **_numbers(times.prompt[one[known]], outcome[known], resampling),
        "pairs": int(known.sum()),
        "unknown": int((~known).sum()),
        "not_asked": not_asked,
    }


def _meet(
    series: Int[np.ndarray, " trajectory"], first: Int[np.ndarray, " one"], second: Int[np.ndarray, " two"]
) -> tuple[Int[np.ndarray, " pair"], Int[np.ndarray, " pair"]]:
    """Each of the first trajectories with each of the second of the same image series."""
    second = second[np.argsort(series[second], kind="stable")]
    start, stop = (np.searchsorted(series[second], series[first], side) for side in ("left", "right"))
    meets = stop - start
    inner = np.arange(meets.sum()) - np.repeat(np.cumsum(meets) - meets, meets)
    return np.repeat(first, meets), second[np.repeat(start, meets) + inner]


def _numbers(
    prompts: Int[np.ndarray, " pair"], outcome: Float[np.ndarray, "pair 6"], resampling: Resampling
) -> dict[str, object]:
    there, prompt = np.unique(prompts, return_inverse=True)
    sums = np.zeros((len(there), outcome.shape[1]))
    np.add.at(sums, prompt, outcome)
    means = sums / np.bincount(prompt)[:, None]
    result = of_means(means)
    low, high = result.shares(resampling.level)
    correlation = result.correlation(0, 1)
    ends = difference_interval(
        (result.estimate[0], low[0], high[0]), (result.estimate[1], low[1], high[1]), correlation
    )
    one, two = ((result.estimate[side], result.variance[side], len(means)) for side in (0, 1))
    return {
        **dict(zip(_OUTCOMES, result.estimate, strict=True)),
        "lead": result.estimate[0] - result.estimate[1],
        "low": float(ends[0]),
        "high": float(ends[1]),
        "p": float(difference_p(one, two, correlation, resampling.level)),
        "prompts": len(means),
        "note": why_no_interval(len(means)),
    }


def _emergence(part: pd.DataFrame) -> dict[Definition, _Times]:
    """When each trajectory emerges, by each definition."""
    found = gather(part)
    settled = depends(part)
    asked = np.ones(len(found.values), dtype=bool)
    if settled.any():
        never_asked = gather(part.assign(label=settled.astype("boolean"))).values > 0.5
        asked = np.asarray(~never_asked.any(axis=1))
    series = np.zeros(len(found.values), dtype=np.int64)
    for name in ("run", "encoder", "prompt_id", "seed"):
        codes, different = pd.factorize(found.keys[name])
        series = series * len(different) + codes
    # an id such as "1" may stand for an object in one prompt and for a colour in another
    named = ["run", "encoder", "prompt_id", "check"]
    kinds = found.keys[named].merge(part[[*named, "kind"]].drop_duplicates(named), "left", named)["kind"]
    # what has been right once counts as right from then on
    since = np.where(np.logical_or.accumulate(found.values > 0.5, axis=1), 1.0, found.values)
    depth = np.array([-1.0, *found.depths, np.inf])
    times: dict[Definition, _Times] = {}
    readings: tuple[tuple[Definition, np.ndarray], ...] = (
        ("stays right", found.values),
        ("first right", since),
    )
    for definition, values in readings:
        after, by = intervals(values)
        times[definition] = _Times(
            series=series,
            # in alphabetical order
            prompt=pd.factorize(found.keys["prompt_id"], sort=True)[0],
            check=found.keys["check"].to_numpy(dtype=object),
            kind=kinds.to_numpy(dtype=object),
            after=depth[after + 1],
            by=depth[by + 1],
            never=values[:, -1] <= 0.5,
            asked=asked,
        )
    return times


def _outcomes(
    times: _Times, one: Int[np.ndarray, " pair"], two: Int[np.ndarray, " pair"]
) -> Float[np.ndarray, "pair 6"]:
    """One column for each of `_OUTCOMES`; all 0 where missing answers leave it open."""
    after, by, never = ([of[one], of[two]] for of in (times.after, times.by, times.never))
    emerged = [np.isfinite(side) for side in by]
    both = emerged[0] & emerged[1]
    first = both & (by[0] <= after[1])
    second = both & (by[1] <= after[0])
    outcomes = [
        *(first, second, both & ~first & ~second),
        *(emerged[0] & never[1], emerged[1] & never[0], never[0] & never[1]),
    ]
    return np.stack(outcomes, axis=1).astype(float)
