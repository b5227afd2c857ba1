"""The tuned lens against the final norm alone: what does drawing a layer as it is miss?

    python -m experiments.studies.tuned_lens

An affine map from each layer to the native one is fitted on captions (`diffusion-lens tune`), of scenes
that are not among the prompts here. Each layer is drawn through its map and, from the same noise, through
the final norm alone; the oracle answers.
"""

from pathlib import Path

import pandas as pd
import tyro
from matplotlib.figure import Figure

from diffusion_lens.analysis.significance import benjamini_hochberg
from diffusion_lens.lens.lens import DiffusionLens
from diffusion_lens.runs.experiment import Captions, Experiment, Prompts
from diffusion_lens.runs.prompts import read_prompts
from diffusion_lens.text.fit_tuned import fit_tuned
from diffusion_lens.text.tuned import TunedFile
from experiments.studies.bound import bound_prompts
from experiments.studies.drawn import ALL, ASKED, KINDS, draw, settings_of
from experiments.studies.pages import INTERVALS, Tables, drawn_table, estimates, folders, write_study
from experiments.studies.points import draw_points
from experiments.studies.tables import changes, in_order, shares

__all__ = ["figures", "fit", "page", "tabulate"]

FINAL, TUNED = "final norm alone", "tuned"
CAPTIONS_SEED = 7  # a stream of scenes of its own


def fit(path: Path, count: int, dtype: str) -> pd.DataFrame:
    """The maps of `emoji` in a type, fitted once; their error on held-out captions by layer."""
    if not path.is_file():
        listed = Prompts(captions=Captions(count=count, seed=CAPTIONS_SEED))
        texts = [one.prompt for one in read_prompts(listed, Path())]
        path.parent.mkdir(parents=True, exist_ok=True)
        fit_tuned(DiffusionLens.from_pretrained("emoji", dtype=dtype).reader(), texts).save(path)
    found = TunedFile.load(path)
    errors = pd.DataFrame([dict(row) for row in found.encoders["text_encoder"].errors])
    return errors.rename(columns={"final": FINAL})[["layer", TUNED, FINAL]].assign(captions=found.captions)


def tabulate(answers: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Rates by layer and readout, and the tuned lens less the final norm alone.

    Args:
        answers: as `drawn.draw` gives them.
    """
    here = answers[answers["kind"].isin(KINDS)]
    readout = here["readout"].str.startswith("tuned").map({True: TUNED, False: FINAL})
    here = here.assign(kind=here["kind"].map(KINDS), readout=readout)
    layers = sorted(here["layer"].unique())
    order = {"layer": layers, "kind": list(KINDS.values()), "of": [ALL, ASKED]}
    by = ["of", "kind", "layer"]
    moved = in_order(changes(here, by, "readout", FINAL), **order)
    return {
        "rates": in_order(shares(here, [*by, "readout"]), **order),
        "changes": moved.assign(p_bh=benjamini_hochberg(moved["p"].to_numpy(dtype=float))),
    }


def page(tables: Tables) -> str:
    """The findings, of the tables alone."""
    rates, moved, errors = tables["rates"], tables["changes"], tables["errors"]
    told = errors.melt(["layer", "captions"], [TUNED, FINAL], "readout", "error")
    lines = [
        "# tuned_lens: what the final norm alone misses",
        "",
        "**Question:** is what a layer does not draw missing from it, or only not where the denoiser "
        "looks? Each layer is drawn through an affine map to the native layer, and through the final norm "
        'alone. Prompts such as "a red fox above a blue car".',
        "",
        *drawn_table(tables["drawn"]),
        "",
        INTERVALS + " p of changes is adjusted over their whole table (Benjamini-Hochberg).",
        "",
        "![Rates by layer](figures/rates.png)",
        "",
        "## Error on held-out captions",
        "",
        f"Maps fitted on {int(errors['captions'].iloc[0])} captions, every fifth held out: squared error "
        "as a share of the variance of the native state.",
        "",
        *estimates(told.assign(low=float("nan"), high=float("nan")), ["readout"], "layer", "error"),
    ]
    for of, title in ((ALL, "Of all images"), (ASKED, "Where it can be asked")):
        lines += [
            "",
            f"## {title}",
            "",
            *estimates(rates[rates["of"] == of], ["kind", "readout"], "layer"),
            "",
            "Tuned less final norm alone:",
            "",
            *estimates(moved[moved["of"] == of], ["kind"], "layer", "change", "{:+.2f}"),
            "",
            "Adjusted p:",
            "",
            *estimates(
                moved[moved["of"] == of].assign(low=float("nan"), high=float("nan")),
                ["kind"],
                "layer",
                "p_bh",
                "{:.3f}",
            ),
        ]
    return "\n".join(lines) + "\n"


def figures(tables: Tables) -> dict[str, Figure]:
    """Rates of all images by layer, a line a readout."""
    rates = tables["rates"]
    shown = rates[rates["of"] == ALL]
    return {"rates": draw_points(shown, "kind", "layer", "readout", label="right images")}


def main(
    out: Path = Path("results/tuned_lens"),
    runs: Path = Path("runs/tuned_lens"),
    prompts: int = 24,
    captions: int = 1000,
    dtype: str = "bfloat16",
    quick: bool = False,
) -> None:
    """Fit the maps, draw the prompts and write the tables, the figure and the page.

    Args:
        out: the folder of results.
        runs: a folder for the maps and the run.
        prompts: how many.
        captions: how many captions the maps are fitted on.
        dtype: the type of the weights.
        quick: three prompts, two steps and twenty captions, to try the command; it all
            goes to runs/.../quick.
    """
    out, runs = folders(out, runs, quick)
    maps = runs / "emoji.safetensors"
    errors = fit(maps, 20 if quick else captions, dtype)
    asked = Experiment.from_dict(
        {
            "model": "emoji",
            "prompts": [one.prompt for one in bound_prompts(3 if quick else prompts)],
            "layers": ["all"],
            "noise": "own",
            "readouts": ["final", f"tuned:{maps}"],
            "machine": {"dtype": dtype},
            "sampler": {"steps": 2} if quick else {},
        }
    )
    tables = tabulate(draw(asked, runs / "emoji"))
    drawn = pd.DataFrame([settings_of(runs / "emoji")])
    write_study(out, {"drawn": drawn, "errors": errors, **tables}, page, figures)


if __name__ == "__main__":
    tyro.cli(main)
