"""The tables of the findings page, in Markdown: one function by part of the page."""

from collections.abc import Mapping

import pandas as pd

from diffusion_lens.analysis.curves import LEAST_PROMPTS
from diffusion_lens.analysis.findings_rows import curve_keys, in_order, names_of, shown_rows, telling_keys
from diffusion_lens.analysis.markdown import (
    estimate,
    markdown,
    number,
    p_value,
    pair_count,
    prompt_count,
    word,
)
from diffusion_lens.analysis.planned import held_equal

__all__ = [
    "binding",
    "conditional",
    "constancy",
    "exploratory",
    "failures",
    "measures",
    "order",
    "planned",
    "rates",
    "set_scores",
    "trends",
]

Tables = Mapping[str, pd.DataFrame]
_MINUS = "\N{MINUS SIGN}"


def rates(tables: Tables) -> list[str]:
    """First and last rate, area, layer of half and baseline of each curve."""
    curves, summary = tables.get("curves"), tables.get("summary")
    if curves is None or summary is None:
        return []
    keys = curve_keys(summary)
    real = shown_rows(summary)
    last_of = {
        (
            *(line[key] for key in keys if key != "scorer"),
            str(line["scorer"]).removesuffix(": shuffled"),
        ): line
        for line in summary[summary["scorer"].str.endswith(": shuffled")].to_dict("records")
    }
    by_key = dict(list(curves[curves["rate"].notna()].groupby(keys, dropna=False)))
    rows = []
    for line in in_order(real).to_dict("records"):
        curve = by_key.get(tuple(line[key] for key in keys))
        if curve is None:
            continue
        first, last = curve.sort_values("layer").iloc[[0, -1]].to_dict("records")
        same = last_of.get((*(line[key] for key in keys if key != "scorer"), str(line["scorer"])))
        half = estimate(line, "half_layer", "{:.1f}")
        rows.append(
            [
                *names_of(line, keys, real),
                prompt_count(line["prompts"]),
                # one layer alone is the last
                f"{estimate(first, 'rate')} (layer {first['layer']})" if len(curve) > 1 else "",
                f"{estimate(last, 'rate')} (layer {last['layer']})",
                estimate(line, "area"),
                f"\u2264 {half}" if line.get("half_is_bound") and half else half,
                number(same["final"]) if same else "",
            ]
        )
    names = ["prompts", "first layer", "last layer", "area", "layer of half", "shuffled"]
    return markdown([*telling_keys(keys, real), *names], rows)


def conditional(tables: Tables) -> list[str]:
    """Rates where a check can be asked, at the first and last layer of each set of prompts."""
    found = tables.get("conditional_curves")
    if found is None:
        return []
    real = shown_rows(found[found["rate"].notna()])
    keys = list(real.columns)[: list(real.columns).index("prompts_are")]
    if real["layer"].nunique() == 1:
        # the prompts that can be asked at it are those that can be asked at all layers
        real = real.drop_duplicates(keys)
    rows = []
    for _, curve in real.groupby([*keys, "prompts_are"], sort=False, dropna=False):
        first, last = curve.sort_values("layer").iloc[[0, -1]].to_dict("records")
        ends = [
            f"{estimate(one, 'rate')} (layer {one['layer']}, {prompt_count(one['prompts'])} prompts)"
            for one in (first, last)
        ]
        # tables of earlier versions have no chance
        rows.append(
            [*names_of(first, keys, real), first["prompts_are"], *ends, number(first.get("chance"))]
        )
    return markdown(
        [*telling_keys(keys, real), "prompts", "first layer shown", "last layer", "chance"], rows
    )


def constancy(tables: Tables) -> list[str]:
    """How what ends right, and what ends wrong, was answered at the earlier layers."""
    found = tables.get("constancy")
    if found is None:
        return []
    real = shown_rows(found[(found["layer"] == "all") & found["rate"].notna()])
    keys = list(real.columns)[: list(real.columns).index("end")]
    rows = [
        [
            *names_of(line, keys, real),
            line["end"],
            estimate(line, "rate"),
            line["images"],
            prompt_count(line["prompts"]),
        ]
        for line in real.to_dict("records")
    ]
    return markdown(
        [*telling_keys(keys, real), "at the last layer", "right before", "images", "prompts"], rows
    )


def order(tables: Tables) -> list[str]:
    """Which of two comes first, by both definitions."""
    found = tables.get("order")
    if found is None:
        return []
    real = shown_rows(found[found["lead"].notna()])
    keys = list(real.columns)[: list(real.columns).index("first")]
    rows = [
        [
            *names_of(line, keys, real),
            *(word(line["first"]), word(line["second"]), line["definition"]),
            *(f"{line[name]:.2f}" for name in ("first_earlier", "second_earlier", "tie")),
            f"{line['only_first']:.2f} / {line['only_second']:.2f}",
            number(line["lead"], line["low"], line["high"], "{:+.2f}"),
            p_value(line.get("p_holm")),
            *(prompt_count(line["prompts"]), line["not_asked"] or ""),
        ]
        for line in real.to_dict("records")
    ]
    names = ["one", "other", "emerged", "one earlier", "other earlier", "same layer", "only one / other"]
    return markdown([*telling_keys(keys, real), *names, "lead", "p (Holm)", "prompts", "not asked"], rows)


