"""Checks as questions to a model that reads images, and its answers as judgements.

An answer is taken from the probabilities of the first new token. All spellings of an answer count ("Yes",
" yes", "YES"), each token once: VQAScore (arXiv 2404.01291) and Soft-TIFA (arXiv 2512.16853) sum alike.
"""

import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from diffusion_lens.checks.checks import Check, Judgement
from diffusion_lens.errors import CheckError

__all__ = ["LEAST_MASS", "Question", "judge_answer", "pose", "spelled", "why_not_posed"]

LEAST_MASS = 0.1  # below which a model has answered something else
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


@dataclass(frozen=True)
class Question:
    """A check as it is put to a model.

    Attributes:
        text: what it is asked.
        answers: the words that count as an answer; the right one is the first.
        meanings: what the words stand for, in the same order.
    """

    text: str
    answers: tuple[str, ...]
    meanings: tuple[str, ...]


def why_not_posed(check: Check) -> str | None:
    """Why a check can't be put to a model; None if it can."""
    if len(check.choices) <= len(_LETTERS):
        return None
    return f"it has {len(check.choices)} choices, and an answer by letter allows {len(_LETTERS)}"


def pose(check: Check) -> Question:
    """Put a check to a model: yes or no, or one of its choices by letter.

    Choices are dealt to letters by chance, the same at each call, so that no letter is right more often.

    Raises:
        CheckError: the check has more choices than there are letters (see `why_not_posed`).
    """
    if why := why_not_posed(check):
        raise CheckError(f"Check {check.id!r} can't be asked: {why}. Give it fewer choices.")
    if not check.choices:
        right = check.answer.lower() if check.answer.lower() in ("yes", "no") else "yes"
        answers = (right, "no" if right == "yes" else "yes")
        return Question(f"{check.question} Please answer yes or no.", answers, answers)
    rng = np.random.default_rng(zlib.crc32(f"{check.question}/{check.choices}".encode()))
    dealt = [check.choices[index] for index in rng.permutation(len(check.choices))]
    listed = "\n".join(f"{letter}. {choice}" for letter, choice in zip(_LETTERS, dealt, strict=False))
    text = f"{check.question}\n{listed}\nPlease answer with the letter alone."
    letters = dict(zip(dealt, _LETTERS, strict=False))
    meanings = (check.answer, *(choice for choice in dealt if choice != check.answer))
    return Question(text, tuple(letters[choice] for choice in meanings), meanings)


def spelled(text: str) -> str | None:
    """The answer that a token or a short reply spells: "yes", "no", or a letter; None for anything else.

    Spaces, capitals and marks around it don't matter, but a letter is a capital: "a" begins a sentence.
    """
    word = re.sub(r"^[\s\W_]+|[\s\W_]+$", "", text)
    if len(word) == 1:
        return word if word in _LETTERS else None
    return word.lower() if word.lower() in ("yes", "no") else None


def judge_answer(
    check: Check, question: Question, masses: Mapping[str, float], raw: Mapping[str, Any]
) -> Judgement:
    """Turn probabilities of answers into a judgement.

    For yes and no p is the probability of the right answer itself, as in VQAScore; for choices it is its
    share of what all of them have. Where the right answer and another have the same probability, the
    largest, there is a p and no label.

    Args:
        check: what was asked.
        question: how it was asked.
        masses: probability by answer, spelled.
        raw: for the record.
    """
    found = [masses.get(answer, 0.0) for answer in question.answers]
    total = sum(found)
    shares = {meaning: round(mass, 4) for meaning, mass in zip(question.meanings, found, strict=True)}
    record = {**raw, "answers": shares}
    if total < LEAST_MASS:
        reason = f"answers none of {list(question.answers)} (together {total:.2g})"
        return Judgement(check.id, reason=reason, raw=record)
    best = [meaning for meaning, mass in zip(question.meanings, found, strict=True) if mass == max(found)]
    label = None if found[0] == max(found) and len(best) > 1 else found[0] == max(found)
    p = found[0] / total if check.choices else found[0]
    reason = f"answers {' or '.join(map(repr, best))}" + (", equally likely" if len(best) > 1 else "")
    chance = 1 / len(check.choices) if check.choices else None
    return Judgement(check.id, min(p, 1.0), label, reason, chance, raw=record)
