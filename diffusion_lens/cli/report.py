"""`diffusion-lens report`."""

from pathlib import Path
from typing import Annotated

import tyro

from diffusion_lens.cli.console import say
from diffusion_lens.errors import InputError

__all__ = ["report"]


def report(
    runs: Annotated[tuple[str, ...], tyro.conf.Positional],
    /,
    out: Path = Path("report.html"),
    images: int = 500,
    overwrite: bool = False,
) -> None:
    """Write one HTML page of finished or unfinished runs: claim, curves, images, failures, settings.

    Args:
        runs: folders of runs, or parquet files of images.
        out: the page.
        images: the most images that it holds; the others stay in the run.
        overwrite: replace a file that exists.
    """
    from diffusion_lens.files import check_output
    from diffusion_lens.pages.report import write_report

    if not runs:
        raise InputError(
            "No run was given. For example: diffusion-lens report runs/relations --out page.html"
        )
    if out.suffix.lower() not in (".html", ".htm"):
        raise InputError(f"{out} names no page; end it in .html.")
    if images < 1:
        raise InputError(f"images is {images}; a report shows at least 1.")
    check_output(out, overwrite=overwrite)
    path = write_report(runs, out, images=images)
    say(f"report  {path}  ({path.stat().st_size / 1e6:.1f} MB)")
