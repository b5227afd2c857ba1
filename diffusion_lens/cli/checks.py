"""`diffusion-lens checks`."""

from pathlib import Path
from typing import Annotated

import tyro

from diffusion_lens.cli.console import say
from diffusion_lens.cli.options import Overwrite, check_ending
from diffusion_lens.cli.verbs import Topic, verb

__all__ = ["checks"]


@verb(
    "checks",
    Topic.SCORE,
    examples=[
        "diffusion-lens checks prompts.txt --out checks.csv",
        "diffusion-lens score runs/mine --scorer vqa --checks checks.csv",
    ],
)
def checks(
    prompts: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="PROMPTS", help_behavior_hint="")],
    /,
    out: Path = Path("checks.csv"),
    overwrite: Overwrite = False,
) -> None:
    """Write the checks that rules can make of prompts, as a table to be edited and given to `score`.

    Rules know GenEval, DSG and TIFA metadata, templates, and the words of the testbed's captions. Prompts
    that no rule knows are counted; add rows for them by hand.

    Args:
        prompts: A file of prompts: .txt (one a line), .csv, .tsv or .jsonl.
        out: The table to write.
    """
    from diffusion_lens.checks.assign import ask
    from diffusion_lens.checks.check_files import write_table
    from diffusion_lens.files import check_output
    from diffusion_lens.runs.experiment import Prompts
    from diffusion_lens.runs.prompts import read_prompts

    check_ending(out, "table", ".csv")
    check_output(out, overwrite=overwrite)
    found = ask(read_prompts(Prompts(file=str(prompts.absolute())), Path.cwd()))
    count = write_table(out, found.prompts)
    for source, number in found.sources.items():
        say(f"{number} of {len(found.prompts)} prompts have their checks from {source}")
    say(f"checks  {out}  ({count} checks)")
