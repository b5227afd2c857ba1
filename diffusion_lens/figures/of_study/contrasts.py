"""Planned contrasts against zero."""

from collections.abc import Iterator
from functools import partial

import pandas as pd

from diffusion_lens.analysis.planned import held_equal
from diffusion_lens.figures.forest import draw_forest, pages_of
from diffusion_lens.figures.of_study.parts import enough
from diffusion_lens.figures.registry import Draw, StudyFigure, Tables


def _plan(tables: Tables) -> Iterator[tuple[str, Draw]]:
    if "planned" not in tables:
        return
    table = tables["planned"]
    known = enough(table[table["difference"].notna()])
    areas, rates = known[known["number"] == "area"], known[known["number"] == "final"]
    # where one layer alone is drawn there is no area
    compared = [*held_equal(known), "first_group", "second_group"]
    has_area = pd.MultiIndex.from_frame(rates[compared]).isin(pd.MultiIndex.from_frame(areas[compared]))
    rates = rates[~has_area]
    yield from _forests(areas, "", "difference of areas")
    yield from _forests(rates, "one_layer", "difference of rates")


def _forests(known: pd.DataFrame, part: str, label: str) -> Iterator[tuple[str, Draw]]:
    if known.empty:
        return
    keys = [key for key in held_equal(known) if known[key].nunique(dropna=False) > 1]
    if {"kind", "check"} <= set(keys) and (known.groupby("kind")["check"].nunique() <= 1).all():
        keys.remove("check")  # the kind says it
    pair = known["first_group"] + " \N{MINUS SIGN} " + known["second_group"]
    shown = known.assign(pair=pair, **{key: known[key].fillna("") for key in keys})
    pages = pages_of(shown)
    for number, page in enumerate(pages):
        forest = partial(
            draw_forest, page, name=[*keys, "pair"], value="difference", zero=True, label=label
        )
        yield "-".join(text for text in (part, str(number + 1) if len(pages) > 1 else "") if text), forest


FIGURE = StudyFigure(
    "planned",
    50,
    "The comparisons that were decided on beforehand: differences of areas (of rates, where one layer "
    "alone is drawn) with their intervals; to the right of zero, the first is there earlier or more often.",
    _plan,
)
