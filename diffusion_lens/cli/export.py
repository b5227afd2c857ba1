"""`diffusion-lens export`: a run as plain files."""

from pathlib import Path
from typing import Annotated

import tyro

from diffusion_lens.cli.console import say
from diffusion_lens.cli.options import Run
from diffusion_lens.cli.verbs import Topic, verb
from diffusion_lens.runs.export import Format

__all__ = ["export"]


@verb("export", Topic.STUDY, examples=["diffusion-lens export runs/relations --out images"])
def export(
    run: Run,
    /,
    out: Annotated[Path, tyro.conf.arg(metavar="FOLDER")],
    format: Format = "png",
) -> None:
    """Write a run as plain files: PNGs with a table beside them, or tar shards.

    Args:
        out: A new folder.
        format: png writes one file for each image, and metadata.csv. webdataset writes shards of 1000
            images.
    """
    from diffusion_lens.runs.export import export_run

    say(f"{export_run(run, out, format)} images in {out}")
