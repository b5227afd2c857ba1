"""Figures of results in fewer colours, so that a repository can hold them: a third of the bytes.

python -m experiments.studies.shrink results/relations
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageColor

from diffusion_lens.figures.style import COLOURS

__all__ = ["shrink"]

FIGURE, PHOTOGRAPHS = 48, 256  # colours: curves are flat; examples show images


def shrink(folder: Path) -> int:
    """Give each PNG in `folder/figures` a palette; one that has a palette is left as it is.

    The colours that tell lines apart are in each palette as they are: chosen by how much of a figure they
    cover, thin lines of unlike colours would share one.

    Returns:
        The bytes of all of them.
    """
    total = 0
    for path in sorted(folder.glob("figures/*.png")):
        with Image.open(path) as image:
            if image.mode != "P":
                _small(image.convert("RGB"), path.stem.startswith("examples")).save(path, optimize=True)
        total += path.stat().st_size
    return total


def _small(image: Image.Image, photographs: bool) -> Image.Image:
    if photographs:
        return image.quantize(PHOTOGRAPHS, dither=Image.Dither.NONE)
    exact = [ImageColor.getrgb(colour) for colour in ("#FFFFFF", *COLOURS)]
    chosen = np.reshape(image.quantize(FIGURE, dither=Image.Dither.NONE).getpalette() or [], (-1, 3))
    palette = np.concatenate([exact, chosen[:FIGURE]]).astype(np.int32)
    # each colour by its nearest; Pillow's own search is coarse, and would tint what is white
    pixels = np.asarray(image)
    found, places = np.unique(pixels.reshape(-1, 3), axis=0, return_inverse=True)
    nearest = [np.abs(palette - colour).sum(1).argmin() for colour in found.astype(np.int32)]
    small = Image.fromarray(np.array(nearest, np.uint8)[places].reshape(pixels.shape[:2]), "P")
    small.putpalette(palette.astype(np.uint8).tobytes())
    return small


if __name__ == "__main__":
    for name in sys.argv[1:]:
        shrink(Path(name))
