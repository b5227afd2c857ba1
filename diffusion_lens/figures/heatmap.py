"""Heat maps: many curves at once, one row each."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from diffusion_lens.analysis.formats import in_words
from diffusion_lens.errors import InputError
from diffusion_lens.figures.panels import text_width
from diffusion_lens.figures.style import style
from diffusion_lens.lens.fonts import wrap

__all__ = ["draw_heatmap", "draw_tokens", "heatmap_data"]

_RIGHT = "images that are right"
_LINE = 0.15  # inches, of a title or of a label of several lines
_LEAST_BAR = 1.25  # inches: the label of a shorter colour bar would be broken into words


def heatmap_data(table: pd.DataFrame, *, row: str | Sequence[str]) -> pd.DataFrame:
    """The numbers of a heat map: one row by curve, one column by layer, earliest curves on top.

    Args:
        table: of `analysis.curves.curves` or the like.
        row: the column (or columns) that names the rows.

    Raises:
        InputError: there is nothing to draw, or two cells are at one place.
    """
    names = [row] if isinstance(row, str) else list(row)
    known = in_words(table[table["rate"].notna()] if "rate" in table else table[:0])
    if known.empty:
        raise InputError("There is nothing to draw: no row of the table has a rate.")
    if known.duplicated([*names, "layer"]).any():
        raise InputError(f"Rows named by {names} hold several curves; name more columns.")
    words = [", ".join(str(part) for part in parts if str(part)) for parts in known[names].to_numpy()]
    grid = known.assign(row=words).pivot(index="row", columns="layer", values="rate")
    return grid.loc[grid.mean(axis=1).sort_values(ascending=False, kind="stable").index]


def draw_heatmap(
    table: pd.DataFrame,
    *,
    row: str | Sequence[str],
    panel: str | None = None,
) -> Figure:
    """Draw a heat map; each cell says its number, and a cell without one stays white.

    Args:
        table: as for `heatmap_data`.
        row: as for `heatmap_data`.
        panel: the column whose values get a panel each, one above the other, with columns of its own; a
            single one if None.

    Raises:
        InputError: as `heatmap_data`.
    """
    parts = [("", table)] if panel is None else list(table.groupby(panel, sort=False))
    grids = [(str(name), heatmap_data(part, row=row)) for name, part in parts]
    rows = [len(grid) for _, grid in grids]
    with style():
        longest = max(len(str(name)) for _, grid in grids for name in grid.index)
        width = max(3.4, 0.34 * max(grid.shape[1] for _, grid in grids) + 0.055 * longest + 1.1)
        height = max(0.4 * len(grids) - 0.1 + 0.21 * sum(rows), text_width([_RIGHT])) + 0.5
        figure = Figure(figsize=(width, height))
        axes = figure.subplots(len(grids), squeeze=False, height_ratios=rows)[:, 0]
        for axis, (name, grid) in zip(axes, grids, strict=True):
            picture = _cells(axis, grid)
            if name:
                axis.set_title(name, y=1)
        axes[-1].set_xlabel("layer")
        bar = figure.colorbar(
            picture,
            ax=list(axes),
            format=PercentFormatter(1, decimals=0),
            aspect=max(12, 2 * sum(rows)),
            pad=0.02,
        )
        bar.set_label(_RIGHT)
        bar.outline.set_visible(False)
    return figure


def _cells(axis: Axes, grid: pd.DataFrame) -> QuadMesh:
    """Draw the cells of one heat map with their numbers in per cent."""
    values = grid.to_numpy(dtype=float)
    # cividis is even to the eye with any colour vision, and in grey
    picture = axis.pcolormesh(
        np.ma.masked_invalid(values), cmap="cividis", vmin=0, vmax=1, edgecolors="white", linewidth=0.6
    )
    for (i, j), value in np.ndenumerate(values):
        if np.isfinite(value):
            axis.text(
                j + 0.5,
                i + 0.5,
                f"{100 * value:.0f}",
                ha="center",
                va="center",
                fontsize=6,
                color="black" if value > 0.55 else "white",
            )
    axis.set_xticks(np.arange(values.shape[1]) + 0.5, [f"{one:.2g}" for one in grid.columns])
    axis.set_yticks(np.arange(len(values)) + 0.5, list(grid.index))
    axis.invert_yaxis()
    axis.grid(visible=False)
    axis.tick_params(length=0)
    for side in axis.spines.values():
        side.set_visible(False)
    return picture


def draw_tokens(
    values: pd.DataFrame, *, label: str, limits: tuple[float, float] | None = None, title: str = ""
) -> Figure:
    """Draw a number of each token at each layer: tokens as rows in their order, layers as columns.

    Args:
        values: one row by token, whose index is the tokens as they read, one column by layer.
        label: of the colours; wrapped to the height of their bar.
        limits: of the colours; those of the values if left out.
        title: above the figure; wrapped to its width.

    Raises:
        InputError: there is nothing to draw.
    """
    grid = values.to_numpy(dtype=float)
    if not np.isfinite(grid).any():
        raise InputError("There is nothing to draw: no token has a number at any layer.")
    low, high = limits or (float(np.nanmin(grid)), float(np.nanmax(grid)))
    longest = max(len(str(token)) for token in values.index)
    with style():
        cells_high = max(0.19 * len(grid), _LEAST_BAR)
        named = wrap(label, cells_high, lambda line: text_width([line]))
        width = 0.3 * grid.shape[1] + 0.07 * longest + 1.3 + _LINE * (len(named) - 1)
        above = wrap(title, width - 0.2, lambda line: text_width([line]))
        figure = Figure(figsize=(width, 0.55 + cells_high + _LINE * len(above)))
        axis = figure.subplots()
        drawn = axis.pcolormesh(
            np.ma.masked_invalid(grid),
            cmap="cividis",
            vmin=low,
            vmax=high,
            edgecolors="white",
            linewidth=0.4,
        )
        axis.set_xticks(np.arange(grid.shape[1]) + 0.5, [str(layer) for layer in values.columns])
        axis.set_yticks(np.arange(len(grid)) + 0.5, [str(token) for token in values.index])
        axis.invert_yaxis()
        axis.grid(visible=False)
        axis.tick_params(length=0)
        for side in axis.spines.values():
            side.set_visible(False)
        axis.set_xlabel("layer")
        if above:
            figure.suptitle("\n".join(above), fontsize=8)
        bar = figure.colorbar(drawn, ax=axis, aspect=14, pad=0.02)
        bar.set_label("\n".join(named))
        bar.outline.set_visible(False)
    return figure
