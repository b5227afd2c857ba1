"""`diffusion-lens sweep`: an experiment, drawn."""

import re
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from diffusion_lens.cli.asked import DrawingOverrides, Experiments, Study, read_asked
from diffusion_lens.cli.console import fail, say
from diffusion_lens.cli.options import default
from diffusion_lens.cli.score import run_scorers
from diffusion_lens.cli.verbs import Topic, verb
from diffusion_lens.errors import InputError

if TYPE_CHECKING:
    from diffusion_lens.sweep.draw import Estimate, Run

__all__ = ["sweep"]


@verb(
    "sweep",
    Topic.STUDY,
    examples=[
        "diffusion-lens sweep experiments/relations.toml --out runs/relations",
        "diffusion-lens sweep --study relations --dry-run",
    ],
)
def sweep(
    experiment: Experiments = (),
    /,
    study: Study = (),
    out: Annotated[str | None, default("runs/ and the names of the files", "RUN")] = None,
    engine: Literal["local", "processes", "ray"] = "local",
    workers: Annotated[int | None, default("one a GPU, or one a CPU core without a GPU", "INT")] = None,
    shard: Annotated[str, tyro.conf.arg(metavar="INDEX/COUNT")] = "1/1",
    conditionings: Annotated[str | None, default("encode the prompts", "FOLDER")] = None,
    retry_failed: Annotated[bool, default("skip them")] = False,
    dry_run: Annotated[bool, default("draw")] = False,
    overrides: DrawingOverrides = DrawingOverrides(),
) -> None:
    """Draw an experiment. If it was stopped, the same command resumes it.

    Args:
        experiment: One or more TOML files, which experiments/README.md describes. A later file overrides
            an earlier one, such as a model's file the study's. The options below override all files.
        out: The run's folder, or a URL that fsspec can open.
        engine: local draws in this process. processes draws in one process on each GPU of this machine,
            or on each core of its CPU. ray draws on all devices of a Ray cluster.
        workers: The number of workers of the other engines.
        shard: Which part of the run this process draws: 3/16 is the third of sixteen that share the
            folder.
        conditionings: Draw from what `encode` wrote to this folder, without any text encoder.
        retry_failed: Draw again what could not be drawn.
        dry_run: Plan and estimate only: one batch is drawn and thrown away, and nothing is written.
    """
    from diffusion_lens.analysis.declared import check_experiment
    from diffusion_lens.checks.assign import read_given
    from diffusion_lens.runs.prompts import read_prompts
    from diffusion_lens.scoring.registry import check_names, read_settings
    from diffusion_lens.sweep.open import look_at_run, open_run

    asked, base = read_asked(experiment, study, overrides)
    target = out or str(Path("runs") / "-".join(Path(one).stem for one in (*study, *map(str, experiment))))
    part = _parse_shard(shard)
    check_names(asked.scorers)
    settings = read_settings(asked.scorer)
    given = read_given(base / asked.checks) if asked.checks else []
    trial = overrides.limit
    prompts = read_prompts(asked.prompts if trial is None else replace(asked.prompts, limit=None), base)
    if asked.contrasts or asked.scorers:
        check_experiment(asked.contrasts, prompts, given, limit=trial)
    prompts = prompts[:trial]
    if dry_run:
        planned = look_at_run(
            asked, target, base=base, shard=part, conditionings=conditionings, prompts=prompts
        )
        say(_announce(planned, len(planned.todo(retry_failed=retry_failed)), target, planned.rehearse()))
        return
    with open_run(
        asked, target, base=base, shard=part, conditionings=conditionings, prompts=prompts
    ) as run:
        todo = len(run.todo(retry_failed=retry_failed))
        say(_announce(run, todo, target, run.estimate(todo)))
        if todo:
            _draw(run, engine, workers, retry_failed)
        run.lens = None  # room for the scorers' models
    if asked.scorers and part[1] > 1:
        say("Shards are scored together: when all are drawn, give the command without --shard.")
    elif asked.scorers:
        from diffusion_lens.models.load import choose_device

        run_scorers(target, asked.scorers, settings, choose_device(asked.machine.device), given)


def _draw(run: "Run", engine: str, workers: int | None, retry_failed: bool) -> None:
    """Draw what is to do and report it; exits with code 130 if it was stopped, 1 if all of it failed."""
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
        fail(f"{count} failed: {reason}")
    if summary.failed:
        say("Failed cells are drawn again with --retry-failed.")
    if summary.stopped:
        say("Stopped. The same command resumes it.")
        sys.exit(130)
    if summary.failed and not summary.drawn:
        sys.exit(1)


def _parse_shard(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"([0-9]{1,6})/([0-9]{1,6})", text)
    if found is None:
        raise InputError(f"{text!r} is no shard; give one as 3/16, the third of sixteen.")
    return int(found[1]), int(found[2])


def _announce(run: "Run", todo: int, target: str, estimate: "Estimate | None") -> str:
    """What there is, and what is to do."""
    counts = Counter(
        (one.reading.encoder, one.reading.readout.id, one.reading.columns()["interventions"])
        for one in run.plan.resolved.readings
    )
    readings = ", ".join(
        f"{encoder} ({', '.join(part for part in (readout, changes) if part)}, {count} layers)"
        for (encoder, readout, changes), count in counts.items()
    )
    seeds = len(run.plan.experiment.seeds)
    lines = [
        f"{target}: {len(run.plan)} images = {len(run.plan.prompts)} prompts x {readings} x {seeds} seeds",
        f"done {len(run.plan) - len(run.todo(retry_failed=True))}, failed {len(run.scan.failed)}, "
        f"to draw now {todo}",
    ]
    if todo and estimate:
        where = "one batch" if run.estimate(1) is None else "the images that are there"
        lines.append(f"{_size_up(estimate)}, by {where}")
    elif todo:
        lines.append("time and disk: known after the first batch of --engine local")
    return "\n".join(lines)


def _tell(estimate: "Estimate") -> None:
    """Say what the rest will take, above the progress bar."""
    from tqdm.auto import tqdm

    with tqdm.external_write_mode():
        say(f"{_size_up(estimate)} for the rest, by the first batch")


def _size_up(estimate: "Estimate") -> str:
    megabytes = estimate.size / 1e6
    text = f"about {_duration(estimate.seconds)} and {megabytes:.{0 if megabytes >= 10 else 2}f} MB"
    on_gpu = estimate.device.startswith("cuda")
    return f"{text}, {estimate.seconds / 3600:.2f} GPU-hours" if on_gpu else text


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{seconds:.1f} s"
