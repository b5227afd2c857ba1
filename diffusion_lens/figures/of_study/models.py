"""Models side by side on relative depth."""

from collections.abc import Iterator

from matplotlib.figure import Figure

from diffusion_lens.figures.curves import draw_curves
from diffusion_lens.figures.of_study.parts import enough, keys_of, without_baselines
from diffusion_lens.figures.registry import StudyFigure, Tables


def _draw(tables: Tables) -> Iterator[tuple[str, Figure]]:
    if "curves" not in tables:
        return
    table = enough(without_baselines(tables["curves"]))
    table = table[table["rate"].notna()]
    if table.empty or table[["run", "encoder"]].drop_duplicates().shape[0] < 2:
        return
    names = [name for name in ("run", "encoder") if table[name].nunique() > 1]
    panels = [name for name in keys_of(table) if name not in ("run", "encoder", "scorer")]
    for scorer, one in table.groupby("scorer"):
        told = [name for name in panels if one[name].nunique() > 1]
        shown = one.assign(model=one[names].astype(str).agg(", ".join, axis=1))
        if told:
            shown = shown.assign(panel=one[told].astype(str).agg(", ".join, axis=1))
        figure = draw_curves(shown, line="model", panel="panel" if told else None, x="depth")
        yield str(scorer), figure


FIGURE = StudyFigure(
    "models",
    60,
    "Models (and encoders) of unequal depth side by side: depth 0 is the embedding, 1 the last block.",
    _draw,
)
