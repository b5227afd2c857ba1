"""`write_report`: a study as one HTML file that opens anywhere, with its images, curves and numbers."""

import io
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from itertools import zip_longest
from pathlib import Path
from typing import Any

import pandas as pd
from PIL import Image

import diffusion_lens
from diffusion_lens.errors import DiffusionLensError
from diffusion_lens.files import write_whole
from diffusion_lens.lens.thumbnails import data_address, thumbnail
from diffusion_lens.pages import comparisons, sections
from diffusion_lens.pages.glossary import GLOSSARY
from diffusion_lens.pages.recipe import command_of
from diffusion_lens.pages.run_index import RunIndex, Strip
from diffusion_lens.pages.run_parts import whole_layers
from diffusion_lens.pages.templates import render
from diffusion_lens.pages.verdicts import Verdicts
from diffusion_lens.pages.views import FilmCell, FilmStrip, FilmView

__all__ = ["build_report", "write_report"]


@dataclass(frozen=True)
class RunPart:
    """What the report shows of one run."""

    index: RunIndex
    facts: tuple[tuple[str, str], ...]
    film: FilmView | None
    shown: int
    failed_film: FilmView | None
    command: str


def write_report(
    runs: Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    *,
    tables: Mapping[str, pd.DataFrame] | None = None,
    notes: Sequence[str] = (),
    images: int = 500,
    level: float = 0.95,
) -> Path:
    """Write the report of one or more runs.

    Args:
        runs: folders of runs, URLs of fsspec, or parquet files of images.
        out: the file.
        tables: those of `analysis.analyse.analyse`; computed from the runs' scores if left out.
        notes: what the analysis could not make, with `tables`.
        images: the most images that the file holds; the others stay in the run.
        level: of the intervals.

    Returns:
        The file's path.

    Raises:
        RunError: nothing of a run can be shown.
        ScoresError: a run is named twice, or two have one name.
        OutputError: the file can't be written.
    """
    page = build_report(runs, tables=tables, notes=notes, images=images, level=level)
    path = Path(out)
    write_whole(path, lambda file: file.write(page.encode()))
    return path


def build_report(
    runs: Sequence[str | os.PathLike[str]],
    *,
    tables: Mapping[str, pd.DataFrame] | None = None,
    notes: Sequence[str] = (),
    images: int = 500,
    level: float = 0.95,
) -> str:
    """The HTML of the report; see `write_report`."""
    from diffusion_lens.scoring.read_several import check_sources

    check_sources(runs)
    indices = [RunIndex.open(url) for url in runs]
    planned = [text for one in indices for text in _experiment(one).get("contrasts", ())]
    analysed = list(notes)
    if tables is None:
        tables, more = _analyse(indices, planned, level)
        analysed += more
    budget = images // len(indices)
    return render(
        "report.html",
        title=", ".join(one.name for one in indices),
        claims=list(dict.fromkeys(one.claim for one in indices if one.claim)),
        parts=[_part(one, budget) for one in indices],
        panels=sections.panels(tables),
        rates=sections.rates(tables),
        order=comparisons.order(tables),
        contrasts=comparisons.contrasts(tables),
        trends=comparisons.trends(tables),
        planned=list(dict.fromkeys(planned)),
        left_out=sections.left_out(tables, planned, analysed),
        failures=sections.failures(tables),
        missing=sections.missing(tables),
        glossary=GLOSSARY,
        level=level,
        version=diffusion_lens.__version__,
        written=datetime.now(timezone.utc).strftime("%d %B %Y"),
    )


def _experiment(index: RunIndex) -> Mapping[str, Any]:
    found = index.manifest.get("experiment", {})
    return found if isinstance(found, Mapping) else {}


def _analyse(
    indices: Sequence[RunIndex], planned: Iterable[str], level: float
) -> tuple[Mapping[str, pd.DataFrame], list[str]]:
    """The tables of the runs' scores; without scores there are none, and a note."""
    from diffusion_lens.analysis.analyse import analyse
    from diffusion_lens.analysis.declared import Contrast
    from diffusion_lens.analysis.statistics import Resampling
    from diffusion_lens.scoring import table as scores

    found, notes = [], []
    for one in indices:
        try:
            found.append(scores.read(one.url))
        except DiffusionLensError as error:
            notes.append(f"{one.name}: no numbers, as there are no scores. {error}")
    if not found:
        return {}, notes
    try:
        table = scores.validate(pd.concat(found, ignore_index=True))
        contrasts = [Contrast.parse(text) for text in dict.fromkeys(planned)]
        made = analyse(table, declared=contrasts, resampling=Resampling(level))
    except DiffusionLensError as error:
        return {}, [*notes, f"The scores can't be analysed: {error}"]
    return made.tables, [*notes, *made.notes]


