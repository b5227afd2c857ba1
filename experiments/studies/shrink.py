"""Figures of results in fewer colours, so that a repository can hold them: a third of the bytes.

python -m experiments.studies.shrink results/relations
"""

import sys
from pathlib import Path

from PIL import Image

__all__ = ["shrink"]

FIGURE, PHOTOGRAPHS = 48, 256  # colours: curves are flat; examples show images


def shrink(folder: Path) -> int:
    """Give each PNG in `folder/figures` a palette; one that has a palette is left as it is.

    Returns:
        The bytes of all of them.
    """
    total = 0
    for path in sorted(folder.glob("figures/*.png")):
        with Image.open(path) as image:
            if image.mode != "P":
                colours = PHOTOGRAPHS if path.stem.startswith("examples") else FIGURE
                small = image.convert("RGB").quantize(colours, dither=Image.Dither.NONE)
                small.save(path, optimize=True)
        total += path.stat().st_size
    return total


if __name__ == "__main__":
    for name in sys.argv[1:]:
        shrink(Path(name))
