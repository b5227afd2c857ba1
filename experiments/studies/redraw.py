"""Draw the figures of results again, from the tables beside them: after a change of how figures look.

python -m experiments.studies.redraw results/relations

What shows images (examples-*.png) needs the run, and stays as it is.
"""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from diffusion_lens.errors import InputError
from diffusion_lens.figures.study import draw_study
from experiments.studies.pages import read_tables
from experiments.studies.shrink import shrink

__all__ = ["redraw"]


def redraw(folder: Path) -> list[Path]:
    """Replace the figures that `diffusion-lens analyze` drew of a folder's tables.

    Args:
        folder: with `tables/*.csv` and `figures/*.png`.

    Returns:
        The figures.

    Raises:
        InputError: the folder shows other figures than its tables give; nothing is changed.
    """
    kept = {path.name for path in folder.glob("figures/*.png") if not path.stem.startswith("examples")}
    with TemporaryDirectory() as made:
        new = Path(made, "figures")
        drawn = {one.path.name for one in draw_study(read_tables(folder), new)}
        if drawn != kept:
            raise InputError(f"{folder}: shown or drawn alone are {sorted(drawn ^ kept)}.")
        shrink(Path(made))
        for name in drawn:
            (folder / "figures" / name).write_bytes((new / name).read_bytes())
    return sorted(folder / "figures" / name for name in drawn)


if __name__ == "__main__":
    for name in sys.argv[1:]:
        redraw(Path(name))
