"""Judge images by the checks of one prompt, whichever prompt they were drawn of: what a what-if needs."""

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import pandas as pd

from diffusion_lens.checks.assign import ask
from diffusion_lens.checks.checks import WHOLE, Check, CheckedPrompt
from diffusion_lens.errors import CheckError, InputError
from diffusion_lens.runs.experiment import Prompt
from diffusion_lens.scoring import table as scores
from diffusion_lens.scoring.score_result import scorers_named
from diffusion_lens.scoring.scorer import Scorer, ScoreRequest, Source

__all__ = ["asked_of", "checks_of", "checks_of_pairs", "image_difference", "judge_images", "share_right"]


def checks_of(
    prompt: str,
    given: Sequence[CheckedPrompt] = (),
    ids: Collection[str] = (),
    unlike: str | None = None,
) -> tuple[Check, ...]:
    """The checks that tell whether an image is of a prompt.

    The check of the whole prompt is one only where there is no other.

    Args:
        prompt: the prompt.
        given: checks of prompts, such as those of a file; if left out, what the prompt's words state.
        ids: only these checks; all if left out.
        unlike: another prompt, whose checks are left out, as an image of it meets them too.

    Raises:
        CheckError: there is none, or none of an id that was asked for.
    """
    asked = asked_of(prompt, given).checks
    unknown = [one for one in ids if one not in {check.id for check in asked}]
    if unknown:
        raise CheckError(
            f"The prompt {prompt!r} has no check {unknown[0]!r}. Its checks are: "
            f"{', '.join(check.id for check in asked)}."
        )
    if ids:
        return tuple(check for check in asked if check.id in ids)
    parts = [check for check in asked if check.id != WHOLE]
    if unlike is not None and parts:
        theirs = {check.question for check in asked_of(unlike, _given_of(unlike, given)).checks}
        parts = [check for check in parts if check.question not in theirs]
        if not parts:
            raise CheckError(
                f"Whatever {prompt!r} states, {unlike!r} states too, so that no image can tell them apart. "
                "Give prompts that differ in what they state."
            )
    return tuple(parts) or asked


def checks_of_pairs(
    pairs: Sequence[tuple[str, str]], given: Sequence[CheckedPrompt] = (), ids: Collection[str] = ()
) -> list[tuple[Check, ...]]:
    """The checks that tell the clean prompt of each pair from the corrupted one.

    Args:
        pairs: clean and corrupted prompts.
        given: see `checks_of`.
        ids: likewise.

    Raises:
        InputError: no pairs, or the same prompt twice.
        CheckError: no check tells the two prompts of a pair apart.
    """
    if not pairs:
        raise InputError("No pair of prompts was given. Give a clean and a corrupted prompt.")
    counted = []
    for clean, corrupted in pairs:
        if clean == corrupted:
            raise InputError(
                f"The clean and the corrupted prompt are both {clean!r}. Give two that differ."
            )
        counted.append(checks_of(clean, given, ids, unlike=corrupted))
    return counted


def asked_of(prompt: str, given: Sequence[CheckedPrompt] = ()) -> CheckedPrompt:
    """A prompt with its checks: those given, or what its words state; and that of the prompt as a whole.

    Raises:
        CheckError: checks are given and none is of the prompt.
    """
    return ask([Prompt(prompt)], _given_of(prompt, given) or given).prompts[0]


def _given_of(prompt: str, given: Sequence[CheckedPrompt]) -> list[CheckedPrompt]:
    """The given checks that are of a prompt."""
    return [one for one in given if one.prompt.strip() == prompt.strip()]


def judge_images(
    table: pd.DataFrame,
    prompt: str,
    scorer: str | Scorer | Sequence[Scorer] = "oracle",
    given: Sequence[CheckedPrompt] = (),
    *,
    settings: Any = None,
    device: str | None = None,
    model: str | None = None,
) -> pd.DataFrame:
    """A scorer's answers to the checks of one prompt, gated by parents, on images of any prompt.

    Args:
        table: rows with the columns `cell`, `encoder`, `layer`, `seed` and `image`, each cell once.
        prompt: whose checks are asked.
        scorer: a name that is registered, a scorer, or several.
        given: checks of prompts; if left out, what the prompt's words state.
        settings: the scorer's settings, where it is given by name.
        device: where its model runs; the fastest at hand if left out.
        model: the model that drew the images, by which a scorer knows its domain.

    Returns:
        Rows of scores (see `scoring.table`), whose column `run` is the cell, and whose `depth` is of the
        deepest layer that the table has of the encoder. Empty where the scorer answers no check of the
        prompt.

    Raises:
        ScorerError: there is no such scorer, or it can't judge these images.
    """
    asked, source = asked_of(prompt, given), Source(model)
    deepest = table.groupby("encoder")["layer"].max()
    made: list[dict[str, object]] = []
    for one in scorers_named(scorer, settings, device):
        prepared = one.prepare([asked], source)[0]
        kept = tuple(check for check in prepared.checks if check.kind in one.kinds)
        drawn = [row for row in table.to_dict("records") if row["image"] is not None]
        requests = [ScoreRequest(row["image"], kept, source=source) for row in drawn]
        checked = CheckedPrompt(prepared.prompt_id, prompt, kept, prepared.category)
        for row, answers in zip(drawn, one.score(requests) if kept else (), strict=bool(kept)):
            made += scores.rows(
                checked,
                answers,
                run=row["cell"],
                scorer=one.name,
                encoder=row["encoder"],
                layer=row["layer"],
                last=int(deepest[row["encoder"]]),
                seed=row["seed"],
            )
    return scores.validate(pd.DataFrame(made)) if made else pd.DataFrame(columns=list(scores.COLUMNS))


def share_right(answers: pd.DataFrame, checks: Collection[str]) -> pd.Series:
    """The share of some checks that each image meets, by cell; missing where one of them is not known.

    A check counts by its label, or by its p where the scorer gives no label. One of a kind that the scorer
    doesn't judge is not known: a share of the others would look like a share of all.

    Args:
        answers: of `judge_images`.
        checks: the ids of the checks that count.
    """
    here = answers[answers["check"].isin(checks)]
    value = here["label"].astype("Float64").fillna(here["p"].astype("Float64")).astype(float)
    whole = value.groupby(here["run"]).agg(lambda one: one.mean(skipna=False))
    asked = here["check"].groupby(here["run"]).nunique()
    return whole.astype(float).where(asked == len(set(checks)))


def image_difference(image: Any, other: Any) -> float:
    """Mean absolute difference of two images, of the range of a pixel; not a number if one is missing."""
    if image is None or other is None:
        return float("nan")
    one, two = (np.asarray(each, dtype=np.float32) for each in (image, other))
    return float(np.abs(one - two).mean() / 255)
