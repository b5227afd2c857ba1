"""Agreement: do two scorers, or several raters, say the same beyond chance?"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from diffusion_lens.analysis.confidence import share_interval
from diffusion_lens.analysis.curves import why_no_interval
from diffusion_lens.analysis.statistics import DEFAULT, Resampling, jackknife
from diffusion_lens.analysis.trajectories import groups
from diffusion_lens.errors import ScoresError
from diffusion_lens.scoring.table import KEY

__all__ = ["IMAGE_KEY", "agreement", "cohen", "fleiss", "krippendorff", "pair_up", "several_raters"]

# what one answer is about: an image and a check
IMAGE_KEY: tuple[str, ...] = tuple(name for name in KEY if name != "scorer")
_NUMBERS = ("agree", "kappa", "alpha", "sensitivity", "specificity")
Scale = Literal["nominal", "ordinal", "interval"]


def cohen(first: Sequence[object], second: Sequence[object]) -> float:
    """Cohen's kappa of two raters (Cohen 1960); NaN if both always say one same thing."""
    if len(set(first) | set(second)) < 2:
        return np.nan
    from sklearn.metrics import cohen_kappa_score  # more than a second to import

    return float(cohen_kappa_score(first, second))


def fleiss(counts: Int[np.ndarray, "unit category"]) -> float:
    """Fleiss' kappa (Fleiss 1971, Psychological Bulletin 76, 378-382).

    Args:
        counts: how many raters put each unit into each category.

    Raises:
        ScoresError: units have unequal numbers of raters, or fewer than two: `krippendorff` takes these.
    """
    raters = counts.sum(axis=1)
    if len(counts) == 0 or raters.min() != raters.max() or raters[0] < 2:
        raise ScoresError(
            "Fleiss' kappa needs the same number of raters, at least two, for each unit. "
            "Krippendorff's alpha does not."
        )
    n = int(raters[0])
    observed = ((counts**2).sum(axis=1) - n).mean() / (n * (n - 1))
    chance = ((counts.sum(axis=0) / counts.sum()) ** 2).sum()
    return float((observed - chance) / (1 - chance)) if chance < 1 else np.nan


def krippendorff(values: Float[np.ndarray, "unit rater"], scale: Scale = "nominal") -> float:
    """Krippendorff's alpha (Krippendorff 2011, "Computing Krippendorff's Alpha-Reliability").

    Args:
        values: ratings; NaN where a rater did not rate a unit. Raters may differ from unit to unit.
        scale: "nominal" (same or not), "ordinal" (ranks), "interval" (differences count).

    Returns:
        1 for perfect agreement, 0 for chance; NaN if fewer than two units are rated twice or all ratings
        are the same.
    """
    levels = np.unique(values[np.isfinite(values)])
    counts = (values[:, :, None] == levels).sum(axis=1).astype(float)
    rated = counts.sum(axis=1)
    counts, rated = counts[rated > 1], rated[rated > 1]
    if len(counts) < 2 or len(levels) < 2:
        return np.nan
    weighted = counts / (rated - 1)[:, None]
    coincidence = weighted.T @ counts - np.diag(weighted.sum(axis=0))
    totals = counts.sum(axis=0)
    distance = _distances(levels, totals, scale)
    expected = (np.outer(totals, totals) * distance).sum() / (totals.sum() - 1)
    return float(1 - (coincidence * distance).sum() / expected) if expected > 0 else np.nan


def _distances(
    levels: Float[np.ndarray, " level"], totals: Float[np.ndarray, " level"], scale: Scale
) -> Float[np.ndarray, "level level"]:
    if scale == "nominal":
        return 1 - np.eye(len(levels))
    if scale == "interval":
        return (levels[:, None] - levels) ** 2
    # how many ratings lie between two ranks, half of those at either end
    middle = np.cumsum(totals) - totals / 2
    return (middle[:, None] - middle) ** 2


def pair_up(table: pd.DataFrame, first: str, second: str) -> pd.DataFrame:
    """Answers of two scorers to the same checks on the same images, none of them missing.

    Returns:
        The columns of the first scorer's rows, and `first` and `second`: the labels, 0 or 1.

    Raises:
        ScoresError: a scorer is not there, or they have no answer in common.
    """
    known = sorted(table["scorer"].unique())
    unknown = [name for name in (first, second) if name not in known]
    if unknown:
        raise ScoresError(f"There are no answers of {unknown}; there are those of {known}.")
    labelled = table[table["label"].notna()]
    one, two = (labelled[labelled["scorer"] == name] for name in (first, second))
    both = one.merge(two[[*IMAGE_KEY, "label"]], on=list(IMAGE_KEY), suffixes=("", "_second"))
    if both.empty:
        raise ScoresError(f"{first} and {second} never answered the same check on the same image.")
    labels = {"first": both["label"].astype(float), "second": both["label_second"].astype(float)}
    return both.drop(columns="label_second").assign(**labels)


