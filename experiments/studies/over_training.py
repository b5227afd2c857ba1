r"""Over a training: at which layer, and after how many samples, colours find their objects.

    diffusion-lens testbed train --stage diffusion --start WEIGHTS --contrast 2 --lr 6e-4 \
        --keep-every 1024 --folder FOLDER
    python -m experiments.studies.over_training FOLDER/diffusion.kept

The folder holds the averaged weights of the denoiser of `emoji` after so many samples of its training,
NNNNNNN.safetensors: the state of a `UNet2DConditionModel` in half precision. The same prompts are drawn
with each of them, from several layers and the same noise, and the oracle answers. The text encoder is
frozen: what changes over the training is the denoiser alone. How much of a binding the encoder's layers
hold is read off them by linear probes (`diffusion_lens.analysis.decodable`).

The committed tables are of a training as above, the part of the recipe that teaches colours to bind.
WEIGHTS are those of `emoji` before (commit 3d4db7c), which drew objects, places and orders already.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import tyro
from matplotlib.figure import Figure
from safetensors.torch import load_file

from diffusion_lens.analysis.decodable import probe_check
from diffusion_lens.analysis.markdown import markdown, number, p_value
from diffusion_lens.analysis.significance import benjamini_hochberg
from diffusion_lens.analysis.statistics import rates, totals
from diffusion_lens.errors import InputError
from diffusion_lens.lens.lens import DiffusionLens
from diffusion_lens.runs.experiment import Experiment
from diffusion_lens.scoring import checks_of
from experiments.studies.bound import Bound, bound_prompts
from experiments.studies.drawn import KINDS, draw, of_kinds, settings_of
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
from experiments.studies.tables import changes, in_order, kept, means, shares

__all__ = [
    "LAYERS",
    "changed_lines",
    "choose",
    "figures",
    "halfway",
    "halves",
    "page",
    "swapped",
    "tabulate",
]

LAYERS = (0, 2, 4, 6)
OTHERS = "the other's colour"
NAMED = {**KINDS, OTHERS: OTHERS}
PROBED = 10  # prompts


def choose(folder: Path, count: int) -> dict[int, Path]:
    """So many snapshots of a folder, evenly spaced by their order, with their samples; first and last too.

    Raises:
        InputError: the folder holds fewer than two.
    """
    found = sorted((int(path.stem), path) for path in folder.glob("*.safetensors") if path.stem.isdigit())
    if len(found) < 2:
        raise InputError(
            f"{folder} holds {len(found)} snapshots, named by their samples (0008192.safetensors); two are "
            "the least. Keep them with diffusion-lens testbed train --stage diffusion --keep-every 8192."
        )
    places = np.unique(np.linspace(0, len(found) - 1, min(count, len(found))).round().astype(int))
    return dict(found[place] for place in places)


def experiment(prompts: int, dtype: str, steps: int | None = None) -> Experiment:
    """What is drawn with each snapshot."""
    data = {
        "model": "emoji",
        "prompts": [one.prompt for one in bound_prompts(prompts)],
        "layers": list(LAYERS),
        "noise": "own",
        "machine": {"dtype": dtype},
        "sampler": {} if steps is None else {"steps": steps},
    }
    return Experiment.from_dict(data)


def probe(lens: DiffusionLens, prompts: int) -> pd.DataFrame:
    """How well linear probes read off each layer which object has which of two colours."""
    rows = []
    for one in bound_prompts(prompts):
        (check,) = checks_of(one.prompt, ids=["attribute-0"])
        found = probe_check(lens, one.prompt, check, "text_encoder")
        assert found is not None  # these are captions of the testbed
        rows += [(one.prompt, layer, accuracy) for layer, accuracy in enumerate(found.accuracy)]
    return pd.DataFrame(rows, columns=["prompt_id", "layer", "value"])


def halfway(table: pd.DataFrame, resamples: int = 2000) -> tuple[float, float, float]:
    """After how many samples half of the gain between first and last snapshot is there for the first time.

    Args:
        table: `prompt_id`, `samples` and `right` of one layer and kind.
        resamples: draws of whole prompts behind the interval, of 95 %.

    Returns:
        The samples, and the ends of the interval (percentiles); missing where nothing is gained.
    """
    wide = table.pivot_table(index="prompt_id", columns="samples", values="right")
    columns, samples = totals(wide.to_numpy(dtype=float)), wide.columns.to_numpy(dtype=float)

    def find(chosen: np.ndarray) -> float:
        (rate,) = rates(columns[chosen].sum(axis=0)[None])
        there = np.flatnonzero(rate >= (rate[0] + rate[-1]) / 2)
        return float(samples[there[0]]) if rate[-1] > rate[0] else np.nan

    rng = np.random.default_rng(0)
    count = len(columns)
    drawn = [find(rng.integers(0, count, count)) for _ in range(resamples)]
    low, high = np.nanpercentile(drawn, [2.5, 97.5]) if np.isfinite(drawn).any() else (np.nan, np.nan)
    return find(np.arange(count)), float(low), float(high)


def halves(answers: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """`halfway` of each group: the columns `by`, then `samples`, `low` and `high`."""
    judged = answers.dropna(subset=["right"])
    found = [(*key, *halfway(part)) for key, part in judged.groupby(list(by), sort=False)]
    return pd.DataFrame(found, columns=[*by, "samples", "low", "high"])


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
        "## What the training changed",
        "",
        "Last snapshot less first, on the same prompts and noise; p adjusted over this table "
        "(Benjamini-Hochberg). Half of it: after how many samples half of the gain is there for the first "
        "time, with an interval over resampled prompts; left out where the adjusted p is not below 0.05.",
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


def changed_lines(tables: Tables) -> list[str]:
    """What a training changed by kind and layer, and when half of it was there, as lines of the page."""
    half = tables["half"].set_index(["kind", "layer"])
    known = tables["rates"].set_index(["kind", "layer", "samples"])["rate"].sort_index()
    rows = []
    for line in enough(tables["changes"]).to_dict("records"):
        key = line["kind"], line["layer"]
        there = half.loc[key] if line["p_bh"] < 0.05 and line["change"] > 0 else None
        samples = known.loc[key].index
        rows.append(
            [
                *key,
                *(number(float(known[key[0], key[1], one])) for one in (samples.min(), samples.max())),
                number(line["change"], line["low"], line["high"], "{:+.2f}"),
                *(p_value(line["p_bh"]), line["units"]),
                "" if there is None else number(there["samples"], there["low"], there["high"], "{:,.0f}"),
            ]
        )
    names = ["kind", "layer", "first", "last", "change", "p", "prompts", "half of it after samples"]
    return markdown(names, rows)


def figures(tables: Tables) -> dict[str, Figure]:
    """Rates over the training, a line a layer."""
    drawn = draw_points(
        enough(tables["rates"]),
        "kind",
        "samples",
        "layer",
        label="images",
        columns=4,
        title="layer drawn",
    )
    return {"rates": drawn}


def main(
    snapshots: tyro.conf.Positional[Path],
    out: Path = Path("results/over_training"),
    runs: Path = Path("runs/over_training"),
    count: int = 7,
    prompts: int = 24,
    dtype: str = "bfloat16",
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
    asked = experiment(3, dtype, 2) if quick else experiment(prompts, dtype)
    parts = []
    lens = DiffusionLens.from_pretrained("emoji", dtype=dtype, batch_size=64)
    prompts_drawn = bound_prompts(len(asked.prompts.inline))
    for samples, path in choose(snapshots, count).items():
        lens.pipeline.unet.load_state_dict(load_file(path))
        run = runs / path.stem
        parts.append(swapped(draw(asked, run, lens), prompts_drawn).assign(samples=samples))
    runs.mkdir(parents=True, exist_ok=True)
    probes = 2 if quick else PROBED
    path = runs / f"probes-{probes}.parquet"
    probed = kept(path, lambda: probe(DiffusionLens.from_pretrained("emoji"), probes))
    drawn = {**settings_of(run), "snapshots": len(parts)}
    drawn["images"] *= len(parts)
    tables = tabulate(pd.concat(parts, ignore_index=True), probed)
    write_study(out, {"drawn": pd.DataFrame([drawn]), **tables}, page, figures)


if __name__ == "__main__":
    tyro.cli(main)
