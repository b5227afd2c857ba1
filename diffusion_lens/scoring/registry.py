"""Scorers by name, made with the models that a user names; heavy imports wait until one is asked for."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffusion_lens.errors import ScorerError

__all__ = ["SCORERS", "Models", "make_scorers"]


@dataclass(frozen=True)
class Models:
    """Which models scorers use.

    Attributes:
        clip: an embedded model with a CLIP, a folder, or a hub id; the testbed's own by default.
        vqa: a folder or hub id of an image-text-to-text model.
        endpoint: the address of a server, such as http://localhost:8000/v1.
        endpoint_model: the model there.
        detector: a folder or hub id of a detector.
        dinov2: a folder or hub id.
        device: cpu, cuda, ...
    """

    clip: str = "emoji-clip"
    vqa: str = "Qwen/Qwen2.5-VL-3B-Instruct"
    endpoint: str | None = None
    endpoint_model: str | None = None
    detector: str = "google/owlv2-base-patch16-ensemble"
    dinov2: str = "facebook/dinov2-small"
    device: str = "cpu"


def _oracle(models: Models) -> list[Any]:
    from diffusion_lens.scoring.scorers.oracle import OracleScorer

    return [OracleScorer()]


def _clip(models: Models) -> list[Any]:
    from diffusion_lens.scoring.scorers.clip import ClipScorer, load_clip

    return [ClipScorer(load_clip(models.clip, models.device))]


def _vqa(models: Models) -> list[Any]:
    from diffusion_lens.scoring.scorers.vqa import VqaScorer

    return [VqaScorer.from_pretrained(models.vqa, models.device)]


def _endpoint(models: Models) -> list[Any]:
    from diffusion_lens.scoring.scorers.endpoint import EndpointScorer

    if models.endpoint is None:
        raise ScorerError(
            "The scorer endpoint needs an address: --endpoint http://localhost:8000/v1, of a server that "
            "speaks OpenAI's chat completions, such as vllm serve MODEL."
        )
    return [EndpointScorer(models.endpoint, models.endpoint_model)]


def _detect(models: Models) -> list[Any]:
    from diffusion_lens.scoring.scorers.clip import load_clip
    from diffusion_lens.scoring.scorers.detect import DetectScorer
    from diffusion_lens.scoring.scorers.detectors import load_detector

    detector = load_detector(models.detector, models.device)
    # the testbed's CLIP has never seen a photo: colours need one that the user names
    clip = load_clip(models.clip, models.device) if models.clip != Models.clip else None
    return [DetectScorer(detector, clip)]


def _similarity(models: Models) -> list[Any]:
    from diffusion_lens.scoring.scorers.similarity import PixelMeasure, SimilarityScorer, SsimMeasure

    return [SimilarityScorer(PixelMeasure()), SimilarityScorer(SsimMeasure())]


def _similarity_clip(models: Models) -> list[Any]:
    from diffusion_lens.models.digest_parts import digest_module
    from diffusion_lens.scoring.scorers.clip import load_clip
    from diffusion_lens.scoring.scorers.similarity import SimilarityScorer, clip_measure

    clip = load_clip(models.clip, models.device)
    version = f"{Path(models.clip).name} {digest_module(clip.vision)}"
    return [SimilarityScorer(clip_measure(clip, version))]


def _similarity_dinov2(models: Models) -> list[Any]:
    from diffusion_lens.scoring.scorers.similarity import SimilarityScorer, load_dinov2

    return [SimilarityScorer(load_dinov2(models.dinov2, models.device))]


SCORERS: Mapping[str, Callable[[Models], list[Any]]] = {
    "oracle": _oracle,
    "clip": _clip,
    "vqa": _vqa,
    "endpoint": _endpoint,
    "detect": _detect,
    "similarity": _similarity,
    "similarity-clip": _similarity_clip,
    "similarity-dinov2": _similarity_dinov2,
}


def make_scorers(names: Sequence[str], models: Models = Models()) -> tuple[list[Any], dict[str, str]]:
    """Make scorers.

    Args:
        names: keys of `SCORERS`.
        models: the models that they use.

    Returns:
        The scorers, and of those that can't be made, why and what to do.

    Raises:
        ScorerError: there is no scorer of such a name.
    """
    unknown = [name for name in names if name not in SCORERS]
    if unknown:
        raise ScorerError(f"There is no scorer {unknown[0]!r}. Allowed: {', '.join(SCORERS)}.")
    made: list[Any] = []
    failed: dict[str, str] = {}
    for name in dict.fromkeys(names):
        try:
            made += SCORERS[name](models)
        except ScorerError as error:
            failed[name] = str(error)
    return made, failed
