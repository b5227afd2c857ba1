"""`diffusion-lens testbed ...`: the scenes, the training and the evaluation of the embedded models."""

from dataclasses import asdict, fields, replace
from functools import partial
from pathlib import Path
from typing import Annotated

import tyro
from rich.table import Table

from diffusion_lens.cli.console import out as console
from diffusion_lens.cli.console import say
from diffusion_lens.cli.options import (
    Compute,
    Device,
    Overwrite,
    WholeLayers,
    check_ending,
    default,
    values,
)
from diffusion_lens.cli.values import Seed
from diffusion_lens.cli.verbs import Topic, group, verb
from diffusion_lens.errors import InputError
from diffusion_lens.testbed.choices import EncoderName, RecipeName, StageName

__all__ = ["evaluate", "scenes", "train"]

group("testbed", "Draw the scenes of the embedded models, train the models, and count what they get right.")
_MOST_SCENES = 10_000


@verb(
    "testbed scenes",
    Topic.MODELS,
    examples=[
        "diffusion-lens testbed scenes --n 16",
        "diffusion-lens testbed scenes --n 500 --images scenes",
    ],
)
def scenes(
    n: int = 16,
    seed: Seed = 0,
    flat: Annotated[bool, default("a few objects most often")] = False,
    out: Path = Path("scenes.png"),
    images: Annotated[Path | None, default("write the sheet alone", "FOLDER")] = None,
    overwrite: Overwrite = False,
) -> None:
    """Draw scenes of the testbed with their captions: a sheet, and the scenes as JSON lines beside it.

    Args:
        n: The number of scenes.
        seed: The seed of the scenes.
        flat: Draw all objects equally often.
        out: The path of the sheet; the scenes go beside it as .jsonl.
        images: A folder for each scene as a picture of its own, such as `sets --reference` takes.
    """
    from PIL import Image

    from diffusion_lens.files import check_output, write_whole
    from diffusion_lens.testbed.captions import caption
    from diffusion_lens.testbed.scenes import render_batch, sample
    from diffusion_lens.testbed.sprites import sheet

    if not 1 <= n <= _MOST_SCENES:
        raise InputError(f"{n} scenes can't be drawn on a sheet; ask for 1 to {_MOST_SCENES:,}.")
    check_ending(out, "image", ".png")
    records = out.with_suffix(".jsonl")
    single = [] if images is None else [images / f"{index:05d}.png" for index in range(n)]
    for path in (out, records, *single):
        check_output(path, overwrite=overwrite)
    drawn = [sample(seed, index, flat=flat) for index in range(n)]
    lines = []
    for index, scene in enumerate(drawn):
        text = caption(scene, seed, index)
        say(f"{index:3d}  {text}")
        lines.append(scene.to_json())
    for path, picture in zip(single, render_batch(drawn) if single else (), strict=True):
        write_whole(path, partial(Image.fromarray(picture).save, format="png"))
    page = sheet(render_batch(drawn, 128))
    write_whole(records, lambda file: file.write("".join(f"{line}\n" for line in lines).encode()))
    write_whole(out, lambda file: page.save(file, "png"))
    say(f"sheet   {out}\nscenes  {records}")


