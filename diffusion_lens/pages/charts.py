"""Curves by layer as the geometry of a drawing, which a template makes an SVG of."""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

__all__ = ["Chart", "Line", "Point", "curve_chart"]

WIDTH, HEIGHT = 560, 280
LEFT, RIGHT, TOP, BOTTOM = 44, 128, 14, 38
_LABEL = 15
_ASIDE = 2.5
_NUMBERS = ["layer", "rate", "low", "high"]


@dataclass(frozen=True)
class Point:
    """One rate: where it is drawn, and the numbers themselves."""

    x: float
    y: float
    y_low: float
    y_high: float
    layer: int
    rate: float
    low: float
    high: float


@dataclass(frozen=True)
class Line:
    """One curve.

    Attributes:
        label: its name, written at its end.
        style: index of its colour, dash and marker, its own within the chart.
        points: by layer.
        label_y: where its name stands, so that no two names touch.
        prompts: how many it rests on.
    """

    label: str
    style: int
    points: tuple[Point, ...]
    label_y: float
    prompts: int

    @property
    def path(self) -> str:
        """The line as SVG path data."""
        return "M" + "L".join(f"{one.x:.1f},{one.y:.1f}" for one in self.points)

    @property
    def area(self) -> str:
        """Its intervals as a closed SVG path; empty where it has none."""
        known = [one for one in self.points if one.low == one.low and one.high == one.high]
        if len(known) < 2:
            return ""
        above = "L".join(f"{one.x:.1f},{one.y_high:.1f}" for one in known)
        below = "L".join(f"{one.x:.1f},{one.y_low:.1f}" for one in reversed(known))
        return f"M{above}L{below}Z"


@dataclass(frozen=True)
class Chart:
    """Curves that share axes.

    Attributes:
        lines: the curves.
        ticks: place and text of the layers.
        rates: place and text of the rates.
    """

    lines: tuple[Line, ...]
    ticks: tuple[tuple[float, str], ...]
    rates: tuple[tuple[float, str], ...]
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH - RIGHT
    top: int = TOP
    bottom: int = HEIGHT - BOTTOM


def curve_chart(curves: pd.DataFrame, label: str) -> Chart | None:
    """Draw rates of 0 to 1 by layer.

    Args:
        curves: `layer`, `rate`, `low`, `high`, `prompts` and the column that tells curves apart; of one
            run, encoder and scorer.
        label: that column.

    Returns:
        The chart; None where no rate is known.
    """
    known = curves[curves["rate"].notna()]
    if known.empty:
        return None
    layers = sorted(int(layer) for layer in known["layer"].unique())
    first, last = layers[0], max(layers[-1], layers[0] + 1)

    def x(layer: int | float) -> float:
        return LEFT + (layer - first) / (last - first) * (WIDTH - LEFT - RIGHT)

    def y(rate: float) -> float:
        return TOP + (1 - rate) * (HEIGHT - TOP - BOTTOM)

    drawn = []
    groups = list(known.groupby(label, sort=False))
    for style, (name, group) in enumerate(groups):
        aside = _ASIDE * (style - (len(groups) - 1) / 2)  # so that no mark hides another's
        numbers = group.sort_values("layer")[_NUMBERS].astype(float).to_numpy().tolist()
        points = tuple(
            Point(x(layer) + aside, y(rate), y(low), y(high), int(layer), rate, low, high)
            for layer, rate, low, high in numbers
        )
        drawn.append((str(name), style, points, int(group["prompts"].max())))
    places = _apart([points[-1].y for _, _, points, _ in drawn])
    lines = tuple(
        Line(name, style, points, place, prompts)
        for (name, style, points, prompts), place in zip(drawn, places, strict=True)
    )
    every = max(1, -(-len(layers) // 13))
    ticks = tuple((x(layer), str(layer)) for layer in layers[::every])
    rates = tuple((y(rate), f"{rate:.0%}") for rate in (0.0, 0.25, 0.5, 0.75, 1.0))
    return Chart(lines, ticks, rates)


def _apart(places: Sequence[float]) -> list[float]:
    """Move labels so that no two are closer than a line of text, and all stay in the chart."""
    order = sorted(range(len(places)), key=lambda i: places[i])
    moved = list(places)
    lowest = float(TOP)
    for i in order:
        moved[i] = max(moved[i], lowest)
        lowest = moved[i] + _LABEL
    over = lowest - _LABEL - (HEIGHT - BOTTOM)
    for i in reversed(order) if over > 0 else ():
        moved[i] = min(moved[i], float(HEIGHT - BOTTOM - _LABEL * (len(order) - 1 - order.index(i))))
    return moved
