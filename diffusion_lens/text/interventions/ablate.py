"""Take a part of the encoder out: the attention or the feed-forward part of a block, or a whole block."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from diffusion_lens.errors import LayerError
from diffusion_lens.text.interventions.base import Context, Intervention
from diffusion_lens.text.interventions.layers import LayerSet, check_layers, holds_layer, write_layers
from diffusion_lens.text.interventions.tokens import Tokens, write_tokens
from diffusion_lens.text.sites import Site

if TYPE_CHECKING:
    import torch

__all__ = ["Ablate", "Skip"]


@dataclass(frozen=True)
class Ablate(Intervention):
    """Set what a site gives to some tokens to zero, in the encoder; the later blocks run on from it.

    Attributes:
        site: `6.attn` or `6.mlp`, what that part of block 6 adds; `6`, the hidden state after it.
        tokens: the tokens; see `diffusion_lens.text.interventions.tokens`.
    """

    site: str | int | Site
    tokens: Tokens = "all"

    name: ClassVar[str] = "ablate"

    def __post_init__(self) -> None:
        site = self.site if isinstance(self.site, Site) else Site.parse(str(self.site))
        if site.layer is None or site.layer < 0 or site.part.startswith("head"):
            raise LayerError(
                f"ablate can't take {site} out. Name a layer from 0 on, or a part of one: 6, 6.attn, 6.mlp."
            )
        self._set("site", site.id)
        self._set("tokens", write_tokens(self.tokens))

    @property
    def in_encoder(self) -> bool:
        """See `Intervention`."""
        return True

    @property
    def part(self) -> str:
        """See `Intervention`."""
        return self._site.part

    @property
    def _site(self) -> Site:
        return Site.parse(str(self.site))

    def check_depth(self, encoder: str, depth: int) -> None:
        """See `Intervention`."""
        check_layers(self.id, str(self._site.layer), encoder, depth)

    def change(self, state: torch.Tensor, layer: int, context: Context) -> torch.Tensor:
        """See `Intervention`."""
        index = context.tokens.select(self.tokens)
        if layer != self._site.layer:
            return state
        changed = state.clone()
        changed[:, index] = 0
        return changed


@dataclass(frozen=True)
class Skip(Intervention):
    """Let blocks add nothing: each gives on what it was given.

    Attributes:
        layers: the layers whose blocks are skipped, from 1 on.
        tokens: the tokens for which they are; see `diffusion_lens.text.interventions.tokens`.
    """

    layers: LayerSet
    tokens: Tokens = "all"

    name: ClassVar[str] = "skip"
    part: ClassVar[str] = "block"

    def __post_init__(self) -> None:
        self._set("layers", write_layers(self.layers))
        self._set("tokens", write_tokens(self.tokens))
        if not self.layers or holds_layer(str(self.layers), 0):
            raise LayerError("skip names the layers of blocks, from 1 on; layer 0 is the embedding.")

    @property
    def in_encoder(self) -> bool:
        """See `Intervention`."""
        return True

    def check_depth(self, encoder: str, depth: int) -> None:
        """See `Intervention`."""
        check_layers(self.id, str(self.layers), encoder, depth)

    def change(self, state: torch.Tensor, layer: int, context: Context) -> torch.Tensor:
        """See `Intervention`; the state is what the block adds."""
        index = context.tokens.select(self.tokens)
        if not holds_layer(str(self.layers), layer):
            return state
        changed = state.clone()
        changed[:, index] = 0
        return changed