@verb(
    "testbed train",
    Topic.MODELS,
    examples=[
        "diffusion-lens testbed train --quick --folder trained",
        "diffusion-lens testbed train --recipe all --folder trained --minutes 480",
        "diffusion-lens testbed train --stage autoencoder --folder trained --minutes 60",
    ],
)
def train(
    folder: Path,
    recipe: Annotated[RecipeName | None, default("one stage")] = None,
    stage: Annotated[StageName | None, default("none; needed without --recipe and --quick")] = None,
    minutes: float = 30.0,
    resume: Annotated[bool, default("start anew")] = False,
    quick: Annotated[bool, default("full size")] = False,
    go_on: Annotated[bool, default("graft the others from emoji")] = False,
    encoder: Annotated[EncoderName | None, default("minilm")] = None,
    start: Annotated[Path | None, default("random weights", "FOLDER")] = None,
    decay_samples: Annotated[int | None, default("no decay", "INT")] = None,
    decoder_only: Annotated[bool, default("train both halves")] = False,
    batch: Annotated[int | None, default("the stage's own", "INT")] = None,
    lr: Annotated[float | None, default("the stage's own", "NUMBER")] = None,
    seed: Annotated[Seed | None, default("the stage's own", "INT")] = None,
    channels: Annotated[tuple[int, ...] | None, values("INT", "the stage's own")] = None,
    contrast: Annotated[float | None, default("none; the recipe decides", "NUMBER")] = None,
    cycle: Annotated[float | None, default("none", "NUMBER")] = None,
    keep_every: Annotated[int | None, default("keep none", "SAMPLES")] = None,
    workers: Annotated[int | None, default("none; the recipe: one a core but one", "INT")] = None,
    device: Device = None,
) -> None:
    """Train a recipe's models, or one stage, for some minutes. It can be stopped at any time and resumed.

    Args:
        folder: The folder of the checkpoint, the log and the exported model.
        recipe: Train all stages of a model, or of all models, one after the other, starting from the
            weights of the package; the minutes are split between them. control is a denoiser that reads
            an untrained text encoder.
        stage: What to train: first the autoencoder, then the CLIP and its distil stage if it is wanted,
            then the diffusion or the joint stage; the inversion needs the autoencoder alone.
        minutes: The minutes of training; 0 only exports what was trained. --quick alone takes its own.
        resume: Resume from the checkpoint in the folder.
        quick: Train at tiny sizes, in two minutes: the first three stages, or those of the recipe.
        go_on: Start a recipe's models from their own weights in the package.
        encoder: The text encoder that the diffusion stage reads.
        start: The weights to start from, in diffusers format.
        decay_samples: Let the learning rate fall to zero over this number of samples, then stop.
        decoder_only: Train the autoencoder's decoder and keep its latents as they are.
        batch: The number of scenes in a step.
        lr: The learning rate.
        seed: The seed of the scenes and of the first weights.
        channels: The channels of the blocks of the autoencoder or the denoiser.
        contrast: The weight of the diffusion stage's contrastive term, which teaches what belongs to what.
        cycle: The weight of the inversion stage's loss on images that the denoiser in the folder draws.
        keep_every: Each time this number of samples was seen, keep a copy of the averaged weights beside
            the checkpoint.
        workers: The number of processes that render scenes ahead of the steps.
    """
    from diffusion_lens.models.quiet import quiet_libraries

    with quiet_libraries():
        from diffusion_lens.testbed.diffusion import DiffusionSettings
        from diffusion_lens.testbed.train import STAGES, train_quickly
        from diffusion_lens.testbed.train import train as run

    asked: dict[str, object] = {"encoder": encoder, "batch": batch, "rate": lr}
    asked |= {"seed": seed, "channels": channels, "contrast": contrast, "cycle": cycle}
    asked |= {"decoder_only": decoder_only or None, "workers": None if recipe else workers}
    changes = {name: value for name, value in asked.items() if value is not None}
    of_a_stage = {"stage": stage, "start": start, "decay_samples": decay_samples}
    told = [_option(name) for name, value in (asked | of_a_stage).items() if value is not None]
    if keep_every is not None and (recipe or quick):
        raise InputError(
            "Weights are kept of one stage: give --stage with --keep-every, no --recipe or --quick."
        )
    if recipe is not None:
        _train_recipe(recipe, folder, minutes, resume, quick, go_on, workers, device, told)
        return
    if go_on:
        raise InputError("--go-on belongs to a recipe: give --recipe, or --start with the stage's weights.")
    if quick:
        told += ["--resume"] * resume
        if told:
            raise InputError(
                f"--quick decides {', '.join(told)} itself. Leave that out, or train one stage: --stage "
                "without --quick."
            )
        train_quickly(folder, device)
        return
    if stage is None:
        raise InputError(
            f"No stage was given: --stage {', '.join(STAGES)}, --recipe for all of a model, or --quick for "
            "all, tiny."
        )
    kind = STAGES[stage][1]
    unknown = changes.keys() - {field.name for field in fields(kind)}
    if unknown:
        raise InputError(f"Stage {stage} takes no {', '.join(map(_option, unknown))}. Leave it out.")
    own = DiffusionSettings.of(encoder) if encoder and stage == "diffusion" else kind()
    progress = run(
        stage,
        folder,
        minutes,
        resume,
        settings=replace(own, **changes),
        start=start,
        decay_samples=decay_samples,
        keep_every=keep_every,
        device=device,
    )
    say(f"{stage}: {progress.samples} samples in {progress.seconds / 60:.1f} minutes, in {folder}")


