"""`analyse`: all tables of an analysis in one go, and notes on what was left out and why."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import pandas as pd

from diffusion_lens.analysis.all_pairs import all_pairs
from diffusion_lens.analysis.binding import binding
from diffusion_lens.analysis.columns import (
    MOST_VALUES,
    Contrast,
    check_by,
    check_planned,
    prepare,
    whole_prompts_apart,
)
from diffusion_lens.analysis.conditional import conditional_curves, constancy
from diffusion_lens.analysis.contrasts import contrast
from diffusion_lens.analysis.curves import curves, published_curves
from diffusion_lens.analysis.emergence import distribution, times
from diffusion_lens.analysis.judges import add_judges
from diffusion_lens.analysis.label_study import are_labels, label_tables
from diffusion_lens.analysis.order import all_orders, roles
from diffusion_lens.analysis.parents import depends, of_all
from diffusion_lens.analysis.significance import benjamini_hochberg, holm
from diffusion_lens.analysis.statistics import DEFAULT, Resampling
from diffusion_lens.analysis.summary import summary
from diffusion_lens.analysis.trajectories import groups, missing
from diffusion_lens.analysis.trends import trend
from diffusion_lens.checks.checks import CHOICE, KIND_WORDS, WHOLE
from diffusion_lens.errors import ScoresError
from diffusion_lens.scoring.table import COLUMNS

__all__ = ["FRAME", "Analysis", "analyse", "default_by"]

FRAME = ("run", "scorer", "encoder")
# a column with more values has too many pairs for a grid of comparisons
_PAIRED_VALUES = 12
# exploratory p values need no third digit
_GRID_RESAMPLES = 2000


@dataclass
class Analysis:
    """Tables by name, and notes on what could not be made.

    Attributes:
        tables: by name.
        notes: what was left out and why, a sentence each.
    """

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
            self.notes.append(f"{name}: there is nothing to report")
        else:
            self.tables[name] = table


def default_by(table: pd.DataFrame) -> tuple[str, ...]:
    """What makes a curve: run, scorer, encoder, category and kind; for published labels their question.

    A category of which there are too many values is left out.
    """
    category = ("category",) if table["category"].nunique() <= MOST_VALUES else ()
    return (*FRAME, *category, "check" if "question" in table else "kind")


def analyse(
    table: pd.DataFrame,
    by: Sequence[str] | None = None,
    *,
    planned: Sequence[Contrast] = (),
    truth: str = "human",
    resampling: Resampling = DEFAULT,
) -> Analysis:
    """Everything that can be said of a table of scores.

    Rates are of all images: a check is wrong where one that it depends on is (`parents.of_all`). Those
    where it can be asked are in tables of their own.

    Args:
        table: validated scores.
        by: what makes a curve, any columns; `default_by` if left out. Run, scorer and encoder always do.
        planned: contrasts decided on beforehand. Their p values are adjusted among themselves (Holm); those
            of the grid of all pairs are exploratory (Benjamini-Hochberg).
        truth: the scorer by whom others are corrected: itself, or any called "human:...".
        resampling: the level of all intervals, and the draws behind bands and p values.

    Returns:
        Those of these tables that there is anything to report in: `curves`, `conditional_curves`,
        `constancy`, `curves_of_p`, `measures`, `curves_given_final_correct`, `curves_given_final_wrong`,
        `published_curves`, `summary`, `summary_given_final_correct`, `emergence`, `times`, `order`,
        `planned`, `trends`, `contrasts`, `binding`, `missing`, `agreement`, `raters`, `correction`,
        `correction_areas`; of the published labels also those of `label_study`.

    Raises:
        ScoresError: `by` or `planned` name columns or values that are not there.
    """
    by = tuple(dict.fromkeys((*FRAME, *(default_by(table) if by is None else by))))
    check_by(table, by)
    of_labels = label_tables(table, resampling) if are_labels(table) else {}
    table = whole_prompts_apart(table)
    check_planned(planned, {name: table[name].dropna().unique() for name in table.columns})
    if table["category"].nunique() > MOST_VALUES and "category" not in by:
        found = Analysis(
            notes=[f"category: {table['category'].nunique()} values, too many for curves of each"]
        )
    else:
        found = Analysis()
    found.tables.update(of_labels)
    needed = {*COLUMNS, *by, *(one.column for one in planned), "baseline", "chance"} - {"prompt"}
    table = table[[name for name in table.columns if name in needed | set(by)]]
    # tens of thousands of small groups are cut from it, and Python's own strings are cut in a fifth of the
    # time that pandas' take
    table = table.astype({name: object for name in table.select_dtypes("str").columns})
    asked, measured, every = _sort_out(prepare(table, by))
    within = tuple(name for name in by if name not in ("kind", "check"))
    if not measured.empty:
        found.add("measures", lambda: _measures(measured, within, resampling))
    if asked.empty:
        return found
    found.add("missing", lambda: missing(of_all(asked), FRAME))
    _add_curves(found, asked, every, by, resampling)
    found.add("emergence", lambda: distribution(of_all(asked), by, resampling=resampling))
    found.add("times", lambda: times(of_all(asked), FRAME))
    parts = asked[~asked["kind"].isin([WHOLE, CHOICE])]
    found.add("order", lambda: all_orders(parts, within, resampling=resampling))
    _add_contrasts(found, of_all(asked), by, planned, resampling)
    found.add("binding", lambda: binding(of_all(asked), within, resampling=resampling))
    add_judges(found.tables, found.notes, asked, by, truth, resampling)
    return found


def _sort_out(table: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Answers on real images; measures that label nothing, such as similarities; answers with baselines."""
    labels = table["label"].notna().groupby(table["scorer"]).any()
    only_p = table["p"].notna().groupby(table["scorer"]).any() & ~labels
    # a probability without a label is a probability if a scorer of checks gives it, and a measure if not
    measure = [str(name) for name in only_p[only_p].index if str(name).startswith("similarity")]
    is_measure = table["scorer"].isin(measure)
    every, measured = table[~is_measure], table[is_measure]
    if "baseline" in table:
        return every[every["baseline"].fillna("") == ""], measured, every
    return every, measured, every


