"""The figure of LEGO beside Textual Inversion: what is there of what was asked for, and what leaked."""

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from diffusion_lens.figures.style import COLOURS, MARKERS, PAGE, style

__all__ = ["draw_lego"]

TITLES = {"both": "concept on the subject asked for", "leak": "training subject is there"}


def draw_lego(rates: pd.DataFrame) -> Figure:
    """Draw the rates of each way by concept, with intervals: concept and subject, and leakage.

    Args:
        rates: means with intervals by `concept` ("all" first), `way` and `check`.
    """
    concepts = list(dict.fromkeys(rates["concept"]))[::-1]
    ways = list(dict.fromkeys(rates["way"]))
    with style():
        figure = Figure(figsize=(PAGE, 0.9 + 0.55 * len(concepts)))
        axes = figure.subplots(1, len(TITLES), sharey=True)
        for axis, (check, title) in zip(axes, TITLES.items(), strict=True):
            for number, way in enumerate(ways):
                rows = rates[(rates["check"] == check) & (rates["way"] == way)]
                at = [
                    concepts.index(concept) - 0.15 * (number - (len(ways) - 1) / 2)
                    for concept in rows["concept"]
                ]
                colour, mark = COLOURS[number % len(COLOURS)], MARKERS[number % len(MARKERS)]
                axis.hlines(at, rows["low"], rows["high"], color=colour, linewidth=1)
                axis.plot(rows["mean"], at, mark, color=colour, label=way, clip_on=False)
            axis.set_title(title)
            axis.set_xlim(0, 1)
            axis.xaxis.set_major_formatter(PercentFormatter(1))
        axes[0].set_yticks(range(len(concepts)), concepts)
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure
