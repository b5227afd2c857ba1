"""`diffusion-lens show`: layers of prompts, drawn."""

import hashlib
import json
import sys
from pathlib import Path
from typing import Annotated

from diffusion_lens.cli.console import say
from diffusion_lens.cli.options import (
    IMAGES,
    BatchSize,
    Embeddings,
    Layers,
    Load,
    Model,
    Overwrite,
    Prompts,
    ReadingOptions,
    SamplerOptions,
    Seeds,
    check_ending,
    default,
)
from diffusion_lens.cli.verbs import Topic, verb
from diffusion_lens.errors import InputError

__all__ = ["show"]
_MOST_WORDS = 100  # under one image


@verb(
    "show",
    Topic.LOOK,
    examples=[
        'diffusion-lens show "a purple cat"',
        'diffusion-lens show "a purple cat" "a puppy" --seeds 0 1 --layers 0 3 native',
    ],
)
def show(
    prompts: Prompts,
    /,
    model: Model = "emoji",
    layers: Layers = ("all",),
    seeds: Seeds = (0,),
    embedding: Embeddings = (),
    out: Annotated[Path | None, default("a name made from the options", "PATH")] = None,
    overwrite: Overwrite = False,
    batch_size: BatchSize = None,
    release_encoders: Annotated[bool, default("keep them")] = False,
    upscaler: Annotated[str | None, default("none", "MODEL")] = None,
    words: Annotated[int, default("none", "INT")] = 0,
    reading: ReadingOptions = ReadingOptions(),
    sampler: SamplerOptions = SamplerOptions(),
    load: Load = Load(),
) -> None:
    """Draw layers of one or more prompts: a labelled grid, and the table behind it.

    Args:
        out: The path of the grid, which ends in .png, .webp or .jpg; the table goes beside it as
            .parquet.
        release_encoders: Free the memory of the text encoders before denoising.
        upscaler: The second stage of DeepFloyd IF.
        words: The number of words that say, under each image, what the hidden state of each word of the
            prompt holds.
    """
    asked = {name: value for name, value in locals().items() if name not in ("out", "overwrite")}
    if not prompts:
        raise InputError('No prompt was given. For example: diffusion-lens show "a purple cat"')
    if not 0 <= words <= _MOST_WORDS:  # known before anything is drawn
        raise InputError(f"--words is {words}; it must be from 0 to {_MOST_WORDS}.")
    if words and release_encoders:
        raise InputError("--words reads the encoders once more; leave --release-encoders out.")
    from diffusion_lens.files import check_output, write_whole

    grid = out or Path(f"lens-{_short_hash(asked)}.png")
    check_ending(grid, "image", *IMAGES)
    table = grid.with_suffix(".parquet")
    for path in (grid, table):
        check_output(path, overwrite=overwrite)

    lens = load.lens(model, upscaler=upscaler, batch_size=batch_size, embeddings=embedding)
    result = lens(
        prompts,
        layers,
        seeds,
        **reading.arguments(),
        **sampler.arguments(),
        release_encoders=release_encoders,
    )
    if words:
        result = result.with_words(words)
    result.save_table(table)
    write_whole(grid, lambda file: result.grid().save(file, grid.suffix[1:].lower().replace("jpg", "jpeg")))
    say(f"grid   {grid}\ntable  {table}")
    if result.table["missing"].notna().all():
        sys.exit(1)  # each was said in a warning


def _short_hash(asked: object) -> str:
    return hashlib.sha256(json.dumps(asked, sort_keys=True, default=repr).encode()).hexdigest()[:8]