def _part(index: RunIndex, budget: int) -> RunPart:
    verdicts = Verdicts(index)
    strips = index.strips()
    count = max(1, budget // max(1, len(index.columns)))
    failed = [strip for strip in strips if verdicts.lost(strip)][: max(1, count // 4)]
    spread = _spread(strips, max(1, count - len(failed)))
    first = index.row(spread[0].cells[next(iter(spread[0].cells))])
    last = index.row(spread[0].cells[whole_layers(spread[0].cells)[-1]])
    return RunPart(
        index,
        tuple(_facts(index, first)),
        film(index, spread, verdicts),
        len(spread),
        film(index, failed, verdicts) if failed else None,
        command_of(last),
    )


def _spread(strips: Sequence[Strip], count: int) -> list[Strip]:
    """So many strips, over as many prompts as there are; in the run's order."""
    by_prompt: dict[Any, list[int]] = {}
    for place, strip in enumerate(strips):
        by_prompt.setdefault(strip.key["prompt"], []).append(place)
    turns = [place for turn in zip_longest(*by_prompt.values()) for place in turn if place is not None]
    return [strips[place] for place in sorted(turns[:count])]


def film(index: RunIndex, strips: Sequence[Strip], verdicts: Verdicts) -> FilmView:
    """Strips with their images inside, as WebP."""
    wanted = [cell for strip in strips for cell in strip.cells.values()]
    sources: dict[str, str] = {}
    reasons = index.failed
    shape, side = 1.0, 0
    for cell, content in index.read_images(wanted):
        if content is None:
            continue
        try:
            small = thumbnail(content)
        except (OSError, SyntaxError, ValueError) as error:
            reasons[cell] = index.damage(cell) or f"unreadable: {error}"
            continue
        sources[cell] = data_address(small)
        if not side:
            shape, side = _shape(content)
    rows = []
    for strip in strips:
        cells = []
        for name in index.columns:
            if name not in strip.cells:
                cells.append(FilmCell(None, None, "not drawn"))
                continue
            found = strip.cells[name]
            source = sources.get(found)
            why = "" if source else reasons.get(found, "no image")
            cells.append(FilmCell(found, source, why, verdicts.whole(found) if source else None))
        rows.append(FilmStrip(str(strip.key["prompt"]), strip.detail, tuple(cells)))
    return FilmView(tuple(index.columns), tuple(rows), shape, side <= 96)


def _shape(content: bytes) -> tuple[float, int]:
    width, height = Image.open(io.BytesIO(content)).size
    return width / height, max(width, height)


def _facts(index: RunIndex, row: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    """The settings of a run, as pairs of words."""
    table = index.table
    resolved = index.manifest.get("resolved", {})
    planned = index.manifest.get("cells")
    yield "model", " ".join(str(row[name]) for name in ("model", "revision") if row.get(name))
    digest = resolved.get("fingerprint") or resolved.get("digest") or row.get("digest")
    if digest:
        yield "digest", str(digest)
    yield "prompts", str(table["prompt"].nunique())
    yield "seeds", ", ".join(str(seed) for seed in sorted(table["seed"].unique())[:12])
    yield "layers", ", ".join(index.columns)
    drawn = int(table["missing"].isna().sum())
    yield "images", f"{drawn} of {planned} planned" if planned else str(drawn)
    for name in ("encoder", "readout", "pooled", "slots", "interventions", "embeddings", "approximations"):
        if name in table:
            values = [str(value) for value in table[name].dropna().unique() if value != ""]
            if values:
                yield name, ", ".join(values[:6])
    for name in ("steps", "guidance", "height", "width", "negative_prompt", "scheduler", "dtype", "device"):
        if row.get(name) is not None:
            yield name.replace("_", " "), str(row[name])
    versions = [f"{name} {row[name]}" for name in ("torch", "diffusers") if row.get(name)]
    if row.get("version"):
        versions.insert(0, f"diffusion_lens {row['version']}")
    if versions:
        yield "versions", ", ".join(versions)
    if row.get("commit"):
        yield "commit", str(row["commit"])
    scorers = index.answers["scorer"].unique()
    if len(scorers):
        yield "scorers", ", ".join(map(str, scorers))
