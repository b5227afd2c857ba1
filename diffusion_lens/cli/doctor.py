"""`diffusion-lens doctor`: whether the lens sees a model as the model sees itself."""

import sys
from typing import Annotated

import tyro
from rich.markup import escape
from rich.table import Table

from diffusion_lens.cli.console import fail, out, say
from diffusion_lens.cli.options import Load, Model, default
from diffusion_lens.cli.verbs import Topic, verb

__all__ = ["doctor"]


@verb(
    "doctor",
    Topic.MODELS,
    examples=["diffusion-lens doctor emoji", "diffusion-lens doctor stabilityai/sdxl-turbo"],
)
def doctor(
    model: Annotated[Model, tyro.conf.Positional],
    /,
    prompt: Annotated[str, tyro.conf.arg(metavar="PROMPT")] = "a red fox to the left of a pizza",
    steps: int = 2,
    height: Annotated[int | None, default("the model's own", "PIXELS")] = None,
    width: Annotated[int | None, default("the model's own", "PIXELS")] = None,
    load: Load = Load(),
) -> None:
    """Check that the lens sees a model as the model sees itself; the exit code is 1 if it does not.

    First it says what becomes of the prompt: the tokens of a template before and behind it, the padding,
    what is masked in the encoders and in the denoiser, what is cut off, what the denoiser is given.

    Args:
        prompt: The prompt that is drawn for the check.
        steps: The number of denoising steps of the images that are compared.
        height: The height of an image in pixels.
        width: The width of an image in pixels.
    """
    from diffusion_lens.lens.doctor import examine
    from diffusion_lens.lens.prompt_anatomy import dissect

    lens = load.lens(model)
    for line in dissect(lens, prompt).lines():
        say(line)
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
        fail(f"{len(failed)} of {len(checks)} checks failed: {'; '.join(failed)}")
        sys.exit(1)
    say(f"All {len(checks)} checks passed.")
