"""Curves over layers, drawn from the tables of `analysis`: rates, differences, emergence; and forests."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import PercentFormatter

from diffusion_lens.errors import InputError
from diffusion_lens.figures.style import COLOURS, COLUMN, DASHES, MARKERS, PAGE, style

__all__ = ["draw_curves", "draw_forest"]

_CONDITIONS = {
    "none": "images that are right",
    "final-correct": "right, given right at the last layer",
    "final-wrong": "right, given wrong at the last layer",
}


def draw_curves(
    table: pd.DataFrame,
    *,
    line: str = "kind",
    panel: str | None = None,
    x: str = "layer",
    y: str = "rate",
    low: str = "low",
    high: str = "high",
    band: tuple[str, str] | None = ("band_low", "band_high"),
    label: str | None = None,
    chance: float | None = None,
) -> Figure:
    """Draw one line by value of a column, with its interval by layer and its simultaneous band.

    Bars are intervals for one layer, shading the band for the whole curve; both are left out where the
    table has none. Lines differ by colour, marker and dash.

    Args:
        table: of `analysis.curves.curves`, `published_curves`, `emergence.distribution` or the like.
        line: the column whose values become lines.
        panel: the column whose values become panels.
        x: "layer" or "depth"; depth compares encoders of unequal depth.
        y: the column drawn.
        low: lower end of the interval.
        high: upper end.
        band: columns of the band.
        label: of the vertical axis; made from the table's condition if left out.
        chance: a level to mark as chance.

    Raises:
        InputError: there is nothing to draw, or curves of different conditions would share a figure.
    """
    table = table[table[y].notna()] if y in table else table[:0]
    if table.empty:
        raise InputError(f"There is nothing to draw: no row of the table has {y!r}.")
    conditions = sorted(set(table["condition"])) if "condition" in table else ["none"]
    if len(conditions) > 1:
        raise InputError(
            f"Curves given {conditions} answer different questions and never share a figure; draw "
            "one of them."
        )
    panels = [None] if panel is None else list(dict.fromkeys(table[panel]))
    lines = list(dict.fromkeys(table[line]))
    columns = min(3, len(panels))
    rows = -(-len(panels) // columns)
    with style():
        width = COLUMN if columns == 1 else PAGE
        figure = Figure(figsize=(width, 0.35 + rows * (2.3 if columns == 1 else 0.8 * width / columns)))
        axes = figure.subplots(rows, columns, sharex=x == "depth", sharey=True, squeeze=False)
        for axis, value in zip(axes.flat, panels, strict=False):
            part = table if panel is None else table[table[panel] == value]
            for number, name in enumerate(lines):
                one = part[part[line] == name].sort_values(x)
                if not one.empty:
                    _line(axis, one, number, str(name), x, y, low, high, band)
            if chance is not None:
                axis.axhline(chance, color="#777777", linewidth=0.8, linestyle=(0, (1, 2)))
                axis.annotate("chance", (1, chance), xycoords=("axes fraction", "data"), fontsize=6,
                              ha="right", va="bottom", color="#555555")  # fmt: skip
            _axis(axis, part, x)
            axis.set_title("" if value is None else str(value))
        for axis in axes.flat[len(panels) :]:
            axis.remove()
        figure.supxlabel("layer" if x == "layer" else "depth (layer / last layer)", fontsize=8)
        figure.supylabel(label or _CONDITIONS[conditions[0]], fontsize=8)
        if len(lines) > 1:
            handles, names = _handles(axes[0, 0], lines)
            entry = 0.45 + 0.055 * max(map(len, names))  # inches of a handle and so many letters
            fitting = max(1, int(figure.get_figwidth() / entry))
            figure.legend(handles, names, loc="outside upper center", ncols=min(len(lines), fitting))
    return figure


def _line(
    axis: Axes,
    one: pd.DataFrame,
    number: int,
    name: str,
    x: str,
    y: str,
    low: str,
    high: str,
    band: tuple[str, str] | None,
) -> None:
    colour = COLOURS[number % len(COLOURS)]
    at, value = one[x].to_numpy(dtype=float), one[y].to_numpy(dtype=float)
    # a little apart, so that bars of several lines do not hide each other
    apart = at + (number % 5 - 2) * 0.008 * max(np.ptp(at), 1e-9)
    axis.plot(apart, value, color=colour, marker=MARKERS[number % len(MARKERS)],
              linestyle=DASHES[number % len(DASHES)], label=name, clip_on=False, zorder=3)  # fmt: skip
    if low in one and one[low].notna().any():
        ends = one[[low, high]].to_numpy(dtype=float).T
        axis.vlines(apart, ends[0], ends[1], color=colour, linewidth=0.9, clip_on=False, zorder=2.5)
    if band is not None and band[0] in one and one[band[0]].notna().any():
        axis.fill_between(apart, one[band[0]].to_numpy(dtype=float), one[band[1]].to_numpy(dtype=float),
                          color=colour, alpha=0.13, linewidth=0)  # fmt: skip


def _axis(axis: Axes, part: pd.DataFrame, x: str) -> None:
    """Ticks at the layers that were drawn, thinned to what fits; a vertical axis of shares."""
    if x == "layer":
        layers = np.sort(part["layer"].unique())
        every = -(-len(layers) // 9)
        # counted from the last, which is the one that matters
        axis.set_xticks(layers[::-1][::every][::-1])
    else:
        axis.set_xticks([0, 0.5, 1])
        axis.set_xlim(-0.03, 1.03)
    axis.set_ylim(0, 1)
    axis.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axis.margins(x=0.04)


def _handles(axis: Axes, lines: Sequence[object]) -> tuple[list[Line2D], list[str]]:
    """One handle by line, also for lines that the first panel lacks."""
    handles: list[Line2D] = []
    for number, name in enumerate(lines):
        handles += axis.plot([], [], color=COLOURS[number % len(COLOURS)], label=str(name),
                             marker=MARKERS[number % len(MARKERS)],
                             linestyle=DASHES[number % len(DASHES)])  # fmt: skip
    return handles, [str(name) for name in lines]


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
    table = table[table[value].notna()]
    if table.empty:
        raise InputError(f"There is nothing to draw: no row of the table has {value!r}.")
    names = [name] if isinstance(name, str) else list(name)
    words = [
        ", ".join(str(row[part]) for part in names if str(row[part])) for row in table.to_dict("records")
    ]
    at = np.arange(len(table))[::-1]
    with style():
        figure = Figure(figsize=(COLUMN if max(map(len, words)) < 26 else 5.0, 0.75 + 0.19 * len(table)))
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
            axis.set_xlim(0, max(1.0, float(np.nanmax(ends, initial=0))))
        axis.set_xlabel(label or value)
    return figure
