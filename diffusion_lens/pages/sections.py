"""The parts of a report that are numbers: curves, failures and what is missing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import pandas as pd

from diffusion_lens.analysis.declared import Contrast
from diffusion_lens.checks.checks import KIND_WORDS
from diffusion_lens.errors import ScoresError
from diffusion_lens.pages.charts import Chart, curve_chart
from diffusion_lens.pages.views import Estimate, TableView, estimate, plain, table_view
from diffusion_lens.scoring.baselines import is_baseline

__all__ = [
    "Panel",
    "Tables",
    "failures",
    "key_words",
    "left_out",
    "missing",
    "panels",
    "rates",
    "real_rows",
    "word",
]

_FRAME = ("run", "scorer", "encoder", "category")
Tables = Mapping[str, pd.DataFrame]


@dataclass(frozen=True)
class Panel:
    """Curves of one run and scorer, and their table."""

    title: str
    chart: Chart
    table: TableView


def word(value: object) -> str:
    """The word that a reader knows a value of the analysis by."""
    return "all" if value is None or value != value else KIND_WORDS.get(str(value), str(value))


def real_rows(table: pd.DataFrame) -> pd.DataFrame:
    """Rows of scorers, without those of baselines ("oracle: shuffled")."""
    return table[~is_baseline(table["scorer"])]


def _keys(curves: pd.DataFrame) -> list[str]:
    """The columns that tell curves apart: those of the analysis, and whatever its user cut by."""
    return list(curves.columns)[: list(curves.columns).index("layer")]


def key_words(tables: Tables, table: pd.DataFrame, last: str = "") -> dict[str, str]:
    """The headings of the columns of a table that tell its rows apart, by column.

    Args:
        tables: of the analysis.
        table: one of them.
        last: the column that comes last.
    """
    curves = tables.get("curves")
    keys = [key for key in (_FRAME if curves is None else _keys(curves)) if key != last]
    return {key: key for key in (*keys, last) if key in table}


def _label_column(curves: pd.DataFrame) -> str:
    keys = _keys(curves)
    return next((name for name in ("kind", "check") if name in keys), keys[-1])


def panels(tables: Tables) -> list[Panel]:
    """One chart by run, scorer, encoder and further column of the analysis, with all its numbers."""
    curves = tables.get("curves")
    if curves is None:
        return []
    real = real_rows(curves)
    label = _label_column(real)
    keys = [name for name in _keys(real) if name != label]
    told = [name for name in keys if name == "run" or real[name].nunique(dropna=False) > 1]
    found = []
    for values, group in real.groupby(keys, sort=False, dropna=False):
        group = group.assign(**{label: group[label].map(word)})
        drawn = curve_chart(group, label)
        if drawn is None:
            continue
        names = dict(zip(keys, values, strict=True))
        title = ", ".join(str(names[key]) for key in told if names[key] not in (None, ""))
        found.append(Panel(title, drawn, _curve_table(group, label, title)))
    return found


def _curve_table(group: pd.DataFrame, label: str, title: str) -> TableView:
    layers = sorted(int(layer) for layer in group["layer"].unique())
    rows = []
    for name, line in group.groupby(label, sort=False):
        by_layer = {int(row["layer"]): row for row in line.to_dict("records")}
        prompts = int(line["prompts"].max())
        rates = [
            estimate(by_layer[layer], "rate", ends=("low", "high")) if layer in by_layer else Estimate("")
            for layer in layers
        ]
        rows.append((plain(name), plain(prompts), *rates))
    head = (label, "prompts", *(f"layer {layer}" for layer in layers))
    caption = f"{title}: share of images that are right, by layer, with intervals over prompts."
    return TableView("curves", caption, head, tuple(rows), 1)


def rates(tables: Tables) -> TableView | None:
    """First and last rate, area and layer of half, of each curve."""
    curves, summary = tables.get("curves"), tables.get("summary")
    if curves is None or summary is None:
        return None
    real = real_rows(summary)
    label = _label_column(curves)
    words = key_words(tables, real, last=label)
    rows = []
    for line in real.to_dict("records"):
        curve = curves
        for key in words:
            curve = curve[curve[key].isna() if pd.isna(line[key]) else curve[key] == line[key]]
        known = curve[curve["rate"].notna()].sort_values("layer")
        if known.empty:
            continue
        first, last = known.iloc[[0, -1]].to_dict("records")
        rows.append(
            [
                *(plain(word(line[key])) for key in words),
                plain(line["prompts"]),
                estimate(first, "rate", ends=("low", "high")),
                estimate(last, "rate", ends=("low", "high")),
                estimate(line, "area"),
                replace(
                    estimate(line, "half_layer", ".1f"),
                    before="\N{LESS-THAN OR EQUAL TO} " if line.get("half_is_bound") else "",
                ),
            ]
        )
    numbers = ("prompts", "first layer", "last layer", "area", "layer of half")
    return table_view(
        "summary",
        "Rates at the first and the last layer, and what lies between. Where half of the last rate is "
        "there at the first layer already, the layer of half is a bound: \N{LESS-THAN OR EQUAL TO}.",
        words,
        numbers,
        rows,
        real,
    )


def left_out(tables: Tables, planned: Sequence[str], notes: Sequence[str]) -> list[str]:
    """Planned contrasts and trends that no number answers, and the other notes of the analysis.

    Args:
        tables: of the analysis.
        planned: the contrasts of the experiments, "column=first,second".
        notes: of the analysis.
    """
    table = tables.get("planned")
    answered = set()
    if table is not None:
        known = table[table["difference"].notna()]
        columns = known["compared"] if "compared" in known else pd.Series("", index=known.index)
        answered = set(zip(columns, known["first_group"], known["second_group"], strict=True))
    if "trends" in tables:
        known = tables["trends"]
        answered |= {(column, "", "") for column in known.loc[known["correlation"].notna(), "column"]}
    said = [note for note in notes if not note.endswith("there is nothing to report")]
    for text in dict.fromkeys(planned):
        try:
            one = Contrast.parse(text)
        except ScoresError as error:
            said.append(str(error))
            continue
        mentioned = any(note.startswith(f"planned {one}:") for note in notes)
        if (one.column, one.first or "", one.second or "") not in answered and not mentioned:
            name = one.column
            why = f"no scored image has these values of {name}"
            if one.first is None:
                why = f"{name}, or the area under the curves, is no number that varies over the prompts"
            said.append(f"The planned contrast {one} has no answer: {why}.")
    return said


def failures(tables: Tables) -> TableView | None:
    """How much of what is wrong in the end was right before."""
    summary = tables.get("summary")
    if summary is None:
        return None
    real = real_rows(summary)
    real = real[real["failed_but_right_before"].notna()]
    words = key_words(tables, real, last=next((name for name in ("kind", "check") if name in real), ""))
    rows = [
        [
            *(plain(word(line[key])) for key in words),
            plain(line["prompts"]),
            *(estimate(line, name) for name in ("never", "failed_but_right_before", "flicker")),
        ]
        for line in real.to_dict("records")
    ]
    numbers = ("prompts", "wrong at the last layer", "of these right before", "right, wrong, right")
    return table_view(
        "summary",
        "What is wrong at the last layer, and was right at an earlier one.",
        words,
        numbers,
        rows,
        real,
    )


def missing(tables: Tables) -> TableView | None:
    """Answers that nobody could give."""
    found = tables.get("missing")
    if found is None:
        return None
    real = real_rows(found)
    counts = real.groupby(["run", "scorer", "reason"], sort=False)["missing"].sum().reset_index()
    words = {"run": "run", "scorer": "scorer", "reason": "reason"}
    rows = [
        [plain(line["run"]), plain(line["scorer"]), plain(line["reason"]), plain(line["missing"])]
        for line in counts.to_dict("records")
    ]
    return table_view(
        "missing",
        "Missing answers are counted, and never taken as wrong.",
        words,
        ("answers",),
        rows,
        counts,
    )
