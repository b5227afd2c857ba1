"""`diffusion-lens bench ...`: what the lens and learning cost, beside what they replace."""

import shlex
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

from rich.table import Table

from diffusion_lens.cli.console import out as console
from diffusion_lens.cli.console import say
from diffusion_lens.cli.options import BatchSize, Compute, Model, Overwrite, default
from diffusion_lens.cli.verbs import Topic, group, verb

__all__ = ["bench_learning", "bench_lens"]


group("bench", "Measure how fast images are drawn and embeddings are learned.")


@verb(
    "bench lens",
    Topic.MODELS,
    examples=[
        "diffusion-lens bench lens",
        "diffusion-lens bench lens --approximations --out results/bench",
    ],
)
def bench_lens(
    model: Model = "emoji",
    architecture: Annotated[Literal["sd21", "sdxl", "flux"] | None, default("measure the model")] = None,
    size: Literal["full", "tiny"] = "full",
    seeds: int = 4,
    steps: Annotated[int | None, default("the model's own", "INT")] = None,
    rounds: int = 3,
    tune: Annotated[bool, default("measure as it is")] = False,
    processes: Annotated[int | None, default("one a core for an embedded model on the CPU", "INT")] = None,
    batch_size: BatchSize = None,
    approximations: Annotated[bool, default("skip them")] = False,
    out: Annotated[Path | None, default("write no files", "FOLDER")] = None,
    overwrite: Overwrite = False,
    compute: Compute = Compute(),
) -> None:
    """Measure how much faster the lens is than one call of the pipeline for each image, or for each layer.

    Args:
        architecture: Measure random weights of a well-known architecture in place of a model.
        size: The size of the architecture; tiny is for trying the command.
        seeds: The number of images of each layer.
        steps: The number of denoising steps.
        rounds: How often each way is measured; the fastest round counts.
        tune: Try batch sizes, attention kernels, fused projections and compilation first, and measure
            with what helps. It needs an architecture.
        processes: Measure this number of processes as well, which share the cores.
        approximations: Measure also what each approximation saves, and how it changes the images of every
            layer: by pixels, and on an embedded model by the oracle's answers.
        out: A folder for the numbers, and a README that names the machine and the command.
    """
    from diffusion_lens.errors import InputError
    from diffusion_lens.files import check_output

    if tune and architecture is None:
        raise InputError("--tune builds many models and needs an --architecture.")
    if architecture is not None and (processes or 1) > 1:
        raise InputError("--processes load the model by its name; leave --architecture out.")
    if out is not None:
        check_output(out / "timings.csv", overwrite=overwrite)

    import torch

    from diffusion_lens.bench.approximation_error import PROMPTS, measure_approximations
    from diffusion_lens.bench.architectures import build_architecture
    from diffusion_lens.bench.lens import bench
    from diffusion_lens.bench.report import summarise, write_report
    from diffusion_lens.bench.timing import Timing
    from diffusion_lens.bench.tuning import find_optimizations
    from diffusion_lens.images.optimizations import Optimizations
    from diffusion_lens.lens.lens import DiffusionLens
    from diffusion_lens.models.embedded import EMBEDDED
    from diffusion_lens.sweep.engines.processes import count_cores

    optimizations: Optimizations | None = None
    trials: list[Timing] = []
    if architecture is None:
        lens = DiffusionLens.from_pretrained(model, **asdict(compute), batch_size=batch_size)
    else:
        place = compute.device or ("cuda" if torch.cuda.is_available() else "cpu")
        kind = None if compute.dtype is None else getattr(torch, compute.dtype)

        def build(images: int | None) -> DiffusionLens:
            return build_architecture(architecture, device=place, dtype=kind, size=size, batch_size=images)

        if tune:
            optimizations, batch_size, trials = find_optimizations(build)
            say(f"optimizations: {optimizations or 'none'}, batch {batch_size}")
        lens = build(batch_size)
    if processes is None:
        by_name = architecture is None and model in EMBEDDED and lens.conditioner.device.type == "cpu"
        processes = count_cores() if by_name else 1
    found = bench(
        lens, seeds=seeds, steps=steps, rounds=rounds, optimizations=optimizations, processes=processes
    )
    timings = [*trials, *found]
    table = Table(box=None)
    for name in (
        "way",
        "images",
        "batch",
        "optimizations",
        "s/image",
        "speedup",
        "by layer",
        "TFLOP/s",
        "of matmul",
    ):
        table.add_column(name, no_wrap=name != "optimizations")
    for one in timings:
        figures = [f"{one.seconds:.4g}", f"{one.speedup:.2f}", f"{one.over_layers:.2f}"]
        figures += [f"{one.tflops:.3g}", f"{one.share:.0%}"]
        table.add_row(one.way, str(one.images), str(one.batch), one.optimizations or one.note, *figures)
    console.print(table)
    errors = []
    if approximations:
        # a new model where this one keeps its optimizations
        exact = lens if optimizations is None else build(batch_size)
        errors = measure_approximations(exact, PROMPTS, seeds=seeds, steps=steps)
        table = Table("approximation", "speedup", "RMSE", "worst layer", "oracle agrees", "", box=None)
        for _, row in summarise(errors).iterrows():
            figures = [f"{row[name]:.3g}" for name in ("speedup", "rmse", "worst", "agreement")]
            table.add_row(row["approximation"] or "exact, again", *figures, row["note"])
        console.print(table)
    if out is not None:
        write_report(out, shlex.join(["diffusion-lens", *sys.argv[1:]]), timings, errors)
        say(f"figures  {out}")


@verb(
    "bench learning",
    Topic.MODELS,
    examples=["diffusion-lens bench learning --rounds 8 --out results/bench"],
)
def bench_learning(
    model: Model = "emoji",
    rounds: int = 5,
    batch: int = 4,
    out: Annotated[Path | None, default("write no files", "FOLDER")] = None,
    overwrite: Overwrite = False,
    compute: Compute = Compute(),
) -> None:
    """Measure how fast an embedding is learned: its vectors alone, against the whole embedding matrix.

    Args:
        rounds: The number of steps of each way that are measured; the fastest counts.
        batch: The number of images in a step.
        out: A folder for learning.csv.
    """
    import pandas as pd

    from diffusion_lens.bench import learning
    from diffusion_lens.files import check_output, write_whole
    from diffusion_lens.models.load import load_pipeline

    if out is not None:
        check_output(out / "learning.csv", overwrite=overwrite)
    timings = learning.bench_learning(load_pipeline(model, **asdict(compute)), batch, rounds)
    table = Table("way", "batch", "s / step", "speedup", "MiB kept for training", box=None)
    for one in timings:
        speedup, kept = f"{one.speedup:.2f}", f"{one.state_mib:.3g}"
        table.add_row(one.way, str(one.batch), f"{one.seconds:.4g}", speedup, kept)
    console.print(table)
    if out is not None:
        rows = pd.DataFrame([asdict(one) for one in timings]).to_csv(index=False, float_format="%.4g")
        write_whole(out / "learning.csv", lambda file: file.write(rows.encode()))
        say(f"figures  {out}")
