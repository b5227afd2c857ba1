"""`diffusion-lens grid`: the images of one prompt of a run, as a sheet."""

from pathlib import Path
from typing import Annotated

import tyro

from diffusion_lens.cli.console import say
from diffusion_lens.cli.options import IMAGES, Overwrite, Run, check_ending, default, values
from diffusion_lens.cli.verbs import Topic, verb

__all__ = ["grid"]


@verb(
    "grid",
    Topic.STUDY,
    examples=[
        'diffusion-lens grid runs/relations --prompt "a tree to the left of an elephant"',
        'diffusion-lens grid runs/relations --prompt "a tree" "a star" --layers 0 3 6',
    ],
)
def grid(
    run: Run,
    /,
    prompt: Annotated[tuple[str, ...], tyro.conf.arg(metavar="PROMPT [PROMPT ...]")],
    layers: Annotated[tuple[int, ...], values("LAYER", "all")] = (),
    seeds: Annotated[tuple[int, ...], values("SEED", "all")] = (),
    out: Annotated[Path, default("grid.png", "PATH")] = Path("grid.png"),
    overwrite: Overwrite = False,
) -> None:
    """Draw the labelled grid of prompts of a run from its stored images, by seed and layer.

    Args:
        prompt: The prompts, as they stand in the run.
        layers: Only the layers of these numbers.
        seeds: Only these seeds.
        out: The path of the grid, which ends in .png, .webp or .jpg.
    """
    from diffusion_lens.files import check_output, write_whole

    check_ending(out, "image", *IMAGES)
    check_output(out, overwrite=overwrite)

    from diffusion_lens.lens.result import Result

    result = Result.load(run, prompt=prompt, layers=layers or None, seeds=seeds or None)
    sheet = result.grid()
    write_whole(out, lambda file: sheet.save(file, out.suffix[1:].lower().replace("jpg", "jpeg")))
    say(f"grid   {out}  ({len(result.table)} images)")
