"""`DirectionFile`: a steering direction of each layer of a text encoder, as a safetensors file.

    <encoder>                 the direction at each layer, `[layer, width]`, one tensor an encoder
    metadata "direction"      JSON: the pairs of prompts, and of each encoder its fingerprint and layers

The file's digest is part of the id of every intervention that uses it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from diffusion_lens.errors import InputError, LayerError
from diffusion_lens.models.site_keys import SiteKey
from diffusion_lens.text.described_files import DAMAGED, DescribedFile

if TYPE_CHECKING:
    import torch

__all__ = ["DIRECTION", "DirectionFile"]

DIRECTION = DescribedFile("direction", "a direction", "Make it with fit_direction(...).save(path).")
"""The kind of file."""


@dataclass(frozen=True, eq=False)
class DirectionFile:
    """Directions of one or more encoders.

    Attributes:
        pairs: the prompts that they were made of.
        fingerprints: of each encoder.
        layers: the layers of each encoder, one by row.
        vectors: the directions, `[layer, width]`, by encoder.
    """

    pairs: tuple[tuple[str, str], ...]
    fingerprints: Mapping[str, str]
    layers: Mapping[str, tuple[int, ...]]
    vectors: Mapping[str, torch.Tensor]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the file.

        Raises:
            OutputError: it can't be written.
        """
        described = {"pairs": self.pairs, "fingerprints": self.fingerprints, "layers": self.layers}
        DIRECTION.write(path, described, self.vectors)

    @classmethod
    def load(cls, path: str | os.PathLike[str], digest: str = "") -> DirectionFile:
        """Read a file.

        Args:
            path: the file.
            digest: what it must be; empty for any.

        Raises:
            InputError: it is missing, damaged, or of another digest.
        """
        return _parse(str(path), DIRECTION.check_digest(path, digest))

    def vector(self, encoder: str, fingerprint: str, layer: SiteKey) -> torch.Tensor:
        """The direction `[width]` of a layer.

        Raises:
            InputError: the file is of another encoder.
            LayerError: it has no direction of this layer.
        """
        own = self.fingerprints.get(encoder)
        if own != fingerprint:
            found = "none" if own is None else f"one of another encoder (fingerprint {own})"
            raise InputError(
                f"The direction has {found} for {encoder}, whose fingerprint is {fingerprint}; it was made "
                "with another model. Make it again with this one."
            )
        if not isinstance(layer, int) or layer not in self.layers[encoder]:
            raise LayerError(
                f"The direction has no layer {layer} of {encoder}; it has {list(self.layers[encoder])}."
            )
        return self.vectors[encoder][self.layers[encoder].index(layer)]


@lru_cache(maxsize=8)
def _parse(path: str, _digest: str) -> DirectionFile:
    content = DIRECTION.read(path)
    try:
        described, tensors = DIRECTION.from_bytes(content)
        layers = {name: tuple(numbers) for name, numbers in described["layers"].items()}
        if {name: len(one) for name, one in layers.items()} != {n: len(v) for n, v in tensors.items()}:
            raise ValueError("its layers are not those of its vectors")
        pairs = tuple((one, other) for one, other in described["pairs"])
        return DirectionFile(pairs, described["fingerprints"], layers, tensors)
    except DAMAGED as error:
        raise DIRECTION.damaged(path, error) from error
