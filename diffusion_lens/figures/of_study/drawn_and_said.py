"""What a layer draws against what is said of it: the lens and linear probes on the same axes."""

from collections.abc import Iterator

from diffusion_lens.figures.of_study.parts import curve_figures
from diffusion_lens.figures.registry import Draw, StudyFigure, Tables
from diffusion_lens.scoring.baselines import is_baseline


def _plan(tables: Tables) -> Iterator[tuple[str, Draw]]:
    table = tables.get("curves")
    if table is None:
        return
    said = table["scorer"].str.startswith(("probe", "said"))
    if said.any() and not said.all():
        yield from curve_figures(table[~is_baseline(table["scorer"])], line="scorer")


FIGURE = StudyFigure(
    "drawn_and_said",
    55,
    "What the images of a layer show (the lens) against what a linear probe, or another readout, says "
    "of the same layer.",
    _plan,
)
