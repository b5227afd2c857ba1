"""`diagnosis_page`: a diagnosis as one HTML file, with its images inside."""

import math
from dataclasses import dataclass
from typing import Any

import pandas as pd

import diffusion_lens
from diffusion_lens.analysis.diagnose import Diagnosis
from diffusion_lens.analysis.verdicts_of_checks import VERDICTS
from diffusion_lens.lens.thumbnails import data_address, thumbnail
from diffusion_lens.pages.templates import number, render

__all__ = ["diagnosis_page", "summarize"]


@dataclass(frozen=True)
class _Cell:
    """One image: its layer or seed, and its address; None for one that is missing."""

    label: str
    source: str | None


def summarize(found: Diagnosis) -> str:
    """The diagnosis in a sentence or two."""
    judged = found.atoms[found.atoms["verdict"] != "not judged"]
    if judged.empty:
        why = "; ".join(dict.fromkeys(filter(None, found.atoms["unjudged"]))) or "it does not say why"
        return f"The scorer could judge none of these images ({why}), so that nothing can be said of them."
    lost = judged[judged["verdict"] != "drawn"]
    if lost.empty:
        whole = "The only thing" if len(judged) == 1 else f"All {len(judged)} things"
        return f"{whole} that the prompt states and the scorer can judge {_are(judged)} drawn."
    said = f"{len(lost)} of {len(judged)} things that the prompt states {_are(lost)} lost."
    tried = found.repairs[found.repairs["repair"] != "none"]
    if tried.empty:
        return f"{said} No repair could be tried."
    if not tried["seeds"].any():
        return f"{said} No repair is compared: no held-out seed is judged on all of these checks."
    helped = tried[(tried["difference"] > 0) & (tried["p_holm"] < 0.05)]
    if len(helped):
        best = helped.sort_values("difference").iloc[-1]
        return f"{said} {best['repair']} brings back {best['difference']:.0%} on held-out seeds."
    return f"{said} No repair that was tried is better than none beyond chance, on held-out seeds."


def _are(atoms: pd.DataFrame) -> str:
    return "is" if len(atoms) == 1 else "are"


def diagnosis_page(found: Diagnosis) -> str:
    """The page of a diagnosis."""
    images = found.images
    drawn = images[images["repair"] == ""]
    seed = int(drawn["seed"].iloc[0])
    layers = drawn[drawn["seed"] == seed].drop_duplicates("layer")
    checks = list(found.atoms["check"])
    questions = dict(zip(found.atoms["check"], found.atoms["question"], strict=True))
    return render(
        "diagnosis.html",
        prompt=found.prompt,
        model=found.model,
        summary=summarize(found),
        atoms=[
            {
                **row,
                "layer": _whole(row["layer"]),
                "right": _counted(row["native"], drawn["seed"].nunique()),
            }
            for row in found.atoms.to_dict("records")
        ],
        native_layer=found.native_layer,
        seed=seed,
        seeds=int(drawn["seed"].nunique()),
        layers=[_cell(row, "layer") for row in layers.to_dict("records")],
        curves=[row for check in checks for row in _curve(found.rates, check, questions[check])],
        repairs=[_repair(row, images, checks) for row in found.repairs.to_dict("records")],
        held_out=int(images.loc[images["repair"] != "", "seed"].nunique()),
        refused=found.refused,
        verdicts=VERDICTS,
        version=diffusion_lens.__version__,
    )


def _cell(row: "dict[Any, Any]", label: str) -> _Cell:
    image = row["image"]
    return _Cell(str(row[label]), None if image is None else data_address(thumbnail(image)))


def _curve(rates: pd.DataFrame, check: str, question: str) -> list[dict[str, Any]]:
    """The rows of one check: of its images, and of the probe where one was fitted."""
    here = rates[rates["check"] == check].sort_values("layer")
    rows = [{"question": question, "of": "images", "cells": [number(one, ".0%") for one in here["rate"]]}]
    if here["probe"].notna().any():
        pairs = zip(here["probe"], here["reads_prompt"], strict=True)
        rows.append(
            {
                "question": question,
                "of": "probe",
                "cells": [f"{number(one, '.0%')}{' *' if reads else ''}" for one, reads in pairs],
            }
        )
    return rows


def _repair(row: "dict[Any, Any]", images: pd.DataFrame, checks: list[str]) -> dict[str, Any]:
    here = images[images["repair"] == row["repair"]]
    ends = f" [{row['low']:+.2f}, {row['high']:+.2f}]" if math.isfinite(row["low"]) else ""
    return {
        "name": "no repair (control)" if row["repair"] == "none" else row["repair"],
        "right": row["right"],
        "difference": number(row["difference"], "+.2f") + ends,
        "p": row["p_holm"],
        "checks": [row.get(check, math.nan) for check in checks],
        "images": [_cell(one, "seed") for one in here.to_dict("records")],
    }


def _counted(rate: float, seeds: int) -> str:
    """A share of a few images as a count; the share itself where a scorer answers in shares."""
    right = rate * seeds
    if math.isnan(rate):
        return "not known"
    return f"{right:.0f} of {seeds}" if math.isclose(right, round(right)) else f"{rate:.0%} of {seeds}"


def _whole(layer: float | None) -> str:
    return "" if layer is None or math.isnan(layer) else str(int(layer))
