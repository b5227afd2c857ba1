"""What a run drew: a few prompts, a row each and for each way of reading, one column a layer."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from diffusion_lens.files import write_whole
from diffusion_lens.lens.grid import contact_sheet
from diffusion_lens.runs.images import RunImages, Series

__all__ = ["draw_examples", "row_labels"]


def draw_examples(
    runs: Iterable[str | os.PathLike[str]], folder: Path, *, prompts: int = 5, cell: int = 64
) -> list[Path]:
    """Draw a sheet of each run: prompts spread evenly over the run, at its first seed, by layer.

    Prompts are chosen by their place in the list and never by what they show. A run that reads its layers
    in several ways, or those of several encoders, has a row of each.

    Args:
        runs: folders of runs, or URLs of fsspec.
        folder: where `examples-RUN.png` go.
        prompts: how many of a run.
        cell: pixels of an image's longer side.

    Returns:
        The files written; none for a run without images.

    Raises:
        OutputError: a file can't be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for url in runs:
        images = RunImages(url)
        plan = images.plan
        firsts = [min(plan.experiment.seeds_of(one.prompt)) for one in plan.prompts]
        series = [one for one in images.series() if one.seed == firsts[one.prompt]]
        if not series:
            continue
        drawn = list(dict.fromkeys(one.prompt for one in series))
        places = np.unique(np.linspace(0, len(drawn) - 1, prompts).astype(int))
        shown_prompts = {drawn[place] for place in places}
        chosen = [one for one in series if one.prompt in shown_prompts]
        pictures = images.read([one.id for line in chosen for one in line.cells])
        layers = sorted({one.layer for line in chosen for one in line.cells})
        rows = []
        for line in chosen:
            shown = {one.layer: pictures[one.id].image for one in line.cells}
            rows.append([shown.get(layer) for layer in layers])
        labels = row_labels(chosen, [plan.prompts[line.prompt].prompt for line in chosen], images.name)
        sheet = contact_sheet(rows, labels, [f"layer {layer}" for layer in layers], cell=cell)
        path = folder / f"examples-{images.name}.png"
        write_whole(path, lambda file, sheet=sheet: sheet.save(file, "PNG", optimize=True))  # type: ignore[misc]
        written.append(path)
    return written


def row_labels(lines: Sequence[Series], prompts: Sequence[str], run: str) -> list[str]:
    """The prompt of each row, with its encoder and reading where the rows are of several.

    Args:
        lines: a series by row.
        prompts: the prompt of each.
        run: the name of the run, with which the names of its readings begin.
    """
    encoders, runs = {line.encoder for line in lines}, {line.run for line in lines}
    labels = []
    for prompt, line in zip(prompts, lines, strict=True):
        encoder = line.encoder if len(encoders) > 1 else ""
        reading = line.run.removeprefix(run).strip() if len(runs) > 1 else ""
        labels.append(", ".join(part for part in (prompt, encoder, reading) if part))
    return labels
