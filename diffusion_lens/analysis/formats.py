"""How a table becomes csv, LaTeX, and cells that read as papers print them."""

from pathlib import Path

import pandas as pd

from diffusion_lens.analysis.correction import METHOD_WORDS
from diffusion_lens.checks.checks import KIND_WORDS
from diffusion_lens.files import write_whole

__all__ = ["in_words", "readable", "write_csv", "write_latex"]

# the numbers whose interval is the plain pair "low" and "high"
_PLAIN = ("rate", "difference", "lead", "emerged", "area", "correlation")
# what is known by other words, by the columns that it stands in
_WORDS: dict[str, dict[str, str]] = {
    **dict.fromkeys(("kind", "first", "second", "first_group", "second_group"), KIND_WORDS),
    "method": METHOD_WORDS,
}


def in_words(table: pd.DataFrame) -> pd.DataFrame:
    """The table with kinds and methods as readers know them, such as "colour or size" for an attribute."""
    columns = [name for name in _WORDS if name in table and not pd.api.types.is_float_dtype(table[name])]
    return table.assign(**{name: table[name].replace(_WORDS[name]) for name in columns})


def readable(table: pd.DataFrame, digits: int = 2) -> pd.DataFrame:
    """Numbers with their intervals in one cell, "0.45 [0.41, 0.50]", p values as papers print them.

    Kinds of checks and methods have their words.
    """
    table = in_words(table)
    shown = pd.DataFrame(index=table.index)
    for name in table.columns:
        if name.endswith(("_low", "_high")) or name in ("low", "high"):
            continue
        column = table[name]
        # the plain pair "low", "high" belongs to the number before it
        ends = (f"{name}_low", f"{name}_high")
        if name in _PLAIN and ends[0] not in table:
            ends = ("low", "high")
        if ends[0] in table and ends[1] in table:
            shown[name] = [
                _with_interval(value, low, high, digits)
                for value, low, high in zip(column, table[ends[0]], table[ends[1]], strict=True)
            ]
        elif name in ("p", "p_holm", "p_bh"):
            shown[name] = ["" if pd.isna(p) else "<0.001" if p < 0.001 else f"{p:.3f}" for p in column]
        elif pd.api.types.is_float_dtype(column):
            shown[name] = ["" if pd.isna(value) else f"{value:.{digits}f}" for value in column]
        else:
            shown[name] = ["" if pd.isna(value) else str(value) for value in column]
    return shown


def _with_interval(value: float, low: float, high: float, digits: int) -> str:
    if pd.isna(value):
        return ""
    if pd.isna(low):
        return f"{value:.{digits}f}"
    return f"{value:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def write_csv(table: pd.DataFrame, path: Path) -> None:
    """Write a table whole or not at all.

    Raises:
        OutputError: it can't be written.
    """
    write_whole(path, lambda file: table.to_csv(file, index=False))


def write_latex(table: pd.DataFrame, path: Path) -> None:
    r"""Write a table as LaTeX, for `\usepackage{booktabs}`; what prompts hold is escaped.

    Columns that say the same in every row are left out; those that are not text stand right.

    Raises:
        OutputError: it can't be written.
    """
    changing = [name for name in table.columns if table[name].astype(str).nunique() > 1 or len(table) == 1]
    numeric = [pd.api.types.is_numeric_dtype(table[name]) for name in changing]
    shown = readable(table)[[name for name in readable(table).columns if name in changing]]
    align = "".join("r" if numeric[changing.index(name)] else "l" for name in shown.columns)
    style = shown.style.format(escape="latex").format_index(escape="latex", axis=1).hide(axis=0)
    content = style.to_latex(hrules=True, column_format=align)
    write_whole(path, lambda file: file.write(content.encode("utf-8")))
