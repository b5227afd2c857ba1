"""The scorer `oracle`: exact answers on emoji scenes, as `testbed.oracle` reads them off the pixels."""

from collections.abc import Sequence

from diffusion_lens.checks.checks import KINDS, WHOLE, Check, Judgement
from diffusion_lens.checks.scenes import parse_caption
from diffusion_lens.scoring.domain import read_images, why_outside
from diffusion_lens.scoring.registry import NoSettings, register
from diffusion_lens.scoring.scorer import Scorer, ScoreRequest
from diffusion_lens.testbed import oracle
from diffusion_lens.testbed.judge import (
    count_objects,
    find_object,
    judge,
    relation_parts,
    shows_entity,
)
from diffusion_lens.testbed.oracle import Reading
from diffusion_lens.testbed.scenes import ENTITIES, OBJECTS, RELATIONS, SIZES, relation
from diffusion_lens.testbed.sprites import COLOURS, GROUNDS

__all__ = ["OracleScorer"]

# how often a blind guess is right, of two objects that are there; of the order, on the right axis
CHANCE = {"relation": 0.25, "axis": 0.5, "order": 0.5}

Decision = tuple[bool | None, str | None]  # met or not, and why that can't be decided


class OracleScorer(Scorer):
    """Answers checks on images of emoji scenes. It needs no weights.

    What the testbed cannot draw (other objects, materials, actions) is missing, and so is everything on an
    image that is none of the testbed's (see `scoring.domain`).
    """

    name = "oracle"
    kinds = frozenset(KINDS)
    version = (
        f"oracle 3, ground {oracle.GROUND_ERROR}, fit {oracle.LEAST_FIT}, energy {oracle.LEAST_ENERGY}"
    )

    def score(self, requests: Sequence[ScoreRequest]) -> list[list[Judgement]]:
        """Answer the checks of each image; see `Scorer.score`."""
        readings = read_images([request.image for request in requests])
        answers = []
        for request, seen, why in zip(requests, readings, why_outside(requests, readings), strict=True):
            reason = seen if isinstance(seen, str) else why
            if isinstance(seen, str) or why is not None:
                answers.append([Judgement(check.id, reason=reason) for check in request.checks])
            else:
                answers.append([_answer(check, request.checks, seen) for check in request.checks])
        return answers


@register("oracle", "exact answers, for emoji scenes alone")
def make(settings: NoSettings, device: str) -> list[Scorer]:
    """The oracle."""
    return [OracleScorer()]


def _answer(check: Check, all_checks: Sequence[Check], seen: Reading) -> Judgement:
    right, why = _decide(check, all_checks, seen)
    if right is not None and check.answer == "no":
        right = not right
    raw = {"seen": _describe(seen)}
    if right is None:
        return Judgement(check.id, reason=why, raw=raw)
    why = why or f"sees {_describe(seen)}"
    return Judgement(check.id, float(right), right, why, CHANCE.get(check.kind), raw=raw)


def _decide(check: Check, all_checks: Sequence[Check], seen: Reading) -> Decision:
    if check.choices or check.answer not in ("yes", "no"):
        return None, "the oracle answers yes or no, and chooses nothing"
    if check.id == WHOLE:
        return _decide_whole(check, seen)
    if check.kind == "identity":
        if check.subject not in ENTITIES:
            return None, f"the testbed knows nobody called {check.subject!r}"
        return shows_entity(check.subject, seen), None
    if check.kind == "global":
        if check.attribute not in GROUNDS:
            return None, f"the testbed has no place {check.attribute!r}"
        return seen.place == check.attribute, None
    for name in (check.subject, check.target):
        if name is not None and name not in OBJECTS:
            return None, f"the testbed has no object {name!r}"
    if check.subject is None:
        return None, "the check names no object"
    return _decide_object(check, check.subject, all_checks, seen)


def _decide_object(check: Check, subject: str, all_checks: Sequence[Check], seen: Reading) -> Decision:
    # of several things of one name, the one that has a colour asked for is meant
    first = find_object(subject, seen, _colours_of(subject, all_checks))
    if check.kind == "object":
        return first is not None, None
    if check.kind == "count" and check.relation == "fewer than" and check.count is not None:
        return count_objects(subject, seen) < check.count, None
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
        number = count_objects(subject, seen)
        return number >= check.count if check.relation == "at least" else number == check.count, None
    where = (check.relation or "").removeprefix("to the ").removesuffix(" of")
    if where not in RELATIONS or check.target is None:
        return None, f"the testbed has no relation {check.relation!r}"
    others = {
        one.attribute for one in all_checks if one.kind == "attribute" and one.subject == check.target
    }
    second = find_object(check.target, seen, others)
    if second is None:
        return None, f"there is no {check.target} to ask about"
    if check.kind in ("axis", "order"):
        axis, order = relation_parts(first, second, where)
        if check.kind == "axis":
            return axis, None
        return order, None if axis else "the two stand on the other axis"
    return relation(first, second) == where, None


def _colours_of(subject: str, checks: Sequence[Check]) -> set[str | None]:
    return {check.attribute for check in checks if check.kind == "attribute" and check.subject == subject}


def _decide_whole(check: Check, seen: Reading) -> Decision:
    """Everything that the caption states is right; it is wrong also where a part can't be asked."""
    stated = parse_caption(check.subject or "")
    if stated is None:
        return None, "the testbed's grammar can't parse this prompt"
    wrong = [answer.about for answer in judge(stated, seen) if not answer.right]
    return not wrong, f"not so: {', '.join(wrong)}; sees {_describe(seen)}" if wrong else None


def _describe(seen: Reading) -> str:
    things = [f"{item.colour} {item.name}" if item.colour else item.name for item in seen.objects]
    things += ["something unknown"] * seen.unknown
    return f"{', '.join(things) or 'nothing'}; ground: {seen.place or 'unknown'}"
