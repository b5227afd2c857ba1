"""Tables on the scorers themselves: how they agree, and curves corrected by people."""

from collections.abc import Callable, Sequence
from itertools import combinations

import pandas as pd

from diffusion_lens.analysis.agreement import agreement, several_raters
from diffusion_lens.analysis.correction import corrected
from diffusion_lens.analysis.statistics import Resampling
from diffusion_lens.errors import ScoresError, nearest

__all__ = ["add_judges", "check_truth"]

_LAYERS = ["run", "encoder", "layer"]


def add_judges(
    keep: Callable[[str, pd.DataFrame], object],
    notes: list[str],
    table: pd.DataFrame,
    by: Sequence[str],
    truth: str,
    resampling: Resampling,
) -> None:
    """Add the agreement of each two scorers, and each other scorer corrected by people.

    Agreement is over all images together, and at each layer of each run and encoder: layer 5 of one encoder
    is not that of another.

    Args:
        keep: takes the name of a table (`agreement`, `raters`, `correction`, `correction_areas`) and the
            table.
        notes: takes what could not be made.
        table: validated scores of real images.
        by: what makes a curve.
        truth: the scorer by whom others are corrected: itself, or any called "human:..."; of several the
            first by name, which a note says.
        resampling: the level of the intervals.
    """
    scorers = sorted(table.loc[table["label"].notna(), "scorer"].unique())
    if len(scorers) < 2:
        return
    people = [name for name in scorers if _is_of(truth, name)]
    ranked = [*people, *(name for name in scorers if name not in people)]
    rows = []
    for first, second in combinations(ranked, 2):
        for split in ([], _LAYERS):
            try:
                frame = agreement(table, first, second, split, resampling=resampling)
            except ScoresError as error:
                notes.append(f"agreement: {error}")
                break
            told = {name: frame[name].astype(str) if split else "all" for name in _LAYERS}
            frame = frame.assign(**told)
            rows.append(frame[[*_LAYERS, *(name for name in frame if name not in _LAYERS)]])
    if rows:
        keep("agreement", pd.concat(rows, ignore_index=True))
    raters = several_raters(table, ranked)
    if not raters.empty:
        keep("raters", raters)
    if people:
        judges = [name for name in ranked if name not in people]
        if judges and len(people) > 1:
            notes.append(
                f"correction: by {people[0]} alone, the first of {', '.join(people)}. To correct by "
                "another one, name it as the truth."
            )
        _correct(keep, notes, table, judges, people[0], by, resampling)


def check_truth(table: pd.DataFrame, truth: str) -> None:
    """Refuse a scorer to correct others by that labels no image, or has no other beside it.

    Raises:
        ScoresError: it names the scorers that there are.
    """
    real = table[table["baseline"].fillna("") == ""] if "baseline" in table else table
    scorers = sorted(real.loc[real["label"].notna(), "scorer"].unique())
    others = [name for name in scorers if not _is_of(truth, name)]
    if len(others) < len(scorers) and others:
        return
    what = f"There are no answers of {truth!r} to correct by."
    if len(others) < len(scorers):
        what = f"{truth!r} is the only scorer, and corrects no other."
    elif (real["scorer"] == truth).any():
        what = f"{truth!r} labels no image right or wrong, so that nothing can be corrected by it."
    raise ScoresError(
        f"{what}{nearest(truth, scorers)} Scorers that label: {', '.join(scorers) or 'none'}. Score the "
        "run with it (`diffusion-lens score`, or `sheet` for people), or name another --truth."
    )


def _is_of(truth: str, scorer: str) -> bool:
    return scorer == truth or scorer.startswith(f"{truth}:")


def _correct(
    keep: Callable[[str, pd.DataFrame], object],
    notes: list[str],
    table: pd.DataFrame,
    judges: Sequence[str],
    truth: str,
    by: Sequence[str],
    resampling: Resampling,
) -> None:
    others = [name for name in by if name != "scorer"]
    curves, areas = [], []
    for judge in judges:
        try:
            curve, area = corrected(table, judge, truth, others, resampling=resampling)
        except ScoresError as error:
            notes.append(f"correction: {error}")
            continue
        curves.append(curve.assign(scorer=judge))
        areas.append(area.assign(scorer=judge))
    if curves:
        keep("correction", pd.concat(curves, ignore_index=True))
        keep("correction_areas", pd.concat(areas, ignore_index=True))
