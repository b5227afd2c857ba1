"""`diffusion-lens show`."""

import hashlib
import json
from pathlib import Path
from typing import Annotated, Literal

import tyro

from diffusion_lens.cli.console import say
from diffusion_lens.errors import InputError

__all__ = ["show"]

Prompts = Annotated[tuple[str, ...], tyro.conf.Positional]


def show(
    prompts: Prompts,
    /,
    model: str = "emoji",
    layers: tuple[str, ...] = ("all",),
    seeds: tuple[int, ...] = (0,),
    embedding: tuple[str, ...] = (),
    out: Path | None = None,
    overwrite: bool = False,
    encoder: str = "all",
    readout: Literal["native", "final", "none"] = "native",
    pooled: Literal["hold", "layer", "empty"] = "hold",
    slots: str = "all",
    steps: int | None = None,
    guidance: float | None = None,
    height: int | None = None,
    width: int | None = None,
    negative_prompt: str | None = None,
    scheduler: str | None = None,
    device: str | None = None,
    dtype: Literal["float32", "bfloat16", "float16"] | None = None,
    offload: Literal["none", "model", "sequential"] = "none",
    revision: str | None = None,
    variant: str | None = None,
    batch_size: int | None = None,
    upscaler: str | None = None,
    release_encoders: bool = False,
    allow_pickle: bool = False,
    trust_remote_code: bool = False,
) -> None:
    """Draw layers of one or more prompts: a labelled grid, and the table behind it.

    Args:
        prompts: one or more prompts.
        model: an embedded model (see `diffusion-lens models`), a folder, or a hub id.
        layers: "all", "native", indices, negative indices, or ranges "0:24:4" with both ends.
        seeds: one row of the grid each.
        embedding: files of learned words that the prompts hold, or folders of them; "<cat>=file.pt" renames
            a word.
        out: the grid's path; the table goes beside it as .parquet. By default a name made from what was
            asked for.
        overwrite: replace files that exist.
        encoder: the encoder that is drawn, such as text_encoder_2; "all" moves all in step.
        readout: native: as the pipeline treats its own tap. final: through the final norm. none: raw.
        pooled: the pooled output: held at full depth, made from the layer, or the empty prompt's.
        slots: where several taps are read, a layer replaces "all", those deeper ("cap"), or one index.
        steps: denoising steps.
        guidance: guidance scale.
        height: in pixels.
        width: in pixels.
        negative_prompt: what not to draw.
        scheduler: a diffusers scheduler by class name.
        device: cpu, cuda, cuda:1, mps; the fastest at hand if left out.
        dtype: float32 on the CPU, the type that suits the model on an accelerator, if left out.
        offload: keep only one model or one layer at a time on the accelerator.
        revision: branch, tag or commit on the hub.
        variant: a variant of the weights, such as fp16.
        batch_size: images denoised together.
        upscaler: DeepFloyd IF's second stage.
        release_encoders: free the text encoders' memory before denoising.
        allow_pickle: load weights that are not safetensors.
        trust_remote_code: run code that comes with the model.
    """
    asked = {name: value for name, value in locals().items() if name not in ("out", "overwrite")}
    if not prompts:
        raise InputError('No prompt was given. For example: diffusion-lens show "a red fox"')
    from diffusion_lens.files import check_output, write_whole

    grid = out or Path(f"lens-{_short_hash(asked)}.png")
    if grid.suffix.lower() not in (".png", ".webp", ".jpg", ".jpeg"):
        raise InputError(f"{grid} names no picture; end it in .png, .webp or .jpg.")
    table = grid.with_suffix(".parquet")
    for path in (grid, table):
        check_output(path, overwrite=overwrite)

    from diffusion_lens.text.embedding_files import read_embedding_files
    from diffusion_lens.text.embeddings import use_embeddings

    files = read_embedding_files(embedding)

    from diffusion_lens.lens.lens import DiffusionLens

    lens = DiffusionLens.from_pretrained(
        model,
        upscaler=upscaler,
        batch_size=batch_size,
        device=device,
        dtype=dtype,
        offload=offload,
        revision=revision,
        variant=variant,
        allow_pickle=allow_pickle,
        trust_remote_code=trust_remote_code,
    )
    with use_embeddings(lens.pipeline, [one.word(lens.pipeline) for one in files]):
        result = lens(
            prompts,
            layers,
            seeds,
            encoder=encoder,
            readout=readout,
            pooled=pooled,
            slots=int(slots) if slots.isdigit() else slots,  # type: ignore[arg-type]
            steps=steps,
            guidance=guidance,
            height=height,
            width=width,
            negative_prompt=negative_prompt,
            scheduler=scheduler,
            release_encoders=release_encoders,
        )
    result.save_table(table)
    write_whole(grid, lambda file: result.grid().save(file, grid.suffix[1:].replace("jpg", "jpeg")))
    say(f"grid   {grid}\ntable  {table}")


def _short_hash(asked: object) -> str:
    return hashlib.sha256(json.dumps(asked, sort_keys=True, default=str).encode()).hexdigest()[:8]
