"""The part of the findings page that is about the published labels."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from diffusion_lens.analysis.curves import LEAST_PROMPTS
from diffusion_lens.analysis.markdown import markdown, number, p_value, prompt_count

__all__ = ["labels"]

_ANIMALS = (
    "**Common against uncommon animals**: is the animal of the prompt there? The area is the mean "
    "rate over depth, so that what comes earlier has more of it."
)
_NOUNS = (
    "**Which noun comes first**: of the images in which both nouns emerge, how often the one named "
    "first, or second, is there at an earlier layer. Right for the first time, and right from there "
    "on, are two definitions; they can disagree, and the paper does not say which is behind its bars. "
    "The lead is first less second."
)
_RELATIONS = (
    "**Does the relation come after its objects?** It can be right only where both things are, so it "
    "can't come before them. What tells is how the earlier layers answer it where both are there: a "
    "relation that never changes has 1.00 of what ends right and 0.00 of what ends wrong."
)
_NOT_SCORED = (
    "**Marked as not scored**: where the last image was judged wrong, the GPT labels hold no scores "
    "of earlier layers. These cells are missing, and not wrong; so the rates of earlier layers are of "
    "fewer prompts than the last one's."
)
_LIMITS = (
    "**What the released files can't give**: agreement between people, since one label a cell is "
    "released; whether one image was right before, in the strict sense, since the images of two "
    "layers share no noise; the images themselves; the exact words of the questions; and the paper's "
    "bars of noun order, whose definition is not released. Curves as published, given that the last "
    "image is right, are in `tables/published_curves.csv`."
)
_MINUS = "\N{MINUS SIGN}"


def labels(tables: Mapping[str, pd.DataFrame]) -> list[str]:
    """The paper's questions, one after the other; nothing for other tables."""
    lines: list[str] = []
    for meaning, rows in (
        (_ANIMALS, _animals(tables)),
        (_NOUNS, _nouns(tables)),
        (_RELATIONS, _relations(tables)),
        (_NOT_SCORED, _not_scored(tables)),
    ):
        if rows:
            lines += [meaning, "", *rows, ""]
    return [*lines, _LIMITS] if lines else []


def _rows(tables: Mapping[str, pd.DataFrame], name: str) -> list[dict[str, Any]]:
    found = tables.get(name)
    if found is None:
        return []
    shown = found[found["prompts"] >= LEAST_PROMPTS]
    return [{str(key): cell for key, cell in line.items()} for line in shown.to_dict("records")]


def _animals(tables: Mapping[str, pd.DataFrame]) -> list[str]:
    rows = [
        [
            *(line["scorer"], line["run"], {"area": "area", "final": "last layer"}[line["number"]]),
            *(number(line["first"]), number(line["second"])),
            number(line["difference"], line["low"], line["high"], "{:+.2f}"),
            *(p_value(line["p"]), f"{prompt_count(line['prompts'])} / {prompt_count(line['others'])}"),
        ]
        for line in _rows(tables, "label_animals")
    ]
    names = ["scorer", "model", "of", "common", "uncommon", f"common {_MINUS} uncommon", "p", "prompts"]
    return markdown(names, rows)


def _nouns(tables: Mapping[str, pd.DataFrame]) -> list[str]:
    rows = [
        [
            *(line["scorer"], line["run"], line["category"], line["definition"]),
            *(number(line[name]) for name in ("first_earlier", "second_earlier", "tie")),
            number(line["lead"], line["low"], line["high"], "{:+.2f}"),
            *(p_value(line["p"]), prompt_count(line["prompts"])),
        ]
        for line in _rows(tables, "label_nouns")
    ]
    names = [
        "scorer",
        "model",
        "prompts of",
        "emerged",
        "first noun earlier",
        "second noun earlier",
        "same layer",
    ]
    return markdown([*names, "lead", "p", "prompts"], rows)


def _relations(tables: Mapping[str, pd.DataFrame]) -> list[str]:
    rows = [
        [
            *(line["scorer"], line["run"], line["category"], line["end"]),
            number(line["rate"], line["low"], line["high"]),
            *(line["images"], prompt_count(line["prompts"])),
        ]
        for line in _rows(tables, "label_relations")
        if line["layer"] == "all"
    ]
    return markdown(
        ["scorer", "model", "prompts of", "at the last layer", "right before", "images", "prompts"], rows
    )


def _not_scored(tables: Mapping[str, pd.DataFrame]) -> list[str]:
    rows = [
        [
            *(line["scorer"], line["run"], line["category"], line["check"]),
            f"{line['not_scored']} of {line['prompts']}",
            *(number(line["last_layer"]), number(line["last_layer_without"])),
        ]
        for line in _rows(tables, "label_not_scored")
    ]
    names = [
        "scorer",
        "model",
        "prompts of",
        "question",
        "not scored",
        "last layer",
        "last layer without them",
    ]
    return markdown(names, rows)
