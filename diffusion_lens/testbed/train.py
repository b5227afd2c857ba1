"""Train one stage of an embedded model, stop at any time, and go on later.

    diffusion-lens testbed train --stage autoencoder --minutes 40 --folder FOLDER
    diffusion-lens testbed train --stage clip --minutes 20 --folder FOLDER
    diffusion-lens testbed train --stage distil --minutes 20 --folder FOLDER
    diffusion-lens testbed train --stage diffusion --encoder clip --minutes 60 --folder FOLDER
    diffusion-lens testbed train --stage joint --minutes 60 --folder FOLDER
    diffusion-lens testbed train --stage inversion --minutes 25 --folder FOLDER
    ... --resume                     goes on where the last checkpoint is
    ... --resume --decay-samples N   lets the rate fall to zero over the next N samples, then stops
    ... --resume --minutes 0         only exports
    ... --keep-every N               keeps the averaged weights after every N samples, for studies
    ... --decoder-only --start VAE   improves the decoder of VAE and leaves its latents as they are
    diffusion-lens testbed train --quick --folder FOLDER      the first three, tiny, in two minutes

The diffusion and the inversion stage need the autoencoder's export in the folder (train it there, or
copy one), and the diffusion stage with the encoder `clip` that of the clip stage too. The joint stage
trains that encoder on, together with the denoiser. Without a clip
stage, `--encoder minilm` reads the pretrained encoder and `--encoder random` the untrained control.

A decay keeps the checkpoint that it began with as `<stage>.before-decay.safetensors`: put it in the
checkpoint's place to go on at the full rate.

`FOLDER` gets `<stage>.safetensors` (the checkpoint: weights, their running average, the optimizer's
state, and the position in the streams of scenes and noise), `<stage>.csv` (the log) and, at the end
of every run, the model in diffusers format in half precision. Scenes and noise of a step depend on
the seed and the step alone, so that a run that was stopped and resumed makes the same steps as one
that was not.
"""

import logging
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path

import torch
from filelock import FileLock, Timeout
from safetensors import SafetensorError
from safetensors.torch import save

from diffusion_lens.errors import InputError, OutputError
from diffusion_lens.files import write_whole
from diffusion_lens.testbed.autoencoder import AutoencoderSettings, AutoencoderStage
from diffusion_lens.testbed.clip import ClipSettings, ClipStage
from diffusion_lens.testbed.diffusion import DiffusionSettings, DiffusionStage
from diffusion_lens.testbed.distil import DistilSettings, DistilStage
from diffusion_lens.testbed.encoders import fast_bfloat16
from diffusion_lens.testbed.inverter import InversionSettings, InversionStage
from diffusion_lens.testbed.joint import JointSettings, JointStage
from diffusion_lens.testbed.trainer import Progress, StageSettings, Trainer
from diffusion_lens.testbed.training_log import TrainingLog

log = logging.getLogger(__name__)
_VALIDATE_MINUTES = 5.0  # between validations
STAGES = {
    "autoencoder": (AutoencoderStage, AutoencoderSettings),
    "clip": (ClipStage, ClipSettings),
    "distil": (DistilStage, DistilSettings),
    "diffusion": (DiffusionStage, DiffusionSettings),
    "joint": (JointStage, JointSettings),
    "inversion": (InversionStage, InversionSettings),
}
# Tiny settings and so many steps: two minutes for all three stages.
QUICK: dict[str, tuple[StageSettings, int]] = {
    "autoencoder": (
        AutoencoderSettings(channels=(8, 16, 16, 32), latent_channels=4, side=32, rate=2e-3),
        150,
    ),
    "clip": (ClipSettings(width=64, layers=3, vision_layers=2, side=32, batch=32, warmup=20), 100),
    "diffusion": (
        DiffusionSettings(encoder="clip", channels=(32, 64), chunk=1024, batch=32, rate=2e-3),
        120,
    ),
}


def train(
    stage: str,
    folder: str | Path,
    minutes: float,
    resume: bool = False,
    *,
    settings: StageSettings | None = None,
    start: str | Path | None = None,
    decay: bool = False,
    decay_samples: int | None = None,
    max_steps: int | None = None,
    log_every: int = 10,
    keep_every: int | None = None,
    device: str | None = None,
) -> Progress:
    """Train a stage for some minutes, or until its decay has ended, and export its model.

    Args:
        stage: a key of `STAGES`; the diffusion stage needs the autoencoder's export in `folder`.
        folder: where checkpoint, log and exported model live.
        minutes: wall-clock time of this run's training; 0 only exports.
        resume: go on from the checkpoint; without it, one that is there is an error.
        settings: what to train; the stage's defaults if None.
        start: weights to start from, a folder in diffusers format (not with `resume`).
        decay: let the rate fall to zero over the minutes of this run.
        decay_samples: the same over so many samples from here, then stop.
        max_steps: stop after so many steps of this run.
        log_every: steps per row of the log.
        keep_every: samples after which the averaged weights are kept each time, in half precision, as
            `<stage>.kept/<samples>.safetensors`; those of the start too.
        device: "cpu" or "cuda"; the GPU if there is one.
    """
    if stage not in STAGES:
        raise InputError(f"no stage {stage!r}; there are {', '.join(STAGES)}")
    if keep_every is not None and keep_every < 1:
        raise InputError(f"weights can't be kept every {keep_every} samples; give 1 or more")
    build, default = STAGES[stage]
    where = Path(folder)
    try:
        where.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"folder {where} can't be made: {error}") from error
    chosen = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    # an export alone may read the checkpoint of a run that goes on
    with hold_folder(where, f"stage {stage}") if minutes > 0 else nullcontext():
        trainer = Trainer(
            build(settings or default(), where, chosen, Path(start) if start else None), where
        )
        if resume:
            trainer.load()
        elif trainer.path.exists():
            raise InputError(f"{trainer.path} exists: give --resume to go on, or another folder")
        if (decay or decay_samples is not None) and trainer.progress.decay_from is None:
            if resume:  # from here a later run can go on at the full rate
                shutil.copyfile(trainer.path, where / f"{stage}.before-decay.safetensors")
            trainer.progress = _begin_decay(trainer.progress, 60 * minutes, decay_samples)
        if minutes > 0:
            try:
                autocast = fast_bfloat16(chosen)
                _loop(trainer, minutes, max_steps, log_every, autocast, keep_every)
            finally:
                if isinstance(trainer.stage, DiffusionStage):
                    trainer.stage.close()
        _export(trainer)
    return trainer.progress


