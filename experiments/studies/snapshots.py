"""What studies over a training share: drawing with snapshots of the denoiser, and when a thing is learned.

A folder of snapshots (`diffusion-lens testbed train --keep-every`) holds the averaged weights of the
denoiser of `emoji` after so many samples of its training, NNNNNNN.safetensors: the state of a
`UNet2DConditionModel` in half precision. The text encoder is frozen.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from safetensors.torch import load_file

from diffusion_lens.analysis.markdown import markdown, number, p_value
from diffusion_lens.analysis.statistics import rates, totals
from diffusion_lens.errors import InputError
from diffusion_lens.lens.lens import DiffusionLens
from diffusion_lens.runs.experiment import Experiment
from experiments.studies.drawn import draw, settings_of
from experiments.studies.pages import Tables, enough
from experiments.studies.points import draw_points

__all__ = [
    "LAYERS",
    "changed_lines",
    "choose",
    "draw_snapshots",
    "experiment",
    "figures",
    "halfway",
    "halves",
]

LAYERS = (0, 2, 4, 6)


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


def experiment(prompts: Sequence[str], dtype: str, steps: int | None = None) -> Experiment:
    """What is drawn with each snapshot."""
    data = {
        "model": "emoji",
        "prompts": list(prompts),
        "layers": list(LAYERS),
        "noise": "own",
        "machine": {"dtype": dtype},
        "sampler": {} if steps is None else {"steps": steps},
    }
    return Experiment.from_dict(data)


def draw_snapshots(
    asked: Experiment, snapshots: Path, runs: Path, count: int
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Draw an experiment with snapshots of the denoiser of `emoji`.

    Args:
        asked: of `experiment`.
        snapshots: the folder of snapshots.
        runs: a folder for a run of each.
        count: how many of the snapshots, as `choose` takes them.

    Returns:
        The answers, as `drawn.draw` gives them, with the column `samples`; and the table `drawn`.
    """
    lens = DiffusionLens.from_pretrained("emoji", dtype=asked.machine.dtype, batch_size=64)
    parts = []
    for samples, path in choose(snapshots, count).items():
        lens.pipeline.unet.load_state_dict(load_file(path))
        parts.append(draw(asked, runs / path.stem, lens).assign(samples=samples))
    drawn = {**settings_of(runs / path.stem), "snapshots": len(parts)}
    drawn["images"] *= len(parts)
    return pd.concat(parts, ignore_index=True), pd.DataFrame([drawn])


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


def changed_lines(tables: Tables) -> list[str]:
    """The section on what a training changed by kind and layer, and when half of it was there."""
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
    return [
        "## What the training changed",
        "",
        "Last snapshot less first, on the same prompts and noise; p adjusted over this table "
        "(Benjamini-Hochberg). Half of it: after how many samples half of the gain is there for the first "
        "time, with an interval over resampled prompts; left out where the adjusted p is not below 0.05.",
        "",
        *markdown(names, rows),
    ]


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
