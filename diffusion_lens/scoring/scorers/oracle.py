"""`OracleScorer`: exact answers on scenes of the testbed, as `testbed.oracle` reads them."""

from collections.abc import Sequence

import numpy as np
from PIL.Image import Image

from diffusion_lens.checks.assign import parse_caption
from diffusion_lens.checks.checks import KINDS, WHOLE, Check, Judgement
from diffusion_lens.testbed import oracle
from diffusion_lens.testbed.judge import judge
from diffusion_lens.testbed.oracle import Reading
from diffusion_lens.testbed.scenes import ENTITIES, OBJECTS, SIZES, Placed, relation
from diffusion_lens.testbed.sprites import CANVAS, COLOURS, GROUNDS

__all__ = ["OracleScorer"]

_WHERE = {"left", "right", "above", "below"}


class OracleScorer:
    """Answers checks on pictures of emoji scenes, by reading the scene off the picture.

    As in `testbed.judge`, what depends on an object that is not there is missing, not wrong. What the
    testbed cannot draw (other objects, materials, actions) is missing too. It needs no weights.
    """

    name = "oracle"
    kinds = frozenset(KINDS)
    version = (
        f"oracle 1, ground {oracle.GROUND_ERROR}, fit {oracle.LEAST_FIT}, energy {oracle.LEAST_ENERGY}"
    )

    def score(self, images: Sequence[Image], checks: Sequence[Sequence[Check]]) -> list[list[Judgement]]:
        """Answer the checks of each image; see `Scorer.score`."""
        answers: list[list[Judgement]] = [[] for _ in images]
        readable = []
        for index, image in enumerate(images):
            if image.width != image.height or image.width % CANVAS:
                why = (
                    f"the oracle reads pictures of {CANVAS} px or a multiple, not {image.width} x "
                    f"{image.height}"
                )
                answers[index] = [Judgement(check.id, reason=why) for check in checks[index]]
            else:
                readable.append(index)
        by_size: dict[int, list[int]] = {}
        for index in readable:
            by_size.setdefault(images[index].width, []).append(index)
        for indices in by_size.values():
            pictures = np.stack([np.asarray(images[index].convert("RGB")) for index in indices])
            for index, seen in zip(indices, oracle.read(pictures), strict=True):
                answers[index] = [_answer(check, checks[index], seen) for check in checks[index]]
        return answers


def _answer(check: Check, all_checks: Sequence[Check], seen: Reading) -> Judgement:
    right, why = _decide(check, all_checks, seen)
    if right is not None and check.answer == "no":
        right = not right
    raw = {"seen": _describe(seen)}
    if right is None:
        return Judgement(check.id, reason=why, raw=raw)
    return Judgement(check.id, float(right), right, why or f"sees {_describe(seen)}", raw)


def _decide(check: Check, all_checks: Sequence[Check], seen: Reading) -> tuple[bool | None, str | None]:
    """Whether a check is met, and why that can't be told."""
    if check.choices or check.answer not in ("yes", "no"):
        return None, "the oracle answers yes or no, and chooses nothing"
    if check.id == WHOLE:
        return _whole(check, seen)
    if check.kind == "identity":
        return _identity(check, seen)
    if check.kind == "global":
        if check.attribute not in GROUNDS:
            return None, f"the testbed has no place {check.attribute!r}"
        return seen.place == check.attribute, None
    for name in (check.subject, check.target):
        if name is not None and name not in OBJECTS:
            return None, f"the testbed has no object {name!r}"
    if check.subject is None:
        return None, "the check names no object"
    return _of_object(check, check.subject, all_checks, seen)


def _of_object(
    check: Check, subject: str, all_checks: Sequence[Check], seen: Reading
) -> tuple[bool | None, str | None]:
    first = _find(subject, all_checks, seen)
    if check.kind == "object":
        return first is not None, None
    if check.kind == "count" and check.relation == "fewer than" and check.count is not None:
        return _number(subject, seen) < check.count, None
    if first is None:
        return None, f"there is no {subject} to ask about"
    if check.kind == "attribute":
        if check.attribute in COLOURS:
            return first.colour == check.attribute, None
        if check.attribute in SIZES:
            return first.size == SIZES[check.attribute], None
        return None, f"the testbed knows nothing that is {check.attribute!r}"
    if check.kind == "count":
        if check.count is None:
            return None, "the check says no number"
        number = _number(subject, seen)
        return number >= check.count if check.relation == "at least" else number == check.count, None
    where = (check.relation or "").removeprefix("to the ").removesuffix(" of")
    if where not in _WHERE or check.target is None:
        return None, f"the testbed has no relation {check.relation!r}"
    second = _find(check.target, all_checks, seen)
    if second is None:
        return None, f"there is no {check.target} to ask about"
    return relation(first, second) == where, None


def _whole(check: Check, seen: Reading) -> tuple[bool | None, str | None]:
    """Everything that the caption states is right; it is wrong also where a part can't be asked."""
    stated = parse_caption(check.subject or "")
    if stated is None:
        return None, "the testbed's grammar can't read this prompt"
    wrong = [answer.about for answer in judge(stated, seen) if not answer.right]
    return not wrong, f"not so: {', '.join(wrong)}; sees {_describe(seen)}" if wrong else None


def _identity(check: Check, seen: Reading) -> tuple[bool | None, str | None]:
    if check.subject not in ENTITIES:
        return None, f"the testbed knows nobody called {check.subject!r}"
    name, colour, place = ENTITIES[check.subject]
    shown = [(item.name, item.colour) for item in seen.objects]
    return (name, colour) in shown and seen.place == place, None


def _find(name: str, all_checks: Sequence[Check], seen: Reading) -> Placed | None:
    """The object that is meant: of several with its name, one that has the colour asked for."""
    colours = {
        check.attribute for check in all_checks if check.kind == "attribute" and check.subject == name
    }
    named = [item for item in seen.objects if item.name == name]
    named.sort(key=lambda item: item.colour not in colours)
    return named[0] if named else None


def _number(name: str, seen: Reading) -> int:
    """How many, by `testbed.judge`: a spot that no sprite explains counts with the named ones."""
    return sum(item.name == name for item in seen.objects) + seen.unknown


def _describe(seen: Reading) -> str:
    things = [f"{item.colour} {item.name}" if item.colour else item.name for item in seen.objects]
    things += ["something unknown"] * seen.unknown
    return f"{', '.join(things) or 'nothing'}; ground: {seen.place or 'unknown'}"
