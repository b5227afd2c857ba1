"""Draw what a study asks for and let the oracle judge it; the same call resumes."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from diffusion_lens.analysis.parents import depends
from diffusion_lens.checks.checks import WHOLE
from diffusion_lens.errors import RunError
from diffusion_lens.lens.lens import DiffusionLens
from diffusion_lens.runs.experiment import Experiment
from diffusion_lens.runs.images import RunImages
from diffusion_lens.scoring.score_run import Settings, score_run
from diffusion_lens.scoring.scorers.oracle import OracleScorer
from diffusion_lens.sweep import run_sweep

__all__ = ["ALL", "ASKED", "KINDS", "answers", "draw", "of_kinds", "settings_of"]

ALL, ASKED = "all images", "where it can be asked"
# what the checks of two objects are called, in the order of the pages
KINDS = {"object": "object", "attribute": "colour", "order": "order"}
_KEPT = ("prompt_id", "layer", "seed", "check", "kind", "readout", "interventions", "of", "right", "reason")


def draw(experiment: Experiment, run: Path, lens: DiffusionLens | None = None) -> pd.DataFrame:
    """The oracle's answers on all images of an experiment, which are drawn where they are not there.

    Args:
        experiment: what to draw.
        run: the folder of its run.
        lens: the live model; it is loaded if left out.

    Returns:
        See `answers`.

    Raises:
        RunError: some can't be drawn.
    """
    failed = run_sweep(experiment, run, lens=lens).failed
    if failed:
        raise RunError(f"{run} lacks {sum(failed.values())} images: {'; '.join(failed)}")
    (scored,) = score_run(run, [OracleScorer()], settings=Settings(baselines=False))
    images = pd.read_parquet(run / "images", columns=["cell", "readout", "interventions"])
    return answers(scored.table.merge(images, on="cell", validate="many_to_one"))


def answers(scores: pd.DataFrame) -> pd.DataFrame:
    """Scores as rows of 0 and 1.

    Args:
        scores: of one scorer.

    Returns:
        `prompt_id`, `layer`, `seed`, `check`, `kind`, `readout`, `interventions`, `of`, `right` and
        `reason`. Each check is there once of all images, wrong where one that it depends on is wrong; and
        those that depend on others once more of the images in which they can be asked.
    """
    settled = depends(scores)
    every = scores.assign(of=ALL, label=scores["label"].mask(settled, False))
    where = scores.assign(of=ASKED, label=scores["label"].mask(settled))[scores["parents"] != ""]
    whole = pd.concat([every, where], ignore_index=True)
    return whole.assign(right=whole["label"].astype("Float64").astype(float)).reindex(columns=_KEPT)


def of_kinds(answers: pd.DataFrame, kinds: Mapping[str, str] = KINDS) -> pd.DataFrame:
    """The answers on some kinds of checks, on one scale each, under the names of the pages.

    Colours and orders are of the images in which they can be asked, all others of all images.

    Args:
        answers: of `draw`.
        kinds: the kinds and their names.
    """
    here = answers[answers["kind"].isin(kinds) & (answers["check"] != WHOLE)]
    depends = ~here["kind"].isin(["object", "global"])
    here = here[here["of"] == depends.map({True: ASKED, False: ALL})]
    return here.assign(kind=here["kind"].map(kinds))


def settings_of(run: Path) -> dict[str, Any]:
    """What a run is, for the page: a row of the table `drawn`."""
    images = RunImages(run)
    asked = images.plan.experiment
    resolved = images.plan.resolved
    return {
        "model": asked.model,
        "prompts": len(images.plan.prompts),
        "seeds": len(asked.seeds),
        "images": len(images.plan),
        **{name: resolved.settings[name] for name in ("steps", "guidance")},
        "dtype": asked.machine.dtype or "float32",
    }
