"""Forests: one number by row with its interval, such as areas, or differences against zero."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from diffusion_lens.analysis.formats import in_words
from diffusion_lens.errors import InputError
from diffusion_lens.figures.panels import text_width
from diffusion_lens.figures.style import COLOURS, COLUMN, style

__all__ = ["ROWS", "draw_forest", "pages_of"]

# rows that fit a page
ROWS = 36
# inches of the axis and the counts beside it
_ROOM = 2.3


def draw_forest(
    table: pd.DataFrame,
    *,
    name: str | Sequence[str],
    value: str,
    low: str = "low",
    high: str = "high",
    label: str = "",
    zero: bool = False,
) -> Figure:
    """Draw one number by row with its interval: areas side by side, or contrasts against zero.

    Args:
        table: one row by number.
        name: the column (or columns) that names the rows.
        value: the column drawn.
        low: lower end of the interval.
        high: upper end.
        label: of the horizontal axis.
        zero: mark zero; for differences.

    Raises:
        InputError: there is nothing to draw.
    """
    table = in_words(table[table[value].notna()])
    if table.empty:
        raise InputError(f"There is nothing to draw: no row of the table has {value!r}.")
    names = [name] if isinstance(name, str) else list(name)
    words = [
        ", ".join(str(row[part]) for part in names if str(row[part])) for row in table.to_dict("records")
    ]
    at = np.arange(len(table))[::-1]
    with style():
        # the numbers have the same room whatever their names are
        width = max(COLUMN, text_width(words, 7.0) + _ROOM)
        figure = Figure(figsize=(width, 0.75 + 0.19 * len(table)))
        axis = figure.subplots()
        if zero:
            axis.axvline(0, color="#777777", linewidth=0.8)
        ends = table[[low, high]].to_numpy(dtype=float).T
        axis.hlines(at, ends[0], ends[1], color=COLOURS[0], linewidth=1.3)
        axis.plot(table[value].to_numpy(dtype=float), at, "o", color=COLOURS[0], clip_on=False)
        axis.set_yticks(at, words)
        axis.set_ylim(-0.7, len(table) - 0.3)
        axis.grid(visible=False, axis="y")
        axis.spines["left"].set_visible(False)
        axis.tick_params(axis="y", length=0)
        if not zero:
            axis.set_xlim(-0.02, max(1.02, float(np.nanmax(ends, initial=0))))
        if "prompts" in table:
            _counts(axis, table["prompts"], at)
        axis.set_xlabel(label or value)
    return figure


def _counts(axis: Axes, prompts: pd.Series, at: np.ndarray) -> None:
    """The number of prompts at the right of each row."""
    across = axis.get_yaxis_transform()
    for count, place in zip(prompts, at, strict=True):
        if pd.notna(count):
            axis.text(
                1.01, place, f"{int(count)}", transform=across, fontsize=6, va="center", color="#555555"
            )
    axis.text(1.01, len(at) - 0.35, "n", transform=across, fontsize=6, va="bottom", color="#555555")


def pages_of(table: pd.DataFrame, rows: int = ROWS) -> list[pd.DataFrame]:
    """A long table as parts of about equal length, each of which fits a page."""
    count = max(1, -(-len(table) // rows))
    size = -(-len(table) // count)
    return [table.iloc[start : start + size] for start in range(0, max(len(table), 1), size or 1)]
