"""All tables of an analysis in one go, and how a table becomes csv and LaTeX."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any

import pandas as pd

from diffusion_lens.analysis import contrasts, correction
from diffusion_lens.analysis.agreement import agreement
from diffusion_lens.analysis.binding import binding
from diffusion_lens.analysis.curves import curves, published_curves
from diffusion_lens.analysis.emergence import distribution, times
from diffusion_lens.analysis.multiplicity import benjamini_hochberg, holm
from diffusion_lens.analysis.order import order
from diffusion_lens.analysis.summary import summary
from diffusion_lens.analysis.trajectories import groups, missing
from diffusion_lens.checks.checks import CHOICE, WHOLE
from diffusion_lens.errors import ScoresError
from diffusion_lens.files import write_whole

__all__ = ["Analysis", "analyse", "default_by", "readable", "write_csv", "write_latex"]

FRAME = ("run", "scorer", "encoder")
# more checks than this are ids of single prompts, and no roles to compare
_ROLES = 12
_TRUTH = "human"


@dataclass
class Analysis:
    """Tables by name, and notes on what could not be made."""

    tables: dict[str, pd.DataFrame] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def add(self, name: str, make: Callable[[], pd.DataFrame]) -> None:
        """Keep a table, or say why there is none."""
        try:
            table = make()
        except ScoresError as error:
            self.notes.append(f"{name}: {error}")
            return
        if table.empty:
            self.notes.append(f"{name}: nothing to tell")
        else:
            self.tables[name] = table


def default_by(table: pd.DataFrame) -> tuple[str, ...]:
    """What makes a curve: run, scorer, encoder, category and kind; for published labels their question."""
    return (*FRAME, "category", "check" if "question" in table else "kind")


def analyse(
    table: pd.DataFrame,
    by: Sequence[str] | None = None,
    *,
    planned: Sequence[tuple[str, str, str]] = (),
    truth: str = _TRUTH,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Analysis:
    """Everything that can be said of a table of scores.

    Args:
        table: validated scores.
        by: what makes a curve; `default_by` if left out. Run, scorer and encoder always do.
        planned: contrasts decided on beforehand, as (column, first value, second value); their p values are
            adjusted among themselves (Holm), those of the grid of all pairs are (Benjamini-Hochberg).
        truth: the scorer by whom others are corrected: itself, or any called "human:...".
        level: of all intervals.
        resamples: of prompts.
        seed: of the resampling.

    Returns:
        The tables `curves`, `curves_of_p`, `curves_given_final_correct`, `curves_given_final_wrong`,
        `published_curves`, `summary`, `summary_given_final_correct`, `emergence`, `times`, `order`,
        `contrasts`, `planned`, `binding`, `missing`, `agreement`, `correction`, `correction_areas`: those
        that there is anything to tell for.

    Raises:
        ScoresError: `by` names columns that are not there.
    """
    by = tuple(dict.fromkeys((*FRAME, *(default_by(table) if by is None else by))))
    list(groups(table[:0], by))
    table, every = _sort_out(table)
    options: dict[str, Any] = {"level": level, "resamples": resamples, "seed": seed}
    within = tuple(name for name in by if name not in ("kind", "check"))
    found = Analysis()
    found.add("missing", lambda: missing(table, FRAME))
    found.add("curves", lambda: curves(every, by, **options))
    if every["p"].notna().any():
        probable = every[every["p"].notna()]
        found.add("curves_of_p", lambda: curves(probable, by, value="p", **options))
    for condition in ("final-correct", "final-wrong"):
        found.add(
            f"curves_given_{condition.replace('-', '_')}",
            lambda condition=condition: curves(table, by, condition=condition, **options),  # type: ignore[misc]
        )
    found.add("published_curves", lambda: published_curves(table, by))
    found.add("summary", lambda: summary(every, by, **options))
    found.add(
        "summary_given_final_correct",
        lambda: summary(table, by, condition="final-correct", **options),
    )
    found.add("emergence", lambda: distribution(table, by, **options))
    found.add("times", lambda: times(table, FRAME))
    found.add("order", lambda: _orders(table, within, options))
    found.add("contrasts", lambda: _grid(table, by, options))
    if planned:
        found.add("planned", lambda: _planned(table, by, planned, options))
    found.add("binding", lambda: binding(table, within, **options))
    _judges(found, table, by, truth, options)
    return found


def _sort_out(table: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The answers on real images, and those with the baselines, which have curves and areas only.

    Checks of the whole prompt are of a kind of their own here: they are no atoms, and a curve of "global"
    checks would mix them with places.
    """
    is_whole = table["check"].isin([WHOLE, CHOICE]) & (table["kind"] == "global")
    every = table.assign(kind=table["kind"].where(~is_whole, table["check"]))
    if "baseline" not in every:
        return every, every
    return every[every["baseline"].fillna("") == ""], every


def _orders(table: pd.DataFrame, within: Sequence[str], options: dict[str, Any]) -> pd.DataFrame:
    """Which of two kinds, and which of two checks of one kind, comes first."""
    pairs = [("kind", *pair) for pair in combinations(sorted(table["kind"].unique()), 2)]
    if table["check"].nunique() <= _ROLES:
        for _, part in table.groupby("kind"):
            pairs += [("check", *pair) for pair in combinations(sorted(part["check"].unique()), 2)]
    rows = []
    for column, first, second in pairs:
        try:
            frame = order(table, first, second, within, column=column, **options)
        except ScoresError:
            continue  # never on the same prompt: there is no order to tell
        rows.append(frame[frame["lead"].notna()])
    if not rows:
        raise ScoresError("no two checks are on the same prompts")
    return _adjusted(pd.concat(rows, ignore_index=True))


