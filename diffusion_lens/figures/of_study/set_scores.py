"""Distances of the images of each layer, as a set, to reference images."""

from collections.abc import Iterator
from functools import partial

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from diffusion_lens.figures.labels import LineEnd, label_ends
from diffusion_lens.figures.registry import Draw, StudyFigure, Tables
from diffusion_lens.figures.style import COLUMN, line_style, style

_HEIGHT = 2.3  # inches


def _plan(tables: Tables) -> Iterator[tuple[str, Draw]]:
    found = tables.get("set_scores")
    if found is None:
        return
    networks = found.groupby("features", sort=False)
    for features, table in networks:  # whose distances do not compare
        if table["layer"].nunique() > 1:
            yield str(features) if networks.ngroups > 1 else "", partial(_figure, table)


def _figure(table: pd.DataFrame) -> Figure:
    with style():
        figure = Figure(figsize=(COLUMN, _HEIGHT))
        axis = figure.subplots()
        ends = []
        keys = ["run", "encoder", "reference"]
        told = [name for name in keys if name == "run" or table[name].nunique() > 1]
        for number, (key, one) in enumerate(table.groupby(keys, sort=False)):
            look = line_style(number)
            axis.plot(one["layer"], one["kid"], **look)
            axis.vlines(one["layer"], one["kid_low"], one["kid_high"], color=look["color"], linewidth=0.9)
            last = one.iloc[-1]
            name = ", ".join(str(part) for name, part in zip(keys, key, strict=True) if name in told)
            ends.append(LineEnd(name, last["layer"], last["kid"], look["color"]))
        axis.axhline(0, color="#666666", linewidth=0.8, linestyle=(0, (1, 2)))
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.set_xlabel("layer")
        axis.set_ylabel("KID")
        label_ends(axis, ends, _HEIGHT - 0.5)
    return figure


FIGURE = StudyFigure(
    "set_scores",
    75,
    "KID of the images of each layer, as a set, to reference images: 0 where the two sets are of one kind. "
    "Bars: 95 % intervals over prompts.",
    _plan,
)
