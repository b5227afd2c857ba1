"""How far two text encoders, and the images drawn from them, differ at each layer."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from diffusion_lens.errors import InputError
from diffusion_lens.figures.style import COLUMN, line_style, style

__all__ = ["draw_encoders"]

_MEASURES = {
    "state_difference": "hidden states, relative",
    "image_difference": "images, of a pixel's range",
}


def draw_encoders(table: pd.DataFrame, names: Sequence[str], amount: float) -> Figure:
    """Draw the mean difference of hidden states and of images by layer, on a scale of powers of ten.

    Values of 0 can't stand on such a scale; a layer where nothing differs has no mark.

    Args:
        table: one row a layer: `column`, its label, `state_difference` and `image_difference`.
        names: what the two encoders are called.
        amount: the difference that counts as one, drawn as a line.

    Raises:
        InputError: there is nothing to draw.
    """
    if not len(table):
        raise InputError("There is nothing to draw: the table has no layer.")
    places = np.arange(len(table))
    with style():
        figure = Figure(figsize=(max(COLUMN, 1.2 + 0.25 * len(table)), 2.6))
        axis = figure.subplots()
        smallest = [amount]
        for number, (name, label) in enumerate(_MEASURES.items()):
            values = table[name].to_numpy(dtype=float)
            known = np.where(values > 0, values, np.nan)
            smallest += known[np.isfinite(known)].tolist()
            axis.plot(places, known, label=label, **line_style(number))
        axis.axhline(amount, color="#808080", linewidth=0.8, linestyle=":", label=f"differs: {amount:g}")
        axis.set_yscale("log")
        axis.set_ylim(bottom=min(smallest) / 2)
        axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.yaxis.set_minor_locator(NullLocator())
        axis.set_xticks(places, [str(one).replace(", ", "\n") for one in table["column"]])
        axis.set_xlabel("layer")
        axis.set_ylabel("difference")
        axis.set_title(" and ".join(names))
        figure.legend(loc="outside lower center", ncols=2)
    return figure
