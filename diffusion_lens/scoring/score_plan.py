"""`ScorePlan`: the rows that a scorer's table of a run will have, and the questions behind them."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from diffusion_lens.checks.checks import Check, CheckedPrompt, join_parents
from diffusion_lens.runs.images import Series
from diffusion_lens.scoring.answer_store import digest_of, digest_of_checks
from diffusion_lens.scoring.baselines import scorer_name
from diffusion_lens.scoring.scorer import Reference, Scorer

__all__ = ["PlannedScore", "ScorePlan", "make_plan", "table_of", "to_do"]


class PlannedScore(NamedTuple):
    """One image and what is asked of it.

    Attributes:
        item: the id of its cell, or the name of an image made for a baseline.
        asked: digest of what is asked.
        series: index of the series.
        layer: the layer.
        baseline: which one it is of; empty for a real row.
        partner: index of the prompt whose checks and images it is scored against.
    """

    item: str
    asked: str
    series: int
    layer: int
    baseline: str
    partner: int | None


@dataclass
class ScorePlan:
    """All that one scorer has to do on a run.

    Attributes:
        series: the series of the run.
        rows: one by image and baseline, those of a series together.
        checks: what is asked, by digest.
        references: the cells that an image is compared with, by digest of what is asked.
    """

    series: Sequence[Series]
    rows: list[PlannedScore]
    checks: dict[str, tuple[Check, ...]]
    references: dict[str, Mapping[Reference, str]]


def make_plan(
    series: Sequence[Series],
    scorer: Scorer,
    questions: Sequence[tuple[Check, ...]],
    partners: Sequence[int | None],
    baseline_seeds: Sequence[int] | None,
    missing: Collection[str] = (),
) -> ScorePlan:
    """Plan what a scorer is asked.

    Real rows ask the checks of an image's own prompt. Shuffled ones ask those of another prompt, and
    compare with that prompt's images; blank and noise images are asked and compared like the real ones.

    Args:
        series: the series of the run.
        scorer: who answers.
        questions: the checks of each prompt that it can judge.
        partners: the other prompt of each prompt.
        baseline_seeds: for each prompt, the seed on whose images baselines are scored too; None for no
            baselines.
        missing: the cells that have no image. A comparison with one of them is another question than that
            with its image, once it is drawn.
    """
    plan = ScorePlan(series, [], {}, {})
    last = {(one.run, one.encoder, one.prompt, one.seed): one.cells[-1].id for one in series}
    digests: dict[int, str] = {}

    def ask(prompt: int, references: Mapping[Reference, str], baseline: str = "") -> str | None:
        """Note what is asked; the checks of a baseline are those whose references it has."""
        needed = scorer.references
        if not needed and prompt in digests:
            return digests[prompt]
        checks = tuple(
            check
            for check in questions[prompt]
            if not baseline or check.id not in needed or needed[check.id] in references
        )
        if not checks:
            return None
        asked = digest_of_checks(checks)
        if needed:
            told = {
                name: f"{cell} is missing" if cell in missing else cell for name, cell in references.items()
            }
            asked = digest_of([asked, told])
            plan.references[asked] = references
        else:
            digests[prompt] = asked
        plan.checks[asked] = checks
        return asked

    for index, one in enumerate(series):
        before: str | None = None
        final = one.cells[-1].id
        for cell in one.cells:
            references: dict[Reference, str] = {"last": final}
            if before is not None:
                references["before"] = before
            before = cell.id
            planned: list[tuple[str, str | None, str, int | None]] = [
                (cell.id, ask(one.prompt, references), "", None)
            ]
            if baseline_seeds is not None and one.seed == baseline_seeds[one.prompt]:
                partner = partners[one.prompt]
                goal = None
                if partner is not None:
                    goal = last.get((one.run, one.encoder, partner, baseline_seeds[partner]))
                if partner is not None and (goal is not None or not scorer.references):
                    others: dict[Reference, str] = {} if goal is None else {"last": goal}
                    planned.append((cell.id, ask(partner, others, "shuffled"), "shuffled", partner))
                for name, item in (("blank", "blank"), ("noise", f"noise {one.prompt}")):
                    planned.append((item, ask(one.prompt, {"last": final}, name), name, None))
            plan.rows += [
                PlannedScore(item, asked, index, cell.layer, baseline, partner)
                for item, asked, baseline, partner in planned
                if asked is not None
            ]
    return plan


def to_do(
    plan: ScorePlan, done: set[tuple[str, str]], missing: Mapping[str, str]
) -> Iterator[PlannedScore]:
    """The rows that still need an answer, each question on each image once."""
    seen = set(done)
    for row in plan.rows:
        key = (row.item, row.asked)
        if key not in seen and row.item not in missing:
            seen.add(key)
            yield row


def table_of(
    plan: ScorePlan,
    answers: pd.DataFrame,
    prompts: Sequence[CheckedPrompt],
    scorer: Scorer,
    missing: Mapping[str, str],
) -> pd.DataFrame:
    """The table of scores: every image and check that has an answer, or a reason for having none.

    Args:
        plan: the rows.
        answers: from `AnswerStore.read`.
        prompts: the prompts of the run.
        scorer: who answered.
        missing: why an image is missing, by cell.

    Returns:
        The columns of `table.COLUMNS` but for the ungated ones, then baseline, asked_of (the prompt whose
        checks were asked, of shuffled rows), chance, cell and version.
    """
    rows = pd.DataFrame(plan.rows, columns=list(PlannedScore._fields))
    asked = pd.DataFrame(
        [
            (digest, check.id, check.kind, join_parents(check.parents))
            for digest, checks in plan.checks.items()
            for check in checks
        ],
        columns=["asked", "check", "kind", "parents"],
    )
    frame = rows.merge(asked, on="asked").merge(answers, on=["item", "asked", "check"], how="left")
    why = frame["item"].map(dict(missing))
    unanswered = frame["retry"].isna()
    frame["reason"] = frame["reason"].where(~unanswered | why.isna(), why)
    frame = frame[~unanswered | why.notna()].reset_index(drop=True)
    facts: list[dict[str, Any]] = [
        {
            "run": one.run,
            "encoder": one.encoder,
            "seed": one.seed,
            "prompt_id": prompts[one.prompt].prompt_id,
            "prompt": prompts[one.prompt].prompt,
            "category": prompts[one.prompt].category,
            "last": one.last,
        }
        for one in plan.series
    ]
    frame = frame.join(pd.DataFrame(facts), on="series")
    names = {index: prompt.prompt_id for index, prompt in enumerate(prompts)}
    frame["asked_of"] = frame["partner"].map(names)
    frame["scorer"] = frame["baseline"].map(lambda baseline: scorer_name(scorer.name, baseline))
    frame["depth"] = np.where(frame["last"] > 0, frame["layer"] / frame["last"].clip(lower=1), 1.0)
    return frame.assign(cell=frame["item"], version=scorer.version).drop(
        columns=["item", "asked", "series", "partner", "retry", "last"]
    )
