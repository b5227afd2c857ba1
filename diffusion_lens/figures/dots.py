"""Dots: rates of one layer side by side, a row each, with their intervals and a panel by kind."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from diffusion_lens.analysis.formats import in_words
from diffusion_lens.errors import InputError
from diffusion_lens.figures.panels import text_width
from diffusion_lens.figures.style import COLOURS, COLUMN, PAGE, style

__all__ = ["draw_dots"]


def draw_dots(
    table: pd.DataFrame,
    *,
    row: Sequence[str],
    panel: str = "kind",
    control: str | None = None,
    label: str = "right, of all images",
) -> Figure:
    """Draw a dot with its interval by row and panel; a control, such as a baseline, is a grey bar.

    Args:
        table: one row by dot, with `rate`, `low` and `high`, such as curves of one layer.
        row: the columns that name the rows.
        panel: the column whose values become panels.
        control: the column of the control.
        label: of the horizontal axes.

    Raises:
        InputError: there is nothing to draw.
    """
    table = in_words(table[table["rate"].notna()] if "rate" in table else table[:0])
    if table.empty:
        raise InputError("There is nothing to draw: no row of the table has a rate.")
    named = table.assign(row=table[list(row)].astype(str).agg(", ".join, axis=1))
    rows, panels = list(dict.fromkeys(named["row"])), list(dict.fromkeys(named[panel]))
    columns = min(3, len(panels))
    lines = -(-len(panels) // columns)
    with style():
        width = max(COLUMN if columns == 1 else PAGE, text_width(rows, 7.0) + 1.5 * columns)
        figure = Figure(figsize=(width, 0.4 + lines * (0.55 + 0.19 * len(rows))))
        axes = figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False)
        for axis, name in zip(axes.flat, panels, strict=False):
            part = named[named[panel] == name]
            at = len(rows) - 1 - np.array([rows.index(one) for one in part["row"]])
            axis.hlines(at, part["low"], part["high"], color=COLOURS[0], linewidth=1.3)
            axis.plot(part["rate"], at, "o", color=COLOURS[0], clip_on=False, zorder=3)
            if control is not None:
                axis.plot(part[control], at, "|", color="#808080", markersize=7, clip_on=False)
            counts = f"{part['prompts'].min():.0f}", f"{part['prompts'].max():.0f}"
            axis.set_title(f"{name}, n = {' to '.join(dict.fromkeys(counts))}", y=1)
            axis.grid(visible=False, axis="y")
        axes[0, 0].set_yticks(range(len(rows)), rows[::-1])
        axes[0, 0].set_ylim(-0.6, len(rows) - 0.4)
        axes[0, 0].set_xlim(-0.03, 1.03)
        axes[0, 0].set_xticks([0, 0.5, 1])
        axes[0, 0].xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        for axis in axes.flat[len(panels) :]:
            axis.remove()
        figure.supxlabel(label, fontsize=8)
    return figure
