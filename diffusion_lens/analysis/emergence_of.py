"""When something appears in the images of one prompt: the numbers of a study for a single question."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pandas as pd

from diffusion_lens.analysis.curves import curves
from diffusion_lens.analysis.emergence import times
from diffusion_lens.analysis.parents import of_all
from diffusion_lens.checks.assign import ask
from diffusion_lens.checks.checks import WHOLE, CheckedPrompt
from diffusion_lens.checks.english import number_word, plural
from diffusion_lens.errors import CheckError, ScorerError, ScoresError
from diffusion_lens.runs.experiment import Prompt

if TYPE_CHECKING:
    from diffusion_lens.lens.result import Result
    from diffusion_lens.scoring.scorer import Scorer

__all__ = ["EmergenceOf", "checks_about", "emergence_in", "emergence_of", "judges_of"]


@dataclass(frozen=True, repr=False)
class EmergenceOf:
    """When one check turns right in the images of one prompt.

    Attributes:
        about: the word or the check that was asked for.
        question: the check in words.
        rates: one row by layer: `layer`, `rate` over seeds, `cells`.
        times: one row by seed: `seed`, `first_right` (the first layer at which it is right), `after` and
            `by` (it is right for good at layer `by`, and not yet at layer `after`), `outcome` ("emerged",
            "never" or "unknown").
        reading: how the layers were read, where a result holds several readings.
    """

    about: str
    question: str
    rates: pd.DataFrame
    times: pd.DataFrame
    reading: str = ""

    @property
    def layer(self) -> int | None:
        """The layer from which on it is right in more than half of the seeds; None if there is none."""
        by = self.times.loc[self.times["outcome"] == "emerged", "by"].sort_values()
        needed = len(self.times) // 2 + 1
        return int(by.iloc[needed - 1]) if len(by) >= needed else None

    def __repr__(self) -> str:
        emerged = int((self.times["outcome"] == "emerged").sum())
        where = "there for good at no layer" if self.layer is None else f"there from layer {self.layer} on"
        read = f"{self.reading}: " if self.reading else ""
        return (
            f"{read}{self.about!r} is {where} in more than half of the seeds; it emerges at some layer in "
            f"{emerged} of {len(self.times)} (asked: {self.question})"
        )


def checks_about(asked: CheckedPrompt, word: str) -> list[str]:
    """The ids of the checks of a prompt that a word is about: the check of that id, or what it asks for.

    Of a colour it is the check of the colour, of a noun the check that the thing is there, of a number (as
    a word or in digits) the check of how many there are.

    Raises:
        CheckError: the word is blank, or no check is about it; it names what there is.
    """
    wanted = word.strip().lower()
    parts = [check for check in asked.checks if check.id != WHOLE]
    words = [
        word
        for check in parts
        for word in (
            check.attribute,
            check.subject if check.kind == "object" else None,
            check.relation if check.count is None else number_word(check.count),
        )
        if word
    ]
    known = ", ".join(dict.fromkeys(words)) or "nothing but the prompt as a whole (prompt)"
    if not wanted:
        raise CheckError(
            f"What to look for in the images of {asked.prompt!r} is blank. What can be asked for: {known}."
        )
    by_id = [check.id for check in asked.checks if check.id.lower() == wanted]
    by_attribute = [check.id for check in parts if (check.attribute or "").lower() == wanted]
    by_subject = [
        check.id for check in parts if check.kind == "object" and wanted in _forms(check.subject or "")
    ]
    by_count = [
        check.id
        for check in parts
        if check.count is not None and wanted in (str(check.count), number_word(check.count))
    ]
    by_relation = [check.id for check in parts if wanted in ((check.relation or "").lower(), check.kind)]
    for found in (by_id, by_attribute, by_subject, by_count, by_relation):
        if found:
            return found
    raise CheckError(
        f"No check of the prompt {asked.prompt!r} is about {word!r}. What can be asked for: {known}."
    )


def _forms(noun: str) -> tuple[str, str]:
    """A noun of one and of several, in small letters."""
    return noun.lower(), plural(noun).lower()


def judges_of(
    asked: CheckedPrompt,
    word: str,
    scorer: "str | Scorer",
    *,
    model: str | None = None,
    device: str | None = None,
) -> "Sequence[Scorer]":
    """The scorers of a name, if they can tell whether what a word stands for is there.

    It needs no image, so that what can't be answered is refused before any is drawn.

    Args:
        asked: the prompt and its checks.
        word: a word of the prompt, or the id of a check.
        scorer: who answers; a registered name, or a scorer.
        model: the model that will draw the images.
        device: where the scorer's model runs.

    Raises:
        CheckError: no check is about the word.
        ScorerError: there is no such scorer, or it can't answer such a check.
    """
    from diffusion_lens.scoring.answerable import why_unanswered
    from diffusion_lens.scoring.registry import check_names
    from diffusion_lens.scoring.score_result import scorers_named
    from diffusion_lens.scoring.scorer import Source

    about = checks_about(asked, word)
    if isinstance(scorer, str):
        check_names([scorer])  # before a library that computes is imported
    judges = scorers_named(scorer, device=device)
    why = why_unanswered(judges, asked, about, Source(model))
    if why:
        name = scorer if isinstance(scorer, str) else scorer.name
        raise ScorerError(f"{name} can't tell whether {word!r} is there: {why}. Give another scorer.")
    return judges


def emergence_in(
    result: "Result", word: str, scorer: "str | Scorer | Sequence[Scorer]", **options: Any
) -> list[EmergenceOf]:
    """When what a word stands for appears in the images of one prompt.

    Args:
        result: images of one prompt, at several layers.
        word: a word of the prompt, or the id of a check.
        scorer: who answers.
        options: those of `score_result`.

    Returns:
        One for each reading of the encoder and each check that the word is about.

    Raises:
        CheckError: no check is about the word.
        ScorerError: the scorer can't answer it.
    """
    from diffusion_lens.scoring.score_result import repeats_layer, score_result

    prompt = str(result.table["prompt"].iloc[0])
    asked = ask([Prompt(prompt)], options.get("checks") or ()).prompts[0]
    about = checks_about(asked, word)
    layers = result.table[~repeats_layer(result.table)]
    table = score_result(replace(result, table=layers), scorer, **options)
    here = table[table["check"].isin(about)]
    if here["label"].isna().all():
        why = "; ".join(here["reason"].dropna().unique()[:2]) or "it answers no such check"
        names = ", ".join(dict.fromkeys(table["scorer"]))
        raise ScorerError(f"{names} can't tell whether {word!r} is there: {why}.")
    told = [name for name in ("run", "scorer", "encoder") if here[name].nunique() > 1]
    return [
        replace(found, reading=", ".join(part[name].iloc[0] for name in told))
        for _, part in here.groupby(["run", "scorer", "encoder"], sort=False)
        for found in emergence_of(of_all(table).loc[part.index], asked, word)
    ]


def emergence_of(table: pd.DataFrame, asked: CheckedPrompt, word: str) -> list[EmergenceOf]:
    """When what a word stands for appears, in the scores of one prompt.

    Args:
        table: validated scores of one scorer, of one encoder.
        asked: the prompt and its checks.
        word: a word of the prompt, or the id of a check.

    Returns:
        One for each check that the word is about.

    Raises:
        CheckError: no check is about the word.
        ScoresError: the table holds no scores of the prompt.
    """
    here = table[table["prompt_id"] == asked.prompt_id]
    if here.empty:
        raise ScoresError(f"There are no scores of the prompt {asked.prompt!r}.")
    return [_of_check(of_all(here), asked, word, check) for check in checks_about(asked, word)]


def _of_check(table: pd.DataFrame, asked: CheckedPrompt, word: str, check: str) -> EmergenceOf:
    part = table[table["check"] == check]
    rates = curves(part, ["check"])[["layer", "rate", "cells"]]
    columns: Sequence[str] = ["seed", "first_right", "after", "by", "outcome"]
    question = next(one.question for one in asked.checks if one.id == check)
    return EmergenceOf(word, question, rates, times(part, ["check"])[list(columns)])
