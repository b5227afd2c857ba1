"""Patch states in from another prompt, and swap those of two words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from diffusion_lens.errors import InputError, LayerError, PromptError
from diffusion_lens.models.site_keys import SiteKey
from diffusion_lens.text.interventions.base import PLACES, Context, Intervention, Place, check_choice
from diffusion_lens.text.interventions.layers import LayerSet, check_layers, holds_layer, write_layers
from diffusion_lens.text.interventions.tokens import TokenPlaces, Tokens, write_tokens

if TYPE_CHECKING:
    import torch

__all__ = ["Patch", "Swap"]

TokenMap = str | int | Mapping[str, str] | Sequence[str | int]
"""Tokens of the prompt and of the source: `{"fox": "dog"}`, written `fox -> dog; red -> blue`; or a
selection that both prompts have."""


@dataclass(frozen=True)
class Patch(Intervention):
    """Put hidden states of another prompt in.

    Attributes:
        source: the other prompt.
        tokens: which tokens of it go where; see `TokenMap`. Empty for every position. Words must have as
            many pieces as those that they replace; a word that stands several times in the prompt gets the
            one of the source each time.
        layers: the layers at which they go in; empty for all.
        from_layer: the layer of the source that they come from; None for the same one.
        place: see `Place`.
    """

    source: str
    tokens: TokenMap = ""
    layers: LayerSet = ""
    from_layer: int | None = None
    place: Place = "readout"

    name: ClassVar[str] = "patch"

    def __post_init__(self) -> None:
        self._set("source", str(self.source))
        self._set("tokens", _write_map(self.tokens))
        self._set("layers", write_layers(self.layers))
        check_choice(self.name, "place", self.place, PLACES)
        if self.from_layer is not None and (type(self.from_layer) is not int or self.from_layer < 0):
            raise InputError(f"from_layer of patch is {self.from_layer!r}; it is a layer, from 0 on.")

    @property
    def needs_all_layers(self) -> bool:
        """See `Intervention`."""
        return self.in_encoder or self.from_layer is not None

    def sources(self, prompt: str) -> tuple[str, ...]:
        """See `Intervention`."""
        return (self.source,)

    def check_depth(self, encoder: str, depth: int) -> None:
        """See `Intervention`."""
        check_layers(self.id, str(self.layers), encoder, depth)
        if self.from_layer is not None and self.from_layer > depth:
            raise LayerError(
                f"{self.id} reads layer {self.from_layer}, and {encoder} has layers 0 to {depth}."
            )

    def change(self, state: torch.Tensor, layer: SiteKey, context: Context) -> torch.Tensor:
        """See `Intervention`."""
        pairs = self._pairs(context)
        if not holds_layer(str(self.layers), layer):
            return state
        read = layer if self.from_layer is None else self.from_layer
        source = context.source(self.source, read, state)
        changed = state.clone()
        changed[:, [to for to, _ in pairs]] = source[:, [origin for _, origin in pairs]]
        return changed

    def _pairs(self, context: Context) -> list[tuple[int, int]]:
        """Positions of the prompt, each with the position of the source that goes there."""
        here, there = context.tokens, context.sources[self.source].tokens
        if not self.tokens:
            if len(here) != len(there):
                raise InputError(
                    f"{self.id} patches every position, and {context.prompt!r} is read as {len(here)} "
                    f"tokens and {self.source!r} as {len(there)}. Name the tokens, such as fox -> dog."
                )
            return [(i, i) for i in range(len(here))]
        pairs: dict[int, int] = {}
        for part in str(self.tokens).split(";"):
            to, arrow, origin = (one.strip() for one in part.partition("->"))
            for ours, theirs in _match(self.id, here, there, to, origin if arrow else to):
                pairs.update(zip(ours, theirs, strict=True))
        return sorted(pairs.items())


@dataclass(frozen=True)
class Swap(Intervention):
    """Swap the hidden states of two words, such as "red" and "blue".

    Attributes:
        one: tokens of the prompt.
        other: as many other tokens of the prompt.
    """

    one: Tokens
    other: Tokens

    name: ClassVar[str] = "swap"

    def __post_init__(self) -> None:
        self._set("one", write_tokens(self.one))
        self._set("other", write_tokens(self.other))

    def change(self, state: torch.Tensor, layer: SiteKey, context: Context) -> torch.Tensor:
        """See `Intervention`."""
        one, other = context.tokens.select(self.one), context.tokens.select(self.other)
        if len(one) != len(other) or set(one) & set(other):
            raise PromptError(
                f"{self.id} swaps {len(one)} tokens with {len(other)} in {context.prompt!r}; it needs as "
                "many of each, and none in both. Name positions, such as #2."
            )
        changed = state.clone()
        changed[:, one + other] = state[:, other + one]
        return changed


def _write_map(given: TokenMap) -> str:
    if isinstance(given, Mapping):
        pairs = [(write_tokens(to), write_tokens(origin)) for to, origin in given.items()]
    elif isinstance(given, str) and "->" in given:
        parts = [part.partition("->") for part in given.split(";")]
        pairs = [(write_tokens(to), write_tokens(origin or to)) for to, _, origin in parts]
    elif given == "":
        return ""
    else:
        pairs = [(part, part) for part in write_tokens(given).split(";")]
    for to, origin in pairs:
        if ";" in to + origin:
            raise InputError(f"{to!r} -> {origin!r} maps several parts at once. Write one pair for each.")
    return "; ".join(to if to == origin else f"{to} -> {origin}" for to, origin in pairs)


def _match(
    change: str, here: TokenPlaces, there: TokenPlaces, to: str, origin: str
) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    ours, theirs = here.groups(to), there.groups(origin)
    if len(theirs) == 1:
        theirs = theirs * len(ours)
    sizes = [len(one) for one in ours], [len(one) for one in theirs]
    if sizes[0] != sizes[1]:
        raise PromptError(
            f"{change} can't put {origin!r} in the place of {to!r}: in {here.prompt.prompt!r} it is read "
            f"as {_pieces(sizes[0])}, in {there.prompt.prompt!r} as {_pieces(sizes[1])}. Name tokens "
            "by position, such as '#2 -> #3'."
        )
    return list(zip(ours, theirs, strict=True))


def _pieces(sizes: list[int]) -> str:
    return " and ".join(f"{size} token{'s' if size != 1 else ''}" for size in sizes) or "no token"
