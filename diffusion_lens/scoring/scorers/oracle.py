"""The scorer `oracle`: exact answers on emoji scenes, as `testbed.oracle` reads them off the pixels."""

from collections.abc import Mapping, Sequence

from diffusion_lens.checks.checks import KINDS, WHOLE, Check, Judgement
from diffusion_lens.checks.scenes import parse_caption
from diffusion_lens.scoring.domain import read_images, why_outside
from diffusion_lens.scoring.registry import NoSettings, register
from diffusion_lens.scoring.scorer import Scorer, ScoreRequest
from diffusion_lens.testbed import oracle
from diffusion_lens.testbed.judge import (
    count_objects,
    find_object,
    find_pair,
    judge,
    relation_parts,
    shows_entity,
)
from diffusion_lens.testbed.oracle import Reading
from diffusion_lens.testbed.scenes import ENTITIES, OBJECTS, RELATIONS, SIZES
from diffusion_lens.testbed.sprites import COLOURS, GROUNDS

__all__ = ["OracleScorer"]

# how often a blind guess is right, of two objects that are there; of the order, on the right axis
CHANCE = {"relation": 0.25, "axis": 0.5, "order": 0.5}
# what a check of each kind must name; its question is not read
_NEEDED = {
    "object": ("subject",),
    "attribute": ("subject", "attribute"),
    "count": ("subject", "count"),
    "identity": ("subject",),
    "global": ("attribute",),
    **dict.fromkeys(("relation", "axis", "order"), ("subject", "relation", "target")),
}

Decision = tuple[bool | None, str | None]  # met or not, and why that can't be decided


