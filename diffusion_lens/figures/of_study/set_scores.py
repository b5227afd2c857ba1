"""Distances of the images of each layer, as a set, to reference images."""

from collections.abc import Iterator

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from diffusion_lens.figures.labels import LineEnd, label_ends
from diffusion_lens.figures.registry import StudyFigure, Tables
from diffusion_lens.figures.style import COLUMN, line_style, style

_HEIGHT = 2.3  # inches


def _draw(tables: Tables) -> Iterator[tuple[str, Figure]]:
    table = tables.get("set_scores")
    if table is None or table["layer"].nunique() < 2:
        return
    with style():
        figure = Figure(figsize=(COLUMN, _HEIGHT))
        axis = figure.subplots()
        ends = []
        several = table.groupby("run")["encoder"].nunique().max() > 1
        for number, ((run, encoder), one) in enumerate(table.groupby(["run", "encoder"], sort=False)):
            look = line_style(number)
            axis.plot(one["layer"], one["kid"], **look)
            axis.vlines(one["layer"], one["kid_low"], one["kid_high"], color=look["color"], linewidth=0.9)
            last = one.iloc[-1]
            name = f"{run}, {encoder}" if several else str(run)
            ends.append(LineEnd(name, last["layer"], last["kid"], look["color"]))
        axis.axhline(0, color="#666666", linewidth=0.8, linestyle=(0, (1, 2)))
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.set_xlabel("layer")
        axis.set_ylabel("KID")
        label_ends(axis, ends, _HEIGHT - 0.5)
    yield "", figure


FIGURE = StudyFigure(
    "set_scores",
    75,
    "KID of the images of each layer, as a set, to reference images: 0 where the two sets are of one kind. "
    "Bars: 95 % intervals over prompts.",
    _draw,
)
