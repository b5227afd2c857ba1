"""Order of emergence: in which share of pairs one thing is there at an earlier layer than the other."""

from collections.abc import Iterator
from functools import partial

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from diffusion_lens.figures.forest import pages_of
from diffusion_lens.figures.of_study.parts import enough, keys_of, without_baselines
from diffusion_lens.figures.registry import Draw, StudyFigure, Tables
from diffusion_lens.figures.style import COLOURS, style

__all__ = ["FIGURE", "draw_order"]

_SHARES = {
    "first_earlier": ("the first earlier", COLOURS[0], "white"),
    "tie": ("at the same layer", "#cccccc", "black"),
    "second_earlier": ("the second earlier", COLOURS[1], "white"),
}


def draw_order(table: pd.DataFrame, names: list[str]) -> Figure:
    """Draw one bar by pair, of the pairs of answers in which both emerge.

    Args:
        table: of `analysis.order.order`.
        names: the columns that name a row, before the pair itself.
    """
    words = [
        ", ".join(
            [*(str(row[name]) for name in names if str(row[name])), f"{row['first']} / {row['second']}"]
        )
        for row in table.to_dict("records")
    ]
    at = np.arange(len(table))[::-1]
    both = table[list(_SHARES)].sum(axis=1).to_numpy(dtype=float)
    with style():
        figure = Figure(figsize=(5.5, 0.9 + 0.23 * len(table)))
        axis = figure.subplots()
        start = np.zeros(len(table))
        for column, (label, colour, ink) in _SHARES.items():
            share = np.divide(
                table[column].to_numpy(dtype=float), both, out=np.zeros_like(both), where=both > 0
            )
            axis.barh(at, share, left=start, height=0.72, color=colour, label=label)
            for place, width, left in zip(at, share, start, strict=True):
                if width > 0.08:
                    axis.text(
                        left + width / 2,
                        place,
                        f"{100 * width:.0f}",
                        ha="center",
                        va="center",
                        fontsize=6,
                        color=ink,
                    )
            start = start + share
        axis.set_yticks(at, words)
        axis.set_xlim(0, 1)
        axis.set_ylim(-0.6, len(table) - 0.4)
        axis.set_xticks([0, 0.5, 1], ["0 %", "50 %", "100 %"])
        axis.grid(visible=False)
        axis.set_xlabel("share of the pairs in which both emerge")
        across = axis.get_yaxis_transform()
        for place, share, prompts in zip(at, both, table["prompts"], strict=True):
            axis.text(
                1.01,
                place,
                f"{100 * share:.0f} % of {int(prompts)}",
                transform=across,
                fontsize=6,
                va="center",
                color="#555555",
            )
        axis.text(
            1.01, len(at) - 0.4, "both, of n", transform=across, fontsize=6, va="bottom", color="#555555"
        )
        figure.legend(loc="outside upper center", ncols=3)
    return figure


def _plan(tables: Tables) -> Iterator[tuple[str, Draw]]:
    if "order" not in tables:
        return
    known = enough(without_baselines(tables["order"]))
    known = known[(known[list(_SHARES)].sum(axis=1) > 0) & known["lead"].notna()]
    for parts, one in known.groupby(["run", "scorer"]):
        columns = [name for name in (*keys_of(one), "definition") if name in one]
        names = [name for name in columns if one[name].nunique() > 1]
        pages = pages_of(one)
        for number, page in enumerate(pages):
            title = "-".join(str(part) for part in parts if str(part))
            yield f"{title}-{number + 1}" if len(pages) > 1 else title, partial(draw_order, page, names)


FIGURE = StudyFigure(
    "order",
    30,
    "Order of emergence: of the pairs in which both things emerge, the share in which the first, or the "
    "second, is there at an earlier layer. Pairs in which one can't be asked at every layer are left "
    "out.",
    _plan,
)
