"""`diffusion-lens tune`: fit a readout that maps every layer to the native one."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from diffusion_lens.cli.captions import read_captions
from diffusion_lens.cli.console import say
from diffusion_lens.cli.options import Load, Model, Overwrite, default
from diffusion_lens.cli.verbs import Topic, verb
from diffusion_lens.errors import InputError

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["tune"]


@verb(
    "tune",
    Topic.LEARN,
    examples=[
        "diffusion-lens tune maps.safetensors",
        "diffusion-lens tune maps.safetensors --model sdxl --captions captions.txt",
        "diffusion-lens tune maps.safetensors --denoise 400",
        "diffusion-lens tune jacobian.safetensors --jacobian --model emoji-llm --count 20",
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
    count: Annotated[int | None, default("1000; 40 with --jacobian", "INT")] = None,
    ridge: float = 1e-3,
    denoise: Annotated[int, default("the fit alone", "STEPS")] = 0,
    jacobian: Annotated[bool, default("by the states of captions")] = False,
    overwrite: Overwrite = False,
    load: Load = Load(),
) -> None:
    """Fit the tuned readout of a model on captions, and print its error at each layer.

    Draw with it by --readout tuned:FILE. A layer's state then goes through an affine map to the native
    layer, in place of the final norm alone. Every fifth caption is held out. The errors are the squared
    errors on those captions, as shares of the variance of the native state, for the map and for the final
    norm alone.

    With --denoise the maps of an embedded model are trained on, after the fit, through the loss of its
    frozen denoiser on the scenes that the captions tell of; printed besides is that loss on held-out
    scenes, after and before.

    With --jacobian a map is the mean Jacobian of the last layer by this one, of a language model: a
    Jacobian lens, by which `words --through FILE` says states in words. A few dozen captions are enough.

    Args:
        captions: A file of prompts, one a line.
        count: How many captions are read at most.
        ridge: How strongly the weights are held to be small.
        denoise: In how many steps the maps are trained on through the denoiser's loss.
        jacobian: Take mean Jacobians for maps.
    """
    from tqdm.auto import tqdm

    from diffusion_lens.files import check_output

    if out.suffix != ".safetensors":
        raise InputError(f"{out} names no file of a tuned readout; end it in .safetensors.")
    check_output(out, overwrite=overwrite)
    if jacobian and denoise:
        raise InputError("--denoise trains fitted maps on, and --jacobian fits none: give one of them.")
    texts, scenes = _read(model, captions, (40 if jacobian else 1000) if count is None else count, denoise)
    from diffusion_lens.text.fit_jacobian import fit_jacobian
    from diffusion_lens.text.fit_tuned import fit_tuned

    lens = load.lens(model)
    if jacobian:
        with tqdm(unit="row", desc="Differentiating") as bar:
            fitted = fit_jacobian(lens.reader(), texts, bar.update)
    else:
        with tqdm(total=len(texts), unit="caption", desc="Reading") as bar:
            fitted = fit_tuned(lens.reader(), texts, ridge, bar.update)
    if denoise:
        from diffusion_lens.learning.train_tuned import read_captioned, train_tuned

        seen = read_captioned(lens.reader(), scenes, texts)
        with tqdm(total=denoise, unit="step", desc="Training") as bar:
            fitted = train_tuned(fitted, seen, steps=denoise, on_step=bar.update)
    fitted.save(out)
    for name, one in fitted.encoders.items():
        losses = "  denoiser's loss  before" if denoise else ""
        say(f"{name}, {fitted.captions} captions\nlayer  to  tuned  final norm alone{losses}")
        for row in one.errors:
            numbers = f"{row['tuned']:5.3f}  {row['final']:16.3f}"
            numbers += f"  {row['loss']:15.4f}  {row['loss_fitted']:6.4f}" if denoise else ""
            say(f"{int(row['layer']):5}  {int(row['position']):2}  {numbers}")
    say(f"readout  {out}")


def _read(
    model: str, captions: Path | None, count: int, denoise: int
) -> tuple[tuple[str, ...], list["Image.Image"]]:
    """The captions, and the scenes that they tell of where the denoiser's loss is asked for."""
    from diffusion_lens.models.embedded import EMBEDDED

    if denoise < 0:
        raise InputError(f"{denoise} steps can't be made: give --denoise 1 or more, or leave it out.")
    if not denoise:
        return read_captions(model, captions, count), []
    if captions is not None or model not in EMBEDDED:
        raise InputError(
            "--denoise needs an image for each caption, which the scenes of an embedded model have: give "
            f"--model {', '.join(EMBEDDED)} without --captions, or leave --denoise out."
        )
    from diffusion_lens.learning.train_tuned import captioned_scenes

    return captioned_scenes(count)
