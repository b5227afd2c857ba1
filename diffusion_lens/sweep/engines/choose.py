"""Engines: where the batches of a sweep are drawn. What they draw does not depend on where, but for the
rounding of another device or number of threads.

`local` draws in this process, on one device.

`processes` draws in processes of this machine: one a GPU, or one of one thread a core, which on a CPU
draws small images faster than one process of many threads.

`ray` (`pip install 'diffusion-lens[ray]'`) draws on all devices of a Ray cluster, one actor each. On one
machine it starts Ray by itself; on a cluster, start the sweep where `RAY_ADDRESS` points to it.

Workers pull whole batches, two ahead, so that no device waits; images come back as bytes to the one
process that writes the run. A worker that is lost costs its batches in flight, which others draw again; a
batch that takes two workers down is recorded as failed. Models are loaded from where each node finds
them: an embedded name, a hub id, or a folder on a shared disk.

`--shard i/n` needs no engine at all: n processes (a Slurm array, torchrun) share one run folder, and each
draws the prompts and seeds dealt to it, in batches of whatever size fits its device.

What an hour of one GPU yields, by the arithmetic of operations (an H200, 50 steps, guidance, 60 % of its
matrix product rate; not measured): SD 1.5 and 2.1 at 512 px some 20 000 images, SDXL at 1024 px 2 500,
SD3-medium at 1024 px with 28 steps 3 300, FLUX.1-dev at 1024 px with 28 steps 820. Cells are independent
and a batch takes seconds, so that n devices give n times as much until the one process that writes can't
take in more; then cut the run with `--shard`.
"""

from collections.abc import Callable, Iterable, Iterator

from diffusion_lens.errors import InputError
from diffusion_lens.runs.plan import Cell
from diffusion_lens.runs.table import DrawnCell
from diffusion_lens.sweep.job import Job

__all__ = ["ENGINES", "check_engine", "draw_elsewhere"]

ENGINES = ("local", "processes", "ray")


def check_engine(engine: str, encoders: str) -> None:
    """Refuse an engine that can't draw as it is asked to.

    Args:
        engine: its name.
        encoders: what becomes of the text encoders; see `Machine`.

    Raises:
        InputError: no such engine, or its workers can't do without the text encoders.
    """
    if engine not in ENGINES:
        raise InputError(f"{engine!r} is no engine. Allowed: {', '.join(ENGINES)}.")
    if engine != "local" and encoders != "load":
        raise InputError(
            f'encoders = "{encoders}" is for the engine local; workers of {engine} load the text '
            "encoders. Leave the key out; or write the conditionings with diffusion-lens encode, and draw "
            "from them without any text encoder: --conditionings FOLDER."
        )


def draw_elsewhere(
    engine: str, job: Job, todo: Iterable[list[Cell]], stop: Callable[[], bool], workers: int | None
) -> Iterator[list[DrawnCell]]:
    """Draw batches outside of this process, in the order that they get done.

    Args:
        engine: one of `ENGINES` but "local".
        job: what workers must know.
        todo: the batches.
        stop: whether to begin no more.
        workers: how many; the engine's own choice if None.

    Raises:
        InputError: Ray is not installed.
        RunError: workers can't be started.
    """
    if workers is not None and workers < 1:
        raise InputError(f"{workers} workers can't draw anything; ask for 1 or more.")
    from diffusion_lens.sweep.engines.pool import draw_with

    if engine == "ray":
        from diffusion_lens.sweep.engines.ray import use_ray

        with use_ray(job, workers) as (team, started):
            yield from draw_with(team, started, todo, stop)
    else:
        from diffusion_lens.sweep.engines.processes import use_processes

        with use_processes(job, workers) as (team, started):
            yield from draw_with(team, started, todo, stop)
