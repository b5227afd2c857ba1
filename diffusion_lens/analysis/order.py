"""Which of two things comes first: one noun or the other, the object or its relation."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float

from diffusion_lens.analysis.curves import why_no_interval
from diffusion_lens.analysis.emergence import intervals
from diffusion_lens.analysis.statistics import bootstrap, rates, sign_flip_test, totals
from diffusion_lens.analysis.trajectories import gather, groups
from diffusion_lens.errors import ScoresError

__all__ = ["order"]

_OUTCOMES = ("first", "second", "tie", "neither")


def order(
    table: pd.DataFrame,
    first: str,
    second: str,
    by: Sequence[str] = ("run", "scorer", "encoder"),
    *,
    column: str = "check",
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> pd.DataFrame:
    """Which of two checks of the same image series turns right for good at an earlier layer.

    Emergence is known between two sampled layers: one is earlier if it has emerged at a layer after which
    the other still has to. Where both emerge between the same two layers, it is a tie. If `column` is
    "kind", every check of the one kind meets every check of the other in the same prompt and seed.

    Args:
        table: validated scores.
        first: a value of `column`, such as "object-0".
        second: the other one.
        by: groups that are analysed apart.
        column: "check" or "kind".
        level: of the intervals.
        resamples: of prompts; five times as many for p.
        seed: of the resampling.

    Returns:
        One row by group: the shares `first_earlier`, `second_earlier`, `tie` and `neither` (emerges) of
        pairs, each prompt counting once; `lead`, first_earlier - second_earlier, with `low`, `high` and the
        sign-flip `p`; `prompts`, `pairs`, and `unknown` pairs, left out for missing answers.

    Raises:
        ScoresError: the column is another, or no prompt has both checks.
    """
    if column not in ("check", "kind"):
        raise ScoresError(f"Checks are paired by 'check' or 'kind', not by {column!r}.")
    rows = []
    for key, part in groups(table, by):
        one, two = (_emergence(part[part[column] == value]) for value in (first, second))
        pairs = one.merge(two, on=["run", "encoder", "prompt_id", "seed"], suffixes=("_1", "_2"))
        pairs = pairs.loc[pairs["check_1"] != pairs["check_2"]]
        outcome = _outcomes(pairs)
        known = np.asarray(outcome.any(axis=1))
        pairs, outcome = pairs.loc[known], outcome[known]
        if pairs.empty:
            rows.append({**key, "note": f"no prompt with answers to both {first} and {second}"})
            continue
        # 1 if the first is earlier, -1 if the second is, else 0; then the shares
        scores = np.concatenate([outcome[:, :1] - outcome[:, 1:2], outcome], axis=1)
        means = pd.DataFrame(scores).groupby(pairs["prompt_id"].to_numpy()).mean().to_numpy(dtype=float)
        result = bootstrap(totals(means), rates, resamples=resamples, seed=seed)
        low, high = result.interval(level)
        rows.append(
            {
                **key,
                "first": first,
                "second": second,
                **dict(
                    zip(
                        ("first_earlier", "second_earlier", "tie", "neither"),
                        result.estimate[1:],
                        strict=True,
                    )
                ),
                "lead": result.estimate[0],
                "low": low[0],
                "high": high[0],
                "p": sign_flip_test(means[:, 0], resamples=5 * resamples, seed=seed),
                "prompts": len(means),
                "pairs": len(pairs),
                "unknown": int((~known).sum()),
                "note": why_no_interval(len(means)),
            }
        )
    if all("lead" not in row for row in rows):
        raise ScoresError(f"No prompt has answers to both {first!r} and {second!r} (column {column!r}).")
    return pd.DataFrame(rows)


def _emergence(part: pd.DataFrame) -> pd.DataFrame:
    names = ["run", "encoder", "prompt_id", "seed", "check"]
    if part.empty:
        return pd.DataFrame(columns=[*names, "after", "by", "never"])
    found = gather(part)
    after, by = intervals(found.values)
    never = found.values[:, -1] <= 0.5
    depth = np.array([-1.0, *found.depths, np.inf])
    return found.keys[names].assign(after=depth[after + 1], by=depth[by + 1], never=never)


def _outcomes(pairs: pd.DataFrame) -> Float[np.ndarray, "pair 4"]:
    """One column for each of first, second, tie, neither; all 0 where missing answers leave it open."""
    after, by, never = (
        [pairs[f"{name}_{side}"].to_numpy() for side in (1, 2)] for name in ("after", "by", "never")
    )
    after, by = [side.astype(float) for side in after], [side.astype(float) for side in by]
    never = [side.astype(bool) for side in never]
    emerged = [np.isfinite(side) for side in by]
    first = emerged[0] & (never[1] | (by[0] <= after[1]))
    second = emerged[1] & (never[0] | (by[1] <= after[0]))
    neither = never[0] & never[1]
    tie = emerged[0] & emerged[1] & ~first & ~second
    return np.stack([first, second, tie, neither], axis=1).astype(float)
