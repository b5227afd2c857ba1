"""`Comparison`: two results side by side, layer by layer and seed by seed, with their difference."""

import io
from dataclasses import dataclass

import numpy as np
import pandas as pd
from PIL import Image

from diffusion_lens.errors import InputError
from diffusion_lens.lens.grid import contact_sheet
from diffusion_lens.lens.rows import (
    GridRow,
    difference_image,
    differing,
    grid_columns,
    grid_rows,
    join_title,
    shared_reading,
)

__all__ = ["Comparison", "compare"]


@dataclass(frozen=True, repr=False)
class Comparison:
    """Rows of two results that have the same seed, paired.

    Attributes:
        table: one row by pair of images: `first`, `second` (what they are called), `column` (the layer),
            `seed`, and `difference`, the mean absolute difference of the pixels, 0 to 1; missing where one
            of the two images is.
        pairs: the rows.
        columns: the layers that both have.
        reading: how all images were made, as far as it is not the default.
    """

    table: pd.DataFrame
    pairs: tuple[tuple[GridRow, GridRow], ...]
    columns: tuple[str, ...]
    reading: str = ""

    def grid(self, *, cell: int | None = None) -> Image.Image:
        """For each pair both rows and their difference, black where they are equal.

        Args:
            cell: the longer side of an image on the sheet, in pixels; smaller by default where there are
                many layers.
        """
        labels: list[str] = []
        for first, second in self.pairs:
            labels += [first.label(prompt=True), second.label(prompt=True), "difference"]
        title = join_title("layer", self.reading)
        return contact_sheet(self.images(), labels, self.columns, title=title, cell=cell)

    def images(self) -> list[list[Image.Image | None]]:
        """For each pair three rows of images: the first, the second and their difference."""
        rows: list[list[Image.Image | None]] = []
        for first, second in self.pairs:
            images = [(first.images.get(name), second.images.get(name)) for name in self.columns]
            rows += [[one for one, _ in images], [other for _, other in images]]
            rows.append([difference_image(one, other) for one, other in images])
        return rows

    def __repr__(self) -> str:
        mean = self.table["difference"].mean()
        return (
            f"Comparison({len(self.pairs)} pairs of {len(self.columns)} layers, mean difference {mean:.3f})"
        )

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        self.grid().save(buffer, "PNG")
        return buffer.getvalue()


def compare(first: pd.DataFrame, second: pd.DataFrame) -> Comparison:
    """Pair the rows of two tables: by prompt and seed where they share prompts, by seed alone otherwise.

    Args:
        first: the table of a result.
        second: that of another.

    Raises:
        InputError: they have no layer or no seed in common, or different prompts, more than one each.
    """
    columns = [name for name in grid_columns(first) if name in grid_columns(second)]
    named = differing(first, second)
    ones, others = grid_rows(first, named=named), grid_rows(second, named=named)
    shared = {row.prompt for row in ones} & {row.prompt for row in others}
    single = len({row.prompt for row in ones}) == len({row.prompt for row in others}) == 1
    if not (shared or single):
        raise InputError(
            "The two results share no prompt, and hold several. Compare results of one prompt each, or of "
            "the same prompts."
        )
    pairs = [
        (one, other)
        for one in ones
        for other in others
        if one.seed == other.seed and (one.prompt == other.prompt or not shared)
    ]
    if not (pairs and columns):
        seeds = [sorted({row.seed for row in rows}) for rows in (ones, others)]
        raise InputError(
            f"The two results have no {'layer' if pairs else 'seed'} in common: seeds {seeds[0]} and "
            f"{seeds[1]}, layers {grid_columns(first)} and {grid_columns(second)}. Draw both with the same."
        )
    rows = [
        {
            "first": one.label(prompt=True),
            "second": other.label(prompt=True),
            "column": name,
            "seed": one.seed,
            "difference": _difference(one.images.get(name), other.images.get(name)),
        }
        for one, other in pairs
        for name in columns
    ]
    reading = shared_reading(pd.concat([first, second], ignore_index=True))
    return Comparison(pd.DataFrame(rows), tuple(pairs), tuple(columns), reading)


def _difference(one: Image.Image | None, other: Image.Image | None) -> float:
    found = difference_image(one, other)
    return float("nan") if found is None else float(np.asarray(found, dtype=float).mean() / 255)
