"""`Check`: one question on an image; `Judgement`: a scorer's answer; `CheckedPrompt`: what to ask of whom.

A check is one atom. "A red fox left of a pizza" has four: there is a fox, there is a pizza, the fox is
red, the fox is left of the pizza. The last two depend on the first two: `parents`, as in the
Davidsonian Scene Graph (Cho et al., ICLR 2024, arXiv 2310.18235).
"""

import graphlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from diffusion_lens.errors import CheckError

__all__ = [
    "CHOICE",
    "KINDS",
    "KIND_WORDS",
    "WHOLE",
    "Check",
    "CheckedPrompt",
    "Judgement",
    "Kind",
    "find_circle",
    "join_parents",
    "split_parents",
]

Kind = Literal["object", "attribute", "relation", "axis", "order", "count", "identity", "global"]
KINDS: tuple[str, ...] = get_args(Kind)
# ids of the two checks that every prompt can be asked for, whatever it states: is the image as a whole
# of the prompt, and of which of several prompts is it?
WHOLE, CHOICE = "prompt", "choice"
KIND_WORDS = {"global": "place", "attribute": "colour or size", WHOLE: "whole prompt"}
"""What readers know a kind by, where it is not its own name."""


@dataclass(frozen=True)
class Check:
    """One question on an image.

    Attributes:
        id: a name of its own within the prompt. Checks of the same role have the same id in all
            prompts ("object-0" is the first thing named), so that a curve can be drawn for it.
        kind: object (is it there), attribute (is it so), relation (do two things stand so), axis (of a
            relation: are they beside, or above one another), order (given the axis: which is where), count,
            identity (is it this one, or of this class), global (the whole image).
        question: in words, for scorers that read.
        answer: what is right.
        subject: the thing asked about.
        attribute: what it should be like: a colour, a material, a state.
        relation: how `subject` stands to `target`; for a count "exactly", "at least" or "fewer than".
        target: the second thing of a relation.
        count: how many.
        choices: the answers to choose from, `answer` among them; none for yes/no.
        parents: ids of checks that must be right for this one to mean anything.
        source: the row that the check came from, unchanged, for the record.
    """

    id: str
    kind: Kind
    question: str
    answer: str = "yes"
    subject: str | None = None
    attribute: str | None = None
    relation: str | None = None
    target: str | None = None
    count: int | None = None
    choices: tuple[str, ...] = ()
    parents: tuple[str, ...] = ()
    source: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise CheckError(
                f"Check {self.id!r} is of no known kind: {self.kind!r}. Kinds are {list(KINDS)}."
            )
        if ";" in self.id or self.id != self.id.strip():
            raise CheckError(
                f"The id {self.id!r} of a check holds a semicolon or outer spaces. Rename it: a semicolon "
                "separates the ids of parents."
            )
        if self.choices and self.answer not in self.choices:
            raise CheckError(
                f"The answer {self.answer!r} of check {self.id!r} is not among its choices "
                f"{list(self.choices)}. Add it to them."
            )


@dataclass(frozen=True)
class Judgement:
    """A scorer's answer to one check on one image.

    Attributes:
        check_id: the check's id.
        p: probability or score, 0 to 1, that the check is met; None where the scorer has none.
        label: met or not; None where the scorer can't tell. None is missing, never wrong.
        reason: why it is so, or why it is missing.
        chance: how often blind guessing is right; None where that isn't known.
        retry: whether another try may bring an answer, as after a timeout.
        raw: what the scorer itself said, for the record.
    """

    check_id: str
    p: float | None = None
    label: bool | None = None
    reason: str | None = None
    chance: float | None = None
    retry: bool = False
    raw: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        if self.p is not None and not 0 <= self.p <= 1:
            raise CheckError(
                f"The judgement of {self.check_id!r} has p = {self.p}; p lies between 0 and 1."
            )


@dataclass(frozen=True)
class CheckedPrompt:
    """A prompt and what to ask of its images.

    Attributes:
        prompt_id: a name of its own among all prompts; the unit of statistics.
        prompt: the prompt.
        checks: what to ask.
        category: what kind of prompt it is ("two_object", "positional_in").
        source: whatever else its row said.
    """

    prompt_id: str
    prompt: str
    checks: tuple[Check, ...]
    category: str = ""
    source: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        ids = [check.id for check in self.checks]
        twice = sorted({one for one in ids if ids.count(one) > 1})
        if twice:
            raise CheckError(
                f"Prompt {self.prompt_id!r} has more than one check called {twice}. Rename them."
            )
        unknown = {parent for check in self.checks for parent in check.parents} - set(ids)
        if unknown:
            raise CheckError(
                f"Prompt {self.prompt_id!r}: checks depend on {sorted(unknown)}, but its checks are {ids}."
            )
        circle = find_circle({check.id: check.parents for check in self.checks})
        if circle:
            raise CheckError(
                f"Prompt {self.prompt_id!r}: checks depend on each other in a "
                f"circle: {' -> '.join(circle)}. Take one of these parents out."
            )


def find_circle(parents: Mapping[str, Sequence[str]]) -> list[str]:
    """The ids of a circle among checks and their parents, the first one repeated at the end; [] if none."""
    try:
        graphlib.TopologicalSorter(parents).prepare()
    except graphlib.CycleError as error:
        return [str(name) for name in error.args[1]]
    return []


def join_parents(parents: Iterable[str]) -> str:
    """Ids of parents as one cell of a table, "object-0; object-1"."""
    return "; ".join(parents)


def split_parents(cell: str) -> tuple[str, ...]:
    """The ids in a cell of `join_parents`."""
    return tuple(dict.fromkeys(part.strip() for part in cell.split(";") if part.strip()))
