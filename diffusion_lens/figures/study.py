"""All figures of an analysis: from its tables to .png and .pdf."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from diffusion_lens.figures.curves import draw_curves, draw_forest
from diffusion_lens.figures.heatmap import draw_heatmap
from diffusion_lens.figures.style import save
from diffusion_lens.scoring.baselines import BASELINES

__all__ = ["draw_study"]

_CURVES: dict[str, dict[str, Any]] = {
    "curves": {},
    "curves_of_p": {"label": "mean probability"},
    "curves_given_final_correct": {},
    "curves_given_final_wrong": {},
    "emergence": {"y": "emerged", "band": None, "label": "emerged for good by this layer"},
    "published_curves": {
        "band": None, "label": "right, given right at the last layer\n(mean and sd over seeds)",
    },
    "correction": {"line": "method", "band": None, "label": "images that are right"},
}  # fmt: skip


def draw_study(tables: Mapping[str, pd.DataFrame], folder: Path) -> list[Path]:
    """Draw what there is to draw: curves by run and scorer, a heat map, areas and contrasts.

    Where linear probes are among the scorers, one figure puts them on the same axes as the lens.

    Args:
        tables: of `analysis.analyse.analyse`.
        folder: where the figures go; it is made if need be.

    Returns:
        The files written.

    Raises:
        OutputError: a file can't be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written: list[Path] = []
    for name, options in _CURVES.items():
        if name in tables:
            written += _curves(tables[name], name, dict(options), folder)
    if "curves" in tables and tables["curves"]["rate"].notna().any():
        table = tables["curves"]
        if table["scorer"].str.startswith("probe").any() and table["scorer"].nunique() > 1:
            written += _curves(table, "lens_and_probe", {"line": "scorer", "label": "right"}, folder)
        real = _without_baselines(table)
        rows = _telling(real, _keys(real))
        written += save(draw_heatmap(real, row=rows, x=_axis(real)), folder / "heatmap")
    if "summary" in tables and tables["summary"]["area"].notna().any():
        table = _without_baselines(tables["summary"])
        forest = draw_forest(table, name=_telling(table, _keys(table)), value="area", low="area_low",
                             high="area_high", label="area under the layer curve")  # fmt: skip
        written += save(forest, folder / "areas")
    for name in ("contrasts", "planned"):
        if name in tables:
            written += _contrasts(tables[name], name, folder)
    return written


def _without_baselines(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of real images, where there are any."""
    made = table["scorer"].str.endswith(tuple(f": {name}" for name in BASELINES))
    return table[~made] if not made.all() else table


def _keys(table: pd.DataFrame) -> list[str]:
    """The columns that name curves: those before the first number."""
    ends = [list(table.columns).index(name) for name in ("layer", "condition", "method") if name in table]
    return list(table.columns)[: min(ends)]


def _telling(table: pd.DataFrame, names: list[str]) -> list[str]:
    """Of these columns the ones that tell rows apart; at least one."""
    return [name for name in names if table[name].nunique() > 1] or names[-1:]


def _axis(table: pd.DataFrame) -> str:
    """Layers, unless encoders of unequal depth are to be compared."""
    known = table.dropna(subset=["layer"])
    return "layer" if (known.groupby("layer")["depth"].nunique() == 1).all() else "depth"


def _curves(table: pd.DataFrame, name: str, options: dict[str, object], folder: Path) -> list[Path]:
    """One figure by run and scorer, one panel by encoder and category, one line by kind or check."""
    known = table[table[str(options.get("y", "rate"))].notna()]
    if known.empty:
        return []
    keys = [key for key in _keys(known) if key in known]
    line = str(options.pop("line", keys[-1]))
    files = [key for key in ("run", "scorer") if key in known and key != line]
    panels = [key for key in keys if key not in (*files, line)]
    written = []
    for parts, one in known.groupby(files):
        told = [key for key in panels if one[key].nunique() > 1]
        panel = one[told].astype(str).apply(lambda row: ", ".join(row), axis=1) if told else None
        drawn = draw_curves(
            one if panel is None else one.assign(panel=panel),
            line=line,
            panel=None if panel is None else "panel",
            x=_axis(one),
            **options,  # type: ignore[arg-type]
        )
        title = "-".join([name, *(str(part) for part in parts if str(part))])
        written += save(drawn, folder / _file_name(title))
    return written


def _file_name(title: str) -> str:
    """A name that is no path: runs and scorers are data."""
    return re.sub(r"[^\w.+-]+", "_", title).replace(".", "_")


def _contrasts(table: pd.DataFrame, name: str, folder: Path) -> list[Path]:
    """One figure by run and scorer, unless runs are what is compared."""
    known = table[table["difference"].notna()] if "difference" in table else table[:0]
    known = known[known["number"] == "area"]
    files = [key for key in ("run", "scorer") if key in known]
    written = []
    for parts, one in known.assign(**{key: known[key].fillna("") for key in files}).groupby(files):
        keys = [key for key in ("encoder", "category", "kind", "check") if key in one]
        told = [key for key in keys if one[key].nunique() > 1]
        pair = one["first_group"] + " \N{MINUS SIGN} " + one["second_group"]
        shown = one.assign(pair=pair, **{key: one[key].fillna("") for key in told})
        forest = draw_forest(shown, name=[*told, "pair"], value="difference", zero=True,
                             label="difference of areas")  # fmt: skip
        title = "-".join([name, *(str(part) for part in parts if str(part))])
        written += save(forest, folder / _file_name(title))
    return written
