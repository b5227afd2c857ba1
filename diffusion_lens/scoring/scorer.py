"""`Scorer`: what answers checks; and how the answers of one image become one number.

A scorer is anything with these attributes and this method: a detector, a model that answers questions,
an exact checker of drawn scenes, people. It never sees from which layer an image comes.
"""

import math
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from PIL.Image import Image

from diffusion_lens.checks.checks import Check, Judgement
from diffusion_lens.errors import CheckError

__all__ = ["Scorer", "all_right", "arithmetic_mean", "gate", "geometric_mean"]


@runtime_checkable
class Scorer(Protocol):
    """Answers checks on images.

    Attributes:
        name: as it stands in the column `scorer` of the table of scores.
        kinds: the kinds of check that it can judge.
        version: changes whenever its answers could: model id, revision and the words it is asked with.
    """

    name: str
    kinds: frozenset[str]
    version: str

    def score(
        self, images: Sequence[Image], checks: Sequence[Sequence[Check]]
    ) -> Sequence[Sequence[Judgement]]:
        """Answer the checks of each image.

        Args:
            images: the images.
            checks: what to ask of each of them.

        Returns:
            One judgement by check, in the order asked. A check that can't be judged has no label and a
            reason.
        """
        ...


def gate(checks: Sequence[Check], judgements: Sequence[Judgement]) -> list[Judgement]:
    """Let nothing be right whose parents are wrong (DSG, arXiv 2310.18235, section 3.1).

    A check with a wrong ancestor is wrong with p = 0; one with an ancestor that nobody could judge is
    missing, unless it is wrong anyway.

    Raises:
        CheckError: the judgements are not those of the checks, or parents run in a circle.
    """
    given = {judgement.check_id: judgement for judgement in judgements}
    if [check.id for check in checks] != [judgement.check_id for judgement in judgements]:
        raise CheckError(
            f"Judgements of {[judgement.check_id for judgement in judgements]} can't be gated by checks "
            f"{[check.id for check in checks]}: give one for each, in the same order."
        )
    gated: dict[str, Judgement] = {}
    waiting = list(checks)
    while waiting:
        ready = [check for check in waiting if all(parent in gated for parent in check.parents)]
        if not ready:
            raise CheckError(
                f"Checks {[check.id for check in waiting]} wait for parents that are not there."
            )
        for check in ready:
            own = given[check.id]
            parents = {parent: gated[parent].label for parent in check.parents}
            wrong = [parent for parent, label in parents.items() if label is False]
            unknown = [parent for parent, label in parents.items() if label is None]
            if wrong:
                own = Judgement(check.id, 0.0, False, f"{', '.join(wrong)} is wrong", own.raw)
            elif unknown and own.label is not False:
                own = Judgement(check.id, None, None, f"{', '.join(unknown)} is missing", own.raw)
            gated[check.id] = own
        waiting = [check for check in waiting if check.id not in gated]
    return [gated[check.id] for check in checks]


def all_right(judgements: Sequence[Judgement]) -> bool | None:
    """Whether every check is right: no as soon as one is wrong, unknown if one is missing."""
    labels = [judgement.label for judgement in judgements]
    if False in labels:
        return False
    return None if None in labels or not labels else True


def arithmetic_mean(judgements: Sequence[Judgement]) -> float | None:
    """Mean p over the checks: how much of the prompt is there (Soft-TIFA AM, arXiv 2512.16853)."""
    values = _values(judgements)
    return None if values is None else sum(values) / len(values)


def geometric_mean(judgements: Sequence[Judgement]) -> float | None:
    """Geometric mean of p: near 0 if one check fails (Soft-TIFA GM, arXiv 2512.16853)."""
    values = _values(judgements)
    if values is None:
        return None
    return 0.0 if min(values) == 0 else math.exp(sum(map(math.log, values)) / len(values))


def _values(judgements: Sequence[Judgement]) -> list[float] | None:
    """Of each check p, or its label where it has no p; None if one has neither."""
    values = [one.p if one.p is not None else one.label for one in judgements]
    if not values or None in values:
        return None
    return [float(value) for value in values if value is not None]