def planned(tables: Tables) -> list[str]:
    """The contrasts that were planned."""
    found = tables.get("planned")
    if found is None:
        return []
    real = shown_rows(found[found["difference"].notna() & found["number"].isin(["area", "final"])])
    keys = held_equal(real)
    rows = [
        [
            *names_of(line, keys, real),
            f"{word(line['first_group'])} {_MINUS} {word(line['second_group'])}",
            {"area": "area", "final": "last layer"}[line["number"]],
            *(number(line["first"]), number(line["second"])),
            number(line["difference"], line["low"], line["high"], "{:+.2f}"),
            p_value(line.get("p_holm")),
            number(line["detectable"]),
            pair_count(line),
        ]
        for line in real.to_dict("records")
    ]
    names = ["contrast", "of", "first", "second", "difference", "p (Holm)", "detectable", "prompts"]
    return markdown([*telling_keys(keys, real), *names], rows)


def trends(tables: Tables) -> list[str]:
    """The trends that were planned, of areas."""
    found = tables.get("trends")
    if found is None:
        return []
    real = shown_rows(found[found["correlation"].notna() & (found["number"] == "area")])
    keys = list(real.columns)[: list(real.columns).index("column")]
    rows = [
        [
            *names_of(line, keys, real),
            line["column"],
            number(line["correlation"], line["low"], line["high"], "{:+.2f}"),
            *(p_value(line.get("p_holm")), prompt_count(line["prompts"])),
        ]
        for line in real.to_dict("records")
    ]
    return markdown(
        [*telling_keys(keys, real), "over", "correlation with the area", "p (Holm)", "prompts"], rows
    )


def exploratory(tables: Tables, most: int = 5) -> list[str]:
    """The smallest p of the grid of all pairs."""
    found = tables.get("contrasts")
    if found is None or "p_bh" not in found:
        return []
    real = shown_rows(found[found["difference"].notna()]).nsmallest(most, "p")
    keys = held_equal(real)
    rows = [
        [
            ", ".join(name for key in keys if (name := word(line[key]))),
            f"{word(line['first_group'])} {_MINUS} {word(line['second_group'])}",
            number(line["difference"], line["low"], line["high"], "{:+.2f}"),
            *(p_value(line["p_bh"]), pair_count(line)),
        ]
        for line in real.to_dict("records")
    ]
    return markdown(["of", "pair", "difference of areas", "p (BH)", "prompts"], rows)


def binding(tables: Tables) -> list[str]:
    """All parts against their product, at the last layer."""
    found = tables.get("binding")
    if found is None:
        return []
    real = shown_rows(found[found["gap"].notna()])
    # encoders may be of unequal depth
    depth = [name for name in ("run", "encoder") if name in real]
    last = real[real["layer"] == real.groupby(depth)["layer"].transform("max")]
    keys = [name for name in list(last.columns)[: list(last.columns).index("atoms")] if name in last]
    rows = [
        [
            *names_of(line, keys, last),
            *(line["atoms"], line["layer"], number(line["all"]), number(line["product"])),
            estimate(line, "gap", "{:+.2f}"),
            estimate(line, "within_gap", "{:+.2f}") or f"fewer than {line['atoms'].count(' & ') + 1} seeds",
            prompt_count(line["prompts"]),
        ]
        for line in last.to_dict("records")
    ]
    names = ["parts", "layer", "all right", "product", "gap", "gap within prompts", "prompts"]
    return markdown([*telling_keys(keys, last), *names], rows)


def set_scores(tables: Tables) -> list[str]:
    """KID and FID by layer."""
    found = tables.get("set_scores")
    if found is None:
        return []
    keys = telling_keys(["run", "encoder"], found)
    rows = [
        [
            *(line[key] for key in keys),
            *(line["layer"], line["reference"]),
            number(line["kid"], line["kid_low"], line["kid_high"], "{:.4f}"),
            f"{line['fid']:.4f}",
            *(line["images"], line["features"]),
        ]
        for line in found.to_dict("records")
    ]
    return markdown([*keys, "layer", "compared with", "KID", "FID", "images", "vectors of"], rows)


def failures(tables: Tables) -> list[str]:
    """How much of what is wrong in the end was right before."""
    summary = tables.get("summary")
    if summary is None:
        return []
    real = shown_rows(summary[summary["layers"] > 1])
    keys = curve_keys(summary)
    rows = []
    for line in in_order(real).to_dict("records"):
        few = line["failed_prompts"] < LEAST_PROMPTS
        before = f"{line['failed_prompts']} failed" if few else estimate(line, "failed_but_right_before")
        rows.append(
            [*names_of(line, keys, real), estimate(line, "never"), before, estimate(line, "flicker")]
        )
    names = ["wrong at the last layer", "of these right before", "right, wrong, right"]
    return markdown([*telling_keys(keys, real), *names], rows)


def measures(tables: Tables) -> list[str]:
    """Similarities at the first and last layer."""
    found = tables.get("measures")
    if found is None:
        return []
    real = shown_rows(found[found["rate"].notna()])
    keys = list(real.columns)[: list(real.columns).index("layer")]
    rows = []
    for _, curve in real.groupby(keys, sort=False, dropna=False):
        first, last = curve.sort_values("layer").iloc[[0, -1]].to_dict("records")
        ends = [f"{estimate(one, 'rate')} (layer {one['layer']})" for one in (first, last)]
        rows.append([*names_of(first, keys, real), *ends, prompt_count(first["prompts"])])
    return markdown([*telling_keys(keys, real), "first layer", "last layer", "prompts"], rows)
