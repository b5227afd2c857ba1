"""The command line: one verb per job.

torch and diffusers are imported by the verbs that need them, so that help is instant.
"""

import hashlib
import json
import logging
import sys
from pathlib import Path
from typing import Annotated, Literal

import tyro
from rich.console import Console
from rich.logging import RichHandler
from rich.markup import escape
from rich.table import Table

from diffusion_lens.errors import DiffusionLensError, InputError

__all__ = ["main"]

out = Console()
err = Console(stderr=True)

Prompts = Annotated[tuple[str, ...], tyro.conf.Positional]
Model = Annotated[str, tyro.conf.Positional]


def show(
    prompts: Prompts,
    /,
    model: str = "emoji",
    layers: tuple[str, ...] = ("all",),
    seeds: tuple[int, ...] = (0,),
    out: Path | None = None,
    overwrite: bool = False,
    encoder: str = "all",
    readout: Literal["native", "final", "none"] = "native",
    pooled: Literal["hold", "layer", "empty"] = "hold",
    spread: str = "all",
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
        out: the grid's path; the table goes beside it as .parquet. By default a name made from what was
            asked for.
        overwrite: replace files that exist.
        encoder: the encoder that is drawn, such as text_encoder_2; "all" moves all in step.
        readout: native: as the pipeline treats its own tap. final: through the final norm. none: raw.
        pooled: the pooled output: held at full depth, made from the layer, or the empty prompt's.
        spread: where several taps are read, a layer replaces "all", those deeper ("cap"), or one index.
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
    from diffusion_lens.lens.output import check_output, write_whole

    grid = out or Path(f"lens-{_short_hash(asked)}.png")
    if grid.suffix.lower() not in (".png", ".webp", ".jpg", ".jpeg"):
        raise InputError(f"{grid} names no picture; end it in .png, .webp or .jpg.")
    table = grid.with_suffix(".parquet")
    for path in (grid, table):
        check_output(path, overwrite=overwrite)

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
    result = lens(
        prompts,
        layers,
        seeds,
        encoder=encoder,
        readout=readout,
        pooled=pooled,
        spread=int(spread) if spread.isdigit() else spread,  # type: ignore[arg-type]
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
    _say(f"grid   {grid}\ntable  {table}")


def models() -> None:
    """List the embedded models and the pipeline families, and what is native where."""
    from diffusion_lens.models.embedded import EMBEDDED
    from diffusion_lens.models.pipelines import PIPELINES

    embedded = Table("embedded", "what it is", "native tap", box=None)
    for name, model in EMBEDDED.items():
        embedded.add_row(name, model.title, "text_encoder: last")
    families = Table("family", "native tap", "example", box=None)
    for family in PIPELINES.values():
        families.add_row(family.title, "\n".join(slot.describe() for slot in family.slots), family.example)
    out.print(embedded, "", families)


def doctor(
    model: Model,
    /,
    prompt: str = "a red fox to the left of a pizza",
    steps: int = 2,
    height: int | None = None,
    width: int | None = None,
    device: str | None = None,
    dtype: Literal["float32", "bfloat16", "float16"] | None = None,
    offload: Literal["none", "model", "sequential"] = "none",
    revision: str | None = None,
    variant: str | None = None,
    allow_pickle: bool = False,
    trust_remote_code: bool = False,
) -> None:
    """Check that the lens sees a model as the model sees itself; exit code 1 if it does not.

    Args:
        model: an embedded model, a folder, or a hub id.
        prompt: the prompt to check with.
        steps: denoising steps of the images compared.
        height: in pixels.
        width: in pixels.
        device: cpu, cuda, cuda:1, mps; the fastest at hand if left out.
        dtype: as in `show`.
        offload: as in `show`.
        revision: branch, tag or commit on the hub.
        variant: a variant of the weights, such as fp16.
        allow_pickle: load weights that are not safetensors.
        trust_remote_code: run code that comes with the model.
    """
    from diffusion_lens.lens.doctor import examine
    from diffusion_lens.lens.lens import DiffusionLens

    lens = DiffusionLens.from_pretrained(
        model,
        device=device,
        dtype=dtype,
        offload=offload,
        revision=revision,
        variant=variant,
        allow_pickle=allow_pickle,
        trust_remote_code=trust_remote_code,
    )
    checks = examine(lens, prompt, steps=steps, height=height, width=width)
    table = Table("", "check", "found", "allowed", box=None)
    for check in checks:
        mark = "[green]ok[/]" if check.passed else "[red]FAILED[/]"
        table.add_row(mark, check.name, f"{check.found:.3g}", f"{check.allowed:.3g}")
        if check.error:
            table.add_row("", escape(check.error), "", "")
    out.print(table)
    failed = [check.name for check in checks if not check.passed]
    if failed:
        err.print(f"{len(failed)} of {len(checks)} checks failed: {'; '.join(failed)}", style="red")
        sys.exit(1)
    _say(f"All {len(checks)} checks passed.")


def _short_hash(asked: object) -> str:
    return hashlib.sha256(json.dumps(asked, sort_keys=True, default=str).encode()).hexdigest()[:8]


def _say(text: str) -> None:
    """Print text as it is: a prompt or a path is no markup, and is never wrapped."""
    out.print(text, markup=False, highlight=False, soft_wrap=True)


def main() -> None:
    """Run one verb; errors that were raised on purpose are one message and exit code 2."""
    # ours alone: other libraries bring handlers of their own
    logger = logging.getLogger("diffusion_lens")
    logger.addHandler(RichHandler(console=err, show_time=False, show_path=False))
    logger.propagate = False
    try:
        tyro.extras.subcommand_cli_from_dict(
            {"show": show, "models": models, "doctor": doctor},
            prog="diffusion-lens",
            description="See what a text-to-image model knows at each layer of its text encoder.",
        )
    except DiffusionLensError as error:
        err.print(f"error: {error}", style="red", markup=False, highlight=False, soft_wrap=True)
        sys.exit(2)
    except KeyboardInterrupt:
        err.print("stopped", style="yellow")
        sys.exit(130)
