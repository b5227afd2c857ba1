"""Keys of what is kept of a text encoder: a layer, a part of a block, or a layer with a part added."""

import re
from typing import NamedTuple

__all__ = ["SiteKey", "SiteParts", "deepest_layer", "layer_of", "split_site"]

SiteKey = int | str
"""`6`, the hidden state after block 6; `6.attn`, `6.mlp` or `6.head.3`, what that part of block 6 adds to
it; `12+6.attn`, the hidden state after block 12 to which that part is added once more."""

_WRITTEN = re.compile(r"(?:(\d+)\+)?(\d+)\.(attn|mlp|head\.\d+)")


class SiteParts(NamedTuple):
    """What a key is made of.

    Attributes:
        base: the layer that the part is added to; None where it stands alone.
        layer: the layer, or the block whose part it is.
        part: "attn", "mlp", "head.3"; empty for a layer itself.
    """

    base: int | None
    layer: int
    part: str


def split_site(key: SiteKey) -> SiteParts:
    """What a key is made of.

    Raises:
        ValueError: it is written in no known way.
    """
    if isinstance(key, int):
        return SiteParts(None, key, "")
    found = _WRITTEN.fullmatch(key)
    if found is None:
        raise ValueError(f"{key!r} is no key of a site, such as 6.attn or 12+6.attn")
    return SiteParts(None if found[1] is None else int(found[1]), int(found[2]), found[3])


def layer_of(key: SiteKey) -> int:
    """The layer, or the block whose part it is."""
    return split_site(key).layer


def deepest_layer(key: SiteKey) -> int:
    """The block up to which the encoder must run to show it."""
    found = split_site(key)
    return max(found.layer, found.base or 0)
