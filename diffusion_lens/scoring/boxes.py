"""Boxes of detectors: overlap, suppression of duplicates, and how two boxes stand to each other."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

__all__ = ["Box", "overlaps", "stand", "suppress"]


@dataclass(frozen=True)
class Box:
    """Something detected.

    Attributes:
        label: what it is.
        score: how sure the detector is, 0 to 1.
        corners: left, top, right, bottom, in pixels.
    """

    label: str
    score: float
    corners: tuple[float, float, float, float]

    @property
    def centre(self) -> tuple[float, float]:
        """Its middle, x and y in pixels."""
        left, top, right, bottom = self.corners
        return (left + right) / 2, (top + bottom) / 2

    @property
    def size(self) -> tuple[float, float]:
        """Its width and height in pixels."""
        left, top, right, bottom = self.corners
        return right - left, bottom - top


def overlaps(boxes: Float[np.ndarray, "box 4"]) -> Float[np.ndarray, "box box"]:
    """Intersection over union of all pairs, 0 to 1."""
    low = np.maximum(boxes[:, None, :2], boxes[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], boxes[None, :, 2:])
    shared = np.clip(high - low, 0, None).prod(-1)
    areas = np.clip(boxes[:, 2:] - boxes[:, :2], 0, None).prod(-1)
    union = areas[:, None] + areas[None, :] - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)


def suppress(boxes: list[Box], limit: float) -> list[Box]:
    """Greedy non-maximum suppression within each label: of boxes that overlap more, the surest stays.

    Args:
        boxes: all boxes of an image.
        limit: intersection over union above which two boxes of a label are taken for one thing.

    Returns:
        What is left, the surest first.
    """
    ordered = sorted(boxes, key=lambda box: -box.score)
    if len(ordered) < 2:
        return ordered
    shared = overlaps(np.array([box.corners for box in ordered], dtype=float))
    kept: list[int] = []
    for index, box in enumerate(ordered):
        same = [other for other in kept if ordered[other].label == box.label]
        if all(shared[index, other] <= limit for other in same):
            kept.append(index)
    return [ordered[index] for index in kept]


def stand(first: Box, second: Box, slack: float) -> set[str]:
    """How the first box stands to the second: any of "left", "right", "above", "below".

    GenEval's rule (Ghosh et al. 2023, arXiv 2310.11513, section 3.2 and `evaluate_images.py`): the
    offset of the centres is shortened along each axis by `slack` times the summed widths or heights; of
    what is left, a direction counts whose share of the length is more than one half.
    """
    offset = np.subtract(first.centre, second.centre)
    reach = slack * np.add(first.size, second.size)
    left_over = np.sign(offset) * np.clip(np.abs(offset) - reach, 0, None)
    length = float(np.hypot(*left_over))
    if length == 0:
        return set()
    x, y = left_over / length
    names = {"left": x < -0.5, "right": x > 0.5, "above": y < -0.5, "below": y > 0.5}
    return {name for name, holds in names.items() if holds}
