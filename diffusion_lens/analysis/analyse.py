"""`analyse`: all tables of an analysis in one go, and notes on what was left out and why."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pandas as pd

from diffusion_lens.analysis.binding import binding
from diffusion_lens.analysis.columns import (
    FRAME,
    MOST_VALUES,
    check_by,
    prepare,
    told_of_prompts,
    whole_prompts_apart,
)
from diffusion_lens.analysis.conditional import conditional_curves, constancy
from diffusion_lens.analysis.curves import curves, published_curves
from diffusion_lens.analysis.declared import Contrast, check_planned, fault_of
from diffusion_lens.analysis.emergence import distribution, times
from diffusion_lens.analysis.judges import add_judges, check_truth
from diffusion_lens.analysis.label_study import are_labels, label_tables
from diffusion_lens.analysis.order import all_orders
from diffusion_lens.analysis.parents import depends, of_all
from diffusion_lens.analysis.planned import add_contrasts
from diffusion_lens.analysis.statistics import DEFAULT, Resampling
from diffusion_lens.analysis.summary import summary
from diffusion_lens.analysis.trajectories import gathered, missing
from diffusion_lens.checks.checks import CHOICE, WHOLE
from diffusion_lens.errors import ScoresError
from diffusion_lens.scoring.table import COLUMNS

__all__ = ["Analysis", "OnTable", "analyse", "default_by"]

OnTable = Callable[[str, pd.DataFrame], object]


@dataclass
class Analysis:
    """Tables by name, and notes on what could not be made.

    Attributes:
        tables: by name.
        notes: what was left out and why, a sentence each.
        on_table: is told the name of each table and the table as soon as it is made.
    """

    tables: dict[str, pd.DataFrame] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    on_table: OnTable | None = None

    def keep(self, name: str, table: pd.DataFrame) -> None:
        """Keep a table."""
        self.tables[name] = table
        if self.on_table is not None:
            self.on_table(name, table)

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
            self.keep(name, table)


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
    declared: Sequence[Contrast] = (),
    truth: str | None = None,
    resampling: Resampling = DEFAULT,
    on_table: OnTable | None = None,
) -> Analysis:
    """Everything that can be said of a table of scores.

    Rates are of all images: a check is wrong where one that it depends on is (`parents.of_all`). Those
    where it can be asked are in tables of their own.

    Args:
        table: validated scores.
        by: what makes a curve, any columns; `default_by` if left out. Run, scorer and encoder always do.
        planned: contrasts decided on beforehand. Their p values are adjusted among themselves (Holm); those
            of the grid of all pairs are exploratory (Benjamini-Hochberg).
        declared: further ones, which experiments declare. One that these scores can't make, such as those
            of a trial with few prompts, is left out with a note.
        truth: the scorer by whom others are corrected: itself, or any called "NAME:..."; people, called
            "human", where there are any, if left out.
        resampling: the level of all intervals, and the draws behind bands and p values.
        on_table: is told the name of each table and the table as soon as it is made.

    Returns:
        Those of these tables that there is anything to report in: `curves`, `conditional_curves`,
        `constancy`, `curves_of_p`, `measures`, `curves_given_final_correct`, `curves_given_final_wrong`,
        `published_curves`, `summary`, `summary_given_final_correct`, `emergence`, `times`, `order`,
        `planned`, `trends`, `contrasts`, `binding`, `missing`, `agreement`, `raters`, `correction`,
        `correction_areas`; of the published labels also those of `label_study`.

    Raises:
        ScoresError: `by` or `planned` name columns or values that are not there, or `truth` a scorer.
    """
    if truth is not None:
        check_truth(table, truth)
    by = tuple(dict.fromkeys((*FRAME, *(default_by(table) if by is None else by))))
    check_by(table, by)
    # tens of thousands of small groups are cut from it, and Python's own strings are cut in a fifth of the
    # time that pandas' take
    table = table.astype(
        {name: object for name, kind in table.dtypes.items() if isinstance(kind, pd.StringDtype)}
    )
    published = table
    table = whole_prompts_apart(
        told_of_prompts(table, (*by, *(one.column for one in (*planned, *declared))))
    )
    values = {name: table[name].dropna().unique() for name in table.columns}
    check_planned(planned, values)
    faults = {one: fault_of(one, values) for one in declared}
    planned = [*planned, *(one for one, fault in faults.items() if not fault and one not in planned)]
    notes = [f"planned {one}: {fault}" for one, fault in faults.items() if fault]
    found = Analysis(notes=notes, on_table=on_table)
    if table["category"].nunique() > MOST_VALUES and "category" not in by:
        found.notes.append(f"category: {table['category'].nunique()} values, too many for curves of each")
    needed = {*COLUMNS, *by, *(one.column for one in planned), "baseline", "chance"} - {"prompt"}
    table = table[[name for name in table.columns if name in needed | set(by)]]
    asked, measured, every = _sort_out(prepare(table, by))
    within = tuple(name for name in by if name not in ("kind", "check"))
    if not measured.empty:
        found.add("measures", lambda: _measures(measured, within, resampling))
    if asked.empty:
        _add_labels(found, published, resampling)
        return found
    everything = of_all(asked)
    found.add("missing", lambda: missing(everything, FRAME))
    _add_curves(found, asked, every, by, resampling)
    found.add("times", lambda: times(everything, FRAME))
    parts = asked[~asked["kind"].isin([WHOLE, CHOICE])]
    found.add("order", lambda: all_orders(parts, within, resampling=resampling))
    # a column that curves are cut by into parts is compared as it was
    named = table[[name for name in table.columns if name in {one.column for one in planned}]]
    add_contrasts(found.add, found.notes, everything, named, by, planned, resampling)
    found.add("binding", lambda: binding(everything, within, resampling=resampling))
    add_judges(found.keep, found.notes, everything, by, truth or "human", resampling)
    # last, since no figure shows them: others are drawn meanwhile
    _add_labels(found, published, resampling)
    return found


def _add_labels(found: Analysis, table: pd.DataFrame, resampling: Resampling) -> None:
    if are_labels(table):
        for name, one in label_tables(table, resampling).items():
            found.keep(name, one)


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
    try:
        # arranged once, and read by all tables
        beside = gathered(of_all(every), by)
        images = beside if len(every) == len(asked) else gathered(of_all(asked), by)
    except ScoresError as error:
        found.notes.append(f"curves: {error}")
        return
    found.add("curves", lambda: curves(beside, by, resampling=resampling))
    if depends(asked).any():
        found.add("conditional_curves", lambda: conditional_curves(asked, by, resampling=resampling))
        found.add("constancy", lambda: constancy(asked, by, resampling=resampling))
    # a probability of 0 or 1 is its label again
    unsure = every[every["p"].notna()].groupby("scorer")["p"].transform(lambda p: (~p.isin([0, 1])).any())
    probable = every.loc[unsure.index[unsure.astype(bool)]]
    if not probable.empty:
        found.add("curves_of_p", lambda: curves(of_all(probable), by, value="p", resampling=resampling))
    found.add(
        "curves_given_final_correct",
        lambda: curves(images, by, condition="final-correct", resampling=resampling),
    )
    found.add(
        "curves_given_final_wrong",
        lambda: curves(images, by, condition="final-wrong", resampling=resampling),
    )
    found.add("published_curves", lambda: published_curves(images, by))
    found.add("summary", lambda: summary(beside, by, resampling=resampling))
    found.add(
        "summary_given_final_correct",
        lambda: summary(images, by, condition="final-correct", resampling=resampling),
    )
    found.add("emergence", lambda: distribution(images, by, resampling=resampling))
