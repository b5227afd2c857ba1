"""Which denoising steps and which blocks of the denoiser read what from a layer.

    python -m experiments.studies.denoiser_places

Draws `experiments/denoiser_places.toml`, in which a lower layer is read in some steps or blocks only and
the native one elsewhere, and the native images beside it, from the same noise. What an image loses then was
read there. All changes are from the native image of the same prompt.
"""

from dataclasses import replace
from pathlib import Path

import pandas as pd
import tyro
from matplotlib.figure import Figure

from diffusion_lens.analysis.markdown import markdown, number, p_value
from diffusion_lens.analysis.significance import benjamini_hochberg, holm
from diffusion_lens.runs.experiment import Experiment
from diffusion_lens.runs.experiment_files import load_experiments
from experiments.studies.drawn import draw, of_kinds, settings_of
from experiments.studies.pages import (
    INTERVALS,
    Tables,
    drawn_table,
    enough,
    estimates,
    folders,
    write_study,
)
from experiments.studies.points import draw_points
from experiments.studies.tables import changes, in_order, paired, shares

__all__ = ["EXPERIMENT", "WAYS", "figures", "page", "tabulate"]

EXPERIMENT = Path("experiments/denoiser_places.toml")
NATIVE, EVERYWHERE = "nowhere (native)", "everywhere"
# what is read where, as the experiment writes it
WAYS = {
    "": EVERYWHERE,
    "only(:1)": "steps 0 and 1",
    "only(2:)": "steps 2 to 19",
    "only(:4)": "steps 0 to 4",
    "only(5:)": "steps 5 to 19",
    "only(:9)": "steps 0 to 9",
    "only(10:)": "steps 10 to 19",
    "only(blocks=down_blocks)": "down blocks",
    "only(blocks=mid_block)": "middle block",
    "only(blocks=up_blocks)": "up blocks",
}
ORDER = [NATIVE, *WAYS.values()]
KINDS = {"object": "object", "global": "place", "attribute": "colour", "order": "order"}
# planned: a part of the steps against the rest of them, and the way down against the way up
PLANNED = (("only(:1)", "only(2:)"), ("only(:4)", "only(5:)"), ("only(:9)", "only(10:)"))
BLOCKS = ("only(blocks=down_blocks)", "only(blocks=up_blocks)")


def tabulate(answers: pd.DataFrame, native: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Rates, changes from the native image, and the planned comparisons.

    Args:
        answers: of the layers, as `drawn.draw` gives them.
        native: of the native images of the same prompts and seeds.
    """
    layers = sorted(answers["layer"].unique())
    beside = pd.concat([native.assign(layer=layer, interventions="native") for layer in layers])
    both = of_kinds(pd.concat([answers, beside], ignore_index=True), KINDS)
    both = both.assign(read=both["interventions"].map(WAYS | {"native": NATIVE}))
    by = ["kind", "layer"]
    moved = _sorted(changes(both, by, "read", NATIVE))
    rows = [
        paired(both[both["read"].isin([first, second])], by, "prompt_id", "read", second, "right", limit=1)
        .rename(columns={"less": "first"})
        .assign(second=second)
        for first, second in ((WAYS[a], WAYS[b]) for a, b in (*PLANNED, BLOCKS))
    ]
    planned = pd.concat(rows, ignore_index=True)
    planned["p_holm"] = holm(planned["p"].to_numpy(dtype=float))
    return {
        "rates": _sorted(shares(both, [*by, "read"])),
        "changes": moved.assign(p_bh=benjamini_hochberg(moved["p"].to_numpy(dtype=float))),
        "planned": _sorted(planned, "first"),
    }


def _sorted(table: pd.DataFrame, read: str = "read") -> pd.DataFrame:
    return in_order(table, kind=list(KINDS.values()), **{read: ORDER}, layer=sorted(set(table["layer"])))


def page(tables: Tables) -> str:
    """The findings, of the tables alone."""
    rates, planned = tables["rates"], tables["planned"]
    lines = [
        "# denoiser_places: which steps and which blocks read what",
        "",
        "**Claim to test:** early denoising steps, and the inner blocks of the denoiser, read where things "
        "are; later steps read what colour they have.",
        "",
        *drawn_table(tables["drawn"]),
        "",
        "The layer is read in the steps or blocks named, and the native layer in all others. What is lost "
        "against the native image was read there. The rate of objects and places is of all images, that of "
        "colours and orders of the images in which they can be asked. " + INTERVALS,
        "",
        "## Rates by where the layer is read",
        "",
        *estimates(rates, ["layer", "read"], "kind"),
        "",
        "![Rates by where the layer is read](figures/rates.png)",
        "",
        "## Steps and blocks compared, as decided on before",
        "",
        "The rate where only the second place reads the layer, less the rate where only the first does: "
        "above zero, the first place reads more of it. p is adjusted for all of these (Holm).",
        "",
        *_planned(planned),
        "",
        "## Changes from the native image",
        "",
        "p is adjusted over this grid (Benjamini-Hochberg); all numbers are in `tables/changes.csv`.",
        "",
        *estimates(tables["changes"], ["layer", "read"], "kind", "change", "{:+.2f}"),
    ]
    return "\n".join(lines) + "\n"


def _planned(planned: pd.DataFrame) -> list[str]:
    rows = [
        [
            *(line["layer"], line["kind"], line["first"], line["second"]),
            number(line["gain"], line["low"], line["high"], "{:+.2f}"),
            *(p_value(line["p_holm"]), line["units"]),
        ]
        for line in enough(planned).to_dict("records")
    ]
    return markdown(["layer", "kind", "first", "second", "difference", "p (Holm)", "prompts"], rows)


def figures(tables: Tables) -> dict[str, Figure]:
    """The rates of each kind by where the layer is read."""
    drawn = draw_points(
        enough(tables["rates"]),
        "kind",
        "read",
        "layer",
        label="right images",
        joined=False,
        title="layer that is read there",
    )
    return {"rates": drawn}


def main(
    out: Path = Path("results/denoiser_places"),
    runs: Path = Path("runs/denoiser_places"),
    dtype: str = "float32",
    quick: bool = False,
) -> None:
    """Draw the experiment and write its tables, figure and page.

    Args:
        out: the folder of results.
        runs: the folder of the runs.
        dtype: the type of the weights.
        quick: three prompts and eleven steps, to try the command; it all goes to runs/.../quick.
    """
    out, runs = folders(out, runs, quick)
    data, base = load_experiments([EXPERIMENT])
    data["machine"] = {"dtype": dtype}
    if quick:
        data["prompts"] = {"captions": {**data["prompts"]["captions"], "count": 3}}
        data["sampler"] = {"steps": 11}
    asked = Experiment.from_dict(data)
    native = replace(asked, layers=("native",), interventions=((),))
    assert base == EXPERIMENT.parent
    tables = tabulate(draw(asked, runs / "emoji"), draw(native, runs / "emoji-native"))
    drawn = pd.DataFrame([settings_of(runs / "emoji"), settings_of(runs / "emoji-native")])
    write_study(out, {"drawn": drawn, **tables}, page, figures)


if __name__ == "__main__":
    tyro.cli(main)
