"""Figures of the forward and the reverse process, drawn from the tables and arrays of other modules."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from diffusion_lens.anatomy.latents import (
    Noised,
    Reconstruction,
    Reference,
    from_latents,
    latent_colours,
    levels,
)
from diffusion_lens.anatomy.sampling import Trajectory
from diffusion_lens.figures.panels import as_text, draw_images, make_axes, use_style
from diffusion_lens.figures.style import COLOURS

__all__ = [
    "draw_errors",
    "draw_guidance",
    "draw_guidance_effects",
    "draw_noise",
    "draw_reconstruction",
    "draw_schedule",
    "draw_trajectory",
]


def draw_reconstruction(found: Reconstruction, reference: Reference | None = None) -> Figure:
    """Draw pictures, their latents in false colours, and what the decoder makes of them.

    Args:
        found: of `reconstruct`; at most ten pictures look well.
        reference: clean latents that the false colours are taken from, see `latent_colours`.
    """
    rows = [list(found.pictures), list(latent_colours(found.latents, reference)), list(found.decoded)]
    channels, height, width = found.latents.shape[1:]
    side_y, side_x = found.pictures.shape[1:3]
    labels = [
        f"picture\n{side_y}\N{MULTIPLICATION SIGN}{side_x}\N{MULTIPLICATION SIGN}3",
        f"latent\n{height}\N{MULTIPLICATION SIGN}{width}\N{MULTIPLICATION SIGN}{channels}",
        "decoded",
    ]
    values = [f"{value:.0f} dB" for value in found.psnr]
    blank = [""] * len(values)
    return draw_images(rows, labels, cell_labels=[blank, blank, values])


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
            left.annotate(label, (row["time"], row[name]), color=colour,
                          xytext=(4, -4 if below else 2), textcoords="offset points",
                          va="top" if below else "bottom")  # fmt: skip
        left.set(xlabel="time $t$", ylabel="factor", ylim=(0, 1.05), xlim=(0, len(table)))
        right.plot(table["time"], table["log_snr"], color=COLOURS[2])
        right.axhline(0, color="#cccccc", linewidth=0.6, zorder=0)
        right.set(xlabel="time $t$", ylabel=r"$\log\,\alpha_t^2 / \sigma_t^2$", xlim=(0, len(table)))
    return figure


def draw_noise(pipe: Any, noised: Noised, reference: Reference) -> Figure:
    """Draw one latent under more and more noise: decoded, and in false colours.

    Args:
        pipe: whose decoder draws it.
        noised: of `add_noise`.
        reference: clean latents that the false colours are taken from, see `latent_colours`.
    """
    alpha, sigma = (value.flatten().tolist() for value in levels(pipe, noised.times))
    columns = [
        f"$t={time}$\n$\\alpha={a:.2f}$\n$\\sigma={s:.2f}$"
        for time, a, s in zip(noised.times, alpha, sigma, strict=True)
    ]
    rows = [
        list(from_latents(pipe, noised.latents)),
        list(latent_colours(noised.latents, reference)),
    ]
    return draw_images(rows, ["$z_t$, decoded", "$z_t$, in\nfalse colours"], columns)


def draw_errors(table: pd.DataFrame) -> Figure:
    """Draw how far the denoiser is from the truth by time, with the caption and without.

    Bands are 95 % normal intervals of the mean over pictures; on the right those of the paired difference.

    Args:
        table: of `prediction_errors`.
    """
    with use_style():
        figure, (left, right) = make_axes(1, 2, height=2.0)
        colours = {"nothing": COLOURS[1], "caption": COLOURS[0]}
        for told, colour in colours.items():
            rows = table[table["told"] == told]
            _band(left, rows, "error", colour, {"nothing": 'told ""', "caption": "told the caption"}[told])
        left.set(xlabel="time $t$", ylabel="mean squared error", ylim=(0, None))
        left.set_title("error of the prediction", loc="left", fontweight="bold")
        left.legend()
        wide = table.pivot_table(index=["time", "picture"], columns="told", values="error")
        gained = (wide["nothing"] - wide["caption"]).rename("gain").reset_index()
        _band(right, gained, "gain", COLOURS[2], "")
        right.axhline(0, color="#cccccc", linewidth=0.6, zorder=0)
        right.set(xlabel="time $t$", ylabel="difference")
        right.set_title("what the caption takes off it", loc="left", fontweight="bold")
    return figure


def _band(axes: Any, rows: pd.DataFrame, column: str, colour: str, label: str) -> None:
    """A mean by time, with its interval."""
    groups = rows.groupby("time")[column]
    mean = groups.mean()
    half: Any = 1.96 * groups.std() / np.sqrt(groups.size())
    axes.plot(mean.index, mean, color=colour, marker="o", markersize=3, label=label)
    axes.fill_between(mean.index, mean - half, mean + half, color=colour, alpha=0.18, linewidth=0)


def draw_trajectory(
    pipe: Any, found: Trajectory, reference: Reference, steps: Sequence[int] | None = None
) -> Figure:
    """Draw the making of a picture: the state and both estimates that the denoiser gives of it.

    Args:
        pipe: whose decoder draws it.
        found: of `follow`.
        reference: clean latents that the false colours are taken from, see `latent_colours`.
        steps: which steps; seven, evenly spaced, if None.
    """
    if steps is None:
        steps = sorted({round(step) for step in np.linspace(0, len(found.times) - 1, 7)})
    chosen = list(steps)
    rows = [
        list(from_latents(pipe, found.latents[chosen])),
        list(from_latents(pipe, found.clean[chosen])),
        list(latent_colours(found.noise[chosen], reference)),
    ]
    labels = [
        "state $z_t$,\ndecoded",
        "estimate of the\nclean $z_0$, decoded",
        "estimate of the noise,\nin false colours",
    ]
    columns = [f"step {step + 1}\n$t={found.times[step]}$" for step in chosen]
    return draw_images(rows, labels, columns)


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
    """Draw how well pictures fit their prompts, and how they differ between seeds, by guidance scale.

    Args:
        table: of `guidance_effects`.
    """
    with use_style():
        figure, axes = make_axes(1, 2, height=2.1)
        titles = {"fit": "fit to the caption", "diversity": "difference between seeds"}
        for axis, (column, title) in zip(axes, titles.items(), strict=True):
            for index, (prompt, rows) in enumerate(table.groupby("prompt", sort=False)):
                axis.plot(rows["guidance"], rows[column], color=COLOURS[index % len(COLOURS)], marker="o",
                          markersize=3, label=as_text(prompt))  # fmt: skip
            axis.set_xscale("log", base=2)
            axis.set_xticks(sorted(table["guidance"].unique()))
            axis.xaxis.set_major_formatter("{x:g}")
            axis.set(xlabel="guidance scale $w$")
            axis.set_title(title, loc="left", fontweight="bold")
        axes[0].set_ylabel("CLIP cosine similarity")
        axes[1].set(ylabel="1 - cosine similarity", ylim=(0, None))
        axes[0].legend()
    return figure
