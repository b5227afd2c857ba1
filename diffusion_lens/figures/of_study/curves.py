"""Rates by layer, with the rate of shuffled prompts as a baseline in the same panel."""

from collections.abc import Iterator

import pandas as pd

from diffusion_lens.figures.of_study.parts import curve_figures, keys_of, without_baselines
from diffusion_lens.figures.registry import Draw, StudyFigure, Tables

_SHUFFLED = ": shuffled"


def _plan(tables: Tables) -> Iterator[tuple[str, Draw]]:
    table = tables.get("curves")
    if table is None:
        return
    real = without_baselines(table)
    shuffled = table[table["scorer"].str.endswith(_SHUFFLED)]
    line = keys_of(table)[-1]
    others = [name for name in keys_of(table) if name not in ("scorer", line)]
    if not shuffled.empty:
        # one line for all baselines of a panel: what is right by chance
        mean = shuffled.groupby([*others, "scorer", "layer", "depth"], as_index=False).agg(
            {"rate": "mean", "prompts": "max"}
        )
        mean["scorer"] = mean["scorer"].str.removesuffix(_SHUFFLED)
        mean = mean.assign(**{line: "another prompt's"}, condition="none")
        real = pd.concat([real, mean], ignore_index=True)
    yield from curve_figures(real)


FIGURE = StudyFigure(
    "curves",
    0,
    "The share of all images that are right, by layer: a check is wrong where one that it depends on "
    "is. Bars: intervals of single layers; shading: bands that hold whole curves. n: prompts.",
    _plan,
)
