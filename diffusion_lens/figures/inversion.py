"""The figures of learned words: likeness against editability, as Gal et al. 2023 plot them (figure 10)."""

import pandas as pd
from matplotlib.figure import Figure

from diffusion_lens.errors import InputError
from diffusion_lens.figures.panels import make_axes, use_style
from diffusion_lens.figures.style import COLOURS, MARKERS

__all__ = ["draw_words"]

_LABELS = {"text": "text similarity of edited prompts", "edit": "edits that the oracle sees"}


def draw_words(summary: pd.DataFrame, grid: pd.DataFrame, height: float = 2.6) -> Figure:
    """Draw words, captions and reference points on the left, rates and numbers of vectors on the right.

    Args:
        summary: of `diffusion_lens.learning.study.summarise`.
        grid: of `diffusion_lens.learning.study.study`; means over its concepts are drawn.
        height: in inches.

    Raises:
        InputError: the summary is empty.
    """
    if summary.empty:
        raise InputError("The summary of learned words has no rows.")
    with use_style():
        figure, (left, right) = make_axes(1, 2, height=height)
        for axes, measure in ((left, "edit"), (right, "text")):
            axes.set(xlabel=_LABELS[measure], ylabel="image similarity")
        points = summary.set_index(["measure", "way"])
        for index, way in enumerate(points.loc["image"].index):
            x, y = points.loc[("edit", way)], points.loc[("image", way)]
            errors = [[[one["mean"] - one["low"]], [one["high"] - one["mean"]]] for one in (x, y)]
            left.errorbar(
                x["mean"], y["mean"], xerr=errors[0], yerr=errors[1], color=COLOURS[index],
                marker=MARKERS[index], linestyle="", label=way,
            )  # fmt: skip
        left.legend()
        left.set_title("words and captions", loc="left", fontweight="bold")
        right.set_title("rates and vectors", loc="left", fontweight="bold")
        if not grid.empty:
            means = grid.pivot_table(index=["vectors", "rate"], columns="measure", values="value")
            for index, (vectors, rows) in enumerate(means.groupby("vectors")):
                right.plot(rows["text"], rows["image"], color=COLOURS[index], marker=MARKERS[index],
                           label=f"{vectors} vector{'s' * (int(str(vectors)) > 1)}")  # fmt: skip
                for rate, row in rows.droplevel("vectors").iterrows():
                    right.annotate(str(rate), (row["text"], row["image"]), fontsize=6,
                                   xytext=(3, 3), textcoords="offset points")  # fmt: skip
            right.legend()
    return figure
