"""`diffusion-lens compare`: two text encoders in the same place of one model, layer by layer."""

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
    Prompts,
    SamplerOptions,
    Seeds,
    default,
)
from diffusion_lens.cli.verbs import Topic, verb
from diffusion_lens.errors import InputError

__all__ = ["compare"]


@verb(
    "compare",
    Topic.LOOK,
    examples=[
        'diffusion-lens compare "a purple cat" --encoder-b own+int8',
        'diffusion-lens compare "a fox" --model stabilityai/sdxl-turbo --encoder-b own+lora=a.safetensors',
    ],
)
def compare(
    prompts: Prompts,
    /,
    model: Model = "emoji",
    embedding: Embeddings = (),
    encoder_a: Annotated[str, tyro.conf.arg(metavar="ENCODER")] = "own",
    encoder_b: Annotated[str, tyro.conf.arg(metavar="ENCODER")] = "own+int8",
    encoder: Annotated[str | None, default("the first one", "NAME")] = None,
    layers: Layers = ("all",),
    seeds: Seeds = (0,),
    amount: Annotated[float, tyro.conf.arg(metavar="NUMBER")] = 0.05,
    out: Annotated[Path, default("compared", "PATH")] = Path("compared"),
    overwrite: Overwrite = False,
    batch_size: BatchSize = None,
    sampler: SamplerOptions = SamplerOptions(),
    load: Load = Load(),
) -> None:
    """Draw prompts with two text encoders in the same place of one model, from the same noise.

    An encoder is written as its source and what is changed in it. The source is own, a folder, or a model
    id of the Hugging Face hub. The changes are +int8, +bfloat16 and +float16, which round the weights, and
    +lora=PATH or +lora=PATH*STRENGTH. Under guidance each encoder reads the negative prompt too; with
    --guidance 1 images differ by the layer alone.

    Args:
        encoder_a: The first text encoder, such as own.
        encoder_b: The second text encoder, such as own+int8 or a folder of a fine-tuned one.
        encoder: The encoder of the model that both replace, such as text_encoder_2.
        amount: The difference from which on a layer counts as different: relative for hidden states, a
            share of the range of a pixel for images.
        out: A folder, or a path that ends in .png. grid.png shows both rows and their difference;
            differences.csv has the numbers, and differences.png shows them by layer; images.parquet has the
            images. Where the grid is c.png, these are c.differences.csv and so on beside it.
    """
    if not prompts:
        raise InputError('No prompt was given. For example: diffusion-lens compare "a purple cat"')
    if encoder_a == encoder_b:
        raise InputError(f"--encoder-a and --encoder-b are both {encoder_b}. Give two that differ.")
    other = load.text_encoders.get(encoder or "text_encoder")
    if other is not None:
        raise InputError(
            f"--text-encoder {other} stands in the place that --encoder-a and --encoder-b fill. Name it as "
            f"one of these: --encoder-b {other}."
        )
    from diffusion_lens.files import check_output, write_whole

    names = ("differences.csv", "differences.png", "images.parquet")
    if out.suffix.lower() == ".png":
        grid, numbers, figure, images = out, *(out.with_suffix(f".{name}") for name in names)
    else:
        grid, numbers, figure, images = (out / name for name in ("grid.png", *names))
    for path in (grid, numbers, figure, images):
        check_output(path, overwrite=overwrite)
    from diffusion_lens.figures.encoders import draw_encoders
    from diffusion_lens.lens.encoder_comparison import compare_encoders

    compared = compare_encoders(
        load.lens(model, batch_size=batch_size, embeddings=embedding),
        prompts,
        encoder_a,
        encoder_b,
        layers,
        seeds,
        encoder=encoder,
        amount=amount,
        **sampler.arguments(),
    )
    compared.images().save_table(images)
    sheet = compared.grid()
    write_whole(grid, lambda file: sheet.save(file, "png"))
    write_whole(numbers, lambda file: file.write(compared.table.to_csv(index=False).encode()))
    drawn = draw_encoders(compared.by_layer(), compared.names, amount)
    write_whole(figure, lambda file: drawn.savefig(file, format="png", dpi=200))
    say(f"{compared.summary()}\ngrid     {grid}\nnumbers  {numbers}\nfigure   {figure}\nimages   {images}")
