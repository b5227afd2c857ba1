"""`diffusion-lens testbed ...`: the scenes, the training and the examination of the embedded models."""

from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from rich.table import Table

from diffusion_lens.cli.console import out as console
from diffusion_lens.cli.console import say
from diffusion_lens.errors import InputError

__all__ = ["TESTBED", "evaluate", "scenes", "train"]

Models = Annotated[tuple[str, ...], tyro.conf.Positional]


def scenes(
    n: int = 16, seed: int = 0, flat: bool = False, out: Path = Path("scenes.png"), overwrite: bool = False
) -> None:
    """Draw scenes of the testbed with their captions: a sheet, and the scenes as JSON lines beside it.

    Args:
        n: how many.
        seed: the stream that they are drawn from.
        flat: all objects equally often, instead of a few most often.
        out: the sheet's path; the scenes go beside it as .jsonl.
        overwrite: replace files that exist.
    """
    from diffusion_lens.files import check_output, write_whole
    from diffusion_lens.testbed.captions import caption
    from diffusion_lens.testbed.scenes import render_batch, sample
    from diffusion_lens.testbed.sprites import sheet

    if n < 1:
        raise InputError(f"{n} scenes can't be drawn; ask for one or more.")
    records = out.with_suffix(".jsonl")
    for path in (out, records):
        check_output(path, overwrite=overwrite)
    drawn = [sample(seed, index, flat=flat) for index in range(n)]
    lines = []
    for index, scene in enumerate(drawn):
        text = caption(scene, seed, index)
        say(f"{index:3d}  {text}")
        lines.append(scene.to_json())
    page = sheet(render_batch(drawn, 128))
    write_whole(records, lambda file: file.write("".join(f"{line}\n" for line in lines).encode()))
    write_whole(out, lambda file: page.save(file, "png"))
    say(f"sheet   {out}\nscenes  {records}")


def train(
    folder: Path,
    stage: Literal["autoencoder", "clip", "diffusion", "inversion"] | None = None,
    minutes: float = 30.0,
    resume: bool = False,
    quick: bool = False,
    encoder: Literal["minilm", "clip", "random"] | None = None,
    start: Path | None = None,
    decay_samples: int | None = None,
    decoder_only: bool = False,
    batch: int | None = None,
    rate: float | None = None,
    seed: int | None = None,
    channels: tuple[int, ...] | None = None,
    device: str | None = None,
) -> None:
    """Train one stage for some minutes; it can be stopped at any time and resumed.

    Args:
        folder: where checkpoint, log and exported model live.
        stage: what to train: first the autoencoder, then the CLIP if it is wanted, then the diffusion;
            the inversion needs the autoencoder alone.
        minutes: of training; 0 only exports what was trained.
        resume: go on from the checkpoint in the folder.
        quick: the first three stages at tiny sizes, in two minutes.
        encoder: the text encoder that the diffusion stage reads; minilm if left out.
        start: weights to start from, in diffusers format.
        decay_samples: let the rate fall to zero over so many samples, then stop.
        decoder_only: train the autoencoder's decoder and leave its latents as they are.
        batch: scenes per step.
        rate: the learning rate.
        seed: of the scenes and the first weights.
        channels: of the blocks of the autoencoder or the denoiser.
        device: cpu or cuda; the GPU if there is one.
    """
    from diffusion_lens.testbed.train import STAGES, train_quickly
    from diffusion_lens.testbed.train import train as run

    if quick:
        train_quickly(folder, device)
        return
    if stage is None:
        raise InputError(f"No stage was given: --stage {', '.join(STAGES)}, or --quick for all, tiny.")
    kind = STAGES[stage][1]
    asked = {"encoder": encoder, "batch": batch, "rate": rate, "seed": seed, "channels": channels}
    asked |= {"decoder_only": decoder_only or None}
    changes = {name: value for name, value in asked.items() if value is not None}
    unknown = changes.keys() - {field.name for field in fields(kind)}
    if unknown:
        raise InputError(f"Stage {stage} has no setting {', '.join(sorted(unknown))}; leave it out.")
    progress = run(
        stage, folder, minutes, resume, settings=replace(kind(), **changes), start=start,
        decay_samples=decay_samples, device=device,
    )  # fmt: skip
    say(f"{stage}: {progress.samples} samples in {progress.seconds / 60:.1f} minutes, in {folder}")


def evaluate(
    models: Models,
    /,
    out: Path,
    captions: int = 500,
    layers: tuple[str, ...] = ("native",),
    seeds: tuple[int, ...] = (0, 1),
    synonyms: bool = True,
    steps: int = 20,
    dtype: Literal["float32", "bfloat16", "float16"] | None = None,
    overwrite: bool = False,
) -> None:
    """Count how often an embedded model draws what captions state, at each layer, as the oracle sees it.

    Args:
        models: embedded models, or folders of `testbed train` that hold a text encoder.
        out: a CSV file of rates with intervals; every answer goes beside it as .parquet, and with more
            than one layer a figure as .png and .pdf.
        captions: how many held-out captions.
        layers: as in `show`.
        seeds: pictures of each caption and layer.
        synonyms: ask for the words that training holds back, too: one caption each.
        steps: denoising steps.
        dtype: float32 if left out; bfloat16 is faster where the hardware has it.
        overwrite: replace files that exist.
    """
    import pandas as pd

    from diffusion_lens.bench import accuracy as examination
    from diffusion_lens.files import check_output, write_whole
    from diffusion_lens.lens.lens import DiffusionLens
    from diffusion_lens.models.embedded import EMBEDDED

    answers = out.with_suffix(".parquet")
    for path in (out, answers):
        check_output(path, overwrite=overwrite)
    asked = examination.questions(captions, synonyms)
    parts = []
    for model in models:
        lens = DiffusionLens.from_pretrained(model, dtype=dtype, batch_size=64)
        found = examination.evaluate(lens, asked, layers, seeds, steps)
        name = EMBEDDED[model].encoder if model in EMBEDDED else Path(model).name.removeprefix("emoji-")
        parts.append(found.assign(encoder=name))
    table = pd.concat(parts, ignore_index=True)
    rates = examination.rates(table, ("encoder", "group", "layer", "check"))
    write_whole(answers, lambda file: table.to_parquet(file, index=False))
    write_whole(out, lambda file: file.write(rates.round(4).to_csv(index=False).encode()))
    if rates["layer"].nunique() > 1:
        from diffusion_lens.figures.examination import draw_examination
        from diffusion_lens.figures.style import save

        save(draw_examination(rates), out.with_suffix(""))
    page = Table(*rates.columns, box=None)
    for row in rates.itertuples(index=False):
        page.add_row(*(f"{value:.3f}" if isinstance(value, float) else str(value) for value in row))
    console.print(page)


TESTBED: dict[str, Callable[..., Any]] = {"scenes": scenes, "train": train, "evaluate": evaluate}
