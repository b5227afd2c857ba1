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

__all__ = ["LEAST_MASS", "Question", "judge_answer", "pose", "spelled"]

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


def pose(check: Check) -> Question:
    """Put a check to a model: yes or no, or one of its choices by letter.

    Choices are dealt to letters by chance, the same at each call, so that no letter is right more often.
    """
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
    share of what all of them have.

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
    best = max(range(len(found)), key=lambda index: found[index])
    p = found[0] / total if check.choices else found[0]
    reason = f"answers {question.meanings[best]!r}"
    chance = 1 / len(check.choices) if check.choices else None
    return Judgement(check.id, min(p, 1.0), best == 0, reason, chance, raw=record)
