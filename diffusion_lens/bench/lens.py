"""How much faster the lens is than what it replaces: ratios measured in one run.

Three ways draw images of one prompt from the same conditioning, with the same settings:

- "per image": the pipeline itself is called once an image, with `prompt_embeds` and a generator;
- "per layer": once a layer, with all seeds together, as the official code does;
- "lens": one call of the lens, which also encodes the prompt; "sweep" plans and stores as well;
- "processes": batches of several prompts in processes, one a core if not told otherwise, as the engine of
  that name draws them.

The ways take turns for several rounds and the best round of each counts, since other work on a machine
only ever adds time. The baselines are the pipeline's own `__call__` without its progress bar, and are
given their conditioning ready made.

What is not among the optimizations, and why: decoding beside the next batch (both are work for one busy
device; where memory runs out, it is done in slices), the unconditional branch shared at the first step
(1 to 2 %), cached keys and values of the text (under 1 %), and whatever is not exact.
"""

import logging
import math
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch

from diffusion_lens.errors import DiffusionLensError
from diffusion_lens.images.denoise import ImageRequest, use_quiet
from diffusion_lens.images.optimizations import ATTENTION, Optimizations, optimize
from diffusion_lens.images.sampler import Sampler
from diffusion_lens.lens.lens import DiffusionLens
from diffusion_lens.models.conditioning import Conditioning
from diffusion_lens.models.hardware import count_flops, measure_matmul, synchronise
from diffusion_lens.models.memory import free_memory
from diffusion_lens.runs.experiment import Experiment, Machine, Prompt, Prompts
from diffusion_lens.runs.plan import batches, make_plan
from diffusion_lens.sweep.engines.actor import Job
from diffusion_lens.sweep.engines.pool import draw_with
from diffusion_lens.sweep.engines.processes import use_processes
from diffusion_lens.sweep.open import run_sweep
from diffusion_lens.sweep.worker import resolve

__all__ = ["PROMPT", "Timing", "bench", "find_levers"]

log = logging.getLogger(__name__)

PROMPT = "a red fox to the left of a pizza"
_WORTHWHILE = 0.98  # a optimization must save 2 % of the time to be kept


@dataclass(frozen=True)
class Timing:
    """One way to draw, measured.

    Attributes:
        way: "per image", "per layer", "lens", "sweep", "processes", or "trial" of optimizations.
        model: what drew.
        device: where.
        dtype: in what type.
        images: images drawn in a round.
        batch: images of a batch.
        optimizations: what was done for speed.
        seconds: the time of an image, in the best round; nan where it could not be drawn so.
        speedup: how many times as fast as "per image".
        over_layers: how many times as fast as "per layer".
        tflops: operations a second, in 10^12.
        share: of the device's measured rate of matrix products.
        note: why there is no time.
    """

    way: str
    model: str
    device: str
    dtype: str
    images: int
    batch: int
    optimizations: str
    seconds: float
    speedup: float = float("nan")
    over_layers: float = float("nan")
    tflops: float = float("nan")
    share: float = float("nan")
    note: str = ""


def bench(
    lens: DiffusionLens,
    *,
    seeds: int = 4,
    steps: int | None = None,
    rounds: int = 3,
    optimizations: Optimizations | None = None,
    processes: int = 1,
) -> list[Timing]:
    """Measure all ways on one model.

    Args:
        lens: the model; optimizations are pulled on it for good.
        seeds: images of a layer.
        steps: denoising steps; the model's own if None.
        rounds: how often each way is measured.
        optimizations: measured too, on the lens, after everything without them.
        processes: measured too, if more than one; the model is then loaded by its name in each.
    """
    settings, reader = lens.settings(Sampler(steps=steps)), lens.reader()
    sampler, readings, device = settings.sampler, lens.readings("all"), lens.conditioner.device
    states = {name: one[0] for name, one in reader.encode([PROMPT], readings).items()}
    negative = reader.negative(None, PROMPT) if settings.guided else Conditioning()
    layers = [reader.condition(states, reading) for reading in readings[:2]]
    rows = [ImageRequest(layer, negative, seed) for layer in layers for seed in range(seeds)]

    def draw_plainly(size: int, which: Sequence[ImageRequest], steps: int | None = sampler.steps) -> int:
        """Call the pipeline for `size` rows at a time."""
        with use_quiet(lens.pipeline):
            for first in range(0, len(which), size):
                part = which[first : first + size]
                arguments = lens.denoiser.arguments(part, replace(sampler, steps=steps))
                generators = [torch.Generator("cpu").manual_seed(row.seed) for row in part]
                lens.pipeline(**arguments, generator=generators)
        return len(which)

    def draw_with_lens() -> int:
        numbers = list(range(seeds))
        return len(lens(PROMPT, "all", numbers, steps=sampler.steps, progress=False).table)

    def draw_as_sweep() -> int:
        experiment = Experiment(
            model=lens.name,
            prompts=Prompts(inline=(Prompt(PROMPT),)),
            seeds=tuple(range(seeds)),
            sampler=Sampler(steps=sampler.steps),
            machine=Machine(compile="off"),
        )
        with tempfile.TemporaryDirectory() as folder:
            return run_sweep(experiment, folder, lens=lens, progress=False).drawn

    # the first images tell the time of each: calls of one size take one time
    ways: dict[str, tuple[int, Callable[[], int]]] = {
        "per image": (1, lambda: draw_plainly(1, rows[:seeds])),
        "per layer": (seeds, lambda: draw_plainly(seeds, rows)),
        "lens": (lens.denoiser.batch_size, draw_with_lens),
        "sweep": (lens.denoiser.batch_size, draw_as_sweep),
    }
    work = count_flops(lambda taken: draw_plainly(1, rows[:1], taken), sampler.steps or 1)
    matmul = measure_matmul(device, lens.pipeline.dtype)
    with ExitStack() as stack:
        if processes > 1:
            of_prompt = seeds * len(readings)
            draw_in_processes = stack.enter_context(_processes(lens, seeds, of_prompt, steps, processes))
            ways["processes"] = lens.denoiser.batch_size, draw_in_processes
        found = [
            _timing(lens, way, images, ways[way][0], Optimizations(), seconds)
            for way, images, seconds in _take_turns(ways, rounds, device)
        ]
    if optimizations is not None and str(optimizations):
        optimize(lens.pipeline, optimizations)
        lens.denoiser.fill = optimizations.compile is not None
        draw_with_lens()  # compiles
        pulled = {"lens": (lens.denoiser.batch_size, draw_with_lens)}
        found += [
            _timing(lens, way, images, lens.denoiser.batch_size, optimizations, seconds)
            for way, images, seconds in _take_turns(pulled, rounds, device)
        ]
    slowest, layerwise = found[0].seconds, found[1].seconds
    return [
        replace(
            one,
            speedup=slowest / one.seconds,
            over_layers=layerwise / one.seconds,
            tflops=work / one.seconds / 1e12,
            share=work / one.seconds / matmul,
        )
        for one in found
    ]


