"""What an encoder would have returned, had other hidden states stood where its pipeline reads."""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from transformers.modeling_outputs import BaseModelOutput, BaseModelOutputWithPooling, ModelOutput
from transformers.models.clip.modeling_clip import CLIPTextModelOutput

from diffusion_lens.errors import EncoderError
from diffusion_lens.models.encoders import TextEncoder
from diffusion_lens.models.pipelines import Slot
from diffusion_lens.models.site_keys import SiteKey
from diffusion_lens.text.readouts import Readout
from diffusion_lens.text.states import LayerStates

__all__ = ["encoder_output", "pooled_output"]


def encoder_output(
    slot: Slot,
    encoder: TextEncoder,
    states: LayerStates,
    positions: Sequence[int],
    sources: Sequence[SiteKey],
    readout: Readout,
    *,
    pooled: Float[torch.Tensor, "batch ..."] | None = None,
    device: torch.device | str = "cpu",
    after: Callable[[torch.Tensor, SiteKey], torch.Tensor] | None = None,
) -> ModelOutput:
    """The output of an encoder whose native positions hold the states of `sources`.

    Args:
        slot: how the pipeline reads the encoder.
        encoder: the encoder.
        states: the states of one prompt.
        positions: the layers that the pipeline reads.
        sources: for each of them, the layer, or the part of a block, that stands in.
        readout: what is done to each state.
        pooled: the pooled output to give; needed where the pipeline reads one.
        device: where the pipeline computes.
        after: what changes each state, of the layer given, once it was read.

    Returns:
        A `transformers` output with the chosen states at `positions` and None at every other layer, so
        that a pipeline which reads elsewhere fails loudly.

    Raises:
        EncoderError: the pooled output is needed and was not given.
        LayerError: the states of a source were not kept.
    """
    hidden: list[torch.Tensor | None] = [None] * (encoder.depth + 1)
    for position, source in zip(positions, sources, strict=True):
        state = readout.read(states.layer(source).to(device), source, encoder, slot, position)
        hidden[position] = state if after is None else after(state, source)
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


def pooled_output(
    policy: str,
    slot: Slot,
    encoder: TextEncoder,
    states: LayerStates,
    empty: LayerStates | None,
    source: SiteKey,
) -> Float[torch.Tensor, "batch ..."] | None:
    """The pooled output under a policy; None where the pipeline reads none.

    Args:
        policy: "hold", "layer" or "empty".
        slot: how the pipeline reads the encoder.
        encoder: the encoder.
        states: the states of one prompt.
        empty: those of the empty prompt, for "empty".
        source: the layer, or the part of a block, that "layer" pools.
    """
    if slot.pooled is None:
        return None
    if policy == "layer":
        state = states.layer(source)
        return state if slot.pooled == "last_state" else encoder.pool(state, states.input_ids)
    return empty.pooled if policy == "empty" and empty is not None else states.pooled
