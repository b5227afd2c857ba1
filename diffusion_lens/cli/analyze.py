"""`diffusion-lens analyze`: scores turned into tables and figures."""

import json
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from diffusion_lens.cli.console import Output, err, say
from diffusion_lens.cli.console import out as console
from diffusion_lens.cli.options import Overwrite, default, values
from diffusion_lens.cli.values import Seed
from diffusion_lens.cli.verbs import Topic, verb
from diffusion_lens.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

    from diffusion_lens.analysis.findings import Shown
    from diffusion_lens.analysis.findings import Source as About
    from diffusion_lens.figures.study import StudyDrawing

__all__ = ["analyze"]

# tables that are also written for a paper
_PRINTED = (
    *("summary", "summary_given_final_correct", "conditional_curves", "constancy", "order"),
    *("planned", "trends", "contrasts", "agreement", "raters", "correction_areas"),
)
# figures of more are drawn by several processes, which take seconds to start
_FEW_SCORES = 20_000


@verb(
    "analyze",
    Topic.SCORE,
    examples=[
        "diffusion-lens analyze runs/relations --out found",
        "diffusion-lens analyze runs/relations --out found --contrast kind=object,relation",
    ],
)
def analyze(
    scores: Annotated[
        tuple[Path, ...],
        tyro.conf.Positional,
        tyro.conf.arg(metavar="SCORES [SCORES ...]", help_behavior_hint=""),
    ],
    /,
    out: Annotated[Path, tyro.conf.arg(metavar="FOLDER")],
    by: Annotated[tuple[str, ...], values("COLUMN", "category and kind")] = (),
    contrast: Annotated[tuple[str, ...], values("CONTRAST", "those that the experiments plan")] = (),
    truth: Annotated[str | None, default("human, where people labelled", "SCORER")] = None,
    level: float = 0.95,
    resamples: int = 10_000,
    seed: Seed = 0,
    figures: Annotated[bool, default("draw them")] = True,
    overwrite: Overwrite = False,
) -> None:
    """Turn scores into tables (csv, LaTeX), figures (png, pdf) and a page, with intervals over prompts.

    With --overwrite, files of the former analysis that this one does not write are removed.

    Args:
        scores: Folders of runs, or tables of scores as .parquet or .csv.
        out: The folder for the tables, the figures, findings.md and, where scores are of runs, report.html.
        by: The columns that split the answers into curves, such as category kind; run, scorer and encoder
            always do.
        contrast: A comparison that was planned beforehand, such as kind=object,relation; it is tested
            apart from the grid of all pairs, in place of those that the experiments plan.
        truth: The scorer to trust, such as people who labelled a part of the images; the rates of the other
            scorers are corrected by it.
        level: The level of intervals and bands.
        resamples: The random draws behind each band and each p value.
        seed: The seed of these draws.
        figures: Do not draw figures.
    """
    from diffusion_lens.analysis.declared import Contrast
    from diffusion_lens.analysis.statistics import Resampling
    from diffusion_lens.analysis.written_files import (
        describe_files,
        read_former_files,
        remove_former_files,
    )
    from diffusion_lens.files import check_output, portable_name, write_whole
    from diffusion_lens.scoring.read_several import check_sources, read_all
    from diffusion_lens.scoring.set_score_files import read_set_scores

    if not scores:
        raise InputError("No scores were given. Name a run's folder, or a table of scores.")
    resampling = Resampling(level, resamples, seed)
    check_sources(scores)
    sources, declared = _about(scores)
    planned = [Contrast.parse(text) for text in contrast]
    of_runs = [Contrast.parse(text) for text in declared]
    left_out = [one for one in of_runs if planned and one not in planned]
    table = read_all(scores)
    settings = out / "analysis.json"
    check_output(settings, overwrite=overwrite)
    former = read_former_files(settings)
    tables = out / "tables"
    with _start_drawing(len(table)) if figures else nullcontext() as drawing:
        # a second, in which the processes start
        from diffusion_lens.analysis.analyse import analyse
        from diffusion_lens.analysis.findings import findings
        from diffusion_lens.pages.report import write_report

        found = analyse(
            table,
            by or None,
            planned=planned,
            declared=[] if planned else of_runs,
            truth=truth,
            resampling=resampling,
            on_table=drawing.begin if drawing else None,
        )
        found.notes += [f"planned {one}: left out, since --contrast names others" for one in left_out]
        of_sets = read_set_scores(scores)
        if not of_sets.empty:
            found.keep("set_scores", of_sets)
        written = [out / "findings.md", *_write_tables(found.tables, tables)]
        shown, drawn = _draw(drawing, found.tables, scores, out) if drawing else ([], [])
    page = findings(found.tables, out.name, sources, notes=found.notes, figures=shown)
    write_whole(out / "findings.md", lambda file: file.write(page.encode()))
    runs = [path for path in scores if (path / "manifest.json").exists()]
    if runs:
        written.append(out / "report.html")
        write_report(runs, written[-1], tables=found.tables, notes=found.notes, level=level)
    files = describe_files(out, [*written, *drawn])
    for name in remove_former_files(out, former, files):
        say(f"kept     {out / name}, which the former analysis wrote, and which was changed since")
    asked = {
        "scores": [portable_name(path) for path in scores],
        "by": by,
        "contrast": [str(one) for one in planned or of_runs],
        "truth": truth or "human",
        **asdict(resampling),
        "notes": found.notes,
        "files": files,
    }
    write_whole(settings, lambda file: file.write((json.dumps(asked, indent=1) + "\n").encode()))
    _tell(found.tables, found.notes)
    say(f"findings {out / 'findings.md'}\ntables   {tables}  ({len(found.tables)})")
    if runs:
        say(f"report   {out / 'report.html'}")
    if shown:
        say(f"figures  {out / 'figures'}  ({len(shown)})")


