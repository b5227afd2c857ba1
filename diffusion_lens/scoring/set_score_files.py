"""The file of set-level scores beside a run, which keeps the run's name of today."""

import os
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from diffusion_lens.errors import ScoresError
from diffusion_lens.files import write_whole

__all__ = ["SET_SCORES", "read_set_scores", "write_set_scores"]

SET_SCORES = "set_scores.csv"
# rows that agree in these are one comparison
_KEY = ["run", "encoder", "layer", "features", "reference"]
# of the file alone: what the run's folder was called when `run` was written; empty where that is not known
_FOLDER = "folder"
_ANEW = "Move it away, and give the command `diffusion-lens sets` again."


def read_set_scores(runs: Sequence[str | os.PathLike[str]]) -> pd.DataFrame:
    """The set-level scores that were written beside runs; empty if there are none.

    Raises:
        ScoresError: one can't be read.
    """
    found = [Path(run) / SET_SCORES for run in runs]
    tables = [_read(path) for path in found if path.is_file()]
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()


def write_set_scores(found: pd.DataFrame, run: str | os.PathLike[str]) -> int:
    """Add set-level scores to those beside a run; comparisons of other vectors or references are kept.

    Args:
        found: of `score_sets`.
        run: the run's folder.

    Returns:
        The rows from before, of the same comparison, that were replaced.

    Raises:
        ScoresError: what is there already can't be read.
        OutputError: the file can't be written.
    """
    path = Path(run) / SET_SCORES
    whole, replaced = found, 0
    if path.is_file():
        former = _read(path)
        again = former.set_index(_KEY).index.isin(found.set_index(_KEY).index)
        whole, replaced = pd.concat([former[~again], found], ignore_index=True), int(again.sum())
    today = _folder_of(path)
    named = whole.assign(**{_FOLDER: [today if _begins(run, today) else "" for run in whole["run"]]})
    write_whole(path, lambda file: named.to_csv(file, index=False))
    return replaced


def _folder_of(path: Path) -> str:
    return Path(os.path.abspath(path)).parent.name


def _begins(run: str, folder: str) -> bool:
    """Whether a run is called by its folder's name, and by what tells its readings apart."""
    return run == folder or run.startswith((f"{folder} (", f"{folder} at "))


def _read(path: Path) -> pd.DataFrame:
    """The scores of a file, by the name that its run has today."""
    try:
        # a run may be called "NA"
        missing = {name: [""] for name in ("kid", "kid_low", "kid_high", "fid")}
        table = pd.read_csv(
            path, keep_default_na=False, na_values=missing, dtype={"run": str, _FOLDER: str}
        )
    except (OSError, ValueError) as error:
        raise ScoresError(f"{path} can't be read as set-level scores: {error}. {_ANEW}") from error
    if lacking := [name for name in (*_KEY, "kid", "fid") if name not in table]:
        raise ScoresError(f"{path} holds no set-level scores: it lacks the columns {lacking}. {_ANEW}")
    if _FOLDER in table:
        today = _folder_of(path)
        former = zip(table["run"], table.pop(_FOLDER), strict=True)
        table["run"] = [
            today + run.removeprefix(folder) if _begins(run, folder) else run for run, folder in former
        ]
    return table
