"""`Job`: the rows that a scorer's table of a run will have, and the questions behind them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from diffusion_lens.checks.checks import Check, CheckedPrompt, join_parents
from diffusion_lens.runs.images import RunImages, Series
from diffusion_lens.scoring.answer_store import digest_of, digest_of_checks
from diffusion_lens.scoring.baselines import scorer_name
from diffusion_lens.scoring.scorers.similarity import CHECKS

__all__ = ["Job", "Row", "check_job", "similarity_job", "table_of", "todo"]


class Row(NamedTuple):
    """One image and what is asked of it.

    Attributes:
        item: the id of its cell, or the name of a made picture.
        asked: digest of what is asked.
        series: index of the series.
        layer: the layer.
        baseline: which one it is of; empty for a real row.
        partner: index of the prompt whose checks or picture it is scored against.
    """

    item: str
    asked: str
    series: int
    layer: int
    baseline: str
    partner: int | None


@dataclass(frozen=True)
class Job:
    """All that one scorer has to do on a run.

    Attributes:
        series: the series of the run.
        rows: one by image and baseline, those of a series together.
        checks: what is asked, by digest.
        goals: for similarities, the cell that is compared with, by digest.
    """

    series: Sequence[Series]
    rows: Sequence[Row]
    checks: Mapping[str, tuple[Check, ...]]
    goals: Mapping[str, str]


def check_job(
    images: RunImages, questions: Sequence[Sequence[Check]], other: Sequence[int | None], baselines: bool
) -> Job:
    """The job of a scorer of checks.

    Args:
        images: the run.
        questions: the checks of each prompt that it can judge.
        other: the partner of each prompt.
        baselines: score these too; on the images of the first seed.
    """
    series, first = images.series(), min(images.plan.experiment.seeds)
    digests = [digest_of_checks(checks) for checks in questions]
    rows: list[Row] = []
    for index, one in enumerate(series):
        asked, partner = digests[one.prompt], other[one.prompt]
        for cell in one.cells:
            if questions[one.prompt]:
                rows.append(Row(cell.id, asked, index, cell.layer, "", None))
            if not baselines or one.seed != first:
                continue
            if partner is not None and questions[partner]:
                rows.append(Row(cell.id, digests[partner], index, cell.layer, "shuffled", partner))
            if questions[one.prompt]:
                rows.append(Row("blank", asked, index, cell.layer, "blank", None))
                rows.append(Row(f"noise {one.prompt}", asked, index, cell.layer, "noise", None))
    checks = {digest: tuple(asked) for digest, asked in zip(digests, questions, strict=True)}
    return Job(series, rows, checks, {})


def similarity_job(images: RunImages, other: Sequence[int | None], baselines: bool) -> Job:
    """The job of a measure of similarity; see `check_job`.

    Shuffled, a picture is compared with the last layer's of another prompt at the same seed: what is
    left is what the noise has in common.
    """
    series, first = images.series(), min(images.plan.experiment.seeds)
    rows: list[Row] = []
    checks: dict[str, tuple[Check, ...]] = {}
    goals: dict[str, str] = {}
    last = {(one.run, one.encoder, one.prompt, one.seed): one.cells[-1].id for one in series}
    for index, one in enumerate(series):
        cells = [cell.id for cell in one.cells]
        own = digest_of(cells)
        checks[own], goals[own] = CHECKS, cells[-1]
        rows += [Row(cell.id, own, index, cell.layer, "", None) for cell in one.cells]
        if not baselines or one.seed != first:
            continue
        partner = other[one.prompt]
        goal = None if partner is None else last.get((one.run, one.encoder, partner, one.seed))
        if goal is not None:
            shuffled = digest_of(["goal", goal])
            checks[shuffled], goals[shuffled] = CHECKS[:1], goal
            rows += [Row(cell.id, shuffled, index, cell.layer, "shuffled", partner) for cell in one.cells]
        against = digest_of(["goal", cells[-1]])
        checks[against], goals[against] = CHECKS[:1], cells[-1]
        for cell in one.cells:
            rows.append(Row("blank", against, index, cell.layer, "blank", None))
            rows.append(Row(f"noise {one.prompt}", against, index, cell.layer, "noise", None))
    return Job(series, rows, checks, goals)


def todo(job: Job, done: set[tuple[str, str]], missing: Mapping[str, str]) -> Iterator[Row]:
    """The rows that still need an answer, each question on each picture once."""
    seen = set(done)
    for row in job.rows:
        key = (row.item, row.asked)
        if key not in seen and row.item not in missing:
            seen.add(key)
            yield row


def table_of(
    job: Job,
    answers: pd.DataFrame,
    prompts: Sequence[CheckedPrompt],
    scorer: str,
    version: str,
    missing: Mapping[str, str],
) -> pd.DataFrame:
    """The table of scores: every image and check that has an answer, or a reason for having none.

    Args:
        job: the rows.
        answers: from `AnswerStore.read`.
        prompts: the prompts of the run.
        scorer: the scorer's name.
        version: its version.
        missing: why an image is missing, by cell.

    Returns:
        The columns of `table.COLUMNS`, then baseline, asked_of (the prompt whose checks were asked, of
        shuffled rows), chance, cell and version.
    """
    rows = pd.DataFrame(job.rows, columns=list(Row._fields))
    asked = pd.DataFrame(
        [
            (digest, check.id, check.kind, join_parents(check.parents))
            for digest, checks in job.checks.items()
            for check in checks
        ],
        columns=["asked", "check", "kind", "parents"],
    )
    frame = rows.merge(asked, on="asked").merge(answers, on=["item", "asked", "check"], how="left")
    why = frame["item"].map(dict(missing))
    unanswered = frame["again"].isna()
    frame["reason"] = frame["reason"].where(~unanswered | why.isna(), why)
    frame = frame[~unanswered | why.notna()].reset_index(drop=True)
    facts: list[dict[str, Any]] = [
        {
            "run": one.run, "encoder": one.encoder, "seed": one.seed,
            "prompt_id": prompts[one.prompt].prompt_id, "prompt": prompts[one.prompt].prompt,
            "category": prompts[one.prompt].category, "last": one.last,
        }
        for one in job.series
    ]  # fmt: skip
    frame = frame.join(pd.DataFrame(facts), on="series")
    names = {index: prompt.prompt_id for index, prompt in enumerate(prompts)}
    frame["asked_of"] = frame["partner"].map(names)
    frame["scorer"] = frame["baseline"].map(lambda baseline: scorer_name(scorer, baseline))
    frame["depth"] = np.where(frame["last"] > 0, frame["layer"] / frame["last"].clip(lower=1), 1.0)
    return frame.assign(cell=frame["item"], version=version).drop(
        columns=["item", "asked", "series", "partner", "again", "last"]
    )
