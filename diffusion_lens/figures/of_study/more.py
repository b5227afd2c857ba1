"""Curves of other numbers: probabilities, measures, judges corrected by people."""

from collections.abc import Iterator

from diffusion_lens.figures.of_study.parts import curve_figures, without_baselines
from diffusion_lens.figures.registry import Draw, StudyFigure, Tables

_TABLES: dict[str, dict[str, object]] = {
    "curves_of_p": {"label": "mean probability"},
    "measures": {"label": "similarity", "line": "check"},
    "correction": {"line": "method", "band": None},
}


def _plan(tables: Tables) -> Iterator[tuple[str, Draw]]:
    for name, options in _TABLES.items():
        if name in tables:
            for part, figure in curve_figures(without_baselines(tables[name]), **options):  # type: ignore[arg-type]
                yield f"{name}-{part}" if part else name, figure


FIGURE = StudyFigure(
    "more",
    80,
    "Mean probabilities and similarities; a judge's curve corrected by people.",
    _plan,
)
