"""From a pipeline's floats to an image, or why there is none."""

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

__all__ = ["image_of", "to_pixels"]


def image_of(
    values: Float[np.ndarray, "height width channel"], blocked: bool
) -> tuple[Image.Image | None, str | None]:
    """An image from floats in 0..1, or why it is none.

    Args:
        values: what the pipeline returned.
        blocked: the pipeline's safety checker took the image away.
    """
    if blocked:
        return None, "blocked by the pipeline's safety checker"
    if not np.isfinite(values).all():
        return None, "not finite: the numbers overflowed (try float32 or bfloat16)"
    pixels = to_pixels(values)
    if not pixels.any():
        return None, "black: every pixel is zero"
    return Image.fromarray(pixels), None


def to_pixels(values: Float[np.ndarray, "height width channel"]) -> UInt8[np.ndarray, "height width 3"]:
    """8-bit pixels, rounded as diffusers rounds them."""
    pixels = (values * 255).round().astype("uint8")
    return np.repeat(pixels, 3, axis=-1) if pixels.shape[-1] == 1 else pixels
