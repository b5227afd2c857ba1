"""`Intervention`: the base of all changes of hidden states, and what one knows while it changes them."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields, replace
from typing import TYPE_CHECKING, ClassVar, Literal

from diffusion_lens.errors import InputError
from diffusion_lens.models.site_keys import SiteKey
from diffusion_lens.text.interventions.values import write_value

if TYPE_CHECKING:
    import torch

    from diffusion_lens.text.interventions.tokens import TokenPlaces
    from diffusion_lens.text.states import LayerStates

__all__ = ["PLACES", "Context", "Intervention", "Place", "Source", "check_choice", "finite"]

Place = Literal["readout", "encoder"]
"""Where a change is made: "readout" changes only the state that is drawn; "encoder" changes the output of
a block during the forward pass, so that the later blocks run on from it."""

PLACES = ("readout", "encoder")


@dataclass(frozen=True)
class Source:
    """A further prompt that an intervention reads.

    Attributes:
        states: its states, of the same encoder.
        tokens: where its words are.
    """

    states: LayerStates
    tokens: TokenPlaces


@dataclass(frozen=True)
class Context:
    """What an intervention knows beside the state that it changes.

    Attributes:
        prompt: the prompt whose state is changed.
        encoder: the pipeline's name for the encoder.
        fingerprint: what tells the encoder from others.
        tokens: where the words of the prompt are.
        sources: each prompt of `Intervention.sources`, as the encoder read it.
    """

    prompt: str
    encoder: str
    fingerprint: str
    tokens: TokenPlaces
    sources: Mapping[str, Source]

    def source(self, prompt: str, layer: SiteKey, like: torch.Tensor) -> torch.Tensor:
        """The state `[1, token, width]` of a further prompt at a layer, on the device of `like`."""
        return self.sources[prompt].states.layer(layer).to(like.device, like.dtype)


@dataclass(frozen=True)
class Intervention:
    """A change of hidden states. Subclasses are frozen dataclasses of texts and numbers.

    Attributes:
        name: how it is written.
        after_norm: on the readout, it changes what the pipeline is given, after any final norm, in place
            of the hidden state before it.
        files: the attributes whose text may name a file to be read, each with the ending that says so.
    """

    name: ClassVar[str]
    after_norm: ClassVar[bool] = False
    files: ClassVar[Mapping[str, str]] = {}

    @classmethod
    def names_file(cls, attribute: str, value: object) -> bool:
        """Whether a value of an attribute is the name of a file, which is then read."""
        ending = cls.files.get(attribute)
        if ending is None or not isinstance(value, (str, os.PathLike)):
            return False
        return str(value).strip().endswith(ending)

    @property
    def in_encoder(self) -> bool:
        """Whether it changes the forward pass, so that the later blocks run on from the change."""
        return getattr(self, "place", "readout") == "encoder"

    @property
    def part(self) -> str:
        """In the encoder, what it changes: "" the state; else what that part ("attn", "mlp", "head.3", or
        the whole "block") adds to it.
        """
        return ""

    @property
    def reads_parts(self) -> tuple[str, ...]:
        """The parts of blocks, such as `6.attn`, that it reads of its source prompts."""
        return ()

    @property
    def needs_all_layers(self) -> bool:
        """Whether it reads other layers than the one that is drawn."""
        return self.in_encoder

    def sources(self, prompt: str) -> tuple[str, ...]:
        """Further prompts whose states it needs for this prompt; each is encoded once."""
        return ()

    def check_depth(self, encoder: str, depth: int) -> None:
        """Refuse layers that an encoder of `depth` blocks lacks.

        Raises:
            LayerError: it names one.
        """

    def change(self, state: torch.Tensor, layer: SiteKey, context: Context) -> torch.Tensor:
        """The changed state of one prompt at one layer; the one given is left as it is.

        Args:
            state: `[1, token, width]`.
            layer: the layer.
            context: what is known of the prompt and the encoder.

        Raises:
            PromptError: the prompt lacks a word that the intervention names.
            InputError: it can't be done with this encoder.
        """
        raise NotImplementedError

    def apply(self, states: LayerStates, context: Context) -> LayerStates:
        """The changed states of one prompt, at all layers that were kept."""
        changed = states.states.clone()
        for index, layer in enumerate(states.layers):
            changed[index] = self.change(states.states[index], layer, context)
        return replace(states, states=changed)

    @property
    def id(self) -> str:
        """How it is written, with every value that is not at its default."""
        values = []
        for number, one in enumerate(fields(self)):
            value = getattr(self, one.name)
            if number == 0 and (value != one.default or one.default is MISSING):
                values.append(write_value(value))
            elif value != one.default:
                values.append(f"{one.name}={write_value(value)}")
        return f"{self.name}({', '.join(values)})"

    def __str__(self) -> str:
        return self.id

    def _set(self, name: str, value: object) -> None:
        """Bring a value into its one written form, when the intervention is made."""
        object.__setattr__(self, name, value)


def finite(intervention: str, name: str, value: float | int) -> float:
    """A number that an intervention multiplies by.

    Raises:
        InputError: it is not finite.
    """
    number = float(value)
    if not math.isfinite(number):
        raise InputError(f"{name} of {intervention} is {number}; it must be a finite number, such as 2.")
    return number


def check_choice(intervention: str, name: str, value: object, allowed: tuple[str, ...]) -> None:
    """Refuse a value that is none of those allowed.

    Raises:
        InputError: it is not.
    """
    if value not in allowed:
        raise InputError(f"{name} of {intervention} is {value!r}. Allowed: {', '.join(allowed)}.")
