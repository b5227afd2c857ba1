"""Keep and drop tokens, and clean the padding: which token carries what is drawn?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from diffusion_lens.models.site_keys import SiteKey
from diffusion_lens.text.interventions.base import PLACES, Context, Intervention, Place, check_choice
from diffusion_lens.text.interventions.clean import RESTS, Rest, clear, rest_sources
from diffusion_lens.text.interventions.layers import LayerSet, check_layers, holds_layer, write_layers
from diffusion_lens.text.interventions.tokens import Tokens, write_tokens

if TYPE_CHECKING:
    import torch

__all__ = ["Drop", "Keep", "Pads"]


@dataclass(frozen=True)
class Keep(Intervention):
    """Keep the hidden states of some tokens; all others are taken away.

    A pooled output, where the pipeline reads one, is that of the whole prompt; pooled="empty" or "layer"
    takes it away too.

    Attributes:
        tokens: the tokens; see `diffusion_lens.text.interventions.tokens`.
        rest: what stands in for all others; see `Rest`.
    """

    tokens: Tokens
    rest: Rest = "empty"

    name: ClassVar[str] = "keep"

    def __post_init__(self) -> None:
        self._set("tokens", write_tokens(self.tokens))
        check_choice(self.name, "rest", self.rest, RESTS)

    def sources(self, prompt: str) -> tuple[str, ...]:
        """See `Intervention`."""
        return rest_sources(self.rest)

    def change(self, state: torch.Tensor, layer: SiteKey, context: Context) -> torch.Tensor:
        """See `Intervention`."""
        kept = set(context.tokens.select(self.tokens))
        dropped = [i for i in range(state.shape[1]) if i not in kept]
        return clear(state, layer, dropped, self.rest, context, self.id)


@dataclass(frozen=True)
class Drop(Intervention):
    """Take the hidden states of some tokens away.

    In the encoder, the later blocks run on without these tokens' states of that layer. What the tokens
    gave to others in earlier blocks stays.

    Attributes:
        tokens: the tokens; see `diffusion_lens.text.interventions.tokens`.
        rest: what stands in for them; see `Rest`.
        place: see `Place`.
        layers: the layers at which they are taken away; empty for all.
    """

    tokens: Tokens
    rest: Rest = "empty"
    place: Place = "readout"
    layers: LayerSet = ""

    name: ClassVar[str] = "drop"

    def __post_init__(self) -> None:
        self._set("tokens", write_tokens(self.tokens))
        self._set("layers", write_layers(self.layers))
        check_choice(self.name, "rest", self.rest, RESTS)
        check_choice(self.name, "place", self.place, PLACES)

    def sources(self, prompt: str) -> tuple[str, ...]:
        """See `Intervention`."""
        return rest_sources(self.rest)

    def check_depth(self, encoder: str, depth: int) -> None:
        """See `Intervention`."""
        check_layers(self.id, str(self.layers), encoder, depth)

    def change(self, state: torch.Tensor, layer: SiteKey, context: Context) -> torch.Tensor:
        """See `Intervention`."""
        dropped = context.tokens.select(self.tokens)
        if not holds_layer(str(self.layers), layer):
            return state
        return clear(state, layer, dropped, self.rest, context, self.id)


_MODES = ("clean", "pads only", "prompt only")


@dataclass(frozen=True)
class Pads(Intervention):
    """Ask what the padding carries (Toker et al., 2025, "Padding Tone").

    Attributes:
        mode: "clean" puts clean pads, those of the empty prompt, in the place of the prompt's pads;
            "pads only" puts them in the place of everything else; "prompt only" in the place of all but the
            prompt's own tokens, so that start and end tokens go too.
    """

    mode: Literal["clean", "pads only", "prompt only"]

    name: ClassVar[str] = "pads"

    def __post_init__(self) -> None:
        check_choice(self.name, "mode", self.mode, _MODES)

    def sources(self, prompt: str) -> tuple[str, ...]:
        """See `Intervention`."""
        return ("",)

    def change(self, state: torch.Tensor, layer: SiteKey, context: Context) -> torch.Tensor:
        """See `Intervention`."""
        tokens, pads = context.tokens, set(context.tokens.pads)
        if self.mode == "clean":
            cleared = list(tokens.pads)
        elif self.mode == "pads only":
            cleared = [i for i in range(state.shape[1]) if i not in pads]
        else:
            content = set(tokens.content())
            cleared = [i for i in range(state.shape[1]) if i not in content]
        return clear(state, layer, cleared, "pads", context, self.id)