def _option(setting: str) -> str:
    """A setting of a stage as it is written in a command."""
    return "--lr" if setting == "rate" else f"--{setting.replace('_', '-')}"


def _train_recipe(
    name: str,
    folder: Path,
    minutes: float,
    resume: bool,
    quick: bool,
    go_on: bool,
    workers: int | None,
    device: str | None,
    told: list[str],
) -> None:
    """Run a recipe, which decides by itself what else `train` can be told."""
    from diffusion_lens.testbed.recipe import run_recipe
    from diffusion_lens.threads import count_cores

    if told:
        raise InputError(
            f"A recipe decides {', '.join(told)} itself. Leave that out, or train one stage: --stage "
            "without --recipe."
        )
    done = run_recipe(
        name,
        folder,
        minutes,
        resume,
        quick=quick,
        go_on=go_on,
        workers=max(0, count_cores() - 1) if workers is None else workers,
        device=device,
    ).done
    for part, seconds in done.items():
        say(f"{part}: {seconds / 60:.1f} minutes")


@verb(
    "testbed evaluate",
    Topic.MODELS,
    examples=["diffusion-lens testbed evaluate emoji --layers all --out layers.csv"],
)
def evaluate(
    models: Annotated[
        tuple[str, ...],
        tyro.conf.Positional,
        tyro.conf.arg(metavar="MODEL [MODEL ...]", help_behavior_hint=""),
    ],
    /,
    out: Annotated[Path, tyro.conf.arg(metavar="FILE")],
    captions: int = 500,
    layers: WholeLayers = ("native",),
    seeds: Annotated[tuple[int, ...], values("SEED", "0 1")] = (0, 1),
    synonyms: Annotated[bool, default("ask for them")] = True,
    steps: int = 20,
    overwrite: Overwrite = False,
    compute: Compute = Compute(),
) -> None:
    """Count how often an embedded model draws what captions state, at each layer, as the oracle sees it.

    Args:
        models: Embedded models, or folders of `testbed train` that hold a text encoder.
        out: A CSV file of rates with intervals; every answer goes beside it as .parquet, and with more
            than one layer a figure as .png and .pdf.
        captions: The number of held-out captions.
        seeds: The seeds of the images of each caption and layer.
        synonyms: Do not ask for the words that training held back.
        steps: The number of denoising steps.
    """
    import pandas as pd

    from diffusion_lens.bench import accuracy
    from diffusion_lens.files import check_output, write_whole
    from diffusion_lens.lens.lens import DiffusionLens
    from diffusion_lens.models.embedded import EMBEDDED

    check_ending(out, "table", ".csv")
    answers = out.with_suffix(".parquet")
    for path in (out, answers):
        check_output(path, overwrite=overwrite)
    asked = accuracy.questions(captions, synonyms)
    parts = []
    for model in models:
        lens = DiffusionLens.from_pretrained(model, **asdict(compute), batch_size=64)
        found = accuracy.evaluate(lens, asked, layers, seeds, steps)
        name = EMBEDDED[model].encoder if model in EMBEDDED else Path(model).name.removeprefix("emoji-")
        parts.append(found.assign(encoder=name))
    table = pd.concat(parts, ignore_index=True)
    rates = accuracy.rates(table, ("encoder", "group", "layer", "check"))
    write_whole(answers, lambda file: table.to_parquet(file, index=False))
    write_whole(out, lambda file: file.write(rates.round(4).to_csv(index=False).encode()))
    if rates["layer"].nunique() > 1:
        from diffusion_lens.figures.style import save
        from diffusion_lens.figures.testbed import draw_evaluation

        save(draw_evaluation(rates), out.with_suffix(""))
    page = Table(*rates.columns, box=None)
    for row in rates.itertuples(index=False):
        page.add_row(*(f"{value:.3f}" if isinstance(value, float) else str(value) for value in row))
    console.print(page)
