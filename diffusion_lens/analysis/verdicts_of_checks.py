"""Where a check of a prompt is lost: from the rates of its images by layer and what probes read."""

from collections.abc import Mapping
from typing import Literal

from diffusion_lens.analysis.decodable import Decodability

__all__ = ["READABLE", "VERDICTS", "Verdict", "find_verdict"]

Verdict = Literal[
    "drawn",
    "drawn and lost",
    "never decodable",
    "lost in the encoder",
    "decodable, not drawn",
    "lost in the denoiser",
    "not drawn",
    "not judged",
]

READABLE = 0.7
"""The share of held-out captions from which on a check counts as decodable. Chance is a half, which the 80
captions of 40 pairs exceed as far at one layer in four thousand."""

VERDICTS: Mapping[Verdict, str] = {
    "drawn": "the pipeline's own images show it",
    "drawn and lost": "an earlier layer draws it and the layer that the pipeline reads does not",
    "never decodable": "no layer's states hold it: probes miss it in 30 % of captions, or in this prompt",
    "lost in the encoder": "an earlier layer's states hold it and those that the pipeline reads do not",
    "decodable, not drawn": "the states that the pipeline reads hold it, and no image of them shows it",
    "lost in the denoiser": "one and the same conditioning shows it for some noise and not for other",
    "not drawn": "no image of what the pipeline reads shows it; whether states hold it is not known",
    "not judged": "the scorer can't tell",
}
"""What each verdict means."""


def find_verdict(
    rates: Mapping[int, float],
    native: float,
    read: Decodability | None,
    native_layer: int,
    *,
    enough: float = 0.75,
    readable: float = READABLE,
) -> tuple[Verdict, int | None]:
    """Where a check is lost, and the layer that shows it best.

    Args:
        rates: share of right images of each layer.
        native: that of what the pipeline itself reads.
        read: what probes read; None where it is not known.
        native_layer: the layer that the pipeline reads.
        enough: the share of right images from which on a check counts as drawn.
        readable: the share of held-out captions from which on a check counts as decodable.

    Returns:
        The verdict, and the earlier layer with the highest rate where that draws it, or the last layer that
        holds it where the encoder loses it.
    """
    if native != native:
        return "not judged", None
    if native >= enough:
        return "drawn", None
    before = {layer: rate for layer, rate in rates.items() if layer < native_layer and rate == rate}
    best = max(before, key=lambda layer: (before[layer], layer), default=None)
    if best is not None and before[best] >= enough:
        return "drawn and lost", best
    if read is not None and native_layer not in (holding := read.layers(readable)):
        if not holding:
            return "never decodable", None
        return "lost in the encoder", holding[-1]
    if native > 0:
        return "lost in the denoiser", None
    return ("not drawn" if read is None else "decodable, not drawn"), None
