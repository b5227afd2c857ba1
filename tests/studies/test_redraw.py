"""Figures in the repository: small, in the colours that were chosen, and made of the tables beside them."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageColor

from diffusion_lens.errors import InputError
from diffusion_lens.figures.style import COLOURS
from experiments.studies.redraw import redraw
from experiments.studies.shrink import shrink

PLACES = Path(__file__).parents[2] / "results/places"


def read(path: Path) -> np.ndarray:
    """The pixels of an image."""
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def test_a_small_figure_keeps_the_colours_of_its_lines(tmp_path: Path) -> None:
    pixels = np.full((120, 200, 3), 255, np.uint8)
    pixels[30:] = np.random.default_rng(0).integers(150, 256, (90, 200, 3))  # shading, of many colours
    for row, colour in enumerate(COLOURS):
        pixels[2 + 3 * row, 20:40] = ImageColor.getrgb(colour)
    path = tmp_path / "figures/curves.png"
    path.parent.mkdir()
    Image.fromarray(pixels).save(path)
    before = path.stat().st_size
    assert shrink(tmp_path) == path.stat().st_size < before
    small = read(path)
    assert np.array_equal(small[:30], pixels[:30])  # lines and paper as they were
    shrink(tmp_path)
    assert np.array_equal(read(path), small)


def test_figures_are_drawn_again_from_the_tables(tmp_path: Path) -> None:
    (tmp_path / "tables").mkdir()
    (tmp_path / "figures").mkdir()
    shutil.copy(PLACES / "tables/summary.csv", tmp_path / "tables")
    for name in ("areas.png", "examples-emoji.png"):
        Image.new("RGB", (9, 9)).save(tmp_path / "figures" / name)
    assert [path.name for path in redraw(tmp_path)] == ["areas.png"]
    with Image.open(tmp_path / "figures/areas.png") as drawn:
        assert drawn.size[0] > 600 and drawn.mode == "P"
    with Image.open(tmp_path / "figures/examples-emoji.png") as kept:
        assert kept.size == (9, 9)  # of images, not of tables
    Image.new("RGB", (9, 9)).save(tmp_path / "figures/curves-emoji.png")
    with pytest.raises(InputError, match="curves-emoji"):
        redraw(tmp_path)