def _measures(table: pd.DataFrame, within: Sequence[str], resampling: Resampling) -> pd.DataFrame:
    """Curves of measures, one for each: similarities to two different images are two quantities."""
    return curves(table, (*within, "check"), value="p", resampling=resampling)


def _add_curves(
    found: Analysis, asked: pd.DataFrame, every: pd.DataFrame, by: Sequence[str], resampling: Resampling
) -> None:
    found.add("curves", lambda: curves(of_all(every), by, resampling=resampling))
    if depends(asked).any():
        found.add("conditional_curves", lambda: conditional_curves(asked, by, resampling=resampling))
        found.add("constancy", lambda: constancy(asked, by, resampling=resampling))
    # a probability of 0 or 1 is its label again
    unsure = every[every["p"].notna()].groupby("scorer")["p"].transform(lambda p: (~p.isin([0, 1])).any())
    probable = every.loc[unsure.index[unsure.astype(bool)]]
    if not probable.empty:
        found.add("curves_of_p", lambda: curves(of_all(probable), by, value="p", resampling=resampling))
    everything = of_all(asked)
    found.add(
        "curves_given_final_correct",
        lambda: curves(everything, by, condition="final-correct", resampling=resampling),
    )
    found.add(
        "curves_given_final_wrong",
        lambda: curves(everything, by, condition="final-wrong", resampling=resampling),
    )
    found.add("published_curves", lambda: published_curves(everything, by))
    found.add("summary", lambda: summary(of_all(every), by, resampling=resampling))
    found.add(
        "summary_given_final_correct",
        lambda: summary(everything, by, condition="final-correct", resampling=resampling),
    )


