"""Judge correction: curves of an automatic judge, put right by a sample that people labelled.

A judge may err more on the odd images of early layers, which bends a curve and not only shifts it. So the
sample is stratified by layer (`diffusion_lens.scoring.sheet.sample_questions` draws one), and each layer is
corrected by its own errors.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from diffusion_lens.analysis.agreement import IMAGE_KEY
from diffusion_lens.analysis.curves import why_no_interval
from diffusion_lens.analysis.stacking import stack
from diffusion_lens.analysis.statistics import DEFAULT, Resampling, jackknife, rates, totals
from diffusion_lens.analysis.summary import area
from diffusion_lens.analysis.trajectories import gather, groups
from diffusion_lens.errors import ScoresError

__all__ = ["METHODS", "METHOD_WORDS", "corrected", "corrected_areas", "corrected_curves"]

METHOD_WORDS = {
    "raw": "as judged",
    "rogan_gladen": "Rogan-Gladen",
    "prediction_powered": "prediction-powered",
}
"""What readers know the methods by, in the order of tables."""
METHODS = tuple(METHOD_WORDS)
Strata = Literal["layer", "pooled"]
# the columns of a group, what each prompt adds to its totals (see `_split`), layers and depths; groups may
# be of unequal numbers of prompts and layers
_Part = tuple[dict[str, object], Float[np.ndarray, "_ _"], tuple[int, ...], np.ndarray]


def corrected_curves(
    table: pd.DataFrame,
    judge: str,
    truth: str = "human",
    by: Sequence[str] = ("run", "encoder", "kind"),
    *,
    strata: Strata = "layer",
    resampling: Resampling = DEFAULT,
) -> pd.DataFrame:
    """Layer curves of a judge, raw and corrected side by side.

    `rogan_gladen` (Rogan & Gladen 1978, Am. J. Epidemiology 107, 71-76) is
    (raw + specificity - 1) / (sensitivity + specificity - 1), held between 0 and 1.
    `prediction_powered` adds to the mean truth of the sample what the judge knows of the rest,
    mean(truth) + lambda (raw - mean(judge on the sample)), with the lambda that makes it most precise, the
    slope of truth on judge (Angelopoulos et al. 2023, arXiv 2301.09633 and 2311.01453, for a sample that
    is part of the whole). Prompts are left out with all that belongs to them, so that intervals hold both
    the uncertainty of the curve and of the correction.

    Args:
        table: validated scores of both scorers; the truth may cover any random sample within each layer.
        judge: the scorer to correct.
        truth: the scorer to trust.
        by: groups that are analysed apart.
        strata: sensitivity and specificity by "layer", or "pooled" over layers, if labels are few and the
            judge errs everywhere alike.
        resampling: the level of the intervals.

    Returns:
        One row by group, layer and `method` (raw, rogan_gladen, prediction_powered): `rate`, `low`,
        `high`, `sensitivity`, `specificity`, `labelled` (answers in the sample), `prompts` (for a
        correction, those that are labelled), `note`.

    Raises:
        ScoresError: a scorer is not there, or there are no answers of both.
    """
    return _curves(_parts(table, judge, truth, by), strata, resampling.level)


def corrected(
    table: pd.DataFrame,
    judge: str,
    truth: str = "human",
    by: Sequence[str] = ("run", "encoder", "kind"),
    *,
    strata: Strata = "layer",
    resampling: Resampling = DEFAULT,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Both of `corrected_curves` and `corrected_areas`, for which answers are put together once.

    Raises:
        ScoresError: as `corrected_curves`.
    """
    parts = _parts(table, judge, truth, by)
    return _curves(parts, strata, resampling.level), _areas(parts, strata, resampling.level)


def _curves(parts: Sequence[_Part], strata: Strata, level: float) -> pd.DataFrame:
    rows: list[dict[str, object]] = []
    for key, sums, layers, depths in parts:
        width = len(layers)

        def statistic(
            many: Float[np.ndarray, "many columns"], width: int = width
        ) -> Float[np.ndarray, "many number"]:
            return _corrected(many, width, strata).reshape(len(many), -1)

        counts = _prompts_behind(sums, width)
        result = jackknife(sums, statistic, counts.ravel())
        rate, low, high = (
            numbers.reshape(len(METHODS), width) for numbers in (result.estimate, *result.shares(level))
        )
        whole = sums.sum(axis=0)[None]
        sensitivity, false_yes = _errors(whole, width, strata)
        labelled = _split(whole, width)[2][0]
        for index, method in enumerate(METHODS):
            row = {**key, "layer": layers, "depth": depths, "method": method}
            row |= {"rate": rate[index], "low": low[index], "high": high[index]}
            row |= {"sensitivity": sensitivity[0], "specificity": 1 - false_yes[0]}
            row |= {"labelled": labelled.astype(int), "prompts": counts[index]}
            row["note"] = [
                _note(method, len(sums), *numbers)
                for numbers in zip(sensitivity[0], false_yes[0], labelled, strict=True)
            ]
            rows.append(row)
    return stack(rows, list(rows[0]))


def _prompts_behind(
    sums: Float[np.ndarray, "prompt column"], width: int
) -> Int[np.ndarray, "method layer"]:
    """How many prompts each rate rests on: all for the raw one, else those that are labelled."""
    judged, labelled = _split(sums, width)[1:3]
    known = (labelled > 0).sum(axis=0)
    return np.stack([(judged > 0).sum(axis=0), known, known])


