r"""Over an ordinary training: at which layer, and after how many samples, words are learned.

    diffusion-lens testbed train --stage diffusion --keep-every 16384 --minutes 240 --folder FOLDER
    python -m experiments.studies.words_over_training FOLDER/diffusion.kept

FOLDER holds an autoencoder (`vae/`, a copy of the embedded models' own). Give the training hours: after
21,120 samples places were drawn and not one object. With --start it is the training of weights that are
there, and `over_training` has the part of a training that teaches colours to bind.

The same prompts (places, common and rare objects, common names) are drawn with each snapshot, from several
layers and the same noise, and the oracle answers. The text encoder is frozen. A word that the embedding
draws as early as the last layer does was learned by the denoiser alone; a word that only upper layers draw
waits for what the encoder's blocks make of it.
"""

import csv
from pathlib import Path

import pandas as pd
import tyro

from diffusion_lens.analysis.significance import benjamini_hochberg
from experiments.studies.drawn import ALL
from experiments.studies.pages import (
    INTERVALS,
    Tables,
    drawn_table,
    estimates,
    folders,
    write_study,
)
from experiments.studies.snapshots import (
    LAYERS,
    changed_lines,
    draw_snapshots,
    experiment,
    figures,
    halves,
)
from experiments.studies.tables import changes, in_order, shares

__all__ = ["GROUPS", "figures", "page", "tabulate", "words"]

PROMPTS = Path("experiments/prompts")
# which file, which rows of it by their category, and which check tells that the word is drawn
GROUPS = {
    "place": ("places", None, "place-0"),
    "common object": ("frequency", "common", "object-0"),
    "rare object": ("frequency", "rare", "object-0"),
    "common name": ("names", "common", "identity-0"),
}


def words(count: int) -> dict[str, str]:
    """Prompts and the groups that they are of, so many of each group."""
    found: dict[str, str] = {}
    for group, (name, category, _) in GROUPS.items():
        with open(PROMPTS / f"{name}.csv", newline="", encoding="utf-8") as file:
            rows = [row for row in csv.DictReader(file) if category in (None, row.get("category"))]
        plain = [
            row["prompt"] for row in rows if category is None or row["prompt"].startswith("a photo of")
        ]
        found |= dict.fromkeys(plain[:count], group)
    return found


def tabulate(answers: pd.DataFrame, groups: dict[str, str]) -> dict[str, pd.DataFrame]:
    """Rates by samples and layer, what the training changed, and when half of it was there.

    Args:
        answers: as `drawn.draw` gives them, with the column `samples`.
        groups: the group of each prompt.
    """
    here = answers[answers["of"] == ALL].assign(kind=lambda table: table["prompt_id"].map(groups))
    here = here[here["check"] == here["kind"].map({name: check for name, (*_, check) in GROUPS.items()})]
    by = ["kind", "layer"]
    ends = here[here["samples"].isin([here["samples"].min(), here["samples"].max()])]
    moved = _sorted(changes(ends, by, "samples", here["samples"].min()))
    return {
        "rates": _sorted(shares(here, [*by, "samples"])),
        "changes": moved.assign(p_bh=benjamini_hochberg(moved["p"].to_numpy(dtype=float))),
        "half": _sorted(halves(here, by)),
    }


def _sorted(table: pd.DataFrame) -> pd.DataFrame:
    return in_order(table, layer=LAYERS, kind=list(GROUPS))


def page(tables: Tables) -> str:
    """The findings, of the tables alone."""
    lines = [
        "# words_over_training: how a word is learned",
        "",
        "**Question:** the same prompts over the snapshots of an ordinary training: does a word wait for "
        "the encoder's layers or for the denoiser?",
        "",
        *drawn_table(tables["drawn"]),
        "",
        "The encoder is frozen, so that its layers are the same throughout; snapshots are named by the "
        "samples that the denoiser has seen since the training began. A place, an object, and of a name "
        "all that it stands for (object, colour and place) count as drawn; rates are of all images. "
        + INTERVALS,
        "",
        "![Rates by samples and layer](figures/rates.png)",
        "",
        *changed_lines(tables),
        "",
        "## All rates",
        "",
        *estimates(tables["rates"], ["kind", "layer"], "samples"),
    ]
    return "\n".join(lines) + "\n"


def main(
    snapshots: tyro.conf.Positional[Path],
    out: Path = Path("results/words_over_training"),
    runs: Path = Path("runs/words_over_training"),
    count: int = 7,
    prompts: int = 6,
    dtype: str = "float32",
    quick: bool = False,
) -> None:
    """Draw the prompts with each snapshot and write the tables, the figure and the page.

    Args:
        snapshots: the folder of snapshots.
        out: the folder of results.
        runs: a folder for a run of each snapshot.
        count: how many of the snapshots are drawn, evenly spaced, the first and the last among them.
        prompts: how many of each group; 7 places at most.
        dtype: the type of the weights.
        quick: one prompt of each group and two steps, to try the command; it all goes to runs/.../quick.
    """
    out, runs = folders(out, runs, quick)
    groups = words(1 if quick else prompts)
    asked = experiment(list(groups), dtype, 2 if quick else None)
    answers, drawn = draw_snapshots(asked, snapshots, runs, count)
    write_study(out, {"drawn": drawn, **tabulate(answers, groups)}, page, figures)


if __name__ == "__main__":
    tyro.cli(main)
