"""Which states a request for layers means: "all", 6, -1, "0:24:4", "native", "6.attn", "native+all.mlp"."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from diffusion_lens.errors import EncoderError, LayerError
from diffusion_lens.models.conditioner import Conditioner
from diffusion_lens.models.parts import check_part
from diffusion_lens.models.site_keys import SiteKey
from diffusion_lens.models.stub_encoders import is_stub
from diffusion_lens.text.reading import ALL_ENCODERS, Slots
from diffusion_lens.text.sites import NATIVE, Site
from diffusion_lens.text.slots import check_slots, replaced_slots

__all__ = ["Layer", "LayerPlan", "LayerRequest"]

LayerRequest = int | str

_PART = re.compile(r"(?P<added>native\+)?(?P<blocks>[^.]+)\.(?P<part>attn|mlp|head\.[0-9]{1,6})")


@dataclass(frozen=True)
class Layer:
    """A layer, or a part of a block, that can be drawn.

    Attributes:
        number: its number; of the native reading, the deepest that the pipeline reads.
        native: the encoders are read where the pipeline reads them.
        sources: for each encoder, what stands in at each of its native positions.
        part: the part of the block of this number; see `Site`.
        added: likewise.
    """

    number: int
    native: bool
    sources: Mapping[str, tuple[SiteKey, ...]]
    part: str = ""
    added: bool = False


class LayerPlan:
    """The layers of a pipeline that can be drawn.

    The layers are numbered by one encoder: the one asked for, or with `encoder="all"` the one with most
    blocks; the others then move in step by depth relative to their native taps.

    Args:
        conditioner: the pipeline's text side.
        encoder: the encoder that moves, the rest staying at their native taps; or "all".
        slots: see `Slots`.
        options: the options of `encode_prompt`, which in FLUX.2 name the native taps.

    Raises:
        EncoderError: the pipeline has no such encoder.
        LayerError: `slots` is none, or names a tap that does not exist.
    """

    def __init__(
        self,
        conditioner: Conditioner,
        encoder: str = ALL_ENCODERS,
        slots: Slots = "all",
        options: Mapping[str, Any] | None = None,
    ) -> None:
        encoders = conditioner.slots
        if encoder != ALL_ENCODERS and encoder not in encoders:
            raise EncoderError(
                f"This pipeline has no encoder {encoder!r}. It has: {', '.join(encoders)}; or "
                f"{ALL_ENCODERS!r} for all in step."
            )
        self.encoder = encoder if len(encoders) > 1 else next(iter(encoders))
        self.slots = slots
        self._encoders = conditioner.encoders
        self.depths = {name: one.depth for name, one in conditioner.encoders.items()}
        # an encoder of which only the pooled output is read counts as read at its last block
        self.taps: dict[str, tuple[int, ...]] = {
            name: slot.tap.positions(self.depths[name], options or {}) if slot.tap else (self.depths[name],)
            for name, slot in encoders.items()
        }
        for name, tap in self.taps.items():
            if not all(0 <= position <= self.depths[name] for position in tap):
                raise LayerError(
                    f"The pipeline is told to read layers {tap} of {name}, which has "
                    f"{self.depths[name]} blocks."
                )
        self.moving = tuple(encoders) if self.encoder == ALL_ENCODERS else (self.encoder,)
        read = [name for name in self.moving if encoders[name].tap] or list(self.moving)
        self.reference = max(read, key=lambda name: self.depths[name])
        check_slots(slots, max(len(self.taps[name]) for name in self.moving))

    @property
    def depth(self) -> int:
        """The number of the last layer."""
        return self.depths[self.reference]

    @property
    def native_layer(self) -> int:
        """The number of the deepest layer that the pipeline reads by itself."""
        return max(self.taps[self.reference])

    def layers(self, requests: LayerRequest | Sequence[LayerRequest]) -> tuple[Layer, ...]:
        """The layers asked for, in the order asked, each once.

        Args:
            requests: "all", "native", an index, a negative index (-1 the last block), a range
                "start:stop:step" that includes both ends, a part of blocks ("6.attn", "all.mlp",
                "1:4.head.3"), which after "native+" is added to the native hidden state, or a list of
                these.

        Raises:
            LayerError: out of range, or not understood.
            EncoderError: an encoder has no such part that can be told from the rest.
        """
        many = isinstance(requests, Iterable) and not isinstance(requests, str)
        listed: list[Any] = list(requests) if many else [requests]  # type: ignore[arg-type]
        if not listed:
            raise LayerError(f"No layer was asked for; this encoder has {self._allowed()}.")
        found = [layer for request in listed for layer in self._parse(request)]
        return tuple({(one.number, one.native, one.part, one.added): one for one in found}.values())

    def site(self, layer: Layer) -> Site:
        """Where a layer is read: `NATIVE` only where no single layer is read like that."""
        if layer.part:
            return Site(layer.number, layer.part, layer.added)
        return Site(layer.number) if self._layer(layer.number) == layer else NATIVE

    def _allowed(self) -> str:
        return (
            f"layers 0 to {self.depth} ({self.reference}; native: {self.native_layer}), negative "
            'indices, ranges such as "0:8:2", "all" and "native"; and parts of blocks such as "6.attn"'
        )

    def _parse(self, request: LayerRequest) -> list[Layer]:
        if request == "native":
            return [Layer(self.native_layer, True, self.taps)]
        part = _PART.fullmatch(str(request))
        if part is not None:
            return self._parts(part["blocks"], part["part"], part["added"] is not None)
        if request == "all":
            request = f"0:{self.depth}"
        try:
            if isinstance(request, bool):
                raise ValueError
            numbers = [int(part) for part in str(request).split(":")]
            if len(numbers) == 1:
                return [self._layer(self._index(*numbers))]
            first, last, step = numbers if len(numbers) == 3 else (*numbers, 1)
            layers = range(self._index(first), self._index(last) + (1 if step > 0 else -1), step)
        except ValueError as error:
            if isinstance(error, LayerError):
                raise
            raise LayerError(f"{request!r} is no layer. Allowed: {self._allowed()}.") from None
        if not layers:
            raise LayerError(f"The range {request!r} holds no layer. Allowed: {self._allowed()}.")
        return [self._layer(layer) for layer in layers]

    def _index(self, layer: int) -> int:
        if not -self.depth - 1 <= layer <= self.depth:
            raise LayerError(f"Layer {layer} is out of range. Allowed: {self._allowed()}.")
        return layer % (self.depth + 1)

    def _layer(self, number: int) -> Layer:
        moved = {name: self._fill(name, self._in_step(name, number)) for name in self.moving}
        sources = {**self.taps, **moved}
        return Layer(number, sources == self.taps, sources)

    def _parts(self, blocks: str, part: str, added: bool) -> list[Layer]:
        """A part of some blocks."""
        if blocks == "native":
            raise LayerError(
                f"native.{part} names no block; write its number, as in {self.native_layer}.{part}."
            )
        for name in self.moving:
            if not is_stub(self._encoders[name].module):  # which was asked before it became one
                check_part(self._encoders[name], part)
        numbers = [one.number for one in self._parse(f"1:{self.depth}" if blocks == "all" else blocks)]
        return [self._part(Site(number, part, added)) for number in numbers]

    def _part(self, site: Site) -> Layer:
        number = site.layer or 0
        moved = {}
        for name in self.moving:
            # the first block in step with layer 0 is block 1
            own = max(1, self._in_step(name, number))
            moved[name] = self._fill(name, own, f"{own}.{site.part}", added=site.added)
        return Layer(number, False, {**self.taps, **moved}, site.part, site.added)

    def _in_step(self, name: str, layer: int) -> int:
        """The layer of `name` at the relative depth of the plan's `layer`."""
        own, plan = max(self.taps[name]), self.native_layer
        if layer < plan:
            return round(layer * own / plan)
        return min(self.depths[name], own + layer - plan)

    def _fill(
        self, name: str, layer: int, key: SiteKey | None = None, *, added: bool = False
    ) -> tuple[SiteKey, ...]:
        """What stands at each native position: `key` in the place of those that `layer` replaces."""
        taps = self.taps[name]
        filled = layer if key is None else key
        return tuple(
            position if not replaced else f"{position}+{filled}" if added else filled
            for position, replaced in zip(taps, replaced_slots(self.slots, taps, layer), strict=True)
        )
