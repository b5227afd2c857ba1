"""`diffusion-lens models` and `diffusion-lens doctor`."""

import sys
from typing import Annotated, Literal

import tyro
from rich.markup import escape
from rich.table import Table

from diffusion_lens.cli.console import err, out, say

__all__ = ["doctor", "models"]

Model = Annotated[str, tyro.conf.Positional]


def models() -> None:
    """List the embedded models and the pipeline families, and what is native where."""
    from diffusion_lens.models.embedded import EMBEDDED
    from diffusion_lens.models.pipelines import known_families

    embedded = Table("embedded", "what it is", "native tap", box=None)
    for name, model in EMBEDDED.items():
        embedded.add_row(name, model.title, "text_encoder: last")
    families = Table("family", "native tap", "example", box=None)
    for family in known_families().values():
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
    say(f"All {len(checks)} checks passed.")
