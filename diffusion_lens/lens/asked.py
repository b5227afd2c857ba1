"""The layers that a call of a lens asks for, and how they are read: as written, and for a live pipeline."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from diffusion_lens.choices import Pooled
from diffusion_lens.errors import InputError
from diffusion_lens.models.conditioner import Conditioner
from diffusion_lens.text.interventions import Interventions, parse_interventions
from diffusion_lens.text.layers import LayerRequest
from diffusion_lens.text.reading import ALL_ENCODERS, Reading, ResolvedReading, Slots
from diffusion_lens.text.readouts import Readout, parse_readout
from diffusion_lens.text.resolve import resolve_readings
from diffusion_lens.text.sites import NATIVE

__all__ = ["Asked", "make_reading", "resolve_asked"]

Asked = LayerRequest | Reading | Sequence[LayerRequest | Reading]
"""The layers that a call asks for: a request, a `Reading` that says by itself how, or several of both."""


def make_reading(
    encoder: str = ALL_ENCODERS,
    readout: str | Readout = "native",
    pooled: Pooled = "hold",
    slots: Slots = "all",
    interventions: Interventions = (),
) -> Reading:
    """A reading of the native site, of which some values may be written as text.

    Raises:
        InputError: a value is none of those.
    """
    if not isinstance(encoder, str):
        raise InputError(f"{encoder!r} is no encoder. Give the name of one, or {ALL_ENCODERS!r}.")
    parsed = parse_readout(readout) if isinstance(readout, str) else readout
    if not isinstance(parsed, Readout):
        raise InputError(f"{readout!r} is no readout. Give one, such as 'final'; for several, draw each.")
    changes = parse_interventions(interventions)
    return Reading(encoder, NATIVE, parsed, pooled, slots, changes)


def resolve_asked(
    conditioner: Conditioner, layers: Asked, how: Reading, options: Mapping[str, Any]
) -> tuple[ResolvedReading, ...]:
    """What the layers that were asked for mean for a live pipeline: each reading once, in that order.

    Args:
        conditioner: the pipeline's text side.
        layers: what was asked for.
        how: how those layers are read that are not a `Reading` themselves.
        options: the options of `encode_prompt`.

    Raises:
        EncoderError, LayerError, InputError: something asked for does not exist.
    """
    several = isinstance(layers, Iterable) and not isinstance(layers, str)
    asked: Sequence[Any] = list(layers) if several else [layers]  # type: ignore[arg-type]
    plain = [one for one in asked if not isinstance(one, Reading)]
    groups: list[tuple[Any, Reading]] = [(plain, how)] if plain or not asked else []
    groups += [(one.site.layer_request, one) for one in asked if isinstance(one, Reading)]
    found = {
        resolved.reading: resolved
        for requests, reading in groups
        for resolved in resolve_readings(
            conditioner,
            requests,
            encoder=reading.encoder,
            readout=reading.readout,
            pooled=reading.pooled,
            slots=reading.slots,
            interventions=reading.interventions,
            options=options,
        )
    }
    return tuple(found.values())
