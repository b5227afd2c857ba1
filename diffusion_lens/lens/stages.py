"""The pipelines that a lens draws with, loaded: a model, and DeepFloyd IF's second stage."""

import os
from collections.abc import Mapping
from typing import Any

from diffusion_lens.errors import UnsupportedPipelineError
from diffusion_lens.images.sampler import Sampler
from diffusion_lens.models.embedded import EMBEDDED
from diffusion_lens.models.load import load_pipeline
from diffusion_lens.models.pipelines import PipelineFamily, find_family
from diffusion_lens.models.replace_encoders import replace_encoders

__all__ = ["check_second_stage", "default_sampler", "load_stages"]


def load_stages(
    model: str | os.PathLike[str],
    upscaler: str | os.PathLike[str] | None,
    family: PipelineFamily | str | None,
    text_encoders: Mapping[str, str],
    options: Mapping[str, Any],
) -> tuple[Any, Any]:
    """A pipeline, and its second stage or None; see `DiffusionLens.from_pretrained`."""
    pipe = load_pipeline(model, family=family, **options)
    if text_encoders:
        pipe = replace_encoders(pipe, text_encoders)
    if upscaler is None:
        return pipe, None
    shared = family or find_family(type(pipe))
    return pipe, load_pipeline(upscaler, family=shared, text_encoder=None, **options)


def check_second_stage(upscaler: Any) -> None:
    """Make sure that a live pipeline is DeepFloyd IF's second stage, or None.

    Raises:
        UnsupportedPipelineError: it is another one.
    """
    if upscaler is not None and "SuperResolution" not in type(upscaler).__name__:
        raise UnsupportedPipelineError(
            f"{type(upscaler).__name__} is no second stage; give DeepFloyd's IFSuperResolutionPipeline."
        )


def default_sampler(model: str) -> Sampler | None:
    """The settings that an embedded model is drawn with; None for any other."""
    embedded = EMBEDDED.get(model)
    return Sampler(steps=embedded.steps, guidance=embedded.guidance) if embedded else None
