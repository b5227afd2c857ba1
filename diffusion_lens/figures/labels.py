"""Names of lines at their ends, pushed apart where they would overlap."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection

__all__ = ["LABEL_SIZE", "LineEnd", "label_ends", "label_height", "label_width"]

LABEL_SIZE = 6.5  # points
# of the letters' size: from one label to the next; the width of a letter
_PER_LINE, _LETTER = 1.25, 0.55
_TEXT_AT = 1.06  # where a name begins, in widths of the panel


class LineEnd(NamedTuple):
    """Where a line ends, in the data's units, and what it is called."""

    name: str
    x: float
    y: float
    colour: str


def label_height(lines: int) -> float:
    """Inches that the labels of so many lines take, one under the other."""
    return lines * LABEL_SIZE * _PER_LINE / 72


def label_width(names: Iterable[str]) -> float:
    """Inches that the longest of the names takes, with its line."""
    return 0.15 + max(map(len, names)) * LABEL_SIZE * _LETTER / 72


def label_ends(axis: Axes, ends: Sequence[LineEnd], height: float) -> None:
    """Write each line's name right of the panel, as near to its end as the other names allow.

    A thin line leads from the end to the name. The least sum of squared shifts that keeps the names apart
    is an isotonic regression.

    Args:
        axis: a panel whose limits are set.
        ends: of its lines.
        height: of the panel, in inches, as far as is known; letters are smaller where it is too low.
    """
    from scipy.optimize import isotonic_regression  # slow to import

    if not ends:
        return
    ends = sorted(ends, key=lambda end: end.y)
    low, high = axis.get_ylim()
    step = min(label_height(1) / height, 1 / len(ends))
    steps = step * np.arange(len(ends))
    wanted = np.array([(end.y - low) / (high - low) for end in ends]) - steps
    places = np.clip(isotonic_regression(wanted).x, 0, max(0, 1 - steps[-1])) + steps
    # one collection of lines: an arrow of matplotlib takes as long to lay out and draw as a whole panel
    axis.get_xlim()  # brings the limits up to date
    starts = (axis.transData - axis.transAxes).transform([(end.x, end.y) for end in ends])
    colours = [end.colour for end in ends]
    lines = [[start, (_TEXT_AT, place)] for start, place in zip(starts, places, strict=True)]
    leading = LineCollection(lines, colors=colours, linewidths=0.4, transform=axis.transAxes, clip_on=False)
    axis.add_collection(leading, autolim=False)
    for end, place in zip(ends, places, strict=True):
        axis.text(
            _TEXT_AT,
            place,
            end.name,
            transform=axis.transAxes,
            fontsize=step * height * 72 / _PER_LINE,
            color=end.colour,
            va="center",
        )
