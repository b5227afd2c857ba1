"""Which states a request for layers means: "all", 6, -1, "0:24:4", "native", for one encoder or all."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from diffusion_lens.errors import EncoderError, LayerError
from diffusion_lens.models.conditioner import Conditioner

__all__ = ["ALL_ENCODERS", "LayerPlan", "LayerRequest", "Rung", "Slots"]

ALL_ENCODERS = "all"
LayerRequest = int | str
Slots = Literal["all", "cap"] | int
"""What a layer replaces where a pipeline reads several taps of one encoder (FLUX.2, HiDream): all of
them, those deeper than the layer ("cap"), or the one of this index."""


@dataclass(frozen=True)
class Rung:
    """One layer to draw.

    Attributes:
        layer: its number on the plan; the deepest native tap for the native rung.
        native: the encoders are read where the pipeline reads them.
        sources: for each encoder, the layer that stands in at each of its native positions.
    """

    layer: int
    native: bool
    sources: Mapping[str, tuple[int, ...]]


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
        self.depths = {name: one.depth for name, one in conditioner.encoders.items()}
        # an encoder of which only the pooled output is read counts as read at its last block
        self.taps: dict[str, tuple[int, ...]] = {
            name: slot.tap.positions(self.depths[name], options or {}) if slot.tap else (self.depths[name],)
            for name, slot in encoders.items()
        }
        for name, tap in self.taps.items():
            if not all(0 < position <= self.depths[name] for position in tap):
                raise LayerError(
                    f"The pipeline is told to read layers {tap} of {name}, which has "
                    f"{self.depths[name]} blocks."
                )
        self.moving = tuple(encoders) if self.encoder == ALL_ENCODERS else (self.encoder,)
        read = [name for name in self.moving if encoders[name].tap] or list(self.moving)
        self.reference = max(read, key=lambda name: self.depths[name])
        if not isinstance(slots, int) and slots not in ("all", "cap"):
            raise LayerError(f'{slots!r} is no slots. Allowed: "all", "cap", or the index of a tap.')
        widest = max(len(self.taps[name]) for name in self.moving)
        if isinstance(slots, int) and not 0 <= slots < widest:
            raise LayerError(
                f"Tap {slots} does not exist: {', '.join(self.moving)} is read at {widest} taps."
            )

    @property
    def depth(self) -> int:
        """The number of the last layer."""
        return self.depths[self.reference]

    @property
    def native_layer(self) -> int:
        """The number of the deepest layer that the pipeline reads by itself."""
        return max(self.taps[self.reference])

    def rungs(self, layers: LayerRequest | Sequence[LayerRequest]) -> tuple[Rung, ...]:
        """The rungs asked for, in the order asked, each once.

        Args:
            layers: "all", "native", an index, a negative index (-1 the last block), a range
                "start:stop:step" that includes both ends, or a list of these.

        Raises:
            LayerError: out of range, or not understood.
        """
        many = isinstance(layers, Iterable) and not isinstance(layers, str)
        requests: list[Any] = list(layers) if many else [layers]  # type: ignore[arg-type]
        if not requests:
            raise LayerError(f"No layer was asked for; this encoder has {self._allowed()}.")
        rungs = [rung for request in requests for rung in self._parse(request)]
        return tuple({(rung.layer, rung.native): rung for rung in rungs}.values())

    def _allowed(self) -> str:
        return (
            f"layers 0 to {self.depth} ({self.reference}; native: {self.native_layer}), negative "
            'indices, ranges such as "0:8:2", "all" and "native"'
        )

    def _parse(self, request: LayerRequest) -> list[Rung]:
        if request == "native":
            return [Rung(self.native_layer, True, self.taps)]
        if request == "all":
            request = f"0:{self.depth}"
        try:
            if isinstance(request, bool):
                raise ValueError
            numbers = [int(part) for part in str(request).split(":")]
            if len(numbers) == 1:
                return [self._rung(self._index(*numbers))]
            first, last, step = numbers if len(numbers) == 3 else (*numbers, 1)
            layers = range(self._index(first), self._index(last) + (1 if step > 0 else -1), step)
        except ValueError as error:
            if isinstance(error, LayerError):
                raise
            raise LayerError(f"{request!r} is no layer. Allowed: {self._allowed()}.") from None
        if not layers:
            raise LayerError(f"The range {request!r} holds no layer. Allowed: {self._allowed()}.")
        return [self._rung(layer) for layer in layers]

    def _index(self, layer: int) -> int:
        if not -self.depth - 1 <= layer <= self.depth:
            raise LayerError(f"Layer {layer} is out of range. Allowed: {self._allowed()}.")
        return layer % (self.depth + 1)

    def _rung(self, layer: int) -> Rung:
        moved = {name: self._fill(name, self._in_step(name, layer)) for name in self.moving}
        sources = {**self.taps, **moved}
        return Rung(layer, sources == self.taps, sources)

    def _in_step(self, name: str, layer: int) -> int:
        """The layer of `name` at the relative depth of the plan's `layer`."""
        own, plan = max(self.taps[name]), self.native_layer
        if layer <= plan:
            return round(layer * own / plan)
        return min(self.depths[name], own + layer - plan)

    def _fill(self, name: str, layer: int) -> tuple[int, ...]:
        tap = self.taps[name]
        if self.slots == "cap":
            return tuple(min(position, layer) for position in tap)
        if isinstance(self.slots, int) and len(tap) > 1:
            return (*tap[: self.slots], layer, *tap[self.slots + 1 :])
        return (layer,) * len(tap)
