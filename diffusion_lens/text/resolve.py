"""What readings of some layers mean for a live pipeline: asked once, before anything is drawn."""

from collections.abc import Mapping, Sequence
from typing import Any

from diffusion_lens.choices import Pooled
from diffusion_lens.errors import LayerError
from diffusion_lens.models.conditioner import Conditioner
from diffusion_lens.models.cross_attention import check_blocks
from diffusion_lens.text.interventions import Intervention, Only
from diffusion_lens.text.layers import Layer, LayerPlan, LayerRequest
from diffusion_lens.text.reading import ALL_ENCODERS, Reading, ResolvedReading, Slots
from diffusion_lens.text.readouts import Readout, check_pooled

__all__ = ["resolve_readings"]


def resolve_readings(
    conditioner: Conditioner,
    layers: LayerRequest | Sequence[LayerRequest],
    *,
    encoder: str = ALL_ENCODERS,
    readout: Readout,
    pooled: Pooled = "hold",
    slots: Slots = "all",
    interventions: Sequence[Intervention] = (),
    options: Mapping[str, Any] | None = None,
) -> tuple[ResolvedReading, ...]:
    """What readings of some layers mean for a live pipeline.

    Args:
        conditioner: the pipeline's text side.
        layers: see `LayerPlan.layers`.
        encoder: see `Reading`, as the rest.
        readout: likewise.
        pooled: likewise. An encoder of which only the pooled output is read is always drawn with "layer"
            when it is named by `encoder`.
        slots: likewise.
        interventions: likewise.
        options: the options of `encode_prompt`.

    Raises:
        EncoderError, LayerError, InputError: something asked for does not exist.
    """
    check_pooled(pooled)
    plan = LayerPlan(conditioner, encoder, slots, options)
    named = plan.encoder != ALL_ENCODERS and len(conditioner.slots) > 1
    if named and conditioner.slots[plan.encoder].tap is None:
        pooled = "layer"
    for change in interventions:
        for name in plan.moving:
            change.check_depth(name, plan.depths[name])
    found = plan.layers(layers)
    for layer in found:
        _check_part(layer, interventions)
    otherwise = None
    for change in interventions:
        if isinstance(change, Only):
            check_blocks(conditioner.pipe, change.block_names)
            (otherwise,) = resolve_readings(
                conditioner,
                change.otherwise,
                encoder=encoder,
                readout=readout,
                pooled=pooled,
                slots=slots,
                options=options,
            )
    as_pipeline = not interventions and _reads_as_pipeline(conditioner, plan, readout, pooled)
    return tuple(
        ResolvedReading(
            Reading(
                plan.encoder,
                plan.site(layer),
                readout,
                pooled,
                slots,
                tuple(interventions),
            ),
            layer.number,
            layer.native,
            layer.native and as_pipeline,
            plan.depth,
            plan.moving,
            plan.taps,
            layer.sources,
            otherwise,
        )
        for layer in found
    )


def _check_part(layer: Layer, changes: Sequence[Intervention]) -> None:
    """Refuse to draw a part of a block under changes that mean whole layers, or that take the part out.

    Raises:
        LayerError: such a change.
    """
    site = f"{layer.number}.{layer.part}"
    for change in changes if layer.part else ():
        if change.needs_all_layers and not change.in_encoder:
            raise LayerError(
                f"{change} reads whole layers, and {site} is a part of one. Draw layer {layer.number}."
            )
        kinds = {layer.part, "attn" if layer.part.startswith("head") else layer.part}
        if change.in_encoder and change.part in kinds:
            raise LayerError(
                f"{change} changes what {site} gives, which is read before it. Draw a layer from "
                f"{layer.number} on, or another part."
            )


def _reads_as_pipeline(conditioner: Conditioner, plan: LayerPlan, readout: Readout, pooled: Pooled) -> bool:
    """Whether the native layer, so read, is the conditioning of the untouched pipeline."""
    slots, encoders = conditioner.slots, conditioner.encoders
    if pooled == "empty" and any(slot.pooled for slot in slots.values()):
        return False
    return all(
        all(readout.is_native(encoders[name], slots[name], position) for position in plan.taps[name])
        # a layer's own pooled output is the native one where nothing else is read
        and (slots[name].pooled is None or pooled == "hold" or slots[name].tap is None)
        for name in plan.moving
    )
