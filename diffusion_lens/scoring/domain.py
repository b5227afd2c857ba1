"""The domain of scorers that know the testbed's emoji scenes alone: what they may answer, and what not.

A photograph read as an emoji scene shows nothing that the testbed knows, and "no" to every question would
look like a finding. Outside their domain these scorers answer "missing".
"""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL.Image import Image

from diffusion_lens.models.embedded import EMBEDDED
from diffusion_lens.models.encoder_variants import base_model
from diffusion_lens.scoring.scorer import ScoreRequest, Source
from diffusion_lens.testbed import oracle
from diffusion_lens.testbed.oracle import Reading
from diffusion_lens.testbed.sprites import CANVAS

__all__ = ["OUTSIDE", "read_images", "why_outside"]

OUTSIDE = "not an image of the testbed"


def read_images(images: Sequence[Image]) -> list[Reading | str]:
    """What the oracle sees on each image; or, of an image of another shape than it reads, why it can't."""
    found: list[Reading | str] = [
        f"{OUTSIDE}: its images have {CANVAS} px or a multiple, not {image.width} x {image.height}"
        for image in images
    ]
    by_size: dict[int, list[int]] = {}
    for index, image in enumerate(images):
        if image.width == image.height and image.width % CANVAS == 0:
            by_size.setdefault(image.width, []).append(index)
    for indices in by_size.values():
        pixels = np.stack([np.asarray(images[index].convert("RGB")) for index in indices])
        for index, seen in zip(indices, oracle.read(pixels), strict=True):
            found[index] = seen
    return found


def why_outside(requests: Sequence[ScoreRequest], seen: Sequence[Reading | str]) -> list[str | None]:
    """Of each image, why it is not one of the testbed; None if it is.

    A record of an embedded model settles it, whatever stands in the place of its text encoders, and so does
    one of a model of the hub. Images of a folder's model, and those without a record, are told by their
    pixels: an image counts as one of the testbed if its ground is known and every spot is explained. That
    is strict, so that no photograph gets a firm no.

    Args:
        requests: the images and where they come from.
        seen: of `read_images`.
    """
    return [_why(request.source, reading) for request, reading in zip(requests, seen, strict=True)]


def _why(source: Source, seen: Reading | str) -> str | None:
    model = None if source.model is None else base_model(source.model)
    if model in EMBEDDED:
        return None
    if model is not None and not _is_folder(model):
        return f"{OUTSIDE}: it was drawn by {source.model}"
    if isinstance(seen, str):
        return seen
    if seen.place is None or seen.unknown:
        return f"{OUTSIDE}, by its pixels"
    return None


def _is_folder(model: str) -> bool:
    return Path(model).is_dir() or model.startswith((os.sep, ".", "~"))
