"""A study's folder of results: tables, figures, and a page that is made of the tables alone."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from diffusion_lens.analysis.curves import LEAST_PROMPTS
from diffusion_lens.analysis.markdown import markdown, number
from diffusion_lens.figures.style import save
from diffusion_lens.files import write_whole
from experiments.studies.shrink import shrink
from experiments.studies.tables import write_table

__all__ = [
    "INTERVALS",
    "Tables",
    "drawn_table",
    "enough",
    "estimates",
    "folders",
    "read_tables",
    "write_study",
]

Tables = Mapping[str, pd.DataFrame]
INTERVALS = (
    "Intervals are of 95 % and over prompts: of rates Wilson's at the effective number of prompts, of "
    "changes t intervals. p is by flipping the signs of whole prompts. Numbers of fewer than five prompts "
    "are in `tables/` and not here."
)


def folders(out: Path, runs: Path, quick: bool) -> tuple[Path, Path]:
    """Where results and runs go; what is drawn to try a study does not mix with what is real."""
    return (runs / "quick" / "results", runs / "quick") if quick else (out, runs)


def write_study(
    folder: Path,
    tables: Tables,
    page: Callable[[Tables], str],
    figures: Callable[[Tables], Mapping[str, Figure]],
) -> None:
    """Write the tables, and what is made of them once they are read again.

    Args:
        folder: gets `tables/*.csv`, `figures/*.png` and `findings.md`.
        tables: by name.
        page: makes the page of the tables.
        figures: makes the figures of the tables, by name.
    """
    for name in ("tables", "figures"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for name, table in tables.items():
        write_table(folder / "tables" / f"{name}.csv", table)
    kept = read_tables(folder)
    for name, figure in figures(kept).items():
        save(figure, folder / "figures" / name)
    shrink(folder)
    content = page(kept).encode()
    write_whole(folder / "findings.md", lambda file: file.write(content))


def read_tables(folder: Path) -> dict[str, pd.DataFrame]:
    """The tables of a folder of results, by name."""
    return {path.stem: pd.read_csv(path) for path in sorted((folder / "tables").glob("*.csv"))}


def enough(table: pd.DataFrame) -> pd.DataFrame:
    """The numbers that rest on enough prompts to be shown."""
    return table[table["units"] >= LEAST_PROMPTS] if "units" in table else table


def drawn_table(drawn: pd.DataFrame) -> list[str]:
    """What was drawn, as lines of the page."""
    return markdown(list(drawn.columns), drawn.astype(object).to_numpy().tolist())


def estimates(
    table: pd.DataFrame, row: Sequence[str], column: str, value: str = "rate", form: str = "{:.2f}"
) -> list[str]:
    """A table of numbers with their intervals, as lines of the page.

    Args:
        table: one row by number, with `value`, `low` and `high`.
        row: the columns that name the rows of the page.
        column: the column whose values are the columns of the page.
        value: the number.
        form: how it is written.
    """
    heads = list(dict.fromkeys(table[column]))
    rows = []
    for names, part in table.groupby(list(row), sort=False):
        by_head = {line[column]: line for line in enough(part).to_dict("records")}
        cells = [
            number(line[value], line["low"], line["high"], form) if (line := by_head.get(head)) else ""
            for head in heads
        ]
        rows += [[*names, *cells]] if any(cells) else []
    named = [f"{column} {head}" if isinstance(head, int) else str(head) for head in heads]
    return markdown([*row, *named], rows)
