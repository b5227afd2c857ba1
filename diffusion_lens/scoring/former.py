"""Scores that are there already where new ones are to be written: no answer is lost unasked."""

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from diffusion_lens.checks.checks import Check, CheckedPrompt
from diffusion_lens.errors import ScoresError
from diffusion_lens.runs.images import RunImages
from diffusion_lens.runs.store import Store
from diffusion_lens.scoring.answer_store import digest_of_checks, table_path
from diffusion_lens.scoring.baselines import is_baseline
from diffusion_lens.scoring.of_run import with_cells, with_names_of_now
from diffusion_lens.scoring.registry import scorers
from diffusion_lens.scoring.table import KEY, validate, write

__all__ = ["digests_of", "read_former", "save_answers", "why_lost", "with_digests"]

log = logging.getLogger(__name__)

Asked = Mapping[tuple[str, str], str]
"""By prompt_id and id of a check: a digest of the check, empty for one that the scorer made itself."""


def read_former(store: Store, path: str) -> pd.DataFrame | None:
    """A table of scores of a run; None if there is none, or it can't be read."""
    if not store.fs.exists(store.path(path)):
        return None
    try:
        with store.fs.open(store.path(path), "rb") as file:
            return pq.read_table(file).to_pandas()
    except (OSError, pa.ArrowException) as error:
        log.warning("%s/%s can't be read, and is written anew: %s.", store.url, path, error)
        return None


def digests_of(
    prompts: Sequence[CheckedPrompt], questions: Sequence[Sequence[Check]]
) -> dict[tuple[str, str], str]:
    """What is asked, by prompt_id and id of the check.

    Args:
        prompts: the prompts with the checks of the study.
        questions: what a scorer is asked of each; a check that it made itself, such as a choice between all
            prompts of the run, has no digest, for it changes when the run grows.
    """
    own = {
        (prompt.prompt_id, check.id): digest_of_checks([check])
        for prompt in prompts
        for check in prompt.checks
    }
    asked = [
        (prompt.prompt_id, check.id)
        for prompt, of_prompt in zip(prompts, questions, strict=True)
        for check in of_prompt
    ]
    return {key: own.get(key, "") for key in asked}


def with_digests(table: pd.DataFrame, asked: Asked) -> pd.DataFrame:
    """Scores with the column `check_digest`, which tells two checks of one id apart."""
    whose = table["asked_of"].where(table["asked_of"].notna(), table["prompt_id"])
    pairs = zip(whose, table["check"], strict=True)
    return table.assign(check_digest=[asked.get(pair, "") for pair in pairs])


def why_lost(former: pd.DataFrame, asked: Asked, version: str) -> str:
    """Which answers of a table the one that replaces it would not have; empty if none.

    Args:
        former: the table that is there.
        asked: what is asked now. Prompts that are no more of the run do not count.
        version: the scorer's version now.
    """
    real = former[former["baseline"].fillna("") == ""] if "baseline" in former else former
    real = real[real["label"].notna() | real["p"].notna()]
    names = ["prompt_id", "check", *(name for name in ("check_digest", "version") if name in real)]
    prompts = {prompt for prompt, _ in asked}
    lost, versions = [], set()
    for row in real[names].drop_duplicates().to_dict("records"):
        key = (row["prompt_id"], row["check"])
        if row["prompt_id"] not in prompts:
            continue
        now, before = asked.get(key), row.get("check_digest", "")
        if now is None or (now and before and now != before):
            lost.append(key)
        elif row.get("version", version) != version:
            versions.add(str(row["version"]))
    if lost:
        one = "one check" if len(lost) == 1 else f"{len(lost)} checks"
        return f"answers to {one} not asked now, such as {lost[0][1]!r} of {lost[0][0]!r}"
    if versions:
        return f"answers of other settings or versions ({'; '.join(sorted(versions))}; now {version})"
    return ""


def save_answers(
    run: str | os.PathLike[str], new: pd.DataFrame, *, overwrite: bool = False
) -> tuple[Path, pd.DataFrame]:
    """Put a rater's answers beside a run's other scores, together with those saved before.

    Args:
        run: the run's folder.
        new: validated scores of one rater, on images of the run.
        overwrite: let new answers replace other ones to the same questions.

    Returns:
        The file written, and all answers in it; a question without an answer now keeps the one from before.

    Raises:
        ScoresError: the rater is called as a scorer is, or an image is not of the run; or a question was
            answered otherwise before, and `overwrite` is off.
        RunError: there is no run, or it is damaged.
        OutputError: the file can't be written.
    """
    (rater,) = new["scorer"].unique()
    images = RunImages(run)
    former = read_former(images.store, table_path(rater))
    _check_person(rater, former)
    table = with_cells(new, images)
    if former is not None:
        before = with_names_of_now(validate(former), images.store)
        table = _together(before, table, overwrite)
    (path,) = write(table, run)
    return path, table


def _check_person(rater: str, former: pd.DataFrame | None) -> None:
    """Refuse a name under which a scorer would write, or its baselines would stand."""
    scored = former is not None and "version" in former
    if rater in scorers() or scored or is_baseline(pd.Series([rater])).item():
        raise ScoresError(
            f"{rater!r} is the name of a scorer, whose answers these would be mixed with. Call the person "
            "otherwise, such as --rater human:ann."
        )


def _together(former: pd.DataFrame, new: pd.DataFrame, overwrite: bool) -> pd.DataFrame:
    keys = list(KEY)
    before = former.set_index(keys)["label"]
    said = new.set_index(keys)["label"]
    both = pd.DataFrame({"before": before, "now": said}).dropna()
    changed = both[both["before"].astype(bool) != both["now"].astype(bool)]
    if len(changed) and not overwrite:
        first = dict(zip(keys, changed.index[0], strict=True))
        raise ScoresError(
            f"{len(changed)} questions were answered otherwise before by {first['scorer']!r}, such as "
            f"{first['check']!r} of {first['prompt_id']!r}, layer {first['layer']}, seed {first['seed']}. "
            "Name another person by another --rater, or replace these answers with --overwrite "
            "(overwrite=True)."
        )
    unsaid = said.index[said.isna()].intersection(before.index[before.notna()])
    kept_new = new[~new.set_index(keys).index.isin(unsaid)]
    kept = former[~former.set_index(keys).index.isin(kept_new.set_index(keys).index)]
    return validate(pd.concat([kept, kept_new], ignore_index=True))
