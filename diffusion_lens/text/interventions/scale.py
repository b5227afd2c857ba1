"""Make the states of tokens stronger or weaker, and average a state over layers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Literal

from diffusion_lens.errors import InputError, LayerError
from diffusion_lens.models.site_keys import SiteKey
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

    from diffusion_lens.text.states import LayerStates

__all__ = ["Average", "Scale"]

_TINY = 1e-6  # below any variance of a real state; keeps a constant one from being divided by 0


@dataclass(frozen=True)
class Scale(Intervention):
    """Multiply the norm or the variance of tokens.

    On the readout it changes what the pipeline is given, after any final norm, which would undo it. In the
    encoder it changes the hidden state that the later blocks run on from.

    Attributes:
        tokens: the tokens; see `diffusion_lens.text.interventions.tokens`.
        factor: what is multiplied by; 1 changes nothing.
        of: "norm", the whole vector; "variance", its variance over the width, the mean staying as it is.
        place: see `Place`.
        layers: the layers at which it is done; empty for all.
    """

    tokens: Tokens
    factor: float | int
    of: Literal["norm", "variance"] = "norm"
    place: Place = "readout"
    layers: LayerSet = ""

    name: ClassVar[str] = "scale"
    after_norm: ClassVar[bool] = True

    def __post_init__(self) -> None:
        self._set("tokens", write_tokens(self.tokens))
        self._set("factor", finite(self.name, "factor", self.factor))
        self._set("layers", write_layers(self.layers))
        check_choice(self.name, "of", self.of, ("norm", "variance"))
        check_choice(self.name, "place", self.place, PLACES)
        if self.of == "variance" and self.factor < 0:
            raise InputError(f"factor of {self.name} is {self.factor}; a variance is at least 0.")

    def check_depth(self, encoder: str, depth: int) -> None:
        """See `Intervention`."""
        check_layers(self.id, str(self.layers), encoder, depth)

    def change(self, state: torch.Tensor, layer: SiteKey, context: Context) -> torch.Tensor:
        """See `Intervention`."""
        index = context.tokens.select(self.tokens)
        if self.factor == 1 or not holds_layer(str(self.layers), layer):
            return state
        changed, chosen = state.clone(), state[:, index]
        if self.of == "norm":
            changed[:, index] = chosen * self.factor
        else:
            mean = chosen.mean(-1, keepdim=True)
            changed[:, index] = mean + (chosen - mean) * self.factor**0.5
        return changed


@dataclass(frozen=True)
class Average(Intervention):
    """Draw the average of all layers in the place of one.

    Attributes:
        layers: the layers that are averaged; empty for all.
        normalized: before the average, each layer's state is brought to mean 0 and variance 1 over the
            width, token by token, and the average is brought to mean and variance of the layer that is
            drawn (as Wang et al., 2025, arXiv 2506.08210, average the layers of a language model).
    """

    layers: LayerSet = ""
    normalized: bool = True

    name: ClassVar[str] = "average"

    def __post_init__(self) -> None:
        self._set("layers", write_layers(self.layers))

    @property
    def needs_all_layers(self) -> bool:
        """See `Intervention`."""
        return True

    def check_depth(self, encoder: str, depth: int) -> None:
        """See `Intervention`."""
        check_layers(self.id, str(self.layers), encoder, depth)

    def apply(self, states: LayerStates, context: Context) -> LayerStates:
        """See `Intervention`."""
        whole = [(i, layer) for i, layer in enumerate(states.layers) if isinstance(layer, int)]
        chosen = [i for i, layer in whole if holds_layer(str(self.layers), layer)]
        if not chosen:
            raise LayerError(f"{self.id} averages layers that were not kept; kept are {states.layers}.")
        given = states.states
        read = given.float()  # squares of what 16 bits hold, they do not hold
        if not self.normalized:
            mean = read[chosen].mean(0, keepdim=True).expand_as(read)
            return replace(states, states=mean.to(given.dtype).clone())
        mean = read.mean(-1, keepdim=True)
        spread = (read.var(-1, keepdim=True, unbiased=False) + _TINY).sqrt()
        average = ((read - mean) / spread)[chosen].mean(0, keepdim=True)
        average = average - average.mean(-1, keepdim=True)
        average = average / (average.var(-1, keepdim=True, unbiased=False) + _TINY).sqrt()
        return replace(states, states=(average * spread + mean).to(given.dtype))
