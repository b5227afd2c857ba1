"""Readouts: what is done to a hidden state before the pipeline is given it.

`final` is the published method: the encoder's final norm once, at every layer (Toker et al., 2024,
figure 1). `native` treats a layer as the pipeline treats its own, which is the same for Stable
Diffusion 1 and 2 and for T5, and leaves the norm out for pipelines that read an un-normed state, such as
SDXL. `none` is the raw output of the block. `tuned:FILE` maps a layer to the native one first; see
`diffusion_lens.text.tuned`.

A readout is a frozen value with an id. A new one is a class here, or in a module that adds it to
`READOUTS`; its id is part of every cell that it reads.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from diffusion_lens.choices import POOLED
from diffusion_lens.errors import InputError, nearest
from diffusion_lens.models.pipelines import Slot
from diffusion_lens.models.site_keys import SiteKey
from diffusion_lens.text.tuned import Tuned

if TYPE_CHECKING:
    import torch

    from diffusion_lens.models.encoders import TextEncoder

__all__ = ["NATIVE_READOUT", "READOUTS", "Norm", "Readout", "check_pooled", "parse_readout"]


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
        return slot.tap.normed or (position == encoder.depth and encoder.family.ties_last)


NATIVE_READOUT = Norm("native")
"""What the pipeline itself does."""

READOUTS: dict[str, Callable[[str], Readout]] = {
    "native": lambda _argument: NATIVE_READOUT,
    "final": lambda _argument: Norm("final"),
    "none": lambda _argument: Norm("none"),
    "tuned": Tuned.parse,
}
"""What makes a readout, by its name, from what is written after a colon."""

_BARE = ("native", "final", "none")  # which take nothing


def parse_readout(text: str) -> Readout:
    """A readout as it is written: `final`, or `NAME:ARGUMENT` for one that takes an argument.

    Raises:
        InputError: no readout of that name.
    """
    name, _, argument = text.partition(":")
    if name not in READOUTS or (argument and name in _BARE):
        raise InputError(
            f"{text!r} is no readout. Allowed: {', '.join(_BARE)}, tuned:FILE.{nearest(name, READOUTS)}"
        )
    return READOUTS[name](argument)


def check_pooled(pooled: str) -> None:
    """Refuse a pooled policy that does not exist."""
    if pooled not in POOLED:
        raise InputError(f"{pooled!r} is no pooled policy. Allowed: {', '.join(POOLED)}.")