def _begin_decay(progress: Progress, seconds: float, samples: int | None) -> Progress:
    """The rate falls from here, over so many samples, or else seconds."""
    if samples is None:
        return replace(progress, decay_by="seconds", decay_from=progress.seconds, decay_over=seconds)
    return replace(
        progress, decay_by="samples", decay_from=float(progress.samples), decay_over=float(samples)
    )


@contextmanager
def hold_folder(folder: Path, what: str) -> Iterator[None]:
    """Refuse to train in a folder where another process trains the same.

    Args:
        folder: made if it isn't there.
        what: "recipe", or "stage NAME".

    Raises:
        InputError: another process trains it.
        OutputError: the folder can't be written.
    """
    lock = FileLock(folder / f"{what.removeprefix('stage ')}.lock")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout:
        raise InputError(
            f"another process trains {what} in {folder}: stop it, or give another folder"
        ) from None
    except OSError as error:
        raise OutputError(f"nothing can be written into {folder}: {error}") from error
    try:
        yield
    finally:
        lock.release()


def train_quickly(folder: str | Path, device: str | None = None) -> None:
    """Train all three stages at tiny sizes, in two minutes: what they do, not what they can.

    The folder then holds a whole pipeline that `StableDiffusionPipeline` loads, with a CLIP of its own.
    """
    for stage, (settings, steps) in QUICK.items():
        log.info("stage %s: %d steps", stage, steps)
        train(stage, folder, 60.0, settings=settings, max_steps=steps, device=device)


def _export(trainer: Trainer) -> None:
    """Write the averaged model beside the last export, then put it in its place."""
    part = trainer.folder / f"{trainer.stage.name}.export"
    try:
        shutil.rmtree(part, ignore_errors=True)
        with trainer.averaged():
            trainer.stage.export(part)
        for made in part.iterdir():
            shutil.rmtree(trainer.folder / made.name, ignore_errors=True)
            made.rename(trainer.folder / made.name)
        part.rmdir()
    except (OSError, SafetensorError) as error:
        raise OutputError(f"the model can't be exported to {trainer.folder}: {error}") from error


def _keep(trainer: Trainer) -> None:
    """Write the averaged weights, whole or not at all."""
    folder = trainer.folder / f"{trainer.stage.name}.kept"
    weights = {name: value.half().contiguous() for name, value in trainer.average.items()}
    try:
        folder.mkdir(exist_ok=True)
        content = save(weights)
    except (OSError, SafetensorError) as error:
        raise OutputError(f"weights can't be kept in {folder}: {error}") from error
    path = folder / f"{trainer.progress.samples:07d}.safetensors"
    write_whole(path, lambda file: file.write(content))


def _loop(
    trainer: Trainer,
    minutes: float,
    max_steps: int | None,
    log_every: int,
    autocast: bool,
    keep_every: int | None,
) -> None:
    """Make steps, with a checkpoint a minute and a validation now and then."""
    lines = TrainingLog(trainer.folder / f"{trainer.stage.name}.csv", trainer.progress.step)
    began = saved = validated = marked = time.monotonic()
    before = trainer.progress.seconds
    first = trainer.progress.step
    losses: list[float] = []
    row: dict[str, object] = {}
    if keep_every and not first:
        _keep(trainer)
    while not trainer.progress.finished:
        now = time.monotonic()
        if now - began >= 60 * minutes or trainer.progress.step - first == max_steps:
            break
        samples = trainer.progress.samples
        loss, rate = trainer.step(autocast)
        if keep_every and trainer.progress.samples // keep_every > samples // keep_every:
            _keep(trainer)
        losses.append(loss)
        now = time.monotonic()
        trainer.progress = replace(trainer.progress, seconds=before + now - began)
        validation: float | str = ""
        if now - validated >= 60 * _VALIDATE_MINUTES:
            with trainer.averaged():
                validation = trainer.stage.validate()
            validated = time.monotonic()
        if len(losses) >= log_every or validation != "":
            speed = len(losses) * trainer.stage.settings.batch / (now - marked)
            mean = sum(losses) / len(losses)
            row = {
                "step": trainer.progress.step,
                "seconds": round(trainer.progress.seconds, 1),
                "samples": trainer.progress.samples,
                "loss": mean,
                "lr": rate,
                "samples_per_second": round(speed, 2),
                "validation": validation,
            }
            lines.write(row)
            log.info(
                "%s: %d samples, loss %.4g, %.3g samples a second%s",
                trainer.stage.name,
                trainer.progress.samples,
                mean,
                speed,
                f", validation {validation:.4g}" if validation != "" else "",
            )
            losses, marked = [], time.monotonic()
        if now - saved >= 50:  # a minute at most, with the step in between
            trainer.save()
            saved = time.monotonic()
    trainer.save()
