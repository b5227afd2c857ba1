"""`diffusion-lens latent ...`: pictures read back into the text-latent space of their model."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from diffusion_lens.cli.console import say
from diffusion_lens.errors import InputError

if TYPE_CHECKING:
    from diffusion_lens.learning.latent_inversion import LatentInversion

__all__ = ["LATENT", "caption", "cycle", "edit", "personalise", "redraw", "study"]

Pictures = Annotated[tuple[Path, ...], tyro.conf.Positional]
Picture = Annotated[Path, tyro.conf.Positional]
Text = Annotated[str, tyro.conf.Positional]
Texts = Annotated[tuple[str, ...], tyro.conf.Positional]


def caption(
    pictures: Pictures,
    /,
    candidates: Path | None = None,
    top: int = 3,
    model: str = "emoji",
    inverter: Path | None = None,
) -> None:
    """Say what pictures show: captions that are written, or the nearest of those given.

    Args:
        pictures: files.
        candidates: a text file of captions to choose from, one a line.
        top: how many of the candidates to show.
        model: emoji, or a folder in diffusers format.
        inverter: a folder of an inverter; the model's own if left out.
    """
    from diffusion_lens.learning.captioning import nearest_captions, write_captions
    from diffusion_lens.learning.concepts import read_picture

    if not pictures:
        raise InputError("No picture was given. For example: diffusion-lens latent caption fox.png")
    read = [read_picture(path) for path in pictures]
    texts = _lines(candidates) if candidates is not None else None
    inversion = _load(model, inverter)
    if texts is None:
        found = [[one] for one in write_captions(inversion, read)]
    else:
        found = nearest_captions(inversion, read, texts, top)
    for path, captions in zip(pictures, found, strict=True):
        for one in captions:
            say(f"{path}  {one.error:.2f}  {one.text}")


def edit(
    picture: Picture,
    /,
    replace: tuple[str, ...],
    out: Path,
    source: str | None = None,
    how: Literal["shift", "swap"] = "shift",
    refine_steps: int = 40,
    seeds: tuple[int, ...] = (0,),
    model: str = "emoji",
    inverter: Path | None = None,
    overwrite: bool = False,
) -> None:
    """Change words of a picture and draw it again: the colour, and the rest stays.

    Args:
        picture: a file.
        replace: words to change, each as old=new, such as red=blue.
        out: the sheet: the picture, what is read from it, and the changed one with each seed.
        source: the caption whose words change; read from the picture if left out.
        how: shift adds what the words change; swap takes the new words' states in their places.
        refine_steps: steps that optimise what was read of the picture through the denoiser, first.
        seeds: pictures to draw.
        model: emoji, or a folder in diffusers format.
        inverter: a folder of an inverter; the model's own if left out.
        overwrite: replace a file that exists.
    """
    from diffusion_lens.learning import editing
    from diffusion_lens.learning.captioning import write_captions
    from diffusion_lens.learning.concepts import read_picture
    from diffusion_lens.learning.refining import refine

    changes = [_change(text) for text in replace]
    _check_sheet(out, overwrite)
    before = read_picture(picture)
    inversion = _load(model, inverter)
    source = source or write_captions(inversion, [before])[0].text
    target = editing.change_words(source, changes)
    change = {"shift": editing.shift, "swap": editing.swap}[how]
    start = refine(inversion, [before], steps=(refine_steps,))[0].states[0]
    state = change(inversion, before, source, target, start)
    say(f"source  {source}\ntarget  {target}")
    _draw_sheet(inversion, out, {"picture": before}, {target: state}, seeds)


def personalise(
    picture: Picture,
    prompts: Texts,
    /,
    out: Path,
    subject: str | None = None,
    refine_steps: int = 40,
    seeds: tuple[int, ...] = (0,),
    model: str = "emoji",
    inverter: Path | None = None,
    overwrite: bool = False,
) -> None:
    """Draw the subject of one picture in new prompts, without training.

    Args:
        picture: a file, with the subject alone.
        prompts: with {} for the subject, such as "{} at night".
        out: the sheet: the picture, and each prompt with each seed.
        subject: words for the subject, such as "a red fox"; read from the picture if left out.
        refine_steps: steps that optimise what was read of the picture through the denoiser, first.
        seeds: pictures to draw.
        model: emoji, or a folder in diffusers format.
        inverter: a folder of an inverter; the model's own if left out.
        overwrite: replace a file that exists.
    """
    from diffusion_lens.learning import editing
    from diffusion_lens.learning.concepts import read_picture
    from diffusion_lens.learning.refining import refine

    if not prompts:
        raise InputError('No prompt was given. For example: latent personalise fox.png "{} at night"')
    _check_sheet(out, overwrite)
    before = read_picture(picture)
    inversion = _load(model, inverter)
    start = refine(inversion, [before], steps=(refine_steps,))[0].states[0]
    states = {text: editing.personalise(inversion, before, text, subject, start) for text in prompts}
    _draw_sheet(inversion, out, {"picture": before}, states, seeds)


def redraw(
    pictures: Pictures,
    /,
    out: Path,
    refine_steps: int = 0,
    seeds: tuple[int, ...] = (0,),
    model: str = "emoji",
    inverter: Path | None = None,
    overwrite: bool = False,
) -> None:
    """Read pictures into conditioning and draw them again.

    Args:
        pictures: files.
        out: the sheet: each picture, and what is drawn from it with each seed.
        refine_steps: steps that optimise the conditioning through the denoiser, from what was read.
        seeds: pictures to draw.
        model: emoji, or a folder in diffusers format.
        inverter: a folder of an inverter; the model's own if left out.
        overwrite: replace a file that exists.
    """
    from diffusion_lens.learning.concepts import read_picture
    from diffusion_lens.learning.refining import refine

    if not pictures:
        raise InputError("No picture was given. For example: latent redraw fox.png --out again.png")
    _check_sheet(out, overwrite)
    read = {path.name: read_picture(path) for path in pictures}
    inversion = _load(model, inverter)
    states = refine(inversion, list(read.values()), steps=(refine_steps,))[0].states
    _draw_sheet(inversion, out, read, dict(zip(read, states, strict=True)), seeds)


def cycle(
    prompts: Texts,
    /,
    out: Path,
    layers: tuple[str, ...] = ("native",),
    seeds: tuple[int, ...] = (0,),
    model: str = "emoji",
    inverter: Path | None = None,
    overwrite: bool = False,
) -> None:
    """Draw prompts at layers, read the pictures back, and compare: is the prompt still there?

    Args:
        prompts: two or more; they are each other's alternatives.
        out: a CSV file: a row by picture, with its error (0: its own conditioning, 1: knows nothing) and
            its prompt's rank.
        layers: as in `show`.
        seeds: pictures of each prompt and layer.
        model: emoji, or a folder in diffusers format.
        inverter: a folder of an inverter; the model's own if left out.
        overwrite: replace a file that exists.
    """
    from diffusion_lens.files import check_output, write_whole
    from diffusion_lens.learning.cycle import measure_cycle

    if len(set(prompts)) < 2:
        raise InputError("A prompt is ranked among others: give two or more different ones.")
    check_output(out, overwrite=overwrite)
    table = measure_cycle(_load(model, inverter), prompts, layers, seeds)
    write_whole(out, lambda file: file.write(table.round(4).to_csv(index=False).encode()))
    for layer, rows in table.groupby("layer"):
        say(f"layer {layer}: error {rows['error'].mean():.2f}, first of {rows['candidates'].iloc[0]}: "
            f"{(rows['rank'] == 1).mean():.0%}")  # fmt: skip


def study(out: Path, scenes: int = 100, model: str = "emoji", inverter: Path | None = None) -> None:
    """Count what latent inversion can do, by the oracle; goes on where a study in the folder stopped.

    Args:
        out: a folder: gets the answers of each part as .parquet, summary.csv with intervals, and a figure.
        scenes: of the larger parts.
        model: emoji, or a folder in diffusers format.
        inverter: a folder of an inverter; the model's own if left out.
    """
    from diffusion_lens.figures.latent_inversion import draw_latent_inversion
    from diffusion_lens.figures.style import save
    from diffusion_lens.files import write_whole
    from diffusion_lens.learning import latent_study

    tables = latent_study.study(_load(model, inverter), out, scenes)
    rates = latent_study.summaries(tables)
    write_whole(out / "summary.csv", lambda file: file.write(rates.round(4).to_csv(index=False).encode()))
    save(draw_latent_inversion(rates), out / "latent_inversion")
    say(rates[rates["group"].isin(("", "seen"))].round(3).to_string(index=False))


def _load(model: str, inverter: Path | None) -> "LatentInversion":
    from diffusion_lens.learning.latent_inversion import LatentInversion

    return LatentInversion.from_pretrained(model, inverter, batch_size=64)


def _lines(path: Path) -> list[str]:
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"{path} can't be read ({error}). Give a text file of captions, one a line."
        ) from None
    if not any(lines):
        raise InputError(f"{path} holds no captions. Write one a line.")
    return [line for line in lines if line]


def _change(text: str) -> tuple[str, str]:
    old, _, new = text.partition("=")
    if not old.strip() or not new.strip():
        raise InputError(f"{text!r} is no change of words. Write old=new, such as red=blue.")
    return old.strip(), new.strip()


def _check_sheet(out: Path, overwrite: bool) -> None:
    from diffusion_lens.files import check_output

    if out.suffix.lower() not in (".png", ".webp"):
        raise InputError(f"{out} names no picture; end it in .png or .webp.")
    check_output(out, overwrite=overwrite)


def _draw_sheet(
    inversion: "LatentInversion",
    out: Path,
    given: dict[str, Any],
    states: dict[str, Any],
    seeds: tuple[int, ...],
) -> None:
    """A row by conditioning: the picture that it is of, then what is drawn from it with each seed."""
    import torch

    from diffusion_lens.files import write_whole
    from diffusion_lens.images.sampler import check_seeds
    from diffusion_lens.lens.grid import contact_sheet

    seeds = check_seeds(seeds)
    drawn = inversion.draw(torch.stack(list(states.values())), seeds)
    pictures = list(given.values()) * (len(states) // len(given))
    rows = [[picture, *row] for picture, row in zip(pictures, drawn, strict=True)]
    sheet = contact_sheet(rows, list(states), ["picture", *(f"seed {seed}" for seed in seeds)])
    write_whole(out, lambda file: sheet.save(file, out.suffix[1:].lower()))
    say(f"sheet   {out}")


LATENT: dict[str, Callable[..., Any]] = {
    "caption": caption,
    "edit": edit,
    "personalise": personalise,
    "redraw": redraw,
    "cycle": cycle,
    "study": study,
}
