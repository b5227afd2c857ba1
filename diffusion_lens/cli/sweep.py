"""`diffusion-lens sweep`, `status` and `export`."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from diffusion_lens.cli.console import err, say
from diffusion_lens.cli.score import run_scorers
from diffusion_lens.errors import InputError
from diffusion_lens.runs.experiment import ScorerName

if TYPE_CHECKING:
    from diffusion_lens.sweep.draw import Estimate, Run

__all__ = ["export", "status", "sweep"]

Place = Annotated[str, tyro.conf.Positional]


def sweep(
    experiment: Annotated[tuple[Path, ...], tyro.conf.Positional],
    /,
    out: str | None = None,
    model: str | None = None,
    layers: tuple[str, ...] = (),
    seeds: tuple[int, ...] = (),
    encoders: tuple[str, ...] = (),
    readouts: tuple[Literal["native", "final", "none"], ...] = (),
    limit: int | None = None,
    steps: int | None = None,
    guidance: float | None = None,
    device: str | None = None,
    dtype: Literal["float32", "bfloat16", "float16"] | None = None,
    batch_size: int | None = None,
    compile: Literal["auto", "on", "off"] | None = None,
    engine: Literal["local", "processes", "ray"] = "local",
    workers: int | None = None,
    shard: str = "1/1",
    scorers: tuple[ScorerName, ...] = (),
    retry_failed: bool = False,
    dry_run: bool = False,
) -> None:
    """Draw an experiment, or go on with it: the same command resumes what was stopped.

    Args:
        experiment: a TOML file; see experiments/README.md. Of several, the later go before the earlier: a
            study, then a model to run it on. The flags below go before all of them.
        out: the run's folder, or a URL of fsspec; by default results/ and the names of the files.
        model: an embedded model, a folder, or a hub id.
        layers: as in `show`.
        seeds: one or more.
        encoders: the encoders that move, one after the other; "all" moves all in step.
        readouts: one or more.
        limit: only so many prompts.
        steps: denoising steps.
        guidance: guidance scale.
        device: cpu, cuda, cuda:1, mps; the fastest at hand if left out.
        dtype: as in `show`.
        batch_size: images denoised together.
        compile: compile the denoiser; auto does so on CUDA where the plan is long enough.
        engine: local: this process. processes: one on each GPU of this machine, or on each core of its
            CPU. ray: all devices of a Ray cluster.
        workers: how many the other engines have; if left out one a GPU, and where there is none one a core,
            or one of Ray.
        shard: 3/16: the third of sixteen processes that share the folder.
        scorers: who scores the images once they are drawn; see `score`, also for their models.
        retry_failed: draw again what could not be drawn.
        dry_run: plan and estimate only.
    """
    from diffusion_lens.runs.experiment import Experiment, load_experiments
    from diffusion_lens.sweep.open import open_run

    data, base = load_experiments(experiment)
    _overlay(data, "", {"model": model, "layers": layers, "seeds": seeds})
    _overlay(data, "", {"encoders": encoders, "readouts": readouts, "scorers": scorers})
    _overlay(data, "sampler", {"steps": steps, "guidance": guidance})
    machine = {"device": device, "dtype": dtype, "batch_size": batch_size, "compile": compile}
    _overlay(data, "machine", machine)
    if limit is not None:
        listed = data.get("prompts")
        data["prompts"] = {**({"inline": listed} if isinstance(listed, list) else listed or {})}
        data["prompts"]["limit"] = limit
    target = out or str(Path("results") / "-".join(path.stem for path in experiment))
    asked, part = Experiment.from_dict(data), _parse_shard(shard)
    with open_run(asked, target, base=base, shard=part) as run:
        todo = len(run.todo(retry_failed=retry_failed))
        say(_announce(run, todo, target))
        if dry_run:
            return
        if todo:
            _draw(run, engine, workers, retry_failed)
        run.lens = None  # room for the scorers' models
    if asked.scorers and part[1] > 1:
        say("Shards are scored together: when all are drawn, give the command without --shard.")
    elif asked.scorers:
        from diffusion_lens.models.load import choose_device
        from diffusion_lens.scoring.registry import Models

        run_scorers(target, asked.scorers, Models(device=choose_device(asked.machine.device)))


def _draw(run: "Run", engine: str, workers: int | None, retry_failed: bool) -> None:
    """Draw what is to do and tell what became of it; exits with code 130 if it was stopped."""
    known = run.estimate(1) is not None
    summary = run.draw(
        engine=engine,
        workers=workers,
        retry_failed=retry_failed,
        on_estimate=_tell if not known else lambda estimate: None,
    )
    rate = f" ({summary.drawn / summary.seconds:.2f} a second)" if summary.seconds else ""
    say(f"{summary.drawn} images drawn in {_duration(summary.seconds)}{rate}; {summary.left} left.")
    for reason, count in summary.failed.items():
        err.print(f"{count} failed: {reason}", style="red", markup=False, highlight=False)
    if summary.failed:
        say("Failed cells are drawn again with --retry-failed.")
    if summary.stopped:
        say("Stopped. The same command goes on.")
        sys.exit(130)


def _overlay(data: dict[str, Any], table: str, flags: Mapping[str, Any]) -> None:
    """Lay flags that were given over the experiment."""
    given = {name: value for name, value in flags.items() if value not in (None, ())}
    if given:
        target = data.setdefault(table, {}) if table else data
        if isinstance(target, dict):  # anything else is refused when it is read
            target.update(given)


def _parse_shard(text: str) -> tuple[int, int]:
    index, _, count = text.partition("/")
    if not (index.isdigit() and count.isdigit()):
        raise InputError(f"{text!r} is no shard; give one as 3/16, the third of sixteen.")
    return int(index), int(count)


def _announce(run: "Run", todo: int, target: str) -> str:
    """What there is, and what is to do."""
    views = ", ".join(
        f"{view.columns['encoder']} ({view.columns['readout']}, {len(view.rungs)} layers)"
        for view in run.plan.resolved.views
    )
    seeds = len(run.plan.experiment.seeds)
    lines = [
        f"{target}: {len(run.plan)} images = {len(run.plan.prompts)} prompts x {views} x {seeds} seeds",
        f"done {len(run.plan) - len(run.todo(retry_failed=True))}, failed {len(run.scan.failed)}, "
        f"to draw now {todo}",
    ]
    estimate = run.estimate(todo)
    if todo and estimate:
        lines.append(f"{_size_up(estimate)}, by the images that are there")
    elif todo:
        lines.append("time and disk: known after the first batch of --engine local")
    return "\n".join(lines)


def _tell(estimate: "Estimate") -> None:
    """Say what the rest will take, between two looks of the progress bar."""
    from tqdm.auto import tqdm

    with tqdm.external_write_mode():
        say(f"{_size_up(estimate)} for the rest, by the first batch")


def _size_up(estimate: "Estimate") -> str:
    megabytes = estimate.size / 1e6
    return f"about {_duration(estimate.seconds)} and {megabytes:.{0 if megabytes >= 10 else 2}f} MB"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{seconds:.1f} s"


def status(run: Place, /) -> None:
    """Tell how far a run is, what failed and why, and how fast it went.

    Args:
        run: the run's folder, or a URL of fsspec.
    """
    from diffusion_lens.runs.status import read_status

    found = read_status(run)
    if found.claim:
        say(f"claim    {found.claim}")
    say(f"planned  {found.planned}")
    say(f"done     {found.done} ({found.size / 1e6:.1f} MB)")
    for reason, count in found.missing.items():
        say(f"         {count} without a picture: {reason}")
    say(f"failed   {sum(found.failed.values())}")
    for reason, count in found.failed.items():
        say(f"         {count}: {reason}")
    say(f"to do    {found.to_do}")
    if found.left_alone:
        say(f"other    {found.left_alone} images that are not of the experiment any more")
    for device, rate in found.rate.items():
        share = f", {found.share[device]:.0%} of its matrix products" if device in found.share else ""
        say(f"speed    {rate:.2f} images a second and worker on {device}{share}")


def export(run: Place, /, out: Path, format: Literal["png", "webdataset"] = "png") -> None:
    """Write a run as plain files: PNGs with a table beside them, or tar shards.

    Args:
        run: the run's folder, or a URL of fsspec.
        out: a new folder.
        format: png: one file an image, and metadata.csv. webdataset: shards of 1000 images.
    """
    from diffusion_lens.runs.export import export_run

    say(f"{export_run(run, out, format)} images in {out}")
