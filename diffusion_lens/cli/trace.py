"""`diffusion-lens trace`: which word of a prompt carries what at which layer."""

from pathlib import Path
from typing import Annotated, Literal

import tyro

from diffusion_lens.cli.console import say, warn
from diffusion_lens.cli.options import (
    BatchSize,
    Embeddings,
    Layers,
    Load,
    Model,
    Overwrite,
    SamplerOptions,
    Seeds,
    check_prompt,
    default,
)
from diffusion_lens.cli.verbs import Topic, verb

__all__ = ["trace"]


@verb(
    "trace",
    Topic.LOOK,
    examples=[
        'diffusion-lens trace "a red fox"',
        'diffusion-lens trace "a red fox" --mode keep --layers 0 3 6 --seeds 0 1',
    ],
)
def trace(
    prompt: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="PROMPT", help_behavior_hint="")],
    /,
    model: Model = "emoji",
    layers: Layers = ("all",),
    seeds: Seeds = (0,),
    embedding: Embeddings = (),
    mode: Literal["drop", "keep"] = "drop",
    out: Annotated[Path, default("trace", "FOLDER")] = Path("trace"),
    overwrite: Overwrite = False,
    batch_size: BatchSize = None,
    sampler: SamplerOptions = SamplerOptions(),
    load: Load = Load(),
) -> None:
    """Draw a prompt with each of its words dropped, or kept alone, at each layer; judge and map the effect.

    Args:
        prompt: The prompt.
        mode: drop takes one word away; keep takes all other words away.
        out: A folder. images.parquet has the images and grid.png shows those of the first seed;
            trace.csv has the numbers and heatmap.png shows them.
    """
    check_prompt(prompt)
    from diffusion_lens.files import check_outputs, write_whole

    names = ("images.parquet", "grid.png", "trace.csv", "heatmap.png")
    images, grid, numbers, figure = check_outputs(out, names, overwrite=overwrite)
    from diffusion_lens.figures.heatmap import draw_tokens
    from diffusion_lens.scoring.trace import trace as trace_words

    lens = load.lens(model, batch_size=batch_size, embeddings=embedding)
    traced = trace_words(lens, prompt, layers, seeds, mode=mode, **sampler.arguments())
    traced.result.save_table(images)
    sheet = traced.grid()
    write_whole(grid, lambda file: sheet.save(file, "png"))
    write_whole(numbers, lambda file: file.write(traced.table.to_csv(index=False).encode()))
    judged = traced.table["effect"].notna().any()
    label = ("checks lost" if mode == "drop" else "checks met") if judged else "change of the image"
    drawn = draw_tokens(traced.heatmap(), label=label)
    write_whole(figure, lambda file: drawn.savefig(file, format="png", dpi=200))
    if not judged:
        warn(
            "The oracle judged nothing, since it knows the scenes of the embedded models alone: the heat "
            "map shows how much the image changes."
        )
    say(f"images   {images}\ngrid     {grid}\nnumbers  {numbers}\nfigure   {figure}")
