"""Layers that an intervention is limited to, as one text: `3`, `2:5` with both ends, `1;3`."""

import re

from diffusion_lens.errors import InputError, LayerError
from diffusion_lens.models.site_keys import SiteKey, layer_of

__all__ = ["LayerSet", "check_layers", "holds_layer", "write_layers"]

LayerSet = str | int | list[int] | tuple[int, ...] | range
"""Layers; the empty text is all of them."""

_PART = re.compile(r"(\d{1,6})(?::(\d{1,6}))?")


def write_layers(given: LayerSet) -> str:
    """Layers as their one written form.

    Raises:
        InputError: they are written in no known way.
    """
    parts = (
        given.split(";") if isinstance(given, str) else [given] if isinstance(given, int) else list(given)
    )
    written = [str(part).strip() for part in parts if str(part).strip()]
    for part in written:
        found = _PART.fullmatch(part)
        if found is None or (found[2] and int(found[2]) < int(found[1])):
            raise InputError(f"{part!r} is no layer of an intervention. Write 3, 2:5 (both ends), or 1;3.")
    return ";".join(written)


def holds_layer(layers: str, layer: SiteKey) -> bool:
    """Whether a layer, or the block of a part, is one of those written; the empty text holds all."""
    number = layer_of(layer)
    return not layers or any(first <= number <= last for first, last in _ranges(layers))


def check_layers(intervention: str, layers: str, encoder: str, depth: int) -> None:
    """Refuse layers that an encoder lacks.

    Raises:
        LayerError: it has fewer blocks.
    """
    for _, last in _ranges(layers) if layers else ():
        if last > depth:
            raise LayerError(
                f"{intervention} names layer {last}, and {encoder} has layers 0 to {depth}. Name one of "
                "these."
            )


def _ranges(layers: str) -> list[tuple[int, int]]:
    found = [part.partition(":") for part in layers.split(";")]
    return [(int(first), int(last or first)) for first, _, last in found]
