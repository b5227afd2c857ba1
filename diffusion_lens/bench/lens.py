"""How much faster the lens is than what it replaces: ratios measured in one run.

Three ways draw images of one prompt from the same conditioning, with the same settings:

- "per image": the pipeline itself is called once an image, with `prompt_embeds` and a generator;
- "per layer": once a layer, with all seeds together, as the official code does;
- "lens": one call of the lens, which also encodes the prompt; "sweep" plans and stores as well;
- "processes": batches of several prompts in several processes, as the engine of that name draws them.

The ways take turns for several rounds and the fastest round of each counts, since other work on a machine
only ever adds time. The baselines are the pipeline's own `__call__` without its progress bar, and they
get their conditioning ready-made.

What is not among the optimizations, and why: decoding beside the next batch (both are work for one busy
device; where memory runs out, it is done in slices), the unconditional branch shared at the first step
(1 to 2 %), cached keys and values of the text (under 1 %), and whatever is not exact.
"""

import math
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

import torch

from diffusion_lens.bench.timing import PROMPT, Timing, describe, take_turns
from diffusion_lens.images.denoise import ImageRequest, use_quiet
from diffusion_lens.images.optimizations import Optimizations, optimize
from diffusion_lens.images.sampler import Sampler
from diffusion_lens.lens.lens import DiffusionLens
from diffusion_lens.models.conditioning import Conditioning
from diffusion_lens.models.hardware import count_flops, measure_matmul
from diffusion_lens.runs.experiment import Experiment, Machine, Prompt, Prompts
from diffusion_lens.runs.plan import batches, make_plan
from diffusion_lens.sweep.engines.pool import draw_with
from diffusion_lens.sweep.engines.processes import use_processes
from diffusion_lens.sweep.job import Job
from diffusion_lens.sweep.open import run_sweep
from diffusion_lens.sweep.resolve import resolve

__all__ = ["bench"]


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
        lens: the model; it keeps the optimizations afterwards.
        seeds: images of a layer.
        steps: denoising steps; the model's own if None.
        rounds: how often each way is measured.
        optimizations: are measured on the lens after all ways were measured without them.
        processes: are measured too, if more than one; each loads the model by its name.
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
            describe(lens, way, images, ways[way][0], Optimizations(), seconds)
            for way, images, seconds in take_turns(ways, rounds, device)
        ]
    if optimizations is not None and str(optimizations):
        optimize(lens.pipeline, optimizations)
        lens.denoiser.fill = optimizations.compile is not None
        draw_with_lens()  # compiles
        optimized = {"lens": (lens.denoiser.batch_size, draw_with_lens)}
        found += [
            describe(lens, way, images, lens.denoiser.batch_size, optimizations, seconds)
            for way, images, seconds in take_turns(optimized, rounds, device)
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
    """Start processes that load the model; the function given draws two batches in each of them."""
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
    cut = list(batches(plan.cells, size))[: 2 * count]
    with use_processes(Job.of(plan), count) as (team, workers):

        def draw() -> int:
            return sum(len(made) for made in draw_with(team, workers, cut, lambda: False))

        draw()  # loads the models
        yield draw
