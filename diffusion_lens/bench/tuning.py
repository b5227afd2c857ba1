"""Finding the optimizations that make a model fast on the device at hand, by trying them."""

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from diffusion_lens.bench.timing import PROMPT, Timing, describe, time_of
from diffusion_lens.errors import DiffusionLensError
from diffusion_lens.images.optimizations import ATTENTION, Optimizations, optimize
from diffusion_lens.lens.lens import DiffusionLens
from diffusion_lens.models.memory import free_memory

__all__ = ["find_optimizations"]

log = logging.getLogger(__name__)

_WORTHWHILE = 0.98  # an optimization must save 2 % of the time to be kept


def find_optimizations(
    build: Callable[[int], DiffusionLens],
    *,
    sizes: Sequence[int] = (4, 8, 16, 32, 64),
    steps: int = 5,
    compile: Sequence[str] = ("default", "reduce-overhead", "max-autotune"),
) -> tuple[Optimizations, int, list[Timing]]:
    """Try one optimization after the other, in the order of their usual gain, and keep what helps.

    Every trial draws one batch in few steps, once to warm up and once for the time, on a model of its
    own, because most optimizations can't be undone.

    Args:
        build: makes the model with a batch size.
        sizes: the batch sizes to try.
        steps: denoising steps of a trial.
        compile: the modes of `torch.compile` to try.

    Returns:
        The optimizations that help, the fastest batch size, and all trials.
    """
    trials: list[Timing] = []

    def attempt(optimizations: Optimizations, size: int) -> float:
        trials.append(_try(build, optimizations, size, steps))
        free_memory()
        return trials[-1].seconds

    times = {size: attempt(Optimizations(), size) for size in sizes}
    drawn = {size: seconds for size, seconds in times.items() if not math.isnan(seconds)}
    if not drawn:
        return Optimizations(), sizes[0], trials
    size = min(drawn, key=lambda one: drawn[one])
    best, chosen = drawn[size], Optimizations()
    candidates: list[dict[str, Any]] = [
        *({"attention": name} for name in ATTENTION if name != "math"),
        {"fuse_qkv": True},
        *({"compile": mode, "channels_last": last} for mode in compile for last in (True, False)),
    ]
    for candidate in candidates:
        optimizations = replace(chosen, **candidate)
        seconds = attempt(optimizations, size)
        if seconds < _WORTHWHILE * best:
            best, chosen = seconds, optimizations
    return chosen, size, trials


def _try(
    build: Callable[[int], DiffusionLens], optimizations: Optimizations, size: int, steps: int
) -> Timing:
    lens = build(size)
    device = lens.conditioner.device
    note = ""
    try:
        optimize(lens.pipeline, optimizations)

        def draw() -> int:
            table = lens(PROMPT, "native", list(range(size)), steps=steps, progress=False).table
            return len(table)

        draw()
        images, seconds = time_of(draw, device)
        if lens.denoiser.batch_size < size:
            images, seconds, note = 0, float("nan"), "out of memory"
    except (DiffusionLensError, RuntimeError, TypeError, NotImplementedError) as error:
        # a kernel that this device or this denoiser does not have: that is what a trial is for
        images, seconds, note = 0, float("nan"), str(error).strip().splitlines()[0]
        log.info("%s is of no use here: %s", optimizations, note)
    return describe(lens, "trial", images, size, optimizations, seconds, note)
