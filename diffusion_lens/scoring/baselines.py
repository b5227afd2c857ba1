"""What a scorer says where nothing is to be found: of another prompt's images, of blank ones, of noise.

A scorer that often says yes to these says little with a yes. Their rows stand in the table of scores under
a scorer's name of their own, "oracle: shuffled", and have the kind of baseline in the column `baseline`.
An image without a layer gets the same answer at every layer.
"""

import zlib
from collections.abc import Sequence

import numpy as np
import pandas as pd
from PIL import Image

from diffusion_lens.checks.checks import CheckedPrompt

__all__ = ["BASELINES", "is_baseline", "made_picture", "partners", "scorer_name"]

BASELINES = ("shuffled", "blank", "noise")
_GREY = (128, 128, 128)


def scorer_name(scorer: str, baseline: str) -> str:
    """The scorer's name in the rows of a baseline; its own for real rows, whose baseline is empty."""
    return f"{scorer}: {baseline}" if baseline else scorer


def is_baseline(scorers: pd.Series) -> pd.Series:
    """Which of these names of scorers are of baselines; a person may be called "human: ann"."""
    return scorers.fillna("").str.endswith(tuple(f": {name}" for name in BASELINES))


def partners(prompts: Sequence[CheckedPrompt], seed: int = 0) -> list[int | None]:
    """For each prompt another one, by chance; of its own category where it has company there.

    Each prompt is the partner of exactly one other. None for all if there is only one prompt.
    """
    if len(prompts) < 2:
        return [None] * len(prompts)
    rng = np.random.default_rng(seed)
    by_category: dict[str, list[int]] = {}
    for index, prompt in enumerate(prompts):
        by_category.setdefault(prompt.category, []).append(index)
    alone = [index for members in by_category.values() if len(members) == 1 for index in members]
    circles = [members for members in by_category.values() if len(members) > 1]
    if len(alone) == 1:
        # it joins the largest circle
        max(circles, key=len).extend(alone)
    elif alone:
        circles.append(alone)
    found: list[int | None] = [None] * len(prompts)
    for members in circles:
        order = [members[position] for position in rng.permutation(len(members))]
        for index, other in zip(order, [*order[1:], order[0]], strict=True):
            found[index] = other
    return found


def made_picture(item: str, size: tuple[int, int]) -> Image.Image:
    """The image of a baseline.

    Args:
        item: "blank", a uniform grey; or "noise" and anything more, which decides the noise: every pixel
            and channel uniform.
        size: width and height in pixels.
    """
    if item == "blank":
        return Image.new("RGB", size, _GREY)
    rng = np.random.default_rng(zlib.crc32(item.encode()))
    return Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))
