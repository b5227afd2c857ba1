r"""Over a training: at which layer, and after how many samples, colours find their objects.

    diffusion-lens testbed train --stage diffusion --start WEIGHTS --contrast 2 --lr 6e-4 \
        --keep-every 1024 --folder FOLDER
    python -m experiments.studies.over_training FOLDER/diffusion.kept

The same prompts are drawn with each snapshot (see `experiments.studies.snapshots`), from several layers
and the same noise, and the oracle answers. What changes over the training is the denoiser alone. How much
of a binding the encoder's layers hold is read off them by linear probes
(`diffusion_lens.analysis.decodable`).

The committed tables are of a training as above, the part of the recipe that teaches colours to bind.
WEIGHTS are those of `emoji` before (commit 3d4db7c), which drew objects, places and orders already.
"""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import tyro

from diffusion_lens.analysis.decodable import probe_check
from diffusion_lens.analysis.significance import benjamini_hochberg
from diffusion_lens.lens.lens import DiffusionLens
from diffusion_lens.scoring import checks_of
from experiments.studies.bound import Bound, bound_prompts
from experiments.studies.drawn import KINDS, of_kinds
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
from experiments.studies.tables import changes, in_order, kept, means, shares

__all__ = ["figures", "page", "swapped", "tabulate"]

OTHERS = "the other's colour"
NAMED = {**KINDS, OTHERS: OTHERS}
PROBED = 10  # prompts


def probe(lens: DiffusionLens, prompts: int) -> pd.DataFrame:
    """How well linear probes read off each layer which object has which of two colours."""
    rows = []
    for one in bound_prompts(prompts):
        (check,) = checks_of(one.prompt, ids=["attribute-0"])
        found = probe_check(lens, one.prompt, check, "text_encoder")
        assert found is not None  # these are captions of the testbed
        rows += [(one.prompt, layer, accuracy) for layer, accuracy in enumerate(found.accuracy)]
    return pd.DataFrame(rows, columns=["prompt_id", "layer", "value"])


def swapped(answers: pd.DataFrame, prompts: Sequence[Bound]) -> pd.DataFrame:
    """The answers with those of one more kind: whether an object has the other one's colour.

    Args:
        answers: as `drawn.draw` gives them; the oracle's reasons say what it sees ("sees red fox, ...").
        prompts: what was drawn.
    """
    known = {one.prompt: one for one in prompts}
    here = answers[(answers["kind"] == "attribute") & answers["right"].notna()]
    seen = []
    for line in here.to_dict("records"):
        one, number = known[line["prompt_id"]], int(line["check"][-1])
        seen.append(float(f"{one.colours[1 - number]} {one.names[number]}" in str(line["reason"])))
    return pd.concat([answers, here.assign(kind=OTHERS, right=seen)], ignore_index=True)


def tabulate(answers: pd.DataFrame, probed: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Rates by samples and layer, what the training changed, when half of it was there, and the probes.

    Args:
        answers: as `drawn.draw` gives them, with the column `samples`.
        probed: of `probe`.
    """
    here = of_kinds(answers, NAMED)
    by = ["kind", "layer"]
    first, last = here["samples"].min(), here["samples"].max()
    ends = here[here["samples"].isin([first, last])]
    moved = _sorted(changes(ends, by, "samples", first))
    moved["p_bh"] = benjamini_hochberg(moved["p"].to_numpy(dtype=float))
    return {
        "rates": _sorted(shares(here, [*by, "samples"])),
        "changes": moved,
        "half": _sorted(halves(here, by)),
        "probes": means(probed.assign(read="which has the colour"), ["read", "layer"], "prompt_id"),
    }


def _sorted(table: pd.DataFrame) -> pd.DataFrame:
    return in_order(table, layer=LAYERS, kind=list(NAMED.values()))


def page(tables: Tables) -> str:
    """The findings, of the tables alone."""
    lines = [
        "# over_training: how colours find their objects",
        "",
        "**Question:** the same prompts over the snapshots of a training that taught colours to bind: is "
        "it the encoder's layers or the denoiser that the binding waits for? Prompts such as \"a red fox "
        'above a blue car".',
        "",
        *drawn_table(tables["drawn"]),
        "",
        "The encoder is frozen, so that its layers are the same throughout; snapshots are named by the "
        "samples that the denoiser has seen since the weights that the training began with. The rate of "
        "objects is of all images, that of colours and orders of the images in which they can be asked; "
        "the other's colour is how often an object that is there has the colour of the other one. "
        + INTERVALS,
        "",
        "![Rates by samples and layer](figures/rates.png)",
        "",
        *changed_lines(tables),
        "",
        "## What the encoder holds",
        "",
        f"The share of held-out captions of which a linear probe reads rightly which of two objects has a "
        f"colour, in the frozen encoder; mean over {int(tables['probes']['units'].max())} prompts, chance "
        "is a half.",
        "",
        *estimates(tables["probes"], ["read"], "layer", "mean"),
        "",
        "## All rates",
        "",
        *estimates(tables["rates"], ["kind", "layer"], "samples"),
    ]
    return "\n".join(lines) + "\n"


def main(
    snapshots: tyro.conf.Positional[Path],
    out: Path = Path("results/over_training"),
    runs: Path = Path("runs/over_training"),
    count: int = 7,
    prompts: int = 24,
    dtype: str = "float32",
    quick: bool = False,
) -> None:
    """Draw the prompts with each snapshot and write the tables, the figure and the page.

    Args:
        snapshots: the folder of snapshots.
        out: the folder of results.
        runs: a folder for a run of each snapshot.
        count: how many of the snapshots are drawn, evenly spaced, the first and the last among them.
        prompts: how many.
        dtype: the type of the weights.
        quick: three prompts and two steps, to try the command; it all goes to runs/.../quick.
    """
    out, runs = folders(out, runs, quick)
    chosen = bound_prompts(3 if quick else prompts)
    asked = experiment([one.prompt for one in chosen], dtype, 2 if quick else None)
    answers, drawn = draw_snapshots(asked, snapshots, runs, count)
    probes = 2 if quick else PROBED
    path = runs / f"probes-{probes}.parquet"
    probed = kept(path, lambda: probe(DiffusionLens.from_pretrained("emoji"), probes))
    tables = tabulate(swapped(answers, chosen), probed)
    write_study(out, {"drawn": drawn, **tables}, page, figures)


if __name__ == "__main__":
    tyro.cli(main)
