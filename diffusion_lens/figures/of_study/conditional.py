"""Checks that depend on others: rates where they can be asked, on changing and on fixed prompts."""

from collections.abc import Iterator

from diffusion_lens.figures.of_study.parts import curve_figures, without_baselines
from diffusion_lens.figures.registry import Draw, StudyFigure, Tables


def _plan(tables: Tables) -> Iterator[tuple[str, Draw]]:
    if "conditional_curves" in tables:
        yield from curve_figures(
            without_baselines(tables["conditional_curves"]),
            line="prompts_are",
            band=None,
            label="right, where it can be asked",
        )


FIGURE = StudyFigure(
    "conditional",
    10,
    "Checks that depend on others, where these are right: on the prompts of each layer, which differ "
    "from layer to layer, and on a fixed set. Dotted: chance. Not on one scale with the "
    "rates of all images.",
    _plan,
)
