"""Heat maps side by side: rows are words, columns are layers, a star marks what is beyond chance."""

import pandas as pd
from matplotlib.figure import Figure

from diffusion_lens.figures.style import PAGE, style
from experiments.studies.points import draw_nothing

__all__ = ["draw_grids"]


def draw_grids(
    table: pd.DataFrame,
    panel: str,
    row: str,
    value: str,
    limits: tuple[float, float],
    *,
    label: str,
    p: str = "p_bh",
) -> Figure:
    """Draw one heat map by panel; of no numbers, say so in the figure.

    Args:
        table: one line by panel, row and `layer`, with the number and its adjusted p.
        panel: the column that makes panels.
        row: the column that makes rows, in the order of the table.
        value: the number.
        limits: of the colours.
        label: of the colours.
        p: the column of the adjusted p; a star stands where it is below 0.05.
    """
    if table.empty:
        return draw_nothing()
    panels = list(dict.fromkeys(table[panel]))
    low, high = limits
    with style():
        tall = max(table[table[panel] == one][row].nunique() for one in panels)
        figure = Figure(figsize=(PAGE, 0.9 + 0.17 * tall))
        axes = figure.subplots(1, len(panels), squeeze=False)[0]
        for axis, one in zip(axes, panels, strict=True):
            part = table[table[panel] == one]
            rows, layers = list(dict.fromkeys(part[row])), sorted(part["layer"].unique())
            grid = part.pivot(index=row, columns="layer", values=value).loc[rows, layers]
            cells = axis.pcolormesh(
                grid.to_numpy(dtype=float), cmap="cividis", vmin=low, vmax=high, edgecolors="white"
            )
            for line in part[part[p] < 0.05].to_dict("records"):
                at = layers.index(line["layer"]) + 0.5, rows.index(line[row]) + 0.5
                dark = (line[value] - low) / (high - low) < 0.55
                axis.text(*at, "*", ha="center", va="center", color="white" if dark else "black")
            axis.set_xticks([number + 0.5 for number in range(len(layers))], [str(one) for one in layers])
            axis.set_yticks([number + 0.5 for number in range(len(rows))], rows)
            axis.invert_yaxis()
            axis.set_title(str(one))
            axis.set_xlabel("layer")
            axis.grid(visible=False)
            axis.tick_params(length=0)
        bar = figure.colorbar(cells, ax=axes, aspect=14)
        bar.set_label(f"{label} (* adjusted p < 0.05)")
    return figure
