"""What each approximation saves, and what it does to the images of every layer: measured in one run."""

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from diffusion_lens.errors import SamplerError
from diffusion_lens.images.apply_approximations import approximate
from diffusion_lens.images.approximations import Approximations
from diffusion_lens.lens.lens import DiffusionLens
from diffusion_lens.lens.result import Result
from diffusion_lens.models.embedded import EMBEDDED
from diffusion_lens.models.encoder_variants import base_model
from diffusion_lens.models.hardware import synchronise
from diffusion_lens.testbed.captions import parse
from diffusion_lens.testbed.judge import judge
from diffusion_lens.testbed.oracle import read

__all__ = ["PROMPTS", "ApproximationError", "measure_approximations"]

PROMPTS = ("a red fox to the left of a pizza", "two blue cars on grass")


@dataclass(frozen=True)
class ApproximationError:
    """One approximation at one layer.

    Attributes:
        approximation: as recorded in the rows of a run; empty for exact images, drawn again.
        layer: the layer.
        images: images compared.
        rmse: root mean square difference of pixels to the exact images, of 255.
        psnr: the same in decibels; infinite where nothing differs.
        agreement: share of the oracle's answers that stay what they were; nan where it can't judge.
        seconds: the time of an image, of all layers together.
        speedup: how many times as fast as exact.
        note: why there are no figures.
    """

    approximation: str
    layer: int
    images: int
    rmse: float
    psnr: float
    agreement: float
    seconds: float
    speedup: float
    note: str = ""


def measure_approximations(
    lens: DiffusionLens,
    prompts: Sequence[str],
    *,
    seeds: int = 4,
    steps: int | None = None,
    trials: Sequence[Approximations] | None = None,
) -> list[ApproximationError]:
    """Draw all layers exactly, twice, and with each approximation.

    Args:
        lens: the model; it is exact again afterwards.
        prompts: what to draw.
        seeds: images of a layer and prompt.
        steps: denoising steps of the exact images; the model's own if None.
        trials: approximations; by default one of each kind. What the model can't do is noted.

    Returns:
        One row by trial and layer; the first trial is exact, and shows what drawing again changes.
    """
    taken = lens.settings().sampler.steps if steps is None else steps
    _draw(lens, prompts[:1], 1, 1, Approximations())  # warms up
    exact, spent = _draw(lens, prompts, seeds, taken, Approximations())
    found: list[ApproximationError] = []
    for trial in (Approximations(), *(default_trials(lens, taken or 1) if trials is None else trials)):
        try:
            result, seconds = _draw(lens, prompts, seeds, taken, trial)
        except (SamplerError, RuntimeError, NotImplementedError) as error:
            note = str(error).strip().splitlines()[0]
            nan = float("nan")
            found.append(ApproximationError(str(trial), -1, 0, nan, nan, nan, nan, nan, note))
            continue
        finally:
            approximate(lens.denoiser, Approximations())
        found += _compare(lens, exact, result, str(trial), seconds, spent / seconds)
    return found


def default_trials(lens: DiffusionLens, steps: int) -> Iterator[Approximations]:
    """One approximation of each kind, at a usual strength."""
    if steps > 1:
        yield Approximations(steps=steps // 2)
    yield Approximations(guided=0.5)
    yield Approximations(first_block=0.1)
    yield Approximations(pyramid=2)
    if lens.pipeline.dtype == torch.float32:
        yield Approximations(precision="bfloat16")


def _draw(
    lens: DiffusionLens, prompts: Sequence[str], seeds: int, steps: int | None, trial: Approximations
) -> tuple[Result, float]:
    """All layers, and the time of an image."""
    approximate(lens.denoiser, trial)
    device = lens.conditioner.device
    synchronise(device)
    start = time.perf_counter()
    result = lens(prompts, "all", list(range(seeds)), steps=trial.steps or steps, progress=False)
    synchronise(device)
    return result, (time.perf_counter() - start) / len(result.table)


def _compare(
    lens: DiffusionLens, exact: Result, result: Result, name: str, seconds: float, speedup: float
) -> Iterator[ApproximationError]:
    table = exact.table.assign(other=result.table["image"])
    there = table[table["image"].notna() & table["other"].notna()]
    for layer, rows in there.groupby("layer"):
        before, after = (np.stack([np.asarray(one) for one in rows[key]]) for key in ("image", "other"))
        error = float(np.sqrt(np.mean((before.astype(np.float64) - after) ** 2)))
        psnr = 20 * math.log10(255 / error) if error else float("inf")
        agreement = _agreement(lens, rows["prompt"], before, after)
        yield ApproximationError(name, int(str(layer)), len(rows), error, psnr, agreement, seconds, speedup)


def _agreement(lens: DiffusionLens, prompts: Any, before: np.ndarray, after: np.ndarray) -> float:
    """The share of the oracle's answers that are the same for both images."""
    if base_model(lens.name) not in EMBEDDED:
        return float("nan")
    same = []
    for prompt, one, other in zip(prompts, read(before), read(after), strict=True):
        stated = parse(prompt)
        if stated is not None:
            pairs = zip(judge(stated, one), judge(stated, other), strict=True)
            same += [first.right == second.right for first, second in pairs]
    return float(np.mean(same)) if same else float("nan")
