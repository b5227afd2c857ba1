"""`diffusion-lens sheet write` and `sheet read`: people as scorers of a run."""

from pathlib import Path
from typing import Annotated

import tyro

from diffusion_lens.cli.console import say
from diffusion_lens.cli.options import Overwrite, Run, check_ending, default, values
from diffusion_lens.cli.values import Seed
from diffusion_lens.cli.verbs import Topic, group, verb

__all__ = ["read", "write"]

group("sheet", "Let people score a run: write a blinded page of its images, and read their answers.")


@verb("sheet write", Topic.SCORE, examples=["diffusion-lens sheet write runs/relations --out sheet.html"])
def write(
    run: Run,
    /,
    out: Path = Path("sheet.html"),
    images: int = 140,
    kinds: Annotated[tuple[str, ...], values("KIND", "all")] = (),
    checks: Annotated[Path | None, default("those of the prompts", "FILE")] = None,
    show_prompt: Annotated[bool, default("hide it")] = False,
    seed: Seed = 0,
    overwrite: Overwrite = False,
) -> None:
    """Write a blinded, shuffled page of a run's images and questions, which saves answers as csv.

    The key, which says what each image is, goes beside the page as .key.csv: keep it from raters.

    Args:
        out: The path of the page.
        images: The number of images, spread evenly over the layers.
        kinds: Ask only checks of these kinds, such as object attribute.
        checks: A file of checks, as for `score`.
        show_prompt: Show the prompt above the question.
        seed: The seed of the choice and the order of images.
    """
    from diffusion_lens.checks.assign import read_given
    from diffusion_lens.scoring.sheet import sample_questions, write_sheet

    check_ending(out, "page", ".html")
    given = read_given(checks) if checks else []
    questions = sample_questions(run, images=images, kinds=kinds, given=given, seed=seed)
    key = write_sheet(out, questions, show_prompt=show_prompt, seed=seed, overwrite=overwrite)
    say(f"page  {out}  ({len(questions)} questions)\nkey   {key}")


@verb(
    "sheet read",
    Topic.SCORE,
    examples=["diffusion-lens sheet read runs/relations answers.csv --key sheet.key.csv --rater human:ann"],
)
def read(
    run: Run,
    answers: Annotated[Path, tyro.conf.Positional],
    /,
    key: Path,
    rater: Annotated[str, tyro.conf.arg(metavar="NAME")] = "human",
    overwrite: Annotated[bool, tyro.conf.arg(help_behavior_hint="")] = False,
) -> None:
    """Make scores of the answers that a page saved, and put them beside the run's other scores.

    Answers of the same rater to other questions are kept.

    Args:
        answers: The csv file that the page saved.
        key: The key of the page, a .key.csv file.
        rater: The name of the scorer; several people need several names, such as human:ann.
        overwrite: Replace answers to the same questions that differ.
    """
    from diffusion_lens.errors import InputError
    from diffusion_lens.scoring.former import save_answers
    from diffusion_lens.scoring.sheet import read_answers

    if not (Path(run) / "manifest.json").exists():
        raise InputError(f"{run} is no run's folder; name the one that the page was written from.")
    path, table = save_answers(run, read_answers(answers, key, scorer=rater), overwrite=overwrite)
    say(f"scores  {path}  ({int(table['label'].notna().sum())} answers of {len(table)})")
