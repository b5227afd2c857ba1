"""What the images of a batch share: shapes, joined text arguments, an image given for each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image

from diffusion_lens.models.conditioner import Conditioning
from diffusion_lens.text.interventions import Only

__all__ = ["ImageRequest", "collate", "for_each", "same_shape"]


@dataclass(frozen=True)
class ImageRequest:
    """One image to make.

    Attributes:
        positive: the text arguments that the pipeline is called with.
        negative: the negative ones.
        seed: the seed.
        inside: what is read in the places of `only` in place of `positive`.
        only: steps and blocks of the denoiser.
    """

    positive: Conditioning
    negative: Conditioning
    seed: int
    inside: Conditioning | None = None
    only: Only | None = None


def same_shape(requests: list[ImageRequest]) -> list[ImageRequest]:
    """The first requests whose tensors have one shape."""
    first = _shapes(requests[0])
    for index, request in enumerate(requests):
        if _shapes(request) != first:
            return requests[:index]
    return requests


def _shapes(request: ImageRequest) -> list[tuple[str, Any]]:
    """What must agree within a batch; ragged arguments, given as lists, need not."""
    return [
        (name, tuple(value.shape) if isinstance(value, torch.Tensor) else type(value))
        for part in (request.positive, request.negative, request.inside or Conditioning())
        for name, value in part.items()
    ] + [("only", request.only)]


def collate(
    parts: Sequence[Conditioning], dims: Mapping[str, int | None], device: torch.device
) -> dict[str, Any]:
    """The text arguments of a batch.

    Args:
        parts: those of each image.
        dims: see `PipelineFamily.batch_dims`.
        device: where the pipeline computes.
    """
    batch: dict[str, Any] = {}
    for name, value in parts[0].items():
        dim = dims.get(name, 0)
        if isinstance(value, torch.Tensor) and dim is None:
            batch[name] = value.to(device)
        elif isinstance(value, torch.Tensor):
            batch[name] = torch.cat([part.tensor(name) for part in parts], dim or 0).to(device)
        elif isinstance(value, list):
            batch[name] = [item.to(device) for part in parts for item in part[name]]
    return batch


def for_each(image: Any, count: int) -> Any:
    """One given image, in any form that pipelines take, as often as there are images to draw."""
    if isinstance(image, Image.Image):
        return [image] * count
    if isinstance(image, list) and len(image) == 1:
        return image * count
    if isinstance(image, torch.Tensor | np.ndarray) and (image.ndim == 3 or len(image) == 1):
        whole = image if image.ndim == 4 else image[None]
        return torch.cat([whole] * count) if isinstance(whole, torch.Tensor) else whole.repeat(count, 0)
    return image