class OracleScorer(Scorer):
    """Answers checks on images of emoji scenes. It needs no weights.

    What the testbed cannot draw (other objects, materials, actions) is missing, and so is everything on an
    image that is none of the testbed's (see `scoring.domain`).
    """

    name = "oracle"
    kinds = frozenset(KINDS)
    version = (
        f"oracle 4, ground {oracle.GROUND_ERROR}, fit {oracle.LEAST_FIT}, energy {oracle.LEAST_ENERGY}"
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
                answers.append([self._answer(check, request.checks, seen) for check in request.checks])
        return answers

    def _answer(self, check: Check, all_checks: Sequence[Check], seen: Reading) -> Judgement:
        never = self.why_not(check)
        right, why = (None, never) if never is not None else _decide(check, all_checks, seen)
        if right is not None and check.answer == "no":
            right = not right
        raw = {"seen": _describe(seen)}
        if right is None:
            return Judgement(check.id, reason=why, raw=raw)
        why = why or f"sees {_describe(seen)}"
        return Judgement(check.id, float(right), right, why, CHANCE.get(check.kind), raw=raw)

    def why_not(self, check: Check) -> str | None:
        """See `Scorer.why_not`."""
        if check.choices or check.answer not in ("yes", "no"):
            return "the oracle answers yes or no, and chooses nothing"
        if check.id == WHOLE:
            stated = parse_caption(check.subject or "")
            return None if stated is not None else "the testbed's grammar can't parse this prompt"
        lacking = [name for name in _NEEDED[check.kind] if getattr(check, name) is None]
        if lacking:
            return (
                f"the oracle reads no question, and of the kind {check.kind} goes by the columns "
                f"{', '.join(_NEEDED[check.kind])}: {check.id!r} has no {', '.join(lacking)}"
            )
        return _why_not_drawn(check)


@register("oracle", "exact answers, for emoji scenes alone", on_device=False)
def make(settings: NoSettings, device: str) -> list[Scorer]:
    """The oracle."""
    return [OracleScorer()]


def _decide(check: Check, all_checks: Sequence[Check], seen: Reading) -> Decision:
    if check.id == WHOLE:
        return _decide_whole(check, seen)
    if check.kind == "identity":
        return shows_entity(str(check.subject), seen), None
    if check.kind == "global":
        return seen.place == check.attribute, None
    return _decide_object(check, str(check.subject), all_checks, seen)


def _why_not_drawn(check: Check) -> str | None:
    """Why the testbed can't draw what a check asks for; None if it can."""
    if check.kind == "identity":
        known = check.subject in ENTITIES
        return None if known else f"the testbed knows nobody called {check.subject!r}"
    if check.kind == "global":
        return None if check.attribute in GROUNDS else f"the testbed has no place {check.attribute!r}"
    for name in (check.subject, check.target):
        if name is not None and name not in OBJECTS:
            return f"the testbed has no object {name!r}"
    if check.kind == "attribute" and check.attribute not in (*COLOURS, *SIZES):
        return f"the testbed knows nothing that is {check.attribute!r}"
    if check.kind in ("relation", "axis", "order") and _where(check) not in RELATIONS:
        return f"the testbed has no relation {check.relation!r}"
    return None


def _where(check: Check) -> str:
    return (check.relation or "").removeprefix("to the ").removesuffix(" of")


def _decide_object(check: Check, subject: str, all_checks: Sequence[Check], seen: Reading) -> Decision:
    colours = _colours_of(check, subject, all_checks, 0)
    first = find_object(subject, seen, colours)
    if check.kind == "object":
        return first is not None, None
    if check.kind == "count" and check.relation == "fewer than" and check.count is not None:
        return count_objects(subject, seen) < check.count, None
    if first is None:
        return None, f"there is no {subject} to ask about"
    if check.kind == "attribute":
        if check.attribute in COLOURS:
            return first.colour == check.attribute, None
        return first.size == SIZES[str(check.attribute)], None
    if check.kind == "count":
        number, wanted = count_objects(subject, seen), check.count or 0
        return number >= wanted if check.relation == "at least" else number == wanted, None
    where, target = _where(check), str(check.target)
    others = _colours_of(check, target, all_checks, -1)
    first, second = find_pair((subject, colours), (target, others), seen)
    if first is None or second is None:
        another = "other " if subject == target else ""
        return None, f"there is no {another}{target} to ask about"
    alike = subject == target and colours == others
    axis, order = relation_parts(first, second, where, alike=alike)
    if check.kind == "axis":
        return axis, None
    if check.kind == "order":
        return order, None if axis else "the two stand on the other axis"
    return bool(order), None


def _colours_of(check: Check, name: str, checks: Sequence[Check], place: int) -> set[str | None]:
    """The colours asked for of the thing that a check is about.

    Of several things of one name, one that has a colour asked for is meant. Where a prompt states several
    of the name, they are told apart by the check of being there that others rest on.

    Args:
        check: the check.
        name: of the thing.
        checks: all that are asked of the image.
        place: which thing of the name, of those that the check rests on: 0 the first, -1 the last.
    """
    known = {one.id: one for one in checks}
    things = _things_of(check, name, known)[place:][:1]
    colours = set()
    for one in checks:
        if one.kind == "attribute" and one.subject == name:
            own = _things_of(one, name, known)
            if not things or not own or things[0] in own:
                colours.add(one.attribute)
    return colours


def _things_of(check: Check, name: str, known: Mapping[str, Check]) -> list[str]:
    """The ids of the checks of being there, of things of a name, that a check rests on, itself included."""
    resting = [check]
    for one in resting:  # it grows
        more = (known[parent] for parent in one.parents if parent in known)
        resting += [parent for parent in more if parent not in resting]
    return [one.id for one in resting if one.kind == "object" and one.subject == name]


def _decide_whole(check: Check, seen: Reading) -> Decision:
    """Everything that the caption states is right; it is wrong also where a part can't be asked."""
    stated = parse_caption(check.subject or "")
    assert stated is not None, "as why_not makes sure"
    wrong = [answer.about for answer in judge(stated, seen) if not answer.right]
    return not wrong, f"not so: {', '.join(wrong)}; sees {_describe(seen)}" if wrong else None


def _describe(seen: Reading) -> str:
    things = [f"{item.colour} {item.name}" if item.colour else item.name for item in seen.objects]
    things += ["something unknown"] * seen.unknown
    return f"{', '.join(things) or 'nothing'}; ground: {seen.place or 'unknown'}"
