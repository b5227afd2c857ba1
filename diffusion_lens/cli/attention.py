"""`diffusion-lens attention`: where the denoiser reads a word."""

from pathlib import Path
from typing import Annotated

import tyro

from diffusion_lens.cli.console import say
from diffusion_lens.cli.options import (
    BatchSize,
    Embeddings,
    Layers,
    Load,
    Model,
    Overwrite,
    ReadingOptions,
    SamplerOptions,
    Seeds,
    check_ending,
    check_prompt,
    values,
)
from diffusion_lens.cli.verbs import Topic, verb

__all__ = ["attention"]


@verb(
    "attention",
    Topic.LOOK,
    examples=[
        'diffusion-lens attention "a red fox" --word fox',
        'diffusion-lens attention "a red fox" --word fox --layers 0 native --at 0 1 2 --out early.png',
    ],
)
def attention(
    prompt: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="PROMPT", help_behavior_hint="")],
    /,
    word: Annotated[str, tyro.conf.arg(metavar="WORD")],
    model: Model = "emoji",
    layers: Layers = ("all",),
    seeds: Seeds = (0,),
    embedding: Embeddings = (),
    at: Annotated[tuple[int, ...], values("STEP", "the mean over all steps")] = (),
    blocks: Annotated[tuple[str, ...], values("BLOCK", "the mean over all attention layers")] = (),
    out: Annotated[Path, tyro.conf.arg(metavar="PATH")] = Path("attention.png"),
    overwrite: Overwrite = False,
    batch_size: BatchSize = None,
    reading: ReadingOptions = ReadingOptions(),
    sampler: SamplerOptions = SamplerOptions(),
    load: Load = Load(),
) -> None:
    """Draw a prompt, and map where in each image the denoiser reads one of its words.

    A place is red where the word is read more than on average over that image. Works with U-Nets and with
    transformers of joint attention whose processors are diffusers' own.

    Args:
        prompt: The prompt.
        word: A word of the prompt, or several with semicolons between them, content, last, special, pads,
            or a position such as #3.
        at: The denoising steps that the grid shows, counted from 0; the table holds all steps.
        blocks: The attention layers that the grid shows: those whose path in the denoiser is, or begins
            with, one of these, such as mid_block; the table holds all attention layers.
        out: The path of the grid, which ends in .png; the table of shares by image, step and attention
            layer goes beside it as .csv.
    """
    check_prompt(prompt)
    from diffusion_lens.files import check_output, write_whole

    check_ending(out, "image", ".png")
    table = out.with_suffix(".csv")
    for path in (out, table):
        check_output(path, overwrite=overwrite)
    from diffusion_lens.images.sampler import Sampler
    from diffusion_lens.lens.attention import check_word

    lens = load.lens(model, batch_size=batch_size, embeddings=embedding)
    how = sampler.arguments()
    check_word(lens, prompt, word, sampler=Sampler(**how), steps=at or None, blocks=blocks)
    result = lens(prompt, layers, seeds, **reading.arguments(), **how)
    found = result.attention(word)
    sheet = found.grid(at or None, blocks)
    write_whole(table, lambda file: file.write(found.table.to_csv(index=False).encode()))
    write_whole(out, lambda file: sheet.save(file, "png"))
    say(f"grid   {out}\ntable  {table}")
