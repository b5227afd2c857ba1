"""Cheap repairs of a prompt whose images lack what it states, and images of each beside the unrepaired."""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from diffusion_lens.checks.checks import Check
from diffusion_lens.errors import InputError, PromptError
from diffusion_lens.lens.lens import DiffusionLens
from diffusion_lens.text.interventions import Contextless, Drop, Intervention, Scale

__all__ = ["Repair", "draw_repairs", "propose_repairs", "words_of"]

_STRONGER = 1.5


@dataclass(frozen=True)
class Repair:
    """Another conditioning of the same prompt.

    Attributes:
        name: in words.
        layer: what is drawn: a layer, or "native".
        interventions: what is changed in the states.
    """

    name: str
    layer: int | str = "native"
    interventions: tuple[Intervention, ...] = ()


def words_of(prompt: str, checks: Collection[Check]) -> list[str]:
    """The words of a prompt that its checks are about, in its order."""
    about = {
        word
        for check in checks
        for text in (check.subject, check.attribute, check.target, check.relation)
        if text
        for word in re.findall(r"\w+", text.lower())
    }
    words = dict.fromkeys(re.findall(r"\w+", prompt))
    return [word for word in words if {word.lower(), word.lower().removesuffix("s")} & about]


def propose_repairs(
    prompt: str, checks: Sequence[Check], lost: Collection[Check], layer: int | None
) -> list[Repair]:
    """The repairs to try.

    Args:
        prompt: the prompt.
        checks: all of its checks.
        lost: those that are lost.
        layer: the earlier layer that draws most of the prompt; None if there is none.
    """
    found = [] if layer is None else [Repair(f"conditioning from layer {layer}", layer)]
    words = words_of(prompt, lost)
    if words:
        tokens = ";".join(f"word:{word}" for word in words)
        named = ", ".join(words)
        found += [
            Repair(f"{named} without context", interventions=(Contextless(tokens),)),
            Repair(f"{named} stronger", interventions=(Scale(tokens, _STRONGER),)),
        ]
    meant = words_of(prompt, checks)
    rest = [word for word in dict.fromkeys(re.findall(r"\w+", prompt)) if word not in meant]
    if meant and rest:
        tokens = ";".join(f"word:{word}" for word in rest)
        found.append(Repair(f"without {', '.join(rest)}", interventions=(Drop(tokens),)))
    return found


def draw_repairs(
    lens: DiffusionLens,
    prompt: str,
    repairs: Sequence[Repair],
    seeds: Sequence[int],
    **options: Any,
) -> tuple[pd.DataFrame, dict[str, str]]:
    """Images of a prompt under each repair and, first, under none.

    Args:
        lens: the model.
        prompt: the prompt.
        repairs: the repairs.
        seeds: those that no repair was chosen by.
        options: further arguments of a call of the lens.

    Returns:
        The table of a result with a column `repair`, "none" for the unrepaired images; and why some repairs
        can't be made, by name.
    """
    tables, refused = [], {}
    for one in (Repair("none"), *repairs):
        try:
            drawn = lens(
                prompt, one.layer, seeds, interventions=one.interventions, progress=False, **options
            )
        except (InputError, PromptError) as error:
            if one.name == "none":
                raise
            refused[one.name] = str(error)
            continue
        tables.append(drawn.table.assign(repair=one.name))
    return pd.concat(tables, ignore_index=True), refused
