"""The parts of a report that are numbers: curves, order, contrasts, failures and what is missing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from diffusion_lens.checks.checks import KIND_WORDS
from diffusion_lens.pages.charts import Chart, curve_chart
from diffusion_lens.pages.views import Estimate, TableView, estimate, plain, table_view

__all__ = ["Panel", "contrasts", "failures", "left_out", "missing", "order", "panels", "rates"]

_FRAME = {"run": "run", "scorer": "scorer", "encoder": "encoder", "category": "category"}
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


def _real(table: pd.DataFrame) -> pd.DataFrame:
    """Rows of scorers, without those of baselines ("oracle: shuffled")."""
    return table[~table["scorer"].fillna("").str.contains(": ")]


def _label_column(curves: pd.DataFrame) -> str:
    keys = list(curves.columns)[: list(curves.columns).index("layer")]
    return next((name for name in ("kind", "check") if name in keys), keys[-1])


def panels(tables: Tables) -> list[Panel]:
    """One chart by run, scorer, encoder and further column of the analysis, with all its numbers."""
    curves = tables.get("curves")
    if curves is None:
        return []
    real = _real(curves)
    label = _label_column(real)
    keys = [name for name in real.columns[: list(real.columns).index("layer")] if name != label]
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
    real = _real(summary)
    label = _label_column(curves)
    words = {**{key: name for key, name in _FRAME.items() if key in real}, label: label}
    keys = [key for key in words if key in curves]
    rows = []
    for line in real.to_dict("records"):
        curve = curves
        for key in keys:
            curve = curve[curve[key] == line[key]]
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
                estimate(line, "half_layer", ".1f"),
            ]
        )
    numbers = ("prompts", "first layer", "last layer", "area", "layer of half")
    return table_view(
        "summary",
        "Rates at the first and the last layer, and what lies between.",
        words,
        numbers,
        rows,
        real,
    )


def order(tables: Tables) -> TableView | None:
    """Which kind of check comes first within the same images."""
    found = tables.get("order")
    if found is None:
        return None
    real = _real(found)
    real = real[real["lead"].notna() & (real["first"] != "prompt") & (real["second"] != "prompt")]
    words = {key: name for key, name in _FRAME.items() if key in real}
    rows = [
        [
            *(plain(line[key]) for key in words),
            _pair(line, "first", "second", "before"),
            *(estimate(line, name) for name in ("first_earlier", "second_earlier", "tie")),
            estimate(line, "lead", "+.2f", ("low", "high")),
            _p(line.get("p_holm")),
            plain(line["prompts"]),
        ]
        for line in real.to_dict("records")
    ]
    numbers = ("pair", "first earlier", "second earlier", "same layer", "lead", "p (Holm)", "prompts")
    caption = "Which of two checks is right at an earlier layer, within the same prompt and seed."
    return table_view("order", caption, words, numbers, rows, real, 1)


def contrasts(tables: Tables) -> TableView | None:
    """The comparisons that were planned."""
    found = tables.get("planned")
    if found is None:
        return None
    real = _real(found)
    real = real[real["number"].isin(["area", "final"]) & real["difference"].notna()]
    words = {key: name for key, name in {**_FRAME, "kind": "kind"}.items() if key in real}
    rows = [
        [
            *(plain(word(line[key])) for key in words),
            _pair(line, "first_group", "second_group", "\N{MINUS SIGN}"),
            plain({"area": "area", "final": "last layer"}[line["number"]]),
            estimate(line, "first"),
            estimate(line, "second"),
            estimate(line, "difference", "+.2f", ("low", "high")),
            _p(line.get("p_holm")),
        ]
        for line in real.to_dict("records")
    ]
    numbers = ("contrast", "of", "first", "second", "difference", "p (Holm)")
    return table_view("planned", "Decided on before any image was drawn.", words, numbers, rows, real, 2)


def left_out(tables: Tables, planned: Sequence[str], notes: Sequence[str]) -> list[str]:
    """Planned contrasts that no number answers, and the other notes of the analysis.

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
    said = list(notes)
    for text in dict.fromkeys(planned):
        column, _, values = text.partition("=")
        first, _, second = values.partition(",")
        mentioned = any(column in note for note in notes)
        if (column, first, second) not in answered and not mentioned:
            said.append(
                f"The planned contrast {text} has no answer: no scored image has these values of {column}."
            )
    return said


def failures(tables: Tables) -> TableView | None:
    """How much of what is wrong in the end was right before."""
    summary = tables.get("summary")
    if summary is None:
        return None
    real = _real(summary)
    real = real[real["failed_but_right_before"].notna()]
    label = next((name for name in ("kind", "check") if name in real), "run")
    words = {**{key: name for key, name in _FRAME.items() if key in real}, label: label}
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
    real = _real(found)
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


def _pair(line: Mapping[Any, Any], first: str, second: str, between: str) -> Estimate:
    return plain(f"{word(line[first])} {between} {word(line[second])}")


def _p(value: Any) -> Estimate:
    if not isinstance(value, float) or value != value:
        return Estimate("")
    return Estimate("< 0.001" if value < 0.001 else f"{value:.3f}", value)
