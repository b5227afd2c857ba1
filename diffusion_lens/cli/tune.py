"""`diffusion-lens tune`: fit a readout that maps every layer to the native one."""

from pathlib import Path
from typing import Annotated

import tyro

from diffusion_lens.cli.captions import read_captions
from diffusion_lens.cli.console import say
from diffusion_lens.cli.options import Load, Model, Overwrite, default
from diffusion_lens.cli.verbs import Topic, verb
from diffusion_lens.errors import InputError

__all__ = ["tune"]


@verb(
    "tune",
    Topic.LEARN,
    examples=[
        "diffusion-lens tune maps.safetensors",
        "diffusion-lens tune maps.safetensors --model sdxl --captions captions.txt",
    ],
)
def tune(
    out: Annotated[
        Path,
        tyro.conf.Positional,
        tyro.conf.arg(metavar="FILE", help_behavior_hint="", help="The file to write, in safetensors."),
    ],
    /,
    model: Model = "emoji",
    captions: Annotated[
        Path | None, default("captions of the scenes that an embedded model was trained on", "FILE")
    ] = None,
    count: Annotated[int, default("1000", "INT")] = 1000,
    ridge: float = 1e-3,
    overwrite: Overwrite = False,
    load: Load = Load(),
) -> None:
    """Fit the tuned readout of a model on captions, and print its error at each layer.

    Draw with it by --readout tuned:FILE. A layer's state then goes through an affine map to the native
    layer, in place of the final norm alone. The errors are of every fifth caption, which is held out: the
    squared error as a share of the variance of the native state, of the map and of the final norm alone.

    Args:
        captions: A file of prompts, one a line.
        count: How many captions are read at most.
        ridge: How strongly the weights are held to be small.
    """
    from tqdm.auto import tqdm

    from diffusion_lens.files import check_output

    if out.suffix != ".safetensors":
        raise InputError(f"{out} names no file of a tuned readout; end it in .safetensors.")
    check_output(out, overwrite=overwrite)
    texts = read_captions(model, captions, count)
    from diffusion_lens.text.fit_tuned import fit_tuned

    lens = load.lens(model)
    with tqdm(total=len(texts), unit="caption", desc="Reading") as bar:
        fitted = fit_tuned(lens.reader(), texts, ridge, bar.update)
    fitted.save(out)
    for name, one in fitted.encoders.items():
        say(f"{name}, {fitted.captions} captions\nlayer  to  tuned  final norm alone")
        for row in one.errors:
            numbers = f"{row['tuned']:5.3f}  {row['final']:16.3f}"
            say(f"{int(row['layer']):5}  {int(row['position']):2}  {numbers}")
    say(f"readout  {out}")
