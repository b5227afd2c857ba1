"""Steer: add a direction, from pairs of prompts or from a file, to the states of tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from diffusion_lens.errors import InputError
from diffusion_lens.models.site_keys import SiteKey
from diffusion_lens.text.directions import DIRECTION, DirectionFile
from diffusion_lens.text.interventions.base import (
    PLACES,
    Context,
    Intervention,
    Place,
    check_choice,
    finite,
)
from diffusion_lens.text.interventions.layers import LayerSet, check_layers, holds_layer, write_layers
from diffusion_lens.text.interventions.tokens import Tokens, write_tokens

if TYPE_CHECKING:
    import torch

__all__ = ["Steer", "direction", "mean_difference"]

_MINUS = " minus "


def direction(toward: str | Sequence[str], away: str | Sequence[str]) -> str:
    """The direction from some prompts to others: the mean difference of their states.

    Args:
        toward: one prompt, or the first one of each pair: "a big dog".
        away: one prompt, or the second one of each pair: "a small dog".

    Returns:
        The direction as it is written: "a big dog minus a small dog", with semicolons between pairs.

    Raises:
        InputError: there are not as many of both, or a prompt holds what stands between prompts.
    """
    towards, aways = ([one] if isinstance(one, str) else list(one) for one in (toward, away))
    if len(towards) != len(aways) or not towards:
        raise InputError(f"A direction is of pairs; given were {len(towards)} and {len(aways)} prompts.")
    for prompt in (*towards, *aways):
        if _MINUS in prompt or ";" in prompt or not prompt.strip():
            raise InputError(
                f"{prompt!r} can't be written in a direction: a prompt of one has words, no semicolon and "
                "no word minus."
            )
    return "; ".join(
        f"{one.strip()}{_MINUS}{other.strip()}" for one, other in zip(towards, aways, strict=True)
    )


@dataclass(frozen=True)
class Steer(Intervention):
    """Add a direction to the hidden states of tokens (Turner et al., 2023, "Activation addition").

    The direction of a layer is the mean over pairs of prompts of the difference of their states, each
    averaged over the prompt's own tokens.

    Attributes:
        toward: the direction: pairs of prompts, as `direction` writes them, or a safetensors file, as
            `diffusion_lens.text.directions.DirectionFile` writes it.
        strength: how often it is added; 0 changes nothing.
        tokens: the tokens that it is added to.
        layers: the layers at which it is added; empty for all.
        place: see `Place`. In the encoder, name one layer, or it is added again after every block.
        digest: of the file, which is part of the intervention's id; computed where it is not given.
    """

    toward: str
    strength: float | int = 1.0
    tokens: Tokens = "content"
    layers: LayerSet = ""
    place: Place = "readout"
    digest: str = ""

    name: ClassVar[str] = "steer"
    files: ClassVar[Mapping[str, str]] = {"toward": ".safetensors"}

    def __post_init__(self) -> None:
        self._set("toward", str(self.toward))
        self._set("strength", finite(self.name, "strength", self.strength))
        self._set("tokens", write_tokens(self.tokens))
        self._set("layers", write_layers(self.layers))
        self._set("digest", str(self.digest))
        check_choice(self.name, "place", self.place, PLACES)
        if self._is_file:
            if not self.digest:
                self._set("digest", DIRECTION.digest(self.toward))
        elif self.digest:
            raise InputError(f"{self.id}: only a direction of a file has a digest.")
        else:
            pairs = self._pairs()
            self._set("toward", direction([one for one, _ in pairs], [other for _, other in pairs]))

    @property
    def _is_file(self) -> bool:
        return self.names_file("toward", self.toward)

    def _pairs(self) -> list[tuple[str, str]]:
        found = []
        for pair in self.toward.split(";"):
            one, minus, other = pair.partition(_MINUS)
            if not minus:
                raise InputError(
                    f"{pair.strip()!r} is no direction. Write two prompts, 'a big dog minus a small dog', "
                    "or a file that ends in .safetensors."
                )
            found.append((one, other))
        return found

    def sources(self, prompt: str) -> tuple[str, ...]:
        """See `Intervention`."""
        if self._is_file:
            return ()
        return tuple(dict.fromkeys(one.strip() for pair in self._pairs() for one in pair))

    def check_depth(self, encoder: str, depth: int) -> None:
        """See `Intervention`."""
        check_layers(self.id, str(self.layers), encoder, depth)

    def change(self, state: torch.Tensor, layer: SiteKey, context: Context) -> torch.Tensor:
        """See `Intervention`."""
        index = context.tokens.select(self.tokens)
        if not holds_layer(str(self.layers), layer):
            return state
        added = self._direction(layer, state, context)
        if not self.strength:
            return state
        changed = state.clone()
        changed[:, index] = state[:, index] + added.to(state.device, state.dtype) * self.strength
        return changed

    def _direction(self, layer: SiteKey, state: torch.Tensor, context: Context) -> torch.Tensor:
        if self._is_file:
            file = DirectionFile.load(self.toward, self.digest)
            return file.vector(context.encoder, context.fingerprint, layer)
        return mean_difference(
            [(one.strip(), other.strip()) for one, other in self._pairs()], layer, state, context
        )


def mean_difference(
    pairs: Sequence[tuple[str, str]], layer: SiteKey, like: torch.Tensor, context: Context
) -> torch.Tensor:
    """The direction `[width]` of pairs of prompts at a layer, in float32."""

    def mean(prompt: str) -> torch.Tensor:
        content = list(context.sources[prompt].tokens.content())
        return context.source(prompt, layer, like)[0, content].float().mean(0)

    total = mean(pairs[0][0]) - mean(pairs[0][1])
    for one, other in pairs[1:]:
        total = total + mean(one) - mean(other)
    return total / len(pairs)
