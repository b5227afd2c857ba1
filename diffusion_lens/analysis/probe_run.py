"""Probes of a run: what linear probes read off the states of its prompts, beside what its images show."""

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd

from diffusion_lens.analysis.parents import of_all
from diffusion_lens.analysis.probes import probe
from diffusion_lens.analysis.statistics import DEFAULT, Resampling, of_means
from diffusion_lens.checks.checks import WHOLE, CheckedPrompt, Kind
from diffusion_lens.checks.choices import value_of
from diffusion_lens.errors import InputError

if TYPE_CHECKING:
    from diffusion_lens.text.states import LayerStates

__all__ = ["Found", "beside_images", "facts_of", "probe_checks"]

log = logging.getLogger(__name__)

Found = Literal["decodable, not drawn", "drawn, not decodable", "both", "neither"]


def facts_of(asked: Sequence[CheckedPrompt], least: int = 4) -> dict[str, tuple[Kind, dict[str, str]]]:
    """What probes can be fitted on: the fact that each check asks for, by check and prompt.

    Of the colour of the first thing ("attribute-0") the facts are colours, of a relation where things
    stand. Facts of fewer than `least` prompts are left out, and so are checks with fewer than two facts.

    Args:
        asked: the prompts of a run and their checks.
        least: how many prompts a fact needs.

    Returns:
        By the id of a check its kind, and the fact of each prompt, by its id.
    """
    found: dict[str, tuple[Kind, dict[str, str]]] = {}
    for prompt in asked:
        for check in prompt.checks:
            value = value_of(check)
            if check.id != WHOLE and value is not None:
                found.setdefault(check.id, (check.kind, {}))[1][prompt.prompt_id] = value
    kept = {}
    for name, (kind, facts) in found.items():
        counts = pd.Series(facts).value_counts()
        known = {one: fact for one, fact in facts.items() if counts[fact] >= least}
        if len(set(known.values())) > 1:
            kept[name] = (kind, known)
        else:
            log.warning("%s is not probed: fewer than two of its facts are of %d prompts.", name, least)
    return kept


def probe_checks(
    states: "LayerStates",
    asked: Sequence[CheckedPrompt],
    *,
    run: str = "",
    last: int | None = None,
    folds: int = 5,
    least: int = 4,
    seed: int = 0,
) -> pd.DataFrame:
    """Read each check of a run's prompts off the states, each prompt by a probe that never saw it.

    A probe is a multinomial logistic regression with a ridge penalty on the mean of a prompt's tokens, with
    the controls of `probes.probe`.

    Args:
        states: those of the prompts, in their order.
        asked: the prompts and their checks.
        run: the run.
        last: the encoder's last layer, if the states do not hold it.
        folds: of cross-validation.
        least: how many prompts a fact needs.
        seed: of folds and shuffling.

    Returns:
        A table of scores; see `probes.probe`.

    Raises:
        InputError: there is no check that a probe can be fitted on.
    """
    places = {prompt.prompt_id: number for number, prompt in enumerate(asked)}
    tables = []
    for check, (kind, facts) in facts_of(asked, least).items():
        names = list(facts)
        part = type(states).join([states[places[name]] for name in names])
        tables.append(
            probe(
                part,
                list(facts.values()),
                check=check,
                kind=kind,
                prompt_ids=names,
                folds=folds,
                run=run,
                last=last,
                seed=seed,
            )
        )
    if not tables:
        raise InputError(
            f"No check of these prompts can be probed: a probe needs two facts, such as two colours, of "
            f"{least} prompts each. Give a run with more prompts, or a smaller --least."
        )
    found = pd.concat(tables, ignore_index=True)
    # as in the scores of the images, beside which they are drawn
    return found.assign(category=found["prompt_id"].map({one.prompt_id: one.category for one in asked}))


def beside_images(
    probed: pd.DataFrame, drawn: pd.DataFrame, *, resampling: Resampling = DEFAULT
) -> pd.DataFrame:
    """Each check and layer: how often a probe reads it and how often images show it, over the same prompts.

    A check is decodable at a layer where the interval of the probe's rate is above the rates of both
    controls. It is decodable and not drawn where besides the probe is right more often than the images;
    drawn and not decodable where it is not decodable and the images are right more often; each beyond the
    interval over prompts.

    Args:
        probed: of `probe_checks`.
        drawn: scores of the images of the same run, of one scorer.
        resampling: the level of the intervals.

    Returns:
        One row by check and layer that both have: `probe`, `drawn` and `difference` with their intervals,
        `shuffled` and `majority` (the controls), `prompts`, `found` (see `Found`).
    """
    images = of_all(drawn)
    rows = []
    for (check, layer), here in probed.groupby(["check", "layer"], sort=False):
        shown = images[(images["check"] == check) & (images["layer"] == layer)]
        means = {
            name: here[here["scorer"] == name].groupby("prompt_id")["label"].mean().astype(float)
            for name in ("probe", "probe-shuffled", "probe-majority")
        }
        means["drawn"] = shown.groupby("prompt_id")["label"].mean().astype(float)
        both = pd.DataFrame(means).dropna()
        if both.empty:
            continue
        pair = of_means(both[["probe", "drawn"]].to_numpy())
        low, high = pair.shares(resampling.level)
        change = of_means((both["probe"] - both["drawn"]).to_numpy()[:, None])
        change_low, change_high = (float(end[0]) for end in change.normal(resampling.level))
        controls = both[["probe-shuffled", "probe-majority"]].mean()
        difference = float(change.estimate[0])
        # without any variation there is no interval, and the difference is what it is
        ends = [difference if np.isnan(end) else end for end in (change_low, change_high)]
        decodable = bool(low[0] > controls.max())
        found: Found = "both" if decodable else "neither"
        if decodable and ends[0] > 0:
            found = "decodable, not drawn"
        elif not decodable and ends[1] < 0:
            found = "drawn, not decodable"
        rows.append(
            {
                "check": check,
                "layer": layer,
                "probe": pair.estimate[0],
                "probe_low": low[0],
                "probe_high": high[0],
                "drawn": pair.estimate[1],
                "drawn_low": low[1],
                "drawn_high": high[1],
                "difference": difference,
                "low": change_low,
                "high": change_high,
                "shuffled": float(controls.iloc[0]),
                "majority": float(controls.iloc[1]),
                "prompts": len(both),
                "found": found,
            }
        )
    if not rows:
        raise InputError("The probes and the images have no check and layer in common.")
    return pd.DataFrame(rows)