def corrected_areas(
    table: pd.DataFrame,
    judge: str,
    truth: str = "human",
    by: Sequence[str] = ("run", "encoder", "kind"),
    *,
    strata: Strata = "layer",
    resampling: Resampling = DEFAULT,
) -> pd.DataFrame:
    """Area under each curve of `corrected_curves`, by `method`, with `low` and `high`.

    Raises:
        ScoresError: as `corrected_curves`.
    """
    return _areas(_parts(table, judge, truth, by), strata, resampling.level)


def _areas(parts: Sequence[_Part], strata: Strata, level: float) -> pd.DataFrame:
    rows: list[dict[str, object]] = []
    for key, sums, layers, depths in parts:

        def statistic(
            many: Float[np.ndarray, "many columns"],
            width: int = len(layers),
            depths: Float[np.ndarray, " layer"] = depths,
        ) -> Float[np.ndarray, "many method"]:
            curves = _corrected(many, width, strata)
            return np.stack([area(curves[:, index], depths) for index in range(len(METHODS))], axis=1)

        counts = _prompts_behind(sums, len(layers)).min(axis=1)
        result = jackknife(sums, statistic, counts)
        low, high = result.shares(level)
        row = {**key, "method": METHODS, "area": result.estimate, "low": low, "high": high}
        rows.append(row | {"prompts": counts, "note": [why_no_interval(int(count)) for count in counts]})
    return stack(rows, list(rows[0]))


def _parts(table: pd.DataFrame, judge: str, truth: str, by: Sequence[str]) -> list[_Part]:
    """What each prompt adds to the totals, by group: see `_split` for the columns."""
    scorers = sorted(table["scorer"].unique())
    unknown = [name for name in (judge, truth) if name not in scorers]
    if unknown:
        raise ScoresError(f"There are no answers of {unknown}; there are those of {scorers}.")
    parts = []
    for key, part in groups(table, by):
        of_judge, of_truth = (part[part["scorer"] == name] for name in (judge, truth))
        if of_judge.empty:
            continue
        both = of_judge.merge(of_truth[[*IMAGE_KEY, "label"]], on=list(IMAGE_KEY), suffixes=("", "_truth"))
        both = both.loc[both["label"].notna() & both["label_truth"].notna()]
        if both.empty:
            continue
        found = gather(of_judge)
        row = both["prompt_id"].map({name: index for index, name in enumerate(found.prompts)}).to_numpy()
        column = np.searchsorted(found.layers, both["layer"])
        said, true = both["label"].to_numpy(dtype=float), both["label_truth"].to_numpy(dtype=float)
        # a rate is of prompts, however many answers each has: so are the means of the sample
        of_prompt = np.zeros((len(found.prompts), len(found.layers)))
        np.add.at(of_prompt, found.prompt, np.isfinite(found.values))
        weight = 1 / of_prompt[row, column]
        sample = np.zeros((8, len(found.prompts), len(found.layers)))
        for index, values in enumerate((np.ones_like(said), true, said, said * true)):
            np.add.at(sample[index], (row, column), values)
            np.add.at(sample[index + 4], (row, column), values * weight)
        sums = np.concatenate([totals(found.prompt_means()), *sample], axis=1)
        parts.append((key, sums, found.layers, found.depths))
    if not parts:
        raise ScoresError(f"{judge} and {truth} never answered the same check on the same image.")
    return parts


def _split(sums: Float[np.ndarray, "many columns"], width: int) -> tuple[np.ndarray, ...]:
    """Columns by layer: judge's prompt means and their number; labelled, true, said, said and true.

    The last four come twice: as numbers of answers, and with each prompt counting once.
    """
    return tuple(sums.reshape(len(sums), 10, width).transpose(1, 0, 2))


def _errors(
    sums: Float[np.ndarray, "many columns"], width: int, strata: Strata
) -> tuple[Float[np.ndarray, "many layer"], Float[np.ndarray, "many layer"]]:
    """Sensitivity, and the share of wrong images that the judge takes for right."""
    labelled, true, said, both = _split(sums, width)[2:6]
    if strata == "pooled":
        labelled, true, said, both = (
            np.repeat(block.sum(axis=1, keepdims=True), width, axis=1)
            for block in (labelled, true, said, both)
        )
    with np.errstate(invalid="ignore", divide="ignore"):
        return both / true, (said - both) / (labelled - true)


def _corrected(
    sums: Float[np.ndarray, "many columns"], width: int, strata: Strata
) -> Float[np.ndarray, "many method layer"]:
    labelled, true, said, both = _split(sums, width)[6:]
    raw = rates(sums[:, : 2 * width])
    sensitivity, false_yes = _errors(sums, width, strata)
    with np.errstate(invalid="ignore", divide="ignore"):
        power = sensitivity - false_yes
        rogan = np.where(power > 0, np.clip((raw - false_yes) / power, 0, 1), np.nan)
        mean_true, mean_said = true / labelled, said / labelled
        spread = mean_said * (1 - mean_said)
        slope = np.where(spread > 0, (both / labelled - mean_true * mean_said) / spread, 0)
        powered = np.clip(mean_true + slope * (raw - mean_said), 0, 1)
    return np.stack([raw, rogan, powered], axis=1)


def _note(method: str, prompts: int, sensitivity: float, false_yes: float, labelled: float) -> str:
    if few := why_no_interval(prompts):
        return few
    if method == "raw":
        return ""
    if labelled == 0:
        return "nothing labelled at this layer"
    if method == "rogan_gladen" and not np.isfinite(sensitivity):
        return "no labelled image is right: sensitivity unknown"
    if method == "rogan_gladen" and not np.isfinite(false_yes):
        return "no labelled image is wrong: specificity unknown"
    if method == "rogan_gladen" and sensitivity <= false_yes:
        return "the judge is no better than chance here: no correction"
    return f"{int(labelled)} labelled: rough" if labelled < 20 else ""
