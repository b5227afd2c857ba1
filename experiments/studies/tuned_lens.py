"""The tuned lens against the final norm alone: what does drawing a layer as it is miss?

    python -m experiments.studies.tuned_lens

An affine map from each layer to the native one is fitted on captions (`diffusion-lens tune`), of scenes
that are not among the prompts here; another begins there and is trained on through the loss of the frozen
denoiser on those scenes (`tune --denoise`). Each layer is drawn through either map and, from the same
noise, through the final norm alone; the oracle answers.
"""

from pathlib import Path

import pandas as pd
import tyro
from matplotlib.figure import Figure

from diffusion_lens.analysis.significance import benjamini_hochberg
from diffusion_lens.learning.train_tuned import (
    captioned_scenes,
    denoising_losses,
    read_captioned,
    train_tuned,
)
from diffusion_lens.lens.lens import DiffusionLens
from diffusion_lens.runs.experiment import Experiment
from diffusion_lens.text.fit_tuned import fit_tuned
from diffusion_lens.text.tuned import TunedFile
from experiments.studies.bound import bound_prompts
from experiments.studies.drawn import ALL, ASKED, KINDS, draw, settings_of
from experiments.studies.pages import INTERVALS, Tables, drawn_table, estimates, folders, write_study
from experiments.studies.points import draw_points
from experiments.studies.tables import changes, in_order, kept, means, paired, shares

__all__ = ["figures", "fit", "page", "tabulate"]

FINAL, TUNED, TRAINED = "final norm alone", "tuned", "trained on the loss"
FILES = {TUNED: "emoji.safetensors", TRAINED: "emoji-trained.safetensors"}
CAPTIONS_SEED = 7  # a stream of scenes of its own
ENCODER = "text_encoder"


