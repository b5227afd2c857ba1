"""Rates given that the last image is right: when a success takes shape."""

from collections.abc import Iterator

from diffusion_lens.figures.of_study.parts import curve_figures, without_baselines
from diffusion_lens.figures.registry import Draw, StudyFigure, Tables


def _plan(tables: Tables) -> Iterator[tuple[str, Draw]]:
    if "curves_given_final_correct" in tables:
        yield from curve_figures(without_baselines(tables["curves_given_final_correct"]))


FIGURE = StudyFigure(
    "given_final",
    20,
    "The share of right images among those that are right at the last layer, which is so by construction.",
    _plan,
)
