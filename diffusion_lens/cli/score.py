"""`diffusion-lens score`."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro
from rich.table import Table

from diffusion_lens.cli.console import fail, out, say
from diffusion_lens.cli.options import Device, Run, default
from diffusion_lens.cli.verbs import Topic, verb
from diffusion_lens.runs.experiment import ScorerName

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from diffusion_lens.checks.checks import CheckedPrompt
    from diffusion_lens.scoring.registry import Models
    from diffusion_lens.scoring.score_run import Scored, Settings

__all__ = ["run_scorers", "score"]


@verb(
    "score",
    Topic.SCORE,
    examples=[
        "diffusion-lens score runs/relations --scorer oracle similarity",
        "diffusion-lens score runs/relations --scorer clip --clip openai/clip-vit-base-patch32",
    ],
)
def score(
    run: Run,
    /,
    scorer: Annotated[tuple[ScorerName, ...], tyro.conf.arg(metavar="SCORER [SCORER ...]")],
    checks: Annotated[Path | None, default("those of the prompts", "FILE")] = None,
    clip: Annotated[str, tyro.conf.arg(metavar="MODEL")] = "emoji-clip",
    vqa: Annotated[str, tyro.conf.arg(metavar="MODEL")] = "Qwen/Qwen2.5-VL-3B-Instruct",
    endpoint: Annotated[str | None, default("none", "URL")] = None,
    endpoint_model: Annotated[str | None, default("the first one there", "MODEL")] = None,
    detector: Annotated[str, tyro.conf.arg(metavar="MODEL")] = "google/owlv2-base-patch16-ensemble",
    dinov2: Annotated[str, tyro.conf.arg(metavar="MODEL")] = "facebook/dinov2-small",
    device: Device = None,
    baselines: bool = True,
    seed: int = 0,
    images_at_once: int = 64,
) -> None:
    """Score the images of a run. The same command scores what was drawn since.

    Each scorer writes RUN/scores/SCORER.parquet. The checks of an image come from --checks, from its
    prompt's metadata (GenEval, DSG, TIFA, a template), or from its words where the testbed's grammar can
    parse them; one more check asks for every prompt as a whole.

    Args:
        scorer: One or more of oracle (exact, for emoji scenes), clip (CLIPScore, and a choice between
            captions), vqa and endpoint (yes or no from a model that reads images, on this machine or
            behind an address), detect (objects, counts, places and colours from a detector), similarity
            (change from layer to layer and to the last one, by pixels and SSIM), and similarity-clip and
            similarity-dinov2 (the same by vectors).
        checks: A file of checks: .jsonl (ours, or GenEval's), .csv (DSG), .json (TIFA).
        clip: An embedded model with a CLIP, a folder, or a hub id.
        vqa: A folder or hub id of an image-text-to-text model.
        endpoint: The address of a server that offers OpenAI's chat completions; its key is read from
            OPENAI_API_KEY.
        endpoint_model: The model of that server to ask.
        detector: A folder or hub id of a detector, either of COCO's classes or one that searches for
            words.
        dinov2: A folder or hub id of a DINOv2 model.
        baselines: Do not score shuffled prompts, blank images and noise images.
        seed: The seed of the order of images and of the shuffled prompts.
        images_at_once: How many images are held in memory.
    """
    from diffusion_lens.checks.assign import read_given
    from diffusion_lens.errors import InputError
    from diffusion_lens.scoring.registry import Models
    from diffusion_lens.scoring.score_run import Settings

    if not scorer:
        raise InputError("No scorer was given. For example: --scorer oracle")
    if images_at_once < 1:
        raise InputError(f"--images-at-once is {images_at_once}; it must be 1 or more.")
    from diffusion_lens.models.load import choose_device

    chosen = choose_device(device)
    models = Models(clip, vqa, endpoint, endpoint_model, detector, dinov2, chosen)
    settings = Settings(baselines, seed, images_at_once)
    run_scorers(run, scorer, models, read_given(checks) if checks else [], settings)


def run_scorers(
    run: str,
    names: "Sequence[str]",
    models: "Models",
    given: "Sequence[CheckedPrompt]" = (),
    settings: "Settings | None" = None,
) -> None:
    """Score a run and report; exits with code 2 where a scorer failed, once the others are done."""
    from diffusion_lens.scoring.registry import make_scorers
    from diffusion_lens.scoring.score_run import Settings, score_run

    scorers, failed = make_scorers(names, models)
    found = score_run(run, scorers, given=given, settings=settings or Settings()) if scorers else []
    failed |= {one.scorer: one.failed for one in found if one.failed is not None}
    _report(run, found)
    for name, reason in failed.items():
        fail(f"{name}: {reason}")
    if failed:
        sys.exit(2)


def _report(run: str, found: "list[Scored]") -> None:
    """What each scorer says, next to what it says where nothing is to be found."""
    from diffusion_lens.scoring.baselines import BASELINES

    page = Table(box=None)
    for name in ("scorer", "check", "images", "mean", *BASELINES, "chance"):
        page.add_column(name, no_wrap=True, min_width=max(4, len(name)))
    for one in found:
        if one.table.empty:
            continue
        real = one.table[one.table["baseline"] == ""]
        for check, rows in real.groupby("check", sort=True):
            same = one.table[one.table["check"] == check]
            means = [_mean(same[same["baseline"] == name]) for name in BASELINES]
            chance = rows["chance"].dropna()
            page.add_row(
                one.scorer, str(check), str(_answered(rows)), _mean(rows),
                *means, f"{chance.mean():.2f}" if len(chance) else "",
            )  # fmt: skip
    if page.row_count:
        out.print(page)
    for one in found:
        for reason, count in sorted(one.missing.items(), key=lambda item: -item[1])[:5]:
            say(f"{one.scorer}: {count} answers are missing: {reason}")
        if one.path:
            say(f"scores  {run.rstrip('/')}/{one.path}  ({one.new} images scored now)")


def _answered(rows: "pd.DataFrame") -> int:
    return int((rows["label"].notna() | rows["p"].notna()).sum())


def _mean(rows: "pd.DataFrame") -> str:
    """Rate of right ones; where there are no labels, the mean of p."""
    labels = rows["label"].dropna()
    values = labels.astype(float) if len(labels) else rows["p"].dropna().astype(float)
    return f"{values.mean():.2f}" if len(values) else ""
