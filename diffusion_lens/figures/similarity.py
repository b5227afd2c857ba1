"""Figures of similarities: matrices side by side, and words that come near to one word by layer."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from PIL import Image

from diffusion_lens.errors import InputError
from diffusion_lens.figures.labels import LineEnd, label_ends
from diffusion_lens.figures.panels import DPI, as_text, make_axes, text_width, use_style
from diffusion_lens.figures.style import COLOURS, PAGE

__all__ = ["draw_approach", "draw_matrices"]


def draw_matrices(
    matrices: Mapping[str, pd.DataFrame],
    *,
    numbers: bool = True,
    images: Sequence[Image.Image] = (),
    cell: float = 0.42,
) -> Figure:
    """Draw matrices of similarities side by side, on one scale.

    Args:
        matrices: tables by title, all with the same rows and columns.
        numbers: write each value into its cell.
        images: images that take the place of the rows' names.
        cell: side of a cell in inches; smaller where the figure would be wider than the page.

    Raises:
        InputError: no table, tables of different rows or columns, or not one image by row.
    """
    tables = list(matrices.values())
    if not tables or any(not t.axes[i].equals(tables[0].axes[i]) for t in tables for i in (0, 1)):
        raise InputError("Matrices drawn together need the same rows and columns; give one at least.")
    if images and len(images) != len(tables[0]):
        raise InputError(f"{len(images)} images were given for {len(tables[0])} rows.")
    least = min(float(table.to_numpy().min()) for table in tables)
    most = max(float(table.to_numpy().max()) for table in tables)
    rows, columns = tables[0].shape
    names, heads = ([as_text(name) for name in axis] for axis in tables[0].axes)
    # lengths in inches; labels at 45 degrees reach out to the left of their columns
    slants = [text_width([head], 7.0) * 0.71 for head in heads]
    reach = max(slant - (index + 0.5) * cell for index, slant in enumerate(slants))
    left = max(1.1 * cell if images else text_width(names, 7.0) + 0.14, reach + 0.1)
    slanted, right, gap, top = max(slants) + 0.08, 0.75, 0.15, 0.25
    across = len(tables) * columns
    cell = min(cell, (PAGE - left - right - gap * (len(tables) - 1)) / across)
    width = left + across * cell + gap * (len(tables) - 1) + right
    height = top + rows * cell + slanted + 0.12
    with use_style():
        figure = Figure(figsize=(width, height), dpi=DPI)
        for index, (title, table) in enumerate(matrices.items()):
            x, y = left + index * (columns * cell + gap), slanted + 0.12
            place = (x / width, y / height, columns * cell / width, rows * cell / height)
            axis = figure.add_axes(place)
            shown = axis.imshow(table.to_numpy(), vmin=least, vmax=most, cmap="viridis", aspect="auto")
            axis.set_title(as_text(title), fontweight="bold")
            axis.set_xticks(range(columns), heads, rotation=45, ha="right", rotation_mode="anchor")
            axis.set_yticks(range(rows), names if index == 0 and not images else [""] * rows)
            axis.tick_params(length=0)
            axis.spines[:].set_visible(False)
            if numbers:
                _write_numbers(axis, table.to_numpy(), (least + most) / 2)
            if images:
                _draw_beside(axis, images)
        bar = figure.add_axes(((width - right + 0.1) / width, place[1], 0.1 / width, place[3]))
        figure.colorbar(shown, cax=bar, label="cosine similarity").outline.set_visible(False)
    return figure


def _write_numbers(axis: Any, values: np.ndarray, middle: float) -> None:
    for (y, x), value in np.ndenumerate(values):
        colour = "white" if value < middle else "black"
        text = f"{value:.2f}".replace("0.", ".").replace("-", "\N{MINUS SIGN}")
        axis.text(x, y, text, ha="center", va="center", color=colour, fontsize=6)


def _draw_beside(axis: Any, images: Sequence[Image.Image]) -> None:
    """Images at the left of the rows."""
    for y, image in enumerate(images):
        inset = axis.inset_axes((-1.5, y - 0.46, 0.92, 0.92), transform=axis.transData)
        inset.imshow(np.asarray(image))
        inset.set_axis_off()


def draw_approach(table: pd.DataFrame, groups: Mapping[str, Sequence[str]], word: str) -> Figure:
    """Draw how near words come to one word, by layer, each group in a colour.

    Args:
        table: of `WordVectors.approach`.
        groups: the words to draw, by the name of their group.
        word: the one word, for the label.

    Raises:
        InputError: a word that the table does not hold.
    """
    known = set(table["word"])
    with use_style():
        figure, (axis,) = make_axes(height=2.8, width=5.2)
        ends = []
        for number, (name, words) in enumerate(groups.items()):
            colour = COLOURS[number % len(COLOURS)]
            missing = [one for one in words if one not in known]
            if missing:
                raise InputError(
                    f"The table holds no {', '.join(missing)}; it holds {', '.join(sorted(known))}."
                )
            for index, one in enumerate(words):
                rows = table[table["word"] == one].sort_values("layer")
                axis.plot(
                    rows["layer"],
                    rows["similarity"],
                    color=colour,
                    marker="o",
                    markersize=2.5,
                    label=as_text(name) if index == 0 else None,
                )
                end = rows.iloc[-1]
                ends.append(LineEnd(as_text(one), float(end["layer"]), float(end["similarity"]), colour))
        axis.set(xlabel="layer", ylabel=f'cosine similarity to "{as_text(word)}"')
        label_ends(axis, ends, height=2.2)
        axis.set_xticks(sorted(table["layer"].unique()))
        axis.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=len(groups))
    return figure
