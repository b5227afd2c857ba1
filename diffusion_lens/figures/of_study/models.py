"""Models side by side on relative depth."""

from collections.abc import Iterator
from functools import partial

from diffusion_lens.figures.curves import draw_curves
from diffusion_lens.figures.of_study.parts import (
    enough,
    joined,
    keys_of,
    on_pages,
    several_layers,
    without_baselines,
)
from diffusion_lens.figures.registry import Draw, StudyFigure, Tables


def _plan(tables: Tables) -> Iterator[tuple[str, Draw]]:
    if "curves" not in tables:
        return
    table = several_layers(enough(without_baselines(tables["curves"])))
    table = table[table["rate"].notna()]
    if table.empty or table[["run", "encoder"]].drop_duplicates().shape[0] < 2:
        return
    names = [name for name in ("run", "encoder") if table[name].nunique() > 1]
    panels = [name for name in keys_of(table) if name not in ("run", "encoder", "scorer")]
    for scorer, one in table.groupby("scorer"):
        told = [name for name in panels if one[name].nunique() > 1]
        shown = one.assign(model=joined(one, names))
        if told:
            shown = shown.assign(panel=joined(one, told))
        for page, part in on_pages(str(scorer), shown):
            figure = partial(draw_curves, part, line="model", panel="panel" if told else None, x="depth")
            yield page, figure


FIGURE = StudyFigure(
    "models",
    60,
    "Models (and encoders) of unequal depth side by side: depth 0 is the embedding, 1 the last block.",
    _plan,
)
