"""Curves of other numbers: probabilities, measures, the paper's convention, corrected judges."""

from collections.abc import Iterator

from matplotlib.figure import Figure

from diffusion_lens.figures.of_study.parts import curve_figures, without_baselines
from diffusion_lens.figures.registry import StudyFigure, Tables

_TABLES: dict[str, dict[str, object]] = {
    "curves_of_p": {"label": "mean probability"},
    "measures": {"label": "similarity", "line": "check"},
    "published_curves": {
        "band": None,
        "label": "right, given right at the last layer\n(mean and sd over seeds)",
    },
    "correction": {"line": "method", "band": None},
}


def _draw(tables: Tables) -> Iterator[tuple[str, Figure]]:
    for name, options in _TABLES.items():
        if name in tables:
            for part, figure in curve_figures(without_baselines(tables[name]), **options):  # type: ignore[arg-type]
                yield f"{name}-{part}" if part else name, figure


FIGURE = StudyFigure(
    "more",
    80,
    "Mean probabilities and similarities; the convention of the "
    "Diffusion Lens paper; a judge's curve corrected by people.",
    _draw,
)
