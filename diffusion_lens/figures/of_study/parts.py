"""What the figures of a study share: which columns name curves, which tell them apart, what fits a page."""

from collections.abc import Iterator, Sequence
from functools import partial

import pandas as pd

from diffusion_lens.analysis.curves import on_enough_prompts
from diffusion_lens.figures.curves import draw_curves
from diffusion_lens.figures.registry import Draw
from diffusion_lens.scoring.baselines import is_baseline

__all__ = [
    "axis_of",
    "curve_figures",
    "enough",
    "is_one_layer",
    "joined",
    "keys_of",
    "on_pages",
    "several_layers",
    "telling",
    "without_baselines",
]

_PANELS = 12  # that fit a page


def without_baselines(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of real images, where there are any."""
    made = is_baseline(table["scorer"])
    return table[~made] if not made.all() else table


def enough(table: pd.DataFrame) -> pd.DataFrame:
    """The rows that rest on enough prompts to be shown."""
    return table[on_enough_prompts(table) | table["prompts"].isna()] if "prompts" in table else table


def is_one_layer(table: pd.DataFrame) -> pd.Series:
    """Which rows are of a run and encoder of which one layer alone is drawn: a point, and no curve."""
    return table.groupby(["run", "encoder"], dropna=False)["layer"].transform("nunique") == 1


def several_layers(table: pd.DataFrame) -> pd.DataFrame:
    """The rows that make curves."""
    return table[~is_one_layer(table)]


def keys_of(table: pd.DataFrame) -> list[str]:
    """The columns that name curves: those before the first number."""
    marks = ("layer", "condition", "method", "prompts_are", "first", "first_group", "end")
    ends = [list(table.columns).index(name) for name in marks if name in table]
    return list(table.columns)[: min(ends)]


def telling(table: pd.DataFrame, names: Sequence[str]) -> list[str]:
    """Of these columns the ones that tell rows apart; at least one."""
    return [name for name in names if table[name].nunique() > 1] or list(names[-1:])


def joined(table: pd.DataFrame, names: Sequence[str]) -> pd.Series:
    """What some columns say, as one text by row."""
    rows = table[list(names)].astype(str).to_numpy(dtype=object)
    return pd.Series([", ".join(row) for row in rows], index=table.index, dtype=object)


def axis_of(table: pd.DataFrame) -> str:
    """Layers, unless encoders of unequal depth are to be compared."""
    known = table.dropna(subset=["layer"])
    return "layer" if (known.groupby("layer")["depth"].nunique() == 1).all() else "depth"


def curve_figures(
    table: pd.DataFrame,
    *,
    y: str = "rate",
    line: str | None = None,
    band: tuple[str, str] | None = ("band_low", "band_high"),
    label: str | None = None,
    limits: tuple[float, float] = (0.0, 1.0),
) -> Iterator[tuple[str, Draw]]:
    """One figure by run, scorer and page, one panel by all else that differs, one line by the last key.

    Args:
        table: of curves; layers with too few prompts are left out, and runs of one layer alone.
        y: the column drawn.
        line: the column whose values become lines; the last key if left out.
        band: columns of the band.
        label: of the vertical axis.
        limits: of the vertical axis.
    """
    keys = keys_of(table)
    table = several_layers(table)
    known = enough(table[table[y].notna()])
    if known.empty:
        return
    lines = line or keys[-1]
    files = [key for key in ("run", "scorer") if key in known and key != lines]
    for parts, one in known.groupby(files):
        named = [key for key in keys if key not in (*files, lines) and one[key].nunique() > 1]
        shown = one.assign(panel=joined(one, named)) if named else one
        name = "-".join(str(part) for part in parts if str(part))
        for page, part in on_pages(name, shown):
            figure = partial(
                draw_curves,
                part,
                line=lines,
                panel="panel" if named else None,
                x=axis_of(one),
                y=y,
                band=band,
                label=label,
                limits=limits,
            )
            yield page, figure


def on_pages(name: str, table: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """The name of each page of a figure, numbered where there are several, and the rows of its panels.

    Args:
        name: of the figure.
        table: its rows, whose column `panel` says in which panel each is; one panel without it.
    """
    panels = list(dict.fromkeys(table["panel"])) if "panel" in table else []
    if len(panels) <= _PANELS:
        yield name, table
        return
    for number, start in enumerate(range(0, len(panels), _PANELS), start=1):
        on_page = table["panel"].isin(panels[start : start + _PANELS])
        yield "-".join(filter(None, (name, str(number)))), table[on_page]
