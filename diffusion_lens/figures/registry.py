"""The registry of figures of a study: a module of `figures.of_study` that defines FIGURE adds one.

`diffusion-lens analyze` draws them all, `findings.md` shows them, and its index says what each shows.
"""

import importlib
import pkgutil
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from multiprocessing import get_context
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from diffusion_lens.analysis.formats import kinds_in_words
from diffusion_lens.figures import of_study
from diffusion_lens.figures.style import save

__all__ = ["Drawn", "StudyFigure", "Tables", "draw_figures", "draw_study", "study_figures"]

Tables = Mapping[str, pd.DataFrame]


@dataclass(frozen=True)
class StudyFigure:
    """A kind of figure.

    Attributes:
        name: the beginning of its files' names.
        place: figures are listed by it, from low to high.
        caption: what it shows, in a sentence or two.
        draw: from the tables of `analysis.analyse.analyse` to any number of figures, each with what tells
            it apart from the others of this kind (a run, a scorer, a page); none where there is nothing to
            show.
    """

    name: str
    place: int
    caption: str
    draw: Callable[[Tables], Iterable[tuple[str, Figure]]]


@dataclass(frozen=True)
class Drawn:
    """A figure that was written.

    Attributes:
        path: of its .png; a .pdf stands beside it.
        title: its kind, and what tells it apart.
        caption: what it shows.
    """

    path: Path
    title: str
    caption: str


@cache
def study_figures() -> tuple[StudyFigure, ...]:
    """All kinds of figures, in order."""
    modules = pkgutil.iter_modules(of_study.__path__, f"{of_study.__name__}.")
    found = [getattr(importlib.import_module(module.name), "FIGURE", None) for module in modules]
    return tuple(sorted((one for one in found if one is not None), key=lambda one: one.place))


def draw_study(tables: Tables, folder: Path, *, workers: int = 1) -> list[Drawn]:
    """Draw what there is to draw.

    Args:
        tables: of `analysis.analyse.analyse`.
        folder: where the figures go; it is made if need be.
        workers: processes that write the figures. The bytes are the same for any number. A script that
            asks for several is run again by each, so it must have its work under
            `if __name__ == "__main__"`.

    Raises:
        OutputError: a file can't be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if workers < 2:
        return _draw_all(tables, folder, save)
    # forked, a process of several threads may never end
    with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
        waiting: list[Future[list[Path]]] = []
        drawn = _draw_all(
            tables, folder, lambda figure, path: waiting.append(pool.submit(save, figure, path))
        )
        for one in waiting:
            one.result()
    return drawn


def draw_figures(tables: Tables) -> Iterator[tuple[StudyFigure, str, Figure]]:
    """Each kind of figure, what tells it apart from others of its kind, and the figure itself."""
    worded = {name: kinds_in_words(table) for name, table in tables.items()}
    for kind in study_figures():
        for part, figure in kind.draw(worded):
            yield kind, part, figure


def _draw_all(tables: Tables, folder: Path, write: Callable[[Figure, Path], object]) -> list[Drawn]:
    drawn = []
    for kind, part, figure in draw_figures(tables):
        title = f"{kind.name}-{part}" if part else kind.name
        # a name is data, and no path
        path = folder / re.sub(r"[^\w+-]+", "_", title)
        write(figure, path)
        drawn.append(Drawn(path.with_name(f"{path.name}.png"), title, kind.caption))
    return drawn
