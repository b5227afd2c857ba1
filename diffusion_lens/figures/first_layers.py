"""Drawn against said: the first layer at which each word is said, and the first at which it is drawn."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from diffusion_lens.figures.style import COLOURS, style

__all__ = ["draw_first_layers"]

_BY = {"head": "said by the vocabulary head", "nearest": "said by the nearest words"}


def draw_first_layers(table: pd.DataFrame) -> Figure:
    """Draw one panel by way of saying; the number in a circle is how many words lie there.

    Above the diagonal a word is said before it is drawn, below it is drawn before it is said.

    Args:
        table: of `analysis.first_layers`.
    """
    ways = list(dict.fromkeys(table["by"]))
    with style():
        figure = Figure(figsize=(3.1 * len(ways), 3.2))
        axes = figure.subplots(1, len(ways), squeeze=False, sharey=True)[0]
        for axis, way in zip(axes, ways, strict=True):
            _panel(axis, table[table["by"] == way])
            axis.set_xlabel(f"first layer at which a word is\n{_BY.get(way, f'said by {way}')}")
        axes[0].set_ylabel("first layer at which it is drawn")
    return figure


def _panel(axis: Axes, table: pd.DataFrame) -> None:
    last = int(table["last"].max())
    never = last + max(2, last // 4)
    places = table[["first_said", "first_drawn"]].fillna(never).astype(int)
    axis.plot([0, last], [0, last], color="#bbbbbb", linewidth=0.8, zorder=1)
    for edge in (axis.axvline, axis.axhline):
        edge((last + never) / 2, color="#dddddd", linewidth=0.8, zorder=0)
    for (said, drawn), words in places.groupby(["first_said", "first_drawn"]):
        axis.scatter([said], [drawn], s=90, color=COLOURS[0], zorder=2)
        axis.text(
            said, drawn, str(len(words)), ha="center", va="center", fontsize=6, color="white", zorder=3
        )
    step = max(1, -(-last // 6))
    ticks = list(range(0, last + 1, step))
    names = [*map(str, ticks), "never"]
    axis.set_xticks([*ticks, never], names)
    axis.set_yticks([*ticks, never], names)
    margin = 0.06 * never + 0.3
    axis.set_xlim(-margin, never + margin)
    axis.set_ylim(-margin, never + margin)
    axis.grid(visible=False)
    axis.set_aspect("equal")
