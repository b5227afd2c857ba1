"""The parts of a report that compare: what comes first, planned contrasts, planned trends."""

from collections.abc import Mapping
from typing import Any

from diffusion_lens.analysis.curves import on_enough_prompts
from diffusion_lens.analysis.markdown import pair_count
from diffusion_lens.pages.sections import Tables, key_words, real_rows, word
from diffusion_lens.pages.views import Estimate, TableView, estimate, plain, table_view

__all__ = ["contrasts", "order", "trends"]

_OF_CHECKS = ("kind", "check")


def order(tables: Tables) -> TableView | None:
    """Which kind of check comes first within the same images."""
    found = tables.get("order")
    if found is None:
        return None
    real = real_rows(found[on_enough_prompts(found)])
    real = real[real["lead"].notna() & (real["first"] != "prompt") & (real["second"] != "prompt")]
    words = {key: name for key, name in key_words(tables, real).items() if key not in _OF_CHECKS}
    rows = [
        [
            *(plain(line[key]) for key in words),
            _pair(line, "first", "second", "before"),
            plain(line["definition"]),
            *(estimate(line, name) for name in ("first_earlier", "second_earlier", "tie")),
            estimate(line, "lead", "+.2f", ("low", "high")),
            _p(line.get("p_holm")),
            plain(line["prompts"]),
        ]
        for line in real.to_dict("records")
    ]
    numbers = (
        "pair",
        "emerged",
        "first earlier",
        "second earlier",
        "same layer",
        "lead",
        "p (Holm)",
        "prompts",
    )
    caption = (
        "Which of two checks is right at an earlier layer, within the same prompt and seed: right for the "
        "first time, or right from then on."
    )
    return table_view("order", caption, words, numbers, rows, real, 2)


def contrasts(tables: Tables) -> TableView | None:
    """The comparisons that were planned."""
    found = tables.get("planned")
    if found is None:
        return None
    real = real_rows(found[on_enough_prompts(found)])
    real = real[real["number"].isin(["area", "final"]) & real["difference"].notna()]
    words = {**key_words(tables, real), **{key: key for key in _OF_CHECKS if key in real}}
    rows = [
        [
            *(plain(word(line[key])) for key in words),
            _pair(line, "first_group", "second_group", "\N{MINUS SIGN}"),
            plain({"area": "area", "final": "last layer"}[line["number"]]),
            estimate(line, "first"),
            estimate(line, "second"),
            estimate(line, "difference", "+.2f", ("low", "high")),
            _p(line.get("p_holm")),
            plain(pair_count(line)),
        ]
        for line in real.to_dict("records")
    ]
    numbers = ("contrast", "of", "first", "second", "difference", "p (Holm)", "prompts")
    return table_view("planned", "Decided on before any image was drawn.", words, numbers, rows, real, 2)


def trends(tables: Tables) -> TableView | None:
    """The trends that were planned, over a number of the prompts."""
    found = tables.get("trends")
    if found is None:
        return None
    real = real_rows(found[on_enough_prompts(found)])
    real = real[(real["number"] == "area") & real["correlation"].notna()]
    words = {**key_words(tables, real), **{key: key for key in _OF_CHECKS if key in real}}
    rows = [
        [
            *(plain(word(line[key])) for key in words),
            plain(line["column"]),
            estimate(line, "correlation", "+.2f", ("low", "high")),
            _p(line.get("p_holm")),
            plain(line["prompts"]),
        ]
        for line in real.to_dict("records")
    ]
    numbers = ("over", "correlation with the area", "p (Holm)", "prompts")
    caption = "The rank correlation of a number of the prompts with the area under each prompt's curve."
    return table_view("trends", caption, words, numbers, rows, real, 1)


def _pair(line: Mapping[Any, Any], first: str, second: str, between: str) -> Estimate:
    return plain(f"{word(line[first])} {between} {word(line[second])}")


def _p(value: Any) -> Estimate:
    if not isinstance(value, float) or value != value:
        return Estimate("")
    return Estimate("< 0.001" if value < 0.001 else f"{value:.3f}", value)
