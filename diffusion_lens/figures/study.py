"""The figures of a study: drawn by several processes, some while other tables are still being made."""

import gc
import re
import signal
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from multiprocessing import get_context
from pathlib import Path

import pandas as pd

from diffusion_lens.figures.registry import Draw, StudyFigure, Tables, plan_figures, study_figures
from diffusion_lens.figures.style import Rendered, render, style

__all__ = ["Drawn", "StudyDrawing", "draw_study", "start_drawing"]


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


class StudyDrawing:
    """Draws figures of tables that are made one after the other; nothing is written before `write`.

    Args:
        pool: the processes that draw; this one draws where there are none.
    """

    def __init__(self, pool: ProcessPoolExecutor | None = None) -> None:
        self._pool = pool
        self._begun: dict[str, Future[Rendered]] = {}

    def begin(self, name: str, table: pd.DataFrame) -> None:
        """Let the processes draw what a table of this name shows."""
        if self._pool is not None:
            for kind, part, draw in plan_figures({name: table}):
                title = _title(kind, part)
                if title not in self._begun:
                    self._begun[title] = self._pool.submit(_render, draw)

    def write(self, tables: Tables, folder: Path) -> list[Drawn]:
        """Write what there is to show of all tables.

        Args:
            tables: of `analysis.analyse.analyse`, those that were given to `begin` among them.
            folder: where the figures go; it is made if need be.

        Raises:
            OutputError: a file can't be written.
        """
        folder.mkdir(parents=True, exist_ok=True)
        for name, table in tables.items():
            self.begin(name, table)
        drawn: list[Drawn] = []
        taken: set[str] = set()
        for kind, part, draw in plan_figures(tables):
            title = _title(kind, part)
            rendered = self._begun[title].result() if title in self._begun else _render(draw)
            path, _ = rendered.write(folder / _file_name(title, taken))
            drawn.append(Drawn(path, title, kind.caption))
        return drawn


@contextmanager
def start_drawing(workers: int = 1) -> Iterator[StudyDrawing]:
    """Start processes that draw, which import what they need while the first table is made.

    Args:
        workers: how many. The bytes of the figures are the same for any number. A script that asks for
            several is run again by each, so it must have its work under `if __name__ == "__main__"`.
    """
    if workers < 2:
        yield StudyDrawing()
        return
    # forked, a process of several threads may never end
    pool = ProcessPoolExecutor(workers, get_context("spawn"), initializer=_get_ready)
    try:
        for _ in range(workers):
            pool.submit(int)  # starts a process
        yield StudyDrawing(pool)
    finally:
        pool.shutdown(cancel_futures=True)


def draw_study(tables: Tables, folder: Path, *, workers: int = 1) -> list[Drawn]:
    """Draw what there is to draw.

    Args:
        tables: of `analysis.analyse.analyse`.
        folder: where the figures go; it is made if need be.
        workers: processes that draw, as for `start_drawing`.

    Raises:
        OutputError: a file can't be written.
    """
    with start_drawing(workers) as drawing:
        return drawing.write(tables, folder)


def _title(kind: StudyFigure, part: str) -> str:
    return f"{kind.name}-{part}" if part else kind.name


def _file_name(title: str, taken: set[str]) -> str:
    """A name of its own, also where titles differ in punctuation or in capitals alone, and no path."""
    plain = re.sub(r"[^\w+-]+", "_", title)
    names = (plain if number == 1 else f"{plain}-{number}" for number in count(1))
    name = next(one for one in names if one.casefold() not in taken)
    taken.add(name.casefold())
    return name


def _render(draw: Draw) -> Rendered:
    return render(draw())


def _get_ready() -> None:
    """Import what drawing needs, make the fonts known, and look for what can be freed once a figure.

    By default Python looks after each 700 new objects, of which a figure has ten thousands: a twentieth of
    the time.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the process that started this one ends it
    study_figures()
    with style():
        pass
    gc.set_threshold(50_000)