def fit(runs: Path, count: int, steps: int, dtype: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The maps of `emoji` in a type, fitted and trained once.

    Args:
        runs: the folder that gets `FILES`.
        count: captions, every fifth of them held out.
        steps: of training through the denoiser's loss.
        dtype: the type of the weights.

    Returns:
        The squared error of the states on held-out captions by layer; and the denoiser's loss on the
        held-out scenes: `readout`, `layer`, `scene`, `value`.
    """
    paths = {name: runs / file for name, file in FILES.items()}
    losses = runs / f"losses-{count}-{steps}.parquet"
    if not losses.is_file() or not all(path.is_file() for path in paths.values()):
        runs.mkdir(parents=True, exist_ok=True)
        reader = DiffusionLens.from_pretrained("emoji", dtype=dtype).reader()
        texts, scenes = captioned_scenes(count, CAPTIONS_SEED)
        fitted, seen = fit_tuned(reader, texts), read_captioned(reader, scenes, texts)
        maps = {TUNED: fitted, TRAINED: train_tuned(fitted, seen, steps=steps)}
        for name, one in maps.items():
            one.save(paths[name])
        of_encoder = {name: one.encoders[ENCODER] for name, one in maps.items()}
        by_scene = denoising_losses(seen, {FINAL: None, **of_encoder})
        rows = [
            (name, layer, f"scene {scene}", float(value))
            for name, table in by_scene.items()
            for layer, row in enumerate(table)
            for scene, value in enumerate(row)
        ]
        kept(losses, lambda: pd.DataFrame(rows, columns=["readout", "layer", "scene", "value"]))
    found = {name: TunedFile.load(path) for name, path in paths.items()}
    errors = pd.DataFrame([dict(row) for row in found[TUNED].encoders[ENCODER].errors])
    trained = [row["tuned"] for row in found[TRAINED].encoders[ENCODER].errors]
    table = errors.rename(columns={"final": FINAL}).assign(**{TRAINED: trained})
    table = table[["layer", TUNED, TRAINED, FINAL]].assign(captions=found[TUNED].captions, steps=steps)
    return table, pd.read_parquet(losses)


def tabulate(answers: pd.DataFrame, losses: pd.DataFrame | None = None) -> dict[str, pd.DataFrame]:
    """Rates by layer and readout, either map less the final norm alone, and the trained less the fitted.

    Args:
        answers: as `drawn.draw` gives them.
        losses: of `fit`; left out, there are no tables of them.
    """
    here = answers[answers["kind"].isin(KINDS)]
    here = here.assign(kind=here["kind"].map(KINDS), readout=here["readout"].map(_readout))
    layers = sorted(here["layer"].unique())
    order = {"layer": layers, "kind": list(KINDS.values()), "of": [ALL, ASKED]}
    by = ["of", "kind", "layer"]
    tables = {
        "rates": in_order(shares(here, [*by, "readout"]), readout=[FINAL, TUNED, TRAINED], **order),
        "changes": _adjusted(
            in_order(changes(here, by, "readout", FINAL), readout=[TUNED, TRAINED], **order)
        ),
    }
    maps = here[here["readout"] != FINAL]
    if TRAINED in set(maps["readout"]):
        tables["trained"] = _adjusted(in_order(changes(maps, by, "readout", TUNED), **order))
    if losses is not None:
        order = {"layer": sorted(losses["layer"].unique()), "readout": [FINAL, TUNED, TRAINED]}
        gained = paired(losses[losses["readout"] != FINAL], ["layer"], "scene", "readout", TRAINED)
        tables["losses"] = in_order(means(losses, ["readout", "layer"], "scene"), **order)
        tables["loss_changes"] = _adjusted(gained.rename(columns={"gain": "change", "less": "than"}))
    return tables


def _readout(written: str) -> str:
    """A readout by its name on the page."""
    if not written.startswith("tuned:"):
        return FINAL
    path = Path(written.removeprefix("tuned:").split("#")[0])
    return TRAINED if path.name == FILES[TRAINED] else TUNED


def _adjusted(table: pd.DataFrame) -> pd.DataFrame:
    return table.assign(p_bh=benjamini_hochberg(table["p"].to_numpy(dtype=float)))


def page(tables: Tables) -> str:
    """The findings, of the tables alone."""
    rates, moved, errors = tables["rates"], tables["changes"], tables["errors"]
    read = [name for name in (TUNED, TRAINED, FINAL) if name in errors]
    told = errors.melt(["layer", "captions"], read, "readout", "error")
    ways = (
        ", or through such a map that was trained on, through the denoiser's loss"
        if TRAINED in read
        else ""
    )
    lines = [
        "# tuned_lens: what the final norm alone misses",
        "",
        "**Question:** is what a layer does not draw missing from it, or only not where the denoiser "
        f"looks? Each layer is drawn through an affine map to the native layer{ways}, and through the "
        'final norm alone. Prompts such as "a red fox above a blue car".',
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
        *estimates(_bare(told), ["readout"], "layer", "error"),
        *(_losses(tables) if "losses" in tables else []),
    ]
    for of, title in ((ALL, "Of all images"), (ASKED, "Where it can be asked")):
        lines += [
            "",
            f"## {title}",
            "",
            *estimates(rates[rates["of"] == of], ["kind", "readout"], "layer"),
            "",
            *_moved(moved[moved["of"] == of], "Less final norm alone:"),
        ]
        if "trained" in tables:
            trained = tables["trained"]
            lines += ["", *_moved(trained[trained["of"] == of], "Trained on the loss, less tuned:")]
    return "\n".join(lines) + "\n"


def _moved(moved: pd.DataFrame, title: str) -> list[str]:
    """Changes, and their adjusted p."""
    rows = ["kind", "readout"]
    return [
        *[title, "", *estimates(moved, rows, "layer", "change", "{:+.2f}"), ""],
        *["Adjusted p:", "", *estimates(_bare(moved), rows, "layer", "p_bh", "{:.3f}")],
    ]


def _losses(tables: Tables) -> list[str]:
    """What the denoiser makes of the layers on held-out scenes."""
    steps = int(tables["errors"]["steps"].iloc[0])
    changed = tables["loss_changes"].assign(of="trained on the loss, less tuned")
    return [
        "",
        "## The denoiser's loss on held-out scenes",
        "",
        "The mean squared error of the denoiser on the scenes of those held-out captions, which it is told "
        f"of by each layer; noise and times are the same for all. Trained: {steps} steps from the fitted "
        "map, encoder and denoiser frozen. At the native layer there is nothing to map.",
        "",
        *estimates(tables["losses"], ["readout"], "layer", "mean", "{:.3f}"),
        "",
        *estimates(changed, ["of"], "layer", "change", "{:+.4f}"),
        "",
        "Adjusted p:",
        "",
        *estimates(_bare(changed), ["of"], "layer", "p_bh", "{:.3f}"),
    ]


def _bare(table: pd.DataFrame) -> pd.DataFrame:
    """A table whose numbers have no interval."""
    return table.assign(low=float("nan"), high=float("nan"))


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
    train_steps: int = 400,
    dtype: str = "float32",
    quick: bool = False,
) -> None:
    """Fit and train the maps, draw the prompts and write the tables, the figure and the page.

    Args:
        out: the folder of results.
        runs: a folder for the maps and the run.
        prompts: how many.
        captions: how many captions the maps are fitted on.
        train_steps: steps of training through the denoiser's loss.
        dtype: the type of the weights.
        quick: three prompts, two steps and twenty captions, to try the command; it all
            goes to runs/.../quick.
    """
    out, runs = folders(out, runs, quick)
    errors, losses = fit(runs, *((20, 2) if quick else (captions, train_steps)), dtype)
    asked = Experiment.from_dict(
        {
            "model": "emoji",
            "prompts": [one.prompt for one in bound_prompts(3 if quick else prompts)],
            "layers": ["all"],
            "noise": "own",
            "readouts": ["final", *(f"tuned:{runs / file}" for file in FILES.values())],
            "machine": {"dtype": dtype},
            "sampler": {"steps": 2} if quick else {},
        }
    )
    tables = tabulate(draw(asked, runs / "emoji"), losses)
    drawn = pd.DataFrame([settings_of(runs / "emoji")])
    write_study(out, {"drawn": drawn, "errors": errors, **tables}, page, figures)


if __name__ == "__main__":
    tyro.cli(main)
