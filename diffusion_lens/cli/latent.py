"""`diffusion-lens latent ...`: images read back into the text states of their model."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from diffusion_lens.cli.console import say
from diffusion_lens.cli.options import Layers, Overwrite, Prompts, Seeds, check_ending, default
from diffusion_lens.cli.verbs import Topic, group, verb
from diffusion_lens.errors import InputError
from diffusion_lens.files import read_text, why_unreadable

if TYPE_CHECKING:
    from diffusion_lens.learning.latent_inversion import LatentInversion

__all__ = ["caption", "cycle", "edit", "personalise", "redraw"]

log = logging.getLogger(__name__)

group("latent", "Read images back into text states: caption, edit, personalise and draw them again.")

Images = Annotated[
    tuple[Path, ...],
    tyro.conf.Positional,
    tyro.conf.arg(metavar="IMAGE [IMAGE ...]", help="Image files.", help_behavior_hint=""),
]
Image = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="IMAGE", help="An image file.")]
Model = Annotated[str, tyro.conf.arg(metavar="MODEL", help="emoji, or a folder in diffusers format.")]
Inverter = Annotated[Path | None, default("the model's own", "FOLDER", "The folder of an inverter.")]
Refine = Annotated[
    int,
    tyro.conf.arg(help="The number of steps that refine what was read of the image through the denoiser."),
]


@verb("latent caption", Topic.LEARN, examples=["diffusion-lens latent caption fox.png"])
def caption(
    images: Images,
    /,
    candidates: Annotated[Path | None, default("write a caption", "FILE")] = None,
    top: int = 3,
    model: Model = "emoji",
    inverter: Inverter = None,
) -> None:
    """Caption images: write a caption for each, or choose the nearest of the captions in a file.

    Each line that is printed holds the image, the error of the caption (0 where the conditioning that was
    read of the image is the caption's own, 1 where it is no nearer than the mean conditioning), and the
    caption.

    Args:
        candidates: A text file of captions to choose from, one a line.
        top: How many of the candidates to show.
    """
    from diffusion_lens.learning.captioning import nearest_captions, write_captions
    from diffusion_lens.learning.image_files import read_image

    if not images:
        raise InputError("No image was given. For example: diffusion-lens latent caption fox.png")
    if top < 1:
        raise InputError(f"--top is {top}; give at least 1.")
    read = [read_image(path) for path in images]
    texts = _lines(candidates) if candidates is not None else None
    inversion = _load(model, inverter)
    if texts is None:
        found = [[one] for one in write_captions(inversion, read)]
    else:
        found = nearest_captions(inversion, read, texts, top)
    for path, captions in zip(images, found, strict=True):
        for one in captions:
            say(f"{path}  {one.error:.2f}  {one.text}")


@verb(
    "latent edit",
    Topic.LEARN,
    examples=["diffusion-lens latent edit fox.png --replace red=blue --out blue.png"],
)
def edit(
    image: Image,
    /,
    replace: Annotated[tuple[str, ...], tyro.conf.arg(metavar="OLD=NEW [OLD=NEW ...]")],
    out: Path,
    source: Annotated[str | None, default("read from the image", "TEXT")] = None,
    how: Literal["shift", "swap"] = "shift",
    refine_steps: Refine = 40,
    seeds: Seeds = (0,),
    model: Model = "emoji",
    inverter: Inverter = None,
    overwrite: Overwrite = False,
) -> None:
    """Change words of an image and draw it again: the colour changes, and the rest stays.

    Args:
        replace: The words to change, each as old=new, such as red=blue.
        out: The path of the sheet: the image, and the changed one with each seed.
        source: The caption whose words change.
        how: shift adds what the words change; swap puts the states of the new words in their places.
    """
    from diffusion_lens.learning import editing
    from diffusion_lens.learning.captioning import write_captions
    from diffusion_lens.learning.image_files import read_image
    from diffusion_lens.learning.refining import refine

    changes = [_change(text) for text in replace]
    _check_sheet(out, overwrite)
    before = read_image(image)
    inversion = _load(model, inverter)
    source = source or write_captions(inversion, [before])[0].text
    target = editing.change_words(source, changes)
    change = {"shift": editing.shift, "swap": editing.swap}[how]
    start = refine(inversion, [before], steps=(refine_steps,))[0].states[0]
    state = change(inversion, before, source, target, start)
    say(f"source  {source}\ntarget  {target}")
    _draw_sheet(inversion, out, {"image": before}, {target: state}, seeds)


@verb(
    "latent personalise",
    Topic.LEARN,
    examples=['diffusion-lens latent personalise fox.png "{} at night" --out night.png'],
)
def personalise(
    image: Image,
    prompts: Prompts,
    /,
    out: Path,
    subject: Annotated[str | None, default("read from the image", "TEXT")] = None,
    refine_steps: Refine = 40,
    seeds: Seeds = (0,),
    model: Model = "emoji",
    inverter: Inverter = None,
    overwrite: Overwrite = False,
) -> None:
    """Draw the subject of one image in new prompts, without training.

    Args:
        prompts: Prompts with {} for the subject, such as "{} at night".
        out: The path of the sheet: the image, and each prompt with each seed.
        subject: Words for the subject, such as "a red fox".
    """
    from diffusion_lens.learning import editing
    from diffusion_lens.learning.image_files import read_image
    from diffusion_lens.learning.refining import refine

    if not prompts:
        raise InputError('No prompt was given. For example: latent personalise fox.png "{} at night"')
    _check_sheet(out, overwrite)
    before = read_image(image)
    inversion = _load(model, inverter)
    start = refine(inversion, [before], steps=(refine_steps,))[0].states[0]
    states = {text: editing.personalise(inversion, before, text, subject, start) for text in prompts}
    _draw_sheet(inversion, out, {"image": before}, states, seeds)


@verb("latent redraw", Topic.LEARN, examples=["diffusion-lens latent redraw fox.png --out again.png"])
def redraw(
    images: Images,
    /,
    out: Path,
    refine_steps: Refine = 0,
    seeds: Seeds = (0,),
    model: Model = "emoji",
    inverter: Inverter = None,
    overwrite: Overwrite = False,
) -> None:
    """Read images into conditioning and draw them again.

    Args:
        out: The path of the sheet: each image, and what is drawn from it with each seed.
    """
    from diffusion_lens.learning.image_files import read_image
    from diffusion_lens.learning.refining import refine

    if not images:
        raise InputError("No image was given. For example: latent redraw fox.png --out again.png")
    _check_sheet(out, overwrite)
    several = len({path.name for path in images}) < len(set(images))  # folders may share names of files
    read = {str(path) if several else path.name: read_image(path) for path in images}
    inversion = _load(model, inverter)
    states = refine(inversion, list(read.values()), steps=(refine_steps,))[0].states
    _draw_sheet(inversion, out, read, dict(zip(read, states, strict=True)), seeds)


@verb(
    "latent cycle",
    Topic.LEARN,
    examples=['diffusion-lens latent cycle "a red fox" "a blue car" --layers all --out cycle.csv'],
)
def cycle(
    prompts: Prompts,
    /,
    out: Path,
    layers: Layers = ("native",),
    seeds: Seeds = (0,),
    model: Model = "emoji",
    inverter: Inverter = None,
    overwrite: Overwrite = False,
) -> None:
    """Draw prompts at layers, read the images back, and compare: is the prompt still there?

    Args:
        prompts: Two or more prompts; each is ranked among the others.
        out: A CSV file with a row for each image: its error (0 where its own conditioning is read back, 1
            where no more than the mean conditioning is) and the rank of its prompt.
        layers: The layers to draw, as in `show`.
    """
    from diffusion_lens.files import check_output, write_whole
    from diffusion_lens.learning.cycle import cycle_by_layer, measure_cycle

    if len(set(prompts)) < 2:
        raise InputError("A prompt is ranked among others: give two or more different ones.")
    check_ending(out, "table", ".csv")
    check_output(out, overwrite=overwrite)
    table = measure_cycle(_load(model, inverter), prompts, layers, seeds)
    write_whole(out, lambda file: file.write(table.round(4).to_csv(index=False).encode()))
    for row in cycle_by_layer(table).itertuples():
        say(f"layer {row.site}: error {row.error:.2f}, nearest of {row.candidates}: {row.first:.0%}")


def _load(model: str, inverter: Path | None) -> "LatentInversion":
    from diffusion_lens.learning.latent_inversion import LatentInversion

    return LatentInversion.from_pretrained(model, inverter, batch_size=64)


def _lines(path: Path) -> list[str]:
    try:
        lines = [line.strip() for line in read_text(path).splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"{path} can't be read ({why_unreadable(error)}). Give a text file of captions, one a line."
        ) from None
    if not any(lines):
        raise InputError(f"{path} holds no captions. Write one a line.")
    return list(dict.fromkeys(line for line in lines if line))


def _change(text: str) -> tuple[str, str]:
    old, _, new = text.partition("=")
    if not old.strip() or not new.strip():
        raise InputError(f"{text!r} is no change of words. Write old=new, such as red=blue.")
    return old.strip(), new.strip()


def _check_sheet(out: Path, overwrite: bool) -> None:
    from diffusion_lens.files import check_output

    check_ending(out, "image", ".png", ".webp")
    check_output(out, overwrite=overwrite)


def _draw_sheet(
    inversion: "LatentInversion",
    out: Path,
    given: dict[str, Any],
    states: dict[str, Any],
    seeds: tuple[int, ...],
) -> None:
    """One row for each conditioning: the image that it was read from, then what it draws with each seed."""
    import torch

    from diffusion_lens.files import write_whole
    from diffusion_lens.images.sampler import check_seeds
    from diffusion_lens.lens.grid import contact_sheet

    seeds = check_seeds(seeds)
    drawn = inversion.draw(torch.stack(list(states.values())), seeds)
    images = list(given.values()) * (len(states) // len(given))
    rows = [[image, *row] for image, row in zip(images, drawn, strict=True)]
    missing = sum(image is None for row in drawn for image in row)
    if missing:
        log.warning("%d images overflowed and are missing from %s.", missing, out)
    sheet = contact_sheet(rows, list(states), ["image", *(f"seed {seed}" for seed in seeds)])
    write_whole(out, lambda file: sheet.save(file, out.suffix[1:].lower()))
    say(f"sheet   {out}")
