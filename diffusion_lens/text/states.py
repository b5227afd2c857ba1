"""`LayerStates`: the hidden states of a batch of prompts, layer by layer; kept, saved and read back.

Each prompt's states carry a digest of what the encoder gave. Whoever changes them, in place or by
`dataclasses.replace`, can't keep it true: `edits` compares, and what is drawn from changed states says so.
"""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Bool, Float, Int

from diffusion_lens.errors import InputError, LayerError
from diffusion_lens.models.site_keys import SiteKey
from diffusion_lens.text.described_files import DAMAGED, DescribedFile

__all__ = ["LayerStates"]

_FILE = DescribedFile(
    "layer_states",
    "layer states",
    "Make it again with LayerStates.save or result.save; one that a sweep kept may be deleted.",
)


@dataclass(frozen=True, repr=False)
class LayerStates:
    """Hidden states of a batch of prompts at some layers of one text encoder, before any final norm.

    Layer 0 is the embedding output, layer i the output of block i; a part of a block has a written key,
    such as `6.attn` (see `diffusion_lens.models.site_keys`), in place of a number. Prompts of
    unequal length are padded with zeros at the end; `states[i]` takes one prompt out at its own length.

    Attributes:
        encoder: the pipeline's name for the encoder.
        fingerprint: the encoder's `TextEncoder.fingerprint()`.
        prompts: the prompts, one by batch row.
        layers: the layer of each entry of `states`.
        states: the hidden states, in the encoder's dtype, on the CPU unless put elsewhere.
        input_ids: the tokens as the encoder was given them.
        mask: the attention mask that the encoder was given; all true where it was given none.
        tokens: the tokens as text, one list by prompt, pads and special tokens included.
        pooled: the encoder's pooled output at its full depth, if the pipeline reads one.
        digests: of each prompt, the `digest` of its states when the encoder gave them.
        made_with: of each prompt, a hash of the options of `encode_prompt` and of the learned words in it.
    """

    encoder: str
    fingerprint: str
    prompts: tuple[str, ...]
    layers: tuple[SiteKey, ...]
    states: Float[torch.Tensor, "layer batch token width"]
    input_ids: Int[torch.Tensor, "batch token"]
    mask: Bool[torch.Tensor, "batch token"]
    tokens: tuple[tuple[str, ...], ...]
    pooled: Float[torch.Tensor, "batch ..."] | None = None
    digests: tuple[str, ...] = ()
    made_with: tuple[str, ...] = ()

    @classmethod
    def encoded(cls, **values: Any) -> "LayerStates":
        """States as an encoder gave them, with their digests; the arguments are the attributes."""
        states = cls(**values)
        return replace(states, digests=tuple(states.digest(index) for index in range(len(states))))

    def digest(self, index: int) -> str:
        """A hash of all that conditioning is made from, of one prompt: 16 hex digits."""
        one = self[index]
        digest = hashlib.sha256(f"{one.encoder} {one.fingerprint} {one.layers} {one.prompts}".encode())
        for tensor in (one.states, one.input_ids, one.mask, one.pooled):
            if tensor is not None:
                digest.update(f"{tensor.dtype} {tuple(tensor.shape)}".encode())
                digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()[:16]

    def edits(self, index: int) -> str:
        """What says that the states of a prompt are not those that the encoder gave; empty if they are."""
        now = self.digest(index)
        given = self.digests[index] if index < len(self.digests) else ""
        return "" if now == given else f"edited({self.encoder} {now})"

    def __getitem__(self, index: int) -> "LayerStates":
        """The states of one prompt, as a batch of one, at its own length."""
        row = slice(index, index + 1) if index != -1 else slice(-1, None)
        length = len(self.tokens[index])
        return replace(
            self,
            prompts=self.prompts[row],
            states=self.states[:, row, :length],
            input_ids=self.input_ids[row, :length],
            mask=self.mask[row, :length],
            tokens=self.tokens[row],
            pooled=None if self.pooled is None else self.pooled[row],
            digests=self.digests[row],
            made_with=self.made_with[row],
        )

    def __repr__(self) -> str:
        layers = f"{self.layers[0]}-{self.layers[-1]}" if len(self.layers) > 1 else str(*self.layers)
        prompts = f"{len(self)} prompt{'s' if len(self) != 1 else ''}"
        _, _, tokens, width = self.states.shape
        return f"LayerStates({self.encoder}, {prompts}, layers {layers}, {tokens} tokens, {width} wide)"

    def __len__(self) -> int:
        """The number of prompts."""
        return len(self.prompts)

    def layer(self, layer: SiteKey) -> Float[torch.Tensor, "batch token width"]:
        """The states of one layer.

        Raises:
            LayerError: that layer was not kept.
        """
        if layer not in self.layers:
            raise LayerError(
                f"Layer {layer} of {self.encoder} was not kept; kept are {list(self.layers)}. Encode "
                "again with that layer asked for."
            )
        return self.states[self.layers.index(layer)]

    def of_layers(self, layers: Sequence[SiteKey]) -> "LayerStates":
        """The states without those of further layers."""
        kept = [index for index, layer in enumerate(self.layers) if layer in layers]
        return replace(self, layers=tuple(self.layers[index] for index in kept), states=self.states[kept])

    @classmethod
    def join(cls, parts: Sequence["LayerStates"]) -> "LayerStates":
        """One batch of several, in order, all of one encoder and the same layers."""
        first = parts[0]
        for part in parts:
            if (part.encoder, part.fingerprint, part.layers) != (
                first.encoder,
                first.fingerprint,
                first.layers,
            ):
                raise InputError(
                    f"States of {part.encoder} {part.layers} can't be joined to those of "
                    f"{first.encoder} {first.layers}: both must come from one encoder and hold the "
                    "same layers."
                )
        length = max(part.states.shape[2] for part in parts)

        def padded(tensor: torch.Tensor, dim: int) -> torch.Tensor:
            short = length - tensor.shape[dim]
            if not short:
                return tensor
            shape = list(tensor.shape)
            shape[dim] = short
            return torch.cat([tensor, tensor.new_zeros(shape)], dim)

        pooled = [part.pooled for part in parts if part.pooled is not None]
        return replace(
            first,
            prompts=sum((part.prompts for part in parts), ()),
            states=torch.cat([padded(part.states, 2) for part in parts], 1),
            input_ids=torch.cat([padded(part.input_ids, 1) for part in parts]),
            mask=torch.cat([padded(part.mask, 1) for part in parts]),
            tokens=sum((part.tokens for part in parts), ()),
            pooled=torch.cat(pooled) if pooled else None,
            digests=sum((part.digests for part in parts), ()),
            made_with=sum((part.made_with for part in parts), ()),
        )

    def _parts(self) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
        """What a file holds: a description, and the tensors."""
        tensors = {"states": self.states, "input_ids": self.input_ids, "mask": self.mask}
        if self.pooled is not None:
            tensors["pooled"] = self.pooled
        described = {
            "encoder": self.encoder,
            "fingerprint": self.fingerprint,
            "prompts": self.prompts,
            "layers": self.layers,
            "tokens": self.tokens,
            "digests": self.digests,
            "made_with": self.made_with,
        }
        return described, tensors

    def to_bytes(self) -> bytes:
        """The content of a safetensors file, which `from_bytes` reads back."""
        return _FILE.to_bytes(*self._parts())

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write to one safetensors file.

        Raises:
            OutputError: it can't be written.
        """
        _FILE.write(path, *self._parts())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "LayerStates":
        """Read what `save` wrote.

        Raises:
            InputError: the file is missing, cut short, or holds something else.
        """
        return cls.from_bytes(_FILE.read(path), str(path))

    @classmethod
    def from_bytes(cls, content: bytes, name: str) -> "LayerStates":
        """Read what `to_bytes` gave.

        Args:
            content: the bytes.
            name: what messages call them.

        Raises:
            InputError: they are cut short, or hold something else.
        """
        try:
            described, tensors = _FILE.from_bytes(content)
            return cls(
                encoder=described["encoder"],
                fingerprint=described["fingerprint"],
                prompts=tuple(described["prompts"]),
                layers=tuple(described["layers"]),
                tokens=tuple(tuple(row) for row in described["tokens"]),
                states=tensors["states"],
                input_ids=tensors["input_ids"],
                mask=tensors["mask"],
                pooled=tensors.get("pooled"),
                digests=tuple(described.get("digests", ())),
                made_with=tuple(described.get("made_with", ())),
            )
        except DAMAGED as error:
            raise _FILE.damaged(name, error) from error
