"""Two results side by side: how far the images of the same prompt, seed and layer are apart."""

import io
from collections.abc import Mapping

import numpy as np
import pandas as pd
from jaxtyping import Float
from PIL import Image

from diffusion_lens.errors import InputError

__all__ = ["compare"]

_SAME = ("prompt", "seed", "layer", "native")


def compare(first: pd.DataFrame, second: pd.DataFrame) -> pd.DataFrame:
    """The difference of each two images that are of the same prompt, seed and layer.

    Args:
        first: the table of a result, with the column `image`.
        second: another's, such as one drawn with another readout or an intervention.

    Returns:
        One row by prompt, seed and layer that both have: `difference`, the mean absolute difference of
        pixels (0: the same, 1: black against white); missing where one has no image. An image of the second
        that is of another size is resized.

    Raises:
        InputError: the two have no image in common.
    """
    keys = [name for name in _SAME if name in first and name in second]
    both = first[[*keys, "image"]].merge(second[[*keys, "image"]], on=keys, suffixes=("_1", "_2"))
    if both.empty:
        raise InputError(
            "The two results have no prompt, seed and layer in common. Draw the same prompts, seeds and "
            "layers in both."
        )
    pairs = zip(both["image_1"], both["image_2"], strict=True)
    found = both[keys].assign(difference=[_difference(one, other) for one, other in pairs])
    return found.sort_values(keys, ignore_index=True)


def _difference(one: object, other: object) -> float:
    first, second = _open(one), _open(other)
    if first is None or second is None:
        return np.nan
    if second.size != first.size:
        second = second.resize(first.size, Image.Resampling.BICUBIC)
    return float(abs(_pixels(first) - _pixels(second)).mean())


def _open(cell: object) -> Image.Image | None:
    """The image of a cell: an image, or bytes as `datasets` keep them."""
    if isinstance(cell, Image.Image):
        return cell
    content = cell.get("bytes") if isinstance(cell, Mapping) else None
    return Image.open(io.BytesIO(content)) if content else None


def _pixels(image: Image.Image) -> Float[np.ndarray, "y x 3"]:
    return np.asarray(image.convert("RGB"), dtype=float) / 255
