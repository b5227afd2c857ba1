"""The manifest of a run: what it draws, and whether an experiment may resume it."""

import json
from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

import pyarrow.parquet as pq

from diffusion_lens.errors import DiffusionLensError, RunError
from diffusion_lens.models.digest import ModelDigest
from diffusion_lens.runs.experiment import Experiment, Prompt
from diffusion_lens.runs.plan import Plan, Resolved, make_plan
from diffusion_lens.runs.store import Scan, Store
from diffusion_lens.runs.values import check_prompt

__all__ = ["check_model", "check_same", "describe_plan", "load_plan", "name_cells", "still_resolved"]

FORMAT = 2
"""Of the manifest and the table; runs of version 0.1 of the package have format 1."""
_FIXED = ("model", "revision", "family", "encoder_families", "text_encoders", "pooled", "slots")


def describe_plan(plan: Plan) -> dict[str, Any]:
    """The content of manifest.json, as it will be read back."""
    described = {
        "format": FORMAT,
        "experiment": plan.experiment.to_dict(),
        "prompts": [[one.prompt, dict(one.metadata)] for one in plan.prompts],
        "resolved": plan.resolved.to_dict(),
        "cells": len(plan),
    }
    return dict(json.loads(json.dumps(described)))


def load_plan(manifest: Any) -> Plan:
    """The plan of a run.

    Args:
        manifest: what manifest.json holds.

    Raises:
        RunError: it is damaged, or of another version of the package.
    """
    if not isinstance(manifest, Mapping):
        raise RunError("The run's manifest.json is no manifest of a run; it was overwritten or damaged.")
    if manifest.get("format") != FORMAT:
        raise RunError(
            f"The run is of format {manifest.get('format')!r}, and this version of the package reads "
            f"format {FORMAT}. Runs of version 0.1 are read by that version (pip install "
            "'diffusion-lens<0.2'); or draw the experiment again into another --out."
        )
    try:
        experiment = Experiment.from_dict(manifest["experiment"])
        prompts = [Prompt(text, dict(metadata)) for text, metadata in manifest["prompts"]]
        for prompt in prompts:
            check_prompt(prompt)
        return make_plan(experiment, prompts, Resolved.from_dict(manifest["resolved"]))
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError, DiffusionLensError) as error:
        raise RunError(
            "The run's manifest.json is damaged, or was written by another version of the package "
            f"({type(error).__name__}: {error}). Draw the experiment again into another --out."
        ) from error


def check_same(url: str, before: Plan, experiment: Experiment) -> None:
    """Refuse settings that would give one table two kinds of images."""
    old = before.experiment
    pairs = {name: (getattr(old, name), getattr(experiment, name)) for name in _FIXED}
    for one in fields(old.sampler):
        pairs[f"sampler.{one.name}"] = (
            getattr(old.sampler, one.name),
            getattr(experiment.sampler, one.name),
        )
    pairs["approximations"] = (str(old.approximations), str(experiment.approximations))
    if experiment.machine.dtype is not None:
        pairs["machine.dtype"] = (before.resolved.dtype, experiment.machine.dtype)
    changed = [f"{name} was {was!r} and is {now!r}" for name, (was, now) in pairs.items() if was != now]
    if changed:
        raise RunError(
            f"{url} was made with other settings: {'; '.join(changed)}. Prompts, layers, encoders, seeds, "
            "readouts and interventions may be added to a run; for other settings choose another --out."
        )


def check_model(before: Resolved, now: Mapping[str, Any]) -> None:
    """Refuse a live model that is not the one that a run began with.

    Args:
        before: what it was.
        now: its `fingerprint`, `settings` and `dtype` of now.

    Raises:
        RunError: they differ.
    """
    for name, found in now.items():
        was = getattr(before, name)
        if was != found:
            what = f"its {name} was {was} and is {found}"
            if name == "fingerprint":
                parts = ModelDigest.parse(was).differences(ModelDigest.parse(found))
                what = f"its {', '.join(parts)} changed"
            raise RunError(
                f"The model is not the one that this run began with: {what}. "
                "Use the same model and versions, or another --out."
            )


def still_resolved(before: Plan, experiment: Experiment) -> Resolved | None:
    """What the model said before, unless something new must be asked."""
    asked = ("layers", "encoders", "readouts", "interventions")
    if any(getattr(before.experiment, name) != getattr(experiment, name) for name in asked):
        return None
    return replace(before.resolved, batch_size=experiment.machine.batch_size or before.resolved.batch_size)


def name_cells(store: Store, scan: Scan, cells: frozenset[str], plan: Plan) -> str:
    """By which values some cells of a run differ from those of a plan."""
    readings = plan.resolved.readings
    read = ("encoder", "readout", "slots", "interventions", "site")
    planned: dict[str, set[Any]] = {
        "prompt": {one.prompt for one in plan.prompts},
        **{name: {one.columns()[name] for one in readings} for name in read},
        "seed": {seed for one in plan.prompts for seed in plan.experiment.seeds_of(one.prompt)},
    }
    found: dict[str, set[Any]] = {name: set() for name in planned}
    for part in scan.parts:
        if cells.isdisjoint(part.cells):
            continue
        with store.fs.open(store.path(part.name), "rb") as file:
            table = pq.read_table(file, columns=["cell", *planned])
        for row in table.to_pylist():
            if row["cell"] in cells:
                for name in planned:
                    found[name].add(row[name])
    named = []
    for name, values in found.items():
        strange = sorted(values - planned[name])
        if strange:
            words = strange if name == "site" else map(repr, strange)
            shown = ", ".join([*words][:5]) + (", ..." if len(strange) > 5 else "")
            named.append(f"{'layer' if name == 'site' else name} {shown}")
    return "; ".join(named) or "other settings"
