"""What a run drew: a few prompts, one row each, one column a layer."""

import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from diffusion_lens.files import write_whole
from diffusion_lens.lens.grid import contact_sheet
from diffusion_lens.runs.images import RunImages

__all__ = ["draw_examples"]


def draw_examples(
    runs: Iterable[str | os.PathLike[str]], folder: Path, *, prompts: int = 5, cell: int = 64
) -> list[Path]:
    """Draw a sheet of each run: prompts spread evenly over the run, at its first seed, by layer.

    Prompts are chosen by their place in the list and never by what they show.

    Args:
        runs: folders of runs, or URLs of fsspec.
        folder: where `examples-RUN.png` go.
        prompts: rows of a sheet.
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
        chosen = [
            series[place] for place in np.unique(np.linspace(0, len(series) - 1, prompts).astype(int))
        ]
        pictures = images.read([one.id for line in chosen for one in line.cells])
        layers = sorted({one.layer for line in chosen for one in line.cells})
        rows = []
        for line in chosen:
            shown = {one.layer: pictures[one.id].image for one in line.cells}
            rows.append([shown.get(layer) for layer in layers])
        labels = [plan.prompts[line.prompt].prompt for line in chosen]
        sheet = contact_sheet(rows, labels, [f"layer {layer}" for layer in layers], cell=cell)
        path = folder / f"examples-{images.name}.png"
        write_whole(path, lambda file, sheet=sheet: sheet.save(file, "PNG", optimize=True))  # type: ignore[misc]
        written.append(path)
    return written
