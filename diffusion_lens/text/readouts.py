"""Readouts: how a hidden state becomes what an encoder answers to its pipeline.

`final` is the published method: the encoder's final norm once, at every layer (Toker et al., 2024,
figure 1). `native` treats a layer as the pipeline treats its own tap, which is the same for Stable
Diffusion 1 and 2 and for T5, and leaves the norm out for pipelines that read an un-normed state, such as
SDXL. `none` is the raw output of the block. The pooled output, where a pipeline takes one, follows a
policy of its own.
"""

from collections.abc import Sequence
from typing import Literal, get_args

import torch
from jaxtyping import Float
from transformers.modeling_outputs import (
    BaseModelOutput,
    BaseModelOutputWithPooling,
    ModelOutput,
)
from transformers.models.clip.modeling_clip import CLIPTextModelOutput

from diffusion_lens.choices import POOLED
from diffusion_lens.errors import EncoderError, InputError
from diffusion_lens.models.encoders import TextEncoder
from diffusion_lens.models.pipelines import Slot
from diffusion_lens.text.states import LayerStates

__all__ = [
    "READOUTS",
    "Readout",
    "answer",
    "check_policies",
    "is_native",
    "pool",
]

Readout = Literal["native", "final", "none"]
READOUTS: tuple[str, ...] = get_args(Readout)


def check_policies(readout: str, pooled: str) -> None:
    """Refuse a readout or a pooled policy that does not exist."""
    for what, given, allowed in (("readout", readout, READOUTS), ("pooled policy", pooled, POOLED)):
        if given not in allowed:
            raise InputError(f"{given!r} is no {what}. Allowed: {', '.join(allowed)}.")


def _norms(readout: str, slot: Slot, encoder: TextEncoder, position: int) -> bool:
    """Whether a state that stands in at a native `position` goes through the final norm."""
    if readout != "native":
        return readout == "final"
    if slot.tap is None:
        return False
    last = position == encoder.depth and encoder.family.ties_last
    return slot.tap.normed or last


def is_native(readout: str, slot: Slot, encoder: TextEncoder, positions: Sequence[int]) -> bool:
    """Whether `readout` does at the native tap what the pipeline does."""
    return encoder.norm is None or all(
        _norms(readout, slot, encoder, position) == _norms("native", slot, encoder, position)
        for position in positions
    )


def answer(
    slot: Slot,
    encoder: TextEncoder,
    states: LayerStates,
    positions: Sequence[int],
    sources: Sequence[int],
    *,
    readout: str = "native",
    pooled: Float[torch.Tensor, "batch ..."] | None = None,
    device: torch.device | str = "cpu",
) -> ModelOutput:
    """What the encoder would have returned, had the states of `sources` been at its native taps.

    Args:
        slot: how the pipeline reads the encoder.
        encoder: the encoder.
        states: the states of one prompt.
        positions: the layers that the pipeline reads.
        sources: for each of them, the layer that stands in.
        readout: see the module.
        pooled: the pooled output to give; needed where the pipeline reads one.
        device: where the pipeline computes.

    Returns:
        A `transformers` output with the chosen states at `positions` and None at every other layer, so
        that a pipeline which reads elsewhere fails loudly.
    """
    hidden: list[torch.Tensor | None] = [None] * (encoder.depth + 1)
    for position, source in zip(positions, sources, strict=True):
        state = states.layer(source).to(device)
        if _norms(readout, slot, encoder, position):
            state = encoder.final_norm(state)
        hidden[position] = state
    if slot.pooled is not None and pooled is None:
        raise EncoderError(f"The pooled output of {slot.name} is needed and was not kept.")
    given = None if pooled is None else pooled.to(device)
    if slot.pooled == "last_state":
        hidden[encoder.depth] = given
    if encoder.family.token_first:
        hidden = [None if state is None else state.transpose(0, 1) for state in hidden]
    # pipelines that read a middle layer still look at the shape of the last state
    last = hidden[max(positions)]
    rest = {"last_hidden_state": last, "hidden_states": tuple(hidden)}
    if slot.pooled == "text_embeds":
        return CLIPTextModelOutput(text_embeds=given, **rest)
    if slot.pooled == "pooler_output":
        return BaseModelOutputWithPooling(pooler_output=given, **rest)
    return BaseModelOutput(**rest)


def pool(
    policy: str,
    slot: Slot,
    encoder: TextEncoder,
    states: LayerStates,
    empty: LayerStates | None,
    source: int,
) -> Float[torch.Tensor, "batch ..."] | None:
    """The pooled output under a policy; None where the pipeline reads none.

    Args:
        policy: "hold", "layer" or "empty".
        slot: how the pipeline reads the encoder.
        encoder: the encoder.
        states: the states of one prompt.
        empty: those of the empty prompt, for "empty".
        source: the layer that "layer" pools.
    """
    if slot.pooled is None:
        return None
    if policy == "layer":
        state = states.layer(source)
        return state if slot.pooled == "last_state" else encoder.pool(state, states.input_ids)
    return empty.pooled if policy == "empty" and empty is not None else states.pooled
