"""Figures of rates with intervals: a panel for each kind of check, a line or a mark for each way."""

from typing import Any, Literal

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from diffusion_lens.figures.style import PAGE, line_style, style

__all__ = ["draw_nothing", "draw_points"]


def draw_nothing() -> Figure:
    """What stands in place of a figure of no numbers, as where a study is only tried."""
    with style():
        figure = Figure(figsize=(PAGE, 0.6), layout="none")
        figure.text(0.5, 0.5, "no number rests on enough prompts to be shown", ha="center", va="center")
    return figure


def draw_points(
    table: pd.DataFrame,
    panel: str,
    x: str,
    line: str,
    *,
    label: str,
    value: str = "rate",
    columns: int = 4,
    joined: bool = True,
    apart_axes: bool = False,
    title: str = "",
) -> Figure:
    """Draw numbers with their intervals; of no numbers, say so in the figure.

    Args:
        table: one row by number, with `value`, `low` and `high`.
        panel: the column that makes panels.
        x: the column along the axis; text stands in the order of the table.
        line: the column that makes lines, beside one another at each x.
        label: of the numbers.
        value: the column of the numbers.
        columns: panels in a row.
        joined: join the marks of a line.
        apart_axes: each row of panels has an axis x of its own.
        title: of the lines.
    """
    if table.empty:
        return draw_nothing()
    panels, lines = (list(dict.fromkeys(table[name])) for name in (panel, line))
    places = list(dict.fromkeys(table[x]))
    numeric = all(isinstance(one, (int, float)) for one in places)
    columns = min(columns, len(panels))
    rows = -(-len(panels) // columns)
    at = {one: float(one) if numeric else float(number) for number, one in enumerate(places)}
    apart = 0.012 * (max(at.values()) - min(at.values())) if numeric else 0.6 / len(lines)
    tall = 2.0 if numeric else 2.6
    sharex: Literal["row", "all"] = "row" if apart_axes else "all"
    with style():
        figure = Figure(figsize=(PAGE, tall * rows + 0.6))
        axes = list(figure.subplots(rows, columns, squeeze=False, sharey=True, sharex=sharex).flat)
        for axis, name in zip(axes, panels, strict=False):
            for number, one in enumerate(lines):
                part = table[(table[panel] == name) & (table[line] == one)]
                if part.empty:
                    continue
                shift = apart * (number - (len(lines) - 1) / 2)
                where = [at[place] + shift for place in part[x]]
                drawn = line_style(number)
                axis.vlines(where, part["low"], part["high"], color=drawn["color"], linewidth=0.8)
                marks = drawn if joined else {**drawn, "linestyle": ""}
                axis.plot(where, part[value], **marks, clip_on=False, label=str(one))
            axis.set_title(str(name))
            if value == "rate":
                axis.set_ylim(-0.02, 1.02)
                axis.yaxis.set_major_formatter(PercentFormatter(1))
            if numeric:
                axis.set_xlabel(x)
            else:
                axis.set_xticks(range(len(places)), [str(one) for one in places], rotation=90)
        for axis in axes[len(panels) :]:
            axis.set_visible(False)
        for axis in axes[::columns]:
            axis.set_ylabel(label)
        shown: dict[str, Any] = {}
        for axis in axes:
            handles, labels = axis.get_legend_handles_labels()
            shown |= dict(zip(labels, handles, strict=True))
        named = [str(one) for one in lines if str(one) in shown]
        figure.legend(
            [shown[one] for one in named],
            named,
            loc="outside lower center",
            ncols=len(named),
            title=title or None,
        )
    return figure