def _start_drawing(answers: int) -> "AbstractContextManager[StudyDrawing]":
    """What draws the figures of so many answers."""
    from diffusion_lens.figures.study import start_drawing
    from diffusion_lens.threads import count_cores

    return start_drawing(count_cores() if answers > _FEW_SCORES else 1)


def _write_tables(made: "dict[str, pd.DataFrame]", folder: Path) -> list[Path]:
    """Write all tables as csv and those of papers as LaTeX; the files written."""
    from diffusion_lens.analysis.formats import write_csv, write_latex

    written = []
    for name, table in made.items():
        written.append(folder / f"{name}.csv")
        write_csv(table, written[-1])
        if name in _PRINTED:
            written.append(folder / f"{name}.tex")
            write_latex(table, written[-1])
    return written


def _draw(
    drawing: "StudyDrawing", tables: "dict[str, pd.DataFrame]", scores: tuple[Path, ...], out: Path
) -> "tuple[list[Shown], list[Path]]":
    """Draw the figures of the study, and examples of its runs; what to show, and the files written."""
    from diffusion_lens.analysis.findings import Shown
    from diffusion_lens.figures.examples import draw_examples

    runs = [path for path in scores if (path / "manifest.json").exists()]
    caption = "Prompts spread evenly over the run, one row each, by layer."
    examples = draw_examples(runs, out / "figures")
    study = drawing.write(tables, out / "figures")
    drawn = [(one.path, one.title, one.caption) for one in study]
    drawn += [(path, path.stem, caption) for path in examples]
    files = [*(one.path for one in study), *(one.path.with_suffix(".pdf") for one in study), *examples]
    return [Shown(path.relative_to(out).as_posix(), title, text) for path, title, text in drawn], files


def _about(scores: tuple[Path, ...]) -> "tuple[list[About], tuple[str, ...]]":
    """What the runs among the sources are, and the contrasts that their experiments planned."""
    from diffusion_lens.analysis.findings import Source as About
    from diffusion_lens.runs.images import RunImages

    sources: list[About] = []
    declared: dict[str, None] = {}
    for path in scores:
        if not (path / "manifest.json").exists():
            continue
        run = RunImages(path)
        experiment, resolved = run.plan.experiment, run.plan.resolved
        declared |= dict.fromkeys(experiment.contrasts)
        sources.append(
            About(
                run.name,
                experiment.model_name,
                experiment.claim,
                len(run.plan.prompts),
                experiment.seeds,
                resolved.settings,
                resolved.dtype,
                run.undrawn,
                run.reading,
            )
        )
    return sources, tuple(declared)


def _tell(tables: "dict[str, pd.DataFrame]", notes: list[str]) -> None:
    """The numbers that matter on the screen, and what is missing."""
    from rich.table import Table

    from diffusion_lens.analysis.columns import FRAME
    from diffusion_lens.analysis.formats import readable

    summary = tables.get("summary")
    if summary is not None:
        # intervals of the primary number alone: all of them are in the table
        ends = [str(name) for name in summary.columns if str(name).endswith(("_low", "_high"))]
        plain = [name for name in ends if not name.startswith("area")]
        shown = readable(summary.drop(columns=plain))
        keys = list(summary.columns)[: list(summary.columns).index("condition")]
        told = [name for name in keys if name not in FRAME or summary[name].nunique() > 1]
        numbers = ("prompts", "final", "area", "ratio", "half_layer", "never")
        names = [*told, *(name for name in numbers if name in shown)]
        view = Table(*names, box=None)
        for row in shown[names].to_numpy():
            view.add_row(*map(_plain, row))
        # whole, also where it goes to a file
        wide = view.__rich_measure__(console, console.options.update(width=1000)).maximum
        Output(width=max(wide, console.width)).print(view, crop=False)
        for note in dict.fromkeys(summary["note"]):
            if note:
                err.print(note, markup=False, highlight=False, style="yellow")
    lacking = tables.get("missing")
    if lacking is not None:
        for (scorer, reason), part in lacking.groupby(["scorer", "reason"]):
            err.print(
                f"missing  {int(part['missing'].sum())} answers of {scorer}: {reason}",
                markup=False,
                highlight=False,
                style="yellow",
            )
    for note in notes:
        err.print(f"left out  {note}", markup=False, highlight=False)


def _plain(text: object) -> str:
    from rich.markup import escape

    return escape(str(text))
