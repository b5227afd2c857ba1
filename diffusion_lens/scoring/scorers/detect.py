"""The scorer `detect`: objects, counts, positions and colours from a detector, by GenEval's rules.

Ghosh et al. 2023 (arXiv 2310.11513): a thing is there if its detector is sure enough, and surer still to be
counted; positions follow from boxes; colours are told by CLIP on the crop. Written anew on detectors of
transformers; GenEval's own thresholds (0.3, and 0.9 for counts) belong to its Mask2Former, and its figures
are not to be expected from other detectors.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
from PIL.Image import Image

from diffusion_lens.checks.checks import Check, Judgement
from diffusion_lens.checks.english import number_word, plural
from diffusion_lens.scoring.boxes import Box, stand, suppress
from diffusion_lens.scoring.registry import register
from diffusion_lens.scoring.scorer import Scorer, ScoreRequest

if TYPE_CHECKING:
    from diffusion_lens.scoring.detectors import Detector

__all__ = ["COLOURS", "DetectScorer", "DetectSettings", "Matcher"]

log = logging.getLogger(__name__)

# GenEval's ten
COLOURS = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "brown", "black", "white")
_TEMPLATES = ("a photo of a {colour} {name}", "a photo of a {colour}-colored {name}")


@dataclass(frozen=True)
class DetectSettings:
    """Which models, and thresholds.

    Attributes:
        model: A folder or hub id of a detector, either of COCO's classes or one that searches for words.
        clip: A folder or hub id of a CLIP that tells colours. Without one, attributes are missing.
        least: The score from which a thing is there.
        least_counted: The score from which a thing is counted.
        overlap: The intersection over union above which two boxes of a label are one thing. 1 keeps all
            boxes, as GenEval does, whose detector suppresses duplicates itself.
        slack: The share of the summed sizes by which two things must be apart to stand left or right of,
            above or below each other.
        most: How many boxes of a label count, the surest first.
    """

    model: str = "google/owlv2-base-patch16-ensemble"
    clip: str | None = None
    least: float = 0.3
    least_counted: float = 0.9
    overlap: float = 0.5
    slack: float = 0.1
    most: int = 16


@runtime_checkable
class Matcher(Protocol):
    """What tells colours: a `models.clip.Clip`, or whatever makes vectors of texts and images alike."""

    @property
    def text(self) -> Any:
        """Its text tower, whose fingerprint goes into the scorer's version."""
        ...

    @property
    def vision(self) -> Any:
        """Its vision tower, likewise."""
        ...

    @property
    def scale(self) -> float:
        """What cosines are multiplied by to get logits."""
        ...

    def embed_texts(self, texts: Sequence[str]) -> Any:
        """Unit vectors of texts, a tensor `[text, width]`."""
        ...

    def embed_images(self, images: Sequence[Image]) -> Any:
        """Unit vectors of images, a tensor `[image, width]`."""
        ...


