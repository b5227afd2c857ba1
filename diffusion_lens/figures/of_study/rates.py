"""All curves at once, as a heat map."""

from collections.abc import Iterator
from functools import partial

from diffusion_lens.figures.heatmap import draw_heatmap
from diffusion_lens.figures.of_study.parts import (
    axis_of,
    enough,
    joined,
    keys_of,
    several_layers,
    telling,
    without_baselines,
)
from diffusion_lens.figures.registry import Draw, StudyFigure, Tables


def _plan(tables: Tables) -> Iterator[tuple[str, Draw]]:
    if "curves" not in tables:
        return
    table = several_layers(enough(without_baselines(tables["curves"])))
    table = table[table["rate"].notna()]
    if table.empty:
        return
    curves = table[keys_of(table)].drop_duplicates()
    groups = [("", table)] if len(curves) <= 40 else [(str(run), one) for run, one in table.groupby("run")]
    for part, one in groups:
        if axis_of(one) == "layer":
            yield part, partial(draw_heatmap, one, row=telling(one, keys_of(one)))
            continue
        # layers of encoders of unequal depth are no columns in common
        models = [name for name in ("run", "encoder") if one[name].nunique() > 1]
        rows = telling(one, [name for name in keys_of(one) if name not in models])
        named = one.assign(model=joined(one, models))
        yield part, partial(draw_heatmap, named, row=rows, panel="model")


FIGURE = StudyFigure(
    "heatmap",
    70,
    "The rates of all curves in per cent, the earliest on top; models of unequal depth apart.",
    _plan,
)
