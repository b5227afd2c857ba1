"""`diffusion-lens report`: runs as one HTML page."""

from pathlib import Path
from typing import Annotated

import tyro

from diffusion_lens.cli.console import say
from diffusion_lens.cli.options import Overwrite, check_ending
from diffusion_lens.cli.verbs import Topic, verb
from diffusion_lens.errors import InputError

__all__ = ["report"]


@verb("report", Topic.STUDY, examples=["diffusion-lens report runs/relations --out report.html"])
def report(
    runs: Annotated[
        tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="RUN [RUN ...]", help_behavior_hint="")
    ],
    /,
    out: Path = Path("report.html"),
    images: int = 500,
    overwrite: Overwrite = False,
) -> None:
    """Write one HTML page of finished or unfinished runs: claim, curves, images, failures, settings.

    Args:
        runs: Folders of runs, or parquet files of images.
        out: The path of the page.
        images: The largest number of images that the page holds; the others stay in the run.
    """
    from diffusion_lens.files import check_output
    from diffusion_lens.pages.report import write_report

    if not runs:
        raise InputError(
            "No run was given. For example: diffusion-lens report runs/relations --out page.html"
        )
    check_ending(out, "page", ".html", ".htm")
    if images < 1:
        raise InputError(f"--images is {images}; a report shows at least 1.")
    check_output(out, overwrite=overwrite)
    path = write_report(runs, out, images=images)
    say(f"report  {path}  ({path.stat().st_size / 1e6:.1f} MB)")
