"""What a readout is, and the three that differ in the encoder's final norm.

`final` is the published method: the encoder's final norm once, at every layer (Toker et al., 2024,
figure 1). `native` treats a layer as the pipeline treats its own, which is the same for Stable
Diffusion 1 and 2 and for T5, and leaves the norm out for pipelines that read an un-normed state, such as
SDXL. `none` is the raw output of the block.

A readout is a frozen value with an id.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from diffusion_lens.models.pipelines import Slot
from diffusion_lens.models.site_keys import SiteKey

if TYPE_CHECKING:
    import torch

    from diffusion_lens.models.encoders import TextEncoder

__all__ = ["NATIVE_READOUT", "Norm", "Readout"]


@runtime_checkable
class Readout(Protocol):
    """From a hidden state to what stands at a place where the pipeline reads."""

    @property
    def id(self) -> str:
        """How it is written; with whatever tells it from another readout of the same name."""
        ...

    def read(
        self, state: torch.Tensor, layer: SiteKey, encoder: TextEncoder, slot: Slot, position: int
    ) -> torch.Tensor:
        """What the pipeline gets.

        Args:
            state: the hidden state, `[batch, token, width]`.
            layer: the layer, or the part of a block, that it was read at.
            encoder: the encoder.
            slot: how the pipeline reads the encoder.
            position: the layer that the pipeline reads, in whose place the state stands.
        """
        ...

    def is_native(self, encoder: TextEncoder, slot: Slot, position: int) -> bool:
        """Whether it does to the state of a native `position` what the pipeline does."""
        ...


@dataclass(frozen=True)
class Norm:
    """A readout that applies the encoder's final norm, or does not: native, final or none.

    Attributes:
        id: its name.
    """

    id: str

    def read(
        self, state: torch.Tensor, layer: SiteKey, encoder: TextEncoder, slot: Slot, position: int
    ) -> torch.Tensor:
        """See `Readout`."""
        return encoder.final_norm(state) if self._norms(encoder, slot, position) else state

    def is_native(self, encoder: TextEncoder, slot: Slot, position: int) -> bool:
        """See `Readout`."""
        own = NATIVE_READOUT._norms(encoder, slot, position)
        return encoder.norm is None or self._norms(encoder, slot, position) == own

    def _norms(self, encoder: TextEncoder, slot: Slot, position: int) -> bool:
        """Whether a state that stands at a native `position` goes through the final norm."""
        if self.id != "native":
            return self.id == "final"
        if slot.tap is None:
            return False
        tied = encoder.family.ties_last and not slot.tap.raw_last
        return slot.tap.normed or (tied and position == encoder.depth)


NATIVE_READOUT = Norm("native")
"""What the pipeline itself does."""
