"""Figures of the forward and the reverse process, drawn from tables of the room `anatomy`."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from diffusion_lens.figures.panels import as_text, draw_images, make_axes, use_style
from diffusion_lens.figures.style import COLOURS

__all__ = ["draw_errors", "draw_guidance", "draw_guidance_effects", "draw_schedule"]


def draw_schedule(table: pd.DataFrame) -> Figure:
    """Draw what remains of a latent, and the noise, by time.

    Args:
        table: of `schedule`.
    """
    with use_style():
        figure, (left, right) = make_axes(1, 2, height=1.9)
        left.plot(table["time"], table["alpha"], color=COLOURS[0])
        left.plot(table["time"], table["sigma"], color=COLOURS[1])
        row = table.iloc[6 * len(table) // 10]
        for name, label, colour in (
            ("alpha", "signal $\\alpha_t$", COLOURS[0]),
            ("sigma", "noise $\\sigma_t$", COLOURS[1]),
        ):
            below = name == "sigma"
            left.annotate(
                label,
                (row["time"], row[name]),
                color=colour,
                xytext=(4, -4 if below else 2),
                textcoords="offset points",
                va="top" if below else "bottom",
            )
        left.set(xlabel="time $t$", ylabel="factor", ylim=(0, 1.05), xlim=(0, len(table)))
        right.plot(table["time"], table["log_snr"], color=COLOURS[2])
        right.axhline(0, color="#cccccc", linewidth=0.6, zorder=0)
        right.set(xlabel="time $t$", ylabel=r"$\log\,\alpha_t^2 / \sigma_t^2$", xlim=(0, len(table)))
    return figure


def draw_errors(table: pd.DataFrame) -> Figure:
    """Draw how far the denoiser is from the truth by time, with the caption and without.

    Bands are 95 % normal intervals of the mean over images; on the right those of the paired difference.

    Args:
        table: of `prediction_errors`.
    """
    with use_style():
        figure, (left, right) = make_axes(1, 2, height=2.0)
        for given, colour, label in (
            ("nothing", COLOURS[1], "with the empty caption"),
            ("caption", COLOURS[0], "with the caption"),
        ):
            _band(left, table[table["given"] == given], "error", colour, label)
        left.set(xlabel="time $t$", ylabel="mean squared error", ylim=(0, None))
        left.set_title("error of the prediction", loc="left", fontweight="bold")
        left.legend()
        wide = table.pivot_table(index=["time", "image"], columns="given", values="error")
        gained = (wide["nothing"] - wide["caption"]).rename("gain").reset_index()
        _band(right, gained, "gain", COLOURS[2], "")
        right.axhline(0, color="#cccccc", linewidth=0.6, zorder=0)
        right.set(xlabel="time $t$", ylabel="difference")
        right.set_title("difference that the caption makes", loc="left", fontweight="bold")
    return figure


def _band(axes: Any, rows: pd.DataFrame, column: str, colour: str, label: str) -> None:
    """A mean by time, with its interval."""
    groups = rows.groupby("time")[column]
    mean = groups.mean()
    half: Any = 1.96 * groups.std() / np.sqrt(groups.size())
    axes.plot(mean.index, mean, color=colour, marker="o", markersize=3, label=label)
    axes.fill_between(mean.index, mean - half, mean + half, color=colour, alpha=0.18, linewidth=0)


def draw_guidance(table: pd.DataFrame) -> Figure:
    """Draw prompts and seeds in rows, guidance scales in columns.

    Args:
        table: of `sweep_guidance`.
    """
    scales = list(dict.fromkeys(table["guidance"]))
    keys = list(dict.fromkeys(zip(table["prompt"], table["seed"], strict=True)))
    images = table.set_index(["prompt", "seed", "guidance"])["image"]
    rows = [[images.loc[(prompt, seed, scale)] for scale in scales] for prompt, seed in keys]
    labels = [f"{as_text(prompt)}\nseed {seed}" for prompt, seed in keys]
    return draw_images(rows, labels, [f"$w={scale:g}$" for scale in scales])


def draw_guidance_effects(table: pd.DataFrame) -> Figure:
    """Draw how well images fit their prompts, and how they differ between seeds, by guidance scale.

    Args:
        table: of `guidance_effects`.
    """
    with use_style():
        figure, axes = make_axes(1, 2, height=2.1)
        titles = {"fit": "fit to the caption", "diversity": "difference between seeds"}
        for axis, (column, title) in zip(axes, titles.items(), strict=True):
            for index, (prompt, rows) in enumerate(table.groupby("prompt", sort=False)):
                axis.plot(
                    rows["guidance"],
                    rows[column],
                    color=COLOURS[index % len(COLOURS)],
                    marker="o",
                    markersize=3,
                    label=as_text(prompt),
                )
            axis.set_xscale("log", base=2)
            axis.set_xticks(sorted(table["guidance"].unique()))
            axis.xaxis.set_major_formatter("{x:g}")
            axis.set(xlabel="guidance scale $w$")
            axis.set_title(title, loc="left", fontweight="bold")
        axes[0].set_ylabel("CLIP cosine similarity")
        axes[1].set(ylabel="1 - cosine similarity", ylim=(0, None))
        axes[0].legend()
    return figure
