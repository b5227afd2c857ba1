"""`findings`: what the tables of an analysis say, as a short page with numbers and intervals.

The page is made of the tables alone, so that it can't say more than they do, and is made again by the same
command when the data change.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from diffusion_lens.checks.checks import WHOLE

__all__ = ["Source", "findings"]

_KINDS = {"global": "place", "attribute": "colour or size", WHOLE: "whole prompt"}  # what a check asks for
_ORDERED = ("object", "attribute", "relation", "count", "global", "identity")


@dataclass(frozen=True)
class Source:
    """A run that the scores are of, as its manifest tells it.

    Attributes:
        run: its name.
        model: the model.
        claim: what the experiment is to answer.
        prompts: how many.
        seeds: which.
        settings: sampler settings.
        dtype: the type that images were computed in.
        undrawn: images that are not drawn yet.
    """

    run: str
    model: str
    claim: str
    prompts: int
    seeds: tuple[int, ...]
    settings: Mapping[str, object]
    dtype: str
    undrawn: int = 0


def findings(tables: Mapping[str, pd.DataFrame], title: str, sources: Sequence[Source] = ()) -> str:
    """A page in Markdown.

    Args:
        tables: of `analysis.analyse.analyse`.
        title: its heading.
        sources: the runs, if the scores are of runs.
    """
    lines = [f"# {title}", ""]
    for claim in dict.fromkeys(source.claim for source in sources if source.claim):
        lines += [f"**Claim to test:** {claim}", ""]
    lines += _runs(sources)
    parts = (
        ("Rates by layer", _rates(tables)),
        ("What comes first", _order(tables)),
        ("Compared, as decided on before", _planned(tables)),
        ("Parts and wholes", _binding(tables)),
        ("Failures", _failures(tables)),
        ("Missing", _missing(tables)),
    )
    for heading, found in parts:
        if found:
            lines += [f"## {heading}", "", *found, ""]
    lines.append(
        "Intervals are over prompts, of 95 % unless `analysis.json` says otherwise. All numbers: `tables/`."
    )
    return "\n".join(lines) + "\n"


def _runs(sources: Iterable[Source]) -> list[str]:
    rows = [
        [one.run, f"`{one.model}`", one.prompts, len(one.seeds), one.settings.get("steps"),
         one.settings.get("guidance"), one.dtype, one.undrawn or "none"]
        for one in sources
    ]  # fmt: skip
    names = ["run", "model", "prompts", "seeds", "steps", "guidance", "dtype", "not drawn yet"]
    return [*_table(names, rows), ""] if rows else []


def _rates(tables: Mapping[str, pd.DataFrame]) -> list[str]:
    """First and last rate, area, half layer and baseline of each curve."""
    curves, summary = tables.get("curves"), tables.get("summary")
    if curves is None or summary is None:
        return []
    keys = _keys(summary)
    baselines = summary[summary["scorer"].str.endswith(": shuffled")]
    real = summary[~summary["scorer"].str.contains(": ")]
    rows = []
    for line in _sorted(real).to_dict("records"):
        curve = curves
        for key in keys:
            curve = curve[curve[key] == line[key]]
        curve = curve[curve["rate"].notna()].sort_values("layer")
        if curve.empty:
            continue
        first, last = curve.iloc[[0, -1]].to_dict("records")
        same = baselines[baselines["scorer"] == f"{line['scorer']}: shuffled"]
        for key in keys:
            same = same[same[key] == line[key]] if key != "scorer" else same
        ends = [f"{_estimate(one, 'rate')} (layer {one['layer']})" for one in (first, last)]
        half = _estimate(line, "half_layer", "{:.1f}")
        shuffled = _value(same["final"].iloc[0]) if len(same) else ""
        rows.append(
            [*_names(line, keys, real), line["prompts"], *ends, _estimate(line, "area"), half, shuffled]
        )
    told = _told(keys, real)
    names = [*told, "prompts", "first layer", "last layer", "area", "layer of half of the last", "shuffled"]
    return _table(names, rows)


def _order(tables: Mapping[str, pd.DataFrame]) -> list[str]:
    order = tables.get("order")
    if order is None:
        return []
    real = order[~order["scorer"].str.contains(": ") & order["lead"].notna()]
    real = real[(real["first"] != WHOLE) & (real["second"] != WHOLE)]
    keys = [name for name in real.columns[: list(real.columns).index("first")]]
    rows = [
        [*_names(line, keys, real), _word(line["first"]), _word(line["second"]),
         f"{line['first_earlier']:.2f}", f"{line['second_earlier']:.2f}", f"{line['tie']:.2f}",
         _value(line["lead"], line["low"], line["high"], "{:+.2f}"), _p(line.get("p_holm"))]
        for line in real.to_dict("records")
    ]  # fmt: skip
    names = [
        *_told(keys, real),
        "one",
        "other",
        "one earlier",
        "other earlier",
        "same layer",
        "lead",
        "p (Holm)",
    ]
    return _table(names, rows)


def _planned(tables: Mapping[str, pd.DataFrame]) -> list[str]:
    planned = tables.get("planned")
    if planned is None:
        return []
    real = planned[
        ~planned["scorer"].fillna("").str.contains(": ") & planned["number"].isin(["area", "final"])
    ]
    keys = [name for name in ("run", "scorer", "encoder", "kind") if name in real]
    rows = [
        [*_names(line, keys, real), f"{_word(line['first_group'])} less {_word(line['second_group'])}",
         {"area": "area", "final": "last layer"}[line["number"]], _value(line["first"]),
         _value(line["second"]), _value(line["difference"], line["low"], line["high"], "{:+.2f}"),
         _p(line.get("p_holm"))]
        for line in real[real["difference"].notna()].to_dict("records")
    ]  # fmt: skip
    names = [*_told(keys, real), "contrast", "of", "first", "second", "difference", "p (Holm)"]
    return _table(names, rows)


def _binding(tables: Mapping[str, pd.DataFrame]) -> list[str]:
    binding = tables.get("binding")
    if binding is None or binding.empty:
        return []
    real = binding[~binding["scorer"].str.contains(": ") & binding["gap"].notna()]
    last = real[real["layer"] == real.groupby("run")["layer"].transform("max")]
    keys = [name for name in ("run", "scorer", "encoder", "category") if name in last]
    rows = [
        [*_names(line, keys, last), line["atoms"], line["layer"], _value(line["all"]),
         _value(line["product"]), _estimate(line, "gap", "{:+.2f}")]
        for line in last.to_dict("records")
    ]  # fmt: skip
    names = [*_told(keys, last), "parts", "layer", "all right", "product of the parts", "gap"]
    return _table(names, rows)


def _failures(tables: Mapping[str, pd.DataFrame]) -> list[str]:
    """How much of what is wrong in the end was right before."""
    summary = tables.get("summary")
    if summary is None:
        return []
    real = summary[~summary["scorer"].str.contains(": ") & summary["failed_but_right_before"].notna()]
    keys = _keys(summary)
    rows = [
        [*_names(line, keys, real),
         *(_estimate(line, name) for name in ("never", "failed_but_right_before", "flicker"))]
        for line in _sorted(real).to_dict("records")
    ]  # fmt: skip
    names = [*_told(keys, real), "wrong at the last layer", "of these right before", "right, wrong, right"]
    return _table(names, rows)


def _missing(tables: Mapping[str, pd.DataFrame]) -> list[str]:
    lacking = tables.get("missing")
    if lacking is None:
        return []
    real = lacking[~lacking["scorer"].str.contains(": ")]
    counts = real.groupby(["run", "scorer", "reason"])["missing"].sum().reset_index()
    one = r"there is no \S+ to ask about"
    counts["reason"] = counts["reason"].str.replace(one, "the object is not there", regex=True)
    counts = counts.groupby(["run", "scorer", "reason"])["missing"].sum().reset_index()
    return _table(["run", "scorer", "answers", "reason"],
                  counts[["run", "scorer", "missing", "reason"]].to_numpy().tolist())  # fmt: skip


def _keys(summary: pd.DataFrame) -> list[str]:
    return list(summary.columns)[: list(summary.columns).index("condition")]


def _told(keys: Sequence[str], table: pd.DataFrame) -> list[str]:
    """The keys that tell rows apart."""
    return [key for key in keys if table[key].nunique(dropna=False) > 1 or key == "run"]


def _names(line: Mapping[Any, Any], keys: Sequence[str], table: pd.DataFrame) -> list[str]:
    return [_word(line[key]) for key in _told(keys, table)]


def _sorted(table: pd.DataFrame) -> pd.DataFrame:
    """By run and category, kinds in the order in which pictures are built."""
    rank = {kind: place for place, kind in enumerate(_ORDERED)}
    by = [name for name in ("run", "encoder", "category") if name in table]
    if "kind" not in table:
        return table.sort_values(by)
    return table.assign(_rank=table["kind"].map(rank).fillna(9)).sort_values([*by, "_rank"])


def _word(value: object) -> str:
    return _KINDS.get(str(value), str(value))


def _value(value: Any, low: Any = None, high: Any = None, form: str = "{:.2f}") -> str:
    if not isinstance(value, (int, float)) or math.isnan(value):
        return ""
    if low is None or math.isnan(low) or math.isnan(high):
        return form.format(value)
    return f"{form.format(value)} [{form.format(low)}, {form.format(high)}]"


def _estimate(line: Mapping[Any, Any], name: str, form: str = "{:.2f}") -> str:
    """A number with its interval, by the names of its columns; of a rate these are plain low and high."""
    ends = ("low", "high") if name == "rate" else (f"{name}_low", f"{name}_high")
    return _value(line[name], line[ends[0]], line[ends[1]], form)


def _p(value: object) -> str:
    if not isinstance(value, float) or math.isnan(value):
        return ""
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def _table(names: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    if not rows:
        return []
    cells = [[str(cell).replace("|", "\\|") for cell in row] for row in (names, *rows)]
    lines = [f"| {' | '.join(row)} |" for row in cells]
    return [lines[0], "|" + "---|" * len(names), *lines[1:]]
