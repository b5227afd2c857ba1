"""What figures of images share: sheets of images, and axes that look alike.

Figures are made without pyplot: nothing global changes, and none has to be closed. A notebook shows
them after `%matplotlib inline`; elsewhere, `figure.savefig(path)`.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import text_to_path
from PIL import Image

from diffusion_lens.errors import InputError
from diffusion_lens.figures.fonts import font_families
from diffusion_lens.figures.style import PAGE, style

__all__ = [
    "INK",
    "PALE",
    "Picture",
    "as_text",
    "draw_images",
    "make_axes",
    "text_width",
    "use_style",
]

INK = "#1a1a1a"
PALE = "#8a8a8a"
DPI = 150
_OWN: Any = {"text.parse_math": True, "axes.grid": False, "figure.constrained_layout.use": False}

Picture = Image.Image | np.ndarray
"""An image, or its pixels: uint8 `[y, x, 3]`."""


@contextmanager
def use_style() -> Iterator[None]:
    """The style of all figures, with formulas and without a grid, for what is drawn in the body."""
    with style(), mpl.rc_context(_OWN):
        yield


def as_text(text: object) -> str:
    """A label that is never read as a formula, whatever a prompt holds."""
    return str(text).replace("$", r"\$")


def text_width(texts: Sequence[str], size: float = 8.0) -> float:
    """The width of the longest line of some labels in inches; `size` is that of the font in points."""
    font = FontProperties(family=list(font_families()), size=size)
    lines = [line.replace(r"\$", "$") for text in texts for line in text.split("\n") if line.strip()]
    widths = (text_to_path.get_text_width_height_descent(line, font, ismath=False)[0] for line in lines)
    return max((float(width) / 72 for width in widths), default=0.0)


def make_axes(
    rows: int = 1, columns: int = 1, height: float = 2.2, width: float = PAGE, **options: Any
) -> tuple[Figure, list[Axes]]:
    """A figure and its axes, row by row.

    Args:
        rows: of axes.
        columns: of axes.
        height: of the figure in inches.
        width: of the figure in inches.
        options: of `Figure.subplots`.
    """
    figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, **options)
    return figure, list(axes.flat)


def draw_images(
    rows: Sequence[Sequence[Picture | None]],
    row_labels: Sequence[str] = (),
    column_labels: Sequence[str] = (),
    *,
    cell_labels: Sequence[Sequence[str]] = (),
    cell: float = 0.85,
    title: str = "",
) -> Figure:
    """Draw a sheet of images with labels at the left and on top.

    Labels may hold formulas between dollar signs; give text of prompts through `as_text`.

    Images of fewer than 32 pixels a side, such as latents, keep their square pixels; others are
    interpolated.

    Args:
        rows: images by row and column; None leaves a cell empty.
        row_labels: one by row, or none at all; a newline breaks a label.
        column_labels: one by column, above the first row, or none at all.
        cell_labels: one by row and column, above each image, in place of column labels.
        cell: side of an image in inches; smaller where a row would be wider than the page.
        title: a line above.

    Raises:
        InputError: rows of unequal length, or labels that don't match them.
    """
    columns = {len(row) for row in rows}
    if len(columns) != 1 or columns == {0}:
        raise InputError(f"A sheet needs rows of one length; found {[len(row) for row in rows]}.")
    across = columns.pop()
    above = [list(labels) for labels in cell_labels]
    if column_labels:
        above = [list(column_labels), *[[""] * across for _ in rows[1:]]]
    for name, labels, wanted in (
        ("row", row_labels, len(rows)),
        ("column", column_labels, across),
        *((f"row {index} of cell", labels, across) for index, labels in enumerate(above)),
        ("rows of cell", above, len(rows)),
    ):
        if labels and len(labels) != wanted:
            raise InputError(f"{len(labels)} {name} labels were given; the sheet has place for {wanted}.")
    with use_style():
        return _sheet(rows, row_labels, above, cell, title)


def _sheet(
    rows: Sequence[Sequence[Picture | None]],
    row_labels: Sequence[str],
    above: Sequence[Sequence[str]],
    cell: float,
    title: str,
) -> Figure:
    """Place images and labels; lengths in inches."""
    across, gap, line = len(rows[0]), 0.04, 0.135
    left = text_width(row_labels) + 0.14 if row_labels else 0.02
    cell = min(cell, (PAGE - left) / across - gap)
    # a row's labels stand above it
    lines = [max((text.count("\n") + 1 for text in texts if text), default=0) for texts in above]
    heads = [count * line + 0.07 if count else 0.0 for count in lines or [0] * len(rows)]
    width = left + across * (cell + gap)
    height = (0.22 if title else 0.02) + sum(heads) + len(rows) * (cell + gap)
    figure = Figure(figsize=(width, height), dpi=DPI)
    if title:
        figure.text(left / width, 1 - 0.04 / height, title, va="top", ha="left", fontweight="bold")
    top = height - (0.22 if title else 0.02)
    for index, row in enumerate(rows):
        top -= heads[index]
        if row_labels:
            figure.text(
                (left - 0.08) / width,
                (top - cell / 2) / height,
                row_labels[index],
                va="center",
                ha="right",
                linespacing=1.15,
            )
        for column, picture in enumerate(row):
            x = left + column * (cell + gap)
            if above and above[index][column]:
                figure.text(
                    (x + cell / 2) / width,
                    (top + 0.035) / height,
                    above[index][column],
                    va="bottom",
                    ha="center",
                    linespacing=1.15,
                )
            if picture is None:
                continue
            axes = figure.add_axes((x / width, (top - cell) / height, cell / width, cell / height))
            pixels = np.asarray(picture)
            small = max(pixels.shape[:2]) < 32
            axes.imshow(pixels, interpolation="nearest" if small else "bicubic")
            axes.set_axis_off()
        top -= cell + gap
    return figure
