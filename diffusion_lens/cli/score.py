"""`diffusion-lens score`."""

import sys
from dataclasses import field, fields, make_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import tyro
from docstring_parser import parse
from rich.table import Table

from diffusion_lens.cli.console import fail, out, say
from diffusion_lens.cli.options import Device, Run, default
from diffusion_lens.cli.values import Seed
from diffusion_lens.cli.verbs import Topic, verb
from diffusion_lens.scoring.registry import scorers as registered

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd

    from diffusion_lens.checks.checks import CheckedPrompt
    from diffusion_lens.scoring.score_run import Scored, Settings

__all__ = ["run_scorers", "score"]

_REGISTERED = registered()


def _flags() -> type[Any]:
    """One dataclass of the settings of all scorers; the flags are called --SCORER.SETTING."""
    flags: list[tuple[str, Any, Any]] = []
    for scorer in _REGISTERED.values():
        described = {
            one.arg_name: " ".join((one.description or "").split())
            for one in parse(scorer.settings.__doc__ or "").params
        }
        types = get_type_hints(scorer.settings)
        for one in fields(scorer.settings):
            name = f"{scorer.name}.{one.name.replace('_', '-')}"
            hint = "(default: none)" if one.default in (None, "") else None
            if isinstance(one.default, bool):  # the flag reads as its opposite where it is on
                hint = f"(default: {'on' if one.default else 'off'})"
            shown = tyro.conf.arg(
                name=name, prefix_name=False, help=described.get(one.name), help_behavior_hint=hint
            )
            flag = f"{scorer.name}.{one.name}".replace("-", "_").replace(".", "__")
            flags.append((flag, Annotated[types[one.name], shown], field(default=one.default)))
    return make_dataclass("ScorerFlags", flags, frozen=True)


ScorerFlags = _flags()
_DEFAULTS = ScorerFlags()


def _settings(flags: Any) -> dict[str, Any]:
    """The settings of each scorer, of the flags that were given."""
    return {
        name: scorer.settings(
            **{
                one.name: getattr(flags, f"{name}.{one.name}".replace("-", "_").replace(".", "__"))
                for one in fields(scorer.settings)
            }
        )
        for name, scorer in _REGISTERED.items()
    }


ScorerNames = Annotated[
    tuple[str, ...],
    tyro.conf.arg(
        metavar="SCORER [SCORER ...]",
        help="One or more of "
        + "; ".join(f"{name} ({one.summary})" for name, one in _REGISTERED.items())
        + ".",
    ),
]


@verb(
    "score",
    Topic.SCORE,
    examples=[
        "diffusion-lens score runs/relations --scorer oracle similarity",
        "diffusion-lens score runs/relations --scorer clip --clip.model openai/clip-vit-base-patch32",
    ],
)
def score(
    run: Run,
    /,
    scorer: ScorerNames,
    checks: Annotated[Path | None, default("those of the prompts", "FILE")] = None,
    device: Device = None,
    baselines: Annotated[bool, default("score them")] = True,
    seed: Seed = 0,
    images_at_once: int = 64,
    overwrite: Annotated[bool, tyro.conf.arg(help_behavior_hint="")] = False,
    scorers: ScorerFlags = _DEFAULTS,  # type: ignore[valid-type]
) -> None:
    """Score the images of a run. The same command scores what was drawn since.

    Each scorer writes RUN/scores/SCORER.parquet. The checks of an image come from --checks, from its
    prompt's metadata (GenEval, DSG, TIFA, a template), or from its words where the testbed's grammar can
    parse them; one more check asks for every prompt as a whole.

    Args:
        checks: A file of checks: .csv (your own with the columns prompt, question and kind, or DSG's),
            .json (your own, or TIFA's) or .jsonl (your own, or GenEval's).
        baselines: Do not score shuffled prompts, blank images and noise images.
        seed: The seed of the order of images and of the shuffled prompts.
        images_at_once: How many images are held in memory.
        overwrite: Replace a table that holds answers to other checks, or of other settings of its scorer.
        scorers: The settings of each scorer.
    """
    from diffusion_lens.checks.assign import read_given
    from diffusion_lens.errors import InputError
    from diffusion_lens.models.load import choose_device
    from diffusion_lens.scoring.score_run import Settings

    if not scorer:
        raise InputError("No scorer was given. For example: --scorer oracle")
    if images_at_once < 1:
        raise InputError(f"--images-at-once is {images_at_once}; it must be 1 or more.")
    settings = _settings(scorers)
    given = read_given(checks) if checks else []
    run_scorers(
        run,
        scorer,
        settings,
        choose_device(device),
        given,
        Settings(baselines, seed, images_at_once, overwrite=overwrite),
    )


def run_scorers(
    run: str,
    names: "Sequence[str]",
    of: "Mapping[str, Any] | None" = None,
    device: str = "cpu",
    given: "Sequence[CheckedPrompt]" = (),
    settings: "Settings | None" = None,
) -> None:
    """Score a run and report; exits with code 2 where a scorer failed, once the others are done."""
    from diffusion_lens.scoring.registry import make_scorers
    from diffusion_lens.scoring.score_run import Settings, score_run

    made, failed = make_scorers(names, of, device)
    found = score_run(run, made, given=given, settings=settings or Settings()) if made else []
    failed |= {one.scorer: one.failed for one in found if one.failed is not None}
    _report(run, found)
    for name, reason in failed.items():
        fail(f"{name}: {reason}")
    if failed:
        sys.exit(2)


def _report(run: str, found: "list[Scored]") -> None:
    """The mean answer of each scorer to each check, beside those to the baselines."""
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
            guess = f"{chance.mean():.2f}" if len(chance) else ""
            page.add_row(one.scorer, str(check), str(_answered(rows)), _mean(rows), *means, guess)
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
