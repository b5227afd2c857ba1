"""How far two ways to the same states or images may differ, and how far they do."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from diffusion_lens.lens.lens import DiffusionLens
from diffusion_lens.models.conditioning import Conditioning

__all__ = ["Tolerance", "distance", "gap", "pairs", "relative"]


@dataclass(frozen=True)
class Tolerance:
    """How far two ways to the same thing may differ.

    In float32 on the CPU one batch shape gives one result, bit for bit. Elsewhere kernels are chosen by
    shape and add in another order.

    Attributes:
        states: largest difference of two states, relative to their largest value.
        image: mean difference of two images of one batch shape, of 1.
        other_shape: the same for images that were made in batches of different shape.
    """

    states: float
    image: float
    other_shape: float

    @classmethod
    def of(cls, lens: DiffusionLens) -> "Tolerance":
        """The tolerance for a pipeline on its device in its dtype."""
        half = lens.pipeline.dtype in (torch.float16, torch.bfloat16)
        if half:
            return cls(states=2e-2, image=1 / 255, other_shape=8 / 255)
        exact = lens.conditioner.device.type == "cpu"
        return cls(0.0 if exact else 1e-4, 0.0 if exact else 1 / 255, 1 / 255)


def pairs(one: Conditioning, other: Conditioning, name: str) -> Iterator[tuple[Any, Any]]:
    """The tensors of one argument of two conditionings, one of each."""
    if isinstance(one[name], list):
        yield from zip(one[name], other[name], strict=True)
    else:
        yield one[name], other[name]


def relative(one: torch.Tensor, other: torch.Tensor) -> float:
    """Largest difference by largest value; infinite where the shapes differ."""
    if one.shape != other.shape:
        return float("inf")
    one, other = one.float(), other.float()  # masks of true and false have no difference
    return gap(one, other) / max(float(other.abs().max()), 1e-12)


def distance(one: np.ndarray, other: np.ndarray) -> float:
    """Mean difference of the pixels, of 1; infinite where the sizes differ."""
    return float(np.abs(one - other).mean()) if one.shape == other.shape else float("inf")


def gap(one: torch.Tensor, other: torch.Tensor) -> float:
    """Largest absolute difference."""
    return float((one.cpu().double() - other.cpu().double()).abs().max())