class DetectScorer(Scorer):
    """Judges by what a detector finds.

    What depends on a thing that is not there has no answer of its own (gating makes it wrong); what boxes
    can't tell is missing.

    Args:
        detector: finds things.
        clip: tells colours; without one, attributes are missing.
        settings: thresholds.
    """

    name = "detect"
    kinds = frozenset({"object", "attribute", "count", "relation"})

    def __init__(
        self, detector: "Detector", clip: Matcher | None = None, settings: DetectSettings = DetectSettings()
    ) -> None:
        from diffusion_lens.models.digest_parts import digest_module

        self.detector, self.clip, self.settings = detector, clip, settings
        thresholds = replace(settings, model="", clip=None)
        colours = f"{digest_module(clip.text)}/{digest_module(clip.vision)}" if clip else "no colours"
        self.version = f"detect 3, {detector.name}, {colours}, {thresholds}"

    def score(self, requests: Sequence[ScoreRequest]) -> list[list[Judgement]]:
        """Answer the checks of each image; see `Scorer.score`."""
        images = [request.image.convert("RGB") for request in requests]
        labels = [_labels(request.checks) for request in requests]
        found = self.detector.find(images, labels, min(self.settings.least, self.settings.least_counted))
        judged = []
        for image, boxes, request in zip(images, found, requests, strict=True):
            kept = suppress(boxes, self.settings.overlap)
            judged.append([self._judge(image, kept, check) for check in request.checks])
        return judged

    def _judge(self, image: Image, boxes: Sequence[Box], check: Check) -> Judgement:
        reason = self.why_not(check)
        if reason is not None:
            return Judgement(check.id, None, None, reason)
        settings, name = self.settings, _name(check.subject)
        surest = max((box.score for box in boxes if box.label == name), default=0.0)
        things = self._of(boxes, name, settings.least)
        if check.kind == "object":
            reason = f"found {_count(len(things), name)}"
            return Judgement(check.id, min(surest, 1.0), bool(things), reason, raw={"score": surest})
        if check.kind == "count":
            return self._count(boxes, check)
        if not things:
            return Judgement(check.id, None, None, f"there is no {name} to ask about")
        if check.kind == "relation":
            return self._stand(boxes, things, check)
        return self._colour(image, things[0], check)

    def why_not(self, check: Check) -> str | None:
        """See `Scorer.why_not`."""
        if check.answer != "yes" or check.choices or not check.subject:
            return "a detector answers whether a named thing is there, and the check names none"
        known = self.detector.classes
        for name in (check.subject, check.target):
            if name is not None and known is not None and _name(name) not in known:
                return f"the detector knows no {name!r}; one that searches for words finds anything"
        if check.kind == "relation" and (_direction(check.relation) is None or not check.target):
            return f"boxes can't tell {check.relation!r}; they tell left, right, above and below"
        if check.kind == "attribute":
            if check.attribute not in COLOURS:
                return f"of attributes colours can be told, and {check.attribute!r} is none of {COLOURS}"
            if self.clip is None:
                return "colours need a CLIP"
        return None

    def _of(self, boxes: Sequence[Box], name: str, least: float) -> list[Box]:
        return [box for box in boxes if box.label == name and box.score >= least][: self.settings.most]

    def _count(self, boxes: Sequence[Box], check: Check) -> Judgement:
        name = _name(check.subject)
        if check.count is None:
            return Judgement(check.id, None, None, "the check says no number")
        number = len(self._of(boxes, name, self.settings.least_counted))
        right = {
            "at least": number >= check.count,
            "fewer than": number < check.count,
        }.get(check.relation or "", number == check.count)
        reason = f"counted {_count(number, name)}"
        return Judgement(check.id, float(right), right, reason, raw={"count": number})

    def _stand(self, boxes: Sequence[Box], things: Sequence[Box], check: Check) -> Judgement:
        others = self._of(boxes, _name(check.target), self.settings.least)
        if not others:
            return Judgement(check.id, None, None, f"there is no {check.target} to ask about")
        wanted = _direction(check.relation)
        found = [stand(one, other, self.settings.slack) for one in things for other in others]
        right = any(wanted in directions for directions in found)
        surest = ", ".join(sorted(found[0])) or "neither apart nor aside"
        return Judgement(
            check.id, float(right), right, f"the surest {check.subject} is {surest} of the {check.target}"
        )

    def _colour(self, image: Image, box: Box, check: Check) -> Judgement:
        assert self.clip is not None  # as `why_not` made sure of
        left, top, right, bottom = box.corners
        left, top = max(0, int(left)), max(0, int(top))
        crop = image.crop((left, top, max(left + 1, round(right)), max(top + 1, round(bottom))))
        texts = [
            template.format(colour=colour, name=check.subject)
            for colour in COLOURS
            for template in _TEMPLATES
        ]
        vectors = self.clip.embed_texts(texts).numpy().reshape(len(COLOURS), len(_TEMPLATES), -1)
        means = vectors.mean(1)
        means /= np.linalg.norm(means, axis=1, keepdims=True)
        logits = self.clip.scale * (means @ self.clip.embed_images([crop]).numpy()[0])
        weights = np.exp(logits - logits.max())
        shares = weights / weights.sum()
        best = COLOURS[int(shares.argmax())]
        p = min(1.0, float(shares[COLOURS.index(check.attribute or "")]))
        reason, chance = f"the {check.subject} is {best}", 1 / len(COLOURS)
        return Judgement(check.id, p, best == check.attribute, reason, chance, raw={"chosen": best})


def _labels(checks: Sequence[Check]) -> list[str]:
    names = [_name(name) for check in checks for name in (check.subject, check.target) if name]
    return list(dict.fromkeys(names))


def _name(thing: str | None) -> str:
    """A thing as detectors call it, whose classes have no capitals."""
    return (thing or "").lower()


def _direction(relation: str | None) -> str | None:
    word = (relation or "").removeprefix("on the ").removeprefix("to the ").removesuffix(" of")
    return word if word in ("left", "right", "above", "below") else None


def _count(number: int, name: str) -> str:
    return f"{number_word(number)} {name if number == 1 else plural(name)}"


@register("detect", "objects, counts, places and colours by a detector", DetectSettings)
def make(settings: DetectSettings, device: str) -> list[Scorer]:
    """A detector, loaded, and the CLIP that tells colours."""
    from diffusion_lens.models.clip import Clip
    from diffusion_lens.scoring.detectors import load_detector
    from diffusion_lens.scoring.weights import load_parts

    detector, name = load_detector(settings.model, device), settings.clip
    clip = (
        load_parts("the scorer detect", name, lambda: Clip.from_pretrained(name, device)) if name else None
    )
    return [DetectScorer(detector, clip, settings)]
