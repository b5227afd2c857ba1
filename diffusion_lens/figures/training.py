"""Training curves, from the logs of `diffusion-lens testbed train`."""

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from diffusion_lens.errors import InputError
from diffusion_lens.figures.panels import PALE, make_axes, use_style
from diffusion_lens.figures.style import COLOURS

__all__ = ["collect_logs", "draw_training", "read_training", "thin"]

COLUMNS = ("model", "stage", "step", "seconds", "samples", "loss", "lr", "samples_per_second", "validation")
# what the two numbers of a log are, by stage: the loss, the validation, and the latter's axis
MEANING = {
    "autoencoder": ("loss", "PSNR on new scenes (dB)"),
    "clip": ("contrastive loss", "right caption chosen"),
    "distil": ("missed variance, and the hold", "missed variance on new captions"),
    "diffusion": ("error of $v$", "error of $v$ on new scenes"),
    "joint": ("error of $v$, and the hold", "error of $v$ on new scenes"),
}


def collect_logs(logs: Mapping[tuple[str, str], str | os.PathLike[str]], rows: int = 100) -> pd.DataFrame:
    """Put logs into one table, thinned.

    Args:
        logs: paths of the CSV files that training wrote, by (model, stage).
        rows: about how many rows of each to keep, see `thin`.

    Returns:
        the columns of the logs, after `model` and `stage`.

    Raises:
        InputError: a file is no such log.
    """
    parts = []
    for (model, stage), path in logs.items():
        thinned = thin(_read(path, COLUMNS[2:]), rows)
        thinned.insert(0, "model", model)
        thinned.insert(1, "stage", stage)
        parts.append(thinned)
    return pd.concat(parts, ignore_index=True)


def read_training(path: str | os.PathLike[str]) -> pd.DataFrame:
    """Read a table that `collect_logs` made and `DataFrame.to_csv` wrote.

    Raises:
        InputError: it can't be read or lacks a column.
    """
    return _read(path, COLUMNS)


def _read(path: str | os.PathLike[str], columns: tuple[str, ...]) -> pd.DataFrame:
    try:
        table = pd.read_csv(Path(path))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} can't be read as a training log ({error}).") from error
    missing = [name for name in columns if name not in table]
    if missing:
        raise InputError(f"{path} is no training log: it has no column {', '.join(missing)}.")
    return table


def thin(table: pd.DataFrame, rows: int) -> pd.DataFrame:
    """Fewer rows of one log: neighbours are merged, no loss is left out, every validation is kept.

    Losses and speeds are the means of the rows merged; a validation ends its group, so that it stands at
    its own step.

    Args:
        table: one log, in order of its steps.
        rows: about how many to make; validations add to them.

    Raises:
        InputError: fewer than one row is asked for.
    """
    if rows < 1:
        raise InputError(f"{rows} rows can't be kept; ask for one or more.")
    size = max(1, -(-len(table) // rows))
    ends = table["validation"].notna().shift(fill_value=False).cumsum()
    lengths = table.groupby(ends)["step"].transform("size")
    # what is left over goes to the last whole group, so that no row is the mean of a few
    within = (table.groupby(ends).cumcount() // size).clip(upper=(lengths // size - 1).clip(lower=0))
    groups = table.groupby([ends.rename("validated"), within.rename("part")], sort=True)
    merged = groups.agg(
        {name: "mean" if name in ("loss", "samples_per_second") else "last" for name in table.columns}
    ).reset_index(drop=True)
    merged["loss"] = merged["loss"].round(5)
    merged["samples_per_second"] = merged["samples_per_second"].round(1)
    merged["lr"] = merged["lr"].map(lambda rate: float(f"{rate:.4g}"))
    merged["validation"] = merged["validation"].round(5)
    return merged


def draw_training(table: pd.DataFrame, height: float = 2.2) -> Figure:
    """Draw the loss and the validation of each model and stage by the samples seen.

    The few highest losses of a log, those of its first steps, are cut off.

    Args:
        table: of `collect_logs` or `read_training`.
        height: of a row of panels in inches.

    Raises:
        InputError: the table is empty.
    """
    if table.empty:
        raise InputError("The table of training has no rows.")
    logs = list(table.groupby(["model", "stage"], sort=False))
    with use_style():
        figure, axes = make_axes(len(logs), 2, height=height * len(logs))
        for index, ((model, stage), rows) in enumerate(logs):
            left, right = axes[2 * index : 2 * index + 2]
            loss, validation = MEANING.get(str(stage), ("loss", "validation"))
            samples = rows["samples"] / 1000
            # a tenth of the log at a time
            smooth = rows["loss"].rolling(max(1, len(rows) // 10), center=True, min_periods=1).mean()
            left.plot(samples, rows["loss"], color=PALE, linewidth=0.6, alpha=0.7, label="log")
            left.plot(samples, smooth, color=COLOURS[0], label="running mean")
            low, high = np.nanquantile(rows["loss"], [0, 0.97])
            left.set(xlabel="thousand samples", ylabel=loss, ylim=(low - 0.08 * (high - low), high * 1.06))
            left.set_title(f"{model}: {stage}", loc="left", fontweight="bold")
            left.legend()
            known = rows.dropna(subset="validation")
            right.plot(
                known["samples"] / 1000, known["validation"], color=COLOURS[1], marker="o", markersize=3
            )
            right.set(xlabel="thousand samples", ylabel=validation, xlim=left.get_xlim())
    return figure
