"""What a layer draws against what is said of it: the lens and linear probes on the same axes."""

from collections.abc import Iterator

from matplotlib.figure import Figure

from diffusion_lens.figures.of_study.parts import curve_figures
from diffusion_lens.figures.registry import StudyFigure, Tables


def _draw(tables: Tables) -> Iterator[tuple[str, Figure]]:
    table = tables.get("curves")
    if table is None:
        return
    said = table["scorer"].str.startswith(("probe", "said"))
    if said.any() and not said.all():
        made = table["scorer"].str.contains(": ")
        yield from curve_figures(table[~made], line="scorer")


FIGURE = StudyFigure(
    "drawn_and_said",
    55,
    "What the images of a layer show (the lens) against what a linear probe, or another readout, says "
    "of the same layer.",
    _draw,
)
