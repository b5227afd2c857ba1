"""The figure of latent inversion: what R reads, and what its uses achieve, on one page."""

from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from diffusion_lens.figures.style import PAGE, line_style, style

__all__ = ["draw_latent_inversion"]

Looks = Mapping[str, dict[str, Any]]
_CYCLE = {"retrieved": "prompt is the nearest", "error": "error"}  # what is drawn by layer, in words
CHECKS = ("object", "colour", "size", "count", "relation", "place")


def draw_latent_inversion(rates: pd.DataFrame) -> Figure:
    """Draw rates with their intervals, one panel for each part of the study.

    Args:
        rates: the summary of `experiments.studies.latent_inversion`.
    """
    plain = rates[rates["group"].isin(("", "seen"))]
    retrieved = rates[(rates["part"] == "retrieved") & (rates["check"] == "retrieved")]
    retrieved = retrieved.assign(check=retrieved["group"])
    refined = _starts(plain[(plain["part"] == "refined") & (plain["check"] == "error")])
    shown = {
        part: plain[(plain["part"] == part) & plain["check"].isin(CHECKS)]
        for part in ("redrawn", "edited", "personalised")
    }
    named = [*(part["source"] for part in (*shown.values(), retrieved)), refined["start"]]
    looks = _looks([*pd.concat(named), *_CYCLE.values()])
    with style():
        figure = Figure(figsize=(PAGE, 4.8))
        axes = figure.subplots(2, 3)
        for axis, part, title in (
            (axes[0, 0], "redrawn", "Rendered scenes drawn again"),
            (axes[0, 1], "edited", "Another colour"),
            (axes[0, 2], "personalised", "A subject in another place"),
        ):
            _dots(axis, shown[part], looks)
            axis.set_title(title)
        _dots(axes[1, 0], retrieved, looks)
        axes[1, 0].set_title("True caption is the nearest")
        _cycle(axes[1, 1], plain[plain["part"] == "cycle"], looks)
        _refined(axes[1, 2], refined, looks)
    return figure


def _looks(sources: Iterable[str]) -> Looks:
    """Colour, marker and dash by source: the same in every panel, and no two alike."""
    return {source: line_style(number) for number, source in enumerate(dict.fromkeys(sources))}


def _starts(part: pd.DataFrame) -> pd.DataFrame:
    """The rows of the optimised states, with the start and the number of steps that their source names."""
    named = part["source"].str.extract(r"(?P<start>.*), (?P<steps>\d+) steps").astype({"steps": int})
    return part.assign(start=named["start"], steps=named["steps"])


def _dots(axis: Axes, part: pd.DataFrame, looks: Looks) -> None:
    """One row for each check, one mark with its interval for each source."""
    checks = list(dict.fromkeys(sorted(part["check"], key=_place)))
    sources = list(part.groupby("source", sort=False))
    for number, (source, rows) in enumerate(sources):
        lower = 0.7 * ((number + 0.5) / len(sources) - 0.5)
        at = [checks.index(check) - lower for check in rows["check"]]
        look = looks[str(source)] | {"linestyle": ""}
        axis.hlines(at, rows["low"], rows["high"], color=look["color"], linewidth=1)
        axis.plot(rows["mean"], at, **look, label=source, clip_on=False)
    axis.set_yticks(range(len(checks)), checks)
    axis.set_xlim(0, 1)
    axis.set_ylim(-0.5, len(checks) - 0.5)
    columns = 2 if len(sources) > 3 else 1
    axis.legend(loc="upper left", bbox_to_anchor=(-0.2, -0.12), ncols=columns, columnspacing=0.8)


def _place(check: str) -> int:
    return CHECKS.index(check) if check in CHECKS else -1


def _cycle(axis: Axes, part: pd.DataFrame, looks: Looks) -> None:
    """The cycle by layer: the share of prompts that are the nearest, and the error."""
    for check, label in _CYCLE.items():
        look = looks[label]
        rows = part[part["check"] == check]
        layer = rows["source"].str.removeprefix("layer ").astype(int)
        rows = rows.assign(layer=layer).sort_values("layer")
        axis.fill_between(rows["layer"], rows["low"], rows["high"], color=look["color"], alpha=0.2)
        axis.plot(rows["layer"], rows["mean"], **look, label=label)
    axis.set_title("The cycle by layer")
    axis.set_xlabel("layer")
    axis.set_ylim(0, None)
    axis.legend()


def _refined(axis: Axes, part: pd.DataFrame, looks: Looks) -> None:
    """The denoiser's error by steps of optimisation, one line for each start."""
    for start, rows in part.groupby("start", sort=False):
        look, rows = looks[str(start)], rows.sort_values("steps")
        axis.fill_between(rows["steps"], rows["low"], rows["high"], color=look["color"], alpha=0.15)
        axis.plot(rows["steps"], rows["mean"], **look, label=start)
    axis.set_title("Optimised, from a start")
    axis.set_xlabel("steps")
    axis.set_ylabel("denoising error")
    axis.legend()
