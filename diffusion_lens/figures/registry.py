"""The registry of figures of a study: a module of `figures.of_study` that defines FIGURE adds one.

`diffusion-lens analyze` draws them all, `findings.md` shows them, and its index says what each shows.
"""

import importlib
import pkgutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import pandas as pd

from diffusion_lens.analysis.formats import in_words
from diffusion_lens.figures import of_study

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Draw", "StudyFigure", "Tables", "draw_figures", "plan_figures", "study_figures"]

Tables = Mapping[str, pd.DataFrame]
Draw = Callable[[], "Figure"]
"""What draws a figure: a `functools.partial` of a module's function, which other processes can be given."""


@dataclass(frozen=True)
class StudyFigure:
    """A kind of figure.

    Attributes:
        name: the beginning of its files' names.
        place: figures are listed by it, from low to high.
        caption: what it shows, in a sentence or two.
        plan: from the tables of `analysis.analyse.analyse` to any number of figures, each with what tells
            it apart from the others of this kind (a run, a scorer, a page); none where there is nothing to
            show. A figure shows one table, so that it is the same whatever other tables there are.
    """

    name: str
    place: int
    caption: str
    plan: Callable[[Tables], Iterable[tuple[str, Draw]]]


@cache
def study_figures() -> tuple[StudyFigure, ...]:
    """All kinds of figures, in order."""
    modules = pkgutil.iter_modules(of_study.__path__, f"{of_study.__name__}.")
    found = [getattr(importlib.import_module(module.name), "FIGURE", None) for module in modules]
    return tuple(sorted((one for one in found if one is not None), key=lambda one: one.place))


def plan_figures(tables: Tables) -> Iterator[tuple[StudyFigure, str, Draw]]:
    """Each kind of figure, what tells it apart from others of its kind, and what draws it."""
    worded = {name: in_words(table) for name, table in tables.items()}
    for kind in study_figures():
        for part, draw in kind.plan(worded):
            yield kind, part, draw


def draw_figures(tables: Tables) -> "Iterator[tuple[StudyFigure, str, Figure]]":
    """`plan_figures`, drawn."""
    for kind, part, draw in plan_figures(tables):
        yield kind, part, draw()
