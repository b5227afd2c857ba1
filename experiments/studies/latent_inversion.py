"""What latent inversion can do on the embedded model, on scenes that no training drew.

    python -m experiments.studies.latent_inversion --out results/latent_inversion

Every part of `latent_parts` is a table of answers, which is kept when it is done, so that a study that was
stopped resumes with the parts that are missing. All rates and errors have 95 % intervals over scenes, and
ways of the same part are compared scene by scene.
"""

import logging
from functools import partial
from pathlib import Path

import pandas as pd
import tyro

from diffusion_lens.errors import InputError
from diffusion_lens.figures.style import save
from diffusion_lens.learning.latent_inversion import LatentInversion
from experiments.studies.draw_latent_inversion import draw_latent_inversion
from experiments.studies.latent_parts import PARTS, StudyScenes
from experiments.studies.tables import kept, means, paired, write_table
from experiments.studies.unseen import trained_scenes

__all__ = ["QUICK_SCENES", "compare", "study", "summarise"]

log = logging.getLogger(__name__)
QUICK_SCENES = 5
# in each part, what the other sources are compared with
_FIRST = {
    "redrawn": "R(image)",
    "edited": "shift, refined",
    "personalised": "one image, refined",
    "refined": "R(image)",
}


def study(
    inversion: LatentInversion, folder: Path, count: int = 100, chosen: StudyScenes | None = None
) -> dict[str, pd.DataFrame]:
    """Make the tables of all parts, or read those that are there.

    Args:
        inversion: a model with its R.
        folder: gets a table of answers by part, `<part>.parquet`.
        count: scenes of the larger parts.
        chosen: the test scenes; by default those that no training drew.

    Raises:
        InputError: fewer than 5 scenes are asked for.
        OutputError: the folder can't be written.
    """
    if count < 5:
        raise InputError(f"{count} scenes are too few for a study; ask for 5 or more.")
    chosen = chosen or StudyScenes()
    tables = {}
    for name, (make, share) in PARTS.items():
        run = partial(make, inversion, chosen, max(3, round(count * share)))
        log.info("part %s", name)
        tables[name] = kept(folder / f"{name}.parquet", run)
    return tables


def summarise(tables: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """Rates and mean errors of all parts with intervals over scenes.

    Returns:
        `part`, `group`, `source`, `check`, `mean`, `low`, `high` and `units` (scenes). The check
        "retrieved" is the share of images whose true caption is the nearest; "error" is the mean of the
        relative reconstruction loss, where 1 is the mean conditioning's, or in the part "refined" of the
        denoiser's squared error.
    """
    keys = ["group", "source", "check"]
    parts = []
    for name, table in tables.items():
        table = table.assign(group=table.get("group", ""))
        parts.append(means(table, keys, "scene", "right", limits=(0, 1)).assign(part=name))
        if "error" in table:
            errors = table.assign(check="error").drop_duplicates(["scene", *keys])
            parts.append(means(errors, keys, "scene", "error").assign(part=name))
    return pd.concat(parts, ignore_index=True)[["part", *keys, "mean", "low", "high", "units"]]


def compare(tables: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """One source of a part less each other, scene by scene: `part`, `check`, `first`, and as `paired`."""
    parts = []
    for name, first in _FIRST.items():
        table = tables[name]
        if "group" in table:
            table = table[table["group"] == "seen"]
        if name == "refined":  # R(x) after a quarter of the steps
            sources = [source for source in table["source"].unique() if source.startswith("R(image)")]
            first = sources[1]
        found = paired(table, ["check"], "scene", "source", first, "right", limit=1)
        if "error" in table:
            errors = table.assign(check="error").drop_duplicates(["scene", "source"])
            found = pd.concat([found, paired(errors, ["check"], "scene", "source", first, "error")])
        parts.append(found.assign(part=name, first=first))
    columns = ["part", "check", "first", "less", "gain", "low", "high", "p", "units"]
    return pd.concat(parts, ignore_index=True)[columns]


def main(
    out: Path = Path("results/latent_inversion"),
    scenes: int = 100,
    model: str = "emoji",
    inverter: Path | None = None,
    quick: bool = False,
) -> None:
    """Run the study, and write its tables and its figure.

    Args:
        out: a folder for the answers of each part, the tables and the figure.
        scenes: scenes of the larger parts.
        model: emoji, or a folder in diffusers format.
        inverter: a folder of an inverter; the model's own if left out.
        quick: run everything at tiny size, to try the command; the numbers then mean nothing.
    """
    inversion = LatentInversion.from_pretrained(model, inverter, batch_size=64)
    chosen = StudyScenes(trained_scenes(100, 100, 100), 4, beam=1) if quick else None
    tables = study(inversion, out, QUICK_SCENES if quick else scenes, chosen)
    summary = summarise(tables)
    write_table(out / "summary.csv", summary)
    write_table(out / "gains.csv", compare(tables))
    save(draw_latent_inversion(summary), out / "latent_inversion")


if __name__ == "__main__":
    tyro.cli(main)