def agreement(
    table: pd.DataFrame,
    first: str,
    second: str,
    by: Sequence[str] = (),
    *,
    resampling: Resampling = DEFAULT,
) -> pd.DataFrame:
    """How two scorers agree where both answered; the first taken for the truth.

    Args:
        table: validated scores.
        first: a scorer, such as "human".
        second: another, such as "vqa".
        by: groups that are analysed apart, such as `["layer"]`: judges may err more on early layers.
        resampling: the level of the intervals.

    Returns:
        One row by group, each number with `_low` and `_high`: `agree`, the share of same answers; `kappa`
        (Cohen's); `alpha` (Krippendorff's); `sensitivity` and `specificity` of the second; then `answers`,
        `prompts` and a `note`.

    Raises:
        ScoresError: a scorer is not there, or they have no answer in common.
    """
    rows = []
    for key, part in groups(pair_up(table, first, second), by):
        cells = pd.crosstab(part["prompt_id"], part["first"] * 2 + part["second"])
        counts = cells.reindex(columns=[0.0, 1.0, 2.0, 3.0], fill_value=0).to_numpy(dtype=float)
        result = jackknife(counts, _numbers, _prompts_behind(counts))
        low, high = result.shares(resampling.level)
        # the kappas and alpha lie between -1 and 1
        ends = share_interval(
            (result.estimate + 1) / 2, result.variance / 4, result.counts, resampling.level
        )
        row: dict[str, object] = {**key, "first": first, "second": second}
        for index, name in enumerate(_NUMBERS):
            if name in ("kappa", "alpha"):
                low[index], high[index] = (2 * end[index] - 1 for end in ends)
            row |= {name: result.estimate[index], f"{name}_low": low[index], f"{name}_high": high[index]}
        rows.append(
            row | {"answers": len(part), "prompts": len(counts), "note": why_no_interval(len(counts))}
        )
    return pd.DataFrame(rows)


def _prompts_behind(counts: Float[np.ndarray, "prompt 4"]) -> Int[np.ndarray, " 5"]:
    """How many prompts each of `_NUMBERS` rests on: sensitivity on those in which something is right."""
    wrong, right = (int((counts[:, part].sum(axis=1) > 0).sum()) for part in (slice(2), slice(2, 4)))
    return np.array([len(counts)] * 3 + [right, wrong])


def _numbers(counts: Float[np.ndarray, "many 4"]) -> Float[np.ndarray, "many 5"]:
    """From counts of (first, second) = (0, 0), (0, 1), (1, 0), (1, 1), in the order of `_NUMBERS`."""
    no_no, no_yes, yes_no, yes_yes = counts.T
    whole = counts.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        agree = (no_no + yes_yes) / whole
        yes_1, yes_2 = (yes_no + yes_yes) / whole, (no_yes + yes_yes) / whole
        chance = yes_1 * yes_2 + (1 - yes_1) * (1 - yes_2)
        kappa = np.where(chance < 1 - 1e-12, (agree - chance) / (1 - chance), np.nan)
        # of two ratings: the chance that two ratings, of all 2n, differ
        yes = whole * (yes_1 + yes_2)
        differ = 2 * yes * (2 * whole - yes) / (2 * whole * (2 * whole - 1))
        alpha = np.where(differ > 1e-12, 1 - (1 - agree) / differ, np.nan)
        return np.stack(
            [agree, kappa, alpha, yes_yes / (yes_no + yes_yes), no_no / (no_no + no_yes)], axis=1
        )


def several_raters(table: pd.DataFrame, scorers: Sequence[str]) -> pd.DataFrame:
    """Agreement of more than two scorers at once, on what two of them or more answered.

    Returns:
        One row: `raters`, `alpha` (Krippendorff's, of all units that two or more answered), `fleiss`
        (Fleiss' kappa, of those that all answered; missing if there are none), and the numbers of `units`
        of each. Empty for fewer than three scorers.
    """
    labelled = table[table["label"].notna() & table["scorer"].isin(list(scorers))]
    if len(scorers) < 3 or labelled.empty:
        return pd.DataFrame()
    wide = labelled.assign(label=labelled["label"].astype(float)).pivot(
        index=list(IMAGE_KEY), columns="scorer", values="label"
    )
    values = wide.to_numpy(dtype=float)
    whole = values[np.isfinite(values).all(axis=1)]
    yes = whole.sum(axis=1).astype(np.int64)
    counts = np.stack([whole.shape[1] - yes, yes], axis=1)
    return pd.DataFrame(
        {
            "raters": [", ".join(map(str, wide.columns))],
            "alpha": [krippendorff(values)],
            "units": [int((np.isfinite(values).sum(axis=1) > 1).sum())],
            "fleiss": [fleiss(counts) if len(counts) else np.nan],
            "fleiss_units": [len(counts)],
        }
    )