def _add_contrasts(
    found: Analysis,
    table: pd.DataFrame,
    by: Sequence[str],
    planned: Sequence[Contrast],
    resampling: Resampling,
) -> None:
    pairs = [one for one in planned if one.first is not None]
    trends = [one for one in planned if one.first is None]
    if pairs:
        found.add("planned", lambda: _planned(found, table, by, pairs, resampling))
    if trends:
        found.add("trends", lambda: _trends(table, by, trends, resampling))
    found.add("contrasts", lambda: _grid(found, table, by, resampling))


def _alike(table: pd.DataFrame, by: Sequence[str], column: str) -> list[str]:
    """What is held equal in a contrast, so that like is compared with like: never one kind with another."""
    held = [*FRAME]
    if column not in ("kind", "check"):
        # what is asked; published questions of one kind are questions of their own
        held += ["kind"] if len(roles(table)) * 2 < table["check"].nunique() else ["kind", "check"]
    named = [name for name in by if name not in (*FRAME, "category", "kind", "check")]
    return [name for name in dict.fromkeys((*held, *named)) if name != column]


def _planned(
    found: Analysis,
    table: pd.DataFrame,
    by: Sequence[str],
    planned: Sequence[Contrast],
    resampling: Resampling,
) -> pd.DataFrame:
    rows: list[pd.DataFrame] = []
    for one in planned:
        texts = table.assign(**{one.column: table[one.column].astype(str)})
        one_sided: list[str] = []
        for key, part in groups(texts, _alike(table, by, one.column)):
            try:
                frame = contrast(
                    part, {one.column: one.first}, {one.column: one.second}, resampling=resampling
                )
            except ScoresError:
                one_sided.append(_words(key))
                continue
            rows.append(frame.assign(**key, compared=one.column, contrast=str(one)))
        if one_sided:
            shown = "; ".join(one_sided[:4]) + (f"; and {len(one_sided) - 4} more" if one_sided[4:] else "")
            found.notes.append(
                f"planned {one}: left out where not both {one.first} and {one.second} were judged ({shown})"
            )
    if not rows:
        raise ScoresError("none of the planned contrasts could be made")
    return _adjusted(pd.concat(rows, ignore_index=True), "number")


def _words(key: dict[str, object]) -> str:
    named = {**key, "kind": KIND_WORDS.get(str(key["kind"]), key["kind"])} if "kind" in key else key
    return ", ".join(str(value) for value in named.values() if str(value))


def _trends(
    table: pd.DataFrame, by: Sequence[str], planned: Sequence[Contrast], resampling: Resampling
) -> pd.DataFrame:
    rows = [
        trend(table, one.column, _alike(table, by, one.column), resampling=resampling) for one in planned
    ]
    found = pd.concat(rows, ignore_index=True)
    # the area is what was planned; layers are there to look at
    main = found["number"] == "area"
    return found.assign(p_holm=holm(found["p"].where(main).to_numpy(dtype=float)))


def _grid(found: Analysis, table: pd.DataFrame, by: Sequence[str], resampling: Resampling) -> pd.DataFrame:
    """Areas of all pairs of curves that differ in one column: exploratory."""
    rows = []
    for column in by:
        others = [name for name in by if name != column]
        values = table[column].nunique()
        if column == "scorer" or values < 2:
            continue
        if values > _PAIRED_VALUES:
            found.notes.append(f"contrasts: {column} has {values} values, too many to compare each two")
            continue
        quick = replace(resampling, resamples=min(resampling.resamples, _GRID_RESAMPLES))
        frame = all_pairs(table, column, others, resampling=quick)
        if not frame.empty:
            rows.append(frame.assign(compared=column))
    if not rows:
        raise ScoresError("there is one curve only")
    pairs = pd.concat(rows, ignore_index=True)
    if "p" in pairs:
        pairs["p_bh"] = benjamini_hochberg(pairs["p"].to_numpy(dtype=float))
    return pairs


def _adjusted(frame: pd.DataFrame, family: str) -> pd.DataFrame:
    """Holm's adjustment over all rows of one number, or of one definition."""
    frame["p_holm"] = frame.groupby(family)["p"].transform(lambda p: holm(p.to_numpy(dtype=float)))
    return frame
