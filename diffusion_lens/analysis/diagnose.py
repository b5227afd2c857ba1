"""`diagnose`: for each thing that a prompt states, where it is lost, and whether a cheap repair helps."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from diffusion_lens.analysis.decodable import probe_check
from diffusion_lens.analysis.diagnosable import ask_diagnosis
from diffusion_lens.analysis.significance import holm, sign_flip_test
from diffusion_lens.analysis.statistics import DEFAULT, Resampling, mean_interval
from diffusion_lens.analysis.verdicts_of_checks import READABLE, find_verdict
from diffusion_lens.checks.checks import Check, CheckedPrompt
from diffusion_lens.errors import CheckError

if TYPE_CHECKING:
    from diffusion_lens.lens.lens import DiffusionLens
    from diffusion_lens.scoring.scorer import Scorer

__all__ = ["Diagnosis", "compare_repairs", "diagnose"]

# what these kinds of checks ask can be answered on an image that shows the thing alone
_OF_A_THING = ("attribute", "count", "relation", "axis", "order")


@dataclass(frozen=True)
class Diagnosis:
    """What became of each check of a prompt.

    Attributes:
        prompt: the prompt.
        model: the model.
        native_layer: the layer that the pipeline reads.
        atoms: one row by check: `check`, `question`, `verdict` (see `verdicts_of_checks`), `layer` (the
            earlier layer that draws it, or the last that holds it), `native` (the rate of the pipeline's
            own images), `decodable` (where the pipeline reads: "yes", "no" or "not known"), `held_out` (the
            rate of the unrepaired images of the held-out seeds; missing where nothing is lost), `unjudged`
            (why images were not judged, the commonest reason; empty where all were).
        rates: one row by check and layer: `rate`, and `probe`, the share of held-out captions that a probe
            reads right, and `reads_prompt`.
        images: all images: `repair` is empty for those of the layers, "none" for the control.
        repairs: one row by repair, over the checks that could be judged on the pipeline's own images:
            `right` (the share of them that its images meet), `control`, `difference` with `low` and `high`
            (t intervals over seeds), `p` (by flipping signs) and `p_holm`, `seeds` (those judged under
            both), and the rate of each check; empty where nothing is lost.
        refused: why a repair can't be made, by name.
    """

    prompt: str
    model: str
    native_layer: int
    atoms: pd.DataFrame
    rates: pd.DataFrame
    images: pd.DataFrame
    repairs: pd.DataFrame
    refused: Mapping[str, str]


def diagnose(
    lens: "DiffusionLens",
    prompt: str,
    seeds: Sequence[int] = (0, 1, 2, 3),
    held_out: Sequence[int] = tuple(range(100, 108)),
    *,
    scorer: "str | Scorer | Sequence[Scorer]" = "oracle",
    given: Sequence[CheckedPrompt] = (),
    enough: float = 0.75,
    pairs: int = 40,
    device: str | None = None,
    **options: Any,
) -> Diagnosis:
    """Find where each check of a prompt is lost, and try repairs on seeds that they were not chosen by.

    Args:
        lens: the model.
        prompt: the prompt.
        seeds: those that every layer is drawn with.
        held_out: other seeds, with which repairs are drawn beside the unrepaired prompt.
        scorer: who answers; a registered name, a scorer, or several.
        given: checks of the prompt; if left out, what its words state.
        enough: the share of right images from which on a check counts as drawn.
        pairs: pairs of captions that each probe is fitted on; 0 fits none.
        device: where the scorer's model runs.
        options: further arguments of a call of the lens, such as `steps`.

    Raises:
        InputError: the prompt is empty, a seed is among both, or the shares or numbers can't be.
        CheckError: the scorer can judge nothing of the prompt.
        PromptError, SamplerError, ScorerError: something asked for can't be.
    """
    from diffusion_lens.models.embedded import EMBEDDED
    from diffusion_lens.models.encoder_variants import base_model
    from diffusion_lens.scoring.judge_images import judge_images
    from diffusion_lens.scoring.repairs import draw_repairs, propose_repairs

    asked = ask_diagnosis(
        prompt,
        seeds,
        held_out,
        scorer=scorer,
        given=given,
        enough=enough,
        pairs=pairs,
        model=lens.name,
        device=device,
    )
    seeds, held_out, checks = asked.seeds, asked.held_out, asked.checks
    judge = partial(judge_images, prompt=prompt, scorer=asked.judges, given=given, model=lens.name)
    _check_answers(
        judge(lens(prompt, "native", seeds[:1], progress=False, **options).table), prompt, checks
    )
    plan = lens.plan()
    encoder = plan.reference
    layers = ["all", "native"]
    drawn = lens(prompt, layers, seeds, progress=False, **options).table.assign(repair="")
    native = drawn["native"].astype(bool)
    known = base_model(lens.name) in EMBEDDED and pairs > 0
    answers = judge(drawn)
    atoms, rates, lost = [], [], []
    for check in checks:
        here = _values(answers, check.id).reindex(drawn["cell"]).to_numpy()
        by_layer = pd.Series(here).groupby(drawn["layer"].to_numpy()).mean()
        rate = float(np.mean(here[native.to_numpy()]))
        read = probe_check(lens, prompt, check, encoder, pairs) if known else None
        verdict, layer = find_verdict(by_layer.to_dict(), rate, read, plan.native_layer, enough=enough)
        if verdict not in ("drawn", "not judged"):
            lost.append(check)
        holds = (
            "not known" if read is None else "yes" if plan.native_layer in read.layers(READABLE) else "no"
        )
        atoms.append(
            {
                "check": check.id,
                "question": check.question,
                "verdict": verdict,
                "layer": layer,
                "native": rate,
                "decodable": holds,
                "unjudged": _why_unjudged(answers, check.id),
            }
        )
        rates += [
            {
                "check": check.id,
                "layer": int(number),
                "rate": float(by_layer[number]),
                "probe": np.nan if read is None else float(read.accuracy[int(number)]),
                "reads_prompt": None if read is None else bool(read.reads_prompt[int(number)]),
            }
            for number in by_layer.index
        ]
    table = pd.DataFrame(rates)
    refused: dict[str, str] = {}
    repairs, images = pd.DataFrame(), drawn
    if lost:
        before = table[table["layer"] < plan.native_layer].groupby("layer")["rate"].mean()
        best = None if before.empty or before.isna().all() else int(before[::-1].idxmax())
        tried, refused = draw_repairs(
            lens, prompt, propose_repairs(prompt, checks, lost, best), held_out, **options
        )
        judged = [str(row["check"]) for row in atoms if row["verdict"] != "not judged"]
        repairs = compare_repairs(tried, judge(tried), judged)
        images = pd.concat([drawn, tried], ignore_index=True)
    control = repairs.iloc[0] if lost else {}
    found = pd.DataFrame(atoms).assign(held_out=[float(control.get(one.id, np.nan)) for one in checks])
    return Diagnosis(prompt, lens.name, plan.native_layer, found, table, images, repairs, refused)


def compare_repairs(
    tried: pd.DataFrame,
    answers: pd.DataFrame,
    checks: Sequence[str],
    *,
    resampling: Resampling = DEFAULT,
) -> pd.DataFrame:
    """Repairs beside the unrepaired prompt, seed by seed; see `Diagnosis.repairs`.

    Args:
        tried: rows with the columns `repair`, `seed` and `cell`; "none" is the control.
        answers: of `judge_images`.
        checks: the ids of the checks that count.
        resampling: the level of the intervals.
    """
    values = {check: _values(answers, check) for check in checks}
    met = tried[["repair", "seed", "cell"]].assign(
        **{check: one.reindex(tried["cell"]).to_numpy() for check, one in values.items()}
    )
    met["right"] = met[list(checks)].mean(axis=1, skipna=False)
    by_seed = met.pivot(index="seed", columns="repair", values="right")
    rows = []
    for name in dict.fromkeys(met["repair"]):
        here = met[met["repair"] == name]
        change = (by_seed[name] - by_seed["none"]).to_numpy(dtype=float)
        difference, low, high = mean_interval(change, resampling.level)
        rows.append(
            {
                "repair": name,
                # of the seeds that are judged under both, as the difference is
                "right": float(by_seed.loc[np.isfinite(change), name].mean()),
                "control": float(by_seed.loc[np.isfinite(change), "none"].mean()),
                "difference": np.nan if name == "none" else difference,
                "low": np.nan if name == "none" else low,
                "high": np.nan if name == "none" else high,
                "p": np.nan if name == "none" else sign_flip_test(change, resampling),
                "seeds": int(np.isfinite(change).sum()),
                **{check: float(here[check].mean()) for check in checks},
            }
        )
    found = pd.DataFrame(rows)
    found.insert(found.columns.get_loc("p") + 1, "p_holm", holm(found["p"].to_numpy(dtype=float)))
    return found


def _check_answers(answers: pd.DataFrame, prompt: str, checks: Sequence[Check]) -> None:
    """Refuse, by the answers to the first image, a prompt of which a scorer can tell nothing.

    Where all checks are of a thing that has to be there, other images may show it.

    Raises:
        CheckError: every answer is missing.
    """
    answers = answers[answers["check"].isin([one.id for one in checks])]
    if all(one.kind in _OF_A_THING for one in checks) or answers.empty:
        return
    if answers["label"].isna().all() and answers["p"].isna().all():
        reasons = "; ".join(answers["reason"].dropna().unique()[:2]) or "it does not say why"
        raise CheckError(
            f"{answers['scorer'].iloc[0]} can judge nothing of {prompt!r} ({reasons}). Give checks that it "
            "can judge (a file of checks), or another scorer."
        )


def _why_unjudged(answers: pd.DataFrame, check: str) -> str:
    here = answers[(answers["check"] == check) & answers["label"].isna() & answers["p"].isna()]
    reasons = here["reason"].dropna().mode()
    return "" if reasons.empty else str(reasons.iloc[0])


def _values(answers: pd.DataFrame, check: str) -> "pd.Series[float]":
    """The answers to one check by cell, as numbers."""
    here = answers[answers["check"] == check].set_index("run")
    label = here["label"].astype("Float64").fillna(here["p"].astype("Float64"))
    return label.astype(float)
