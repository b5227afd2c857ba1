"""`diffusion-lens sheet write` and `sheet read`: people as scorers of a run."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import tyro

from diffusion_lens.cli.console import say

__all__ = ["SHEET", "read", "write"]


def write(
    run: Annotated[str, tyro.conf.Positional],
    /,
    out: Path = Path("sheet.html"),
    images: int = 140,
    kinds: tuple[str, ...] = (),
    checks: Path | None = None,
    show_prompt: bool = False,
    seed: int = 0,
    overwrite: bool = False,
) -> None:
    """Write a blinded, shuffled page of a run's images and questions, which saves answers as csv.

    The key, which says what each image is, goes beside the page as .key.csv: keep it from raters.

    Args:
        run: the run's folder, or a URL of fsspec.
        out: the page.
        images: how many, spread evenly over the layers.
        kinds: only checks of these kinds, such as object attribute.
        checks: a file of checks, as for `score`.
        show_prompt: show the prompt above the question.
        seed: of the draw and of the order.
        overwrite: replace files that exist.
    """
    from diffusion_lens.checks.assign import read_given
    from diffusion_lens.scoring.sheet import write_sheet
    from diffusion_lens.scoring.sheet_sample import sample_questions

    given = read_given(checks) if checks else []
    questions = sample_questions(run, images=images, kinds=kinds, given=given, seed=seed)
    key = write_sheet(out, questions, show_prompt=show_prompt, seed=seed, overwrite=overwrite)
    say(f"page  {out}  ({len(questions)} questions)\nkey   {key}")


def read(
    run: Annotated[str, tyro.conf.Positional],
    answers: Annotated[Path, tyro.conf.Positional],
    /,
    key: Path,
    rater: str = "human",
) -> None:
    """Make scores of the answers that a page saved, beside the run's other scores.

    Args:
        run: the run's folder.
        answers: the csv file.
        key: the page's key.
        rater: what to call the scorer; name several apart, such as human:ann.
    """
    from diffusion_lens.errors import InputError
    from diffusion_lens.scoring import table as scores
    from diffusion_lens.scoring.sheet import read_answers

    if not (Path(run) / "manifest.json").exists():
        raise InputError(f"{run} is no run's folder; name the one that the page was written from.")
    table = read_answers(answers, key, scorer=rater)
    (path,) = scores.write(table, run)
    say(f"scores  {path}  ({int(table['label'].notna().sum())} answers of {len(table)})")


SHEET: dict[str, Callable[..., Any]] = {"write": write, "read": read}
