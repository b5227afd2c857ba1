"""Which of several layers that a pipeline reads of one encoder (its slots) a layer replaces."""

from collections.abc import Sequence

from diffusion_lens.errors import LayerError

__all__ = ["Slots", "check_slots", "replaced_slots"]

Slots = str | int
"""What a layer replaces where a pipeline reads several layers of one encoder (FLUX.2, HiDream, Krea 2):
"all" of them, those deeper than the layer ("cap"), the one of an index, or all but the one of an index
("without:2"), which stays native."""

_WITHOUT = "without:"


def check_slots(slots: Slots, count: int) -> None:
    """Refuse what is no choice of slots.

    Args:
        slots: see `Slots`.
        count: how many layers the encoder is read at.

    Raises:
        LayerError: it is not understood, or names a slot that does not exist.
    """
    index = _index(slots)
    if index is None and slots not in ("all", "cap"):
        raise LayerError(
            f'{slots!r} is no value of slots. Allowed: "all", "cap", the index of one, or "without:INDEX".'
        )
    if index is not None and not 0 <= index < count:
        raise LayerError(f"Slot {index} does not exist: the encoder is read at {count} layers.")


def replaced_slots(slots: Slots, native: Sequence[int], layer: int) -> tuple[bool, ...]:
    """Whether a layer stands in at each slot, or the slot stays native.

    Args:
        slots: see `Slots`.
        native: the layers that the pipeline reads, in its order.
        layer: the layer to draw.
    """
    if slots == "cap":
        return tuple(position >= layer for position in native)
    index = _index(slots)
    if index is None or len(native) == 1:
        return (True,) * len(native)
    stays = isinstance(slots, str)  # "without:INDEX"
    return tuple((place == index) != stays for place in range(len(native)))


def _index(slots: Slots) -> int | None:
    if isinstance(slots, int) and not isinstance(slots, bool):
        return slots
    if isinstance(slots, str) and slots.startswith(_WITHOUT):
        number = slots.removeprefix(_WITHOUT)
        return int(number) if number.isdecimal() and number.isascii() else None
    return None
