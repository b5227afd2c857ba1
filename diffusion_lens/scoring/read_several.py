"""Scores of several runs or tables as one table, in which runs are told apart by their names."""

import os
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

import pandas as pd

from diffusion_lens.errors import ScoresError
from diffusion_lens.scoring.table import KEY, read, validate

__all__ = ["check_sources", "read_all"]


def read_all(paths: Sequence[str | os.PathLike[str]]) -> pd.DataFrame:
    """Read several of what `table.read` reads, as one table.

    Raises:
        ScoresError: as `read`, as `check_sources`; or two hold answers of one scorer to the same checks on
            the same images.
    """
    check_sources(paths)
    tables = [read(path) for path in paths]
    for (one, first), (two, second) in combinations(zip(paths, tables, strict=True), 2):
        if _is_run(one) and _is_run(two) and (shared := sorted({*first["run"]} & {*second["run"]})):
            raise ScoresError(
                f"The scores of {one} and of {two} call both runs {shared[0]!r}, the name that the folder "
                "had when it was scored. Score one of them again under its name of now: `diffusion-lens "
                "score`, which asks nothing twice."
            )
        both = first[list(KEY)].merge(second[list(KEY)], on=list(KEY))
        if not both.empty:
            raise ScoresError(
                f"{one} and {two} hold {len(both)} answers to the same questions, such as "
                f"{both.iloc[0].to_dict()}. One scorer gives one answer to one check on one image: name a "
                "second rater otherwise, and a second run otherwise."
            )
    return validate(pd.concat(tables, ignore_index=True))


def check_sources(paths: Sequence[str | os.PathLike[str]]) -> None:
    """Refuse a source that is named twice, and two runs whose folders have one name.

    Raises:
        ScoresError: it names both.
    """
    for one, two in combinations(paths, 2):
        first, second = (os.path.abspath(path) for path in (one, two))
        if first == second:
            raise ScoresError(f"{one} is named twice. Name each run and each table once.")
        name = os.path.basename(first)
        if _is_run(one) and _is_run(two) and name == os.path.basename(second):
            raise ScoresError(
                f"{one} and {two} are two runs of one name, {name!r}, by which tables and figures tell "
                "runs apart. Rename one of the folders."
            )


def _is_run(path: str | os.PathLike[str]) -> bool:
    return (Path(path) / "manifest.json").exists()
