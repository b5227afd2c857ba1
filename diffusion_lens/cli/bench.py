"""`diffusion-lens bench`."""

import sys
from pathlib import Path
from typing import Literal

from rich.table import Table

from diffusion_lens.cli.console import out as console
from diffusion_lens.cli.console import say

__all__ = ["bench"]


def bench(
    model: str = "emoji",
    architecture: Literal["sd21", "sdxl", "flux"] | None = None,
    size: Literal["full", "tiny"] = "full",
    seeds: int = 4,
    steps: int | None = None,
    rounds: int = 3,
    tune: bool = False,
    inversion: bool = False,
    processes: int | None = None,
    device: str | None = None,
    dtype: Literal["float32", "bfloat16", "float16"] | None = None,
    batch_size: int | None = None,
    approximations: bool = False,
    out: Path | None = None,
    overwrite: bool = False,
) -> None:
    """Measure how much faster the lens is than calling the pipeline once an image or once a layer.

    Args:
        model: an embedded model, a folder, or a hub id.
        architecture: random weights of a well-known architecture in place of a model.
        size: of the architecture; tiny is for trying the command.
        seeds: images a layer.
        steps: denoising steps; the model's own if left out.
        rounds: each way is measured so often, and the best counts.
        tune: try batch sizes, attention kernels, fused projections and compilation first, and measure
            with what helps. Of an architecture only.
        inversion: measure learning a word instead: rows alone against the whole embedding matrix.
        processes: measure so many processes as well, which share the cores; one a core if left out, where
            an embedded model is on the CPU.
        device: cpu, cuda, cuda:1, mps; the fastest at hand if left out.
        dtype: as in `show`.
        batch_size: images denoised together.
        approximations: measure what each approximation saves, too, and what it does to the images of
            every layer: pixels, and on an embedded model the oracle's answers.
        out: a folder for the figures, and a README with the machine and the command; inversion.csv of
            learning a word.
        overwrite: replace figures that are there.
    """
    from diffusion_lens.errors import InputError
    from diffusion_lens.files import check_output

    if tune and architecture is None:
        raise InputError("--tune builds many models and needs an --architecture.")
    if architecture is not None and (processes or 1) > 1:
        raise InputError("--processes load the model by its name; leave --architecture out.")
    if out is not None:
        check_output(out / ("inversion.csv" if inversion else "timings.csv"), overwrite=overwrite)

    import torch

    from diffusion_lens.bench.approximation_error import PROMPTS, measure_drift
    from diffusion_lens.bench.architectures import build_architecture
    from diffusion_lens.bench.lens import Timing, find_levers
    from diffusion_lens.bench.lens import bench as measure
    from diffusion_lens.bench.report import summarise, write_report
    from diffusion_lens.images.optimizations import Optimizations
    from diffusion_lens.lens.lens import DiffusionLens
    from diffusion_lens.models.embedded import EMBEDDED
    from diffusion_lens.sweep.engines.processes import count_cores

    if inversion:
        _bench_inversion(model, device, dtype, batch_size or 4, rounds, out)
        return
    optimizations: Optimizations | None = None
    trials: list[Timing] = []
    if architecture is None:
        lens = DiffusionLens.from_pretrained(model, device=device, dtype=dtype, batch_size=batch_size)
    else:
        place = device or ("cuda" if torch.cuda.is_available() else "cpu")
        half = "bfloat16" if architecture == "flux" else "float16"
        kind = getattr(torch, dtype or ("float32" if place == "cpu" else half))

        def build(images: int | None) -> DiffusionLens:
            return build_architecture(architecture, device=place, dtype=kind, size=size, batch_size=images)

        if tune:
            optimizations, batch_size, trials = find_levers(build)
            say(f"optimizations: {optimizations or 'none'}, batch {batch_size}")
        lens = build(batch_size)
    if processes is None:
        by_name = architecture is None and model in EMBEDDED and lens.conditioner.device.type == "cpu"
        processes = count_cores() if by_name else 1
    found = measure(
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
    drift = []
    if approximations:
        exact = (
            lens if optimizations is None else build(batch_size)
        )  # without the optimizations, which stay pulled
        drift = measure_drift(exact, PROMPTS, seeds=seeds, steps=steps)
        table = Table("approximation", "speedup", "RMSE", "worst layer", "oracle agrees", "", box=None)
        for _, row in summarise(drift).iterrows():
            figures = [f"{row[name]:.3g}" for name in ("speedup", "rmse", "worst", "agreement")]
            table.add_row(row["approximation"] or "exact, again", *figures, row["note"])
        console.print(table)
    if out is not None:
        write_report(out, f"diffusion-lens {' '.join(sys.argv[1:])}", timings, drift)
        say(f"figures  {out}")


def _bench_inversion(
    model: str, device: str | None, dtype: str | None, batch: int, rounds: int, out: Path | None
) -> None:
    from dataclasses import asdict

    import pandas as pd

    from diffusion_lens.bench.learning import bench_inversion
    from diffusion_lens.files import write_whole
    from diffusion_lens.learning.subjects import SUBJECTS
    from diffusion_lens.models.load import load_pipeline

    pipe = load_pipeline(model, device=device, dtype=dtype)
    table = Table("way", "batch", "s / step", "speedup", "MiB kept for training", box=None)
    timings = bench_inversion(pipe, SUBJECTS[0].pictures(), batch, rounds)
    for one in timings:
        speedup, kept = f"{one.speedup:.2f}", f"{one.state_mib:.3g}"
        table.add_row(one.way, str(one.batch), f"{one.seconds:.4g}", speedup, kept)
    console.print(table)
    if out is not None:
        rows = pd.DataFrame([asdict(one) for one in timings]).to_csv(index=False, float_format="%.4g")
        write_whole(out / "inversion.csv", lambda file: file.write(rows.encode()))
        say(f"figures  {out}")
