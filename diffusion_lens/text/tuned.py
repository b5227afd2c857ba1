"""`Tuned`: a readout that maps each layer to the native one, and the file of its maps.

    <encoder> <position> weight   `[layer, width, width]`; from a layer to the layer that the pipeline reads
    <encoder> <position> bias     `[layer, width]`
    metadata "tuned"              JSON: captions, ridge, steps; of each encoder fingerprint, layers, errors

It is the tuned lens (Belrose et al., 2023, arXiv 2303.08112) of hidden states in place of words: the map is
affine, fitted in closed form, and the identity at the native layer itself.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from diffusion_lens.errors import InputError, LayerError
from diffusion_lens.models.pipelines import Slot
from diffusion_lens.models.site_keys import SiteKey
from diffusion_lens.text.described_files import DAMAGED, DescribedFile
from diffusion_lens.text.norm_readout import NATIVE_READOUT

if TYPE_CHECKING:
    import torch

    from diffusion_lens.models.encoders import TextEncoder

__all__ = ["EncoderMaps", "Tuned", "TunedFile"]

_FILE = DescribedFile("tuned", "a tuned readout", "Make it with diffusion-lens tune.")
_WRITTEN = re.compile(r"(?P<path>.+?)(?:#(?P<digest>[0-9a-f]{16}))?")


@dataclass(frozen=True, eq=False)
class EncoderMaps:
    """The maps of one encoder.

    Attributes:
        fingerprint: what tells the encoder from others.
        layers: the layers that are mapped.
        weight: for each native layer, `[layer, width, width]`, from state to state.
        bias: likewise, `[layer, width]`.
        errors: on captions that were held out, by `layer` and native `position`: `tuned` and `final`, the
            squared error of the map and of no map, both after the final norm, as a share of the variance
            of the native state. Maps that were trained on have two more; see `learning.train_tuned`.
    """

    fingerprint: str
    layers: tuple[int, ...]
    weight: Mapping[int, torch.Tensor]
    bias: Mapping[int, torch.Tensor]
    errors: Sequence[Mapping[str, int | float]]


@dataclass(frozen=True, eq=False)
class TunedFile:
    """The maps of the encoders of a model.

    Attributes:
        captions: how many they were fitted on.
        ridge: how strongly they were held to be small, as a share of the mean variance.
        encoders: the maps by encoder.
        steps: of training on through the denoiser's loss (`learning.train_tuned`); 0 for the fit alone.
    """

    captions: int
    ridge: float
    encoders: Mapping[str, EncoderMaps]
    steps: int = 0

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the file.

        Raises:
            OutputError: it can't be written.
        """
        tensors: dict[str, torch.Tensor] = {}
        described: dict[str, Any] = {"captions": self.captions, "ridge": self.ridge}
        described |= {"steps": self.steps, "encoders": {}}
        for name, one in self.encoders.items():
            for position in one.weight:
                tensors[f"{name} {position} weight"] = one.weight[position]
                tensors[f"{name} {position} bias"] = one.bias[position]
            described["encoders"][name] = {
                "fingerprint": one.fingerprint,
                "layers": one.layers,
                "errors": [dict(row) for row in one.errors],
            }
        _FILE.write(path, described, tensors)

    @classmethod
    def load(cls, path: str | os.PathLike[str], digest: str = "") -> TunedFile:
        """Read a file.

        Args:
            path: the file.
            digest: what it must be; empty for any.

        Raises:
            InputError: it is missing, damaged, or of another digest.
        """
        return _parse(str(path), _FILE.check_digest(path, digest))


@dataclass(frozen=True)
class Tuned:
    """A readout that maps a layer's state to the native layer, and reads it then as the pipeline does.

    Attributes:
        path: the file, of `diffusion_lens tune`.
        digest: of the file, 16 hex digits.
    """

    path: str
    digest: str

    @classmethod
    def parse(cls, text: str) -> Tuned:
        """Read what is written after `tuned:`, a file and perhaps its digest: `maps.safetensors#0123...`.

        Raises:
            InputError: no file is named, or it can't be read.
        """
        found = _WRITTEN.fullmatch(text)
        if found is None:
            raise InputError("The readout tuned needs a file: tuned:maps.safetensors. Make one with tune.")
        return cls(found["path"], found["digest"] or _FILE.digest(found["path"]))

    @property
    def id(self) -> str:
        """See `Readout`."""
        return f"tuned:{self.path}#{self.digest}"

    def read(
        self, state: torch.Tensor, layer: SiteKey, encoder: TextEncoder, slot: Slot, position: int
    ) -> torch.Tensor:
        """See `Readout`.

        Raises:
            InputError: the file has no maps of this encoder.
            LayerError: it has none of this layer, such as of a part of a block.
        """
        maps = TunedFile.load(self.path, self.digest).encoders.get(encoder.name)
        if maps is None or maps.fingerprint != encoder.fingerprint:
            found = "none" if maps is None else f"maps of another one (fingerprint {maps.fingerprint})"
            raise InputError(
                f"{self.path} has {found} for {encoder.name}, whose fingerprint is {encoder.fingerprint}. "
                "Fit it again with this model: diffusion-lens tune."
            )
        if layer != position:
            if layer not in maps.layers or position not in maps.weight:
                raise LayerError(
                    f"{self.path} has no map from {layer} to layer {position} of {encoder.name}; it has "
                    f"layers {list(maps.layers)} to {sorted(maps.weight)}. Read it with the native readout."
                )
            row = maps.layers.index(int(layer))
            weight = maps.weight[position][row].to(state.device)
            mapped = state.to(weight.dtype) @ weight.T + maps.bias[position][row].to(state.device)
            state = mapped.to(state.dtype)
        return NATIVE_READOUT.read(state, position, encoder, slot, position)

    def is_native(self, encoder: TextEncoder, slot: Slot, position: int) -> bool:
        """See `Readout`; the native state itself is mapped by nothing."""
        return True


@lru_cache(maxsize=2)
def _parse(path: str, _digest: str) -> TunedFile:
    content = _FILE.read(path)
    try:
        described, tensors = _FILE.from_bytes(content)
        encoders = {}
        for name, one in described["encoders"].items():
            positions = sorted(int(key.split()[1]) for key in tensors if key.startswith(f"{name} "))
            encoders[name] = EncoderMaps(
                one["fingerprint"],
                tuple(one["layers"]),
                {position: tensors[f"{name} {position} weight"] for position in positions},
                {position: tensors[f"{name} {position} bias"] for position in positions},
                tuple(one["errors"]),
            )
        return TunedFile(described["captions"], described["ridge"], encoders, described.get("steps", 0))
    except DAMAGED as error:
        raise _FILE.damaged(path, error) from error
