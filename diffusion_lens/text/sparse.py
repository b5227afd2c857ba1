"""`SparseFeatures`: a layer's hidden states as few features of many, and the file of them.

    encode, decode    `[feature, width]`: what a feature reads, and the direction that it adds, of length 1
    centre            `[width]`: what is there without any feature
    typical           `[feature]`: the mean activation where it fires; 0 for one that never does
    metadata "sparse" JSON: encoder, fingerprint, layer, k, scale, captions, error

It is a top-k autoencoder (Gao et al., 2024, "Scaling and evaluating sparse autoencoders", arXiv 2406.04093,
section 2.3): z = TopK(ReLU(encode (x - centre))), and x is about decode z + centre.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float

from diffusion_lens.errors import InputError
from diffusion_lens.text.described_files import DAMAGED, DescribedFile
from diffusion_lens.text.directions import DirectionFile

__all__ = ["SparseFeatures", "keep_largest"]

_FILE = DescribedFile("sparse", "sparse features", "Make it with diffusion-lens features.")
_TENSORS = ("encode", "decode", "centre", "typical")


def keep_largest(
    values: Float[torch.Tensor, "*row feature"], k: int
) -> Float[torch.Tensor, "*row feature"]:
    """The k largest values of each row that are above 0; the others are 0."""
    top = values.topk(k, dim=-1)
    return torch.zeros_like(values).scatter(-1, top.indices, top.values.relu())


@dataclass(frozen=True, eq=False)
class SparseFeatures:
    """Features of the hidden states of one layer of one text encoder.

    Attributes:
        encoder: the pipeline's name for the encoder.
        fingerprint: what tells it from others.
        layer: the layer.
        k: how many features a state has at most.
        scale: the length that states are divided by before they are read.
        captions: how many they were fitted on.
        error: the squared error on captions that were held out, as a share of the variance of their states.
        encode: what each feature reads.
        decode: what each feature adds, of length 1.
        centre: what is there without any feature.
        typical: the mean activation of each feature where it fires.
    """

    encoder: str
    fingerprint: str
    layer: int
    k: int
    scale: float
    captions: int
    error: float
    encode: Float[torch.Tensor, "feature width"]
    decode: Float[torch.Tensor, "feature width"]
    centre: Float[torch.Tensor, " width"]
    typical: Float[torch.Tensor, " feature"]

    def __len__(self) -> int:
        """The number of features."""
        return len(self.encode)

    def __repr__(self) -> str:
        return f"SparseFeatures({len(self)} of layer {self.layer} of {self.encoder}, {self.k} in a state)"

    def activations(self, states: Float[torch.Tensor, "*row width"]) -> Float[torch.Tensor, "*row feature"]:
        """How strongly each feature is there in some hidden states, at most `k` of them above 0."""
        read = (states.float() - self.centre) / self.scale
        return keep_largest(read @ self.encode.T, self.k)

    def states(self, activations: Float[torch.Tensor, "*row feature"]) -> Float[torch.Tensor, "*row width"]:
        """The hidden states that these activations stand for."""
        return activations @ self.decode * self.scale + self.centre

    def direction(self, feature: int) -> DirectionFile:
        """What the feature adds to a hidden state at its typical activation, for `steer(FILE)`.

        Raises:
            InputError: there is no such feature.
        """
        if not 0 <= feature < len(self):
            raise InputError(f"There is no feature {feature}; features are 0 to {len(self) - 1}.")
        vector = self.decode[feature] * self.typical[feature] * self.scale
        return DirectionFile(
            (),
            {self.encoder: self.fingerprint},
            {self.encoder: (self.layer,)},
            {self.encoder: vector[None]},
        )

    def check_encoder(self, name: str, fingerprint: str) -> None:
        """Refuse another encoder than the one that they were fitted on.

        Raises:
            InputError: it is another one.
        """
        if (name, fingerprint) != (self.encoder, self.fingerprint):
            raise InputError(
                f"These features are of {self.encoder} (fingerprint {self.fingerprint}), and not of {name} "
                f"(fingerprint {fingerprint}). Fit them again with this model: diffusion-lens features."
            )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write one safetensors file.

        Raises:
            OutputError: it can't be written.
        """
        tensors = {name: getattr(self, name) for name in _TENSORS}
        described = {name: value for name, value in vars(self).items() if name not in _TENSORS}
        _FILE.write(path, described, tensors)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> SparseFeatures:
        """Read what `save` wrote.

        Raises:
            InputError: the file is missing, damaged, or holds something else.
        """
        content = _FILE.read(path)
        try:
            described, tensors = _FILE.from_bytes(content)
            values: dict[str, Any] = {**described, **{name: tensors[name] for name in _TENSORS}}
            return cls(**values)
        except DAMAGED as error:
            raise _FILE.damaged(str(path), error) from error