def _grid(table: pd.DataFrame, by: Sequence[str], options: dict[str, Any]) -> pd.DataFrame:
    """Areas of all pairs of curves that differ in one column."""
    rows = []
    for column in by:
        others = [name for name in by if name != column]
        if column != "scorer" and table[column].nunique() > 1:
            frame = contrasts.all_pairs(table, column, others, **options)
            if not frame.empty:
                rows.append(frame.assign(compared=column))
    if not rows:
        raise ScoresError("there is one curve only")
    return _adjusted(pd.concat(rows, ignore_index=True))


def _planned(
    table: pd.DataFrame,
    by: Sequence[str],
    planned: Sequence[tuple[str, str, str]],
    options: dict[str, Any],
) -> pd.DataFrame:
    rows: list[pd.DataFrame] = []
    reason: ScoresError | None = None
    for column, first, second in planned:
        # checks of one kind at a time, unless kinds are what is compared
        for key, part in groups(table, [name for name in (*FRAME, "kind") if name != column]):
            try:
                frame = contrasts.contrast(part, {column: first}, {column: second}, **options)
            except ScoresError as error:
                reason = error  # not every kind of check is in both
                continue
            rows.append(frame.assign(**key, compared=column))
    if not rows and reason is not None:
        raise reason
    return _adjusted(pd.concat(rows, ignore_index=True))


def _adjusted(frame: pd.DataFrame) -> pd.DataFrame:
    """Both adjustments over all rows of one number."""
    if "p" not in frame:
        return frame
    family = frame["number"] if "number" in frame else pd.Series("", index=frame.index)
    for name, adjust in (("p_holm", holm), ("p_bh", benjamini_hochberg)):
        frame[name] = frame.groupby(family)["p"].transform(
            lambda p, adjust=adjust: adjust(p.to_numpy(dtype=float))
        )
    return frame


def _judges(
    found: Analysis, table: pd.DataFrame, by: Sequence[str], truth: str, options: dict[str, Any]
) -> None:
    """Agreement of each two scorers, and each other scorer corrected by people."""
    # measures of similarity have no labels to agree on
    scorers = sorted(table.loc[table["label"].notna(), "scorer"].unique())
    if len(scorers) < 2:
        return
    people = [name for name in scorers if name == truth or name.startswith(f"{truth}:")]
    ranked = [*people, *(name for name in scorers if name not in people)]
    rows, curves_of, areas_of = [], [], []
    others = [name for name in by if name != "scorer"]
    for first, second in combinations(ranked, 2):
        for split in ([], ["layer"]):
            try:
                frame = agreement(table, first, second, split, **options)
            except ScoresError as error:
                found.notes.append(f"agreement: {error}")
                break
            rows.append(frame.assign(layer=frame["layer"].astype(str) if split else "all"))
    if rows:
        found.tables["agreement"] = pd.concat(rows, ignore_index=True)
    for judge in ranked if people else ():
        if judge not in people:
            try:
                curves_of.append(
                    correction.corrected_curves(table, judge, people[0], others, **options).assign(
                        scorer=judge
                    )
                )
                areas_of.append(
                    correction.corrected_areas(table, judge, people[0], others, **options).assign(
                        scorer=judge
                    )
                )
            except ScoresError as error:
                found.notes.append(f"correction: {error}")
    if curves_of:
        found.tables["correction"] = pd.concat(curves_of, ignore_index=True)
        found.tables["correction_areas"] = pd.concat(areas_of, ignore_index=True)


def readable(table: pd.DataFrame, digits: int = 2) -> pd.DataFrame:
    """Numbers with their intervals in one cell, "0.45 [0.41, 0.50]", p values as papers print them."""
    shown = pd.DataFrame(index=table.index)
    for name in table.columns:
        if name.endswith(("_low", "_high")) or name in ("low", "high"):
            continue
        column = table[name]
        # the plain pair "low", "high" belongs to the number before it
        ends = (f"{name}_low", f"{name}_high")
        if name in ("rate", "difference", "lead", "emerged", "area") and ends[0] not in table:
            ends = ("low", "high")
        if ends[0] in table and ends[1] in table:
            shown[name] = [
                "" if pd.isna(value) else f"{value:.{digits}f}" if pd.isna(low)
                else f"{value:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"
                for value, low, high in zip(column, table[ends[0]], table[ends[1]], strict=True)
            ]  # fmt: skip
        elif name in ("p", "p_holm", "p_bh"):
            shown[name] = ["" if pd.isna(p) else "<0.001" if p < 0.001 else f"{p:.3f}" for p in column]
        elif pd.api.types.is_float_dtype(column):
            shown[name] = ["" if pd.isna(value) else f"{value:.{digits}f}" for value in column]
        else:
            shown[name] = ["" if pd.isna(value) else str(value) for value in column]
    return shown


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
    told = [name for name in table.columns if table[name].astype(str).nunique() > 1 or len(table) == 1]
    numeric = [pd.api.types.is_numeric_dtype(table[name]) for name in told]
    shown = readable(table)[[name for name in readable(table).columns if name in told]]
    align = "".join("r" if numeric[told.index(name)] else "l" for name in shown.columns)
    style = shown.style.format(escape="latex").format_index(escape="latex", axis=1).hide(axis=0)
    content = style.to_latex(hrules=True, column_format=align)
    write_whole(path, lambda file: file.write(content.encode("utf-8")))
