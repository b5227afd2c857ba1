"""The scorers `similarity`: how much images change from layer to layer, and how near the last one they are.

A series is the images of one prompt, seed, encoder and reading at all layers drawn, from the same noise:
only then is a difference one of the encoder. A similarity is a number from 0 to 1 and no probability: it
has no label, and each of its two checks has a curve of its own.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from PIL.Image import Image

from diffusion_lens.checks.checks import Check, CheckedPrompt, Judgement
from diffusion_lens.scoring.measures import Measure, PixelMeasure, SsimMeasure, clip_measure, load_dinov2
from diffusion_lens.scoring.registry import NoSettings, register
from diffusion_lens.scoring.scorer import Reference, Scorer, ScoreRequest, Source

__all__ = ["CHECKS", "SimilarityScorer"]

TO_FINAL, TO_PREVIOUS = "to-final", "to-previous"
CHECKS = (
    Check(TO_FINAL, "global", "How similar is it to the image of the last layer?"),
    Check(TO_PREVIOUS, "global", "How similar is it to the image of the layer before?"),
)
_WORDS: Mapping[Reference, str] = {"last": "the last layer", "before": "the layer before"}


class SimilarityScorer(Scorer):
    """Compares the images of a series.

    Args:
        measure: how two images are compared.
    """

    kinds = frozenset({"global"})
    references: Mapping[str, Reference] = {TO_FINAL: "last", TO_PREVIOUS: "before"}

    def __init__(self, measure: Measure) -> None:
        self.measure = measure
        self.name = f"similarity-{measure.name}"
        self.version = f"similarity 2, {measure.version}"

    def prepare(self, prompts: Sequence[CheckedPrompt], source: Source) -> list[CheckedPrompt]:
        """The two comparisons, the same for every prompt."""
        return [replace(prompt, checks=CHECKS) for prompt in prompts]

    def score(self, requests: Sequence[ScoreRequest]) -> list[list[Judgement]]:
        """Compare each image with its references; see `Scorer.score`."""
        images: dict[int, Image] = {}
        for request in requests:
            found = [request.image, *request.references.values()]
            images |= {id(image): image for image in found if image is not None}
        described = self.measure.describe(list(images.values()))
        features = dict(zip(images, described, strict=True))
        return [
            [self._compare(request, check, features) for check in request.checks] for request in requests
        ]

    def _compare(self, request: ScoreRequest, check: Check, features: Mapping[int, Any]) -> Judgement:
        reference = self.references[check.id]
        if reference not in request.references:
            return Judgement(check.id, reason="no layer was drawn before it")
        other = request.references[reference]
        if other is None:
            return Judgement(check.id, reason=f"the image of {_WORDS[reference]} is missing")
        value = self.measure.compare(features[id(request.image)], features[id(other)])
        return Judgement(check.id, min(max(value, 0.0), 1.0), raw={"value": value})


@register(
    "similarity", "change from layer to layer and to the last one, by pixels and SSIM", on_device=False
)
def make(settings: NoSettings, device: str) -> list[Scorer]:
    """The two measures that need no model."""
    return [SimilarityScorer(PixelMeasure()), SimilarityScorer(SsimMeasure())]


@dataclass(frozen=True)
class ClipSimilaritySettings:
    """Which CLIP makes the vectors.

    Attributes:
        model: An embedded model with a CLIP, a folder, or a hub id.
    """

    model: str = "emoji-clip"


@register("similarity-clip", "the same by CLIP's image vectors", ClipSimilaritySettings)
def make_clip(settings: ClipSimilaritySettings, device: str) -> list[Scorer]:
    """The measure by CLIP, loaded."""
    return [SimilarityScorer(clip_measure(settings.model, device))]


@dataclass(frozen=True)
class Dinov2Settings:
    """Which DINOv2 makes the vectors.

    Attributes:
        model: A folder or hub id of a DINOv2 model.
    """

    model: str = "facebook/dinov2-small"


@register("similarity-dinov2", "the same by DINOv2's class tokens", Dinov2Settings)
def make_dinov2(settings: Dinov2Settings, device: str) -> list[Scorer]:
    """The measure by DINOv2, loaded."""
    return [SimilarityScorer(load_dinov2(settings.model, device))]
