"""The figure of Textual Inversion: likeness against editability, as in Gal et al. 2023 (figure 10)."""

import pandas as pd
from matplotlib.figure import Figure

from diffusion_lens.figures.labels import LineEnd, label_ends
from diffusion_lens.figures.panels import make_axes, use_style
from diffusion_lens.figures.style import COLOURS, MARKERS

__all__ = ["draw_textual_inversion"]


def draw_textual_inversion(summary: pd.DataFrame, grid: pd.DataFrame, height: float = 2.6) -> Figure:
    """Draw ways to say a subject on the left, learning rates and numbers of vectors on the right.

    Args:
        summary: means by `measure` and `way`, with intervals; see `experiments.studies.tables.means`.
        grid: means by `measure`, `vectors` and `lr`.
        height: the height in inches.
    """
    with use_style():
        figure, (left, right) = make_axes(1, 2, height=height)
        left.set(xlabel="edits that the oracle sees", ylabel="image similarity")
        right.set(xlabel="text similarity of edited prompts", ylabel="image similarity")
        points = summary.set_index(["measure", "way"])
        ways = [way for way in points.loc["image"].index if ("edit", way) in points.index]
        ends = []
        for index, way in enumerate(ways):
            colour = COLOURS[index % len(COLOURS)]
            x, y = points.loc[("edit", way)], points.loc[("image", way)]
            errors = [[[one["mean"] - one["low"]], [one["high"] - one["mean"]]] for one in (x, y)]
            left.errorbar(
                x["mean"],
                y["mean"],
                xerr=errors[0],
                yerr=errors[1],
                color=colour,
                marker=MARKERS[index % len(MARKERS)],
                linestyle="",
            )
            ends.append(LineEnd(way, x["mean"], y["mean"], colour))
        label_ends(left, ends, height - 0.6)
        left.set_title("ways to say it", loc="left", fontweight="bold")
        right.set_title("learning rates and vectors", loc="left", fontweight="bold")
        if not grid.empty:
            wide = grid.pivot_table(index=["vectors", "lr"], columns="measure", values="mean")
            for index, (vectors, rows) in enumerate(wide.groupby("vectors")):
                label = f"{vectors} vector{'s' * (int(str(vectors)) > 1)}"
                right.plot(
                    rows["text"], rows["image"], color=COLOURS[index], marker=MARKERS[index], label=label
                )
                for lr, row in rows.droplevel("vectors").iterrows():
                    at = (row["text"], row["image"])
                    right.annotate(str(lr), at, fontsize=6, xytext=(3, 3), textcoords="offset points")
            right.legend()
    return figure
