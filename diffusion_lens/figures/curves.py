"""Curves over layers, drawn from the tables of `analysis`: rates, differences, emergence."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from diffusion_lens.analysis.formats import in_words
from diffusion_lens.errors import InputError
from diffusion_lens.figures.labels import LineEnd, label_ends, label_height, label_width
from diffusion_lens.figures.style import COLUMN, PAGE, line_style, style

__all__ = ["draw_curves"]

# more names than this are told apart within a panel only
_SHARED_LINES = 8
_CHANCE = "#777777"
# inches: above and below a panel, for its title and ticks; the narrowest panel without its labels
_AROUND, _LEAST_WIDTH = 0.55, 1.5
_CONDITIONS = {
    "none": "right, of all images",
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
    limits: tuple[float, float] = (0.0, 1.0),
) -> Figure:
    """Draw one line by value of a column, with its interval by layer and its simultaneous band.

    Bars are intervals for one layer, shading the band for the whole curve; both are left out where the
    table has none. Lines are labelled at their ends and differ by colour, marker and dash: a name looks the
    same in all panels if there are at most eight; if there are more, each panel numbers its own lines. A
    panel's title says how many prompts its curves rest on.

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
        chance: a level to mark as chance; those in the column `chance` of each panel if left out.
        limits: of the vertical axis.

    Raises:
        InputError: there is nothing to draw, or curves of different conditions would share a figure.
    """
    table = in_words(table[table[y].notna()] if y in table else table[:0])
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
    shared = len(lines) <= _SHARED_LINES
    label_room = label_width(map(str, lines))
    columns = max(1, min(3, len(panels), int(PAGE // (_LEAST_WIDTH + label_room))))
    rows = -(-len(panels) // columns)
    width = COLUMN if columns == 1 and _LEAST_WIDTH + label_room < COLUMN else PAGE
    most = len(lines) if panel is None else int(table.groupby(panel)[line].nunique().max())
    height = max(2.3 if columns == 1 else 0.8 * width / columns, _AROUND + label_height(most))
    with style():
        figure = Figure(figsize=(width, 0.15 + rows * height))
        same = x == "depth" or panel is None or _same_layers(table, panel)
        axes = figure.subplots(rows, columns, sharex=same, sharey=True, squeeze=False)
        for axis, value in zip(axes.flat, panels, strict=False):
            part = table if panel is None else table[table[panel] == value]
            ends: list[LineEnd] = []
            bars: list[tuple[np.ndarray, ...]] = []
            for number, name in enumerate(lines if shared else dict.fromkeys(part[line])):
                one = part[part[line] == name].sort_values(x)
                if not one.empty:
                    ends.append(_line(axis, bars, one, number, str(name), x, y, low, high, band))
            if bars:  # of all lines at once, which takes less time
                where, lows, highs, colours = (np.concatenate(part) for part in zip(*bars, strict=True))
                axis.vlines(where, lows, highs, colours, linewidth=0.9, clip_on=False, zorder=2.5)
            _axis(axis, part, x, limits)
            for level in _chances(part) if chance is None else [chance]:
                axis.axhline(level, color=_CHANCE, linewidth=0.8, linestyle=(0, (1, 2)))
                ends.append(LineEnd("chance", axis.get_xlim()[1], level, _CHANCE))
            # at a fixed height: matplotlib looks for what is in its way each time, which takes long
            axis.set_title(_title("" if value is None else str(value), _count(part)), y=1)
            label_ends(axis, ends if len(lines) > 1 else ends[1:], height - _AROUND)
        for axis in axes.flat[len(panels) :]:
            axis.remove()
        for axis in axes.flat[max(0, len(panels) - columns) : len(panels)]:
            axis.tick_params(labelbottom=True)  # below which there may be no panel
        figure.supxlabel("layer" if x == "layer" else "depth (layer / last layer)", fontsize=8)
        figure.supylabel(label or _CONDITIONS[conditions[0]], fontsize=8)
    return figure


def _same_layers(table: pd.DataFrame, panel: str) -> bool:
    """Whether all panels show the same layers, so that the lowest of a column name them for all."""
    return len({tuple(sorted(part["layer"].unique())) for _, part in table.groupby(panel)}) == 1


def _chances(part: pd.DataFrame) -> list[float]:
    """How often blind guessing is right, where the table says so."""
    return sorted(part["chance"].dropna().unique()) if "chance" in part else []


def _title(name: str, count: str) -> str:
    """The name of a panel and its count, over as many lines as fit beside other panels."""
    parts = [part for part in (*name.split(", "), count) if part]
    return (", " if sum(map(len, parts)) < 28 else "\n").join(parts)


def _count(part: pd.DataFrame) -> str:
    """How many prompts the curves of a panel rest on."""
    if "prompts" not in part or part["prompts"].isna().all():
        return ""
    least, most = int(part["prompts"].min()), int(part["prompts"].max())
    return f"n = {most}" if least == most else f"n = {least} to {most}"


def _line(
    axis: Axes,
    bars: list[tuple[np.ndarray, ...]],
    one: pd.DataFrame,
    number: int,
    name: str,
    x: str,
    y: str,
    low: str,
    high: str,
    band: tuple[str, str] | None,
) -> LineEnd:
    """Draw one line with its band, say where it ends, and add its intervals to the bars."""
    look = line_style(number)
    at, value = one[x].to_numpy(dtype=float), one[y].to_numpy(dtype=float)
    # a little apart, so that bars of several lines do not hide each other
    apart = at + (number % 5 - 2) * 0.008 * max(np.ptp(at), 1e-9)
    axis.plot(apart, value, label=name, clip_on=False, zorder=3, **look)
    if low in one and one[low].notna().any():
        ends = np.clip(one[[low, high]].to_numpy(dtype=float).T, *_bounds(value))
        bars.append((apart, *ends, np.full(len(apart), look["color"])))
    if band is not None and band[0] in one and one[band[0]].notna().any():
        ends = np.clip(one[list(band)].to_numpy(dtype=float).T, *_bounds(value))
        axis.fill_between(apart, ends[0], ends[1], color=look["color"], alpha=0.13, linewidth=0)
    return LineEnd(name, apart[-1], value[-1], look["color"])


def _bounds(values: np.ndarray) -> tuple[float, float]:
    """What an interval never passes: 0 and 1 for shares, -1 and 1 for differences."""
    return (0.0 if np.nanmin(values) >= 0 else -1.0), 1.0


def _axis(axis: Axes, part: pd.DataFrame, x: str, limits: tuple[float, float]) -> None:
    """Ticks at the layers that were drawn, thinned to what fits; a vertical axis of shares."""
    if x == "layer":
        layers = np.sort(part["layer"].unique())
        every = -(-len(layers) // 9)
        # counted from the last, which is the one that matters
        axis.set_xticks(layers[::-1][::every][::-1])
    else:
        axis.set_xticks([0, 0.5, 1])
        axis.set_xlim(-0.03, 1.03)
    # room for markers and lines at either end
    margin = 0.03 * (limits[1] - limits[0])
    axis.set_ylim(limits[0] - margin, limits[1] + margin)
    axis.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axis.margins(x=0.04)