@contextmanager
def _processes(
    lens: DiffusionLens, seeds: int, of_prompt: int, steps: int | None, count: int
) -> Iterator[Callable[[], int]]:
    """What draws two whole batches a process, in processes that have the model loaded."""
    size = lens.denoiser.batch_size
    needed = math.ceil(2 * count * size / of_prompt)
    prompts = [Prompt(f"{PROMPT}, number {number}") for number in range(needed)]
    dtype: Any = str(lens.pipeline.dtype).removeprefix("torch.")
    machine = Machine(device=str(lens.conditioner.device), dtype=dtype, batch_size=size, compile="off")
    experiment = Experiment(
        model=lens.name,
        prompts=Prompts(inline=tuple(prompts)),
        seeds=tuple(range(seeds)),
        sampler=Sampler(steps=steps),
        machine=machine,
    )
    plan = make_plan(experiment, prompts, resolve(lens, experiment))
    job = Job(experiment, plan.prompts, plan.resolved, len(plan))
    cut = list(batches(plan.cells, size))[: 2 * count]
    with use_processes(job, count) as (team, workers):

        def draw() -> int:
            return sum(len(made) for made in draw_with(team, workers, cut, lambda: False))

        draw()  # loads the models
        yield draw


def _take_turns(
    ways: dict[str, tuple[int, Callable[[], int]]], rounds: int, device: torch.device
) -> Iterator[tuple[str, int, float]]:
    """Each way with its images of a round and the best time of an image."""
    best: dict[str, tuple[int, float]] = {}
    for _ in range(rounds):
        for way, (_, draw) in ways.items():
            images, seconds = _time(draw, device)
            if way not in best or seconds < best[way][1]:
                best[way] = images, seconds
    for way, (images, seconds) in best.items():
        yield way, images, seconds


def _time(draw: Callable[[], int], device: torch.device) -> tuple[int, float]:
    """The images drawn, and the time of each."""
    synchronise(device)
    start = time.perf_counter()
    images = draw()
    synchronise(device)
    return images, (time.perf_counter() - start) / images


def _timing(
    lens: DiffusionLens,
    way: str,
    images: int,
    batch: int,
    optimizations: Optimizations,
    seconds: float,
    note: str = "",
) -> Timing:
    device = lens.conditioner.device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    dtype = str(lens.pipeline.dtype).removeprefix("torch.")
    return Timing(way, lens.name, name, dtype, images, batch, str(optimizations), seconds, note=note)


def find_levers(
    build: Callable[[int], DiffusionLens],
    *,
    sizes: Sequence[int] = (4, 8, 16, 32, 64),
    steps: int = 5,
    compile: Sequence[str] = ("default", "reduce-overhead", "max-autotune"),
) -> tuple[Optimizations, int, list[Timing]]:
    """Try one optimization after the other on a model, by their usual gain, and keep what helps.

    Every trial draws one batch in few steps, once to warm up and once for the time, on a model of its
    own, because most optimizations can't be taken back.

    Args:
        build: makes the model, with a batch size.
        sizes: batch sizes to try.
        steps: steps of a trial.
        compile: modes of `torch.compile` to try.

    Returns:
        The optimizations to pull, the batch size, and all trials.
    """
    trials: list[Timing] = []

    def attempt(optimizations: Optimizations, size: int) -> float:
        trials.append(_try(build, optimizations, size, steps))
        free_memory()
        return trials[-1].seconds

    times = {size: attempt(Optimizations(), size) for size in sizes}
    drawn = {size: seconds for size, seconds in times.items() if seconds == seconds}
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
        images, seconds = _time(draw, device)
        if lens.denoiser.batch_size < size:
            images, seconds, note = 0, float("nan"), "out of memory"
    except (DiffusionLensError, RuntimeError, TypeError, NotImplementedError) as error:
        # a kernel that this device or this denoiser does not have: that is what a trial is for
        images, seconds, note = 0, float("nan"), str(error).strip().splitlines()[0]
        log.info("%s is of no use here: %s", optimizations, note)
    return _timing(lens, "trial", images, size, optimizations, seconds, note)
