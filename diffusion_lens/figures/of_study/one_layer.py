"""Rates of runs that draw one layer alone: dots side by side, since there is nothing to follow."""

from collections.abc import Iterator
from functools import partial

import pandas as pd

from diffusion_lens.figures.dots import draw_dots
from diffusion_lens.figures.forest import ROWS
from diffusion_lens.figures.of_study.parts import (
    enough,
    is_one_layer,
    joined,
    keys_of,
    telling,
    without_baselines,
)
from diffusion_lens.figures.registry import Draw, StudyFigure, Tables

_SHUFFLED = ": shuffled"


def _plan(tables: Tables) -> Iterator[tuple[str, Draw]]:
    for part, name, label in (
        ("", "curves", "right, of all images; grey: another prompt's"),
        ("where_asked", "conditional_curves", "right, where it can be asked; grey: chance"),
    ):
        if name in tables:
            yield from _figures(part, tables[name][is_one_layer(tables[name])], label)


def _figures(part: str, table: pd.DataFrame, label: str) -> Iterator[tuple[str, Draw]]:
    known = enough(without_baselines(table[table["rate"].notna()]))
    if known.empty:
        return
    keys = keys_of(known)
    # of one layer, the prompts that can be asked at it and at all layers are the same
    known = known.drop_duplicates(keys)
    if "chance" not in known:
        shuffled = table[table["scorer"].str.endswith(_SHUFFLED)]
        shuffled = shuffled.assign(
            scorer=shuffled["scorer"].str.removesuffix(_SHUFFLED), chance=shuffled["rate"]
        )
        known = known.merge(shuffled[[*keys, "chance"]], "left", keys)
    for scorer, one in known.groupby("scorer"):
        rows = telling(one, [name for name in keys[:-1] if name != "scorer"])
        of_row = joined(one, rows)
        names = list(dict.fromkeys(of_row))
        for start in range(0, len(names), ROWS):
            page = one[of_row.isin(names[start : start + ROWS])]
            number = str(start // ROWS + 1) if len(names) > ROWS else ""
            title = "-".join(text for text in (part, str(scorer), number) if text)
            yield title, partial(draw_dots, page, row=rows, panel=keys[-1], control="chance", label=label)


FIGURE = StudyFigure(
    "one_layer",
    5,
    "Runs of which one layer alone is drawn have no curves: the share of their images that are right. "
    "Bars: intervals over prompts; n: prompts.",
    _plan,
)
