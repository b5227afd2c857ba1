"""`diffusion-lens bench`."""

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
    device: str | None = None,
    dtype: Literal["float32", "bfloat16", "float16"] | None = None,
    batch_size: int | None = None,
    out: Path | None = None,
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
        device: cpu, cuda, cuda:1, mps; the fastest at hand if left out.
        dtype: as in `show`.
        batch_size: images denoised together.
        out: a CSV file for the figures.
    """
    from diffusion_lens.errors import InputError
    from diffusion_lens.lens.output import check_output

    if tune and architecture is None:
        raise InputError("--tune builds many models and needs an --architecture.")
    if out is not None:
        check_output(out, overwrite=False)

    import torch

    from diffusion_lens.lens.lens import DiffusionLens
    from diffusion_lens.sweep.architectures import build_architecture
    from diffusion_lens.sweep.bench import Timing, find_levers, write_timings
    from diffusion_lens.sweep.bench import bench as measure
    from diffusion_lens.sweep.levers import Levers

    if inversion:
        _bench_inversion(model, device, dtype, batch_size or 4, rounds)
        return
    levers: Levers | None = None
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
            levers, batch_size, trials = find_levers(build)
            say(f"levers: {levers or 'none'}, batch {batch_size}")
        lens = build(batch_size)
    timings = [*trials, *measure(lens, seeds=seeds, steps=steps, rounds=rounds, levers=levers)]
    table = Table(
        "way", "images", "batch", "levers", "s / image", "speedup", "TFLOP/s", "of matmul", box=None
    )
    for one in timings:
        figures = (f"{one.seconds:.4g}", f"{one.speedup:.2f}", f"{one.tflops:.3g}", f"{one.share:.0%}")
        table.add_row(one.way, str(one.images), str(one.batch), one.levers or one.note, *figures)
    console.print(table)
    if out is not None:
        write_timings(out, timings)
        say(f"figures  {out}")


def _bench_inversion(model: str, device: str | None, dtype: str | None, batch: int, rounds: int) -> None:
    from diffusion_lens.inversion.bench import bench_inversion
    from diffusion_lens.inversion.study import SUBJECTS
    from diffusion_lens.models.load import load_pipeline

    pipe = load_pipeline(model, device=device, dtype=dtype)
    table = Table("way", "batch", "s / step", "speedup", "MiB kept for training", box=None)
    for one in bench_inversion(pipe, SUBJECTS[0].pictures(), batch, rounds):
        speedup, kept = f"{one.speedup:.2f}", f"{one.state_mib:.3g}"
        table.add_row(one.way, str(one.batch), f"{one.seconds:.4g}", speedup, kept)
    console.print(table)
